"""Figures of communication.md: ``python -m docs.tools.communication_figures NAME``.

``law``, ``transfers`` and ``buffers`` are tables; ``nodes`` and ``wide`` are predictions as JSON,
of the deployments of ``tests/published/test_two_nodes.py`` and ``test_wide_ep.py``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from hwmodels.exchange_buffers import buffer_bytes
from hwmodels.exchange_libraries import OPERATIONS, exchange_libraries, load_library
from hwmodels.kv_transfers import load_transfer_library
from simulator.prediction.run import simulate_run
from simulator.scenario.table_rows import configure_row
from workloads.architectures.catalog import load_architecture

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Print what is asked for."""
    chosen = {
        "law": law,
        "transfers": transfers,
        "buffers": buffers,
        "nodes": nodes,
        "wide": wide,
    }
    found = chosen[sys.argv[1]]()
    print(found if isinstance(found, str) else json.dumps(found, indent=1))


def table(*rows: tuple[str, ...]) -> str:
    """Markdown of a head and rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def law() -> str:
    """The fitted law by library and mode; what was not measured in brackets."""
    read = yaml.safe_load((ROOT / "hwmodels/communication/law.yaml").read_text(encoding="utf-8"))
    rows = [
        (
            *("library, mode", "a copy for each", "e", "n", "drained GPU, µs: node", "two nodes"),
            *("NVL72", "queued, µs", "rows", "error: in sample, chip left out"),
        )
    ]
    for library in exchange_libraries().values():
        for mode in library.modes.values():
            entry = read["modes"][f"{mode.library}/{mode.mode}"]
            error = entry["error"]
            other = error["cross_sku"]
            rows.append(
                (
                    f"{library.name}, {mode.mode.replace('_', ' ')}",
                    "pair" if mode.per_pair else "rank",
                    _cell(entry["scaleup_efficiency"], ".2f"),
                    _cell(entry["network_efficiency"], ".2f"),
                    *(
                        " / ".join(_cell(entry["latency"][scope][op], ".0f") for op in OPERATIONS)
                        for scope in ("island", "islands", "rack")
                    ),
                    " / ".join(_queued(mode.queued_s, op) for op in OPERATIONS),
                    str(entry["rows"]),
                    f"{100 * error['in_sample']:.0f} %, "
                    + ("no other chip" if other is None else f"{100 * other:.0f} %"),
                )
            )
    return table(*rows)


def _cell(figure: dict[str, Any], form: str) -> str:
    text = format(figure["value"], form)
    return text if figure["kind"] == "fitted" else f"({text})"


def _queued(seconds: dict[tuple[Any, str], float], operation: str) -> str:
    found = [round(1e6 * value) for (op, _), value in seconds.items() if op == operation]
    low, high = min(found), max(found)
    return f"{low}" if low == high else f"{low}–{high}"


def transfers() -> str:
    """Latency and share of the line rate by library and by who starts."""
    rows = [("library", "push: L, e", "pull: L, e")]
    for name in ("nixl", "mooncake", "mori_io"):
        library = load_transfer_library(name)
        rows.append(
            (
                library.name,
                *(
                    f"{1e6 * library.latency_s[way]:.0f} µs, {library.share[way]:.2f}"
                    for way in ("push", "pull")
                ),
            )
        )
    return table(*rows)


def buffers() -> str:
    """Buffers of a rank for R1 at EP8 with 8,192 tokens a step and 128 that decode."""
    model = load_architecture("deepseek-r1")
    rows = [("library, mode", "R1, EP8: 8,192 tokens a step, 128 decoding")]
    for name, mode in (
        *(("deepep", "low_latency"), ("deepep", "normal"), ("nvlink_one_sided", "normal")),
        ("mori", "normal"),
    ):
        library = load_library(name)
        size = buffer_bytes(
            library=library,
            mode=mode,
            ranks=8,
            experts=model.n_routed_experts,
            hidden=model.hidden_size,
            step_tokens=8192,
            decode_tokens=128,
        )
        rows.append((f"{library.name}, {mode.replace('_', ' ')}", f"{size / 1e9:.1f} GB"))
    return table(*rows)


def nodes() -> dict[str, Any]:
    """TPOT of R1's DEP16 on H100 by clients, as recorded and with DeepEP's exchange. [ms]"""
    sys.path.insert(0, str(ROOT / "tests" / "published"))
    from test_two_nodes import RUN

    found: dict[str, Any] = {"gathered": {}}
    for clients in (1, 4, 16, 64):
        configuration, _ = configure_row(RUN | {"concurrency": clients})
        metrics = simulate_run(configuration).metrics
        found["gathered"][str(clients)] = 1e3 * metrics.tpot.median_s
    return found


def wide() -> dict[str, Any]:
    """GB200 over B200, in islands and joined, and a decode step of DEP32. [-] and [ms]"""
    sys.path.insert(0, str(ROOT / "tests" / "published"))
    from test_wide_ep import ISLANDS, RACK, WIDE, decode_step_s, frontier

    rack, islands = frontier("gb200", WIDE), frontier("b200", ISLANDS)
    joined = frontier("b200", ISLANDS + WIDE, RACK)
    return {
        "ratio": {str(speed): rack.at(speed) / islands.at(speed) for speed in SPEEDS},
        "joined": {str(speed): rack.at(speed) / joined.at(speed) for speed in SPEEDS},
        "step_ms": {
            "gb200": 1e3 * decode_step_s("gb200"),
            "b200": 1e3 * decode_step_s("b200"),
            "joined": 1e3 * decode_step_s("b200", RACK),
        },
    }


SPEEDS = (95, 100, 115, 125, 140)


if __name__ == "__main__":
    main()
