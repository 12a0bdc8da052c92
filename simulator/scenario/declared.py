"""Every setting of a question, declared once: type, unit, default, range and help.

The fields of `simulator.scenario.settings.Scenario` and of the questions of the commands, the
flags of the command line and the reference page are made from these tables. The module imports
nothing heavy, since ``simulate --help`` reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["int", "float", "bool", "text", "counts", "overrides", "values", "windows"]
"""How a value is written: ``counts`` is a list of whole numbers, ``overrides`` and ``values``
are ``NAME=VALUE`` pairs of numbers and of lists, ``windows`` is ``SECONDS:RATE`` pairs."""

PRECISIONS = ("fp4", "nvfp4", "fp8", "int4", "bf16")
KV_PRECISIONS = ("auto", "fp8", "bf16")
LENGTH_DISTRIBUTIONS = ("uniform_0.8", "uniform_0_to_cap", "fixed")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting.

    Parameters
    ----------
    name:
        In files and as a keyword argument.
    kind:
        How a value is written.
    text:
        Help of its flag.
    several:
        Help where several values may be given; empty: as ``text``.
    default:
        Value where nobody states one; ``None`` is resolved from data files.
    unit:
        Unit, empty for names and counts.
    metavar:
        What stands for a value in the help.
    choices:
        Names that it may take; empty: any.
    flag:
        Flag on the command line, without dashes; empty: the name with dashes.
    is_required:
        Whether there is no default.
    ge, gt, le:
        Range: at least, more than, at most.
    """

    name: str
    kind: Kind = "text"
    text: str
    several: str = ""
    default: Any = None
    unit: str = ""
    metavar: str = ""
    choices: tuple[str, ...] = ()
    flag: str = ""
    is_required: bool = False
    ge: float | None = None
    gt: float | None = None
    le: float | None = None

    @property
    def option(self) -> str:
        """The flag without dashes in front."""
        return self.flag or self.name.replace("_", "-")

    @property
    def bounds(self) -> dict[str, float]:
        """The range, by the names that pydantic gives its ends."""
        ends = {"ge": self.ge, "gt": self.gt, "le": self.le}
        return {name: end for name, end in ends.items() if end is not None}


def field(setting: Setting) -> Any:
    """The field of a pydantic model for a setting."""
    from pydantic import Field

    described: dict[str, Any] = {
        "description": setting.text,
        "json_schema_extra": {"unit": setting.unit},
        **setting.bounds,
    }
    return Field(... if setting.is_required else setting.default, **described)


def table(*settings: Setting) -> Mapping[str, Setting]:
    """Settings by name."""
    return {setting.name: setting for setting in settings}


