"""As a SKU is best deployed at one load: all forms that were run on it, ranked by mean values.

Questions about one deployment (`simulate explain`, `sensitivity`, `load`, `timeline`) that name no
engine and no layout take the winner. Each deployment is estimated in milliseconds
(`simulator.prediction.steady`), as curves estimate what is worth a run; the answer itself rests
on runs of the winner alone.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from simulator.analysis.objectives import NO_LIMIT
from simulator.analysis.pareto import Frontier, frontier_indices
from simulator.engines.labels import without_software_of
from simulator.output.text_tables import number
from simulator.scenario.deployed_forms import competing, is_all_open
from simulator.scenario.grid import build_sweep
from simulator.studies.sweep.chosen import estimated
from simulator.studies.sweep.points import ConcurrencySweep, configure_point
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from simulator.analysis.objectives import Objectives
    from simulator.prediction.steady import SteadyState
    from simulator.scenario.candidates import Pools
    from simulator.scenario.grid import SweepSettings
    from simulator.scenario.settings import Scenario
    from workloads.layout import Layout

    Means = Mapping[int, SteadyState]

ROOM = 0.85
"""Share of what a deployment can take in that a rate may use, since arrivals come in bursts. [-]"""
ALIKE = 0.95
"""Share of the most tokens per GPU from which the fastest users decide. [-]"""
PINS = "pin one with --engine, --spec, --aggregated or --disaggregated"


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedLoad:
    """At what load deployments are ranked; nothing: over the whole frontier.

    Parameters
    ----------
    clients:
        Closed-loop clients: the most tokens per GPU win, of some that are alike the one whose
        users are fastest. [requests]
    rate_per_s:
        Requests that arrive: the fewest GPUs win that take them in, then the fastest. [1/s]
    least_speed:
        Speed that users must have beside that. [tok/s/user]
    """

    clients: int | None = None
    rate_per_s: float | None = None
    least_speed: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BestDeployed:
    """The deployment that a question is about.

    Parameters
    ----------
    sweep:
        Its scenario, which names engine and speculation, and its pools.
    told:
        How it was chosen, in a sentence.
    deployments:
        All pools of its form that were run or are recommended.
    """

    sweep: ConcurrencySweep
    told: str
    deployments: tuple[Pools, ...]

    @property
    def named(self) -> dict[str, Any]:
        """Engine and speculation, as settings of a scenario."""
        return {"engine": self.sweep.load.engine, "spec": self.sweep.load.spec}

    @property
    def layouts(self) -> dict[str, Any]:
        """Layouts of all pools, as settings of a sweep."""
        if len(self.sweep.pools) == 1:
            return self.worker
        prefill, decode = self.sweep.pools
        return {
            "prefill": prefill.workers,
            "decode": decode.workers,
            **{f"prefill_{name}": value for name, value in _layout(prefill.layout).items()},
            **self.worker,
        }

    @property
    def worker(self) -> dict[str, Any]:
        """The layout of the last pool's worker, as settings of a scenario."""
        return _layout(self.sweep.pools[-1].layout)


def _layout(layout: Layout) -> dict[str, Any]:
    return {"tp": layout.tp, "ep": layout.ep, "dp_attention": layout.dp_attention}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Score:
    """How good a deployment is: that it meets the limits first, then ``rank``; ``words`` say it."""

    meets: bool
    rank: tuple[float, ...]
    words: str

    @property
    def key(self) -> tuple[bool, tuple[float, ...]]:
        return self.meets, self.rank


