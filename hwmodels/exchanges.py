"""Seconds of one exchange of routed tokens between ranks, by communication library.

A library in one of its modes decides how many copies of a token leave its rank, over which links,
and what launching and synchronising cost (`hwmodels.exchange_libraries`).
"""

from __future__ import annotations

from math import ceil, comb
from typing import TYPE_CHECKING

import numpy as np

from hwmodels.collectives import group_scaleup_bytes_per_s
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from hwmodels.exchange_libraries import ExchangeLibrary, ExchangeMode, Scope
    from hwmodels.sku import Sku
    from workloads.ops import Quantity, TokenExchange


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

    return _by_mode(exchange=exchange, library=library, of=of)


def taken_multiprocessors(*, exchange: TokenExchange, library: ExchangeLibrary) -> Quantity:
    """SMs or CUs that an exchange takes from what runs beside it. [-]"""
    return _by_mode(exchange=exchange, library=library, of=lambda mode: float(mode.multiprocessors))


def _by_mode(
    *,
    exchange: TokenExchange,
    library: ExchangeLibrary,
    of: Callable[[ExchangeMode], Quantity],
) -> Quantity:
    """A figure of the mode that the exchange takes, step by step in mode ``auto``."""
    modes = library.modes
    if exchange.mode in modes:
        return of(modes[exchange.mode])
    if exchange.mode != "auto" or len(modes) == 1:
        return of(next(iter(modes.values())))
    small = np.asarray(exchange.tokens, dtype=float) <= library.low_latency_tokens
    return np.where(small, of(modes["low_latency"]), of(modes["normal"]))
