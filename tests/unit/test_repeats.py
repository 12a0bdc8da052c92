import numpy as np
import pandas as pd
import pytest

from calibration.measured.repeats import repeat_table
from calibration.measured.runs import load_measured


def run(date, tput, *, series="a", source="lab", quality="ok", clients=8):
    return {
        "series": series,
        "source": source,
        "concurrency": clients,
        "date": date,
        "quality": quality,
        "total_tput_per_gpu": tput,
        "median_tpot_s": 1.0 / tput,
        "mean_ttft_s": np.nan,
    }


def test_runs_are_compared_with_their_own_repeats_only():
    table = repeat_table(
        pd.DataFrame(
            [
                run("2026-05-01", 100.0),
                run("2026-05-02", 104.0),
                run("2026-07-01", 130.0),
                run("2026-05-02", 900.0, series="b"),
                run("2026-05-02", 900.0, source="another"),
                run("2026-05-02", 900.0, quality="suspect"),
                run("2026-05-02", 900.0, clients=16),
                run("2026-05", 900.0),
                run("", 900.0),
            ]
        )
    ).set_index("first_day")
    assert table["pairs"].sum() == 3
    assert table.loc[0, "total_tput_per_gpu"] == pytest.approx(0.04)
    assert table.loc[0, "median_tpot_s"] == pytest.approx(0.04)
    assert np.isnan(table.loc[0, "mean_ttft_s"])
    assert table.loc[31, "total_tput_per_gpu"] == pytest.approx((0.3 + 0.25) / 2)


def test_published_repeats_drift_apart_with_time():
    """The same build repeats closely; months of software do not."""
    table = repeat_table(load_measured(models=["deepseek-r1"])).set_index("first_day")
    assert (table["pairs"] > 20).all()
    assert table.loc[0, "total_tput_per_gpu"] < 0.02
    assert table.loc[31, "total_tput_per_gpu"] > 5 * table.loc[0, "total_tput_per_gpu"]
