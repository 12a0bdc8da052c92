"""Lanes of session trees: the AgentX client's protocol, against an ideal server."""

import datetime as dt
from dataclasses import replace

import pytest

from simulator.serving.clock import Clock
from simulator.serving.lane_clients import LaneClients
from simulator.serving.session_lanes import SessionLanes
from workloads.errors import UserError
from workloads.requests.agentx.compressed import compressed_tree
from workloads.requests.agentx.forest import Call, Session, build_tree
from workloads.requests.agentx.protocol import AGENTX, AgentxProtocol, load_protocol
from workloads.requests.agentx.source import RecordedTrees

RULES = AgentxProtocol(
    name="test",
    date=dt.date(2026, 8, 21),
    source="here",
    window_s=1000.0,
    warm_up_requests=2,
    start_low=0.0,
    start_high=0.0,
)


def chain(name, *gaps_s, duration_s=1.0, first_blocks=4):
    """A tree of one chain whose turns follow each other after these pauses."""
    calls, start_s = [], 0.0
    for turn, gap_s in enumerate((0.0, *gaps_s)):
        start_s += gap_s
        blocks = first_blocks + turn
        calls.append(
            Call(
                start_s=start_s,
                duration_s=duration_s,
                prompt_tokens=64 * blocks,
                output_tokens=3,
                chain=0,
                content=((1 << 20, blocks),),
            )
        )
        start_s += duration_s
    return build_tree(Session(name=name, main=calls))


def replay(trees, *, lanes, rules=RULES, service_s=1.0, longest=1 << 20):
    """Requests as they were sent, as (time after hand-off, request), and the run's counts."""
    clock = Clock()
    load = SessionLanes(concurrency=lanes, source=RecordedTrees(trees=tuple(trees)), protocol=rules)
    sent = []

    def send(request):
        sent.append((clock.now, request.index, request.prompt_tokens, request.session))
        clock.at(clock.now + service_s, 0, lambda _event: clients.finished(request))

    clients = LaneClients(
        clock=clock, load=load, send=send, pool_block_tokens=64, longest_tokens=longest
    )
    clients.start()
    clock.run()
    start_s = load.counts.start_s
    return [(t - start_s, *rest) for t, *rest in sent], load.counts


def test_warm_up_sends_its_requests_without_pauses_and_is_not_counted() -> None:
    sent, counts = replay([chain("a", 50, 50, 50, 50)], lanes=1)
    warm = [row for row in sent if row[1] < 0]
    assert (counts.primers, counts.warm_up, len(warm)) == (0, 2, 2)
    assert [row[0] for row in warm] == [-2.0, -1.0]


def test_the_window_begins_with_the_earliest_pending_request_and_keeps_delays() -> None:
    rules = replace(RULES, tree_idle_cap_s=None, system_idle_cap_s=None)
    sent, _ = replay([chain("a", 9, 9, 100, 9), chain("b", 9, 9, 130)], lanes=2, rules=rules)
    window = [row for row in sent if row[1] >= 0]
    # a's third turn is due after 9 s, b's fourth... both had their first two in warm-up
    assert window[0][0] == 0.0
    first_of_b = next(row for row in window if row[3] >> 16 == 2)
    assert first_of_b[0] == 0.0  # both pauses are 9 s
    assert [round(row[0], 6) for row in window if row[3] >> 16 == 1][:2] == [0.0, 101.0]


@pytest.mark.parametrize(("cap_s", "second_s"), [(300.0, 301.0), (None, 901.0)])
def test_a_trees_idle_time_is_capped(cap_s, second_s) -> None:
    rules = replace(RULES, warm_up_requests=0, tree_idle_cap_s=cap_s, system_idle_cap_s=None)
    busy = chain("busy", *[3.0] * 400)
    sent, _ = replay([chain("a", 900, 1, 1), busy], lanes=2, rules=rules)
    of_a = [row[0] for row in sent if row[3] >> 16 == 1 and row[1] >= 0]
    assert of_a[1] == second_s


def test_the_whole_systems_idle_time_is_capped() -> None:
    rules = replace(RULES, warm_up_requests=0)
    sent, _ = replay([chain("a", 900, 200)], lanes=1, rules=rules)
    assert [row[0] for row in sent][:3] == [0.0, 11.0, 22.0]


def test_a_drained_tree_frees_its_lane_for_the_next_which_shares_nothing() -> None:
    rules = replace(RULES, warm_up_requests=0, window_s=20.0)
    sent, counts = replay([chain("a", 1, 1), chain("b", 1)], lanes=1, rules=rules)
    assert counts.recycled >= 2
    plays = [row[3] >> 16 for row in sent]
    assert plays == sorted(plays)
    # every play begins anew: an infinite cache of a session hits nothing of another
    assert 0.0 < counts.infinite_cache_hit < 1.0
    assert len({row[3] for row in sent}) == counts.recycled + 1


