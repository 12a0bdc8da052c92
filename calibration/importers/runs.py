"""A user's own benchmark results as rows of the measured table.

What a file is, is decided by what stands in it. What no benchmark client knows, such as the SKU
or the layout, is given by the caller, or in a YAML file of ``name: value`` lines: ``result.yaml``
beside ``result.json``, or ``runs.yaml`` for a whole folder. The caller comes first, then the
file's own sidecar, then the folder's, then the result itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from calibration.importers import aiperf, client_json, inferencex, sglang_bench, vllm_bench
from calibration.importers.facts import canonical_facts, completed_cells, sidecar_facts
from calibration.importers.point_table import figures_not_read, is_foreign, translated
from calibration.importers.results import BenchmarkResult, RunRecord
from calibration.measured.checks import find_violations
from calibration.measured.runs import cell_text, check_runs
from calibration.measured.table import MeasuredTableError, table_places, typed_runs, with_own_names
from simulator.output.csv_table import check_required, read_run_table
from workloads.datafiles import parse_json, read_csv, read_text
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from calibration.measured.table import Violation

    Reader = Callable[[BenchmarkResult], RunRecord]

UNDATED = "runs without a date"
WRAPPERS = ("benchmarks", "results", "runs")
"""Names under which files of several results hold them."""

_SUFFIXES = (".json", ".jsonl", ".csv")
_READERS: tuple[tuple[Callable[[dict[str, Any]], bool], Reader], ...] = (
    (inferencex.is_aggregate, inferencex.read_aggregate),
    (client_json.is_client_result, client_json.read_client_result),
    (vllm_bench.is_vllm_result, vllm_bench.read_vllm_result),
    (sglang_bench.is_sglang_result, sglang_bench.read_sglang_result),
    (aiperf.is_aiperf_summary, aiperf.read_aiperf_summary),
)
KNOWN_FORMATS = (
    "InferenceX agg_*.json and client JSON, vLLM bench serve JSON, SGLang bench_serving JSON "
    "lines, AIPerf profile exports, CSV tables of runs"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedRuns:
    """Runs that were read, and what happened on the way.

    Parameters
    ----------
    frame:
        The runs, as `calibration.measured.runs.load_measured` returns them.
    notes:
        What was assumed, and which files are no results.
    problems:
        Results that could not be read, where that was allowed.
    """

    frame: pd.DataFrame
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def import_runs(path: Path | str, *, skip_bad: bool = False, **known: object) -> ImportedRuns:
    """Benchmark results of a file, or of all files of a folder and its subfolders.

    Parameters
    ----------
    path:
        A result, a CSV table of runs, or a folder of them.
    skip_bad:
        Whether to go on after a result that cannot be read, and report it.
    **known:
        What holds for every run, by the names that `calibration.importers.facts` understands.

    Returns
    -------
    The runs with their source named after the path.

    Raises
    ------
    UserError
        If nothing could be read; if a result cannot be read, lacks what only a user can know, or
        contradicts itself, unless ``skip_bad``.
    """
    path = Path(path)
    given = canonical_facts(known, origin="the options")
    reading = _Reading(notes=[], problems=[] if skip_bad else None)
    frames: list[pd.DataFrame] = []
    violations: list[Violation] = []
    for file in _files(path, reading.notes):
        try:
            root = path if path.is_dir() else path.parent
            facts = sidecar_facts(file, root=root) | given
            read = _read_table if file.suffix == ".csv" else _read_results
            frame, wrong = read(file, facts, reading)
        except UserError as error:
            reading.report(error)
            continue
        frame["source"] = frame["source"].where(frame["source"] != str(file), path.name)
        frames.append(frame)
        violations += wrong
    table = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    if len(table):
        violations += find_violations(table)
    if violations and not skip_bad:
        raise MeasuredTableError(violations)
    wrong_places = {(each.file, each.place) for each in violations}
    if wrong_places:
        places = zip(table["file"], table["place"], strict=True)
        table = table[[place not in wrong_places for place in places]].reset_index(drop=True)
    problems = (*(reading.problems or ()), *map(str, violations))
    if table.empty:
        reasons = "".join(f"\n{line}" for line in (*problems, *reading.notes))
        raise UserError(f"{path} holds no run that can be read; known: {KNOWN_FORMATS}{reasons}")
    undated = int((table["date"] == "").sum())
    if undated:
        reading.notes.append(
            f"{UNDATED}: {undated}; they count as medians up to 2026-07-19, give date"
        )
    return ImportedRuns(
        frame=check_runs(table, published=False), notes=tuple(reading.notes), problems=problems
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """What is said while files are read; without a list of problems the first one is raised."""

    notes: list[str]
    problems: list[str] | None

    def report(self, error: UserError) -> None:
        if self.problems is None:
            raise error
        self.problems.append(str(error))


def _files(path: Path, notes: list[str]) -> list[Path]:
    """The files to read; of two that hold the same run, the one that says more."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"{path} does not exist; name a file or a folder of results")
    found = sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES)
    said_better = {}
    for file in found:
        if file.name.startswith("agg_"):
            said_better[file.with_name(file.name.removeprefix("agg_"))] = file
        if file.name == "profile_export_aiperf.json":
            said_better[file.with_name("profile_export.jsonl")] = file
            said_better[file.with_suffix(".csv")] = file
    kept = [file for file in found if file not in said_better]
    notes += [
        f"{file}: the same run as {said_better[file].name}" for file in found if file not in kept
    ]
    return kept


