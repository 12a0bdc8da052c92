"""Why prefill and decode pools do what they do: a step of each, shares of capacity, the hand-over.

A closed loop is run, so that the batch of a decode step is the mean that was decoded and shares of
what pools can do are those of a run. Which pool holds the other up is told by mean values: what a
tenth more workers of either would bring.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from simulator.engines.pools import deployment_label, named_deployment
from simulator.prediction.bounds import deployment_bounds
from simulator.prediction.run import simulate_run
from simulator.prediction.steady import handed_over
from simulator.recipes.layouts import recipe_pools
from simulator.scenario.configure import configure_run
from simulator.scenario.target import resolve_target
from simulator.studies.explain.run import explain_configuration
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.prediction.bounds import DeploymentBounds
    from simulator.recipes.layouts import PoolRequest
    from simulator.scenario.settings import Scenario
    from simulator.serving.kv_transfer import TransferLink
    from simulator.studies.explain.request import Phase
    from simulator.studies.explain.run import Explanation

_PHASES: tuple[Phase, Phase] = ("prefill", "decode")
_MORE = 1.1
_ALIKE = 0.005
"""Gains of either pool below which neither holds the other up. [-]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOver:
    """The KV transfer of a mean prompt.

    Parameters
    ----------
    size_bytes, seconds:
        What moves, and how long it takes alone: link, posting of descriptors and latency.
        [B], [s]
    sender_share:
        Share of a prefill worker's links that transfers take. [-]
    """

    size_bytes: float
    seconds: float
    sender_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentExplanation:
    """One deployment of prefill and decode pools under a closed loop, taken apart.

    Parameters
    ----------
    label, clients:
        The deployment and its closed-loop clients. [requests]
    prefill, decode:
        A step of a worker of either pool; that of a decode worker at the mean batch of the run.
    requests_per_s:
        Of the run. [1/s]
    decoding:
        Requests that decode at a time, the mean of the run. [requests]
    most_prefilled, most_decoding:
        Requests whose prompts back-to-back steps of the prefill pool take in [1/s], and requests
        that the decode pool holds at a time [requests].
    ttft_s, tpot_s, interactivity, total_tput_per_gpu:
        Medians, speed and throughput of the run. [s], [s], [tok/s], [tok/s/GPU]
    alone_ttft_s:
        A mean prompt on an idle worker. [s]
    gain_prefill, gain_decode:
        Requests per second that a tenth more workers of either pool bring, by mean values. [-]
    hand_over:
        KV transfer of a mean prompt.
    messages:
        What was assumed.
    """

    label: str
    clients: int
    prefill: Explanation
    decode: Explanation
    requests_per_s: float
    decoding: float
    most_prefilled: float
    most_decoding: float
    ttft_s: float
    tpot_s: float
    interactivity: float
    total_tput_per_gpu: float
    alone_ttft_s: float
    gain_prefill: float
    gain_decode: float
    hand_over: HandOver
    messages: tuple[str, ...]

    @property
    def binds(self) -> str:
        """The pool of which more workers bring more: ``prefill``, ``decode`` or ``neither``."""
        if max(self.gain_prefill, self.gain_decode) < _ALIKE:
            return "neither"
        return "prefill" if self.gain_prefill > self.gain_decode else "decode"

    def to_dict(self) -> dict[str, Any]:
        """Everything in plain types, SI units in the names."""
        names = set(self.__dataclass_fields__) - {"prefill", "decode", "hand_over", "messages"}
        return {
            **{name: getattr(self, name) for name in self.__dataclass_fields__ if name in names},
            "binds": self.binds,
            "hand_over": {
                name: getattr(self.hand_over, name) for name in self.hand_over.__dataclass_fields__
            },
            "prefill": self.prefill.to_dict(),
            "decode": self.decode.to_dict(),
            "messages": list(self.messages),
        }


def has_pools(scenario: Scenario, *, deployment: str | None) -> bool:
    """Whether an explanation is about prefill and decode pools.

    Where a label says so, or the engine has an orchestrator and no layout is stated.
    """
    if deployment is not None:
        return "+" in deployment
    stated = (scenario.gpus, scenario.tp, scenario.ep, scenario.dp_attention)
    return all(value is None for value in stated) and bool(
        resolve_target(scenario).engine.engine.orchestrator
    )


