"""How far predictions have been from measurements: the 90 % interval that each carries."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from hwmodels.calibration_files import read_bands
from hwmodels.fitted import Basis, read_fits

if TYPE_CHECKING:
    from simulator.analysis.metrics import RunMetrics

BANDS_FILE = "bands.yaml"
BANDED = ("total_tput_per_gpu", "median_tpot_s", "median_ttft_s")
"""Metrics that carry a band, under InferenceX's names."""

BASES: tuple[str, ...] = get_args(Basis)
"""What a prediction may rest on, the best first."""

REGIMES = ((8.0, "floor-bound"), (64.0, "bandwidth-bound"), (float("inf"), "load-bound"))
"""Upper end of requests on a rank, and what binds there most of the time: kernel floors, memory
bandwidth, or compute, KV pools and caps."""


def cell_of(*, engine: str, generation: str, requests_per_rank: float) -> str:
    """The cell that a prediction's band is of: ``vllm/blackwell/floor-bound``."""
    regime = next(name for end, name in REGIMES if requests_per_rank <= end)
    return f"{engine}/{platform_of(generation)}/{regime}"


def platform_of(generation: str) -> str:
    """Chip generations that run one set of kernels: ``blackwell`` of ``blackwell_ultra``."""
    return generation.split("_")[0]


@lru_cache(maxsize=8)
def read_banded(directory: Path | None = None) -> dict[str, Any]:
    """``bands.yaml`` of a calibration, or the shipped one; empty where there is none."""
    folder = directory or Path(str(resources.files("simulator.prediction") / "data"))
    path = folder / BANDS_FILE
    if not path.exists():
        return {}

    def sources() -> list[str]:
        return [str(fit["source"]) for fit in read_fits(directory)]

    return read_bands(path, sources=sources)


def band_factors(
    *, basis: str, cell: str | None = None, directory: Path | None = None
) -> dict[str, tuple[float, float]]:
    """Ends of the 90 % band of each banded metric over its prediction, by basis. [-]

    Those of the cell, see `cell_of`, where it has bands of its own. A band always contains those
    that a stronger basis has in the same cell: whether a cell or all runs of a basis give it,
    a prediction on weaker evidence is never the surer one.
    """
    data = read_banded(directory)
    stronger = BASES[: BASES.index(basis)] if basis in BASES else ()
    found = _own_factors(data, basis=basis, cell=cell)
    for known in (_own_factors(data, basis=other, cell=cell) for other in stronger):
        for name in found.keys() & known.keys():
            (low, high), (low_known, high_known) = found[name], known[name]
            found[name] = (min(low, low_known), max(high, high_known))
    return found


def _own_factors(
    data: dict[str, Any], *, basis: str, cell: str | None
) -> dict[str, tuple[float, float]]:
    """Ends of the bands that one basis has, of the cell before those of all its runs. [-]"""
    factors = dict(data.get("bands", {}).get(basis, {}))
    if cell is not None:
        factors |= data.get("cells", {}).get(basis, {}).get(cell, {})
    return {
        name: (float(factors[name]["low"]), float(factors[name]["high"]))
        for name in BANDED
        if name in factors
    }


def bands_of(
    metrics: RunMetrics, *, basis: str, cell: str | None = None, directory: Path | None = None
) -> dict[str, tuple[float, float]]:
    """90 % interval of each banded metric of a prediction; empty where nothing was compared.

    Parameters
    ----------
    basis:
        What the software level rests on, see `hwmodels.fitted.Basis`.
    cell:
        Engine, platform and regime, see `cell_of`.
    directory:
        Bands written by a calibration, in place of the shipped ones.

    Notes
    -----
    The factors are the 5 % and 95 % quantiles of measured over predicted among runs that were
    left out of the fit which predicted them, by what was left to predict them from.
    """
    values = {
        "total_tput_per_gpu": metrics.total_tput_per_gpu,
        "median_tpot_s": metrics.tpot.median_s,
        "median_ttft_s": metrics.ttft.median_s,
    }
    factors = band_factors(basis=basis, cell=cell, directory=directory)
    return {
        name: (values[name] * low, values[name] * high) for name, (low, high) in factors.items()
    }


SAME_PLATFORM, SAME_ENGINE, OTHER_ENGINE = RELATIONS = (
    "same engine and platform",
    "same engine",
    "other engine",
)
"""How two compared predictions relate: one engine on chips of one platform (B200 and GB300), on
chips of two, or two engines."""

DATES = "dates"
"""Key of the band of one SKU and engine at a later date over an earlier one."""

_KINDS = ("calibrated", "transferred", "specification")


def relation_of(first: str, second: str, *, generations: tuple[str, str] | None = None) -> str:
    """The relation of two predictions by their engines' software and their chips' generations."""
    if first != second:
        return OTHER_ENGINE
    if generations is not None and platform_of(generations[0]) == platform_of(generations[1]):
        return SAME_PLATFORM
    return SAME_ENGINE


def pair_key(first: str, second: str) -> str:
    """Key of the band of a ratio, the weaker kind of prediction over the stronger."""
    weaker, stronger = sorted((first, second), key=_KINDS.index, reverse=True)
    return f"{weaker}/{stronger}"


def ratio_factors(
    *, first: str, second: str, relation: str, directory: Path | None = None
) -> tuple[float, float] | None:
    """Ends of the 90 % band of one prediction against another; ``None`` where not known. [-]

    An end is a factor on throughput and on speed per user of the first, the second held.

    Parameters
    ----------
    first, second:
        Kinds of the prediction above and of that below, or `DATES` twice.
    relation:
        From `relation_of`; bands of one platform that were too few to tell apart are those of
        one engine.
    directory:
        As `bands_of`.

    Notes
    -----
    5 % and 95 % quantiles of the difference of how far two frontiers lie off at equal users per
    GPU, each predicted without its own runs (`calibration.validation.paired_bands`).
    """
    if first not in (*_KINDS, DATES) or second not in (*_KINDS, DATES):
        return None  # published points beside simulated ones
    key = DATES if first == DATES else pair_key(first, second)
    known = read_banded(directory).get("pairs", {}).get(key, {})
    node = known.get(relation)
    if node is None and relation == SAME_PLATFORM:
        node = known.get(SAME_ENGINE)
    if node is None:
        return None
    low, high = float(node["low"]), float(node["high"])
    if key == DATES or key.startswith(f"{first}/"):
        return low, high
    return 1.0 / high, 1.0 / low
