"""Clients: when each request of a workload is sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from simulator.serving.clock import ARRIVAL
from simulator.serving.lane_clients import LaneClients
from simulator.serving.session_lanes import SessionLanes
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    import simpy

    from simulator.serving.clock import Clock
    from workloads.requests.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedLoop:
    """A fixed number of clients; each sends its next request when its last has finished.

    All send their first request at time 0 and the run ends with a drain, as InferenceX's
    ``--request-rate inf --max-concurrency C`` does. A client that has begun a conversation
    stays with it: it sends the next turn when the last has finished and the user has thought,
    and takes a new conversation after the last turn.

    Parameters
    ----------
    concurrency:
        Clients. [requests]
    first_rate_per_s:
        Rate at which they send their first requests, evenly spaced; ``None``: all at time 0.
        Benchmarks that bound both the rate and the clients behave so once the clients are the
        tighter bound. [1/s]
    turnaround_s:
        From a client's last token to the sending of its next request: the client's own work. On
        the way to the scheduler comes the front end, see `simulator.serving.front_end`. [s]

    Raises
    ------
    UserError
        If there is no client, the rate is not positive or the turnaround is negative.
    """

    concurrency: int
    first_rate_per_s: float | None = None
    turnaround_s: float = 0.0

    def __post_init__(self) -> None:
        if self.first_rate_per_s is not None and not self.first_rate_per_s > 0:
            raise UserError(
                f"request_rate_per_s is {self.first_rate_per_s}; it must be above 0, or left out "
                "where all clients start at once"
            )
        if self.concurrency < 1:
            raise UserError(
                f"concurrency is {self.concurrency}; a closed loop needs at least one client"
            )
        if not 0 <= self.turnaround_s < float("inf"):
            raise UserError(
                f"turnaround_s is {self.turnaround_s}; a client's turnaround is 0 or more seconds"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLoop:
    """Requests sent at their own ``arrival_s``, whatever the state of the system.

    Later turns of a conversation are sent when the turn before has finished and the user has
    thought.
    """


Load: TypeAlias = ClosedLoop | OpenLoop | SessionLanes


class ClosedLoopClients:
    """Sends requests for a fixed number of clients.

    Parameters
    ----------
    clock:
        The shared clock.
    requests:
        The workload. The turns of a conversation must follow each other, unless it is a
        sequence (such as a list), whose conversations are gathered.
    concurrency:
        Clients.
    first_rate_per_s:
        Rate of their first requests; ``None``: all at time 0. [1/s]
    send:
        Called with a request and the time at which it is sent, now or later; in the order of
        these times but for the turns of conversations.
    turnaround_s:
        See `ClosedLoop`. [s]

    Raises
    ------
    UserError
        When a conversation comes up that does not begin with its first turn.
    """

    cuts_off = False

    def __init__(
        self,
        *,
        clock: Clock,
        requests: Iterable[Request],
        concurrency: int,
        first_rate_per_s: float | None = None,
        send: Callable[[Request, float], None],
        turnaround_s: float = 0.0,
    ) -> None:
        self._turnaround_s = turnaround_s
        self._clock = clock
        self._first_rate_per_s = first_rate_per_s
        self._requests = iter(
            gather_sessions(requests) if isinstance(requests, Sequence) else requests
        )
        self._concurrency = concurrency
        self._send = send
        self._ahead: Request | None = None
        self._turns: dict[int, deque[Request]] = {}
        self._beginning = 0

    def start(self) -> None:
        """Set the first burst, or the first request of each client."""
        self._beginning = self._concurrency
        if self._first_rate_per_s is None:
            self._clock.at(0.0, ARRIVAL, self._burst)
            return
        for client in range(self._concurrency):
            self._clock.at(client / self._first_rate_per_s, ARRIVAL, self._one)

    def finished(self, request: Request) -> None:
        """A request has finished: its client goes on."""
        turns = self._turns.get(request.session)
        if turns:
            following = turns.popleft()
            at_s = self._clock.now + self._turnaround_s + following.think_s
            self._clock.at(at_s, ARRIVAL, lambda _event: self._send(following, at_s))
            return
        if turns is not None:
            del self._turns[request.session]
        at_s = self._clock.now + self._turnaround_s
        if not (self._beginning or self._next_is_conversation()):
            # nobody takes a request before this client does: it is known which one it will be
            self._begin(at_s)
            return
        self._beginning += 1
        if self._turnaround_s:
            self._clock.at(at_s, ARRIVAL, self._one)
        else:
            self._one(None)

    def _burst(self, event: simpy.Event) -> None:
        for _ in range(self._concurrency):
            self._one(event)

    def _one(self, _event: simpy.Event | None) -> None:
        self._beginning -= 1
        self._begin(self._clock.now)

    def _next_is_conversation(self) -> bool:
        """Whether the next request begins a conversation, which is read as it begins."""
        if self._ahead is None:
            self._ahead = next(self._requests, None)
        return self._ahead is not None and self._ahead.session >= 0

    def _begin(self, at_s: float) -> None:
        request, self._ahead = self._ahead, None
        if request is None:
            request = next(self._requests, None)
        if request is None:
            return
        if request.session >= 0:
            if request.turn or request.session in self._turns:
                raise UserError(
                    f"request {request.index} is turn {request.turn} of session {request.session}, "
                    "whose turns do not follow each other; pass a list, or sort by session"
                )
            turns = self._turns[request.session] = deque()
            for later in self._requests:
                if later.session != request.session:
                    self._ahead = later
                    break
                turns.append(later)
        self._send(request, at_s)


class OpenLoopClients:
    """Sends requests at their arrival times.

    Parameters
    ----------
    clock:
        The shared clock.
    requests:
        The workload in order of arrival; only as much of it is read as has been sent.
    send:
        Called with a request at the time it is sent.

    Raises
    ------
    UserError
        When an arrival is missing, negative or before the last.
    """

    cuts_off = False

    def __init__(
        self, *, clock: Clock, requests: Iterable[Request], send: Callable[[Request], None]
    ) -> None:
        self._clock = clock
        self._requests = iter(requests)
        self._send = send
        self._next: Request | None = None
        self._turns: dict[int, deque[Request]] = {}
        self._open: set[int] = set()

    def start(self) -> None:
        """Set the first arrival."""
        self._set_arrival(0.0)

    def finished(self, request: Request) -> None:
        """A request has finished: its conversation goes on."""
        session = request.session
        if session < 0:
            return
        turns = self._turns.get(session)
        if turns:
            _send_after_thinking(self._clock, self._send, turns.popleft())
        else:
            self._turns.pop(session, None)
            self._open.discard(session)

    def _set_arrival(self, last_s: float) -> None:
        for request in self._requests:
            if request.session >= 0 and request.turn:
                self._add_turn(request)
                continue
            arrival_s = request.arrival_s
            if arrival_s is None or not arrival_s >= last_s:
                raise UserError(
                    f"arrival_s of request {request.index} is {arrival_s}; an open loop needs "
                    "arrivals that start at 0 or later and do not go back in time"
                )
            self._next = request
            self._clock.at(arrival_s, ARRIVAL, self._arrive)
            return
        self._next = None

    def _add_turn(self, request: Request) -> None:
        if request.session in self._open:
            self._turns.setdefault(request.session, deque()).append(request)
        else:
            # read after its predecessor had finished
            self._open.add(request.session)
            _send_after_thinking(self._clock, self._send, request)

    def _arrive(self, _event: simpy.Event) -> None:
        request = self._next
        assert request is not None
        if request.session >= 0:
            self._open.add(request.session)
        self._send(request)
        self._set_arrival(self._clock.now)


class Send(Protocol):
    """Takes a request that is sent now, or at a time that is known now."""

    def __call__(self, request: Request, at_s: float | None = None) -> None:
        """Send it. [s]"""
        ...


Clients: TypeAlias = ClosedLoopClients | OpenLoopClients | LaneClients


def build_clients(
    *,
    clock: Clock,
    requests: Iterable[Request],
    load: Load,
    send: Send,
    pool_block_tokens: int,
    longest_tokens: int,
) -> Clients:
    """The clients of a load; lanes of sessions bring their own requests.

    Parameters
    ----------
    pool_block_tokens, longest_tokens:
        Blocks in which the deployment caches prompts, and the longest context that it takes.
        [tokens]
    """
    if isinstance(load, SessionLanes):
        return LaneClients(
            clock=clock,
            load=load,
            send=send,
            pool_block_tokens=pool_block_tokens,
            longest_tokens=longest_tokens,
        )
    if isinstance(load, ClosedLoop):
        return ClosedLoopClients(
            clock=clock,
            requests=requests,
            concurrency=load.concurrency,
            first_rate_per_s=load.first_rate_per_s,
            send=send,
            turnaround_s=load.turnaround_s,
        )
    return OpenLoopClients(clock=clock, requests=requests, send=send)


def gather_sessions(requests: Sequence[Request]) -> Iterator[Request]:
    """The requests with the turns of each conversation together, where its first turn stood."""
    turns: dict[int, list[Request]] = {}
    for request in requests:
        if request.session >= 0:
            turns.setdefault(request.session, []).append(request)
    for request in requests:
        if request.session < 0:
            yield request
        else:
            yield from turns.pop(request.session, ())


def _send_after_thinking(clock: Clock, send: Callable[[Request], None], request: Request) -> None:
    at_s = clock.now + request.think_s
    clock.at(at_s, ARRIVAL, lambda _event: send(request))
