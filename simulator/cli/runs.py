"""``simulate runs``: the measured runs that predictions are calibrated and judged by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

    class MeasuredRuns(Protocol):
        """What loads measured runs and writes them; ``calibration.measured.runs`` is one."""

        def load_measured(
            self,
            *,
            models: Sequence[str] | None = None,
            skus: Sequence[str] | None = None,
            engines: Sequence[str] | None = None,
            speculation: Sequence[str] | None = None,
            sources: Sequence[str] | None = None,
            quality: str | None = None,
            since: str | None = None,
            until: str | None = None,
        ) -> pd.DataFrame:
            """Runs that match every filter."""
            ...

        def to_predict_columns(self, frame: pd.DataFrame, *, figures: bool = False) -> pd.DataFrame:
            """The runs as a table that ``simulate predict`` reads."""
            ...

        def to_records(self, frame: pd.DataFrame) -> list[dict[str, object]]:
            """The runs as records under the same names."""
            ...


LONGEST_LIST = 60


def runs_command(measured: Callable[[], MeasuredRuns]) -> Callable[..., None]:
    """The command, given what loads the runs once it is called."""

    def runs(
        model: Annotated[
            str | None, typer.Option("--model", metavar="NAMES", help="Models, comma between.")
        ] = None,
        sku: Annotated[
            str | None, typer.Option("--sku", metavar="NAMES", help="Chips or racks.")
        ] = None,
        engine: Annotated[
            str | None,
            typer.Option("--engine", metavar="NAMES", help="Engine labels: sglang, dynamo-trt ..."),
        ] = None,
        speculation: Annotated[
            str | None,
            typer.Option("--speculation", metavar="NAMES", help="none, mtp or dspark."),
        ] = None,
        since: Annotated[
            str | None,
            typer.Option(
                "--since", metavar="DATE", help="First day: 2026-05 or 2026-05-21; dated runs only."
            ),
        ] = None,
        until: Annotated[
            str | None, typer.Option("--until", metavar="DATE", help="Last day; dated runs only.")
        ] = None,
        source: Annotated[
            str | None, typer.Option("--source", metavar="NAMES", help="Keys of publications.")
        ] = None,
        quality: Annotated[
            str | None, typer.Option("--quality", metavar="NAME", help="ok or suspect.")
        ] = None,
        every: Annotated[
            bool,
            typer.Option("--all", help=f"List every run, also more than {LONGEST_LIST}."),
        ] = False,
        as_csv: Annotated[
            bool, typer.Option("--csv", help="Print a table that simulate predict reads.")
        ] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON records.")] = False,
    ) -> None:
        """List the published measured runs that predictions are calibrated and judged by.

        Start with: simulate runs --sku mi355x --engine sglang --since 2026-05
        """
        if as_csv and as_json:
            raise UserError("--csv and --json exclude each other; choose one")
        table = measured()
        filters: dict[str, Any] = {
            "models": _names(model),
            "skus": _names(sku),
            "engines": _names(engine),
            "speculation": _names(speculation),
            "sources": _names(source),
            "quality": quality,
        }
        found = table.load_measured(**filters, since=since, until=until)
        if as_csv:
            columns = table.to_predict_columns(found, figures=True)
            typer.echo(columns.to_csv(index=False, lineterminator="\n"), nl=False)
        elif as_json:
            import json

            typer.echo(json.dumps(table.to_records(found), indent=2))
        else:
            from simulator.studies.catalog.runs_text import print_runs

            undated = 0
            if since is not None or until is not None:
                everything = table.load_measured(**filters)
                undated = int((everything["date"] == "").sum())
            print_runs(found, undated=undated, longest=None if every else LONGEST_LIST)

    return runs


def _names(text: str | None) -> list[str] | None:
    """Names with commas between; ``None`` if the flag is not given."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]
