"""Models given by a file: a Hugging Face ``config.json``, or a YAML in the form of the shipped."""

from __future__ import annotations

from pathlib import Path

from workloads.errors import UserError

_SUFFIXES = (".json", ".yaml", ".yml")


def is_model_file(name: str) -> bool:
    """Whether a model is named by a file, or by a folder that holds a ``config.json``."""
    path = Path(name.strip()).expanduser()
    return path.suffix.lower() in _SUFFIXES or (path / "config.json").is_file()


def model_file(name: str) -> Path:
    """The file that a model is named by.

    Raises
    ------
    UserError
        If it is not there.
    """
    path = Path(name.strip()).expanduser()
    if (path / "config.json").is_file():
        path = path / "config.json"
    if not path.is_file():
        raise UserError(
            f"model file {name} does not exist; give the path of a config.json, of an "
            "architecture YAML, or a name that `simulate list models` shows"
        )
    return path
