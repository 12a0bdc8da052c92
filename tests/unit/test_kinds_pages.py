"""The tables of docs/background/kinds are what the models give, and each kind has a page."""

import importlib.util
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "docs" / "tools" / "kinds_pages.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("kinds_pages", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_kind_has_a_page_in_step_with_the_models(tool):
    for name, table in tool.tables().items():
        page = tool.FOLDER / f"{name}.md"
        assert page.read_text(encoding="utf-8") == tool.filled(page, table)


def test_a_page_states_equations_and_sources(tool):
    for page in tool.FOLDER.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        assert "Code:" in text
        assert "Sources:" in text
        assert "arXiv" in text or "config.json" in text or "model card" in text
