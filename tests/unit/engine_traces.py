"""Small deployments whose steps all take one second, and the trace of what they did."""

from simulator.engines.registry import bind_engine
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

    def fixed_s(self, *, rank_tokens, group_tokens, rank_samples, group_samples, has_prefill):
        return 1.0

    def decode_attention(self, *, requests, context_sum):
        return Line(0.0, 0.0, float("inf"))

    def prefill_attention_s(self, *, new_tokens, prefix_tokens):
        return 0.0


def pool(settings, *, blocks=1000, block_tokens=4, dp=1, workers=1, queries=1, cost=None, **kv):
    """A worker pool with ``blocks`` KV blocks of ``block_tokens`` tokens on each rank."""
    routing = {name: kv.pop(name) for name in ("routing", "rank_routing") if name in kv}
    return WorkerPool(
        layout=Layout(tp=dp, ep=dp, dp_attention=dp > 1, pp=kv.pop("pp", 1)),
        engine=bind_engine(settings),
        kv_pool=KvPoolSpec(total_blocks=blocks, block_tokens=block_tokens, **kv),
        cost=cost or OneSecondSteps(queries),
        workers=workers,
        **routing,
    )


def requests(*lengths, at=None, **fields):
    """Requests of (prompt, output) tokens, all sent at 0 or at the times of ``at``. [s]"""
    return [
        Request(
            index=index,
            prompt_tokens=prompt,
            output_tokens=output,
            decode_steps=output - 1,
            arrival_s=float(at[index]) if at else 0.0,
            **fields,
        )
        for index, (prompt, output) in enumerate(lengths)
    ]


def trace(deployment, workload, load=None):
    """Runs of steps as (start, steps, prefill tokens, decode requests), and the records.

    With one rank the last two are numbers, else one number per rank.
    """
    steps = []

    def note(run):
        prefill, decode = run.prefill_tokens, run.decode_requests
        if len(prefill) == 1:
            prefill, decode = prefill[0], decode[0]
        steps.append((run.start_s, run.steps, prefill, decode))

    if not isinstance(deployment, Deployment):
        deployment = Deployment(aggregated=deployment)
    records = run_deployment(
        deployment=deployment, requests=workload, load=load or OpenLoop(), on_step=note
    )
    return steps, records


def finishes(records):
    """(time, request) of every last token, in order."""
    return list(zip(records.finish_s.tolist(), records.request.tolist(), strict=True))


def first_tokens(records):
    """Times of first tokens by request."""
    return dict(zip(records.request.tolist(), records.first_token_s.tolist(), strict=True))


def closed(clients):
    return ClosedLoop(concurrency=clients)
