"""One row of a table of runs as a configuration that can be simulated."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, get_args

from hwmodels.economics import load_economics
from simulator.engines.labels import EngineRequest, default_precision, parse_engine
from simulator.engines.pools import SpeculationMethod
from simulator.recipes.layouts import PoolRequest
from simulator.scenario.configure import ClosedLoad, configure
from simulator.scenario.target import Target, changed_sku, check_runs_on
from workloads.architectures.catalog import load_architecture
from workloads.errors import UserError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from simulator.engines.pools import Role
    from simulator.scenario.configuration import RunConfiguration

_TRUE = ("true", "1", "1.0", "yes")
_FALSE = ("false", "0", "0.0", "no")


def configure_row(
    row: Mapping[str, object], *, calibration: Path | None = None
) -> tuple[RunConfiguration, tuple[str, ...]]:
    """The configuration that a row describes, and what had to be assumed.

    Parameters
    ----------
    row:
        Cells by column name, as text or as values; a column may be missing where its cell may
        be blank.
    calibration:
        Directory of a user's own fit.

    Raises
    ------
    UserError
        If the row cannot be predicted: a cell is no number, a name is unknown, or the layout is
        neither stated nor in a recipe.
    """
    architecture = load_architecture(_required(row, "model"))
    sku = changed_sku(_required(row, "sku"), overrides={})
    engine = _engine(row)
    check_runs_on(engine.engine, sku=sku)
    target = Target(
        sku=sku,
        architecture=architecture,
        engine=engine,
        engine_reason="stated",
        economics=load_economics(),
    )
    messages: list[str] = []
    precision = _text(row, "precision")
    if precision is None:
        precision = default_precision(_required(row, "model"))
        messages.append(f"precision blank: {precision}")
    isl, osl = _required_integer(row, "isl"), _required_integer(row, "osl")
    concurrency = _required_integer(row, "concurrency")
    method = _speculation(row, messages)
    pools, notes = _pools(row)
    messages += notes
    configuration, recipe = configure(
        target,
        pools=pools,
        load=ClosedLoad(
            isl=isl,
            osl=osl,
            concurrency=concurrency,
            precision=precision,
            length_distribution=_text(row, "length_distribution") or "uniform_0.8",
            speculation=method,
            drafts=_integer(row, "spec_tokens"),
            acceptance_length=_number(row, "acceptance_length"),
            calibration=calibration,
        ),
    )
    return configuration, (*messages, *recipe.messages)


def _engine(row: Mapping[str, object]) -> EngineRequest:
    """Engine and date; without a date the undated median, unless the engine carries one."""
    named = parse_engine(_required(row, "engine"))
    date = _text(row, "date")
    if named.date is not None or named.specification:
        return named
    if date is not None:
        return parse_engine(f"{named.engine.label}@{date}")
    return EngineRequest(engine=named.engine, median=True)


def _speculation(row: Mapping[str, object], messages: list[str]) -> SpeculationMethod:
    text = _text(row, "spec_decoding")
    if text is None:
        messages.append("spec_decoding blank: none")
        return "none"
    for method in get_args(SpeculationMethod):
        if text.lower() == method:
            return method  # type: ignore[no-any-return]
    raise unknown_name(field="spec_decoding", value=text, known=get_args(SpeculationMethod))


def _pools(row: Mapping[str, object]) -> tuple[tuple[PoolRequest, ...], list[str]]:
    """What the row says of its pools; an aggregated layout stands in the decode columns."""
    messages: list[str] = []
    if not _flag(row, "disagg"):
        return (_pool(row, "decode", role="aggregated", messages=messages),), messages
    if _integer(row, "decode_workers", least=0) == 0:
        messages.append("no decode workers: one aggregated server")
        return (_pool(row, "prefill", role="aggregated", messages=messages),), messages
    prefill = _pool(row, "prefill", role="prefill", messages=messages)
    decode = _pool(row, "decode", role="decode", messages=messages)
    return (prefill, decode), messages


def _pool(
    row: Mapping[str, object], prefix: str, *, role: Role, messages: list[str]
) -> PoolRequest:
    workers = _integer(row, f"{prefix}_workers")
    tp = _integer(row, f"{prefix}_tp")
    ep = _integer(row, f"{prefix}_ep")
    dp_attention = _flag(row, f"{prefix}_dp_attn")
    gpus = _gpus(row, prefix, role)
    if workers is not None and gpus is not None:
        ranks, rest = divmod(gpus, workers)
        if rest:
            raise UserError(f"{prefix}_gpus is {gpus}, which {workers} workers do not share evenly")
        if tp is not None and tp > ranks:
            raise UserError(f"{prefix}_tp is {tp}, but a worker has {ranks} GPUs")
        if tp is not None and tp < ranks:
            messages.append(f"{prefix}_tp {tp} on {ranks} GPUs a worker: data-parallel attention")
            dp_attention = True
            ep = None if ep == 1 else ep
        tp = ranks
    return PoolRequest(
        role=role, workers=workers, tp=tp, ep=ep, dp_attention=dp_attention, gpus=gpus
    )


def _gpus(row: Mapping[str, object], prefix: str, role: Role) -> int | None:
    """GPUs of a pool, from its own column or from what the other pool leaves."""
    gpus = _integer(row, f"{prefix}_gpus")
    total = _integer(row, "num_gpus")
    if gpus is not None or total is None or role == "aggregated":
        return gpus if gpus is not None else total
    other = _integer(row, "decode_gpus" if prefix == "prefill" else "prefill_gpus")
    return total - other if other is not None and other < total else None


def _text(row: Mapping[str, object], column: str) -> str | None:
    """A cell as text; ``None`` if it is blank."""
    value = row.get(column)
    if value is None or value != value:
        return None
    return str(value).strip() or None


def _required(row: Mapping[str, object], column: str) -> str:
    text = _text(row, column)
    if text is None:
        raise UserError(f"{column} is blank; fill it in")
    return text


def _number(row: Mapping[str, object], column: str) -> float | None:
    text = _text(row, column)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        raise UserError(f"{column} is '{text}', which is not a number") from None
    if not math.isfinite(value):
        raise UserError(f"{column} is {text}; it must be finite")
    return value


def _integer(row: Mapping[str, object], column: str, *, least: int = 1) -> int | None:
    value = _number(row, column)
    if value is None:
        return None
    if value != int(value) or value < least:
        raise UserError(f"{column} is {value:g}; it must be a whole number of at least {least}")
    return int(value)


def _required_integer(row: Mapping[str, object], column: str) -> int:
    value = _integer(row, column)
    if value is None:
        raise UserError(f"{column} is blank; fill it in")
    return value


def _flag(row: Mapping[str, object], column: str) -> bool | None:
    text = _text(row, column)
    if text is None:
        return None
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise UserError(f"{column} is '{text}'; write True or False")
