"""The Python interface of the curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simulator.analysis.objectives import stated_limits
from simulator.scenario.settings import build_scenario

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd
    from matplotlib.figure import Figure

    from simulator.studies.curve.run import CurveResult


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The Pareto curve of one SKU.

    Parameters
    ----------
    result:
        Points, refused layouts, resolved settings, assumptions and per-request records.
    """

    result: CurveResult

    @property
    def frontier(self) -> list[dict[str, Any]]:
        """Points that no other beats, by ascending interactivity."""
        return self.result.frontier

    @property
    def caption(self) -> str:
        """What the curve shows, in one line."""
        return self.result.caption

    def frame(self) -> pd.DataFrame:
        """Every point, dominated ones too (``on_frontier`` tells them apart). SI units."""
        from simulator.studies.curve.files import points_frame

        return points_frame(self.result)

    def plot(self, path: Path | None = None, *, log: bool = False) -> Figure:
        """The Pareto plot; written as PNG where a path is given."""
        from simulator.output.style import save_figure
        from simulator.studies.curve.files import curve_series
        from simulator.studies.pareto_plot import pareto_figure

        figure = pareto_figure(series=[curve_series(self.result)], caption=self.caption, log=log)
        if path is not None:
            save_figure(figure, path)
        return figure


def curve(
    *,
    scenario: Path | None = None,
    ttft_p50_s: float | None = None,
    ttft_p90_s: float | None = None,
    ttft_p99_s: float | None = None,
    goodput: float | None = None,
    every: bool = False,
    on_progress: Callable[[int, int, str], None] | None = None,
    **settings: Any,
) -> Curve:
    """Simulate the Pareto curve of one SKU: layouts that fit, at rising concurrency.

    Points run that may be on the frontier by estimates which runs correct
    (`simulator.studies.sweep.chosen`), or all of them.

    Parameters
    ----------
    scenario:
        YAML file of settings; keyword settings override it.
    ttft_p50_s, ttft_p90_s, ttft_p99_s:
        Points whose percentile of the TTFT exceeds it are marked and off the frontier; ``None``:
        those of the file, else any. [s]
    goodput:
        Share of the requests that must have a TTFT within the tightest of these. [-]
    every:
        Whether to run what cannot be on the frontier too, where no concurrencies are stated.
    on_progress:
        Called with (points done, points at the most or known to be worth it, what is known).
    settings:
        Fields of `simulator.scenario.settings.Scenario`.

    Raises
    ------
    UserError
        If a setting is unknown or out of range, or no layout divides the chosen GPUs.
    """
    from simulator.studies.curve.run import explore_curve

    source = build_scenario(flags=settings, file=scenario)
    limits = stated_limits(
        ttft_p50_s=ttft_p50_s, ttft_p90_s=ttft_p90_s, ttft_p99_s=ttft_p99_s, goodput=goodput
    )
    return Curve(result=explore_curve(source, limits=limits, every=every, on_progress=on_progress))
