"""Mixture of experts: router, routed and shared experts, and their exchange between ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from workloads.errors import UserError
from workloads.layout import divisors
from workloads.models.expert_load import load_table
from workloads.models.kernels import KERNELS
from workloads.models.parts import BF16_BYTES, all_reduce, gated_mlp, gemm, memory
from workloads.models.precision import ACTIVATION_BYTES, WEIGHT_BYTES, arithmetic, quantises
from workloads.ops import Component, Op, OpKind, TokenExchange

if TYPE_CHECKING:
    from workloads.execution_plan import ExecutionPlan
    from workloads.layout import Layout
    from workloads.models.expert_load import ExpertLoad
    from workloads.ops import Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class Moe:
    """A mixture-of-experts layer on a layout.

    Parameters
    ----------
    hidden, intermediate:
        Width of the residual stream and of one expert. [-]
    experts, experts_per_token, shared_experts:
        Routed experts, those of one token, and those that every token uses. [-]
    matrices:
        Of an expert: 3 with a gate, 2 without. [-]
    latent:
        Width that routed experts act on and that travels between ranks, if not the residual
        stream's; 0: that. [-]
    shared_width:
        Columns of what every token uses, where it is not ``shared_experts`` experts. [-]
    load:
        Distribution of tokens over the routed experts.
    groups, group_limit:
        Node-limited routing: a token's experts come from at most ``group_limit`` of ``groups``.
    """

    hidden: int
    intermediate: int
    experts: int
    experts_per_token: int
    shared_experts: int
    layout: Layout
    plan: ExecutionPlan
    load: ExpertLoad
    groups: int = 1
    group_limit: int = 1
    matrices: int = 3
    latent: int = 0
    shared_width: int = 0

    @property
    def inner(self) -> int:
        """Width that routed experts act on. [-]"""
        return self.latent or self.hidden

    def validate(self) -> None:
        """Check that the experts divide over the layout.

        Raises
        ------
        UserError
            Naming the degree, what it must divide, and the degrees that do.
        """
        ep, moe_tp = self.layout.ep, self.layout.moe_tp
        redundant = self.load.redundant_experts
        slots = self.experts + redundant
        if slots % ep:
            what = f"the {self.experts} routed experts"
            if redundant:
                what += f" with their {redundant} redundant copies"
            fits = [d for d in divisors(slots) if d <= 2 * ep]
            raise UserError(
                f"ep is {ep}, which does not divide {what}; choose ep "
                f"{' or '.join(str(d) for d in fits[-2:])}, or --engine-set redundant_experts="
                f"{redundant + ep - slots % ep}"
            )
        if self.intermediate % moe_tp:
            raise UserError(
                f"tp / ep is {moe_tp}, which does not divide the expert width "
                f"{self.intermediate}; raise ep or choose another tp"
            )

    @property
    def expert_parameters(self) -> float:
        """Parameters of one expert: gate, up and down projection. [-]"""
        return float(self.matrices) * self.inner * self.intermediate

    @property
    def expert_bytes_per_rank(self) -> float:
        """Resident bytes of one layer's routed experts on one rank. [B]"""
        slots = self.experts + self.load.redundant_experts
        shard = self.expert_parameters / self.layout.moe_tp
        return slots / self.layout.ep * shard * WEIGHT_BYTES[self.plan.expert_path]

    @property
    def dense_bytes_per_rank(self) -> float:
        """Resident bytes of one layer's router and shared expert on one rank. [B]"""
        ops = [self._router(tokens=0.0, layers=1), *self._shared(tokens=0.0, layers=1)]
        return float(sum(op.weight_bytes for op in ops))

    @property
    def shared_tp(self) -> int:
        """Ranks over which the shared expert is split: those that hold the same tokens."""
        return self.layout.attention_tp

    @property
    def _shared_columns(self) -> int:
        return self.shared_width or self.shared_experts * self.intermediate

    @property
    def by_pair(self) -> bool:
        """Whether hidden states travel per token-expert pair, by all-to-all."""
        layout = self.layout
        exchanged = layout.dp_attention and layout.tp > 1
        return exchanged and layout.moe_tp == 1 and self.plan.moe_backend in _PAIR_EXCHANGE

    @property
    def fused(self) -> bool:
        """Whether exchange and grouped GEMMs are one kernel."""
        return self.by_pair and self.plan.moe_backend == "fused"

    @property
    def shared_beside_routed(self) -> bool:
        """Whether the shared expert overlaps; the fused kernel leaves it no multiprocessors."""
        return self.plan.shared_expert_overlap and self._shared_columns > 0 and not self.fused

    @property
    def in_halves(self) -> bool:
        """Whether two half batches alternate: the exchange of one beside the experts of another."""
        return self.plan.two_batch_overlap and self.by_pair and not self.fused

    def ops(
        self,
        *,
        rank_tokens: Quantity,
        group_tokens: Quantity,
        layers: int,
    ) -> list[Op]:
        """Operations of ``layers`` mixture-of-experts layers on the slowest rank.

        Parameters
        ----------
        rank_tokens:
            Tokens of the slowest attention rank. [tokens]
        group_tokens:
            Tokens of all attention ranks of the worker. [tokens]
        """
        halves = 2 if self.in_halves else 1
        routed = self._routed(
            rank_tokens=rank_tokens / halves,
            group_tokens=group_tokens / halves,
            layers=layers * halves,
        )
        shared = self._shared(tokens=rank_tokens, layers=layers)
        return [self._router(tokens=rank_tokens, layers=layers), *routed, *shared]

    def _router(self, *, tokens: Quantity, layers: int) -> Op:
        return gemm(
            name="moe.router",
            component=Component.EXPERTS,
            path="bf16",
            tokens=tokens,
            inputs=self.hidden,
            outputs=self.experts,
            layers=layers,
            scale=self.plan.kernels_scale,
            extra_kernels=KERNELS["select"],
        )

    def _routed(self, *, rank_tokens: Quantity, group_tokens: Quantity, layers: int) -> list[Op]:
        layout, plan = self.layout, self.plan
        overlapped = self.fused or self.in_halves
        stage = "moe" if overlapped or self.shared_beside_routed else ""
        table = load_table(
            load=self.load,
            experts=self.experts,
            experts_per_token=self.experts_per_token,
            ep=layout.ep,
        )
        slowest = table.slowest_rank_factor(tokens=group_tokens)
        pairs = group_tokens * slowest * (self.experts_per_token / layout.ep)
        touched = table.touched_share(tokens=group_tokens)
        experts = self._experts(
            pairs=pairs,
            touched=touched,
            rank_tokens=rank_tokens,
            layers=layers,
            stage=stage,
        )
        if not layout.dp_attention or layout.tp == 1:
            return experts + all_reduce(
                name="moe.all_reduce",
                tokens=group_tokens,
                hidden=self.hidden,
                ranks=layout.tp,
                layers=layers,
            )
        if self.by_pair:
            kind_in = kind_out = OpKind.ALL_TO_ALL
            busiest: Quantity = np.maximum(rank_tokens, pairs / self.experts_per_token)
            values: Quantity = busiest * float(self.experts_per_token * self.inner)
        else:
            busiest = rank_tokens
            padded = plan.moe_backend == "gather_reduce"
            kind_in = OpKind.ALL_GATHER
            kind_out = OpKind.ALL_REDUCE if padded else OpKind.REDUCE_SCATTER
            gathered = rank_tokens * float(layout.attention_dp) if padded else group_tokens
            values = gathered * float(self.inner)
        directions: tuple[tuple[Literal["dispatch", "combine"], OpKind, float], ...] = (
            ("dispatch", kind_in, plan.dispatch_bytes_per_value),
            ("combine", kind_out, plan.combine_bytes_per_value),
        )
        exchange = [
            Op(
                name=f"moe.{name}",
                component=Component.COMMUNICATION,
                kind=kind,
                message_bytes=values * bytes_per_value,
                group_size=layout.tp,
                exchange=self._exchange(name, tokens=busiest)
                if self.by_pair and not self.fused
                else None,
                layers=layers,
                stage=stage,
                stream=1 if overlapped else 0,
            )
            for name, kind, bytes_per_value in directions
        ]
        return [exchange[0], *experts, exchange[1]]

    def _exchange(
        self, operation: Literal["dispatch", "combine"], *, tokens: Quantity
    ) -> TokenExchange:
        plan = self.plan
        value_bytes = (
            plan.dispatch_bytes_per_value
            if operation == "dispatch"
            else plan.combine_bytes_per_value
        )
        return TokenExchange(
            operation=operation,
            tokens=tokens,
            choices=self.experts_per_token,
            copy_bytes=self.inner * value_bytes,
            groups=self.groups,
            group_limit=self.group_limit,
            library=plan.exchange_library,
            mode=plan.exchange_mode,
        )

    def _experts(
        self,
        *,
        pairs: Quantity,
        touched: Quantity,
        rank_tokens: Quantity,
        layers: int,
        stage: str,
    ) -> list[Op]:
        """Grouped GEMMs of the slowest rank, with what surrounds them."""
        plan = self.plan
        scale = plan.kernels_scale
        path = plan.expert_path
        width = self.intermediate / self.layout.moe_tp
        weight_bytes = touched * self.expert_bytes_per_rank
        value_bytes = ACTIVATION_BYTES[path]
        quantise_bytes = BF16_BYTES + value_bytes if quantises(path) else 0.0
        per_pair_in = self.inner * value_bytes
        per_pair_mid = (self.matrices - 1.0) * width * BF16_BYTES
        per_pair_out = self.inner * BF16_BYTES
        up_share = (self.matrices - 1.0) / self.matrices
        flops = pairs * (2.0 * self.matrices * self.inner * width)
        if self.fused:
            quantise = memory(
                name="experts.quantise",
                component=Component.EXPERTS,
                activation_bytes=rank_tokens * (self.inner * quantise_bytes),
                kernels=KERNELS["quantise"] * scale,
                layers=layers,
            )
            kernel = Op(
                name="experts.fused",
                component=Component.EXPERTS,
                kind=OpKind.GROUPED_GEMM,
                precision=arithmetic(path),
                variant="fused",
                flops=flops,
                weight_bytes=weight_bytes,
                activation_bytes=pairs * (per_pair_in + 2.0 * width * value_bytes + per_pair_out),
                kernels=KERNELS["experts.fused"] * scale,
                layers=layers,
                stage=stage,
            )
            return [quantise, kernel] if quantises(path) else [kernel]
        permute = memory(
            name="experts.permute",
            component=Component.EXPERTS,
            activation_bytes=pairs * (2.0 * per_pair_in)
            + rank_tokens * (self.inner * quantise_bytes),
            kernels=(KERNELS["experts.permute"] + (KERNELS["quantise"] if quantises(path) else 0))
            * scale,
            layers=layers,
            stage=stage,
        )
        up = Op(
            name="experts.w13",
            component=Component.EXPERTS,
            kind=OpKind.GROUPED_GEMM,
            precision=arithmetic(path),
            flops=flops * up_share,
            weight_bytes=weight_bytes * up_share,
            activation_bytes=pairs * (per_pair_in + per_pair_mid),
            kernels=KERNELS["gemm"] * scale,
            layers=layers,
            stage=stage,
        )
        activation = memory(
            name="experts.activation",
            component=Component.EXPERTS,
            activation_bytes=pairs * (per_pair_mid + width * value_bytes),
            kernels=KERNELS["experts.activation"] * scale,
            layers=layers,
            stage=stage,
        )
        down = Op(
            name="experts.w2",
            component=Component.EXPERTS,
            kind=OpKind.GROUPED_GEMM,
            precision=arithmetic(path),
            flops=flops / self.matrices,
            weight_bytes=weight_bytes / self.matrices,
            activation_bytes=pairs * (width * value_bytes + per_pair_out),
            kernels=KERNELS["gemm"] * scale,
            layers=layers,
            stage=stage,
        )
        reduce = memory(
            name="experts.reduce",
            component=Component.EXPERTS,
            activation_bytes=pairs * per_pair_out + rank_tokens * per_pair_out,
            kernels=KERNELS["experts.reduce"] * scale,
            layers=layers,
            stage=stage,
        )
        return [permute, up, activation, down, reduce]

    def _shared(self, *, tokens: Quantity, layers: int) -> list[Op]:
        """Shared expert; beside the routed ones where the plan overlaps them."""
        if not self._shared_columns:
            return []
        plan = self.plan
        overlap = self.shared_beside_routed
        return gated_mlp(
            name="shared",
            component=Component.EXPERTS,
            path=plan.feed_forward_path or plan.dense_path,
            tokens=tokens,
            hidden=self.hidden,
            width=self._shared_columns / self.shared_tp,
            matrices=self.matrices,
            layers=layers,
            scale=plan.kernels_scale,
            stage="moe" if overlap else "",
            stream=2 if overlap else 0,
        )


_PAIR_EXCHANGE = ("dispatch_combine", "fused")
