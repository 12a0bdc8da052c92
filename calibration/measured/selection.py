"""Which measured runs enter a fit, how much each is trusted, and why others stay out."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from calibration.fit.observations import METRICS, Observation, observe
from calibration.fit.simulatable import refusals
from calibration.measured.runs import load_sources, to_predict_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]

LARGEST_FITTED = 256
"""Clients of the largest published runs that are fitted. Larger ones take longer to simulate than
all others together; they are predicted all the same. [requests]"""

LOADED = 128
"""Clients up to which the second of a build's fitted runs is chosen; a third, up to
`LARGEST_FITTED`, shows what caps and pools do. [requests]"""

FITTED_PER_BUILD = 2
"""Concurrencies of a build up to `LOADED` that are fitted: the smallest, where floors rule, and the
largest, where bandwidth and arithmetic do. A curve's other points lie between these and are
predicted."""

UNDATED_TRUST = (0.5, 0.9)
"""Trust in an undated median that mixes many builds, and in one of a single build: throughput and
TPOT may come from two of its runs. In between by the share of days that one image held. [-]"""

UNKNOWN_SHARE = 0.5
"""Share taken where the builds of an undated median are not known, and trust for a single run
whose software is not. [-]"""

UNRECORDED_TRUST = 0.7
"""Trust in a run some scheduler setting of which is not recorded or taken from elsewhere. [-]"""

NEAR_PEAK_TRUST = 0.5
"""Trust in a run that asks for more than `calibration.measured.physics.NEAR_PEAK` of what its GPUs
give at peak. [-]"""

_UNRECORDED = re.compile(
    r"not recorded|are assumed|stands? in\b|engine defaults|not in recipe|recipe: settings of"
)
"""What the messages of a recipe say where a setting is not the run's own."""

_OBSERVED = (
    *("series", "kind", "total_tput_per_gpu"),
    *("mean_tpot_s", "median_tpot_s", "mean_ttft_s", "median_ttft_s", "image_share"),
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
    unfitted, why_unfitted:
        Runs that are predicted only, and why each is not fitted.
    excluded:
        Runs that stay out: ``run_id``, ``source``, ``series``, ``split``, ``reason``, the ``file``
        and ``place`` that they stand in, and ``refused``: whether they cannot be simulated.
    """

    runs: pd.DataFrame
    observations: list[Observation]
    weights: FloatArray
    unfitted: list[Observation]
    why_unfitted: list[str]
    excluded: pd.DataFrame

    @property
    def fitted_runs(self) -> pd.DataFrame:
        """The runs that are fitted, in the order of ``observations``."""
        return self.runs.loc[[observation.row for observation in self.observations]]

    @property
    def left_out(self) -> pd.DataFrame:
        """Every run that is not fitted, with its reason: `excluded`, then `unfitted`."""
        unfitted = self.runs.loc[[observation.row for observation in self.unfitted]]
        named = unfitted.assign(reason=self.why_unfitted, refused=False)
        return pd.concat([self.excluded, named[list(_EXCLUDED)]], ignore_index=True)

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
    why = [_doubts(o, row=cast("pd.Series[Any]", taken.loc[o.row])) for o in observations]
    taken["trust"] = [float(np.prod([factor for factor, _ in doubts])) for doubts in why]
    taken["trust_reasons"] = ["; ".join(text for _, text in doubts) for doubts in why]
    left = pd.concat(excluded)[list(_EXCLUDED)]
    why_not = _why_not_fitted(observations, own=taken["own"].astype(bool))
    fitted = [o for o in observations if o.row not in why_not]
    return Selection(
        runs=taken,
        observations=fitted,
        weights=taken.loc[[o.row for o in fitted], "trust"].to_numpy(np.float64),
        unfitted=[o for o in observations if o.row in why_not],
        why_unfitted=[why_not[o.row] for o in observations if o.row in why_not],
        excluded=left.reset_index(drop=True),
    )


def _why_not_fitted(observations: Sequence[Observation], *, own: pd.Series) -> dict[int, str]:
    """Why runs that could be fitted are predicted only, by row; a user's own are all fitted."""
    why: dict[int, str] = {}
    builds: dict[tuple[str, ...], list[Observation]] = {}
    for observation in observations:
        if own[observation.row]:
            continue
        if observation.configuration.concurrency > LARGEST_FITTED:
            why[observation.row] = f"more than {LARGEST_FITTED} clients: predicted only"
        else:
            # a label without its DP stands for several layouts, which its recipe tells apart
            layouts = (pool.layout.label for pool in observation.configuration.pools)
            builds.setdefault((observation.build, *layouts), []).append(observation)
    for runs in builds.values():
        clients = sorted({run.configuration.concurrency for run in runs})
        kept = _kept_concurrencies(clients)
        for run in runs:
            if run.configuration.concurrency not in kept:
                why[run.row] = "between fitted concurrencies of its build: predicted only"
    return why


def _kept_concurrencies(clients: Sequence[int]) -> set[int]:
    """Those of a build's concurrencies, in ascending order, that are fitted."""
    usual = [each for each in clients if each <= LOADED] or clients
    places = np.linspace(0, len(usual) - 1, min(len(usual), FITTED_PER_BUILD))
    return {usual[int(place)] for place in places.round()} | {clients[-1]}


def _lines(places: pd.Series) -> str:
    """``lines 34, 35``: places under one word where they share it."""
    texts = [str(place) for place in places]
    word = texts[0].partition(" ")[0]
    if len(texts) == 1 or not all(text.startswith(f"{word} ") for text in texts):
        return "; ".join(texts)
    return f"{word}s {', '.join(text.removeprefix(word).strip() for text in texts)}"


def undated_trust(share: float) -> float:
    """Trust in an undated median one image of which held a share of its days. [-]"""
    low, high = UNDATED_TRUST
    known = UNKNOWN_SHARE if share != share else share
    return low + (high - low) * known


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


def _doubts(observation: Observation, *, row: pd.Series) -> list[tuple[float, str]]:
    """Factors on the trust in a run, each with its reason."""
    if row["own"]:
        return []
    doubts: list[tuple[float, str]] = []
    if not row["date"]:
        doubts.append((undated_trust(float(row["image_share"])), "undated median"))
    if row["near_peak"]:
        doubts.append((NEAR_PEAK_TRUST, f"suspect: {row['near_peak']}"))
    unknown = [text for text in observation.messages if _UNRECORDED.search(text)]
    return doubts + ([(UNRECORDED_TRUST, "; ".join(unknown))] if unknown else [])
