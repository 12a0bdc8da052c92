"""The one writer of ``resolved.yaml``: every setting of a run with its value and origin."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from simulator.version import version

if TYPE_CHECKING:
    from collections.abc import Mapping


def resolved_text(resolved: Mapping[str, Any]) -> str:
    """The text of the file, the version first, which ``--scenario`` reads again."""
    return yaml.safe_dump(
        {"version": {"value": version(), "origin": "installed"}, **plain(resolved)},
        sort_keys=False,
        allow_unicode=True,
    )


def plain(node: Any) -> Any:
    """Mappings and lists that YAML writes without tags."""
    if hasattr(node, "items"):
        return {name if isinstance(name, int) else str(name): plain(v) for name, v in node.items()}
    if isinstance(node, list | tuple):
        return [plain(value) for value in node]
    return str(node) if isinstance(node, Path) else node
