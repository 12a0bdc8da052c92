"""The law of token exchanges, fitted to measured ones: latency and link efficiency by library.

``t = L[library, mode, operation, scope] + max(C_up T b / (e W_up), C_net T b / (n W_net))`` as in
`hwmodels.exchanges`, on the rows of ``measurements/communication/exchanges.csv`` (CollectiveX).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from calibration.kernels.robust import soft_l1_fit
from hwmodels.exchange_libraries import OPERATIONS, exchange_libraries_data
from hwmodels.exchanges import copies_of_token, scope_of
from hwmodels.sku import load_sku
from simulator.output.text_file import write_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

ADDRESS = (
    "github Duyi-Wang/CollectiveXDashboard@e5197a75 public/data/run-33356406487.json, "
    "run-33893771034.json, run-34432070017.json"
)
SOURCE = "InferenceX CollectiveX, runs of 2026-08-31 to 2026-09-10"
BROKEN_SHARE = 0.4
"""Share of the usual line rate below which a series' network counts as broken. [-]"""

LARGE_TOKENS = 1024
"""Tokens a rank from which line rates are compared. [tokens]"""

SMALL_TOKENS = 32
"""Tokens a rank up to which an exchange is mostly latency. [tokens]"""

SCOPES = ("island", "islands", "rack")
_BYTES = {"bf16": 2.0, "fp8": 1.0 + 4.0 / 128.0}
_SERIES = ["sku", "library", "ep"]


def _rows() -> pd.DataFrame:
    folder = Path(str(resources.files("calibration"))) / "measurements" / "communication"
    return pd.read_csv(folder / "exchanges.csv")


def read_exchanges() -> pd.DataFrame:
    """Measured exchanges, one operation a row, with what they put on the links.

    Columns ``sku, library, mode, family, operation, precision, scope, ep, tokens, up_s, network_s``
    (times at the full rate of scale-up links and network [s]) and ``time_s``. ``family`` is the
    kernel that an efficiency belongs to: library and mode, or the library where both modes run
    the same kernels.
    """
    frame = _rows()
    per_pair = {
        (library, mode): node["copies"] == "pair"
        for library, entry in exchange_libraries_data().items()
        for mode, node in entry["modes"].items()
    }
    rows = []
    for row in cast("Iterator[Any]", frame.itertuples()):
        sku = load_sku(row.sku)
        pairs = per_pair[row.library, row.mode]
        up, network = copies_of_token(
            ranks=row.ep,
            domain=int(sku.scaleup_world),
            choices=row.experts_per_token,
            per_pair=pairs,
        )
        for operation in OPERATIONS:
            time_us = getattr(row, f"{operation}_p50_us")
            if not np.isfinite(time_us):
                continue
            precision = row.dispatch_precision if operation == "dispatch" else "bf16"
            value = 1.0 if row.library == "mori" and precision == "fp8" else _BYTES[precision]
            sent = row.tokens_per_rank * row.hidden * value
            rows.append(
                {
                    "sku": row.sku,
                    "library": row.library,
                    "mode": row.mode,
                    "family": row.library if row.library == "mori" else f"{row.library}/{row.mode}",
                    "operation": operation,
                    "precision": precision,
                    "scope": scope_of(ranks=row.ep, sku=sku),
                    "ep": row.ep,
                    "tokens": row.tokens_per_rank,
                    "up_s": up * sent / float(sku.scaleup_bytes_per_s),
                    "network_s": network * sent / float(sku.scaleout_bytes_per_s or np.inf),
                    "time_s": time_us * 1e-6,
                }
            )
    return pd.DataFrame(rows)


def broken_series(frame: pd.DataFrame) -> list[tuple[str, str, int]]:
    """Series (SKU, library, EP) whose network is broken, by the line rate of large exchanges.

    A series is broken if its median share of the network's line rate is below `BROKEN_SHARE` of
    the median of the other chips under the same library.
    """
    large = frame[(frame["network_s"] > 0) & (frame["tokens"] >= LARGE_TOKENS)]
    share = (large["network_s"] / large["time_s"]).groupby([large[c] for c in _SERIES]).median()
    broken = []
    for (sku, library, ep), value in cast(
        "Iterator[tuple[tuple[str, str, int], float]]", share.items()
    ):
        others = share[
            (share.index.get_level_values("library") == library)
            & (share.index.get_level_values("sku") != sku)
        ]
        if len(others) and value < BROKEN_SHARE * others.median():
            broken.append((str(sku), str(library), int(ep)))
    return broken


