"""Serving engines, and the labels that benchmark tables use."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from hwmodels.fitted import MEDIAN_DATE
from hwmodels.software import MEDIAN_LEVEL, parse_date
from workloads.architectures.base import PrecisionLabel as Precision
from workloads.errors import unknown_name

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence


__all__ = [
    "SPECIFICATION",
    "EngineLabel",
    "EngineRequest",
    "Precision",
    "engine_labels",
    "level_text",
    "load_engine",
    "parse_engine",
]

SPECIFICATION = "specification"
PERSISTENT = "persistent"
SOFTWARE_OF = "as-"
"""What names SKUs whose software level an engine has: ``vllm+as-b200.gb200``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLabel:
    """A serving stack as benchmark tables label it: an orchestrator before an engine.

    Parameters
    ----------
    label:
        Canonical label, such as ``dynamo-vllm``.
    engine:
        Whose scheduler runs: ``vllm``, ``sglang``, ``trtllm`` or ``atom``.
    orchestrator:
        What routes requests and moves KV between pools; empty for a bare server.
    kernels:
        Whose kernels run: the engine's own, ATOM's where its plug-in is loaded, or CANN's.
    vendor:
        Of the chips that it is written for; empty for several vendors'.
    persistent:
        Whether one persistent kernel runs a whole decode step in place of a graph of kernels
        (``vllm+persistent``): a plan of what the chip allows, not of a release of the engine.
    software_of:
        SKUs the better of whose levels it has in place of the chip's own (``vllm+as-b200.gb200``),
        with the first one's server settings, for comparisons at equal software; empty: the chip's
        own.
    """

    label: str
    engine: str
    orchestrator: str = ""
    kernels: str = ""
    vendor: str = ""
    persistent: bool = False
    software_of: tuple[str, ...] = ()

    @property
    def software(self) -> str:
        """Engine whose software levels describe the kernels."""
        return self.kernels or self.engine


_LABELS = (
    EngineLabel(label="vllm", engine="vllm"),
    EngineLabel(label="sglang", engine="sglang"),
    EngineLabel(label="trt", engine="trtllm", vendor="nvidia"),
    EngineLabel(label="atom", engine="atom", vendor="amd"),
    EngineLabel(label="dynamo-vllm", engine="vllm", orchestrator="dynamo"),
    EngineLabel(label="dynamo-sglang", engine="sglang", orchestrator="dynamo"),
    EngineLabel(label="dynamo-trt", engine="trtllm", orchestrator="dynamo", vendor="nvidia"),
    EngineLabel(label="llmd-vllm", engine="vllm", orchestrator="llm-d"),
    EngineLabel(label="vllm-disagg", engine="vllm", orchestrator="vllm-router"),
    EngineLabel(label="mori-sglang", engine="sglang", orchestrator="mori", vendor="amd"),
    EngineLabel(label="atom-disagg", engine="atom", orchestrator="atomesh", vendor="amd"),
    EngineLabel(
        label="atomesh-vllm", engine="vllm", orchestrator="atomesh", kernels="atom", vendor="amd"
    ),
    EngineLabel(label="atom-vllm", engine="vllm", kernels="atom", vendor="amd"),
    EngineLabel(label="atom-sglang", engine="sglang", kernels="atom", vendor="amd"),
    EngineLabel(label="vllm-ascend", engine="vllm", kernels="cann", vendor="huawei"),
    EngineLabel(label="sglang-ascend", engine="sglang", kernels="cann", vendor="huawei"),
)
_LABEL_ALIASES = {
    "trtllm": "trt",
    "trt-llm": "trt",
    "tensorrt-llm": "trt",
    "dynamo-trtllm": "dynamo-trt",
    "dynamo-tensorrt-llm": "dynamo-trt",
    "llm-d-vllm": "llmd-vllm",
    "llm-d": "llmd-vllm",
    "sglang-disagg": "mori-sglang",
    "atomesh-atom": "atom-disagg",
    "mooncake-atom": "atom-disagg",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRequest:
    """An engine as a user names it, optionally of a date.

    Parameters
    ----------
    engine:
        The serving stack.
    date:
        Last day that the date covers; ``None`` asks for the latest level.
    median:
        Whether the undated median of runs up to 2026-07-19 is meant; ``date`` is then that day.
    specification:
        Whether nothing fitted to serving runs shall be used.
    """

    engine: EngineLabel
    date: dt.date | None = None
    median: bool = False
    specification: bool = False


@cache
def engine_labels() -> Mapping[str, EngineLabel]:
    """All canonical engine labels."""
    return {engine.label: engine for engine in _LABELS}


def load_engine(name: str) -> EngineLabel:
    """The engine of a label or alias (case and underscores do not matter).

    Raises
    ------
    UserError
        If the label is unknown; the message proposes the nearest ones.
    """
    key = name.strip().lower().replace("_", "-")
    labels = engine_labels()
    found = labels.get(_LABEL_ALIASES.get(key, key))
    if found is None:
        raise unknown_name(field="engine", value=name, known=labels)
    return found


def parse_engine(text: str) -> EngineRequest:
    """An engine with an optional date: ``sglang``, ``sglang@2026-05``, ``vllm@median-2026-07``.

    ``vllm+as-b200.gb200`` is the engine at the better of its levels on two SKUs,
    ``vllm@specification`` is the engine with nothing fitted to serving runs, ``vllm+persistent``
    (``vllm+persistent@2026-05``) one whose decode step is a single persistent kernel.

    Raises
    ------
    UserError
        If the engine or what follows ``+`` is unknown, or what follows ``@`` is not a date.
    """
    name, _, level_date = text.partition("@")
    name, *plans = name.split("+")
    engine = load_engine(name)
    for plan in (each.strip().lower() for each in plans):
        if plan == PERSISTENT:
            engine = replace(engine, persistent=True)
        elif plan.startswith(SOFTWARE_OF) and len(plan) > len(SOFTWARE_OF):
            engine = replace(engine, software_of=tuple(plan.removeprefix(SOFTWARE_OF).split(".")))
        else:
            known = [PERSISTENT, f"{SOFTWARE_OF}SKU"]
            raise unknown_name(field="execution plan", value=plan, known=known)
    level_date = level_date.strip()
    if level_date == MEDIAN_LEVEL:
        return EngineRequest(engine=engine, date=MEDIAN_DATE, median=True)
    if level_date == SPECIFICATION:
        return EngineRequest(engine=engine, specification=True)
    return EngineRequest(engine=engine, date=parse_date(level_date) if level_date else None)


def level_text(level: str, *, kind: str) -> str:
    """A software level as captions name it, with the kind of prediction unless calibrated."""
    return level if kind == "calibrated" else f"{level} ({kind})"


def with_software_of(engine: str, skus: Sequence[str]) -> str:
    """An engine's text with the SKUs whose level it has: ``vllm+as-b200.gb200@2026-07``."""
    if not skus:
        return engine
    name, at, date = engine.partition("@")
    return f"{name}+{SOFTWARE_OF}{'.'.join(skus)}{at}{date}"


def without_software_of(engine: str) -> str:
    """An engine's text as it is deployed, without the SKUs whose level it has in a comparison."""
    name, at, date = engine.partition("@")
    return f"{name.partition(f'+{SOFTWARE_OF}')[0]}{at}{date}"
