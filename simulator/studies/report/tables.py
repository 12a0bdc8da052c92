"""The tables of a report as HTML: points, measured runs, comparisons, refusals, settings."""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Any

from simulator.output.columns import columns
from simulator.output.text_tables import interval, number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import pandas as pd

    from simulator.studies.report.sources import Source

    Cell = Callable[[Mapping[Any, Any]], str]


def _figure(name: str) -> Cell:
    return lambda row: number(row[name])


def _figure_if(name: str, factor: float = 1.0) -> Cell:
    return lambda row: number(factor * row[name]) if row.get(name) is not None else ""


def _band(name: str) -> Cell:
    return lambda row: interval(row[f"{name}_lo"], row[f"{name}_hi"])


def _text(name: str) -> Cell:
    return lambda row: "" if row.get(name) is None or row[name] != row[name] else str(row[name])


def _whole(name: str) -> Cell:
    return lambda row: f"{row[name]:,.0f}" if row[name] == row[name] else ""


def _title(name: str) -> str:
    return columns()[name].title


POINT_COLUMNS: tuple[tuple[str, Cell], ...] = (
    (_title("label"), _text("label")),
    ("engine", _text("how")),
    (_title("concurrency"), _whole("concurrency")),
    (_title("gpus"), _whole("gpus")),
    (_title("interactivity"), _figure("interactivity")),
    ("90 % band", _band("interactivity")),
    (_title("total_tput_per_gpu"), _figure("total_tput_per_gpu")),
    ("90 % band", _band("total_tput_per_gpu")),
    (_title("median_ttft_s"), _figure("median_ttft_s")),
    (_title("p90_ttft_s"), _figure("p90_ttft_s")),
    (_title("p99_ttft_s"), _figure("p99_ttft_s")),
    (_title("usd_per_million_tokens"), _figure("usd_per_million_tokens")),
    (_title("usd_per_million_output_tokens"), _figure("usd_per_million_output_tokens")),
    (_title("tokens_per_s_per_mw"), _figure("tokens_per_s_per_mw")),
    (_title("joules_per_token"), _figure("joules_per_token")),
    ("P90 interactivity", _figure_if("interactivity_p90")),
    ("E2E P90", _figure_if("e2e_norm_p90")),
    ("hit, device %", _figure_if("hit_device", 100.0)),
    ("hit, host %", _figure_if("hit_host", 100.0)),
    ("pool fills at [sessions]", _figure_if("sessions_device")),
    ("with host [sessions]", _figure_if("sessions_host")),
    (_title("bottleneck"), _text("bottleneck")),
    (_title("kind"), _text("kind")),
)
MEASURED_COLUMNS: tuple[tuple[str, Cell], ...] = (
    (_title("label"), _text("label")),
    (_title("concurrency"), _whole("concurrency")),
    (_title("gpus"), _whole("gpus")),
    (_title("interactivity"), _figure("interactivity")),
    (_title("total_tput_per_gpu"), _figure("total_tput_per_gpu")),
    (_title("median_ttft_s"), _figure("median_ttft_s")),
    ("chip", _text("sku")),
    ("engine", _text("engine")),
    ("precision", _text("precision")),
    ("speculation", _text("speculation")),
    ("date", _text("date")),
    ("quality", _text("quality")),
    ("source", _text("source")),
)
_MOST_OPEN = 8
_LEFT = {
    *("layout", "kind", "chip", "engine", "precision", "speculation", "date"),
    *("quality", "source", "curve", "system", "runs on either side", "binds"),
}


def table(
    headers: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    ids: Sequence[str] = (),
    faint: Sequence[bool] = (),
    text: bool = False,
) -> str:
    """A table that scrolls sideways where it is wider than the page; every cell is escaped.

    Parameters
    ----------
    headers:
        Columns; one whose cells are all blank is left out.
    rows:
        Cells of each row.
    ids, faint:
        Identifier of each row, and whether it is faint.
    text:
        Whether every column is text; else its header tells.
    """
    body = [list(row) for row in rows]
    shown = [at for at in range(len(headers)) if any(row[at] for row in body)]
    kinds = [' class="text"' if text or headers[at].strip() in _LEFT else "" for at in shown]
    head = "".join(
        f'<th scope="col"{kind}>{escape(headers[at].strip())}</th>'
        for at, kind in zip(shown, kinds, strict=True)
    )
    lines = []
    for position, row in enumerate(body):
        mark = f' id="{ids[position]}"' if ids else ""
        mark += ' class="dominated"' if faint and faint[position] else ""
        cells = "".join(
            f"<td{kind}>{escape(row[at])}</td>" for at, kind in zip(shown, kinds, strict=True)
        )
        lines.append(f"<tr{mark}>{cells}</tr>")
    return (
        '<div class="scroll"><table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(lines) + "\n</tbody></table></div>"
    )


def _with_engines(rows: pd.DataFrame) -> pd.DataFrame:
    """Points with the engine and speculation of each, where a curve has several; else blank."""
    if "engine" not in rows or "spec" not in rows:
        return rows.assign(how="")
    drafts = rows["spec"].where(rows["spec"] != "none", "").astype(str)
    how = (rows["engine"].astype(str) + " " + drafts).str.strip()
    return rows.assign(how=how if how.nunique() > 1 else "")


