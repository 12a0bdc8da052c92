"""Progress on stderr: a bar on a terminal, elsewhere a line every ten seconds."""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from simulator.output.first_figure import FirstFigure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Progress = Callable[[int, int, str], None]

EVERY_S = 10.0
"""Time between lines where stderr is no terminal. [s]"""


_told = threading.Event()
"""Whether a part of the command tells of its progress itself."""

_wanted = threading.Event()
"""Whether progress goes to stdout as JSON lines."""


def tell_as_json_lines(wanted: bool) -> None:
    """Whether what is known as work goes on is printed as JSON lines, for programs."""
    (_wanted.set if wanted else _wanted.clear)()


def print_json(answer: Mapping[str, Any]) -> None:
    """Print an answer as JSON: over many lines, or as the last one of JSON lines."""
    if _wanted.is_set():
        print(json.dumps({"event": "result", **answer}, ensure_ascii=False), flush=True)
    else:
        print(json.dumps(answer, indent=2, ensure_ascii=False), flush=True)


def _json_mover() -> Progress:
    """A callback that prints each step of progress, with the figure that it tells of."""
    start_s = time.monotonic()

    def move(done: int, total: int, what: str) -> None:
        event: dict[str, Any] = {
            "event": "progress",
            "elapsed_s": round(time.monotonic() - start_s, 3),
            "done": done,
            "total": total,
            "what": str(what),
        }
        if isinstance(what, FirstFigure):
            event["figure"] = what.numbers
        print(json.dumps(event, ensure_ascii=False), flush=True)

    return move


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A callback ``(done, total, what)``: it moves a bar, or is what lines tell of in a pipe."""
    _told.set()
    try:
        with _bar() as move:
            yield move
    finally:
        _told.clear()


@contextmanager
def _bar() -> Iterator[Progress]:
    if _wanted.is_set():
        yield _json_mover()
        return
    if not sys.stderr.isatty():
        with progress_lines() as lines:
            yield lines.move
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("", total=None)

        def move(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, description=what)

        yield move


class ProgressLines:
    """What a command has done so far, in a line."""

    def __init__(self) -> None:
        self._start_s = time.monotonic()
        self._state: tuple[int, int, str] | None = None
        self.ended = threading.Event()

    def move(self, done: int, total: int, what: str) -> None:
        """Note how far the work is."""
        self._state = done, total, what

    def line(self) -> str:
        """The line for now."""
        passed_s = time.monotonic() - self._start_s
        if self._state is None:
            return f"{passed_s:.0f} s: at work"
        done, total, what = self._state
        return f"{passed_s:.0f} s: {done:,} of {total:,}{f', {what}' if what else ''}"

    def write(self, *, unless: threading.Event | None = None) -> None:
        """Write lines until the work has ended, none while an event is set."""
        while not self.ended.wait(EVERY_S):
            if unless is None or not unless.is_set():
                print(self.line(), file=sys.stderr, flush=True)


@contextmanager
def never_silent() -> Iterator[None]:
    """Lines that say how long a command is at work, off a terminal, while nothing else does."""
    if sys.stderr.isatty():
        yield
        return
    with progress_lines(unless=_told):
        yield


@contextmanager
def progress_lines(*, unless: threading.Event | None = None) -> Iterator[ProgressLines]:
    """Lines on stderr, the first after ten seconds, as long as the block lasts.

    Parameters
    ----------
    unless:
        An event; while it is set no line is written.
    """
    lines = ProgressLines()
    thread = threading.Thread(
        target=lines.write, kwargs={"unless": unless}, daemon=True, name="progress"
    )
    thread.start()
    try:
        yield lines
    finally:
        lines.ended.set()
        thread.join()
