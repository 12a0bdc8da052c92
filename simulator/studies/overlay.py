"""A user's measured runs beside simulated curves: which points belong to which curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simulator.engines.labels import parse_engine
from simulator.scenario.configure import parse_speculation
from simulator.studies.series import known_sku

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    import pandas as pd

UNMATCHED = "other SKUs"
ELSEWHERE = ("model", "lengths")
"""What a run must share with a curve to stand in one plot with it at all."""
SILENT = "speed"
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveLabel:
    """What a simulated curve stands for.

    Parameters
    ----------
    name:
        As the picture calls it.
    model, sku, engine, precision:
        Canonical model, SKU key, the engine whose kernels run, and the checkpoint's label.
    speculation:
        Method: ``none``, ``mtp`` or ``dspark``.
    disaggregated:
        Whether prefill and decode have pools of their own.
    isl, osl:
        Nominal lengths. [tokens]
    """

    name: str
    model: str
    sku: str
    engine: str
    precision: str
    speculation: str
    disaggregated: bool
    isl: int
    osl: int


_LABEL = ("series", "model", "sku", "engine", "precision", "spec", "disagg", "isl", "osl")


def labels_of_runs(runs: pd.DataFrame) -> list[CurveLabel]:
    """The labels of the curves in a table of simulated runs, see `simulator.studies.series`."""
    return labels_of_rows(runs[list(_LABEL)].drop_duplicates().to_dict("records"))


def labels_of_rows(rows: Iterable[Mapping[Any, Any]]) -> list[CurveLabel]:
    """`labels_of_runs` of rows that carry the columns of runs."""
    unique = {tuple(row[name] for name in _LABEL): row for row in rows}
    return [
        CurveLabel(
            name=str(row["series"]),
            model=str(row["model"]),
            sku=_key_of(str(row["sku"])),
            engine=_software(str(row["engine"])),
            precision=str(row["precision"]),
            speculation=parse_speculation(str(row["spec"]))[0],
            disaggregated=bool(row["disagg"]),
            isl=int(row["isl"]),
            osl=int(row["osl"]),
        )
        for row in unique.values()
    ]


def overlay_points(
    runs: pd.DataFrame | None, *, curves: Sequence[CurveLabel]
) -> tuple[pd.DataFrame | None, list[str]]:
    """Measured points to draw on a picture, like with like, and what was left out of it.

    A run is drawn if a curve has its model, lengths, SKU, engine, precision and speculation, and
    is disaggregated if it is. What a run does not tell differs from nothing.

    Parameters
    ----------
    runs:
        A user's runs in the columns of the measured table; ``None`` if there are none.
    curves:
        The curves of the picture.

    Returns
    -------
    The runs that are drawn, see `matched_runs`, or ``None`` if no run is drawn; and a note if
    some are not.
    """
    if runs is None:
        return None, []
    points = matched_runs(runs, curves=curves)
    left_out = points[points["differs"] != ""]
    drawn = points[points["differs"] == ""].reset_index(drop=True)
    notes = []
    if len(left_out):
        reasons = "; ".join(
            _reason(str(what), rows) for what, rows in left_out.groupby("differs", sort=False)
        )
        what = f"{len(left_out)} of {len(points)} measured runs are not drawn: {reasons}"
        if drawn.empty:
            kinds = dict.fromkeys(_text_of(curve) for curve in curves)
            what = f"no measured run is drawn, for none is like the curve: {reasons}. "
            what += f"Simulated: {'; '.join(kinds)}"
        notes.append(what)
    return (drawn if len(drawn) else None), notes


def comparable_points(
    runs: pd.DataFrame | None, *, curves: Sequence[CurveLabel]
) -> tuple[pd.DataFrame | None, list[str]]:
    """Measured points for a page with filters: those of a curve's model and lengths.

    Returns
    -------
    As `overlay_points`; ``differs`` says of each run in what it is unlike its curve.
    """
    if runs is None:
        return None, []
    points = matched_runs(runs, curves=curves)
    other = points["differs"].isin(ELSEWHERE)
    silent = points["median_tpot_s"].isna() & ~other
    notes = []
    if other.any():
        notes.append(f"{int(other.sum())} own runs of another model or lengths are not drawn")
    if silent.any():
        notes.append(f"{int(silent.sum())} own runs without a TPOT are not drawn")
    shown = points[~other & ~silent].reset_index(drop=True)
    return (shown if len(shown) else None), notes


def matched_runs(runs: pd.DataFrame, *, curves: Sequence[CurveLabel]) -> pd.DataFrame:
    """Measured runs with the curve that each is nearest to, and in what it is unlike that.

    Returns
    -------
    The runs with ``median_tpot_s`` (the mean where there is no median), the ``series`` that each
    belongs to, which is `UNMATCHED` on a SKU without a curve, and ``differs``: the first of model,
    lengths, SKU, engine, precision, speculation and disaggregation in which it is unlike, else
    `SILENT` without a TPOT, else nothing.
    """
    import pandas as pd

    found = [_nearest(row, curves) for row in runs.to_dict("records")]
    tpot_s = runs["median_tpot_s"].fillna(runs["mean_tpot_s"]).astype(float)
    differs = pd.Series([what for _, what in found], index=runs.index, dtype=object)
    return runs.assign(
        median_tpot_s=tpot_s,
        series=pd.Series([name for name, _ in found], index=runs.index, dtype=object),
        differs=differs.mask((differs == "") & tpot_s.isna(), SILENT),
    )


def _software(engine: str) -> str:
    return parse_engine(engine.partition("@")[0]).engine.software


def _key_of(sku: str) -> str:
    found = known_sku(sku)
    return sku if found is None else found.key


def _nearest(row: Mapping[Hashable, object], curves: Sequence[CurveLabel]) -> tuple[str, str]:
    """The name of the curve that a run is most like, and the first thing in which it is not."""
    unlike = [(_differences(row, curve), curve) for curve in curves]
    most = min(unlike, key=lambda pair: tuple(pair[0].values()), default=None)
    if most is None:
        return UNMATCHED, "model"
    differences, curve = most
    what = next((name for name, differs in differences.items() if differs), "")
    return (UNMATCHED if what in (*ELSEWHERE, "SKU") else curve.name), what


def _differences(row: Mapping[Hashable, object], curve: CurveLabel) -> dict[str, bool]:
    """In what a run is unlike a curve, what weighs most first."""

    def told(name: str) -> str:
        value = row.get(name)
        return "" if value is None or value != value else str(value)

    precision = told("precision").lower().removeprefix("nv").removeprefix("mx")
    speculation, pools = told("speculation"), row.get("disaggregated")
    return {
        "model": row["model"] != curve.model,
        "lengths": (row["isl"], row["osl"]) != (curve.isl, curve.osl),
        "SKU": row["sku"] != curve.sku,
        "engine": _software(str(row["engine"])) != curve.engine,
        "precision": precision not in ("", curve.precision.lower()),
        "speculation": speculation not in ("", curve.speculation),
        "pools": pools is not None and pools == pools and bool(pools) != curve.disaggregated,
    }


def _reason(what: str, rows: pd.DataFrame) -> str:
    """Why some runs are not drawn: ``9 with another speculation (mtp)``."""
    count = len(rows)
    if what == SILENT:
        return f"{count} without a TPOT"
    if what == "pools":
        values = [_pools_text(bool(each)) for each in rows["disaggregated"]]
    elif what == "lengths":
        values = [f"{isl:g}/{osl:g}" for isl, osl in zip(rows["isl"], rows["osl"], strict=True)]
    else:
        values = [str(value) for value in rows[what.lower()]]
    named = list(dict.fromkeys(values))
    more = ["..."] if len(named) > _MOST_NAMED else []
    other = {"lengths": "of other lengths", "pools": "served otherwise"}.get(
        what, f"of another {what}"
    )
    return f"{count} {other} ({', '.join([*named[:_MOST_NAMED], *more])})"


def _pools_text(disaggregated: bool) -> str:
    return "disaggregated" if disaggregated else "aggregated"


def _text_of(curve: CurveLabel) -> str:
    spec = "no speculation" if curve.speculation == "none" else curve.speculation
    return (
        f"{curve.model} {curve.precision} {curve.isl}/{curve.osl} on {curve.sku} with "
        f"{curve.engine}, {spec}, {_pools_text(curve.disaggregated)}"
    )
