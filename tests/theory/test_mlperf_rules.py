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
