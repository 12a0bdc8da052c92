"""Settings of `simulate sensitivity` beside those of its scenario, declared once."""

from __future__ import annotations

from simulator.scenario.declared import Setting, table

SENSITIVITY = table(
    Setting(
        name="interactivity",
        kind="float",
        text="Judge throughput where the median user has this speed, not at a concurrency.",
        unit="tok/s",
        metavar="TOK/S",
        gt=0,
    ),
    Setting(
        name="step",
        kind="float",
        text="Relative change to either side; default 0.05.",
        default=0.05,
        unit="-",
        metavar="SHARE",
        gt=0,
        le=0.5,
    ),
    Setting(
        name="replications",
        kind="int",
        text="Runs with other seeds; default 3.",
        default=3,
        metavar="N",
        ge=1,
        le=100,
    ),
)
"""Settings of a sensitivity study beside those of its scenario."""
