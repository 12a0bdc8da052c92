"""What all trace readers share: reading lines, reporting bad rows, turning rows to requests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from workloads.datafiles import parse_csv, parse_json, read_lines
from workloads.errors import UserError, shown
from workloads.requests.request import Request
from workloads.requests.synthetic import link_turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

OnError = Literal["raise", "skip"]
TimeUnit = Literal["ms", "s", "us", "ns"]
_IN_SECONDS: dict[TimeUnit, float] = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_UNIT_NAMES: dict[TimeUnit, str] = {"s": "seconds", "us": "microseconds", "ns": "nanoseconds"}
Row = TypeVar("Row")

FASTEST_TRACE = 200.0
"""Arrivals beyond which timestamps in milliseconds are doubted; recorded services stay below.
[1/s]"""

SLOWEST_TRACE = 1 / 600
"""Arrivals below which timestamps in milliseconds are doubted: one in ten minutes. [1/s]"""

MOST_TOKENS = 2**24
"""Tokens that one row may count, beyond every context window. [tokens]"""


class RowError(Exception):
    """Why one row cannot be used."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that was left out: its line (or its position in a JSON array) and the reason."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceOptions:
    """How to read a trace.

    Parameters
    ----------
    on_error:
        ``raise`` stops at the first bad row; ``skip`` leaves bad rows out and counts them.
    block_tokens:
        Tokens of a hashed prompt block; ``None``: what the format publishes. [tokens]
    characters_per_token:
        Length of a token in formats that carry text and no token counts. [characters]
    default_output_tokens:
        Output length of rows that state none. [tokens]
    time_unit:
        Unit of timestamps; ``None``: the format's, refused where it cannot be right.
    limit:
        Read this many good rows at the most.

    Raises
    ------
    UserError
        If a value is out of range.
    """

    on_error: OnError = "raise"
    block_tokens: int | None = None
    characters_per_token: float | None = None
    default_output_tokens: int | None = None
    limit: int | None = None
    time_unit: TimeUnit | None = None

    def __post_init__(self) -> None:
        if self.on_error not in ("raise", "skip"):
            raise UserError(f"on_error is {self.on_error!r}; it must be 'raise' or 'skip'")
        for name in ("block_tokens", "characters_per_token", "default_output_tokens", "limit"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"{name} is {value}; it must be positive")


@dataclass(slots=True, kw_only=True)
class TraceRow:
    """One request as a trace states it.

    ``adds_to_history`` marks a turn whose `prompt_tokens` are new text only; the prompt sent is
    the session's history and that text.
    """

    line: int
    prompt_tokens: int
    output_tokens: int
    arrival_s: float | None = None
    hash_ids: tuple[int, ...] = ()
    session: str | None = None
    think_s: float = 0.0
    adds_to_history: bool = False


