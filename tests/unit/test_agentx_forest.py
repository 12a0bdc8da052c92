"""Session trees: delays, barriers, joins, content, and what users' files become."""

import json
import re

import pytest

from workloads.errors import UserError
from workloads.requests.agentx.content import BlockIds, SeenContent, common_blocks, trimmed
from workloads.requests.agentx.files import holds_sessions, read_session_trees
from workloads.requests.agentx.forest import Call, Group, Session, build_tree
from workloads.requests.traces.rows import TraceOptions

BLOCK = 64


def call(start_s, duration_s=1.0, *, chain=0, blocks=10, epoch=1):
    return Call(
        start_s=start_s,
        duration_s=duration_s,
        prompt_tokens=blocks * BLOCK,
        output_tokens=5,
        chain=chain,
        content=((epoch << 20, blocks),),
    )


def test_a_delay_counts_from_the_end_of_the_turn_before() -> None:
    tree = build_tree(Session(name="a", main=[call(0.0, 2.0), call(7.0), call(7.5)]))
    assert [one.after for one in tree.requests] == [-1, 0, 1]
    # the third was sent before the second had returned: no delay is left
    assert [one.delay_s for one in tree.requests] == [0.0, 5.0, 0.0]


def test_a_main_turn_waits_for_the_groups_that_had_ended() -> None:
    group = Group(
        calls=[call(2.0, chain=1, epoch=2), call(4.0, chain=1, epoch=2)], start_s=2.0, end_s=5.0
    )
    late = Group(calls=[call(2.5, 100.0, chain=2, epoch=3)], start_s=2.5, end_s=102.5)
    tree = build_tree(
        Session(name="a", main=[call(0.0), call(6.0), call(9.0)], groups=[group, late])
    )
    by_start = {one.call.start_s: (index, one) for index, one in enumerate(tree.requests)}
    # spawned by the main turn before it, a second after that had returned
    assert (by_start[2.0][1].after, by_start[2.0][1].delay_s) == (0, 1.0)
    assert by_start[6.0][1].waits_for == (by_start[4.0][0],)
    # the other group outlives the session's last main turn: in the background
    assert by_start[9.0][1].waits_for == ()
    assert {one.agent for one in tree.requests} == {0, 1, 2}


def test_groups_before_any_main_call_are_dropped() -> None:
    early = Group(calls=[call(0.0, chain=1)], start_s=0.0, end_s=1.0)
    tree = build_tree(Session(name="a", main=[call(5.0)], groups=[early]))
    assert (len(tree.requests), tree.dropped) == (1, 1)


def test_a_barrier_waits_for_other_chains_that_had_ended() -> None:
    main = [call(0.0), call(1.5, chain=1, epoch=2), call(4.0), call(6.0)]
    tree = build_tree(Session(name="a", main=main))
    assert tree.requests[2].waits_for == (1,)
    assert tree.requests[3].waits_for == ()  # waited for already


def test_trees_have_no_cycle_and_count_their_edges() -> None:
    main = [call(float(2 * i), chain=i % 3, epoch=i % 3 + 1) for i in range(12)]
    tree = build_tree(Session(name="a", main=main))
    for index, one in enumerate(tree.requests):
        assert all(parent < index for parent in (*one.waits_for, one.after))
    edges = sum(len(children) for children in tree.children)
    assert edges == sum(tree.parents) > 0


def test_primers_are_the_last_of_each_chain_that_goes_on() -> None:
    main = [call(0.0), call(1.0, chain=1), call(2.0), call(9.0), call(10.0, chain=2)]
    tree = build_tree(Session(name="a", main=main))
    assert tree.before(5.0) == 3
    assert tree.primers(3) == [2]


def test_content_compares_as_blocks_do() -> None:
    long = ((1 << 20, 8), (2 << 20, 5))
    fork = (*trimmed(long, 10), (3 << 20, 4))
    assert common_blocks(long, fork) == 10
    assert common_blocks(long, trimmed(long, 3)) == 3
    ids, other = BlockIds(play=1, stride=1), BlockIds(play=2, stride=1)
    one, two = ids.of(long), ids.of(fork)
    assert (len(one), one[:10] == two[:10], one[10] == two[10]) == (13, True, False)
    assert set(one).isdisjoint(other.of(long))  # plays share nothing
    seen = SeenContent()
    seen.add(long)
    assert (seen.match(fork), seen.match(long)) == (10, 13)


@pytest.mark.parametrize("stride", [2, 3, 4, 5])
def test_pool_blocks_are_named_after_their_last_content_block(stride) -> None:
    content = ((1 << 20, 7), (2 << 20, 3), (3 << 20, 9))
    fine, coarse = BlockIds(play=1, stride=1), BlockIds(play=1, stride=stride)
    assert coarse.of(content) == fine.of(content)[stride - 1 :: stride]
    assert coarse.of(content, full_blocks=11) == fine.of(content)[:11][stride - 1 :: stride]


def weka(*requests, block_size=64):
    return json.dumps({"id": "s", "block_size": block_size, "requests": list(requests)}) + "\n"


def entry(t, ids, *, out=10, api_time=1.0, **more):
    return {"t": t, "in": 64 * len(ids), "out": out, "hash_ids": ids, "api_time": api_time} | more


