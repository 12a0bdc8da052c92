"""Files of a what-if result: its tables, settings, summary and picture, in one directory."""

from __future__ import annotations

import hashlib
import json
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.output.csv_table import write_run_table
from simulator.output.processes import beside
from simulator.output.resolved_file import resolved_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd
    from matplotlib.figure import Figure

    from simulator.output.run_directory import RunDirectory


def default_directory(command: str, names: Sequence[str], *, settings: Mapping[str, Any]) -> Path:
    """A directory under ``out/`` named after a command and its settings: equal ones share it."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()
    words = re.sub(r"[^a-z0-9.]+", "-", "-".join((command, *names)).lower()).strip("-")
    return Path("out") / f"{words[:60].strip('-')}-{digest[:6]}"


def write_result(
    directory: RunDirectory,
    *,
    tables: Mapping[str, pd.DataFrame],
    resolved: Mapping[str, Any],
    summary: Mapping[str, Any],
    pictures: Mapping[str, Callable[[], Figure]],
) -> None:
    """Write ``<name>.csv`` of each table, ``resolved.yaml``, ``summary.json`` and the pictures.

    Raises
    ------
    UserError
        If a file cannot be written.
    """
    from simulator.output.style import save_figure

    def save(name: str) -> None:
        save_figure(pictures[name](), directory.stage(f"{name}.png"))

    try:
        with beside([partial(save, name) for name in pictures]):
            for name, table in tables.items():
                write_run_table(table, directory.stage(f"{name}.csv"))
            directory.stage("resolved.yaml").write_text(resolved_text(resolved), encoding="utf-8")
            directory.stage("summary.json").write_text(
                json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
            )
    except OSError as error:
        raise directory.unwritable(error) from None
