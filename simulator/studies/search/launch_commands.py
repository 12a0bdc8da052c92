"""Launch commands that a simulated configuration corresponds to: a starting point, not a recipe.

Only flags that are public are written: those of SGLang 0.5.23 and Dynamo 1.6.1 as their packages
on PyPI parse them, and of vLLM and TensorRT-LLM as InferenceX's launch scripts of August 2026 use
them (github.com/SemiAnalysisAI/InferenceX, benchmarks/). What the simulation assumed and no flag
sets is a comment.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from hwmodels.sku import load_sku
from simulator.engines.labels import load_engine
from simulator.engines.settings import AtomSettings, SglangSettings, TrtllmSettings, VllmSettings
from workloads.architectures.catalog import repository_of

if TYPE_CHECKING:
    from simulator.engines.pools import PoolConfiguration, Role
    from simulator.scenario.configuration import RunConfiguration

STARTING_POINT = "a starting point: the simulation knows these flags, not your machine"
TRTLLM_OPTIONS = "trtllm-options.yaml"

_SERVERS = {
    "vllm": ("vllm", "serve"),
    "sglang": ("python3", "-m", "sglang.launch_server", "--model-path"),
    "trtllm": ("trtllm-serve",),
}
_WORKERS = {
    "vllm": ("python3", "-m", "dynamo.vllm", "--model"),
    "sglang": ("python3", "-m", "dynamo.sglang", "--model-path"),
    "trtllm": ("python3", "-m", "dynamo.trtllm", "--model-path"),
}
_NIXL = {"kv_connector": "NixlConnector", "kv_role": "kv_both"}


@dataclass(slots=True)
class _Flags:
    """Flags of one worker, the options that TensorRT-LLM reads from a file, and the rest."""

    words: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, flag: str, value: Any = None, *, when: bool = True) -> None:
        if when:
            self.words += [flag] if value is None else [flag, _text(value)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Commands of one serving stack.

    Parameters
    ----------
    stack:
        Such as ``vLLM`` or ``Dynamo with vLLM``.
    commands:
        One shell command a process, with how many to start.
    files:
        Files that the commands read, by name.
    notes:
        What was simulated and has no flag.
    """

    stack: str
    commands: tuple[tuple[int, str], ...]
    files: dict[str, str]
    notes: tuple[str, ...]

    @property
    def text(self) -> str:
        """The commands as a shell script with comments."""
        lines = [f"# {self.stack}: {STARTING_POINT}"]
        for name, content in self.files.items():
            lines += [f"cat > {name} <<'END'", content.rstrip(), "END"]
        for count, command in self.commands:
            if count > 1:
                lines.append(f"# start {count} of these")
            lines.append(command)
        return "\n".join([*lines, *(f"# simulated, without a flag: {note}" for note in self.notes)])


def launch_commands(configuration: RunConfiguration) -> tuple[Launch, ...]:
    """Launch commands of a configuration, the bare server first, then under Dynamo.

    Prefill and decode pools are launched under Dynamo only. ATOM publishes no stable command
    line, so that its configurations have none.
    """
    engine = load_engine(configuration.engine).engine
    if engine not in _SERVERS:
        return ()
    names = {"vllm": "vLLM", "sglang": "SGLang", "trtllm": "TensorRT-LLM"}
    launches = [_under_dynamo(configuration, engine=engine, name=names[engine])]
    if len(configuration.pools) == 1:
        launches.insert(0, _bare(configuration, engine=engine, name=names[engine]))
    return tuple(launches)


def _bare(configuration: RunConfiguration, *, engine: str, name: str) -> Launch:
    (pool,) = configuration.pools
    flags = _flags(configuration, pool)
    words = [*_SERVERS[engine], _repository(configuration), *flags.words]
    if flags.options:
        words += ["--extra_llm_api_options", TRTLLM_OPTIONS]
    return Launch(
        stack=name,
        commands=((pool.workers, _command(words)),),
        files=_files({TRTLLM_OPTIONS: flags.options}),
        notes=tuple(flags.notes),
    )


def _repository(configuration: RunConfiguration) -> str:
    return repository_of(
        configuration.model,
        precision=configuration.precision,
        vendor=load_sku(configuration.sku).vendor,
    )


