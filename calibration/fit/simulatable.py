"""Which observations the simulator can answer for, found before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.prediction.assembly import assemble
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calibration.fit.observations import Observation


def refusals(observations: Sequence[Observation]) -> dict[int, str]:
    """Why observations cannot be simulated, by their ``row``.

    Every configuration that shares its costs with another one is put together once: a precision
    that the model does not come in, a layout that does not divide it and weights that do not fit
    show there. What depends on the load alone shows in the responses.
    """
    problems: dict[tuple[object, ...], str] = {}
    refused: dict[int, str] = {}
    for observation in observations:
        key = observation.configuration.step_cost_key
        if key not in problems:
            try:
                assemble(observation.configuration)
                problems[key] = ""
            except UserError as error:
                problems[key] = str(error).splitlines()[0]
        if problems[key]:
            refused[observation.row] = problems[key]
    return refused
