"""What a closed loop will come to, from the first of its requests: a look at a run on its way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.analysis.objectives import TTFT_CELLS

if TYPE_CHECKING:
    from simulator.serving.records import Records

LOOKED_AT = 3
"""Requests of each client after which a run is looked at. [requests]

Of 138 runs of B200, B300 and MI355X at 8192/1024 with 64 clients and more, what is
estimated then was 0.89 to 1.03 times the throughput of the whole run, 0.99 to 1.14 times its speed
and 0.45 to 1.02 times its p90 TTFT; of 36 at other lengths throughput was 0.87 to 1.03 times.
Where prefill and decode have pools of their own it was 0.91 to 1.03 times, of 142 of these and of
GB200 and of 31 at 1024/1024 and 1024/8192.
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
        Percentiles of the TTFT by their column's name, at the least. [s]
    goodput:
        Share of the requests within a TTFT, at the most; ``None``: none was given. [-]
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

    A loop opens with a burst: all clients send at once, which happens a single time and lasts into
    their next requests. So speed is that of the requests after the opening ones, and the last
    request of each client stands for all that follow: they finish at its rate, and wait as it does.

    The TTFT is a lower estimate: opening requests count as those that wait longest. Of ``R``
    requests a client a share ``q`` then waits no longer than ``(q R - 1) / (R - 1)`` of the others.

    Parameters
    ----------
    part:
        Records of at least two requests of each client, in the order of their last tokens.
    clients, requests_per_client:
        Of the whole run.
    good_ttft_s:
        TTFT within which a request is good; ``None``: goodput is not asked for. [s]
    """
    seen = len(part) // clients
    opening, last = part.request < clients, part.request >= (seen - 1) * clients
    before_s, ends_s = float(part.finish_s[-1 - clients]), float(part.finish_s[-1])
    rate_per_s = clients / max(ends_s - before_s, 1e-9)
    whole_s = ends_s + (clients * requests_per_client - len(part)) / rate_per_s
    tokens = float(np.mean(part.prompt_tokens + part.output_tokens))
    ttft_s = part.ttft_s[last if last.any() else ~opening]
    others = requests_per_client - 1.0
    shares = {
        name: max(percentile / 100.0 * requests_per_client - 1.0, 0.0) / others
        for percentile, name in TTFT_CELLS.items()
    }
    return WholeRun(
        interactivity=1.0 / float(np.nanmedian(part.tpot_s[~opening])),
        total_tput_per_gpu=tokens * clients * requests_per_client / whole_s / gpus,
        ttft={name: float(np.quantile(ttft_s, share)) for name, share in shares.items()},
        goodput=None
        if good_ttft_s is None
        else float(np.mean(ttft_s <= good_ttft_s) * others + 1.0) / requests_per_client,
    )
