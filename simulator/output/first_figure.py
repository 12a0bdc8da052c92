"""What is known while work goes on: words for a terminal, with the numbers for programs."""

from __future__ import annotations

from typing import Any


class FirstFigure(str):
    """A figure that progress tells of, before the answer is complete.

    Parameters
    ----------
    words:
        As a terminal shows it.
    numbers:
        The same by name, as ``--json-lines`` prints it.
    """

    numbers: dict[str, Any]

    def __new__(cls, words: str, **numbers: Any) -> FirstFigure:
        """A text that carries its numbers."""
        found = super().__new__(cls, words)
        found.numbers = numbers
        return found
