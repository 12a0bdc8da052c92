"""What a report is made of: the points, settings and remarks of runs, from disk or from memory."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from simulator.output.csv_table import numbers_of
from simulator.studies.agentx.result import AgentxResult
from simulator.studies.compare.run import ComparisonResult
from simulator.studies.curve.api import Curve
from simulator.studies.report.agents import is_of_agents, points_of_agents
from simulator.studies.report.summary import read_summary
from simulator.studies.series import known_sku
from simulator.studies.sweep.run import SweepResult
from simulator.studies.timeline.run import TimelineResult
from workloads.datafiles import read_csv
from workloads.errors import UserError, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Reportable: TypeAlias = (
    "Path | str | Curve | SweepResult | ComparisonResult | TimelineResult | AgentxResult"
)
"""What a report can show: a directory of a run, or the result of a function."""

WRITERS = "simulate, simulate agentx, sweep, compare and timeline"
_NEEDED = (
    "label",
    "concurrency",
    "gpus",
    "interactivity",
    "total_tput_per_gpu",
    "input_tput_per_gpu",
    "output_tput_per_gpu",
    "median_ttft_s",
    "p90_ttft_s",
    "p99_ttft_s",
    "median_e2el_s",
    "on_frontier",
    "bottleneck",
    "kind",
)
_TEXTS = ("label", "bottleneck", "kind")
_MAY_LACK = ("on_frontier", "median_ttft_s", "p90_ttft_s", "p99_ttft_s", "median_e2el_s")
_BANDS = tuple(
    f"{name}_{end}"
    for name in ("total_tput_per_gpu", "median_tpot_s", "median_ttft_s")
    for end in ("lo", "hi")
)
_COSTS = ("usd_per_million_tokens", "tokens_per_s_per_mw")


@dataclass(frozen=True, kw_only=True)
class Source:
    """One run that a report shows.

    Parameters
    ----------
    name:
        Its directory, or what kind of result it is.
    caption:
        What was run, in one line.
    generator:
        Program and version that simulated it.
    points:
        One row a simulated point with ``series``, ``sku``, ``engine``, ``level``, ``model``,
        ``precision``, ``spec``, ``isl``, ``osl``, ``disagg``, ``economics`` and ``meets_limits``.
        SI units.
    settings:
        Every setting with its value and origin.
    messages:
        What was assumed.
    refused:
        What could not run: ``label`` and ``reason``.
    comparison:
        The table of a comparison, see `simulator.studies.compare.run.ComparisonResult.frame`.
    reference:
        The system that a comparison's ratios are over.
    remarks:
        How to read a comparison: crossings, overlapping bands, what dollars are over.
    """

    name: str
    caption: str
    generator: str
    points: pd.DataFrame
    settings: Mapping[str, Mapping[str, Any]]
    messages: tuple[str, ...]
    refused: tuple[Mapping[str, Any], ...]
    comparison: pd.DataFrame | None = None
    reference: str = ""
    remarks: tuple[str, ...] = ()


def told_apart(sources: Sequence[Source]) -> list[Source]:
    """Sources whose names differ, and whose curves of one name carry that of their source."""
    names = Counter(source.name for source in sources)
    seen: Counter[str] = Counter()
    numbered = []
    for source in sources:
        seen[source.name] += 1
        number = f" {seen[source.name]}" if names[source.name] > 1 else ""
        numbered.append(replace(source, name=f"{source.name}{number}"))
    owners = Counter(name for source in numbered for name in source.points["series"].unique())
    return [
        replace(
            source,
            points=source.points.assign(
                source=source.name,
                series=[
                    f"{name}, {source.name}" if owners[name] > 1 else name
                    for name in source.points["series"]
                ],
            ),
        )
        for source in numbered
    ]


def source_of(run: Reportable) -> Source:
    """One run as a source.

    Raises
    ------
    UserError
        If it is a directory that cannot be read, or something without points.
    """
    if isinstance(run, Path | str):
        return _of_directory(Path(run))
    if isinstance(run, Curve):
        from simulator.studies.curve.files import summary_of as summary_of_curve

        return _source("curve", points=run.frame(), summary=summary_of_curve(run.result))
    if isinstance(run, SweepResult):
        from simulator.studies.sweep.text import summary_of as summary_of_sweep

        return _source("sweep", points=run.frame(), summary=summary_of_sweep(run))
    if isinstance(run, TimelineResult):
        return replace(source_of(run.swept), name="timeline")
    if isinstance(run, AgentxResult):
        points = points_of_agents(run.frame())
        return _source("agents", points=points, summary=run.summary())
    if isinstance(run, ComparisonResult):
        from simulator.studies.compare.text import summary_of as summary_of_comparison

        return _source(
            "comparison",
            points=run.runs(),
            summary=summary_of_comparison(run),
            comparison=run.frame(),
        )
    raise UserError(
        f"a {type(run).__name__} has no Pareto points; give a curve, a sweep, a comparison, a "
        "timeline or the directory of one"
    )


def _of_directory(path: Path) -> Source:
    if not path.is_dir():
        problem = "is no directory" if path.exists() else "does not exist"
        measured = "; measured runs go with --overlay" * path.is_file()
        raise UserError(f"{path} {problem}; name a directory that {WRITERS} wrote{measured}")
    summary_file, comparison_file = path / "summary.json", path / "comparison.csv"
    points_file = next(
        (file for name in ("points.parquet", "points.csv") if (file := path / name).exists()), None
    )
    if points_file is None or not summary_file.exists():
        missing = "summary.json" if points_file else "points.parquet or points.csv"
        raise UserError(
            f"{path} has no {missing}; a report is made of directories that {WRITERS} wrote"
        )
    summary = read_summary(summary_file)
    table = _read_table(points_file)
    if is_of_agents(table):
        table = points_of_agents(table)
    points = _checked_points(table, file=points_file)
    comparison = _comparison_of(comparison_file)
    try:
        return _source(str(path), points=points, summary=summary, comparison=comparison)
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        first, *_ = str(error).splitlines() or [type(error).__name__]
        raise UserError(
            f"{path} is not what {WRITERS} of this version write: {first} is missing in "
            f"{summary_file.name} or {points_file.name}; run the command again"
        ) from None


def _read_table(file: Path) -> pd.DataFrame:
    """A table of points, whole or not at all.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    try:
        if file.suffix == ".parquet":
            return pd.read_parquet(file)
        header, lines = read_csv(file)
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(header)
        writer.writerows(line.cells.values() for line in lines)
        text.seek(0)
        return pd.read_csv(text, keep_default_na=False, na_values=[""], low_memory=False)
    except UserError:
        raise
    except Exception as error:  # whatever pyarrow and pandas raise on a damaged file
        first, *_ = str(error).splitlines() or [type(error).__name__]
        raise UserError(f"cannot read {file}: {first[:200]}; run the command again") from None


