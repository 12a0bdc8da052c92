"""Lengths beyond those of any compared run are told with the prediction."""

from importlib import resources

import pandas as pd

from simulator.prediction.notes import COMPARED
from simulator.studies.load.run import run_load


def told(**lengths):
    found = run_load(
        sku="b300", engine="vllm", deployment="DEP8", concurrency=1, requests=2, **lengths
    )
    return [each for each in found.messages if "predictions were compared with runs" in each]


def test_the_range_is_that_of_the_published_runs():
    folder = resources.files("calibration") / "measurements"
    tables = [pd.read_csv(str(each)) for each in folder.iterdir() if each.name.endswith(".csv")]
    runs = pd.concat([table for table in tables if "isl" in table], ignore_index=True)
    for name, what in (("isl", "prompt"), ("osl", "output")):
        assert (runs[name].min(), runs[name].max()) == COMPARED[what]


def test_only_lengths_beyond_the_range_are_told():
    assert told(isl=8192, osl=1024) == []
    assert [each.partition(":")[0] for each in told(isl=100_000, osl=20)] == [
        "prompt of 100,000 tokens",
        "output of 20 tokens",
    ]
