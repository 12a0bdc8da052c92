"""Drawn lengths of a scenario: their means stand for them as ``isl`` and ``osl``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workloads.errors import UserError, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MEANS_OF = "means of lengths "
"""How the origin of ``isl`` and ``osl`` begins where drawn lengths decide them."""

MEANS = ("isl", "osl")
_AROUND_MEANS = "uniform_0.8"


def without_means(
    values: Mapping[str, Any], *, origin: Mapping[str, str], flags: Mapping[str, Any]
) -> dict[str, Any]:
    """Settings without the means that an earlier run found of other lengths than are asked for."""
    if flags.get("lengths") is None:
        return dict(values)
    return {name: v for name, v in values.items() if not origin[name].startswith(MEANS_OF)}


def nominal_lengths(
    named: Sequence[str], *, stated: Mapping[str, Sequence[Any]]
) -> dict[str, tuple[int, ...]]:
    """The means that stand for drawn lengths as ``isl`` and ``osl``, in their order. [tokens]

    Parameters
    ----------
    named:
        Files, or names of MLPerf's workloads.
    stated:
        ``isl``, ``osl`` and ``length_distribution`` as far as they are stated.

    Raises
    ------
    UserError
        If lengths cannot be read, or others are stated beside them.
    """
    from workloads.requests.catalog import drawn_lengths

    tokens = [drawn_lengths(each).nominal_tokens for each in named]
    means = dict(zip(MEANS, zip(*tokens, strict=True), strict=True))
    known: dict[str, Sequence[Any]] = {**means, "length_distribution": (_AROUND_MEANS,)}
    for name, values in known.items():
        if name in stated and set(stated[name]) != set(values):
            raise UserError(
                f"lengths {', '.join(named)} and {name} {', '.join(map(shown, stated[name]))} are "
                "given; lengths come from one of them"
            )
    return means
