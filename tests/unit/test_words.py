"""Names, help, messages and docs use the field's terms; words that they replaced stay away."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOLD = ("simulator", "workloads", "hwmodels", "calibration", "docs", "benchmarks", "tests")
REPLACED = {
    r"climb(s|ed|ing)?": "concurrency sweep",
    r"rungs?": "point",
    r"ladders?": "concurrency sweep",
    r"kin": "related SKUs, related models",
    r"stamps?": "level date",
    r"spared": "pruned",
    r"promis(es?|ed)": "SLO",
    r"strain(s|ed)?": "SLO utilisation",
    r"flip(s|ped)?": "break-even",
    r"contestants?": "compared systems",
    r"held looks?": "hold-out log",
    r"step ?pricers?": "step timing",
}
ALONE = re.compile(rf"(?<![a-zA-Z])(?:{'|'.join(REPLACED)})(?![a-zA-Z])", re.IGNORECASE)
IN_NAMES = re.compile(r"(?:Climb|Rung|Ladder|Kin|Contestant|Strain|Pricer)s?(?![a-z])")


def files():
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    for folder in TOLD:
        for suffix in ("*.py", "*.md", "*.yaml"):
            found += (ROOT / folder).rglob(suffix)
    return [path for path in found if path != Path(__file__)]


def lines_with(text):
    """Lines that have one of the words, alone or as a part of a name."""
    lines = []
    for pattern in (ALONE, IN_NAMES):
        for found in pattern.finditer(text):
            start = text.rfind("\n", 0, found.start()) + 1
            lines.append(text[start:].partition("\n")[0])
    return lines


def test_replaced_words_stay_away():
    told = [
        f"{path.relative_to(ROOT)}: {line.strip()[:90]}"
        for path in files()
        for line in lines_with(path.read_text(encoding="utf-8"))
    ]
    assert told == []


def test_no_file_is_named_by_a_replaced_word():
    assert [path.name for path in files() if lines_with(path.stem)] == []


@pytest.mark.parametrize(
    "text",
    ["def climb_all():", "class LadderDone:", "its kin share", "SKETCH_LADDER = 1", "a rung."],
)
def test_a_replaced_word_is_found(text):
    assert lines_with(text)


@pytest.mark.parametrize("text", ["kind", "timestamp", "constraint", "compromise", "wrung", "skin"])
def test_other_words_are_not(text):
    assert lines_with(text) == []
