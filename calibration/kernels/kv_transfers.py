"""The law of KV transfers between two workers, fitted to measured ones.

``t = L + B / (e W)`` by library and by who moves the data, on the rows of
``measurements/communication/kv_transfers.csv`` (CollectiveX, one GPU a node, two nodes).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from calibration.kernels.robust import soft_l1_fit
from hwmodels.kv_transfers import load_transfer_library, transfer_line_rate
from hwmodels.sku import load_sku

if TYPE_CHECKING:
    import numpy.typing as npt

IN_FLIGHT_LIMIT = 20e9
"""Bytes in flight beyond which Mooncake falls from 47 to 3.5 GB/s; such rows stay out. [B]"""

IDLE_PORTS = {"gb200": 2.0}
"""Ports of the one sending GPU: GB200 reached 95 GB/s over the idle port of a neighbour. [-]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferLaw:
    """Latency [s] and share of the line rate [-] of one library and direction."""

    latency_s: float
    share: float

    def predict_s(self, frame: pd.DataFrame) -> npt.NDArray[np.float64]:
        """Times of transfers. [s]"""
        return np.asarray(self.latency_s + frame["line_s"] / self.share, dtype=float)


def read_kv_transfers() -> pd.DataFrame:
    """Measured transfers: ``sku, library, op``, ``line_s`` at the line rate and ``time_s``. [s]"""
    folder = Path(str(resources.files("calibration"))) / "measurements" / "communication"
    frame = pd.read_csv(folder / "kv_transfers.csv")
    size = frame["request_bytes"] * frame["batch"]
    rates = [
        transfer_line_rate(library=load_transfer_library(library), sku=load_sku(sku))
        * IDLE_PORTS.get(sku, 1.0)
        for library, sku in zip(frame["library"], frame["sku"], strict=True)
    ]
    frame = frame.assign(line_s=size / rates, time_s=frame["latency_p50_ms"] / 1e3)
    choked = (frame["library"] == "mooncake") & (size > IN_FLIGHT_LIMIT)
    return frame[~choked].reset_index(drop=True)


def fit_kv_transfers(frame: pd.DataFrame) -> TransferLaw:
    """Robust fit to logarithmic residuals; the share is at most 1."""
    line_s, time_s = frame["line_s"].to_numpy(float), frame["time_s"].to_numpy(float)

    def residuals(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        latency_s, share = np.exp(x)
        return np.asarray(np.log(latency_s + line_s / share) - np.log(time_s))

    bounds = (np.log([1e-6, 0.05]), np.log([5e-3, 1.0]))
    found = soft_l1_fit(residuals, np.log([1e-4, 0.8]), bounds=bounds, scale=0.1)
    latency_s, share = np.exp(found)
    return TransferLaw(latency_s=float(latency_s), share=float(share))
