"""Readers on small files made in the form of each published trace."""

import json
from pathlib import Path

import numpy as np
import pytest

from workloads.errors import UserError
from workloads.requests.catalog import TraceWorkload, load_workload
from workloads.requests.traces import TraceOptions

DATA = Path(__file__).parents[1] / "data" / "traces"


def read(name, **options):
    workload = load_workload(DATA / name, options=TraceOptions(**options))
    assert isinstance(workload, TraceWorkload)
    return workload


def rows(workload):
    return [(r.arrival_s, r.prompt_tokens, r.output_tokens) for r in workload.recorded]


def write(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_mooncake_milliseconds_blocks_and_order():
    workload = read("mooncake.jsonl")
    assert rows(workload) == [
        (0.0, 1400, 52),
        (pytest.approx(0.518), 100, 7),
        (pytest.approx(3.053), 1030, 26),
        (pytest.approx(3.053), 512, 1),
    ]
    assert [r.index for r in workload.recorded] == [0, 1, 2, 3]
    # only full blocks are kept: 1400 tokens are 2.7 blocks of 512
    assert [r.block_hashes for r in workload.recorded] == [(46, 47), (), (46, 47), (46,)]
    assert {r.block_tokens for r in workload.recorded} == {512}
    assert all(r.session == -1 for r in workload.recorded)
    assert workload.is_timed


def test_mooncake_hash_ids_must_fit_the_block_size():
    with pytest.raises(UserError, match=r"line 1: hash_ids has 3 blocks, but 1400 tokens are 88"):
        read("mooncake.jsonl", block_tokens=16)


def test_aiperf_sessions_add_to_their_history():
    workload = read("aiperf_sessions.jsonl")
    by_turn = sorted(workload.recorded, key=lambda r: (r.session, r.turn))
    solo, *turns = by_turn
    assert (solo.session, solo.arrival_s, solo.prompt_tokens) == (-1, 0.5, 300)
    assert [t.prompt_tokens for t in turns] == [1100, 1100 + 40 + 150, 1290 + 20 + 450]
    assert [(t.arrival_s, t.think_s) for t in turns] == [(0.0, 0.0), (None, 2.0), (None, 0.25)]
    assert [len(t.block_hashes) for t in turns] == [2, 2, 3]
    assert turns[2].block_hashes[:2] == turns[0].block_hashes


def test_bailian_chains_chats():
    workload = read("bailian.jsonl")
    first, orphan, second = workload.recorded
    assert (first.session, first.turn, first.block_hashes) == (0, 0, (1089, 1090))
    assert (second.session, second.turn, second.prompt_tokens) == (0, 1, 60)
    assert second.arrival_s == pytest.approx(1.5)
    assert second.block_hashes == (1089, 1090, 1100)
    assert (orphan.session, orphan.block_tokens) == (-1, 16)


def test_azure_timestamps_have_seven_decimals_or_an_offset():
    year_2023 = rows(read("azure_2023.csv"))
    assert year_2023[1] == (pytest.approx(0.052, abs=1e-6), 3180, 8)
    assert year_2023[2][0] == pytest.approx(20576.02004, abs=1e-6)
    assert rows(read("azure_2024.csv"))[1] == (pytest.approx(0.5, abs=1e-6), 2399, 6)


def test_burstgpt_failures_are_bad_rows_by_line():
    with pytest.raises(UserError, match=r"burstgpt.csv, line 4: Response tokens is 0.*on_error"):
        read("burstgpt.csv")
    workload = read("burstgpt.csv", on_error="skip")
    assert rows(workload) == [(0.0, 472, 18), (40.0, 1087, 230), (113.5, 417, 276)]
    assert [bad.line for bad in workload.bad_rows] == [4]
    assert "1 bad rows left out" in workload.description


def test_vllm_result_is_sent_again_as_it_was():
    assert rows(read("vllm_result.json")) == [(0.0, 1024, 820), (0.25, 900, 1000), (1.5, 850, 1)]


def test_vllm_result_without_details(tmp_path):
    path = write(tmp_path, "r.json", json.dumps({"input_lens": [1], "output_lens": [1, 2]}))
    with pytest.raises(UserError, match="one entry per request"):
        load_workload(path)


def test_text_needs_characters_per_token():
    with pytest.raises(UserError, match=r"line 1: prompt is text without a token count"):
        read("vllm_custom.jsonl")
    assert rows(read("vllm_custom.jsonl", characters_per_token=4)) == [
        (None, 8, 12),
        (None, 4, 30),
    ]


def test_sharegpt_sends_the_first_turn():
    workload = read("sharegpt.json", characters_per_token=4)
    assert rows(workload) == [(None, 5, 2), (None, 1, 2)]
    assert not workload.is_timed


def test_aiperf_multi_turn():
    workload = read("aiperf_multi_turn.jsonl", characters_per_token=4)
    one, two, other = workload.recorded
    assert (one.prompt_tokens, two.prompt_tokens, two.think_s) == (10, 10 + 5 + 2, 1.5)
    assert (one.session, two.session, other.session) == (0, 0, -1)
    assert other.prompt_tokens == 2


def test_aiperf_inputs_carry_whole_payloads():
    workload = read("aiperf_inputs.json", characters_per_token=4)
    assert rows(workload) == [(None, 2, 9), (None, 1, 3), (None, 2, 4)]
    assert [(r.session, r.turn) for r in workload.recorded] == [(-1, 0), (0, 0), (0, 1)]


def test_aiperf_export_leaves_warm_up_out_and_keeps_pauses():
    workload = read("aiperf_profile_export.jsonl")
    other, first, second = sorted(workload.recorded, key=lambda r: r.prompt_tokens)
    assert (first.arrival_s, other.arrival_s) == (0.0, 0.5)
    assert (first.session, first.turn, second.session, second.turn) == (0, 0, 0, 1)
    assert (second.arrival_s, second.think_s) == (None, 1.25)
    assert workload.bad_rows == ()


def test_weka_sessions_keep_pauses_and_their_own_hashes(tmp_path):
    workload = read("weka.jsonl")
    assert not workload.is_timed
    *turns, other = workload.recorded
    assert [(t.prompt_tokens, t.output_tokens) for t in turns] == [(200, 30), (100, 10), (300, 40)]
    # the subagent starts 1.5 s after the first call ended, the main agent 1.5 s after it
    assert [t.think_s for t in turns] == [0.0, 1.5, 1.5]
    assert [(t.session, t.turn) for t in turns] == [(0, 0), (0, 1), (0, 2)]
    assert [len(t.block_hashes) for t in turns] == [3, 1, 4]
    assert turns[0].block_hashes == turns[2].block_hashes[:3]
    assert set(other.block_hashes).isdisjoint(turns[0].block_hashes)
    assert {t.block_tokens for t in workload.recorded} == {64}
    lines = (DATA / "weka.jsonl").read_text(encoding="utf-8").splitlines()
    array = write(tmp_path, "weka.json", json.dumps([json.loads(line) for line in lines], indent=1))
    assert load_workload(array).recorded == workload.recorded


def test_weka_sessions_must_agree_in_block_size(tmp_path):
    call = {"t": 0, "in": 10, "out": 2}
    path = write(
        tmp_path,
        "a.jsonl",
        "\n".join(
            json.dumps(session)
            for session in (
                {"block_size": 64, "requests": [call]},
                {"block_size": 16, "requests": [call]},
                {"block_size": 64, "requests": []},
            )
        ),
    )
    with pytest.raises(UserError, match="line 2: block_size is 16, but 64"):
        load_workload(path)
    workload = load_workload(path, options=TraceOptions(on_error="skip"))
    assert [bad.line for bad in workload.bad_rows] == [2, 3]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.jsonl",
            '{"timestamp": 0, "input_length": 5, "output_length": 2}\n{"tim',
            "line 2: column 2: not JSON",
        ),
        ("a.jsonl", '{"input_length": 5, "output_length": 2}\n[1]', "line 2: a list where"),
        ("a.jsonl", '{"input_length": 5}', "line 1: output_length is missing; give default"),
        ("a.jsonl", '{"input_length": "x", "output_length": 2}', "input_length is 'x'"),
        ("a.jsonl", '{"input_length": 5.5, "output_length": 2}', "must be a whole number"),
        ("a.jsonl", '{"input_length": true, "output_length": 2}', "input_length is True"),
        ("a.jsonl", '{"input_length": 5, "output_length": 0}', "output_length is 0"),
        (
            "a.jsonl",
            '{"timestamp": -1, "input_length": 5, "output_length": 2}',
            "timestamp is -1; it must not be negative",
        ),
        (
            "a.jsonl",
            '{"timestamp": 0, "input_length": 5, "output_length": 2}\n'
            '{"input_length": 5, "output_length": 2}',
            "line 2: some requests have a timestamp and others have not",
        ),
        (
            "a.csv",
            "Timestamp,Request tokens,Response tokens\n1,2\n",
            "line 2: column 3 (Res",
        ),
        (
            "a.csv",
            "Timestamp,Request tokens,Response tokens\n1,2,inf\n",
            "Response tokens is 'inf'",
        ),
        ("a.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n1,2,3\n", "line 2: TIMESTAMP is '1'"),
        (
            "a.csv",
            "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-13-16 18:17:03,2,3\n",
            "TIMESTAMP is '2023-13",
        ),
        ("a.csv", "time,tokens\n1,2\n", "unknown format: it begins with 'time,tokens'"),
        ("a.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n", "holds no usable request"),
        ("a.jsonl", '{"colour": "red"}', "unknown format"),
        ("a.json", '{"colour": "red"', "line 1, column 17: not JSON"),
        ("a.jsonl", "\n\n", "is empty"),
        (
            "a.jsonl",
            '{"session_id": [1], "turns": [{"text": "abc", "output_length": 2}]}',
            "line 1: session_id is [1]; it must be a name",
        ),
        (
            "a.jsonl",
            '{"id": "t", "block_size": 64, "requests": [{"t": 0, "type": "subagent", '
            '"requests": 3, "in": 9, "out": 2}]}',
            "line 1: a subagent's requests are not a list",
        ),
    ],
)
def test_bad_input_is_one_clear_message(tmp_path, name, text, message):
    with pytest.raises(UserError) as caught:
        load_workload(write(tmp_path, name, text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value).replace("\nknown formats", "")


def test_skipping_goes_on_and_counts(tmp_path):
    path = write(
        tmp_path,
        "a.jsonl",
        '{"input_length": 5, "output_length": 2}\nnot json\n\n'
        '{"input_length": 0, "output_length": 2}\n{"input_length": 6, "output_length": 3}\n',
    )
    workload = load_workload(path, options=TraceOptions(on_error="skip"))
    assert [r.prompt_tokens for r in workload.recorded] == [5, 6]
    assert [bad.line for bad in workload.bad_rows] == [2, 4]


def test_all_rows_bad_is_an_error(tmp_path):
    path = write(tmp_path, "a.jsonl", '{"input_length": 0, "output_length": 2}\n')
    with pytest.raises(UserError, match=r"no usable request \(1 bad rows skipped\)"):
        load_workload(path, options=TraceOptions(on_error="skip"))


def test_options_limit_rows_and_fill_outputs(tmp_path):
    path = write(tmp_path, "a.jsonl", '{"input_length": 5}\n{"input_length": 6}\nnot read\n')
    options = TraceOptions(limit=2, default_output_tokens=9)
    assert rows(load_workload(path, options=options)) == [(None, 5, 9), (None, 6, 9)]
    with pytest.raises(UserError, match="limit is 0"):
        TraceOptions(limit=0)
    with pytest.raises(UserError, match="on_error is 'ignore'"):
        TraceOptions(on_error="ignore")


def test_missing_files_and_names():
    with pytest.raises(UserError, match="does not exist; give a trace file or one of 1k1k"):
        load_workload("nowhere.jsonl")
    with pytest.raises(UserError, match="workload 'agentx' is unknown; did you mean agentic"):
        load_workload("agentx")
    assert load_workload("8k1k").name == "8k1k"


def test_a_directory_is_not_a_workload(tmp_path):
    with pytest.raises(UserError, match="does not exist; give a trace file"):
        load_workload(tmp_path)


def test_not_text(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not UTF-8"):
        load_workload(path)


def test_recorded_requests_can_be_sent_faster_and_with_drawn_steps():
    workload = read("mooncake.jsonl")
    rng = np.random.default_rng(0)
    again = list(
        workload.requests(
            rng=rng, count=3, speedup=2.0, decode_steps=lambda output: np.ones_like(output)
        )
    )
    assert [r.arrival_s for r in again] == pytest.approx([0.0, 0.259, 1.5265])
    assert [r.decode_steps for r in again] == [1, 1, 1]
    assert [r.decode_steps for r in workload.requests(rng=rng)] == [51, 6, 25, 0]
    with pytest.raises(UserError, match="speedup is 0"):
        list(workload.requests(rng=rng, speedup=0))


def seconds_trace(tmp_path):
    rows = [(0.0, 1000, 50), (0.2, 2000, 80), (0.4, 1500, 60), (1.7, 1500, 60), (3.9, 1500, 60)]
    lines = [
        f'{{"timestamp": {at}, "input_length": {prompt}, "output_length": {output}}}'
        for at, prompt, output in rows
    ]
    return write(tmp_path, "seconds.jsonl", "\n".join(lines))


def test_timestamps_that_are_hardly_milliseconds_are_asked_about(tmp_path):
    with pytest.raises(UserError, match=r"1,026 req/s, as seconds 1\.03 req/s.*--time-unit s"):
        load_workload(seconds_trace(tmp_path))


@pytest.mark.parametrize(("factor", "unit"), [(1e6, "us"), (1e9, "ns")])
def test_timestamps_of_finer_units_are_asked_about_too(tmp_path, factor, unit):
    """Two thousand seconds, or forty years, between requests."""
    rows = [
        f'{{"timestamp": {int(at * factor)}, "input_length": 100, "output_length": 9}}'
        for at in (0, 2, 4, 17, 39)
    ]
    path = write(tmp_path, "fine.jsonl", "\n".join(rows))
    with pytest.raises(UserError, match=rf"--time-unit {unit} or --time-unit ms"):
        load_workload(path)
    stated = load_workload(path, options=TraceOptions(time_unit=unit))
    assert stated.recorded[-1].arrival_s == pytest.approx(39.0)


@pytest.mark.parametrize(("unit", "last_s"), [("s", 3.9), ("ms", 0.0039)])
def test_a_stated_time_unit_holds(tmp_path, unit, last_s):
    workload = load_workload(seconds_trace(tmp_path), options=TraceOptions(time_unit=unit))
    assert workload.recorded[-1].arrival_s == pytest.approx(last_s)


def test_a_time_unit_of_a_format_with_its_own_is_refused(tmp_path):
    path = write(tmp_path, "a.csv", "Timestamp,Request tokens,Response tokens\n0,2,3\n1,2,3\n")
    with pytest.raises(UserError, match="unit of its own"):
        load_workload(path, options=TraceOptions(time_unit="s"))


def test_a_row_of_more_tokens_than_any_context_is_bad(tmp_path):
    path = write(tmp_path, "a.jsonl", '{"input_length": 5, "output_length": 2147483648}')
    with pytest.raises(UserError, match="output_length is 2147483648; the most is"):
        load_workload(path)
