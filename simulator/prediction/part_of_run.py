"""What a closed loop will come to, from the first of its requests: a look at a run on its way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.analysis.objectives import TTFT_CELLS

if TYPE_CHECKING:
    import numpy.typing as npt

    from simulator.serving.records import Records

LOOKED_AT = 3
"""Requests of each client after which a run is looked at. [requests]

Of 205 runs of B200, B300, GB200 and MI355X with 64 to 4,096 clients, what is estimated then was
0.89 to 1.03 times the throughput of the whole run, 0.99 to 1.15 times its speed and 0.76 to 1.38
times its p90 TTFT.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeRun:
    """About what the whole run will show.

    Parameters
    ----------
    interactivity:
        Speed of the median user. [tok/s]
    total_tput_per_gpu:
        Prompt and output tokens per second and GPU. [tok/s]
    ttft:
        Percentiles of the TTFT by their column's name. [s]
    goodput:
        Share of the requests within a TTFT; ``None``: none was given. [-]
    """

    interactivity: float
    total_tput_per_gpu: float
    ttft: dict[str, float]
    goodput: float | None

    def to_cells(self) -> dict[str, Any]:
        """The same in the columns of a run."""
        return {
            "interactivity": self.interactivity,
            "total_tput_per_gpu": self.total_tput_per_gpu,
            "goodput": self.goodput,
            **self.ttft,
        }


def whole_run(
    part: Records,
    *,
    clients: int,
    requests_per_client: int,
    gpus: int,
    good_ttft_s: float | None = None,
) -> WholeRun:
    """Estimate a closed loop from the requests that finished first.

    A loop opens with a burst: all clients send at once, which happens a single time. So requests
    that opened the loop weigh as much as their share of the whole run, and those after them as
    much as all that follow, which are alike. Throughput goes on at the rate at which the last
    of these finished, one for each client.

    Parameters
    ----------
    part:
        Records of more requests than there are clients, in the order of their last tokens.
    clients, requests_per_client:
        Of the whole run.
    good_ttft_s:
        TTFT within which a request is good; ``None``: goodput is not asked for. [s]
    """
    opening = part.request < clients
    later = max(int(np.count_nonzero(~opening)), 1)
    first = max(int(np.count_nonzero(opening)), 1)
    weights = np.where(
        opening, 1.0 / first, (requests_per_client - 1.0) / later
    )  # each client's first request, and all that it sends after
    finished_s = part.finish_s
    before_s, ends_s = float(finished_s[-1 - clients]), float(finished_s[-1])
    rate_per_s = clients / max(ends_s - before_s, 1e-9)
    whole_s = ends_s + (clients * requests_per_client - len(part)) / rate_per_s
    tokens = float(np.mean(part.prompt_tokens + part.output_tokens))
    ttft_s = part.ttft_s
    speaking = part.output_tokens > 1
    return WholeRun(
        interactivity=1.0 / _quantile(part.tpot_s[speaking], weights[speaking], 0.5),
        total_tput_per_gpu=tokens * clients * requests_per_client / whole_s / gpus,
        ttft={
            name: _quantile(ttft_s, weights, percentile / 100.0)
            for percentile, name in TTFT_CELLS.items()
        },
        goodput=None
        if good_ttft_s is None
        else float(weights[ttft_s <= good_ttft_s].sum() / weights.sum()),
    )


def _quantile(
    values: npt.NDArray[np.float64], weights: npt.NDArray[np.float64], share: float
) -> float:
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(reached, share * reached[-1])]])
