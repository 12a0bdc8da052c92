"""Measured runs as what a fit compares: a configuration, its level and its logarithms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from calibration.fit.effects import LevelKey
from hwmodels.software import MEDIAN_LEVEL
from simulator.engines.labels import load_engine
from simulator.recipes.recorded import image_version, recorded_since
from simulator.scenario.table_rows import configure_row
from workloads.errors import UserError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Hashable, Mapping

    import numpy.typing as npt
    import pandas as pd

    from simulator.scenario.configuration import RunConfiguration

    FloatArray = npt.NDArray[np.float64]

METRICS = ("throughput", "tpot", "ttft")

NOISE = {"throughput": 0.05, "tpot": 0.05, "ttft": 0.2}
"""Standard deviation of the logarithm between repeated runs of one build. [-]

Throughput and TPOT: 4 % night to night in AMD's continuous integration (ROCm/ATOM). TTFT:
the opening burst and client overheads are not part of the model, so it counts little.
"""


MOSTLY = 0.6
"""Share of its days from which one image stands for an undated median. [-]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One measured run beside its configuration.

    Parameters
    ----------
    row:
        Position in the measured table.
    series:
        Label without concurrency.
    level:
        Software level that it belongs to.
    measured:
        Natural logarithms of throughput per GPU, TPOT and TTFT, NaN where unknown.
    mean_tpot, mean_ttft:
        Whether TPOT and TTFT are means; medians otherwise.
    fixed_acceptance:
        Whether the run's own acceptance is known, or it does not speculate.
    messages:
        What had to be assumed of its configuration.
    image:
        Container image of the servers; empty where it is not known.
    """

    row: int
    series: str
    level: LevelKey
    configuration: RunConfiguration
    measured: FloatArray
    mean_tpot: bool
    mean_ttft: bool
    fixed_acceptance: bool
    messages: tuple[str, ...] = ()
    image: str = ""

    @property
    def build(self) -> str:
        """What the series has of this software level, in a word."""
        return f"{self.series} @{self.level.level_date}"


def observe(frame: pd.DataFrame) -> tuple[list[Observation], dict[int, str]]:
    """Observations of the rows that can be simulated, and why others cannot.

    Parameters
    ----------
    frame:
        Measured runs in the columns that ``simulate predict`` reads, with the measured
        columns, ``quality`` and ``series`` beside them.
    """
    observations: list[Observation] = []
    refused: dict[int, str] = {}
    for position, row in enumerate(frame.to_dict("records")):
        try:
            cells = {str(name): value for name, value in row.items()}
            configuration, messages = configure_row(cells)
        except UserError as error:
            refused[position] = str(error)
            continue
        tpot_is_mean = _missing(row, "median_tpot_s")
        ttft_is_mean = not _missing(row, "mean_ttft_s")
        measured = [
            row.get("total_tput_per_gpu"),
            row.get("mean_tpot_s" if tpot_is_mean else "median_tpot_s"),
            row.get("mean_ttft_s" if ttft_is_mean else "median_ttft_s"),
        ]
        observations.append(
            Observation(
                row=position,
                series=str(row["series"]),
                level=level_key(configuration, level_date=level_date_of(row)),
                configuration=replace(configuration, specification=True),
                measured=np.log(np.array([np.nan if m is None else float(m) for m in measured])),
                mean_tpot=tpot_is_mean,
                mean_ttft=ttft_is_mean,
                fixed_acceptance=configuration.drafts == 0
                or not _missing(row, "acceptance_length"),
                messages=messages,
                image="" if _missing(row, "image") else str(row["image"]),
            )
        )
    return _by_build(observations), refused


def _by_build(observations: list[Observation]) -> list[Observation]:
    """Observations whose levels are builds: the days of one image count as its first one."""
    first: dict[tuple[str, str], str] = {}
    for o in observations:
        if o.image and o.level.level_date != MEDIAN_LEVEL:
            key = (_chain(o.level), image_version(o.image))
            first[key] = min(first.get(key, o.level.level_date), o.level.level_date)
    return [
        replace(
            o, level=replace(o.level, level_date=first[_chain(o.level), image_version(o.image)])
        )
        if o.image and o.level.level_date != MEDIAN_LEVEL
        else o
        for o in observations
    ]


def _chain(level: LevelKey) -> str:
    """The software whose dates follow each other, of which a level is one."""
    return level.groups[-1].removesuffix(level.level_date)


def level_date_of(row: Mapping[Hashable, object]) -> str:
    """Date of the software level of a row: its day, of a median its month, or the median's name.

    An undated median most of whose days one image held is of the day from which that image's
    settings are recorded.
    """
    date = row.get("date")
    if _missing(row, "date"):
        share = row.get("image_share")
        held = not _missing(row, "image_share") and float(str(share)) >= MOSTLY
        day = build_day(row) if held else None
        return MEDIAN_LEVEL if day is None else day.isoformat()
    return str(date)[:7] if row.get("kind") == "median" else str(date)[:10]


def build_day(row: Mapping[Hashable, object]) -> dt.date | None:
    """First day from which settings of a row's image are recorded; ``None`` if they are not."""
    if _missing(row, "image"):
        return None
    engine = load_engine(str(row["engine"])).label
    return recorded_since(str(row["image"]), engine=engine, sku=str(row["sku"]))


def level_key(configuration: RunConfiguration, *, level_date: str) -> LevelKey:
    """The software level of a configuration at a date."""
    sku = configuration.sku
    return LevelKey(
        family=configuration.architecture.family,
        model=configuration.architecture.name,
        engine=configuration.engine.software,
        sku=sku.key,
        level_date=level_date,
        vendor=sku.vendor,
        generation=sku.generation,
        precision=configuration.precision,
    )


def _missing(row: Mapping[Hashable, object], column: str) -> bool:
    value = row.get(column)
    return value is None or value == "" or value != value
