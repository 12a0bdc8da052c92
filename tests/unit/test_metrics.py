"""Every metric on five requests that can be checked by hand, and against a naive reading."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.analysis.metrics import goodput, run_metrics, without_warm_up
from simulator.serving.records import Records
from workloads.errors import UserError

#          arrival scheduled first  finish prompt output
FIVE = np.array(
    [
        (0.0, 0.0, 1.0, 3.0, 100, 21),
        (0.0, 0.5, 2.0, 4.0, 200, 11),
        (0.0, 1.0, 1.5, 5.5, 300, 41),
        (3.0, 3.0, 3.5, 3.5, 400, 1),
        (4.0, 4.5, 5.0, 10.0, 500, 26),
    ]
)


def records_of(rows, **changes):
    rows = np.asarray(rows, dtype=float)
    zeros = np.zeros(len(rows), dtype=int)
    names = (
        "arrival_s",
        "scheduled_s",
        "first_token_s",
        "finish_s",
        "prompt_tokens",
        "output_tokens",
    )
    columns = dict(zip(names, rows.T, strict=True))
    return Records.from_columns(
        {
            "request": np.arange(len(rows)),
            "worker": zeros,
            "rank": zeros,
            "cached_tokens": zeros,
            "loaded_tokens": zeros,
            "drive_tokens": zeros,
            "preemptions": zeros,
            "accepted_drafts": zeros,
        }
        | columns
        | changes
    )


def test_throughput_counts_all_gpus_and_all_tokens():
    metrics = run_metrics(records_of(FIVE), gpus=4)
    assert metrics.duration_s == 10.0
    assert (metrics.prompt_tokens, metrics.output_tokens) == (1500, 100)
    assert metrics.total_tput_per_gpu == pytest.approx(1600 / 10 / 4)
    assert metrics.input_tput_per_gpu == pytest.approx(1500 / 10 / 4)
    assert metrics.output_tput_per_gpu == pytest.approx(100 / 10 / 4)
    assert metrics.output_tput_per_decode_gpu == metrics.output_tput_per_gpu
    assert metrics.requests_per_s == 0.5


def test_disaggregated_pools_have_their_own_denominators():
    metrics = run_metrics(records_of(FIVE), gpus=24, prefill_gpus=16, decode_gpus=8)
    assert metrics.total_tput_per_gpu == pytest.approx(160 / 24)
    assert metrics.output_tput_per_gpu == pytest.approx(10 / 24)
    assert metrics.output_tput_per_decode_gpu == pytest.approx(10 / 8)
    assert metrics.input_tput_per_prefill_gpu == pytest.approx(150 / 16)
    inferencex = metrics.to_inferencex()
    assert inferencex["tput_per_gpu"] == pytest.approx(160 / 24)
    assert inferencex["output_tput_per_gpu"] == pytest.approx(10 / 8)
    assert inferencex["input_tput_per_gpu"] == pytest.approx(150 / 16)


def test_latencies():
    metrics = run_metrics(records_of(FIVE), gpus=1)
    # TTFT 1, 2, 1.5, 0.5, 1
    assert metrics.ttft.mean_s == pytest.approx(1.2)
    assert metrics.ttft.median_s == 1.0
    assert metrics.ttft.p90_s == pytest.approx(1.8)
    assert metrics.ttft.p99_s == pytest.approx(1.98)
    # TPOT 2/20, 2/10, 4/40, none, 5/25
    assert metrics.tpot.mean_s == pytest.approx(0.15)
    assert metrics.tpot.median_s == pytest.approx(0.15)
    assert metrics.interactivity == pytest.approx(1 / 0.15)
    # latency 3, 4, 5.5, 0.5, 6; wait 0, 0.5, 1, 0, 0.5
    assert metrics.e2el.median_s == 4.0
    assert metrics.queue.mean_s == pytest.approx(0.4)


def test_interactivity_percentiles_are_reciprocals_so_p99_is_the_slow_tail():
    inferencex = run_metrics(records_of(FIVE), gpus=1).to_inferencex()
    for statistic in ("mean", "median", "p90", "p99"):
        assert inferencex[f"{statistic}_intvty"] == pytest.approx(
            1 / inferencex[f"{statistic}_tpot"]
        )
    assert inferencex["p99_intvty"] < inferencex["median_intvty"]


def test_littles_law():
    metrics = run_metrics(records_of(FIVE), gpus=1, concurrency=3)
    assert metrics.mean_concurrency == pytest.approx(19.0 / 10.0)
    assert metrics.littles_law_ratio == pytest.approx(1.9 / 3)
    assert run_metrics(records_of(FIVE), gpus=1).littles_law_ratio is None


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 50), st.floats(0, 5), st.floats(0, 5), st.floats(0.01, 50)),
        min_size=1,
        max_size=30,
    )
)
def test_mean_concurrency_is_the_time_average_of_requests_in_the_system(spans):
    arrival, wait, prefill, decode = np.array(spans).T
    rows = np.column_stack(
        [
            arrival,
            arrival + wait,
            arrival + wait + prefill,
            arrival + wait + prefill + decode,
            np.full(len(spans), 10),
            np.full(len(spans), 5),
        ]
    )
    metrics = run_metrics(records_of(rows), gpus=1)
    edges = np.sort(np.concatenate([rows[:, 0], rows[:, 3]]))
    middles = (edges[1:] + edges[:-1]) / 2
    present = [np.sum((rows[:, 0] <= t) & (t < rows[:, 3])) for t in middles]
    area = float(np.sum(np.array(present) * np.diff(edges)))
    assert metrics.mean_concurrency == pytest.approx(area / metrics.duration_s, rel=1e-9)


def test_unfinished_requests_are_counted_and_left_out():
    rows = np.vstack([FIVE, [(1.0, 2.0, np.nan, np.nan, 9000, 50)]])
    metrics = run_metrics(records_of(rows), gpus=4)
    assert (metrics.requests, metrics.unfinished) == (5, 1)
    assert metrics.total_tput_per_gpu == pytest.approx(40.0)


def test_a_run_may_start_before_its_first_arrival():
    assert run_metrics(records_of(FIVE), gpus=1, start_s=-10.0).duration_s == 20.0


def test_counts_are_summed():
    records = records_of(FIVE, preemptions=[0, 1, 2, 0, 0], accepted_drafts=[1, 1, 1, 0, 2])
    metrics = run_metrics(records, gpus=1)
    assert (metrics.preemptions, metrics.accepted_drafts) == (3, 5)


def test_the_flat_form_is_json_with_units_in_its_names():
    single_tokens = records_of([(0.0, 0.0, 1.0, 1.0, 10, 1)])
    flat = run_metrics(single_tokens, gpus=1).to_dict()
    assert flat["median_ttft_s"] == 1.0
    assert flat["p99_e2el_s"] == 1.0
    assert flat["median_tpot_s"] is None
    assert flat["interactivity"] is None
    json.dumps(flat, allow_nan=False)


def test_goodput_alone_and_joint():
    good = goodput(records_of(FIVE), ttft_slo_s=1.0, tpot_slo_s=0.15)
    # TTFT met by 0, 3, 4; TPOT by 0, 2 and 3, which has none
    assert good.ttft_share == pytest.approx(3 / 5)
    assert good.tpot_share == pytest.approx(3 / 5)
    assert good.e2el_share == 1.0
    assert good.joint_share == pytest.approx(2 / 5)
    assert good.requests_per_s == pytest.approx(0.2)
    assert good.output_tokens_per_s == pytest.approx(2.2)


def test_goodput_counts_unfinished_requests_as_missed():
    rows = np.vstack([FIVE, [(1.0, 2.0, np.nan, np.nan, 9000, 50)]])
    assert goodput(records_of(rows), e2el_slo_s=100.0).joint_share == pytest.approx(5 / 6)


@settings(max_examples=30, deadline=None)
@given(ttft=st.floats(0.1, 3), tpot=st.floats(0.05, 0.3))
def test_joint_goodput_never_exceeds_either(ttft, tpot):
    good = goodput(records_of(FIVE), ttft_slo_s=ttft, tpot_slo_s=tpot)
    assert good.joint_share <= min(good.ttft_share, good.tpot_share)
    assert good.joint_share >= good.ttft_share + good.tpot_share - 1 - 1e-12


def test_the_warm_up_of_an_open_loop_is_cut_by_arrival():
    rng = np.random.default_rng(0)
    arrival = np.arange(2000.0)
    latency = rng.exponential(1.0, 2000) + 50 * np.exp(-arrival / 40)
    rows = np.column_stack(
        [arrival, arrival, arrival, arrival + latency, np.full(2000, 10), np.full(2000, 5)]
    )
    shuffled = records_of(rows[rng.permutation(2000)])
    steady = without_warm_up(shuffled)
    assert 100 <= steady.arrival_s.min() <= 400
    assert len(steady) == 2000 - steady.arrival_s.min()
    assert steady.e2el_s.mean() == pytest.approx(1.0, abs=0.1)


def test_bad_input_is_named():
    with pytest.raises(UserError, match="none of the 1 requests finished"):
        run_metrics(records_of([(0.0, np.nan, np.nan, np.nan, 1, 1)]), gpus=1)
    with pytest.raises(ValueError, match="gpus are 0"):
        run_metrics(records_of(FIVE), gpus=0)
    with pytest.raises(UserError, match="no objective is given"):
        goodput(records_of(FIVE))
    with pytest.raises(UserError, match="tpot_slo_s is 0"):
        goodput(records_of(FIVE), tpot_slo_s=0)
