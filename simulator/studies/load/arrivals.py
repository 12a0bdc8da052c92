"""When the requests of a load arrive, from its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from workloads.errors import UserError
from workloads.requests.arrivals import Deterministic, Gamma, RateWindow, Sinusoidal, Steps

if TYPE_CHECKING:
    from simulator.studies.load.request import LoadSettings
    from workloads.requests.arrivals import ArrivalProcess
    from workloads.requests.catalog import Workload

Arrivals = Literal["poisson", "gamma", "sinusoidal", "steps", "deterministic", "trace"]

_OPEN = ("arrivals", "rate", "burstiness", "cv", "peak", "period", "steps", "duration")
_USES: dict[str, tuple[str, ...]] = {
    "poisson": ("rate",),
    "gamma": ("rate", "burstiness", "cv"),
    "deterministic": ("rate",),
    "sinusoidal": ("rate", "peak", "period"),
    "steps": ("steps",),
    "trace": ("rate",),
}


def check_arrivals(settings: LoadSettings, workload: Workload) -> None:
    """Make sure that the settings of arrivals fit together.

    Raises
    ------
    UserError
        If two contradict each other, or one has no meaning for the others.
    """
    given = [name for name in _OPEN if getattr(settings, name) is not None]
    if settings.concurrency is not None:
        if given:
            raise UserError(
                f"concurrency and {given[0]} are given; a closed loop sends when its clients are "
                "free, so keep one of them"
            )
        return
    kind = _kind(settings, workload)
    for name in given:
        if name not in ("arrivals", "duration", *_USES[kind]):
            raise UserError(
                f"{name} has no meaning for {kind} arrivals, which take "
                f"{', '.join(_USES[kind])}; leave it out or change --arrivals"
            )
    if settings.burstiness is not None and settings.cv is not None:
        raise UserError("burstiness and cv are given; burstiness is 1/cv^2, so keep one of them")


def _kind(settings: LoadSettings, workload: Workload) -> Arrivals:
    """The arrival process that is asked for."""
    if settings.arrivals is not None:
        if settings.arrivals == "trace" and not workload.is_timed:
            raise UserError(
                f"workload {workload.name} has no arrival times; give --rate with another "
                "--arrivals, or --concurrency"
            )
        return settings.arrivals
    if settings.steps is not None:
        return "steps"
    if settings.peak is not None or settings.period is not None:
        return "sinusoidal"
    if settings.burstiness is not None or settings.cv is not None:
        return "gamma"
    if workload.is_timed:
        return "trace"
    if settings.rate is not None:
        return "poisson"
    raise UserError(
        "no load is given; say how much with --rate (requests per second, open loop) or "
        "--concurrency (clients, closed loop)"
    )


def arrival_process(settings: LoadSettings, workload: Workload) -> ArrivalProcess | None:
    """When requests arrive; ``None``: as recorded, or when clients of a closed loop send them.

    Raises
    ------
    UserError
        If a number is missing.
    """
    if settings.concurrency is not None:
        return None
    kind = _kind(settings, workload)
    if kind == "trace":
        return None
    if kind == "steps":
        if not settings.steps:
            raise UserError("steps is missing; write --steps 60:2,120:8 (seconds:requests per s)")
        return Steps(
            windows=tuple(
                RateWindow(duration_s=duration, rate_per_s=rate)
                for duration, rate in settings.steps
            )
        )
    rate = settings.rate
    if rate is None:
        raise UserError(f"rate is missing; {kind} arrivals need their mean, as in --rate 2")
    if kind == "deterministic":
        return Deterministic(rate_per_s=rate)
    if kind == "sinusoidal":
        if settings.peak is None or settings.period is None:
            raise UserError(
                "peak or period is missing; sinusoidal arrivals need both, as in --peak 1.5 "
                "(highest over mean rate) --period 900"
            )
        return Sinusoidal(
            low_per_s=rate * (2.0 - settings.peak),
            high_per_s=rate * settings.peak,
            period_s=settings.period,
        )
    if settings.cv is not None:
        return Gamma.with_cv(rate_per_s=rate, cv=settings.cv)
    return Gamma(rate_per_s=rate, burstiness=settings.burstiness or 1.0)
