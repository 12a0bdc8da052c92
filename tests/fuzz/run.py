"""Fuzz every reader of user files: ``python tests/fuzz/run.py --cases 20000``.

Each case may take two seconds of CPU and 1 GiB beyond what the process holds; whatever is no clean
error is printed with its reader and seed. Readers take turns by 250 cases, with a line after each
round, so that a run that is ended says how far it came; ``--start SEED`` goes on, ``--minutes M``
ends with the round in which they have passed.
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
ROUND = 250


class TooLongError(Exception):
    """A case took longer than allowed."""


def _stop(*_):
    raise TooLongError(f"more than {SECONDS} s of CPU")


def altered(reader, seed, folder):
    """What goes wrong with one altered file of a reader; ``None``: nothing."""
    text = mutated(reader.text, seed)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        return attempt(reader, text, folder)
    except TooLongError as error:
        return str(error)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        (folder / reader.file).write_text(reader.text, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--start", type=int, default=0, help="first seed")
    parser.add_argument("--reader", action="append", help="only these")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    asked = parser.parse_args()
    end_s = time.monotonic() + 60 * asked.minutes
    signal.signal(signal.SIGPROF, _stop)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "altered"
        folder.mkdir()
        (Path(place) / "good").mkdir()
        found = readers(Path(place) / "good")
        for name in ("summary.json", "points.csv"):
            (folder / name).write_text(found[f"report {name}"].text, encoding="utf-8")
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + BYTES, held + BYTES))
        chosen = {name: each for name, each in found.items() if name in (asked.reader or found)}
        kinds = {name: {} for name in chosen}
        for first in range(asked.start, asked.start + asked.cases, ROUND):
            last = min(first + ROUND, asked.start + asked.cases)
            for name, reader in chosen.items():
                for seed in range(first, last):
                    problem = altered(reader, seed, folder)
                    if problem is None:
                        continue
                    kind = problem[:60]
                    kinds[name][kind] = kinds[name].get(kind, 0) + 1
                    if kinds[name][kind] == 1:
                        print(f"{name}, seed {seed}: {problem[:300]}", flush=True)
            bad = {name: sum(each.values()) for name, each in kinds.items() if each}
            print(
                f"{dt.datetime.now():%Y-%m-%d %H:%M}: {len(chosen)} readers, "
                f"{last - asked.start:,} cases each, not clean: {bad or 'none'}",
                flush=True,
            )
            if time.monotonic() > end_s:
                break
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
