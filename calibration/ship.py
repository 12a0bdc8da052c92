"""Makes and ships a fit from a checkout: ``python -m calibration.ship``.

Fits all published runs, validates, and writes what the package ships: ``fitted.yaml``,
``posterior.npz``, ``bands.yaml``, the accuracy page with its pictures and the README's line of
figures.
Everything that follows from fitted values is written here, so that nothing is edited by hand;
tests hold shipped predictions to published figures within stated tolerances and pin none.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOFTWARE = ROOT / "hwmodels" / "software"
BANDS = ROOT / "simulator" / "prediction" / "data"
POSTERIOR = ROOT / "calibration" / "fit" / "data"

HELD_TO_FIT = (
    "tests/published",
    "tests/unit/test_evidence.py",
    "tests/unit/test_software.py",
    "tests/unit/test_uncertainty.py",
    "tests/unit/test_sweep.py",
    "tests/unit/test_timeline.py",
    "tests/unit/test_cli.py",
    "tests/unit/test_notebooks.py",
)
"""Tests that read the shipped fit."""


def main(arguments: list[str]) -> int:
    """Run every step; returns the exit status of the first that fails, else 0.

    ``--workers N`` as of ``simulate calibrate``. The series that are kept back are scored once,
    which is counted.
    """
    workers = arguments[arguments.index("--workers") + 1] if "--workers" in arguments else "2"
    work = ROOT / "out" / "fit"
    command = [str(Path(sys.executable).with_name("simulate")), "calibrate"]
    common = ["--workers", workers]
    fit = [*command, "fit", "--out", str(work), *common]
    validate = [*command, "validate", "--held", "--fit", str(work), *common]
    validate += ["--out", str(ROOT / "docs"), "--bands", str(work)]
    learn = [*command, "learning-curve", "--fit", str(work), "--out", str(work)]
    learn += ["--page", str(ROOT / "docs" / "guides" / "calibrate.md")]
    for step in (fit, validate, learn):
        started = time.monotonic()
        status = subprocess.run(step, cwd=ROOT, check=False).returncode
        print(f"{step[2]}: {time.monotonic() - started:.0f} s", flush=True)
        if status:
            return status
    shutil.copy(work / "fitted.yaml", SOFTWARE / "fitted.yaml")
    shutil.copy(work / "bands.yaml", BANDS / "bands.yaml")
    for name in ("posterior.npz", "residuals.csv.gz"):
        shutil.copy(work / name, POSTERIOR / name)
    figures = [sys.executable, "-m", "calibration.scoreboard.readme_figures"]
    if status := subprocess.run(figures, cwd=ROOT, check=False).returncode:
        return status
    print(f"shipped; now run pytest {' '.join(HELD_TO_FIT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