def best_deployed(
    settings: SweepSettings,
    load: Scenario,
    *,
    asked: AskedLoad,
    limits: Objectives = NO_LIMIT,
    among: Callable[[Scenario], bool] | None = None,
) -> BestDeployed | None:
    """What wins among all forms in which a SKU was deployed, by mean values.

    Parameters
    ----------
    settings, load:
        A question and one of its scenarios; stated speculation and kind of pools hold.
    limits:
        TTFT limits that come first.
    among:
        Which scenarios of forms compete, by engine and speculation; ``None``, or where none of
        them would: all.

    Returns
    -------
    ``None`` where the engine, a layout or server settings are stated, or nobody is known to have
    run the model on the SKU or a relation.

    Raises
    ------
    UserError
        If a name is unknown, or nothing that was run fits.
    """
    if not is_all_open(settings, load):
        return None
    competition = competing(settings, load)
    if not competition.forms:
        return None
    competitors = competition.competitors
    if among is not None:
        competitors = tuple(each for each in competitors if among(each.load)) or competitors
    sweeps = [
        ConcurrencySweep(
            load=each.load.model_copy(
                update={"concurrency": None if asked.clients is None else (asked.clients,)}
            ),
            target=each.target,
            pools=pools,
        )
        for each in competitors
        for pools in each.candidates.deployments
    ]
    means = {
        index: found
        for index, sweep in enumerate(sweeps)
        if not isinstance(found := estimated(sweep), str)
    }
    if not means:
        raise UserError(f"nothing that was run on {load.sku} fits; name another with --engine")
    scores = _scores(sweeps, means, asked=asked, limits=limits)
    best = max(scores, key=lambda index: scores[index].key)
    others = {i: score for i, score in scores.items() if _form(sweeps[i]) != _form(sweeps[best])}
    second = max(others, key=lambda index: others[index].key, default=None)
    told = f"{load.sku} as best deployed{_load_words(asked, limits)}: {_named(sweeps[best])}"
    told += f", {scores[best].words}"
    if not scores[best].meets:
        told += ", though beyond what is asked: nothing that was run keeps to it"
    if second is not None:
        told += f"; ahead of {_named(sweeps[second])}"
        told += f", {others[second].words}" if others[second].meets else ", beyond what is asked"
    return BestDeployed(
        sweep=sweeps[best],
        told=f"{told} (mean values of single steps); {PINS}",
        deployments=tuple(each.pools for each in sweeps if _form(each) == _form(sweeps[best])),
    )


def check_kind(settings: SweepSettings, load: Scenario) -> None:
    """Make sure that forms with or without pools are asked for only where forms compete.

    Raises
    ------
    UserError
        If an engine, a layout or server settings are stated beside.
    """
    if settings.pools.disaggregated is not None and not is_all_open(settings, load):
        raise UserError(
            "--disaggregated and --aggregated choose among the forms in which a SKU was deployed; "
            "leave them out beside an engine, a layout or server settings"
        )


def with_best_deployed(
    flags: Mapping[str, Any],
    *,
    asked: AskedLoad,
    limits: Objectives = NO_LIMIT,
    one_pool: bool = False,
) -> BestDeployed | None:
    """`best_deployed` for settings of one scenario by name, as flags and files give them.

    Parameters
    ----------
    flags:
        Those of a scenario, and ``disaggregated``; ``None``: not given.
    one_pool:
        Whether the answer is about a worker, so that forms with pools are left out.

    Raises
    ------
    UserError
        As `best_deployed`, or if forms with or without pools are asked for beside an engine or a
        layout, which say that themselves.
    """
    settings = build_sweep(flags=flags)
    (load,) = settings.loads()
    check_kind(settings, load)
    if not one_pool or settings.pools.disaggregated is not None:
        return best_deployed(settings, load, asked=asked, limits=limits)
    settings = replace(settings, pools=replace(settings.pools, disaggregated=False))
    try:
        return best_deployed(settings, load, asked=asked, limits=limits)
    except UserError:
        return None  # nobody ran a worker alone: the default engine's stands in, and says so


def _scores(
    sweeps: Sequence[ConcurrencySweep],
    means: Mapping[int, Means],
    *,
    asked: AskedLoad,
    limits: Objectives,
) -> dict[int, _Score]:
    def meets(mean: SteadyState) -> bool:
        late = limits.about_ttft_use(mean.ttft_s) > 1.0
        return not late and mean.interactivity >= asked.least_speed

    if asked.clients is not None:
        each = {index: mean for index, found in means.items() for mean in found.values()}
        within = [mean for mean in each.values() if meets(mean)] or list(each.values())
        most = max(mean.total_tput_per_gpu for mean in within)
        return {
            index: _Score(
                meets=meets(mean),
                rank=(1.0, mean.interactivity)
                if mean.total_tput_per_gpu >= ALIKE * most
                else (0.0, mean.total_tput_per_gpu),
                words=_rates(mean.total_tput_per_gpu, mean.interactivity),
            )
            for index, mean in each.items()
        }
    if asked.rate_per_s is not None:
        return {
            index: _at_rate(sweeps[index], found, rate=asked.rate_per_s, meets=meets)
            for index, found in means.items()
        }
    return _over_frontier(sweeps, means, meets=meets)


