"""The notebooks as they lie in the repository; CI executes them."""

from pathlib import Path

import jupytext
import pytest

ROOT = Path(__file__).parents[2]
TEXTS = sorted((ROOT / "notebooks").glob("[0-9]*.py"))
LAST_SECTION = "## How wrong could this be?"
LARGEST_BYTES = 300e3


def sources(path):
    return [(cell.cell_type, cell.source.strip()) for cell in jupytext.read(path).cells]


def test_every_notebook_has_both_halves():
    others = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert [path.stem for path in TEXTS] == [path.stem for path in others]
    assert len(TEXTS) >= 10


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_both_halves_say_the_same(text):
    """Edit the text half and run ``python notebooks/refresh.py`` on it."""
    assert sources(text) == sources(text.with_suffix(".ipynb"))


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_a_notebook_ends_with_how_wrong_it_could_be(text):
    headings = [
        line
        for kind, source in sources(text)
        if kind == "markdown"
        for line in source.splitlines()
        if line.startswith("## ")
    ]
    assert headings[-1] == LAST_SECTION


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_in_the_readme(text):
    assert text.with_suffix(".ipynb").stat().st_size < LARGEST_BYTES
    assert f"notebooks/{text.stem}.ipynb" in (ROOT / "README.md").read_text(encoding="utf-8")
