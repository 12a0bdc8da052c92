"""Tables of the accuracy page: errors by speed per user, and the bands of ratios."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from calibration.fit.observations import METRICS
from calibration.pages.markdown import markdown_table, percent
from calibration.validation.paired_bands import paired_table
from calibration.validation.scores import score

if TYPE_CHECKING:
    from calibration.validation.bands import Band
    from calibration.validation.validate import Validation

SPEEDS = (20.0, 50.0, 100.0, 200.0)
"""Upper ends of the classes of measured speed per user. [tok/s/user]"""

_SHOWN = {"series": "whole layout", "sku": "SKU"}
_BASIS_OF = {"calibrated": "own runs", "transferred": "sibling", "specification": "nothing"}


def speed_rows(validation: Validation) -> str:
    """Median errors by measured speed per user, layouts and SKUs left out."""
    ends = [0.0, *SPEEDS, np.inf]
    rows = []
    for scheme, name in _SHOWN.items():
        table = validation.of(scheme)  # type: ignore[arg-type]
        speed = np.exp(-table["measured_tpot"].to_numpy(float))
        for low, high in itertools.pairwise(ends):
            group = table[(speed >= low) & (speed < high)]
            errors = [
                score(
                    predicted=group[f"predicted_{metric}"].to_numpy(float),
                    measured=group[f"measured_{metric}"].to_numpy(float),
                )
                for metric in METRICS
            ]
            cells = ["" if each is None else percent(each.median) for each in errors]
            bias = errors[1]
            span = f"from {low:g}" if high == np.inf else f"{low:g} to {high:g}"
            rows.append(
                [name, span, f"{len(group):,}", *cells, "" if bias is None else f"{bias.bias:+.1%}"]
            )
    header = ("left out", "tok/s/user", "n", "tok/s/GPU", "TPOT", "TTFT", "bias of TPOT")
    return "By measured speed per user, 1 / median TPOT; median errors.\n\n" + markdown_table(
        header, rows
    )


def pair_rows(validation: Validation) -> str:
    """Coverage and width of the bands of ratios beside those of single predictions."""
    table = paired_table(validation.predictions, single=single_bands(validation))
    if table.empty:
        return ""
    rows = [
        [
            str(row["key"]).replace("/", " over "),
            str(row["relation"]),
            f"{row['pairs']:,}",
            f"{row['n']:,}",
            percent(row["covered"]),
            percent(row["covered_by_others"]),
            f"{np.exp(row['width']):.2f}",
            f"{row['over_single']:.2f}",
            f"{row['width'] / row['independent']:.2f}",
        ]
        for row in table.to_dict("records")
    ]
    note = (
        "Ratios of two systems, or of one SKU and engine on two *dates*: how far measured "
        "frontiers of one model, lengths, speculation and source lie off the predicted ones at "
        "equal users per GPU, one system against the other, each predicted without its own runs "
        "(*calibrated*: its layouts left out; *transferred*: the SKU with its kernel tables; "
        "*specification*: nothing fitted). A *platform* is a chip generation with one set of "
        "kernels: B200 to GB300, H100 and H200, MI300X and MI325X. *By the others*: pairs of a "
        "SKU judged by the pairs without it. Width is high over low; beside it its logarithm over "
        "that of the wider single band of throughput, and over that of two such bands if their "
        "errors were independent."
    )
    header = (
        *("ratio of", "engines", "SKU pairs", "n", "covered", "by the others"),
        *("width", "of a single band", "of two independent"),
    )
    return f"{note}\n\n{markdown_table(header, rows)}"


def single_bands(validation: Validation) -> dict[str, Band]:
    """Band of throughput of each kind of prediction."""
    found = {
        kind: validation.bands.get(basis, {}).get("total_tput_per_gpu")  # type: ignore[call-overload]
        for kind, basis in _BASIS_OF.items()
    }
    return {kind: band for kind, band in found.items() if band is not None}
