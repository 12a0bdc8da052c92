"""Predicts how fast hardware serves a large language model, before anyone can measure it.

The Python interface is one function a command. A result has a table (``.frame()``, pandas) and a
picture (``.plot()``, matplotlib)::

    import simulator as sim

    sim.curve(sku="mi355x", ep=8).frame()
    sim.sweep(sku="gb200", engine="dynamo-vllm", prefill="1-4", decode="1-4").plot()
    sim.compare("gb200", "mi355x", at=(20, 50)).frame()
    sim.run_load(sku="b300", deployment="2xDEP8", rate=6.0, ttft_slo=5.0).plot()
    sim.report("out/run", sku="mi355x", ep=8, out="page.html")

Importing it is cheap: each function loads what it needs when it is first used. Modules that share
a function's name are imported from by name, as in ``from simulator.curve import CurvePoint``.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulator.api import catalog as catalog
    from simulator.api import curve as curve
    from simulator.api import explain as explain
    from simulator.api import predict as predict
    from simulator.api import show as show
    from simulator.compare import compare as compare
    from simulator.elasticity import sensitivity as sensitivity
    from simulator.load_run import run_load as run_load
    from simulator.plan import plan as plan
    from simulator.report import report as report
    from simulator.search import search as search
    from simulator.sweep import sweep as sweep
    from simulator.timeline import timeline as timeline
    from workloads.errors import UserError as UserError

_HOMES = {
    "UserError": "workloads.errors",
    "catalog": "simulator.api",
    "compare": "simulator.compare",
    "curve": "simulator.api",
    "explain": "simulator.api",
    "plan": "simulator.plan",
    "predict": "simulator.api",
    "report": "simulator.report",
    "run_load": "simulator.load_run",
    "search": "simulator.search",
    "sensitivity": "simulator.elasticity",
    "show": "simulator.api",
    "sweep": "simulator.sweep",
    "timeline": "simulator.timeline",
}
__all__ = list(_HOMES)


class _Package(ModuleType):
    """The package, whose functions keep their names where a module of it has the same."""

    def __getattr__(self, name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'simulator' has no attribute '{name}'")
        return getattr(import_module(_HOMES[name]), name)

    def __setattr__(self, name: str, value: Any) -> None:
        # importing simulator.curve would otherwise hide the function curve behind the module
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package
