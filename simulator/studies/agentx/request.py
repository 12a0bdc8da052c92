"""What a replay of session trees is asked: systems, trees, protocol, live sessions."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.analysis.agentic_metrics import X_AXES
from simulator.engines.kv_offload import parse_kv_offload
from simulator.recipes.choice import choose_level, find_recipe
from simulator.recipes.layouts import PoolRequest
from simulator.scenario.declared import POOLS
from simulator.scenario.settings import build_scenario, scenario_defaults
from simulator.scenario.settings_file import SettingsFile, edited_defaults, read_settings
from simulator.scenario.target import resolve_target
from simulator.studies.agentx.declared import AGENTX
from workloads.errors import UserError, unknown_name
from workloads.requests.agentx.files import read_session_trees
from workloads.requests.agentx.protocol import load_protocol
from workloads.requests.agentx.workload import AGENTX_WORKLOADS, AgentxWorkload
from workloads.requests.traces.rows import TraceOptions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from simulator.engines.kv_offload import KvOffload
    from simulator.engines.pools import PoolLayout
    from simulator.scenario.settings import Scenario

_PREFILL_LAYOUT = ("prefill_tp", "prefill_ep", "prefill_dp_attention")

DEFAULT_SESSIONS = (1, 4, 8, 16, 32, 64, 128, 256)
"""Live sessions where no recipe was run with agentic traffic. [sessions]"""

MOST_POINTS = 8
"""Points of one system whose sessions are not stated."""


@dataclass(frozen=True, kw_only=True)
class AgentxSystem:
    """One system: a name, its scenario and the pools that it is given, as far as they are known.

    Parameters
    ----------
    workers:
        What is stated of prefill and decode workers, by the names of
        `simulator.scenario.declared.POOLS`.
    """

    name: str
    scenario: Scenario
    workers: Mapping[str, Any] = field(default_factory=dict)

    def pools(self) -> tuple[PoolRequest, ...]:
        """The pools as far as they are known.

        Two blank ones where an orchestrator's recipes decide; an aggregated offer may answer.

        Raises
        ------
        UserError
            If decode workers are given without prefill workers.
        """
        one, stated = self.scenario, self.workers
        layout: dict[str, Any] = {"tp": one.tp, "ep": one.ep, "dp_attention": one.dp_attention}
        prefill, decode = stated.get("prefill"), stated.get("decode")
        if prefill:
            own = {name: stated.get(f"prefill_{name}", value) for name, value in layout.items()}
            return (
                PoolRequest(role="prefill", workers=prefill, **own),
                PoolRequest(role="decode", workers=decode or 1, **layout),
            )
        if decode is not None or any(stated.get(name) for name in _PREFILL_LAYOUT):
            raise UserError(
                "decode workers or a prefill layout are given without prefill workers; add "
                "--prefill N"
            )
        is_blank = prefill is None and one.gpus is None and not any(layout.values())
        if is_blank and resolve_target(one).engine.engine.orchestrator:
            return PoolRequest(role="prefill"), PoolRequest(role="decode")
        workers = 1 if one.gpus is None or one.tp is None else max(1, one.gpus // one.tp)
        return (PoolRequest(workers=workers, **layout),)


@dataclass(frozen=True, kw_only=True)
class AgentxRequest:
    """A validated replay.

    Parameters
    ----------
    systems:
        What is compared.
    workload:
        Trees and protocol.
    sessions:
        Live sessions of every system; ``None``: those that its recipe was run with.
    kv_offload:
        Host memory; ``None``: the recipe's.
    x:
        Name of the horizontal axis.
    stated, origin:
        Settings that somebody stated, and where.
    """

    systems: tuple[AgentxSystem, ...]
    workload: AgentxWorkload
    sessions: tuple[int, ...] | None
    kv_offload: KvOffload | None
    x: str
    stated: Mapping[str, Any] = field(default_factory=dict)
    origin: Mapping[str, str] = field(default_factory=dict)

    @property
    def resolved(self) -> dict[str, Any]:
        """Every setting with its value and origin, the systems first; gives the replay again."""
        common = self.systems[0].scenario.model_dump(mode="json", exclude={"sku", "engine"})
        values = {
            "systems": [one.name for one in self.systems],
            **{name: setting.default for name, setting in AGENTX.items()},
            **dict.fromkeys(POOLS),
            **{name: value for name, value in common.items() if name not in ("isl", "osl")},
            **self.stated,
        }
        return {
            name: {"value": value, "origin": self.origin.get(name, "default")}
            for name, value in values.items()
        }


def build_agentx(
    systems: Sequence[str], *, flags: Mapping[str, Any], file: Path | SettingsFile | None = None
) -> AgentxRequest:
    """A replay from names of systems and settings.

    Parameters
    ----------
    systems:
        ``SKU``, ``SKU:ENGINE`` or ``SKU:ENGINE@DATE``; empty: those of the file.
    flags:
        Settings of a scenario and of `simulator.studies.agentx.declared`; ``None``: not given.
    file:
        YAML file of settings, or the ``resolved.yaml`` of an earlier replay.

    Raises
    ------
    UserError
        If a name is unknown, a file cannot be used, or a setting has no meaning here.
    """
    read = file if isinstance(file, SettingsFile) else read_settings(file)
    flags, origin = _with_file(flags, read)
    systems = systems or flags.pop("systems", ()) or _of_scenario(flags)
    stated_here = {name: value for name, value in flags.items() if name != "sku"}
    own = {name: flags.get(name) for name in ("trees", "protocol", "kv_offload", "x")}
    options = {name: flags.get(name) for name in ("on_error", "characters_per_token")}
    rest = {k: v for k, v in flags.items() if k not in own and k not in options and v is not None}
    workers = {name: rest.pop(name) for name in POOLS if name in rest}
    for name in ("isl", "osl"):
        if rest.get(name) is not None:
            raise UserError(f"{name} has no meaning for session trees, which bring their lengths")
    sessions = rest.pop("concurrency", None)
    if isinstance(sessions, int):
        sessions = (sessions,)
    sides = []
    for text in systems:
        sku, _, engine = text.partition(":")
        stated = {**rest, "sku": sku} | ({"engine": engine} if engine else {})
        scenario = build_scenario(flags=stated).scenario
        sides.append(AgentxSystem(name=text, scenario=scenario, workers=workers))
    if not sides:
        raise UserError("no system is given; name SKUs, as in simulate agentx b200:vllm mi355x")
    x = own["x"] or "interactivity-p90"
    if x not in X_AXES:
        raise unknown_name(field="x", value=x, known=X_AXES)
    offload = own["kv_offload"]
    return AgentxRequest(
        systems=tuple(sides),
        workload=load_trees(own["trees"] or "agentx", protocol=own["protocol"], options=options),
        sessions=None if sessions is None else tuple(sessions),
        kv_offload=None if offload is None else parse_kv_offload(offload),
        x=x,
        stated=stated_here,
        origin={"systems": "asked", **origin},
    )


def _of_scenario(flags: Mapping[str, Any]) -> list[str]:
    """The system of a scenario's file, which names a SKU and may name an engine."""
    sku, engine = flags.get("sku"), flags.get("engine")
    if not isinstance(sku, str):
        return []
    return [f"{sku}:{engine}" if isinstance(engine, str) else sku]


