"""Settings of `simulate plan` beside those of its scenario, declared once."""

from __future__ import annotations

from simulator.scenario.declared import Setting, table
from simulator.scenario.declared_limits import GOODPUT, MAX_COST, SLOS, TIER

PURCHASES = ("racks", "nodes")

PLAN = table(
    *SLOS,
    GOODPUT,
    Setting(
        name="rate",
        kind="float",
        text="Demand: mean requests per second.",
        unit="1/s",
        metavar="REQ/S",
        gt=0,
    ),
    Setting(
        name="users",
        kind="float",
        text="Demand: users at a time, see --think.",
        unit="users",
        metavar="N",
        ge=1,
    ),
    Setting(
        name="mw",
        kind="float",
        text="Budget: power at the meter.",
        unit="MW",
        metavar="MW",
        gt=0,
    ),
    Setting(
        name="fleet_gpus",
        kind="int",
        text="Budget: chips of the whole fleet.",
        unit="chips",
        metavar="N",
        flag="gpus",
        ge=1,
    ),
    MAX_COST,
    Setting(
        name="think",
        kind="float",
        text="Pause of a user between requests; default 0.",
        default=0.0,
        unit="s",
        metavar="SECONDS",
        ge=0,
    ),
    Setting(
        name="burstiness",
        kind="float",
        text="Shape of gamma gaps of the fleet's arrivals; 1 is Poisson, less is burstier.",
        default=1.0,
        unit="-",
        metavar="SHAPE",
        gt=0,
    ),
    Setting(
        name="peak",
        kind="float",
        text="Highest over mean rate of a sinusoidal cycle, up to 2.",
        default=1.0,
        unit="-",
        metavar="RATIO",
        ge=1,
        le=2,
    ),
    Setting(
        name="period",
        kind="float",
        text="Length of the cycle; default a day.",
        default=86_400.0,
        unit="s",
        metavar="SECONDS",
        gt=0,
    ),
    Setting(
        name="workload",
        text="Trace whose arrivals and lengths are used, or 8k1k, mlperf-r1-server ...",
        metavar="FILE",
    ),
    TIER,
    Setting(
        name="whole",
        text="Buy whole racks (default, where sold so) or nodes.",
        default="racks",
        metavar="NAME",
        choices=PURCHASES,
    ),
    Setting(name="spare", kind="bool", text="N+1: one node may be down.", default=False),
    Setting(
        name="replications",
        kind="int",
        text="Independent runs of a test; default 3.",
        default=3,
        metavar="N",
        ge=3,
        le=100,
    ),
    Setting(
        name="every",
        kind="bool",
        text="Load test every SKU of the catalogue, those far behind the best too.",
        default=False,
        flag="all",
    ),
    Setting(
        name="layouts",
        kind="int",
        text="Deployments per SKU to load test; default 3.",
        default=3,
        metavar="N",
        ge=1,
        le=20,
    ),
)
"""Settings of a plan beside those of its scenarios."""
