"""Files and folders under way: whose they are, and removing those of processes that have died."""

from __future__ import annotations

import os
import re
import shutil
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_MARKED = re.compile(r"^\..*~(?P<host>[\w-]+)\.(?P<pid>\d+)\.")
"""Names of files and folders under way: hidden, with the machine and process after a tilde."""

PARTIAL = ".partial"
"""How names of folders begin in which a run's files are staged."""


def own_mark() -> str:
    """What stands in the name of a file under way that this process writes."""
    return f"~{_host()}.{os.getpid()}."


def is_left_over(name: str) -> bool:
    """Whether a file under way belongs to a process of this machine that no longer runs."""
    found = _MARKED.match(name)
    return found is not None and found["host"] == _host() and not _runs(int(found["pid"]))


def remove_leftovers(folder: Path) -> None:
    """Remove what dead processes of this machine left under way in a folder; nothing else."""
    try:
        found = [path for path in folder.iterdir() if is_left_over(path.name)]
    except OSError:
        return
    for path in found:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            try:
                path.unlink(missing_ok=True)
            except OSError:
                continue


def others_at_work(folder: Path) -> list[int]:
    """Other processes of this machine that run and have files under way in a folder."""
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError:
        return []
    marks = [found for name in names if (found := _MARKED.match(name)) and found["host"] == _host()]
    pids = {int(found["pid"]) for found in marks} - {os.getpid()}
    return sorted(pid for pid in pids if _runs(pid))


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _host() -> str:
    return re.sub(r"[^\w-]", "-", socket.gethostname()) or "host"
