"""Server settings recorded by date and build: ``data/recorded_settings.csv``.

One row holds what the benchmark's scripts gave a server between two days: caps, budgets, graphs,
memory and drafts together, found by executing each version of the script with its commands
recorded. A cell is a constant, ``= expression`` in the load and the layout, or a table
``by isl,conc: 2048 <- 1024/16 1024/32; 8192 <- 8192/16``. A blank cell was left to the release's
own default; ``varies`` says that the rows of one label differ and no column tells them apart.
"""

from __future__ import annotations

import csv
import datetime as dt
import math
import re
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from simulator.recipes.files import Cell, Scalar, Speculation
from simulator.recipes.recorded_tables import cell_value, keys_of, table_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LENGTHS_RECORDED = (1024, 8192)
"""Shortest and longest prompt of the runs whose scripts were recorded. [tokens]"""

BEYOND = 1.25
"""How far a prompt may lie outside the recorded lengths before settings say nothing of it. [-]"""

SETTING_NAMES: dict[str, dict[str, str]] = {
    "vllm": {
        "max_num_batched_tokens": "max_num_batched_tokens",
        "max_num_seqs": "max_num_seqs",
        "mem_fraction": "gpu_memory_utilization",
        "cuda_graph_max_bs": "max_cudagraph_capture_size",
        "block_size": "block_size",
        "prefix_caching": "enable_prefix_caching",
        "chunked_prefill": "enable_chunked_prefill",
        "async_scheduling": "async_scheduling",
    },
    "sglang": {
        "max_num_batched_tokens": "chunked_prefill_size",
        "max_prefill_tokens": "max_prefill_tokens",
        "max_num_seqs": "max_running_requests",
        "mem_fraction": "mem_fraction_static",
        "cuda_graph_max_bs": "cuda_graph_max_bs",
        "block_size": "page_size",
        "prefix_caching": "disable_radix_cache",
        "overlap": "disable_overlap_schedule",
        "tbo": "enable_two_batch_overlap",
        "redundant_experts": "redundant_experts",
        "scheduler_recv_interval": "scheduler_recv_interval",
    },
    "trtllm": {
        "max_num_batched_tokens": "max_num_tokens",
        "max_num_seqs": "max_batch_size",
        "mem_fraction": "kv_free_gpu_memory_fraction",
        "cuda_graph_max_bs": "cuda_graph_max_batch_size",
        "block_size": "tokens_per_block",
        "chunked_prefill": "enable_chunked_prefill",
        "overlap": "disable_overlap_scheduler",
    },
    "atom": {
        "max_num_batched_tokens": "max_num_batched_tokens",
        "max_num_seqs": "max_num_seqs",
        "mem_fraction": "gpu_memory_utilization",
        "cuda_graph_max_bs": "cudagraph_max_capture_size",
        "block_size": "block_size",
    },
}
"""Settings of each scheduler by the columns of the table."""

_AT_LEAST_ONE = ("max_num_seqs", "max_running_requests", "max_batch_size")
_FLAGS = {"on": True, "true": True, "off": False, "false": False, "spec_v2": True}
_NEGATED = ("disable_radix_cache", "disable_overlap_schedule", "disable_overlap_scheduler")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedSettings:
    """What a server was given, in one row of the table.

    Parameters
    ----------
    model, sku, engine, precision, speculation, role:
        Whose settings they are; ``role`` is ``aggregated``, ``prefill`` or ``decode``.
    first, last:
        Days between which they were in force.
    image:
        Container image with its version.
    layouts:
        Layouts that ran so, as ``tp8ep1dpa``.
    source:
        Public script that gave them.
    cells:
        The row's settings as text, blanks left out.
    """

    model: str
    sku: str
    engine: str
    precision: str
    speculation: str
    role: str
    first: dt.date
    last: dt.date
    image: str
    layouts: frozenset[str]
    source: str
    cells: Mapping[str, str] = field(hash=False)


_IDENTITY = (
    *("model", "sku", "engine", "precision", "speculation", "role"),
    *("valid_from", "valid_to", "image", "layouts", "source"),
)


