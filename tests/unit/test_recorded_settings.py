"""Recorded server settings: which row is in force, and what its cells say under a load."""

import datetime as dt

import pytest

from simulator.recipes.recorded import (
    SETTING_NAMES,
    cell_value,
    choose_recorded,
    load_recorded,
    recorded_cell,
)
from simulator.scenario.table_rows import configure_row

LOAD = {
    "isl": 8192,
    "osl": 1024,
    "concurrency": 64,
    "tp": 8,
    "ep": 1,
    "dp": 1,
    "dp_attention": False,
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2048", "2048"),
        ("= concurrency", "64"),
        ("= max(8192, roundup64(concurrency + isl + 64))", "8320"),
        ("by isl: 2048 <- 1024; 16384 <- 8192", "16384"),
        ("by isl,conc: 1 <- 1024/64; 2 <- 8192/4; 3 <- 8192/128", "3"),
        ("by ep,dpa: 3 <- 1/False 4/False; 1 <- 4/True", "3"),
        # the list that goes on holds what is not listed
        ("by conc: default <- 1 2 4 ...; 7 <- 1024 2048", "default"),
        ("by conc: default <- 1 2 4 ...; 7 <- 16 32", "7"),
        # a differing degree weighs more than a load
        ("by tp,conc: 5 <- 4/64; 6 <- 8/8", "6"),
        ("by conc: = isl + osl <- 64; 9 <- 4", "9216"),
    ],
)
def test_a_cell_under_a_load(text, value):
    assert cell_value(text, context=LOAD) == value


def test_a_key_that_only_other_cells_list_was_left_to_the_release():
    """A table that lists 1 and 2 says nothing of 64 where one beside it lists 64."""
    text, beside = "by conc: 8 <- 1; 16 <- 2", ["by conc: 256 <- 1 2 64"]
    assert cell_value(text, context=LOAD) == "16"
    assert cell_value(text, context=LOAD, beside=beside) == ""
    assert cell_value("by conc: 8 <- 1 ...; 16 <- 2", context=LOAD, beside=beside) == "16"


def test_every_recorded_cell_is_a_setting_of_its_scheduler():
    """All rows under loads in and between their keys: nothing is out of a setting's range."""
    from simulator.engines.labels import load_engine
    from simulator.engines.registry import engine_class

    rows = [row for group in load_recorded().values() for row in group]
    assert len(rows) > 1500
    for row in rows:
        scheduler = load_engine(row.engine).engine
        assert row.first <= row.last
        for load in ({"concurrency": 1, "isl": 1024}, {"concurrency": 700, "dp": 8}):
            cell = recorded_cell(row, scheduler=scheduler, context=LOAD | load)
            assert set(cell.settings) <= set(SETTING_NAMES[scheduler].values())
            engine_class(scheduler).settings_class(**cell.settings)


def chosen(**changes):
    asked = {
        "engine": "trt",
        "sku": "b200",
        "model": "deepseek-r1",
        "precision": "fp4",
        "speculation": "none",
        "role": "aggregated",
        "layout": "tp8ep8",
        "isl": 8192,
        "date": dt.date(2026, 3, 1),
        "image": None,
    }
    return choose_recorded(**(asked | changes))


def test_the_row_in_force_by_date_and_image():
    row, told = chosen()
    assert row.first <= dt.date(2026, 3, 1)
    assert told == ()
    newest, _ = chosen(date=None)
    rows = load_recorded()["deepseek-r1", "b200", "trt", "fp4", "none", "aggregated"]
    assert newest.first == max(each.first for each in rows if "tp8ep8" in each.layouts)
    first, told = chosen(date=dt.date(2024, 1, 1))
    assert first.first == min(each.first for each in rows if "tp8ep8" in each.layouts)
    assert told[0].startswith("no recorded settings before 2024-01-01")
    image = rows[0].image
    named, _ = chosen(image=f"registry.example/some/{image}", layout=next(iter(rows[0].layouts)))
    assert named.image == image


def test_each_lengths_have_a_file_of_their_own():
    """H100's caps at 1k/1k are not those of the 8k/1k files, which ran for longer."""
    asked = {"engine": "dynamo-trt", "sku": "h100", "precision": "fp8", "role": "decode"}
    asked |= {"layout": "tp16ep16", "date": None, "image": None}
    caps = {}
    for isl in (1024, 8192):
        row, _ = chosen(**asked, isl=isl, osl=1024, concurrency=60)
        assert f"/{isl // 1024}k1k/" in row.source
        caps[isl] = row.cells["max_num_seqs"]
    assert cell_value(caps[1024], context=LOAD | {"concurrency": 60}) == "16"
    assert "60" not in caps[8192]


def test_settings_are_not_used_far_from_the_lengths_they_were_recorded_at():
    row, told = chosen(isl=32768)
    assert row is None
    assert "recorded at 1024 to 8192 input tokens: not used at 32768" in told[0]
    assert chosen(model="deepseek-v4-pro") == (None, ())


def test_a_measured_run_gets_the_settings_of_its_build():
    row = {
        "model": "deepseek-r1",
        "sku": "b200",
        "engine": "trt",
        "precision": "fp4",
        "spec_decoding": "none",
        "decode_tp": 8,
        "decode_ep": 8,
        "decode_dp_attn": False,
        "num_gpus": 8,
        "isl": 8192,
        "osl": 1024,
        "concurrency": 64,
        "date": "2026-03-01",
    }
    configuration, messages = configure_row(row)
    settings = configuration.pools[0].settings
    recorded, _ = chosen()
    assert settings.max_num_tokens == int(
        cell_value(recorded.cells["max_num_batched_tokens"], context=LOAD | {"ep": 8})
    )
    assert not any("engine defaults" in text for text in messages)
    assert configuration.requests_per_client == 10
    slow, _ = configure_row(row | {"requests_per_client": 5, "request_rate_per_s": 300})
    assert slow.requests_per_client == 5
    assert slow.request_rate_per_s == 300.0
