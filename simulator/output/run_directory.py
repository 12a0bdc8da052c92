"""The directory of one run: its files appear together, complete, or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from simulator.output.leftovers import PARTIAL, others_at_work, own_mark, remove_leftovers
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self


class RunDirectory:
    """Where a run writes; entering it proves that it can be written to.

    Files are staged in a hidden folder inside the directory and renamed into place when the
    block ends well, so that an interrupted or failed run leaves earlier results as they were
    and no empty folder behind. Two runs into one directory put their files in place one after
    the other, so that those of the later one stand together. What killed runs left is removed.

    Parameters
    ----------
    path:
        The directory; made, with its parents, if it does not exist.

    Raises
    ------
    UserError
        On entering, if the directory cannot be made or written to; on leaving, if a file
        cannot be put in place.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.others: list[int] = []
        """Processes that were writing into the directory when it was entered."""
        self._stage: Path | None = None
        self._made: list[Path] = []

    def __enter__(self) -> Self:
        missing = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        try:
            for folder in reversed(missing):
                folder.mkdir(exist_ok=True)
                self._made.append(folder)
            remove_leftovers(self.path)
            self.others = others_at_work(self.path)
            self._stage = Path(tempfile.mkdtemp(prefix=f"{PARTIAL}{own_mark()}", dir=self.path))
        except OSError as error:
            self._remove_what_was_made()
            raise self.unwritable(error) from None
        return self

    def stage(self, name: str) -> Path:
        """Where to write the file that will be called ``name``."""
        if self._stage is None:
            raise RuntimeError("a run directory is written to inside its 'with' block")
        return self._stage / name

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                with _alone(self.path):
                    for file in sorted(self.stage("").iterdir()):
                        file.replace(self.path / file.name)
        except OSError as failure:
            raise self.unwritable(failure) from None
        finally:
            shutil.rmtree(self.stage(""), ignore_errors=True)
            self._remove_what_was_made()

    def unwritable(self, error: OSError) -> UserError:
        """The error to raise where writing a staged file fails."""
        return UserError(
            f"cannot write to {self.path}: {error.strerror or error}; "
            "name another directory with --out"
        )

    def _remove_what_was_made(self) -> None:
        with suppress(OSError):  # it holds something, or another run has removed it
            for folder in reversed(self._made):
                folder.rmdir()
        self._made.clear()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other run puts files into a folder, and keep others waiting."""
    try:
        import fcntl
    except ImportError:  # not on Windows, where a folder cannot be locked
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # file systems without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def default_directory(name: str, *, settings: str) -> Path:
    """A directory under ``out/`` with a name and a digest of settings: equal ones share one."""
    digest = hashlib.sha256(settings.encode()).hexdigest()[:6]
    return Path("out") / f"{re.sub(r'[^a-z0-9.]+', '-', name.lower())}-{digest}"
