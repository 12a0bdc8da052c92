"""docs/background/new_chips.md tells of every new chip without fitted runs, and truly."""

import importlib.util
from pathlib import Path

import pandas as pd

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


def tool():
    path = PAGE.parents[1] / "tools" / "new_chips.py"
    spec = importlib.util.spec_from_file_location("new_chips", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_column_of_what_moves_most_is_written_by_the_tool():
    """The largest of the data sheet and of the software that is no twin of one of its numbers."""
    module = tool()
    found = pd.Series(
        {"memory_scale": 0.5, "hbm_bytes_per_s": 0.4, "t0_scale": -0.3, "flops_fp8": 0.1}
    )
    cell = module.moves_most(found)
    assert cell == "HBM +0.40, launch floors \N{MINUS SIGN}0.30"
    text = PAGE.read_text(encoding="utf-8")
    for title in module.CHIPS:
        changed, rows = module.replaced(text, title=title, cell=cell)
        assert rows == 1
        assert any(f"[{title}]" in line and cell in line for line in changed.splitlines())
