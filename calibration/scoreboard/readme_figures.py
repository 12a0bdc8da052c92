"""Our figures on other pages, taken from the accuracy page and the registered predictions.

``python -m calibration.scoreboard.readme_figures`` writes the block ``figures`` of README.md and of
the comparison with other simulators; ``calibration.ship`` does so after a fit. Nothing in them is
typed by hand: a test compares.
"""

from __future__ import annotations

import re
from pathlib import Path

from calibration.command_line import run_main
from calibration.kernels.report import replace_blocks
from calibration.scoreboard.registered import registered
from simulator.output.text_file import write_text
from workloads.datafiles import read_text
from workloads.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
BLOCK = "figures"
SHOWN = {
    "unseen layout, V4 and R1, tok/s/GPU": "tok/s/GPU of an unseen layout of V4 or R1",
    "unseen layout, other models, tok/s/GPU": "of other models",
    "SKU left out, sibling known, tok/s/GPU": "tok/s/GPU of a chip left out of the fit",
    "one anchor run of the series, tok/s/GPU": "tok/s/GPU after one run of the series",
}
"""Rows of the accuracy page that the README shows, and how it calls them."""
_RUNS = re.compile(r"How far predictions are from ([\d,]+) measured runs")
_ROW = re.compile(r"^\| ([^|]+) \| [^|]* \| ([\d.]+ %) \|", re.MULTILINE)


def figures_text(root: Path = ROOT) -> str:
    """The block of a checkout.

    Raises
    ------
    UserError
        If the accuracy page lacks a figure that is shown.
    """
    page = read_text(root / "docs" / "ACCURACY.md")
    runs = _RUNS.search(page)
    if runs is None:
        raise UserError("docs/ACCURACY.md does not say of how many runs; write it anew")
    found = dict(_ROW.findall(page))
    missing = [name for name in SHOWN if name not in found]
    if missing:
        raise UserError(f"docs/ACCURACY.md has no figure '{missing[0]}'; write it anew")
    errors = "; ".join(f"{text} **{found[name]}**" for name, text in SHOWN.items())
    lines = [
        f"Median errors on {int(runs[1].replace(',', '')):,} runs that the fit behind them had not "
        f"seen: {errors} ([all figures](docs/ACCURACY.md))."
    ]
    answers = [answer for answer in registered(root / "predictions") if answer.points]
    if answers:
        chips = len({answer.question["sku"] for answer in answers})
        lines.append(
            f"Registered before anyone measured: {len(answers)} questions on {chips} chips "
            "([predictions](docs/predictions.md))."
        )
    return "\n".join(lines)


_RIVALS_SECTION = "## As AISimulate scores itself\n"
_RIVALS_ROW = re.compile(r"^\| (\w+) \| ([\d,]+) \| (\d+ %) \| (\d+ %) \|", re.MULTILINE)
PREDICTED_FROM = {
    "series": "with the whole series left out of the fit",
    "specification": "with nothing fitted, data sheets and kernel tables alone",
}
"""Rows of the accuracy page's table in others' definitions, and what predictions rest on there."""


def rivals_text(root: Path = ROOT) -> str:
    """Our errors as AISimulate and AIConfigurator define theirs.

    Raises
    ------
    UserError
        If the accuracy page lacks a figure that is shown.
    """
    _, found, section = read_text(root / "docs" / "ACCURACY.md").partition(_RIVALS_SECTION)
    rows = {row[0]: row for row in _RIVALS_ROW.findall(section.partition("\n## ")[0])}
    missing = [name for name in PREDICTED_FROM if name not in rows]
    if not found or missing:
        name = missing[0] if missing else "series"
        raise UserError(f"docs/ACCURACY.md has no figure '{name}' of others; write it anew")
    told = "; ".join(
        f"{text}: TPOT **{rows[name][2]}**, TTFT **{rows[name][3]}** ({rows[name][1]} runs)"
        for name, text in PREDICTED_FROM.items()
    )
    return (
        "This project in AISimulate's definitions (mean absolute error of mean TPOT and mean TTFT, "
        f"dated aggregated runs without speculation): {told} ([accuracy](../ACCURACY.md))."
    )


def main() -> None:
    """Write the blocks."""
    rivals = ROOT / "docs" / "background" / "rivals.md"
    for path, text in ((ROOT / "README.md", figures_text()), (rivals, rivals_text())):
        write_text(path, replace_blocks(read_text(path), {BLOCK: text}))
        print(path)


if __name__ == "__main__":
    run_main(main)
