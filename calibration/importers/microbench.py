"""Rows of `calibration.microbench` in the form that kernel fits take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calibration.microbench.rows import read_rows
from hwmodels.sku import list_skus, load_sku
from workloads.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

FAMILY_OF_KIND = {
    "gemm": ("gemm", ""),
    "grouped_gemm": ("grouped_gemm", ""),
    "copy": ("memory", "any"),
    "read": ("memory", "any"),
    "gather": ("memory", "any"),
    "launch_graph": ("launch", "graph"),
    "launch_eager": ("launch", "eager"),
}
"""Kernel family and path of each kind; an empty path is the row's own."""


def sku_of_device(device: str) -> str:
    """The SKU key that a driver's name for a GPU means, such as ``NVIDIA H200``.

    Raises
    ------
    UserError
        If no SKU of the catalogue, or more than one, is named in it.
    """
    words = device.lower().replace("-", " ").replace("_", " ").split()
    found = [key for key in list_skus() if key in words]
    if len(found) != 1:
        raise UserError(f"device '{device}' names no SKU of the catalogue; give it with sku=...")
    return found[0]


def read_microbench(path: Path, *, sku: str | None = None) -> pd.DataFrame:
    """Timed kernels of a file.

    Parameters
    ----------
    sku:
        Name or alias of the chip; ``None``: as the device's name says.

    Returns
    -------
    ``sku, family, path, engine, flops`` [FLOP], ``hbm_bytes`` [B], ``kernels`` [launches] and
    ``time_s`` [s], then ``kind``, ``replay``, ``driver``, ``runtime``, ``torch`` and ``date``.

    Raises
    ------
    UserError
        If the file cannot be read or its device is no known SKU.
    """
    import pandas as pd

    rows = []
    for case, timing, machine in read_rows(path):
        family, kernel_path = FAMILY_OF_KIND[case.kind]
        rows.append(
            {
                "sku": load_sku(sku).key if sku else sku_of_device(machine.device),
                "family": family,
                "path": kernel_path or case.path,
                "engine": "torch",
                "flops": case.flops,
                "hbm_bytes": case.hbm_bytes,
                "kernels": 1.0,
                "time_s": timing.time_s,
                "kind": case.kind,
                "replay": timing.replay,
                "driver": machine.driver,
                "runtime": machine.runtime,
                "torch": machine.torch,
                "date": machine.date,
            }
        )
    return pd.DataFrame(rows)
