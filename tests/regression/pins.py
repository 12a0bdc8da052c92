"""Figures of today: ``python tests/regression/pins.py --write`` takes them anew.

They prove no figure right. They show each change of one that no other test looks at: what every
model of the catalogue computes, moves and stores, when random deployments of every engine finish
which request, and what short runs with nothing fitted give. A change that means to move them says
so in CHANGELOG.md.
"""

import csv
import json
import random
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

from simulator.engines.atom.engine import AtomSettings
from simulator.engines.registry import bind_engine
from simulator.engines.sglang.engine import SglangSettings
from simulator.engines.trtllm.engine import TrtllmSettings
from simulator.engines.vllm.engine import VllmSettings
from simulator.prediction.run import simulate_run
from simulator.recipes.layouts import PoolRequest
from simulator.scenario.configure import configure_run
from simulator.scenario.settings import build_scenario
from simulator.serving.client import ClosedLoop, OpenLoop
from simulator.serving.deployment import Deployment, run_deployment
from simulator.serving.front_end import FrontEnd
from simulator.serving.kv_pool import KvPoolSpec, OffloadTier
from simulator.serving.kv_transfer import TransferLink
from simulator.serving.router import WorkerPool
from simulator.serving.step_cost import Line
from simulator.studies.agentx.request import build_agentx
from simulator.studies.agentx.run import run_agentx
from workloads.architectures.catalog import architecture_names, load_architecture
from workloads.errors import UserError
from workloads.execution_plan import ExecutionPlan
from workloads.layout import Layout
from workloads.models import bind
from workloads.models.accounting import account, reference_plan
from workloads.models.expert_load import REAL_TEXT, ExpertLoad
from workloads.models.kv_bytes import STORAGES, transfer_bytes
from workloads.models.weights import weight_table
from workloads.requests.request import Request
from workloads.requests.synthetic import link_turns

FOLDER = Path(__file__).parent / "data"

# what a model computes, moves and stores -----------------------------------------------------

QUANTITIES = ("flops", "weight_bytes", "kv_bytes", "activation_bytes", "message_bytes", "kernels")


def layouts_of(architecture):
    """Layouts and plans in which every model is looked at, by name."""
    native = reference_plan(architecture=architecture)
    drafts = 2 if architecture.drafter else 0
    return {
        "whole": (Layout(tp=1), native, ExpertLoad(), drafts),
        "TEP8": (Layout(tp=8, ep=8), replace(native, kv_storage="bf16"), REAL_TEXT, 0),
        "DEP8": (
            Layout(tp=8, ep=8, dp_attention=True),
            replace(native, moe_backend="gather_reduce", attention_head_multiple=64),
            ExpertLoad(),
            drafts,
        ),
        "TP4PP2": (
            Layout(tp=4, pp=2),
            ExecutionPlan(
                expert_path=native.expert_path, dense_path=native.dense_path, kernels_scale=0.5
            ),
            ExpertLoad(),
            0,
        ),
    }


def groups_of(model):
    """Operations of the parts of a mixed step."""
    layout, drafts = model.layout, model.drafts
    tokens, requests = 300.0, 50.0
    return {
        "tokens": model.token_ops(rank_tokens=tokens, group_tokens=tokens * layout.attention_dp),
        "decode": model.decode_attention_ops(
            requests=requests, queries_per_request=drafts + 1, context=9000.0
        ),
        "prefill": model.prefill_attention_ops(new_tokens=100.0, prefix_tokens=9000.0),
        "head": model.head_ops(samples=requests),
        "draft": model.draft_ops(
            requests=requests, group_requests=requests * layout.attention_dp, drafts=drafts
        ),
    }


def model_figures(name):
    """Figures of a model by what they are."""
    architecture = load_architecture(name)
    found = {}
    for weight in weight_table(architecture=architecture):
        key = f"weights/{weight.module}/{weight.name}"
        found[key] = found.get(key, 0.0) + weight.parameters
    for key, value in account(architecture=architecture, context=4096, tokens=16).items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        found |= {f"account/{key}/{part}": figure for part, figure in parts}
    for storage, (kv, index) in STORAGES.items():
        moved = transfer_bytes(architecture=architecture, context=4096.0, kv=kv, index=index)
        found[f"transfer/{storage}"] = moved
    for label, (layout, plan, load, drafts) in layouts_of(architecture).items():
        try:
            model = bind(
                architecture=architecture, layout=layout, plan=plan, expert_load=load, drafts=drafts
            )
            model.validate()
            groups = groups_of(model)
        except UserError:
            found[f"{label}/refused"] = 1
            continue
        for group, ops in groups.items():
            for field in QUANTITIES:
                total = sum(op.layers * float(getattr(op, field)) for op in ops)
                found[f"{label}/{group}/{field}"] = total
        for part, value in model.weight_bytes_per_rank(speculative=drafts > 0).items():
            found[f"{label}/resident/{part}"] = value
        found[f"{label}/kv_bytes_per_token"] = model.kv_bytes_per_token()
        found[f"{label}/state_bytes_per_request"] = model.state_bytes_per_request()
    return {key: float(value) for key, value in found.items() if value}


