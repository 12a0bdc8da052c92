"""How often the series that are kept back have been looked at, and what was seen.

Structure and priors are chosen on two thirds of the series. Each look at the other third is
counted in ``holdout_log.yaml``, so that a reader can judge how much its figures still say.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from simulator.output.text_file import write_text
from workloads.datafiles import read_yaml_mapping

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from calibration.validation.targets import AccuracyTarget

LOOKS_FILE = "holdout_log.yaml"
LOOKS_FOLDER = Path(__file__).parent


def source_checkout() -> Path | None:
    """Folder of this package in a checkout of the project; ``None`` where it is installed."""
    folder = LOOKS_FOLDER
    return folder if (folder.parents[1] / "pyproject.toml").exists() else None


def read_looks(folder: Path) -> list[dict[str, Any]]:
    """All looks, the oldest first: ``date``, ``fit`` and the figures seen by target."""
    path = folder / LOOKS_FILE
    return list(read_yaml_mapping(path)["looks"]) if path.exists() else []


def record_look(
    folder: Path, *, date: dt.date, source: str, targets: Sequence[AccuracyTarget]
) -> int:
    """Add a look with what it showed; returns how many there have been."""
    seen = {
        target.name: None if target.value is None else round(target.value, 4) for target in targets
    }
    looks = [*read_looks(folder), {"date": date, "fit": source, "seen": seen}]
    header = (
        "# Every time that the held-back series were scored, and what was seen; written by\n"
        "# `simulate calibrate validate --held`.\n"
    )
    text = yaml.safe_dump({"looks": looks}, sort_keys=False, width=100)
    write_text(folder / LOOKS_FILE, header + text)
    return len(looks)
