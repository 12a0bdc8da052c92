"""Drives vLLM's own scheduler classes with a fake model runner; runs in the engine's environment.

    python vllm_driver.py < scenarios.json > traces.json

Every step takes a second. A trace has a row for each step that computed something: its start,
prompt tokens and decoding requests by data-parallel rank; and the times of first and last tokens.
The loops follow the engine's own: ``EngineCore.step``, ``step_with_batch_queue`` (two batches in
flight, where scheduling is asynchronous) and the counter of ``DPEngineCoreProc``.
"""

import copy
import json
import os
import sys
import tempfile
from collections import deque
from pathlib import Path

os.environ.setdefault("VLLM_LOGGING_LEVEL", "CRITICAL")
os.environ.setdefault("VLLM_TARGET_DEVICE", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import vllm.config as config
from vllm.sampling_params import SamplingParams
from vllm.utils.hashing import sha256
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.outputs import DraftTokenIds, ModelRunnerOutput
from vllm.v1.request import Request
from vllm.v1.structured_output import StructuredOutputManager

MODEL = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 65536,
    "torch_dtype": "bfloat16",
}
LONGEST = 65536


def base_config(folder):
    (Path(folder) / "config.json").write_text(json.dumps(MODEL))
    model = config.ModelConfig(
        model=str(folder), skip_tokenizer_init=True, dtype="bfloat16", max_model_len=LONGEST
    )
    scheduler = config.SchedulerConfig(
        max_num_batched_tokens=64, max_num_seqs=8, max_model_len=LONGEST, is_encoder_decoder=False
    )
    return config.VllmConfig(
        model_config=model, scheduler_config=scheduler, cache_config=config.CacheConfig()
    )


class Rank:
    """One scheduler with the batches it has in flight."""

    def __init__(self, base, scenario):
        settings = scenario["settings"]
        vllm = copy.deepcopy(base)
        sched, cache = vllm.scheduler_config, vllm.cache_config
        sched.max_num_batched_tokens = settings["max_num_batched_tokens"]
        sched.max_num_scheduled_tokens = settings["max_num_batched_tokens"]
        sched.max_num_seqs = settings["max_num_seqs"]
        sched.enable_chunked_prefill = settings["enable_chunked_prefill"]
        sched.prefill_schedule_interval = settings.get("prefill_schedule_interval", 1)
        sched.scheduler_reserve_full_isl = settings.get("scheduler_reserve_full_isl", True)
        sched.async_scheduling = scenario["async"]
        cache.block_size = scenario["block_tokens"]
        cache.enable_prefix_caching = settings["enable_prefix_caching"]
        cache.num_gpu_blocks = scenario["blocks"] + 1  # one is the engine's null block
        vllm.parallel_config.data_parallel_size = scenario["dp"]
        self.drafts = scenario.get("drafts", 0)
        if self.drafts:
            vllm.speculative_config = config.SpeculativeConfig(
                method="ngram",
                num_speculative_tokens=self.drafts,
                prompt_lookup_max=2,
                prompt_lookup_min=2,
                target_model_config=vllm.model_config,
                target_parallel_config=vllm.parallel_config,
            )
        spec = FullAttentionSpec(
            block_size=cache.block_size, num_kv_heads=1, head_size=1, dtype=torch.float16
        )
        kv = KVCacheConfig(
            num_blocks=cache.num_gpu_blocks,
            kv_cache_tensors=[],
            kv_cache_groups=[KVCacheGroupSpec(["layer"], spec)],
        )
        cls = AsyncScheduler if scenario["async"] else Scheduler
        self.scheduler = cls(
            vllm_config=vllm,
            kv_cache_config=kv,
            structured_output_manager=StructuredOutputManager(vllm),
            block_size=cache.block_size,
        )
        self.hasher = (
            get_request_block_hasher(cache.block_size, sha256)
            if settings["enable_prefix_caching"]
            else None
        )
        self.accepted = {}
        self.decoding = set()

    def add(self, row, index):
        size = row.get("shared", 0)
        tokens = [row.get("group", 0) + 1] * size
        tokens += [(index * 7 + 11) % 900 + 50] * (row["prompt"] - size)
        if size < row["prompt"]:
            tokens[size] = index + 50
        params = SamplingParams(max_tokens=row["output"], ignore_eos=True, min_tokens=row["output"])
        request = Request(
            request_id=str(index),
            prompt_token_ids=tokens,
            sampling_params=params,
            pooling_params=None,
            arrival_time=row["at"],
            block_hasher=self.hasher,
        )
        self.accepted[str(index)] = row.get("accepted", 0)
        self.scheduler.add_request(request)

    def schedule(self, throttle):
        """The next batch as (engine output, who samples, prompt tokens, decoding requests)."""
        if not self.scheduler.has_requests():
            return None
        out = self.scheduler.schedule(throttle)
        fresh = {r.req_id for r in out.scheduled_new_reqs}
        fresh |= set(out.scheduled_cached_reqs.resumed_req_ids)
        self.decoding -= fresh
        prefill = decode = 0
        samples = []
        for name, tokens in out.num_scheduled_tokens.items():
            drafts = len(out.scheduled_spec_decode_tokens.get(name, ()))
            if name in self.decoding:
                decode += 1
            else:
                prefill += tokens - drafts
            if not self.scheduler.requests[name].is_prefill_chunk:
                samples.append(name)
                self.decoding.add(name)
        return out, set(samples), prefill, decode

    def complete(self, batch, now, first, last):
        out, samples, _, _ = batch
        names = list(out.num_scheduled_tokens)
        tokens = []
        for name in names:
            if name not in samples:
                tokens.append([])
                continue
            drafts = len(out.scheduled_spec_decode_tokens.get(name, ()))
            tokens.append([5] * (1 + min(self.accepted[name], drafts)))
        result = ModelRunnerOutput(
            req_ids=names,
            req_id_to_index={name: i for i, name in enumerate(names)},
            sampled_token_ids=tokens,
        )
        outputs = self.scheduler.update_from_output(out, result)
        done = []
        for group in outputs.values():
            for output in group.outputs:
                if output.new_token_ids:
                    first.setdefault(output.request_id, now)
                if output.finish_reason is not None:
                    last[output.request_id] = now
                    self.decoding.discard(output.request_id)
                    done.append(output.request_id)
        if self.drafts and not isinstance(self.scheduler, AsyncScheduler):
            drafted = [n for n in names if n in samples and n in self.scheduler.requests]
            self.scheduler.update_draft_token_ids(
                DraftTokenIds(drafted, [[5] * self.drafts for _ in drafted])
            )
        return done


