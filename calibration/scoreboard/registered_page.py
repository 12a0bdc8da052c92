"""The page of registered predictions, and their score once runs are measured."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from calibration.command_line import run_main
from calibration.measured.keys import deployment_text
from calibration.pages.markdown import markdown_table
from calibration.scoreboard.registered import DIGESTS, check_unchanged, registered, unanswered
from simulator.output.text_file import write_text
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from calibration.scoreboard.registered import Registered

HEADS = ("layout", "clients", "tok/s/GPU", "90 % band", "TPOT [ms]", "90 % band", "TTFT [s]")
ASKED = ("model", "sku", "isl", "osl")


def write_registered_page(path: Path, *, root: Path) -> Path:
    """Write the page of all registered predictions below a folder; returns it."""
    write_text(path, registered_text(registered(root), unanswered=unanswered()))
    return path


def registered_text(
    answers: Sequence[Registered], *, unanswered: Mapping[str, str] | None = None
) -> str:
    """The page as Markdown.

    Parameters
    ----------
    unanswered:
        Questions that could not be answered, and why.
    """
    parts = [
        "# Registered predictions",
        "Predictions of chips and models that nobody has measured, written down before anyone "
        "does: question, figures, bands, version, date and assumptions stand in `predictions/`, "
        "whose files are never changed (a test compares their digests). Once runs are published, "
        "`simulate score --registered RUNS` scores them. This page is written by "
        "`python -m calibration.scoreboard.registered_page`.",
    ]
    if not answers:
        parts.append("None is registered yet.")
    chip = ""
    for answer in answers:
        question = answer.question
        if question["sku"] != chip:
            chip = question["sku"]
            parts.append(f"## {chip}")
        parts.append(f"### {question['id']}")
        said = answer.caption or "the product refuses this question"
        parts.append(f"Registered {answer.date} by forecurve {answer.version}. {said}")
        if answer.points:
            parts.append(markdown_table(list(HEADS), [_row(point) for point in answer.points]))
        parts.append("\n".join(f"- {line}" for line in answer.assumptions if line))
    if unanswered:
        parts.append("## Asked and not answered")
        parts.append("\n".join(f"- {name}: {why}" for name, why in unanswered.items()))
    return "\n\n".join(part for part in parts if part) + "\n"


def _row(point: dict[str, Any]) -> list[str]:
    def band(name: str, scale: float, digits: int) -> str:
        ends = [point.get(f"{name}_{end}") for end in ("lo", "hi")]
        if None in ends:
            return "–"
        return " to ".join(f"{scale * cast('float', end):,.{digits}f}" for end in ends)

    return [
        str(point["label"]),
        str(point["concurrency"]),
        f"{point['total_tput_per_gpu']:,.0f}",
        band("total_tput_per_gpu", 1.0, 0),
        f"{1e3 * point['median_tpot_s']:.1f}",
        band("median_tpot_s", 1e3, 1),
        f"{point['median_ttft_s']:.2f}",
    ]


def registered_columns(measured: pd.DataFrame, *, root: Path) -> pd.DataFrame:
    """Registered figures beside measured runs, in the columns that ``simulate predict`` adds.

    A run and an answer match in model, chip, lengths, layout and concurrency, without speculation.
    Runs of questions that nobody registered are not answered.

    Parameters
    ----------
    measured:
        Runs in the columns of `calibration.measured.schema`.
    root:
        Folder of registered folders.

    Raises
    ------
    UserError
        If nothing is registered there, or a registered file was changed.
    """
    import pandas as pd

    folders = [path.parent for path in sorted(root.glob(f"*/{DIGESTS}"))]
    if not folders:
        raise UserError(f"predictions {root} holds no registered predictions")
    if wrong := [line for folder in folders for line in check_unchanged(folder)]:
        raise UserError(f"predictions {root}: {wrong[0]}; what was registered cannot be scored")
    known = {
        (*(answer.question[name] for name in ASKED), point["label"], point["concurrency"]): point
        for answer in registered(root)
        for point in answer.points
    }
    rows = []
    for row in cast("list[dict[str, Any]]", measured.to_dict("records")):
        plain = row["speculation"] in (None, "", "none")
        key = (*(row[name] for name in ASKED), deployment_text(row), row["concurrency"])
        rows.append(_predicted(known.get(key) if plain else None))
    frame = pd.DataFrame(rows)
    figures = [name for name in frame if str(name).startswith("pred_")]
    return frame.astype(dict.fromkeys(figures, float))


def _predicted(point: dict[str, Any] | None) -> dict[str, Any]:
    """Columns of ``simulate predict`` for a registered point; empty where there is none."""
    figures = ("total_tput_per_gpu", "median_tpot_s", "median_ttft_s")
    names = [*figures, *(f"{name}_{end}" for name in figures for end in ("lo", "hi"))]
    found = {f"pred_{name}": None if point is None else point.get(name) for name in names}
    return {
        "status": "not registered" if point is None else "ok",
        "bottleneck": "",
        "pred_mean_tpot_s": found["pred_median_tpot_s"],
        "pred_mean_ttft_s": found["pred_median_ttft_s"],
        **found,
    }


def main() -> None:
    """Write docs/predictions.md, or the page named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m calibration.scoreboard.registered_page")
    parser.add_argument("page", type=Path, nargs="?", default=Path("docs/predictions.md"))
    parser.add_argument("--predictions", type=Path, default=Path("predictions"))
    options = parser.parse_args()
    print(write_registered_page(options.page, root=options.predictions))


if __name__ == "__main__":
    run_main(main)
