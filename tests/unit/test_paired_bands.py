"""Bands of ratios: what is common to both sides cancels, and what is not covers nine of ten."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from calibration.pages.ratio_tables import pair_rows, speed_rows
from calibration.validation.bands import Band, write_bands
from calibration.validation.paired_bands import (
    fit_paired_bands,
    frontier_residuals,
    pair_residuals,
    paired_table,
)
from calibration.validation.validate import Validation
from simulator.prediction.bands import DATES, pair_key, ratio_factors, relation_of

SKUS = [f"chip{number}" for number in range(8)]
CLIENTS = np.array([1, 4, 16, 64, 256])


def predictions(*, common_sd, own_sd, seed=0, platform_size=1, schemes=("series", "sku")):
    """Frontiers of every chip under 12 loads: an error of the load, and one of chip and load."""
    rng = np.random.default_rng(seed)
    rows = []
    for load in range(12):
        shared = rng.normal(0.0, common_sd)
        for sku in SKUS:
            error = shared + rng.normal(0.0, own_sd)
            for clients in CLIENTS:
                tpot = np.log(0.005 + 0.0004 * clients)
                rate = np.log(900.0 * clients / (8 * np.exp(tpot) * 1000.0))
                rows += [
                    {
                        "scheme": scheme,
                        "frontier": f"{sku} {load}",
                        "series": f"{sku} {load} TP8",
                        "sku": sku,
                        "software": "vllm",
                        "generation": f"platform{SKUS.index(sku) // platform_size}",
                        "model": f"model{load}",
                        "isl": 1024,
                        "osl": 1024,
                        "speculation": "none",
                        "source": "runs",
                        "concurrency": clients,
                        "date": "2026-05-01",
                        "level_date": "2026-05-01",
                        "predicted_tpot": tpot,
                        "measured_tpot": tpot - error,
                        "predicted_throughput": rate,
                        "measured_throughput": rate + error,
                    }
                    for scheme in schemes
                ]
    return pd.DataFrame(rows)


def test_a_frontiers_residual_is_its_error_at_equal_users():
    table = predictions(common_sd=0.3, own_sd=0.0)
    found = frontier_residuals(table, scheme="sku")
    spread = found.groupby("frontier")["residual"].agg(lambda values: values.max() - values.min())
    assert spread.max() < 1e-9
    assert found["frontier"].nunique() == 12 * len(SKUS)


def test_what_is_common_to_both_cancels():
    """Loads that are off by e^0.5 on every chip leave nothing in the ratio of two."""
    table = predictions(common_sd=0.5, own_sd=0.0)
    residual = pair_residuals(table, first="transferred", second="transferred")["residual"]
    assert len(residual) > 100
    assert np.abs(residual).max() < 1e-9


def test_bands_cover_nine_of_ten_and_are_narrower_than_single_ones():
    """Own errors of 0.05 beside common ones of 0.4 leave 1.645 x 0.05 x 2^0.5 on either side."""
    table = predictions(common_sd=0.4, own_sd=0.05)
    bands = fit_paired_bands(table)
    band = bands["transferred/transferred"]["same engine"]
    assert np.log(band.high) == pytest.approx(1.645 * 0.05 * 2**0.5, rel=0.3)
    # neither of two chips of one kind is the reference
    assert band.low * band.high == pytest.approx(1.0, rel=0.02)
    wide = Band(float(np.exp(-0.66)), float(np.exp(0.66)), 100)
    rows = paired_table(table, single={"transferred": wide, "calibrated": wide})
    row = rows.set_index("key").loc["transferred/transferred"]
    assert 0.85 <= row["covered_by_others"] <= 0.97
    assert row["over_single"] < 0.5
    assert set(rows["key"]) >= {"calibrated/calibrated", "transferred/calibrated"}


def test_chips_of_one_platform_have_a_band_of_their_own():
    """Chips that err together by platform: what is left in their ratio is less."""
    table = predictions(common_sd=0.0, own_sd=0.03, platform_size=4)
    rng = np.random.default_rng(1)
    for _, rows in table.groupby(["generation", "model"]):
        off = rng.normal(0.0, 0.4)
        table.loc[rows.index, "measured_throughput"] += off
        table.loc[rows.index, "measured_tpot"] -= off
    bands = fit_paired_bands(table)["transferred/transferred"]
    assert set(bands) == {"same engine and platform", "same engine"}
    widths = {name: np.log(band.high / band.low) for name, band in bands.items()}
    assert widths["same engine and platform"] < 0.2 * widths["same engine"]


def test_the_relation_of_two_predictions():
    blackwell = ("blackwell", "blackwell_ultra")
    assert relation_of("vllm", "vllm", generations=blackwell) == "same engine and platform"
    assert relation_of("vllm", "vllm", generations=("cdna3", "cdna4")) == "same engine"
    assert relation_of("vllm", "sglang", generations=blackwell) == "other engine"


def test_a_platform_without_a_band_takes_the_engines(monkeypatch):
    from simulator.prediction import bands

    node = {"same engine": {"low": 0.5, "high": 1.25}}
    monkeypatch.setattr(bands, "read_banded", lambda _: {"pairs": {"transferred/calibrated": node}})
    asked = {"relation": "same engine and platform", "directory": None}
    assert ratio_factors(first="transferred", second="calibrated", **asked) == (0.5, 1.25)


def test_a_ratio_is_read_in_either_order(tmp_path):
    single = {"own runs": {"total_tput_per_gpu": Band(0.8, 1.25, 30)}}
    pairs = {"transferred/calibrated": {"same engine": Band(0.5, 1.1, 40)}, DATES: {}}
    source = "none"
    write_bands(single, directory=tmp_path, source=source, pairs=pairs)
    from simulator.prediction import bands

    stored = bands.read_bands(tmp_path / "bands.yaml", sources=lambda: [source])
    assert stored["pairs"]["transferred/calibrated"]["same engine"]["n"] == 40
    assert pair_key("calibrated", "transferred") == "transferred/calibrated"


def test_the_inverse_of_a_band(monkeypatch):
    from simulator.prediction import bands

    node = {"same engine": {"low": 0.5, "high": 1.25}}
    monkeypatch.setattr(bands, "read_banded", lambda _: {"pairs": {"transferred/calibrated": node}})
    asked = {"relation": "same engine", "directory": None}
    assert ratio_factors(first="transferred", second="calibrated", **asked) == (0.5, 1.25)
    assert ratio_factors(first="calibrated", second="transferred", **asked) == (0.8, 2.0)
    assert ratio_factors(first="calibrated", second="calibrated", **asked) is None


def test_the_page_shows_ratios_beside_single_bands_and_speeds_apart():
    table = predictions(common_sd=0.4, own_sd=0.05).assign(basis="sibling", split="structure")
    wide = Band(float(np.exp(-0.66)), float(np.exp(0.66)), 100)
    validation = Validation(
        predictions=table.assign(measured_ttft=0.0, predicted_ttft=0.1),
        bands={"own runs": {"total_tput_per_gpu": wide}, "sibling": {"total_tput_per_gpu": wide}},
        cells={},
        coverage=pd.DataFrame(),
        unanswered=pd.DataFrame(),
        fit_s=None,
        simulated=True,
    )
    ratios = pair_rows(validation).splitlines()
    exact = predictions(common_sd=0.0, own_sd=0.0).assign(split="structure", basis="sibling")
    exact = exact.assign(measured_ttft=0.0, predicted_ttft=0.1)
    line = next(line for line in ratios if line.startswith("| transferred over transferred"))
    assert "same engine" in line
    assert float(line.split("|")[-3]) < 0.5
    # TPOT of 5 + 0.4 ms a client: one client alone is at 185 tok/s, 256 at 9
    speeds = [
        line.split("|")[1:4]
        for line in speed_rows(replace(validation, predictions=exact)).splitlines()
        if "SKU" in line
    ]
    counts = {span.strip(): int(n.replace(",", "")) for _, span, n in speeds}
    assert counts["from 200"] == 0
    assert counts["100 to 200"] == 2 * 12 * len(SKUS)
