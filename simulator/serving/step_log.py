"""The steps of a run as a Parquet table: one row per worker, rank and run of alike steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workloads.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from simulator.serving.callbacks import StepRun

COLUMNS = (
    ("worker", "int32", "-", "worker, prefill before decode"),
    ("rank", "int32", "-", "attention data-parallel rank within the worker"),
    ("start_s", "float64", "s", "start of the first step"),
    ("end_s", "float64", "s", "end of the last step"),
    ("steps", "int64", "-", "engine steps of the run; 1 if any rank prefills"),
    ("prefill_tokens", "int64", "tokens", "prompt tokens computed"),
    ("decode_requests", "int64", "-", "requests decoded"),
    ("waiting", "int64", "-", "requests queued"),
    ("used_blocks", "int64", "-", "KV blocks in use in the last step"),
)
"""Name, type, unit and meaning of the columns."""

_ROWS_PER_CHUNK = 1 << 16


class StepLog:
    """Writes steps as they come, in bounded memory. Use as a context manager.

    Parameters
    ----------
    path:
        File to write.

    Raises
    ------
    UserError
        On entering, if the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: list[tuple[float, ...]] = []
        self._writer: Any = None
        self._schema: Any = None

    def __enter__(self) -> Self:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._schema = pa.schema(
            [
                pa.field(
                    name,
                    pa.type_for_alias(kind),
                    nullable=False,
                    metadata={"unit": unit, "description": text},
                )
                for name, kind, unit, text in COLUMNS
            ],
            metadata={"kind": "simulated"},
        )
        try:
            self._writer = pq.ParquetWriter(self.path, self._schema, compression="zstd")
        except OSError as error:
            raise UserError(f"steps cannot be written to '{self.path}': {error}") from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._rows:
                self._flush()
        finally:
            self._writer.close()

    def on_step(self, run: StepRun) -> None:
        """Record a run of engine steps; to be given to the engine as ``on_step``."""
        for rank, values in enumerate(
            zip(run.prefill_tokens, run.decode_requests, run.waiting, run.used_blocks, strict=True)
        ):
            self._rows.append((run.worker, rank, run.start_s, run.end_s, run.steps, *values))
        if len(self._rows) >= _ROWS_PER_CHUNK:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        arrays = [
            pa.array(column, type=field.type)
            for column, field in zip(zip(*self._rows, strict=True), self._schema, strict=True)
        ]
        self._rows = []
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
