"""Predictions in a user's table, and files beside them, are read whole or refused by line."""

import json

import pytest

from calibration.importers.point_table import translated
from calibration.scoreboard.given import read_given
from calibration.scoreboard.mlperf_table import read_predicted, text_table
from workloads.errors import UserError
from workloads.requests.agentx.files import holds_sessions, read_session_trees
from workloads.requests.length_laws import read_lengths
from workloads.requests.traces import TraceOptions

HEADER = (
    "model,sku,engine,precision,isl,osl,concurrency,status,pred_total_tput_per_gpu,"
    "pred_median_tpot_s,pred_mean_tpot_s,pred_mean_ttft_s,pred_median_ttft_s\n"
)
ROW = "m,b200,vllm,fp4,1024,128,8,ok,"


def written(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_blanks_are_unknown_and_text_is_refused(tmp_path):
    good = read_given(written(tmp_path, "p.csv", HEADER + ROW + "1500,,0.01,0.1,\n"))
    assert good["pred_total_tput_per_gpu"].tolist() == [1500.0]
    assert good["pred_median_tpot_s"].isna().all()
    bad = written(tmp_path, "p.csv", HEADER + ROW + "1500,,0.01,0.1,\n" + ROW + "fast,,,,\n")
    with pytest.raises(UserError, match=r"p\.csv, line 3: pred_total_tput_per_gpu is 'fast'"):
        read_given(bad)


def test_a_table_that_predict_did_not_write_is_said_to_be_none(tmp_path):
    path = written(
        tmp_path, "p.csv", HEADER.replace("status,", "") + "m,b200,vllm,fp4,1,1,1,,,,,\n"
    )
    with pytest.raises(UserError, match=r"column status is missing; --predictions takes"):
        read_given(path)


def test_figures_of_others_that_are_no_numbers_are_named_with_their_line(tmp_path):
    text = "model,hw,conc,actual_tpot_ms,predicted_tpot_ms\nm,b200,8,5,6\nm,b200,16,7,six\n"
    with pytest.raises(UserError, match=r"line 3: predicted_tpot_ms is 'six'"):
        translated(text_table(written(tmp_path, "points.csv", text)))
    path = written(tmp_path, "given.csv", "tokens_per_s,lo,hi\n100,90,about 110\n")
    with pytest.raises(UserError, match=r"given\.csv, line 2: hi is 'about 110'"):
        read_predicted(path)


def test_a_line_nested_beyond_reason_is_no_session(tmp_path):
    path = written(tmp_path, "deep.jsonl", "[" * 30_000 + "\n")
    assert not holds_sessions(str(path))
    assert read_session_trees(path) is None


OPTIONS = TraceOptions(characters_per_token=1.0, default_output_tokens=4)


def conversation(name, **turn):
    turns = [{"messages": [{"content": "abc"}]} | turn]
    return json.dumps({"session_id": name, "turns": turns}) + "\n"


@pytest.mark.parametrize("name", ["forks", "spawns"])
def test_children_that_are_no_list_are_named(tmp_path, name):
    path = written(tmp_path, "dag.jsonl", conversation("root", **{name: 3}))
    with pytest.raises(UserError, match=rf"line 1: {name} is 3; it must be a list"):
        read_session_trees(path, options=OPTIONS)


def test_conversations_under_one_another_have_a_limit(tmp_path):
    chain = "".join(
        conversation(f"c{number}", forks=[f"c{number + 1}"] if number < 400 else [])
        for number in range(401)
    )
    with pytest.raises(UserError, match="lies under 200 conversations"):
        read_session_trees(written(tmp_path, "dag.jsonl", chain), options=OPTIONS)


@pytest.mark.parametrize("value", [0, -3, 1.5, 1e300])
def test_lengths_of_sessions_are_whole_and_bounded(tmp_path, value):
    row = {"session_id": "a", "input_length": 9, "output_length": value}
    path = written(tmp_path, "turns.jsonl", json.dumps(row) + "\n")
    with pytest.raises(UserError, match=r"line 1: output_length is"):
        read_session_trees(path)


def test_a_tab_in_a_file_of_lengths_is_an_error_of_one_line(tmp_path):
    text = "prompt: {law: fixed, tokens: 5}\noutput:\n  law: fix\ted\n"
    with pytest.raises(UserError) as caught:
        read_lengths(written(tmp_path, "lengths.yaml", text))
    assert len(str(caught.value).split("\n")) == 1
