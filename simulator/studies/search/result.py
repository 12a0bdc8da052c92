"""What a search tried, what it pruned, and the best that it found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from simulator.version import version

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd
    from matplotlib.figure import Figure

    from simulator.analysis.metrics import RunMetrics
    from simulator.scenario.configuration import RunConfiguration
    from simulator.studies.search.request import SearchRequest
    from simulator.studies.search.variants import Changes

PrunedStatus: TypeAlias = Literal["does_not_fit", "unsupported", "bound", "behind"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a run comes to, as `Trial` has it, and what was assumed."""

    metrics: RunMetrics
    usd_per_million_tokens: float | None
    slo_use: Mapping[str, float]
    score: float
    bottleneck: str
    kind: str
    level: str
    messages: tuple[str, ...]
    bands: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One simulated closed loop of a search.

    Parameters
    ----------
    sku, engine, label, changes:
        What ran: key, serving stack, deployment, and settings that differ from the recipe's.
    configuration:
        All of it.
    metrics:
        What came out.
    usd_per_million_tokens:
        On all tokens and GPUs; ``None`` without a price. [USD]
    slo_use:
        How much of each constraint is used up; above 1 it is missed. [-]
    score:
        What the search maximizes: tok/s/GPU, tokens per dollar, or minus the median TTFT.
    score_at_slo:
        Of a deployment's best run the same at the very speed that is asked for, between its runs;
        ``None``: there are none on either side of it.
    bottleneck, kind, level:
        What binds, kind of prediction, software level.
    identity:
        What ran, in the columns that ``simulate predict`` reads.
    bands:
        90 % intervals by metric, see `simulator.prediction.bands.bands_of`.
    """

    sku: str
    engine: str
    label: str
    changes: Changes
    configuration: RunConfiguration
    metrics: RunMetrics
    usd_per_million_tokens: float | None
    slo_use: Mapping[str, float]
    score: float
    bottleneck: str
    kind: str
    level: str
    identity: Mapping[str, Any]
    bands: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    score_at_slo: float | None = None

    @property
    def rank_score(self) -> float:
        """What ranks the run: its score, or that of its deployment at the speed asked for."""
        return self.score if self.score_at_slo is None else max(self.score, self.score_at_slo)

    @property
    def meets(self) -> bool:
        """Whether it meets every constraint."""
        return all(used <= 1.0 for used in self.slo_use.values())

    @property
    def only_wants_more(self) -> bool:
        """Whether all that is missed comes with more clients."""
        missed = [name for name, used in self.slo_use.items() if used > 1.0]
        return all(name in ("throughput", "cost") for name in missed)

    @property
    def loses_speed(self) -> bool:
        """Whether users are slower than is asked for."""
        return any(
            name.startswith("interactivity") and used > 1.0 for name, used in self.slo_use.items()
        )

    @property
    def deployment(self) -> tuple[str, str, str, str]:
        """What identifies the deployment, whatever its settings."""
        return (self.sku, self.engine, self.label, self.spec)

    @property
    def settings_text(self) -> str:
        """Settings that differ from the recipe's, or ``recipe``."""
        changed = [f"{name}={str(value).lower()}" for name, value in self.changes]
        return " ".join(changed) or "recipe"

    @property
    def spec(self) -> str:
        """Speculation as users write it."""
        one = self.configuration
        return f"{one.speculation}:{one.drafts}" if one.drafts else "none"

    def cells(self) -> dict[str, Any]:
        """The row of a table."""
        metrics = self.metrics
        return {
            **self.identity,
            "level": self.level,
            "gpus": metrics.gpus,
            "settings": self.settings_text,
            "meets": self.meets,
            "missed": ", ".join(name for name, used in self.slo_use.items() if used > 1.0),
            "total_tput_per_gpu": metrics.total_tput_per_gpu,
            **{
                f"total_tput_per_gpu_{end}": value
                for end, value in zip(
                    ("lo", "hi"), self.bands.get("total_tput_per_gpu", ()), strict=False
                )
            },
            "output_tput_per_gpu": metrics.output_tput_per_gpu,
            "interactivity": metrics.interactivity,
            "median_tpot_s": metrics.tpot.median_s,
            "median_ttft_s": metrics.ttft.median_s,
            "p90_ttft_s": metrics.ttft.p90_s,
            "p99_ttft_s": metrics.ttft.p99_s,
            "usd_per_million_tokens": self.usd_per_million_tokens,
            "score": self.score,
            "score_at_slo": self.score_at_slo,
            "bottleneck": self.bottleneck,
            "kind": self.kind,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What was not simulated, and why.

    ``status`` is ``does_not_fit``, ``unsupported``, ``bound`` (it cannot meet a constraint or
    beat what was found) or ``behind`` (its recipe's settings are too far behind to vary them).
    """

    sku: str
    engine: str
    label: str
    spec: str
    settings: str
    status: PrunedStatus
    reason: str


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What a search found.

    Parameters
    ----------
    request:
        What was asked.
    trials:
        Every run, those that meet the constraints first, by falling score.
    pruned:
        What was pruned.
    messages:
        What was assumed.
    economics:
        Name of the dated file of prices.
    """

    request: SearchRequest
    trials: tuple[Trial, ...]
    pruned: tuple[Pruned, ...]
    messages: tuple[str, ...]
    economics: str

    @property
    def winner(self) -> Trial | None:
        """The best run that meets every constraint; ``None`` if none does."""
        return self.trials[0] if self.trials and self.trials[0].meets else None

    @property
    def runners_up(self) -> tuple[Trial, ...]:
        """The best run of each other deployment, by falling score at the speed asked for."""
        if self.winner is None:
            return ()
        best: dict[tuple[str, str, str, str], Trial] = {}
        for trial in self.trials:
            if trial.meets:
                best.setdefault(trial.deployment, trial)
        return tuple(best.values())[1:]

    @property
    def resolved(self) -> Mapping[str, Any]:
        """Every setting with its value and where it came from."""
        prices = {**self.request.resolved["economics"], "value": self.economics}
        return {**self.request.resolved, "economics": prices}

    def frame(self) -> pd.DataFrame:
        """Every run, the best first."""
        import pandas as pd

        frame = pd.DataFrame([trial.cells() for trial in self.trials])
        return frame.assign(economics=self.economics, version=f"forecurve {version()}, simulated")

    def pruned_frame(self) -> pd.DataFrame:
        """What was pruned, in the fields of `Pruned`."""
        import pandas as pd

        names = list(Pruned.__dataclass_fields__)
        cells = [{name: getattr(each, name) for name in names} for each in self.pruned]
        return pd.DataFrame(cells, columns=names)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Tables by the names of their files."""
        return {"trials": self.frame(), "pruned": self.pruned_frame()}

    def summary(self) -> dict[str, Any]:
        """All of it as JSON objects."""
        from simulator.studies.search.text import summary_of

        return summary_of(self)

    @property
    def caption(self) -> str:
        """What was searched, in one line."""
        from simulator.studies.search.text import search_caption

        return search_caption(self)

    def plot(self, path: Path | None = None) -> Figure:
        """Every run, the winner and the speed of the SLO; PNG where a path is given."""
        from simulator.output.style import save_figure
        from simulator.studies.search.plots import search_figure

        figure = search_figure(self)
        if path is not None:
            save_figure(figure, path)
        return figure
