"""The page of a report in a real browser: it draws, answers to pointer, keys and filters, and
asks the network for nothing."""

import inspect
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from report_cases import measured_runs, write_run
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from simulator.analysis.pareto import Frontier
from simulator.studies.report import report

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
HOSTILE = '</script><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="no Chromium with chromedriver on the PATH (Debian: apt-get install chromium "
    "chromium-driver), so the page of a report was not tried in a browser",
)
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_page_load_timeout(30)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    path = write_run(folder / "runs", skus=("mi355x", "b200"))
    return report(path, overlay=measured_runs(), out=folder / "page.html"), folder / "page.html"


@pytest.fixture
def page(browser, made):
    """The page freshly opened at 1400x900."""
    return opened(browser, made[1])


def opened(browser, path, *, width=1400, height=900):
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(path.as_uri())
    return browser


def found(browser, selector):
    return browser.find_elements(By.CSS_SELECTOR, selector)


def texts(browser, selector):
    return [each.get_attribute("textContent") for each in found(browser, selector)]


def rows(browser, kind):
    return {int(each.get_attribute("data-row")) for each in found(browser, f"path.{kind}")}


def tick(browser, words, *, inside=""):
    """Turn the check box that has a text."""
    for label in found(browser, f"{inside} label"):
        if label.get_attribute("textContent").strip() == words:
            label.find_element(By.CSS_SELECTOR, "input").click()
            return
    pytest.fail(f"no check box {words}")


def choose(browser, axis, words):
    Select(found(browser, f"select[aria-label={axis}]")[0]).select_by_visible_text(words)


def hover(browser, row):
    point = found(browser, f'path.point[data-row="{row}"]')[0]
    ActionChains(browser).move_to_element(point).perform()
    return found(browser, "#tip")[0]


def shown_rows(browser):
    return {
        int(row.get_attribute("id").removeprefix("row-"))
        for row in found(browser, "#curves tbody tr")
        if row.is_displayed()
    }


def places(browser, axis):
    """Values of an axis' ticks and where they stand."""
    words = [text.replace(",", "") for text in texts(browser, f"text.{axis}-tick")]
    at = [float(each.get_attribute(axis)) for each in found(browser, f"text.{axis}-tick")]
    below = {"x": 0, "y": 4}[axis]  # the text's baseline is below its grid line
    return np.array(words, dtype=float), np.array(at) - below


def test_a_band_lies_between_frontiers_where_widths_differ(page):
    """Corners joined point by point tore the band apart beside a narrow one."""
    front = [
        {"x": 10, "y": 100, "x_lo": 9, "x_hi": 11, "y_lo": 90, "y_hi": 110},
        {"x": 20, "y": 50, "x_lo": 5, "x_hi": 60, "y_lo": 12, "y_hi": 150},
        {"x": 30, "y": 20, "x_lo": 29, "x_hi": 31, "y_lo": 19, "y_hi": 21},
    ]
    source = Path(inspect.getfile(report)).with_name("curves.js").read_text(encoding="utf-8")
    axes = 'const X = {key: "x", band: "x", rises: true}, '
    axes += 'Y = {key: "y", band: "y", rises: true, power: 1};'
    asked = f"{source}\n{axes} return corners(arguments[0], X, Y);"
    for edge in page.execute_script(asked, front):
        speeds, rates = zip(*edge, strict=True)
        assert list(speeds) == sorted(speeds)
        assert list(rates) == sorted(rates, reverse=True)
    low, high = page.execute_script(asked, front)
    assert (low, high) == ([[9, 90], [29, 19]], [[60, 150]])


def test_it_draws_every_point_hollow_if_simulated_and_filled_if_measured(page, made):
    points = made[0].points
    assert rows(page, "frontier") == set(points.index[points["on_frontier"]])
    assert rows(page, "dominated") == set(points.index[~points["on_frontier"]])
    assert rows(page, "measured") == {len(points)}
    assert {each.get_attribute("fill") for each in found(page, "path.frontier")} == {"#fff"}
    assert {each.get_attribute("fill") for each in found(page, "path.measured")} == {"#d1520f"}
    assert len(found(page, "path.band")) == len(found(page, "path.curve")) == 2
    assert all("0.13" in each.get_attribute("fill-opacity") for each in found(page, "path.band"))
    assert any(text.startswith("simulated, forecurve") for text in texts(page, "#plot text"))


