"""What only a user knows of a run, and how it completes what a result says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calibration.measured.runs import cell_text
from calibration.measured.schema import NAMES, PREDICT_NAMES
from simulator.engines.pools import parse_deployment
from workloads.datafiles import read_yaml_mapping
from workloads.errors import UserError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from calibration.importers.results import BenchmarkResult, RunRecord

FOLDER_SIDECAR = "runs.yaml"
_NEEDED = ("model", "sku", "engine", "isl", "osl", "concurrency", "gpus")
_WORTH_STATING = ("precision", "speculation")
_COLUMN_OF = {
    **{name: name for name in NAMES},
    **{predict: name for name, predict in PREDICT_NAMES.items()},
    # Short names for the layout of an aggregated run, beside `layout: DEP8`.
    **{name: f"decode_{name}" for name in ("workers", "tp", "ep", "dp_attention")},
}


def canonical_facts(known: Mapping[str, object], *, origin: str) -> dict[str, object]:
    """Facts under the names of the table's columns, a layout label spelled out.

    Parameters
    ----------
    known:
        Values by column, by their name in a table for ``simulate predict``, or by ``layout``,
        ``tp``, ``ep``, ``dp_attention`` and ``workers``; those that are ``None`` are left out.
    origin:
        Where they come from, for errors.

    Raises
    ------
    UserError
        If a name is unknown or ``layout`` is no label.
    """
    facts: dict[str, object] = {}
    for key, value in known.items():
        if value is None:
            continue
        if key == "layout":
            facts |= _layout_columns(str(value), origin=origin)
        elif key in _COLUMN_OF:
            facts[_COLUMN_OF[key]] = value
        else:
            error = unknown_name(field="field", value=key, known=(*_COLUMN_OF, "layout"))
            raise UserError(f"{origin}: {error}")
    return facts


def sidecar_facts(file: Path, *, root: Path) -> dict[str, object]:
    """Facts from ``runs.yaml`` in the folders from ``root`` to a file, and from its own YAML."""
    folders = [
        folder for folder in reversed(file.parents) if folder == root or root in folder.parents
    ]
    facts: dict[str, object] = {}
    for sidecar in (*(folder / FOLDER_SIDECAR for folder in folders), file.with_suffix(".yaml")):
        if sidecar.is_file():
            facts |= canonical_facts(read_yaml_mapping(sidecar), origin=str(sidecar))
    return facts


def completed_cells(
    record: RunRecord, result: BenchmarkResult, facts: Mapping[str, object]
) -> dict[str, str]:
    """Text cells of a run: the facts first, then the result; rates divided by GPUs.

    Raises
    ------
    UserError
        If something is missing that neither states.
    """
    chosen = {
        key: value for key, value in record.stated.items() if key in _COLUMN_OF or key == "layout"
    }
    fields = {
        **canonical_facts(chosen, origin=result.origin),
        **{name: value for name, value in record.fields.items() if value is not None},
        **facts,
    }
    _complete_gpus(fields)
    missing = [name for name in _NEEDED if name not in fields]
    if missing:
        hints = [f"{name}: {record.hints[name]}" for name in missing if name in record.hints]
        named = ["tp or layout" if name == "gpus" else name for name in missing]
        raise UserError(
            f"{result.origin}: {', '.join(named)} not stated; give them as options or in "
            f"{result.file.with_suffix('.yaml').name} or {FOLDER_SIDECAR} beside it"
            + "".join(f"\n{hint}" for hint in hints)
        )
    unstated = [name for name in _WORTH_STATING if name not in fields]
    if unstated:
        record.notes.append(f"{' and '.join(unstated)} not stated; blank in the table")
    fields |= _rates_per_gpu(record, fields, result)
    return {name: cell_text(value) for name, value in fields.items()}


def _layout_columns(label: str, *, origin: str) -> dict[str, object]:
    try:
        pools = parse_deployment(label)
    except ValueError as error:
        raise UserError(f"{origin}: layout {error}") from None
    facts: dict[str, object] = {
        "disaggregated": len(pools) > 1,
        "gpus": sum(pool.gpus for pool in pools),
    }
    for pool in pools:
        prefix = "prefill" if pool.role == "prefill" else "decode"
        facts |= {
            f"{prefix}_workers": pool.workers,
            f"{prefix}_tp": pool.layout.tp,
            f"{prefix}_ep": pool.layout.ep,
            f"{prefix}_dp_attention": pool.layout.dp_attention,
            f"{prefix}_gpus": pool.gpus,
        }
    return facts


def _is_disaggregated(fields: Mapping[str, object]) -> bool:
    return str(fields.get("disaggregated")).lower() == "true"


def _complete_gpus(fields: dict[str, object]) -> None:
    """GPUs of the pools and of the deployment, as far as workers and ranks give them."""
    pools = ("prefill", "decode") if _is_disaggregated(fields) else ("decode",)
    for prefix in pools:
        ranks = fields.get(f"{prefix}_tp")
        if f"{prefix}_gpus" not in fields and ranks is not None:
            workers = fields.get(f"{prefix}_workers") or 1
            fields[f"{prefix}_gpus"] = _float(ranks) * _float(workers)
    counts = [fields.get(f"{prefix}_gpus") for prefix in pools]
    if "gpus" not in fields and None not in counts:
        fields["gpus"] = sum(_float(count) for count in counts)


def _rates_per_gpu(
    record: RunRecord, fields: Mapping[str, object], result: BenchmarkResult
) -> dict[str, object]:
    """InferenceX's rates: a disaggregated run's output over decode GPUs, input over prefill's.

    The rate of a pool whose GPUs are not known stays blank.
    """
    split = _is_disaggregated(fields)
    rates = (
        ("total", "gpus", record.total_tok_per_s),
        ("output", "decode_gpus" if split else "gpus", record.output_tok_per_s),
        ("input", "prefill_gpus" if split else "gpus", record.input_tok_per_s),
    )
    cells: dict[str, object] = {}
    for kind, column, rate in rates:
        if rate is None or column not in fields:
            continue
        gpus = _float(fields[column])
        if not gpus >= 1:
            raise result.error(column, f"is {fields[column]}; it must be at least 1")
        cells[f"{kind}_tput_per_gpu"] = rate / gpus
    return cells


def _float(value: object) -> float:
    """A number given as text or value; NaN if it is none, which the table's own checks report."""
    try:
        return float(str(value))
    except ValueError:
        return float("nan")
