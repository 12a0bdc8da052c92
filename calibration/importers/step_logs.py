"""Steps of an engine, read from what it logs: time, batch, tokens and KV use.

Read are vLLM's periodic line, SGLang's lines of prefill and decode batches, and forward-pass
metrics (FPM) as Dynamo's and AISimulate's collectors write them: one JSON object a pass, or a CSV
table. vLLM's and SGLang's lines state rates over many steps; the time of a mean step follows.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from workloads.datafiles import parse_json, read_text
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MOST_BROKEN = 0.1
"""Share of an engine's lines that may be broken, as where two processes write into one file; a file
with more is refused. [-]"""

STEADY = 0.1
"""Change of the running requests between two lines beyond which the steps between are left out. [-]
"""

STEP_RANGE = (2e-4, 30.0)
"""Shortest and longest step that an engine makes. [s]"""

NAMED_LINES = 5
"""Broken lines that are named; the others are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step of one attention rank, or the mean of alike steps.

    Parameters
    ----------
    place:
        File and line.
    seconds:
        Time of the step for one accepted token a request; ``accepted`` tokens take as much more.
        Of a pass whose time is measured, ``timed`` is set and it is the step's own. [s]
    decode_requests:
        Requests that decode. [requests]
    kv_tokens:
        Tokens of KV that they hold; ``None`` where only ``kv_share`` is known. [tokens]
    kv_share:
        Share of the pool in use. [-]
    prefill_tokens, prefill_requests, prefix_tokens:
        Prompt tokens computed a step, of how many prompts, and what these had before. [tokens]
    accepted:
        Accepted tokens a request and step, where the log says so. [tokens]
    timed:
        Whether ``seconds`` was measured for the pass itself.
    spread:
        Whether ``prefill_tokens`` are a mean over steps with and without prompts.
    """

    place: str
    seconds: float
    decode_requests: float
    kv_tokens: float | None = None
    kv_share: float | None = None
    prefill_tokens: float = 0.0
    prefill_requests: float = 0.0
    prefix_tokens: float = 0.0
    accepted: float | None = None
    timed: bool = False
    spread: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLogFile:
    """What a log says.

    Parameters
    ----------
    kind:
        ``vLLM``, ``SGLang`` or ``forward-pass metrics``.
    steps:
        Its steps, in order.
    pool_tokens:
        Tokens of KV that a rank holds, where the log says so. [tokens]
    notes:
        What was left out, and why.
    """

    kind: str
    steps: list[Step]
    pool_tokens: float | None
    notes: list[str]


_NUMBER = r"(-?[0-9][0-9,]*\.?[0-9]*(?:[eE][-+]?[0-9]+)?)"
_VLLM_LINE = re.compile(r"Avg prompt throughput")
_VLLM = re.compile(
    rf"(?:Engine (?P<engine>\d+): )?Avg prompt throughput: (?P<prompt>{_NUMBER}) tokens/s, "
    rf"Avg generation throughput: (?P<output>{_NUMBER}) tokens/s, "
    rf"Running: (?P<running>\d+) reqs, .*?Waiting: (?P<waiting>\d+) reqs"
    rf".*?GPU KV cache usage: (?P<usage>{_NUMBER})%"
)
_VLLM_ACCEPTED = re.compile(rf"Mean acceptance length: (?P<accepted>{_NUMBER})")
_POOL_TOKENS = re.compile(r"GPU KV cache size: ([0-9,]+) tokens|max_total_num_tokens=([0-9]+)")
_SGLANG_DECODE = re.compile(r"Decode batch[.,]")
_SGLANG_PREFILL = re.compile(r"Prefill batch[.,]")
_SGLANG_FIELDS = {
    "running": re.compile(rf"#running-req: {_NUMBER}"),
    "tokens": re.compile(rf"#(?:full )?token: {_NUMBER}"),
    "output": re.compile(rf"gen throughput \(token/s\): {_NUMBER}"),
}
_SGLANG_ACCEPTED = re.compile(rf"accept len: {_NUMBER}")
_RANK = re.compile(r"\bDP(\d+)\b")
_FPM_FIELDS = (
    *("num_prefill_requests", "sum_prefill_tokens", "sum_prefill_kv_tokens"),
    *("num_decode_requests", "sum_decode_kv_tokens"),
)
_FPM_TIMES = {"wall_time": 1.0, "wall_time_s": 1.0, "latency_ms": 1e-3, "duration_ms": 1e-3}
"""Columns of a pass's time, and their unit. [s]"""


