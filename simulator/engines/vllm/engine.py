"""vLLM as an engine: settings, limits, memory rules and launch flags."""

from __future__ import annotations

import json
from math import ceil
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from simulator.engines.base import (
    SEARCHED_CHUNKS,
    DataParallelRouting,
    Engine,
    EngineSettings,
)
from simulator.engines.kv_accounting import vllm_pool
from simulator.engines.kv_accounting_hybrid import vllm_hybrid_pool
from simulator.engines.launch_flags import LaunchFlags
from simulator.engines.reserves import PoolReserve, RecordedOffload
from simulator.engines.vllm.scheduler import VllmScheduler

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.engines.kv_accounting import KvPoolLayout
    from simulator.engines.launch_flags import LaunchRequest
    from simulator.serving.kv_pool import KvPoolSpec
    from simulator.serving.scheduler import WorkerView
    from workloads.architectures.base import Attention, CacheLayers
    from workloads.architectures.deepseek_v4 import DeepseekV4Architecture
    from workloads.execution_plan import ExecutionPlan
    from workloads.layout import Layout


SAMPLER_BYTES = 31.0
"""Sampler's peak for one value of the vocabulary of one request. [B]

Fitted to gpt-oss-120b on H100 (calibration/validation/startup_memory.yaml); logits in BF16 and
FP32, a sorted FP32 copy, 8-byte indices, probabilities and their sums come to 26-34.
"""


class VllmSettings(EngineSettings):
    """vLLM V1: one token budget a step shared by decode and chunked prefill."""

    scheduler: Literal["vllm"] = "vllm"
    max_num_batched_tokens: int = Field(8192, ge=1, description="token budget of a step [tokens]")
    max_num_seqs: int = Field(1024, ge=1, description="running requests of one data-parallel rank")
    block_size: int = Field(
        256,
        ge=1,
        description="tokens of a KV block; default 256 with compressed attention, 64 with latent, "
        "else 16 [tokens]",
    )
    gpu_memory_utilization: float = Field(0.92, gt=0, le=1, description="share of device memory")
    enable_chunked_prefill: bool = True
    enable_prefix_caching: bool = False
    prefill_schedule_interval: int = Field(
        1, ge=1, description="prompts are computed only every n-th step [steps]"
    )
    prefill_cadence_steps: int = Field(
        0,
        ge=0,
        description="AMD's patch: steps between two that admit waiting requests, once at least "
        "prefill_cadence_min_running run; 0: each step admits [steps]",
    )
    prefill_cadence_min_running: int = Field(
        0, ge=0, description="running requests of a rank from which that cadence holds"
    )
    long_prefill_token_threshold: int = Field(
        0, ge=0, description="most tokens of one prompt in a step; 0: no such bound [tokens]"
    )
    scheduler_reserve_full_isl: bool = Field(
        True, description="admission asks for the blocks of a whole prompt, else of its first chunk"
    )
    prefix_retention_interval: int | None = Field(
        None,
        ge=0,
        description="where window state of cached prompts is kept beside the latest boundary; "
        "0: nowhere else; None: at every block [tokens]",
    )
    prefill_interval_without_dp: bool = True
    admission_steps_in_flight: int = Field(
        2, ge=1, le=2, description="steps whose budget admission charges windows for"
    )
    data_parallel_routing: DataParallelRouting = "least_loaded_rotating"
    max_cudagraph_capture_size: int = Field(512, ge=0, description="largest graph [tokens]")
    enforce_eager: bool = False
    cudagraph_mode: Literal["auto", "FULL_AND_PIECEWISE", "FULL_DECODE_ONLY", "NONE"] = Field(
        "auto", description="graphs of steps with prompts; auto: those of the recipe or the level"
    )
    async_scheduling: bool = True
    stream_interval: int = Field(
        1, ge=1, description="output tokens sent to the client at a time, the first alone [tokens]"
    )
    kv_offloading: Literal["none", "eager", "lazy"] = Field(
        "none", description="host copies of KV blocks: at once, or when the pool runs low"
    )
    offload_group_size: int = Field(
        0, ge=0, description="layers of a group with weights in host memory; 0: no offloading"
    )
    offload_num_in_group: int = Field(
        1, ge=1, description="layers of a group whose weights are streamed from the host each step"
    )
    redundant_experts: int = Field(
        0, ge=0, description="copies of routed experts in each layer, spread over EP [experts]"
    )


