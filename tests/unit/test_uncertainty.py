import numpy as np
import pandas as pd
import pytest

from calibration.fit.files import write_fit
from calibration.validation.bands import (
    FEWEST,
    Band,
    coverage_table,
    fit_bands,
    inside_bands,
    write_bands,
)
from hwmodels.fitted import read_fits
from simulator.prediction import bands as shipped
from workloads.errors import UserError


def left_out(*, scheme, basis, residuals, folds=8, start=0):
    """Left-out runs whose logarithms of measured over predicted are given."""
    count = len(residuals)
    return pd.DataFrame(
        {
            "run_id": [f"r{start + number}" for number in range(count)],
            "scheme": scheme,
            "fold": [f"fold {number % folds}" for number in range(count)],
            "basis": basis,
            "measured_throughput": residuals,
            "predicted_throughput": 0.0,
            "measured_tpot": -np.asarray(residuals),
            "predicted_tpot": 0.0,
            "measured_ttft": np.nan,
            "predicted_ttft": 0.0,
        }
    )


def normal(width, *, count=2000, seed=0):
    return np.random.default_rng(seed).normal(scale=width, size=count)


def predictions():
    return pd.concat(
        [
            left_out(scheme="series", basis="own runs", residuals=normal(0.1)),
            left_out(scheme="sku", basis="sibling", residuals=normal(0.15, seed=1), start=5000),
            left_out(scheme="kernels", basis="other kernels", residuals=normal(0.3, seed=2)),
            left_out(scheme="specification", basis="nothing", residuals=normal(0.6, seed=3)),
        ],
        ignore_index=True,
    )


def test_a_band_is_the_range_of_nine_of_ten_residuals():
    band = fit_bands(predictions())["own runs"]["total_tput_per_gpu"]
    assert band.runs == 2000
    assert np.log(band.low) == pytest.approx(-1.645 * 0.1, rel=0.1)
    assert np.log(band.high) == pytest.approx(1.645 * 0.1, rel=0.1)


def test_bands_widen_from_own_runs_to_nothing():
    bands = fit_bands(predictions())
    lows = [bands[basis]["total_tput_per_gpu"].low for basis in bands]
    highs = [bands[basis]["total_tput_per_gpu"].high for basis in bands]
    assert list(bands) == ["own runs", "sibling", "other kernels", "nothing"]
    assert lows == sorted(lows, reverse=True)
    assert highs == sorted(highs)


def test_a_weaker_basis_is_never_surer():
    """Residuals of siblings that happen to be small do not narrow the band."""
    lucky = pd.concat(
        [
            left_out(scheme="series", basis="own runs", residuals=normal(0.2)),
            left_out(scheme="sku", basis="sibling", residuals=normal(0.01, seed=1), start=5000),
        ],
        ignore_index=True,
    )
    bands = fit_bands(lucky)
    assert bands["sibling"]["total_tput_per_gpu"].low == bands["own runs"]["total_tput_per_gpu"].low


def test_few_biased_groups_widen_the_band():
    """Each fold sits beyond the others' quantiles, so that these alone would cover nothing."""
    rng = np.random.default_rng(0)
    offsets = np.repeat([-0.3, -0.1, 0.1, 0.3], 100)
    spread = left_out(
        scheme="kernels",
        basis="other kernels",
        residuals=offsets + rng.normal(scale=0.02, size=400),
        folds=4,
    )
    spread["fold"] = np.repeat(["a", "b", "c", "d"], 100)
    band = fit_bands(spread)["other kernels"]["total_tput_per_gpu"]
    plain = np.exp(np.quantile(spread["measured_throughput"], [0.05, 0.95]))
    assert band.low < plain[0]
    assert band.high > plain[1]
    table = coverage_table(spread).set_index("metric")
    assert table.at["throughput", "covered_by_others"] >= 0.9


def test_too_few_residuals_take_the_band_of_the_next_basis():
    few = pd.concat(
        [
            left_out(scheme="series", basis="own runs", residuals=normal(0.1, count=FEWEST - 1)),
            left_out(scheme="sku", basis="sibling", residuals=normal(0.2), start=5000),
        ],
        ignore_index=True,
    )
    bands = fit_bands(few)
    assert bands["own runs"] == bands["sibling"]
    assert set(coverage_table(few)["basis"]) == {"sibling"}
    assert fit_bands(few.iloc[:3]) == {}


def test_coverage_of_residuals_that_are_alike_is_nine_of_ten():
    table = coverage_table(predictions())
    assert table["covered"].between(0.88, 0.95).all()
    assert table["covered_by_others"].between(0.88, 0.95).all()
    assert set(table["metric"]) == {"throughput", "tpot"}


def test_inside_is_judged_by_the_basis_of_each_prediction():
    bands = {
        "own runs": {"total_tput_per_gpu": Band(0.9, 1.1, 100)},
        "nothing": {"total_tput_per_gpu": Band(0.5, 2.0, 100)},
    }
    rows = pd.concat(
        [
            left_out(scheme="series", basis="own runs", residuals=np.log([1.05, 1.5])),
            left_out(scheme="specification", basis="nothing", residuals=np.log([1.5, 3.0])),
            left_out(scheme="sku", basis="sibling", residuals=[0.0]),
        ],
        ignore_index=True,
    )
    found = inside_bands(rows, bands, metric="throughput")
    assert found[:4].tolist() == [1.0, 0.0, 1.0, 0.0]
    assert np.isnan(found[4])


def test_the_simulator_reads_what_is_written(tmp_path):
    bands = fit_bands(predictions())
    source = read_fits()[0]["source"]
    write_fit(read_fits(), directory=tmp_path)
    write_bands(bands, directory=tmp_path, source=source)
    read = shipped.read_banded(tmp_path)["bands"]
    assert set(read) == set(bands)
    for basis, by_metric in bands.items():
        for metric, band in by_metric.items():
            assert metric in shipped.BANDED
            assert read[basis][metric]["low"] == pytest.approx(band.low, abs=1e-4)
            assert read[basis][metric]["n"] == band.runs


def test_bands_of_another_fit_are_refused(tmp_path):
    write_fit(read_fits(), directory=tmp_path)
    write_bands(fit_bands(predictions()), directory=tmp_path, source="test data")
    with pytest.raises(UserError, match="is of another fit"):
        shipped.read_banded(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("low: ", "low: 9", "the lower comes first"),
        ("unit:", "unti:", "unit: Field required"),
        ("n: ", "n: 1", "was changed after it was written"),
        ("digest:", "# digest:", "has no digest"),
    ],
)
def test_altered_bands_are_refused(tmp_path, old, new, problem):
    write_fit(read_fits(), directory=tmp_path)
    path = write_bands(
        fit_bands(predictions()), directory=tmp_path, source=read_fits()[0]["source"]
    )
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match=problem):
        shipped.read_banded(tmp_path)
