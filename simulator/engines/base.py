"""What a serving engine is here: one object that answers for its settings, limits and memory.

An engine is a subclass of `Engine` in a module of its own and one line in
`simulator.engines.registry`. Nothing outside `simulator.engines` asks which engine it has.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from simulator.engines.kv_accounting import plain_pool
from simulator.engines.kv_accounting_hybrid import separate_hybrid_pool
from simulator.engines.reserves import PoolReserve, RecordedOffload

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from simulator.engines.kv_accounting import KvPoolLayout
    from simulator.engines.launch_flags import LaunchFlags, LaunchRequest
    from simulator.serving.kv_pool import KvPoolSpec
    from simulator.serving.scheduler import RankRouting, Scheduler, WorkerView
    from workloads.architectures.base import Architecture, Attention, CacheLayers
    from workloads.architectures.deepseek_v4 import DeepseekV4Architecture
    from workloads.execution_plan import ExecutionPlan
    from workloads.layout import Layout


SEARCHED_CHUNKS = (2048, 4096, 8192, 16384, 32768)
"""Step token budgets that a search tries. [tokens]"""


DataParallelRouting: TypeAlias = Literal[
    "round_robin", "least_loaded", "least_loaded_rotating", "least_requests", "session_balanced"
]
"""How an engine spreads requests over its attention ranks, see `simulator.serving.router`."""


class EngineSettings(BaseModel):
    """Server settings of an engine, named as the engine names them.

    A setting is an input: it is recorded from the server's command line (a recipe) or given by
    the user, never fitted. Each field documents the engine's own default where one is published.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scheduler: str
    kv_cache_dtype: Literal["auto", "fp8", "bf16"] = Field(
        "auto", description="format of the KV cache; auto: that of the recipe or the level"
    )
    data_parallel_routing: DataParallelRouting = "round_robin"
    exchange_library: str | None = Field(
        None,
        description="library that exchanges tokens between experts; null: the recipe's or the "
        "engine's usual one",
    )


SettingsT = TypeVar("SettingsT", bound=EngineSettings)


