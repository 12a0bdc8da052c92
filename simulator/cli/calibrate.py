"""``simulate calibrate``: fit to measured runs, and see how far predictions are from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from simulator.cli.calibration import Calibration


Models = Annotated[
    str,
    typer.Option("--models", metavar="LIST", help="Models whose published runs enter."),
]
Workers = Annotated[
    int, typer.Option("--workers", metavar="N", help="Processes; results do not depend on it.")
]
COLUMNS = ("figure", "asked for", "reached", "", "n", "held")
FITTED_MODELS = (
    "deepseek-v4-pro,deepseek-r1,deepseek-v3.2,kimi-k2.5,glm-5,gpt-oss-120b,minimax-m2.5,qwen3.5,"
    "llama-3.x-70b,llama-3.1-8b"
)
"""Models whose published runs are fitted together unless others are named."""


def calibrate_app(calibration: Callable[[], Calibration]) -> typer.Typer:
    """The commands, given what calibrates once one of them is called."""
    app = typer.Typer(
        help="Fit to measured runs, your own among them, and see how far predictions are.",
        no_args_is_help=True,
        rich_markup_mode=None,
        context_settings={"max_content_width": 100},
    )

    @app.command()
    def fit(
        out: Annotated[
            Path, typer.Option("--out", metavar="DIR", help="Where the fit is written.")
        ],
        runs: Annotated[
            list[Path] | None,
            typer.Argument(
                metavar="[RUNS]...",
                help="Your own results: files, tables or folders. Only the levels that they ran "
                "at move; without any, all published runs are fitted anew.",
                show_default=False,
            ),
        ] = None,
        steps: Annotated[
            list[Path] | None,
            typer.Option(
                "--steps",
                metavar="LOG",
                help="In place of RUNS: an engine's own log of its steps (vLLM, SGLang) or a "
                "table of forward-pass metrics; --fact says model, sku, engine, layout. "
                "Repeatable.",
            ),
        ] = None,
        fact: Annotated[
            list[str] | None,
            typer.Option(
                "--fact",
                metavar="NAME=VALUE",
                help="What your results do not say: sku=h200, engine=vllm, layout=TP8, "
                "precision=fp8, date=2026-09-01 ... Repeatable; or runs.yaml beside them.",
            ),
        ] = None,
        start: Annotated[
            Path | None,
            typer.Option(
                "--from",
                metavar="DIR",
                help="An earlier fit --out to go on from: own runs are added to it in place of "
                "the shipped fit; of published runs its derivatives serve again.",
            ),
        ] = None,
        structure: Annotated[
            bool,
            typer.Option(
                "--structure",
                help="Without the series that validate keeps back; for validate --fit.",
            ),
        ] = False,
        models: Annotated[
            str | None,
            typer.Option(
                "--models",
                metavar="LIST",
                help=f"Models whose published runs are fitted. [default: {FITTED_MODELS}]",
                show_default=False,
            ),
        ] = None,
        workers: Workers = 2,
    ) -> None:
        """Add your own runs to the shipped fit, in under a minute; or fit all published runs.

        Start with: simulate calibrate fit my_runs.csv --fact sku=h200 --out my_fit
        """
        from simulator.cli.kept_runs import kept_work
        from simulator.cli.progress import progress_bar
        from simulator.output.kept_work import inputs_digest, kept_within

        facts = parse_facts(fact or [])
        own, logs = runs or [], steps or []
        _check_fit_flags(own, logs=logs, facts=facts, structure=structure, models=models)
        names = _names(models or FITTED_MODELS)
        _check_workers(workers)
        inputs = inputs_digest(
            "fit",
            _files_of([*own, *logs]),
            facts,
            names,
            structure,
            _files_of([start] if start else []),
        )
        kept = kept_within(out, inputs=inputs)
        common: dict[str, Any] = {"workers": workers, "directory": out, "tell": _note, "kept": kept}
        with kept_work(kept), progress_bar() as on_progress:
            if own or logs:
                lines = calibration().fit_own_and_write(
                    paths=own,
                    steps=logs,
                    facts=facts,
                    start=start,
                    on_progress=on_progress,
                    **common,
                )
            else:
                lines = calibration().fit_and_write(
                    models=names,
                    structure=structure,
                    earlier=start,
                    on_progress=on_progress,
                    **common,
                )
        for line in lines:
            typer.echo(line)
        typer.echo(f"use it with any command: simulate --sku h200 --calibration {out}")

    @app.command()
    def validate(
        out: Annotated[
            Path,
            typer.Option("--out", metavar="DIR", help="Where ACCURACY.md and images/ are written."),
        ] = Path("out/accuracy"),
        held: Annotated[
            bool,
            typer.Option(
                "--held", help="Score the series that are kept back too; every look is counted."
            ),
        ] = False,
        full: Annotated[
            bool,
            typer.Option(
                "--full",
                help="Simulate every left-out run again, those of any size among them; hours.",
            ),
        ] = False,
        fitted: Annotated[
            Path | None,
            typer.Option(
                "--fit",
                metavar="DIR",
                help="A fit of the same runs (of all with --held, else fit --structure); "
                "default: fit them now.",
            ),
        ] = None,
        bands: Annotated[
            Path | None,
            typer.Option("--bands", metavar="DIR", help="Also write bands.yaml there."),
        ] = None,
        other_models: Annotated[
            str | None,
            typer.Option(
                "--other-models",
                metavar="LIST",
                help="Also predict a sample of other models' runs: deepseek-r1.",
            ),
        ] = None,
        models: Models = FITTED_MODELS,
        workers: Workers = 2,
    ) -> None:
        """Leave runs out of the fit, predict them, and write how far off that is.

        By run, layout, engine, SKU, chip generation, vendor and date; see docs/ACCURACY.md.
        """
        from simulator.cli.progress import progress_bar
        from simulator.output.text_tables import console, table_of

        _check_workers(workers)
        with progress_bar() as on_progress:
            rows, lines = calibration().validate_and_write(
                models=_names(models),
                held=held,
                full=full,
                fitted=fitted,
                other_models=_names(other_models) if other_models else [],
                workers=workers,
                directory=out,
                bands=bands,
                on_progress=on_progress,
                tell=_note,
            )
        table: Any = table_of(title="", headers=COLUMNS, left=COLUMNS[:2])
        for row in rows:
            table.add_row(*row)
        console().print(table)
        for line in lines:
            typer.echo(line)

    @app.command()
    def report(
        out: Annotated[
            Path,
            typer.Option("--out", metavar="DIR", help="Where report.md and pictures are written."),
        ] = Path("out/fit_report"),
        fitted: Annotated[
            Path | None,
            typer.Option(
                "--fit",
                metavar="DIR",
                help="A fit --out; default: the shipped one.",
            ),
        ] = None,
        models: Models = FITTED_MODELS,
    ) -> None:
        """One page on a fit: predicted against measured, residuals by slice, physics.

        Start with: simulate calibrate report --out report
        """
        lines = calibration().report_and_write(fitted=fitted, models=_names(models), directory=out)
        for line in lines:
            typer.echo(line)

    @app.command("learning-curve")
    def learning_curve(
        fitted: Annotated[
            Path,
            typer.Option("--fit", metavar="DIR", help="A fit --out of all published runs."),
        ],
        out: Annotated[
            Path,
            typer.Option("--out", metavar="DIR", help="Where table and picture are written."),
        ] = Path("out/learning"),
        page: Annotated[
            Path | None,
            typer.Option(
                "--page",
                metavar="FILE",
                help="Write into this page between its marks, and the picture beside it.",
            ),
        ] = None,
        cells: Annotated[
            int, typer.Option("--cells", metavar="N", help="Cells that are sampled.")
        ] = 60,
        models: Models = FITTED_MODELS,
    ) -> None:
        """What 1, 5 and 20 runs of one's own do to one's error, from cells that are left out.

        Nothing is simulated: the linearised responses of the fit answer, in some minutes.
        """
        from simulator.cli.progress import progress_bar

        if cells < 1:
            raise UserError(f"cells is {cells}; it must be at least 1")
        with progress_bar() as on_progress:
            lines = calibration().learn_and_write(
                models=_names(models),
                fitted=fitted,
                cells=cells,
                directory=out,
                page=page,
                on_progress=on_progress,
                tell=_note,
            )
        for line in lines:
            typer.echo(line)

    return app


def _files_of(paths: Sequence[Path]) -> list[Path]:
    """Files, and those of folders, whose content a fit follows from."""
    found: list[Path] = []
    for path in paths:
        inside = path.rglob("*") if path.is_dir() else [path]
        found += sorted(each for each in inside if ".kept" not in each.parts)
    return found


def _check_fit_flags(
    runs: Sequence[Path],
    *,
    logs: Sequence[Path],
    facts: Mapping[str, object],
    structure: bool,
    models: str | None,
) -> None:
    if runs and logs:
        raise UserError(
            "fit runs and --steps one after the other: --from DIR goes on from the first"
        )
    own = [*runs, *logs]
    if facts and not own:
        raise UserError("--fact describes your own runs; name them, as in fit my_runs.csv")
    if own and structure:
        raise UserError("--structure is of published runs; leave it out, or your runs")
    if own and models is not None:
        raise UserError(
            "--models names models of published runs, which stay as they are where your own are "
            "added; leave it out"
        )


def parse_facts(pairs: Sequence[str]) -> dict[str, object]:
    """Facts about a user's runs from ``name=value`` pairs.

    Raises
    ------
    UserError
        If a pair has another form or a name comes twice.
    """
    facts: dict[str, object] = {}
    for pair in pairs:
        name, separator, value = (part.strip() for part in pair.partition("="))
        if not (name and separator and value):
            raise UserError(f"--fact '{pair}' is not NAME=VALUE; write sku=h200")
        if name in facts:
            raise UserError(f"--fact gives {name} twice; keep one of them")
        facts[name] = value
    return facts


def _note(line: str) -> None:
    typer.echo(line, err=True)


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UserError("models names none; write --models deepseek-v4-pro")
    return names


def _check_workers(workers: int) -> None:
    if workers < 1:
        raise UserError(f"workers is {workers}; it must be at least 1")
