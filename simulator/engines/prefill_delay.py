"""When data-parallel ranks hold prompts back to start them together: each engine's own rule.

Every rule is one decision per scheduler pass, common to all ranks: start prompts (fire), or hold.
While nothing changes, passes repeat their decision; so a rule also says after how many passes it
will decide otherwise, and `skip` counts passes that were slept through.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from simulator.serving.decode_batch import NEVER

if TYPE_CHECKING:
    from collections.abc import Sequence as List


class PassState(NamedTuple):
    """What a pass knows, one entry a data-parallel rank.

    Attributes
    ----------
    ready:
        Whether the rank could start or go on with a prompt.
    pending_tokens:
        Prompt tokens that wait or are left of prompts in progress, at most one step's budget.
        [tokens]
    in_progress:
        Whether any rank has a prompt in progress.
    decoding:
        Whether any rank decodes.
    memory_short:
        Whether a ready rank's KV pool is nearly full.
    """

    ready: List[bool]
    pending_tokens: List[int]
    in_progress: bool
    decoding: bool
    memory_short: bool


class Coalescer:
    """ATOM's prefill coalescer: collect prompts until all ranks together fill a step.

    Parameters
    ----------
    budget_tokens:
        Step budget of one rank (``max_num_batched_tokens``). [tokens]
    fill:
        Share of all ranks' budgets that waits before prompts start.
    max_hold, max_hold_in_progress:
        Passes after which prompts start all the same, and those that a prompt in progress waits
        at most. [passes]
    max_stall:
        Passes without a new prompt after which prompts start all the same. [passes]

    Attributes
    ----------
    at_bound:
        Whether the last pass fired because a count had reached its bound: the next one starts
        counting anew.

    Notes
    -----
    Fire if no rank is ready, if nobody decodes, if memory is short on a ready rank, or if a bound
    is reached. Else hold while a rank is not ready. Else fire if the fill is reached or nothing
    has been added for ``max_stall`` passes.
    """

    def __init__(
        self,
        *,
        budget_tokens: int,
        fill: float,
        max_hold: int,
        max_hold_in_progress: int,
        max_stall: int,
    ) -> None:
        self.budget_tokens = budget_tokens
        self.fill = fill
        self.max_hold = max_hold
        self.max_hold_in_progress = max_hold_in_progress
        self.max_stall = max_stall
        self.hold = self.stall = 0
        self._last_tokens = 0
        self._holds = self._all_ready = False
        self._in_progress = False
        self.at_bound = False

    def skip(self, passes: int) -> None:
        """Count passes that decided as the last one did."""
        if self._holds:
            self.hold += passes
            if self._all_ready:
                self.stall += passes

    def fires(self, state: PassState) -> bool:
        """Whether prompts start, or go on, in this pass."""
        ready = sum(state.ready)
        self._all_ready = False
        self._in_progress = state.in_progress
        fire = ready == 0 or not state.decoding or state.memory_short
        self.at_bound = not fire and (
            self.hold >= self.max_hold
            or (state.in_progress and self.hold >= self.max_hold_in_progress)
        )
        fire = fire or self.at_bound
        if not fire and ready == len(state.ready):
            self._all_ready = True
            tokens = sum(state.pending_tokens)
            if tokens >= self.fill * len(state.ready) * self.budget_tokens:
                fire = True
            else:
                self.stall = 0 if tokens > self._last_tokens else self.stall + 1
                self._last_tokens = tokens
                self.at_bound = fire = self.stall >= self.max_stall
        if fire:
            self.hold = self.stall = self._last_tokens = 0
        else:
            self.hold += 1
        self._holds = not fire
        return fire

    def passes_to_fire(self) -> int:
        """After a hold: passes until a bound ends it. [passes]"""
        bound = self.max_hold
        if self._in_progress:
            bound = min(bound, self.max_hold_in_progress)
        left = bound - self.hold + 1
        if self._all_ready:
            left = min(left, self.max_stall - self.stall)
        return max(left, 1)


class FewRanksDelay:
    """Hold while only some ranks are ready, for at most ``max_hold`` passes (ATOM, early 2026)."""

    def __init__(self, *, max_hold: int) -> None:
        self.max_hold = max_hold
        self.hold = 0
        self._holds = False
        self.at_bound = False

    def skip(self, passes: int) -> None:
        """See `Coalescer.skip`."""
        if self._holds:
            self.hold += passes

    def fires(self, state: PassState) -> bool:
        """See `Coalescer.fires`."""
        fire = (
            all(state.ready)
            or not (state.in_progress or any(state.pending_tokens))
            or not state.decoding
        )
        self.at_bound = not fire and self.hold >= self.max_hold
        fire = fire or self.at_bound
        self.hold = 0 if fire else self.hold + 1
        self._holds = not fire
        return fire

    def passes_to_fire(self) -> int:
        """See `Coalescer.passes_to_fire`."""
        return max(self.max_hold - self.hold + 1, 1)


class SlotDelayer:
    """SGLang's prefill delayer: wait for all ranks, then for as many slots as prompts come at once.

    Parameters
    ----------
    max_passes:
        ``prefill_delayer_max_delay_passes``. [passes]
    slots:
        Running requests that one rank may have. [requests]
    bounded:
        Whether the wait for slots has the same bound as that for ranks.
    window:
        Attempts that the largest prefill batch is taken over; ``None``: all of the process.
    ranks:
        Data-parallel ranks.

    Notes
    -----
    None ready: nothing is held. Some: hold for up to ``max_passes - 1`` passes. All: hold while
    the fullest rank has fewer free slots than the largest prefill batch had requests; the first
    such hold of the process is skipped.
    """

    def __init__(
        self, *, max_passes: int, slots: int, bounded: bool, window: int | None, ranks: int
    ) -> None:
        self.max_passes = max_passes
        self.slots = slots
        self.bounded = bounded
        self.window = window
        self.count = 0
        self.skips_first = True
        self._largest = 0
        self._attempts: list[deque[int]] = [deque(maxlen=window) for _ in range(ranks)]
        self._holds = self._all_ready = False
        self._attempted: list[int] = [0] * ranks
        self._free = slots

    @property
    def largest_batch(self) -> int:
        """Requests of the largest prefill batch that counts. [requests]"""
        if self.window is None:
            return self._largest
        return max(map(max, filter(None, self._attempts)), default=0)

    def skip(self, passes: int) -> None:
        """See `Coalescer.skip`."""
        if self._holds:
            self.count += passes
            if passes and self.window is not None:
                self._note_attempts(min(passes, self.window))

    def allows(self, *, ready: List[bool], running: List[int], waiting: List[int]) -> bool:
        """Whether new prompts may start in this pass.

        Parameters
        ----------
        ready:
            Whether each rank could start a prompt.
        running, waiting:
            Requests that each decodes, and that wait there. [requests]
        """
        self._holds = False
        self._all_ready = all(ready)
        self._free = self.slots - max(running)
        bound = self.count >= self.max_passes - 1
        if not any(ready):
            hold = False
        elif not self._all_ready:
            hold = not bound
        elif self._free < self.largest_batch:
            if self.skips_first:
                self.skips_first = False
                hold = False
            else:
                hold = not (self.bounded and bound)
        else:
            hold = False
        self.count = self.count + 1 if hold else 0
        self._holds = hold
        if self.window is not None:
            attempted = self._attempted = []
            for able, busy, queued in zip(ready, running, waiting, strict=True):
                size = 0
                if able:
                    size = self.slots - busy
                    if queued < size:
                        size = queued
                    if size < 1:
                        size = 1
                attempted.append(size)
            if hold:
                self._note_attempts(1)
        return not hold

    def started(self, sizes: List[int]) -> None:
        """Note the requests of each rank's prefill batch, 0 where it had none. [requests]"""
        if self.window is None:
            self._largest = max(self._largest, *sizes)
            return
        for attempts, size, attempted in zip(self._attempts, sizes, self._attempted, strict=True):
            if size or attempted:
                attempts.append(size or attempted)

    def passes_to_fire(self) -> int:
        """See `Coalescer.passes_to_fire`."""
        if not self._all_ready:
            return max(self.max_passes - self.count, 1)
        bound = max(self.max_passes - self.count, 1) if self.bounded else NEVER
        return min(bound, self._passes_to_shrink())

    def _passes_to_shrink(self) -> int:
        """Passes until large batches have left the window, so that the free slots suffice."""
        window = self.window
        for later in range(window or 0):
            largest = 0
            for sizes, attempted in zip(self._attempts, self._attempted, strict=True):
                gone = max(len(sizes) + later - (window or 0), 0) if attempted else 0
                kept = list(sizes)[gone:]
                largest = max(largest, *kept, attempted if later else 0, 0)
            if self._free >= largest:
                return later + 1
        return NEVER

    def _note_attempts(self, passes: int) -> None:
        for attempts, size in zip(self._attempts, self._attempted, strict=True):
            if size:
                attempts.extend([size] * passes)


