"""Rooms import each other only as docs/architecture.md says, and nothing in a circle."""

from pathlib import Path

import pytest
from import_graph import (
    PACKAGES,
    circles,
    figures,
    imports_of,
    module_files,
    module_imports,
    room_of,
)

CONTRACT = {
    f"workloads.{name}"
    for name in ("ops", "layout", "execution_plan", "costmodel", "errors", "datafiles")
}
"""What hwmodels may know of workloads: the contract types, and how files and errors read."""

ORDER = (
    ("version",),
    ("output",),
    ("serving",),
    ("engines",),
    ("recipes",),
    ("scenario",),
    ("prediction",),
    ("studies",),
    ("cli",),
)
"""Rooms of the simulator from the ground up: one imports only those before it, or itself."""

STUDIES = (
    ("series", "concurrency", "processes", "next_runs", "workload_limits", "result"),
    ("closing", "closing_of_run", "changes"),
    ("overlay", "pareto_plot"),
    ("sweep",),
    ("as_deployed",),
    ("curve", "explain", "load", "predict", "plan", "search"),
    ("compare", "timeline", "mlperf", "sensitivity", "diff"),
    ("catalog", "agentx"),
    ("report",),
)
"""Studies from the ground up, by the same rule; those of one line do not know each other."""

SHOWING = ("text", "plots")
"""Modules of a study that nobody outside imports but the report and the command line."""


def floor(name: str, order: tuple[tuple[str, ...], ...]) -> int | None:
    return next((i for i, names in enumerate(order) if name in names), None)


def breach(module: str, target: str, *, lazy: bool = False) -> str:
    """Why a module must not import another; empty if it may."""
    package, other = module.split(".")[0], target.split(".")[0]
    if package == "workloads":
        return "" if other == package else "workloads stands alone"
    if package == "hwmodels":
        known = any(f"{target}.".startswith(f"{each}.") for each in CONTRACT)
        return "" if other == package or known else "hwmodels knows the contract only"
    if package == "calibration":
        return ""
    if other == "calibration":
        return "" if lazy and module.startswith("simulator.cli.") else "only cli, lazily"
    return _within_simulator(module, target) if other == package else ""


def _within_simulator(module: str, target: str) -> str:
    if module == "simulator":
        return ""
    room, other = (name.split(".")[1] if "." in name else "" for name in (module, target))
    if room == "analysis":
        own = other in ("analysis", "version") or target == "simulator.serving.records"
        return "" if own else "analysis uses serving.records only"
    if room == "studies" and other == "studies":
        return _within_studies(module, target)
    if other == "analysis":
        return "" if floor(room, ORDER) != floor("serving", ORDER) else "serving does not analyse"
    if room == other:
        return ""
    if target == "simulator":
        return "a module knows its neighbours, not the package"
    here, there = floor(room, ORDER), floor(other, ORDER)
    if here is None or there is None:
        return f"{room if here is None else other} has no place in the order of rooms"
    return "" if there < here else f"{room} stands below {other}"


def _within_studies(module: str, target: str) -> str:
    study, other = module.split(".")[2], target.split(".")[2]
    if study == other:
        return ""
    shows = target.split(".")[-1] in SHOWING
    if shows and study != "report":
        return f"{target.split('.')[-1]} of a study is its own"
    here, there = floor(study, STUDIES), floor(other, STUDIES)
    if here is None or there is None:
        return f"{study if here is None else other} has no place in the order of studies"
    return "" if there < here else f"{study} stands below {other}"


def breaches() -> set[tuple[str, str]]:
    return {
        (name, each.module)
        for name, imports in module_imports().items()
        for each in imports
        if breach(name, each.module, lazy=each.lazy)
    }


def test_every_package_has_modules():
    assert {name.split(".")[0] for name in module_files()} == set(PACKAGES)


def test_imports_stay_within_the_rules():
    told = [f"{name} -> {target}: {breach(name, target)}" for name, target in sorted(breaches())]
    assert told == []


def test_nothing_is_imported_in_a_circle_at_run_time():
    assert circles(typing=False) == []


def test_circles_of_types_stay_within_a_folder():
    for group in circles(typing=True):
        assert len({name.rpartition(".")[0] for name in group}) == 1, group


def test_figures_count_rooms_and_arrows():
    found = figures(against=breaches())
    assert found["rooms"] >= len(ORDER)
    assert found["arrows"] > found["rooms"]
    assert room_of("simulator.engines.vllm.engine") == "simulator.engines"


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("workloads/ops.py", "from hwmodels.roofline import op_s"),
        ("workloads/models/layered.py", "def f():\n    import simulator.serving.worker"),
        ("hwmodels/roofline.py", "from workloads.requests.request import Request"),
        ("hwmodels/roofline.py", "from workloads import models"),
        ("hwmodels/roofline.py", "import workloads"),
        ("simulator/serving/worker.py", "if TYPE_CHECKING:\n    from calibration import fit"),
        ("simulator/serving/worker.py", "from simulator.engines.registry import bind_engine"),
        ("simulator/engines/memory.py", "from simulator.scenario.configuration import x"),
        ("simulator/recipes/files.py", "def f():\n    from simulator.scenario import grid"),
        ("simulator/analysis/metrics.py", "from simulator.serving.worker import Worker"),
        ("simulator/studies/load/run.py", "from simulator.studies.plan.sizing import sketch"),
        ("simulator/studies/compare/run.py", "from simulator.studies.sweep.text import x"),
        ("simulator/cli/calibrate.py", "from calibration.fit.gauss_newton import fit_all"),
    ],
)
def test_a_forbidden_import_is_found(path, source):
    assert len(_breaches_of(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("hwmodels/roofline.py", "from workloads.ops import Op\nfrom workloads import layout"),
        ("hwmodels/sku.py", "from hwmodels.roofline import op_s\nimport numpy"),
        ("workloads/models/layered.py", "from ..ops import Op\nfrom . import parts"),
        ("simulator/cli/main.py", "def f():\n    from calibration.validation.validate import x"),
        ("simulator/engines/base.py", "from simulator.serving.scheduler import Scheduler"),
        ("simulator/analysis/metrics.py", "from simulator.serving.records import Records"),
        ("simulator/studies/report/build.py", "from simulator.studies.sweep.text import x"),
        (
            "calibration/fit/gauss_newton.py",
            "from simulator.prediction.run import run\nfrom hwmodels.sku import Sku",
        ),
    ],
)
def test_an_allowed_import_is_not(path, source):
    assert _breaches_of(path, source) == []


def _breaches_of(path: str, source: str) -> list[str]:
    parts = Path(path).with_suffix("").parts
    imported = imports_of(
        source=source, package=".".join(parts[:-1]), modules=frozenset(module_files())
    )
    found = [breach(".".join(parts), each.module, lazy=each.lazy) for each in imported]
    return [reason for reason in found if reason]
