"""Communication libraries for expert parallelism: chips, modes, latencies, efficiencies.

What a library is stands in ``communication/libraries.yaml``, the law that
`calibration.kernels.exchanges` fits to measured exchanges in ``communication/law.yaml``; seconds
are `hwmodels.exchanges`.
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

Mode = Literal["normal", "low_latency"]
Operation = Literal["dispatch", "combine"]
Scope = Literal["island", "islands", "rack"]
BufferForm = Literal["rings", "expert_slots", "rank_slots"]
OPERATIONS: tuple[Operation, ...] = get_args(Operation)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeMode:
    """One mode of a communication library.

    Parameters
    ----------
    per_pair:
        Whether a copy travels for every token-expert pair and the token's owner reduces; else one
        travels to each distinct rank, whose experts' results are reduced before they return, and
        crosses the network once per distinct scale-up domain.
    scaleup_efficiency, network_efficiency:
        Share of the bandwidth per direction that large exchanges reach. [-]
    latency_s:
        Launch and synchronisation by (scope, operation), of an exchange that a drained GPU
        starts. [s]
    queued_s:
        The same inside one scale-up domain where the launch is queued behind other work or
        replayed in a graph, by (operation, chip generation or ``generic``). [s]
    largest_ep, limit_is_known:
        Ranks that the mode supports at most, and whether that is published or measured.
    multiprocessors:
        SMs or CUs that an exchange occupies; 0 where none wait for it. [-]
    buffer_form, buffer_size:
        How its buffers are laid out, and the tokens of a ring or the number of buffers, see
        `hwmodels.exchange_buffers`. [tokens] or [-]
    """

    library: str
    mode: Mode
    per_pair: bool
    scaleup_efficiency: float
    network_efficiency: float
    latency_s: dict[tuple[Scope, Operation], float]
    queued_s: dict[tuple[Operation, str], float]
    largest_ep: int
    limit_is_known: bool
    multiprocessors: int
    buffer_form: BufferForm
    buffer_size: int

    def queued_latency_s(self, *, scope: Scope, operation: Operation, generation: str) -> float:
        """Latency inside a graph or behind other work. [s]

        Over the network it grows by as much as that of the drained GPU. Inside a domain of many
        nodes it does not: what a drained GPU takes more there is its host's.
        """
        base = self.queued_s.get((operation, generation))
        if base is None:
            base = self.queued_s[operation, "generic"]
        if scope == "rack":
            return base
        here, island = self.latency_s[scope, operation], self.latency_s["island", operation]
        return base + max(0.0, here - island)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeLibrary:
    """A communication library for expert parallelism.

    Parameters
    ----------
    vendors, generations:
        Chips that it runs on; no generations: all of the vendors'.
    crosses_network:
        Whether it reaches beyond one scale-up domain.
    low_latency_tokens:
        Tokens of a rank up to which its low-latency buffers are sized by default. [tokens]
    largest_tokens:
        Tokens of a rank that its buffers are sized for at most; ``None``: no limit. [tokens]
    """

    key: str
    name: str
    vendors: tuple[str, ...]
    generations: tuple[str, ...]
    crosses_network: bool
    low_latency_tokens: int
    largest_tokens: int | None
    modes: dict[Mode, ExchangeMode]
    source: str

    def runs_on(self, sku: Sku) -> bool:
        """Whether the library has kernels for the chip."""
        known = not self.generations or sku.generation in self.generations
        return sku.vendor in self.vendors and known


@lru_cache(maxsize=1)
def exchange_libraries() -> dict[str, ExchangeLibrary]:
    """All libraries by key."""
    data = _read("libraries")
    law = _read("law")["modes"]
    return {key: _library(key, node, law) for key, node in data["libraries"].items()}


def exchange_libraries_data() -> dict[str, Any]:
    """The libraries as ``communication/libraries.yaml`` states them; not to be changed in place."""
    libraries: dict[str, Any] = _read("libraries")["libraries"]
    return libraries


def load_library(name: str) -> ExchangeLibrary:
    """A library by its key.

    Raises
    ------
    UserError
        If there is no such library.
    """
    libraries = exchange_libraries()
    if name not in libraries:
        raise unknown_name(field="exchange library", value=name, known=libraries)
    return libraries[name]


def default_library(*, engine: str, sku: Sku, ranks: int) -> ExchangeLibrary | None:
    """The library that an engine takes on a chip where nothing is recorded; ``None`` without one.

    The engine's first one that runs on the chip and reaches over the ranks. Chips without a
    library of their own exchange by the vendor's all-to-all (`hwmodels.collectives`).
    """
    within = ranks <= sku.scaleup_world
    for key in _read("libraries")["defaults"].get(engine, []):
        library = load_library(key)
        if library.runs_on(sku) and (within or library.crosses_network):
            return library
    return None


def gathers_instead(*, engine: str, sku: Sku, ranks: int) -> bool:
    """Whether an engine all-gathers tokens, since none of its libraries reaches over the ranks."""
    return engine in _read("libraries")["gathers"] and (
        default_library(engine=engine, sku=sku, ranks=ranks) is None
    )


def check_library(*, library: ExchangeLibrary, mode: str, sku: Sku, ranks: int) -> None:
    """Make sure that a library can exchange between so many ranks of a chip.

    Raises
    ------
    UserError
        If it does not run on the chip or does not reach over the ranks, with what would.
    """
    if not library.runs_on(sku):
        fitting = [one.key for one in exchange_libraries().values() if one.runs_on(sku)]
        raise UserError(
            f"exchange_library {library.key} does not run on {sku.key}; "
            + (f"use one of {', '.join(fitting)}" if fitting else "none does: leave it out")
        )
    if ranks > sku.scaleup_world and not library.crosses_network:
        reaching = [
            one.key
            for one in exchange_libraries().values()
            if one.runs_on(sku) and one.crosses_network
        ]
        raise UserError(
            f"ep is {ranks}; {library.name} stays within one scale-up domain, {sku.scaleup_world} "
            f"chips on {sku.key}: use at most {sku.scaleup_world}"
            + (f" or exchange_library {', '.join(reaching)}" if reaching else "")
        )
    check_ranks(library=library, mode=mode, ranks=ranks)


def check_ranks(
    *, library: ExchangeLibrary, mode: str, ranks: int, only_known: bool = False
) -> None:
    """Make sure that a mode supports so many ranks.

    Parameters
    ----------
    only_known:
        Whether limits that are estimates let more ranks pass.

    Raises
    ------
    UserError
        With the most ranks that it does.
    """
    for one in library.modes.values():
        if only_known and not one.limit_is_known:
            continue
        if mode in ("auto", one.mode) and ranks > one.largest_ep:
            name = one.mode.replace("_", "-")
            raise UserError(
                f"ep is {ranks}; {library.name} in its {name} mode supports at most "
                f"{one.largest_ep} ranks: use at most {one.largest_ep}"
            )


@lru_cache(maxsize=4)
def _read(name: str) -> dict[str, Any]:
    return read_yaml_mapping(
        Path(str(resources.files("hwmodels") / "communication" / f"{name}.yaml"))
    )


def _si(node: Any) -> float:
    return Figure.model_validate(node).si


def _library(key: str, node: dict[str, Any], law: dict[str, Any]) -> ExchangeLibrary:
    modes = {mode: _mode(key, mode, node["modes"][mode], law) for mode in node["modes"]}
    return ExchangeLibrary(
        key=key,
        name=node["name"],
        vendors=tuple(node["vendors"]),
        generations=tuple(node.get("generations", ())),
        crosses_network=bool(node["crosses_network"]),
        low_latency_tokens=int(_si(node["low_latency_tokens"])),
        largest_tokens=int(_si(node["largest_tokens"])) if "largest_tokens" in node else None,
        modes=modes,
        source=node["source"],
    )


def _mode(key: str, mode: Mode, node: dict[str, Any], law: dict[str, Any]) -> ExchangeMode:
    own = law[f"{key}/{mode}"]
    return ExchangeMode(
        library=key,
        mode=mode,
        per_pair=node["copies"] == "pair",
        scaleup_efficiency=_si(own["scaleup_efficiency"]),
        network_efficiency=_si(own["network_efficiency"]),
        latency_s={
            (scope, operation): _si(own["latency"][scope][operation])
            for scope in get_args(Scope)
            for operation in OPERATIONS
        },
        queued_s={
            (operation, generation): _si(figure)
            for operation in OPERATIONS
            for generation, figure in node["queued_latency"][operation].items()
        },
        largest_ep=int(_si(node["largest_ep"])),
        limit_is_known=node["largest_ep"]["kind"] != "estimate",
        multiprocessors=int(node["multiprocessors"]["value"]),
        buffer_form=node["buffers"]["form"],
        buffer_size=int(node["buffers"]["value"]),
    )
