"""Finished parts of a command's work on disk, which the same command finds after an interruption.

A part is one file, named after a digest of all that it follows from, and begins with a digest
of its content: a file of other inputs, or one that is not whole, is not found. What is read is
made of plain values and of this project's own classes; anything else is refused.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from simulator.output.leftovers import others_at_work, own_mark, remove_leftovers
from simulator.output.package_digest import digest_of_packages
from simulator.output.text_file import staged
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Part = TypeVar("Part")

_OWN = ("simulator.", "hwmodels.", "workloads.", "calibration.")
_PLAIN = {
    "builtins": {"frozenset", "set", "complex", "range", "slice", "bytearray"},
    "collections": {"OrderedDict", "Counter"},
    "datetime": {"date", "datetime", "timedelta", "timezone"},
    "pathlib": {"Path", "PosixPath", "WindowsPath", "PurePosixPath"},
    "pathlib._local": {"Path", "PosixPath", "WindowsPath"},
    "numpy": {"dtype", "ndarray"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy.core.numeric": {"_frombuffer"},
    "numpy._core.numeric": {"_frombuffer"},
}


class KeptWork:
    """Finished parts of one command's work.

    Parameters
    ----------
    folder:
        Where they are kept until the command has ended well.
    inputs:
        What every part follows from: code, data, the question.
    """

    def __init__(self, folder: Path, *, inputs: str) -> None:
        self.folder = folder
        self._inputs = inputs
        self.found = 0
        """Parts that an earlier run had finished."""
        self.saved = 0
        """Parts that this run has finished."""

    def get(self, key: str) -> tuple[Any] | None:
        """The part of a key in a tuple of its own; ``None`` where there is none."""
        try:
            data = self._path(key).read_bytes()
        except OSError:
            return None
        digest, body = data[:32], data[32:]
        if hashlib.sha256(body).digest() != digest:
            return None
        try:
            value = _Reader(io.BytesIO(body)).load()
        except (pickle.UnpicklingError, AttributeError, ImportError, TypeError, ValueError):
            return None
        self.found += 1
        return (value,)

    def put(self, key: str, value: object) -> None:
        """Keep a part.

        Raises
        ------
        UserError
            If it cannot be written.
        """
        body = pickle.dumps(value, protocol=5)
        data = hashlib.sha256(body).digest() + body
        try:
            self._write(key, data)
        except UserError:
            if self.folder.exists():
                raise
            self._write(key, data)  # another run of the same command has just ended and cleared it
        self.saved += 1

    def _write(self, key: str, data: bytes) -> None:
        with staged(self._path(key), make_folder=True) as stage:
            stage.write_bytes(data)
        with suppress(OSError):
            self._mark().touch()

    def clear(self) -> None:
        """Remove what is kept: the command has ended well."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def join(self) -> list[int]:
        """Say that this process is at the work; other processes that are.

        In a folder that does not exist yet that is said with the first part.
        """
        remove_leftovers(self.folder)
        others = others_at_work(self.folder)
        with suppress(OSError):
            if self.folder.parent.is_dir():
                self.folder.mkdir(exist_ok=True)
                self._mark().touch()
        return others

    def leave(self) -> None:
        """Stop working on the parts, and keep them."""
        with suppress(OSError):
            self._mark().unlink()
        with suppress(OSError):  # parts are kept, or another process is at work
            self.folder.rmdir()

    def _mark(self) -> Path:
        return self.folder / f".at-work{own_mark()}"

    def __len__(self) -> int:
        with suppress(OSError):
            return sum(1 for path in self.folder.iterdir() if path.suffix == ".part")
        return 0

    def _path(self, key: str) -> Path:
        name = hashlib.sha256(f"{self._inputs}\n{key}".encode()).hexdigest()[:32]
        return self.folder / f"{name}.part"


def once(kept: KeptWork | None, key: str, work: Callable[[], Part]) -> Part:
    """What some work comes to, now or in an earlier run of the same command.

    Raises
    ------
    UserError
        The one that the work ends with, or ended with then.
    """
    if kept is None:
        return work()
    part = kept.get(key)
    if part is None:
        outcome: Part | UserError
        try:
            outcome = work()
        except UserError as error:
            outcome = error
        kept.put(key, outcome)
        part = (outcome,)
    if isinstance(part[0], UserError):
        raise part[0]
    found: Part = part[0]
    return found


class _Reader(pickle.Unpickler):
    """Reads plain values and this project's classes: a file in a folder is not to run code."""

    def find_class(self, module: str, name: str) -> Any:
        if name in _PLAIN.get(module, ()) or (module.startswith(_OWN) and "." not in name):
            found = super().find_class(module, name)
            if module in _PLAIN or isinstance(found, type):
                return found
        raise pickle.UnpicklingError(f"{module}.{name} is not read here")


def inputs_digest(*values: object) -> str:
    """Digest of code, shipped data and values; of a file that a value names, its content too.

    Parameters
    ----------
    values:
        Mappings, sequences and scalars; a text or path that names a file, or a folder of YAML
        files, counts with what stands there.
    """
    digest = hashlib.sha256(digest_of_packages().encode())
    for value in values:
        for text in _leaves(value):
            digest.update(text.encode())
            digest.update(b"\0")
            for path in _files(text):
                with suppress(OSError):
                    digest.update(path.read_bytes())
    return digest.hexdigest()


def _leaves(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name in sorted(value, key=str):
            yield str(name)
            yield from _leaves(value[name])
    elif isinstance(value, list | tuple | set | frozenset):
        yield str(len(value))
        for each in sorted(value, key=str) if isinstance(value, set | frozenset) else value:
            yield from _leaves(each)
    else:
        yield str(value)


def _files(text: str) -> list[Path]:
    if not text or len(text) > 4096 or "\0" in text:
        return []
    path = Path(text)
    try:
        if path.is_file():
            return [path]
        if path.is_dir():  # a calibration
            return sorted(path.glob("*.yaml"))
    except OSError:
        return []
    return []


def kept_beside(path: Path, *, inputs: str) -> KeptWork:
    """Parts of the work on one file, in a hidden folder beside it."""
    return KeptWork(path.with_name(f".{path.name}.kept"), inputs=inputs)


def kept_within(directory: Path, *, inputs: str) -> KeptWork:
    """Parts of the work on one directory, in a hidden folder inside it."""
    return KeptWork(directory / ".kept", inputs=inputs)