def read_step_log(path: Path) -> StepLogFile:
    """The steps of an engine's log or of a table of forward-pass metrics.

    Raises
    ------
    UserError
        If it holds none, more than `MOST_BROKEN` of its lines are broken, or its times are no
        seconds of engine steps.
    """
    text = read_text(path)
    reader = _Reader(path=path)
    first = next((line for line in text.splitlines() if line.strip()), "")
    if first.lstrip().startswith("{") and "scheduled_requests" in text:
        kind, steps = "forward-pass metrics", list(_fpm_json(text, reader))
    elif "num_decode_requests" in first and "," in first:
        kind, steps = "forward-pass metrics", list(_fpm_table(text, reader))
    elif _VLLM_LINE.search(text):
        kind, steps = "vLLM", list(_vllm(text, reader))
    elif _SGLANG_DECODE.search(text):
        kind, steps = "SGLang", list(_sglang(text, reader))
    else:
        raise UserError(
            f"{path} holds no steps; known are vLLM's 'Avg prompt throughput' lines, SGLang's "
            "'Decode batch' lines, and forward-pass metrics as JSON lines or CSV"
        )
    reader.check(steps)
    found = _POOL_TOKENS.search(text)
    pool = None if found is None else _number(found.group(1) or found.group(2))
    return StepLogFile(kind=kind, steps=steps, pool_tokens=pool, notes=reader.notes())


