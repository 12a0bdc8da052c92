"""One row of a table of runs as a configuration that can be simulated."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

from hwmodels.economics import load_economics
from simulator.engines.labels import EngineRequest, parse_engine
from simulator.engines.pools import PoolLayout, SpeculationMethod, parse_deployment
from simulator.recipes.layouts import PoolRequest
from simulator.scenario.configure import ClosedLoad, configure, parse_speculation
from simulator.scenario.table_columns import canonical_row, is_blank
from simulator.scenario.target import Target, changed_sku, check_runs_on, ported
from workloads.architectures.catalog import load_architecture
from workloads.architectures.names import default_precision
from workloads.datafiles import parse_json
from workloads.errors import UserError, shown, unknown_name
from workloads.requests.synthetic import INFERENCEX_PROMPTS_PER_CLIENT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from simulator.engines.pools import PoolConfiguration, Role
    from simulator.scenario.configuration import RunConfiguration

_TRUE = ("true", "1", "1.0", "yes")
_FALSE = ("false", "0", "0.0", "no")
_LAYOUT_CELLS = (
    *(f"{pool}_{name}" for pool in ("prefill", "decode") for name in ("workers", "tp", "ep")),
    "prefill_dp_attn",
    "decode_dp_attn",
)


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
    row = canonical_row(row)
    architecture = load_architecture(_required(row, "model"))
    sku = changed_sku(_required(row, "sku"), overrides=_mapping(row, "overrides"))
    engine = ported(_engine(row), sku=sku)
    check_runs_on(engine.engine, sku=sku)
    first = _text(row, "prefill_sku")
    prefill = None if first is None else changed_sku(first, overrides=_mapping(row, "overrides"))
    if prefill is not None:
        check_runs_on(engine.engine, sku=prefill)
    target = Target(
        prefill_sku=None if prefill is not None and prefill.key == sku.key else prefill,
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
    method, drafts = _speculation(row, messages)
    pools, notes = _deployment(row)
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
            drafts=drafts,
            acceptance_length=_number(row, "acceptance_length"),
            engine_settings=_mapping(row, "engine_settings") | _changes(row),
            seed=_integer(row, "seed", least=0) or 0,
            requests_per_client=_integer(row, "requests_per_client")
            or INFERENCEX_PROMPTS_PER_CLIENT,
            request_rate_per_s=_number(row, "request_rate_per_s"),
            image=_text(row, "image"),
            calibration=calibration,
        ),
    )
    configuration, copied = _with_copies(configuration)
    return configuration, (*messages, *recipe.messages, *copied)


def _with_copies(
    configuration: RunConfiguration,
) -> tuple[RunConfiguration, tuple[str, ...]]:
    """A row's deployment with as many expert copies as its EP takes to divide, and their notes.

    A row tells of a server that ran: EP 24 over 256 experts ran with copies, recorded or not.
    """
    experts = configuration.architecture.routed_experts
    pools: list[PoolConfiguration] = []
    notes: list[str] = []
    for pool in configuration.pools:
        settings, ep = pool.settings, pool.layout.ep
        copies = getattr(settings, "redundant_experts", None)
        missing = -(experts + (copies or 0)) % ep
        if copies is not None and missing:
            copies += missing
            notes.append(
                f"ep {ep} does not divide {experts} experts: {copies} redundant experts assumed"
            )
            settings = settings.model_copy(update={"redundant_experts": copies})
        pools.append(replace(pool, settings=settings))
    return replace(configuration, pools=tuple(pools)), tuple(dict.fromkeys(notes))


def _engine(row: Mapping[str, object]) -> EngineRequest:
    """Engine and date; without a date the undated median, unless the engine carries one.

    A run that tells its ``level`` was simulated: its engine is as the command was asked for it.
    """
    named = parse_engine(_required(row, "engine"))
    date = _text(row, "date")
    told = _text(row, "level") is not None and date is None
    if named.date is not None or named.specification or told:
        return named
    if date is not None:
        return replace(parse_engine(f"{named.engine.label}@{date}"), engine=named.engine)
    return EngineRequest(engine=named.engine, median=True)


def _speculation(
    row: Mapping[str, object], messages: list[str]
) -> tuple[SpeculationMethod, int | None]:
    """Method and drafts, from ``spec`` or from the columns of each; ``None``: the recipe's."""
    text, drafts = _text(row, "spec_decoding"), _integer(row, "spec_tokens", least=0)
    spec = _text(row, "spec")
    if spec is not None:
        method, count = parse_speculation(spec)
        for name, told, own in (
            ("spec_decoding", None if text is None else text.lower(), method),
            ("spec_tokens", drafts, count),
        ):
            if told is not None and told != own and not (name == "spec_tokens" and not own):
                raise UserError(f"spec is {spec}, but {name} is {told}; keep one of them")
        return method, count or None
    if text is None:
        messages.append("spec_decoding blank: none")
        return "none", drafts or None
    for method in get_args(SpeculationMethod):
        if text.lower() == method:
            return method, (drafts or None) if method == "none" else _integer(row, "spec_tokens")
    raise unknown_name(field="spec_decoding", value=text, known=get_args(SpeculationMethod))


def _deployment(
    row: Mapping[str, object],
) -> tuple[tuple[PoolRequest, ...] | tuple[PoolLayout, ...], list[str]]:
    """The pools of a row, from their columns or, where those are blank, from its label.

    Raises
    ------
    UserError
        If the label says otherwise than the columns.
    """
    label = _text(row, "label")
    stated = [name for name in row if name in _LAYOUT_CELLS]
    if label is None:
        return _pools(row)
    try:
        pools = parse_deployment(label)
    except UserError:
        raise
    except ValueError:
        if not stated:
            raise UserError(
                f"label '{label}' names no deployment such as TEP8 or 1xDEP8+2xTP8; fill in "
                "decode_tp, decode_ep and decode_dp_attn"
            ) from None
        return _pools(row)
    requests, messages = _pools(row) if stated else ((), [])
    agrees = len(requests) == len(pools) and all(
        request.accepts(pool) for request, pool in zip(requests, pools, strict=True)
    )
    if stated and not agrees:
        names = ", ".join(f"{name} {row[name]}" for name in stated)
        raise UserError(f"label is {label}, but the columns say {names}; keep one of them")
    return pools, messages


def _changes(row: Mapping[str, object]) -> dict[str, Any]:
    """Settings that a search changed on the first pool: ``NAME=VALUE`` pairs, or ``recipe``."""
    text = _text(row, "settings")
    if text is None or text == "recipe":
        return {}
    found: dict[str, Any] = {}
    prefix = "prefill." if _flag(row, "disagg") or "+" in (_text(row, "label") or "") else ""
    for pair in text.split():
        name, equals, value = pair.partition("=")
        if not equals:
            raise UserError(f"settings is '{text}'; write NAME=VALUE pairs, or recipe")
        try:
            found[f"{prefix}{name}"] = parse_json(value, source="settings")
        except UserError:
            found[f"{prefix}{name}"] = value
    return found


def _mapping(row: Mapping[str, object], column: str) -> dict[str, Any]:
    """A cell with values by name, as JSON text.

    Raises
    ------
    UserError
        If it is not a JSON object.
    """
    text = _text(row, column)
    if text is None:
        return {}
    try:
        found = parse_json(text, source=column)
    except UserError:
        found = None
    if not isinstance(found, dict):
        raise UserError(f'{column} is {shown(text)}; write a JSON object such as {{"name": 1}}')
    return found


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
    return None if is_blank(value) else str(value).strip()


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
