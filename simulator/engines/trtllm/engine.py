"""TensorRT-LLM as an engine: settings, limits, memory rules and launch flags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from simulator.engines.base import SEARCHED_CHUNKS, DataParallelRouting, Engine, EngineSettings
from simulator.engines.kv_accounting_hybrid import separate_hybrid_pool
from simulator.engines.launch_flags import LaunchFlags
from simulator.engines.trtllm.scheduler import TrtllmScheduler

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.engines.kv_accounting import KvPoolLayout
    from simulator.engines.launch_flags import LaunchRequest
    from simulator.serving.scheduler import WorkerView
    from workloads.architectures.base import CacheLayers


class TrtllmSettings(EngineSettings):
    """TensorRT-LLM: in-flight batching under a token budget."""

    scheduler: Literal["trtllm"] = "trtllm"
    max_batch_size: int = Field(2048, ge=1, description="running requests of one rank")
    max_num_tokens: int = Field(8192, ge=1, description="token budget of a step [tokens]")
    tokens_per_block: int = Field(32, ge=1, description="tokens of a KV block [tokens]")
    kv_free_gpu_memory_fraction: float = Field(0.9, gt=0, le=1, description="of what is free")
    capacity_policy: Literal["max_utilization", "guaranteed_no_evict"] = "guaranteed_no_evict"
    enable_chunked_prefill: bool = False
    enable_block_reuse: bool = False
    attention_dp_enable_balance: bool = False
    attention_dp_timeout_iters: int = Field(
        50, ge=0, description="longest wait until all data-parallel ranks have a prompt [steps]"
    )
    attention_dp_batching_wait_iters: int = Field(
        0, ge=0, description="further wait, once all have one, to collect more [steps]"
    )
    batch_wait_timeout_iters: int = Field(
        0, ge=0, description="without attention DP: longest wait to collect prompts [steps]"
    )
    batch_wait_max_tokens_ratio: float = Field(
        0.0, ge=0, le=1, description="share of the token budget that ends that wait"
    )
    data_parallel_routing: DataParallelRouting = "least_loaded"
    cuda_graph_max_batch_size: int = Field(256, ge=0, description="largest graph [requests]")
    enable_piecewise_cuda_graph: bool | None = Field(
        None, description="graphs of prompts under torch.compile; null: as recorded"
    )
    capture_num_tokens: int | None = Field(
        None,
        ge=1,
        description="largest of those graphs, or max_num_tokens for a compiled engine; null: as "
        "large as the graphs of decoding [tokens]",
    )
    disable_overlap_scheduler: bool = False
    redundant_experts: int = Field(
        0, ge=0, description="copies of routed experts in each layer, spread over EP [experts]"
    )
    stream_interval: int = Field(
        1, ge=1, description="output tokens sent to the client at a time, the first alone [tokens]"
    )


_DYNAMO_FLAGS = {
    "--tp_size": "--tensor-parallel-size",
    "--ep_size": "--expert-parallel-size",
    "--pp_size": "--pipeline-parallel-size",
}


class TrtllmEngine(Engine[TrtllmSettings]):
    """TensorRT-LLM; see `simulator.engines.base.Engine`."""

    key = "trtllm"
    title = "TensorRT-LLM"
    settings_class = TrtllmSettings
    budget_setting = "max_num_tokens"
    budget_holds_decode = True
    cap_setting = "max_batch_size"
    graph_setting = "cuda_graph_max_batch_size"
    prefill_graph_setting = "capture_num_tokens"
    prefill_graphs_on = "enable_piecewise_cuda_graph=true"
    varied: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "max_num_tokens": SEARCHED_CHUNKS,
        "enable_chunked_prefill": (False, True),
    }
    server = ("trtllm-serve",)
    dynamo_worker = ("python3", "-m", "dynamo.trtllm", "--model-path")

    def build_scheduler(self, *, worker: WorkerView) -> TrtllmScheduler:
        """See `Engine.build_scheduler`."""
        return TrtllmScheduler(worker=worker, settings=self.settings)

    @property
    def mixes(self) -> bool:
        """See `Engine.mixes`."""
        return True

    @property
    def caches_prefixes(self) -> bool:
        """See `Engine.caches_prefixes`."""
        return self.settings.enable_block_reuse

    @property
    def redundant_experts(self) -> int:
        """See `Engine.redundant_experts`."""
        return self.settings.redundant_experts

    def with_prefix_cache(self) -> TrtllmSettings:
        """See `Engine.with_prefix_cache`."""
        return self.settings.model_copy(update={"enable_block_reuse": True})

    def step_token_budget(self, *, attention_dp: int) -> int:
        """See `Engine.step_token_budget`."""
        del attention_dp
        return self.settings.max_num_tokens

    def running_cap(self, *, attention_dp: int) -> float:
        """See `Engine.running_cap`."""
        del attention_dp
        return self.settings.max_batch_size

    @property
    def block_tokens(self) -> int:
        """See `Engine.block_tokens`."""
        return self.settings.tokens_per_block

    def graph_tokens(self, *, drafts: int) -> int | None:
        """See `Engine.graph_tokens`."""
        recorded = "cuda_graph_max_batch_size" in self.settings.model_fields_set
        requests = self.settings.cuda_graph_max_batch_size
        return requests * (drafts + 1) if drafts or recorded else None

    @property
    def graphs_prefill(self) -> bool | None:
        """See `Engine.graphs_prefill` (``torch_compile_config``)."""
        return self.settings.enable_piecewise_cuda_graph

    @property
    def prefill_graph_tokens(self) -> int | None:
        """See `Engine.prefill_graph_tokens` (``torch_compile_config.capture_num_tokens``)."""
        return self.settings.capture_num_tokens

    def with_prompts_of(self, *, tokens: int, requests: int, drafts: int) -> TrtllmSettings:
        """See `Engine.with_prompts_of`: without chunked context a prompt is computed whole."""
        settings = self.settings
        if settings.enable_chunked_prefill or settings.max_num_tokens >= tokens:
            return settings
        running = min(requests, settings.max_batch_size)
        return settings.model_copy(update={"max_num_tokens": tokens + running * (drafts + 1)})

    def withheld_bytes(
        self, *, usable_bytes: float, free_bytes: float, reserve_bytes: float
    ) -> float:
        """See `Engine.withheld_bytes`: a share of what is free."""
        del usable_bytes, reserve_bytes
        return (1.0 - self.settings.kv_free_gpu_memory_fraction) * max(free_bytes, 0.0)

    def hybrid_pool(self, *, layers: CacheLayers, drafts: int) -> KvPoolLayout:
        """See `Engine.hybrid_pool`: all entries stay, unless ``max_attention_window`` is set."""
        return separate_hybrid_pool(
            layers=layers,
            block_tokens=self.block_tokens,
            windowed=False,
            drafts=drafts,
        )

    def launch_flags(self, request: LaunchRequest) -> LaunchFlags:
        """See `Engine.launch_flags`."""
        settings, layout = self.settings, request.layout
        flags = LaunchFlags()
        flags.add("--tp_size", layout.tp)
        flags.add("--ep_size", layout.ep)
        flags.add("--pp_size", layout.pp, when=layout.pp > 1)
        flags.add("--max_batch_size", settings.max_batch_size)
        flags.add("--max_num_tokens", settings.max_num_tokens)
        flags.add("--max_seq_len", request.longest_context)
        flags.options = {
            "enable_attention_dp": layout.dp_attention,
            "enable_chunked_prefill": settings.enable_chunked_prefill,
            "disable_overlap_scheduler": settings.disable_overlap_scheduler,
            "cuda_graph_config": {
                "enable_padding": True,
                "max_batch_size": settings.cuda_graph_max_batch_size,
            },
            "kv_cache_config": {
                "enable_block_reuse": False,
                "free_gpu_memory_fraction": settings.kv_free_gpu_memory_fraction,
                "tokens_per_block": settings.tokens_per_block,
                "dtype": "auto" if settings.kv_cache_dtype == "bf16" else "fp8",
            },
            "scheduler_config": {"capacity_scheduler_policy": settings.capacity_policy.upper()},
        }
        if layout.dp_attention and settings.attention_dp_enable_balance:
            flags.options["attention_dp_config"] = {
                "enable_balance": True,
                "timeout_iters": settings.attention_dp_timeout_iters,
                "batching_wait_iters": settings.attention_dp_batching_wait_iters,
            }
        if settings.stream_interval > 1:
            flags.options["stream_interval"] = settings.stream_interval
        if settings.enable_piecewise_cuda_graph is not None:
            pieces = {"enable_piecewise_cuda_graph": settings.enable_piecewise_cuda_graph}
            if settings.capture_num_tokens is not None:
                sizes = [2**n for n in range(settings.capture_num_tokens.bit_length())]
                flags.options["torch_compile_config"] = {
                    **pieces,
                    "capture_num_tokens": sorted({*sizes, settings.capture_num_tokens}),
                }
            else:
                flags.options["torch_compile_config"] = pieces
        if request.plan.get("moe_backend") == "fused":
            flags.options["moe_config"] = {"backend": "MEGAMOE_DEEPGEMM"}
        if settings.exchange_library:
            flags.notes.append(
                f"exchange_library {settings.exchange_library}: name it by the environment "
                "variable TRTLLM_FORCE_COMM_METHOD"
            )
        if settings.redundant_experts:
            flags.notes.append(
                f"{settings.redundant_experts} redundant experts: num_slots of "
                "moe_config.load_balancer is the experts and their copies"
            )
        if request.drafts:
            head = request.speculation == "eagle3"
            flags.options["speculative_config"] = {
                "decoding_type": "Eagle" if head else "MTP",
                "max_draft_len" if head else "num_nextn_predict_layers": request.drafts,
            }
        return flags

    def dynamo_words(self, flags: LaunchFlags) -> list[str]:
        """See `Engine.dynamo_words`."""
        return [
            _DYNAMO_FLAGS.get(word, word.replace("_", "-") if word.startswith("--") else word)
            for word in flags.words
        ]
