"""What was measured of each deployment form."""

import pytest

from hwmodels.evidence import DeploymentForm, fitted_forms, form_of, runs_of_form
from hwmodels.fitted import newest_level_date, read_fits


def test_a_form_is_read_back_from_its_key():
    form = DeploymentForm(
        model="m", sku="b200", engine="dynamo-vllm", speculation="mtp", disaggregated=True
    )
    assert form_of(form.key) == form
    assert form.label == "dynamo-vllm mtp, disaggregated"


def test_forms_count_no_run_twice():
    for fit in read_fits():
        counted = sum(entry["runs"] for entry in fit["forms"].values())
        assert 0 < counted <= sum(fit["runs"].values())


def test_what_nobody_measured_has_no_runs():
    known = {"model": "deepseek-v4-pro", "engine": "vllm", "speculation": "none"}
    assert runs_of_form(**known, sku="b200", disaggregated=False) > 0
    assert runs_of_form(**known, sku="vr200", disaggregated=False) == 0
    assert all(form.runs > 0 for form in fitted_forms())


@pytest.mark.parametrize(
    ("level_dates", "newest"),
    [
        (["2026-05", "2026-05-20"], "2026-05"),
        (["median-2026-07", "2026-07-02"], "median-2026-07"),
        (["median-2026-07", "2026-08"], "2026-08"),
    ],
)
def test_the_newest_level_is_that_whose_runs_reach_furthest(level_dates, newest):
    assert newest_level_date(level_dates) == newest
