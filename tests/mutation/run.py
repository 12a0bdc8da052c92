"""Mutation test by one command: ``python tests/mutation/run.py --mutants 300 --keep DIR``.

A random sample of changes of one operator, comparison or number in the modules that predictions
follow from. Each is tested, in a copy of the checkout, by the quick tests that run the changed
function, the quickest first, for ``--seconds`` of CPU at the most: first those of files that import
its module and of a few that simulate whole runs, then, with ``--every-file``, those of all others.
Survivors are printed for judgement: not each is a defect of the tests, since some changes have no
effect.

``--keep DIR`` keeps the copy, which tests run which functions, and a line for each mutant, so that
the same command goes on where it was ended; ``--survivors`` tries those again that were not seen,
under the tests of now. A mutant under which a test takes three minutes of CPU hangs, which is told;
that counts as seen.
"""

import argparse
import datetime as dt
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

from changes import changed, changes, function_at, instrumented

ROOT = Path(__file__).parents[2]
ROOMS = (
    *("simulator/serving", "simulator/engines", "simulator/prediction", "hwmodels"),
    "workloads/models",
)
WHOLE = (
    "tests/regression/test_pins.py",
    "tests/theory/test_run_closed_forms.py",
    "tests/theory/test_engine_conservation.py",
    "tests/unit/test_engine_vendors.py",
    "tests/unit/test_explain.py",
)
LIBRARIES = (
    *("joblib", "matplotlib", "numpy", "pandas", "pyarrow.parquet", "pydantic", "pytest"),
    *("rich.table", "scipy.optimize", "scipy.stats", "simpy", "typer.testing", "yaml"),
)
MOST_FILES = 10
LONGEST_S, LONGEST_WALL_S = 180, 900


def modules(root):
    """Modules of the rooms that are changed, below a root."""
    return [
        path.relative_to(root) for room in ROOMS for path in sorted((root / room).rglob("*.py"))
    ]


def files_of(root, module):
    """Test files that import a module, those of fewest imports first; then what runs it all."""
    name = module.as_posix().removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    package, _, last = name.rpartition(".")
    direct = []
    for path in sorted((root / "tests").glob("*/test_*.py")):
        text = path.read_text(encoding="utf-8")
        if any(
            said in text
            for said in (f"{name} import", f"import {name}", f"from {package} import {last}")
        ):
            direct.append((text.count("\nfrom ") + text.count("\nimport "), path))
    near = [path.relative_to(root).as_posix() for _, path in sorted(direct)][:MOST_FILES]
    return near + [path for path in WHOLE if path not in near]


class Watch:
    """A plugin of pytest that notes which functions each test ran, and its seconds of CPU."""

    def __init__(self):
        self.tests = {}

    def pytest_collection_finish(self, session):
        del session
        self.at_import, sys.ran = set(sys.ran), set()
        self.began = time.process_time()

    def pytest_runtest_logreport(self, report):
        entry = self.tests.setdefault(report.nodeid, {"passed": True})
        entry["passed"] &= report.outcome == "passed"
        if report.when == "teardown":
            entry["seconds"] = time.process_time() - self.began
            entry["ran"] = sorted(sys.ran | self.at_import)
            self.began, sys.ran = time.process_time(), set()


def import_libraries():
    """What every test needs and no change touches, once for all children."""
    for name in LIBRARIES:
        importlib.import_module(name)


def in_child(root, tests, *, plugin=None, answer=None):
    """Status of pytest on some tests in a fork that imports the checkout at a root afresh."""
    child = os.fork()
    if child == 0:
        status = 70
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            resource.setrlimit(resource.RLIMIT_CPU, _cpu_limit(plugin is None))
            signal.alarm(LONGEST_WALL_S)  # one that waits for ever takes no CPU
            os.chdir(root)
            os.environ |= {"PYTHONPATH": str(root), "CI": "1"}
            sys.path.insert(0, str(root))
            sys.dont_write_bytecode = False
            import pytest

            options = ["-q", "-n", "0", "-m", "not slow", "-p", "no:cacheprovider"]
            options += [] if plugin else ["-x"]
            status = int(pytest.main([*options, *tests], plugins=[plugin] if plugin else []))
            if plugin:
                answer.write_text(json.dumps(plugin.tests), encoding="utf-8")
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _cpu_limit(is_mutant):
    used = int(time.process_time())
    longest = used + (LONGEST_S if is_mutant else 20 * LONGEST_S)
    return longest, longest + 5


