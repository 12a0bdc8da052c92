"""What a KV transfer between two workers takes, by library.

``t = L + B / (e W)``: latency and share of the line rate belong to a library and to who starts the
transfer; ``communication/kv_transfer.yaml`` holds them, fitted by
`calibration.kernels.kv_transfers`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from hwmodels.quantities import Figure
from workloads.datafiles import read_yaml_mapping
from workloads.errors import UserError, unknown_name

if TYPE_CHECKING:
    from hwmodels.sku import Sku

Direction = Literal["push", "pull"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferLibrary:
    """A library that moves KV entries over the network.

    Parameters
    ----------
    vendors:
        Whose chips it runs on.
    latency_s, share:
        By direction: time of a transfer whatever its size [s], and share of the line rate that
        large ones reach [-].
    port_rate:
        Most of a chip's line rate that one transfer takes; infinite where it spreads over all
        ports. [B/s]
    """

    key: str
    name: str
    vendors: tuple[str, ...]
    latency_s: dict[Direction, float]
    share: dict[Direction, float]
    port_rate: float


@lru_cache(maxsize=1)
def _data() -> dict[str, Any]:
    folder = Path(str(resources.files("hwmodels"))) / "communication"
    return read_yaml_mapping(folder / "kv_transfer.yaml")


def _si(node: Any) -> float:
    return Figure.model_validate(node).si


@lru_cache(maxsize=8)
def load_transfer_library(name: str) -> TransferLibrary:
    """A library by its key.

    Raises
    ------
    UserError
        If there is no such library.
    """
    libraries = _data()["libraries"]
    if name not in libraries:
        raise unknown_name(field="transfer library", value=name, known=libraries)
    node = libraries[name]
    return TransferLibrary(
        key=name,
        name=node["name"],
        vendors=tuple(node["vendors"]),
        latency_s={way: _si(node[way]["latency"]) for way in get_args(Direction)},
        share={way: _si(node[way]["share"]) for way in get_args(Direction)},
        port_rate=_si(node["port_rate"]) if "port_rate" in node else float("inf"),
    )


def default_transfer(*, orchestrator: str, sku: Sku) -> TransferLibrary | None:
    """The library that stands in where no recipe names one; ``None`` for chips without one."""
    data = _data()
    name = data["orchestrators"].get(orchestrator)
    if name is None or sku.vendor not in load_transfer_library(name).vendors:
        name = data["vendors"].get(sku.vendor)
    return None if name is None else load_transfer_library(name)


def direction_of(*, engine: str) -> Direction:
    """Who starts an engine's transfers: vLLM's decode workers pull, the others' prefill pushes."""
    direction: Direction = _data()["directions"].get(engine, "push")
    return direction


def check_transfer(*, library: TransferLibrary, sku: Sku) -> None:
    """Make sure that a library runs on a chip.

    Raises
    ------
    UserError
        If it does not, with those that do.
    """
    if sku.vendor in library.vendors:
        return
    fitting = [name for name, node in _data()["libraries"].items() if sku.vendor in node["vendors"]]
    raise UserError(
        f"transfer_library {library.key} does not run on {sku.key}; "
        + (f"use one of {', '.join(fitting)}" if fitting else "none does: leave it out")
    )


def transfer_line_rate(*, library: TransferLibrary, sku: Sku) -> float:
    """Line rate of one chip that the library's transfers use, per direction. [B/s]

    Raises
    ------
    UserError
        If the SKU states no network bandwidth.
    """
    if sku.scaleout_bytes_per_s is None:
        raise UserError(
            f"sku {sku.key} states no scaleout_bytes_per_s for the KV transfer; "
            "give one with --set scaleout_bytes_per_s=..."
        )
    return min(float(sku.scaleout_bytes_per_s), library.port_rate)