class VllmEngine(Engine[VllmSettings]):
    """vLLM; see `simulator.engines.base.Engine`."""

    key = "vllm"
    title = "vLLM"
    settings_class = VllmSettings
    budget_setting = "max_num_batched_tokens"
    cap_setting = "max_num_seqs"
    graph_setting = "max_cudagraph_capture_size"
    prefill_graphs_on = "cudagraph_mode=FULL_AND_PIECEWISE"
    varied: ClassVar[Mapping[str, tuple[Any, ...]]] = {"max_num_batched_tokens": SEARCHED_CHUNKS}
    server = ("vllm", "serve")
    dynamo_worker = ("python3", "-m", "dynamo.vllm", "--model")

    def build_scheduler(self, *, worker: WorkerView) -> VllmScheduler:
        """See `Engine.build_scheduler`."""
        return VllmScheduler(worker=worker, settings=self.settings)

    @property
    def caches_prefixes(self) -> bool:
        """See `Engine.caches_prefixes`."""
        return self.settings.enable_prefix_caching

    def prefix_retention(self, *, charge: KvPoolLayout) -> int | None:
        """See `Engine.prefix_retention`; nothing to keep without windows or linear layers.

        Window state of cached boundaries goes to the back of the free list as other cached blocks
        do, that of all others to its front (vLLM PR 43447). The state of linear layers is kept
        where a prompt chunk ends, and chunks end at blocks (``mamba_cache_mode`` align, which such
        models take with prefix caching: vLLM PR 30877, ``_mamba_block_aligned_split``). A prompt
        alone in its steps has chunks of the whole budget.
        """
        if charge.windows:
            return self.settings.prefix_retention_interval
        if not charge.state_blocks or not self.caches_prefixes:
            return None
        budget = self.settings.max_num_batched_tokens
        chunk = min(budget, self.settings.long_prefill_token_threshold or budget)
        return max(chunk // charge.block_tokens, 1) * charge.block_tokens

    def kept_state_blocks(self, *, charge: KvPoolLayout, drafts: int) -> int | None:
        """See `Engine.kept_state_blocks`; the state after each draft is not kept."""
        return charge.state_blocks // (1 + drafts) if charge.state_blocks else None

    @property
    def kv_offload(self) -> RecordedOffload | None:
        """See `Engine.kv_offload`: the simple CPU connector, eager or lazy."""
        how = self.settings.kv_offloading
        return None if how == "none" else RecordedOffload(write_through=how == "eager")

    @property
    def redundant_experts(self) -> int:
        """See `Engine.redundant_experts`."""
        return self.settings.redundant_experts

    def with_prefix_cache(self) -> VllmSettings:
        """See `Engine.with_prefix_cache`."""
        return self.settings.model_copy(update={"enable_prefix_caching": True})

    @property
    def mixes(self) -> bool:
        """See `Engine.mixes`."""
        return True

    def step_token_budget(self, *, attention_dp: int) -> int:
        """See `Engine.step_token_budget`."""
        del attention_dp
        return self.settings.max_num_batched_tokens

    def running_cap(self, *, attention_dp: int) -> float:
        """See `Engine.running_cap`."""
        del attention_dp
        return self.settings.max_num_seqs

    def with_prompts_of(self, *, tokens: int, requests: int, drafts: int) -> VllmSettings:
        """See `Engine.with_prompts_of`: without chunked prefill a prompt is computed whole.

        The server does not start with a budget below ``max_model_len`` then
        (``SchedulerConfig.verify_max_model_len``).
        """
        settings = self.settings
        if settings.enable_chunked_prefill or settings.max_num_batched_tokens >= tokens:
            return settings
        budget = tokens + min(requests, settings.max_num_seqs) * (drafts + 1)
        return settings.model_copy(update={"max_num_batched_tokens": budget})

    @property
    def block_tokens(self) -> int:
        """See `Engine.block_tokens`."""
        return self.settings.block_size

    def block_tokens_of(self, attention: Attention) -> int:
        """See `Engine.block_tokens_of`.

        Without ``--block-size`` 16 (``CacheConfig.DEFAULT_BLOCK_SIZE``), and what the backend
        asks for where it cannot page so finely (64: FlashMLA).
        """
        if "block_size" in self.settings.model_fields_set:
            return self.settings.block_size
        return {"grouped": 16, "latent": 64}.get(attention, self.settings.block_size)

    def graph_tokens(self, *, drafts: int) -> int | None:
        """See `Engine.graph_tokens`; vLLM counts tokens, drafts among them."""
        del drafts
        settings = self.settings
        if settings.enforce_eager or settings.cudagraph_mode == "NONE":
            return 0
        recorded = "max_cudagraph_capture_size" in settings.model_fields_set
        return settings.max_cudagraph_capture_size if recorded else None

    @property
    def graphs_prefill(self) -> bool | None:
        """See `Engine.graphs_prefill`: compiled pieces between the attention layers."""
        mode = self.settings.cudagraph_mode
        return None if mode == "auto" else mode == "FULL_AND_PIECEWISE"

    def _graph_size(self, *, requests: int, drafts: int) -> int:
        if self.settings.enforce_eager:
            return 0
        return min(requests * (drafts + 1), self.settings.max_num_batched_tokens)

    runtime_bytes = 2.0e9
    # fitted: B300, DeepSeek-V4-Pro (calibration/validation/startup_memory.yaml)

    def sampler_bytes(self, *, vocab_size: int, attention_dp: int) -> float:
        """See `Engine.sampler_bytes`: the profiling run samples for all requests at a time.

        Logits, their sorted copy, indices and probabilities of ``max_num_seqs`` requests
        (``GPUModelRunner._dummy_sampler_run``).
        """
        budget = self.step_token_budget(attention_dp=attention_dp)
        return SAMPLER_BYTES * vocab_size * min(self.settings.max_num_seqs, budget)

    def loaded_experts(self, *, hidden_size: int, width: float, path: str) -> float:
        """See `Engine.loaded_experts`: Marlin wants multiples of 256 hidden and 128 inner units.

        ``Mxfp4MoEMethod.create_weights`` in ``quantization/mxfp4.py`` pads to them.
        """
        if path not in ("w4a16", "int4"):
            return 1.0
        return ceil(hidden_size / 256) * 256 / hidden_size * ceil(width / 128) * 128 / width

    def pool_tokens(self, spec: KvPoolSpec, *, longest_context: int) -> int:
        """See `Engine.pool_tokens`: requests of the longest context that fit, times its tokens.

        Each is charged for its blocks and for the state of tokens in flight
        (``get_max_concurrency_for_kv_cache_config``).
        """
        blocks = spec.blocks(longest_context) + spec.admission_blocks
        return int(spec.total_blocks / blocks * longest_context)

    def withheld_bytes(
        self, *, usable_bytes: float, free_bytes: float, reserve_bytes: float
    ) -> float:
        """See `Engine.withheld_bytes`: a share of all memory."""
        del free_bytes, reserve_bytes
        return (1.0 - self.settings.gpu_memory_utilization) * usable_bytes

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
        return vllm_pool(
            architecture=architecture,
            kv=plan.kv_storage,
            index=plan.index_storage,
            draft_layers=min(drafts, 1),
        )

    def hybrid_pool(self, *, layers: CacheLayers, drafts: int) -> KvPoolLayout:
        """See `Engine.hybrid_pool`."""
        return vllm_hybrid_pool(
            layers=layers,
            block_tokens=self.block_tokens_of("grouped"),
            drafts=drafts,
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

        An admitted request is charged for windows and state of all tokens that can be in flight:
        the token budget of each step in flight, but no more than the longest context
        (``max_model_len``).
        """
        del pool_bytes
        budget = self.step_token_budget(attention_dp=layout.attention_dp)
        fixed = charge.fixed_blocks(in_flight_tokens=drafts + 1)
        if self.settings.async_scheduling:
            budget *= self.settings.admission_steps_in_flight
        tokens = min(budget, longest_context)
        in_flight = charge.fixed_blocks(in_flight_tokens=tokens)
        return PoolReserve(
            fixed_blocks=fixed,
            admission_blocks=max(0, in_flight - fixed),
            windows=tuple((one.window_tokens, one.block_tokens) for one in charge.windows),
            in_flight_tokens=tokens,
        )

    def launch_flags(self, request: LaunchRequest) -> LaunchFlags:
        """See `Engine.launch_flags`."""
        settings, layout = self.settings, request.layout
        flags = LaunchFlags()
        flags.add("--tensor-parallel-size", layout.attention_tp)
        flags.add("--data-parallel-size", layout.attention_dp, when=layout.attention_dp > 1)
        flags.add("--pipeline-parallel-size", layout.pp, when=layout.pp > 1)
        flags.add("--enable-expert-parallel", when=layout.ep > 1)
        if 1 < layout.ep < layout.tp:
            flags.notes.append(
                f"expert parallel over {layout.ep}; vLLM takes all {layout.tp} ranks"
            )
        if settings.exchange_library:
            flags.notes.append(
                f"exchange_library {settings.exchange_library}: name it by --all2all-backend"
            )
        flags.add("--max-model-len", request.longest_context)
        flags.add("--max-num-batched-tokens", settings.max_num_batched_tokens)
        flags.add("--max-num-seqs", settings.max_num_seqs)
        flags.add("--block-size", settings.block_size)
        flags.add("--gpu-memory-utilization", settings.gpu_memory_utilization)
        dtype = settings.kv_cache_dtype
        flags.add("--kv-cache-dtype", {"auto": "fp8", "bf16": "bfloat16"}.get(dtype, dtype))
        caching = "--enable-prefix-caching" if settings.enable_prefix_caching else None
        flags.add(caching or "--no-enable-prefix-caching")
        flags.add(
            "--prefill-schedule-interval",
            settings.prefill_schedule_interval,
            when=settings.prefill_schedule_interval > 1,
        )
        if settings.prefill_cadence_steps:
            flags.notes.append(
                f"AMD's prefill cadence: {settings.prefill_cadence_steps} steps from "
                f"{settings.prefill_cadence_min_running} running requests on; no flag of vLLM's"
            )
        flags.add(
            "--long-prefill-token-threshold",
            settings.long_prefill_token_threshold,
            when=settings.long_prefill_token_threshold > 0,
        )
        if not settings.scheduler_reserve_full_isl:
            flags.add("--no-scheduler-reserve-full-isl")
        flags.add("--stream-interval", settings.stream_interval, when=settings.stream_interval > 1)
        if settings.enforce_eager:
            flags.add("--enforce-eager")
        else:
            flags.add("--max-cudagraph-capture-size", settings.max_cudagraph_capture_size)
            if settings.cudagraph_mode not in ("auto", "FULL_AND_PIECEWISE"):
                mode = {"cudagraph_mode": settings.cudagraph_mode}
                flags.add("--compilation-config", json.dumps(mode))
        flags.add(
            "--moe-backend", "deep_gemm_mega_moe", when=request.plan.get("moe_backend") == "fused"
        )
        if request.drafts:
            method = {"method": request.speculation, "num_speculative_tokens": request.drafts}
            flags.add("--speculative-config", json.dumps(method))
        if settings.redundant_experts:
            balancer = {"num_redundant_experts": settings.redundant_experts}
            flags.add("--enable-eplb")
            flags.add("--eplb-config", json.dumps(balancer))
        if settings.offload_group_size:
            flags.notes.append(
                f"weights of {settings.offload_num_in_group} of {settings.offload_group_size} "
                "layers in host memory"
            )
        if not settings.async_scheduling:
            flags.notes.append("no asynchronous scheduling")
        return flags

    def transfer_words(self) -> list[str]:
        """See `Engine.transfer_words`."""
        connector = {"kv_connector": "NixlConnector", "kv_role": "kv_both"}
        return ["--kv-transfer-config", json.dumps(connector)]
