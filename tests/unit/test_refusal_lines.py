"""How curves and sweeps tell of layouts that do not fit."""

import pandas as pd

from simulator.output.text_tables import refusal_lines as sweep_refusal_lines
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


def test_a_sweep_says_in_one_line_what_does_not_fit():
    def lacks(label, layout, gpus, left):
        return {
            "label": label,
            "reason": f"m on {gpus} x Chip as {layout} does not fit: {left} GB of 9.0 GB usable "
            "are left for KV on each GPU; take more GPUs\n  table",
        }

    rows = [
        lacks("TP1", "TP1", 1, -586.7),
        lacks("1xDEP4+1xDEP8", "DEP4", 4, -51.5),
        lacks("2xDEP4+1xDEP8", "DEP4", 4, -47.7),
        *({"label": f"{n}xTP8", "reason": "behind"} for n in range(9)),
        {"label": "TP32", "reason": "tp is 32"},
    ]
    header, lacking, behind, other = sweep_refusal_lines(pd.DataFrame(rows))
    assert header == "refused, 13 (byte tables in refused.csv):"
    assert lacking.startswith(
        "  do not fit, GB left for KV on each GPU at most: "
        "DEP4 on 4 x Chip -47.7, TP1 on 1 x Chip -586.7; take more GPUs"
    )
    assert behind == "  0xTP8, 1xTP8, 2xTP8, 3xTP8, 4xTP8, 5xTP8 and 3 more: behind"
    assert other == "  TP32: tp is 32"
