"""The version that every result carries."""

from __future__ import annotations


def version() -> str:
    """Version of the installed distribution."""
    from importlib.metadata import version as installed

    return installed("forecurve")
