"""Predicts how fast hardware serves a large language model, before anyone can measure it.

The Python interface is one function a command. A result has a table (``.frame()``, pandas) and a
picture (``.plot()``, matplotlib)::

    import simulator as sim

    sim.curve(sku="mi355x", ep=8).frame()
    sim.sweep(sku="gb200", engine="dynamo-vllm", prefill="1-4", decode="1-4").plot()
    sim.compare("gb200", "mi355x", at=(20, 50)).frame()
    sim.agentx("b200:vllm", "mi355x", concurrency=64).frame()
    sim.run_load(sku="b300", deployment="2xDEP8", rate=6.0, ttft_slo=5.0).plot()
    sim.report("out/run", sku="mi355x", ep=8, out="page.html")

Importing it is cheap: each function loads what it needs when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulator.studies.agentx.api import agentx as agentx
    from simulator.studies.catalog.api import catalog as catalog
    from simulator.studies.catalog.api import show as show
    from simulator.studies.compare.run import compare as compare
    from simulator.studies.curve.api import curve as curve
    from simulator.studies.explain.api import explain as explain
    from simulator.studies.load.run import run_load as run_load
    from simulator.studies.plan.run import plan as plan
    from simulator.studies.predict.api import predict as predict
    from simulator.studies.report import report as report
    from simulator.studies.search.run import search as search
    from simulator.studies.sensitivity.run import sensitivity as sensitivity
    from simulator.studies.sweep.api import sweep as sweep
    from simulator.studies.timeline.run import timeline as timeline
    from workloads.errors import UserError as UserError

_HOMES = {
    "UserError": "workloads.errors",
    "agentx": "simulator.studies.agentx.api",
    "catalog": "simulator.studies.catalog.api",
    "compare": "simulator.studies.compare.run",
    "curve": "simulator.studies.curve.api",
    "explain": "simulator.studies.explain.api",
    "plan": "simulator.studies.plan.run",
    "predict": "simulator.studies.predict.api",
    "report": "simulator.studies.report",
    "run_load": "simulator.studies.load.run",
    "search": "simulator.studies.search.run",
    "sensitivity": "simulator.studies.sensitivity.run",
    "show": "simulator.studies.catalog.api",
    "sweep": "simulator.studies.sweep.api",
    "timeline": "simulator.studies.timeline.run",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'simulator' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
