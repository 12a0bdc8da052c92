"""The runs of steps that a worker reports to logs and traces."""

from __future__ import annotations

from typing import NamedTuple


class StepRun(NamedTuple):
    """A run of engine steps, as handed to ``on_step``.

    Attributes
    ----------
    worker:
        Index of the worker.
    start_s, end_s:
        Start of the first and end of the last step. [s]
    steps:
        Steps of the run; 1 if there is any prefill.
    prefill_tokens:
        Prompt tokens computed by each rank. [tokens]
    decode_requests:
        Requests that each rank decoded, 0 where its batch stood still. [requests]
    waiting:
        Requests queued at each rank. [requests]
    used_blocks:
        Blocks in use on each rank in the last step. [blocks]
    """

    worker: int
    start_s: float
    end_s: float
    steps: int
    prefill_tokens: tuple[int, ...]
    decode_requests: tuple[int, ...]
    waiting: tuple[int, ...]
    used_blocks: tuple[int, ...]
