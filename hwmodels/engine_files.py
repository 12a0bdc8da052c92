"""Execution plans, host times and kernel tables as they stand in ``software/*.yaml``."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.datafiles import read_yaml_mapping
from workloads.errors import unknown_name

if TYPE_CHECKING:
    import datetime as dt

    from hwmodels.sku import Sku


@lru_cache(maxsize=16)
def _read(name: str) -> dict[str, Any]:
    return read_yaml_mapping(Path(str(resources.files("hwmodels") / "software" / f"{name}.yaml")))


def list_engines() -> list[str]:
    """Engines that software levels exist for."""
    folder = resources.files("hwmodels") / "software"
    names = sorted(p.name.removesuffix(".yaml") for p in folder.iterdir())
    return [name for name in names if name not in ("kernels", "fitted", "agentic")]


def engine_file(engine: str) -> dict[str, Any]:
    """What stands in the file of an engine.

    Raises
    ------
    UserError
        If the engine is unknown.
    """
    if engine not in list_engines():
        raise unknown_name(field="engine", value=engine, known=list_engines())
    return _read(engine)


def list_levels(*, engine: str) -> list[dict[str, Any]]:
    """Execution-plan levels of an engine as they stand in its file."""
    levels: list[dict[str, Any]] = list(engine_file(engine)["levels"])
    return levels


def engine_defaults(engine: str) -> dict[str, Any]:
    """Host times and other parameters of an engine before anything is fitted, as figures."""
    defaults: dict[str, Any] = engine_file(engine)["defaults"]
    return defaults


def figure_value(figure: Any) -> float:
    """The number of a figure that stands with its kind and source."""
    return float(figure["value"])


def kernel_table() -> dict[str, Any]:
    """The kernel table ``software/kernels.yaml`` as it stands; not to be changed in place."""
    return _read("kernels")


def plan_level(
    levels: list[dict[str, Any]], *, sku: Sku, model: str, date: dt.date | None
) -> tuple[dict[str, Any], list[str]]:
    """The level whose execution plan is in force: the SKU's own by date, else the general one."""
    own = [
        level
        for level in levels
        if sku.key in level.get("skus", []) and model in level.get("models", [model])
    ]
    if not own:
        return next(level for level in levels if "skus" not in level), []
    own.sort(key=lambda level: str(level["date"]))
    before = [level for level in own if date is None or level["date"] <= date]
    if before:
        return before[-1], []
    return own[0], [f"no plan before {date} is known; that of {own[0]['date']} stands in"]
