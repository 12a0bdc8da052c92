"""What the simulator says of observations at given parameters, and how that changes."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from calibration.kernels.left_out import without_kernels
from simulator.output.kept_work import once
from simulator.prediction.assembly import named_software
from simulator.prediction.run import simulate_run
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from calibration.fit.effects import Parameter
    from calibration.fit.observations import Observation
    from calibration.kernels.left_out import Absent
    from hwmodels.software import SoftwareLevel
    from simulator.output.kept_work import KeptWork

    FloatArray = npt.NDArray[np.float64]
    _Group = tuple[list[Observation], list[FloatArray], list[str], Absent | None, bool]

KEPT_TOGETHER = 64
"""Groups of runs of equal step costs that are kept in one file."""

STEP = 0.15
"""Change of a log parameter from which a derivative is taken. [-]"""

SHORT_REQUESTS_PER_CLIENT = 3
"""Requests a client in a shortened run; InferenceX sends ten. [requests]"""

SHORTENED_CLIENTS = 8
"""Clients from which a run is shortened; with fewer, chance would show. [requests]"""


def respond(
    *,
    observations: Sequence[Observation],
    logs: FloatArray,
    parameters: Sequence[Parameter],
    workers: int = 2,
    absent: Sequence[Absent | None] | None = None,
    short: bool = False,
    kept: KeptWork | None = None,
) -> FloatArray:
    """Simulated logarithms of throughput, TPOT and TTFT, one row an observation.

    Parameters
    ----------
    logs:
        Log parameters over their starting values, one row an observation.
    workers:
        Processes; the result does not depend on their number.
    absent:
        Whose kernel tables are left out, one an observation; ``None`` leaves none out.
    short:
        Whether fewer requests are served: a third of the time, with ramp and drain of larger
        weight, which cancels in derivatives.
    kept:
        Where what is simulated is kept, `KEPT_TOGETHER` groups a file, so that the same fit goes
        on there after an interruption.

    Returns
    -------
    Rows of NaN where a run does not fit or cannot finish.
    """
    missing = absent or [None] * len(observations)
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, observation in enumerate(observations):
        key = (observation.configuration.step_cost_key, logs[index].tobytes(), missing[index])
        groups.setdefault(key, []).append(index)
    tasks = sorted(
        groups.values(), key=lambda g: -sum(observations[i].configuration.concurrency for i in g)
    )
    names = [parameter.name for parameter in parameters]
    inputs = [
        ([observations[i] for i in task], [logs[i] for i in task], names, missing[task[0]], short)
        for task in tasks
    ]
    together = len(tasks) if kept is None else KEPT_TOGETHER
    results: list[FloatArray] = []
    for first in range(0, len(tasks), max(together, 1)):
        part = inputs[first : first + together]
        if kept is None:
            results += _respond_groups(part, workers=workers)
        else:
            members = [i for task in tasks[first : first + together] for i in task]
            of_part = [observations[i] for i in members]
            name = _part_key(of_part, logs[members], names=names, short=short)
            results += once(kept, name, partial(_respond_groups, part, workers=workers))
    out = np.full((len(observations), 3), np.nan)
    for task, rows in zip(tasks, results, strict=True):
        out[task] = rows
    return out


def _part_key(
    observations: Sequence[Observation], logs: FloatArray, *, names: list[str], short: bool
) -> str:
    """What a part's responses follow from, besides the inputs of the whole fit."""
    digest = hashlib.sha256(np.ascontiguousarray(logs).tobytes())
    for observation in observations:
        digest.update(f"{observation.row}\0{observation.build}\0".encode())
    return f"{digest.hexdigest()} {' '.join(names)} {short}"


def _respond_groups(inputs: Sequence[_Group], *, workers: int) -> list[FloatArray]:
    if workers == 1 or len(inputs) < 2:
        return [_respond_group(*each) for each in inputs]
    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=workers, batch_size=1)
    found: list[FloatArray] = parallel(delayed(_respond_group)(*each) for each in inputs)
    return found


def _respond_group(
    observations: list[Observation],
    logs: list[FloatArray],
    names: list[str],
    absent: Absent | None,
    short: bool,
) -> FloatArray:
    rows: FloatArray = np.array(
        [
            _respond_one(o, dict(zip(names, row, strict=True)), absent, short)
            for o, row in zip(observations, logs, strict=True)
        ]
    )
    return rows


def _respond_one(
    observation: Observation, logs: dict[str, float], absent: Absent | None, short: bool
) -> FloatArray:
    configuration = observation.configuration
    if short and configuration.concurrency >= SHORTENED_CLIENTS:
        configuration = replace(configuration, requests_per_client=SHORT_REQUESTS_PER_CLIENT)
    sku = configuration.sku
    try:
        software = tuned(named_software(configuration), logs=logs)
        if absent is not None:
            software = without_kernels(software, sku=sku, absent=absent)
        metrics = simulate_run(configuration, software=software).metrics
    except UserError:
        return np.full(3, np.nan)
    tpot = metrics.tpot.mean_s if observation.mean_tpot else metrics.tpot.median_s
    ttft = metrics.ttft.mean_s if observation.mean_ttft else metrics.ttft.median_s
    simulated: FloatArray = np.log(np.array([metrics.total_tput_per_gpu, tpot, ttft]))
    return simulated


def tuned(software: SoftwareLevel, *, logs: dict[str, float]) -> SoftwareLevel:
    """A level with its parameters multiplied by the exponentials of ``logs``."""
    return software.with_parameters(
        {
            name: software.parameters.get(name, 1.0) * float(np.exp(value))
            for name, value in logs.items()
        }
    )


def jacobian(
    *,
    observations: Sequence[Observation],
    logs: FloatArray,
    parameters: Sequence[Parameter],
    workers: int = 2,
    kept: KeptWork | None = None,
) -> FloatArray:
    """Derivatives of shortened runs' responses, (observations, metrics, parameters). [-]

    Acceptance is only varied where it is not known.
    """
    base = respond(
        observations=observations,
        logs=logs,
        parameters=parameters,
        workers=workers,
        short=True,
        kept=kept,
    )
    slopes = np.zeros((len(observations), 3, len(parameters)))
    for column, parameter in enumerate(parameters):
        rows = [
            index
            for index, observation in enumerate(observations)
            if parameter.name != "acceptance_scale" or not observation.fixed_acceptance
        ]
        moved = logs[rows].copy()
        moved[:, column] += STEP
        responses = respond(
            observations=[observations[i] for i in rows],
            logs=moved,
            parameters=parameters,
            workers=workers,
            short=True,
            kept=kept,
        )
        slopes[rows, :, column] = (responses - base[rows]) / STEP
    return slopes
