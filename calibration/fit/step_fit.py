"""Steps of an engine's log as what a fit compares: a batch, and the logarithm of its time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from math import log, log2
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from calibration.fit.effects import FITTED
from calibration.fit.observations import Observation, level_date_of, level_key
from calibration.fit.response import tuned
from calibration.importers.facts import canonical_facts
from calibration.importers.step_logs import read_step_log
from calibration.measured.runs import cell_text
from simulator.prediction.assembly import assemble, named_software
from simulator.scenario.table_rows import configure_row
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from calibration.importers.step_logs import Step
    from simulator.prediction.assembly import Assembly
    from simulator.scenario.configuration import RunConfiguration

    FloatArray = npt.NDArray[np.float64]

MOST_BATCHES = 80
"""Kinds of batches of a log that are fitted, those with most steps. [batches]"""

SLOPE_STEP = 0.05
"""Change of a log parameter from which a derivative of a step's time is taken. [-]"""

ASSUMED = {"isl": 1024, "osl": 1024}
"""Lengths by which server settings are looked up where no fact says them. [tokens]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepObservation(Observation):
    """A kind of batch in an engine's log.

    Parameters
    ----------
    batch:
        Its mean step, ``kv_tokens`` known.
    steps:
        Lines of the log that it stands for.
    prompt_chunk:
        Prompt tokens of a step that computes some, where ``batch`` is a mean. [tokens]
    """

    batch: Step
    steps: int
    prompt_chunk: float


def read_steps(
    paths: Sequence[Path], *, facts: Mapping[str, object]
) -> tuple[list[StepObservation], tuple[str, ...]]:
    """Batches of engines' logs, and notes on what was assumed and left out.

    Parameters
    ----------
    facts:
        ``model``, ``sku``, ``engine`` and ``layout`` of the engine, its ``precision``,
        ``speculation``, ``date`` and whatever else a table of runs says.

    Raises
    ------
    UserError
        If a fact is missing or a log cannot be read.
    """
    configuration, cells, notes = _configuration(facts)
    found: list[StepObservation] = []
    level = level_key(configuration, level_date=level_date_of(dict(cells.items())))
    bound = assemble(configuration)
    pool = bound.pools[0]
    for path in paths:
        told = read_step_log(path)
        notes += told.notes
        capacity = told.pool_tokens
        if capacity is None and any(step.kv_tokens is None for step in told.steps):
            capacity = float(bound.kv_tokens[0])
            notes.append(
                f"{path} does not say 'GPU KV cache size'; {capacity:,.0f} tokens are assumed"
            )
        accepted = _accepted(told.steps, configuration)
        steps = [_completed(step, capacity=capacity, accepted=accepted) for step in told.steps]
        groups = _alike(steps)
        kept = sorted(groups, key=lambda key: -len(groups[key]))[:MOST_BATCHES]
        budget = pool.engine.step_token_budget(attention_dp=pool.layout.attention_dp)
        for key in kept:
            members = groups[key]
            batch = _mean(members)
            room = budget - batch.decode_requests * pool.cost.queries_per_request
            chunk = max(batch.prefill_tokens, min(room, float(configuration.isl)))
            found.append(
                StepObservation(
                    row=len(found),
                    series=f"steps of {path.name}",
                    level=level,
                    configuration=configuration,
                    measured=np.array([np.nan, log(batch.seconds), np.nan]),
                    mean_tpot=False,
                    mean_ttft=False,
                    fixed_acceptance=True,
                    batch=batch,
                    steps=len(members),
                    prompt_chunk=chunk if batch.spread else batch.prefill_tokens,
                )
            )
        notes.append(
            f"{path}: {len(told.steps):,} steps of {told.kind} in {len(groups)} kinds of batches"
            + (
                f", of which the {len(kept)} most frequent are fitted"
                if len(kept) < len(groups)
                else ""
            )
        )
    return found, tuple(dict.fromkeys(notes))


def _configuration(
    facts: Mapping[str, object],
) -> tuple[RunConfiguration, dict[str, Any], list[str]]:
    """The engine that wrote a log, its row, and what was assumed of it."""
    known = canonical_facts(facts, origin="--fact")
    missing = [name for name in ("model", "sku", "engine") if name not in known]
    missing += ["layout"] if "decode_tp" not in known else []
    if missing:
        raise UserError(
            f"a step log does not say {', '.join(missing)}; give --fact {missing[0]}=..."
        )
    if str(known.get("disaggregated")) == "True":
        raise UserError("a step log is of one engine; give its own layout, as in --fact layout=TP8")
    assumed = {name: value for name, value in ASSUMED.items() if name not in known}
    filled = {"concurrency": 64, "gpus": known.get("decode_gpus"), **assumed, **known}
    cells = {name: cell_text(value) for name, value in filled.items()}
    configuration, messages = configure_row(_table_names(cells))
    notes = [text for text in messages if text]
    if assumed:
        lengths = " and ".join(f"{name} {value}" for name, value in assumed.items())
        notes.append(f"server settings are those for {lengths}; give --fact isl=... if others")
    return replace(configuration, specification=True), cells, notes


def _table_names(cells: Mapping[str, str]) -> dict[str, str]:
    from calibration.measured.schema import PREDICT_NAMES

    return {PREDICT_NAMES.get(name, name): value for name, value in cells.items()}


def _accepted(steps: Sequence[Step], configuration: RunConfiguration) -> float:
    """Accepted tokens a request and step: of the log's mean, else as stated. [tokens]"""
    if not configuration.drafts:
        return 1.0
    said = [step.accepted for step in steps if step.accepted is not None]
    if said:
        return float(np.mean(said))
    if configuration.acceptance_length is not None:
        return float(configuration.acceptance_length)
    if all(step.timed for step in steps):
        return 1.0
    raise UserError(
        "the log does not say how many drafts are accepted; give --fact acceptance_length=2.4"
    )


