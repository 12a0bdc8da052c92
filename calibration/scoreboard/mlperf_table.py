"""MLPerf Inference's tables of results beside what ``simulate mlperf`` predicts.

A table has a row for each result with columns such as those of MLCommons' exports: ``Model`` (or
``benchmark``), ``Scenario``, ``Accelerator`` (or ``sku``), ``# of Accelerators`` (or ``chips``),
``Units`` and ``Result`` (or ``measured``); or it is ``summary.csv`` or ``summary_results.json`` of
a round's repository, which count accelerators a node. Results in tokens per second count; the
metric is output tokens per second and chip. Identical results of a ``-99`` and a ``-99.9`` row of a
system are one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.scoreboard.given import with_numbers
from hwmodels.sku import list_skus
from workloads.datafiles import read_csv, read_json
from workloads.errors import UserError
from workloads.requests.mlperf import benchmarks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

COLUMNS = {
    "benchmark": ("benchmark", "mlperfmodel", "model", "model_mlperf", "usedmodel"),
    "scenario": ("scenario",),
    "sku": ("sku", "accelerator", "accelerator_model_name"),
    "chips": ("chips", "gpus", "#_of_accelerators", "accelerators", "total_accelerators"),
    "chips_per_node": ("a#", "accelerators_per_node"),
    "nodes": ("nodes", "number_of_nodes"),
    "units": ("units", "unit", "performance_units"),
    "measured": ("result", "measured", "performance_result", "tokens_per_s"),
    "submitter": ("submitter", "organization"),
}
"""Names of columns that are read, spaces as underscores and in lower case."""
SCENARIOS = ("offline", "server", "interactive")
_ACCURACY = re.compile(r"-99(\.9)?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class MlperfRow:
    """One published result.

    Parameters
    ----------
    benchmark, scenario, sku, chips, submitter:
        What ran on what.
    tokens_per_s:
        Output tokens of the system. [tok/s]
    line:
        Line of the file.
    """

    benchmark: str
    scenario: str
    sku: str
    chips: int
    submitter: str
    tokens_per_s: float
    line: int


def is_mlperf_table(columns: Sequence[str]) -> bool:
    """Whether columns are those of MLPerf's results."""
    found = _found(columns)
    return all(name in found for name in ("benchmark", "scenario", "sku", "measured"))


def read_mlperf_rows(frame: pd.DataFrame) -> tuple[list[MlperfRow], list[str]]:
    """Results that can be predicted, and why others cannot.

    Parameters
    ----------
    frame:
        The table as text.
    """
    found = _found(list(frame.columns))
    rows: list[MlperfRow] = []
    left_out: list[str] = []
    seen: set[tuple[object, ...]] = set()
    for position, cells in enumerate(frame.to_dict("records")):
        line = position + 2
        text = {name: str(cells[column]).strip() for name, column in found.items()}
        try:
            row = _row(text, line=line)
        except UserError as error:
            left_out.append(f"line {line}: {error}")
            continue
        key = (row.benchmark, row.scenario, row.sku, row.chips, row.submitter, row.tokens_per_s)
        if key not in seen:
            rows.append(row)
        seen.add(key)
    return rows, left_out


def _found(columns: Sequence[str]) -> dict[str, str]:
    """Column of each name of `COLUMNS` that is there."""
    plain = {re.sub(r"\s+", "_", str(column).strip().lower()): str(column) for column in columns}
    return {
        name: next(plain[other] for other in names if other in plain)
        for name, names in COLUMNS.items()
        if any(other in plain for other in names)
    }


def _row(text: Mapping[str, str], *, line: int) -> MlperfRow:
    scenario = text["scenario"].lower()
    name = _ACCURACY.sub("", text["benchmark"].lower().replace("_", "."))
    if name.endswith("-interactive"):
        name, scenario = name.removesuffix("-interactive"), "interactive"
    if name not in benchmarks():
        raise UserError(f"benchmark {text['benchmark']} is not one of {', '.join(benchmarks())}")
    if scenario not in SCENARIOS:
        raise UserError(f"scenario {text['scenario']} is not one of {', '.join(SCENARIOS)}")
    units = text.get("units", "tokens/s").lower()
    if "token" not in units:
        raise UserError(f"units are {text['units']}; only tokens per second are scored")
    try:
        tokens_per_s = float(text["measured"].replace(",", ""))
        nodes = float(text.get("nodes") or 1)
        chips = int(float(text.get("chips") or nodes * float(text.get("chips_per_node") or 1)))
    except (OverflowError, ValueError):
        raise UserError(f"result '{text['measured']}' or chips is no number") from None
    if not (np.isfinite(tokens_per_s) and tokens_per_s > 0 and chips > 0):
        raise UserError(f"result is {text['measured']} on {chips} chips; both must be positive")
    return MlperfRow(
        benchmark=name,
        scenario=scenario,
        sku=_sku(text["sku"]),
        chips=chips,
        submitter=text.get("submitter", ""),
        tokens_per_s=tokens_per_s,
        line=line,
    )


