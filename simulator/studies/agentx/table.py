"""A table of agentic runs in, the same table with predictions out."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from simulator.engines.pools import DoesNotFitError
from simulator.studies.agentx.request import build_agentx
from simulator.studies.agentx.run import run_agentx
from simulator.studies.processes import side_by_side
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd

_WHOLE = ("concurrency", "tp", "ep", "gpus", "prefill", "decode", "prefill_tp", "prefill_ep")
_YES_OR_NO = ("dp_attention", "prefill_dp_attention")
_TEXT = ("model", "precision", "spec", "kv_offload", "protocol")
COLUMNS = ("sku", "engine", *_TEXT, *_WHOLE, *_YES_OR_NO, "acceptance_length", "seed")
"""Columns that say what ran; of them ``sku`` and ``concurrency``, the live sessions, are needed."""

_BOOLS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def predict_sessions(
    table: pd.DataFrame,
    *,
    trees: Mapping[str, Any],
    calibration: str | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Every row with a ``status``, a ``reason`` and its figures as ``pred_`` columns.

    Parameters
    ----------
    table:
        Cells as text; `COLUMNS` are read, others are kept as they are.
    trees:
        Workload and protocol where a row states none.
    workers:
        Processes, which results do not depend on; ``None``: one per core. [processes]

    Raises
    ------
    UserError
        If the table lacks a column that is needed.
    """
    import pandas as pd

    for name in ("sku", "concurrency"):
        if name not in table.columns:
            raise UserError(
                f"column {name} is missing; a table of agentic runs needs sku and concurrency, "
                f"and may state {', '.join(c for c in COLUMNS if c not in ('sku', 'concurrency'))}"
            )
    calls = []
    for _, row in table.iterrows():
        cells = {name: str(row[name]).strip() for name in COLUMNS if name in table.columns}
        calls.append(partial(_predicted, cells, trees=trees, calibration=calibration))
    found: list[dict[str, Any]] = []
    for figures in side_by_side(calls, workers=workers):
        found.append(figures)
        if progress is not None:
            progress(len(found), len(table))
    return pd.concat([table.reset_index(drop=True), pd.DataFrame(found)], axis=1)


def _predicted(
    cells: Mapping[str, str], *, trees: Mapping[str, Any], calibration: str | None
) -> dict[str, Any]:
    """What is put beside a row: its figures, or why there are none."""
    try:
        flags, system = _flags({k: v for k, v in cells.items() if v})
        stated = {name: value for name, value in trees.items() if value is not None} | flags
        if calibration is not None:
            stated["calibration"] = calibration
        point = run_agentx(build_agentx([system], flags=stated)).points[0]
    except (UserError, DoesNotFitError) as error:
        return {"status": "failed", "reason": str(error).splitlines()[0]}
    figures = {f"pred_{name}": value for name, value in point.to_dict().items()}
    return {"status": "ok", "reason": "", **figures}


def _flags(cells: dict[str, str]) -> tuple[dict[str, Any], str]:
    if "concurrency" not in cells or "sku" not in cells:
        raise UserError("sku or concurrency is blank; both are needed")
    system = cells["sku"] + (f":{cells['engine']}" if "engine" in cells else "")
    flags: dict[str, Any] = {name: cells[name] for name in _TEXT if name in cells}
    for name in (*_WHOLE, "seed"):
        if name in cells:
            try:
                flags[name] = int(float(cells[name]))
            except (OverflowError, ValueError):
                raise UserError(f"{name} is '{cells[name]}'; it must be a whole number") from None
    for name in _YES_OR_NO:
        if name in cells:
            value = _BOOLS.get(cells[name].lower())
            if value is None:
                raise UserError(f"{name} is '{cells[name]}'; write true or false")
            flags[name] = value
    if "acceptance_length" in cells:
        try:
            flags["acceptance_length"] = float(cells["acceptance_length"])
        except ValueError:
            raise UserError(
                f"acceptance_length is '{cells['acceptance_length']}'; it must be a number"
            ) from None
    flags["concurrency"] = (flags["concurrency"],)
    return flags, system
