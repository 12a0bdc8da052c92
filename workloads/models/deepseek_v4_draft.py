"""Draft modules of DeepSeek V4: the MTP block and DSpark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from workloads.models.kernels import KERNELS
from workloads.models.parts import BF16_BYTES, FP32_BYTES, as_draft, gemm
from workloads.models.precision import WEIGHT_BYTES
from workloads.ops import Component, Op, OpKind

if TYPE_CHECKING:
    from workloads.architectures.deepseek_v4 import DeepseekV4Architecture, DsparkDraft
    from workloads.execution_plan import ExecutionPlan
    from workloads.models.deepseek_v4_attention import AttentionLayers
    from workloads.ops import Quantity


class DraftedModel(Protocol):
    """What a draft module takes from the model that it drafts for."""

    @property
    def architecture(self) -> DeepseekV4Architecture:
        """Widths of the model."""
        ...

    @property
    def plan(self) -> ExecutionPlan:
        """Kernels that the engine runs."""
        ...

    def attention_layers(self, *, ratio: int, layers: int) -> AttentionLayers:
        """Equal attention layers of one compression ratio."""
        ...

    def common_layer_ops(
        self, *, rank_tokens: Quantity, group_tokens: Quantity, layers: int
    ) -> list[Op]:
        """What every layer has: output projection, mHC, experts."""
        ...

    def head(self, *, name: str, component: Component, samples: Quantity, passes: int) -> list[Op]:
        """Final combination of the residual streams, logits and sampling."""
        ...

    def layer_weight_bytes(self, *, ratio: int) -> dict[str, float]:
        """Resident bytes of one layer on one rank by part. [B]"""
        ...


def _window_layer(
    *, model: DraftedModel, rank_tokens: Quantity, group_tokens: Quantity, layers: int
) -> list[Op]:
    """Sliding-window layers with the full experts and mHC, without the attention core."""
    return [
        *model.attention_layers(ratio=0, layers=layers).projections(tokens=rank_tokens),
        *model.common_layer_ops(rank_tokens=rank_tokens, group_tokens=group_tokens, layers=layers),
    ]


def _window_core(*, model: DraftedModel, requests: Quantity, queries: int, layers: int) -> list[Op]:
    """Attention core of draft layers over a full window."""
    return model.attention_layers(ratio=0, layers=layers).decode(
        requests=requests,
        queries_per_request=queries,
        context=float(model.architecture.sliding_window),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MtpDrafter:
    """The MTP block: one sliding-window layer run once per draft.

    Notes
    -----
    Its input is ``e_proj`` of the next token's embedding plus ``h_proj`` of the four residual
    streams. The first pass runs over all tokens of a step (it fills the block's own window) and
    belongs to `token_ops`; each further draft is one pass over one token per request. Every draft
    needs the whole language-model head.
    """

    model: DraftedModel

    @property
    def layers(self) -> int:
        """Sliding-window layers with a cache of their own. [-]"""
        return self.model.architecture.num_nextn_predict_layers

    def token_ops(self, *, rank_tokens: Quantity, group_tokens: Quantity) -> list[Op]:
        """First pass, over all tokens of the step."""
        return self._pass(
            name="draft.first", rank_tokens=rank_tokens, group_tokens=group_tokens, passes=1
        )

    def draft_ops(self, *, requests: Quantity, group_requests: Quantity, drafts: int) -> list[Op]:
        """Attention core of the first pass, further passes, and the head of every draft."""
        model = self.model
        ops = as_draft(
            _window_core(model=model, requests=requests, queries=drafts + 1, layers=1),
            name="draft.first",
        )
        ops += model.head(
            name="draft.head", component=Component.DRAFT, samples=requests, passes=drafts
        )
        if drafts > 1:
            ops += self._pass(
                name="draft.next",
                rank_tokens=requests,
                group_tokens=group_requests,
                passes=drafts - 1,
            )
            ops += as_draft(
                _window_core(model=model, requests=requests, queries=1, layers=drafts - 1),
                name="draft.next",
            )
        return ops

    def _pass(
        self, *, name: str, rank_tokens: Quantity, group_tokens: Quantity, passes: int
    ) -> list[Op]:
        ops = self._inputs(tokens=rank_tokens, passes=passes)
        ops += _window_layer(
            model=self.model, rank_tokens=rank_tokens, group_tokens=group_tokens, layers=passes
        )
        return as_draft(ops, name=name)

    def _inputs(self, *, tokens: Quantity, passes: int) -> list[Op]:
        arch, plan = self.model.architecture, self.model.plan
        return [
            gemm(
                name=part,
                component=Component.DRAFT,
                path=plan.dense_path,
                tokens=tokens * streams,
                inputs=arch.hidden_size,
                outputs=arch.hidden_size,
                layers=passes,
                scale=plan.kernels_scale,
                extra_kernels=KERNELS["draft.norm"],
            )
            for part, streams in (("e_proj", 1.0), ("h_proj", float(arch.hc_mult)))
        ]

    def weight_bytes(self) -> float:
        """Resident bytes on one rank. [B]"""
        model = self.model
        layer = sum(model.layer_weight_bytes(ratio=0).values())
        inputs = sum(op.weight_bytes for op in self._inputs(tokens=0.0, passes=1))
        return self.layers * float(layer + inputs + _mix_bytes(model))


@dataclass(frozen=True, slots=True, kw_only=True)
class DsparkDrafter:
    """DSpark: three sliding-window layers draft a block in one pass, a Markov head refines it.

    Notes
    -----
    The hidden states of ``target_layers`` layers are projected to one input; for every token of
    the step the stages keep their KV entry (`token_ops`). The draft pass runs over
    ``drafts`` positions per request and attends to window and block; the language-model head
    covers them all at once. The Markov head then corrects each position given the token
    before it: a gathered row of one ``V x r`` matrix times another, one position after the
    other. Structure: DSpark paper, arXiv 2607.05147; it reproduces the published parameter
    counts of both releases.
    """

    model: DraftedModel

    @property
    def _draft(self) -> DsparkDraft:
        draft = self.model.architecture.dspark
        if draft is None:  # the model chooses this class by the field
            raise TypeError(f"{self.model.architecture.name} has no DSpark module")
        return draft

    @property
    def layers(self) -> int:
        """Sliding-window layers with a cache of their own. [-]"""
        return self._draft.stages

    def token_ops(self, *, rank_tokens: Quantity, group_tokens: Quantity) -> list[Op]:
        """Projection of the tapped hidden states, and the KV entries of the stages."""
        model = self.model
        arch, plan = model.architecture, model.plan
        entries = gemm(
            name="wkv",
            component=Component.DRAFT,
            path=plan.dense_path,
            tokens=rank_tokens,
            inputs=arch.hidden_size,
            outputs=arch.head_dim,
            layers=self._draft.stages,
            scale=plan.kernels_scale,
            extra_kernels=KERNELS["window_insert"],
        )
        return as_draft([self._taps(tokens=rank_tokens), entries], name="draft.context")

    def _taps(self, *, tokens: Quantity) -> Op:
        arch, plan = self.model.architecture, self.model.plan
        return gemm(
            name="main_proj",
            component=Component.DRAFT,
            path=plan.dense_path,
            tokens=tokens,
            inputs=self._draft.target_layers * arch.hidden_size,
            outputs=arch.hidden_size,
            layers=1,
            scale=plan.kernels_scale,
            extra_kernels=KERNELS["draft.norm"],
        )

    def draft_ops(self, *, requests: Quantity, group_requests: Quantity, drafts: int) -> list[Op]:
        """One pass over ``drafts`` positions per request, the head, and the Markov corrections."""
        model = self.model
        arch = model.architecture
        positions = requests * float(drafts)
        ops = as_draft(
            [
                *_window_layer(
                    model=model,
                    rank_tokens=positions,
                    group_tokens=group_requests * float(drafts),
                    layers=self._draft.stages,
                ),
                *_window_core(
                    model=model, requests=requests, queries=drafts, layers=self._draft.stages
                ),
            ],
            name="draft.block",
        )
        ops += model.head(name="draft.head", component=Component.DRAFT, samples=positions, passes=1)
        rank = float(self._draft.markov_rank)
        ops.append(
            Op(
                name="draft.markov",
                component=Component.DRAFT,
                kind=OpKind.MEMORY,
                flops=requests * (2.0 * rank * arch.vocab_size),
                weight_bytes=rank * arch.vocab_size * BF16_BYTES,
                activation_bytes=requests * (rank * BF16_BYTES + arch.vocab_size * FP32_BYTES),
                kernels=KERNELS["markov"] * model.plan.kernels_scale,
                layers=drafts,
            )
        )
        return ops

    def weight_bytes(self) -> float:
        """Resident bytes on one rank. [B]"""
        model = self.model
        arch = model.architecture
        layer = sum(model.layer_weight_bytes(ratio=0).values())
        taps = self._draft.target_layers * arch.hidden_size**2 * WEIGHT_BYTES[model.plan.dense_path]
        markov = 2.0 * self._draft.markov_rank * arch.vocab_size * BF16_BYTES
        return float(self._draft.stages * layer + taps + markov + _mix_bytes(model))


def _mix_bytes(model: DraftedModel) -> float:
    """Stream combination before the draft's head. [B]"""
    arch = model.architecture
    return arch.hc_mult**2 * arch.hidden_size * FP32_BYTES