class AttentionDpBalance:
    """TensorRT-LLM's attention-DP balance: prompts wait until all ranks have one, then for more.

    Parameters
    ----------
    timeout:
        ``timeout_iters``: passes until prompts run although not all ranks have one. [passes]
    batching_wait:
        ``batching_wait_iters``: passes to wait once all have one. [passes]

    Notes
    -----
    The first count goes on while no rank has a prompt, and starts anew when it reaches its bound.
    Where some rank decodes nothing, nobody waits.
    """

    def __init__(self, *, timeout: int, batching_wait: int) -> None:
        self.timeout = timeout
        self.batching_wait = batching_wait
        self.waited = self.collected = 0
        self._counts: str = ""

    def skip(self, passes: int) -> None:
        """See `Coalescer.skip`."""
        if self._counts == "waited":
            self.waited = (self.waited + passes) % max(self.timeout, 1)
        elif self._counts == "collected":
            self.collected += passes

    def fires(self, *, all_can: bool, all_decode: bool) -> bool:
        """Whether prompts start, or go on, in this pass.

        Parameters
        ----------
        all_can:
            Whether every rank has a prompt and a slot for it.
        all_decode:
            Whether every rank decodes.
        """
        self._counts = ""
        if all_can:
            self.waited = 0
            if not all_decode:
                return True
            if self.collected >= self.batching_wait:
                self.collected = 0
                return True
            self.collected += 1
            self._counts = "collected"
            return False
        self.waited += 1
        if self.waited >= self.timeout or not all_decode:
            self.waited = 0
            self._counts = "waited" if all_decode else ""
            return True
        self._counts = "waited"
        return False

    def passes_to_fire(self) -> int:
        """See `Coalescer.passes_to_fire`."""
        if self._counts == "collected":
            return max(self.batching_wait - self.collected + 1, 1)
        return max(self.timeout - self.waited, 1)
