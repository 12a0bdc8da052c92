"""The four rooms import each other only as README.md says."""

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("workloads", "hwmodels", "simulator", "calibration")
# What hwmodels may know of workloads: the three contract types, and how files and errors read.
CONTRACT = {
    f"workloads.{name}" for name in ("ops", "layout", "execution_plan", "errors", "datafiles")
}


@dataclass(frozen=True)
class Import:
    """One import of a module of ours; lazy if it stands inside a function."""

    module: str
    line: int
    lazy: bool


def our_imports(*, source: str, package: str) -> list[Import]:
    """Imports of the four rooms in a module of ``package``, type-checking blocks included."""
    found: list[Import] = []

    def visit(node: ast.AST, lazy: bool) -> None:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            # `from workloads import ops` names a module; `from workloads.ops import Op` does not.
            names = [f"{base}.{alias.name}" for alias in node.names] if base in ROOMS else [base]
        found.extend(
            Import(module=name, line=node.lineno, lazy=lazy)
            for name in names
            if name.split(".")[0] in ROOMS
        )
        inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(ast.parse(source), lazy=False)
    return found


def breach(*, path: Path, source: str) -> list[str]:
    """Imports of a module that the rules of its room forbid, as ``path:line module``."""
    room = path.parts[0]
    wrong = []
    for imported in our_imports(source=source, package=".".join(path.parts[:-1])):
        target = imported.module.split(".")[0]
        allowed = {
            "workloads": target == "workloads",
            "hwmodels": target == "hwmodels"
            or any(f"{imported.module}.".startswith(f"{module}.") for module in CONTRACT),
            "simulator": target != "calibration"
            or (path == Path("simulator/cli/main.py") and imported.lazy),
            "calibration": True,
        }[room]
        if not allowed:
            wrong.append(f"{path}:{imported.line} {imported.module}")
    return wrong


def modules() -> list[Path]:
    return sorted(path.relative_to(ROOT) for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def test_every_room_has_modules():
    assert {path.parts[0] for path in modules()} == set(ROOMS)


@pytest.mark.parametrize("path", modules(), ids=str)
def test_imports_stay_within_the_rules(path):
    source = (ROOT / path).read_text(encoding="utf-8")
    assert breach(path=path, source=source) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("workloads/ops.py", "from hwmodels.roofline import op_s"),
        ("workloads/models/layered.py", "def f():\n    import simulator.serving.worker"),
        ("hwmodels/roofline.py", "from workloads.requests.request import Request"),
        ("hwmodels/roofline.py", "from workloads import models"),
        ("hwmodels/roofline.py", "import workloads"),
        ("simulator/serving/worker.py", "if TYPE_CHECKING:\n    from calibration import fit"),
        ("simulator/cli/main.py", "from calibration.fit.gauss_newton import fit_all"),
    ],
)
def test_a_forbidden_import_is_found(path, source):
    assert len(breach(path=Path(path), source=source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("hwmodels/roofline.py", "from workloads.ops import Op\nfrom workloads import layout"),
        ("hwmodels/sku.py", "from hwmodels.roofline import op_s\nimport numpy"),
        ("workloads/models/layered.py", "from ..ops import Op\nfrom . import parts"),
        (
            "simulator/cli/main.py",
            "def validate():\n    from calibration.validation.validate import report",
        ),
        (
            "calibration/fit/gauss_newton.py",
            "from simulator.prediction.run import run\nfrom hwmodels.sku import Sku",
        ),
    ],
)
def test_an_allowed_import_is_not(path, source):
    assert breach(path=Path(path), source=source) == []
