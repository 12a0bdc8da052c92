"""Seconds of one exchange of routed tokens between ranks, by communication library.

A library in one of its modes decides how many copies of a token leave its rank, over which links,
and what launching and synchronising cost. What a library is stands in
``communication/libraries.yaml``; the law below is fitted to measured exchanges by
`calibration.kernels.exchanges` (``communication/law.yaml``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from math import ceil, comb
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from hwmodels.collectives import group_scaleup_bytes_per_s
from hwmodels.quantities import Figure
from workloads.datafiles import read_yaml_mapping
from workloads.errors import UserError, unknown_name

if TYPE_CHECKING:
    from hwmodels.sku import Sku
    from workloads.ops import Quantity, TokenExchange

Mode = Literal["normal", "low_latency"]
Operation = Literal["dispatch", "combine"]
Scope = Literal["island", "islands", "rack"]
MODES: tuple[Mode, ...] = get_args(Mode)
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
    largest_ep:
        Ranks that the mode supports at most.
    multiprocessors:
        SMs or CUs that an exchange occupies; 0 where none wait for it. [-]
    """

    library: str
    mode: Mode
    per_pair: bool
    scaleup_efficiency: float
    network_efficiency: float
    latency_s: dict[tuple[Scope, Operation], float]
    queued_s: dict[tuple[Operation, str], float]
    largest_ep: int
    multiprocessors: int

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
    """

    key: str
    name: str
    vendors: tuple[str, ...]
    generations: tuple[str, ...]
    crosses_network: bool
    low_latency_tokens: int
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
    for one in library.modes.values():
        if mode in ("auto", one.mode) and ranks > one.largest_ep:
            raise UserError(
                f"ep is {ranks}; {library.name} in its {one.mode} mode supports at most "
                f"{one.largest_ep} ranks"
            )


def place_share(*, places: int, choices: int, groups: int = 1, group_limit: int = 1) -> float:
    """Probability that a given one of ``places`` holds an expert of a token. [-]

    Parameters
    ----------
    places:
        Ranks or scale-up domains that the experts are spread over evenly.
    choices:
        Experts of a token, k. [-]
    groups, group_limit:
        Node-limited routing: a token's experts come from at most ``group_limit`` of ``groups``
        (DeepSeek-V3: 4 of 8); 1 of 1 without it.

    Notes
    -----
    Without groups ``1 - (1 - 1/R)^k``: choices are drawn independently. With G groups, M chosen:
    a place that holds a share ``1/m`` of one group is reached with probability
    ``(M/G) (1 - (1 - 1/(M m))^k)``; one that holds h whole groups, j of them chosen by the
    hypergeometric law, with ``1 - (1 - j/M)^k`` (DeepSeek-V3, arXiv 2412.19437, section 2.1.2).
    Where neither divides the other the groups say nothing of the places.
    """
    if group_limit >= groups or (places % groups and groups % places):
        return float(1.0 - (1.0 - 1.0 / places) ** choices)
    if places >= groups:
        within = group_limit * (places // groups)
        return float(group_limit / groups * (1.0 - (1.0 - 1.0 / within) ** choices))
    held = groups // places
    total = comb(groups, group_limit)
    return sum(
        comb(held, j)
        * comb(groups - held, group_limit - j)
        / total
        * (1.0 - (1.0 - j / group_limit) ** choices)
        for j in range(1, min(held, group_limit) + 1)
    )


def copies_of_token(
    *,
    ranks: int,
    domain: int,
    choices: int,
    per_pair: bool,
    groups: int = 1,
    group_limit: int = 1,
) -> tuple[float, float]:
    """Copies of one token that a chip sends over its scale-up links and over the network. [-]

    Parameters
    ----------
    ranks:
        R, ranks that hold experts.
    domain:
        Chips of one scale-up domain.
    choices, groups, group_limit:
        As `place_share`.
    per_pair:
        As `ExchangeMode`.

    Notes
    -----
    With N domains of w ranks. Per pair: ``k (w-1)/R`` and ``k (R-w)/R``. Else one copy to each
    distinct rank; over the network one to each distinct other domain, which is copied on inside
    it: ``(R-N) p_R`` and ``(N-1) p_N``, with p of `place_share`. By symmetry a chip forwards for
    others as much as others do for it.
    """
    inside = min(ranks, domain)
    if per_pair:
        return choices * (inside - 1.0) / ranks, choices * (ranks - inside) / ranks
    domains = ceil(ranks / inside)
    limits = {"choices": choices, "groups": groups, "group_limit": group_limit}
    up = (ranks - domains) * place_share(places=ranks, **limits)
    return up, (domains - 1) * place_share(places=domains, **limits) if domains > 1 else 0.0


def scope_of(*, ranks: int, sku: Sku) -> Scope:
    """What an exchange spans: one node's links, a rack's, or domains joined by the network."""
    if ranks > sku.scaleup_world:
        return "islands"
    return "island" if ranks <= sku.node_gpus else "rack"


def links_s(
    *,
    mode: ExchangeMode,
    copies: tuple[float, float],
    tokens: Quantity,
    copy_bytes: float,
    sku: Sku,
    ranks: int,
    efficiency_scale: float = 1.0,
) -> Quantity:
    """Time that the busier of scale-up links and network needs. [s]

    ``max(C_up T b / (e W_up), C_net T b / (n W_net))``, see `copies_of_token`.

    Raises
    ------
    UserError
        If the ranks span scale-up domains and the SKU states no network bandwidth.
    """
    inside = min(ranks, int(sku.scaleup_world))
    rate = group_scaleup_bytes_per_s(sku=sku, group_size=inside)
    efficiency = min(1.0, mode.scaleup_efficiency * efficiency_scale)
    sent = np.asarray(tokens, dtype=float) * copy_bytes
    up_s = copies[0] * sent / (efficiency * rate)
    if not copies[1]:
        return up_s
    if sku.scaleout_bytes_per_s is None:
        raise UserError(
            f"scaleout_bytes_per_s of {sku.key} is unknown, and {ranks} ranks span scale-up "
            f"domains of {inside} chips; give it with --set scaleout_bytes_per_s=50e9 (400 Gb/s) "
            f"or use at most {inside} chips"
        )
    network_s = copies[1] * sent / (mode.network_efficiency * float(sku.scaleout_bytes_per_s))
    return np.maximum(up_s, network_s)


def exchange_s(
    *,
    exchange: TokenExchange,
    ranks: int,
    sku: Sku,
    library: ExchangeLibrary,
    latency_scale: float = 1.0,
    efficiency_scale: float = 1.0,
) -> Quantity:
    """Time of one dispatch or combine inside a step, ``t = L + links``. [s]

    Parameters
    ----------
    exchange:
        What is exchanged. In mode ``auto`` steps of up to `ExchangeLibrary.low_latency_tokens`
        tokens a rank take the low-latency mode, if there is one.
    ranks:
        Ranks that hold experts; one costs nothing.
    library:
        From `load_library` or `default_library`.
    latency_scale, efficiency_scale:
        Factors of a software level or a sensitivity study. [-]
    """
    tokens = np.asarray(exchange.tokens, dtype=float)
    if ranks <= 1:
        return np.zeros_like(tokens)

    def of(mode: ExchangeMode) -> Quantity:
        copies = copies_of_token(
            ranks=ranks,
            domain=int(sku.scaleup_world),
            choices=exchange.choices,
            per_pair=mode.per_pair,
            groups=exchange.groups,
            group_limit=exchange.group_limit,
        )
        latency_s = mode.queued_latency_s(
            scope=scope_of(ranks=ranks, sku=sku),
            operation=exchange.operation,
            generation=sku.generation,
        )
        return latency_scale * latency_s + links_s(
            mode=mode,
            copies=copies,
            tokens=tokens,
            copy_bytes=exchange.copy_bytes,
            sku=sku,
            ranks=ranks,
            efficiency_scale=efficiency_scale,
        )

    modes = library.modes
    if exchange.mode in modes:
        return of(modes[exchange.mode])
    if exchange.mode != "auto" or len(modes) == 1:
        return of(next(iter(modes.values())))
    small = tokens <= library.low_latency_tokens
    return np.where(small, of(modes["low_latency"]), of(modes["normal"]))


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
        multiprocessors=int(node["multiprocessors"]["value"]),
    )
