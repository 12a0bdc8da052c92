"""Pools of workers of a deployment: their layouts, settings and labels."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from simulator.engines.registry import bind_engine
from workloads.errors import DoesNotFitError as DoesNotFitError
from workloads.errors import UserError
from workloads.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from simulator.engines.base import EngineSettings
    from simulator.engines.registry import AnyEngine

Role = Literal["aggregated", "prefill", "decode"]
SpeculationMethod = Literal["none", "mtp", "dspark", "eagle3"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLayout:
    """Identical workers that do the same part of the work.

    Parameters
    ----------
    role:
        ``aggregated`` workers do both phases; in a disaggregated deployment one pool does
        ``prefill``, the other ``decode``.
    workers:
        Engine instances. [workers]
    layout:
        How one of them spreads the model.
    """

    role: Role = "aggregated"
    workers: int = 1
    layout: Layout

    @property
    def gpus(self) -> int:
        """GPUs of the pool."""
        return self.workers * self.layout.gpus


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolConfiguration(PoolLayout):
    """A pool with the server settings that its workers run with.

    Parameters
    ----------
    settings:
        Scheduler and memory settings.
    plan:
        Fields of `workloads.execution_plan.ExecutionPlan` in which the pool differs from its
        software level.
    """

    settings: EngineSettings
    plan: Mapping[str, Any] = field(default_factory=dict)

    @property
    def engine(self) -> AnyEngine:
        """The engine with the pool's settings."""
        return bind_engine(self.settings)

    def with_settings(self, settings: EngineSettings, *, drafts: int) -> PoolConfiguration:
        """The pool with other settings of its engine; its graphs are as large as they say.

        Parameters
        ----------
        drafts:
            Draft tokens of a request per step. [tokens]
        """
        graph = bind_engine(settings).graph_tokens(drafts=drafts)
        sized: dict[str, Any] = {} if graph is None else {"graph_max_tokens": graph}
        pieces = bind_engine(settings).graphs_prefill
        if pieces is not None:
            sized["graph_prefill"] = pieces
        if (largest := bind_engine(settings).prefill_graph_tokens) is not None:
            sized["graph_prefill_max_tokens"] = largest
        if bind_engine(settings).two_batches != bool(self.plan.get("two_batch_overlap", False)):
            sized["two_batch_overlap"] = bind_engine(settings).two_batches
        return replace(self, settings=settings, plan={**self.plan, **sized})


def deployment_label(pools: Sequence[PoolLayout]) -> str:
    """InferenceX's label of a deployment: ``TP8``, or ``1xDEP8+6xTP8`` with a prefill pool.

    One aggregated worker carries no count.
    """
    if len(pools) == 1 and pools[0].workers == 1:
        return pools[0].layout.label
    return "+".join(f"{pool.workers}x{pool.layout.label}" for pool in pools)


_POOL = re.compile(r"(?:(\d+)x)?(TP|TEP|DEP|DPATP)(\d+)(?:PP(\d+))?$")
_CONTEXT_PARALLEL = re.compile(r"\d(?:D|P)?CP\d+")


def parse_deployment(text: str) -> tuple[PoolLayout, ...]:
    """The pools of a label: the inverse of `deployment_label` for TP, TEP, DEP and DPATP.

    Raises
    ------
    ValueError
        If the text is not such a label; a `UserError` if it has context parallelism.
    """
    match text.split("+"):
        case [both]:
            return (_parse_pool(both, role="aggregated"),)
        case [prefill, decode]:
            return (_parse_pool(prefill, role="prefill"), _parse_pool(decode, role="decode"))
    raise ValueError(f"'{text}' names more than a prefill and a decode pool")


def named_deployment(text: str) -> tuple[PoolLayout, ...]:
    """The pools of a label that a user wrote.

    Raises
    ------
    UserError
        If it is none.
    """
    try:
        return parse_deployment(text)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"deployment {error}; write 2xDEP8, or 2xDEP8+1xDEP8") from None


def _parse_pool(text: str, *, role: Role) -> PoolLayout:
    match = _POOL.match(text)
    if match is None and _CONTEXT_PARALLEL.search(text):
        raise UserError(
            f"deployment '{text}' has context parallelism (CP, DCP), which is not modelled; "
            "leave it out, or give one of TP, TEP, DEP and DPATP, with PP"
        )
    if match is None:
        raise ValueError(f"'{text}' is not a pool such as DEP8, 2xTP4 or 6xDPATP8")
    workers, form, ranks, stages = match.groups()
    tp = int(ranks)
    layout = Layout(
        tp=tp,
        ep=tp if form in ("TEP", "DEP") else 1,
        dp_attention=form in ("DEP", "DPATP"),
        pp=int(stages or 1),
    )
    return PoolLayout(role=role, workers=int(workers or 1), layout=layout)
