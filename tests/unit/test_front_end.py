"""The front end before the scheduler: its time is part of TTFT and of nothing else."""

import pytest
from engine_traces import pool, requests

from simulator.engines.host_times import host_times
from simulator.engines.vllm.engine import VllmSettings
from simulator.serving.client import ClosedLoop, OpenLoop
from simulator.serving.deployment import Deployment, run_deployment
from simulator.serving.front_end import FrontEnd
from workloads.errors import UserError

VLLM = VllmSettings(max_num_batched_tokens=64, max_num_seqs=8)
LENGTHS = ((4, 3), (16, 3), (8, 3))


def served(front_end, *, load=None, lengths=LENGTHS):
    deployment = Deployment(aggregated=pool(VLLM), front_end=front_end)
    return run_deployment(
        deployment=deployment,
        requests=requests(*lengths),
        load=load or ClosedLoop(concurrency=1, turnaround_s=0.5),
    )


def test_one_client_waits_for_the_front_end_and_then_as_before():
    """Nothing queues, so that TTFT grows by the front end's time and the pace stays."""
    front_end = FrontEnd(request_s=0.25, token_s=0.125)
    without, with_it = served(FrontEnd()), served(front_end)
    added = [front_end.delay_s(prompt) for prompt, _ in LENGTHS]
    assert with_it.ttft_s - without.ttft_s == pytest.approx(added)
    assert with_it.tpot_s == pytest.approx(without.tpot_s)
    # a cycle of the client is longer by just that
    last = with_it.finish_s[-1] - without.finish_s[-1]
    assert last == pytest.approx(sum(added))


def test_a_short_prompt_sent_later_reaches_the_scheduler_first():
    """Front ends are as many as are needed: none waits for the long one."""
    records = served(FrontEnd(token_s=0.25), load=OpenLoop(), lengths=((40, 2), (4, 2)))
    first = dict(zip(records.request.tolist(), records.first_token_s.tolist(), strict=True))
    assert first[1] < first[0]


@pytest.mark.parametrize("wrong", [{"request_s": -1e-3}, {"token_s": float("nan")}])
def test_a_negative_time_is_refused(wrong):
    with pytest.raises(UserError, match="must be 0 or more seconds"):
        FrontEnd(**wrong)


def test_the_default_is_what_a_server_without_a_model_measures():
    """tenstorrent/tt-inference-server issue 3560: 9.5 ms with 2.9 ms steps and 128 tokens.

    Two steps, as a model on the CPU runs the next one before the result of the last is sent.
    """
    times = {name: time.value for name, time in host_times().items()}
    front_end = FrontEnd(
        request_s=times["client_overhead_s"], token_s=times["tokenise_s_per_token"]
    )
    assert 2 * 2.94e-3 + front_end.delay_s(128) == pytest.approx(9.54e-3, rel=0.10)
    for time in host_times().values():
        assert time.low <= time.value <= time.high
