"""Session trees of a user's own files: AgentX (Weka), AIPerf DAG, Mooncake with sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workloads.datafiles import parse_json
from workloads.errors import UserError
from workloads.requests.agentx.dag import aiperf_dag_trees, mooncake_trees
from workloads.requests.agentx.mooncake_dag import SCHEMA, agentic_mooncake_trees
from workloads.requests.agentx.protocol import AGENTX
from workloads.requests.agentx.source import RecordedTrees
from workloads.requests.agentx.weka import weka_trees
from workloads.requests.agentx.workload import AGENTX_WORKLOADS, AgentxWorkload
from workloads.requests.traces.rows import TraceOptions, TraceSource

if TYPE_CHECKING:
    from pathlib import Path

    from workloads.requests.agentx.forest import SessionTree
    from workloads.requests.agentx.protocol import AgentxProtocol


def read_session_trees(
    path: Path, *, options: TraceOptions | None = None, protocol: AgentxProtocol = AGENTX
) -> AgentxWorkload | None:
    """The workload of a file of agent sessions; ``None`` if the file is of another kind.

    Raises
    ------
    UserError
        If a session, a call or a conversation is bad, with its line, or none is left.
    """
    source = TraceSource(path, options or TraceOptions())
    trees = _trees(source)
    if trees is None:
        return None
    if not trees:
        raise UserError(f"{path} holds no usable session ({len(source.bad_rows)} bad rows skipped)")
    return AgentxWorkload(
        name=str(path),
        source=RecordedTrees(trees=tuple(trees)),
        protocol=protocol,
        skipped=len(source.bad_rows),
        without_output=tuple(source.without_output),
        tolerates=source.options.on_error == "skip",
    )


def holds_sessions(name_or_path: str, *, chains: bool = False) -> bool:
    """Whether a name or a file means session trees, judged by the file's first 64 KiB.

    Parameters
    ----------
    chains:
        Whether sessions without branches count, of Mooncake traces without arrivals.
    """
    from pathlib import Path

    if name_or_path in AGENTX_WORKLOADS:
        return True
    path = Path(name_or_path)
    if not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as stream:
        head = stream.read(1 << 16)
    if '"requests"' in head and '"block_size"' in head:
        return True
    row = _json_of(next(iter(head.lstrip().splitlines()), ""))
    if not isinstance(row, dict):
        return False
    dag = {"session_id", "turns"} <= row.keys() and _is_dag(row)
    return dag or row.get("schema") == SCHEMA or (chains and _is_mooncake(row))


def _trees(source: TraceSource) -> list[SessionTree] | None:
    first = next((line for line in source.lines() if line.strip()), "").lstrip()
    if not first or first[0] not in "{[":
        return None
    head = _json_of(first)
    if isinstance(head, dict):
        if {"requests", "block_size"} <= head.keys():
            return weka_trees(source, source.json_lines())
        if {"session_id", "turns"} <= head.keys() and _is_dag(head):
            return aiperf_dag_trees(source)
        if head.get("schema") == SCHEMA:
            return agentic_mooncake_trees(source)
        if _is_mooncake(head):
            return mooncake_trees(source)
        return None
    document = head if isinstance(head, list) else None
    if document is None and first[0] in "{[" and source.path.suffix != ".jsonl":
        document = source.json_document()
    sessions = document if isinstance(document, list) else [document]
    if sessions and isinstance(sessions[0], dict) and "block_size" in sessions[0]:
        return weka_trees(source, enumerate(sessions, start=1))
    return None


def _is_mooncake(row: dict[str, object]) -> bool:
    """Whether a row is of AIPerf's dialect with sessions, which states no arrivals."""
    return {"session_id", "input_length"} <= row.keys() and "timestamp" not in row


def _json_of(text: str) -> object:
    """The value of a line, or ``None`` where it is no JSON that a reader takes."""
    try:
        return parse_json(text, source="line")
    except UserError:
        return None


def _is_dag(row: dict[str, object]) -> bool:
    turns = row.get("turns")
    return (
        isinstance(turns, list)
        and bool(turns)
        and isinstance(turns[0], dict)
        and ("messages" in turns[0])
    )
