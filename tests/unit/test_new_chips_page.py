"""docs/background/new_chips.md tells of every new chip without fitted runs, and truly."""

from pathlib import Path

from hwmodels.economics import load_economics
from hwmodels.fitted import read_fits
from hwmodels.sku import list_skus, load_sku

PAGE = Path(__file__).parents[2] / "docs" / "background" / "new_chips.md"
OLD = {"a100", "ascend910c", "gaudi3", "rtx_pro_6000", "mi350x"}
"""Chips without fitted runs that have been on sale for long."""


def test_each_new_chip_has_its_section():
    text = PAGE.read_text(encoding="utf-8")
    fitted = {name.split("/")[2] for fit in read_fits() for name in fit["runs"]}
    new = set(list_skus()) - fitted - OLD
    assert new == {"vr200", "mi455x", "tpu7x", "trainium3", "ascend950dt", "ascend950pr"}
    for words in ("VR200", "MI455X", "TPU v7", "Trainium3", "Ascend 950DT", "Ascend 950PR"):
        assert f"[{words}]" in text


def test_prices_are_known_where_the_page_says_so():
    prices = {key: load_economics().for_sku(key).usd_per_gpu_hour() for key in list_skus()}
    unpriced = ("mi455x", "trainium3", "ascend950dt", "ascend950pr")
    assert all(prices[key] is None for key in unpriced)
    assert prices["vr200"] is not None
    assert prices["tpu7x"] is not None


def test_announced_chips_say_when_they_are_expected():
    for key in list_skus():
        sku = load_sku(key)
        assert (sku.status == "announced") == (sku.expected is not None), key