@dataclass(frozen=True, slots=True)
class Engine(ABC, Generic[SettingsT]):
    """A serving engine with its settings.

    Attributes
    ----------
    key:
        Name of the scheduler, as recipes and settings bear it.
    title:
        Name in sentences.
    settings_class:
        Class of its settings.
    varied:
        Settings that a search varies, with their values.
    budget_setting, cap_setting, graph_setting:
        Names of the step token budget, the running cap and the largest graph.
    prefill_graph_setting, prefill_graphs_on:
        Name of the largest graph of a prompt, where it is another, and what switches them on.
    budget_holds_decode:
        Whether the budget is sized to the decode batch, so that it follows the running cap.
    """

    settings: SettingsT

    key: ClassVar[str]
    title: ClassVar[str]
    settings_class: ClassVar[type[EngineSettings]]
    varied: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    budget_setting: ClassVar[str]
    cap_setting: ClassVar[str]
    graph_setting: ClassVar[str]
    prefill_graph_setting: ClassVar[str] = ""
    prefill_graphs_on: ClassVar[str] = ""
    budget_holds_decode: ClassVar[bool] = False

    # scheduling ----------------------------------------------------------------------------

    @abstractmethod
    def build_scheduler(self, *, worker: WorkerView) -> Scheduler:
        """The engine's scheduler, bound to a worker."""

    @property
    def caches_prefixes(self) -> bool:
        """Whether the blocks of finished prompts are kept for later ones."""
        return False

    def prefix_retention(self, *, charge: KvPoolLayout) -> int | None:
        """Where window state of cached prompts is kept beside the latest boundary. [tokens]

        See `simulator.serving.kv_pool.KvPoolSpec.prefix_hit_interval_tokens`.
        """
        del charge
        return None

    def kept_state_blocks(self, *, charge: KvPoolLayout, drafts: int) -> int | None:
        """Blocks of the state kept at a boundary; ``None``: those that a request holds. [blocks]"""
        del charge, drafts
        return None

    @property
    def kv_offload(self) -> RecordedOffload | None:
        """Host memory for KV blocks as the settings have it; ``None``: none."""
        return None

    def with_prefix_cache(self) -> SettingsT:
        """The settings with prefix caching on, where the engine has such a setting."""
        return self.settings

    @property
    def rank_routing(self) -> RankRouting:
        """How a worker spreads its requests over its attention ranks."""
        return self.settings.data_parallel_routing

    @property
    def mixes(self) -> bool:
        """Whether prompt chunks and decoding requests share a step of a rank."""
        return False

    # limits --------------------------------------------------------------------------------

    @abstractmethod
    def step_token_budget(self, *, attention_dp: int) -> int:
        """Most tokens that one rank computes in one step. [tokens]"""

    @abstractmethod
    def running_cap(self, *, attention_dp: int) -> float:
        """Most requests that one rank runs at a time by its settings. [requests]"""

    @abstractmethod
    def graph_tokens(self, *, drafts: int) -> int | None:
        """Largest graph in tokens of one rank; ``None`` leaves it to the software level. [tokens]

        A size that was not recorded is left to the level, but for engines that count requests
        under speculation: their default covers that many requests with all their drafts.
        """

    def with_room_for(
        self, *, requests: int, drafts: int, attention_dp: int, recorded: Collection[str]
    ) -> SettingsT:
        """The settings with limits that were not recorded raised to what is asked of a rank.

        Parameters
        ----------
        requests:
            Requests that a rank is to run at a time. [requests]
        drafts:
            Draft tokens of each per step. [tokens]
        attention_dp:
            Attention data-parallel ranks of a worker.
        recorded:
            Settings recorded for this SKU, engine and model, which stay.
        """
        settings = self.settings
        if self.cap_setting not in recorded:
            settings = self._raised(self.cap_setting, requests * self._cap_share(attention_dp))
        cap = type(self)(settings).running_cap(attention_dp=attention_dp)
        if self.budget_holds_decode and self.budget_setting not in recorded:
            needed = int(min(requests, cap)) * (drafts + 1)
            settings = type(self)(settings)._raised(self.budget_setting, needed)
        graph = self._graph_size(requests=int(min(requests, cap)), drafts=drafts)
        if self.graph_setting not in recorded and graph:
            settings = type(self)(settings)._raised(self.graph_setting, graph)
        return settings

    def _raised(self, name: str, least: int) -> SettingsT:
        value = getattr(self.settings, name)
        if value is None or value >= least:
            return self.settings
        return self.settings.model_copy(update={name: least})

    def _cap_share(self, attention_dp: int) -> int:
        """Ranks over which the running cap is divided: 1 where it is one rank's."""
        del attention_dp
        return 1

    def _graph_size(self, *, requests: int, drafts: int) -> int:
        """Size of the graph that holds a decode batch, in the unit of its setting."""
        del drafts
        return requests

    def with_prompts_of(self, *, tokens: int, requests: int, drafts: int) -> SettingsT:
        """The settings with the budget raised to a prompt that the engine cannot cut.

        Parameters
        ----------
        tokens:
            Longest prompt. [tokens]
        requests, drafts:
            Requests that decode beside it, draft tokens of each. [requests, tokens]
        """
        del tokens, requests, drafts
        return self.settings

    @property
    def graphs_prefill(self) -> bool | None:
        """Whether steps with prompts replay piecewise graphs; ``None``: as recorded."""
        return None

    @property
    def prefill_graph_tokens(self) -> int | None:
        """Tokens up to which such pieces are captured; ``None``: as far as decode graphs."""
        return None

    @property
    def redundant_experts(self) -> int:
        """Copies of routed experts beside the experts themselves, in each layer. [experts]"""
        return 0

    @property
    def two_batches(self) -> bool:
        """As `ExecutionPlan.two_batch_overlap`."""
        return False

    # memory --------------------------------------------------------------------------------

    @property
    @abstractmethod
    def block_tokens(self) -> int:
        """Tokens of a KV block. [tokens]"""

    runtime_bytes: ClassVar[float] = 3.0e9
    """Driver context, buffers of collectives and captured graphs of a rank. [B]

    An estimate where no start-up line of the engine is known: 2-5 GB are reported outside
    weights, activations and pools.
    """

    def sampler_bytes(self, *, vocab_size: int, attention_dp: int) -> float:
        """Peak of the sampler while the engine measures its free memory. [B]"""
        del vocab_size, attention_dp
        return 0.0

    def loaded_experts(self, *, hidden_size: int, width: float, path: str) -> float:
        """Bytes of routed experts in memory over those of the checkpoint. [-]

        Parameters
        ----------
        hidden_size, width:
            Hidden size, and a rank's share of an expert's intermediate size.
        path:
            ``expert_path`` of the execution plan.
        """
        del hidden_size, width, path
        return 1.0

    def pool_tokens(self, spec: KvPoolSpec, *, longest_context: int) -> int:
        """Tokens of a rank's KV pool as the engine's log counts them. [tokens]

        Parameters
        ----------
        longest_context:
            Longest context that is served. [tokens]
        """
        del longest_context
        return spec.total_blocks * spec.block_tokens

    @abstractmethod
    def withheld_bytes(
        self, *, usable_bytes: float, free_bytes: float, reserve_bytes: float
    ) -> float:
        """What the engine's memory fraction leaves unused. [B]

        Parameters
        ----------
        usable_bytes:
            What the driver reports. [B]
        free_bytes:
            What weights and reserves leave of it. [B]
        reserve_bytes:
            Activations, runtime and graphs. [B]
        """

    def compressed_pool(
        self,
        *,
        architecture: DeepseekV4Architecture,
        layout: Layout,
        plan: ExecutionPlan,
        drafts: int,
    ) -> KvPoolLayout:
        """KV charge of compressed attention (DeepSeek V4)."""
        del drafts
        return self.plain_pool(architecture=architecture, layout=layout, plan=plan)

    def hybrid_pool(self, *, layers: CacheLayers, drafts: int) -> KvPoolLayout:
        """KV charge of grouped-query attention with windows or linear layers."""
        return separate_hybrid_pool(
            layers=layers,
            block_tokens=self.block_tokens,
            windowed=True,
            drafts=drafts,
        )

    def block_tokens_of(self, attention: Attention) -> int:
        """Tokens of a KV block of a kind of attention. [tokens]"""
        del attention
        return self.block_tokens

    def plain_pool(
        self, *, architecture: Architecture, layout: Layout, plan: ExecutionPlan
    ) -> KvPoolLayout:
        """KV charge of attention without windows or state, or where none is published."""
        return plain_pool(
            architecture=architecture,
            block_tokens=self.block_tokens_of(architecture.attention),
            kv=plan.kv_storage,
            index=plan.index_storage,
            online_state=plan.online_compressor_state,
            attention_tp=layout.attention_tp,
        )

    def pool_reserve(
        self,
        *,
        charge: KvPoolLayout,
        layout: Layout,
        drafts: int,
        longest_context: int,
        pool_bytes: float,
    ) -> PoolReserve:
        """What is set aside before requests get blocks; here state counts as blocks of a request.

        Parameters
        ----------
        charge:
            What a request takes.
        longest_context:
            Longest context that is served (``max_model_len``). [tokens]
        pool_bytes:
            Left for the KV cache. [B]
        """
        del longest_context, pool_bytes
        fixed = charge.fixed_blocks(in_flight_tokens=drafts + 1)
        share = 1.0 / layout.pp
        if charge.request_bytes * share:
            state, block = int(charge.request_bytes * share), int(charge.block_bytes * share)
            fixed += -(-state // block)
        return PoolReserve(fixed_blocks=fixed)

    # launch --------------------------------------------------------------------------------

    server: ClassVar[tuple[str, ...]] = ()
    dynamo_worker: ClassVar[tuple[str, ...]] = ()

    def launch_flags(self, request: LaunchRequest) -> LaunchFlags:
        """Public flags of the server that a simulated configuration corresponds to.

        Raises
        ------
        NotImplementedError
            If the engine publishes no stable command line (``server`` is empty).
        """
        raise NotImplementedError(f"{self.title} publishes no stable command line")

    def dynamo_words(self, flags: LaunchFlags) -> list[str]:
        """The flags as the worker of NVIDIA Dynamo spells them."""
        return flags.words

    def transfer_words(self) -> list[str]:
        """Flags of a Dynamo worker that hands KV entries over."""
        return []
