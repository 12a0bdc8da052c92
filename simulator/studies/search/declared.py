"""Settings of `simulate search` beside those of its scenario, declared once."""

from __future__ import annotations

from simulator.scenario.declared import Setting, table
from simulator.scenario.declared_limits import GOODPUT, MAX_COST, SLOS, TIER

GOALS = ("throughput", "cost", "ttft")

SEARCH = table(
    Setting(
        name="goal",
        text="throughput (tok/s/GPU, default), cost ($/M tokens) or ttft.",
        default="throughput",
        metavar="NAME",
        choices=GOALS,
    ),
    *SLOS,
    GOODPUT,
    Setting(
        name="no_ttft_limit",
        kind="bool",
        text="Without a TTFT that is asked for, allow any; default: p90 up to 10 s.",
        default=False,
    ),
    Setting(
        name="min_throughput",
        kind="float",
        text="Least throughput, all tokens, all GPUs.",
        unit="tok/s/GPU",
        metavar="TOK/S/GPU",
        gt=0,
    ),
    MAX_COST,
    TIER,
    Setting(
        name="vary",
        kind="values",
        text="Values of an engine setting to try: max_num_batched_tokens=4096,8192. Repeatable. "
        "Default: how much a step may prefill, and whether it mixes with decode.",
        metavar="NAME=LIST",
    ),
    Setting(
        name="margin",
        kind="float",
        text="Settings vary on deployments that come this near to the best; default 0.25.",
        default=0.25,
        unit="-",
        metavar="SHARE",
        ge=0,
        le=1,
    ),
)
"""Settings of a search beside those of its scenarios."""
