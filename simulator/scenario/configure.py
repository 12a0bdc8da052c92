"""From a target, the pools of a deployment and a load to the configuration that is simulated."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from hwmodels.sku import load_sku
from simulator.engines.host_times import host_times
from simulator.recipes.resolve import resolve_recipe
from simulator.scenario.configuration import RunConfiguration
from simulator.scenario.declared import HOST
from simulator.scenario.target import resolve_target
from workloads.errors import UserError
from workloads.models.expert_load import REAL_TEXT, UNIFORM
from workloads.requests.catalog import drawn_lengths, says_lengths
from workloads.requests.synthetic import INFERENCEX_PROMPTS_PER_CLIENT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from simulator.engines.pools import PoolLayout, SpeculationMethod
    from simulator.recipes.layouts import PoolRequest
    from simulator.recipes.resolve import ResolvedRecipe
    from simulator.scenario.settings import Scenario
    from simulator.scenario.target import Target
    from workloads.architectures.base import Architecture
    from workloads.requests.catalog import DrawnLengthWorkload

MOST_DRAFTS = 16
_METHODS: dict[str, SpeculationMethod] = {"mtp": "mtp", "dspark": "dspark", "eagle3": "eagle3"}
LEAST_OUTPUT_TOKENS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedLoad:
    """What a deployment is asked to serve, and how.

    Parameters
    ----------
    isl, osl, length_distribution:
        Nominal lengths [tokens] and how the benchmark draws around them; or the means of drawn
        lengths and their name, see `workloads.requests.catalog.drawn_lengths`.
    concurrency:
        Closed-loop clients of the whole deployment. [requests]
    precision:
        Label of the checkpoint, such as ``fp4``.
    speculation, drafts, acceptance_length:
        Method; drafts and tokens per step, ``None``: the recipe's. [tokens]
    engine_settings:
        Server settings that the user states, on top of the recipe's.
    traffic:
        Which of the recipe's settings apply: those of fixed lengths or of agentic sessions.
    seed:
        Seed of every random stream.
    calibration:
        Directory of a user's own fit; ``None``: the shipped one.
    longest_prompt:
        Longest prompt of the workload; ``None``: ``isl``. [tokens]
    requests_per_client:
        Requests in units of the concurrency.
    request_rate_per_s:
        Rate of the clients' first requests; ``None``: all at once. [1/s]
    image:
        Container image of the servers, whose recorded settings come first.
    host:
        Times of the clients and the front end by name, see `simulator.engines.host_times`; one
        that is ``None`` or left out is the default. [s]
    """

    isl: int
    osl: int
    concurrency: int
    precision: str
    length_distribution: str = "uniform_0.8"
    speculation: SpeculationMethod = "none"
    drafts: int | None = None
    acceptance_length: float | None = None
    engine_settings: Mapping[str, Any] = field(default_factory=dict)
    traffic: Literal["fixed", "agentic"] = "fixed"
    seed: int = 0
    calibration: Path | None = None
    longest_prompt: int | None = None
    requests_per_client: int = INFERENCEX_PROMPTS_PER_CLIENT
    request_rate_per_s: float | None = None
    image: str | None = None
    host: Mapping[str, float | None] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        scenario: Scenario,
        *,
        concurrency: int,
        traffic: Literal["fixed", "agentic"] = "fixed",
        longest_prompt: int | None = None,
    ) -> ClosedLoad:
        """The load of a scenario at one concurrency.

        Raises
        ------
        UserError
            If the speculation is not known.
        """
        method, drafts = parse_speculation(scenario.spec)
        return cls(
            isl=scenario.isl,
            osl=scenario.osl,
            concurrency=concurrency,
            precision=scenario.precision,
            length_distribution=scenario.lengths or scenario.length_distribution,
            speculation=method,
            drafts=drafts or None,
            acceptance_length=scenario.acceptance_length,
            engine_settings=stated_settings(scenario),
            traffic=traffic,
            seed=scenario.seed,
            calibration=scenario.calibration,
            longest_prompt=longest_prompt,
            host={name: getattr(scenario, name) for name in HOST},
        )


def stated_settings(scenario: Scenario) -> dict[str, Any]:
    """Server settings that a scenario states, the format of the KV cache among them.

    Raises
    ------
    UserError
        If the format of the KV cache is stated twice and differs.
    """
    if scenario.kv_precision == "auto":
        return scenario.engine_settings
    stated = scenario.engine_settings.get("kv_cache_dtype", scenario.kv_precision)
    if stated != scenario.kv_precision:
        raise UserError(
            f"kv_precision is {scenario.kv_precision}, but engine setting kv_cache_dtype is "
            f"{stated}; state one of them"
        )
    return {"kv_cache_dtype": scenario.kv_precision, **scenario.engine_settings}


def configure(
    target: Target, *, pools: Sequence[PoolRequest | PoolLayout], load: ClosedLoad
) -> tuple[RunConfiguration, ResolvedRecipe]:
    """The configuration of a deployment under closed-loop load, and the recipe behind it.

    Parameters
    ----------
    target:
        Chip, model and engine.
    pools:
        One aggregated pool, or a prefill and a decode pool: complete, or as far as they are
        known.

    Raises
    ------
    UserError
        If the recipe cannot fill what the pools leave open, or a stated server setting is
        unknown to the engine, out of range or against another.
    """
    _check_drafter(target.architecture, load.speculation)
    if target.prefill_sku is not None:
        return _configure_pair(target, pools=pools, load=load)
    drawn = _drawn(load)
    longest_prompt = load.longest_prompt
    if drawn is not None and longest_prompt is None:
        longest_prompt = drawn.longest_tokens[0]
    shared = target.engine.engine.software_of  # equal software has equal server settings too
    chip = load_sku(shared[0]) if shared else target.sku
    recipe = resolve_recipe(
        engine=target.engine.engine,
        sku=chip.key,
        model=target.model,
        isl=load.isl,
        osl=load.osl,
        concurrency=load.concurrency,
        date=target.engine.date,
        median=target.engine.median,
        pools=pools,
        speculation=load.speculation,
        drafts=load.drafts,
        acceptance_length=load.acceptance_length,
        precision=load.precision,
        scenario=load.traffic,
        stated=load.engine_settings,
        related_skus=chip.related_skus,
        longest_prompt=longest_prompt,
        image=load.image,
    )
    stated = {name: value for name, value in load.host.items() if value is not None}
    host = {name: time.value for name, time in host_times().items()} | stated
    configuration = RunConfiguration(
        sku=target.sku,
        architecture=target.architecture,
        engine=target.engine.engine,
        level_date=target.engine.date,
        median=target.engine.median,
        specification=target.engine.specification,
        precision=load.precision,
        speculation=load.speculation,
        drafts=recipe.drafts,
        acceptance_length=recipe.acceptance_length,
        acceptance_source=recipe.acceptance_source,
        pools=recipe.pools,
        isl=load.isl,
        osl=load.osl,
        length_distribution=load.length_distribution,
        drawn=drawn,
        expert_load=UNIFORM if drawn is None else REAL_TEXT,
        concurrency=load.concurrency,
        requests_per_client=load.requests_per_client,
        request_rate_per_s=load.request_rate_per_s,
        seed=load.seed,
        calibration=load.calibration,
        traffic=load.traffic,
        turnaround_s=host["client_turnaround_s"],
        client_overhead_s=host["client_overhead_s"],
        tokenise_s_per_token=host["tokenise_s_per_token"],
    )
    remarks = target.economics.for_sku(target.sku.key).remarks
    told = () if drawn is None else _told_of(drawn, architecture=target.architecture)
    return configuration, replace(recipe, messages=(*recipe.messages, *remarks, *told))


def _drawn(load: ClosedLoad) -> DrawnLengthWorkload | None:
    """The lengths that a load names; ``None``: drawn around ``isl`` and ``osl``.

    Raises
    ------
    UserError
        If they cannot be read, or ``isl`` and ``osl`` are not their means.
    """
    if not says_lengths(load.length_distribution):
        return None
    drawn = drawn_lengths(load.length_distribution)
    means = drawn.nominal_tokens
    if (load.isl, load.osl) != means:
        raise UserError(
            f"isl/osl is {load.isl}/{load.osl}, but lengths of {drawn.name} are "
            f"{means[0]}/{means[1]} on average; write these, or leave length_distribution out"
        )
    return drawn


def _told_of(drawn: DrawnLengthWorkload, *, architecture: Architecture) -> tuple[str, ...]:
    """What holds of drawn lengths."""
    longest = "/".join(f"{tokens:,}" for tokens in drawn.longest_tokens)
    told = [f"{drawn.description}; independent of each other, up to {longest}"]
    if drawn.limits_text:
        told.append(f"limits of {drawn.name}: {drawn.limits_text}")
    if architecture.routed_experts:
        told.append(f"tokens fall on the experts by a power law of {REAL_TEXT.alpha:g}, as of text")
    return tuple(told)


def _configure_pair(
    target: Target, *, pools: Sequence[PoolRequest | PoolLayout], load: ClosedLoad
) -> tuple[RunConfiguration, ResolvedRecipe]:
    """A prefill pool on one chip and a decode pool on another, each as its own chip runs it.

    Raises
    ------
    UserError
        As `configure`, or if the deployment has no pools.
    """
    first = target.prefill_side.sku
    if [pool.role for pool in pools] != ["prefill", "decode"]:
        raise UserError(
            f"prefill_sku is {first.key}, but an aggregated worker has one kind of chip; give "
            "prefill and decode pools, as in --prefill 1 --decode 1, or leave --prefill-sku out"
        )
    one, other = (
        configure(each, pools=pools, load=load)
        for each in (target.prefill_side, replace(target, prefill_sku=None))
    )
    (prefill, first_recipe), (decode, recipe) = one, other
    own = {name for name in recipe.provenance if not name.startswith("prefill.")}
    provenance = {name: recipe.provenance[name] for name in own} | {
        name: f"{origin} ({first.key})"
        for name, origin in first_recipe.provenance.items()
        if name.startswith("prefill.")
    }
    paired = (prefill.pools[0], decode.pools[1])
    told = (
        *(f"prefill on {first.key}: {message}" for message in first_recipe.messages),
        *(f"decode on {target.sku.key}: {message}" for message in recipe.messages),
    )
    return replace(decode, pools=paired, prefill_sku=first), replace(
        recipe,
        level=" and ".join(dict.fromkeys((first_recipe.level, recipe.level))),
        pools=paired,
        messages=tuple(dict.fromkeys(told)),
        provenance=provenance,
    )


def configure_run(
    scenario: Scenario,
    *,
    pools: Sequence[PoolRequest | PoolLayout],
    concurrency: int,
    target: Target | None = None,
    traffic: Literal["fixed", "agentic"] = "fixed",
    longest_prompt: int | None = None,
) -> tuple[RunConfiguration, ResolvedRecipe]:
    """`configure` for a scenario at one concurrency.

    Parameters
    ----------
    target:
        What the scenario names, where it has been looked up already.
    longest_prompt:
        Longest prompt of the workload; ``None``: the scenario's ``isl``. [tokens]

    Raises
    ------
    UserError
        As `configure` and `simulator.scenario.target.resolve_target`.
    """
    return configure(
        target or resolve_target(scenario),
        pools=pools,
        load=ClosedLoad.of(
            scenario, concurrency=concurrency, traffic=traffic, longest_prompt=longest_prompt
        ),
    )


def parse_speculation(text: str) -> tuple[SpeculationMethod, int]:
    """Method and draft tokens of ``none``, ``mtp:2``, ``dspark:5`` or ``eagle3:3``.

    A method alone, ``mtp``, takes the recipe's drafts: 0 here.

    Raises
    ------
    UserError
        If the text is none of these.
    """
    name, _, count = text.partition(":")
    if name == "none" and not count:
        return "none", 0
    method = _METHODS.get(name)
    if text == name and method is not None:
        return method, 0
    if method is not None and count.isdigit() and 1 <= int(count) <= MOST_DRAFTS:
        return method, int(count)
    raise UserError(
        f"spec '{text}' is not known; write none, mtp, mtp:K, dspark:K or eagle3:K with K from 1 "
        f"to {MOST_DRAFTS}; without K the recipe's drafts"
    )


def _check_drafter(architecture: Architecture, method: SpeculationMethod) -> None:
    """Make sure that a model drafts so; that DeepSeek V4's module is of either kind is left open.

    Raises
    ------
    UserError
        If it drafts in another way, with the way that it does.
    """
    own = architecture.drafter
    if method == "none" or not own or own == method:
        return
    if architecture.family != "deepseek_v4" or method == "eagle3":
        raise UserError(
            f"spec is {method}, but drafts of {architecture.name} come from its {own} module; "
            f"write --spec {own}:K"
        )


def check_has_speed(scenario: Scenario) -> None:
    """Make sure that requests have tokens after the first, whose pace curves are drawn over.

    Raises
    ------
    UserError
        If they have not.
    """
    if scenario.osl < LEAST_OUTPUT_TOKENS:
        raise UserError(
            f"osl is {scenario.osl}; the speed of a user takes at least {LEAST_OUTPUT_TOKENS} "
            "output tokens: for prompts alone see simulate explain --phase prefill"
        )