class _Reader:
    """What is left out of one file, with its lines."""

    def __init__(self, *, path: Path) -> None:
        self.path = path
        self.lines = 0
        self.broken: list[str] = []
        self.reasons: dict[str, int] = {}

    def place(self, number: int) -> str:
        return f"{self.path}, line {number}"

    def refuse(self, number: int, why: str) -> None:
        self.broken.append(f"{self.place(number)}: {why}")

    def leave(self, why: str) -> None:
        self.reasons[why] = self.reasons.get(why, 0) + 1

    def check(self, steps: list[Step]) -> None:
        named = "\n".join(self.broken[:NAMED_LINES])
        if len(self.broken) > MOST_BROKEN * max(self.lines, 1):
            raise UserError(
                f"{len(self.broken)} of {self.lines} lines of {self.path} cannot be read:\n{named}"
            )
        if not steps:
            why = "; ".join(f"{count} {reason}" for reason, count in self.reasons.items())
            raise UserError(f"{self.path} holds no step that can be used: {why or 'no line'}")
        middle = sorted(step.seconds for step in steps)[len(steps) // 2]
        low, high = STEP_RANGE
        if not low <= middle <= high:
            raise UserError(
                f"{self.path}: half of its steps take {middle:g} s or more, outside "
                f"{low:g} to {high:g} s; times are in seconds, but for columns ending in _ms"
            )

    def notes(self) -> list[str]:
        rest = len(self.broken) - NAMED_LINES
        lines = [f"broken, left out: {text}" for text in self.broken[:NAMED_LINES]]
        lines += [f"{rest} more broken lines of {self.path}"] if rest > 0 else []
        return lines + [
            f"{count} of {self.lines} lines of {self.path} left out: {why}"
            for why, count in sorted(self.reasons.items())
        ]


def _number(text: str) -> float:
    return float(text.replace(",", ""))


def _vllm(text: str, reader: _Reader) -> Iterator[Step]:
    before: dict[str, float] = {}
    last: Step | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        accepted = _VLLM_ACCEPTED.search(line)
        if accepted and last is not None:
            last = replace(last, accepted=_number(accepted["accepted"]))
            continue
        if not _VLLM_LINE.search(line):
            continue
        reader.lines += 1
        found = _VLLM.search(line)
        if found is None:
            reader.refuse(number, "not 'Avg prompt throughput: ... GPU KV cache usage: N%'")
            continue
        running, output = float(found["running"]), _number(found["output"])
        prompt, usage = _number(found["prompt"]), _number(found["usage"])
        if not 0.0 <= usage <= 100.0 or output < 0.0 or prompt < 0.0:
            reader.refuse(number, f"KV cache usage {usage:g} % and rates must be 0 or more")
            continue
        engine = found["engine"] or ""
        earlier, before[engine] = before.get(engine), running
        if last is not None:
            yield last
            last = None
        if not running or not output:
            reader.leave("nothing decodes")
        elif earlier is None or abs(running - earlier) > STEADY * max(running, earlier):
            reader.leave(f"running requests changed by more than {STEADY:.0%}")
        else:
            mean = (running + earlier) / 2.0
            seconds = mean / output
            last = Step(
                place=reader.place(number),
                seconds=seconds,
                decode_requests=mean,
                kv_share=usage / 100.0,
                prefill_tokens=prompt * seconds,
                spread=True,
            )
    if last is not None:
        yield last


def _sglang(text: str, reader: _Reader) -> Iterator[Step]:
    before: dict[str, float] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        rank = _RANK.search(line)
        name = rank.group(1) if rank else ""
        if _SGLANG_PREFILL.search(line):
            before.pop(name, None)  # the rate of the next decode line counts its time too
            continue
        if not _SGLANG_DECODE.search(line):
            continue
        reader.lines += 1
        found = {key: pattern.search(line) for key, pattern in _SGLANG_FIELDS.items()}
        lacking = [key for key, match in found.items() if match is None]
        if lacking:
            reader.refuse(number, f"a decode batch without {', '.join(lacking)}")
            continue
        values = {key: _number(match.group(1)) for key, match in found.items() if match}
        running, tokens, output = values["running"], values["tokens"], values["output"]
        if min(values.values()) < 0.0 or (running and tokens < running):
            reader.refuse(number, f"{running:g} requests with {tokens:g} tokens")
            continue
        earlier, before[name] = before.get(name), running
        accepted = _SGLANG_ACCEPTED.search(line)
        if not running or not output:
            reader.leave("nothing decodes")
        elif earlier is None:
            reader.leave("a prompt was computed since the decode batch before")
        elif abs(running - earlier) > STEADY * max(running, earlier):
            reader.leave(f"running requests changed by more than {STEADY:.0%}")
        else:
            yield Step(
                place=reader.place(number),
                seconds=(running + earlier) / 2.0 / output,
                decode_requests=running,
                kv_tokens=tokens,
                accepted=_number(accepted.group(1)) if accepted else None,
            )


def _fpm_json(text: str, reader: _Reader) -> Iterator[Step]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        reader.lines += 1
        try:
            record = parse_json(line, source=str(reader.path), line=number)
        except UserError:
            reader.refuse(number, "not JSON")
            continue
        scheduled = record.get("scheduled_requests") if isinstance(record, dict) else None
        if not isinstance(scheduled, dict):
            reader.refuse(number, "no scheduled_requests")
            continue
        yield from _fpm_step({**record, **scheduled}, number, reader)


def _fpm_table(text: str, reader: _Reader) -> Iterator[Step]:
    rows = csv.DictReader(io.StringIO(text))
    times = [name for name in _FPM_TIMES if name in (rows.fieldnames or ())]
    if not times:
        raise UserError(f"{reader.path}: no column of {', '.join(_FPM_TIMES)}")
    for row in rows:
        reader.lines += 1
        yield from _fpm_step(row, rows.line_num, reader)


def _fpm_step(fields: Mapping[str, object], number: int, reader: _Reader) -> Iterator[Step]:
    values: dict[str, float] = {}
    name = next((each for each in _FPM_TIMES if each in fields), "")
    for key in (*_FPM_FIELDS, name):
        try:
            value = float(str(fields.get(key, 0.0) or 0.0))
        except ValueError:
            value = float("nan")
        if not 0.0 <= value < 1e15:
            reader.refuse(number, f"{key} is {str(fields.get(key))[:40]}; it must be 0 or more")
            return
        values[key] = value
    if not name:
        reader.refuse(number, f"none of {', '.join(_FPM_TIMES)}")
        return
    seconds = values[name] * _FPM_TIMES[name]
    if not seconds or not (values["num_decode_requests"] or values["sum_prefill_tokens"]):
        reader.leave("nothing ran")
        return
    yield Step(
        place=reader.place(number),
        seconds=seconds,
        decode_requests=values["num_decode_requests"],
        kv_tokens=values["sum_decode_kv_tokens"],
        prefill_tokens=values["sum_prefill_tokens"],
        prefill_requests=values["num_prefill_requests"],
        prefix_tokens=values["sum_prefill_kv_tokens"],
        timed=True,
    )
