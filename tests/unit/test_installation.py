"""What an installation brings, and that it suffices for every command of a user."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from scipy import special

from calibration.kernels.robust import soft_l1_fit
from workloads.errors import UserError
from workloads.requests.normal_law import normal_cdf, normal_quantile

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NEEDED = {
    *("joblib", "matplotlib", "numpy", "pandas", "pyarrow", "pydantic", "pyyaml", "rich", "simpy"),
    "typer",
}
WITHOUT_SCIPY = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "scipy":
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)

sys.meta_path.insert(0, Blocked())
from simulator.cli.main import run
import calibration.tasks

small = "--sku b200 --model gpt-oss-120b --engine vllm --tp 1 --ep 1".split()
load = "--lengths lengths.yaml --rate 2 --requests 10 --replications 2".split()
assert run(["load", *small, *load]) == 0
print("scipy" in sys.modules)
"""
LENGTHS = """\
prompt: {law: lognormal, median_tokens: 200, sigma: 0.5, cap_tokens: 1000, truncated: true}
output: {law: normal, mean_tokens: 16, sd_tokens: 4, low_tokens: 1, cap_tokens: 64}
"""


def names(requirements):
    return {re.match(r"[\w-]+", each)[0].lower() for each in requirements}


def test_the_base_installation_has_no_more_than_it_needs():
    """SciPy alone is a quarter of the size; only fits of kernels' laws need it, by an extra."""
    assert names(PROJECT["dependencies"]) == NEEDED
    assert names(PROJECT["optional-dependencies"]["kernels"]) == {"scipy"}
    assert "forecurve[dask,kernels,notebooks]" in PROJECT["optional-dependencies"]["test"]


def test_scipy_is_imported_in_one_place():
    found = [
        path.relative_to(ROOT).as_posix()
        for room in ("simulator", "hwmodels", "workloads", "calibration")
        for path in (ROOT / room).rglob("*.py")
        if re.search(r"^\s*(from|import) scipy", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert found == ["calibration/kernels/robust.py"]


def test_random_lengths_and_intervals_need_no_scipy(tmp_path):
    (tmp_path / "lengths.yaml").write_text(LENGTHS, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_SCIPY],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False"


def test_a_fit_of_a_law_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(UserError, match=r"pip install 'forecurve\[kernels\]'"):
        soft_l1_fit(lambda x: x, np.ones(1), bounds=(np.zeros(1), np.full(1, 2.0)), scale=0.1)


def test_the_normal_law_is_scipys():
    z = np.linspace(-30, 9, 400).reshape(4, 100)
    np.testing.assert_allclose(normal_cdf(z), special.ndtr(z), rtol=1e-12)
    p = np.concatenate([np.geomspace(1e-300, 0.5, 200), 1 - np.geomspace(1e-15, 0.5, 200)])
    np.testing.assert_allclose(normal_quantile(p), special.ndtri(p), rtol=1e-12, atol=1e-13)
    assert normal_quantile([0.0, 1.0]).tolist() == [-np.inf, np.inf]
    with pytest.raises(ValueError, match=r"range|p must"):
        normal_quantile([1.5])
