"""The trace file's structure, as ui.perfetto.dev reads it."""

import json
from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest

from simulator.engines.registry import bind_engine
from simulator.engines.vllm.engine import VllmSettings
from simulator.serving.callbacks import StepRun
from simulator.serving.chrome_trace import TraceWriter
from simulator.serving.client import ClosedLoop
from simulator.serving.deployment import Deployment, run_deployment
from simulator.serving.kv_pool import KvPoolSpec
from simulator.serving.records import Records
from simulator.serving.router import WorkerPool
from simulator.serving.step_cost import Line
from workloads.errors import UserError
from workloads.layout import Layout
from workloads.requests.synthetic import inferencex_requests


class ConstantCost:
    queries_per_request = 1

    def fixed_s(self, *, rank_tokens, group_tokens, rank_samples, group_samples, has_prefill):
        return 0.02 if has_prefill else 0.01

    def decode_attention(self, *, requests, context_sum):
        return Line(0.0, 0.0, float("inf"))

    def prefill_attention_s(self, *, new_tokens, prefix_tokens):
        return 0.0


@pytest.fixture
def run(tmp_path):
    """A closed loop on two workers of two ranks, traced."""
    requests = inferencex_requests(isl=200, osl=20, count=40, rng=np.random.default_rng(0))
    pool = WorkerPool(
        layout=Layout(tp=2, ep=2, dp_attention=True),
        engine=bind_engine(VllmSettings(max_num_batched_tokens=128, max_num_seqs=4)),
        kv_pool=KvPoolSpec(total_blocks=200, block_tokens=16),
        cost=ConstantCost(),
        workers=2,
    )
    path = tmp_path / "trace.json"
    with TraceWriter(path, metadata={"version": "1.2"}) as trace:
        columns = run_deployment(
            deployment=Deployment(aggregated=pool),
            requests=requests,
            load=ClosedLoop(concurrency=8),
            on_step=trace.on_step,
        )
        records = Records.from_columns({name: getattr(columns, name) for name in Records.names})
        trace.requests(records)
    return json.loads(path.read_text()), records


def events_of(document, phase):
    return [event for event in document["traceEvents"] if event["ph"] == phase]


def test_the_file_says_what_it_is(run):
    document, _ = run
    assert document["displayTimeUnit"] == "ms"
    assert document["otherData"] == {"kind": "simulated", "version": "1.2"}
    assert {event["ph"] for event in document["traceEvents"]} == {"X", "C", "M", "b", "e"}


def test_every_event_has_the_fields_of_its_phase(run):
    fields = {
        "X": {"ph", "ts", "dur", "pid", "tid", "name", "args"},
        "C": {"ph", "ts", "pid", "name", "args"},
        "b": {"ph", "ts", "pid", "name", "cat", "id"},
        "e": {"ph", "ts", "pid", "name", "cat", "id"},
        "M": {"ph", "pid", "name", "args"},
    }
    for event in run[0]["traceEvents"]:
        assert fields[event["ph"]] <= event.keys()
        assert event.get("ts", 0) >= 0
        assert event.get("dur", 0) >= 0


def test_every_track_is_named(run):
    document, _ = run
    names = {
        (event["pid"], event.get("tid")): event["args"]["name"]
        for event in events_of(document, "M")
    }
    assert names[1, None] == "worker 0"
    assert names[2, None] == "worker 1"
    assert names[0, None] == "requests"
    tracks = {(event["pid"], event["tid"]) for event in events_of(document, "X")}
    assert tracks == {(1, 0), (1, 1), (2, 0), (2, 1)}
    assert all(names[track] == f"rank {track[1]}" for track in tracks)


def test_steps_of_a_rank_follow_one_another(run):
    tracks = defaultdict(list)
    for event in events_of(run[0], "X"):
        tracks[event["pid"], event["tid"]].append(event)
    for slices in tracks.values():
        for before, after in pairwise(slices):
            assert before["ts"] + before["dur"] <= after["ts"] + 1e-6


def test_steps_account_for_every_token(run):
    document, records = run
    slices = events_of(document, "X")
    prefilled = sum(event["args"]["prefill_tokens"] for event in slices)
    decoded = sum(event["args"]["steps"] * event["args"]["decode_requests"] for event in slices)
    assert records.preemptions.sum() == 0
    assert prefilled == records.prompt_tokens.sum()
    assert decoded == (records.output_tokens - 1).sum()


def test_steps_are_named_by_what_they_hold(run):
    for event in events_of(run[0], "X"):
        args = event["args"]
        kind = "decode" if not args["prefill_tokens"] else "mixed"
        kind = kind if args["decode_requests"] else "prefill"
        assert event["name"] == (kind if args["steps"] == 1 else f"{kind} x{args['steps']}")


