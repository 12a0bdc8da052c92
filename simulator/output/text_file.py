"""Writing one file as a whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from workloads.errors import UserError


def write_text(path: Path, text: str) -> None:
    """Write a file as a whole or not at all: it is staged beside its place and renamed.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    staged = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        staged = Path(name)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        umask = os.umask(0)
        os.umask(umask)
        staged.chmod(0o666 & ~umask)
        staged.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    finally:
        if staged is not None:
            staged.unlink(missing_ok=True)
