"""Scheduler and memory settings of the serving engines, named as the engines name them.

A setting is an input: it is recorded from the server's command line (a recipe) or given by the
user, never fitted. Each class documents the engine's own default where one is published.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workloads.errors import UserError, shown, unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class VllmSettings(_Settings):
    """vLLM V1: one token budget a step shared by decode and chunked prefill."""

    scheduler: Literal["vllm"] = "vllm"
    max_num_batched_tokens: int = Field(8192, ge=1, description="token budget of a step [tokens]")
    max_num_seqs: int = Field(1024, ge=1, description="running requests of one data-parallel rank")
    block_size: int = Field(256, ge=1, description="tokens of a KV block [tokens]")
    gpu_memory_utilization: float = Field(0.92, gt=0, le=1, description="share of device memory")
    enable_chunked_prefill: bool = True
    enable_prefix_caching: bool = False
    prefill_schedule_interval: int = Field(
        1, ge=1, description="data-parallel ranks start prefills only every n-th step"
    )
    max_cudagraph_capture_size: int = Field(512, ge=0, description="largest graph [tokens]")
    enforce_eager: bool = False
    async_scheduling: bool = True
    offload_group_size: int = Field(
        0, ge=0, description="layers of a group with weights in host memory; 0: no offloading"
    )
    offload_num_in_group: int = Field(
        1, ge=1, description="layers of a group whose weights are streamed from the host each step"
    )


class SglangSettings(_Settings):
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
    enable_prefill_delayer: bool = False
    prefill_delayer_max_delay_passes: int = Field(30, ge=0, description="longest wait [steps]")
    scheduler_recv_interval: int = Field(
        1, ge=1, description="decode steps between looks at the queue of new requests"
    )
    disable_radix_cache: bool = True
    disable_overlap_schedule: bool = False
    cuda_graph_max_bs: int = Field(256, ge=0, description="largest decode graph [requests]")


class TrtllmSettings(_Settings):
    """TensorRT-LLM: in-flight batching under a token budget."""

    scheduler: Literal["trtllm"] = "trtllm"
    max_batch_size: int = Field(2048, ge=1, description="running requests of one rank")
    max_num_tokens: int = Field(8192, ge=1, description="token budget of a step [tokens]")
    tokens_per_block: int = Field(128, ge=1, description="tokens of a KV block [tokens]")
    kv_free_gpu_memory_fraction: float = Field(0.9, gt=0, le=1, description="of what is free")
    capacity_policy: Literal["max_utilization", "guaranteed_no_evict"] = "guaranteed_no_evict"
    enable_chunked_prefill: bool = False
    attention_dp_batching_wait_iters: int = Field(
        0, ge=0, description="steps that data-parallel ranks wait to align their prefills"
    )
    cuda_graph_max_batch_size: int = Field(256, ge=0, description="largest graph [requests]")
    disable_overlap_scheduler: bool = False


class AtomSettings(_Settings):
    """AMD ATOM: prefill steps come before decode steps, as in SGLang, under vLLM's budget names."""

    scheduler: Literal["atom"] = "atom"
    max_num_batched_tokens: int = Field(16384, ge=1, description="prefill budget [tokens]")
    max_num_seqs: int = Field(512, ge=1, description="running requests of one rank")
    block_size: int = Field(256, ge=1, description="tokens of a KV block [tokens]")
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, description="share of device memory")
    enable_tbo: bool = False
    prefill_align_steps: int = Field(
        0, ge=0, description="steps that data-parallel ranks wait to align their prefills"
    )
    cudagraph_max_capture_size: int = Field(512, ge=0, description="largest graph [requests]")


EngineSettings = Annotated[
    VllmSettings | SglangSettings | TrtllmSettings | AtomSettings, Field(discriminator="scheduler")
]


def changed_settings(settings: EngineSettings, changes: Mapping[str, Any]) -> EngineSettings:
    """The settings of a server with some replaced by a user's.

    Raises
    ------
    UserError
        If the engine has no such setting, a value is out of range, or the setting is recorded
        only (`INFORMATIVE`) and changes no figure.
    """
    kind = type(settings)
    known = [name for name in kind.model_fields if name != "scheduler"]
    for name in changes:
        if name not in known:
            raise unknown_name(field=f"setting of {settings.scheduler}", value=name, known=known)
        check_is_simulated(scheduler=settings.scheduler, name=name)
    try:
        return kind.model_validate({**settings.model_dump(), **changes})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{settings.scheduler} setting {name} is {shown(first['input'])}: "
            f"{first['msg'][0].lower()}{first['msg'][1:]}"
        ) from None


INFORMATIVE: dict[str, dict[str, str]] = {}
"""Settings by scheduler that are recorded and printed but change no figure, and why."""


def check_is_simulated(*, scheduler: str, name: str) -> None:
    """Refuse a setting that no figure depends on.

    Raises
    ------
    UserError
        If the setting is one of `INFORMATIVE`.
    """
    reason = INFORMATIVE.get(scheduler, {}).get(name)
    if reason is not None:
        raise UserError(
            f"setting {name} of {scheduler} is recorded only and changes no figure: {reason}; "
            "leave it out"
        )