def _under_dynamo(configuration: RunConfiguration, *, engine: str, name: str) -> Launch:
    commands = [(1, _command(["python3", "-m", "dynamo.frontend", "--router-mode", "round-robin"]))]
    files: dict[str, dict[str, Any]] = {}
    notes: dict[str, None] = {}
    for pool in configuration.pools:
        flags = _flags(configuration, pool)
        words = [*_WORKERS[engine], _repository(configuration)]
        words += _dynamo_words(flags.words) if engine == "trtllm" else flags.words
        if flags.options:
            options = TRTLLM_OPTIONS if pool.role == "aggregated" else f"{pool.role}.yaml"
            words += ["--extra-engine-args", options]
            files[options] = flags.options
        words += _pool_words(pool.role, engine=engine)
        commands.append((pool.workers, _command(words)))
        notes |= dict.fromkeys(flags.notes)
    return Launch(
        stack=f"Dynamo with {name}",
        commands=tuple(commands),
        files=_files(files),
        notes=tuple(notes),
    )


def _pool_words(role: Role, *, engine: str) -> list[str]:
    if role == "aggregated":
        return []
    words = ["--disaggregation-mode", role]
    if engine == "vllm":
        words += ["--kv-transfer-config", json.dumps(_NIXL)]
    return words


def _flags(configuration: RunConfiguration, pool: PoolConfiguration) -> _Flags:
    settings = pool.settings
    flags = _Flags()
    if isinstance(settings, VllmSettings):
        _vllm(flags, configuration, pool, settings)
    elif isinstance(settings, SglangSettings):
        _sglang(flags, configuration, pool, settings)
    elif isinstance(settings, TrtllmSettings):
        _trtllm(flags, configuration, pool, settings)
    else:
        assert isinstance(settings, AtomSettings)
    return flags


def _context(configuration: RunConfiguration) -> int:
    """Longest context to allow: prompt and output, with a little room for a chat template."""
    return configuration.isl + configuration.osl + 256


def _vllm(
    flags: _Flags, run: RunConfiguration, pool: PoolConfiguration, settings: VllmSettings
) -> None:
    layout = pool.layout
    flags.add("--tensor-parallel-size", layout.attention_tp)
    flags.add("--data-parallel-size", layout.attention_dp, when=layout.attention_dp > 1)
    flags.add("--pipeline-parallel-size", layout.pp, when=layout.pp > 1)
    flags.add("--enable-expert-parallel", when=layout.ep > 1)
    if 1 < layout.ep < layout.tp:
        flags.notes.append(f"expert parallel over {layout.ep}; vLLM takes all {layout.tp} ranks")
    flags.add("--max-model-len", _context(run))
    flags.add("--max-num-batched-tokens", settings.max_num_batched_tokens)
    flags.add("--max-num-seqs", settings.max_num_seqs)
    flags.add("--block-size", settings.block_size)
    flags.add("--gpu-memory-utilization", settings.gpu_memory_utilization)
    flags.add("--kv-cache-dtype", "fp8")
    caching = "--enable-prefix-caching" if settings.enable_prefix_caching else None
    flags.add(caching or "--no-enable-prefix-caching")
    flags.add(
        "--prefill-schedule-interval",
        settings.prefill_schedule_interval,
        when=settings.prefill_schedule_interval > 1,
    )
    if settings.enforce_eager:
        flags.add("--enforce-eager")
    else:
        flags.add("--max-cudagraph-capture-size", settings.max_cudagraph_capture_size)
    flags.add("--moe-backend", "deep_gemm_mega_moe", when=pool.plan.get("moe_backend") == "fused")
    if run.drafts:
        method = {"method": run.speculation, "num_speculative_tokens": run.drafts}
        flags.add("--speculative-config", json.dumps(method))
    if settings.offload_group_size:
        flags.notes.append(
            f"weights of {settings.offload_num_in_group} of {settings.offload_group_size} layers "
            "in host memory"
        )
    if not settings.async_scheduling:
        flags.notes.append("no asynchronous scheduling")


