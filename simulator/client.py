"""Clients: when each request of a workload is sent."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, TypeAlias

from simulator.clock import ARRIVAL
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import simpy

    from simulator.clock import Clock
    from workloads.requests import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedLoop:
    """A fixed number of clients; each sends its next request when its last has finished.

    All send their first request at time 0 and the run ends with a drain, as InferenceX's
    ``--request-rate inf --max-concurrency C`` does.

    Parameters
    ----------
    concurrency:
        Clients. [requests]

    Raises
    ------
    UserError
        If there is no client.
    """

    concurrency: int

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise UserError(
                f"concurrency is {self.concurrency}; a closed loop needs at least one client"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLoop:
    """Requests sent at their own ``arrival_s``, whatever the state of the system."""


Load: TypeAlias = ClosedLoop | OpenLoop


class Client:
    """Sends the requests of an iterator under a load.

    Parameters
    ----------
    clock:
        The shared clock.
    requests:
        The workload; only as much of it is taken as has been sent.
    load:
        When to send.
    send:
        Called with a request at the time it is sent.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        requests: Iterator[Request],
        load: Load,
        send: Callable[[Request], None],
    ) -> None:
        self.clock = clock
        self.requests = requests
        self.load = load
        self.send = send
        self._closed = isinstance(load, ClosedLoop)
        self._next: Request | None = None

    def start(self) -> None:
        """Send the first burst of a closed loop, or set the first arrival of an open one."""
        if isinstance(self.load, ClosedLoop):
            self.clock.at(0.0, ARRIVAL, self._burst)
        else:
            self._set_arrival(-inf)

    def finished(self) -> None:
        """A request has finished: a closed-loop client sends its next one now."""
        if self._closed:
            request = next(self.requests, None)
            if request is not None:
                self.send(request)

    def _burst(self, _event: simpy.Event) -> None:
        assert isinstance(self.load, ClosedLoop)
        for _ in range(self.load.concurrency):
            self.finished()

    def _set_arrival(self, last_s: float) -> None:
        request = self._next = next(self.requests, None)
        if request is None:
            return
        arrival_s = request.arrival_s
        if arrival_s is None or arrival_s < last_s or arrival_s < 0.0:
            raise UserError(
                f"arrival_s of request {request.index} is {arrival_s}; an open loop needs "
                "arrivals that start at 0 or later and do not go back in time"
            )
        self.clock.at(arrival_s, ARRIVAL, self._arrive)

    def _arrive(self, _event: simpy.Event) -> None:
        request = self._next
        assert request is not None
        self.send(request)
        self._set_arrival(self.clock.now)
