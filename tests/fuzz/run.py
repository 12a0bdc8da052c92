"""Fuzz every reader of user files: ``python tests/fuzz/run.py --cases 20000``.

Each case may take two seconds of CPU and 1 GiB beyond what the process holds; whatever is no clean
error is printed with its reader and seed.
"""

import argparse
import datetime as dt
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

from fuzz_mutations import mutated
from fuzz_readers import attempt, readers

SECONDS, BYTES = 2, 2**30


class TooLongError(Exception):
    """A case took longer than allowed."""


def _stop(*_):
    raise TooLongError(f"more than {SECONDS} s of CPU")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--start", type=int, default=0, help="first seed")
    parser.add_argument("--reader", action="append", help="only these")
    asked = parser.parse_args()
    signal.signal(signal.SIGPROF, _stop)
    bad = 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "altered"
        folder.mkdir()
        (Path(place) / "good").mkdir()
        found = readers(Path(place) / "good")
        for name in ("summary.json", "points.csv"):
            (folder / name).write_text(found[f"report {name}"].text, encoding="utf-8")
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + BYTES, held + BYTES))
        for name, reader in found.items():
            if asked.reader and name not in asked.reader:
                continue
            kinds: dict[str, int] = {}
            began = time.monotonic()
            for seed in range(asked.start, asked.start + asked.cases):
                text = mutated(reader.text, seed)
                signal.setitimer(signal.ITIMER_PROF, SECONDS)
                try:
                    problem = attempt(reader, text, folder)
                except TooLongError as error:
                    problem = str(error)
                finally:
                    signal.setitimer(signal.ITIMER_PROF, 0)
                if problem is not None:
                    bad += 1
                    kinds[problem[:60]] = kinds.get(problem[:60], 0) + 1
                    if kinds[problem[:60]] == 1:
                        print(f"{name}, seed {seed}: {problem[:300]}", flush=True)
            (folder / reader.file).write_text(reader.text, encoding="utf-8")
            seconds = time.monotonic() - began
            print(f"{name}: {sum(kinds.values())} not clean, {seconds:.0f} s", flush=True)
    print(f"{dt.date.today()}: {len(found)} readers, {asked.cases:,} cases each, {bad} not clean")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
