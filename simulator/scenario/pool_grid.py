"""Numbers of workers and layouts of the pools that a sweep tries, each with each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simulator.recipes.layouts import PoolRequest
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.scenario.settings import Scenario

MOST_WORKERS = 1024


@dataclass(frozen=True, kw_only=True)
class PoolGrid:
    """Workers of the pools of disaggregated deployments, each number with each.

    Parameters
    ----------
    prefill, decode:
        Workers of each pool; 0 prefill workers: one aggregated worker. Both empty: what the
        engine's recipe ran where the engine has an orchestrator, else aggregated workers.
    tp, ep, dp_attention:
        Layouts of a prefill worker; all empty: those of the recipe, else the decode worker's.
    disaggregated:
        Whether forms with pools, or those without, compete alone; ``None``: all.
    max_gpus:
        Most chips of a deployment, all its workers together; ``None``: any.
    """

    prefill: tuple[int, ...] = ()
    decode: tuple[int, ...] = ()
    tp: tuple[int, ...] = ()
    ep: tuple[int, ...] = ()
    dp_attention: tuple[bool, ...] = ()
    disaggregated: bool | None = None
    max_gpus: int | None = None

    @property
    def is_stated(self) -> bool:
        """Whether numbers of workers are given."""
        return bool(self.prefill or self.decode)

    def requests(self, load: Scenario) -> tuple[PoolRequest, ...]:
        """Pools of one deployment as far as they are stated; none where several are."""
        several = (self.prefill, self.decode, self.tp, self.ep, self.dp_attention)
        if any(len(values) > 1 for values in several) or 0 in self.prefill:
            return ()
        return (
            PoolRequest(
                role="prefill",
                workers=next(iter(self.prefill), None),
                tp=next(iter(self.tp), None),
                ep=next(iter(self.ep), None),
                dp_attention=next(iter(self.dp_attention), None),
            ),
            PoolRequest(
                role="decode",
                workers=next(iter(self.decode), None),
                tp=load.tp,
                ep=load.ep,
                dp_attention=load.dp_attention,
            ),
        )


def parse_integers(value: Any, *, name: str) -> tuple[Any, ...]:
    """Whole numbers from ``4``, ``"1,2"`` or ``"1-4"`` (every number of the range).

    Raises
    ------
    UserError
        If a text is none of these.
    """
    if not isinstance(value, str):
        return (value,)
    numbers: list[int] = []
    for part in value.split(","):
        match = re.fullmatch(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?", part)
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if low > high or high - low >= MOST_WORKERS:
            raise UserError(f"{name} '{value}' is not a list of whole numbers; write 4,8 or 1-4")
        numbers += range(low, high + 1)
    return tuple(dict.fromkeys(numbers))


def pool_grid(given: Mapping[str, Any]) -> PoolGrid:
    """The pools that settings state.

    Raises
    ------
    UserError
        If a number or flag is none, or a prefill worker is laid out without a prefill pool.
    """
    numbers: dict[str, tuple[int, ...]] = {}
    for name in ("prefill", "decode", "prefill_tp", "prefill_ep"):
        value = given.get(name)
        listed = value if isinstance(value, list | tuple) else [] if value is None else [value]
        found = [part for each in listed for part in parse_integers(each, name=name)]
        least = 0 if name == "prefill" else 1
        for number in found:
            whole = isinstance(number, int) and not isinstance(number, bool)
            if not whole or not least <= number <= MOST_WORKERS:
                raise UserError(
                    f"{name} is {number!r}; it must be a whole number from {least} to "
                    f"{MOST_WORKERS:,}"
                )
        numbers[name] = tuple(dict.fromkeys(found))
    flag = given.get("prefill_dp_attention")
    flags = tuple(flag) if isinstance(flag, list | tuple) else () if flag is None else (flag,)
    if not all(isinstance(each, bool) for each in flags):
        raise UserError(f"prefill_dp_attention is {flag!r}; write true or false")
    kind = given.get("disaggregated")
    if kind is not None and not isinstance(kind, bool):
        raise UserError(f"disaggregated is {kind!r}; write true or false")
    most = given.get("max_gpus")
    if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
        raise UserError(f"max_gpus is {most!r}; it must be one whole number of at least 1")
    grid = PoolGrid(
        disaggregated=kind,
        max_gpus=most,
        prefill=numbers["prefill"],
        decode=numbers["decode"],
        tp=numbers["prefill_tp"],
        ep=numbers["prefill_ep"],
        dp_attention=flags,
    )
    if not grid.is_stated and (grid.tp or grid.ep or grid.dp_attention):
        raise UserError(
            "the layout of a prefill worker is given but no prefill pool; "
            "say how many workers it has with --prefill"
        )
    return grid
