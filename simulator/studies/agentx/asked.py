"""Questions about session trees: a study's own settings told apart from those of the replay."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from simulator.scenario.settings_file import edited_defaults, read_settings
from simulator.studies.agentx.request import build_agentx
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from simulator.studies.agentx.request import AgentxRequest

FAST = "agentx-fast"
"""Protocol of studies of many runs, where none is stated: 20-minute windows."""

FAST_NOTE = "20-minute windows (agentx-fast), about 6 % below an hour's throughput"


@dataclass(frozen=True, kw_only=True)
class AskedOfAgents:
    """A study of session trees.

    Parameters
    ----------
    replay:
        Systems, trees, protocol and live sessions.
    own:
        The study's settings that were stated, by name.
    resolved:
        Every setting with its value and origin.
    assumed:
        What was left open and what stands in.
    """

    replay: AgentxRequest
    own: Mapping[str, Any]
    resolved: Mapping[str, Mapping[str, Any]]
    assumed: tuple[str, ...]


def ask_of_agents(
    flags: Mapping[str, Any],
    *,
    own: Mapping[str, Any],
    file: Path | None = None,
    by_engine: bool = False,
) -> AskedOfAgents:
    """A study's request from flags and a file of settings.

    Parameters
    ----------
    flags:
        Settings by name, ``None``: not given; ``sku`` and ``engine`` may be lists.
    own:
        Defaults of the study's own settings by name.
    file:
        YAML file of settings, or the ``resolved.yaml`` of such a study.
    by_engine:
        Whether several SKUs and engines may be named.

    Raises
    ------
    UserError
        If a setting is unknown or has no meaning for session trees, or no SKU is named.
    """
    read = read_settings(file)
    mine = {
        **{name: value for name, value in read.values.items() if name in own},
        **{
            name: value
            for name, value in edited_defaults(read, found=dict(own)).items()
            if name in own
        },
        **{name: value for name, value in flags.items() if name in own and value is not None},
    }
    origin = {
        name: "flag" if flags.get(name) is not None else read.origin.get(name, f"file {file}")
        for name in mine
    }
    rest = {n: v for n, v in flags.items() if n not in own and v is not None}
    assumed: tuple[str, ...] = ()
    if "protocol" not in rest and "protocol" not in read.values:
        rest["protocol"] = FAST
        assumed = (FAST_NOTE,)
    skus, engines = _listed(rest.pop("sku", None)), _listed(rest.pop("engine", None))
    if not by_engine and (len(skus) > 1 or len(engines) > 1):
        raise UserError("this study is about one system; name one SKU and one engine")
    systems = [f"{sku}:{engine}" if engine else sku for sku in skus for engine in engines or [""]]
    without = replace(
        read,
        values={name: value for name, value in read.values.items() if name not in own},
        defaults={name: value for name, value in read.defaults.items() if name not in own},
    )
    replay = build_agentx(systems, flags=rest, file=without)
    resolved = replay.resolved | {
        name: {"value": mine.get(name, default), "origin": origin.get(name, "default")}
        for name, default in own.items()
    }
    return AskedOfAgents(replay=replay, own=mine, resolved=resolved, assumed=assumed)


def _listed(value: Any) -> Sequence[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)
