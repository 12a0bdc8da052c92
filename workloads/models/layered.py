"""A model that is a list of layers of known kinds, as operations on one rank."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from workloads.architectures.kinds import LatentAttention
from workloads.architectures.stack import Stack, draft_stack_of, phases_of, stack_of
from workloads.errors import UserError
from workloads.models.block_draft import BlockDrafter
from workloads.models.expert_load import UNIFORM, ExpertLoad
from workloads.models.feeds import FeedLayers
from workloads.models.mhc import mhc_ops
from workloads.models.mixers import bind_mixer, merged_projections, shared_heads
from workloads.models.mtp_layer import MtpLayer
from workloads.models.parts import (
    BF16_BYTES,
    NORMS_PER_LAYER,
    as_draft,
    check_drafts,
    check_layout,
    embedding_lookup,
    gemm,
    language_model_head,
    layer_norms,
    pipeline_send,
    weight_bytes,
)
from workloads.ops import Component, Op

if TYPE_CHECKING:
    from workloads.architectures.base import Architecture
    from workloads.architectures.kinds import Mixer
    from workloads.execution_plan import ExecutionPlan
    from workloads.layout import Layout
    from workloads.models.mixers import MixerLayers
    from workloads.ops import Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class Layered:
    """A list of layers bound to a layout and a plan; see `workloads.costmodel.CostModel`.

    Notes
    -----
    Equal layers are one operation with ``layers`` set. With pipeline stages the operations are
    those of the fullest stage, with the transfer to the next. Attention and dense feed-forward
    networks are tensor parallel, each with an all-reduce (Shoeybi et al., "Megatron-LM", arXiv
    1909.08053). The MTP block attends to the whole context: its cores stand in the attention
    operations, not in `draft_ops`.
    """

    architecture: Architecture
    layout: Layout
    plan: ExecutionPlan
    expert_load: ExpertLoad = UNIFORM
    drafts: int = 0
    # sorted once: every group of operations asks for them
    _stack: Stack = field(init=False, repr=False, compare=False)
    _common: Stack = field(init=False, repr=False, compare=False)
    _late: Stack = field(init=False, repr=False, compare=False)
    _block: Stack = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        stages = self.layout.pp
        common, late = phases_of(self.architecture, stages=stages)
        for name, stack in (
            ("_stack", stack_of(self.architecture, stages=stages)),
            ("_common", common),
            ("_late", late),
            ("_block", draft_stack_of(self.architecture)),
        ):
            object.__setattr__(self, name, stack)

    @property
    def _dense(self) -> bool:
        return self._stack.experts is None

    def validate(self) -> None:
        """Check that heads, columns and experts divide over the layout, and drafts have a module.

        Raises
        ------
        UserError
            Naming the field, its value, the limit and what to do.
        """
        arch, layout = self.architecture, self.layout
        if self.drafts and not self._block.layers:
            raise UserError(
                f"drafts is {self.drafts}, but {arch.name} has no draft module; "
                "leave speculation off"
            )
        if self._dense and layout.ep > 1:
            raise UserError(
                f"ep is {layout.ep}, but {arch.name} has no experts to divide; leave ep at 1"
            )
        if self._dense and layout.attention_dp > 1:
            raise UserError(
                f"attention data parallelism over {layout.attention_dp} ranks has nothing to "
                f"share in {arch.name}, which has no experts; run more workers instead"
            )
        divided: dict[str, int] = {}
        for mixer, _ in self._stack.mixers:
            divided |= shared_heads(mixer)
        for feed in self._feeds():
            divided |= feed.divided
        check_layout(
            model=arch.name,
            layout=layout,
            divided=divided,
            layers=arch.num_hidden_layers,
            drafts=self.drafts,
        )
        for layers in self._mixers(self._stack):
            layers.validate()
        for feed in self._feeds():
            feed.validate()

    def _bind(self, mixer: Mixer, *, layers: int) -> MixerLayers:
        return bind_mixer(
            mixer,
            hidden=self.architecture.hidden_size,
            model=self.architecture.name,
            layout=self.layout,
            plan=self.plan,
            layers=layers,
        )

    def _mixers(self, stack: Stack) -> list[MixerLayers]:
        return [self._bind(mixer, layers=count) for mixer, count in stack.mixers]

    def _feeds(self, stack: Stack | None = None) -> list[FeedLayers]:
        return [
            FeedLayers(
                kind=feed,
                hidden=self.architecture.hidden_size,
                only=self._dense,
                layout=self.layout,
                plan=self.plan,
                load=self.expert_load,
                layers=count,
            )
            for feed, count in (stack or self._stack).feeds
        ]

    @property
    def _mtp(self) -> MtpLayer | BlockDrafter | None:
        arch = self.architecture
        block = self._block
        if not block.layers:
            return None
        if arch.draft_block is not None:
            return BlockDrafter(
                block=arch.draft_block,
                hidden=arch.hidden_size,
                vocabulary=arch.vocab_size,
                layout=self.layout,
                plan=self.plan,
                drafts=self.drafts,
                mixers=self._mixers(block),
                feeds=self._feeds(block),
                entry_values=sum(count * mixer.entry_values for mixer, count in block.mixers),
                layers=block.layers,
            )
        (mixer, _), (feed, _) = block.mixers[0], block.feeds[0]
        layers = FeedLayers(
            kind=feed,
            hidden=arch.hidden_size,
            only=self._dense,
            layout=self.layout,
            plan=self.plan,
            load=self.expert_load,
            layers=1,
        )
        head = None if arch.draft else arch.eagle3
        return MtpLayer(
            hidden=arch.hidden_size,
            vocabulary=head.vocabulary if head else arch.vocab_size,
            layout=self.layout,
            plan=self.plan,
            drafts=self.drafts,
            attention=lambda count: self._bind(mixer, layers=count),
            count=block.layers,
            feed=layers.ops,
            feed_bytes=tuple(layers.layer_bytes.values()),
        )

    def token_ops(self, *, rank_tokens: Quantity, group_tokens: Quantity) -> list[Op]:
        """See `CostModel.token_ops`; with drafts, the first MTP pass as well."""
        arch, scale = self.architecture, self.plan.kernels_scale
        ops = [embedding_lookup(tokens=rank_tokens, hidden=arch.hidden_size, scale=scale)]
        ops += self._layer_ops(self._common, rank_tokens=rank_tokens, group_tokens=group_tokens)
        ops += self._ngram_ops(tokens=rank_tokens)
        ops += pipeline_send(
            tokens=rank_tokens,
            values_per_token=max(arch.streams, 1) * arch.hidden_size,
            layout=self.layout,
        )
        mtp = self._mtp if self.drafts else None
        if mtp is not None:
            ops += mtp.first(rank_tokens=rank_tokens, group_tokens=group_tokens)
        return ops

    def _layer_ops(
        self, stack: Stack, *, rank_tokens: Quantity, group_tokens: Quantity
    ) -> list[Op]:
        """What layers compute for each token whatever its context."""
        arch, scale = self.architecture, self.plan.kernels_scale
        ops: list[Op] = []
        for mixer, count in merged_projections(stack.mixers):
            ops += self._bind(mixer, layers=count).projections(tokens=rank_tokens)
        ops.append(
            layer_norms(tokens=rank_tokens, hidden=arch.hidden_size, parts=stack.parts, scale=scale)
        )
        if arch.streams:
            ops += mhc_ops(
                tokens=rank_tokens,
                hidden=arch.hidden_size,
                streams=arch.streams,
                layers=stack.layers,
                scale=scale,
            )
        for feed in self._feeds(stack):
            ops += feed.ops(rank_tokens=rank_tokens, group_tokens=group_tokens, layers=feed.layers)
        return ops

    def _ngram_ops(self, *, tokens: Quantity) -> list[Op]:
        """Projections of n-gram embeddings, whole on each rank; the tables' reads are not timed."""
        tables = self.architecture.ngram_tables
        if tables is None:
            return []
        return [
            gemm(
                name="ngram.proj",
                component=Component.DENSE,
                path=self.plan.dense_path,
                tokens=tokens,
                inputs=float(tables.inputs),
                outputs=float(tables.projected),
                layers=tables.layers,
                scale=self.plan.kernels_scale,
            )
        ]

    def _late_ops(self, *, tokens: Quantity) -> list[Op]:
        """Layers that prompts do not pass, for tokens of this rank and as many of the others."""
        late = self._late
        if not late.layers:
            return []
        ops = self._layer_ops(
            late, rank_tokens=tokens, group_tokens=tokens * float(self.layout.attention_dp)
        )
        return [replace(op, name=f"late.{op.name}") for op in ops]

    def decode_attention_ops(
        self, *, requests: Quantity, queries_per_request: int, context: Quantity
    ) -> list[Op]:
        """See `CostModel.decode_attention_ops`; with drafts, the MTP block's cores as well."""
        ops = self._late_ops(tokens=requests * float(queries_per_request))
        for mixer in self._mixers(self._stack):
            ops += mixer.decode(
                requests=requests, queries_per_request=queries_per_request, context=context
            )
        mtp = self._mtp if self.drafts else None
        if mtp is not None:
            ops += mtp.decode_cores(
                requests=requests, queries_per_request=queries_per_request, context=context
            )
        return ops

    def prefill_attention_ops(self, *, new_tokens: Quantity, prefix_tokens: Quantity) -> list[Op]:
        """See `CostModel.prefill_attention_ops`; with drafts, the MTP block's core as well.

        A block whose latent attention is the model's own counts as one layer more.
        """
        ops: list[Op] = []
        arch = self.architecture
        if arch.late_layers:
            ops = self._late_ops(tokens=np.minimum(new_tokens, float(arch.late_window)))
        block = [mixer for mixer, _ in self._block.mixers]
        # the layers of a DSpark module keep entries of a prompt, but do not attend in it
        attends = self.drafts and block and arch.draft_block is None
        draft = block[0] if attends else None
        for mixer, count in self._late.mixers:
            ops += self._bind(mixer, layers=count).row_ops(tokens=new_tokens)
            ops += self._bind(mixer, layers=count).prefill(
                new_tokens=np.minimum(new_tokens, float(arch.late_window)),
                prefix_tokens=prefix_tokens + np.maximum(new_tokens - float(arch.late_window), 0.0),
            )
        for mixer, count in self._common.mixers:
            more = mixer == draft and isinstance(mixer, LatentAttention)
            ops += self._bind(mixer, layers=count + more).prefill(
                new_tokens=new_tokens, prefix_tokens=prefix_tokens
            )
            draft = None if more else draft
        if draft is not None:
            core = self._bind(draft, layers=1).prefill(
                new_tokens=new_tokens, prefix_tokens=prefix_tokens
            )
            ops += as_draft(core, name="draft.first")
        return ops

    def head_ops(self, *, samples: Quantity) -> list[Op]:
        """See `CostModel.head_ops`."""
        arch = self.architecture
        return language_model_head(
            name="head",
            component=Component.HEAD,
            samples=samples,
            hidden=arch.hidden_size,
            vocabulary=arch.vocab_size,
            layout=self.layout,
            passes=1,
            scale=self.plan.kernels_scale,
        )

    def draft_ops(self, *, requests: Quantity, group_requests: Quantity, drafts: int) -> list[Op]:
        """See `CostModel.draft_ops`.

        Raises
        ------
        UserError
            If the model was bound without drafts.
        """
        mtp = self._mtp
        if mtp is None:
            check_drafts(bound=0, drafts=drafts)
            return []
        return mtp.draft_ops(requests=requests, group_requests=group_requests, drafts=drafts)

    def weight_bytes_per_rank(self, *, speculative: bool) -> dict[str, float]:
        """See `CostModel.weight_bytes_per_rank`. [B]"""
        arch, stack = self.architecture, self._stack
        table = arch.vocab_size * arch.hidden_size * BF16_BYTES / self.layout.attention_tp
        # the fullest of several pipeline stages holds one of the two tables
        tables = 1.0 if arch.tied or self.layout.pp > 1 else 2.0
        parts = {
            "attention": sum(
                count * weight_bytes(self._bind(mixer, layers=1).projections(tokens=0.0))
                for mixer, count in merged_projections(stack.mixers)
            )
        }
        for feed in self._feeds():
            for part, layer_bytes in feed.layer_bytes.items():
                parts[part] = parts.get(part, 0.0) + feed.layers * layer_bytes
        if self._dense:
            norms = NORMS_PER_LAYER * stack.layers + 1
            parts["norms"] = norms * arch.hidden_size * BF16_BYTES
        if arch.streams:
            mixing = mhc_ops(
                tokens=0.0,
                hidden=arch.hidden_size,
                streams=arch.streams,
                layers=stack.layers,
                scale=1.0,
            )
            parts["mHC"] = weight_bytes(mixing)
        ngrams = self._ngram_ops(tokens=0.0)
        if ngrams:
            parts["n-gram projections"] = weight_bytes(ngrams)
        parts["embedding and head"] = table * tables
        mtp = self._mtp if speculative else None
        if mtp is not None:
            parts["draft module"] = mtp.total_weight_bytes
        return parts

    def kv_bytes_per_token(self) -> float:
        """See `CostModel.kv_bytes_per_token`. [B/token]"""
        stacks = [self._stack]
        if self.drafts:
            stacks.append(self._block)
        per_layer = (
            count
            * mixer.context_bytes(
                kv=self.plan.kv_storage,
                index=self.plan.index_storage,
                attention_tp=self.layout.attention_tp,
            )
            for stack in stacks
            for mixer, count in stack.mixers
        )
        return sum(per_layer, 0.0)

    def state_bytes_per_request(self) -> float:
        """See `CostModel.state_bytes_per_request`: full windows and recurrent state. [B]"""
        return sum(
            count
            * mixer.constant_bytes(kv=self.plan.kv_storage, attention_tp=self.layout.attention_tp)
            for mixer, count in self._stack.mixers
        )
