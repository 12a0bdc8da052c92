"""Which columns of a table of runs say what ran, under which names, and which cannot be used."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from simulator.output.columns import WHAT_RAN, columns
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ALIASES: dict[str, tuple[str, ...]] = {
    "spec_decoding": ("speculation",),
    "spec_tokens": ("drafts",),
    "disagg": ("disaggregated",),
    "num_gpus": ("gpus",),
    "label": ("layout", "deployment"),
    "prefill_dp_attn": ("prefill_dp_attention",),
    "decode_tp": ("tp",),
    "decode_ep": ("ep",),
    "decode_dp_attn": ("decode_dp_attention", "dp_attention"),
}
"""Other names of a column: those of measured tables, of curves and of scenario files."""

PLAIN = (
    "date",
    "spec_decoding",
    "spec_tokens",
    "prefill_gpus",
    "decode_gpus",
    "num_gpus",
    "settings",
    "level",
)
"""Columns that are read besides those that runs are written with."""

UNUSABLE: dict[str, str] = {
    "calibration": "a fit holds for the whole table: --calibration DIR",
    "economics_date": "predict computes no costs",
    "rate": "predict simulates closed loops of `concurrency` clients; see simulate load",
    "arrivals": "predict simulates closed loops; see simulate load",
    "workload": "lengths come from `isl`, `osl` and `length_distribution`, which takes a file or "
    "mlperf-r1-server; see simulate load",
    "replicas": "state all workers in prefill_workers and decode_workers",
    "expert_load": "predict takes tokens as uniform over the experts; see simulate load",
    "redundant_experts": "predict takes tokens as uniform over the experts; see simulate load",
    "prefill": "write the workers of the prefill pool as prefill_workers",
    "decode": "write the workers of the decode pool as decode_workers",
    "cp": "context parallelism is not modelled",
    "dcp": "context parallelism is not modelled",
    "routing": "predict balances round robin; see simulate load",
    "prefix_cache": "InferenceX's prompts share nothing; see simulate load",
}
"""Names that a user may expect to be read, and why they are not."""

_LEAST_LETTERS = 4
_NEAR = 0.8


def read_columns() -> tuple[str, ...]:
    """Every name that is read."""
    own = (*(column.name for column in WHAT_RAN), *PLAIN)
    return tuple(dict.fromkeys((*own, *(alias for names in ALIASES.values() for alias in names))))


def check_columns(names: Iterable[str], *, filled: Mapping[str, bool]) -> None:
    """Refuse columns that would be read if they were spelt right, or cannot be used.

    Parameters
    ----------
    filled:
        Whether any cell of a column is not blank.

    Raises
    ------
    UserError
        If a name is near one that is read and is none that a command writes, or is known and of
        no use.
    """
    known = read_columns()
    for name in names:
        if name in UNUSABLE:
            if filled.get(name, True):
                raise UserError(f"column {name} cannot be used: {UNUSABLE[name]}; take it out")
            continue
        if name in known or name in columns() or name.startswith(("input_", "pred_")):
            continue
        if len(name) <= _LEAST_LETTERS or name in _MEASURED:
            continue
        near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=_NEAR)
        if near:
            raise UserError(
                f"column {name} is not read; did you mean {near[0]}? Rename it, so that it is "
                "clear what it is"
            )


_MEASURED = frozenset(
    {"kind", "n_runs", "quality", "source", "also_in", "tput_relative_iqr", "tpot_relative_iqr"}
)


def canonical_row(row: Mapping[str, object]) -> dict[str, object]:
    """A row with every cell under the name that is read, blank cells left out.

    Raises
    ------
    UserError
        If two names of one column hold different values.
    """
    found: dict[str, object] = {}
    names = {alias: name for name, aliases in ALIASES.items() for alias in aliases}
    for given, value in row.items():
        if is_blank(value):
            continue
        name = names.get(given, given)
        if name in found and str(found[name]).strip() != str(value).strip():
            raise UserError(
                f"{given} is {value}, but {name}, of which it is another name, is {found[name]}; "
                "keep one of them"
            )
        found[name] = value
    return found


def is_blank(value: object) -> bool:
    """Whether a cell holds nothing."""
    try:
        return value is None or bool(value != value) or not str(value).strip()
    except TypeError:  # pandas' NA has no truth
        return True
