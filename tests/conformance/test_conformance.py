"""Our schedulers equal the engines' own; needs the environment that `run.py` builds."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
FOLDER = Path(os.environ.get("FORECURVE_CONFORMANCE", "~/.cache/forecurve-conformance"))


@pytest.mark.conformance
@pytest.mark.slow
def test_traces_equal_the_engines_own() -> None:
    folder = FOLDER.expanduser()
    if not (folder / "ready").exists():
        pytest.skip(f"no environment in {folder}: run python tests/conformance/run.py")
    import run

    python = run.environment(folder)
    rows = run.compare_vllm(python, each=8)
    delayer = run.compare_sglang(python, folder, count=20)
    assert run.failures(rows, delayer, run.compare_closed_loops(python)) == []
