"""``simulate predict``: a table of configurations in, the same table with predictions out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simulator.cli import options  # noqa: TC001 - typer reads the annotations


def predict(
    runs: Annotated[Path, typer.Argument(metavar="RUNS.csv", help="One configuration a row.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="PRED.csv", help="The same rows with predictions.")
    ],
    calibration: options.Calibration = None,
    workers: Annotated[
        int, typer.Option("--workers", metavar="N", help="Processes; results do not depend on it.")
    ] = 2,
    workload: Annotated[
        str | None,
        typer.Option(
            "--workload",
            metavar="NAME|FILE",
            help="agentx or a file of agent sessions: rows are then replays, concurrency being "
            "live sessions.",
        ),
    ] = None,
) -> None:
    """Predict every row of a table of runs."""
    from simulator.cli.kept_runs import kept_work
    from simulator.cli.progress import progress_bar
    from simulator.output.csv_table import check_writable, read_run_table, write_run_table
    from simulator.output.kept_work import inputs_digest, kept_beside
    from simulator.studies.predict.run import predict_table
    from workloads.errors import UserError

    if workload is not None:
        _predict_sessions(
            runs, out=out, calibration=calibration, workload=workload, workers=workers
        )
        return
    if runs.suffix in (".json", ".jsonl"):
        raise UserError(
            f"{runs} is JSON; predict takes a CSV table of configurations, and simulate score "
            f"predicts and compares results of clients: simulate score {runs}"
        )
    table = read_run_table(runs)
    check_writable(out)
    kept = kept_beside(out, inputs=inputs_digest("predict", calibration))
    with kept_work(kept):
        with progress_bar() as move:
            predicted = predict_table(
                table,
                calibration=None if calibration is None else Path(calibration),
                workers=workers,
                progress=lambda done, total: move(done, total, "runs"),
                kept=kept,
            )
        write_run_table(predicted, out)
    counts = predicted["status"].value_counts()
    parts = [f"{count:,} {status}" for status, count in counts.items()]
    fit = "" if calibration is None else f"calibration {calibration}; "
    typer.echo(f"{len(predicted):,} rows: {', '.join(parts)}; {fit}written to {out}", err=True)


def _predict_sessions(
    runs: Path, *, out: Path, calibration: str | None, workload: str, workers: int
) -> None:
    from simulator.cli.progress import progress_bar
    from simulator.output.csv_table import check_writable, write_run_table
    from simulator.studies.agentx.table import predict_sessions
    from workloads.datafiles import read_csv
    from workloads.errors import UserError
    from workloads.requests.agentx.files import holds_sessions

    if not holds_sessions(workload, chains=True):
        raise UserError(
            f"workload '{workload}' holds no agent sessions; rows of other lengths state isl and "
            "osl, and simulate load serves other traces"
        )
    import pandas as pd

    header, lines = read_csv(runs)
    table = pd.DataFrame([line.cells for line in lines], columns=header, dtype=str)
    check_writable(out)
    with progress_bar() as move:
        predicted = predict_sessions(
            table,
            trees={"trees": workload},
            calibration=None if calibration is None else str(calibration),
            workers=workers,
            progress=None if move is None else lambda done, total: move(done, total, "runs"),
        )
    write_run_table(predicted, out)
    counts = predicted["status"].value_counts()
    parts = [f"{count:,} {status}" for status, count in counts.items()]
    typer.echo(f"{len(predicted):,} rows: {', '.join(parts)}; written to {out}", err=True)