def run(base, scenario):
    ranks = [Rank(base, scenario) for _ in range(scenario["dp"])]
    rows = scenario["requests"]
    closed = scenario.get("closed")
    if closed:  # requests in order, each sent when a client's last has ended
        later = deque(range(closed["clients"], len(rows)))
        for row in rows[: closed["clients"]]:
            row["at"] = 0.0
        order = deque(range(closed["clients"]))
    else:
        order = deque(sorted(range(len(rows)), key=lambda i: (rows[i]["at"], i)))
    base_s, token_s = scenario.get("step_s", (1.0, 0.0))
    turn = 0
    first, last, steps = {}, {}, []
    now, counter = 0.0, 0
    interval = scenario["settings"].get("prefill_schedule_interval", 1)
    shared = interval if scenario["dp"] > 1 else 1  # without DP the scheduler counts for itself
    planned = None

    def receive():
        nonlocal turn
        while order and rows[order[0]]["at"] <= now:
            index = order.popleft()
            ranks[turn].add(rows[index], index)
            turn = (turn + 1) % len(ranks)

    def plan():
        nonlocal counter
        batches = [rank.schedule(counter % shared != 0) for rank in ranks]
        counter += 1
        full = any(b is not None and b[0].total_num_scheduled_tokens for b in batches)
        return batches if full else None

    while len(last) < len(rows):
        receive()
        running, planned = planned or plan(), None
        if running is None:
            counter = 0
            if not order:
                raise RuntimeError("nothing can run")
            now = max(now, rows[order[0]]["at"])
            continue
        if scenario["async"]:
            planned = plan()
        steps.append(
            [now, [b[2] if b else 0 for b in running], [b[3] if b else 0 for b in running]]
        )
        now += base_s + token_s * max(
            sum(b[0].num_scheduled_tokens.values()) if b else 0 for b in running
        )
        for rank, batch in zip(ranks, running, strict=True):
            for _ in rank.complete(batch, now, first, last) if batch is not None else ():
                if closed and later:
                    rows[later[0]]["at"] = now + closed["turnaround_s"]
                    order.append(later.popleft())
        if len(steps) > 40000:
            raise RuntimeError("does not end")
    if closed:
        return {
            "sent": [row["at"] for row in rows],
            "first": [first[str(i)] for i in range(len(rows))],
        }
    return {
        "steps": steps,
        "first": [first[str(i)] for i in range(len(rows))],
        "last": [last[str(i)] for i in range(len(rows))],
    }


def main():
    init_none_hash(sha256)
    with tempfile.TemporaryDirectory() as folder:
        base = base_config(folder)
        traces = []
        for scenario in json.load(sys.stdin):
            try:
                traces.append(run(base, scenario))
            except Exception as error:  # a scenario that the engine refuses is told, not hidden
                traces.append({"error": f"{type(error).__name__}: {error}"})
    json.dump(traces, sys.stdout)


if __name__ == "__main__":
    main()