def test_nothing_is_sent_after_the_window_and_open_requests_are_cut() -> None:
    rules = replace(RULES, warm_up_requests=0, window_s=10.0, drain_s=3.0)
    sent, counts = replay([chain("a", *[1.0] * 30)], lanes=1, rules=rules, service_s=4.0)
    assert max(row[0] for row in sent) <= 10.0
    assert [row[0] for row in sent] == [0.0, 5.0, 10.0]
    assert counts.open_at_end == 1


def test_starts_within_a_tree_send_primers_first() -> None:
    rules = replace(RULES, start_low=0.5, start_high=0.5, warm_up_requests=1)
    sent, counts = replay([chain("a", *[9.0] * 9)], lanes=1, rules=rules)
    assert counts.primers == 1
    # turns 0-4 of 10 were before the middle: the primer is turn 4, then warm-up turn 5
    assert [row[2] // 64 for row in sent[:3]] == [8, 9, 10]


def test_requests_beyond_the_pool_are_answered_with_an_error() -> None:
    rules = replace(RULES, warm_up_requests=0, window_s=30.0)
    sent, counts = replay([chain("a", 1, 1, 1)], lanes=1, rules=rules, longest=64 * 6)
    assert counts.overflows > 0
    assert max(row[2] for row in sent) <= 64 * 5


def test_before_august_pauses_are_shortened_on_the_trees_own_clock() -> None:
    tree = compressed_tree(chain("a", 2, 900, 3), cap_s=10.0)
    starts = [request.call.start_s for request in tree.requests]
    assert starts == [0.0, 3.0, 13.0, 17.0]  # 3, 901 and 4 s between starts
    assert [request.delay_s for request in tree.requests] == [0.0, 3.0, 10.0, 4.0]
    rules = replace(
        RULES,
        warm_up_requests=0,
        start_gap_cap_s=10.0,
        tree_idle_cap_s=None,
        system_idle_cap_s=None,
    )
    sent, _ = replay([chain("a", 2, 900, 3)], lanes=1, rules=rules)
    assert [row[0] for row in sent][:4] == [0.0, 4.0, 15.0, 20.0]


def test_a_warm_up_by_time_goes_on_until_it_is_over_and_drains() -> None:
    rules = replace(RULES, warm_up_s=6.5)
    sent, counts = replay([chain("a", *[50.0] * 30)], lanes=1, rules=rules)
    assert counts.warm_up == 7  # one a second without pauses, the last begun at 6 s
    assert counts.start_s == 7.0
    assert next(row for row in sent if row[1] >= 0)[0] == 0.0


def test_start_points_follow_the_clients_generator() -> None:
    shares = [AGENTX.start_share(trace=f"t{i}", lane=i) for i in range(200)]
    assert all(0.25 <= share <= 0.75 for share in shares)
    assert len(set(shares)) == 200
    assert AGENTX.start_share(trace="t", lane=0) == AGENTX.start_share(trace="t", lane=0)
    assert sum(shares) / 200 == pytest.approx(0.5, abs=0.05)


def test_protocols_are_told_apart_and_dated() -> None:
    assert load_protocol("agentx").window_s == 3600.0
    assert load_protocol("agentx-fast").warm_up_requests == 1
    july = load_protocol("agentx-2026-07")
    assert (july.start_gap_cap_s, july.warm_up_s, july.tree_idle_cap_s) == (10.0, 600.0, None)
    assert "600 s of warm-up" in july.text
    assert load_protocol("aiperf-10s").delay_cap_s == 10.0
    with pytest.raises(UserError, match="protocol"):
        load_protocol("agentix")
    with pytest.raises(UserError, match=r"start ratios are 0\.8 and 0\.2"):
        replace(AGENTX, start_low=0.8, start_high=0.2)
    with pytest.raises(UserError, match="at least one lane"):
        SessionLanes(concurrency=0, source=RecordedTrees(trees=()), protocol=AGENTX)


def test_a_protocol_may_carry_another_window() -> None:
    short = load_protocol("agentx-fast:600")
    assert (short.name, short.window_s, short.warm_up_requests) == ("agentx-fast:600", 600.0, 1)
    assert load_protocol("agentx-fast").window_s == 1200.0
    with pytest.raises(UserError, match="write seconds, as agentx:600"):
        load_protocol("agentx:long")
    with pytest.raises(UserError, match="window_s is 0"):
        load_protocol("agentx:0")
    with pytest.raises(UserError, match="protocol"):
        load_protocol("agentx-slow:600")
