"""SGLang as an engine: settings, limits, memory rules and launch flags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from simulator.engines.base import (
    SEARCHED_CHUNKS,
    DataParallelRouting,
    Engine,
    EngineSettings,
)
from simulator.engines.kv_accounting import sglang_pool
from simulator.engines.kv_accounting_hybrid import sglang_hybrid_pool
from simulator.engines.launch_flags import LaunchFlags
from simulator.engines.reserves import PoolReserve, RecordedOffload
from simulator.engines.sglang.scheduler import SglangScheduler

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.engines.kv_accounting import KvPoolLayout
    from simulator.engines.launch_flags import LaunchRequest
    from simulator.serving.scheduler import WorkerView
    from workloads.architectures.base import CacheLayers
    from workloads.architectures.deepseek_v4 import DeepseekV4Architecture
    from workloads.execution_plan import ExecutionPlan
    from workloads.layout import Layout


CONTEXT_BYTES = 0.86e9
"""Driver context and communicators before weights are loaded. [B]

Fitted to DeepSeek-V3.2 on B200 (calibration/validation/startup_memory.yaml).
"""


class SglangSettings(EngineSettings):
    """SGLang: prefill steps come before decode steps; mixed steps are optional."""

    scheduler: Literal["sglang"] = "sglang"
    chunked_prefill_size: int = Field(
        8192, ge=-1, description="prefill budget of a step over all data-parallel ranks [tokens]"
    )
    max_prefill_tokens: int = Field(16384, ge=1, description="cap of one prefill batch [tokens]")
    max_running_requests: int | None = Field(
        None, ge=1, description="running requests of the worker; None: memory decides"
    )
    mem_fraction_static: float = Field(0.9, gt=0, le=1, description="weights and pools over HBM")
    page_size: int = Field(256, ge=1, description="tokens of a KV page [tokens]")
    swa_full_tokens_ratio: float = Field(0.1, gt=0, le=1, description="SWA pool over full pool")
    enable_mixed_chunk: bool = False
    enable_two_batch_overlap: bool = False
    redundant_experts: int = Field(
        0, ge=0, description="copies of routed experts in each layer, spread over EP [experts]"
    )
    enable_prefill_delayer: bool = False
    prefill_delayer_max_delay_passes: int = Field(30, ge=0, description="longest wait [steps]")
    prefill_decode_interval: int = Field(
        0, ge=0, description="decode steps between two prefills while requests decode [steps]"
    )
    prefill_delayer_bounds_slots: bool = True
    prefill_delayer_window: int | None = Field(
        16, ge=1, description="attempts over which the largest prefill batch counts; None: all"
    )
    prefill_delayer_counts_chunks: bool = True
    data_parallel_routing: DataParallelRouting = "round_robin"
    scheduler_recv_interval: int = Field(
        1, ge=1, description="decode steps between looks at the queue of new requests"
    )
    num_continuous_decode_steps: int = Field(
        1, ge=1, description="declared by the server, read by none of its code: no effect [steps]"
    )
    stream_interval: int = Field(
        1, ge=1, description="output tokens sent to the client at a time, the first alone [tokens]"
    )
    disable_radix_cache: bool = True
    hicache_ratio: float = Field(
        0.0, ge=0, description="host pool over device pool of the hierarchical cache; 0: none"
    )
    hicache_write_policy: Literal["write_through", "write_through_selective", "write_back"] = (
        "write_through"
    )
    disable_overlap_schedule: bool = False
    enable_piecewise_cuda_graph: bool | None = Field(
        None, description="graphs of prompts; null: those of the recipe or the level"
    )
    piecewise_cuda_graph_max_tokens: int = Field(
        2048,
        ge=1,
        description="largest of those graphs where they are stated; 2048 is the server's default "
        "with latent attention, the chunk size otherwise [tokens]",
    )
    cuda_graph_max_bs: int = Field(256, ge=0, description="largest decode graph [requests]")
    keeps_loader_scales: bool = Field(
        False,
        description="FP4 experts on Hopper keep the loader's scales (0.5.14 to 0.5.16)",
    )


class SglangEngine(Engine[SglangSettings]):
    """SGLang; see `simulator.engines.base.Engine`."""

    key = "sglang"
    title = "SGLang"
    settings_class = SglangSettings
    budget_setting = "chunked_prefill_size"
    cap_setting = "max_running_requests"
    graph_setting = "cuda_graph_max_bs"
    prefill_graph_setting = "piecewise_cuda_graph_max_tokens"
    prefill_graphs_on = "enable_piecewise_cuda_graph=true"
    varied: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "chunked_prefill_size": (*SEARCHED_CHUNKS[1:], 65536),
        "enable_mixed_chunk": (False, True),
    }
    server = ("python3", "-m", "sglang.launch_server", "--model-path")
    dynamo_worker = ("python3", "-m", "dynamo.sglang", "--model-path")

    def build_scheduler(self, *, worker: WorkerView) -> SglangScheduler:
        """See `Engine.build_scheduler`."""
        return SglangScheduler(worker=worker, settings=self.settings)

    @property
    def caches_prefixes(self) -> bool:
        """See `Engine.caches_prefixes`."""
        return not self.settings.disable_radix_cache

    @property
    def kv_offload(self) -> RecordedOffload | None:
        """See `Engine.kv_offload`: the hierarchical cache."""
        if not self.settings.hicache_ratio:
            return None
        return RecordedOffload(
            write_through=self.settings.hicache_write_policy != "write_back",
            pool_ratio=self.settings.hicache_ratio,
        )

    def with_prefix_cache(self) -> SglangSettings:
        """See `Engine.with_prefix_cache`."""
        return self.settings.model_copy(update={"disable_radix_cache": False})

    @property
    def mixes(self) -> bool:
        """See `Engine.mixes`."""
        return self.settings.enable_mixed_chunk

    def step_token_budget(self, *, attention_dp: int) -> int:
        """See `Engine.step_token_budget`."""
        chunk = self.settings.chunked_prefill_size
        return self.settings.max_prefill_tokens if chunk < 0 else max(1, chunk // attention_dp)

    def running_cap(self, *, attention_dp: int) -> float:
        """See `Engine.running_cap`."""
        cap = self.settings.max_running_requests
        return float("inf") if cap is None else max(1, cap // attention_dp)

    def _cap_share(self, attention_dp: int) -> int:
        return attention_dp

    @property
    def graphs_prefill(self) -> bool | None:
        """See `Engine.graphs_prefill`."""
        return self.settings.enable_piecewise_cuda_graph

    @property
    def prefill_graph_tokens(self) -> int | None:
        """See `Engine.prefill_graph_tokens`; only of graphs that are stated."""
        settings = self.settings
        if not settings.enable_piecewise_cuda_graph:
            return None
        return settings.piecewise_cuda_graph_max_tokens

    @property
    def redundant_experts(self) -> int:
        """See `Engine.redundant_experts`."""
        return self.settings.redundant_experts

    @property
    def two_batches(self) -> bool:
        """See `Engine.two_batches`."""
        return self.settings.enable_two_batch_overlap

    @property
    def block_tokens(self) -> int:
        """See `Engine.block_tokens`."""
        return self.settings.page_size

    def graph_tokens(self, *, drafts: int) -> int | None:
        """See `Engine.graph_tokens`."""
        recorded = "cuda_graph_max_bs" in self.settings.model_fields_set
        requests = self.settings.cuda_graph_max_bs
        return requests * (drafts + 1) if drafts or recorded else None

    def withheld_bytes(
        self, *, usable_bytes: float, free_bytes: float, reserve_bytes: float
    ) -> float:
        """See `Engine.withheld_bytes`: what the reserves leave of the share outside the fraction.

        The fraction is of what the driver's context leaves before weights are loaded. Activations
        and graphs live outside it; where it is smaller than they are, they eat into the
        pool.
        """
        del free_bytes
        outside = (1.0 - self.settings.mem_fraction_static) * (usable_bytes - CONTEXT_BYTES)
        return max(0.0, outside + CONTEXT_BYTES - reserve_bytes)

    def loaded_experts(self, *, hidden_size: int, width: float, path: str) -> float:
        """See `Engine.loaded_experts`: the loader's scales, where they stay beside Marlin's own.

        ``Mxfp4MarlinMoEMethod`` of 0.5.14 loads a scale of FP32 for every 32 values and repacks
        it to E8M0 without letting go of the first; 0.5.17 does.
        """
        del hidden_size, width
        if path != "w4a16" or not self.settings.keeps_loader_scales:
            return 1.0
        value_bytes, scale_bytes, loaded_bytes = 0.5, 1 / 32, 4 / 32
        return 1.0 + loaded_bytes / (value_bytes + scale_bytes)

    def compressed_pool(
        self,
        *,
        architecture: DeepseekV4Architecture,
        layout: Layout,
        plan: ExecutionPlan,
        drafts: int,
    ) -> KvPoolLayout:
        """See `Engine.compressed_pool`."""
        del layout
        return sglang_pool(
            architecture=architecture,
            kv=plan.kv_storage,
            index=plan.index_storage,
            swa_full_tokens_ratio=self.settings.swa_full_tokens_ratio,
            speculative=drafts > 0,
            online_state=plan.online_compressor_state,
            page_tokens=self.block_tokens,
        )

    def hybrid_pool(self, *, layers: CacheLayers, drafts: int) -> KvPoolLayout:
        """See `Engine.hybrid_pool`."""
        return sglang_hybrid_pool(
            layers=layers,
            page_tokens=self.block_tokens,
            swa_full_tokens_ratio=self.settings.swa_full_tokens_ratio,
            drafts=drafts,
            radix=self.caches_prefixes,
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
        """See `Engine.pool_reserve`.

        The state pool is allotted for all running requests before the token pools.
        """
        del longest_context
        request_bytes = charge.request_bytes / layout.pp
        cap = self.settings.max_running_requests or charge.default_running
        running = max(1, cap // layout.attention_dp)
        if charge.state_share < 1.0 and request_bytes and pool_bytes > 0:
            running = max(1, min(running, int(charge.state_share * pool_bytes / request_bytes)))
        return PoolReserve(
            bytes=running * request_bytes,
            fixed_blocks=charge.fixed_blocks(in_flight_tokens=drafts + 1),
            request_slots=running if request_bytes else None,
        )

    def launch_flags(self, request: LaunchRequest) -> LaunchFlags:
        """See `Engine.launch_flags`."""
        settings, layout = self.settings, request.layout
        flags = LaunchFlags()
        flags.add("--tp-size", layout.tp)
        flags.add("--ep-size", layout.ep, when=layout.ep > 1)
        flags.add("--pp-size", layout.pp, when=layout.pp > 1)
        if layout.dp_attention:
            flags.add("--dp-size", layout.tp)
            flags.add("--enable-dp-attention")
        flags.add("--context-length", request.longest_context)
        flags.add("--chunked-prefill-size", settings.chunked_prefill_size)
        flags.add("--max-prefill-tokens", settings.max_prefill_tokens)
        flags.add(
            "--max-running-requests",
            settings.max_running_requests,
            when=settings.max_running_requests is not None,
        )
        flags.add("--mem-fraction-static", settings.mem_fraction_static)
        dtype = {"fp8": "fp8_e4m3", "bf16": "bfloat16"}.get(settings.kv_cache_dtype)
        flags.add("--kv-cache-dtype", dtype, when=dtype is not None)
        flags.add("--page-size", settings.page_size)
        flags.add("--swa-full-tokens-ratio", settings.swa_full_tokens_ratio)
        flags.add("--cuda-graph-max-bs-decode", settings.cuda_graph_max_bs)
        flags.add("--enable-mixed-chunk", when=settings.enable_mixed_chunk)
        flags.add("--enable-two-batch-overlap", when=settings.enable_two_batch_overlap)
        copies = settings.redundant_experts
        flags.add("--ep-num-redundant-experts", copies, when=copies > 0)
        if settings.enable_prefill_delayer:
            flags.add("--enable-prefill-delayer")
            flags.add(
                "--prefill-delayer-max-delay-passes", settings.prefill_delayer_max_delay_passes
            )
        if settings.enable_piecewise_cuda_graph:
            flags.add("--enable-piecewise-cuda-graph")
            size = settings.piecewise_cuda_graph_max_tokens
            flags.add("--piecewise-cuda-graph-max-tokens", size)
        flags.add(
            "--num-continuous-decode-steps",
            settings.num_continuous_decode_steps,
            when=settings.num_continuous_decode_steps > 1,
        )
        flags.add("--stream-interval", settings.stream_interval, when=settings.stream_interval > 1)
        flags.add("--disable-radix-cache", when=settings.disable_radix_cache)
        flags.add("--disable-overlap-schedule", when=settings.disable_overlap_schedule)
        named = settings.exchange_library
        fused = request.plan.get("moe_backend") == "fused" and not named
        flags.add("--moe-a2a-backend", "megamoe", when=fused)
        flags.add("--moe-a2a-backend", named, when=named in ("deepep", "mori"))
        if named and named not in ("deepep", "mori"):
            flags.notes.append(f"SGLang has no flag for exchange_library {named}")
        if request.drafts:
            flags.add(
                "--speculative-algorithm",
                {"dspark": "DSPARK", "eagle3": "EAGLE3"}.get(request.speculation, "EAGLE"),
            )
            flags.add("--speculative-num-steps", request.drafts)
            flags.add("--speculative-eagle-topk", 1)
            flags.add("--speculative-num-draft-tokens", request.drafts + 1)
        return flags