def _with_file(
    flags: Mapping[str, Any], read: SettingsFile
) -> tuple[dict[str, Any], dict[str, str]]:
    """Settings of a file with flags on top, and the origin of each.

    Raises
    ------
    UserError
        If the file tells of server settings of another run, which are not read here.
    """
    if read.reported:
        name = next(iter(read.reported))
        raise UserError(
            f"settings.{name} in {read.path} tells of the servers of another run and is not read "
            "here; take it out, and state what you want with --engine-set NAME=VALUE"
        )
    defaults = {name: setting.default for name, setting in AGENTX.items()}
    defaults |= dict.fromkeys(POOLS) | scenario_defaults(read.values)
    edited = edited_defaults(read, found=defaults)
    given = {name: value for name, value in flags.items() if value is not None}
    origin = dict(read.origin) | dict.fromkeys(edited, f"file {read.path}")
    return {**read.values, **edited, **given}, origin | dict.fromkeys(given, "flag")


def with_usual_speculation(system: AgentxSystem) -> AgentxSystem:
    """The system with the speculation that its recipe was run with under agentic traffic."""
    target = resolve_target(system.scenario)
    recipe, _ = find_recipe(
        engine=target.engine.engine,
        sku=target.sku.key,
        model=target.model,
        related_skus=target.sku.related_skus,
        traffic="agentic",
    )
    level, _ = choose_level(recipe, date=target.engine.date, median=target.engine.median)
    speculates = any(
        cell.speculation is not None
        and (recipe.traffic == "agentic" or cell.when.get("scenario") == "agentic")
        for cell in level.cells
    )
    if system.scenario.spec != "none" or not speculates:
        return system
    return replace(system, scenario=system.scenario.model_copy(update={"spec": "mtp"}))


