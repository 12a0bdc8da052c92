"""``simulate list`` and ``simulate show``: what there is to choose from, with sources."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.cli import options

if TYPE_CHECKING:
    import pandas as pd

_KINDS = "skus, models, engines, levels, recipes, workloads or economics"
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Also write CSV and JSON there.", show_default=False),
]


def list_catalog(
    what: Annotated[
        str, typer.Argument(metavar="WHAT", help=f"One of {_KINDS}.", show_default=False)
    ],
    out: Out = None,
    as_json: options.Json = False,
    as_csv: options.Csv = False,
) -> None:
    """List SKUs, models, engines, levels and more.

    Start with: simulate list skus
    """
    from simulator.output.text_tables import csv_of, records_of
    from simulator.studies.catalog.tables import catalog_list
    from simulator.studies.catalog.text import print_list

    options.check_output(as_json=as_json, as_csv=as_csv)
    frame = catalog_list(what)
    if out is not None:
        _write(out, name=what, table=frame, document=records_of(frame))
    if as_json:
        _echo_json(records_of(frame))
    elif as_csv:
        typer.echo(csv_of(frame), nl=False)
    else:
        print_list(what, frame)


def show(
    what: Annotated[
        str,
        typer.Argument(
            metavar="KIND", help="sku, model, engine, recipe or economics.", show_default=False
        ),
    ],
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Its name, or a SKU's own file.", show_default=False),
    ],
    out: Out = None,
    as_json: options.Json = False,
    as_csv: options.Csv = False,
) -> None:
    """Show a SKU, model or engine with sources.

    Every figure with its value, unit, kind and source.

    Start with: simulate show sku gb300
    """
    from simulator.output.text_tables import csv_of
    from simulator.studies.catalog.sheets import sheet_of, sheet_rows
    from simulator.studies.catalog.text import print_sheet

    options.check_output(as_json=as_json, as_csv=as_csv)
    sheet = sheet_of(what, name)
    rows = sheet_rows(what, sheet)
    if out is not None:
        _write(out, name=f"{what}-{Path(name).stem}", table=rows, document=sheet)
    if as_json:
        _echo_json(sheet)
    elif as_csv:
        typer.echo(csv_of(rows), nl=False)
    else:
        print_sheet(what, sheet)


def _echo_json(document: Any) -> None:
    import json

    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _write(out: Path, *, name: str, table: pd.DataFrame, document: Any) -> None:
    import json

    from simulator.output.csv_table import write_run_table
    from simulator.output.run_directory import RunDirectory

    with RunDirectory(out) as directory:
        try:
            write_run_table(table, directory.stage(f"{name}.csv"))
            text = json.dumps(document, indent=2, ensure_ascii=False)
            directory.stage(f"{name}.json").write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise directory.unwritable(error) from None
