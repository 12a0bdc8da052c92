"""DeepSeek-R1 on H100 across two nodes: data-parallel attention without a communication library.

InferenceX (2026-02-13, `calibration/measurements/deepseek-r1.csv`): SGLang 0.5.8 under Dynamo, FP8,
1k/1k, one prefill worker TP16 and one decode worker DEP16, MTP.
"""

import pytest

from simulator.prediction.run import simulate_run
from simulator.scenario.table_rows import configure_row

RUN = {
    "model": "deepseek-r1",
    "sku": "h100",
    "engine": "dynamo-sglang",
    "precision": "fp8",
    "spec_decoding": "mtp",
    "disagg": True,
    "prefill_num_workers": 1,
    "prefill_tp": 16,
    "prefill_ep": 1,
    "num_prefill_gpu": 16,
    "decode_num_workers": 1,
    "decode_tp": 16,
    "decode_ep": 16,
    "decode_dp_attn": True,
    "num_decode_gpu": 16,
    "isl": 1024,
    "osl": 1024,
    "date": "2026-02-13",
    "requests_per_client": 2,
}


@pytest.mark.parametrize(("concurrency", "tpot_ms"), [(1, 19.36), (4, 22.82), (64, 37.97)])
def test_tpot_grows_with_the_all_reduce_of_padded_ranks(concurrency, tpot_ms):
    """The all-reduce over 16 ranks' padded tokens explains TPOT from 1 to 64 clients."""
    configuration, _ = configure_row(RUN | {"concurrency": concurrency})
    metrics = simulate_run(configuration).metrics
    assert metrics.tpot.median_s * 1e3 == pytest.approx(tpot_ms, rel=0.2)
