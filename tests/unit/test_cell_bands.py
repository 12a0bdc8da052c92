"""Bands by cell: which cells have one, conformal ends, the interval score."""

import numpy as np
import pandas as pd
import pytest
import yaml

from calibration.fit.files import write_fit
from calibration.validation.bands import Band, write_bands
from calibration.validation.cell_bands import (
    FEWEST,
    conformal_ends,
    fit_cells,
    interval_score,
)
from hwmodels.fitted import read_fits
from simulator.prediction.bands import BASES, band_factors, cell_of, read_banded


def predictions(*, spread, engine="vllm", runs=200, basis="own runs", scheme="series", seed=0):
    rng = np.random.default_rng(seed)
    residual = rng.normal(0.0, spread, runs)
    rows = {
        "run_id": [f"{engine}{basis}{i}" for i in range(runs)],
        "scheme": scheme,
        "fold": [f"f{i % 10}" for i in range(runs)],
        "basis": basis,
        "software": engine,
        "generation": "blackwell",
        "requests_per_rank": 4.0,
    }
    for metric in ("throughput", "tpot", "ttft"):
        rows[f"measured_{metric}"] = residual
        rows[f"predicted_{metric}"] = 0.0
    return pd.DataFrame(rows)


def test_cells_with_enough_runs_have_bands_as_wide_as_their_spread():
    table = pd.concat(
        [
            predictions(spread=0.05),
            predictions(spread=0.3, engine="sglang", seed=1),
            predictions(spread=0.1, engine="atom", runs=FEWEST - 1),
        ]
    )
    cells = fit_cells(table)["own runs"]
    assert set(cells) == {"vllm/blackwell/floor-bound", "sglang/blackwell/floor-bound"}
    tight = cells["vllm/blackwell/floor-bound"]["total_tput_per_gpu"]
    wide = cells["sglang/blackwell/floor-bound"]["total_tput_per_gpu"]
    # 90 % of a normal distribution lie within 1.645 deviations
    assert np.log(tight.high / tight.low) == pytest.approx(2 * 1.645 * 0.05, rel=0.25)
    assert np.log(wide.high / wide.low) == pytest.approx(2 * 1.645 * 0.3, rel=0.25)


def test_a_weaker_basis_contains_the_cell_of_a_stronger_one():
    table = pd.concat(
        [
            predictions(spread=0.3),
            predictions(spread=0.05, basis="sibling", scheme="sku", seed=2),
        ]
    )
    cells = fit_cells(table)
    own = cells["own runs"]["vllm/blackwell/floor-bound"]["median_tpot_s"]
    related = cells["sibling"]["vllm/blackwell/floor-bound"]["median_tpot_s"]
    assert related.low <= own.low
    assert related.high >= own.high


def test_conformal_ends_cover_nine_of_ten_of_the_next_residuals():
    """Vovk: ranks of exchangeable values are uniform, whatever their distribution."""
    rng = np.random.default_rng(3)
    covered = []
    for _ in range(4000):
        values = rng.exponential(size=61)
        low, high = conformal_ends(values[:60])
        covered.append(low <= values[60] <= high)
    # between the 3rd and the 58th of 60: 55 of 61 places
    assert np.mean(covered) == pytest.approx(55 / 61, abs=0.015)


def test_the_interval_score_pays_for_width_and_for_misses():
    values = np.array([0.0, 0.0, 0.0, 1.0])
    assert interval_score(values, low=-0.1, high=0.1) == pytest.approx(0.2 + 20 * 0.9 / 4)
    assert interval_score(values, low=-1.0, high=1.0) == pytest.approx(2.0)


def test_a_prediction_takes_the_band_of_its_cell(tmp_path):
    cells = fit_cells(predictions(spread=0.05))
    by_basis = {"own runs": {"total_tput_per_gpu": Band(0.5, 2.0, 100)}}
    write_fit(read_fits(), directory=tmp_path)
    source = read_fits()[0]["source"]
    write_bands(by_basis, cells=cells, directory=tmp_path, source=source)
    assert set(yaml.safe_load((tmp_path / "bands.yaml").read_text("utf-8"))) == {
        "source",
        "bands",
        "cells",
        "digest",
    }
    cell = cell_of(engine="vllm", generation="blackwell_ultra", requests_per_rank=8.0)
    low, high = band_factors(basis="own runs", cell=cell, directory=tmp_path)["total_tput_per_gpu"]
    assert 0.85 < low < 1.0 < high < 1.15
    other = cell_of(engine="atom", generation="cdna4", requests_per_rank=65.0)
    assert other == "atom/cdna4/load-bound"
    factors = band_factors(basis="own runs", cell=other, directory=tmp_path)
    assert factors["total_tput_per_gpu"] == (0.5, 2.0)


def shipped_cells():
    cells = read_banded()["cells"]
    return [*sorted({cell for by_cell in cells.values() for cell in by_cell}), None]


@pytest.mark.parametrize("cell", shipped_cells())
def test_no_shipped_band_is_narrower_than_one_on_stronger_evidence(cell):
    """Cells stand beside bands of all runs: either may be the wider one."""
    inner = {}
    for basis in BASES:
        for name, (low, high) in band_factors(basis=basis, cell=cell).items():
            low_before, high_before = inner.get(name, (low, high))
            assert low <= low_before, (basis, name)
            assert high >= high_before, (basis, name)
            inner[name] = low, high


def test_all_runs_of_a_basis_hold_the_wider_cell_of_a_stronger_one(tmp_path):
    """A relation of a chip whose own runs of the cell scatter more than all related runs do."""
    cells = {"own runs": {"vllm/blackwell/load-bound": {"total_tput_per_gpu": Band(0.6, 1.2, 90)}}}
    by_basis = {
        "own runs": {"total_tput_per_gpu": Band(0.8, 1.25, 900)},
        "sibling": {"total_tput_per_gpu": Band(0.7, 1.3, 300)},
    }
    write_fit(read_fits(), directory=tmp_path)
    source = read_fits()[0]["source"]
    write_bands(by_basis, cells=cells, directory=tmp_path, source=source)
    place = {"cell": "vllm/blackwell/load-bound", "directory": tmp_path}
    assert band_factors(basis="sibling", **place)["total_tput_per_gpu"] == (0.6, 1.3)
    assert band_factors(basis="own runs", **place)["total_tput_per_gpu"] == (0.6, 1.2)
    elsewhere = band_factors(basis="sibling", cell="vllm/hopper/load-bound", directory=tmp_path)
    assert elsewhere["total_tput_per_gpu"] == (0.7, 1.3)