def _completed(step: Step, *, capacity: float | None, accepted: float) -> Step:
    tokens = step.kv_tokens
    if tokens is None:
        tokens = (step.kv_share or 0.0) * (capacity or 0.0)
    each = 1.0 if step.timed else (step.accepted or accepted)
    return replace(
        step,
        kv_tokens=tokens,
        seconds=step.seconds * each,
        prefill_tokens=step.prefill_tokens * each,
    )


def _alike(steps: Sequence[Step]) -> dict[tuple[int, int, int], list[Step]]:
    """Steps of like batches: a sixth of a doubling in requests, half of one in tokens."""
    groups: dict[tuple[int, int, int], list[Step]] = {}
    for step in steps:
        context = (step.kv_tokens or 0.0) / max(step.decode_requests, 1.0)
        key = (
            round(6 * log2(step.decode_requests + 1.0)),
            round(2 * log2(context + 1.0)),
            round(2 * log2(step.prefill_tokens + 1.0)),
        )
        groups.setdefault(key, []).append(step)
    return groups


def _mean(steps: Sequence[Step]) -> Step:
    """One step for alike ones: means, and the median of times."""

    def mean(name: str) -> float:
        return float(np.mean([getattr(step, name) for step in steps]))

    return replace(
        steps[0],
        seconds=float(np.median([step.seconds for step in steps])),
        decode_requests=mean("decode_requests"),
        kv_tokens=mean("kv_tokens"),
        prefill_tokens=mean("prefill_tokens"),
        prefill_requests=mean("prefill_requests"),
        prefix_tokens=mean("prefix_tokens"),
    )


class StepTimes:
    """What the simulator says of steps, in the place of whole runs; see `fit_own`."""

    def respond(self, runs: Sequence[Observation], logs: FloatArray) -> FloatArray:
        """Logarithms of step times in the place of TPOT, NaN elsewhere."""
        bound: dict[bytes, Assembly] = {}
        rows = np.full((len(runs), 3), np.nan)
        for index, run in enumerate(runs):
            key = logs[index].tobytes()
            if key not in bound:
                software = tuned(
                    named_software(run.configuration),
                    logs={p.name: float(v) for p, v in zip(FITTED, logs[index], strict=True)},
                )
                bound[key] = assemble(run.configuration, software=software)
            rows[index, 1] = log(step_s(cast("StepObservation", run), bound[key]))
        return rows

    def slopes(self, runs: Sequence[Observation], logs: FloatArray) -> FloatArray:
        """Derivatives of `respond`, (runs, metrics, parameters). [-]"""
        base = self.respond(runs, logs)
        found = np.full((len(runs), 3, len(FITTED)), np.nan)
        for column in range(len(FITTED)):
            moved = logs.copy()
            moved[:, column] += SLOPE_STEP
            found[:, :, column] = (self.respond(runs, moved) - base) / SLOPE_STEP
        return found


def step_s(run: StepObservation, assembly: Assembly) -> float:
    """Time of a batch; of a mean over steps, of those with a chunk of prompt and those without. [s]

    All attention ranks are taken to carry the same load.
    """
    batch = run.batch
    chunk = run.prompt_chunk
    if not batch.spread or not batch.prefill_tokens:
        return _time(batch, batch.prefill_tokens, assembly)
    share = min(1.0, batch.prefill_tokens / chunk)
    return share * _time(batch, chunk, assembly) + (1.0 - share) * _time(batch, 0.0, assembly)


def _time(batch: Step, prefill_tokens: float, assembly: Assembly) -> float:
    pool = assembly.pools[0]
    cost, ranks = pool.cost, pool.layout.attention_dp
    decoding = round(batch.decode_requests)
    new = round(prefill_tokens)
    tokens = max(1, decoding * cost.queries_per_request + new)
    prompts = max(1, round(batch.prefill_requests)) if new else 0
    samples = max(1, decoding + (0 if batch.spread else prompts))
    total = cost.fixed_s(
        rank_tokens=tokens,
        group_tokens=tokens * ranks,
        rank_samples=samples,
        group_samples=samples * ranks,
        has_prefill=new > 0,
    )
    total += cost.decode_attention(
        requests=decoding, context_sum=float(batch.kv_tokens or 0.0)
    ).value_s
    if prompts:
        each, before = max(1, new // prompts), round(batch.prefix_tokens / prompts)
        total += prompts * cost.prefill_attention_s(new_tokens=each, prefix_tokens=before)
    return float(total)


def kinds(observations: Sequence[StepObservation]) -> Counter[str]:
    """Lines of the log by what its steps did."""
    counted: Counter[str] = Counter()
    for each in observations:
        what = "with prompts" if each.batch.prefill_tokens >= 1.0 else "decode alone"
        counted[what] += each.steps
    return counted