def read(tmp_path, text, name="trace.jsonl", **options):
    path = tmp_path / name
    path.write_text(text)
    return read_session_trees(path, options=TraceOptions(**options))


def test_weka_calls_become_chains_by_their_longest_common_prefix(tmp_path) -> None:
    text = weka(
        entry(0.0, [1, 2, 3]),
        entry(5.0, [1, 2, 3, 4], out=0),
        entry(6.5, [1, 2, 9]),
        {
            "type": "subagent",
            "t": 7.0,
            "requests": [entry(7.5, [20, 21]), entry(9.0, [20, 21, 22])],
        },
        entry(12.0, [1, 2, 3, 4, 5]),
    )
    workload = read(tmp_path, text)
    tree = workload.source.trees[0]
    calls = [one.call for one in tree.requests]
    assert [one.output_tokens for one in calls] == [10, 1, 10, 10, 10, 10]  # out 0 sends one token
    assert ", 1 without output send one token each (the first: line 1)" in workload.description
    assert calls[0].chain == calls[1].chain == calls[5].chain
    assert calls[3].chain == calls[4].chain != calls[0].chain
    assert common_blocks(calls[1].content, calls[5].content) == 4
    assert common_blocks(calls[0].content, calls[3].content) == 0
    assert tree.requests[5].waits_for  # joins the group that had ended
    assert holds_sessions(str(tmp_path / "trace.jsonl"))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (entry(-1.0, [1]), "t is -1.0; a call cannot start before its session"),
        (entry(0.0, [1], api_time=-2.0), "api_time is -2.0; it cannot be negative"),
        (entry(0.0, [1], out=-3), "out is -3"),
        (entry(0.0, [1]) | {"in": 10_000, "hash_ids": [1] * 500}, "hash_ids has 500 blocks"),
    ],
)
def test_bad_calls_are_named_with_their_line(tmp_path, bad, reason) -> None:
    good = weka(entry(0.0, [1, 2]))
    with pytest.raises(UserError, match=r"trace.jsonl, line 2: .*" + reason.split("(")[0]):
        read(tmp_path, good + weka(entry(0.5, [7]), bad))
    kept = read(tmp_path, good + weka(entry(0.5, [7]), bad), on_error="skip")
    assert kept.skipped == 1
    assert "1 bad rows left out" in kept.description


def conversation(name, *turns, **more):
    return json.dumps({"session_id": name, "turns": list(turns)} | more) + "\n"


def turn(text="x" * 400, *, tokens=8, **more):
    return {"messages": [{"role": "user", "content": text}], "max_tokens": tokens} | more


def test_aiperf_forks_inherit_and_spawns_are_joined(tmp_path) -> None:
    text = (
        conversation("root", turn(spawns=["sub"]), turn(delay=500), turn(forks=["branch"]))
        + conversation("sub", turn(), turn())
        + conversation("branch", turn())
    )
    tree = read(tmp_path, text, characters_per_token=1.0).source.trees[0]
    prompts = [one.call.prompt_tokens for one in tree.requests]
    # root 400; sub 400, 808; root 808, 1216; branch 1624: history and answers are resent
    assert prompts == [400, 400, 808, 808, 1216, 1624]
    assert tree.requests[3].waits_for == (2,)  # the next turn waits for the spawned child
    assert tree.requests[3].delay_s == 0.5
    assert (tree.requests[1].agent, tree.requests[5].agent) == (1, 0)
    assert common_blocks(tree.requests[4].call.content, tree.requests[5].call.content) == 19


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (conversation("a", turn(forks=["b"])), "line 1: child 'b' of 'a' is no line"),
        (
            conversation("r", turn())
            + conversation("a", turn(forks=["b"]))
            + conversation("b", turn(forks=["a"])),
            "line 2: 'a' is its own ancestor",
        ),
        (conversation("a", turn(delay=-5)), "line 1: delay is -5 ms; it cannot be negative"),
        (conversation("a", turn()) + conversation("a", turn()), "line 2: session_id 'a'"),
        (
            conversation("a", turn(spawns=[{"children": ["b"], "join_at": 4}]), turn())
            + conversation("b", turn()),
            "line 1: join_at is 4",
        ),
    ],
)
def test_bad_conversations_are_named_with_their_line(tmp_path, text, reason) -> None:
    with pytest.raises(UserError, match=re.escape(reason)):
        read(tmp_path, text, characters_per_token=4.0)


def test_calls_beyond_a_models_context_are_named_with_their_line_or_tolerated(tmp_path) -> None:
    path = tmp_path / "trace.jsonl"
    rows = [
        {"t": 0.0, "in": 64 * size, "out": 10, "hash_ids": list(range(size)), "api_time": 1.0}
        for size in (4, 40, 400)
    ]
    lines = [
        json.dumps({"id": f"s{number}", "block_size": 64, "requests": [row]})
        for number, row in enumerate(rows)
    ]
    path.write_text("\n".join(lines) + "\n")
    found = read_session_trees(path)
    found.check_context(1 << 20, model="m")
    with pytest.raises(UserError, match=r"line 2: a call of 2560 \+ 10 tokens .* \(2 calls are\)"):
        found.check_context(2000, model="m")
    read_session_trees(path, options=TraceOptions(on_error="skip")).check_context(2000, model="m")
