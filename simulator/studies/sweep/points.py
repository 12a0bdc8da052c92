"""Points: one deployment under one load at one concurrency, simulated and told as a row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from simulator.analysis.metrics import goodput
from simulator.engines.pools import DoesNotFitError, deployment_label
from simulator.output.first_figure import FirstFigure
from simulator.prediction.run import simulate_run
from simulator.scenario.configure import configure_run
from simulator.scenario.reported import reported_settings
from simulator.scenario.run_cells import identity_cells
from simulator.studies.concurrency import concurrencies
from simulator.studies.sweep.bar import BEHIND, BehindError
from workloads.errors import UserError

if TYPE_CHECKING:
    from simulator.prediction.run import RunOutcome
    from simulator.recipes.resolve import ResolvedRecipe
    from simulator.scenario.candidates import Pools
    from simulator.scenario.configuration import RunConfiguration
    from simulator.scenario.settings import Scenario
    from simulator.scenario.target import Target
    from simulator.serving.records import Records
    from simulator.studies.sweep.bar import Bar

    Configured = tuple[RunConfiguration, ResolvedRecipe] | UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcurrencySweep:
    """One deployment of a target under one load at rising concurrency.

    Parameters
    ----------
    load:
        A scenario that names its engine.
    good_ttft_s:
        TTFT within which requests count as good; ``None``: goodput is not asked for. [s]
    """

    load: Scenario
    target: Target
    pools: Pools
    good_ttft_s: float | None = None

    @property
    def label(self) -> str:
        """The deployment, as ``TEP8`` or ``1xDEP8+2xTP8``."""
        return deployment_label(self.pools)

    @property
    def gpus(self) -> int:
        """GPUs of the deployment."""
        return sum(pool.gpus for pool in self.pools)

    @property
    def concurrencies(self) -> tuple[int, ...]:
        """Concurrencies to try. [requests]

        The stated ones; else powers of two to 2,048, or to 128 per GPU of a larger deployment.
        """
        return concurrencies(self.load.concurrency, gpus=self.gpus)

    @property
    def question(self) -> str:
        """What deployments have in common that compete for one frontier."""
        return self.load.model_dump_json(exclude={"concurrency", "economics"})

    @property
    def table_key(self) -> str:
        """Sweeps with the same key take their step times from the same tables, lengths aside."""
        load = self.load.model_dump_json(
            include={"sku", "prefill_sku", "overrides", "engine", "model", "precision", "spec"}
        )
        return f"{load} {self.pools}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One run, or why there is none.

    Parameters
    ----------
    cells:
        Its row: what ran, ``status``, ``reason``, and of a run what came out.
    settings:
        Value and origin of every server setting.
    records:
        Per-request records, where they were kept.
    """

    cells: dict[str, Any]
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    records: Records | None = None


def configure_point(sweep: ConcurrencySweep, concurrency: int) -> Configured:
    """What is simulated at one concurrency of a sweep, or why nothing can be."""
    try:
        return configure_run(
            sweep.load, target=sweep.target, pools=sweep.pools, concurrency=concurrency
        )
    except UserError as error:
        return error


def simulate_point(
    sweep: ConcurrencySweep,
    concurrency: int,
    *,
    configured: Configured | None = None,
    keep_records: bool = False,
    bar: Bar | None = None,
) -> Point:
    """Simulate one point; one that cannot run has a status and a reason and no metrics.

    Parameters
    ----------
    configured:
        Of `configure_point`, where that is known.
    bar:
        What it has to come near: one that does not is ended early, with the status ``behind`` and
        estimates of its speed, throughput and TTFT. ``None``: it runs to its end.
    """
    identity = identity_cells(load=sweep.load, pools=sweep.pools, concurrency=concurrency)
    configured = configured or configure_point(sweep, concurrency)
    if isinstance(configured, UserError):
        return Point(cells=identity | {"status": "unsupported", "reason": str(configured)})
    configuration, recipe = configured
    cells = identity | {"recipe": recipe.level}
    try:
        outcome = simulate_run(
            configuration, checkpoint=None if bar is None else bar.checkpoint(configuration)
        )
    except BehindError as error:
        return Point(cells=cells | error.cells | {"status": BEHIND, "reason": str(error)})
    except DoesNotFitError as error:
        return Point(cells=cells | {"status": "does_not_fit", "reason": str(error)})
    except UserError as error:
        return Point(cells=cells | {"status": "unsupported", "reason": str(error)})
    except Exception as error:  # a defect in one run must not lose the others
        return Point(
            cells=cells | {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
        )
    messages = "\n".join(dict.fromkeys((*recipe.messages, *outcome.messages)))
    cells |= result_cells(outcome)
    if sweep.good_ttft_s is not None:
        cells["goodput"] = goodput(outcome.records, ttft_slo_s=sweep.good_ttft_s).joint_share
    return Point(
        cells=cells | {"status": "ok", "reason": "", "messages": messages},
        settings=reported_settings(recipe),
        records=outcome.records if keep_records else None,
    )


def figure_of(
    sweep: ConcurrencySweep,
    concurrency: int,
    *,
    interactivity: float,
    tput: float,
    is_estimate: bool = False,
) -> FirstFigure:
    """A point of a sweep as progress tells of it.

    Parameters
    ----------
    interactivity, tput:
        Speed of the median user [tok/s/user] and throughput [tok/s/GPU].
    is_estimate:
        Whether they are mean values of single steps and not yet a run's.
    """
    about = "about " if is_estimate else ""
    return FirstFigure(
        f"{sweep.target.label} {sweep.label} c{concurrency}: {about}{tput:,.0f} tok/s/GPU at "
        f"{interactivity:.0f} tok/s/user",
        sku=sweep.target.label,
        engine=sweep.load.engine,
        spec=sweep.load.spec,
        label=sweep.label,
        concurrency=concurrency,
        interactivity=interactivity,
        total_tput_per_gpu=tput,
        is_estimate=is_estimate,
    )


def result_cells(outcome: RunOutcome) -> dict[str, Any]:
    """What came out of a run."""
    cells: dict[str, Any] = dict(outcome.metrics.to_dict())
    for name, (low, high) in outcome.bands.items():
        cells |= {f"{name}_lo": low, f"{name}_hi": high}
    return cells | {
        "level": outcome.assembly.software.name,
        "kind": outcome.kind,
        "bottleneck": outcome.bottleneck,
        "kv_fill": outcome.kv_fill,
    }
