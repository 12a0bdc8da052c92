"""Mutation test by one command: ``python tests/mutation/run.py --mutants 300``.

A random sample of changes of one operator, comparison or number in the modules that predictions
follow from; each is tested, in a copy of the checkout, by the tests that import its module, the
nearest first. Survivors are printed for judgement: not each is a defect of the tests, since some
changes have no effect.

``--log FILE`` keeps a line for each mutant; the same command goes on where it was ended. The
copy is made once, from a checkout that may change meanwhile: ``--copy DIR`` keeps it for the
next start. A mutant may take five minutes of CPU; one that takes longer hangs, which is told.
"""

import argparse
import ast
import datetime as dt
import json
import random
import resource
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


def tests_of(root, module):
    """Test files that import a module, those of fewest imports first; then what runs it all."""
    name = module.as_posix().removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    direct = []
    for path in sorted((root / "tests").glob("*/test_*.py")):
        text = path.read_text(encoding="utf-8")
        package, _, last = name.rpartition(".")
        if (
            f"{name} import" in text
            or f"import {name}" in text
            or f"from {package} import {last}" in text
        ):
            direct.append((text.count("\nfrom ") + text.count("\nimport "), path))
    near = [path.relative_to(root).as_posix() for _, path in sorted(direct)][:MOST_TESTS]
    whole = (
        "tests/theory/test_run_closed_forms.py",
        "tests/theory/test_engine_conservation.py",
        "tests/unit/test_engine_vendors.py",
        "tests/unit/test_explain.py",
    )
    return near + [path for path in whole if path not in near]


def limited():
    resource.setrlimit(resource.RLIMIT_CPU, (LONGEST_S, LONGEST_S + 5))


def tried(copy, module, number, what):
    """How the tests of a module end with one place changed, and the change in words."""
    path = copy / module
    source = path.read_text(encoding="utf-8")
    text, words = changed(source, number, what)
    path.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-m", "not slow"]
    try:
        status = subprocess.run(
            [*command, "-p", "no:cacheprovider", *tests_of(copy, module)],
            cwd=copy,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(copy), "HOME": str(copy.parent)},
            capture_output=True,
            preexec_fn=limited,
            check=False,
        ).returncode
    finally:
        path.write_text(source, encoding="utf-8")
    if status in (1, 2):
        return "killed", words
    return ("hangs" if status < 0 else "SURVIVED"), words


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--mutants", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=600.0, help="stop after so long")
    parser.add_argument("--log", type=Path, help="a line for each mutant; goes on from it")
    parser.add_argument("--copy", type=Path, help="the checkout's copy that is changed")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        copy = asked.copy or Path(place) / "copy"
        if not copy.exists():
            left_out = shutil.ignore_patterns(".git", "out", ".*_cache", "__pycache__")
            shutil.copytree(ROOT, copy, ignore=left_out)
        return run(asked, copy.resolve())


def run(asked, copy):
    """Try the sample's mutants that the log does not hold yet."""
    places = []
    for room in ROOMS:
        for path in sorted((copy / room).rglob("*.py")):
            module = path.relative_to(copy)
            source = path.read_text(encoding="utf-8")
            places += [(module, *each) for each in changes(source)]
    sample = random.Random(asked.seed).sample(places, min(asked.mutants, len(places)))
    ends = {}
    if asked.log and asked.log.exists():
        for line in asked.log.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            ends[entry["module"], entry["number"]] = entry["end"]
    began = time.monotonic()
    for module, number, line, what in sample:
        if (module.as_posix(), number) in ends:
            continue
        if time.monotonic() - began > 60 * asked.minutes:
            break
        end, words = tried(copy, module, number, what)
        ends[module.as_posix(), number] = end
        print(f"{end} {module}:{line}: {words}", flush=True)
        if asked.log:
            entry = {"module": module.as_posix(), "number": number, "line": line, "change": words}
            with asked.log.open("a", encoding="utf-8") as log:
                log.write(json.dumps(entry | {"end": end}) + "\n")
    counts = {end: list(ends.values()).count(end) for end in ("killed", "hangs", "SURVIVED")}
    print(f"{dt.date.today()}: {len(ends)} of {len(places):,} possible mutants: {counts}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