def test_counters_are_by_rank_and_end_empty(run):
    last = {}
    for event in events_of(run[0], "C"):
        assert set(event["args"]) == {"rank 0", "rank 1"}
        assert min(event["args"].values()) >= 0
        last[event["pid"], event["name"]] = event["args"]
    assert {name for _, name in last} == {
        "waiting requests",
        "decoding requests",
        "KV blocks used",
    }
    for pid in (1, 2):
        assert last[pid, "waiting requests"] == {"rank 0": 0, "rank 1": 0}
        assert last[pid, "decoding requests"] == {"rank 0": 0, "rank 1": 0}


def test_each_request_has_a_lane_of_nested_phases(run):
    document, records = run
    lanes = defaultdict(list)
    for event in document["traceEvents"]:
        if event["ph"] in "be":
            lanes[event["id"]].append(event)
    assert set(lanes) == set(records.request.tolist())
    for row, request in enumerate(records.request.tolist()):
        lane = lanes[request]
        open_names = []
        for event in lane:
            if event["ph"] == "b":
                open_names.append(event["name"])
            else:
                assert open_names.pop() == event["name"]
        assert open_names == []
        assert [e["ts"] for e in lane[1:-1]] == sorted(e["ts"] for e in lane[1:-1])
        assert [e["name"] for e in lane if e["ph"] == "b"] == [
            f"request {request}",
            "queued",
            "prefill",
            "decode",
        ]
        assert lane[0]["ts"] == pytest.approx(records.arrival_s[row] * 1e6, abs=1e-3)
        assert lane[-1]["ts"] == pytest.approx(records.finish_s[row] * 1e6, abs=1e-3)
        assert lane[0]["args"]["prompt_tokens"] == records.prompt_tokens[row]


def test_an_unfinished_request_has_the_phases_that_it_ended(tmp_path):
    names = {name: [1] for name in Records.names}
    records = Records.from_columns(
        names | {"scheduled_s": [2.0], "first_token_s": [np.nan], "finish_s": [np.nan]}
    )
    path = tmp_path / "trace.json"
    with TraceWriter(path) as trace:
        trace.requests(records)
    lane = [e for e in json.loads(path.read_text())["traceEvents"] if e["ph"] in "be"]
    assert [(e["ph"], e["name"], e["ts"]) for e in lane] == [
        ("b", "request 1", 1e6),
        ("b", "queued", 1e6),
        ("e", "queued", 2e6),
        ("e", "request 1", 2e6),
    ]


def step(start_s, end_s, **changes):
    values = {
        "worker": 0,
        "steps": 1,
        "prefill_tokens": (0,),
        "decode_requests": (3,),
        "waiting": (1,),
        "used_blocks": (9,),
    }
    return StepRun(start_s=start_s, end_s=end_s, **(values | changes))


def test_counters_drop_while_a_worker_idles(tmp_path):
    path = tmp_path / "trace.json"
    with TraceWriter(path) as trace:
        trace.on_step(step(0.0, 1.0))
        trace.on_step(step(1.0, 2.0))
        trace.on_step(step(5.0, 6.0))
    running = [
        (event["ts"], event["args"]["rank 0"])
        for event in events_of(json.loads(path.read_text()), "C")
        if event["name"] == "decoding requests"
    ]
    assert running == [(0.0, 3), (2e6, 0), (5e6, 3), (6e6, 0)]


def test_transfers_have_tracks_of_their_own(tmp_path):
    path = tmp_path / "trace.json"
    with TraceWriter(path) as trace:
        trace.transfer(request=7, source=0, destination=2, start_s=1.0, end_s=1.25, size_bytes=4e6)
    document = json.loads(path.read_text())
    (transfer,) = events_of(document, "X")
    assert (transfer["ts"], transfer["dur"], transfer["args"]) == (1e6, 250e3, {"bytes": 4e6})
    names = [event["args"]["name"] for event in events_of(document, "M")]
    assert names == ["worker 2", "KV from worker 0"]


def test_what_starts_too_late_is_left_out_and_counted(tmp_path):
    path = tmp_path / "trace.json"
    with TraceWriter(path, until_s=1.5) as trace:
        trace.on_step(step(0.0, 1.0))
        trace.on_step(step(2.0, 3.0, decode_requests=(2,)))
    document = json.loads(path.read_text())
    assert max(e["ts"] for e in document["traceEvents"] if "ts" in e) <= 1.5e6
    assert trace.left_out > 0
    assert document["otherData"]["left_out"] == (f"{trace.left_out} events that start after 1.5 s")


def test_an_empty_trace_is_valid(tmp_path):
    path = tmp_path / "trace.json"
    with TraceWriter(path):
        pass
    assert json.loads(path.read_text())["traceEvents"] == []


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with (
        pytest.raises(UserError, match="trace cannot be written"),
        TraceWriter(tmp_path / "no" / "trace.json"),
    ):
        pass
