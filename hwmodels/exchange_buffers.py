"""Memory that a communication library for expert parallelism takes of a rank."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hwmodels.exchange_libraries import ExchangeLibrary, ExchangeMode

NODE_RANKS = 8
"""Ranks of a node as DeepEP counts them (``NUM_MAX_NVL_PEERS``)."""
NETWORK_RING_TOKENS = 128
"""Tokens of a ring to another node (``get_dispatch_config``). [tokens]"""
OVER_NODES = 288 / 256
"""Rings inside a node grow by this where ranks span nodes (``get_dispatch_config``). [-]"""
ROUTING_BYTES = 8.0 + 128 * (8.0 + 4.0 + 4.0)
"""Beside a token in a ring: its source, and indices, weights and scales for 128 choices. [B]"""
BF16_BYTES = 2.0


def buffer_bytes(
    *,
    library: ExchangeLibrary,
    mode: str,
    ranks: int,
    experts: int,
    hidden: int,
    step_tokens: float,
    decode_tokens: float,
) -> float:
    """Buffers of one rank, BF16 tokens throughout. [B]

    Parameters
    ----------
    mode:
        ``normal``, ``low_latency``, or ``auto``, which holds the buffers of both.
    ranks, experts:
        R ranks that hold experts, E experts with their redundant copies.
    hidden:
        H values of a token that travel. [-]
    step_tokens, decode_tokens:
        T, most tokens of a rank in a step, and in one of decoding requests alone. [tokens]

    Notes
    -----
    With b = 2 H bytes of a token and s tokens of a ring or buffers of the mode:

    - *rings*, two SMs a channel: ``C min(R, 8) s (b + m) + 2 C ceil(R/8) 128 (b + m)``, the second
      over nodes only, with m bytes of routing (DeepEP ``csrc/config.hpp``).
    - *expert slots*: ``s E T (b + 4 H/128)`` (DeepEP ``LowLatencyLayout``); T is what decoding
      requests bring, at least the library's default.
    - *rank slots*: ``s R T b`` (TensorRT-LLM ``calculate_required_workspace_size``, MoRI
      ``InitializeShmemBuf``).
    """
    if ranks <= 1:
        return 0.0
    modes = library.modes
    chosen = [modes[mode]] if mode in modes else list(modes.values())
    forms = {one.buffer_form: one for one in chosen}
    most = float("inf") if library.largest_tokens is None else float(library.largest_tokens)
    total = 0.0
    for form, one in forms.items():
        if form == "rings":
            total += _rings(one, ranks=ranks, hidden=hidden)
        elif form == "expert_slots":
            tokens = min(most, max(float(library.low_latency_tokens), decode_tokens))
            slot_bytes = BF16_BYTES * hidden + 4.0 * (hidden // 128)
            total += one.buffer_size * experts * tokens * slot_bytes
        else:
            decoding = mode == "low_latency" and len(modes) > 1
            tokens = min(most, decode_tokens if decoding else step_tokens)
            total += one.buffer_size * ranks * tokens * BF16_BYTES * hidden
    return total


def _rings(mode: ExchangeMode, *, ranks: int, hidden: int) -> float:
    channels = mode.multiprocessors / 2.0
    token_bytes = BF16_BYTES * hidden + ROUTING_BYTES
    nodes = ceil(ranks / NODE_RANKS)
    tokens = mode.buffer_size * (OVER_NODES if nodes > 1 else 1.0)
    inside = channels * min(ranks, NODE_RANKS) * tokens * token_bytes
    if nodes == 1:
        return inside
    return inside + 2.0 * channels * nodes * NETWORK_RING_TOKENS * token_bytes
