"""The engine that stands in where a user names none."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from workloads.datafiles import read_yaml_mapping


@cache
def _rules() -> list[dict[str, Any]]:
    path = Path(str(resources.files("simulator.engines") / "default_engines.yaml"))
    rules: list[dict[str, Any]] = read_yaml_mapping(path)["rules"]
    return rules


def default_engine(*, sku: str, model: str) -> tuple[str, str]:
    """Engine for a model (canonical name) on a SKU, and the reason for it."""
    rule = next(
        rule
        for rule in _rules()
        if sku in rule.get("skus", [sku]) and model in rule.get("models", [model])
    )
    return str(rule["engine"]), f"default: {rule['reason']} ({rule['source']})"
