"""Which points of a closed loop hold the latency limits that a workload brings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workloads.requests.catalog import MLPERF, drawn_lengths

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def workload_limit_lines(points: Iterable[Mapping[str, Any]]) -> list[str]:
    """The best point of each series within the limits of its workload; none without limits.

    Parameters
    ----------
    points:
        Simulated points, in the columns of `simulator.output.columns.RUN`.
    """
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for point in points:
        name = str(point["length_distribution"])
        if name.startswith(MLPERF):
            groups.setdefault((str(point["series"]), name), []).append(point)
    lines = []
    for (series, name), runs in groups.items():
        workload = drawn_lengths(name)
        if not workload.limits_text:
            continue
        held = [
            run
            for run in runs
            if (workload.ttft_s is None or run["p99_ttft_s"] <= workload.ttft_s)
            and (workload.tpot_s is None or run["p99_tpot_s"] <= workload.tpot_s)
        ]
        line = f"{series}: {len(held)} of {len(runs)} points hold {workload.limits_text} of {name}"
        if held:
            best = max(held, key=lambda run: float(run["output_tput_per_gpu"]))
            line += (
                f"; best {best['label']} with {best['concurrency']:,} clients, "
                f"{best['output_tput_per_gpu']:,.0f} output tok/s/GPU"
            )
        lines.append(f"{line} (simulate mlperf judges arrivals instead of clients)")
    return lines
