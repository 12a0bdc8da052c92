"""Per-request records: the only source of every metric, and their Parquet form."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the record table."""

    name: str
    dtype: str
    unit: str
    description: str


COLUMNS = (
    Column("request", "int64", "-", "position of the request in the workload"),
    Column("worker", "int32", "-", "worker that produced the output tokens"),
    Column("rank", "int32", "-", "attention data-parallel rank within that worker"),
    Column("arrival_s", "float64", "s", "the client sends the request"),
    Column("scheduled_s", "float64", "s", "start of the first step that works on it; NaN if none"),
    Column("first_token_s", "float64", "s", "the client has the first output token; NaN if none"),
    Column("finish_s", "float64", "s", "the client has the last output token; NaN if unfinished"),
    Column("prompt_tokens", "int64", "tokens", "prompt length"),
    Column("output_tokens", "int64", "tokens", "output length"),
    Column("cached_tokens", "int64", "tokens", "prompt tokens found in the prefix cache"),
    Column("loaded_tokens", "int64", "tokens", "those of them that came from offload tiers"),
    Column("drive_tokens", "int64", "tokens", "those of these from tiers behind the first"),
    Column("preemptions", "int32", "-", "times it lost its KV blocks and started again"),
    Column("accepted_drafts", "int64", "tokens", "draft tokens accepted under speculation"),
)
"""Schema of ``requests.parquet``, in order."""


@dataclass(frozen=True, eq=False)
class Records:
    """Columns of the record table as equally long arrays; `COLUMNS` defines each.

    An unfinished request has NaN in the times that it did not reach.

    Raises
    ------
    ValueError
        If the columns differ in length.
    """

    request: IntArray
    worker: IntArray
    rank: IntArray
    arrival_s: FloatArray
    scheduled_s: FloatArray
    first_token_s: FloatArray
    finish_s: FloatArray
    prompt_tokens: IntArray
    output_tokens: IntArray
    cached_tokens: IntArray
    loaded_tokens: IntArray
    drive_tokens: IntArray
    preemptions: IntArray
    accepted_drafts: IntArray

    names: ClassVar[tuple[str, ...]] = tuple(column.name for column in COLUMNS)

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in self.names}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"columns differ in length: {lengths}")

    @classmethod
    def from_columns(cls, columns: Mapping[str, npt.ArrayLike]) -> Records:
        """Records from a mapping that has every column of `COLUMNS`; others are ignored.

        Raises
        ------
        ValueError
            If a column is missing or does not hold numbers of its type.
        """
        missing = [name for name in cls.names if name not in columns]
        if missing:
            raise ValueError(f"record columns missing: {', '.join(missing)}")
        return cls(
            **{
                column.name: np.asarray(columns[column.name], dtype=column.dtype)
                for column in COLUMNS
            }
        )

    @classmethod
    def concatenate(cls, parts: list[Records]) -> Records:
        """One table of all the rows of `parts`, in order."""
        return cls(
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in cls.names}
        )

    def __len__(self) -> int:
        return len(self.request)

    def select(self, rows: npt.NDArray[np.bool_] | slice) -> Records:
        """The rows that a mask or slice selects."""
        return Records(**{name: getattr(self, name)[rows] for name in self.names})

    @property
    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Column arrays by name, in the order of `COLUMNS`."""
        return {name: getattr(self, name) for name in self.names}

    @cached_property
    def finished(self) -> npt.NDArray[np.bool_]:
        """Which requests have all their output tokens."""
        return np.isfinite(self.finish_s)

    @cached_property
    def queue_s(self) -> FloatArray:
        """Wait from arrival to the first step. [s]"""
        return self.scheduled_s - self.arrival_s

    @cached_property
    def ttft_s(self) -> FloatArray:
        """Time to first token. [s]"""
        return self.first_token_s - self.arrival_s

    @cached_property
    def e2el_s(self) -> FloatArray:
        """End-to-end latency. [s]"""
        return self.finish_s - self.arrival_s

    @cached_property
    def tpot_s(self) -> FloatArray:
        """Time per output token after the first; NaN for single-token outputs. [s]

        ``(latency - TTFT) / (output_tokens - 1)``, as InferenceX's ``benchmark_serving.py``.
        """
        later = self.output_tokens - 1
        tpot_s = np.full(len(self), np.nan)
        np.divide(self.finish_s - self.first_token_s, later, out=tpot_s, where=later > 0)
        return tpot_s


class RecordWriter:
    """Writes records to Parquet chunk by chunk, so that a run of any length needs little memory.

    Columns are compressed with zstd; units and descriptions are field metadata, and the file's
    metadata says that it is simulated. Use as a context manager.

    Parameters
    ----------
    path:
        File to write.
    metadata:
        Further entries of the file's metadata, such as version and seed.

    Raises
    ------
    UserError
        On entering, if the file cannot be written.
    """

    def __init__(self, path: Path, *, metadata: Mapping[str, str] | None = None) -> None:
        self.path = path
        self.rows = 0
        self._metadata = {"kind": "simulated", **(metadata or {})}
        self._writer: Any = None

    def __enter__(self) -> Self:
        import pyarrow.parquet as pq

        try:
            self._writer = pq.ParquetWriter(
                self.path, arrow_schema(self._metadata), compression="zstd"
            )
        except OSError as error:
            raise UserError(f"records cannot be written to '{self.path}': {error}") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.close()

    def write(self, records: Records) -> None:
        """Append one chunk as one row group."""
        import pyarrow as pa

        schema = self._writer.schema
        arrays = [
            pa.array(column, type=field.type, from_pandas=False)
            for column, field in zip(records.columns.values(), schema, strict=True)
        ]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
        self.rows += len(records)


def arrow_schema(metadata: Mapping[str, str]) -> Any:
    """The record table as a pyarrow schema with units and descriptions."""
    import pyarrow as pa

    fields = [
        pa.field(
            column.name,
            pa.from_numpy_dtype(np.dtype(column.dtype)),
            nullable=False,
            metadata={"unit": column.unit, "description": column.description},
        )
        for column in COLUMNS
    ]
    return pa.schema(fields, metadata=dict(metadata))


def write_records(
    path: Path, records: Records, *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write all records of a run that is held in memory."""
    with RecordWriter(path, metadata=metadata) as writer:
        writer.write(records)


def iter_records(path: Path) -> Iterator[Records]:
    """Yield the chunks of a record file as they were written.

    Raises
    ------
    UserError
        If the file cannot be read or lacks a column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            missing = [name for name in Records.names if name not in file.schema_arrow.names]
            if missing:
                raise UserError(f"'{path}' lacks the record columns {', '.join(missing)}")
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=list(Records.names))
                yield Records.from_columns(
                    {name: table.column(name).to_numpy() for name in Records.names}
                )
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"records cannot be read from '{path}': {error}") from error


def read_records(path: Path) -> Records:
    """All records of a file.

    Raises
    ------
    UserError
        If the file cannot be read, lacks a column or is empty.
    """
    parts = list(iter_records(path))
    if not parts:
        raise UserError(f"'{path}' holds no records")
    return Records.concatenate(parts)
