"""The report on a fit and the error curve of own runs: what they say of made-up fits."""

import numpy as np
import pandas as pd
import pytest
from calibration_cases import SKUS, level, linear_fit

from calibration.fit.effects import FITTED
from calibration.fit.physics_values import QUANTITIES, physics_table
from calibration.fit.residuals import FIGURES, LABELS, read_residuals, write_residuals
from calibration.pages.fit_report import report_text, write_fit_report
from calibration.pages.fit_report_plots import physics_figure
from calibration.pages.learning_page import BEGIN, END, write_learning
from calibration.pages.residual_slices import slice_table
from calibration.validation.learning import OWN_RUNS, curve_table, learning_curve
from hwmodels.fitted import read_fits
from workloads.errors import UserError


def runs(count=60, *, lean=0.0):
    """Runs of one published level, predicted with a lean of those with many clients."""
    name = next(each for each in read_fits()[0]["runs"] if each.startswith("moe_gqa/vllm/b200/"))
    rng = np.random.default_rng(2)
    rows = []
    for number in range(count):
        clients = 4 if number % 2 else 128
        row = dict.fromkeys(LABELS, "")
        row |= {"model": "gpt-oss-120b", "sku": "b200", "engine": "vllm", "software": "vllm"}
        row |= {"precision": "fp4", "speculation": "none", "pools": "TP", "layout": "TP2"}
        row |= {"isl": 1024, "osl": 1024, "concurrency": clients, "level": name}
        row |= {figure: float(rng.normal(0.0, 0.02)) for figure in FIGURES}
        row["predicted_tpot"] += lean if clients > 64 else 0.0
        rows.append(row)
    return pd.DataFrame(rows)[[*LABELS, *FIGURES]]


def test_residuals_survive_the_file_and_are_equal_bytes(tmp_path):
    table = runs()
    first = write_residuals(table, directory=tmp_path / "a", source="60 runs").read_bytes()
    second = write_residuals(table, directory=tmp_path / "b", source="60 runs").read_bytes()
    assert first == second
    read, source = read_residuals(tmp_path / "a")
    assert source == "60 runs"
    np.testing.assert_allclose(read[list(FIGURES)], table[list(FIGURES)], atol=1e-4)
    (tmp_path / "a" / "residuals.csv.gz").write_bytes(first[:50])
    with pytest.raises(UserError, match="cannot be read"):
        read_residuals(tmp_path / "a")
    with pytest.raises(UserError, match="does not exist"):
        read_residuals(tmp_path)


def test_the_shipped_fit_has_a_table_of_its_runs():
    table, source = read_residuals()
    assert len(table) > 4000
    assert "published runs" in source


def test_quantities_are_those_of_the_level_and_flagged_where_not_physical():
    table = physics_table(runs())
    assert list(table["parameter"]) == [quantity.parameter for quantity in QUANTITIES]
    assert set(table["parameter"]) == {parameter.name for parameter in FITTED}
    for row, quantity in zip(table.to_dict("records"), QUANTITIES, strict=True):
        outside = not quantity.low <= row["value"] <= quantity.high
        assert bool(row["finding"]) == outside
        assert 0.0 < row["sd"] <= row["prior_sd"]
    assert "not physical" in "".join(
        text.get_text() for text in physics_figure(table).axes[0].texts
    )


def test_the_page_names_slices_that_lean(tmp_path):
    table = runs(lean=0.2)
    physics = physics_table(table)
    written = write_fit_report(table, physics, source="60 runs", directory=tmp_path / "report")
    text = written[0].read_text(encoding="utf-8")
    assert "| clients | to 256 | 30 | " in text
    assert "+22." in text or "+21." in text or "+23." in text
    assert "| clients | to 4 |" not in text
    for path in written[1:]:
        assert path.read_bytes().startswith(b"\x89PNG")
        assert f"]({path.name})" in text
    even = runs()
    slices = slice_table(even, fewest=10)
    assert "No slice of" in report_text(even, physics, slices, source="60 runs")


@pytest.fixture(scope="module")
def errors():
    """A cell of 30 runs at a level that lies apart from the others, and three plain ones."""
    apart = level(sku="mi355x", engine="atom")
    levels = [apart, *(level(sku=sku) for sku in list(SKUS)[:3])]
    shift = np.full(len(FITTED), 0.15)

    def truth(at):
        return shift if at == apart else np.zeros(len(FITTED))

    fit = linear_fit(levels, truth, per_level=30, noise=0.01)
    return learning_curve(fit, cells=[o.series for o in fit.observations], most=5)


def test_own_runs_bring_the_error_of_a_left_out_cell_down(errors):
    table = curve_table(errors[errors["cell"].str.contains("atom")])
    full = table[table["enough"]].set_index("own_runs")
    assert list(full.index) == list(OWN_RUNS)
    assert full.loc[20, "tpot"] < 0.7 * full.loc[0, "tpot"]
    assert full.loc[1, "tpot"] < full.loc[0, "tpot"]


def test_the_curve_stands_in_a_page_between_its_marks(errors, tmp_path):
    page = tmp_path / "guides" / "page.md"
    page.parent.mkdir()
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    write_learning(errors, source="a fit", directory=tmp_path, page=page)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| 20 | 4 |" in text
    assert (tmp_path / "images" / "learning_curve.png").is_file()
    page.write_text("no marks", encoding="utf-8")
    with pytest.raises(UserError, match="lacks the lines"):
        write_learning(errors, source="a fit", directory=tmp_path, page=page)
