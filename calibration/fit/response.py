"""What the simulator says of observations at given parameters, and how that changes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from calibration.kernels.left_out import without_kernels
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

    FloatArray = npt.NDArray[np.float64]

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
    if workers == 1 or len(tasks) < 2:
        results = [_respond_group(*each) for each in inputs]
    else:
        from joblib import Parallel, delayed

        parallel = Parallel(n_jobs=workers, batch_size=1)
        results = parallel(delayed(_respond_group)(*each) for each in inputs)
    out = np.full((len(observations), 3), np.nan)
    for task, rows in zip(tasks, results, strict=True):
        out[task] = rows
    return out


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
) -> FloatArray:
    """Derivatives of shortened runs' responses, (observations, metrics, parameters). [-]

    Acceptance is only varied where it is not known.
    """
    base = respond(
        observations=observations, logs=logs, parameters=parameters, workers=workers, short=True
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
        )
        slopes[rows, :, column] = (responses - base[rows]) / STEP
    return slopes
