"""Models given by a file: a Hugging Face ``config.json``, or a YAML in the form of the shipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workloads.datafiles import is_file, read_json, read_yaml_mapping
from workloads.errors import UserError, shown

MOST_LAYERS = 10_000
"""Layers that a file may describe; each is an object here, and no model has a tenth of them."""

_SUFFIXES = (".json", ".yaml", ".yml")


def is_model_file(name: str) -> bool:
    """Whether a model is named by a file, or by a folder that holds a ``config.json``."""
    path = Path(name.strip()).expanduser()
    return path.suffix.lower() in _SUFFIXES or is_file(path / "config.json")


def model_file(name: str) -> Path:
    """The file that a model is named by.

    Raises
    ------
    UserError
        If it is not there.
    """
    path = Path(name.strip()).expanduser()
    if is_file(path / "config.json"):
        path = path / "config.json"
    if not is_file(path):
        raise UserError(
            f"model file {name} does not exist; give the path of a config.json, of an "
            "architecture YAML, or a name that `simulate list models` shows"
        )
    return path


def checked_length(value: Any) -> int:
    """A number of layers that a file states.

    Raises
    ------
    UserError
        If it is more than any model has.
    """
    length = int(value)
    if length > MOST_LAYERS:
        raise UserError(f"{length:,} layers are stated; a model has {MOST_LAYERS:,} at the most")
    return length


def expanded(value: Any) -> Any:
    """A value of a YAML file with its short forms of long lists written out.

    ``{repeat: [a, b], length: n}`` repeats a pattern over n entries, ``{runs: [[a, 3], [b, 2]]}``
    gives a, a, a, b, b.

    Raises
    ------
    UserError
        If a list is longer than a model has layers.
    """
    if isinstance(value, dict):
        if set(value) == {"repeat", "length"}:
            pattern, length = list(value["repeat"]), checked_length(value["length"])
            if not pattern:
                raise UserError("repeat is empty; it must name what is repeated")
            return [pattern[i % len(pattern)] for i in range(length)]
        if set(value) == {"runs"}:
            checked_length(sum(int(count) for _, count in value["runs"]))
            return [item for item, count in value["runs"] for _ in range(int(count))]
        return {key: expanded(item) for key, item in value.items()}
    return value


def read_model_file(path: Path) -> dict[str, Any]:
    """The document of a model file, in the form of ``workloads/architectures/data``.

    Of a ``config.json`` it is ``name`` (that of the file or, if it is called config, of its folder)
    and ``config_json``, with the quantisation of an ``hf_quant_config.json`` beside it.

    Raises
    ------
    UserError
        If it cannot be read, is not JSON or YAML, or holds no mapping.
    """
    if path.suffix.lower() != ".json":
        document = read_yaml_mapping(path)
        if "architectures" in document:
            return {"name": path.stem, "config_json": document}
        if "config" not in document and "config_json" not in document:
            raise UserError(
                f"{path} lacks config (the values of the family's fields) or config_json (those "
                "of a published config.json); see `simulate show model` of a known one"
            )
        return {"name": path.stem, **document}
    config = _read_json(path)
    beside = path.with_name("hf_quant_config.json")
    if "quantization_config" not in config and beside.is_file():
        config["quantization_config"] = _read_json(beside).get("quantization")
    name = path.parent.resolve().name if path.stem == "config" else path.stem
    return {"name": name, "config_json": config}


def _read_json(path: Path) -> dict[str, Any]:
    data = read_json(path)
    if not isinstance(data, dict):
        raise UserError(f"{path} must hold the keys of a model; it holds {shown(data)}")
    return data
