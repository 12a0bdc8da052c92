"""Refresh *moves most* in docs/background/new_chips.md: ``python docs/tools/new_chips.py``.

Runs the page's ``simulate sensitivity`` on every chip of its table, half a minute each, writes
the last column and prints the largest numbers of each chip, for the sections below the table.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from simulator.cli.main import run

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE = Path(__file__).parents[1] / "background" / "new_chips.md"
CHIPS = {
    "VR200": "vr200",
    "MI455X": "mi455x",
    "TPU v7": "tpu7x",
    "Trainium3": "trainium3",
    "Ascend 950DT": "ascend950dt",
    "Ascend 950PR": "ascend950pr",
}
FLAGS = "--tp 8 --ep 1 --no-dp-attention --concurrency 16"
NAMES = {
    "t0_scale": "launch floors",
    "host_step_s": "host's step",
    "eager_launch_s": "eager launches",
    "expert_traffic_scale": "expert reads",
    "hbm_bytes_per_s": "HBM",
    "flops_fp8": "FP8 rate",
    "flops_bf16": "BF16 rate",
    "flops_fp4": "FP4 rate",
    "scaleup_bytes_per_s": "links",
}
"""Numbers that are told apart: of the software those without a twin on the data sheet."""


def elasticities(sku: str) -> pd.Series:
    """Percent of throughput for one percent of each number of chip and software, largest first."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        if run(["sensitivity", "--sku", sku, *FLAGS.split(), "--out", str(out)]):
            sys.exit(f"simulate sensitivity --sku {sku} failed")
        table = pd.read_csv(out / "sensitivity.csv").set_index("parameter")
    found = table.loc[table["owner"] != "workload", "elasticity_throughput"]
    return found.sort_values(key=abs, ascending=False)


def moves_most(found: pd.Series) -> str:
    """The largest number of the software and the largest of the data sheet: the last column."""
    known = found[found.index.isin(list(NAMES))]
    sheet = known.index.str.startswith(("hbm", "flops", "scaleup"))
    best = pd.concat([known[sheet].head(1), known[~sheet].head(1)])
    best = best.sort_values(key=abs, ascending=False)
    return ", ".join(
        f"{NAMES[str(name)]} {value:+.2f}".replace("-", "−") for name, value in best.items()
    )


def replaced(text: str, *, title: str, cell: str) -> tuple[str, int]:
    """The page with the last cell of a chip's row replaced, and how many rows there were."""
    row = re.compile(rf"^(\| \[{re.escape(title)}\]\(.*\| )[^|]*\|$", re.MULTILINE)
    return row.subn(lambda found: f"{found[1]}{cell} |", text)


def main(arguments: Sequence[str]) -> None:
    """Refresh the chips named, or all of the table."""
    text = PAGE.read_text(encoding="utf-8")
    for title, sku in CHIPS.items():
        if arguments and sku not in arguments:
            continue
        found = elasticities(sku)
        print(sku, ", ".join(f"{name} {value:+.2f}" for name, value in found.head(6).items()))
        text, count = replaced(text, title=title, cell=moves_most(found))
        if count != 1:
            sys.exit(f"{PAGE.name} has {count} rows of {title}")
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