SCENARIO = table(
    Setting(
        name="sku",
        text="Chip or rack: mi355x, b200, gb200 ...",
        several="Chips or racks: gb200 or gb200,mi355x.",
        metavar="NAME",
        is_required=True,
    ),
    Setting(
        name="prefill_sku",
        text="Chip of the prefill pool, where it is another than that of the decode pool: "
        "--prefill-sku b200 --decode-sku gb300. One engine serves both.",
        metavar="NAME",
    ),
    Setting(
        name="model",
        text="Model; default deepseek-v4-pro.",
        several="Models; default deepseek-v4-pro.",
        default="deepseek-v4-pro",
        metavar="NAME",
    ),
    Setting(
        name="engine",
        text="Serving engine, optionally as of a date: sglang@2026-05. "
        "Default: as best deployed, or beside a stated layout the one named for the SKU; at the "
        "level of the last day that runs cover.",
        several="Engines, optionally of dates: vllm,sglang@2026-05. dynamo-vllm and others with "
        "an orchestrator run prefill and decode pools.",
        metavar="NAME[@DATE]",
    ),
    Setting(
        name="precision",
        text="Expert weights: fp4, nvfp4, fp8, int4, bf16; default: those of the model's usual "
        "checkpoint, see `simulate show model`.",
        several="Expert weights: fp4, nvfp4, fp8, int4, bf16; "
        "default: each model's usual checkpoint.",
        default="fp4",
        metavar="NAME",
        choices=PRECISIONS,
    ),
    Setting(
        name="gpus",
        kind="int",
        text="Chips of one worker; default: one node.",
        several="Chips of one worker; default: all sizes that fit.",
        unit="chips",
        metavar="N",
        ge=1,
    ),
    Setting(
        name="tp",
        kind="int",
        text="Tensor parallel degree; default: all that fit.",
        several="Tensor parallel degrees; default: all that fit.",
        metavar="N",
        ge=1,
    ),
    Setting(
        name="ep",
        kind="int",
        text="Expert parallel degree; default: all that fit.",
        several="Expert parallel degrees; default: all that fit.",
        metavar="N",
        ge=1,
    ),
    Setting(
        name="dp_attention", kind="bool", text="Attention data parallelism; default: try both."
    ),
    Setting(
        name="isl",
        kind="int",
        text="Input length; default 8192.",
        several="Input lengths; default 8192.",
        default=8192,
        unit="tokens",
        metavar="TOKENS",
        ge=1,
    ),
    Setting(
        name="osl",
        kind="int",
        text="Output length; default 1024.",
        several="Output lengths; default 1024.",
        default=1024,
        unit="tokens",
        metavar="TOKENS",
        ge=1,
    ),
    Setting(
        name="length_distribution",
        text="Lengths L: uniform_0.8 draws from [0.8 L, L] as InferenceX, uniform_0_to_cap from "
        "1 to L, fixed takes L.",
        default="uniform_0.8",
        metavar="NAME",
        choices=LENGTH_DISTRIBUTIONS,
    ),
    Setting(
        name="lengths",
        text="Prompt and output lengths as laws, quantiles or histograms: a YAML file, see "
        "docs/guides/load.md, or mlperf-r1-server ...; in place of isl and osl.",
        several="Prompt and output lengths as laws, quantiles or histograms: YAML files, see "
        "docs/guides/load.md, or mlperf-r1-server ...; in place of isl and osl.",
        metavar="FILE",
    ),
    Setting(
        name="concurrency",
        kind="counts",
        text="Closed-loop clients: 1,8,64 or 1-512 (doubling). "
        "Default: doubling up to 2048 while it pays.",
        unit="requests",
        metavar="LIST",
    ),
    Setting(
        name="spec",
        text="Speculation: mtp:2 drafts two tokens (also dspark:K, eagle3:K); default none.",
        several="Speculation: none,mtp:2; default none.",
        default="none",
        metavar="NAME:K",
    ),
    Setting(
        name="acceptance_length",
        kind="float",
        text="Tokens per step under speculation; default: the recipe's.",
        several="Tokens per step; default: the recipe's.",
        unit="tokens",
        metavar="TOKENS",
        ge=1,
    ),
    Setting(
        name="engine_settings",
        kind="values",
        text="Set a setting of the server: max_num_batched_tokens=8192; names are the engine's, "
        "see docs/reference/settings.md. Repeatable.",
        default={},
        metavar="NAME=VALUE",
        flag="engine-set",
    ),
    Setting(
        name="kv_precision",
        text="Format of the KV cache: auto (the engine's and the recipe's), fp8 or bf16.",
        default="auto",
        metavar="NAME",
        choices=KV_PRECISIONS,
    ),
    Setting(
        name="client_turnaround_s",
        kind="float",
        text="From a client's last token to its next request; default: simulate show engine.",
        unit="s",
        metavar="SECONDS",
        flag="client-turnaround",
        ge=0,
        le=60,
    ),
    Setting(
        name="client_overhead_s",
        kind="float",
        text="HTTP, hand-over to the engine and first chunk of a request, part of TTFT; default: "
        "simulate show engine.",
        unit="s",
        metavar="SECONDS",
        flag="client-overhead",
        ge=0,
        le=60,
    ),
    Setting(
        name="tokenise_s_per_token",
        kind="float",
        text="Tokenising of a prompt, part of TTFT; default: simulate show engine.",
        unit="s/token",
        metavar="SECONDS",
        flag="tokenise",
        ge=0,
        le=0.001,
    ),
    Setting(
        name="economics",
        text="Dated cost and power file: 2026-04; default latest.",
        several="Dated cost and power files; default latest.",
        default="latest",
        metavar="DATE",
    ),
    Setting(
        name="overrides",
        kind="overrides",
        text="Change a field of the SKU, in SI units: hbm_usable_bytes=298e9. Repeatable.",
        several="Values of a SKU field to try, in SI units: hbm_bytes_per_s=8e12,10e12. "
        "Repeatable.",
        default={},
        metavar="FIELD=VALUE",
        flag="set",
    ),
    Setting(
        name="calibration",
        text="Fit to use, from simulate calibrate fit --out DIR; default: the shipped one.",
        metavar="DIR",
    ),
    Setting(
        name="seed",
        kind="int",
        text="Seed of every random stream; default 0.",
        several="Seeds; default 0.",
        default=0,
        metavar="N",
        ge=0,
        le=2**63 - 1,
    ),
)
"""Settings of a scenario."""

PAIR = table(
    SCENARIO["prefill_sku"],
    Setting(
        name="decode_sku",
        text="Chip of the decode pool; the same as --sku.",
        metavar="NAME",
    ),
)
"""Chips of prefill and decode pools, where they differ."""

HOST = ("client_turnaround_s", "client_overhead_s", "tokenise_s_per_token")
"""Those of the clients and of the server's front end."""

POOLS = table(
    Setting(
        name="prefill",
        kind="int",
        text="Prefill workers of disaggregated deployments: 1-4 or 1,2,8; 0 is one aggregated "
        "worker. Default: what the engine's recipe ran if it disaggregates, else aggregated.",
        ge=0,
        le=1024,
    ),
    Setting(name="decode", kind="int", text="Decode workers: 1-4 or 1,2,8.", ge=1, le=1024),
    Setting(
        name="prefill_tp",
        kind="int",
        text="Tensor parallel degrees of a prefill worker. --tp, --ep and --dp-attention are a "
        "decode worker's. Default: the recipe's prefill workers, else as decode workers.",
        ge=1,
        le=1024,
    ),
    Setting(name="prefill_ep", kind="int", text="Expert parallel degrees of one.", ge=1, le=1024),
    Setting(name="prefill_dp_attention", kind="bool", text="Attention data parallelism of one."),
    Setting(
        name="disaggregated",
        kind="bool",
        text="Of the ways in which a SKU is deployed, those with prefill and decode pools alone, "
        "or those without. Default: all.",
    ),
    Setting(
        name="max_gpus",
        kind="int",
        text="Most chips of a deployment, all its workers together. Default: any.",
        ge=1,
        le=1_000_000,
    ),
)
"""Workers of deployments, and how many chips they may have together."""
POOL_GRID = tuple(name for name in POOLS if name != "max_gpus")
"""Those that may have several values."""