def test_it_asks_the_network_for_nothing_and_reports_no_error(page, made):
    tick(page, "log y")
    asked = []
    for entry in page.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.append(message["params"]["request"]["url"])
    assert asked == [made[1].as_uri()]
    assert page.get_log("browser") == []


def test_the_drawn_curve_is_the_frontier_between_its_points(page, made):
    points = made[0].points
    mine = points[points["series"] == "MI355X curve"]
    expected = Frontier.of(mine["interactivity"], mine["total_tput_per_gpu"])
    drawn = found(page, "path.curve")[0].get_attribute("d")
    knots = np.array(re.findall(r"([-\d.]+),([-\d.]+)", drawn), dtype=float)
    x, y = (
        np.polyval(np.polyfit(at, words, 1), knots[:, side])
        for side, (words, at) in enumerate((places(page, "x"), places(page, "y")))
    )
    assert len(knots) > 50
    inside = (x > expected.x[0] + 0.1) & (x < expected.x[-1] - 0.1)
    np.testing.assert_allclose(y[inside], expected.values(x[inside]), rtol=0.01, atol=8)


def test_hovering_shows_layout_concurrency_and_figures(page):
    tip = hover(page, 1)
    assert tip.is_displayed()
    for words in ("DEP8 c2", "MI355X curve, simulated", "2,000", "1,600–2,600", "HBM bandwidth"):
        assert words in tip.text
    measured = hover(page, 11)
    assert "TP8 c16" in measured.text
    assert "measured, drawn with MI355X curve" in measured.text
    assert "own.csv" in measured.text
    ActionChains(page).move_to_element(found(page, "h1")[0]).perform()
    assert not tip.is_displayed()


def test_arrow_keys_go_from_point_to_point(page):
    svg = found(page, "#plot svg")[0]
    seen = []
    for _ in range(3):
        svg.send_keys(Keys.ARROW_RIGHT)
        seen.append(found(page, "#tip strong")[0].text)
    assert seen == ["DEP8 c1", "2xDEP8+1xDEP8 c1", "DEP8 c2"]
    svg.send_keys(Keys.ARROW_LEFT)
    assert found(page, "#tip strong")[0].text == "2xDEP8+1xDEP8 c1"
    svg.send_keys(Keys.ESCAPE)
    assert not found(page, "#tip")[0].is_displayed()


def test_a_layout_filter_forms_the_frontier_anew_and_the_tables_follow(page):
    assert shown_rows(page) == {0, 1, 2, 3, 6, 7, 8}
    layouts = next(each for each in found(page, ".facet") if each.text.startswith("Layout"))
    layouts.find_element(By.CSS_SELECTOR, "summary").click()
    tick(page, "DEP", inside=".facet")
    assert rows(page, "frontier") == {2, 3, 4, 6, 7, 8}
    assert rows(page, "dominated") == {9, 10}
    assert shown_rows(page) == {2, 3, 4, 6, 7, 8}
    assert "3 frontier points of 6 simulated, 3 left by the filters" in texts(page, ".count")
    assert layouts.find_element(By.CSS_SELECTOR, "summary").text == "Layout: 3 of 4"
    tick(page, "list dominated points too")
    assert shown_rows(page) == {2, 3, 4, 6, 7, 8, 9, 10}
    next(each for each in found(page, "button") if each.text == "Reset").click()
    assert rows(page, "frontier") == {0, 1, 2, 3, 6, 7, 8}


def test_other_filters_act(page):
    limit = found(page, "input[type=number]")[0]
    limit.send_keys("3")
    assert rows(page, "frontier") == {2, 3, 4, 7, 8}
    limit.send_keys(Keys.BACKSPACE, "0.01")
    assert rows(page, "frontier") == set()
    limit.send_keys(*4 * [Keys.BACKSPACE])
    tick(page, "B200 curve, simulated")
    assert rows(page, "frontier") == {0, 1, 2, 3}
    assert not found(page, "section.curve")[1].is_displayed()
    tick(page, "dominated")
    assert rows(page, "dominated") == set()
    tick(page, "90 % bands")
    assert found(page, "path.band") == []
    tick(page, "labels")
    assert found(page, "text.label") == []
    tick(page, "measured")
    assert rows(page, "measured") == set()


def test_measured_runs_of_another_speculation_come_when_asked_for(page):
    assert rows(page, "measured") == {11}
    facet = next(each for each in found(page, ".facet") if each.text.startswith("Speculation"))
    assert facet.text == "Speculation: 1 of 2"
    facet.find_element(By.CSS_SELECTOR, "summary").click()
    tick(page, "mtp", inside=".facet")
    assert rows(page, "measured") == {11, 12}


