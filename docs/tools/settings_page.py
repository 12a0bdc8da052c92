"""Write docs/reference/settings.md: ``python docs/tools/settings_page.py``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import simulator.cli.main  # noqa: F401 - the commands say which flags they take
from hwmodels.sku import Sku, figure_fields, informative_fields
from simulator.cli.flags import SETTINGS_OF
from simulator.engines.registry import ENGINES
from simulator.engines.settings import INFORMATIVE
from simulator.scenario.declared import PAIR, POOLS, SCENARIO
from simulator.scenario.declared_limits import LIMITS
from simulator.studies.agentx.declared import AGENTX
from simulator.studies.load.declared import LOAD
from simulator.studies.plan.declared import PLAN
from simulator.studies.search.declared import SEARCH
from simulator.studies.sensitivity.declared import SENSITIVITY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from simulator.scenario.declared import Setting

PAGE = Path(__file__).parents[1] / "reference" / "settings.md"
HEADER = (
    "# Settings\n\nWritten by `python docs/tools/settings_page.py` from the declarations in "
    "`simulator/scenario/declared*.py`, `simulator/studies/*/declared.py`, `simulator/engines/` "
    "and `hwmodels/sku.py`. A setting is a flag of a command, a key of a `--scenario` file and a "
    "keyword argument of the Python function, all of one name; flags have dashes for "
    "underscores.\n"
)
TABLES: tuple[tuple[str, Mapping[str, Setting]], ...] = (
    ("Scenario", SCENARIO),
    ("Workers of disaggregated deployments", {**POOLS, "decode_sku": PAIR["decode_sku"]}),
    ("Limits of a frontier", LIMITS),
    ("`simulate load`", LOAD),
    ("`simulate plan`", PLAN),
    ("`simulate search`", SEARCH),
    ("`simulate sensitivity`", SENSITIVITY),
    ("Session trees", AGENTX),
)


def page() -> str:
    """The page as it must be."""
    parts = [HEADER]
    header = ("name", "flag", "unit", "default", "range", "meaning", "in")
    for title, settings in TABLES:
        parts += [f"## {title}\n", _table(header, map(_row, settings.values()))]
    parts.append(
        "## Server settings\n\nStated with `--engine-set NAME=VALUE` on every command that "
        "simulates, or `engine_settings:` in a file; `prefill.NAME` and `decode.NAME` hold for "
        "one pool. Without a statement they are the recipe's, else the default below.\n"
    )
    header = ("name", "default", "range", "meaning", "refused, since")
    for key, engine in ENGINES.items():
        reasons = INFORMATIVE.get(key, {})
        found = [
            (
                f"`{name}`",
                _text(each.default),
                _range(each.metadata),
                each.description or "",
                reasons.get(name, ""),
            )
            for name, each in engine.settings_class.model_fields.items()
            if name != "scheduler"
        ]
        parts += [f"### {engine.title}\n", _table(header, found)]
    parts.append(
        "## Figures of a SKU\n\nChanged with `--set FIELD=VALUE` in SI units, or "
        "`overrides:` in a file.\n"
    )
    reasons = informative_fields()
    figures = [
        (f"`{name}`", unit, _meaning(name), reasons.get(name, ""))
        for name, unit in figure_fields().items()
    ]
    parts.append(_table(("name", "unit", "meaning", "refused, since"), figures))
    return "\n".join(parts)


def _row(setting: Setting) -> tuple[str, ...]:
    commands = sorted(
        command
        for command, flags in SETTINGS_OF.items()
        if any(setting in (flag.setting, flag.declared) for flag in flags)
    )
    flag = f"`--{setting.option}`" if commands else ""
    limits = ", ".join(f"`{name}`" for name in setting.choices) or _ends(setting.bounds)
    return (
        f"`{setting.name}`",
        flag,
        setting.unit,
        "required" if setting.is_required else _text(setting.default),
        limits,
        setting.text.replace("|", "\\|"),
        ", ".join(commands) or "files and Python",
    )


def _ends(bounds: Mapping[str, float]) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤"}
    return ", ".join(f"{signs[name]} {end:g}" for name, end in bounds.items())


def _range(metadata: Iterable[object]) -> str:
    found = {
        name: getattr(each, name)
        for each in metadata
        for name in ("ge", "gt", "le")
        if getattr(each, name, None) is not None
    }
    return _ends(found)


def _text(value: object) -> str:
    return "" if value is None or value == {} else f"`{value}`"


def _meaning(name: str) -> str:
    group, _, member = name.rpartition(".")
    model = type(Sku.model_fields[group].default) if group else Sku
    return str(model.model_fields[member].description).rpartition(" [")[0]


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE}\n")
