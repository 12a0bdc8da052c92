"""Reports: what the page holds, that it stands alone, and which runs are refused."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import matplotlib.figure
import numpy as np
import pandas as pd
import pytest
from report_cases import BAND, USD_PER_GPU_HOUR, curve_points, measured_runs, write_run

import simulator as sim
from simulator.cli.main import run
from simulator.studies.report import build as report_build
from simulator.studies.report import report
from simulator.studies.report.tables import point_tables
from simulator.version import version
from workloads.errors import UserError

VOID = {"meta", "br", "input"}
HOSTILE = '</script><script>hacked()</script><img src=x onerror="hacked()">&amp;'


class Page(HTMLParser):
    """What a browser makes of a page: elements, identifiers, texts, and whether all close."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.tags, self.wrong, self.texts = [], [], [], [], []
        self.scripts, self.styles, self.policy, self.attributes = [], [], "", []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append(tag)
        self.attributes += [(tag, *each) for each in attrs]
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if attributes.get("http-equiv") == "Content-Security-Policy":
            self.policy = attributes["content"]
        if tag == "script":
            self.scripts.append([attributes.get("type"), ""])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append((tag, self.getpos()))

    def handle_data(self, text):
        if self.open and self.open[-1] == "script":
            self.scripts[-1][1] += text
        elif self.open and self.open[-1] == "style":
            self.styles.append(text)
        elif text.strip():
            self.texts.append(text)

    @property
    def data(self):
        return json.loads(next(text for kind, text in self.scripts if kind == "application/json"))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A report of one run with two curves, and measured runs."""
    path = write_run(tmp_path_factory.mktemp("report") / "runs", skus=("mi355x", "b200"))
    return report(path, overlay=measured_runs())


@pytest.fixture(scope="module")
def page(two):
    return Page(two.html())


def test_every_element_closes_and_identifiers_are_unique(page):
    assert page.wrong == []
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))


def test_nothing_is_fetched_and_only_the_page_s_own_script_may_run(page, two):
    outside = ("src", "href", "action", "srcset", "data", "style")
    assert [each for each in page.attributes if each[1] in outside] == []
    assert not {"link", "iframe", "img", "object", "base"} & set(page.tags)
    (style,) = page.styles
    assert "url(" not in style
    assert "@import" not in style
    script = next(text for kind, text in page.scripts if kind is None)
    assert "http" not in script.replace("http://www.w3.org/2000/svg", "")
    for directive, text in (("script-src", script), ("style-src", style)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in page.policy
    assert page.policy.startswith("default-src 'none'")
    assert "unsafe" not in page.policy


def test_a_page_is_small_and_always_the_same(two):
    html = two.html()
    assert html == two.html()
    rows = re.sub(r"<tr id=.*</tr>\n", "", html)
    data = re.sub(r'id="report-data">.*</script>', "", rows)
    assert len(data.encode()) < 60_000


def test_tables_hold_every_point_without_the_script(page, two):
    assert [each for each in page.ids if each.startswith("row-")] == [
        f"row-{row}" for row in _order_of_rows(two)
    ]
    for text in ("3,000", "2,400–3,900", "DEP8", "decode: HBM bandwidth", "calibrated"):
        assert text in page.texts
    assert "6 simulated" in " ".join(page.texts)


def test_points_of_a_curve_of_several_engines_name_theirs(tmp_path):
    mixed = ["vllm", "vllm", "trt", "trt", "trt"]
    path = write_run(tmp_path / "mixed", skus=("b200",), engine=mixed, spec="mtp:1", series="best")
    tables = point_tables(report(path).points)
    assert ">engine</th>" in tables
    assert tables.count(">trt mtp:1</td>") == 3
    alone = report(write_run(tmp_path / "one", skus=("b200",), series="best"))
    assert ">engine</th>" not in point_tables(alone.points)


def _order_of_rows(made):
    points = made.points
    ordered = [
        row
        for _, rows in points.groupby("series", sort=False)
        for row in rows.sort_values("interactivity").index
    ]
    return [*ordered, *range(len(points), len(points) + len(made.measured))]


def test_the_page_says_what_it_is_and_where_every_setting_comes_from(page):
    texts = " ".join(page.texts)
    for words in (
        "simulated, forecurve",
        f"simulated by forecurve {version()}",
        "2026-09",
        "sglang@2026-05-21",
        "isl 8192 default",
        'sku ["mi355x", "b200"] flag',
        "ttft_p90_s not set default",
        "kind of pools on this SKU were fitted",
        "no recipe: that of b200 stands in",
        "TP1 does not fit",
        "weights -2 GB",
    ):
        assert words in texts
    assert any(each == ("meta", "name", "generator") for each in page.attributes)


def test_the_chart_draws_the_points_as_they_are(page, two):
    data, points = page.data, two.points
    drawn = data["points"]
    assert drawn["measured"] == [0] * len(points) + [1, 1]
    simulated = slice(0, len(points))
    for axis in (*data["axes"]["x"], *data["axes"]["y"]):
        np.testing.assert_allclose(drawn[axis["key"]][simulated], points[axis["key"]], rtol=1e-5)
    low, high = BAND
    tput, speed = points["total_tput_per_gpu"], points["interactivity"]
    np.testing.assert_allclose(drawn["total_tput_per_gpu_lo"][simulated], tput * low, rtol=1e-5)
    np.testing.assert_allclose(drawn["interactivity_lo"][simulated], speed / high, rtol=1e-5)
    np.testing.assert_allclose(drawn["interactivity_hi"][simulated], speed / low, rtol=1e-5)
    assert drawn["text"][0] == "DEP8 c1"
    names = [data["series"][at]["name"] for at in drawn["series"]]
    assert names == [*points["series"], "MI355X curve", "MI355X curve"]


def test_measured_runs_cost_what_their_curve_costs(two):
    plain, mtp = two.measured.to_dict("records")
    assert plain["interactivity"] == pytest.approx(22)
    assert plain["usd_per_million_tokens"] == pytest.approx(USD_PER_GPU_HOUR * 1e6 / 3600 / 1800)
    assert plain["usd_per_million_output_tokens"] == pytest.approx(
        USD_PER_GPU_HOUR * 1e6 / 3600 / 200
    )
    assert plain["tokens_per_s_per_mw"] == pytest.approx(1800 / 2.0 * 1e3)
    assert np.isnan(mtp["output_tput_per_gpu"])


def test_output_of_a_measured_pool_is_over_all_gpus(tmp_path):
    runs = measured_runs(
        disaggregated=True, decode_gpus=8.0, gpus=24.0, output_tput_per_gpu=[300.0, 30.0]
    )
    made = report(write_run(tmp_path / "runs"), overlay=runs)
    assert made.measured["output_tput_per_gpu"].tolist() == [100.0, 10.0]


def test_measured_runs_of_another_speculation_are_off_at_first(page, two):
    (facet,) = [each for each in page.data["facets"] if each["title"] == "Speculation"]
    assert facet["values"] == ["mtp", "none"]
    assert facet["off"] == [0]
    assert any("1 measured runs of a precision or speculation" in note for note in two.notes)
    layouts = next(each for each in page.data["facets"] if each["title"] == "Layout")
    assert layouts["values"] == ["DEP", "TEP", "TP", "disaggregated"]
    assert layouts["off"] == []
    gpus = next(each for each in page.data["facets"] if each["title"] == "GPUs")
    assert gpus["values"] == ["4", "8", "24"]


def test_names_cannot_leave_their_place(tmp_path):
    told = {
        "caption": HOSTILE,
        "messages": [HOSTILE],
        "settings": {HOSTILE: {"value": HOSTILE, "origin": HOSTILE}},
        "refused": [{"label": HOSTILE, "reason": f"{HOSTILE}\n{HOSTILE}"}],
    }
    path = write_run(
        tmp_path / "runs", summary=told, series=HOSTILE, bottleneck=HOSTILE, level=HOSTILE
    )
    made = report(path, title=HOSTILE, overlay=measured_runs(source=HOSTILE, layout=HOSTILE))
    page = Page(made.html())
    assert page.wrong == []
    assert len(page.scripts) == 2
    assert "img" not in page.tags
    assert not [each for each in page.attributes if each[1].startswith("on")]
    assert page.data["series"][0]["name"] == HOSTILE
    assert page.texts.count(HOSTILE) > 10


def test_unknown_figures_are_blank_and_their_axes_are_left_out(tmp_path):
    path = write_run(tmp_path / "runs", usd_per_million_tokens=np.nan, tokens_per_s_per_mw=np.nan)
    table = pd.read_csv(path / "points.csv")
    bands = [name for name in table if name.endswith(("_lo", "_hi"))]
    table.drop(columns=bands).to_csv(path / "points.csv", index=False)
    made = report(path)
    data = Page(made.html()).data
    keys = [axis["key"] for axis in data["axes"]["y"]]
    assert keys == ["total_tput_per_gpu", "output_tput_per_gpu"]
    assert set(data["points"]["total_tput_per_gpu_lo"]) == {None}
    assert "$/M tok" not in made.html()


def test_curves_of_one_name_carry_their_run(tmp_path):
    paths = [write_run(tmp_path / name) for name in ("a", "b")]
    other = write_run(tmp_path / "c", isl=1024, economics="2026-04", summary={"generator": "x 9"})
    names = set(report(*paths).points["series"])
    assert names == {f"MI355X curve, {path}" for path in paths}
    notes = report(paths[0], other).notes
    assert "curves of different input and output lengths share the plot: 8192/1024, 1024/1024" in (
        notes
    )
    assert "curves of different economics files share the plot: 2026-09, 2026-04" in notes
    assert any(note.startswith("simulated by x 9; the page is of forecurve") for note in notes)


def test_settings_that_differ_between_runs_stand_side_by_side(tmp_path):
    settings = {"isl": {"value": 1024, "origin": "flag"}, "osl": {"value": 1, "origin": "flag"}}
    runs = [write_run(tmp_path / "a"), write_run(tmp_path / "b", summary={"settings": settings})]
    texts = " ".join(Page(report(*runs).html()).texts)
    assert "Settings that differ" in texts
    assert f"setting {runs[0]} {runs[1]}" in texts.replace("\n", " ").replace("  ", " ")
    assert "isl 8192 1024" in texts
    assert "osl" not in texts.partition("Settings that differ")[2].partition("settings and")[0]


def test_a_page_holds_so_many_points_and_says_so(tmp_path, monkeypatch):
    path = write_run(tmp_path / "runs", skus=("mi355x", "b200"))
    monkeypatch.setattr(report_build, "MOST_POINTS", 9)
    made = report(path)
    assert int(made.points["on_frontier"].sum()) == 7
    assert len(made.points) == 9
    assert any("of 11 simulated points the page holds 9" in note for note in made.notes)
    monkeypatch.setattr(report_build, "MOST_POINTS", 5)
    assert len(report(path).points) == 7


def _with_isl(path, *values):
    """Points whose first prompts have these lengths, whatever they are."""
    table = pd.read_csv(path / "points.csv", dtype=str, keep_default_na=False)
    table.loc[range(len(values)), "isl"] = values
    table.to_csv(path / "points.csv", index=False)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: (path / "summary.json").unlink(), "has no summary.json"),
        (lambda path: (path / "points.csv").unlink(), "has no points.parquet or points.csv"),
        (lambda path: (path / "summary.json").write_text("{"), "line 1, column 2: not JSON"),
        (lambda path: (path / "summary.json").write_text("{}"), "caption: Field required"),
        (lambda path: (path / "summary.json").write_text("[]"), "holds list, not an object"),
        (lambda path: (path / "points.csv").write_text("label\nTP8\n"), "concurrency is missing"),
        (lambda path: (path / "points.csv").write_bytes(b""), "there is no header"),
        (lambda path: (path / "points.parquet").write_text("x"), "cannot read .*points.parquet"),
        (lambda path: _with_isl(path, "9" * 400, "x"), "isl of point 2 is 'x', not a number"),
    ],
)
def test_what_is_no_run_is_refused_in_one_line(tmp_path, spoil, message):
    path = write_run(tmp_path / "runs")
    spoil(path)
    with pytest.raises(UserError, match=message) as error:
        report(path)
    assert len(str(error.value).splitlines()) == 1


def test_nothing_twice_and_none_are_refused(tmp_path):
    path = write_run(tmp_path / "runs")
    for runs, message in (
        ((), "a report needs runs"),
        ((path, str(path)), "given twice"),
        ((path / "missing",), "does not exist"),
        ((path / "points.csv",), "is no directory"),
    ):
        with pytest.raises(UserError, match=message):
            report(*runs)
    with pytest.raises(UserError, match="has no Pareto points"):
        report(curve_points("b200"))
    with pytest.raises(UserError, match="no SKU is given"):
        report(path, ep=8)
    for name, message in (("page.txt", "name it page.html"), (".", "is a directory")):
        with pytest.raises(UserError, match=message):
            report(path, out=tmp_path / name)


def test_no_curve_is_simulated_for_a_run_that_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(report_build, "curve", lambda **_: pytest.fail("was simulated"))
    with pytest.raises(UserError, match="does not exist"):
        report(tmp_path / "missing", sku="mi355x")


ASKED = {"tp": 8, "ep": 8, "dp_attention": False, "concurrency": (1, 8)}
FLAGS = ["--tp", "8", "--ep", "8", "--no-dp-attention", "--concurrency", "1,8"]


def test_results_and_the_directories_of_their_commands_give_the_same_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(["--sku", "mi355x", *FLAGS, "--out", "curve"]) == 0
    systems = ("b200:vllm", "mi355x:sglang")
    compared = ["compare", *systems, "--at", "20,50", "--workers", "1"]
    assert run([*compared, *FLAGS, "--out", "compared"]) == 0
    read = report("curve", "compared")
    made = report(
        sim.curve(sku="mi355x", **ASKED),
        sim.compare(*systems, at=(20, 50), workers=1, **ASKED),
    )
    assert read.speeds == made.speeds == (20.0, 50.0)
    assert [source.name for source in made.sources] == ["curve", "comparison"]
    for name in ("label", "concurrency", "level", "kind", "series", "speculation"):
        assert read.points[name].tolist() == made.points[name].tolist()
    for axis in ("total_tput_per_gpu", "interactivity", "joules_per_token", "interactivity_lo"):
        np.testing.assert_allclose(read.points[axis], made.points[axis], rtol=1e-5)
    page = Page(read.html())
    assert page.wrong == []
    assert "sku mi355x b200 mi355x engine" in " ".join(page.texts)
    assert {"At equal speed", "unreachable", "TEP8 c8 to TEP8 c1"} <= set(page.texts)
    assert any("$ at the hyperscaler price of economics" in text for text in page.texts)
    assert isinstance(read.plot(tmp_path / "plot.png"), matplotlib.figure.Figure)


def test_the_command_writes_a_page_of_runs_and_of_a_curve_simulated_now(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "runs", skus=("b200",))
    measured_runs(num_gpus=8).drop(columns=["layout", "gpus"]).assign(
        spec_decoding=["none", "mtp"], disagg=False, decode_tp=8, decode_workers=1
    ).drop(columns=["speculation", "disaggregated", "quality", "source"]).to_csv("own.csv")
    flags = ["--sku", "mi355x", *FLAGS, "--overlay", "own.csv", "--title", "Two of a kind"]
    assert run(["report", "runs", *flags, "--out", "pages/page.html"]) == 0
    printed = capsys.readouterr().out
    assert "2 curves, 7 simulated points, 5 on a frontier, 2 measured runs" in printed
    page = Page((tmp_path / "pages" / "page.html").read_text(encoding="utf-8"))
    assert "Two of a kind" in page.texts
    assert [path.name for path in (tmp_path / "pages").iterdir()] == ["page.html"]
    assert run(["report", "runs"]) == 0
    (default,) = (tmp_path / "out").iterdir()
    assert re.fullmatch(r"report-runs-[0-9a-f]{6}\.html", default.name)
    assert run(["report", "runs", "--json", "--out", "page.html"]) == 0
    *_, last = capsys.readouterr().out.partition("{")
    assert json.loads("{" + last)["simulated"] is True
    assert run(["report", "runs", "--csv", "--out", "page.html"]) == 0
    assert capsys.readouterr().out.startswith("sku,model,")
    assert run(["report", "runs", "--csv", "--json"]) == 2
    assert run(["report"]) == 2
    assert "a report needs runs" in capsys.readouterr().err
