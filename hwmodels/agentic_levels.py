"""Software levels of builds that only agentic runs have measured.

Published fixed-length runs end before the builds that AgentX was run with. Where step records or
agentic runs of a later build exist, ``software/agentic.yaml`` states what they say of the
parameters of ``software/fitted.yaml``, per engine and chip generation, never per run.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.datafiles import read_yaml_mapping

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

    from hwmodels.software import SoftwareLevel

_stand_in: ContextVar[bool] = ContextVar("agentic levels stand in", default=True)


@contextmanager
def fixed_lengths_only() -> Iterator[None]:
    """Levels of fixed-length runs alone, as if no agentic build were known, for comparisons."""
    token = _stand_in.set(False)
    try:
        yield
    finally:
        _stand_in.reset(token)


@lru_cache(maxsize=1)
def _levels() -> tuple[dict[str, Any], ...]:
    path = Path(str(resources.files("hwmodels") / "software" / "agentic.yaml"))
    return tuple(read_yaml_mapping(path)["levels"])


def agentic_level(
    level: SoftwareLevel, *, family: str, date: dt.date | None, sku: str | None = None
) -> SoftwareLevel:
    """The level of an engine's agentic builds in place of one from fixed-length runs.

    Parameters
    ----------
    level:
        From fixed-length runs; returned as it is where no agentic build is known.
    family:
        Architecture that kernels are written for, such as ``deepseek_v4``.
    date:
        Day that is asked for; ``None``: the latest. An earlier day than that of the agentic
        build keeps the level.
    sku:
        Key of the chip. On one whose agentic builds nobody has measured the level is
        transferred, whatever fixed-length runs there are of it; ``None``: not looked at.
    """
    for one in _levels() if _stand_in.get() else ():
        if (
            one["engine"] == level.engine
            and level.generation in one["generations"]
            and one["family"] == family
            and (date is None or one["date"] <= date)
        ):
            values = {name: float(each["value"]) for name, each in one["parameters"].items()}
            changed = level.with_parameters(values)
            source = f"{one['kind']}: {one['source']}"
            return replace(
                changed,
                kind=_kind(level, measured=one["skus"], sku=sku),
                name=f"{level.engine}@{one['date']}-agentic",
                messages=(f"step times of the agentic build of {one['date']}: {_basis(one)}",),
                provenance={**level.provenance, **dict.fromkeys(values, source)},
            )
    return level


def _kind(level: SoftwareLevel, *, measured: list[str], sku: str | None) -> str:
    lent = sku is not None and sku not in measured
    return "transferred" if lent and level.kind == "calibrated" else level.kind


def _basis(one: dict[str, Any]) -> str:
    """What a level rests on, and how many agentic runs are in it."""
    runs = int(one["agentic_runs"])
    told = {0: "no agentic run", 1: "one agentic run"}.get(runs, f"{runs} agentic runs")
    return f"{one['basis']} ({told} in it)"


def agentic_dates(*, engine: str, generation: str, family: str) -> tuple[dt.date, ...]:
    """Days from which levels of agentic builds hold for an engine on chips of a generation."""
    return tuple(
        sorted(
            one["date"]
            for one in _levels()
            if one["engine"] == engine
            and generation in one["generations"]
            and one["family"] == family
        )
    )
