"""What is asked of a service, declared once: speeds, TTFT, goodput, prices."""

from __future__ import annotations

from dataclasses import replace

from simulator.scenario.declared import Setting, table

TIERS = ("hyperscaler", "neocloud", "rental")

SLOS = (
    Setting(
        name="interactivity",
        kind="float",
        text="Least speed of the median user, 1 / median TPOT.",
        unit="tok/s",
        metavar="TOK/S",
        gt=0,
    ),
    Setting(
        name="interactivity_p90",
        kind="float",
        text="Least speed of the slow tail, 1 / p90 TPOT.",
        unit="tok/s",
        metavar="TOK/S",
        gt=0,
    ),
    Setting(
        name="interactivity_p99",
        kind="float",
        text="The same, 1 / p99 TPOT.",
        unit="tok/s",
        metavar="TOK/S",
        gt=0,
    ),
    Setting(
        name="ttft_p50",
        kind="float",
        text="Largest median time to first token.",
        unit="s",
        metavar="SECONDS",
        gt=0,
    ),
    Setting(
        name="ttft_p90",
        kind="float",
        text="Largest p90 TTFT; 10 where no TTFT is given.",
        unit="s",
        metavar="SECONDS",
        gt=0,
    ),
    Setting(
        name="ttft_p99",
        kind="float",
        text="Largest p99 TTFT.",
        unit="s",
        metavar="SECONDS",
        gt=0,
    ),
)
GOODPUT = Setting(
    name="goodput",
    kind="float",
    text="Requests that must meet speed and TTFT at once: 0.95.",
    unit="-",
    metavar="SHARE",
    gt=0,
    le=1,
)
LIMITS = table(
    *(
        replace(
            setting,
            name=f"{setting.name}_s",
            flag=setting.option,
            text=f"Largest {what} TTFT of a point on the frontier{default}.",
        )
        for setting, what, default in zip(
            SLOS[3:],
            ("median", "p90", "p99"),
            ("", "; default 10 where no limit is given", ""),
            strict=True,
        )
    ),
    replace(
        GOODPUT,
        text="Requests of a point on the frontier that must have their first token within the "
        "tightest of these limits: 0.95.",
    ),
)
"""What limits a frontier; points that miss it are marked and stay in the tables."""
TIER = Setting(
    name="tier",
    text="Prices: hyperscaler (default), neocloud or rental.",
    default="hyperscaler",
    metavar="NAME",
    choices=TIERS,
)
MAX_COST = Setting(
    name="max_cost",
    kind="float",
    text="Largest cost of a million tokens, prompts included. A plan with it alone: the fastest "
    "service within the price.",
    unit="USD",
    metavar="USD",
    gt=0,
)
