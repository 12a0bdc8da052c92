"""What a search tries: deployments with changed settings, of all forms where none is named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from simulator.engines.pools import deployment_label
from simulator.scenario.candidates import candidate_deployments
from simulator.scenario.deployed_forms import competing, is_open

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.scenario.candidates import Candidates, Pools
    from simulator.scenario.grid import SweepSettings
    from simulator.scenario.settings import Scenario
    from simulator.scenario.target import Target
    from simulator.studies.search.variants import Changes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Option:
    """A deployment with changed settings, and the best score that bounds leave it.

    ``start`` is the concurrency that is tried first, where others follow from it; 0: the least.
    """

    load: Scenario
    pools: Pools
    changes: Changes
    bound: float
    start: int = 0

    @property
    def label(self) -> str:
        """InferenceX's label of the deployment."""
        return deployment_label(self.pools)


class Searched(NamedTuple):
    """Ways to serve a load with their deployments, forms that are left out, what was assumed."""

    ways: tuple[tuple[Scenario, Candidates], ...]
    refused: dict[str, str]
    messages: tuple[str, ...]


def searched(
    settings: SweepSettings, load: Scenario, *, target_of: Callable[[Scenario], Target]
) -> Searched:
    """What a search tries for a load; all forms in which its SKU is deployed, if none is named.

    Raises
    ------
    UserError
        If a name is unknown, or nothing that is stated can be.
    """
    if not is_open(settings, load):
        found = candidate_deployments(settings=settings, load=load, target=target_of(load))
        return Searched(ways=((load, found),), refused={}, messages=())
    competition = competing(settings, load)
    return Searched(
        ways=tuple((each.load, each.candidates) for each in competition.competitors),
        refused=competition.refused,
        messages=(competition.message,),
    )


def text_of(changes: Changes) -> str:
    """Changed settings as a reader sees them."""
    return " ".join(f"{name}={str(value).lower()}" for name, value in changes)