def point_tables(points: pd.DataFrame) -> str:
    """The points of each curve by ascending speed, dominated ones faint."""
    parts = []
    headers = [header for header, _ in POINT_COLUMNS]
    for position, (name, rows) in enumerate(points.groupby("series", sort=False)):
        ordered = _with_engines(rows.sort_values("interactivity"))
        best = ordered["on_frontier"].tolist()
        cells = [[cell(row) for _, cell in POINT_COLUMNS] for row in ordered.to_dict("records")]
        body = table(
            headers,
            cells,
            ids=[f"row-{index}" for index in ordered.index],
            faint=[not each for each in best],
        )
        parts.append(
            f'<section class="curve" data-series="{position}"><h3>{escape(str(name))}</h3>\n'
            f'<p class="count">{sum(best)} frontier points of {len(best)} simulated</p>\n'
            f"{body}</section>"
        )
    return "\n".join(parts)


def measured_table(measured: pd.DataFrame, *, first_row: int) -> str:
    """Measured runs, by the curve that each is drawn with."""
    headers = ["curve", *(header for header, _ in MEASURED_COLUMNS)]
    rows = measured.to_dict("records")
    return table(
        headers,
        [[str(row["series"]), *(cell(row) for _, cell in MEASURED_COLUMNS)] for row in rows],
        ids=[f"row-{first_row + position}" for position in range(len(rows))],
    )


def comparison_table(source: Source) -> str:
    """What a comparison came to at each speed per user."""
    from simulator.studies.compare.text import comparison_cells

    if source.comparison is None:
        return ""
    names, rows = comparison_cells(source.comparison, reference=source.reference)
    headers = [_title(name) for name in names]
    remarks = "".join(f"<li>{escape(remark)}</li>" for remark in source.remarks)
    return table(headers, [cells for _, cells in rows]) + (f"<ul>{remarks}</ul>" if remarks else "")


def curves_table(points: pd.DataFrame) -> str:
    """What each curve is of: the settings that a reader asks for first."""
    names = ("model", "lengths", "precision", "sku", "engine", "level", "recipe", "kind")
    headers = ["curve", *names, "serving", "speculation", "economics", "run"]
    cells = []
    for name, rows in points.groupby("series", sort=False):
        serving = ["disaggregated" if flag else "aggregated" for flag in rows["disagg"]]
        columns = [_all_of(rows[column]) if column in rows else "" for column in names]
        others = [_all_of(serving), *(_all_of(rows[each]) for each in ("spec", "economics"))]
        cells.append([str(name), *columns, *others, _all_of(rows["source"])])
    headers[headers.index("sku")] = "chip"
    return table(headers, cells, text=True)


def _all_of(values: Iterable[Any]) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values if value == value))


def refusals_list(sources: Sequence[Source]) -> str:
    """What could not run and why, layouts of one reason together; empty if everything ran.

    A layout that was refused at several loads is told once, with its first reason.
    """
    reasons: dict[tuple[str, str], str] = {}
    for source in sources:
        for each in source.refused:
            owner = str(each.get("series") or source.name)
            reasons.setdefault((owner, str(each["label"])), str(each["reason"]))
    layouts: dict[tuple[str, str], list[str]] = {}
    for (owner, label), reason in reasons.items():
        layouts.setdefault((owner, reason), []).append(label)
    items = []
    for (owner, reason), labels in layouts.items():
        first, *details = reason.splitlines() or [""]
        head = f"<b>{escape(owner)}: {escape(', '.join(labels))}</b> {escape(first)}"
        if details:
            rest = escape("\n".join(details))
            head = f"<details><summary>{head}</summary><pre>{rest}</pre></details>"
        items.append(f"<li>{head}</li>")
    listed = "<ul>\n" + "\n".join(items) + "\n</ul>"
    if len(items) > _MOST_OPEN:
        return f"<details><summary>{len(reasons)} layouts</summary>\n{listed}</details>"
    return listed if items else ""


def settings_table(settings: Mapping[str, Mapping[str, Any]]) -> str:
    """Every setting with its value and where it came from."""
    return table(
        ["setting", "value", "origin"],
        [
            [name, value_text(entry["value"]), str(entry["origin"])]
            for name, entry in settings.items()
        ],
        text=True,
    )


def differences_table(sources: Sequence[Source]) -> str:
    """Settings in which runs, or the systems of a comparison, differ; empty if none does."""
    columns = {
        name: {setting: value_text(entry["value"]) for setting, entry in settings.items()}
        for source in sources
        for name, settings in _systems(source).items()
    }
    rows = []
    for setting in dict.fromkeys(name for values in columns.values() for name in values):
        told = [values[setting] for values in columns.values() if setting in values]
        if len(set(told)) > 1:
            rows.append([setting, *(values.get(setting, "") for values in columns.values())])
    return table(["setting", *columns], rows, text=True) if rows else ""


def _systems(source: Source) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Settings by what they are of: a comparison has some for each system."""
    if source.comparison is None:
        return {source.name: dict(source.settings)}
    parts: dict[str, dict[str, Mapping[str, Any]]] = {}
    for name, entry in source.settings.items():
        system, _, setting = name.rpartition(".")
        parts.setdefault(f"{source.name}: {system}", {})[setting] = entry
    return parts


def value_text(value: Any) -> str:
    """A setting's value as YAML would show it on one line; blank if it is not set."""
    if value is None or value == {}:
        return "not set"
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, default=str, ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else str(value)
