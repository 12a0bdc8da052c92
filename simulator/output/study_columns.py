"""Columns that one study alone writes; those of runs are in `simulator.output.columns`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.output.column import Column

if TYPE_CHECKING:
    from simulator.output.column import Part


_HEADERS = {
    "missed": "misses",
    "score_at_slo": "at the\nspeed",
    "layout": "layout",
    "nodes": "bought in",
    "utility_mw": "MW",
    "usd_per_h": "$/h",
    "usd_per_month": "$/month",
    "rate_per_s": "req/s",
    "gpus_low": "90 %\nband",
    "ratio_lo": "90 %\nband",
    "usd_ratio": "ratio",
    "mw_ratio": "ratio",
    "between": "runs on either side",
}


def _other(part: Part, **texts: str) -> tuple[Column, ...]:
    return tuple(
        Column(
            name=name,
            kind="float" if "[" in text else "text",
            text=text.partition(" [")[0],
            unit=text.partition(" [")[2].rstrip("]"),
            header=_HEADERS.get(name, ""),
            part=part,
        )
        for name, text in texts.items()
    )


SEARCH: tuple[Column, ...] = _other(
    "other",
    settings="server settings that differ from the recipe's, or `recipe`",
    meets="whether every constraint is met",
    missed="constraints that are missed",
    score="what the search maximizes: tok/s/GPU, tokens per dollar, or minus the median TTFT [-]",
    score_at_slo="of a deployment's best run the score at the very speed asked for, between its "
    "runs as the frontier interpolates; blank where no run is on either side [-]",
    version="version of forecurve",
)

PLAN: tuple[Column, ...] = _other(
    "plan",
    rank="place in the plan, the best first [-]",
    layout="deployment of a replica, as `label`",
    nodes="servers or trays that are bought [-]",
    racks="racks that are bought; blank where the rack is not the product [-]",
    replicas="copies of the deployment [-]",
    spare_replicas="copies that the plan does not count on [-]",
    gpus_per_replica="GPUs of one copy [-]",
    replicas_simulated="copies behind one router in the load test [-]",
    it_mw="IT power of the fleet [MW]",
    utility_mw="power at the meter [MW]",
    usd_per_h="cost of the fleet [USD/h]",
    usd_per_month="cost of the fleet [USD/month]",
    rate_per_s="requests that the fleet carries [1/s]",
    capacity_per_s="requests that the replicas it may count on could carry [1/s]",
    headroom="how much the load may grow before a limit is missed [-]",
    users="users at a time: waiting, reading, or thinking [-]",
    tokens_per_s="prompt and output tokens that the fleet carries [tok/s]",
    tokens_per_s_per_gpu="the same over all its GPUs [tok/s]",
    p90_interactivity="1 / p90 TPOT [tok/s]",
    replica_rate_per_s="requests of one replica at the operating point [1/s]",
    replica_capacity_per_s="the largest rate of one replica that meets the limits [1/s]",
    slo_utilisation="how much of the tightest limit is used up; above 1 it is missed [-]",
    limit="what breaks first when the load grows",
    gpus_low="fewest GPUs at the ends of the band [-]",
    gpus_high="most GPUs at the ends of the band [-]",
    band_low="low end of the 90 % interval of the capacity, over the prediction [-]",
    band_high="high end of the same [-]",
)

COMPARISON: tuple[Column, ...] = _other(
    "comparison",
    system="name of the compared system",
    reachable="whether its curve reaches the speed",
    slowest="speed at the slow end of its curve [tok/s]",
    fastest="speed at the fast end of its curve [tok/s]",
    ratio="throughput over the first system's [-]",
    ratio_lo="low end of its 90 % interval [-]",
    ratio_hi="high end of its 90 % interval [-]",
    ratio_band="paired: errors of left-out pairs; independent: of two single bands",
    apart="whether the ratio's 90 % interval leaves out 1",
    usd_ratio="cost of a token over the first system's [-]",
    mw_ratio="tokens a second and megawatt over the first system's [-]",
    between="deployments on either side of the speed",
    usd_per_million_tokens_lo="low end of the 90 % interval [USD]",
    usd_per_million_tokens_hi="high end of the 90 % interval [USD]",
)

PREDICT: tuple[Column, ...] = _other(
    "other",
    pred_total_tput_per_gpu="predicted total throughput [tok/s]",
    pred_output_tput_per_gpu="predicted output throughput over the decode GPUs [tok/s]",
    pred_mean_ttft_s="predicted mean TTFT [s]",
    pred_median_ttft_s="predicted median TTFT [s]",
    pred_p99_ttft_s="predicted 99 % quantile of the TTFT [s]",
    pred_mean_tpot_s="predicted mean TPOT [s]",
    pred_median_tpot_s="predicted median TPOT [s]",
    pred_total_tput_per_gpu_lo="low end of the 90 % interval [tok/s]",
    pred_total_tput_per_gpu_hi="high end of the 90 % interval [tok/s]",
    pred_median_tpot_s_lo="low end of the 90 % interval [s]",
    pred_median_tpot_s_hi="high end of the 90 % interval [s]",
    pred_median_ttft_s_lo="low end of the 90 % interval [s]",
    pred_median_ttft_s_hi="high end of the 90 % interval [s]",
    message="what was assumed of a predicted row, or why it has no prediction",
)
