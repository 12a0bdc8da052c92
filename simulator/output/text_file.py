"""Writing one file as a whole or not at all."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from simulator.output.leftovers import PARTIAL, own_mark, remove_leftovers
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def staged(path: Path, *, make_folder: bool = False) -> Iterator[Path]:
    """Where to write a file that takes its place, complete, once the block has ended well.

    It is staged beside its place and renamed, so that an interrupted or failed write leaves an
    earlier file as it was. What writers left there that were killed is removed.

    Parameters
    ----------
    make_folder:
        Whether the folder is made where it does not exist; else that is an error.

    Raises
    ------
    UserError
        If it cannot be written, an `OSError` of the block included.
    """
    stage = None
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent)
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}{own_mark()}", suffix=path.suffix or ".tmp"
        )
        os.close(handle)
        stage = Path(name)
        yield stage
        umask = os.umask(0)
        os.umask(umask)
        stage.chmod(0o666 & ~umask)
        stage.replace(path)
    except OSError as error:
        # inside a run's own staging folder the reader knows the file by its final place
        shown = path.parent.parent / path.name if path.parent.name.startswith(PARTIAL) else path
        raise UserError(f"cannot write {shown}: {error.strerror or error}") from None
    finally:
        if stage is not None:
            stage.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file as a whole or not at all, see `staged`; its folder is made.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    with staged(path, make_folder=True) as stage:
        stage.write_text(text, encoding="utf-8")