def _sglang(
    flags: _Flags, run: RunConfiguration, pool: PoolConfiguration, settings: SglangSettings
) -> None:
    layout = pool.layout
    flags.add("--tp-size", layout.tp)
    flags.add("--ep-size", layout.ep, when=layout.ep > 1)
    flags.add("--pp-size", layout.pp, when=layout.pp > 1)
    if layout.dp_attention:
        flags.add("--dp-size", layout.tp)
        flags.add("--enable-dp-attention")
    flags.add("--context-length", _context(run))
    flags.add("--chunked-prefill-size", settings.chunked_prefill_size)
    flags.add("--max-prefill-tokens", settings.max_prefill_tokens)
    flags.add(
        "--max-running-requests",
        settings.max_running_requests,
        when=settings.max_running_requests is not None,
    )
    flags.add("--mem-fraction-static", settings.mem_fraction_static)
    flags.add("--page-size", settings.page_size)
    flags.add("--swa-full-tokens-ratio", settings.swa_full_tokens_ratio)
    flags.add("--cuda-graph-max-bs-decode", settings.cuda_graph_max_bs)
    flags.add("--enable-mixed-chunk", when=settings.enable_mixed_chunk)
    flags.add("--enable-two-batch-overlap", when=settings.enable_two_batch_overlap)
    if settings.enable_prefill_delayer:
        flags.add("--enable-prefill-delayer")
        flags.add("--prefill-delayer-max-delay-passes", settings.prefill_delayer_max_delay_passes)
    flags.add("--disable-radix-cache", when=settings.disable_radix_cache)
    flags.add("--disable-overlap-schedule", when=settings.disable_overlap_schedule)
    flags.add("--moe-a2a-backend", "megamoe", when=pool.plan.get("moe_backend") == "fused")
    if run.drafts:
        flags.add("--speculative-algorithm", "DSPARK" if run.speculation == "dspark" else "EAGLE")
        flags.add("--speculative-num-steps", run.drafts)
        flags.add("--speculative-eagle-topk", 1)
        flags.add("--speculative-num-draft-tokens", run.drafts + 1)


def _trtllm(
    flags: _Flags, run: RunConfiguration, pool: PoolConfiguration, settings: TrtllmSettings
) -> None:
    layout = pool.layout
    flags.add("--tp_size", layout.tp)
    flags.add("--ep_size", layout.ep)
    flags.add("--pp_size", layout.pp, when=layout.pp > 1)
    flags.add("--max_batch_size", settings.max_batch_size)
    flags.add("--max_num_tokens", settings.max_num_tokens)
    flags.add("--max_seq_len", _context(run))
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
            "dtype": "fp8",
        },
        "scheduler_config": {"capacity_scheduler_policy": settings.capacity_policy.upper()},
    }
    if layout.dp_attention and settings.attention_dp_batching_wait_iters:
        flags.options["attention_dp_config"] = {
            "enable_balance": True,
            "batching_wait_iters": settings.attention_dp_batching_wait_iters,
        }
    if pool.plan.get("moe_backend") == "fused":
        flags.options["moe_config"] = {"backend": "MEGAMOE_DEEPGEMM"}
    if run.drafts:
        flags.options["speculative_config"] = {
            "decoding_type": "MTP",
            "num_nextn_predict_layers": run.drafts,
        }


def _dynamo_words(words: list[str]) -> list[str]:
    """TensorRT-LLM's flags as Dynamo's worker spells them."""
    names = {
        "--tp_size": "--tensor-parallel-size",
        "--ep_size": "--expert-parallel-size",
        "--pp_size": "--pipeline-parallel-size",
    }
    return [
        names.get(word, word.replace("_", "-") if word.startswith("--") else word) for word in words
    ]


def _files(options: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {
        name: yaml.safe_dump(content, sort_keys=False)
        for name, content in options.items()
        if content
    }


def _command(words: list[str]) -> str:
    """A shell command, a flag a line."""
    lines: list[list[str]] = [[]]
    for word in words:
        if word.startswith("--") and lines[0]:
            lines.append([])
        lines[-1].append(shlex.quote(word))
    return " \\\n  ".join(" ".join(line) for line in lines)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
