"""Moving KV entries from the worker that prefilled a request to the one that decodes it."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from simulator.serving.clock import ARRIVAL
from simulator.serving.request_state import RequestState
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.serving.clock import Clock
    from simulator.serving.rank import Rank
    from simulator.serving.router import Router
    from simulator.serving.worker import Worker

FirstToken: TypeAlias = Literal["prefill", "decode"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferLink:
    """What a KV transfer between two workers takes.

    Parameters
    ----------
    bandwidth_bytes_per_s:
        Of one worker, each direction: all of its GPUs' links together. [B/s]
    token_bytes:
        KV entries of one context token, over all ranks that send them. [B/token]
    request_bytes:
        Windows and compressor state of a request. [B]
    block_tokens:
        Whole blocks move; 1 moves tokens. [tokens]
    latency_s:
        Fixed time of a transfer: handshake and first byte. [s]
    descriptor_s:
        Time to post one descriptor, one after another on the sending side. [s]
    descriptors_per_block:
        Descriptors of one block: layers or layer groups that are not contiguous.

    Raises
    ------
    UserError
        If a figure is out of range.
    """

    bandwidth_bytes_per_s: float
    token_bytes: float
    request_bytes: float = 0.0
    block_tokens: int = 1
    latency_s: float = 0.0
    descriptor_s: float = 0.0
    descriptors_per_block: float = 0.0

    def __post_init__(self) -> None:
        for field in ("bandwidth_bytes_per_s", "block_tokens"):
            if not getattr(self, field) > 0:
                raise UserError(
                    f"{field} of the KV transfer is {getattr(self, field)}; it must be positive"
                )
        for field in (
            "token_bytes",
            "request_bytes",
            "latency_s",
            "descriptor_s",
            "descriptors_per_block",
        ):
            if getattr(self, field) < 0:
                raise UserError(
                    f"{field} of the KV transfer is {getattr(self, field)}; it must not be negative"
                )

    def size_bytes(self, tokens: int) -> float:
        """Bytes that move for a request of this context. [B]"""
        whole = ceil(tokens / self.block_tokens) * self.block_tokens
        return self.request_bytes + whole * self.token_bytes

    def posting_s(self, tokens: int) -> float:
        """Time to post the descriptors of a request of this context. [s]"""
        blocks = ceil(tokens / self.block_tokens)
        return self.descriptor_s * self.descriptors_per_block * blocks


class Transfer(NamedTuple):
    """One finished KV transfer, as handed to ``on_transfer``."""

    request: int
    source: int
    destination: int
    start_s: float
    end_s: float
    size_bytes: float


class KvTransfers:
    """Hands requests from prefill workers to decode workers.

    A request whose prompt is done keeps its blocks on the prefill worker until a decode rank
    has reserved blocks and the transfer has ended; so full decode workers hold up prefill.

    Notes
    -----
    Contention: each worker sends and receives first come, first served at full bandwidth. A
    transfer ends when both its sender and its receiver have worked through it,
    ``max(sent, received) + latency``, where ``sent = max(sender free, now) + size / bandwidth +
    posting``. It is as if the network between them were never the bottleneck.

    Parameters
    ----------
    clock:
        The shared clock.
    link:
        What a transfer takes.
    queries_per_request:
        Tokens per request and step of the decode workers. [tokens]
    first_token_at:
        ``prefill``: the client has the first token when the prompt is done. ``decode``: it is
        streamed by the decode worker, when the request joins its batch.
    on_transfer:
        Called after every transfer, for traces.

    Attributes
    ----------
    router:
        Picks the decode worker and rank of a request when its prompt is done; to be set before
        the run, since the decode workers need this object first.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        link: TransferLink,
        queries_per_request: int,
        first_token_at: FirstToken,
        on_transfer: Callable[[Transfer], None] | None,
    ) -> None:
        self.clock = clock
        self.link = link
        self.router: Router | None = None
        self.queries = queries_per_request
        self.first_token_at = first_token_at
        self.on_transfer = on_transfer
        self._sources: dict[int, tuple[RequestState, Worker, Rank]] = {}
        self._sender_free_s: dict[int, float] = {}
        self._receiver_free_s: dict[int, float] = {}

    def prefilled(self, sequence: RequestState, worker: Worker, rank: Rank) -> None:
        """A prompt is done on a prefill worker: queue the request at a decode rank."""
        request = sequence.request
        decode = RequestState(request, sequence.arrival_s, self.queries)
        decode.scheduled_s = sequence.scheduled_s
        decode.cached_tokens = sequence.cached_tokens
        decode.preemptions = sequence.preemptions
        if self.first_token_at == "prefill":
            decode.first_token_s = sequence.first_token_s
        self._sources[id(decode)] = (sequence, worker, rank)
        assert self.router is not None
        target, target_rank = self.router.route(request)
        target.expect(decode, target_rank)

    def reserved(self, sequence: RequestState, worker: Worker, rank: Rank) -> None:
        """A decode rank has the blocks: start the transfer."""
        held, source, source_rank = self._sources.pop(id(sequence))
        now = self.clock.now
        tokens = sequence.request.prompt_tokens
        size_bytes = self.link.size_bytes(tokens)
        wire_s = size_bytes / self.link.bandwidth_bytes_per_s
        sent_s = max(self._sender_free_s.get(source.index, 0.0), now) + (
            wire_s + self.link.posting_s(tokens)
        )
        received_s = max(self._receiver_free_s.get(worker.index, 0.0), now) + wire_s
        self._sender_free_s[source.index] = sent_s
        self._receiver_free_s[worker.index] = received_s
        end_s = max(sent_s, received_s) + self.link.latency_s

        def done(_event: object) -> None:
            source.release(held, source_rank)
            worker.arrive(sequence, rank)
            if self.on_transfer is not None:
                self.on_transfer(
                    Transfer(
                        request=sequence.request.index,
                        source=source.index,
                        destination=worker.index,
                        start_s=now,
                        end_s=end_s,
                        size_bytes=size_bytes,
                    )
                )

        self.clock.at(end_s, ARRIVAL, done)
