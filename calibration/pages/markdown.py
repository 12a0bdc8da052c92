"""Tables and figures of generated pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, header first."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def percent(value: float | None, *, digits: int = 0, signed: bool = False) -> str:
    """A share in percent; blank if it is unknown."""
    if value is None or value != value:
        return ""
    return f"{100.0 * value:{'+' if signed else ''}.{digits}f} %"
