"""Runs of a sweep on disk: one Parquet file per ladder, which an interrupted sweep finds again.

A ladder is one deployment under one load at rising concurrency. Its file holds one row per run,
with a key that stands for the whole configuration and for the code and data that predicted it.
"""

from __future__ import annotations

import hashlib
import socket
import uuid
from contextlib import contextmanager
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.output.columns import ABOUT, BANDS, KEPT, METRICS, WHAT_RAN
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import pandas as pd
    import pyarrow as pa

    from simulator.engines.pools import PoolLayout
    from simulator.prediction.run import RunOutcome
    from simulator.scenario.configuration import RunConfiguration
    from simulator.scenario.settings import Scenario

_WHOLE = ("isl", "osl", "seed", "concurrency")
_PARTIAL = ".partial"
_MARK = ".sweep"


def ladder_name(*, load: Scenario, pools: Sequence[PoolLayout]) -> str:
    """File name of a ladder; the same for any concurrencies and any price list."""
    text = load.model_dump_json(exclude={"concurrency", "economics"}) + repr(tuple(pools))
    return f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.parquet"


def run_key(configuration: RunConfiguration, *, inputs: str) -> str:
    """What a run depends on, in 16 characters."""
    return hashlib.sha256(f"{inputs} {configuration.identity}".encode()).hexdigest()[:16]


def digest_of_inputs(*, skus: Iterable[str], calibration: Path | None) -> str:
    """Digest of all that predictions follow from besides settings: code, data, a user's files."""
    digest = hashlib.sha256(_digest_of_packages().encode())
    own = [Path(sku) for sku in skus if sku.lower().endswith((".yaml", ".yml"))]
    if calibration is not None:
        own += sorted(path for path in calibration.rglob("*") if path.is_file())
    for path in own:
        digest.update(path.read_bytes())
    return digest.hexdigest()


@lru_cache(maxsize=1)
def _digest_of_packages() -> str:
    digest = hashlib.sha256()
    for package in ("workloads", "hwmodels", "simulator"):
        root = Path(str(resources.files(package)))
        for path in sorted(root.rglob("*")):
            if path.suffix in (".py", ".yaml", ".json", ".csv"):
                digest.update(path.relative_to(root).as_posix().encode())
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


def result_cells(outcome: RunOutcome) -> dict[str, Any]:
    """What came out of a run."""
    cells: dict[str, Any] = dict(outcome.metrics.to_dict())
    for name, (low, high) in outcome.bands.items():
        cells |= {f"{name}_lo": low, f"{name}_hi": high}
    return cells | {
        "level": outcome.assembly.software.name,
        "kind": outcome.kind,
        "bottleneck": outcome.bottleneck,
        "kv_fill": outcome.kv_fill,
    }


@lru_cache(maxsize=1)
def columns() -> dict[str, str]:
    """Every column of a ladder's file in order, with ``text``, ``int``, ``bool`` or ``float``."""
    return {
        column.name: column.kind
        for part in (KEPT, WHAT_RAN, METRICS, BANDS, ABOUT)
        for column in part
    }


def _schema() -> pa.Schema:
    import pyarrow as pa

    types = {"text": pa.string(), "int": pa.int64(), "bool": pa.bool_(), "float": pa.float64()}
    return pa.schema([(name, types[kind]) for name, kind in columns().items()])


def write_ladder(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the runs of a ladder in order of concurrency; the file appears complete or not at all.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    ordered = sorted(rows, key=lambda row: (row["concurrency"], row["key"]))
    table = pa.Table.from_pylist(list(ordered), schema=_schema())
    # two workers may write the same ladder where one was taken for lost
    partial = path.with_name(f".{path.stem}.{uuid.uuid4().hex}{_PARTIAL}")
    try:
        pq.write_table(
            table, partial, use_dictionary=False, write_statistics=False, store_schema=False
        )
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_ladder(path: Path) -> pa.Table | None:
    """The runs of a ladder; ``None`` where its file is missing, broken or of other columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
    except (OSError, pa.ArrowInvalid):
        return None
    return table if table.schema == _schema() else None


def frame_of(tables: Sequence[pa.Table]) -> pd.DataFrame:
    """Ladders as one table; what a run lacks is missing."""
    import pyarrow as pa

    joined = pa.concat_tables(tables) if tables else _schema().empty_table()
    frame: pd.DataFrame = joined.to_pandas(split_blocks=True)
    sparse = [name for name, kind in columns().items() if kind == "int" and name not in _WHOLE]
    return frame.astype({**dict.fromkeys(sparse, "Int64"), "prefill_dp_attn": "boolean"})
