"""A user's measured runs beside simulated curves: which points belong to which curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.names import load_engine
from simulator.series import known_sku

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    import pandas as pd

    from simulator.curve import CurveResult

UNMATCHED = "other SKUs"


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveLabel:
    """What a simulated curve stands for.

    Parameters
    ----------
    name:
        As the picture calls it.
    model, sku, engine:
        Canonical model, SKU key, and the engine whose kernels run.
    isl, osl:
        Nominal lengths. [tokens]
    """

    name: str
    model: str
    sku: str
    engine: str
    isl: int
    osl: int


def label_of_curve(result: CurveResult, *, name: str) -> CurveLabel:
    """The label of the one curve of `simulator.curve.explore_curve`."""
    settings = {key: result.resolved[key]["value"] for key in ("model", "sku", "isl", "osl")}
    engine = str(result.resolved["engine"]["value"]).partition("@")[0]
    return CurveLabel(name=name, engine=load_engine(engine).software, **settings)


def labels_of_runs(runs: pd.DataFrame) -> list[CurveLabel]:
    """The labels of the curves in a table of simulated runs, see `simulator.series`."""
    columns = ["series", "model", "sku", "engine", "isl", "osl"]
    return [
        CurveLabel(
            name=str(row["series"]),
            model=str(row["model"]),
            sku=_key_of(str(row["sku"])),
            engine=load_engine(str(row["engine"]).partition("@")[0]).software,
            isl=int(row["isl"]),
            osl=int(row["osl"]),
        )
        for row in runs[columns].drop_duplicates().to_dict("records")
    ]


def overlay_points(
    runs: pd.DataFrame | None, *, curves: Sequence[CurveLabel]
) -> tuple[pd.DataFrame | None, list[str]]:
    """Measured points to draw on a picture, and what was left out of it.

    Parameters
    ----------
    runs:
        A user's runs in the columns of the measured table; ``None`` if there are none.
    curves:
        The curves of the picture. A run is drawn if one of them has its model and lengths; it
        takes the colour of the one with its SKU and engine, else with its SKU.

    Returns
    -------
    The runs that are drawn, with ``median_tpot_s`` (the mean where there is no median) and the
    ``series`` that each belongs to, or ``None`` if no run is drawn; and a note for every reason
    why runs are not.
    """
    if runs is None:
        return None, []
    import pandas as pd

    tpot_s = runs["median_tpot_s"].fillna(runs["mean_tpot_s"])
    names = [
        _curve_of(row, curves)
        for row in runs[["model", "sku", "engine", "isl", "osl"]].to_dict("records")
    ]
    points = runs.assign(
        median_tpot_s=tpot_s.astype(float), series=pd.Series(names, index=runs.index, dtype=object)
    )
    other = points["series"].isna()
    silent = ~other & points["median_tpot_s"].isna()
    notes = []
    if other.any():
        notes.append(f"{int(other.sum())} own runs of another model or lengths are not drawn")
    if silent.any():
        notes.append(f"{int(silent.sum())} own runs without a TPOT are not drawn")
    drawn = points[~other & ~silent].reset_index(drop=True)
    return (drawn if len(drawn) else None), notes


def _key_of(sku: str) -> str:
    found = known_sku(sku)
    return sku if found is None else found.key


def _curve_of(row: Mapping[Hashable, object], curves: Sequence[CurveLabel]) -> str | None:
    """The name of the curve that a run belongs to; ``None`` if no curve compares with it."""
    alike = [
        curve
        for curve in curves
        if (curve.model, curve.isl, curve.osl) == (row["model"], row["isl"], row["osl"])
    ]
    if not alike:
        return None
    own = [curve for curve in alike if curve.sku == row["sku"]]
    engine = load_engine(str(row["engine"])).software
    same = [curve for curve in own if curve.engine == engine]
    return (same or own)[0].name if own else UNMATCHED