def _checked_points(points: pd.DataFrame, *, file: Path) -> pd.DataFrame:
    """Points whose columns hold numbers, truth values and texts where they must.

    Raises
    ------
    UserError
        If one does not.
    """
    for name in _NEEDED:
        if name not in points:
            raise UserError(
                f"{file} is not what {WRITERS} of this version write: column {name} is missing; "
                "run the command again"
            )
    for name in map(str, points.columns):
        column = points[name]
        if name in _TEXTS:
            points[name] = column.fillna("").astype(str)
        elif name in (*_NEEDED, *_BANDS, *_COSTS, "isl", "osl"):
            numbers = numbers_of(column)
            wrong = numbers.isna() & column.notna()
            if name in _NEEDED and name not in _MAY_LACK:
                wrong = ~numbers.astype(float).map(math.isfinite)
            if wrong.any():
                row = int(np.flatnonzero(wrong.to_numpy())[0])
                raise UserError(
                    f"{file}: {name} of point {row + 1} is {shown(column.iloc[row])}, "
                    "not a number; run the command again"
                )
            points[name] = numbers
    points["on_frontier"] = points["on_frontier"].astype(bool)
    return points


def _comparison_of(file: Path) -> pd.DataFrame | None:
    if not file.exists():
        return None
    texts = ("system", "between", "bottleneck", "kind")
    table = _read_table(file)
    for name in texts:
        if name in table:
            table[name] = table[name].astype("string").astype(object).where(table[name].notna())
    return table.fillna(dict.fromkeys(texts, ""))


def _source(
    name: str,
    *,
    points: pd.DataFrame,
    summary: Mapping[str, Any],
    comparison: pd.DataFrame | None = None,
) -> Source:
    settings = summary["settings"]
    for column in _NEEDED:
        if column not in points:
            raise KeyError(column)
    if "series" not in points:
        points = _with_identity(points, settings=settings)
    if points.empty:
        raise UserError(f"{name} holds no point that could run; see its refused layouts")
    return Source(
        name=name,
        caption=str(summary["caption"]),
        generator=str(summary["generator"]),
        points=_with_figures(points),
        settings=settings,
        messages=tuple(map(str, summary["messages"])),
        refused=tuple(summary["refused"]),
        comparison=comparison,
        reference=str(summary.get("reference", "")),
        remarks=tuple(map(str, summary.get("remarks", ()))),
    )


def _with_identity(points: pd.DataFrame, *, settings: Mapping[str, Any]) -> pd.DataFrame:
    """Points of one curve, whose settings stand beside them, in the columns of a sweep."""
    names = ("sku", "model", "precision", "spec", "isl", "osl", "economics")
    told = {name: settings[name]["value"] for name in names}
    level = str(settings.get("level", settings["engine"])["value"])
    sku = known_sku(str(told["sku"]))
    title = str(told["sku"]) if sku is None else sku.name
    return points.assign(
        **told,
        engine=level.partition("@")[0],
        level=level,
        disagg=False,
        meets_limits=True,
        series=f"{title} ({level})",
    )


def _with_figures(points: pd.DataFrame) -> pd.DataFrame:
    """Bands and costs that are not known as blanks, and what follows from those that are."""
    blank = dict.fromkeys(name for name in (*_BANDS, *_COSTS) if name not in points)
    points = points.assign(**dict.fromkeys(blank, np.nan))
    points = points.astype(dict.fromkeys((*_BANDS, *_COSTS), float))
    usd = points["usd_per_million_tokens"] * points["total_tput_per_gpu"]
    return points.assign(
        usd_per_million_output_tokens=usd / points["output_tput_per_gpu"],
        joules_per_token=1e6 / points["tokens_per_s_per_mw"],
        interactivity_lo=1.0 / points["median_tpot_s_hi"],
        interactivity_hi=1.0 / points["median_tpot_s_lo"],
        lengths=points["lengths"]
        if "lengths" in points
        else points["isl"].astype(str) + "/" + points["osl"].astype(str),
        speculation=[str(spec).partition(":")[0] for spec in points["spec"]],
        layout=[layout_kind(label) for label in points["label"]],
    )


def layout_kind(label: str) -> str:
    """What kind of layout a label names: ``DEP`` of ``DEP8``, or ``disaggregated``."""
    match = re.match(r"(?:\d+x)?([A-Z]+)\d", label)
    return "disaggregated" if "+" in label else match[1] if match else label
