"""The measured runs that the simulator is calibrated and judged by.

``measurements/<model>.csv`` hold one published run a row, each with the key of its public source
in ``measurements/sources.yaml``; `calibration.measured.schema` defines the columns. Every figure
is as published: nothing derived is stored.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pandas as pd

from calibration.measured.checks import (
    CLOSURE,
    demand_on_peaks,
    find_violations,
    mean_lengths,
    request_rate_per_s,
    suspicions,
    tpot_of,
)
from calibration.measured.keys import (
    deployment_text,
    frontier_key,
    series_key,
    split_of,
    sweep_key,
)
from calibration.measured.physics import near_peak
from calibration.measured.schema import COLUMNS, NAMES, PREDICT_NAMES, QUALITIES
from calibration.measured.table import MeasuredTableError, read_runs_csv
from hwmodels.sku import load_sku
from hwmodels.software import parse_date
from simulator.engines.labels import load_engine
from workloads.architectures.names import canonical_model
from workloads.datafiles import read_yaml_mapping
from workloads.errors import unknown_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from calibration.measured.table import Violation


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSource:
    """Where measured runs were published.

    Parameters
    ----------
    key:
        What the column ``source`` holds.
    title, where:
        What it is, and its public address.
    covers_until:
        Last day, month or year of its runs.
    usable:
        Which of ``throughput``, ``tpot`` and ``ttft`` a fit may use.
    trust:
        What the figures are and are not.
    """

    key: str
    title: str
    where: str
    covers_until: str
    usable: tuple[str, ...]
    trust: str


_LATER = (
    *("requests_per_client", "warmup_per_client", "request_rate_per_s", "image", "image_share"),
)
"""Columns that came after the first runs were named, and so have no part in a run's name."""
_PUBLISHED = [name for name in NAMES if name not in ("quality", "also_in", *_LATER)]


def measurements_folder() -> Path:
    """The folder of the shipped runs."""
    return Path(str(resources.files("calibration") / "measurements"))


@lru_cache(maxsize=1)
def load_sources() -> dict[str, RunSource]:
    """All published sources by key."""
    entries = read_yaml_mapping(measurements_folder() / "sources.yaml")
    return {
        key: RunSource(
            key=key,
            title=entry["title"],
            where=entry["where"],
            covers_until=str(entry["covers_until"]),
            usable=tuple(entry["usable"]),
            trust=entry["trust"],
        )
        for key, entry in entries.items()
    }


def load_measured(
    *,
    models: Sequence[str] | None = None,
    skus: Sequence[str] | None = None,
    engines: Sequence[str] | None = None,
    speculation: Sequence[str] | None = None,
    sources: Sequence[str] | None = None,
    quality: str | None = None,
    since: str | None = None,
    until: str | None = None,
) -> pd.DataFrame:
    """Shipped measured runs, checked, with their keys; each filter narrows them.

    Parameters
    ----------
    models, skus, engines:
        Names or aliases.
    speculation:
        ``none``, ``mtp``, ``dspark``.
    sources:
        Keys of `load_sources`.
    quality:
        ``ok`` or ``suspect``.
    since, until:
        First and last day, ``YYYY-MM`` or ``YYYY-MM-DD``; undated runs are then left out.

    Returns
    -------
    The columns of `calibration.measured.schema.COLUMNS` (numbers as floats, NaN where unknown),
    then ``quality_reason``, ``near_peak`` (which share of a peak it asks for, where that is
    suspect), ``run_id``, ``layout``, ``series``, ``sweep``, ``frontier``, ``split``
    and the ``file`` and ``place`` of the run.

    Raises
    ------
    UserError
        If a filter names something unknown.
    MeasuredTableError
        If a file holds cells that cannot be right.
    """
    return select_runs(
        _shipped().copy(),
        models=models,
        skus=skus,
        engines=engines,
        speculation=speculation,
        sources=sources,
        quality=quality,
        since=since,
        until=until,
    )


@lru_cache(maxsize=1)
def _shipped() -> pd.DataFrame:
    frames: list[pd.DataFrame] = []
    violations: list[Violation] = []
    for path in sorted(measurements_folder().glob("*.csv")):
        frame, wrong = read_runs_csv(path)
        frames.append(frame)
        violations += wrong
    return check_runs(pd.concat(frames, ignore_index=True), violations=violations)


def check_runs(
    frame: pd.DataFrame, *, violations: Sequence[Violation] = (), published: bool = True
) -> pd.DataFrame:
    """Typed runs with their quality judged and their keys added.

    Parameters
    ----------
    frame:
        From `calibration.measured.table.typed_runs`, indexed from 0.
    violations:
        What reading it has found.
    published:
        Whether every source must be one of `load_sources`.

    Raises
    ------
    MeasuredTableError
        If there are violations, or rows contradict themselves or each other.
    """
    found = [*violations, *find_violations(frame)]
    if published:
        found += _unknown_sources(frame)
    if found:
        raise MeasuredTableError(found)
    demand = demand_on_peaks(frame)
    reasons = suspicions(frame, demand=demand)
    frame = frame.copy()
    frame.loc[reasons.index, "quality"] = "suspect"
    rows = cast("list[dict[str, object]]", frame[list(NAMES)].to_dict("records"))
    keys = pd.DataFrame(
        {
            "quality_reason": reasons.reindex(frame.index).fillna(""),
            "near_peak": near_peak(demand).reindex(frame.index).fillna(""),
            "run_id": [_run_id(row) for row in rows],
            "layout": [deployment_text(row) for row in rows],
            "series": [series_key(row) for row in rows],
            "sweep": [sweep_key(row) for row in rows],
            "frontier": [frontier_key(row) for row in rows],
        },
        index=frame.index,
    )
    splits = {key: split_of(key) for key in keys["series"].unique()}
    keys["split"] = keys["series"].map(splits)
    return pd.concat([frame[list(NAMES)], keys, frame[["file", "place"]]], axis=1)


