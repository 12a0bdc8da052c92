"""Settings of replays of session trees, declared once."""

from __future__ import annotations

from simulator.scenario.declared import Setting, table

X_NAMES = (
    *("interactivity-p50", "interactivity-p75", "interactivity-p90"),
    *("e2e-norm-p50", "e2e-norm-p75", "e2e-norm-p90"),
    *("ttft-p50", "ttft-p90", "e2e-p90", "sessions"),
)

AGENTX = table(
    Setting(
        name="trees",
        text="Session trees: agentx (generated, default) or a file: AgentX (Weka), AIPerf DAG, "
        "Mooncake with sessions. Others than agentx also take lengths by name: 8k1k, "
        "mlperf-r1-server.",
        default="agentx",
        metavar="NAME|FILE",
        flag="workload",
    ),
    Setting(
        name="protocol",
        text="Rules of the client: agentx (an hour, default), agentx-fast, agentx-2026-07 (before "
        "v1.0), or upstream AIPerf's defaults aiperf and aiperf-10s; none are comparable. "
        "NAME:SECONDS is another window.",
        metavar="NAME",
    ),
    Setting(
        name="kv_offload",
        text="Host memory for KV: none, cpu, cpu:2849GB (of one server), cpu:2849GB:lazy, with "
        "drives behind it cpu,nvme:30TB; default: the recipe's.",
        metavar="TEXT",
    ),
    Setting(
        name="x",
        text="Horizontal axis: interactivity-p90 (default), -p75, -p50, e2e-norm-p90, ttft-p50, "
        "sessions ...",
        default="interactivity-p90",
        metavar="NAME",
        choices=X_NAMES,
    ),
    Setting(
        name="agents",
        kind="int",
        text="Demand of a plan for coding agents: session trees that are live at a time.",
        unit="agents",
        metavar="N",
        ge=1,
    ),
    Setting(
        name="on_error",
        text="Bad sessions and calls of a file: raise (default) or skip and count.",
        default="raise",
        metavar="NAME",
        choices=("raise", "skip"),
    ),
    Setting(
        name="characters_per_token",
        kind="float",
        text="Characters of a token in files that hold text.",
        metavar="NUMBER",
        gt=0,
    ),
)
"""Settings of a replay beside those of its scenario."""