def test_log_axes_toggle(page):
    for axis in ("x", "y"):
        words, at = places(page, axis)
        assert words[0] == 0
        np.testing.assert_allclose(np.diff(at), np.diff(at)[0], atol=0.01)
        tick(page, f"log {axis}")
        words, at = places(page, axis)
        assert words[0] > 0
        steps = np.diff(at) / np.diff(np.log(words))
        np.testing.assert_allclose(steps, steps[0], rtol=1e-3)
        tick(page, f"log {axis}")
        assert places(page, axis)[0][0] == 0
    assert page.get_log("browser") == []


def test_cost_and_latency_have_a_frontier_of_their_own(page, made):
    points = made[0].points
    choose(page, "y", "Cost per Million Tokens ($)")
    assert texts(page, "#plot svg > text")[0] == "Cost per Million Tokens vs. Interactivity"
    assert rows(page, "frontier") == {0, 1, 2, 3, 6, 7, 8}
    assert places(page, "y")[0][0] > 0
    choose(page, "x", "P90 Time to First Token (s)")
    expected = set()
    for _, mine in points.groupby("series"):
        kept = Frontier.of(-mine["p90_ttft_s"], -mine["usd_per_million_tokens"]).indices
        expected |= {int(mine.index[at]) for at in kept}
    assert rows(page, "frontier") == expected
    assert found(page, "path.band") == []


def test_what_is_shown_can_be_saved(page):
    page.execute_script(
        "window.saved = []; URL.createObjectURL = (blob) => { blob.text().then("
        "(text) => window.saved.push(text)); return 'blob:none'; };"
        "HTMLAnchorElement.prototype.click = () => {};"
    )
    tick(page, "B200 curve, simulated")
    for name in ("Save SVG", "Save CSV"):
        next(each for each in found(page, "button") if each.text == name).click()
    svg, csv = page.execute_async_script(
        "const done = arguments[0]; setTimeout(() => done(window.saved), 100);"
    )
    assert svg.startswith("<svg xmlns=")
    assert "simulated by forecurve" in svg
    header, *lines = csv.strip().splitlines()
    assert header.startswith("curve,point,origin,on_frontier,interactivity")
    assert len(lines) == 7
    assert lines[0].startswith('"MI355X curve","DEP8 c1",simulated,true,10,')


@pytest.mark.parametrize(("width", "height"), [(1400, 900), (390, 844)])
def test_nothing_overlaps_or_runs_over_the_edge(browser, made, width, height):
    page = opened(browser, made[1], width=width, height=height)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    boxes = page.execute_script(
        "return [...document.querySelectorAll('#plot text')].map((t) => {"
        "const r = t.getBoundingClientRect();"
        "return [t.textContent, r.left, r.top, r.right, r.bottom, t.classList.contains('label')];})"
    )
    assert sum(1 for box in boxes if box[-1]) >= 5
    plot = found(page, "#plot")[0].rect
    for position, (text, left, top, right, bottom, _) in enumerate(boxes):
        assert left >= plot["x"], text
        assert right <= plot["x"] + plot["width"], text
        for other, x0, y0, x1, y1, _ in boxes[position + 1 :]:
            # glyphs leave a pixel or two of their box empty
            apart = right - 2 < x0 or x1 - 2 < left or bottom - 3 < y0 or y1 - 3 < top
            assert apart, f"'{text}' covers '{other}'"
    tip = hover(page, 2)
    place = tip.rect
    assert place["x"] >= 0
    assert place["x"] + place["width"] <= width


def test_names_do_not_run(browser, tmp_path):
    path = write_run(tmp_path / "runs", series=HOSTILE, bottleneck=HOSTILE, level=HOSTILE)
    runs = measured_runs(source=HOSTILE, layout=HOSTILE)
    report(path, title=HOSTILE, overlay=runs, out=tmp_path / "page.html")
    page = opened(browser, tmp_path / "page.html")
    assert HOSTILE in hover(page, 2).text
    for facet in found(page, ".facet summary"):
        facet.click()
    assert page.execute_script("return window.hacked") is None
    assert found(page, "img") == []
    assert page.get_log("browser") == []


def test_without_javascript_the_tables_are_there(browser, made):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page = opened(browser, made[1])
        assert not found(page, "#chart")[0].is_displayed()
        assert "The chart needs JavaScript" in found(page, "noscript")[0].text
        assert shown_rows(page) == set(range(11))
        assert found(page, "#measured tbody tr")[0].is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
