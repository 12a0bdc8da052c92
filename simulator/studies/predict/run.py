"""A table of runs in, the same table with predictions out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from hwmodels.fitted import check_calibration
from simulator.engines.pools import DoesNotFitError
from simulator.output.processes import run_in_processes
from simulator.prediction.notes import counted_in_chips
from simulator.scenario.table_columns import UNUSABLE, check_columns, is_blank
from simulator.scenario.table_rows import configure_row
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import pandas as pd

    from simulator.output.kept_work import KeptWork
    from simulator.scenario.configuration import RunConfiguration, RunResult

    Run = Callable[[RunConfiguration], RunResult]
    Progress = Callable[[int, int], None]

# Predicted columns and the metric behind each; of a disaggregated run InferenceX divides output
# by the decode GPUs.
_METRICS = {
    "total_tput_per_gpu": "total_tput_per_gpu",
    "output_tput_per_gpu": "output_tput_per_decode_gpu",
    "mean_ttft_s": "mean_ttft_s",
    "median_ttft_s": "median_ttft_s",
    "p99_ttft_s": "p99_ttft_s",
    "mean_tpot_s": "mean_tpot_s",
    "median_tpot_s": "median_tpot_s",
}
_BANDED = ("total_tput_per_gpu", "median_tpot_s", "median_ttft_s")
_NUMBERS = (
    *(f"pred_{name}" for name in _METRICS),
    *(f"pred_{name}_{end}" for name in _BANDED for end in ("lo", "hi")),
)
_TEXTS = ("kind", "status", "bottleneck", "message")
OUTPUT_COLUMNS = (*_NUMBERS, *_TEXTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What became of a row: its status, the result if it ran, what to tell."""

    status: str
    message: str
    result: RunResult | None = None

    def cells(self) -> dict[str, object]:
        cells: dict[str, object] = dict.fromkeys(_NUMBERS, float("nan"))
        cells |= {"kind": "", "status": self.status, "bottleneck": "", "message": self.message}
        if self.result is None:
            return cells
        metrics = self.result.metrics.to_dict()
        for name, metric in _METRICS.items():
            value = metrics[metric]
            cells[f"pred_{name}"] = float("nan") if value is None else value
        for name in _BANDED:
            if name in self.result.bands:
                low, high = self.result.bands[name]
                cells |= {f"pred_{name}_lo": low, f"pred_{name}_hi": high}
        return cells | {"kind": self.result.kind, "bottleneck": self.result.bottleneck}


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A configuration and the rows that ask for it: their positions and what they assumed."""

    configuration: RunConfiguration
    rows: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)


def predict_table(
    frame: pd.DataFrame,
    *,
    calibration: Path | None = None,
    workers: int = 2,
    progress: Progress | None = None,
    run: Run | None = None,
    kept: KeptWork | None = None,
) -> pd.DataFrame:
    """Predict every row of a table of runs.

    Parameters
    ----------
    frame:
        One configuration a row, in the columns that the reference lists; others, measured ones
        among them, pass through unread and in order.
    calibration:
        Directory of a user's own fit, in place of the shipped one.
    workers:
        Processes; the result does not depend on their number.
    progress:
        Called with (rows done, rows in all).
    run:
        What simulates a configuration; ``None``: `simulator.prediction.run.predict_run`.
    kept:
        Where finished runs are kept as they come, and found again.

    Returns
    -------
    The same rows with `OUTPUT_COLUMNS` behind them. A row that cannot be predicted has the
    status ``does_not_fit`` or ``unsupported`` and says why. Predictions of an earlier run are
    replaced; a column of another meaning under one of the output names, such as the ``kind`` of
    a measured run, becomes ``input_kind``.

    Raises
    ------
    UserError
        If ``workers`` is below one, or the calibration holds no fit.
    """
    import pandas as pd

    if workers < 1:
        raise UserError(f"workers is {workers}; it must be at least 1")
    if calibration is not None:
        check_calibration(calibration)
    frame = _without_output_names(frame)
    check_columns(
        map(str, frame.columns),
        filled={
            name: not frame[name].map(is_blank).all() for name in frame.columns if name in UNUSABLE
        },
    )
    outcomes: list[_Outcome | None] = [None] * len(frame)
    alike: dict[tuple[object, ...], _Waiting] = {}
    levels = _Levels()
    for position, values in enumerate(frame.itertuples(index=False, name=None)):
        row = dict(zip(frame.columns, values, strict=True))
        try:
            configuration, assumed = configure_row(row, calibration=calibration)
            level, told = levels.of(configuration)
            told = (*counted_in_chips(configuration), *told)
        except ValueError as error:
            outcomes[position] = _Outcome(status="unsupported", message=str(error))
        else:
            undated = replace(configuration, level_date=None, median=False).identity
            waiting = alike.setdefault((undated, *level), _Waiting(configuration))
            waiting.rows.append((position, (*told, *assumed)))
    done = sum(outcome is not None for outcome in outcomes)
    if progress is not None:
        progress(done, len(frame))
    for waiting, ran in _run_kept(list(alike.values()), kept=kept, workers=workers, run=run):
        for position, assumed in waiting.rows:
            parts = dict.fromkeys((ran.message, *assumed))
            outcomes[position] = replace(ran, message="; ".join(filter(None, parts)))
        done += len(waiting.rows)
        if progress is not None:
            progress(done, len(frame))
    cells = [outcome.cells() for outcome in outcomes if outcome is not None]
    added = pd.DataFrame(cells, columns=list(OUTPUT_COLUMNS), index=frame.index)
    return pd.concat([frame, added], axis=1)


class _Levels:
    """Software levels of configurations, by what a run takes from them: dates may share one."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], tuple[tuple[object, ...], tuple[str, ...]]] = {}

    def of(self, configuration: RunConfiguration) -> tuple[tuple[object, ...], tuple[str, ...]]:
        """What a level gives to a run, comparable; and what was assumed in choosing it."""
        from simulator.prediction.assembly import named_software

        key = (
            configuration.sku.fingerprint,
            configuration.prefill_sku and configuration.prefill_sku.fingerprint,
            configuration.engine.label,
            configuration.model,
            configuration.level_date,
            configuration.median,
            configuration.calibration,
        )
        if key not in self._known:
            level = named_software(configuration)
            parameters = tuple(sorted(level.parameters.items()))
            given = (parameters, level.kind, level.basis, repr(level.plan))
            self._known[key] = given, level.messages
        return self._known[key]


