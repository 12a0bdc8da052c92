"""The table that a microbenchmark writes: one timed case a row, in SI units."""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, get_args

from calibration.microbench.cases import Case, Kind
from simulator.output.text_file import staged
from workloads.errors import UserError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where rows were measured.

    Parameters
    ----------
    device:
        Name that the driver gives the GPU.
    driver, runtime, torch:
        Versions of the driver, of CUDA or ROCm, and of PyTorch.
    date:
        Day of the measurement, ``YYYY-MM-DD``.
    """

    device: str
    driver: str
    runtime: str
    torch: str
    date: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Time of one case.

    Parameters
    ----------
    time_s, fastest_s, slowest_s:
        Median, minimum and maximum over repeats of the time of one call. [s]
    repeats, calls:
        Repeats, and calls timed together in each.
    replay:
        ``graph`` or ``eager``.
    """

    time_s: float
    fastest_s: float
    slowest_s: float
    repeats: int
    calls: int
    replay: str


COLUMNS: dict[str, str] = {
    "kind": "operation, see calibration/microbench/cases.py",
    "path": "arithmetic: bf16, fp8; any where there is none",
    "m": "rows, or gathered entries [-]",
    "n": "columns, or values of an entry [-]",
    "k": "inner dimension [-]",
    "groups": "weights of a grouped product [-]",
    "size_bytes": "size of a stream [B]",
    "flops": "floating-point operations [FLOP]",
    "hbm_bytes": "bytes read and written once each [B]",
    "time_s": "median time of a call [s]",
    "fastest_s": "minimum over repeats [s]",
    "slowest_s": "maximum over repeats [s]",
    "repeats": "repeats [-]",
    "calls": "calls timed together in each repeat [-]",
    "replay": "graph or eager",
    "device": "GPU as its driver names it",
    "driver": "version of the driver",
    "runtime": "version of CUDA or ROCm",
    "torch": "version of PyTorch",
    "date": "day of the measurement",
}
"""Columns with their meaning and unit."""


def write_rows(path: Path, rows: Iterable[tuple[Case, Timing]], *, machine: Machine) -> None:
    """Write timed cases as CSV.

    Raises
    ------
    UserError
        If the file cannot be written.
    """
    with staged(path) as stage, stage.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(COLUMNS), lineterminator="\n")
        writer.writeheader()
        for case, timing in rows:
            work = {"flops": case.flops, "hbm_bytes": case.hbm_bytes}
            cells = asdict(case) | work | asdict(timing) | asdict(machine)
            writer.writerow({name: _text(value) for name, value in cells.items()})


def read_rows(path: Path) -> list[tuple[Case, Timing, Machine]]:
    """Timed cases of a file that `write_rows` wrote.

    Raises
    ------
    UserError
        If the file cannot be read, a column is missing or a cell cannot be right; the message
        names line and column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or [])]
            if missing:
                raise UserError(f"{path} line 1: column {missing[0]} is missing")
            return [_row(cells, place=f"{path} line {reader.line_num}") for cells in reader]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: byte {error.start} is not") from None


def _row(cells: dict[str, Any], *, place: str) -> tuple[Case, Timing, Machine]:
    if cells["kind"] not in get_args(Kind):
        raise UserError(
            f"{place}: {unknown_name(field='kind', value=cells['kind'], known=get_args(Kind))}"
        )
    case = Case(
        kind=cells["kind"],
        path=cells["path"],
        **{name: int(_number(cells, name, place)) for name in ("m", "n", "k", "groups")},
        size_bytes=int(_number(cells, "size_bytes", place)),
    )
    timing = Timing(
        **{name: _positive(cells, name, place) for name in ("time_s", "fastest_s", "slowest_s")},
        repeats=int(_positive(cells, "repeats", place)),
        calls=int(_positive(cells, "calls", place)),
        replay=cells["replay"],
    )
    return case, timing, Machine(**{field.name: cells[field.name] for field in fields(Machine)})


def _number(cells: dict[str, Any], name: str, place: str) -> float:
    try:
        value = float(cells[name])
    except (TypeError, ValueError):
        raise UserError(f"{place}: {name} is '{cells[name]}', which is not a number") from None
    if not 0.0 <= value < float("inf"):
        raise UserError(f"{place}: {name} is {cells[name]}; it must be finite and not negative")
    return value


def _positive(cells: dict[str, Any], name: str, place: str) -> float:
    value = _number(cells, name, place)
    if value == 0.0:
        raise UserError(f"{place}: {name} is 0; it must be above 0")
    return value


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
