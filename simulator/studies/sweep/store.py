"""Runs of a sweep on disk: one Parquet file per deployment, found again after an interruption.

A file holds the runs of one deployment under one load, one row each, with a key that stands for
the whole configuration and for the code and data that predicted it.
"""

from __future__ import annotations

import hashlib
import socket
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.output.columns import ABOUT, BANDS, KEPT, METRICS, RUN, WHAT_RAN
from simulator.output.leftovers import own_mark
from simulator.output.package_digest import digest_of_packages
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import pandas as pd
    import pyarrow as pa

    from simulator.output.column import Column
    from simulator.studies.sweep.points import ConcurrencySweep, Configured

_WHOLE = ("isl", "osl", "seed", "concurrency")
_PARTIAL = ".partial"
_MARK = ".sweep"


def file_name(sweep: ConcurrencySweep) -> str:
    """File of a deployment's runs; the same for any concurrencies and any price list."""
    text = sweep.question + repr(tuple(sweep.pools))
    return f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.parquet"


def run_key(configured: Configured, *, inputs: str, good_ttft_s: float | None = None) -> str:
    """What a run depends on, in 16 characters, or why there is none.

    Parameters
    ----------
    good_ttft_s:
        TTFT within which requests count as good, where that is asked for. [s]
    """
    if isinstance(configured, UserError):
        return f"{inputs[:8]}: {configured}"
    configuration, _ = configured
    text = f"{inputs} {configuration.identity}"
    if good_ttft_s is not None:
        text += f" good within {good_ttft_s!r}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest_of_inputs(*, skus: Iterable[str], calibration: Path | None) -> str:
    """Digest of all that predictions follow from besides settings: code, data, a user's files."""
    digest = hashlib.sha256(digest_of_packages().encode())
    own = [Path(sku) for sku in skus if sku.lower().endswith((".yaml", ".yml"))]
    if calibration is not None:
        own += sorted(path for path in calibration.rglob("*") if path.is_file())
    for path in own:
        digest.update(path.read_bytes())
    return digest.hexdigest()


@contextmanager
def shared_directory(directory: Path, *, inputs: str) -> Iterator[None]:
    """Mark a directory so that workers on other machines can tell that they see the same one.

    What workers that were killed left behind is removed at the end.
    """
    mark = directory / _MARK
    mark.write_text(inputs, encoding="utf-8")
    try:
        yield
    finally:
        mark.unlink(missing_ok=True)
        for path in directory.glob(f".*{_PARTIAL}"):
            path.unlink(missing_ok=True)


def check_shared(directory: Path, *, inputs: str) -> None:
    """Make sure that a directory is the marked one.

    Raises
    ------
    UserError
        If it is not.
    """
    try:
        found = (directory / _MARK).read_text(encoding="utf-8")
    except OSError:
        found = ""
    if found != inputs:
        raise UserError(
            f"worker {socket.gethostname()} does not see {directory} as this machine does; "
            "name a directory that all of them share with --out"
        )


STORED = (*KEPT, *WHAT_RAN, *METRICS, *BANDS, *ABOUT)
"""Columns of a file of runs, in order."""


def schema_of(columns: Sequence[Column]) -> pa.Schema:
    """Types of columns as PyArrow names them."""
    import pyarrow as pa

    types = {"text": pa.string(), "int": pa.int64(), "bool": pa.bool_(), "float": pa.float64()}
    return pa.schema([(column.name, types[column.kind]) for column in columns])


def write_points(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write runs in order of concurrency; the file appears complete or not at all.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    ordered = sorted(rows, key=lambda row: (row["concurrency"], row["key"]))
    table = pa.Table.from_pylist(list(ordered), schema=schema_of(STORED))
    # two workers may write the same file where one was taken for lost
    partial = path.with_name(f".{path.stem}{own_mark()}{uuid.uuid4().hex}{_PARTIAL}")
    try:
        pq.write_table(
            table, partial, use_dictionary=False, write_statistics=False, store_schema=False
        )
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_points(path: Path) -> pa.Table | None:
    """The runs of a file; ``None`` where it is missing, broken or of other columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
    except (OSError, pa.ArrowInvalid):
        return None
    return table if table.schema == schema_of(STORED) else None


def frame_of(tables: Sequence[pa.Table]) -> pd.DataFrame:
    """Tables of runs as one; what a run lacks is missing."""
    import pyarrow as pa

    joined = pa.concat_tables(tables) if tables else schema_of(STORED).empty_table()
    return _typed(joined, columns=STORED)


def frame_of_rows(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows of `simulator.output.columns.RUN` as a table of the same types."""
    import pyarrow as pa

    return _typed(pa.Table.from_pylist(list(rows), schema=schema_of(RUN)), columns=RUN)


def _typed(table: pa.Table, *, columns: Sequence[Column]) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas(split_blocks=True)
    sparse = [one.name for one in columns if one.kind == "int" and one.name not in _WHOLE]
    return frame.astype({**dict.fromkeys(sparse, "Int64"), "prefill_dp_attn": "boolean"})
