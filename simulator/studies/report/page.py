"""A report as one HTML file: nothing is fetched, and only the page's own script may run."""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from importlib import resources
from typing import TYPE_CHECKING, Any

from simulator.output.note_text import grouped
from simulator.studies.curve.text import meaning_of
from simulator.studies.report.tables import (
    comparison_table,
    curves_table,
    differences_table,
    measured_table,
    point_tables,
    refusals_list,
    settings_table,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from simulator.studies.report.sources import Source

_SCRIPTS = ("curves.js", "chart.js", "controls.js")
_READING = (
    "Hollow markers and dashed curves are simulated, filled markers measured. Faint markers are "
    "dominated: another point of their curve is better on both axes.",
    "A curve is InferenceX's frontier, interpolated by Steffen's monotone cubic between its "
    "points and never extrapolated. It is formed anew from the points that the filters leave. "
    "Dollars and energy follow from the throughput at a speed; they are not interpolated "
    "themselves.",
    "Shaded is the 90 % band: measured over predicted of runs that were left out of the fit. It "
    "runs between the curves through the low and through the high corners of the points' bands, "
    "for a slower step lowers throughput and speed together. Without a band, predictions of the "
    "kind have not been compared with measurements.",
    "Throughput counts input and output tokens, over all GPUs of a deployment, unless it says "
    "output. Dollars of points are at the hyperscaler price and power is InferenceX's kW per "
    "chip, both of the dated economics file that the curve names; a comparison says what its "
    "dollars are over.",
)


def page(
    *,
    title: str,
    sources: Sequence[Source],
    points: pd.DataFrame,
    measured: pd.DataFrame,
    notes: Sequence[str],
    data: Mapping[str, Any],
    corner: str,
) -> str:
    """The HTML of a report; the same runs give the same bytes.

    Parameters
    ----------
    title:
        Heading of the page.
    sources:
        What it shows, with settings and remarks.
    points, measured:
        Rows of its tables, in the order of the chart's points.
    notes:
        Remarks about the report as a whole.
    data:
        What the script reads, see `simulator.studies.report.payload.payload`.
    corner:
        Who simulated it.
    """
    parts_of_script = "\n".join(_asset(name) for name in _SCRIPTS)
    script, style = f'"use strict";\n(() => {{\n{parts_of_script}}})();\n', _asset("page.css")
    policy = (
        f"default-src 'none'; base-uri 'none'; form-action 'none'; "
        f"script-src '{_digest(script)}'; style-src '{_digest(style)}'"
    )
    parts = [
        _section("", "", _captions(sources, corner=corner, title=title)),
        _chart(),
        _section("notes", "What to know", _notes(points, sources=sources, notes=notes)),
        _comparisons(sources),
        _section("curves", "Points of each curve", f'<p id="listing"></p>\n{point_tables(points)}'),
    ]
    if not measured.empty:
        rows = measured_table(measured, first_row=len(points))
        parts.append(_section("measured", "Measured runs", rows))
    refusals = refusals_list(sources)
    if refusals:
        parts.append(_section("refused", "What could not run", refusals))
    parts.append(
        _section("provenance", "Where the figures come from", _provenance(sources, points))
    )
    reading = "".join(f"<p>{escape(line)}</p>" for line in _READING)
    parts.append(_section("reading", "How to read it", reading))
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="generator" content="{escape(corner)}">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n{body}\n"
        f'<script type="application/json" id="report-data">{_json(data)}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def _asset(name: str) -> str:
    return resources.files("simulator.studies.report").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """What a content security policy calls the one inline script or style that it allows."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _json(data: Mapping[str, Any]) -> str:
    """JSON that cannot end the element that it stands in, whatever names it holds."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _section(name: str, heading: str, body: str) -> str:
    mark = f' id="{name}"' if name else ""
    head = f"<h2>{escape(heading)}</h2>\n" if heading else ""
    return f"<section{mark}>\n{head}{body}\n</section>"


def _captions(sources: Sequence[Source], *, corner: str, title: str) -> str:
    lines = [f'<p class="badge">{escape(corner)}</p>', f"<h1>{escape(title)}</h1>"]
    for source in sources:
        name = f"{source.name}: " if len(sources) > 1 else ""
        lines.append(f'<p class="caption">{escape(name + source.caption)}</p>')
    return "\n".join(lines)


def _chart() -> str:
    return (
        '<section id="chart" hidden>\n<div id="controls"></div>\n<div id="filters"></div>\n'
        '<div id="plot"><div id="tip" role="status" hidden></div></div>\n'
        '<div id="legend"></div>\n</section>\n'
        '<noscript><p class="small">The chart needs JavaScript; the tables below hold all '
        "points.</p></noscript>"
    )


def _comparisons(sources: Sequence[Source]) -> str:
    tables = [
        f"<h3>{escape(source.name)}</h3>\n{comparison_table(source)}"
        for source in sources
        if source.comparison is not None
    ]
    return _section("comparison", "At equal speed", "\n".join(tables)) if tables else ""


def _notes(points: pd.DataFrame, *, sources: Sequence[Source], notes: Sequence[str]) -> str:
    kinds = sorted(points["kind"].unique())
    lines = [f"prediction: {', '.join(kinds)}; {meaning_of(kinds)}", *notes]
    for source in sources:
        name = f"{source.name}: " if len(sources) > 1 else ""
        lines += [f"{name}{message}" for message in grouped(source.messages)]
    items = "\n".join(f"<li>{escape(line)}</li>" for line in dict.fromkeys(lines))
    return f"<ul>\n{items}\n</ul>"


def _provenance(sources: Sequence[Source], points: pd.DataFrame) -> str:
    parts = [f'<div class="settings">{curves_table(points)}</div>']
    differences = differences_table(sources)
    if differences:
        parts.append(f'<h3>Settings that differ</h3>\n<div class="settings">{differences}</div>')
    for source in sources:
        rows = settings_table(source.settings)
        parts.append(
            f"<details><summary>{escape(source.name)}: {len(source.settings)} settings and their "
            f'origins, {escape(source.generator)}</summary>\n<div class="settings">{rows}</div>'
            "</details>"
        )
    return "\n".join(parts)
