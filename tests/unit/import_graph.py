"""Who imports whom in this repository: modules, rooms, arrows against an order, circles."""

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("workloads", "hwmodels", "simulator", "calibration")


@dataclass(frozen=True)
class Import:
    """One import of a module of ours.

    ``lazy`` if it stands inside a function, ``typing`` if only type checkers see it.
    """

    module: str
    line: int
    lazy: bool
    typing: bool


def imports_of(*, source: str, package: str, modules: frozenset[str]) -> list[Import]:
    """Imports of our modules in a module of ``package``."""
    found: list[Import] = []

    def visit(node: ast.AST, *, lazy: bool, typing: bool) -> None:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            # `from workloads import ops` names a module; `from workloads.ops import Op` does not
            names = [
                f"{base}.{alias.name}" if f"{base}.{alias.name}" in modules else base
                for alias in node.names
            ]
        found.extend(
            Import(module=name, line=node.lineno, lazy=lazy, typing=typing)
            for name in dict.fromkeys(names)
            if name.split(".")[0] in PACKAGES
        )
        inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.body:
                visit(child, lazy=inside, typing=True)
            for child in node.orelse:
                visit(child, lazy=inside, typing=typing)
            return
        for child in ast.iter_child_nodes(node):
            visit(child, lazy=inside, typing=typing)

    visit(ast.parse(source), lazy=False, typing=False)
    return found


@cache
def module_files() -> dict[str, Path]:
    """Our modules by dotted name."""
    files = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


@cache
def module_imports() -> dict[str, tuple[Import, ...]]:
    """Imports of every module of ours."""
    files = module_files()
    names = frozenset(files)
    return {
        name: tuple(
            imports_of(
                source=path.read_text(encoding="utf-8"),
                package=".".join(path.relative_to(ROOT).parts[:-1]),
                modules=names,
            )
        )
        for name, path in files.items()
    }


def circles(*, typing: bool) -> list[tuple[str, ...]]:
    """Groups of modules that import each other, imports for type checkers included or not."""
    graph = {
        name: {i.module for i in imports if typing or not i.typing} - {name}
        for name, imports in module_imports().items()
    }
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[tuple[str, ...]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in graph[name]:
            if other not in graph:
                continue
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            group = []
            while not group or group[-1] != name:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(tuple(sorted(group)))

    for name in graph:
        if name not in index:
            visit(name)
    return sorted(found)


def room_of(module: str) -> str:
    """The folder of a package that a module stands in: ``simulator.engines``."""
    return ".".join(module.split(".")[:2])


def arrows() -> set[tuple[str, str]]:
    """Pairs of rooms of which the first imports the second, for type checkers or at run time."""
    return {
        (room_of(name), room_of(each.module))
        for name, imports in module_imports().items()
        for each in imports
        if room_of(name) != room_of(each.module)
    }


def figures(*, against: set[tuple[str, str]]) -> dict[str, int]:
    """Rooms, arrows between them, arrows against the rule, circles.

    ``against`` are the imports that break the rule, as pairs of modules.
    """
    return {
        "rooms": len({room_of(name) for name in module_files()}),
        "arrows": len(arrows()),
        "arrows against the rule": len({(room_of(one), room_of(other)) for one, other in against}),
        "circles at run time": len(circles(typing=False)),
        "circles with types": len(circles(typing=True)),
    }