@dataclass(slots=True)
class TraceSource:
    """An open trace: where it is, how to read it and what was left out."""

    path: Path
    options: TraceOptions = field(default_factory=TraceOptions)
    bad_rows: list[BadRow] = field(default_factory=list)
    without_output: list[int] = field(default_factory=list)
    takes_time_unit: bool = False

    def reject(self, line: int, reason: str) -> None:
        """Note a bad row, or raise `UserError` where the options say so."""
        if self.options.on_error == "raise":
            raise UserError(
                f"{self.path}, line {line}: {reason} "
                "(on_error='skip' leaves bad rows out and counts them)"
            )
        self.bad_rows.append(BadRow(line, reason))

    def sent_tokens(self, line: int, output_tokens: int) -> int:
        """Tokens that a call sends: one where none was recorded, which is noted. [tokens]"""
        if output_tokens < 1:
            self.without_output.append(line)
        return max(output_tokens, 1)

    def parsed(
        self, rows: Iterable[tuple[int, Row]], parse: Callable[[int, Row], TraceRow | None]
    ) -> list[TraceRow]:
        """Apply `parse` to numbered rows; ``None`` from it drops a row that is not meant to run.

        Raises
        ------
        UserError
            On a bad row if the options say so, or if no good row is left.
        """
        good: list[TraceRow] = []
        for line, row in rows:
            try:
                parsed = parse(line, row)
            except RowError as error:
                self.reject(line, str(error))
                continue
            if parsed is not None:
                good.append(parsed)
            if len(good) == self.options.limit:
                break
        if not good:
            skipped = f" ({len(self.bad_rows)} bad rows skipped)" if self.bad_rows else ""
            raise UserError(f"{self.path} holds no usable request{skipped}")
        return good

    def lines(self) -> Iterator[str]:
        """Lines of the file; unreadable files and text raise `UserError`."""
        return read_lines(self.path)

    def json_lines(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Numbered objects of a JSON-lines file; blank lines are allowed."""
        for line, text in enumerate(self.lines(), start=1):
            if not text.strip():
                continue
            try:
                row = parse_json(text, source=str(self.path), line=line)
            except UserError as error:
                self.reject(line, str(error).removeprefix(f"{self.path} line {line}").strip(",: "))
                continue
            if not isinstance(row, dict):
                self.reject(line, f"a {type(row).__name__} where an object is expected")
                continue
            yield line, row

    def csv_rows(self, required: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
        """Numbered rows of a CSV file with a header that has the `required` columns."""
        header, rows = parse_csv(self.lines(), source=str(self.path))
        missing = [name for name in required if name not in header]
        if missing:
            raise UserError(
                f"{self.path}, line 1: column {', '.join(missing)} is missing; "
                f"the header has {shown(', '.join(header))[1:-1]}"
            )
        for row in rows:
            if row.problem:
                self.reject(row.line, row.problem)
            else:
                yield row.line, row.cells

    def json_document(self) -> Any:
        """The single JSON value of the file."""
        return parse_json("".join(self.lines()), source=str(self.path))


def whole_number(row: Mapping[str, Any], name: str, *, least: int = 1) -> int:
    """The field as a whole number of at least `least`, else `RowError`."""
    value = number(row, name)
    if value != int(value) or value < least:
        raise RowError(
            f"{name} is {shown(row[name])}; it must be a whole number of at least {least}"
        )
    if value > MOST_TOKENS:
        raise RowError(f"{name} is {shown(row[name])}; the most is {MOST_TOKENS:,}")
    return int(value)


def number(row: Mapping[str, Any], name: str) -> float:
    """The field as a finite number, else `RowError`."""
    value = row.get(name)
    if value is None or value == "":
        raise RowError(f"{name} is missing")
    try:
        result = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        result = float("nan")
    if not abs(result) < float("inf"):
        raise RowError(f"{name} is {shown(value)}; it must be a number")
    return result


def seconds(row: Mapping[str, Any], name: str, source: TraceSource) -> float | None:
    """A time of a format that counts milliseconds, in the stated unit where there is one. [s]"""
    source.takes_time_unit = True
    if row.get(name) is None:
        return None
    time = number(row, name)
    if time < 0:
        raise RowError(f"{name} is {row[name]!r}; it must not be negative")
    return time * _IN_SECONDS[source.options.time_unit or "ms"]


def text_id(row: Mapping[str, Any], name: str) -> str | None:
    """The name of a session, stated as text or number; ``None`` where none is."""
    value = row.get(name)
    if isinstance(value, list | dict):
        raise RowError(f"{name} is {shown(value)}; it must be a name")
    return None if value is None else str(value)


def check_time_unit(rows: list[TraceRow], *, source: TraceSource) -> None:
    """Ask for the unit of timestamps that are hardly milliseconds.

    Raises
    ------
    UserError
        If no unit is stated and requests would come faster than `FASTEST_TRACE`, or more slowly
        than `SLOWEST_TRACE`, while in another unit they would not.
    """
    times = [row.arrival_s for row in rows if row.arrival_s is not None]
    if source.options.time_unit is not None or len(times) < 2:
        return
    span_s = max(times) - min(times)
    rate = (len(times) - 1) / span_s if span_s > 0 else 0.0
    if not rate or SLOWEST_TRACE <= rate <= FASTEST_TRACE:
        return
    for unit in _UNIT_NAMES:
        other = rate * 1e-3 / _IN_SECONDS[unit]
        if SLOWEST_TRACE <= other <= FASTEST_TRACE:
            raise UserError(
                f"timestamps of {source.path} span {span_s * 1000:g}; as milliseconds that is "
                f"{f'{rate:,.0f}' if rate > 1 else f'{rate:.3g}'} req/s, as {_UNIT_NAMES[unit]} "
                f"{other:.3g} req/s: say which with --time-unit {unit} or --time-unit ms"
            )


def output_tokens(row: Mapping[str, Any], name: str, options: TraceOptions) -> int:
    """The field as an output length, or the default where the row states none."""
    if row.get(name) is None:
        if options.default_output_tokens is None:
            raise RowError(f"{name} is missing; give default_output_tokens")
        return options.default_output_tokens
    return whole_number(row, name)


def text_tokens(text: object, name: str, options: TraceOptions) -> int:
    """Token count of a text under the stated characters per token."""
    if not isinstance(text, str) or not text:
        raise RowError(f"{name} holds no text")
    if options.characters_per_token is None:
        raise RowError(
            f"{name} is text without a token count; give characters_per_token (about 4 for English)"
        )
    return max(1, round(len(text) / options.characters_per_token))


def hash_ids(
    row: Mapping[str, Any], *, prompt_tokens: int, block_tokens: int, whole_prompt: bool = True
) -> tuple[int, ...]:
    """The ``hash_ids`` of a row, whose number must fit the prompt's blocks, else `RowError`.

    The partly filled last block may be hashed or not. Without `whole_prompt` the hashes may
    cover only the beginning of the prompt.
    """
    ids = row.get("hash_ids")
    if not ids:
        return ()
    if not isinstance(ids, list) or not all(type(item) is int for item in ids):
        raise RowError("hash_ids must be a list of whole numbers")
    full, rest = divmod(prompt_tokens, block_tokens)
    most = full + bool(rest)
    if len(ids) > most or (whole_prompt and len(ids) < full):
        raise RowError(
            f"hash_ids has {len(ids)} blocks, but {prompt_tokens} tokens are {most} blocks of "
            f"{block_tokens}; set block_tokens to the trace's own"
        )
    return tuple(ids)


def requests_from_rows(
    rows: list[TraceRow], *, source: TraceSource, block_tokens: int = 0
) -> list[Request]:
    """Requests of a trace in order of arrival, the first arrival at time zero.

    Rows of one session become its turns; a session of one row is a single request. A later turn
    is sent when the one before it has finished and its pause has passed; a timestamp of its own
    is the earliest time for it.
    `Request.block_hashes` keeps the full blocks of a prompt; hashes of a partly filled last
    block are dropped.

    Raises
    ------
    UserError
        If some rows that start a session carry a timestamp and others do not.
    """
    rows = _in_order_of_arrival(rows, source)
    start_s = min((row.arrival_s for row in rows if row.arrival_s is not None), default=0.0)
    requests: list[Request] = []
    sessions: dict[str, list[tuple[TraceRow, Request]]] = {}
    for index, row in enumerate(rows):
        request = Request(
            index=index,
            prompt_tokens=row.prompt_tokens,
            output_tokens=row.output_tokens,
            decode_steps=row.output_tokens - 1,
            arrival_s=None if row.arrival_s is None else row.arrival_s - start_s,
        )
        if row.hash_ids:
            request.block_hashes = row.hash_ids[: row.prompt_tokens // block_tokens]
            request.block_tokens = block_tokens
        if row.session is not None:
            sessions.setdefault(row.session, []).append((row, request))
        requests.append(request)
    linked = [turns for turns in sessions.values() if len(turns) > 1]
    for session, turns in enumerate(linked):
        _link_session(turns, session=session, block_tokens=block_tokens)
    return requests


def _in_order_of_arrival(rows: list[TraceRow], source: TraceSource) -> list[TraceRow]:
    latest_s: dict[str, float] = {}
    keys: list[float] = []
    first_timed: bool | None = None
    for row in rows:
        later_turn = row.session in latest_s
        if not later_turn:
            timed = row.arrival_s is not None
            if first_timed is None:
                first_timed = timed
            elif timed != first_timed:
                raise UserError(
                    f"{source.path}, line {row.line}: some requests have a timestamp and others "
                    "have not; give all of them one (open loop) or none (closed loop)"
                )
        before_s = latest_s.get(row.session, 0.0) if row.session is not None else 0.0
        key_s = before_s if row.arrival_s is None else row.arrival_s
        if row.session is not None:
            latest_s[row.session] = key_s
        keys.append(key_s)
    order = sorted(range(len(rows)), key=keys.__getitem__)
    return [rows[position] for position in order]


def _link_session(
    turns: list[tuple[TraceRow, Request]], *, session: int, block_tokens: int
) -> None:
    history = 0
    grows = any(row.adds_to_history for row, _ in turns[1:])
    for turn, (row, request) in enumerate(turns):
        request.session, request.turn, request.think_s = session, turn, row.think_s
        if grows:
            request.prompt_tokens += history
            history = request.prompt_tokens + request.output_tokens
    if grows and block_tokens:
        first = turns[0][1]
        link_turns(
            [request for _, request in turns],
            session=session,
            think_s=[row.think_s for row, _ in turns],
            shared_blocks=first.block_hashes,
            block_tokens=block_tokens,
        )
