"""What ``simulate list`` and ``simulate show`` print."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from simulator.output.text_tables import console, number, records_of, table_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

_NOTE_WIDTH = 110
# Column in SI units: heading and factor for reading.
_DISPLAY = {
    "flops_fp4": ("FP4 PFLOP/s", 1e-15),
    "flops_fp8": ("FP8 PFLOP/s", 1e-15),
    "hbm_usable_bytes": ("usable GB", 1e-9),
    "hbm_bytes_per_s": ("HBM TB/s", 1e-12),
    "scaleup_bytes_per_s": ("scale-up GB/s", 1e-9),
    "inferencex_kw": ("kW", 1.0),
    "hyperscaler_usd_per_h": ("$/h", 1.0),
    "parameters_total": ("parameters B", 1e-9),
    "parameters_active": ("active B", 1e-9),
    "checkpoint_bytes": ("checkpoint GB", 1e-9),
}
_COUNTS = {
    "scaleup_world": "domain",
    "node_gpus": "node",
    "layers": "layers",
    "context_tokens": "context",
    "layouts": "layouts",
    "settings": "settings",
    "runs": "runs",
}
_FOOTNOTES = {
    "skus": "peak rates are dense; links per direction and chip; domain and node in chips; "
    "prices and kW of economics {economics}; details: simulate show sku NAME",
    "models": "details: simulate show model NAME",
    "engines": "details: simulate show engine NAME",
    "recipes": "details: simulate show recipe NAME",
    "economics": "details: simulate show economics NAME",
}
# Columns that are too long for a table; CSV and JSON have them.
_LEFT_OUT = {"skus": ("economics",), "models": ("aliases",), "economics": ("note",)}


def print_list(what: str, frame: pd.DataFrame) -> None:
    """Print a list of the catalogue, figures in the units of data sheets."""
    rows = records_of(frame)
    names = [name for name in frame.columns if name not in _LEFT_OUT.get(what, ())]
    headings = {
        name: _DISPLAY[name][0] if name in _DISPLAY else _COUNTS.get(name, name) for name in names
    }
    numeric = {headings[name] for name in names if name in _DISPLAY or name in _COUNTS}
    table = table_of(
        title="",
        headers=list(headings.values()),
        left=[heading for heading in headings.values() if heading not in numeric],
    )
    for row in rows:
        table.add_row(*(_cell(name, row[name]) for name in names))
    out = console()
    out.print(table)
    if what in _FOOTNOTES:
        economics = rows[0].get("economics", "") if rows else ""
        out.print("\n" + _FOOTNOTES[what].format(economics=economics), soft_wrap=True)


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name in _DISPLAY:
        return number(value * _DISPLAY[name][1])
    if name in _COUNTS:
        return f"{value:,.0f}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def print_sheet(what: str, sheet: dict[str, Any]) -> None:
    """Print one thing of the catalogue in full."""
    _PRINTERS[what](sheet)


class _Sources:
    """Numbers sources in the order in which they are cited."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def cite(self, source: str) -> str:
        return f"[{self.numbers.setdefault(source, len(self.numbers) + 1)}]" if source else ""

    def lines(self) -> list[str]:
        return ["sources:", *(f"  [{n}] {source}" for source, n in self.numbers.items())]


def _print_sku(sheet: dict[str, Any]) -> None:
    out = console()
    out.print(f"{sheet['name']} ({sheet['sku']}), {sheet['vendor']}, {sheet['generation']}")
    since = sheet["shipping_since"] or f"announced {sheet['announced']}"
    if sheet["expected"]:
        since += f", expected {sheet['expected']}"
    related = ", ".join(sheet["related_skus"]) or "none"
    out.print(
        f"{sheet['status']}, {since}; scale-up {sheet['scaleup_topology']}; related SKUs: {related}"
    )
    if sheet["note"]:
        out.print(sheet["note"], soft_wrap=True)
    out.print()
    sources = _Sources()
    out.print(_figure_table(sheet["figures"], sources=sources))
    if sheet["unknown"]:
        out.print(f"\nnot published: {', '.join(sheet['unknown'])}", soft_wrap=True)
    out.print(f"\nlaunch floors: {sheet['floors']}", soft_wrap=True)
    out.print(sheet["floors_by_date"], soft_wrap=True)
    out.print("\ncost and power of one chip, by dated file:" if sheet["economics"] else "")
    if sheet["economics"]:
        out.print(_figure_table(sheet["economics"], sources=sources, first="economics"))
    else:
        out.print("no cost or power is known in any dated file")
    out.print("\n" + "\n".join(sources.lines()), soft_wrap=True)