def explain_deployment(
    scenario: Scenario,
    *,
    clients: int,
    deployment: str | None = None,
    context: int | None = None,
    new_tokens: int | None = None,
    sensitivities: bool = True,
    assumed: str = "",
) -> DeploymentExplanation | Explanation:
    """Take a deployment apart: a step of each pool, what either could do, and the hand-over.

    Parameters
    ----------
    clients:
        Closed-loop clients of the whole deployment. [requests]
    deployment:
        Label such as ``1xDEP8+1xDEP16``; ``None``: what the engine's recipe ran nearest to the
        clients, whose explanation is that of one worker where it is aggregated.
    context, new_tokens:
        As `simulator.studies.explain.run.explain_scenario`, the context of decoding requests and
        the tokens of a prompt chunk.
    assumed:
        How the deployment was chosen, where it was left open.

    Raises
    ------
    UserError
        If a name is unknown, a number out of range, or the model does not fit.
    """
    if clients < 1:
        raise UserError(f"concurrency is {clients}; it must be at least 1")
    asked: Sequence[PoolRequest] | Sequence[Any] = recipe_pools()
    if deployment is not None:
        asked = named_deployment(deployment)
    configuration, recipe = configure_run(scenario, pools=asked, concurrency=clients)
    told = (assumed,) if assumed else ()
    if len(configuration.pools) == 1:
        (pool,) = configuration.pools
        one = replace(
            configuration,
            pools=(replace(pool, workers=1),),
            concurrency=-(-clients // pool.workers),
        )
        return explain_configuration(
            one, context=context, sensitivities=sensitivities, messages=(*told, *recipe.messages)
        )
    outcome = simulate_run(configuration)
    bounds = deployment_bounds(configuration, assembly=outcome.assembly)
    metrics = outcome.metrics
    # Little's law over the time between first and last token
    decoding = metrics.requests_per_s * metrics.tpot.mean_s * (bounds.output_tokens - 1.0)
    workers = configuration.pools[-1].workers
    of_worker = replace(configuration, concurrency=max(1, round(decoding / workers)))
    prefill, decode = (
        explain_configuration(
            of_worker,
            phase=phase,
            pool=position,
            context=context if phase == "decode" else None,
            new_tokens=new_tokens if phase == "prefill" else None,
            sensitivities=sensitivities,
        )
        for position, phase in enumerate(_PHASES)
    )
    gains = _gains(bounds, clients=clients)
    link = outcome.assembly.deployment.transfer
    assert link is not None
    return DeploymentExplanation(
        label=deployment_label(configuration.pools),
        clients=clients,
        prefill=prefill,
        decode=decode,
        requests_per_s=metrics.requests_per_s,
        decoding=decoding,
        most_prefilled=bounds.prefill_requests_per_s,
        most_decoding=workers * bounds.most_running,
        ttft_s=metrics.ttft.median_s,
        tpot_s=metrics.tpot.median_s,
        interactivity=metrics.interactivity,
        total_tput_per_gpu=metrics.total_tput_per_gpu,
        alone_ttft_s=bounds.alone_ttft_s,
        gain_prefill=gains[0],
        gain_decode=gains[1],
        hand_over=_hand_over(
            link,
            prompt=round(bounds.prompt_tokens),
            rate_per_s=metrics.requests_per_s / configuration.pools[0].workers,
        ),
        messages=tuple(
            dict.fromkeys((*told, *recipe.messages, *prefill.messages, *decode.messages))
        ),
    )


def _hand_over(link: TransferLink, *, prompt: int, rate_per_s: float) -> HandOver:
    size_bytes, posting_s = link.size_bytes(prompt), link.posting_s(prompt)
    busy_s = size_bytes / link.bandwidth_bytes_per_s + posting_s
    return HandOver(
        size_bytes=size_bytes, seconds=busy_s + link.latency_s, sender_share=rate_per_s * busy_s
    )


def _gains(bounds: DeploymentBounds, *, clients: int) -> tuple[float, float]:
    """Relative gain in requests per second of a tenth more workers of either pool. [-]

    The pools' capacities are scaled, at as many clients: ten deployments share eleven workers.
    """
    rate, _ = handed_over(bounds, clients=clients)
    more = (
        handed_over(bounds, clients=clients, prefill_share=_MORE)[0],
        handed_over(bounds, clients=clients, decode_share=_MORE)[0],
    )
    return more[0] / rate - 1.0, more[1] / rate - 1.0
