"""What a closed loop comes to in the mean, from single steps: an estimate that spares runs.

A run takes up to seconds, this takes milliseconds: sweeps use it to choose which runs are worth
their time. It is no prediction: nothing in a result rests on it, and progress tells of it as an
estimate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from simulator.prediction.assembly import assemble
from simulator.prediction.bounds import deployment_bounds

if TYPE_CHECKING:
    from simulator.prediction.bounds import DeploymentBounds
    from simulator.scenario.configuration import RunConfiguration

_HALVINGS = 14
_TAIL = 1.5
"""The 90 % quantile of a wait over its mean, of waits between even and exponential. [-]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SteadyState:
    """Mean values of a closed loop.

    Parameters
    ----------
    interactivity:
        Tokens per second of a user while decoding. [tok/s]
    total_tput_per_gpu:
        Prompt and output tokens per second and GPU. [tok/s]
    ttft_s:
        About the 90 % quantile of the time to first token. [s]
    kv_fill:
        Share of the KV pools' blocks that all requests take, or as many as may run. [-]
    """

    interactivity: float
    total_tput_per_gpu: float
    ttft_s: float
    kv_fill: float


class SteadyStates:
    """Mean values of configurations one after another.

    Those that differ in their clients alone, as most of a deployment do, are assembled once.
    """

    def __init__(self) -> None:
        self._before: tuple[RunConfiguration, DeploymentBounds] | None = None

    def of(self, configuration: RunConfiguration) -> SteadyState:
        """Mean values of a configuration, see `steady_state`."""
        alike = replace(configuration, concurrency=1)
        if self._before is None or self._before[0] != alike:
            bounds = deployment_bounds(configuration, assembly=assemble(configuration))
            self._before = alike, bounds
        return _mean_values(configuration, self._before[1])


def steady_state(configuration: RunConfiguration) -> SteadyState:
    """Mean values of a configuration under its closed loop.

    Raises
    ------
    UserError
        As `simulator.prediction.assembly.assemble`.
    """
    return SteadyStates().of(configuration)


def _mean_values(configuration: RunConfiguration, bounds: DeploymentBounds) -> SteadyState:
    clients = configuration.concurrency
    mixed = len(configuration.pools) == 1
    rate, running = (_mixed if mixed else handed_over)(bounds, clients=clients)
    tokens = bounds.prompt_tokens + bounds.output_tokens
    # by Little's law, what is not decoding waits for its first token or has its prompt computed
    decode_s = running / rate if rate else float("inf")
    ttft_s = max(bounds.alone_ttft_s, _TAIL * (clients - running) / rate)
    return SteadyState(
        interactivity=(bounds.output_tokens - 1.0) / decode_s,
        total_tput_per_gpu=rate * tokens / configuration.gpus,
        ttft_s=ttft_s,
        kv_fill=bounds.kv_fill(clients),
    )


def _mixed(bounds: DeploymentBounds, *, clients: int) -> tuple[float, float]:
    """Requests per second, and requests that decode, where workers do both kinds of work.

    A worker's time goes to prompts and to decode steps in turn: ``X (p + D d(n) / n) = 1``, with
    ``p`` worker-seconds a prompt, ``D`` decode steps a request and ``d(n)`` seconds a step.
    """
    workers = bounds.last.workers
    prompt_s = workers / bounds.prefill_requests_per_s
    held = min(clients / workers, bounds.most_running)
    alone_ttft_s = bounds.alone_ttft_s
    running = held
    rate = 0.0
    for _ in range(3):
        step_s = bounds.decode_step_s(max(1, round(running)))
        alone_s = alone_ttft_s + bounds.decode_steps * step_s
        rate = min(
            1.0 / (prompt_s + bounds.decode_steps * step_s / running),
            held / alone_s,
        )
        running = max(min(1.0, held), held - rate * alone_ttft_s)
    return workers * rate, workers * running


def handed_over(
    bounds: DeploymentBounds,
    *,
    clients: int,
    prefill_share: float = 1.0,
    decode_share: float = 1.0,
) -> tuple[float, float]:
    """Requests per second, and requests that decode, where pools take turns.

    The pools work side by side: decode batches grow with the clients until prompts come no
    faster, or the pool holds no more.

    Parameters
    ----------
    prefill_share, decode_share:
        Workers of either pool over those that there are. [-]
    """
    workers = decode_share * bounds.last.workers
    most_prompts = prefill_share * bounds.prefill_requests_per_s
    alone_ttft_s = bounds.alone_ttft_s
    most_running = min(float(clients), workers * bounds.most_running)

    def decoded(running: float) -> float:
        step_s = bounds.decode_step_s(max(1, round(running / workers)))
        return running / (bounds.decode_steps * step_s)

    def clients_of(running: float) -> float:
        rate = decoded(running)
        if rate >= most_prompts:
            return float("inf")
        # the wait before a prompt pool of one queue, as of Poisson arrivals of even work
        load = rate / most_prompts
        wait_s = load / (2.0 * (1.0 - load)) / most_prompts
        return running + rate * (alone_ttft_s + wait_s)

    if clients_of(most_running) <= clients:
        return decoded(most_running), most_running
    low, high = 1e-3 * most_running, most_running
    for _ in range(_HALVINGS):
        middle = (low * high) ** 0.5
        if clients_of(middle) <= clients:
            low = middle
        else:
            high = middle
    return min(decoded(low), most_prompts), low
