"""A run as a Chrome trace: engine steps, queues, KV use, transfers and a lane per request.

The file opens in ui.perfetto.dev. Workers are processes and attention ranks their threads;
requests are asynchronous lanes of a process of their own. Format: Trace Event Format
(docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU), times in microseconds.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import IO, Self

    from simulator.serving.callbacks import StepRun
    from simulator.serving.records import Records

_REQUESTS_PID = 0
_TRANSFERS_TID = 1_000_000


class TraceWriter:
    """Writes trace events as they come; holds none of them. Use as a context manager.

    Parameters
    ----------
    path:
        File to write.
    metadata:
        Entries of the trace's ``otherData``, such as version and scenario.
    until_s:
        Leave out what starts later than this, and count it in ``otherData``; a trace of more
        than about 100 MB is slow to open. [s]

    Attributes
    ----------
    left_out:
        Events left out because of `until_s`.

    Raises
    ------
    UserError
        On entering, if the file cannot be written.
    """

    def __init__(
        self, path: Path, *, metadata: Mapping[str, str] | None = None, until_s: float = math.inf
    ) -> None:
        self.path = path
        self.until_s = until_s
        self.left_out = 0
        self._metadata = {"kind": "simulated", **(metadata or {})}
        self._stream: IO[str]
        self._separator = "\n"
        self._named: set[tuple[int, int]] = set()
        self._counters: dict[tuple[int, str], dict[str, float]] = {}
        self._busy_until_s: dict[int, float] = {}

    def __enter__(self) -> Self:
        try:
            self._stream = self.path.open("w", encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"trace cannot be written to '{self.path}': {error.strerror}"
            ) from error
        self._stream.write('{"displayTimeUnit":"ms","traceEvents":[')
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for worker, end_s in self._busy_until_s.items():
            self._idle(worker, end_s)
        other = dict(self._metadata)
        if self.left_out:
            other["left_out"] = f"{self.left_out} events that start after {self.until_s} s"
        self._stream.write(f'\n],"otherData":{json.dumps(other)}}}\n')
        self._stream.close()

    # what happened -------------------------------------------------------------------------

    def on_step(self, run: StepRun) -> None:
        """Record a run of engine steps: a slice on every rank that worked, and counters.

        To be given to `simulator.serving.worker.Worker` as ``on_step``.
        """
        worker = run.worker
        if self._busy_until_s.get(worker, run.start_s) < run.start_s:
            self._idle(worker, self._busy_until_s[worker])
        self._busy_until_s[worker] = run.end_s
        for rank, (tokens, requests) in enumerate(
            zip(run.prefill_tokens, run.decode_requests, strict=True)
        ):
            if tokens or requests:
                kind = "mixed" if tokens and requests else "prefill" if tokens else "decode"
                self.step(
                    worker=worker,
                    rank=rank,
                    start_s=run.start_s,
                    end_s=run.end_s,
                    kind=kind,
                    steps=run.steps,
                    prefill_tokens=tokens,
                    decode_requests=requests,
                )
        for name, values in (
            ("waiting requests", run.waiting),
            ("decoding requests", run.decode_requests),
            ("KV blocks used", run.used_blocks),
        ):
            self.counter(worker=worker, name=name, time_s=run.start_s, values=_by_rank(values))

    def step(
        self,
        *,
        worker: int,
        rank: int,
        start_s: float,
        end_s: float,
        kind: str,
        steps: int = 1,
        prefill_tokens: int = 0,
        decode_requests: int = 0,
    ) -> None:
        """Record one step, or a run of alike steps, of one rank as a slice.

        Parameters
        ----------
        kind:
            Such as ``prefill``, ``decode`` or ``mixed``; names the slice.
        """
        self._name(worker + 1, rank, f"rank {rank}")
        self._slice(
            pid=worker + 1,
            tid=rank,
            name=kind if steps == 1 else f"{kind} x{steps}",
            start_s=start_s,
            end_s=end_s,
            args={
                "steps": steps,
                "prefill_tokens": prefill_tokens,
                "decode_requests": decode_requests,
            },
        )

    def counter(
        self, *, worker: int, name: str, time_s: float, values: Mapping[str, float]
    ) -> None:
        """Record the values of a counter track from a time on, if they have changed."""
        key = (worker, name)
        if self._counters.get(key) == values:
            return
        self._counters[key] = dict(values)
        self._event(time_s, ph="C", pid=worker + 1, name=name, args=dict(values))

    def transfer(
        self,
        *,
        request: int,
        source: int,
        destination: int,
        start_s: float,
        end_s: float,
        size_bytes: float,
    ) -> None:
        """Record a KV transfer between workers as a slice of the receiving worker."""
        self._name(destination + 1, _TRANSFERS_TID + source, f"KV from worker {source}")
        self._slice(
            pid=destination + 1,
            tid=_TRANSFERS_TID + source,
            name=f"request {request}",
            start_s=start_s,
            end_s=end_s,
            args={"bytes": size_bytes},
        )

    def requests(self, records: Records) -> None:
        """Record requests as lanes with the phases queued, prefill and decode."""
        self._name(_REQUESTS_PID, 0, "requests")
        columns = {name: column.tolist() for name, column in records.columns.items()}
        for row in range(len(records)):
            values = {name: column[row] for name, column in columns.items()}
            self._lane(values)

    def _lane(self, record: dict[str, Any]) -> None:
        times_s = [record[name] for name in ("arrival_s", "scheduled_s", "first_token_s")]
        ends_s = [*times_s[1:], record["finish_s"]]
        reached_s = [time_s for time_s in (*times_s, ends_s[-1]) if math.isfinite(time_s)]
        if reached_s[0] > self.until_s:
            self.left_out += 1
            return
        lane: dict[str, Any] = {"cat": "request", "id": record["request"], "pid": _REQUESTS_PID}
        name = f"request {record['request']}"
        args = {
            field: record[field]
            for field in (
                "worker",
                "rank",
                "prompt_tokens",
                "output_tokens",
                "cached_tokens",
                "preemptions",
                "accepted_drafts",
            )
        }
        self._write(ph="b", name=name, ts=_us(reached_s[0]), args=args, **lane)
        for phase, start_s, end_s in zip(
            ("queued", "prefill", "decode"), times_s, ends_s, strict=True
        ):
            if math.isfinite(start_s) and math.isfinite(end_s):
                self._write(ph="b", name=phase, ts=_us(start_s), **lane)
                self._write(ph="e", name=phase, ts=_us(end_s), **lane)
        self._write(ph="e", name=name, ts=_us(max(reached_s)), **lane)

    # events --------------------------------------------------------------------------------

    def _idle(self, worker: int, time_s: float) -> None:
        ranks = len(self._counters.get((worker, "decoding requests"), ()))
        for name in ("waiting requests", "decoding requests"):
            self.counter(worker=worker, name=name, time_s=time_s, values=_by_rank((0,) * ranks))

    def _name(self, pid: int, tid: int, name: str) -> None:
        if (pid, tid) in self._named:
            return
        if not any(named == pid for named, _ in self._named):
            process = "requests" if pid == _REQUESTS_PID else f"worker {pid - 1}"
            self._write(ph="M", name="process_name", pid=pid, args={"name": process})
        self._named.add((pid, tid))
        self._write(ph="M", name="thread_name", pid=pid, tid=tid, args={"name": name})

    def _slice(
        self,
        *,
        pid: int,
        tid: int,
        name: str,
        start_s: float,
        end_s: float,
        args: dict[str, Any],
    ) -> None:
        # Rounded ends, not rounded durations: viewers drop slices that overlap by a nanosecond.
        duration = round(_us(end_s) - _us(start_s), 3)
        self._event(start_s, ph="X", pid=pid, tid=tid, name=name, dur=duration, args=args)

    def _event(self, time_s: float, **fields: Any) -> None:
        if time_s > self.until_s:
            self.left_out += 1
        else:
            self._write(ts=_us(time_s), **fields)

    def _write(self, **fields: Any) -> None:
        self._stream.write(self._separator)
        self._stream.write(json.dumps(fields, separators=(",", ":")))
        self._separator = ",\n"


def _by_rank(values: tuple[int, ...]) -> dict[str, float]:
    return {f"rank {rank}": value for rank, value in enumerate(values)}


def _us(seconds: float) -> float:
    """Microseconds, to the nanosecond."""
    return round(seconds * 1e6, 3)
