"""``simulate score``: how far predictions are from a public table of measured runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from simulator.cli import options  # noqa: TC001 - typer reads the annotations

if TYPE_CHECKING:
    from collections.abc import Callable

    class Scoreboard(Protocol):
        """What scores; ``calibration.scoreboard.task`` is one."""

        def score_and_write(
            self,
            path: Path,
            *,
            predictions: Path | None,
            calibration: Path | None,
            out: Path | None,
            workers: int,
            progress: Callable[[int, int], None] | None,
            registered: bool,
        ) -> list[str]:
            """Score a file and say what came out in lines."""
            ...


def score_command(scoreboard: Callable[[], Scoreboard]) -> Callable[..., None]:
    """The command, given what scores once it is called."""

    def score(
        path: Annotated[
            Path,
            typer.Argument(
                metavar="FILE", help="Measured runs: a CSV table, a result, a folder of them."
            ),
        ],
        predictions: Annotated[
            Path | None,
            typer.Option(
                "--predictions",
                metavar="PRED.csv",
                help="What simulate predict made of the same rows; default: predict them now. "
                "With --registered: their folder.",
            ),
        ] = None,
        registered: Annotated[
            bool,
            typer.Option(
                "--registered", help="Score what was registered before these runs were measured."
            ),
        ] = False,
        out: Annotated[
            Path | None,
            typer.Option("--out", metavar="DIR", help="Write SCORE.md with its pictures there."),
        ] = None,
        calibration: options.Calibration = None,
        workers: Annotated[int, typer.Option("--workers", metavar="N", help="Processes.")] = 2,
    ) -> None:
        """Score predictions against measured runs: errors, curve shape, frontier, ranking, bands.

        Start with: simulate score my_runs.csv --out score
        """
        from simulator.cli.progress import progress_bar

        with progress_bar() as move:
            lines = scoreboard().score_and_write(
                path,
                predictions=predictions,
                calibration=None if calibration is None else Path(calibration),
                out=out,
                registered=registered,
                workers=workers,
                progress=lambda done, total: move(done, total, "runs"),
            )
        for line in lines:
            typer.echo(line)

    return score