def _read_table(
    file: Path, facts: Mapping[str, object], reading: _Reading
) -> tuple[pd.DataFrame, list[Violation]]:
    """A CSV table, also in the names of others; the facts fill its blank cells."""
    header, lines = read_csv(file)
    if is_foreign(header):
        text = pd.DataFrame([line.cells for line in lines], columns=header, dtype=str)
        text, _, notes = translated(text)
        check_required(text.columns, path=file)
        reading.notes.extend(notes)
    else:
        text = read_run_table(file)
    if unread := figures_not_read(header):
        reading.notes.append(f"{file.name}: columns not read: {', '.join(unread)}")
    table = with_own_names(text, file=str(file))
    for name, value in facts.items():
        cells = table[name] if name in table else pd.Series("", index=table.index)
        table[name] = cells.where(cells.str.strip() != "", cell_text(value))
    frame, wrong = typed_runs(table, file=str(file), places=table_places(table))
    # as in every aggregated run on record; without chips no rate can be checked
    aggregated = frame["gpus"].isna() & ~frame["disaggregated"].eq(True)
    chips = frame["decode_tp"] * frame["decode_workers"].fillna(1)
    frame["gpus"] = frame["gpus"].where(~aggregated, chips)
    return frame, wrong


def _read_results(
    file: Path, facts: Mapping[str, object], reading: _Reading
) -> tuple[pd.DataFrame, list[Violation]]:
    """Runs of a JSON file; what is no result becomes a note."""
    rows: list[dict[str, str]] = []
    places: list[str] = []
    for result, reader in _readings(_parse(file), reading.notes):
        try:
            record = reader(result)
            rows.append(completed_cells(record, result, facts))
            places.append(result.place)
        except UserError as error:
            reading.report(error)
        else:
            reading.notes.extend(f"{result.origin}: {note}" for note in record.notes)
    return typed_runs(pd.DataFrame(rows), file=str(file), places=places)


def _readings(
    results: Sequence[BenchmarkResult], notes: list[str]
) -> list[tuple[BenchmarkResult, Reader]]:
    """Results with what reads them; the records of AIPerf are one result together."""
    if results and aiperf.is_aiperf_record(results[0].data):
        return [(replace(results[0], place=""), lambda _: aiperf.read_aiperf_records(results))]
    readings = []
    for result in results:
        reader = next((read for fits, read in _READERS if fits(result.data)), None)
        if reader is None:
            notes.append(f"{result.origin}: not a benchmark result")
        else:
            readings.append((result, reader))
    return readings


def _parse(file: Path) -> list[BenchmarkResult]:
    """The JSON objects of a file: one, an array of them, or one a line."""
    text = read_text(file)
    try:
        document = parse_json(text, source=str(file))
    except UserError as error:
        return _parse_lines(file, text, error)
    if isinstance(document, dict):
        return [
            BenchmarkResult(file=file, place=place, data=data)
            for place, data in _unwrapped(document)
        ]
    entries = document if isinstance(document, list) else [document]
    return [_object(file, f"entry {place}", entry) for place, entry in enumerate(entries, start=1)]


def _unwrapped(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The results that a wrapper holds, such as ``{"benchmarks": [...]}``; else the object."""
    for name in WRAPPERS:
        held = document.get(name)
        if isinstance(held, list) and held and all(isinstance(each, dict) for each in held):
            return [(f"{name} {place}", each) for place, each in enumerate(held, start=1)]
    return [("", document)]


def _parse_lines(file: Path, text: str, whole: UserError) -> list[BenchmarkResult]:
    results: list[BenchmarkResult] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            entry = parse_json(line, source=str(file), line=number)
        except UserError as error:
            # Where not even one line is JSON, the error of the file as a whole says more.
            raise (error if results else whole) from None
        results.append(_object(file, f"line {number}", entry))
    return results


def _object(file: Path, place: str, entry: object) -> BenchmarkResult:
    if not isinstance(entry, dict):
        raise UserError(f"{file} {place}: holds {type(entry).__name__}, not an object")
    return BenchmarkResult(file=file, place=place, data=entry)
