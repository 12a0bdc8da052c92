"""AgentX's metrics, to the letter: percentiles over requests, inverses of percentiles."""

import numpy as np
import pytest

from simulator.analysis.agentic_metrics import agentic_metrics
from simulator.serving.records import Records
from workloads.errors import UserError


def records(**columns):
    count = len(columns["finish_s"])
    zeros = np.zeros(count)
    base = dict.fromkeys(Records.names, zeros) | {"request": np.arange(count)}
    return Records.from_columns(base | columns)


RUN = records(
    arrival_s=[0.0, 0.0, 10.0, 20.0],
    first_token_s=[1.0, 2.0, 11.0, 24.0],
    finish_s=[3.0, 12.0, 16.0, 40.0],
    prompt_tokens=[1000, 2000, 3000, 4000],
    output_tokens=[11, 101, 51, 1],
    cached_tokens=[0, 1500, 3000 - 64, 3900],
    loaded_tokens=[0, 500, 0, 0],
    drive_tokens=[0, 200, 0, 0],
)


def test_throughput_counts_cached_prompts_over_first_send_to_last_return() -> None:
    m = agentic_metrics(RUN, sessions=4, gpus=2, hit_infinite=0.97)
    assert m.duration_s == 40.0
    assert m.total_tokens_per_s_per_gpu == pytest.approx((10_000 + 164) / 40 / 2)
    assert m.computed_tokens_per_s_per_gpu == pytest.approx((10_000 - 8336) / 40 / 2)
    assert (m.hit_device, m.hit_host, m.hit_drives) == pytest.approx((0.7836, 0.03, 0.02))
    assert m.hit_total == pytest.approx(0.8336)
    assert m.in_flight == pytest.approx((3 + 12 + 6 + 20) / 40)


def test_interactivity_is_the_inverse_of_a_percentile_of_itl() -> None:
    m = agentic_metrics(RUN, sessions=4, gpus=2)
    itl_s = np.array([0.2, 0.1, 0.1])  # the request of one token has none
    assert m.itl_p90_s == pytest.approx(np.percentile(itl_s, 90))
    assert m.interactivity_p90 == pytest.approx(1 / np.percentile(itl_s, 90))
    assert m.interactivity_p90 != pytest.approx(np.percentile(1 / itl_s, 10))
    norm_s = np.array([3 / 11, 12 / 101, 6 / 51, 20.0])
    assert m.e2e_norm_p75 == pytest.approx(1 / np.percentile(norm_s, 75))


def test_a_run_without_returns_is_refused() -> None:
    with pytest.raises(UserError, match="no request returned within the window"):
        agentic_metrics(RUN.select(slice(0, 0)), sessions=1, gpus=1)
