"""MLPerf Inference's language benchmarks: data sets, lengths of answers, latency limits.

Rules: mlcommons/inference (loadgen, ``mlperf.conf``) and mlcommons/inference_policies. Prompt and
output lengths are drawn independently: their correlation is not published.
"""

from workloads.requests.mlperf.benchmarks import (
    SHORT_NAMES,
    Benchmark,
    LatencyLimits,
    benchmark_of,
    benchmarks,
)

__all__ = ["SHORT_NAMES", "Benchmark", "LatencyLimits", "benchmark_of", "benchmarks"]
