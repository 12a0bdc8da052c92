"""Agentic Mooncake traces: rows that wait for other rows become session trees."""

import json

import pytest

from workloads.errors import UserError
from workloads.requests.agentx.files import holds_sessions, read_session_trees
from workloads.requests.traces.rows import TraceOptions

HEADER = {
    "schema": "dynamo.agentic_mooncake",
    "version": 2,
    "block_size": 64,
    "hash_id_scope": "local",
    "source": {"format": "weka", "digest": "0"},
}


def request(name, *, blocks=10, session="main", first=0, after=(), **other):
    return {
        "request_id": name,
        "play_id": "play",
        "session_id": session,
        "model": "m",
        "input_length": 64 * blocks,
        "output_length": 20,
        "hash_ids": list(range(first, first + blocks)),
        "not_before_ms": 0.0,
        "dependencies": [
            {"request_id": name, "delay_ms": delay, "relation": relation, "trigger": trigger}
            for name, delay, relation, trigger in after
        ],
        **other,
    }


def after(name, delay=0.0, relation="sequence", trigger="completion"):
    return name, delay, relation, trigger


def written(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_wait_for_what_they_name_and_share_what_their_hashes_say(tmp_path) -> None:
    path = written(
        tmp_path / "trace.jsonl",
        HEADER,
        request("a"),
        request("b", blocks=12, after=[after("a", 1500.0)]),
        request("s", session="sub", first=900, after=[after("a", 500.0, "spawn")]),
        request("d", blocks=11, after=[after("b", 100.0, "sequence", "dispatch")]),
        request(
            "e",
            blocks=13,
            after=[after("s", 0.0, "join"), after("b", 250.0)],
            output_length=0,
        ),
    )
    assert holds_sessions(str(path))
    workload = read_session_trees(path)
    (tree,) = workload.source.trees
    by_line = {one.call.line: (number, one) for number, one in enumerate(tree.requests)}
    number = {line - 1: number for line, (number, _) in by_line.items()}
    a, b, sub, sent_with_b, last = (by_line[line][1] for line in range(2, 7))
    assert (a.after, a.delay_s, a.agent) == (-1, 0.0, 0)
    assert (b.after, b.delay_s) == (number[1], 1.5)
    assert (sub.after, sub.delay_s, sub.agent) == (number[1], 0.5, 1)
    assert (sent_with_b.after, sent_with_b.delay_s) == (number[1], pytest.approx(1.6))
    assert (last.after, last.delay_s, last.waits_for) == (number[2], 0.25, (number[3],))
    assert last.call.output_tokens == 1
    assert tree.parents[number[5]] == 2
    # b repeats the ten blocks of a and adds two; the sub-agent repeats nothing
    assert b.call.content[0][0] == a.call.content[0][0]
    assert sum(count for _, count in b.call.content) == 12
    assert sub.call.content[0][0] != a.call.content[0][0]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (
            [HEADER, request("a", after=[after("b")]), request("b", after=[after("a")])],
            "line 2: 'a' is its own ancestor",
        ),
        ([HEADER, request("a", after=[after("z")])], "line 2: 'a' waits for 'z'"),
        ([HEADER, request("a"), request("a")], "line 3: request_id 'a' is also that of line 2"),
        ([HEADER, request("a", not_before_ms=-1.0)], "line 2: not_before_ms is -1.0"),
        ([HEADER, request("a"), request("b", after=[after("a", -5.0)])], "delay_ms is -5.0"),
        ([HEADER, request("a", after=[after("a", 0.0, "join", "soon")])], "trigger is 'soon'"),
        ([{**HEADER, "version": 1}, request("a")], "of version 1"),
        ([HEADER, request("a", play_id="")], "play_id is ''"),
    ],
)
def test_bad_rows_are_named_with_their_line(tmp_path, rows, reason) -> None:
    path = written(tmp_path / "trace.jsonl", *rows)
    with pytest.raises(UserError, match=reason):
        read_session_trees(path)


def test_bad_rows_may_be_left_out_and_are_counted(tmp_path) -> None:
    path = written(
        tmp_path / "trace.jsonl", HEADER, request("a"), request("b", after=[after("z", 1.0)])
    )
    workload = read_session_trees(path, options=TraceOptions(on_error="skip"))
    assert workload.skipped == 1
    assert len(workload.source.trees[0].requests) == 2


def test_sessions_without_branches_count_where_chains_are_taken(tmp_path) -> None:
    path = written(
        tmp_path / "trace.jsonl",
        {"session_id": "s", "input_length": 640, "output_length": 10},
        {"session_id": "s", "input_length": 64, "output_length": 10, "delay": 500},
    )
    assert not holds_sessions(str(path))
    assert holds_sessions(str(path), chains=True)
    assert read_session_trees(path).source.trees[0].requests[1].delay_s == 0.5