def _at_rate(
    sweep: ConcurrencySweep, means: Means, *, rate: float, meets: Callable[[SteadyState], bool]
) -> _Score:
    """GPUs of a deployment that takes in a rate with room for bursts, and its users' speed."""
    tokens = _tokens_per_request(sweep)
    rates = {c: m.total_tput_per_gpu * sweep.gpus / tokens for c, m in means.items() if meets(m)}
    enough = [c for c in sorted(rates) if ROOM * rates[c] >= rate]
    if not enough:
        most = max(rates.values(), default=0.0)
        return _Score(meets=False, rank=(most,), words=f"about {number(most)} req/s at most")
    mean = means[enough[0]]
    return _Score(
        meets=True,
        rank=(-float(sweep.gpus), mean.interactivity),
        words=f"{sweep.gpus} GPUs with {1.0 - ROOM:.0%} to spare for bursts, about "
        f"{number(mean.interactivity)} tok/s/user at this rate",
    )


def _over_frontier(
    sweeps: Sequence[ConcurrencySweep],
    means: Mapping[int, Means],
    *,
    meets: Callable[[SteadyState], bool],
) -> dict[int, _Score]:
    """How many points of the frontier the form of each deployment holds, then it itself."""
    points = [
        (index, mean) for index, found in means.items() for mean in found.values() if meets(mean)
    ]
    x = [mean.interactivity for _, mean in points]
    y = [mean.total_tput_per_gpu for _, mean in points]
    held = [points[position][0] for position in frontier_indices(x, y)]
    of_form = Counter(_form(sweeps[index]) for index in held)
    curve = Frontier.of(x, y)
    scores = {}
    for index, found in means.items():
        near = max(
            (
                m.total_tput_per_gpu / (curve.at_least(m.interactivity) or float("inf"))
                for m in found.values()
                if meets(m)
            ),
            default=0.0,
        )
        points_of_form = of_form[_form(sweeps[index])]
        scores[index] = _Score(
            meets=near > 0.0,
            rank=(float(points_of_form), float(held.count(index)), near),
            words=f"{points_of_form} of {len(held)} frontier points",
        )
    return scores


def _tokens_per_request(sweep: ConcurrencySweep) -> float:
    """Prompt and output of a mean request. [tokens]"""
    configured = configure_point(sweep, 1)
    if isinstance(configured, UserError):
        return float(sweep.load.isl + sweep.load.osl)
    return float(sum(law.mean_tokens for law in configured[0].lengths))


def _form(sweep: ConcurrencySweep) -> tuple[str, str, bool]:
    """Engine, speculation and whether pools are apart: what a user pins."""
    return without_software_of(str(sweep.load.engine)), sweep.load.spec, len(sweep.pools) > 1


def _named(sweep: ConcurrencySweep) -> str:
    engine, spec, _ = _form(sweep)
    return f"{engine}{'' if spec == 'none' else f' {spec}'} as {sweep.label}"


def _rates(tput: float, speed: float) -> str:
    return f"about {number(tput)} tok/s/GPU at {number(speed)} tok/s/user"


def _load_words(asked: AskedLoad, limits: Objectives) -> str:
    words = []
    if asked == AskedLoad():
        words.append("all speeds")
    if asked.clients is not None:
        words.append(f"{asked.clients:,} clients")
    if asked.rate_per_s is not None:
        words.append(f"{asked.rate_per_s:g} req/s")
    if asked.least_speed:
        words.append(f"at least {asked.least_speed:g} tok/s/user")
    if limits.ttft_words:
        words.append(f"TTFT {limits.ttft_words}")
    return f" at {', '.join(words)}"