def _figure_table(
    figures: Sequence[dict[str, Any]], *, sources: _Sources, first: str | None = None
) -> Any:
    headers = [*([first] if first else []), "figure", "value", "unit", "kind", "range", "", "note"]
    table = table_of(title="", headers=headers, left=[h for h in headers if h != "value"])
    for one in figures:
        note = textwrap.wrap(one["note"], _NOTE_WIDTH) or [""]
        lead = [str(one[first])] if first else []
        table.add_row(
            *lead,
            one["name"],
            f"{one['value']:g}",
            one["unit"],
            one["kind"],
            _range(one["low"], one["high"]),
            sources.cite(one["source"]),
            note[0],
        )
        for line in note[1:]:
            table.add_row(*([""] * (len(headers) - 1)), line)
    return table


def _range(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    if low is not None:
        return f"from {low:g}"
    return f"to {high:g}" if high is not None else ""


def _print_model(sheet: dict[str, Any]) -> None:
    from simulator.output.model_text import model_text

    out = console()
    out.print(model_text(sheet["figures"]))
    out.print(f"\nfamily {sheet['family']}; also called {', '.join(sheet['aliases'])}\n")
    for name, value in sheet["config"].items():
        shown = (
            ", ".join(f"{k}: {v}" for k, v in value.items()) if isinstance(value, dict) else value
        )
        out.print(f"{name:<28}{shown}", soft_wrap=True)
    if sheet["note"]:
        out.print(f"\ncounted: {sheet['note']}", soft_wrap=True)
    for release in sheet["releases"]:
        paths = (
            f"experts {release['expert_path']}, other projections {release['dense_path']}, "
            f"shared expert and dense layers "
            f"{release['feed_forward_path'] or release['dense_path']}, "
            f"KV cache {release['kv_storage'] or 'as the engine has it'}; "
            f"{release['checkpoint_bytes'] / 1e9:,.1f} GB"
        )
        more = "; ".join(filter(None, (release["source"], release["note"])))
        out.print(f"\n--precision {release['label']}: {paths}\n  {more}", soft_wrap=True)


def _print_engine(sheet: dict[str, Any]) -> None:
    out = console()
    parts = [f"scheduler {sheet['scheduler']}", f"kernels {sheet['kernels']}"]
    parts.append(
        f"orchestrator {sheet['orchestrator']}" if sheet["orchestrator"] else "bare server"
    )
    out.print(f"{sheet['engine']}: {', '.join(parts)}")
    out.print(f"recipes: {', '.join(sheet['recipes']) or 'none'}\n", soft_wrap=True)
    out.print(f"scheduling rules of {sheet['rules_of']}:")
    for rule in sheet["rules"]:
        sets = ", ".join(f"{name} {value}" for name, value in rule["settings"].items())
        since = f" (from {rule['first']})" if rule["first"] else ""
        out.print(
            f"  {rule['rule']}{since}: {rule['form']}{f' [{sets}]' if sets else ''}",
            soft_wrap=True,
            markup=False,
            highlight=False,
        )
    out.print("outside the engine, where no flag says otherwise:")
    for name, time in sheet["host_times"].items():
        shown = ", ".join(f"{time[key]:g}" for key in ("low", "high"))
        out.print(
            f"  {name} {time['value']:g} {time['unit']} ({time['kind']}, range {shown}; "
            f"{time['source']})",
            soft_wrap=True,
            markup=False,
            highlight=False,
        )
    out.print("")
    levels = sheet["levels"]
    names = list(dict.fromkeys(name for level in levels for name in level["parameters"]))
    headers = ["sku", "level", "kind", "basis", *names, "plan that differs"]
    table = table_of(title="", headers=headers, left=("sku", "level", "kind", "basis", headers[-1]))
    usual = levels[-1]["plan"]
    for level in levels:
        own = {name: value for name, value in level["plan"].items() if value != usual[name]}
        table.add_row(
            level["sku"],
            level["level"],
            level["kind"],
            level["basis"],
            *(_parameter(level["parameters"].get(name)) for name in names),
            ", ".join(f"{name} {value}" for name, value in own.items()),
        )
    out.print(table)
    plan = ", ".join(f"{name} {value}" for name, value in usual.items())
    lines = ["", f"plan, where nothing differs: {plan}", "", "parameters:"]
    lines += [f"  {name}: {sheet['parameters'][name]}" for name in names]
    sources = {
        f"  {name}: {one['source']}"
        for level in levels
        for name, one in level["parameters"].items()
    }
    lines += ["where they come from:", *sorted(sources)]
    out.print("\n".join(lines), soft_wrap=True)


def _parameter(one: dict[str, Any] | None) -> str:
    return "" if one is None else f"{one['value']:.4g}"


def _print_recipe(sheet: dict[str, Any]) -> None:
    out = console()
    out.print(
        f"{sheet['recipe']}: {', '.join(sheet['engines'])} on {', '.join(sheet['skus']) or 'any'}, "
        f"{', '.join(sheet['models']) or 'any model'}"
    )
    if sheet["stands_in_for"]:
        out.print(f"stands in for {', '.join(sheet['stands_in_for'])}")
    for level in sheet["levels"]:
        dated = f"{level['date']} ({level['date_kind']})" if level["date"] else level["date_kind"]
        lines = ["", f"level {level['name']}, {dated}"]
        lines += [f"  extends {level['extends']}"] if level["extends"] else []
        lines += [f"  assumed: {level['assumed']}"] if level["assumed"] else []
        lines.append(f"  source: {level['source']}")
        for offer in level["layouts"]:
            runs = ", ".join(str(c) for c in offer["concurrency"])
            lines.append(f"  ran {offer['layout']} at concurrency {runs}{_when(offer['when'])}")
        for cell in level["cells"]:
            lines.append(f"  {cell['kind']}{_when(cell['when'])}:")
            for part in ("settings", "plan", "unknown"):
                lines += [f"    {part} {name} = {v}" for name, v in cell[part].items()]
            if cell["speculation"]:
                given = {k: v for k, v in cell["speculation"].items() if v is not None}
                lines.append("    speculation " + ", ".join(f"{k} {v}" for k, v in given.items()))
            lines += [f"    source: {cell['source']}"] if cell["source"] else []
            lines += [f"    note: {cell['note']}"] if cell["note"] else []
        out.print("\n".join(lines), soft_wrap=True)


def _when(conditions: dict[str, Any]) -> str:
    if not conditions:
        return ""
    return " when " + ", ".join(f"{name} {_condition(c)}" for name, c in conditions.items())


def _condition(condition: Any) -> str:
    if isinstance(condition, dict):
        low, high = condition.get("min"), condition.get("max")
        ends = [f"at least {low:g}"] if low is not None else []
        ends += [f"at most {high:g}"] if high is not None else []
        return " and ".join(ends)
    if isinstance(condition, list):
        return " or ".join(str(each) for each in condition)
    return str(condition)


def _print_economics(sheet: dict[str, Any]) -> None:
    out = console()
    out.print(f"economics {sheet['economics']}, in force from {sheet['effective_from']}")
    out.print(sheet["note"] + "\n", soft_wrap=True)
    sources = _Sources()
    out.print(_figure_table(sheet["figures"], sources=sources, first="sku"))
    out.print("\n" + "\n".join(sources.lines()), soft_wrap=True)


_PRINTERS: dict[str, Callable[[dict[str, Any]], None]] = {
    "sku": _print_sku,
    "model": _print_model,
    "engine": _print_engine,
    "recipe": _print_recipe,
    "economics": _print_economics,
}
