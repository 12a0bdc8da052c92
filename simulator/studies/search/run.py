"""The best deployment and engine settings for a goal, by pruned exhaustive search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hwmodels.economics import load_economics
from simulator.prediction.notes import merged
from simulator.studies.search.request import build_search
from simulator.studies.search.result import SearchResult
from simulator.studies.search.searcher import Searcher

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from simulator.output.kept_work import KeptWork
    from simulator.studies.search.request import SearchRequest

    Progress = Callable[[int, int, str], None]


def search(
    *,
    scenario: Path | None = None,
    on_progress: Progress | None = None,
    **settings: Any,
) -> SearchResult:
    """Find the best deployment and engine settings for a goal under constraints.

    Parameters
    ----------
    scenario:
        YAML file of settings; keyword settings override it.
    on_progress:
        Called with (options done, options so far, what is under way).
    settings:
        Fields of `simulator.studies.search.request.SearchQuestion`, such as
        ``goal="cost", interactivity=50``, and of `simulator.scenario.settings.Scenario`.

    Raises
    ------
    UserError
        If a setting is unknown or out of range.
    """
    return run_search(build_search(flags=settings, file=scenario), on_progress=on_progress)


def run_search(
    request: SearchRequest,
    *,
    on_progress: Progress | None = None,
    kept: KeptWork | None = None,
) -> SearchResult:
    """Carry out a validated request.

    Parameters
    ----------
    kept:
        Where finished runs are kept as they come, and found again.

    Notes
    -----
    First every deployment runs with its recipe's settings at rising concurrency, then settings
    vary on those near the best. Pruned are options that do not fit, and those whose bound
    (`simulator.prediction.bounds`) misses a constraint or does not reach the best score so far; at
    rising concurrency, what comes after a lost speed, after two misses in a row, and after
    throughput has stalled, since speed falls with concurrency. For each deployment's best settings
    the concurrencies up to the next one that was tried are bisected, where they come near the best.
    What ranks deployments is their score at the very speed that is asked for, between runs as the
    frontier interpolates (`simulator.studies.search.between`).

    Raises
    ------
    UserError
        If a name is unknown.
    """
    searcher = Searcher(request, on_progress=on_progress, kept=kept)
    options = searcher.options()
    searcher.run_all(options)
    searcher.run_all(searcher.varied(options))
    searcher.refine()
    economics = {load_economics(load.economics).name for load in request.settings.loads()}
    return SearchResult(
        request=request,
        trials=tuple(searcher.ranked()),
        pruned=tuple(searcher.pruned),
        messages=tuple(merged((*request.assumed, *searcher.messages))),
        economics=", ".join(sorted(economics)),
    )
