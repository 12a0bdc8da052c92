"""This project's traces of the scenarios, in the form of the drivers."""

from simulator.engines.prefill_delay import SlotDelayer
from simulator.engines.registry import bind_engine
from simulator.engines.vllm.engine import VllmSettings
from simulator.serving.client import ClosedLoop, OpenLoop
from simulator.serving.deployment import Deployment, run_deployment
from simulator.serving.kv_pool import KvPoolSpec
from simulator.serving.router import WorkerPool
from simulator.serving.step_cost import Line
from workloads.layout import Layout
from workloads.requests.request import Request


class OneSecondSteps:
    """Every step takes a second, whatever it holds."""

    def __init__(self, queries_per_request=1):
        self.queries_per_request = queries_per_request

    def fixed_s(self, **_tokens):
        return 1.0

    def decode_attention(self, *, requests, context_sum):
        return Line(0.0, 0.0, float("inf"))

    def prefill_attention_s(self, *, new_tokens, prefix_tokens):
        return 0.0


def requests_of(scenario):
    """The requests of a scenario."""
    block = scenario["block_tokens"]
    cached = scenario["settings"].get("enable_prefix_caching", False)
    rows = []
    for index, row in enumerate(scenario["requests"]):
        hashes = ()
        if cached:
            shared = row.get("shared", 0) // block
            hashes = tuple(1_000_000 * (row["group"] + 1) + n for n in range(shared))
            own = range(shared, row["prompt"] // block)
            hashes += tuple(-(1_000_000 * (index + 1) + n) for n in own)
        rows.append(
            Request(
                index=index,
                prompt_tokens=row["prompt"],
                output_tokens=row["output"],
                decode_steps=row.get("steps", row["output"] - 1),
                arrival_s=float(row["at"]),
                block_hashes=hashes,
                block_tokens=block if cached else 0,
            )
        )
    return sorted(rows, key=lambda r: (r.arrival_s, r.index))


class StepsByTokens(OneSecondSteps):
    """Steps that take a time of their own and one of each token of the fullest rank."""

    def __init__(self, base_s, token_s):
        super().__init__()
        self.base_s, self.token_s = base_s, token_s

    def fixed_s(self, *, rank_tokens, **_tokens):
        return self.base_s + self.token_s * rank_tokens


def served_by(scenario, *, cost):
    """The deployment of a scenario."""
    dp = scenario["dp"]
    return Deployment(
        aggregated=WorkerPool(
            layout=Layout(tp=dp, ep=dp, dp_attention=dp > 1),
            engine=bind_engine(
                VllmSettings(
                    **scenario["settings"],
                    block_size=scenario["block_tokens"],
                    async_scheduling=scenario["async"],
                )
            ),
            kv_pool=KvPoolSpec(
                total_blocks=scenario["blocks"], block_tokens=scenario["block_tokens"]
            ),
            cost=cost,
            rank_routing="round_robin",
        )
    )


def closed(scenario):
    """Times to first token under a closed loop. [s]"""
    loop = scenario["closed"]
    records = run_deployment(
        deployment=served_by(scenario, cost=StepsByTokens(*scenario["step_s"])),
        requests=requests_of(scenario),
        load=ClosedLoop(concurrency=loop["clients"], turnaround_s=loop["turnaround_s"]),
    )
    return records.ttft_s


def run(scenario):
    """The trace of a scenario, woken at every step."""
    steps = []

    def note(step):
        steps.append([step.start_s, list(step.prefill_tokens), list(step.decode_requests)])

    records = run_deployment(
        deployment=served_by(scenario, cost=OneSecondSteps(1 + scenario["drafts"])),
        requests=requests_of(scenario),
        load=OpenLoop(),
        on_step=note,
        step_by_step=True,
    )
    order = records.request.argsort()
    return {
        "steps": steps,
        "first": records.first_token_s[order].tolist(),
        "last": records.finish_s[order].tolist(),
    }


def decide(case):
    """Decisions of our prefill delayer, pass by pass."""
    delayer = SlotDelayer(
        max_passes=case["max_passes"],
        slots=case["slots"],
        bounded=True,
        window=16,
        ranks=case["ranks"],
    )
    decisions = []
    for one in case["passes"]:
        allowed = delayer.allows(ready=one["ready"], running=one["running"], waiting=one["waiting"])
        decisions.append(allowed)
        if allowed:
            delayer.started(
                [
                    size if ready else 0
                    for size, ready in zip(one["started"], one["ready"], strict=True)
                ]
            )
    return decisions
