"""Reading data files: one reader each for YAML, JSON and CSV, with errors that a user can act on.

Whatever is wrong with a file is a `UserError` of one line that names the file and, where there
is one, line and column. Names are text and stand once, numbers fit 64 bits, nesting, aliases and
sizes are bounded, so that no file can keep a reader busy for long.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import yaml

from workloads.errors import UserError, shown

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pydantic import ValidationError

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"

DEEPEST = 64
"""Levels of nesting that a file may have."""

MOST_VALUES = 100_000
"""Values that a YAML file may come to, aliases expanded."""

LARGEST_TEXT_FILE = 64 * 2**20
"""Size of a file that is read as a whole, traces aside. [B]"""

LARGEST_TRACE = 16 * 2**30
"""Size of a recorded workload. [B]"""

LONGEST_CELL = 2**20
"""Length of a cell of a CSV file. [characters]"""

_INT64 = range(-(2**63), 2**63)
_LONG_NUMBER = re.compile(r"\d{19}")
_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"')
_BRACKETS = re.compile(r"[\[\]{}]")


def read_text(path: Path, *, largest: int = LARGEST_TEXT_FILE) -> str:
    """A file as text, without a byte order mark.

    Raises
    ------
    UserError
        If it cannot be read, is too large or is not UTF-8.
    """
    try:
        _check_size(path, largest)
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from None
    except ValueError as error:  # a NUL in the name
        raise UserError(f"cannot read {shown(str(path))}: {error}") from None


def _check_size(path: Path, largest: int) -> None:
    size = path.stat().st_size
    if size > largest:
        raise UserError(f"cannot read {path}: it has {size:,} bytes; the most is {largest:,}")


def is_file(path: Path) -> bool:
    """Whether there is a file or a named pipe of a name, which may be no name of one at all."""
    try:
        return path.exists() and not path.is_dir()
    except (OSError, ValueError):
        return False


def read_yaml_mapping(path: Path) -> dict[str, Any]:
    """A YAML file that must hold a mapping.

    Names are text and stand once each. Aliases may be used, as in the shipped files, as long as
    the file stays below `MOST_VALUES` with them expanded.

    Raises
    ------
    UserError
        If the file cannot be read, is not YAML (with line and column) or is not a mapping.
    """
    data = parse_yaml(read_text(path), source=str(path))
    if not isinstance(data, dict):
        raise UserError(f"{path} must hold 'name: value' lines; it holds {type(data).__name__}")
    return data


def parse_yaml(text: str, *, source: str) -> Any:
    """The value of a YAML text.

    Raises
    ------
    UserError
        As `read_yaml_mapping`.
    """
    loader: Any = None
    try:
        loader = _LOADER(text)
        node = loader.get_single_node()
        return None if node is None else _Builder(loader=loader, source=source).build(node, 1)
    except yaml.YAMLError as error:
        raise UserError(f"{source}{_place(error)}: {_problem(error)}") from None
    except RecursionError:
        raise UserError(f"{source}: nested more than {DEEPEST} levels deep") from None
    except UnicodeError:
        raise UserError(f"{source} is not UTF-8 text: it holds half a character") from None
    finally:
        if loader is not None:
            loader.dispose()


class _Builder:
    """Values of YAML nodes, checked on the way."""

    def __init__(self, *, loader: Any, source: str) -> None:
        self.loader = loader
        self.source = source
        self.left = MOST_VALUES

    def build(self, node: Any, depth: int) -> Any:
        self.left -= 1
        if self.left < 0:
            raise self.error(node, f"comes to more than {MOST_VALUES:,} values; use fewer aliases")
        if depth > DEEPEST:
            raise self.error(node, f"nested more than {DEEPEST} levels deep")
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.build(each, depth + 1) for each in node.value]
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self.mapping(node, depth)
        raise self.error(node, f"the tag {shown(node.tag.removeprefix(_TAG))} is not read here")

    def mapping(self, node: Any, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag != f"{_TAG}str":
                what = shown(key.value) if isinstance(key, yaml.ScalarNode) else "a list or mapping"
                raise self.error(key, f"{what} is not a name; write it in quotes if it is meant")
            if key.value in found:
                raise self.error(key, f"{shown(key.value)} stands twice; keep one of them")
            found[key.value] = self.build(value, depth + 1)
        return found

    def scalar(self, node: Any) -> Any:
        if node.tag == f"{_TAG}str":
            return node.value
        try:
            value = self.loader.construct_object(node)
        except yaml.YAMLError as error:
            raise self.error(node, _problem(error)) from None
        except (ValueError, OverflowError, KeyError, IndexError, AttributeError) as error:
            kind = node.tag.removeprefix(_TAG)
            what = f"{shown(node.value)} is no {kind}"
            why = str(error) if kind == "timestamp" else ""
            raise self.error(node, f"{what}{f': {why}' if why else ''}") from None
        if isinstance(value, int) and value not in _INT64:
            raise self.error(node, f"{shown(value)} does not fit 64 bits")
        if isinstance(value, bytes):
            raise self.error(node, "binary data is not read here")
        return value

    def error(self, node: Any, text: str) -> UserError:
        mark = node.start_mark
        return UserError(f"{self.source} line {mark.line + 1}, column {mark.column + 1}: {text}")


def read_json(path: Path) -> Any:
    """The value of a JSON file.

    Raises
    ------
    UserError
        If the file cannot be read, is not JSON (with line and column), repeats a name, nests too
        deeply or has a whole number beyond 64 bits.
    """
    return parse_json(read_text(path), source=str(path))


def parse_json(text: str, *, source: str, line: int | None = None) -> Any:
    """The value of a JSON text.

    Parameters
    ----------
    source:
        File that it comes from.
    line:
        Its line, where each line of the file is a value of its own.

    Raises
    ------
    UserError
        As `read_json`.
    """
    at = f"{source} line {line}" if line is not None else source
    hooks: dict[str, Any] = {"object_pairs_hook": _unique}
    if _LONG_NUMBER.search(text):
        hooks["parse_int"] = _int64
    try:
        value = json.loads(text, **hooks)
        _check_depth(text)
    except json.JSONDecodeError as error:
        number = error.lineno if line is None else line + error.lineno - 1
        raise UserError(
            f"{source} line {number}, column {error.colno}: not JSON: {error.msg}"
        ) from None
    except RecursionError:
        raise UserError(f"{at}: nested more than {DEEPEST} levels deep") from None
    except _JsonError as error:
        raise UserError(f"{at}: {error}") from None
    return value


class _JsonError(Exception):
    """What is wrong with a value of a JSON text."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _JsonError(f"{shown(twice)} stands twice in an object; keep one of them")
    return found


