"""What a prefix cache has of a prompt, and where prompts can be resumed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.serving.kv_pool import KvPoolSpec
    from simulator.serving.radix_tree import BoundaryState, PrefixNode


class PrefixMatch(NamedTuple):
    """What a prefix cache has of a prompt.

    Attributes
    ----------
    tokens:
        Prompt tokens that need not be computed. [tokens]
    pool_tokens, live_tokens:
        Leading tokens of them that lie in the pool, and of those the ones that running requests
        hold. [tokens]
    load_s:
        Time to bring the rest from the offload tiers; 0 if nothing has to come. [s]
    drive_tokens:
        Tokens of the rest that lie behind the first offload tier. [tokens]
    """

    tokens: int
    pool_tokens: int
    live_tokens: int
    load_s: float
    drive_tokens: int = 0


class Look(NamedTuple):
    """The last prompt that was looked up, and what was found as long as nothing changes."""

    keys: tuple[int, ...]
    most: int
    changes: int
    path: list[tuple[PrefixNode, int]]
    state: BoundaryState | None
    match: PrefixMatch


def state_positions(
    pool: KvPoolSpec, block_tokens: int, *, depth: int, count: int, last: int
) -> Iterator[int]:
    """Blocks of a run at whose ends state is kept, counted from the start of the run (from 1).

    Parameters
    ----------
    pool:
        The pool, whose ``prefix_hit_interval_tokens`` says where.
    block_tokens:
        Tokens of a prompt's block. [tokens]
    depth, count:
        Blocks of the prompt before the run, and those of the run. [blocks]
    last:
        Blocks of the prompt at whose end state is kept anyhow; 0: none. [blocks]
    """
    interval = pool.prefix_hit_interval_tokens
    # where a pool block is no multiple of a prompt's, its end counts as that below it
    fits = not pool.block_tokens % block_tokens or pool.block_tokens < block_tokens
    if interval:
        tokens = (depth * block_tokens // interval + 1) * interval
        while tokens <= (depth + count) * block_tokens:
            blocks, rest = divmod(tokens, block_tokens)
            ends = not tokens % pool.block_tokens and not (rest and fits)
            if ends and depth < blocks != last:
                yield blocks - depth
            tokens += interval
    if depth < last <= depth + count:
        yield last - depth
