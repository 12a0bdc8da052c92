"""Flags of the what-if commands, and how their lists are read."""

from __future__ import annotations

from typing import Annotated

import typer

from simulator.cli import options
from workloads.errors import UserError

Prefill = Annotated[
    str | None,
    typer.Option(
        "--prefill",
        metavar="LIST",
        help="Prefill workers of disaggregated deployments: 1-4 or 1,2,8; 0 is one "
        "aggregated worker. Default: what the engine's recipe ran if it disaggregates, else "
        "aggregated.",
    ),
]
Decode = Annotated[
    str | None,
    typer.Option("--decode", metavar="LIST", help="Decode workers: 1-4 or 1,2,8."),
]
PrefillTp = Annotated[
    str | None,
    typer.Option(
        "--prefill-tp",
        metavar="LIST",
        help="Tensor parallel degrees of a prefill worker. --tp, --ep and --dp-attention are a "
        "decode worker's. Default: the recipe's prefill workers, else as decode workers.",
    ),
]
PrefillEp = Annotated[
    str | None,
    typer.Option("--prefill-ep", metavar="LIST", help="Expert parallel degrees of one."),
]
PrefillDpAttention = Annotated[
    bool | None,
    typer.Option(
        "--prefill-dp-attention/--no-prefill-dp-attention",
        help="Attention data parallelism of one.",
    ),
]
Tps = Annotated[
    str | None,
    typer.Option("--tp", metavar="LIST", help="Tensor parallel degrees; default: all that fit."),
]
Eps = Annotated[
    str | None,
    typer.Option("--ep", metavar="LIST", help="Expert parallel degrees; default: all that fit."),
]
TtftP90 = Annotated[
    float | None,
    typer.Option(
        "--ttft-p90",
        metavar="SECONDS",
        help="Keep runs with a longer p90 TTFT off the frontier; default: no limit, as InferenceX.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", metavar="N", help="Processes; default: one per core."),
]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV instead of the table.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")]
Calibration = options.Calibration


def listed(text: str | None) -> list[str] | None:
    """Values with commas between; ``None`` if the flag is not given.

    Raises
    ------
    UserError
        If a value is empty.
    """
    if text is None:
        return None
    values = [value.strip() for value in text.split(",")]
    if not all(values):
        raise UserError(f"'{text}' has an empty value; write values with commas between: a,b")
    return values


def numbers(text: str | None, *, flag: str) -> list[float] | None:
    """Numbers with commas between; ``None`` if the flag is not given.

    Raises
    ------
    UserError
        If a value is no number.
    """
    values = listed(text)
    try:
        return None if values is None else [float(value) for value in values]
    except ValueError:
        raise UserError(f"{flag} '{text}' is not a list of numbers; write 20,27,50") from None


def listed_overrides(pairs: list[str] | None) -> dict[str, list[float]] | None:
    """SKU fields and the values to try, from ``field=value,value`` pairs.

    Raises
    ------
    UserError
        As `simulator.cli.options.parse_overrides`.
    """
    if not pairs:
        return None
    overrides: dict[str, list[float]] = {}
    for pair in pairs:
        field, _, values = pair.partition("=")
        singles = [
            options.parse_overrides([f"{field}={value}"]) or {} for value in values.split(",")
        ]
        name = field.strip()
        if name in overrides:
            raise UserError(f"--set gives {name} twice; write {name}=VALUE,VALUE")
        overrides[name] = [single[name] for single in singles]
    return overrides


def check_output(*, as_json: bool, as_csv: bool) -> None:
    """Refuse two forms of output at once.

    Raises
    ------
    UserError
        If both are asked for.
    """
    if as_json and as_csv:
        raise UserError("--csv and --json exclude each other; choose one")
