"""The benchmarks of ``benchmarks.yaml``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.datafiles import read_yaml_mapping
from workloads.errors import UserError, unknown_name
from workloads.requests.length_laws import length_law

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workloads.requests.lengths import LengthDistribution


SHORT_NAMES = {
    "r1": "deepseek-r1",
    "gpt-oss": "gpt-oss-120b",
    "llama2": "llama2-70b",
    "mixtral": "mixtral-8x7b",
}
"""What benchmarks are called for short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyLimits:
    """Limits on the 99th percentile over all queries.

    Parameters
    ----------
    ttft_s, tpot_s:
        Time to first token, and mean time of a further one within a query. [s]
    """

    ttft_s: float
    tpot_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A language benchmark of MLPerf Inference.

    Parameters
    ----------
    name, model:
        MLPerf's name and ours.
    samples:
        Prompts of the data set. [requests]
    prompt, output:
        Distributions of lengths. [tokens]
    prompt_source, output_source:
        Kind and source of each.
    limits:
        By scenario, ``server`` or ``interactive``; Offline has none.
    speculation:
        Drafts that the rules allow, by scenario; none in others.
    """

    name: str
    model: str
    samples: int
    prompt: LengthDistribution
    output: LengthDistribution
    prompt_source: str
    output_source: str
    limits: Mapping[str, LatencyLimits]
    speculation: Mapping[str, str]

    def limits_of(self, scenario: str) -> LatencyLimits:
        """Limits of a scenario.

        Raises
        ------
        UserError
            If the benchmark has no such scenario.
        """
        if scenario not in self.limits:
            raise UserError(
                f"scenario {scenario} does not exist for {self.name}, which has offline, "
                f"{', '.join(self.limits)}"
            )
        return self.limits[scenario]


@cache
def benchmarks() -> dict[str, Benchmark]:
    """All benchmarks by MLPerf's name."""
    path = Path(str(resources.files("workloads.requests.mlperf") / "benchmarks.yaml"))
    return {
        name: _benchmark(name, entry)
        for name, entry in read_yaml_mapping(path)["benchmarks"].items()
    }


def benchmark_of(name: str) -> Benchmark:
    """The benchmark of MLPerf's name or of the model's.

    Raises
    ------
    UserError
        If there is none.
    """
    known = benchmarks()
    for each in known.values():
        if name in (each.name, each.model):
            return each
    raise unknown_name(field="benchmark", value=name, known=known)


def _benchmark(name: str, entry: Mapping[str, Any]) -> Benchmark:
    prompt, output = entry["prompt"], entry["output"]
    return Benchmark(
        name=name,
        model=entry["model"],
        samples=entry["samples"],
        prompt=length_law(prompt),
        output=length_law(output),
        prompt_source=f"{prompt['kind']}: {prompt['source']}",
        output_source=f"{output['kind']}: {output['source']}",
        limits={key: LatencyLimits(**value) for key, value in entry["limits"].items()},
        speculation=entry.get("speculation", {}),
    )
