"""Server settings that a user states on top of a recipe: whose they are, and their range."""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from simulator.engines.registry import ENGINES, bind_engine, engine_class
from simulator.engines.settings import check_is_simulated
from workloads.errors import MOST_NAMES, UserError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import ValidationError

    from simulator.engines.base import EngineSettings
    from simulator.engines.labels import EngineLabel
    from simulator.engines.pools import PoolConfiguration, Role
    from simulator.recipes.files import Scalar

STATED = "stated"
GRAPH_SETTINGS = frozenset(
    {
        "cudagraph_mode",
        "enforce_eager",
        "max_cudagraph_capture_size",
        "cuda_graph_max_bs",
        "cuda_graph_max_batch_size",
        "cudagraph_max_capture_size",
    }
)
"""Settings from which the largest captured graph follows."""
_BUDGETS = (("max_num_batched_tokens", "max_num_seqs"), ("max_num_tokens", "max_batch_size"))
_ROLES: tuple[Role, ...] = ("prefill", "decode")


def stated_by_pool(
    stated: Mapping[str, Scalar], *, engine: EngineLabel, roles: Sequence[Role]
) -> dict[Role, dict[str, Scalar]]:
    """The stated settings of each pool; those without a pool's name are for all.

    Raises
    ------
    UserError
        If a setting is not the engine's, changes no figure, or is of a pool that the deployment
        has not.
    """
    found: dict[Role, dict[str, Scalar]] = {role: {} for role in roles}
    for name, value in sorted(stated.items(), key=lambda item: "." in item[0]):
        pool, dot, own = name.rpartition(".")
        _check_known(own, engine=engine)
        check_is_simulated(scheduler=engine.engine, name=own)
        if not dot:
            for values in found.values():
                values[own] = value
            continue
        role = next((role for role in _ROLES if role == pool), None)
        if role is None:
            raise unknown_name(field="pool of an engine setting", value=pool, known=_ROLES)
        if role not in found:
            raise UserError(
                f"engine setting {name} is for a {role} pool, which this deployment has not; "
                f"write {own}"
            )
        found[role][own] = value
    return found


def with_prefix_caches(
    pools: Sequence[PoolConfiguration], *, stated: Mapping[str, Scalar]
) -> tuple[PoolConfiguration, ...]:
    """The pools with prefix caching on, but for those whose cache the user states."""

    def cached(pool: PoolConfiguration) -> PoolConfiguration:
        settings = bind_engine(pool.settings).with_prefix_cache()
        before, after = pool.settings.model_dump(), settings.model_dump()
        changed = {name for name, value in after.items() if before[name] != value}
        own = {name.removeprefix(f"{pool.role}.") for name in stated}
        return pool if changed & own else replace(pool, settings=settings)

    return tuple(cached(pool) for pool in pools)


def _check_known(name: str, *, engine: EngineLabel) -> None:
    """Whether an engine has a setting.

    Raises
    ------
    UserError
        If it has not; the message names the engines that have it, or the nearest names.
    """
    fields = engine_class(engine.engine).settings_class.model_fields
    if name in fields and name != "scheduler":
        return
    owners = [
        other
        for other, cls in ENGINES.items()
        if name in cls.settings_class.model_fields and name != "scheduler"
    ]
    known = [each for each in fields if each != "scheduler"]
    if owners:
        near = difflib.get_close_matches(name, known, n=MOST_NAMES, cutoff=0.0)
        raise UserError(
            f"engine setting {name} is one of {', '.join(owners)}, not of {engine.label}; nearest "
            f"of the {len(known)} that {engine.label} has: {', '.join(near)}"
        )
    raise unknown_name(field=f"engine setting of {engine.label}", value=name, known=known)


def check_consistent(settings: EngineSettings, *, stated: Mapping[str, Scalar]) -> None:
    """Whether stated settings go together with each other and with the rest.

    Raises
    ------
    UserError
        If they do not; the message names both.
    """
    values: dict[str, Any] = settings.model_dump()
    if {"enforce_eager", "max_cudagraph_capture_size"} <= stated.keys() and (
        stated["enforce_eager"] and stated["max_cudagraph_capture_size"]
    ):
        raise UserError(
            "engine settings enforce_eager=true and max_cudagraph_capture_size="
            f"{stated['max_cudagraph_capture_size']} contradict each other: without graphs none "
            "is captured, so keep one of them"
        )
    for name, cap in _BUDGETS:
        budget, running = values.get(name), values.get(cap)
        given = {name, cap} & stated.keys()
        if name == "max_num_tokens" and len(given) < 2:
            continue  # TensorRT-LLM starts with its large default of the other
        if given and budget is not None and running is not None and budget < running:
            raise UserError(
                f"engine setting {name} is {budget}, below {cap}, {running}: a step could not "
                "hold one token of each request, so raise one or lower the other"
            )


def whole_prompt_error(
    name: str, *, value: Scalar, longest_prompt: int, engine: EngineLabel
) -> UserError:
    """A stated step budget that does not hold the prompts, which the engine does not cut."""
    return UserError(
        f"engine setting {name} is {value}, below the longest prompt, {longest_prompt} tokens, "
        f"which {engine.label} takes whole without chunked prefill: raise it or state "
        "enable_chunked_prefill=true"
    )


def invalid_setting(error: ValidationError, *, engine: str) -> UserError:
    """A value that the settings of an engine do not take, as one line."""
    first = error.errors()[0]
    if first["type"] == "value_error":
        return UserError(f"engine settings of {engine}: {first['ctx']['error']}")
    name = ".".join(str(part) for part in first["loc"])
    message = f"{first['msg'][0].lower()}{first['msg'][1:]}"
    return UserError(f"engine setting {name} is {first['input']!r}: {message}")
