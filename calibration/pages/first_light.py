"""The page that sets predictions with nothing fitted beside measured runs.

``python -m calibration.pages.first_light docs/first_light.md``
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from calibration.command_line import run_main
from calibration.validation.comparison import compare_runs, error_table, first_light_runs
from simulator.output.text_file import write_text

if TYPE_CHECKING:
    import pandas as pd

BATCHES = {"1-8": (1, 8), "9-64": (9, 64), "65 and more": (65, 10**9)}

INTRODUCTION = """# First light: nothing fitted, beside measured runs

DeepSeek-V4-Pro on MI355X and B200, aggregated, every measured run of fixed lengths that does not
contradict itself or its neighbours (`simulate runs --model deepseek-v4-pro`). The predictions use
data sheets, kernel benchmarks, counted launches and the recorded server settings; no number in
them was fitted to a serving run (`--engine NAME@specification`). Errors are relative: median of
|predicted / measured - 1|; a bias above zero is a prediction too high. Written by
`python -m calibration.pages.first_light`; notebook: `notebooks/01_first_light.ipynb`.
"""

READING = """
## Reading it

The order of the points is right and their level is not: most sweeps are too fast by a factor that
changes little up to some 64 clients and grows beyond, where prefill counts. Launch floors,
launches outside graphs and the efficiency of matrix products belong to the engine and its date,
and that is what a calibration adds. At small batch a step is mostly kernel floors,
which kernel benchmarks understate (they time kernels back to back); at large batch it is mostly
prefill. The engines' first weeks on a chip are off by factors: their kernels were fallbacks.
"""


def page(compared: pd.DataFrame) -> str:
    """The page as markdown."""
    batch = {
        name: compared["concurrency"].between(low, high) for name, (low, high) in BATCHES.items()
    }
    named = compared.assign(batch="")
    for name, rows in batch.items():
        named.loc[rows, "batch"] = name
    parts = [
        INTRODUCTION,
        "\n## By chip and engine\n\n",
        _table(error_table(named, by=["sku", "engine"])),
        "\n## By chip and concurrency\n\n",
        _table(error_table(named, by=["sku", "batch"])),
        READING,
        "\n## The published concurrency sweep of MI355X on SGLang, 2026-05-21\n\n",
        _published_sweep(named),
        "\n## All runs\n\n",
        _runs(named),
    ]
    return "".join(parts)


def _table(errors: pd.DataFrame) -> str:
    columns = [str(name) for name in errors.columns]
    lines = [_row([name.replace("_", " ") for name in columns]), _row(["---"] * len(columns))]
    lines += [_row([_cell(row[name]) for name in columns]) for row in errors.to_dict("records")]
    return "\n".join(lines) + "\n"


def _published_sweep(compared: pd.DataFrame) -> str:
    rows = compared[
        (compared["sku"] == "mi355x")
        & (compared["engine"] == "sglang")
        & (compared["date"] == "2026-05-21")
    ].sort_values("concurrency")
    return _run_table(rows)


def _runs(compared: pd.DataFrame) -> str:
    order = ["sku", "engine", "precision", "speculation", "isl", "layout", "date", "concurrency"]
    return _run_table(compared.sort_values(order))


def _run_table(rows: pd.DataFrame) -> str:
    header = [
        "SKU", "engine", "date", "precision", "speculation", "lengths", "layout", "conc",
        "tok/s/GPU", "predicted", "error", "TPOT [ms]", "predicted", "error",
    ]  # fmt: skip
    lines = [_row(header), _row(["---"] * len(header))]
    for row in rows.to_dict("records"):
        median = row["median_tpot_s"]
        tpot_s = median if median == median else row["mean_tpot_s"]
        cells = [
            str(row["sku"]),
            str(row["engine"]),
            str(row["date"] or "median"),
            str(row["precision"]),
            str(row["speculation"]),
            f"{row['isl']:.0f}/{row['osl']:.0f}",
            str(row["layout"]),
            f"{row['concurrency']:.0f}",
            _cell(row["total_tput_per_gpu"]),
            _cell(row["predicted_tput_per_gpu"]),
            _percent(row["throughput_ratio"]),
            _cell(1e3 * tpot_s),
            _cell(1e3 * row["predicted_tpot_s"]),
            _percent(row["tpot_ratio"]),
        ]
        lines.append(_row(cells))
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(value: object) -> str:
    if isinstance(value, float):
        if value != value:
            return ""
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)


def _percent(ratio: float) -> str:
    return "" if ratio != ratio else f"{100 * (ratio - 1):+.0f} %"


def main() -> None:
    """Command line: ``PAGE.md``, the page to write."""
    parser = argparse.ArgumentParser(description="predict the first-light runs, nothing fitted")
    parser.add_argument("page", type=Path, metavar="PAGE.md", help="Markdown page to write")
    target = parser.parse_args().page
    compared = compare_runs(first_light_runs(), specification=True)
    write_text(target, page(compared))


if __name__ == "__main__":
    run_main(main)
