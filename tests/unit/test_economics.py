"""Dated cost and power constants: loading, blanks, arithmetic, bad input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels.economics import (
    joules_per_token,
    list_economics,
    load_economics,
    tokens_per_s_per_mw,
    tokens_per_usd,
    usd_per_million_tokens,
)
from hwmodels.sku import list_skus
from workloads.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

FILES = ["2026-04", "2026-07", "2026-08", "2026-09"]
positive = st.floats(1e-3, 1e6)

MINE = """
effective_from: "2027-01"
note: my site
columns:
  rental_usd_per_h: {unit: USD/h, kind: datasheet, source: my contract}
skus:
  b200: {rental_usd_per_h: 3.1}
"""


def write(folder: Path, text: str) -> str:
    path = folder / "site.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_files_in_order() -> None:
    assert list_economics() == FILES
    assert load_economics().name == load_economics("latest").name == FILES[-1]


def test_files_are_named_by_the_month_they_took_effect() -> None:
    for name in FILES:
        assert load_economics(name).effective_from.startswith(name)


@pytest.mark.parametrize("name", FILES)
def test_every_figure_is_sourced_and_every_sku_known(name: str) -> None:
    economics = load_economics(name)
    assert set(economics.skus) <= set(list_skus())
    assert len(economics.skus) >= 9
    for sku, figures in economics.skus.items():
        for field, figure in figures.items():
            assert figure.source in economics.sources, f"{name} {sku}.{field}"
            assert figure.note, f"{name} {sku}.{field}"


def test_utility_power_is_it_power_times_pue() -> None:
    b200 = load_economics("2026-08").for_sku("b200")
    assert b200.it_kw == b200.inferencex_kw == 1.71
    assert b200.pue == 1.3
    assert b200.utility_kw == pytest.approx(2.223)
    assert load_economics("2026-08").for_sku("gb200").utility_kw == pytest.approx(2.057)


def test_the_old_power_includes_pue_and_is_not_taken_apart() -> None:
    for sku in load_economics("2026-04").skus:
        row = load_economics("2026-04").for_sku(sku)
        assert row.inferencex_kw is not None
        assert row.it_kw is None
        assert row.pue is None
        assert row.utility_kw is None


def test_blanks_are_none() -> None:
    latest = load_economics()
    for row in (latest.for_sku("trainium3"), latest.for_sku("my_chip")):
        assert row.inferencex_kw is None
        assert row.utility_kw is None
        assert row.usd_per_gpu_hour() is None
        assert row.figures == {}
    assert latest.for_sku("b200").usd_per_gpu_hour("neocloud") is None  # tier dropped
    assert load_economics("2026-08").for_sku("vr200").usd_per_gpu_hour() is None


def test_tiers() -> None:
    row = load_economics("2026-08").for_sku("gb300")
    assert row.usd_per_gpu_hour() == row.usd_per_gpu_hour("hyperscaler") == 2.31
    assert row.usd_per_gpu_hour("neocloud") == 2.79
    assert row.usd_per_gpu_hour("rental") == 3.30


def test_placeholders_say_so() -> None:
    figures = load_economics("2026-04").for_sku("gb300").figures
    assert "placeholder" in figures["hyperscaler_usd_per_h"].note
    assert "placeholder" in figures["inferencex_kw"].note
    assert (
        "placeholder"
        not in load_economics("2026-08").for_sku("gb300").figures["hyperscaler_usd_per_h"].note
    )


@given(positive, positive)
def test_cost_and_its_inverse(price: float, rate: float) -> None:
    cost = usd_per_million_tokens(usd_per_gpu_hour=price, tokens_per_s_per_gpu=rate)
    tokens = tokens_per_usd(usd_per_gpu_hour=price, tokens_per_s_per_gpu=rate)
    assert cost * tokens == pytest.approx(1e6)


@given(positive, positive)
def test_energy_and_its_inverse(power: float, rate: float) -> None:
    """A megawatt is a million joules a second."""
    per_mw = tokens_per_s_per_mw(tokens_per_s_per_gpu=rate, kw_per_gpu=power)
    energy = joules_per_token(tokens_per_s_per_gpu=rate, kw_per_gpu=power)
    assert per_mw * energy == pytest.approx(1e6)


def test_arithmetic_on_arrays() -> None:
    rates = np.array([100.0, 1000.0])
    cost = usd_per_million_tokens(usd_per_gpu_hour=3.6, tokens_per_s_per_gpu=rates)
    np.testing.assert_allclose(cost, [10.0, 1.0])
    per_mw = tokens_per_s_per_mw(tokens_per_s_per_gpu=rates, kw_per_gpu=2.0)
    np.testing.assert_allclose(per_mw, [5e4, 5e5])


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), np.array([1.0, 0.0])])
def test_rates_must_be_positive(rate: float) -> None:
    with pytest.raises(ValueError, match=r"tokens_per_s_per_gpu is .*must be positive"):
        usd_per_million_tokens(usd_per_gpu_hour=1.0, tokens_per_s_per_gpu=rate)
    with pytest.raises(ValueError, match=r"tokens_per_s_per_gpu is .*must be positive"):
        tokens_per_s_per_mw(tokens_per_s_per_gpu=rate, kw_per_gpu=1.0)


def test_unknown_file_offers_the_nearest() -> None:
    with pytest.raises(UserError, match=r"economics '2026-05' is unknown; did you mean .*2026-0"):
        load_economics("2026-05")


def test_a_users_file_loads(tmp_path: Path) -> None:
    economics = load_economics(write(tmp_path, MINE))
    assert economics.name == "site"
    assert economics.for_sku("b200").usd_per_gpu_hour("rental") == 3.1
    assert economics.for_sku("b200").figures["rental_usd_per_h"].source == "my contract"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("b200: {rental_usd_per_h", "b200: {rent_usd_per_h", "b200 field 'rent_usd_per_h' is unk"),
        ("unit: USD/h", "unit: kW", r"b200.rental_usd_per_h is in kW; it must be in USD/h"),
        ("3.1", "-3.1", r"b200.rental_usd_per_h: value: .*greater than 0"),
        ("3.1", "cheap", r"b200.rental_usd_per_h: value: .*valid number"),
        (", source: my contract", "", "a datasheet figure needs a source"),
        ('"2027-01"', "soon", "effective_from: .*pattern"),
        ("note: my site", "note: [my site", r"line \d+, column \d+"),
        ("note: my site", "", "note: Field required"),
        ("skus:", "skus: 5\nrest:", "skus must hold 'name: value' lines; it holds int"),
        ("{rental_usd_per_h: 3.1}", "3.1", "b200 must hold 'name: value' lines; it holds float"),
    ],
)
def test_bad_file(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in MINE
    with pytest.raises(UserError, match=message) as caught:
        load_economics(write(tmp_path, MINE.replace(old, new)))
    assert "site.yaml" in str(caught.value)


def test_what_stands_in_for_a_figure_is_said_of_its_sku():
    """B300's figures of April 2026 are copies of B200's in their source."""
    april = load_economics("2026-04")
    remarks = april.for_sku("b300").remarks
    assert any("inferencex_kw of b300 is 2.17: placeholder" in each for each in remarks)
    assert april.for_sku("b200").remarks == ()