def load_trees(
    name_or_path: str, *, protocol: str | None = None, options: Mapping[str, Any] | None = None
) -> AgentxWorkload:
    """The session trees of a name or a file.

    Raises
    ------
    UserError
        If there is neither, or the file holds no sessions.
    """
    found: AgentxWorkload | None = AGENTX_WORKLOADS.get(name_or_path)
    if found is None:
        path = Path(name_or_path)
        if not path.exists():
            raise UserError(
                f"workload '{name_or_path}' is no file; give one, or one of "
                f"{', '.join(AGENTX_WORKLOADS)}"
            )
        stated = {name: value for name, value in (options or {}).items() if value is not None}
        found = read_session_trees(path, options=TraceOptions(**stated))
        if found is None:
            raise UserError(
                f"workload '{path}' holds no agent sessions (AgentX (Weka), AIPerf DAG, Mooncake "
                "with sessions); simulate load serves other traces"
            )
    return found if protocol is None else replace(found, protocol=load_protocol(protocol))


def points_of(
    system: AgentxSystem, *, sessions: tuple[int, ...] | None, most: int | None = MOST_POINTS
) -> tuple[tuple[int, tuple[PoolRequest, ...] | tuple[PoolLayout, ...]], ...]:
    """Live sessions and pools of each point of a system.

    Where neither sessions nor a layout are stated: what the recipe was run with, at most
    ``most`` of it, spread evenly.
    """
    scenario, pools = system.scenario, system.pools()
    if sessions is not None:
        return tuple((one, pools) for one in sorted(sessions))
    target = resolve_target(scenario)
    engine = target.engine
    recipe, _ = find_recipe(
        engine=engine.engine,
        sku=target.sku.key,
        model=target.model,
        related_skus=target.sku.related_skus,
        traffic="agentic",
    )
    level, _ = choose_level(recipe, date=engine.date, median=engine.median)
    offered: list[tuple[int, tuple[PoolLayout, ...]]] = []
    for offer in level.layouts:
        if not offer.serves("agentic"):
            continue
        if all(pool.is_blank for pool in pools):
            agrees = len(offer.pools) <= len(pools)
        else:
            agrees = len(offer.pools) == len(pools) and all(
                pool.accepts(own) for pool, own in zip(pools, offer.pools, strict=True)
            )
        if agrees:
            offered += [(count, offer.pools) for count in offer.concurrency]
    offered.sort(key=lambda point: (point[0], point[1][0].layout.tp))
    if not offered:
        return tuple((one, pools) for one in DEFAULT_SESSIONS)
    count = len(offered) if most is None else min(len(offered), most)
    if count == 1:
        return tuple(offered)
    step = (len(offered) - 1) / (count - 1)
    return tuple(offered[round(position * step)] for position in range(count))
