"""The simulation clock: SimPy's event queue with absolute times and a stated order of ties."""

from __future__ import annotations

from heapq import heappop, heappush
from math import inf, sqrt
from typing import TYPE_CHECKING, Any

import simpy
from simpy.core import StopSimulation

if TYPE_CHECKING:
    from collections.abc import Callable

ARRIVAL = 0
"""Priority of arrivals and finished transfers: first at any instant."""


class Call(simpy.Event):
    """An event that calls one function; it cannot fail, be awaited or carry a value."""

    _ok = True
    _value = None

    def __init__(self, callback: Callable[[simpy.Event], None]) -> None:
        self.call = callback


class Clock(simpy.Environment):
    """A SimPy environment whose events may be set for an absolute time. [s]

    SimPy schedules by delay, and ``now + (t - now)`` may differ from ``t`` in the last bit, so
    that a boundary reached in one sleep and in many would not be the same number. Setting
    absolute times keeps step boundaries bit-identical however they are reached.

    Notes
    -----
    At one instant events run in the order of their priority: arrivals and finished transfers,
    then the step completions of the workers by index, then their scheduling decisions by
    index. Events of equal time and priority run in the order in which they were set.
    """

    now: float = 0.0

    def run(self, until: Any = None) -> Any:
        """Call events in their order until none is left or one raises `StopSimulation`.

        SimPy's loop without what `Call` does not need: callbacks are one, nothing waits for the
        event and nothing can fail.

        Raises
        ------
        TypeError
            If an end is stated: events themselves end a run here.
        """
        if until is not None:
            raise TypeError("a clock runs until its events end it")
        queue = self._queue
        try:
            while queue:
                time_s, _, _, event = heappop(queue)
                self.now = time_s
                event.call(event)  # type: ignore[attr-defined]
        except StopSimulation as stop:
            return stop.args[0]
        return None

    def peek(self) -> float:
        """Time of the next event; infinite if there is none. [s]"""
        queue = self._queue
        return queue[0][0] if queue else inf

    def at(self, time_s: float, priority: int, callback: Callable[[simpy.Event], None]) -> Call:
        """Call ``callback(event)`` at an absolute time and return the event."""
        event = Call(callback)
        heappush(self._queue, (time_s, priority, next(self._eid), event))  # type: ignore[misc]
        return event


def boundary_s(base_s: float, first_s: float, growth_s: float, steps: int) -> float:
    """End of the ``steps``-th step of a run whose steps lengthen by a constant. [s]

    ``base + steps * first + growth * steps * (steps - 1) / 2``. Every step boundary of a run of
    decode steps comes from this one function, whether the run is slept through at once or
    step by step.
    """
    return base_s + steps * first_s + growth_s * (0.5 * steps * (steps - 1))


def first_boundary_from(
    time_s: float, *, base_s: float, first_s: float, growth_s: float, low: int, high: int
) -> int:
    """Smallest ``steps`` in ``[low, high]`` whose boundary is not before ``time_s``; else ``high``.

    The quadratic gives a guess; comparing boundaries themselves settles it, so that rounding
    cannot move a decision to another step.
    """
    span = time_s - base_s
    if growth_s > 0.0:
        lead = first_s - 0.5 * growth_s
        guess = (sqrt(lead * lead + 2.0 * growth_s * max(span, 0.0)) - lead) / growth_s
    else:
        guess = span / first_s if first_s > 0.0 else low
    steps = min(max(int(guess), low), high)
    while steps > low and boundary_s(base_s, first_s, growth_s, steps - 1) >= time_s:
        steps -= 1
    while steps < high and boundary_s(base_s, first_s, growth_s, steps) < time_s:
        steps += 1
    return steps
