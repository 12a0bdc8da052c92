"""--json-lines: figures as soon as they are known, one JSON object a line, then the answer."""

import json

from simulator.cli.main import run
from simulator.cli.progress import progress_bar, tell_as_json_lines
from simulator.output.first_figure import FirstFigure


def test_a_curve_tells_of_points_before_the_answer(capsys, tmp_path):
    flags = "--sku b200 --engine vllm --tp 8 --ep 8 --no-dp-attention --isl 256 --osl 8"
    asked = [*flags.split(), "--concurrency", "1,2", "--out", str(tmp_path / "o")]
    assert run([*asked, "--json-lines"]) == 0
    *events, answer = map(json.loads, capsys.readouterr().out.splitlines())
    assert {event["event"] for event in events} == {"progress"}
    assert answer["event"] == "result"
    told = [event["figure"] for event in events if "figure" in event]
    points = {(p["label"], p["concurrency"]): p["total_tput_per_gpu"] for p in answer["points"]}
    assert told
    for figure in told:
        assert points[figure["label"], figure["concurrency"]] == figure["total_tput_per_gpu"]


def test_progress_goes_to_stdout_only_where_lines_are_asked_for(capsys):
    figure = FirstFigure("TP8: 5 tok/s", label="TP8", total_tput_per_gpu=5.0)
    assert figure == "TP8: 5 tok/s"
    for wanted in (True, False):
        tell_as_json_lines(wanted)
        with progress_bar() as move:
            move(1, 2, figure)
        out = capsys.readouterr().out
        assert bool(out) == wanted
        if wanted:
            event = json.loads(out)
            assert event["figure"] == {"label": "TP8", "total_tput_per_gpu": 5.0}
            assert (event["done"], event["total"]) == (1, 2)
