"""docs/architecture.md names modules, functions and classes that exist."""

import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
NAMES = sorted(set(re.findall(r"`((?:simulator|workloads|hwmodels|calibration)\.[\w.]+)`", PAGE)))


def test_the_page_names_many():
    assert len(NAMES) > 20


@pytest.mark.parametrize("name", NAMES)
def test_a_name_exists(name):
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(import_module(module), attribute)
    except AttributeError:
        found = import_module(name)
    assert found is not None


def test_every_room_of_the_simulator_is_on_the_page():
    rooms = {
        path.name for path in (ROOT / "simulator").iterdir() if (path / "__init__.py").exists()
    }
    assert rooms <= set(re.findall(r"`(\w+)/`", PAGE))
    # a room's own sentence of what it is for
    for room in rooms:
        text = (ROOT / "simulator" / room / "__init__.py").read_text(encoding="utf-8")
        assert text.startswith('"""')