def _run_id(row: dict[str, object]) -> str:
    """A name that a run keeps as long as none of its published cells changes."""
    text = "|".join([str(row[name]) for name in _PUBLISHED])
    return "m" + hashlib.sha256(text.encode()).hexdigest()[:9]


def _unknown_sources(frame: pd.DataFrame) -> list[Violation]:
    from calibration.measured.table import Violation

    known = load_sources()
    found = []
    for field in ("source", "also_in"):
        for text in frame[field].unique():
            unknown = [key for key in text.split() if key not in known]
            found += [
                Violation(
                    file=str(row["file"]),
                    place=str(row["place"]),
                    field=field,
                    value=text,
                    problem=str(unknown_name(field=field, value=unknown[0], known=known)),
                )
                for row in (frame[frame[field] == text].to_dict("records") if unknown else ())
            ]
    return found


def select_runs(
    frame: pd.DataFrame,
    *,
    models: Sequence[str] | None = None,
    skus: Sequence[str] | None = None,
    engines: Sequence[str] | None = None,
    speculation: Sequence[str] | None = None,
    sources: Sequence[str] | None = None,
    quality: str | None = None,
    since: str | None = None,
    until: str | None = None,
) -> pd.DataFrame:
    """The runs that match every filter given; see `load_measured`."""

    def canonical_sku(name: str) -> str:
        return load_sku(name).key

    filters: tuple[tuple[str, Sequence[str] | None, Callable[[str], str]], ...] = (
        ("model", models, canonical_model),
        ("sku", skus, canonical_sku),
        ("engine", engines, lambda name: load_engine(name).label),
        ("speculation", speculation, _one_of("speculation", _choices("speculation"))),
        ("source", sources, _one_of("source", frame["source"].unique())),
        ("quality", [quality] if quality else None, _one_of("quality", QUALITIES)),
    )
    for column, wanted, canonical in filters:
        if wanted is not None:
            frame = frame[frame[column].isin([canonical(name) for name in wanted])]
    if since is not None or until is not None:
        last_day = {text: parse_date(text) for text in frame["date"].unique() if text}
        first = parse_date(since).replace(day=1) if since and len(since) == 7 else since
        earliest = parse_date(first) if isinstance(first, str) else first
        latest = parse_date(until) if until else None
        kept = {
            text
            for text, day in last_day.items()
            if (earliest is None or day >= earliest) and (latest is None or day <= latest)
        }
        frame = frame[frame["date"].isin(kept)]
    return frame


def _choices(name: str) -> tuple[str, ...]:
    return next(column.choices for column in COLUMNS if column.name == name)


def _one_of(field: str, known: Iterable[str]) -> Callable[[str], str]:
    names = {name.lower(): name for name in known}

    def canonical(name: str) -> str:
        if name.lower() not in names:
            raise unknown_name(field=field, value=name, known=names)
        return names[name.lower()]

    return canonical


def implied_mean_ttft_s(frame: pd.DataFrame) -> pd.Series:
    """Mean TTFT that Little's law implies for runs that publish none. [s]

    ``TTFT = 0.977 C / rate - (L_out - 1) TPOT`` with the request rate from the token throughput.
    Where the mean TTFT is measured the error is -3 to +1 % (10th to 90th percentile) of the time
    of a whole request, the larger part of a short TTFT; no figure of this kind is stored. NaN
    where throughput, GPUs, lengths or TPOT are unknown.
    """
    _, outputs = mean_lengths(frame)
    whole_s = CLOSURE * frame["concurrency"] / request_rate_per_s(frame)
    return whole_s - (outputs - 1) * tpot_of(frame)


def to_predict_columns(frame: pd.DataFrame, *, figures: bool = False) -> pd.DataFrame:
    """The runs as a table that ``simulate predict`` reads: text cells, its column names.

    Parameters
    ----------
    frame:
        Runs from `load_measured`.
    figures:
        Whether what was measured stands behind the configuration; it passes through unread.
    """
    return pd.DataFrame(
        {column: frame[name].map(cell_text) for name, column in _table_columns(figures).items()},
        index=frame.index,
        dtype=object,
    )


def to_records(frame: pd.DataFrame) -> list[dict[str, object]]:
    """The runs as records under the same names: numbers, whole ones as such, None if unknown."""
    columns = _table_columns(figures=True)
    rows = cast("list[dict[str, object]]", frame[list(columns)].to_dict("records"))
    return [{columns[name]: _json_value(value) for name, value in row.items()} for row in rows]


def _table_columns(figures: bool) -> dict[str, str]:
    """Columns of a table for ``simulate predict`` by their names here."""
    measured = [name for name in NAMES if name not in PREDICT_NAMES]
    names = ["run_id", *PREDICT_NAMES, *([*measured, "quality_reason"] if figures else [])]
    return {name: PREDICT_NAMES.get(name, name) for name in names}


def _json_value(value: object) -> object:
    if value == "" or value is None or value != value:
        return None
    return int(value) if isinstance(value, float) and value.is_integer() else value


def cell_text(value: object) -> str:
    """A cell as the tables write it: six significant digits, true or false, blank if unknown."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
