"""The delay rules against plain statements of them, and slept-through passes against each one."""

import random

from simulator.engines.prefill_delay import (
    AttentionDpBalance,
    Coalescer,
    PassState,
    SlotDelayer,
)

FILL, HOLD, PARTIAL, STALL, BUDGET = 0.9, 20, 10, 4, 100


class StatedCoalescer:
    """The rule line by line, with a counter each."""

    def __init__(self):
        self.hold = self.stall = self.last = 0

    def fires(self, state):
        short_of_all = not all(state.ready)
        if not any(state.ready) or not state.decoding or state.memory_short:
            return self._fire()
        if self.hold >= HOLD or (state.in_progress and self.hold >= PARTIAL):
            return self._fire()
        if short_of_all:
            self.hold += 1
            return False
        total = sum(state.pending_tokens)
        if total >= FILL * BUDGET * len(state.ready):
            return self._fire()
        self.stall = self.stall + 1 if total <= self.last else 0
        self.last = total
        if self.stall >= STALL:
            return self._fire()
        self.hold += 1
        return False

    def _fire(self):
        self.hold = self.stall = self.last = 0
        return True


def coalescer():
    return Coalescer(
        budget_tokens=BUDGET,
        fill=FILL,
        max_hold=HOLD,
        max_hold_in_progress=PARTIAL,
        max_stall=STALL,
    )


def random_state(rng):
    ranks = 4
    likely = rng.choice([0.5, 0.95])
    return PassState(
        ready=[rng.random() < likely for _ in range(ranks)],
        pending_tokens=[rng.choice([0, 40, 80, 100]) for _ in range(ranks)],
        in_progress=rng.random() < 0.2,
        decoding=rng.random() < 0.97,
        memory_short=rng.random() < 0.02,
    )


def test_the_coalescer_decides_as_its_rule_says() -> None:
    rng = random.Random(1)
    ours, stated = coalescer(), StatedCoalescer()
    fired = 0
    for _ in range(5000):
        state = random_state(rng)
        decision = ours.fires(state)
        assert decision == stated.fires(state)
        fired += decision
    assert 0 < fired < 5000


def test_passes_that_are_slept_through_count() -> None:
    rng = random.Random(2)
    for _ in range(300):
        slept, woken = coalescer(), coalescer()
        for _ in range(20):
            state = random_state(rng)
            fires = woken.fires(state)
            assert slept.fires(state) == fires
            if fires:
                continue
            passes = slept.passes_to_fire()
            early = rng.randint(1, passes)
            for _ in range(early - 1):
                assert not woken.fires(state)
            slept.skip(early - 1)
            if early == passes:
                assert slept.fires(state)
                assert woken.fires(state)


def test_balance_counts_while_nobody_has_a_prompt() -> None:
    balance = AttentionDpBalance(timeout=4, batching_wait=2)
    fires = [balance.fires(all_can=False, all_decode=True) for _ in range(8)]
    assert fires == [False, False, False, True] * 2
    assert [balance.fires(all_can=True, all_decode=True) for _ in range(3)] == [False, False, True]
    assert balance.fires(all_can=False, all_decode=False)


def test_a_window_of_attempts_tells_when_it_will_have_forgotten_a_large_batch() -> None:
    """Slept through or not, the same pass fires."""

    def held():
        delayer = SlotDelayer(max_passes=99, slots=8, bounded=False, window=4, ranks=2)
        delayer.skips_first = False
        delayer.allows(ready=[True, True], running=[0, 0], waiting=[3, 3])
        delayer.started([3, 3])
        assert not delayer.allows(ready=[True, True], running=[6, 6], waiting=[1, 1])
        return delayer

    sleeps, wakes = held(), held()
    passes = sleeps.passes_to_fire()
    state = {"ready": [True, True], "running": [6, 6], "waiting": [1, 1]}
    assert [wakes.allows(**state) for _ in range(passes)] == [False] * (passes - 1) + [True]
    sleeps.skip(passes - 1)
    assert sleeps.allows(**state)
