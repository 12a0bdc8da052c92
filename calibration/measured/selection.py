"""Which measured runs enter a fit, how much each is trusted, and why others stay out."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from calibration.fit.observations import METRICS, Observation, observe
from calibration.fit.simulatable import refusals
from calibration.measured.runs import load_sources, to_predict_columns
from hwmodels.sku import load_sku

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]

LARGEST_FITTED = 512
"""Clients of the largest published runs that are fitted. Larger ones are few, take longer to
simulate than all others together, and say what those of 512 say; they are predicted all the
same. [requests]"""

UNDATED_TRUST = 0.7
"""Trust in an undated median: throughput and TPOT may come from two software versions. [-]"""

UNRECORDED_TRUST = 0.7
"""Trust in a run some scheduler setting of which is not recorded or taken from elsewhere. [-]"""

NETWORK_TRUST = 0.1
"""Trust in a run a worker of which spans nodes: nothing is recorded of the network that its
collectives cross, and in the runs at hand they took tens of times what its links allow. [-]"""

_UNRECORDED = re.compile(
    r"not recorded|are assumed|stands? in\b|engine defaults|not in recipe|recipe: settings of"
)
"""What the messages of a recipe say where a setting is not the run's own."""

_OBSERVED = (
    *("series", "kind", "total_tput_per_gpu"),
    *("mean_tpot_s", "median_tpot_s", "mean_ttft_s", "median_ttft_s"),
)
_EXCLUDED = ("run_id", "source", "series", "split", "reason", "refused", "file", "place")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Runs that enter a fit.

    Parameters
    ----------
    runs:
        From `calibration.measured.runs.load_measured`, with ``own`` (a user's), ``trust`` and
        ``trust_reasons`` beside; `Observation.row` is a position in it.
    observations, weights:
        The runs as a fit takes them, and the trust in each. [-]
    unfitted:
        Runs that are too large to be fitted; they are predicted only.
    excluded:
        Runs that stay out: ``run_id``, ``source``, ``series``, ``split``, ``reason``, the ``file``
        and ``place`` that they stand in, and ``refused``: whether they cannot be simulated.
    """

    runs: pd.DataFrame
    observations: list[Observation]
    weights: FloatArray
    unfitted: list[Observation]
    excluded: pd.DataFrame

    @property
    def fitted_runs(self) -> pd.DataFrame:
        """The runs that are fitted, in the order of ``observations``."""
        return self.runs.loc[[observation.row for observation in self.observations]]

    @property
    def refused_lines(self) -> list[str]:
        """File, lines and reason of the runs that cannot be simulated, one line a reason."""
        refused = self.excluded[self.excluded["refused"].astype(bool)]
        return [
            f"{file}, {_lines(rows['place'])}: {reason}"
            for (file, reason), rows in refused.groupby(["file", "reason"], sort=False)
        ]


def select_for_fit(runs: pd.DataFrame, *, own: pd.DataFrame | None = None) -> Selection:
    """The runs that can be fitted, with their weights.

    Parameters
    ----------
    runs:
        Published runs from `calibration.measured.runs.load_measured`.
    own:
        A user's runs, as `calibration.importers.runs.import_runs` returns them; they count in
        full, whatever their source or date.
    """
    published = runs.assign(own=False)
    table = published
    if own is not None and len(own):
        table = pd.concat([published, own.assign(own=True)], ignore_index=True)
    table = _usable_figures(table.reset_index(drop=True))
    reasons = _exclusions(table)
    kept = table[reasons == ""].reset_index(drop=True)
    columns = to_predict_columns(kept)
    for name in _OBSERVED:
        columns[name] = kept[name]
    found, refused = observe(columns)
    refused |= refusals(found)
    found = [o for o in found if o.row not in refused]
    excluded = [table[reasons != ""].assign(reason=reasons[reasons != ""], refused=False)]
    if refused:
        turned_away = kept.loc[list(refused)]
        excluded.append(turned_away.assign(reason=list(refused.values()), refused=True))
    taken = kept.drop(index=list(refused))
    place = {row: position for position, row in enumerate(taken.index)}
    observations = [replace(o, row=place[o.row]) for o in found]
    taken = taken.reset_index(drop=True)
    why = [
        _doubts(o, own=bool(taken.at[o.row, "own"]), date=str(taken.at[o.row, "date"]))
        for o in observations
    ]
    taken["trust"] = [float(np.prod([factor for factor, _ in doubts])) for doubts in why]
    taken["trust_reasons"] = ["; ".join(text for _, text in doubts) for doubts in why]
    left = pd.concat(excluded)[list(_EXCLUDED)]
    small = (taken["concurrency"] <= LARGEST_FITTED) | taken["own"].astype(bool)
    fitted = [o for o in observations if small[o.row]]
    return Selection(
        runs=taken,
        observations=fitted,
        weights=taken.loc[[o.row for o in fitted], "trust"].to_numpy(np.float64),
        unfitted=[o for o in observations if not small[o.row]],
        excluded=left.reset_index(drop=True),
    )


def _lines(places: pd.Series) -> str:
    """``lines 34, 35``: places under one word where they share it."""
    texts = [str(place) for place in places]
    word = texts[0].partition(" ")[0]
    if len(texts) == 1 or not all(text.startswith(f"{word} ") for text in texts):
        return "; ".join(texts)
    return f"{word}s {', '.join(text.removeprefix(word).strip() for text in texts)}"


def _usable_figures(table: pd.DataFrame) -> pd.DataFrame:
    """The runs without the figures that their source warns of."""
    columns = {
        "throughput": ["total_tput_per_gpu"],
        "tpot": ["mean_tpot_s", "median_tpot_s"],
        "ttft": ["mean_ttft_s", "median_ttft_s"],
    }
    table = table.copy()
    for source in load_sources().values():
        rows = ~table["own"] & (table["source"] == source.key)
        for metric in METRICS:
            if metric not in source.usable:
                table.loc[rows, columns[metric]] = np.nan
    return table


def _exclusions(table: pd.DataFrame) -> pd.Series:
    """Why each run stays out; empty for those that may enter."""
    reasons = pd.Series("", index=table.index)
    figures = ["total_tput_per_gpu", "mean_tpot_s", "median_tpot_s", "mean_ttft_s"]
    silent = table[[*figures, "median_ttft_s"]].isna().all(axis=1)
    reasons[silent] = "its source gives no figure that a fit may use"
    reasons[table["isl"].isna()] = "it replays conversations, which have no nominal lengths"
    suspect = table["quality"] != "ok"
    reasons[suspect] = "suspect: " + table.loc[suspect, "quality_reason"]
    return reasons


def _doubts(observation: Observation, *, own: bool, date: str) -> list[tuple[float, str]]:
    """Factors on the trust in a run, each with its reason."""
    if own:
        return []
    doubts = [] if date else [(UNDATED_TRUST, "undated median")]
    domain = load_sku(observation.level.sku).scaleup_world
    if any(pool.layout.gpus > domain for pool in observation.configuration.pools):
        doubts.append((NETWORK_TRUST, "a worker spans nodes"))
    unknown = [text for text in observation.messages if _UNRECORDED.search(text)]
    return doubts + ([(UNRECORDED_TRUST, "; ".join(unknown))] if unknown else [])
