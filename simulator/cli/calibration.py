"""What ``simulate calibrate`` asks of whatever calibrates, which the package does not import."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from simulator.output.kept_work import KeptWork

    Progress = Callable[[int, int, str], None]


class Calibration(Protocol):
    """What fits and validates; ``calibration.tasks`` is one."""

    def fit_and_write(
        self,
        *,
        models: Sequence[str],
        structure: bool,
        earlier: Path | None,
        workers: int,
        directory: Path,
        on_progress: Progress | None,
        tell: Callable[[str], None] | None,
        kept: KeptWork | None,
    ) -> list[str]:
        """Fit, write the files, and say what was done in lines."""
        ...

    def fit_own_and_write(
        self,
        *,
        paths: Sequence[Path],
        steps: Sequence[Path],
        facts: Mapping[str, object],
        start: Path | None,
        workers: int,
        directory: Path,
        on_progress: Progress | None,
        tell: Callable[[str], None] | None,
        kept: KeptWork | None,
    ) -> list[str]:
        """Add own runs to a fit, write the files, and say what moved in lines."""
        ...

    def report_and_write(
        self, *, fitted: Path | None, models: Sequence[str], directory: Path
    ) -> list[str]:
        """Write the report on a fit, and say what it found in lines."""
        ...

    def learn_and_write(
        self,
        *,
        models: Sequence[str],
        fitted: Path,
        cells: int,
        directory: Path,
        page: Path | None,
        on_progress: Progress | None,
        tell: Callable[[str], None] | None,
    ) -> list[str]:
        """Write the error curve of own runs, and say it in lines."""
        ...

    def validate_and_write(
        self,
        *,
        models: Sequence[str],
        held: bool,
        full: bool,
        fitted: Path | None,
        other_models: Sequence[str],
        workers: int,
        directory: Path,
        bands: Path | None,
        on_progress: Progress | None,
        tell: Callable[[str], None] | None,
    ) -> tuple[list[tuple[str, ...]], list[str]]:
        """Validate and write the page; rows of its table, and what was done in lines."""
        ...