def _int64(digits: str) -> int:
    value = int(digits) if len(digits) <= 20 else 2**63
    if value not in _INT64:
        raise _JsonError(f"{shown(digits)} does not fit 64 bits")
    return value


def _check_depth(text: str) -> None:
    """Refuse deep nesting; counted only where there are brackets enough for it."""
    if text.count("[") + text.count("{") <= DEEPEST:
        return
    steps = (1 if each in "[{" else -1 for each in _BRACKETS.findall(_STRINGS.sub("", text)))
    if max(accumulate(steps), default=0) > DEEPEST:
        raise _JsonError(f"nested more than {DEEPEST} levels deep")


def read_lines(path: Path, *, largest: int = LARGEST_TRACE) -> Iterator[str]:
    """Lines of a text file one by one, line ends kept.

    Raises
    ------
    UserError
        As `read_text`.
    """
    try:
        _check_size(path, largest)
        with path.open(encoding="utf-8-sig", newline="") as stream:
            yield from stream
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from None
    except ValueError as error:  # a NUL in the name
        raise UserError(f"cannot read {shown(str(path))}: {error}") from None


@dataclass(frozen=True, slots=True)
class CsvLine:
    """One row of a CSV file.

    Parameters
    ----------
    line:
        Line on which it begins.
    cells:
        Its cells by column; empty where their number is not that of the header.
    problem:
        What is wrong with the row; empty if nothing is.
    """

    line: int
    cells: dict[str, str]
    problem: str = ""


def read_csv(path: Path, *, largest: int = LARGEST_TEXT_FILE) -> tuple[list[str], list[CsvLine]]:
    """Header and rows of a CSV file, every cell as its text; blank lines are left out.

    Raises
    ------
    UserError
        If the file cannot be read, has no header or a column twice, or a row has more or fewer
        cells than the header; the message names line and column.
    """
    lines = read_lines(path, largest=largest)
    header, rows = parse_csv(lines, source=str(path))
    found: list[CsvLine] = []
    for row in rows:
        if row.problem:
            raise UserError(f"{path} line {row.line}, {row.problem}")
        found.append(row)
    return header, found


def parse_csv(lines: Iterable[str], *, source: str) -> tuple[list[str], Iterator[CsvLine]]:
    """Header and rows of CSV lines; rows come one by one, a row of another length as a problem.

    Raises
    ------
    UserError
        If there is no header, a column stands twice, or a row is not CSV.
    """
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader(_without_nul(lines, source), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise UserError(f"{source} line 1: {error}") from None
    if not any(header):
        raise UserError(f"{source} line 1: there is no header; name the columns of the table")
    for column, name in enumerate(header):
        if name in header[:column]:
            raise UserError(
                f"{source} line 1, column {column + 1}: column {shown(name)[1:-1]} stands twice"
            )
    return header, _csv_rows(reader, header, source)


def _csv_rows(reader: Any, header: list[str], source: str) -> Iterator[CsvLine]:
    start = reader.line_num + 1
    try:
        for row in reader:
            if len(row) == len(header):
                yield CsvLine(start, dict(zip(header, row, strict=True)))
            elif row:
                column = min(len(row), len(header))
                near = header[column] if len(row) < len(header) else f"after {header[-1]}"
                problem = (
                    f"column {column + 1} ({near}): the line has {len(row)} fields and the header "
                    f"{len(header)}"
                )
                yield CsvLine(start, {}, problem)
            start = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{source} line {start}: {error}") from None


def _without_nul(lines: Iterable[str], source: str) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            raise UserError(f"{source} line {number}: holds a NUL byte; it is not a CSV file")
        yield line


def mapping_of(field: str, node: Any) -> dict[str, Any]:
    """The mapping that a field of a data file must hold; a blank one is empty.

    Raises
    ------
    UserError
        If the field holds anything else.
    """
    if node is None:
        return {}
    if not isinstance(node, Mapping):
        raise UserError(f"{field} must hold 'name: value' lines; it holds {type(node).__name__}")
    return dict(node)


def invalid_data(*, source: str, error: ValidationError) -> UserError:
    """The error for data that parsed but does not fit its schema: field, reason, value."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    message = str(first["msg"]).removeprefix("Value error, ")
    given = first["input"]
    value = f" (given: {shown(given)})" if isinstance(given, str | int | float) else ""
    return UserError(f"{source}: {field + ': ' if field else ''}{message}{value}")


def _place(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""


def _problem(error: yaml.YAMLError) -> str:
    text = getattr(error, "problem", None) or getattr(error, "reason", None) or "not YAML"
    return " ".join(str(text).split())