def _without_output_names(frame: pd.DataFrame) -> pd.DataFrame:
    """The input without earlier predictions; other columns of an output name renamed."""
    kept = frame.drop(columns=[name for name in frame.columns if name in _NUMBERS])
    if "pred_total_tput_per_gpu" in frame.columns:
        return kept.drop(columns=[name for name in kept.columns if name in _TEXTS])
    return kept.rename(columns={name: f"input_{name}" for name in _TEXTS})


def _run_kept(
    waiting: Sequence[_Waiting], *, kept: KeptWork | None, workers: int, run: Run | None
) -> Iterator[tuple[_Waiting, _Outcome]]:
    """Outcomes that an earlier run kept, then all others, kept as they come."""
    if kept is None:
        yield from _run_all(waiting, workers=workers, run=run)
        return
    fresh = []
    for each in waiting:
        part = kept.get(each.configuration.identity)
        if part is None:
            fresh.append(each)
        else:
            yield each, part[0]
    for each, outcome in _run_all(fresh, workers=workers, run=run):
        kept.put(each.configuration.identity, outcome)
        yield each, outcome


def _run_all(
    waiting: Sequence[_Waiting], *, workers: int, run: Run | None
) -> Iterator[tuple[_Waiting, _Outcome]]:
    """Run all configurations; those that share step costs go to one process, one after another."""
    groups: dict[tuple[str, ...], list[_Waiting]] = {}
    for each in waiting:
        groups.setdefault(each.configuration.step_cost_key, []).append(each)
    tasks = sorted(
        groups.values(), key=lambda group: -sum(each.configuration.concurrency for each in group)
    )
    for group in tasks:  # the requests of the longest run serve the others
        group.sort(key=lambda each: -each.configuration.concurrency)
    inputs = [(index, [each.configuration for each in group]) for index, group in enumerate(tasks)]
    results = run_in_processes(
        partial(_run_group, run=run), inputs, processes=workers, ordered=False
    )
    for index, outcomes in results:
        yield from zip(tasks[index], outcomes, strict=True)


def _run_group(
    group: tuple[int, Sequence[RunConfiguration]], *, run: Run | None
) -> tuple[int, list[_Outcome]]:
    if run is None:
        from simulator.prediction.run import predict_run

        run = predict_run
    index, configurations = group
    return index, [_run_one(configuration, run) for configuration in configurations]


def _run_one(configuration: RunConfiguration, run: Run) -> _Outcome:
    try:
        result = run(configuration)
    except DoesNotFitError as error:
        return _Outcome(status="does_not_fit", message=str(error))
    except UserError as error:
        return _Outcome(status="unsupported", message=str(error))
    except Exception as error:  # a defect in one row must not lose the others
        return _Outcome(status="unsupported", message=f"failed: {type(error).__name__}: {error}")
    return _Outcome(status="ok", message="", result=result)
