"""One configuration from its settings to its metrics."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from simulator.analysis.metrics import RunMetrics, run_metrics
from simulator.prediction.assembly import assemble
from simulator.prediction.bands import bands_of, cell_of
from simulator.prediction.bottleneck import name_bottleneck
from simulator.prediction.notes import binding_limits, counted_in_chips
from simulator.scenario.configuration import RunResult
from simulator.serving.client import ClosedLoop
from simulator.serving.deployment import run_deployment
from workloads.errors import UserError
from workloads.requests.synthetic import inferencex_requests
from workloads.speculation import (
    NO_SPECULATION,
    Acceptance,
    acceptance_of_length,
    draw_decode_steps,
    published_acceptance,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from hwmodels.software import SoftwareLevel
    from simulator.prediction.assembly import Assembly
    from simulator.scenario.configuration import RunConfiguration
    from simulator.serving.callbacks import StepRun
    from simulator.serving.deployment import Checkpoint
    from simulator.serving.records import Records
    from workloads.requests.lengths import IntArray
    from workloads.requests.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """A simulated run: its records, what follows from them and what it was made of."""

    assembly: Assembly
    records: Records
    metrics: RunMetrics
    configuration: RunConfiguration
    bands: dict[str, tuple[float, float]]
    messages: tuple[str, ...] = ()

    @property
    def bottleneck(self) -> str:
        """What binds the run most of the time, see `simulator.prediction.bottleneck`.

        Worked out here.
        """
        prefill, decode = self.assembly.phases
        return name_bottleneck(
            prefill=prefill,
            decode=decode,
            pool=self.assembly.pools[-1],
            drafts=self.configuration.drafts,
            requests_per_rank=self._requests_per_rank,
            prompt_tokens=self.metrics.prompt_tokens / self.metrics.requests,
            output_tokens=self.metrics.output_tokens / self.metrics.requests,
        )

    @property
    def kv_fill(self) -> float:
        """Share of the KV pools' blocks that all requests take, or as many as may run. [-]"""
        last = self.assembly.pools[-1]
        cap = last.engine.running_cap(attention_dp=last.layout.attention_dp)
        tokens = (self.metrics.prompt_tokens + self.metrics.output_tokens) / self.metrics.requests
        blocks = min(self._requests_per_rank, cap) * last.kv_pool.blocks(tokens)
        return blocks / last.kv_pool.total_blocks

    @property
    def _requests_per_rank(self) -> float:
        last = self.assembly.pools[-1]
        return self.configuration.concurrency / (last.workers * last.layout.attention_dp)

    @property
    def kind(self) -> str:
        """Kind of prediction, by what is known of the software level."""
        return self.assembly.software.kind


def acceptance_of(
    configuration: RunConfiguration, *, software: SoftwareLevel, on_text: bool = False
) -> Acceptance:
    """Accepted drafts per step of a configuration.

    Its own length where that is known; else its published source, with the accepted drafts
    scaled by what the software level's runs showed. These had random tokens, of which fewer
    drafts are accepted; text takes the source as it stands.

    Parameters
    ----------
    on_text:
        Whether requests are text; those of drawn lengths are.

    Raises
    ------
    UserError
        If it speculates and neither is given.
    """
    drafts = configuration.drafts
    if not drafts:
        return NO_SPECULATION
    if configuration.acceptance_length is not None:
        return acceptance_of_length(
            acceptance_length=configuration.acceptance_length, drafts=drafts
        )
    if configuration.acceptance_source is None:
        raise UserError(
            f"acceptance of {drafts} drafts is unknown for {configuration.model}; give the mean "
            "tokens per step with --acceptance-length"
        )
    published = published_acceptance(name=configuration.acceptance_source, drafts=drafts)
    scale = software.parameters.get("acceptance_scale", 1.0)
    if scale == 1.0 or on_text or configuration.drawn is not None:
        return published
    length = 1.0 + scale * (published.acceptance_length - 1.0)
    # short of the limit, at which every draft would always be accepted
    return acceptance_of_length(acceptance_length=min(length, drafts + 0.99), drafts=drafts)


