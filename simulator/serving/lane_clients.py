"""Clients that replay session trees lane by lane, as InferenceX AgentX does.

The client's protocol is followed step by step: start points within the first trees, primers,
warm-up, hand-off, idle caps, a window in which requests are sent, and a drain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from simpy.core import StopSimulation

from simulator.serving.clock import ARRIVAL
from workloads.requests.agentx.compressed import compressed_tree
from workloads.requests.agentx.content import BlockIds, SeenContent
from workloads.requests.request import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    import simpy

    from simulator.serving.clock import Clock
    from simulator.serving.session_lanes import SessionLanes
    from workloads.requests.agentx.forest import SessionTree, TreeRequest

_AGENT_SHIFT = 16
_NO_LIMIT = 1 << 60
_LATE = 1 << 20
"""Priority of the end of the window and of the run: after everything else at that instant."""


class _Play:
    """One tree as a lane replays it."""

    __slots__ = (
        "agents",
        "allowed",
        "block_tokens",
        "ended_s",
        "ids",
        "in_flight",
        "left",
        "missing",
        "number",
        "ready",
        "seen",
        "steps",
        "timers",
        "tree",
    )

    def __init__(
        self, tree: SessionTree, number: int, steps: list[int], pool_block_tokens: int
    ) -> None:
        self.tree = tree
        self.number = number
        self.steps = steps
        whole, rest = divmod(pool_block_tokens, tree.block_tokens)
        stride = whole if whole and not rest else 1
        self.block_tokens = tree.block_tokens * stride
        self.ids = BlockIds(play=number, stride=stride)
        self.missing = list(tree.parents)
        self.ready = [index for index, count in enumerate(tree.parents) if not count]
        self.left = len(tree.requests)
        self.in_flight = 0
        self.timers: dict[int, float] = {}
        self.ended_s: dict[int, float] = {}
        self.seen = SeenContent()
        self.allowed = 0

    def returned(self, index: int) -> list[int]:
        """A request has returned; those that waited for nothing else are ready."""
        self.left -= 1
        freed = []
        for child in self.tree.children[index]:
            self.missing[child] -= 1
            if not self.missing[child]:
                freed.append(child)
        return freed


class LaneClients:
    """Sends the requests of session trees for a fixed number of lanes.

    Parameters
    ----------
    clock:
        The shared clock.
    load:
        Lanes, trees and protocol.
    send:
        Called with a request at the time it is sent.
    pool_block_tokens:
        Block of the pool that caches prompts, in which blocks are compared. [tokens]
    longest_tokens:
        Longest context that the deployment takes; longer requests are answered with an error.
        [tokens]
    """

    cuts_off = True

    def __init__(
        self,
        *,
        clock: Clock,
        load: SessionLanes,
        send: Callable[[Request], None],
        pool_block_tokens: int,
        longest_tokens: int,
    ) -> None:
        self._clock = clock
        self._load = load
        self._send = send
        self._rules = load.protocol
        self._pool_block_tokens = pool_block_tokens
        self._longest_tokens = longest_tokens
        self._counts = load.counts
        self._plays: list[_Play] = []
        self._next_tree = load.concurrency
        self._number = 0
        self._sent = 0
        self._before = 0
        self._in_flight = 0
        self._quota = [0] * load.concurrency
        self._warm_until_s = float("inf")
        self._open: dict[int, tuple[int, int]] = {}
        self._returned: Callable[[int, int], None] = self._primer_returned
        self._closed = False

    def start(self) -> None:
        """Set the primers."""
        self._clock.at(0.0, ARRIVAL, self._prime)

    def finished(self, request: Request) -> None:
        """A request has returned: what waited for it goes on."""
        request.block_hashes = ()
        self._in_flight -= 1
        lane, index = self._open.pop(request.index)
        self._plays[lane].in_flight -= 1
        self._returned(lane, index)

    # before the window -------------------------------------------------------------------------

    def _prime(self, _event: simpy.Event) -> None:
        rules = self._rules
        primers: list[tuple[int, int]] = []
        for lane in range(self._load.concurrency):
            play = self._begin(lane, lane)
            tree = play.tree
            low_s, high_s = tree.span_s
            share = rules.start_share(trace=tree.name, lane=lane)
            sent = tree.before(low_s + share * (high_s - low_s))
            for index in range(sent):
                play.left -= 1
                for child in tree.children[index]:
                    play.missing[child] -= 1
            play.ready = [
                index for index in range(sent, len(tree.requests)) if not play.missing[index]
            ]
            play.allowed = sent
            primers += [(lane, index) for index in tree.primers(sent)]
        self._counts.primers = len(primers)
        for lane, index in primers:
            self._send_request(lane, index, output_tokens=1)
        if not self._in_flight:
            self._warm_up()

    def _primer_returned(self, lane: int, index: int) -> None:
        if not self._in_flight:
            self._warm_up()

    def _warm_up(self) -> None:
        self._returned = self._warm_up_returned
        rules = self._rules
        quota = rules.warm_up_requests
        if rules.warm_up_s is not None:
            quota = _NO_LIMIT
            self._warm_until_s = self._clock.now + rules.warm_up_s
        self._quota = [quota] * self._load.concurrency
        for lane in range(self._load.concurrency):
            if not self._plays[lane].left:
                self._recycle(lane)
            self._allow(lane)
        if not self._in_flight:
            self._hand_off()

    def _allow(self, lane: int) -> None:
        """Let a lane send its next requests without pauses, as many as its warm-up still has."""
        play = self._plays[lane]
        first = play.allowed
        play.allowed = min(first + self._quota[lane], len(play.tree.requests))
        self._quota[lane] -= play.allowed - first
        self._send_allowed(lane)

    def _send_allowed(self, lane: int) -> None:
        if self._clock.now >= self._warm_until_s:
            return
        play = self._plays[lane]
        now = [index for index in play.ready if index < play.allowed]
        play.ready = [index for index in play.ready if index >= play.allowed]
        for index in now:
            self._counts.warm_up += 1
            self._send_request(lane, index, output_tokens=1)

    def _warm_up_returned(self, lane: int, index: int) -> None:
        play = self._plays[lane]
        play.ready += play.returned(index)
        if play.left:
            self._send_allowed(lane)
        else:
            self._recycle(lane)
            self._allow(lane)
        if not self._in_flight:
            self._hand_off()

    # the window --------------------------------------------------------------------------------

    def _hand_off(self) -> None:
        """Begin the window with the earliest pending request of all lanes."""
        clock, rules = self._clock, self._rules
        now = self._counts.start_s = clock.now
        self._returned = self._window_returned
        clock.at(now + rules.window_s, _LATE, self._close)
        clock.at(now + rules.end_s, _LATE, self._stop)
        delays: list[dict[int, float]] = []
        for play in self._plays:
            of = {index: self._delay_s(play.tree.requests[index]) for index in play.ready}
            play.ready.clear()
            cap_s = rules.tree_idle_cap_s
            if of and cap_s is not None:
                over_s = max(0.0, min(of.values()) - cap_s)
                of = {index: delay_s - over_s for index, delay_s in of.items()}
            delays.append(of)
        first_s = min((min(of.values()) for of in delays if of), default=0.0)
        for lane, of in enumerate(delays):
            for index, delay_s in of.items():
                self._set(lane, index, now + delay_s - first_s)

    def _window_returned(self, lane: int, index: int) -> None:
        now = self._clock.now
        play = self._plays[lane]
        play.ended_s[index] = now
        freed = play.returned(index)
        if self._closed:
            return
        for child in freed:
            request = play.tree.requests[child]
            from_s = play.ended_s.get(request.after, self._counts.start_s)
            self._set(lane, child, max(now, from_s + self._delay_s(request)))
        if not play.left:
            self._recycle(lane)
            play = self._plays[lane]
            play.ready.clear()
            for root in [i for i, count in enumerate(play.missing) if not count]:
                self._set(lane, root, now)
        elif not play.in_flight:
            self._skip_idle(lane, now)
        if not self._in_flight:
            self._skip_all_idle(now)

    def _delay_s(self, request: TreeRequest) -> float:
        cap_s = self._rules.delay_cap_s
        return request.delay_s if cap_s is None else min(request.delay_s, cap_s)

    def _skip_idle(self, lane: int, now: float) -> None:
        """Move a tree's timers forward if none of its requests would be sent within the cap."""
        cap_s = self._rules.tree_idle_cap_s
        timers = self._plays[lane].timers
        if cap_s is None or not timers:
            return
        over_s = min(timers.values()) - (now + cap_s)
        if over_s > 0:
            self._shift(lane, over_s)

    def _skip_all_idle(self, now: float) -> None:
        """Move all timers forward if nothing would be sent within the cap."""
        cap_s = self._rules.system_idle_cap_s
        if cap_s is None:
            return
        due_s = [min(play.timers.values()) for play in self._plays if play.timers]
        over_s = min(due_s) - (now + cap_s) if due_s else 0.0
        if over_s > 0:
            for lane in range(len(self._plays)):
                self._shift(lane, over_s)

    def _shift(self, lane: int, by_s: float) -> None:
        for index, due_s in list(self._plays[lane].timers.items()):
            self._set(lane, index, due_s - by_s)

    def _set(self, lane: int, index: int, due_s: float) -> None:
        """Send a request at a time, whatever time was set for it before."""
        play = self._plays[lane]
        play.timers[index] = due_s

        def ring(_event: simpy.Event) -> None:
            if play.timers.get(index) == due_s and not self._closed:
                del play.timers[index]
                self._send_request(lane, index)

        self._clock.at(due_s, ARRIVAL, ring)

    def _close(self, _event: simpy.Event) -> None:
        self._closed = True
        if not self._in_flight:
            raise StopSimulation(None)

    def _stop(self, _event: simpy.Event) -> None:
        self._counts.open_at_end = self._in_flight
        raise StopSimulation(None)

    # trees and requests ------------------------------------------------------------------------

    def _begin(self, lane: int, position: int) -> _Play:
        tree = self._load.source.tree(position)
        if self._rules.start_gap_cap_s is not None:
            tree = compressed_tree(tree, cap_s=self._rules.start_gap_cap_s)
        outputs = np.array([one.call.output_tokens for one in tree.requests], dtype=np.int64)
        draw = self._load.decode_steps
        steps = outputs - 1 if draw is None else draw(outputs)
        self._number += 1
        play = _Play(tree, self._number, steps.tolist(), self._pool_block_tokens)
        if lane == len(self._plays):
            self._plays.append(play)
        else:
            self._plays[lane] = play
        return play

    def _recycle(self, lane: int) -> None:
        self._counts.recycled += 1
        self._begin(lane, self._next_tree)
        self._next_tree += 1

    def _send_request(self, lane: int, index: int, *, output_tokens: int | None = None) -> None:
        play = self._plays[lane]
        one = play.tree.requests[index]
        call = one.call
        in_window = output_tokens is None
        if output_tokens is None:
            output_tokens = call.output_tokens
            number = self._sent
            self._sent += 1
        else:
            self._before += 1
            number = -self._before
        content_blocks = call.prompt_tokens // play.tree.block_tokens
        if in_window:
            self._counts.prompt_blocks += content_blocks
            self._counts.repeated_blocks += min(play.seen.match(call.content), content_blocks)
        play.seen.add(call.content)
        play.in_flight += 1
        self._in_flight += 1
        self._open[number] = (lane, index)
        request = Request(
            index=number,
            prompt_tokens=call.prompt_tokens,
            output_tokens=output_tokens,
            decode_steps=play.steps[index] if in_window else 0,
            block_hashes=play.ids.of(call.content, full_blocks=content_blocks),
            block_tokens=play.block_tokens,
            session=(play.number << _AGENT_SHIFT) | one.agent,
            output_recurs=False,
        )
        if call.prompt_tokens + output_tokens > self._longest_tokens:
            self._counts.overflows += 1
            self._clock.at(self._clock.now, ARRIVAL, lambda _event: self.finished(request))
            return
        self._send(request)
