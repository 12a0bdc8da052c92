"""Flags that commands share. A flag that is not given stays ``None``: the scenario resolves it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

Sku = Annotated[
    str | None, typer.Option("--sku", metavar="NAME", help="Chip or rack: mi355x, b200, gb200 ...")
]
Model = Annotated[
    str | None, typer.Option("--model", metavar="NAME", help="Model; default deepseek-v4-pro.")
]
Engine = Annotated[
    str | None,
    typer.Option(
        "--engine",
        metavar="NAME[@DATE]",
        help="Serving engine, optionally as of a date: sglang@2026-05. "
        "Default: the one named for the SKU, at the level of the last day that runs cover.",
    ),
]
Precision = Annotated[
    str | None,
    typer.Option(
        "--precision",
        metavar="NAME",
        help="Expert weights: fp4, fp8, int4, bf16; default: those of the model's usual "
        "checkpoint, see `simulate show model`.",
    ),
]
Tp = Annotated[
    int | None,
    typer.Option("--tp", metavar="N", help="Tensor parallel degree; default: all that fit."),
]
Ep = Annotated[
    int | None,
    typer.Option("--ep", metavar="N", help="Expert parallel degree; default: all that fit."),
]
Gpus = Annotated[
    int | None, typer.Option("--gpus", metavar="N", help="Chips of one worker; default: one node.")
]
DpAttention = Annotated[
    bool | None,
    typer.Option(
        "--dp-attention/--no-dp-attention", help="Attention data parallelism; default: try both."
    ),
]
Isl = Annotated[
    int | None, typer.Option("--isl", metavar="TOKENS", help="Input length; default 8192.")
]
Osl = Annotated[
    int | None, typer.Option("--osl", metavar="TOKENS", help="Output length; default 1024.")
]
Concurrency = Annotated[
    str | None,
    typer.Option(
        "--concurrency",
        metavar="LIST",
        help="Closed-loop clients: 1,8,64 or 1-512 (doubling). "
        "Default: doubling up to 2048 while it pays.",
    ),
]
Spec = Annotated[
    str | None,
    typer.Option(
        "--spec", metavar="NAME:K", help="Speculation: mtp:2 drafts two tokens; default none."
    ),
]
AcceptanceLength = Annotated[
    float | None,
    typer.Option(
        "--acceptance-length",
        metavar="TOKENS",
        help="Tokens per step under speculation; default: the recipe's.",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="Change a field of the SKU, in SI units: hbm_usable_bytes=298e9. Repeatable.",
    ),
]
Economics = Annotated[
    str | None,
    typer.Option(
        "--economics", metavar="DATE", help="Dated cost and power file: 2026-04; default latest."
    ),
]
Seed = Annotated[
    int | None, typer.Option("--seed", metavar="N", help="Seed of every random stream; default 0.")
]
Calibration = Annotated[
    str | None,
    typer.Option(
        "--calibration",
        metavar="DIR",
        help="Fit to use, from simulate calibrate fit --out DIR; default: the shipped one.",
    ),
]
Overlay = Annotated[
    Path | None,
    typer.Option(
        "--overlay",
        metavar="PATH",
        help="Your own measured runs, drawn as filled markers: a CSV table, a result, a folder.",
    ),
]
ScenarioFile = Annotated[
    Path | None,
    typer.Option("--scenario", metavar="FILE", help="YAML file of settings; flags override it."),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Directory of the results; default: one under out/."),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print the points as JSON instead of the table.")
]

LARGEST_CONCURRENCY = 1_000_000


def read_overlay(context: typer.Context, path: Path | None) -> pd.DataFrame | None:
    """A user's runs for a picture, read by what the command line was started with.

    Raises
    ------
    UserError
        If they cannot be read.
    """
    if path is None:
        return None
    import_runs: Callable[[Path], pd.DataFrame] = context.find_root().obj
    return import_runs(path)


def parse_concurrency(text: str | None) -> tuple[int, ...] | None:
    """Concurrencies from ``1,8,64`` and ranges such as ``1-512``, which double; ascending.

    Raises
    ------
    UserError
        If a part is neither, or a number is out of range.
    """
    if text is None:
        return None
    chosen: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if match is None:
            raise UserError(
                f"concurrency '{text}' is not a list of whole numbers; "
                "write 1,8,64 or 1-512 for every doubling from 1 to 512"
            )
        low, high = int(match[1]), int(match[2] or match[1])
        if not 1 <= low <= high <= LARGEST_CONCURRENCY:
            raise UserError(
                f"concurrency {part.strip()} is out of range; "
                f"it runs from 1 to {LARGEST_CONCURRENCY:,}, the smaller number first"
            )
        chosen.add(high)
        while low < high:
            chosen.add(low)
            low *= 2
    return tuple(sorted(chosen))


def parse_overrides(pairs: list[str] | None) -> dict[str, float] | None:
    """SKU fields to change, from ``field=value`` pairs.

    Raises
    ------
    UserError
        If a pair has another form, its value is not a finite number, or a field comes twice.
    """
    if not pairs:
        return None
    overrides: dict[str, float] = {}
    for pair in pairs:
        field, _, value = (part.strip() for part in pair.partition("="))
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not field or number - number != 0:
            raise UserError(f"--set '{pair}' is not FIELD=NUMBER; write hbm_usable_bytes=298e9")
        if field in overrides:
            raise UserError(f"--set gives {field} twice; keep one of them")
        overrides[field] = number
    return overrides
