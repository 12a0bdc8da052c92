"""Blocks of output in the documentation: what is shown, and that every mark is understood."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tool():
    path = ROOT / "docs" / "tools" / "output_blocks.py"
    spec = importlib.util.spec_from_file_location("output_blocks", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (None, "1 2 3 4 5 6"),
        ("1-2", "1 2 ..."),
        ("1, -2:", "1 ... 5 6"),
        ("2-3", "... 2 3 ..."),
        ("5-9", "... 5 6"),
    ],
)
def test_lines_that_are_left_out_become_dots(tool, lines, expected):
    assert tool.shown("1\n2\n3\n4\n5\n6", lines).split() == expected.split()


def test_figures_have_their_unit(tool):
    text = json.dumps({"a": [{"share": 0.185, "step_s": 0.01008}]})
    assert tool.figure(text, "a.0.share", ".0f%") == "18 %"
    assert tool.figure(text, "a.0.step_s", ".1fms") == "10.1 ms"
    assert tool.figure(text, "a.0.step_s", ".3f") == "0.010"


def test_figures_are_found_by_what_they_are_of_and_as_ratios(tool):
    text = json.dumps(
        {
            "rows": [{"parameter": "osl", "slope": -0.5}, {"parameter": "isl", "slope": 0.25}],
            "limits": {"kernel floor": 3.0},
            "step_s": 4.0,
        }
    )
    assert tool.figure(text, "rows.parameter=isl.slope", "+.2f") == "+0.25"
    assert tool.figure(text, "limits.kernel floor / step_s", ".0f%") == "75 %"
    with pytest.raises(StopIteration):
        tool.figure(text, "rows.parameter=seed.slope", ".2f")


def test_a_check_runs_the_fastest_and_ignores_the_version(tool):
    known = {"a": {"seconds": 5.0}, "b": {"seconds": 2.0}, "c": {"seconds": 25.0}}
    assert tool.checked(known, None) == {"a", "b"}
    assert tool.checked(known, 6.0) == {"b"}
    assert tool.same("by forecurve 0.1.0\n12 ms", "by forecurve 0.2.dev3+g12ab.d2026\n12 ms")
    assert not tool.same("by forecurve 0.1.0\n12 ms", "by forecurve 0.1.0\n13 ms")


def test_every_mark_on_a_page_is_understood(tool):
    marks = 0
    for page in tool.pages():
        text = page.read_text(encoding="utf-8")
        assert text.count("<!-- output:") == len(tool.BLOCK.findall(text)), page
        assert text.count("<!--f ") == len(tool.FIGURE.findall(text)), page
        empty = [m["command"] for m in tool.BLOCK.finditer(text) if not m["body"].strip()]
        assert not empty, f"{page}: run docs/tools/output_blocks.py --write --page {page.stem}"
        marks += text.count("<!-- output:") + text.count("<!--f ")
    assert marks > 5


def test_a_block_is_what_its_command_prints(tool):
    block = "<!-- output: echo one; echo two | lines 1-1 -->\n```\nold\n```\n"
    match = tool.BLOCK.search(block)
    assert tool.rendered(match).split("\n")[2:4] == ["one", "..."]


def test_tables_and_signs_are_written_as_pages_write_them(tool):
    page = "a\n<!-- table: echo 1 -->\n\n0\n\n<!-- end of table -->\nb\n"
    (match,) = tool.TABLE.finditer(page)
    assert tool.rendered(match) == match[0].replace("0\n", "1\n")
    assert tool.figure('{"a": -0.25}', "a", "+.2f") == "−0.25"
