"""Systems given as settings from Python."""

import pytest

import simulator as sim
from workloads.errors import UserError

LOAD = {"tp": 8, "ep": 1, "dp_attention": False, "concurrency": [4, 64], "at": (35.0,)}


def test_a_system_is_settings_with_a_name():
    """More memory bandwidth is worth something, less than itself; the reference is the SKU."""
    faster = {
        "name": "a tenth faster HBM",
        "sku": "b200",
        "overrides": {"hbm_bytes_per_s": 8.47e12},
    }
    table = sim.compare("b200", faster, **LOAD).frame().set_index("system")
    assert list(table.index) == ["b200", "a tenth faster HBM"]
    assert table.loc["b200", "ratio"] == 1.0
    assert 1.0 < table.loc["a tenth faster HBM", "ratio"] < 1.2


def test_settings_for_all_reach_systems_of_settings():
    names = ("short prompts", "long prompts")
    short, long = ({"name": n, "isl": isl} for n, isl in zip(names, (1024, 8192), strict=True))
    runs = sim.compare(short, long, sku="b200", **LOAD).runs()
    assert set(runs["sku"]) == {"b200"}
    assert runs.groupby("series")["isl"].unique().map(list).to_dict() == {
        "short prompts": [1024],
        "long prompts": [8192],
    }


@pytest.mark.parametrize(
    ("systems", "message"),
    [
        (({"sku": "b200"}, "gb200"), "needs a name"),
        (({"name": "b200", "sku": "b300"}, "b200"), "named twice"),
        (({"name": "two", "sku": "b200", "isl": [1024, 8192]}, "b200"), "several values"),
        (({"name": "odd", "sku": "b200", "memory": 1}, "b200"), "memory"),
    ],
)
def test_what_is_wrong_with_a_system_is_said(systems, message):
    with pytest.raises(UserError, match=message):
        sim.compare(*systems, at=(30.0,))
