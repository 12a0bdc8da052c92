"""One benchmark result as a file holds it, and what an importer makes of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hwmodels.sku import load_sku
from workloads.architectures.names import canonical_model
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

STATISTICS = ("mean", "median", "p99")
LATENCIES = ("ttft", "tpot")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResult:
    """A result file, a line of one or an element of its array.

    Parameters
    ----------
    file:
        The file.
    place:
        Where in it, such as ``line 3``; empty if it holds one result.
    data:
        What stands there.
    path:
        Names of the objects around ``data`` in the result, each with a dot behind it.
    """

    file: Path
    place: str = ""
    data: dict[str, Any]
    path: str = ""

    @property
    def origin(self) -> str:
        """File and place, as errors name them."""
        return f"{self.file} {self.place}".strip()

    def error(self, field: str, problem: str) -> UserError:
        """The error for a field of this result."""
        return UserError(f"{self.origin}: {self.path}{field} {problem}")

    def part(self, key: str) -> BenchmarkResult:
        """The object under a key; an empty one if it is missing or null.

        Raises
        ------
        UserError
            If something else stands there.
        """
        value = self.data.get(key)
        if value is not None and not isinstance(value, dict):
            raise self.error(key, f"is {value!r}, not an object")
        return replace(self, data=value or {}, path=f"{self.path}{key}.")

    def parts(self, key: str) -> list[BenchmarkResult]:
        """The objects of a list under a key; none if it is missing or no list.

        Raises
        ------
        UserError
            If the list holds something else.
        """
        values = self.data.get(key)
        found = []
        for position, entry in enumerate(values if isinstance(values, list) else ()):
            name = f"{key}[{position}]"
            if not isinstance(entry, dict):
                raise self.error(name, f"is {entry!r}, not an object")
            found.append(replace(self, data=entry, path=f"{self.path}{name}."))
        return found

    def number(self, key: str, *, scale: float = 1.0) -> float | None:
        """A finite number times ``scale``; ``None`` if it is missing or null.

        Raises
        ------
        UserError
            If something else stands there.
        """
        value = self.data.get(key)
        if value is None or value == "":
            return None
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise self.error(key, f"is {value!r}, not a number") from None
        if number - number != 0:
            raise self.error(key, f"is {value}; it must be finite")
        return number * scale

    def required(self, key: str) -> float:
        """A number that must be there and above zero.

        Raises
        ------
        UserError
            If it is not.
        """
        value = self.number(key)
        if value is None or value <= 0:
            raise self.error(key, f"is {self.data.get(key, 'missing')}; it must be above 0")
        return value

    def flag(self, key: str) -> bool | None:
        """A truth value, also one written as text; ``None`` if it is missing.

        Raises
        ------
        UserError
            If something else stands there.
        """
        value = self.data.get(key)
        if value is None or value == "":
            return None
        if str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
        raise self.error(key, f"is {value!r}, neither true nor false")


@dataclass(slots=True, kw_only=True)
class RunRecord:
    """What a result says about a run, as far as it goes.

    Parameters
    ----------
    fields:
        Columns of `calibration.measured.schema`; ``None`` where the result is silent.
    total_tok_per_s, output_tok_per_s, input_tok_per_s:
        Rates of the whole deployment, where the result does not divide by GPUs. [tok/s]
    stated:
        What a user wrote into the result about the run; read where it names a column.
    hints:
        What to tell a user of a field that is missing.
    notes:
        What was assumed.
    """

    fields: dict[str, object]
    total_tok_per_s: float | None = None
    output_tok_per_s: float | None = None
    input_tok_per_s: float | None = None
    stated: Mapping[str, object] = field(default_factory=dict)
    hints: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def model_named(*labels: object) -> str | None:
    """The model that the first understandable label names, such as a repository or a path."""
    for label in labels:
        for text in (str(label or ""), str(label or "").rstrip("/").rsplit("/", 1)[-1]):
            try:
                return canonical_model(text)
            except UserError:
                continue
    return None


def sku_named(label: object) -> str | None:
    """The SKU that a runner label such as ``b200-dgxc_3`` begins with."""
    try:
        return load_sku(re.split(r"[-_ ]", str(label or "").strip(), maxsplit=1)[0]).key
    except UserError:
        return None


def set_mean_lengths(record: RunRecord, *, isl: float, osl: float, drawn: bool) -> None:
    """Let the mean lengths stand in for nominal ones that a result does not state.

    Parameters
    ----------
    isl, osl:
        Mean prompt and output lengths. [tokens]
    drawn:
        Whether lengths are known to vary, which is then said.
    """
    record.fields |= {"isl": round(isl), "osl": round(osl), "length_distribution": "fixed"}
    if drawn:
        record.notes.append(
            f"nominal lengths are not stated: the means {round(isl)}/{round(osl)} stand in as "
            "fixed lengths; give isl, osl and length_distribution"
        )