class Checkout:
    """A copy that is changed, a copy that notes what runs, and what is known of its tests."""

    def __init__(self, keep, *, seconds, every_file, files):
        self.keep, self.seconds, self.every_file, self.files = keep, seconds, every_file, files
        self.known = {}
        self.undo = keep / "undo.json"
        self.changed, self.noting = keep / "changed", keep / "noting"
        if not self.noting.exists():
            left_out = shutil.ignore_patterns(".git", "out", ".*_cache", "__pycache__")
            shutil.copytree(ROOT, self.changed, ignore=left_out)
            shutil.copytree(self.changed, keep / "noting.part")
            for module in modules(self.changed):
                text = (self.changed / module).read_text(encoding="utf-8")
                (keep / "noting.part" / module).write_text(
                    instrumented(text, module.as_posix()), encoding="utf-8"
                )
            (keep / "noting.part").rename(self.noting)

        if self.undo.exists():  # a run that was killed
            self._undo()

    def _undo(self):
        module, source = json.loads(self.undo.read_text(encoding="utf-8"))
        (self.changed / module).write_text(source, encoding="utf-8")
        self.undo.unlink()

    def take_tests(self):
        """The tests of now in place of those of the copy; what changed is noted again."""
        helpers = [
            path
            for path in (ROOT / "tests").rglob("*")
            if path.is_file() and not path.name.startswith("test_") and path.suffix != ".pyc"
        ]
        for path in [*helpers, *(ROOT / "tests").glob("*/test_*.py")]:
            place = path.relative_to(ROOT)
            copy = self.changed / place
            if copy.exists() and copy.read_bytes() == path.read_bytes():
                continue
            for root in (self.changed, self.noting):
                (root / place).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, root / place)
            self._notes_of(place.as_posix()).unlink(missing_ok=True)

    def _notes_of(self, file):
        return self.keep / (file.replace("/", "_") + ".json")

    def tests_of(self, file):
        """Tests of a file that pass, with what they run and how long they take."""
        if file not in self.known:
            notes = self._notes_of(file)
            if not notes.exists():
                sys.ran = set()
                in_child(self.noting, [file], plugin=Watch(), answer=notes)
            if not notes.exists():
                notes.write_text("{}", encoding="utf-8")
                print(f"{file} cannot be run", flush=True)
            tests = json.loads(notes.read_text(encoding="utf-8"))
            self.known[file] = {
                name: (test["seconds"], {tuple(each) for each in test["ran"]})
                for name, test in tests.items()
                if test["passed"] and "ran" in test
            }
        return self.known[file]

    def _chosen(self, files, function):
        """Tests that run a function, the quickest first, as many as the time allows."""
        found = sorted(
            (seconds, name)
            for file in files
            for name, (seconds, ran) in self.tests_of(file).items()
            if function[1] == 0 or function in ran
        )
        names, left_s = [], self.seconds
        for seconds, name in found:
            left_s -= seconds
            if names and left_s < 0:
                break
            names.append(name)
        return names

    def tested(self, module, number, line, what):
        """How tests end with one place changed: killed, hangs, SURVIVED, or no test runs it."""
        path = self.changed / module
        source = path.read_text(encoding="utf-8")
        function = (module.as_posix(), function_at(source, line))
        text, words = changed(source, number, what)
        near = files_of(self.changed, module)
        others = sorted(
            path.relative_to(self.changed).as_posix()
            for path in (self.changed / "tests").glob("*/test_*.py")
        )
        rounds = [near, [path for path in others if path not in near]]
        tests = 0
        if self.files:
            rounds = [self.files]
        for files in rounds if self.every_file else rounds[:1]:
            names = self._chosen(files, function)
            if not names:
                continue
            tests += len(names)
            self.undo.write_text(json.dumps([module.as_posix(), source]), encoding="utf-8")
            path.write_text(text, encoding="utf-8")
            try:
                status = in_child(self.changed, names)
            finally:
                self._undo()
            if status:
                return ("hangs" if status < 0 else "killed"), words, tests
        return ("SURVIVED" if tests else "not run"), words, tests


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--mutants", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=600.0, help="stop after so long")
    parser.add_argument("--keep", type=Path, help="folder from which a later start goes on")
    parser.add_argument("--survivors", action="store_true", help="only those again, in this code")
    parser.add_argument("--seconds", type=float, default=60.0, help="CPU of tests for a mutant")
    parser.add_argument("--every-file", action="store_true", help="tests of other files too")
    parser.add_argument("--files", nargs="+", help="tests of these files alone")
    asked = parser.parse_args()
    import_libraries()
    with tempfile.TemporaryDirectory() as place:
        keep = (asked.keep or Path(place)).resolve()
        keep.mkdir(parents=True, exist_ok=True)
        checkout = Checkout(
            keep, seconds=asked.seconds, every_file=asked.every_file, files=asked.files
        )
        if asked.survivors:
            checkout.take_tests()
        return run(asked, checkout, keep / "mutants.jsonl")


def run(asked, checkout, log):
    """Try the sample's mutants that the log does not hold yet."""
    places = []
    for module in modules(checkout.changed):
        source = (checkout.changed / module).read_text(encoding="utf-8")
        places += [(module, *each) for each in changes(source)]
    sample = random.Random(asked.seed).sample(places, min(asked.mutants, len(places)))
    ends = {}
    for text in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
        entry = json.loads(text)
        ends[entry["module"], entry["number"]] = entry["end"]
    began = time.monotonic()
    for module, number, line, what in sample:
        before = ends.get((module.as_posix(), number))
        if before and not (asked.survivors and before in ("SURVIVED", "not run")):
            continue
        if time.monotonic() - began > 60 * asked.minutes:
            break
        end, words, tests = checkout.tested(module, number, line, what)
        ends[module.as_posix(), number] = end
        print(f"{end} {module}:{line}: {words} ({tests} tests)", flush=True)
        entry = {"module": module.as_posix(), "number": number, "line": line, "change": words}
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry | {"end": end}) + "\n")
    counts = {end: list(ends.values()).count(end) for end in sorted(set(ends.values()))}
    print(f"{dt.date.today()}: {len(ends)} of {len(places):,} possible mutants: {counts}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
