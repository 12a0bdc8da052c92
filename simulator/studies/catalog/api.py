"""The Python interface of the catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def catalog(what: str = "skus") -> pd.DataFrame:
    """SKUs, models, engines, levels, recipes, workloads or economics, one a row. SI units.

    Raises
    ------
    UserError
        If there is no such kind.
    """
    from simulator.studies.catalog.tables import catalog_list

    return catalog_list(what)


def show(what: str, name: str) -> dict[str, Any]:
    """A SKU, model, engine, recipe or economics file in full, with sources.

    Raises
    ------
    UserError
        If there is no such kind or name.
    """
    from simulator.studies.catalog.sheets import sheet_of

    return sheet_of(what, name)