def _sku(text: str) -> str:
    """The SKU that an accelerator's name says, the longest key that stands in it."""
    plain = re.sub(r"[^a-z0-9]+", "_", text.lower())
    keys = sorted(list_skus(), key=len, reverse=True)
    key = next((key for key in keys if re.search(rf"(^|_){key}(_|$)", plain)), None)
    if key is None:
        raise UserError(f"accelerator {text} is no SKU of the catalogue")
    return key


def mlperf_beside(
    rows: Sequence[MlperfRow],
    *,
    predicted: pd.DataFrame | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Results beside predictions in the columns of `calibration.scoreboard.scoring.beside`.

    Parameters
    ----------
    predicted:
        ``tokens_per_s`` of each row's system, and ``lo`` and ``hi`` where there are bands, in the
        order of the rows; ``None``: predicted here.

    Raises
    ------
    UserError
        If the predictions are not as many as the rows.
    """
    import pandas as pd

    if predicted is not None and len(predicted) != len(rows):
        raise UserError(f"predictions has {len(predicted)} rows, measured {len(rows)}")
    table = []
    for position, row in enumerate(rows):
        if progress is not None:
            progress(position, len(rows))
        if predicted is None:
            value, low, high = _predict(row)
        else:
            cells = predicted.iloc[position]
            value, low, high = (
                float(cells[name]) if name in predicted else np.nan
                for name in ("tokens_per_s", "lo", "hi")
            )
        table.append(
            {
                "model": row.benchmark,
                "sku": row.sku,
                "engine": "",
                "submitter": row.submitter,
                "scenario": row.scenario,
                "layout": f"{row.chips} chips",
                "concurrency": 0,
                "isl": 0,
                "osl": 0,
                "answered": bool(np.isfinite(value)),
                "measured_throughput": row.tokens_per_s / row.chips,
                "predicted_throughput": value / row.chips,
                "lo_throughput": low / row.chips,
                "hi_throughput": high / row.chips,
                **{
                    f"{side}_{metric}": np.nan
                    for side in ("measured", "predicted", "lo", "hi")
                    for metric in ("tpot", "ttft")
                },
            }
        )
    return pd.DataFrame(table)


def _predict(row: MlperfRow) -> tuple[float, float, float]:
    """Output tokens of the system and their band; NaN where no deployment can run it. [tok/s]"""
    from simulator.studies.mlperf.request import build_mlperf, submissions
    from simulator.studies.mlperf.run import run_mlperf

    settings: dict[str, Any] = {
        "flags": {"sku": row.sku},
        "benchmark": row.benchmark,
        "scenario": row.scenario,
        "chips": row.chips,
    }
    alike = [
        name
        for name, entry in submissions().items()
        if (entry["benchmark"], entry["scenario"], entry["flags"]["sku"], entry["chips"])
        == (row.benchmark, row.scenario, row.sku, row.chips)
    ]
    if alike:
        settings = {"flags": {}, "submission": alike[0]}
    try:
        result = run_mlperf(build_mlperf(**settings))
    except UserError:
        return np.nan, np.nan, np.nan
    if not result.trial.passed:
        return np.nan, np.nan, np.nan
    low, high = result.band or (np.nan, np.nan)
    return result.tokens_per_s, low * result.tokens_per_s, high * result.tokens_per_s


def text_table(path: Path) -> pd.DataFrame:
    """A CSV file, or JSON of a list of rows, with every cell as text.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    import pandas as pd

    if path.suffix == ".json":
        try:
            rows = read_json(path)
        except UserError:
            rows = None  # lines of JSON and what else others read
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            return pd.DataFrame()
        return pd.DataFrame(rows).fillna("").astype(str)
    header, lines = read_csv(path)
    return pd.DataFrame([line.cells for line in lines], columns=header, dtype=str)


def read_predicted(path: Path) -> pd.DataFrame:
    """Predictions of a table: a CSV with ``tokens_per_s``, ``lo`` and ``hi`` of each system.

    Raises
    ------
    UserError
        If it has no such column, or a cell is no number.
    """
    table = text_table(path)
    if "tokens_per_s" not in table:
        raise UserError(
            f"{path} has no column tokens_per_s; predictions of MLPerf's results have tokens_per_s "
            "of the system, and lo and hi where there are bands"
        )
    return with_numbers(table, names=("tokens_per_s", "lo", "hi"), place=str(path))