MODELS = tuple(architecture_names())

# when random deployments finish which request ------------------------------------------------

SHORT_TOKENS, LONG_TOKENS = 420, 4200
DEPLOYMENTS = 280
LONG_FROM = 200
"""Deployments from which prompts take many chunks."""


class SegmentedCost:
    """A made-up step cost, piecewise linear in context with a knot every 64 tokens."""

    def __init__(self, queries_per_request):
        self.queries_per_request = queries_per_request

    def fixed_s(self, *, rank_tokens, group_tokens, rank_samples, group_samples, has_prefill):
        tokens_s = 1e-4 * rank_tokens + 1e-5 * group_tokens
        samples_s = 1e-4 * rank_samples + 1e-5 * group_samples
        return 0.01 + tokens_s + samples_s + (0.005 if has_prefill else 0.0)

    def decode_attention(self, *, requests, context_sum):
        knot = 64.0 * requests
        index = int(context_sum // knot)
        value = self._at_knot(index, requests)
        slope = (self._at_knot(index + 1, requests) - value) / knot
        return Line(value + slope * (context_sum - index * knot), slope, (index + 1) * knot)

    @staticmethod
    def _at_knot(index, requests):
        return 1e-5 * requests * (index + 0.02 * index * index)

    def prefill_attention_s(self, *, new_tokens, prefix_tokens):
        return 1e-8 * new_tokens * (prefix_tokens + 0.5 * new_tokens)


def any_engine(rng, longest):
    """Settings of one of four engines."""
    kind = rng.choice(("vllm", "sglang", "trtllm", "atom"))
    yes = lambda: rng.random() < 0.5  # noqa: E731
    if kind == "vllm":
        cut = yes()
        return VllmSettings(
            max_num_batched_tokens=rng.randint(8, 200)
            if cut
            else rng.randint(longest, longest + 280),
            max_num_seqs=rng.randint(2, 16),
            enable_chunked_prefill=cut,
            enable_prefix_caching=rng.random() < 0.8,
            prefill_schedule_interval=rng.choice((1, 1, 3)),
            async_scheduling=yes(),
            scheduler_reserve_full_isl=yes(),
        )
    if kind == "sglang":
        return SglangSettings(
            chunked_prefill_size=rng.choice((-1, 64, 128, 512)),
            max_prefill_tokens=rng.randint(32, 400),
            max_running_requests=rng.choice((None, 4, 9, 30)),
            page_size=rng.choice((1, 8)),
            enable_mixed_chunk=yes(),
            enable_prefill_delayer=yes(),
            prefill_delayer_max_delay_passes=rng.randint(0, 12),
            prefill_delayer_bounds_slots=yes(),
            prefill_delayer_window=rng.choice((None, 4)),
            prefill_delayer_counts_chunks=yes(),
            disable_overlap_schedule=yes(),
            disable_radix_cache=rng.random() < 0.2,
            scheduler_recv_interval=rng.choice((1, 1, 3, 10)),
        )
    if kind == "trtllm":
        return TrtllmSettings(
            max_num_tokens=rng.randint(longest, longest + 280),
            max_batch_size=rng.randint(2, 16),
            tokens_per_block=rng.choice((4, 16)),
            capacity_policy=rng.choice(("max_utilization", "guaranteed_no_evict")),
            enable_chunked_prefill=yes(),
            enable_block_reuse=yes(),
            attention_dp_enable_balance=yes(),
            attention_dp_timeout_iters=rng.randint(0, 12),
            attention_dp_batching_wait_iters=rng.randint(0, 5),
            batch_wait_timeout_iters=rng.randint(0, 6),
            batch_wait_max_tokens_ratio=rng.choice((0.0, 0.3, 1.0)),
            disable_overlap_scheduler=yes(),
        )
    return AtomSettings(
        max_num_batched_tokens=rng.randint(40, 400),
        max_num_seqs=rng.randint(2, 16),
        enable_chunked_prefill=yes(),
        enable_prefix_caching=yes(),
        deferred_output=yes(),
        prefill_alignment=rng.choice(("none", "some_ranks", "full_budget", "coalescer")),
        prefill_align_fill=rng.choice((0.2, 0.9)),
        prefill_align_max_ticks=rng.randint(0, 40),
        prefill_align_partial_ticks=rng.randint(0, 20),
        prefill_align_stall_ticks=rng.randint(1, 10),
        data_parallel_routing=rng.choice(("round_robin", "least_requests")),
    )


def any_workers(rng, queries, longest):
    """Workers of one engine with few KV blocks."""
    ranks, stages = rng.choice((1, 1, 2, 4)), rng.choice((1, 1, 1, 2))
    block = rng.choice((4, 16, 64))
    engine = any_engine(rng, longest)
    tier = OffloadTier(
        name="host",
        capacity_bytes=rng.choice((100.0, 1e3, 1e6)),
        bandwidth_bytes_per_s=1e3,
        latency_s=rng.choice((0.0, 0.003)),
    )
    reserves = getattr(engine, "scheduler_reserve_full_isl", True)
    windows = rng.choice(((), (), ((64, block),)))
    return WorkerPool(
        layout=Layout(tp=ranks, ep=ranks, dp_attention=ranks > 1, pp=stages),
        engine=bind_engine(engine),
        kv_pool=KvPoolSpec(
            total_blocks=stages
            * int(rng.choice((1, 1.3, 1.7, 2.5, 12)) * (-(-longest // block) + 8)),
            block_tokens=block,
            fixed_blocks_per_request=rng.randint(0, 2),
            admission_blocks=rng.randint(0, 2),
            admission_windows=windows,
            request_slots=rng.choice((None, None, None, stages, 8)),
            block_bytes=float(block),
            prefix_hit_interval_tokens=rng.choice((None, 0, 0, 64)),
            offload=rng.choice(((), (tier,))),
            # vLLM computes again what it preempts: two requests that swap in would never end
            swap=rng.choice((None, tier)) if reserves else None,
        ),
        cost=SegmentedCost(queries),
        workers=rng.choice((1, 1, 2)),
        routing=rng.choice(("round_robin", "least_loaded", "kv_aware")),
        rank_routing=rng.choice((None, "round_robin", "least_loaded", "kv_aware")),
    )


def any_requests(rng, queries, longest):
    """Single requests or conversations of growing prompts."""
    conversational, gap_s = rng.random() < 0.6, rng.choice((0.0, 0.01, 0.05))
    growing = rng.random() < 0.4
    requests, arrival_s = [], 0.0
    for session in range(rng.randint(8, 30)):
        arrival_s += rng.expovariate(1.0) * gap_s
        context, conversation = 0, []
        for turn in range(rng.randint(1, 3) if conversational else 1):
            most = (100, 20) if conversational else (100, 300) if growing else (300, 100)
            context += rng.randint(1, most[0] * longest // SHORT_TOKENS)
            output = rng.randint(1, most[1])
            least = -(-(output - 1) // queries)
            steps = output - 1 if queries == 1 else rng.randint(least, max(output - 1, least))
            conversation.append(
                Request(
                    index=len(requests) + turn,
                    prompt_tokens=context,
                    output_tokens=output,
                    decode_steps=steps,
                    arrival_s=None if turn else arrival_s,
                )
            )
            context += output
        if conversational:
            link_turns(
                conversation,
                session=session,
                think_s=[rng.expovariate(1.0) * gap_s for _ in conversation],
                shared_blocks=(1, 2, 3)[: conversation[0].prompt_tokens // 16],
                block_tokens=16,
            )
        requests += conversation
    return requests


def deployment_figures(seed):
    """What a random deployment makes of random requests."""
    rng = random.Random(seed)
    queries = rng.choice((1, 1, 3))
    longest = LONG_TOKENS if seed >= LONG_FROM else SHORT_TOKENS
    front_end = FrontEnd(token_s=rng.choice((0.0, 0.0, 1e-4)))
    if rng.random() < 0.6:
        deployment = Deployment(aggregated=any_workers(rng, queries, longest), front_end=front_end)
    else:
        deployment = Deployment(
            front_end=front_end,
            prefill=any_workers(rng, 1, longest),
            decode=any_workers(rng, queries, longest),
            transfer=TransferLink(
                bandwidth_bytes_per_s=rng.choice((1e3, 1e5)),
                token_bytes=rng.choice((0.0, 1.0)),
                request_bytes=rng.choice((0.0, 10.0)),
                block_tokens=16,
                latency_s=rng.choice((0.0, 0.002)),
                descriptor_s=1e-5,
                descriptors_per_block=rng.choice((0.0, 3.0)),
            ),
            first_token_at=rng.choice(("prefill", "decode")),
        )
    load = OpenLoop()
    if rng.random() < 0.6:
        load = ClosedLoop(concurrency=rng.randint(4, 24), turnaround_s=rng.choice((0.0, 0.015)))
    steps = [0, 0.0]

    def note(run):
        steps[0] += run.steps
        steps[1] += sum(run.used_blocks) * (run.end_s - run.start_s)

    requests = any_requests(rng, queries, longest)
    # who listens to steps gets each of them; without, those that are alike are taken together
    listener = note if seed % 4 == 0 else None
    records = run_deployment(deployment=deployment, requests=requests, load=load, on_step=listener)
    found = {
        "scheduled_s": float(records.scheduled_s.sum()),
        "first_token_s": float(records.first_token_s.sum()),
        "finish_s": float(records.finish_s.sum()),
        "cached_tokens": float(records.cached_tokens.sum()),
        "preemptions": float(records.preemptions.sum()),
    }
    return found | ({"steps": float(steps[0]), "used_block_s": steps[1]} if listener else {})


# what short runs with nothing fitted give ----------------------------------------------------

SPLIT = [
    PoolRequest(role="prefill", workers=2, tp=4, ep=4, dp_attention=True),
    PoolRequest(role="decode", workers=1, tp=8, ep=8, dp_attention=True),
]
WIDE = [
    PoolRequest(role="prefill", workers=1, tp=8, ep=8, dp_attention=True),
    PoolRequest(role="decode", workers=1, tp=8, ep=8, dp_attention=False),
]
SHORT = {"isl": 2048, "osl": 32, "concurrency": 24}
RUNS = {
    "v4-pro vllm": {"sku": "b300", "model": "deepseek-v4-pro", "engine": "vllm", "tp": 8, "ep": 8},
    "v4-pro sglang mtp": {
        "sku": "b200",
        "model": "deepseek-v4-pro",
        "engine": "sglang",
        "tp": 8,
        "ep": 8,
        "dp_attention": True,
        "spec": "mtp:2",
        "acceptance_length": 2.1,
    },
    "r1 trt": {
        "sku": "b200",
        "model": "deepseek-r1",
        "engine": "trt",
        "precision": "fp4",
        "tp": 8,
        "ep": 8,
        "dp_attention": True,
        "spec": "mtp:3",
    },
    "v4 atom": {
        "sku": "mi355x",
        "model": "deepseek-v4-pro",
        "engine": "atom",
        "tp": 8,
        "ep": 8,
        "dp_attention": True,
    },
    "r1 sglang h200": {
        "sku": "h200",
        "model": "deepseek-r1",
        "engine": "sglang",
        "precision": "fp8",
        "tp": 8,
        "ep": 1,
    },
    "gpt-oss trt": {"sku": "h200", "model": "gpt-oss-120b", "engine": "trt", "tp": 2, "ep": 1},
    "gpt-oss vllm": {"sku": "h100", "model": "gpt-oss-120b", "engine": "vllm", "tp": 4, "ep": 1},
    "llama vllm": {
        "sku": "h100",
        "model": "llama-3.x-70b",
        "engine": "vllm",
        "precision": "fp8",
        "tp": 4,
        "ep": 1,
        "kv_precision": "fp8",
    },
    "qwen3.5 sglang": {
        "sku": "b300",
        "model": "qwen3.5",
        "engine": "sglang",
        "precision": "fp4",
        "tp": 4,
        "ep": 1,
        "spec": "mtp:3",
        "acceptance_length": 2.6,
    },
    "minimax vllm": {
        "sku": "mi355x",
        "model": "minimax-m2.5",
        "engine": "vllm",
        "precision": "fp8",
        "tp": 4,
        "ep": 4,
    },
    "r1 split trt": {
        "sku": "gb200",
        "model": "deepseek-r1",
        "engine": "dynamo-trt",
        "precision": "fp4",
        "pools": SPLIT,
    },
    "v4 split vllm": {
        "sku": "gb200",
        "model": "deepseek-v4-pro",
        "engine": "dynamo-vllm",
        "pools": WIDE,
        "spec": "mtp:1",
        "acceptance_length": 1.7,
    },
    "glm split sglang": {
        "sku": "gb300",
        "model": "glm-5",
        "engine": "dynamo-sglang",
        "precision": "fp8",
        "pools": SPLIT,
    },
}


def run_figures(name):
    """Metrics and KV blocks of a short run."""
    settings = SHORT | RUNS[name]
    pools = settings.pop("pools", None)
    layout = {key: settings.pop(key) for key in ("tp", "ep", "dp_attention") if key in settings}
    concurrency = settings.pop("concurrency")
    settings["engine"] += "@specification"
    scenario = build_scenario(flags=settings, file=None).scenario
    configuration, _ = configure_run(
        scenario, pools=pools or [PoolRequest(**layout)], concurrency=concurrency
    )
    outcome = simulate_run(replace(configuration, requests_per_client=2))
    found = dict(flat(asdict(outcome.metrics)))
    for number, pool in enumerate(outcome.assembly.pools):
        found[f"pool{number}/blocks"] = float(pool.kv_pool.total_blocks)
    return found


# what replays of agents give -----------------------------------------------------------------

WHOLE_NODE = {"tp": 8, "ep": 8}
AGENTS = {
    "v4-pro vllm": ("b200:vllm@specification", {"spec": "mtp:3"}, 40),
    "v4-pro vllm, small": (
        "b200:vllm@specification",
        {"kv_offload": "cpu:400GB", "overrides": {"hbm_usable_bytes": 165e9}} | WHOLE_NODE,
        160,
    ),
    "v4-pro sglang": ("b200:sglang@specification", {}, 160),
    "v4-pro sglang, small": (
        "b200:sglang@specification",
        {"overrides": {"hbm_usable_bytes": 152e9}} | WHOLE_NODE,
        160,
    ),
    "v4-pro mi355x": ("mi355x:sglang@specification", {"kv_offload": "none"}, 160),
    "minimax": (
        "b300:vllm@specification",
        {"model": "minimax-m2.5", "overrides": {"hbm_usable_bytes": 110e9}, "tp": 4, "ep": 4},
        160,
    ),
    "qwen3.5 hybrid": (
        "b200:sglang@specification",
        {"model": "qwen3.5", "overrides": {"hbm_usable_bytes": 150e9}} | WHOLE_NODE,
        80,
    ),
}


def session_trees(number):
    """Sessions of turns on a growing context, whose first blocks all of them share."""
    rng = random.Random(number)
    lines = []
    for session in range(number):
        own = 1000 * (session + 1)
        blocks = list(range(40)) + list(range(own, own + rng.randint(10, 400)))
        requests, now = [], 0.0
        for _ in range(rng.randint(3, 12)):
            now += rng.uniform(1.0, 30.0)
            tokens = 64 * len(blocks) + rng.randint(0, 63)
            requests.append(
                {
                    "t": now,
                    "in": tokens,
                    "out": rng.randint(10, 400),
                    "hash_ids": list(blocks),
                    "api_time": 2.0,
                }
            )
            blocks += range(own + len(blocks), own + len(blocks) + rng.randint(1, 60))
        lines.append(json.dumps({"id": f"s{session}", "block_size": 64, "requests": requests}))
    return "\n".join(lines) + "\n"


def agent_figures(name):
    """Metrics of a short replay on few chips with KV room for some of the sessions."""
    system, flags, sessions = AGENTS[name]
    with tempfile.TemporaryDirectory() as folder:
        trees = Path(folder) / "sessions.jsonl"
        trees.write_text(session_trees(24), encoding="utf-8")
        asked = build_agentx(
            [system],
            flags={"trees": str(trees), "concurrency": (sessions,), "protocol": "agentx-fast:60"}
            | flags,
        )
        point = run_agentx(asked, workers=1).points[0]
    return dict(flat(asdict(point.metrics)))


def flat(entry, prefix=""):
    """Numbers of nested mappings with the way to them."""
    for key, value in entry.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}/")
        elif isinstance(value, int | float) and value:
            yield f"{prefix}{key}", float(value)


SETS = {
    "models": (MODELS, model_figures),
    "deployments": (
        tuple(map(str, range(DEPLOYMENTS))),
        lambda name: deployment_figures(int(name)),
    ),
    "runs": (tuple(RUNS), run_figures),
    "agents": (tuple(AGENTS), agent_figures),
}


def pinned(kind):
    """Figures as they were written down, by what they are of."""
    with (FOLDER / f"{kind}.csv").open(encoding="utf-8", newline="") as file:
        found = {}
        for name, figure, value in csv.reader(file):
            found.setdefault(name, {})[figure] = float(value)
    return found


def main():
    """Write all pins."""
    if sys.argv[1:] != ["--write"]:
        raise SystemExit(__doc__)
    for kind, (names, figures) in SETS.items():
        with (FOLDER / f"{kind}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            for name in names:
                for figure, value in figures(name).items():
                    writer.writerow((name, figure, f"{value:.12g}"))


if __name__ == "__main__":
    main()
