"""What one curve leaves on disk: settings, points, requests and the picture."""

from __future__ import annotations

import json
from functools import partial
from io import BytesIO
from math import isfinite
from typing import TYPE_CHECKING, Any

from simulator.output.columns import RUN
from simulator.output.processes import beside
from simulator.output.resolved_file import resolved_text
from simulator.scenario.settings_file import REPORTED
from simulator.studies.next_runs import candidate_runs
from simulator.version import version
from workloads.errors import UserError

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    from simulator.output.run_directory import RunDirectory
    from simulator.studies.curve.run import CurveResult

FILE_METADATA = {"kind": "simulated"}


def points_frame(result: CurveResult) -> pd.DataFrame:
    """All points of a curve, one row each, in the columns and types of a sweep's runs."""
    from simulator.studies.sweep.store import frame_of_rows

    return frame_of_rows(result.points)


def summary_of(result: CurveResult) -> dict[str, Any]:
    """A curve as one JSON object: caption, settings, points, refused layouts, assumptions."""
    return {
        "generator": f"forecurve {version()}",
        "simulated": True,
        "caption": result.caption,
        "settings": result.resolved,
        "changes": [change.to_dict() for change in result.changes],
        "limits": result.limits.to_dict(),
        "next_runs": [
            run.to_dict() for run in candidate_runs(result.points, calibration=result.calibration)
        ],
        "points": result.points,
        "refused": [{"label": layout.label, "reason": layout.reason} for layout in result.refused],
        "messages": result.messages,
    }


def summary_json(result: CurveResult) -> str:
    """`summary_of` as text."""
    return json.dumps(summary_of(result), indent=2, default=str)


def load_file_writers() -> None:
    """Import what `write_run` needs, which takes a while, ahead of its call."""
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401
    import pyarrow.json
    import pyarrow.parquet  # noqa: F401
    import yaml  # noqa: F401


def write_run(
    directory: RunDirectory, result: CurveResult, *, measured: pd.DataFrame | None = None
) -> None:
    """Write settings, summary, points, requests and the picture of a curve.

    Parameters
    ----------
    measured:
        Measured points to draw beside the curve.

    Raises
    ------
    UserError
        If a file cannot be written.
    """
    try:
        with beside([partial(_draw, directory, result, measured=measured)]):
            directory.stage("resolved.yaml").write_text(_resolved_yaml(result), encoding="utf-8")
            directory.stage("summary.json").write_text(summary_json(result), encoding="utf-8")
            _write_points(directory, result)
            _write_requests(directory, result)
    except OSError as error:
        raise directory.unwritable(error) from None


def _resolved_yaml(result: CurveResult) -> str:
    """The settings and their origins; a scenario file that gives the same curve again."""
    return (
        f"# {result.caption}\n"
        f"# simulate --scenario with this file repeats it; '{REPORTED}*' follow from the rest.\n"
        + resolved_text(result.resolved)
    )


def _write_points(directory: RunDirectory, result: CurveResult) -> None:
    """All points, one row each.

    By way of JSON text and, for requests, of buffers: to make an array of any other thing PyArrow
    loads pandas first, which takes as long as to write the file.
    """
    import pyarrow.json as pj
    import pyarrow.parquet as pq

    from simulator.studies.sweep.store import schema_of

    lines = "\n".join(json.dumps(_finite(point)) for point in result.points)
    text = BytesIO(lines.encode())
    table = pj.read_json(
        text,
        read_options=pj.ReadOptions(block_size=max(len(lines), 1) + 1),
        parse_options=pj.ParseOptions(explicit_schema=schema_of(RUN)),
    )
    table = table.replace_schema_metadata(FILE_METADATA | {"version": version()})
    pq.write_table(table, directory.stage("points.parquet"), compression="zstd")


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """A row with blanks for what is no number."""
    return {
        name: None if isinstance(value, float) and not isfinite(value) else value
        for name, value in row.items()
    }


def _write_requests(directory: RunDirectory, result: CurveResult) -> None:
    """Per-request records of all points, with the point that each belongs to."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    def numbers(values: npt.NDArray[Any]) -> pa.Array:
        values = np.ascontiguousarray(values)
        kind = pa.from_numpy_dtype(values.dtype)
        return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])

    def repeated(text: str, count: int) -> pa.Array:
        encoded = text.encode()
        ends = pa.py_buffer(np.array([0, len(encoded)], dtype=np.int32))
        once = pa.StringArray.from_buffers(1, ends, pa.py_buffer(encoded))
        return pa.DictionaryArray.from_arrays(numbers(np.zeros(count, dtype=np.int32)), once)

    if not result.records:
        raise UserError("the curve kept no records; explore it with keep_records=True")
    writer: pq.ParquetWriter | None = None
    try:
        for (label, concurrency), records in result.records.items():
            columns = {
                "label": repeated(label, len(records)),
                "concurrency": numbers(np.full(len(records), concurrency, dtype=np.int64)),
                **{name: numbers(values) for name, values in records.columns.items()},
            }
            table = pa.Table.from_arrays(list(columns.values()), names=list(columns))
            if writer is None:
                writer = pq.ParquetWriter(
                    directory.stage("requests.parquet"),
                    table.schema.with_metadata(FILE_METADATA | {"version": version()}),
                    compression="zstd",
                    use_dictionary=["label"],  # the others hardly repeat
                )
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _draw(directory: RunDirectory, result: CurveResult, *, measured: pd.DataFrame | None) -> None:
    from simulator.output.style import save_figure
    from simulator.studies.pareto_plot import pareto_figure

    figure = pareto_figure(series=[curve_series(result)], caption=result.caption, measured=measured)
    save_figure(figure, directory.stage("frontier.png"))


def curve_series(result: CurveResult) -> Any:
    """The points of a curve in the form that the Pareto plot draws."""
    import numpy as np

    from simulator.studies.pareto_plot import Series

    def column(name: str) -> npt.NDArray[np.float64]:
        return np.array([point[name] for point in result.points], dtype=np.float64)

    return Series(
        name=f"{result.sku.name} ({result.resolved['level']['value']})",
        vendor=result.sku.vendor,
        interactivity=column("interactivity"),
        tput_per_gpu=column("total_tput_per_gpu"),
        layouts=[point["label"] for point in result.points],
        concurrencies=[point["concurrency"] for point in result.points],
        on_frontier=np.array([point["on_frontier"] for point in result.points]),
        late=np.array([not point["meets_limits"] for point in result.points]),
        band=np.column_stack(
            [
                1.0 / column("median_tpot_s_hi"),
                1.0 / column("median_tpot_s_lo"),
                column("total_tput_per_gpu_lo"),
                column("total_tput_per_gpu_hi"),
            ]
        ),
    )
