"""MLPerf's rules: early stopping, the window that counts, and what a balancer hands to a copy."""

import numpy as np
import pytest

from simulator.analysis.mlperf import (
    LatencyVerdict,
    allowed_over_limit,
    offline_throughput,
    server_throughput,
)
from simulator.serving.records import COLUMNS, Records


def records(**columns):
    count = len(columns["arrival_s"])
    whole = {column.name: np.zeros(count) for column in COLUMNS}
    return Records.from_columns(whole | {"request": np.arange(count)} | columns)


def test_early_stopping_needs_459_queries_for_none_over():
    """0.99**459 is the first power below 1 %: loadgen's published least count."""
    assert allowed_over_limit(458) < 0
    assert allowed_over_limit(459) == 0
    assert allowed_over_limit(661) == 0
    assert allowed_over_limit(662) == 1


def test_early_stopping_nears_one_percent():
    assert allowed_over_limit(100_000) == pytest.approx(928, abs=3)


def test_the_verdict_counts_queries_over_the_limit():
    values = np.full(1000, 0.5)
    values[:3] = 2.0
    verdict = LatencyVerdict.of("TTFT", values, limit_s=1.0)
    assert verdict.over == 3
    assert verdict.passed == (allowed_over_limit(1000) >= 3)
    assert not LatencyVerdict.of("TTFT", np.full(1000, 1.5), limit_s=1.0).passed


def test_a_short_run_is_judged_as_the_whole_one():
    """Of 1,000 queries of a run of 100,000 as many per cent may be over as of all."""
    values = np.full(1000, 0.5)
    values[:9] = 2.0
    alone = LatencyVerdict.of("TTFT", values, limit_s=1.0)
    whole = LatencyVerdict.of("TTFT", values, limit_s=1.0, queries=100_000)
    assert not alone.passed
    assert whole.allowed == allowed_over_limit(100_000) // 100
    assert whole.passed


def test_a_short_run_has_the_throughput_of_the_whole_one():
    """At a steady rate only the time of the last query is lost, once, however long the run."""

    def run(arrivals_s):
        arrival_s = np.arange(1.0, arrivals_s + 1.0)
        return records(
            arrival_s=arrival_s, finish_s=arrival_s + 20.0, output_tokens=np.full(len(arrival_s), 7)
        )

    whole = server_throughput(run(1000.0))
    short = server_throughput(run(100.0), arrivals_s=100.0, whole_s=1000.0)
    assert short.queries_per_s == pytest.approx(whole.queries_per_s)
    assert short.tokens_per_s == pytest.approx(whole.tokens_per_s)


def test_server_time_ends_with_the_query_issued_last():
    run = records(
        arrival_s=np.array([0.0, 1.0, 2.0]),
        finish_s=np.array([50.0, 3.0, 10.0]),
        output_tokens=np.array([100, 10, 10]),
    )
    through = server_throughput(run)
    assert through.queries_per_s == pytest.approx(2 / 10.0)
    assert through.tokens_per_s == pytest.approx(120 / 10.0)
    assert offline_throughput(run).tokens_per_s == pytest.approx(120 / 50.0)
