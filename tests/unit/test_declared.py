"""A setting is declared once: fields, flags and the reference page agree with the tables."""

import importlib.util
from pathlib import Path
from types import NoneType, UnionType
from typing import Literal, Union, get_args, get_origin

import pytest

import simulator.cli.main  # noqa: F401 - the commands say which flags they take
from simulator.cli.flags import SETTINGS_OF
from simulator.scenario.declared import POOLS, SCENARIO
from simulator.scenario.grid import POOL_FIELDS
from simulator.scenario.settings import Scenario
from simulator.studies.load.declared import LOAD
from simulator.studies.load.request import LoadSettings
from simulator.studies.plan.declared import PLAN
from simulator.studies.plan.request import PlanQuestion
from simulator.studies.search.declared import SEARCH
from simulator.studies.search.request import SearchQuestion
from simulator.studies.sensitivity.declared import SENSITIVITY
from simulator.studies.sensitivity.request import SensitivityQuestion

ROOT = Path(__file__).parents[2]
MODELS = (
    (Scenario, SCENARIO),
    (LoadSettings, LOAD),
    (PlanQuestion, PLAN),
    (SearchQuestion, SEARCH),
    (SensitivityQuestion, SENSITIVITY),
)
TYPES = {"int": int, "float": float, "bool": bool}
SIMULATING = {
    *("curve", "load", "sweep", "compare", "timeline", "plan", "search", "sensitivity"),
    *("report", "explain", "mlperf"),
}


def parts_of(annotation):
    if get_origin(annotation) in (Union, UnionType):
        return [each for each in get_args(annotation) if each is not NoneType]
    return [annotation]


@pytest.mark.parametrize(
    ("model", "name"), [(model, name) for model, table in MODELS for name in table]
)
def test_a_field_has_the_type_that_its_declaration_says(model, name):
    setting = dict(MODELS)[model][name]
    (annotation,) = parts_of(model.model_fields[name].annotation)
    if setting.kind in TYPES:
        assert annotation is TYPES[setting.kind]
    if setting.choices:
        assert get_origin(annotation) is Literal
        assert get_args(annotation) == setting.choices
    assert model.model_fields[name].description == setting.text


def test_every_field_is_declared():
    for model, table in MODELS:
        assert set(model.model_fields) == set(table)
    assert tuple(POOLS) == POOL_FIELDS


def test_every_command_that_simulates_takes_server_settings():
    assert set(SETTINGS_OF) >= SIMULATING
    for command in SIMULATING:
        names = {flag.setting.name for flag in SETTINGS_OF[command]}
        assert {"engine_settings", "overrides", "calibration"} <= names, command


@pytest.mark.parametrize("tool", ["settings_page", "skus_page"])
def test_the_reference_page_is_what_the_declarations_say(tool):
    spec = importlib.util.spec_from_file_location("page", ROOT / "docs" / "tools" / f"{tool}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page()
