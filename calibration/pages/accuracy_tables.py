"""Tables of the accuracy page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.fit.observations import METRICS
from calibration.pages.markdown import markdown_table, percent
from calibration.validation.ranking import layout_agreement, sku_agreement
from calibration.validation.targets import targets_of, targets_of_all
from calibration.validation.validate import SHOWN, SPLITS, frontier_table, score_table
from calibration.validation.worst_series import worst_series

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from calibration.validation.ranking import Agreement
    from calibration.validation.targets import AccuracyTarget
    from calibration.validation.validate import Validation

MEANING = {
    "fitted": "the fit itself, which has seen every run (not a prediction)",
    "run": "one run left out; its series, but for that run, stays in",
    "series": "a layout left out: all concurrencies, dates and sources of one series",
    "engine": "an engine left out on every SKU",
    "sku": "a SKU left out: its runs of every engine, and its kernel tables",
    "kernels": "a chip generation left out, with its kernel tables",
    "vendor": "a vendor left out, with its kernel tables",
    "model": "all models of an architecture left out",
    "date": "forward in time: an engine on a SKU from a date on, predicted from the level before",
    "anchor": "a series left out but for one run of each build, in the middle of its concurrencies",
    "sku, kernels measured": "a SKU left out, its kernel tables kept",
    "specification": "nothing fitted: data sheets, kernel tables and recorded settings",
}
_METRIC_NAMES = {"throughput": "tok/s/GPU", "tpot": "TPOT", "ttft": "TTFT"}
_VERDICTS = {
    "aim": "reached, also the aim",
    "must": "reached",
    "missed": "missed",
    "aim missed": "aim missed",
    "reported": "reported",
    "no data": "no data",
}


def target_table(validation: Validation, *, looks: list[dict[str, Any]]) -> str:
    """Every target with what it asks for and what was reached, by part."""
    structure = [*targets_of(validation, split="structure"), *targets_of_all(validation)]
    rows = target_cells(structure, held=targets_of(validation, split="held"), looks=looks)
    scored = len(validation.of("fitted", split="held")) > 0
    note = "" if scored or not looks else " *Held* is what the last look showed."
    header = ("figure", "asked for", "structure", "", "n", "held")
    marked = [["**missed**" if cell == "missed" else cell for cell in row] for row in rows]
    return markdown_table(header, marked) + f"\n\nn counts runs, frontiers or pairs.{note}"


def target_cells(
    targets: Sequence[AccuracyTarget],
    *,
    held: Sequence[AccuracyTarget],
    looks: list[dict[str, Any]],
) -> list[tuple[str, ...]]:
    """One line a target: figure, what is asked, what was reached, verdict, n, and the held part.

    Where the held part is not scored, the last look's figure stands there.
    """
    now = {target.name: _value(target) for target in held}
    seen = looks[-1]["seen"] if looks else {}
    rows: list[tuple[str, ...]] = []
    for target in targets:
        asked = [_asked(target, "must", target.must), _asked(target, "aim", target.aim)]
        last = _value(target, value=seen[target.name]) if seen.get(target.name) is not None else ""
        rows.append(
            (
                target.name,
                ", ".join(text for text in asked if text),
                _value(target),
                _VERDICTS[target.verdict],
                f"{target.runs:,}",
                now.get(target.name) or last,
            )
        )
    return rows


def _value(target: AccuracyTarget, *, value: float | None = None) -> str:
    shown = target.value if value is None else value
    if shown is None or shown != shown:
        return ""
    if target.unit == "x":
        return f"{shown:.2f}"
    return percent(shown, digits=1) if target.unit == "%" else f"{shown:.0f} {target.unit}"


def _asked(target: AccuracyTarget, word: str, bound: float | None) -> str:
    if bound is None:
        return ""
    if target.unit == "x":
        shown = f"{bound:.1f}"
    else:
        digits = 0 if round(1000 * bound) % 10 == 0 else 1
        shown = (
            percent(bound, digits=digits) if target.unit == "%" else f"{bound:.0f} {target.unit}"
        )
    if target.low is not None:
        return f"{word} {percent(target.low)} to {shown}"
    return f"{word} {'≥' if target.more else '≤'} {shown}"


def scheme_rows(validation: Validation) -> str:
    """Errors by what was left out, and what the schemes mean."""
    predictions = validation.predictions
    scores = score_table(predictions, by=["scheme", "split"])
    copied = score_table(predictions, by=["scheme", "split"], baseline=True)
    rows = []
    for scheme in SHOWN:
        for split in SPLITS:
            at = (scores["scheme"] == scheme) & (scores["split"] == split)
            for position in np.flatnonzero(at):
                row, base = scores.iloc[position], copied.iloc[position]
                rows.append([scheme, split, *_cells(row, base if scheme != "fitted" else None)])
    meaning = "\n".join(f"- *{scheme}*: {text}." for scheme, text in MEANING.items())
    return markdown_table(("left out", "part", *_CELL_NAMES), rows) + "\n\n" + meaning


_CELL_NAMES = (
    *("n", "tok/s/GPU", "mean", "bias", "within 25 %", "copied"),
    *("TPOT", "mean", "bias", "within 25 %", "copied"),
    *("n TTFT", "TTFT", "bias"),
)


def _cells(row: pd.Series, base: pd.Series | None) -> list[str]:
    """Cells of one line of a score table, in the order of `_CELL_NAMES`."""
    cells = [f"{row['runs']:,}"]
    for metric in METRICS[:2]:
        cells += [
            percent(row[f"{metric}_median"], digits=1),
            percent(row[f"{metric}_mean"]),
            percent(row[f"{metric}_bias"], signed=True),
            percent(row[f"{metric}_within"]),
            "" if base is None else percent(base[f"{metric}_median"]),
        ]
    return [
        *cells,
        f"{row['ttft_runs']:,}",
        percent(row["ttft_median"]),
        percent(row["ttft_bias"], signed=True),
    ]


def group_rows(predictions: pd.DataFrame, by: list[str]) -> str:
    """Errors of one scheme by group."""
    if predictions.empty:
        return "No run was left out."
    ordered = predictions.sort_values([*by, "split"], ascending=[True] * len(by) + [False])
    scores = score_table(ordered, by=[*by, "split"])
    copied = score_table(ordered, by=[*by, "split"], baseline=True)
    rows = [
        [*(str(row[name]) for name in (*by, "split")), *_cells(row, copied.iloc[position])]
        for position, (_, row) in enumerate(scores.iterrows())
    ]
    names = {
        "model": "model",
        "software": "engine",
        "pools": "pools",
        "sku": "SKU",
        "basis": "rests on",
    }
    header = [*(names[name] for name in by), "part", *_CELL_NAMES]
    return markdown_table(header, rows)


def frontier_rows(validation: Validation) -> str:
    """Errors of frontiers at equal tok/s/user."""
    rows = []
    for split in SPLITS:
        table = frontier_table(validation.predictions[validation.predictions["split"] == split])
        for scheme in ("series", "sku", "kernels", "specification"):
            found = table[table["scheme"] == scheme]
            for basis, group in found.groupby("basis"):
                rows.append(
                    [
                        scheme,
                        str(basis),
                        split,
                        str(len(group)),
                        percent(float(group["error"].median()), digits=1),
                        percent(float(group["error"].mean())),
                        percent(float((group["error"] >= 1.0).mean())),
                        percent(float(group["copied_error"].median())),
                    ]
                )
    header = ("left out", "rests on", "part", "frontiers", "error", "mean", "no overlap", "copied")
    return (
        "One frontier per model, SKU, engine, precision, speculation, disaggregation, lengths and "
        "source, both from the same runs; 21 equally spaced tok/s/user in the common range, "
        "log-linear; no overlap counts as 100 %.\n\n" + markdown_table(header, rows)
    )


def ranking_rows(validation: Validation) -> str:
    """Whether the better of two was named."""
    lines = []
    for split in SPLITS:
        skus = sku_agreement(validation.of("sku", split=split), validation.bands)
        layouts = layout_agreement(validation.of("series", split=split), validation.bands)
        for name, found in (("SKUs", skus), ("layouts", layouts)):
            if found.pairs:
                lines.append([name, split, *_agreement_cells(found)])
    header = ("pairs of", "part", "pairs", "named rightly", "bands apart", "of them rightly")
    return (
        "Throughput per GPU at equal concurrency, each side predicted without its SKU (at one "
        "layout, whatever the engines) or without its layout (one engine on one SKU).\n\n"
        + markdown_table(header, lines)
    )


def _agreement_cells(found: Agreement) -> list[str]:
    return [
        f"{found.pairs:,}",
        percent(found.share),
        f"{found.apart:,}",
        percent(found.share_apart),
    ]


def coverage_rows(validation: Validation) -> str:
    """Bands and their coverage."""
    rows = [
        [
            str(row["basis"]),
            _METRIC_NAMES[str(row["metric"])],
            f"{row['runs']:,}",
            f"{row['low']:.2f} to {row['high']:.2f}",
            percent(row["covered"]),
            percent(row["covered_by_others"]),
        ]
        for row in validation.coverage.to_dict("records")
    ]
    header = ("rests on", "figure", "n", "factor on the prediction", "covered", "by the others")
    return (
        "5 % and 95 % quantiles of measured over predicted among left-out runs, both parts "
        "together: *own runs* from layouts left out, *sibling* from SKUs left out, *other kernels* "
        "from SKUs without siblings, generations, vendors and engines left out, *nothing* from "
        "data sheets and kernel tables alone; widened until nine of ten lie in the quantiles of "
        "the other folds. A weaker basis never has the narrower band. *By the others*: each fold "
        "judged by the runs outside it.\n\n" + markdown_table(header, rows)
    )


def model_rows(errors: pd.DataFrame | None) -> str:
    """Errors of models that were not fitted; empty if there are none."""
    if errors is None or errors.empty:
        return ""
    rows = [
        [
            str(row["model"]),
            str(row["sku"]),
            f"{row['answered']:,} of {row['runs']:,}",
            *(percent(row[f"{metric}_error"]) for metric in METRICS),
            percent(row["throughput_bias"], signed=True),
        ]
        for row in errors.to_dict("records")
    ]
    header = ("model", "SKU", "answered", "tok/s/GPU", "TPOT", "TTFT", "bias tok/s/GPU")
    return "Predicted with the factors of this fit, which has seen none of their runs.\n\n" + (
        markdown_table(header, rows)
    )


def worst_rows(validation: Validation) -> str:
    """The worst series and why."""
    table = worst_series(validation.of("series"))
    rows = [
        [
            str(row["series"]),
            str(row["split"]),
            str(row["runs"]),
            percent(row["throughput"]),
            percent(row["throughput_bias"], signed=True),
            percent(row["tpot"]),
            percent(row["tpot_bias"], signed=True),
            percent(row["throughput_copied"]),
            str(row["why"]),
        ]
        for row in table.to_dict("records")
    ]
    header = ("series", "part", "n", "tok/s/GPU", "bias", "TPOT", "bias", "copied", "why")
    return "Whole layouts left out.\n\n" + markdown_table(header, rows)


def repeat_rows(repeats: pd.DataFrame) -> str:
    """How far repeated measurements of one configuration are apart.

    See `calibration.measured.repeats`.
    """
    rows = [
        (
            f"{row['first_day']} to {row['last_day']} days",
            f"{row['pairs']:,}",
            *(
                percent(row[figure], digits=1)
                for figure in ("total_tput_per_gpu", "median_tpot_s", "mean_ttft_s")
            ),
        )
        for row in repeats.to_dict("records")
    ]
    header = ("dated runs apart by", "pairs", "tok/s/GPU", "TPOT", "TTFT")
    return markdown_table(header, rows)


def suspect_rows(validation: Validation) -> str:
    """Runs that contradict themselves, their neighbours or physics, by reason."""
    found = validation.suspects
    if found.empty:
        return "No run is suspect."
    rows = [
        [
            str(reason),
            str(len(group)),
            "at half trust" if fitted else "no",
            "; ".join(sorted(group["series"].unique())[:3]),
        ]
        for (reason, fitted), group in found.groupby(["reason", "fitted"], sort=True)
    ]
    return (
        "Work and memory traffic are counted from below and set against the datasheet's peaks "
        "([checks](reference/measurements.md#checks-on-load)).\n\n"
        + markdown_table(("reason", "runs", "fitted", "such as"), rows)
    )


def unanswered_rows(validation: Validation) -> str:
    """Runs without a prediction by reason."""
    found = validation.unanswered
    if found.empty:
        return "Every run was answered."
    rows = [
        [str(reason), str(len(group)), "; ".join(sorted(group["series"].unique())[:3])]
        for reason, group in found.groupby("reason", sort=True)
    ]
    return f"{len(found)} runs; suspect ones are not counted.\n\n" + markdown_table(
        ("reason", "runs", "such as"), rows
    )
