"""Write docs/reference/skus.md from the catalogue: ``python docs/tools/skus_page.py``."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hwmodels.economics import list_economics, load_economics
from hwmodels.sku import figure_fields, informative_fields, list_skus, load_sku

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hwmodels.quantities import Figure
    from hwmodels.sku import Sku

PAGE = Path(__file__).parents[1] / "reference" / "skus.md"
HEADER = (
    "# Figures of the SKUs\n\nWritten by `python docs/tools/skus_page.py` from "
    "`hwmodels/catalog/*.yaml` and `hwmodels/economics/*.yaml`. Values are as their sources state "
    "them; peak rates are dense, links count one direction of one chip. *Range* is that of the "
    "credible sources; *kind* is `datasheet`, `measured`, `fitted` or `estimate`. A dagger (†) "
    "marks figures on record that no prediction takes, [settings](settings.md) say why. "
    "`simulate show sku NAME` prints one of these sheets, `--set FIELD=VALUE` changes a figure.\n"
)


def page() -> str:
    """The page as it must be."""
    skus = [load_sku(key) for key in list_skus()]
    return "\n".join([HEADER, *(_sheet(sku) for sku in skus)])


def _sheet(sku: Sku) -> str:
    """One SKU: what it is, its figures, what is not known, its costs, its sources."""
    numbers: dict[str, int] = {}
    known = [name for name in figure_fields() if name in sku.figures]
    costs = {
        f"{name} ({dated})": figure
        for dated in list_economics()
        for name, figure in load_economics(dated).for_sku(sku.key).figures.items()
    }
    ships = f"shipping since {sku.shipping_since}" if sku.shipping_since else sku.status
    if sku.status == "announced" and sku.expected:
        ships = f"announced, expected {sku.expected}"
    about = [
        f"`{sku.key}`: {sku.vendor}, {sku.generation}, {ships}, scale-up by {sku.scaleup_topology}"
    ]
    if sku.related_skus:
        about.append(f"related: {', '.join(f'`{each}`' for each in sku.related_skus)}")
    parts = [f"## {sku.name}\n", "; ".join(about) + ".\n"]
    if sku.note:
        parts.append(_cell(sku.note) + "\n")
    figures = {name: sku.figures[name] for name in known} | costs
    parts.append(_table(figures, numbers))
    unknown = [f"`{name}`" for name in figure_fields() if name not in sku.figures]
    if unknown:
        parts.append(f"Not known: {', '.join(unknown)}.\n")
    parts.append("Sources:\n")
    parts += [f"{number}. {_cell(source)}" for source, number in numbers.items()]
    return "\n".join(parts) + "\n"


def _table(figures: Mapping[str, Figure], numbers: dict[str, int]) -> str:
    header = ("figure", "value", "unit", "range", "kind", "source", "note")
    rows = []
    for name, figure in figures.items():
        source = ""
        if figure.source:
            source = str(numbers.setdefault(figure.source, len(numbers) + 1))
        mark = " †" if name in informative_fields() else ""
        rows.append(
            (
                f"`{name}`{mark}",
                f"{figure.value:,.10g}",
                figure.unit,
                _range(figure),
                figure.kind,
                source,
                _cell(figure.note),
            )
        )
    return _lines([header, tuple("---" for _ in header), *rows])


def _range(figure: Figure) -> str:
    low = figure.value if figure.low is None else figure.low
    high = figure.value if figure.high is None else figure.high
    return "" if low == high else f"{low:,.10g} to {high:,.10g}"


def _cell(text: str) -> str:
    """A text as Markdown that shows it as it is; addresses become links."""
    plain = " ".join(text.split())
    plain = re.sub(r"([|<>*_\[\]])", r"\\\1", plain)
    return re.sub(r"https?://[^\s,;)]+", lambda found: f"<{found[0].replace(chr(92), '')}>", plain)


def _lines(rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE}\n")
