"""Mutation test by one command: ``python tests/mutation/run.py --mutants 300``.

A random sample of changes of one operator, comparison or number in the modules that predictions
follow from; each is tested, in a copy of the checkout, by the tests that import its module, the
nearest first. Survivors are printed for judgement: not each is a defect of the tests, since some
changes have no effect.
"""

import argparse
import ast
import datetime as dt
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = (
    *("simulator/serving", "simulator/engines", "simulator/prediction", "hwmodels"),
    "workloads/models",
)
MOST_TESTS = 8
LONGEST_S = 300
SWAPPED = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
NAMES = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.And: "and",
    ast.Or: "or",
}


def changes(source):
    """Places that can be changed: (line, what, function that changes a fresh tree there)."""
    found = []
    for number, node in enumerate(ast.walk(ast.parse(source))):
        if isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in SWAPPED:
            found.append((number, node.lineno, type(node.op)))
        elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED:
            found.append((number, node.lineno, type(node.ops[0])))
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, int | float)
            and not isinstance(node.value, bool)
        ):
            found.append((number, node.lineno, node.value))
    return found


def changed(source, number, what):
    """The source with one place changed, and the change in words."""
    tree = ast.parse(source)
    node = next(each for index, each in enumerate(ast.walk(tree)) if index == number)
    if isinstance(node, ast.BinOp | ast.BoolOp):
        node.op = SWAPPED[what]()
        words = f"{NAMES[what]} -> {NAMES[SWAPPED[what]]}"
    elif isinstance(node, ast.Compare):
        node.ops[0] = SWAPPED[what]()
        words = f"{NAMES[what]} -> {NAMES[SWAPPED[what]]}"
    else:
        node.value = what * 2 if isinstance(what, float) else what + 1
        words = f"{what} -> {node.value}"
    return ast.unparse(tree), words


def tests_of(module):
    """Test files that import a module, those of fewest imports first; then what runs it all."""
    name = module.as_posix().removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    direct = []
    for path in sorted((ROOT / "tests").glob("*/test_*.py")):
        text = path.read_text(encoding="utf-8")
        package, _, last = name.rpartition(".")
        if (
            f"{name} import" in text
            or f"import {name}" in text
            or f"from {package} import {last}" in text
        ):
            direct.append((text.count("\nfrom ") + text.count("\nimport "), path))
    near = [path.relative_to(ROOT).as_posix() for _, path in sorted(direct)][:MOST_TESTS]
    whole = (
        "tests/theory/test_run_closed_forms.py",
        "tests/theory/test_engine_conservation.py",
        "tests/unit/test_engine_vendors.py",
        "tests/unit/test_explain.py",
    )
    return near + [path for path in whole if path not in near]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=600.0, help="stop after so long")
    asked = parser.parse_args()
    places = []
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            module = path.relative_to(ROOT)
            source = path.read_text(encoding="utf-8")
            places += [(module, *each) for each in changes(source)]
    sample = random.Random(asked.seed).sample(places, min(asked.mutants, len(places)))
    began, killed, survived = time.monotonic(), 0, []
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "copy"
        shutil.copytree(
            ROOT, copy, ignore=shutil.ignore_patterns(".git", "out", ".*_cache", "__pycache__")
        )
        for module, number, line, what in sample:
            if time.monotonic() - began > 60 * asked.minutes:
                break
            source = (ROOT / module).read_text(encoding="utf-8")
            text, words = changed(source, number, what)
            (copy / module).write_text(text, encoding="utf-8")
            command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-m", "not slow"]
            try:
                status = subprocess.run(
                    [*command, "-p", "no:cacheprovider", *tests_of(module)],
                    cwd=copy,
                    env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(copy), "HOME": place},
                    capture_output=True,
                    timeout=LONGEST_S,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                status = 1  # it hangs: seen
            (copy / module).write_text(source, encoding="utf-8")
            dead = status in (1, 2)
            killed += dead
            if not dead:
                survived.append((module, line, words))
            print(f"{'killed' if dead else 'SURVIVED'} {module}:{line}: {words}", flush=True)
    tried = killed + len(survived)
    print(f"{dt.date.today()}: {tried} of {len(places):,} possible mutants, {killed} killed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
