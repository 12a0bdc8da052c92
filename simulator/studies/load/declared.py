"""Settings of `simulate load` beside those of its scenario, declared once."""

from __future__ import annotations

from simulator.scenario.declared import Setting, table

ARRIVALS = ("poisson", "gamma", "sinusoidal", "steps", "deterministic", "trace")
ROUTING = ("round_robin", "least_loaded", "kv_aware", "session")
ON_ERROR = ("raise", "skip")

LOAD = table(
    Setting(
        name="deployment",
        text="All pools at once: TP8, 2xDEP8, 2xDEP8+1xDEP8.",
        metavar="LABEL",
    ),
    Setting(
        name="prefill_workers",
        kind="int",
        text="Disaggregated: prefill workers, of the recipe's layout. --tp, --ep and "
        "--dp-attention are a decode worker's.",
        metavar="N",
        ge=1,
    ),
    Setting(
        name="decode_workers",
        kind="int",
        text="Disaggregated: decode workers.",
        metavar="N",
        ge=1,
    ),
    Setting(
        name="replicas",
        kind="int",
        text="Copies of the deployment; default 1.",
        default=1,
        metavar="N",
        ge=1,
        le=10_000,
    ),
    Setting(
        name="routing",
        text="Requests over workers: round-robin, least-loaded, kv-aware or session; default: by "
        "session where conversations share prefixes, else in turn.",
        metavar="NAME",
        choices=ROUTING,
    ),
    Setting(
        name="tuned_for",
        kind="int",
        text="Requests in flight of a replica for which its server settings are the recipe's; "
        "default: its clients, 512 in an open loop.",
        unit="requests",
        metavar="N",
        ge=1,
    ),
    Setting(
        name="workload",
        text="8k1k, 1k1k, 1k8k, agentic, mlperf-r1-server ..., or a trace: Mooncake, Azure, "
        "BurstGPT, vLLM, AIPerf ...",
        metavar="NAME|FILE",
    ),
    Setting(
        name="on_error",
        text="Bad rows of a trace: raise (default) or skip.",
        default="raise",
        metavar="NAME",
        choices=ON_ERROR,
    ),
    Setting(
        name="time_unit",
        text="Unit of a trace's timestamps, ms, s, us or ns; default: the format's, refused where "
        "it cannot be right.",
        metavar="NAME",
        choices=("ms", "s", "us", "ns"),
    ),
    Setting(
        name="block_tokens",
        kind="int",
        text="Of hashed prompt blocks; default: the format's.",
        unit="tokens",
        metavar="TOKENS",
        ge=1,
    ),
    Setting(
        name="output_tokens",
        kind="int",
        text="Output of rows that state none.",
        unit="tokens",
        metavar="TOKENS",
        ge=1,
    ),
    Setting(
        name="characters_per_token",
        kind="float",
        text="For traces that hold text.",
        unit="characters",
        metavar="N",
        gt=0,
    ),
    Setting(
        name="concurrency",
        kind="int",
        text="Closed loop: clients.",
        unit="requests",
        metavar="N",
        ge=1,
        le=1_000_000,
    ),
    Setting(
        name="rate",
        kind="float",
        text="Open loop: mean arrivals of requests, of conversations where there are some. "
        "A trace is played faster or slower.",
        unit="1/s",
        metavar="REQ/S",
        gt=0,
    ),
    Setting(
        name="arrivals",
        text="poisson, gamma, sinusoidal, steps, deterministic or trace; "
        "default: what the other flags ask for.",
        metavar="NAME",
        choices=ARRIVALS,
    ),
    Setting(
        name="burstiness",
        kind="float",
        text="Shape of gamma gaps as in vllm bench serve; 1 is Poisson, less is burstier.",
        unit="-",
        metavar="SHAPE",
        gt=0,
    ),
    Setting(
        name="cv",
        kind="float",
        text="Their coefficient of variation, 1/sqrt(SHAPE), in its place.",
        unit="-",
        metavar="CV",
        gt=0,
    ),
    Setting(
        name="peak",
        kind="float",
        text="Sinusoidal: highest over mean rate, up to 2.",
        unit="-",
        metavar="RATIO",
        ge=1,
        le=2,
    ),
    Setting(
        name="period",
        kind="float",
        text="Sinusoidal: length of a cycle.",
        unit="s",
        metavar="SECONDS",
        gt=0,
    ),
    Setting(
        name="steps",
        kind="windows",
        text="Windows of one rate, SECONDS:REQ/S: 60:2,120:8.",
        unit="s, 1/s",
        metavar="LIST",
    ),
    Setting(
        name="requests",
        kind="int",
        text="Requests of a replication; default: 10 per client, 2,000 in an open loop, one "
        "cycle, all windows, or the whole trace.",
        unit="requests",
        metavar="N",
        ge=1,
    ),
    Setting(
        name="duration",
        kind="float",
        text="Open loop: time in which requests arrive.",
        unit="s",
        metavar="SECONDS",
        gt=0,
    ),
    Setting(
        name="replications",
        kind="int",
        text="Independent runs, for 95 % intervals; default 1.",
        default=1,
        metavar="N",
        ge=1,
        le=1_000,
    ),
    Setting(
        name="ttft_slo",
        kind="float",
        text="Goodput: largest time to first token.",
        unit="s",
        metavar="SECONDS",
        gt=0,
    ),
    Setting(
        name="tpot_slo",
        kind="float",
        text="Goodput: largest time per output token.",
        unit="s",
        metavar="SECONDS",
        gt=0,
    ),
    Setting(
        name="expert_load",
        text="Tokens over experts: uniform, balanced or power-law[:1.01]; default: power-law for "
        "traces and conversations, uniform for the random tokens of fixed lengths.",
        metavar="NAME",
    ),
    Setting(
        name="redundant_experts",
        kind="int",
        text="Copies of hot experts (EPLB); default 0.",
        metavar="N",
        ge=0,
    ),
)
"""Settings of a load beside those of its scenario."""
