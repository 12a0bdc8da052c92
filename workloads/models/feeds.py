"""Feed-forward parts of layers on one rank: dense networks, and experts with what is beside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workloads.architectures.kinds import Experts, FeedForward
from workloads.models.moe import Moe
from workloads.models.parts import all_reduce, gated_mlp, gemm, weight_bytes
from workloads.ops import Component

if TYPE_CHECKING:
    from workloads.architectures.kinds import Feed
    from workloads.execution_plan import ExecutionPlan
    from workloads.layout import Layout
    from workloads.models.expert_load import ExpertLoad
    from workloads.ops import Op, Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedLayers:
    """Equal feed-forward parts.

    Parameters
    ----------
    kind:
        Dense network, or experts.
    hidden:
        Width of the residual stream. [-]
    only:
        Whether the model has no experts in any layer.
    layers:
        How many of them a rank has. [-]
    """

    kind: Feed
    hidden: int
    only: bool
    layout: Layout
    plan: ExecutionPlan
    load: ExpertLoad
    layers: int

    @property
    def _experts(self) -> Experts | None:
        return self.kind if isinstance(self.kind, Experts) else None

    @property
    def _dense(self) -> FeedForward | None:
        """The dense network: the part itself, or the one beside the experts."""
        if isinstance(self.kind, FeedForward):
            return self.kind
        return FeedForward(width=self.kind.dense_width) if self.kind.dense_width else None

    @property
    def divided(self) -> dict[str, int]:
        """Columns that the tensor-parallel degree must divide, by name. [-]"""
        dense = self._dense
        return {"feed-forward columns": dense.width} if dense and self.only else {}

    def validate(self) -> None:
        """Check that the experts divide over the layout.

        Raises
        ------
        UserError
            Naming the degree, what it must divide, and the degrees that do.
        """
        kind = self._experts
        if kind is not None:
            self._moe(kind).validate()

    def _moe(self, kind: Experts) -> Moe:
        return Moe(
            hidden=self.hidden,
            intermediate=kind.width,
            experts=kind.experts,
            experts_per_token=kind.per_token,
            shared_experts=0,
            shared_width=kind.shared_width,
            matrices=kind.matrices,
            latent=kind.latent,
            groups=kind.groups,
            group_limit=kind.group_limit,
            layout=self.layout,
            plan=self.plan,
            load=self.load,
        )

    def ops(self, *, rank_tokens: Quantity, group_tokens: Quantity, layers: int) -> list[Op]:
        """Operations of ``layers`` of them."""
        ops: list[Op] = []
        dense = self._dense
        if dense is not None:
            ops += self._mlp(dense, tokens=rank_tokens, layers=layers)
        kind = self._experts
        if kind is None:
            return ops
        routed = self._moe(kind).ops(
            rank_tokens=rank_tokens, group_tokens=group_tokens, layers=layers
        )
        return ops + routed + self._latent(kind, tokens=rank_tokens, layers=layers)

    def _mlp(self, dense: FeedForward, *, tokens: Quantity, layers: int) -> list[Op]:
        """A dense network, divided over the ranks that share the attention."""
        ranks = self.layout.attention_tp
        name = "mlp" if self.only else "dense"
        path = self.plan.feed_forward_path or self.plan.dense_path
        ops = gated_mlp(
            name=name,
            component=Component.DENSE,
            path=self.plan.dense_path if self.only else path,
            tokens=tokens,
            hidden=self.hidden,
            width=dense.width / ranks,
            matrices=dense.matrices,
            layers=layers,
            scale=self.plan.kernels_scale,
        )
        if dense.reduced:
            ops += all_reduce(
                name=f"{name}.all_reduce",
                tokens=tokens,
                hidden=self.hidden,
                ranks=ranks,
                layers=layers,
            )
        return ops

    def _latent(self, kind: Experts, *, tokens: Quantity, layers: int) -> list[Op]:
        """Projections to the width that the experts act on, and back; whole on each rank."""
        if not kind.latent:
            return []
        return [
            gemm(
                name=f"moe.latent_{name}",
                component=Component.EXPERTS,
                path=self.plan.dense_path,
                tokens=tokens,
                inputs=inputs,
                outputs=outputs,
                layers=layers,
                scale=self.plan.kernels_scale,
            )
            for name, inputs, outputs in (
                ("down", self.hidden, kind.latent),
                ("up", kind.latent, self.hidden),
            )
        ]

    @property
    def layer_bytes(self) -> dict[str, float]:
        """Resident bytes of one layer on one rank by part. [B]"""
        parts: dict[str, float] = {}
        dense = self._dense
        if dense is not None:
            part = "feed-forward" if self.only else "dense layers"
            parts[part] = weight_bytes(self._mlp(dense, tokens=0.0, layers=1))
        kind = self._experts
        if kind is not None:
            moe = self._moe(kind)
            parts["routed experts"] = moe.expert_bytes_per_rank
            beside = moe.dense_bytes_per_rank
            if kind.latent:
                beside += weight_bytes(self._latent(kind, tokens=0.0, layers=1))
            parts["shared expert and router"] = beside
        return parts
