"""Tables that others write of runs and predictions, in the names of the measured table.

Exports of InferenceX's dashboard and the point files of simulators name the same things in other
words: ``hw``, ``framework``, ``conc``, ``tput_per_gpu``, ``mean_ttft_ms``. A point file may hold
measured and predicted figures side by side: ``actual_tpot_ms`` and ``predicted_tpot_ms``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from calibration.measured.schema import NAMES, PREDICT_NAMES
from workloads.errors import UserError, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

CONFIGURATION = {
    "model": ("model_name", "model_id", "model_path"),
    "sku": ("hw", "hardware", "gpu", "gpu_type", "gpu_name", "accelerator", "device", "chip"),
    "engine": ("framework", "backend", "inference_engine", "serving_engine"),
    "precision": ("dtype", "quantization", "quant"),
    "speculation": ("spec_decoding", "spec"),
    "decode_tp": ("tp", "tp_size", "tensor_parallel_size", "tensor_parallel"),
    "decode_ep": ("ep", "ep_size", "expert_parallel_size"),
    "decode_dp_attention": ("dp_attention", "dp_attn", "attention_dp"),
    "gpus": ("num_gpus", "n_gpus", "total_gpus", "world_size"),
    "isl": ("input_len", "input_length", "input_tokens", "prompt_tokens", "prompt_len"),
    "osl": ("output_len", "output_length", "output_tokens", "gen_tokens"),
    "concurrency": ("conc", "max_concurrency", "num_clients", "users"),
    "date": ("run_date",),
}
"""Other names of columns that say what ran."""
METRICS = {
    "total_tput_per_gpu": (
        *("tput_per_gpu", "throughput_per_gpu", "total_token_throughput_per_gpu"),
        *("tokens_per_s_per_gpu", "tok_s_gpu", "tokens_per_second_per_gpu"),
    ),
    "output_tput_per_gpu": ("output_throughput_per_gpu",),
    "median_tpot_s": ("median_tpot", "p50_tpot"),
    "mean_tpot_s": ("mean_tpot", "tpot", "tpot_mean"),
    "median_ttft_s": ("median_ttft", "p50_ttft"),
    "mean_ttft_s": ("mean_ttft", "ttft", "ttft_mean"),
}
"""Other names of figures, without prefix and unit."""
MEASURED = ("measured_", "actual_", "real_", "observed_", "gt_", "ground_truth_")
PREDICTED = ("predicted_", "pred_", "simulated_", "sim_", "estimated_", "forecast_")
_UNITS = {"_ms": 1e-3, "_us": 1e-6, "_s": 1.0, "_sec": 1.0}
_FIGURE = re.compile("ttft|tpot|itl|tput|throughput|latency")
_OWN = frozenset({*NAMES, *PREDICT_NAMES.values()})


def translated(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame | None, list[str]]:
    """A table in the names of the measured one, its predictions, and what was renamed.

    Parameters
    ----------
    frame:
        The table as text.

    Returns
    -------
    Measured runs as text; predictions with the columns that ``simulate predict`` adds, or ``None``
    where the table holds none; a note.

    Raises
    ------
    UserError
        If a figure is no number.
    """
    import pandas as pd

    measured = pd.DataFrame(index=frame.index)
    predicted = pd.DataFrame(index=frame.index)
    renamed: list[str] = []
    for column in frame.columns:
        own, is_predicted, scale = _meaning(str(column))
        if own is None or (own in measured and not is_predicted):
            if str(column) in _OWN:
                measured[column] = frame[column]
            continue
        cells = frame[column] if scale == 1.0 else _scaled(frame[column], scale)
        if is_predicted:
            predicted[f"pred_{own}"] = numbers(cells, place="the table")
        else:
            measured[own] = cells
        if own != column:
            renamed.append(f"{column} as {own}")
    notes = [f"read {', '.join(renamed)}"] if renamed else []
    if predicted.empty:
        return measured, None, notes
    for name in METRICS:
        if f"pred_{name}" not in predicted:
            predicted[f"pred_{name}"] = float("nan")
    known = predicted[[f"pred_{name}" for name in METRICS]].notna().any(axis=1)
    predicted["status"] = known.map({True: "ok", False: "not predicted"})
    predicted["bottleneck"] = ""
    return measured, predicted, notes


def figures_not_read(columns: Sequence[str]) -> list[str]:
    """Columns that are named like figures of a run, but under no name that is known."""
    return [
        str(column)
        for column in columns
        if str(column) not in _OWN
        and _meaning(str(column))[0] is None
        and _FIGURE.search(str(column).lower())
    ]


def is_foreign(columns: Sequence[str]) -> bool:
    """Whether a table has columns under other names than the measured table's."""
    return any(
        str(column) not in _OWN and _meaning(str(column))[0] is not None for column in columns
    )


def _meaning(column: str) -> tuple[str | None, bool, float]:
    """The measured table's name of a column, whether it is predicted, and the unit in SI."""
    name = re.sub(r"[^a-z0-9]+", "_", column.strip().lower()).strip("_")
    is_predicted = name.startswith(PREDICTED)
    for prefix in (*MEASURED, *PREDICTED):
        if name.startswith(prefix):
            name = name.removeprefix(prefix)
            break
    else:
        if name in _OWN and name in NAMES:
            return name, False, 1.0
        for own, others in CONFIGURATION.items():
            if name in others:
                return own, False, 1.0
    if name in METRICS:
        return name, is_predicted, 1.0
    for suffix, scale in _UNITS.items():
        bare = name.removesuffix(suffix)
        if bare != name:
            found = next((own for own, others in METRICS.items() if bare in others), None)
            if found is not None:
                return found, is_predicted, scale
    found = next((own for own, others in METRICS.items() if name in others), None)
    return found, is_predicted, 1.0


def _scaled(cells: pd.Series, scale: float) -> pd.Series:
    """Numbers in SI units, as text."""
    in_si = scale * numbers(cells, place="the table")
    return in_si.map(lambda value: "" if value != value else f"{value:.9g}")


def numbers(cells: pd.Series[str], *, place: str) -> pd.Series[float]:
    """A column of text as numbers, blanks as unknown.

    Parameters
    ----------
    place:
        File, or what the table is called in an error.

    Raises
    ------
    UserError
        If a cell is no number; the message has its line, counted with the header.
    """
    import pandas as pd

    text = cells.fillna("").astype(str).str.strip()
    found = pd.to_numeric(text, errors="coerce")
    bad = found.isna() & ~text.str.lower().isin(("", "nan"))
    if bad.any():
        position = int(bad.to_numpy().argmax())
        raise UserError(
            f"{place}, line {position + 2}: {cells.name} is {shown(text.iloc[position])}; "
            "it must be a number, or blank"
        )
    return found
