"""What identifies a simulated run, as cells of its row."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from simulator.engines.pools import deployment_label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.engines.pools import PoolLayout
    from simulator.scenario.settings import Scenario

LOAD_COLUMNS = (
    "sku",
    "prefill_sku",
    "model",
    "engine",
    "precision",
    "spec",
    "acceptance_length",
    "isl",
    "osl",
    "length_distribution",
    "seed",
    "overrides",
    "engine_settings",
)
"""Settings of a scenario that tell one series of runs from another."""

POOL_COLUMNS = ("workers", "tp", "ep", "dp_attn")


def identity_cells(
    *, load: Scenario, pools: Sequence[PoolLayout], concurrency: int
) -> dict[str, Any]:
    """What was asked for, in the columns that ``simulate predict`` reads.

    Parameters
    ----------
    load:
        A scenario that names its engine.
    """
    cells: dict[str, Any] = {name: getattr(load, name) for name in LOAD_COLUMNS}
    cells |= {
        name: json.dumps(value) if (value := getattr(load, name)) else ""
        for name in ("overrides", "engine_settings")
    }
    cells["length_distribution"] = load.lengths or load.length_distribution
    cells |= {
        "label": deployment_label(pools),
        "disagg": len(pools) > 1,
        "concurrency": concurrency,
    }
    for pool in pools:
        prefix = "prefill" if pool.role == "prefill" else "decode"
        layout = pool.layout
        for name, value in zip(
            POOL_COLUMNS,
            (pool.workers, layout.tp, layout.ep, layout.dp_attention),
            strict=True,
        ):
            cells[f"{prefix}_{name}"] = value
    return cells
