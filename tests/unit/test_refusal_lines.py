"""How a curve tells of layouts that do not fit."""

from simulator.scenario.worker_layouts import RefusedLayout
from simulator.studies.curve.text import refusal_lines


def lacking(label, left):
    return RefusedLayout(
        label=label, reason=f"{left} GB of 180.0 GB usable are left\n  table {left}"
    )


def test_one_byte_table_stands_for_all_that_lack_room():
    refused = [
        lacking("TP1", -400.0),
        lacking("TP2", -120.0),
        lacking("TP2", -90.5),
        RefusedLayout(label="TP32", reason="tp is 32"),
        lacking("TEP2", -95.0),
    ]
    assert "\n".join(refusal_lines(refused)).splitlines() == [
        "refused TP2: -90.5 GB of 180.0 GB usable are left",
        "  table -90.5",
        "refused TP32: tp is 32",
        "refused as well, with no more room: TEP2, TP1",
    ]
    assert refusal_lines([]) == []