@lru_cache(maxsize=1)
def load_recorded() -> Mapping[tuple[str, ...], tuple[RecordedSettings, ...]]:
    """All rows by model, SKU, engine, precision, speculation and role, in order of date."""
    path = Path(str(resources.files("simulator.recipes") / "data" / "recorded_settings.csv"))
    groups: dict[tuple[str, ...], list[RecordedSettings]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            key = tuple(row[name] for name in _IDENTITY[:6])
            groups.setdefault(key, []).append(
                RecordedSettings(
                    model=row["model"],
                    sku=row["sku"],
                    engine=row["engine"],
                    precision=row["precision"],
                    speculation=row["speculation"],
                    role=row["role"],
                    first=dt.date.fromisoformat(row["valid_from"]),
                    last=dt.date.fromisoformat(row["valid_to"]),
                    image=row["image"],
                    layouts=frozenset(row["layouts"].split()),
                    source=row["source"],
                    cells={
                        name: text
                        for name, text in row.items()
                        if name not in _IDENTITY and text != ""
                    },
                )
            )
    return {
        key: tuple(sorted(rows, key=lambda r: (r.first, r.last))) for key, rows in groups.items()
    }


def image_version(image: str) -> str:
    """The last part of an image's name, which releases are told apart by: ``sglang:v0.5.8``."""
    return image.rsplit("/", 1)[-1].lower()


@lru_cache(maxsize=1024)
def recorded_since(image: str, *, engine: str, sku: str) -> dt.date | None:
    """First day from which an image's settings are recorded: on the SKU, else on any of them."""
    version = image_version(image)
    days: dict[bool, list[dt.date]] = {True: [], False: []}
    for rows in load_recorded().values():
        for row in rows:
            if row.engine == engine and image_version(row.image) == version:
                days[row.sku == sku].append(row.first)
    return min(days[True] or days[False], default=None)


def choose_recorded(
    *,
    engine: str,
    sku: str,
    model: str,
    precision: str,
    speculation: str,
    role: str,
    layout: str,
    isl: int,
    date: dt.date | None,
    image: str | None,
    osl: int | None = None,
    concurrency: int | None = None,
) -> tuple[RecordedSettings | None, tuple[str, ...]]:
    """The row in force, and what a reader should know of the choice.

    Of the rows whose layouts hold the one asked for, else of all: those of the image where it is
    known, then those that began by the date and are in force; before the first, the first.
    Without a date those of the last image. Where several are left, each benchmark's lengths had a
    file of its own: the nearest in lengths, then the one that lists the concurrency, then the
    last. None where nothing is recorded, or only at lengths far from the prompt's.
    """
    key = (model, sku, engine, precision, speculation, role)
    rows = load_recorded().get(key, ())
    if not rows:
        return None, ()
    low, high = LENGTHS_RECORDED
    if not low / BEYOND <= isl <= high * BEYOND:
        return None, (
            f"settings of {engine} for {model} on {sku} are recorded at {low} to {high} input "
            f"tokens: not used at {isl}, engine defaults",
        )
    messages: list[str] = []
    same = [row for row in rows if layout in row.layouts]
    if not same:
        messages.append(f"settings recorded for {_listed(rows)}: taken for {layout} too")
    rows = tuple(same) or rows
    if image:
        version = image_version(image)
        rows = tuple(row for row in rows if image_version(row.image) == version) or rows
    begun = [row for row in rows if date is None or row.first <= date]
    if begun:
        if date is None:
            current = [row for row in rows if row.image == rows[-1].image]
        else:
            current = [row for row in begun if row.last >= date] or begun[-1:]
        row = _nearest_load(current, isl=isl, osl=osl, concurrency=concurrency)
        return row, (*messages, *_of_other_length(row, isl=isl))
    if not image or image_version(rows[0].image) != image_version(image):
        messages.append(f"no recorded settings before {date}: those of {rows[0].first} stand in")
    return rows[0], tuple(messages)


_LENGTHS = re.compile(r"(?:^|[/_:-])(\d+)k(\d+)k(?=[/_.\s-]|$)")
"""Lengths in the path of a script: ``recipes/h100/8k1k/``, thousands of tokens in and out."""

_UNNAMED = 2.0
"""Doublings that a row of unnamed lengths counts as apart from any. [-]"""


def _nearest_load(
    rows: Sequence[RecordedSettings], *, isl: int, osl: int | None, concurrency: int | None
) -> RecordedSettings:
    """The row of the nearest lengths, of those the one that lists the concurrency, then the last.

    A row is of the lengths in the path of its script and of those that its tables are keyed by.
    """

    def apart(row: RecordedSettings) -> tuple[float, int, int]:
        tables = [table_of(text) for text in row.cells.values() if text.startswith("by ")]
        named = _LENGTHS.search(row.source)
        distances = [_UNNAMED]
        if named:
            length = abs(math.log2(isl / (1024 * int(named[1]))))
            output = abs(math.log2(osl / (1024 * int(named[2])))) if osl else 0.0
            distances = [length + output]
        keyed = keys_of(tables, "isl")
        distances += [abs(math.log2(isl / value)) for value in keyed]
        loads = [keys for table in tables if (keys := keys_of([table], "conc"))]
        listed = sum(concurrency in keys for keys in loads)
        return min(distances), len(loads) - listed, -listed

    return min(reversed(rows), key=apart)


def _of_other_length(row: RecordedSettings, *, isl: int) -> tuple[str, ...]:
    """What a reader should know where a row's script served prompts of another length."""
    named = _LENGTHS.search(row.source)
    tables = [table_of(text) for text in row.cells.values() if text.startswith("by ")]
    lengths = keys_of(tables, "isl") | ({1024 * int(named[1])} if named else set())
    if not lengths or any(isl / BEYOND <= length <= isl * BEYOND for length in lengths):
        return ()
    nearest = min(lengths, key=lambda length: abs(math.log2(isl / length)))
    return (f"server settings recorded at isl {nearest} hold at {isl} too",)


def _listed(rows: Sequence[RecordedSettings]) -> str:
    return ", ".join(sorted(set().union(*(row.layouts for row in rows))))


def layout_key(*, tp: int, ep: int, dp_attention: bool) -> str:
    """A layout as the table names it."""
    return f"tp{tp}ep{ep}{'dpa' if dp_attention else ''}"


def recorded_cell(row: RecordedSettings, *, scheduler: str, context: Mapping[str, object]) -> Cell:
    """The settings of a row under a load and a layout, as a recipe's cell.

    ``context`` holds ``isl``, ``osl``, ``concurrency``, ``tp``, ``ep``, ``dp`` and
    ``dp_attention``. Settings that the rows of a label do not agree on are listed as unknown.
    """
    settings: dict[str, Scalar] = {}
    unknown: dict[str, str] = {}
    listed = [text for text in row.cells.values() if text.startswith("by ")]
    for column, name in SETTING_NAMES[scheduler].items():
        text = cell_value(row.cells.get(column, ""), context=context, beside=listed)
        if text.startswith("varies"):
            unknown[name] = f"one label stands for {text.partition(':')[2].strip()}"
        elif text not in ("", "default", "auto"):
            value = _scalar(text, name=name)
            if value is not None and name in _AT_LEAST_ONE:
                value = max(1, int(value))
            if value is not None:
                settings[name] = value
    if scheduler == "sglang" and settings.get("chunked_prefill_size") == -1:
        del settings["chunked_prefill_size"]
    plan: dict[str, Scalar] = {}
    stored = cell_value(row.cells.get("kv_cache_dtype", ""), context=context)
    if stored.startswith("fp8"):
        plan["kv_storage"] = "fp8"
    drafts = cell_value(row.cells.get("drafts", ""), context=context)
    speculation = None
    if row.speculation != "none" and drafts.isdigit() and int(drafts) > 0:
        speculation = Speculation(drafts=int(drafts), acceptance_length=None)
    return Cell(
        settings=settings,
        plan=plan,
        unknown=unknown,
        speculation=speculation,
        source=f"{row.source} ({row.image}, {row.first} to {row.last})",
    )


def _scalar(text: str, *, name: str) -> Scalar | None:
    if name in _NEGATED:
        return not _FLAGS[text] if text in _FLAGS else None
    if name == "enable_two_batch_overlap":
        return True if "enable_two_batch_overlap" in text else None
    if text in _FLAGS:
        return _FLAGS[text]
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if number == int(number) and "." not in text else number