def usable_exchanges() -> pd.DataFrame:
    """The measured exchanges without the series whose network is broken."""
    frame = read_exchanges()
    bad = set(broken_series(frame))
    keep = [key not in bad for key in frame[_SERIES].itertuples(index=False, name=None)]
    return frame[keep].reset_index(drop=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeLaw:
    """Fitted figures of the law.

    ``efficiency`` by family, ``network`` by library [-]; ``latency_s`` by (library, mode,
    operation, precision, scope), as measured or completed by `completed` [s].
    """

    efficiency: dict[str, float]
    network: dict[str, float]
    latency_s: dict[tuple[str, str, str, str, str], float]

    def predict_s(self, frame: pd.DataFrame) -> npt.NDArray[np.float64]:
        """Times of exchanges; not a number where the library was not measured at all. [s]"""
        keys = ["library", "mode", "operation", "precision", "scope"]
        usual_e = float(np.median(list(self.efficiency.values())))
        usual_n = float(np.median(list(self.network.values())))
        rows = cast(
            "Iterator[tuple[str, str, str, str, str]]",
            frame[keys].itertuples(index=False, name=None),
        )
        latency = [self.latency_s.get(key, self._elsewhere(key)) for key in rows]
        e = frame["family"].map(self.efficiency).fillna(usual_e)
        n = frame["library"].map(self.network).fillna(usual_n)
        up_s = (frame["up_s"] / e).to_numpy(float)
        network_s = (frame["network_s"] / n).to_numpy(float)
        seconds: npt.NDArray[np.float64] = np.array(latency) + np.maximum(up_s, network_s)
        return seconds

    def _elsewhere(self, key: tuple[str, str, str, str, str]) -> float:
        """A latency that was not measured: of another scope of the same kernel, scaled.

        The factor between two scopes is the median over all kernels measured in both; a rack
        that no kernel was measured on counts as domains joined by the network.
        """
        *kernel, scope = key
        library, mode, operation, precision = kernel
        own = {s: self.latency_s.get((library, mode, operation, precision, s)) for s in SCOPES}
        for other in ("islands", "island", "rack"):
            value = own[other]
            if value is None or other == scope:
                continue
            ratios = [
                self.latency_s[(*k[:4], scope)] / v
                for k, v in self.latency_s.items()
                if k[4] == other and (*k[:4], scope) in self.latency_s
            ]
            if ratios:
                return value * float(np.median(ratios))
            if {scope, other} == {"rack", "islands"}:
                return value
        return float("nan")


def fit_exchanges(frame: pd.DataFrame) -> ExchangeLaw:
    """Robust fit to logarithmic residuals.

    Efficiencies are held near 0.6 by a weak prior (a tenth of a row's weight), since some are
    seen in small exchanges only.
    """
    keys = ["library", "mode", "operation", "precision", "scope"]
    named = cast(
        "list[tuple[str, str, str, str, str]]",
        list(frame[keys].itertuples(index=False, name=None)),
    )
    kernels = list(dict.fromkeys(named))
    place = {key: index for index, key in enumerate(kernels)}
    of_row = np.array([place[key] for key in named])
    families, libraries = sorted(frame["family"].unique()), sorted(frame["library"].unique())
    family = frame["family"].map({name: i for i, name in enumerate(families)}).to_numpy()
    library = frame["library"].map({name: i for i, name in enumerate(libraries)}).to_numpy()
    time_s = frame["time_s"].to_numpy(float)
    up_s, network_s = frame["up_s"].to_numpy(float), frame["network_s"].to_numpy(float)
    shares = len(families) + len(libraries)
    prior = np.log(0.6)

    def residuals(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        e, n = np.exp(x[: len(families)]), np.exp(x[len(families) : shares])
        links = np.maximum(up_s / e[family], network_s / n[library])
        gap = np.log(np.exp(x[shares:])[of_row] + links) - np.log(time_s)
        return np.concatenate([gap, 0.1 * (x[:shares] - prior)])

    rows = np.arange(len(frame))

    def jacobian(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        up = up_s / np.exp(x[: len(families)])[family]
        network = network_s / np.exp(x[len(families) : shares])[library]
        latency = np.exp(x[shares:])[of_row]
        total = latency + np.maximum(up, network)
        matrix = np.zeros((len(frame) + shares, len(x)))
        matrix[rows, family] = -np.where(up >= network, up, 0.0) / total
        matrix[rows, len(families) + library] = -np.where(up < network, network, 0.0) / total
        matrix[rows, shares + of_row] = latency / total
        matrix[len(frame) + np.arange(shares), np.arange(shares)] = 0.1
        return matrix

    least = np.array([time_s[of_row == i].min() for i in range(len(kernels))])
    start = np.concatenate([np.full(shares, prior), np.log(0.9 * least)])
    low = np.concatenate([np.full(shares, np.log(0.02)), np.full(len(kernels), np.log(1e-6))])
    high = np.concatenate([np.zeros(shares), np.full(len(kernels), np.log(1e-3))])
    x = soft_l1_fit(residuals, start, jacobian=jacobian, bounds=(low, high), scale=0.2)
    values = [float(value) for value in np.exp(x)]
    return ExchangeLaw(
        efficiency=dict(zip(families, values, strict=False)),
        network=dict(zip(libraries, values[len(families) : shares], strict=True)),
        latency_s=dict(zip(kernels, values[shares:], strict=True)),
    )


def round_trip_share() -> float:
    """Round trip over dispatch and combine, low-latency mode up to 32 tokens a rank, median. [-]"""
    frame = _rows()
    small = frame[(frame["mode"] == "low_latency") & (frame["tokens_per_rank"] <= SMALL_TOKENS)]
    apart = small["dispatch_p50_us"] + small["combine_p50_us"]
    return float((small["roundtrip_p50_us"] / apart).median())


def relative_errors(law: ExchangeLaw, frame: pd.DataFrame) -> pd.Series:
    """``|predicted / measured - 1|`` of each row; missing where nothing can be predicted. [-]"""
    return pd.Series(np.abs(law.predict_s(frame) / frame["time_s"] - 1.0), index=frame.index)


def left_out_errors(frame: pd.DataFrame) -> pd.DataFrame:
    """Each SKU predicted from the others: rows with ``error``, missing where none is possible."""
    parts = []
    for sku in sorted(frame["sku"].unique()):
        own = frame[frame["sku"] == sku]
        law = fit_exchanges(frame[frame["sku"] != sku])
        parts.append(own.assign(error=relative_errors(law, own)))
    whole: pd.DataFrame = pd.concat(parts)
    return whole


def law_file(frame: pd.DataFrame) -> dict[str, Any]:
    """The law as ``hwmodels/communication/law.yaml`` holds it.

    Latencies are those of BF16: the surcharge of FP8 dispatch (DeepEP 47 to 103 us, MoRI 1 us) is
    the harness's own cast, which an engine fuses with what comes before.
    """
    law = fit_exchanges(frame)
    errors = relative_errors(law, frame)
    out = left_out_errors(frame)
    modes: dict[str, Any] = {}
    for library, entry in exchange_libraries_data().items():
        for mode in entry["modes"]:
            family = library if library == "mori" else f"{library}/{mode}"
            own = (frame["library"] == library) & (frame["mode"] == mode)
            latency: dict[str, Any] = {}
            for scope in SCOPES:
                for operation in OPERATIONS:
                    latency.setdefault(scope, {})[operation] = _latency(
                        law, library=library, mode=mode, operation=operation, scope=scope
                    )
            over = bool((frame["network_s"][frame["library"] == library] > 0).any())
            modes[f"{library}/{mode}"] = {
                "scaleup_efficiency": _figure(law.efficiency[family], "-", "fitted"),
                "network_efficiency": _figure(law.network[library], "-", "fitted")
                if over
                else _figure(
                    float(np.median(list(law.network.values()))),
                    "-",
                    "estimate",
                    note="not measured across domains: median of the libraries that were",
                ),
                "latency": latency,
                "error": {
                    "in_sample": round(float(errors[own].median()), 3),
                    "cross_sku": _rounded(out.loc[own[own].index, "error"].median()),
                },
                "rows": int(own.sum()),
                "skus": sorted(frame["sku"][own].unique()),
            }
    return {
        "model": "t = L + max(C_up T b / (e W_up), C_net T b / (n W_net)), drained GPU",
        "source": ADDRESS,
        "dropped": [f"{s} {lib} EP{ep}" for s, lib, ep in broken_series(read_exchanges())],
        "round_trip": _figure(round_trip_share(), "-", "measured"),
        "modes": modes,
    }


def _latency(
    law: ExchangeLaw, *, library: str, mode: str, operation: str, scope: str
) -> dict[str, Any]:
    key = (library, mode, operation, "bf16", scope)
    if key in law.latency_s:
        return _figure(law.latency_s[key] * 1e6, "us", "fitted")
    value = law._elsewhere(key)
    if np.isfinite(value):
        return _figure(value * 1e6, "us", "estimate", note="scaled from another scope")
    fp8 = (library, mode, operation, "fp8", scope)
    value = law.latency_s.get(fp8, law._elsewhere(fp8))
    return _figure(value * 1e6, "us", "estimate", note="of FP8 dispatch, or scaled from it")


def _figure(value: float, unit: str, kind: str, *, note: str = "") -> dict[str, Any]:
    figure = {"value": float(f"{value:.4g}"), "unit": unit, "kind": kind}
    return {**figure, "note": note} if note else {**figure, "source": SOURCE}


def _rounded(value: float) -> float | None:
    return round(float(value), 3) if np.isfinite(value) else None


def write_law(path: Path) -> None:
    """Refit and write ``law.yaml``."""
    import yaml

    text = yaml.safe_dump(law_file(usable_exchanges()), sort_keys=False, width=100)
    write_text(
        path, f"# Written by calibration.kernels.exchanges from measurements/communication\n{text}"
    )


if __name__ == "__main__":
    write_law(Path(str(resources.files("hwmodels"))) / "communication" / "law.yaml")
