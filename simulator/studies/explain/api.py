"""The Python interface of one explained step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simulator.scenario.drawn_lengths import MEANS_OF
from simulator.scenario.settings import build_scenario
from simulator.scenario.settings_file import is_default

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from matplotlib.figure import Figure

    from simulator.scenario.settings import Scenario
    from simulator.studies.explain.request import Phase
    from simulator.studies.explain.run import Explanation


@dataclass(frozen=True, kw_only=True)
class ExplainedStep:
    """One step of a worker, taken apart.

    Parameters
    ----------
    explanation:
        Times, bytes, FLOPs and sensitivities.
    scenario:
        What was asked for.
    """

    explanation: Explanation
    scenario: Scenario

    def frame(self) -> pd.DataFrame:
        """The step's time by component. [s]"""
        import pandas as pd

        return pd.DataFrame([part.to_dict() for part in self.explanation.components])

    def plot(self, path: Path | None = None) -> Figure:
        """The time of decode steps against batch and against context.

        Raises
        ------
        UserError
            If the step is not a decode step.
        """
        from simulator.output.style import save_figure
        from simulator.studies.explain.plots import step_time_figure, sweep_steps

        figure = step_time_figure([sweep_steps(self.scenario, self.explanation)])
        if path is not None:
            save_figure(figure, path)
        return figure


def explain(
    *,
    clients: int = 64,
    phase: Phase = "decode",
    context: int | None = None,
    new_tokens: int | None = None,
    scenario: Path | None = None,
    **settings: Any,
) -> ExplainedStep:
    """Take one step of a worker apart: time by component and limit, bytes, sensitivities.

    Parameters
    ----------
    clients:
        Requests of the worker. [requests]
    phase, context, new_tokens:
        See `simulator.studies.explain.run.explain_scenario`.
    scenario, settings:
        As `curve`. Without an engine, a layout and server settings the worker is that with which
        the SKU is best deployed for the clients, see
        `simulator.studies.as_deployed.best_deployed`; the first message says so.

    Raises
    ------
    UserError
        If a setting is unknown or out of range, or the model does not fit.
    """
    from simulator.studies.explain.request import best_for_clients
    from simulator.studies.explain.run import explain_scenario

    source = build_scenario(flags=settings, file=scenario)
    stated = {
        name: getattr(source.scenario, name)
        for name, origin in source.origin.items()
        if name != "concurrency" and not (is_default(origin) or origin.startswith(MEANS_OF))
    }
    chosen, _, told = best_for_clients(stated, clients=clients, one_worker=True)
    asked = source.scenario.model_copy(
        update={name: value for name, value in chosen.items() if name not in stated}
    )
    explanation = explain_scenario(
        asked,
        concurrency=clients,
        phase=phase,
        context=context,
        new_tokens=new_tokens,
        assumed=told,
    )
    return ExplainedStep(explanation=explanation, scenario=asked)
