"""What is known of one column of a table of runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "int", "bool", "float"]
Part = Literal["what ran", "result", "cost", "about the run", "plan", "comparison", "other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column.

    Parameters
    ----------
    name:
        In files and in data frames.
    kind:
        What a cell holds.
    text:
        What it says.
    unit:
        Unit, empty for texts, flags and plain counts.
    header:
        Over the column of a printed table, broken where a narrow table breaks it; empty: the name.
    part:
        What it tells of.
    is_read:
        Whether ``simulate predict`` reads it as an input.
    """

    name: str
    kind: Kind
    text: str
    unit: str = ""
    header: str = ""
    part: Part = "result"
    is_read: bool = False

    @property
    def title(self) -> str:
        """Header of a printed column, on one line."""
        return (self.header or self.name).replace("\n/", "/").replace("\n", " ")

    @property
    def narrow_title(self) -> str:
        """The same on as many lines as it has in a narrow table."""
        return self.header or self.name
