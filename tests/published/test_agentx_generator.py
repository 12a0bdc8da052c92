"""Generated sessions against the published statistics of AgentX's traces and of one-hour runs.

Traces: Hugging Face ``semianalysisai/cc-traces-weka-062126``. Runs: InferenceX API id 440246 (B200,
64 sessions), 440845 (B300, 32 sessions); README tables of sskim-ai/InferenceX_analysis.
"""

import numpy as np
import pytest

from simulator.serving.clock import Clock
from simulator.serving.lane_clients import LaneClients
from simulator.serving.session_lanes import SessionLanes
from workloads.requests.agentx.generator import FIRST_ENTRIES, SESSIONS, generated_session
from workloads.requests.agentx.protocol import AGENTX
from workloads.requests.agentx.source import GeneratedTrees
from workloads.requests.agentx.statistics import TARGETS, trace_statistics


@pytest.fixture(scope="module")
def reached():
    source = GeneratedTrees()
    return trace_statistics(source.tree(row) for row in range(SESSIONS))


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS, ids=[target.name for target in TARGETS])
def test_the_data_set_has_the_published_statistics(reached, target) -> None:
    assert reached[target.name] == pytest.approx(target.value, rel=target.tolerance)


def test_the_first_rows_have_their_published_entries_in_order() -> None:
    assert tuple(generated_session(row).entries for row in range(20)) == pytest.approx(
        FIRST_ENTRIES[:20], rel=0.2, abs=4
    )


def hour(sessions, *, ttft_s, itl_s):
    """One hour against a server of constant speed: prompts, outputs, times in flight, counts."""
    clock = Clock()
    load = SessionLanes(concurrency=sessions, source=GeneratedTrees(), protocol=AGENTX)
    rows = []

    def send(request):
        sent_s = clock.now

        def returned(_event):
            if request.index >= 0:
                rows.append((request.prompt_tokens, request.output_tokens, clock.now - sent_s))
            clients.finished(request)

        clock.at(sent_s + ttft_s + (request.output_tokens - 1) * itl_s, 0, returned)

    clients = LaneClients(
        clock=clock, load=load, send=send, pool_block_tokens=256, longest_tokens=1 << 20
    )
    clients.start()
    clock.run()
    return (*np.array(rows).T, load.counts)


@pytest.mark.slow
def test_an_hour_of_64_sessions_has_the_published_mix() -> None:
    prompts, outputs, in_flight_s, counts = hour(64, ttft_s=4.7, itl_s=0.021)
    assert len(prompts) == pytest.approx(6608, rel=0.10)
    assert prompts.mean() == pytest.approx(126_019, rel=0.10)
    published = (79_102, 145_058, 269_601, 500_290)
    assert np.percentile(prompts, (50, 75, 90, 95)) == pytest.approx(published, rel=0.12)
    assert outputs.mean() == pytest.approx(984, rel=0.10)
    published = (442, 1030, 2221, 3651)
    assert np.percentile(outputs, (50, 75, 90, 95)) == pytest.approx(published, rel=0.12)
    assert counts.infinite_cache_hit == pytest.approx(0.9687, abs=0.005)
    assert in_flight_s.sum() / 3629 == pytest.approx(46.4, rel=0.15)
    # usage .411 of 21.97 M tokens: what running requests refer to, a lane
    held = (prompts * in_flight_s).sum() / 3629 / 64
    assert held == pytest.approx(141_000, rel=0.2)
    assert counts.warm_up == 640
    assert counts.primers == pytest.approx(67, rel=0.15)
    assert 5 <= counts.open_at_end <= 30


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sessions", "ttft_s", "itl_s", "mean_isl", "rel"),
    [
        (4, 1.0, 0.012, 185_500, 0.15),
        (10, 1.0, 0.015, 135_000, 0.15),
        (48, 2.0, 0.021, 135_000, 0.1),
    ],
)
def test_the_mean_prompt_depends_on_the_number_of_sessions(
    sessions, ttft_s, itl_s, mean_isl, rel
) -> None:
    prompts, *_ = hour(sessions, ttft_s=ttft_s, itl_s=itl_s)
    assert prompts.mean() == pytest.approx(mean_isl, rel=rel)