def simulate_run(
    configuration: RunConfiguration,
    *,
    software: SoftwareLevel | None = None,
    on_step: Callable[[StepRun], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> RunOutcome:
    """Serve InferenceX's closed-loop load on a deployment.

    As many requests a client are measured as the configuration says; InferenceX's warm-up
    requests end before the measured ones start and leave the engine empty, so they are not
    simulated.

    Parameters
    ----------
    software:
        In place of the level that the configuration names.
    on_step:
        Called after every run of engine steps.
    checkpoint:
        Looks at the run on its way, see `simulator.serving.deployment`.

    Raises
    ------
    UserError
        As `assemble`, or if a request can never be served.
    """
    assembly = assemble(configuration, software=software)
    requests = _requests(configuration, acceptance_of(configuration, software=assembly.software))
    records = run_deployment(
        deployment=assembly.deployment,
        requests=requests,
        load=ClosedLoop(
            concurrency=configuration.concurrency,
            first_rate_per_s=configuration.request_rate_per_s,
            turnaround_s=configuration.turnaround_s,
        ),
        on_step=on_step,
        checkpoint=checkpoint,
    )
    metrics = run_metrics(
        records,
        gpus=configuration.gpus,
        prefill_gpus=sum(p.gpus for p in configuration.pools if p.role != "decode"),
        decode_gpus=sum(p.gpus for p in configuration.pools if p.role != "prefill"),
        concurrency=configuration.concurrency,
    )
    return RunOutcome(
        assembly=assembly,
        records=records,
        metrics=metrics,
        configuration=configuration,
        bands=bands_of(
            metrics,
            basis=assembly.software.basis,
            cell=cell_of(
                engine=assembly.software.engine,
                generation=assembly.software.generation,
                requests_per_rank=configuration.concurrency
                / (configuration.pools[-1].workers * configuration.pools[-1].layout.attention_dp),
            ),
            directory=configuration.calibration,
        ),
        messages=(
            *assembly.software.messages,
            *binding_limits(assembly, configuration),
            *counted_in_chips(configuration),
            *assembly.kv_messages,
        ),
    )


def _requests(configuration: RunConfiguration, acceptance: Acceptance) -> list[Request]:
    """The requests of the load; the first n do not depend on how many follow."""
    count = configuration.requests_per_client * configuration.concurrency
    requests = _drawn(
        isl=configuration.isl,
        osl=configuration.osl,
        distribution=configuration.length_distribution,
        laws=configuration.drawn,
        acceptance=acceptance,
        seed=configuration.seed,
    )
    if len(requests) < count:
        lengths_rng, acceptance_rng = np.random.default_rng(configuration.seed).spawn(2)

        def decode_steps(output_tokens: IntArray) -> IntArray:
            return draw_decode_steps(
                rng=acceptance_rng, output_tokens=output_tokens, acceptance=acceptance
            )

        if configuration.drawn is not None:
            requests[:] = configuration.drawn.requests(
                rng=lengths_rng, count=count, decode_steps=decode_steps
            )
        else:
            requests[:] = inferencex_requests(
                isl=configuration.isl,
                osl=configuration.osl,
                count=count,
                rng=lengths_rng,
                distribution=configuration.length_distribution,
                decode_steps=decode_steps,
            )
    return requests[:count]


@lru_cache(maxsize=4)
def _drawn(**_: object) -> list[Request]:
    """The longest list of requests drawn so far with these lengths and acceptance."""
    return []


def predict_run(configuration: RunConfiguration) -> RunResult:
    """What `simulator.studies.predict.run` needs of a run."""
    outcome = simulate_run(configuration)
    return RunResult(
        metrics=outcome.metrics,
        bottleneck=outcome.bottleneck,
        kind=outcome.kind,
        bands=outcome.bands,
    )
