"""ATOM as an engine: settings, limits, memory rules and launch flags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from simulator.engines.atom.scheduler import AtomScheduler
from simulator.engines.base import SEARCHED_CHUNKS, DataParallelRouting, Engine, EngineSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.serving.scheduler import WorkerView


class AtomSettings(EngineSettings):
    """AMD ATOM: prefill steps come before decode steps, as in SGLang, under vLLM's budget names."""

    scheduler: Literal["atom"] = "atom"
    max_num_batched_tokens: int = Field(16384, ge=1, description="prefill budget [tokens]")
    max_num_seqs: int = Field(512, ge=1, description="running requests of one rank")
    block_size: int = Field(256, ge=1, description="tokens of a KV block [tokens]")
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, description="share of device memory")
    enable_tbo: bool = False
    enable_prefix_caching: bool = False
    enable_chunked_prefill: bool = True
    deferred_output: bool = True
    prefill_alignment: Literal["none", "some_ranks", "full_budget", "coalescer"] = "coalescer"
    prefill_align_fill: float = Field(
        0.9, gt=0, le=1, description="share of all ranks' budgets that waits before prompts start"
    )
    prefill_align_max_ticks: int = Field(200, ge=0, description="longest hold [steps]")
    prefill_align_partial_ticks: int = Field(
        100, ge=0, description="longest hold with a prompt in progress [steps]"
    )
    prefill_align_stall_ticks: int = Field(
        10, ge=1, description="steps without a new prompt that end a hold [steps]"
    )
    data_parallel_routing: DataParallelRouting = "least_requests"
    cudagraph_max_capture_size: int = Field(512, ge=0, description="largest graph [requests]")


class AtomEngine(Engine[AtomSettings]):
    """ATOM; see `simulator.engines.base.Engine`."""

    key = "atom"
    title = "ATOM"
    settings_class = AtomSettings
    budget_setting = "max_num_batched_tokens"
    cap_setting = "max_num_seqs"
    graph_setting = "cudagraph_max_capture_size"
    varied: ClassVar[Mapping[str, tuple[Any, ...]]] = {"max_num_batched_tokens": SEARCHED_CHUNKS}

    @property
    def two_batches(self) -> bool:
        """See `Engine.two_batches`."""
        return self.settings.enable_tbo

    def build_scheduler(self, *, worker: WorkerView) -> AtomScheduler:
        """See `Engine.build_scheduler`."""
        return AtomScheduler(worker=worker, settings=self.settings)

    @property
    def caches_prefixes(self) -> bool:
        """See `Engine.caches_prefixes`."""
        return self.settings.enable_prefix_caching

    def with_prefix_cache(self) -> AtomSettings:
        """See `Engine.with_prefix_cache`."""
        return self.settings.model_copy(update={"enable_prefix_caching": True})

    def step_token_budget(self, *, attention_dp: int) -> int:
        """See `Engine.step_token_budget`."""
        del attention_dp
        return self.settings.max_num_batched_tokens

    def running_cap(self, *, attention_dp: int) -> float:
        """See `Engine.running_cap`."""
        del attention_dp
        return self.settings.max_num_seqs

    @property
    def block_tokens(self) -> int:
        """See `Engine.block_tokens`."""
        return self.settings.block_size

    def graph_tokens(self, *, drafts: int) -> int | None:
        """See `Engine.graph_tokens`."""
        recorded = "cudagraph_max_capture_size" in self.settings.model_fields_set
        requests = self.settings.cudagraph_max_capture_size
        return requests * (drafts + 1) if drafts or recorded else None

    def withheld_bytes(
        self, *, usable_bytes: float, free_bytes: float, reserve_bytes: float
    ) -> float:
        """See `Engine.withheld_bytes`: a share of all memory."""
        del free_bytes, reserve_bytes
        return (1.0 - self.settings.gpu_memory_utilization) * usable_bytes
