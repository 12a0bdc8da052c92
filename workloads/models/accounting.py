"""A whole model in numbers: parameters, checkpoint, FLOPs per token, KV bytes, weights read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workloads.errors import UserError
from workloads.execution_plan import ExecutionPlan
from workloads.layout import Layout
from workloads.models import bind
from workloads.models.expert_load import experts_touched
from workloads.models.kv_bytes import STORAGES, kv_bytes_per_context_token, kv_bytes_per_sequence
from workloads.models.precision import FP8_EQUIVALENT
from workloads.models.weights import weight_table

if TYPE_CHECKING:
    from workloads.architectures.base import Architecture
    from workloads.costmodel import CostModel
    from workloads.ops import Op, Quantity


def reference_plan(*, architecture: Architecture) -> ExecutionPlan:
    """The arithmetic of the published model: native formats, no padding, no engine's choices.

    V4's indexer scores in FP4 (trained so), V3.2's in FP8.
    """
    return ExecutionPlan(
        expert_path=architecture.native_expert_path,
        dense_path=architecture.native_dense_path,
        index_storage=architecture.index_storage,
        attention_head_multiple=1,
    )


def reference_model(*, architecture: Architecture) -> CostModel:
    """The model whole on one rank under `reference_plan`."""
    return bind(
        architecture=architecture,
        layout=Layout(tp=1),
        plan=reference_plan(architecture=architecture),
    )


def decode_token_ops(*, architecture: Architecture, context: Quantity) -> list[Op]:
    """Operations of one decoded token at a context on one rank, head included."""
    model = reference_model(architecture=architecture)
    return [
        *model.token_ops(rank_tokens=1.0, group_tokens=1.0),
        *model.decode_attention_ops(requests=1.0, queries_per_request=1, context=context),
        *model.head_ops(samples=1.0),
    ]


def prefill_ops(
    *, architecture: Architecture, new_tokens: Quantity, prefix_tokens: Quantity
) -> list[Op]:
    """Operations of one prompt chunk on one rank, without the language-model head."""
    model = reference_model(architecture=architecture)
    return [
        *model.token_ops(rank_tokens=new_tokens, group_tokens=new_tokens),
        *model.prefill_attention_ops(new_tokens=new_tokens, prefix_tokens=prefix_tokens),
    ]


def total_flops(ops: list[Op]) -> dict[str, float]:
    """FLOPs of a list of operations, plain and in FP8-equivalents. [FLOP]"""
    raw = sum(float(op.flops) * op.layers for op in ops)
    equivalent = sum(float(op.flops) * op.layers * FP8_EQUIVALENT[op.precision] for op in ops)
    return {"raw": raw, "fp8_equivalent": equivalent}


def weights_read_bytes(*, architecture: Architecture, tokens: Quantity) -> Quantity:
    """Bytes of weights that one forward pass over ``tokens`` tokens reads. [B]

    Dense weights and the head once; of the routed experts those that the tokens touch under
    uniform routing.
    """
    total: Quantity = 0.0
    for weight in weight_table(architecture=architecture):
        if weight.module != "main" or weight.name in ("embedding", "n-gram tables"):
            continue
        share: Quantity = 1.0
        if weight.name in ("routed experts", "expert biases"):
            share = touched_share(architecture=architecture, tokens=tokens)
        total = total + share * weight.checkpoint_bytes
    return total


def touched_share(*, architecture: Architecture, tokens: Quantity) -> Quantity:
    """Share of the routed experts that ``tokens`` tokens use under uniform routing. [-]"""
    experts = architecture.routed_experts
    if not experts:
        raise UserError(f"model {architecture.name} has no routed experts")
    return (
        experts_touched(
            experts=experts, experts_per_token=architecture.routed_per_token, tokens=tokens
        )
        / experts
    )


def account(*, architecture: Architecture, context: int, tokens: int = 1) -> dict[str, Any]:
    """The figures of a model at a context, as ``simulate explain --json`` prints them.

    Parameters
    ----------
    context:
        Tokens of the sequence, the new one included. [tokens]
    tokens:
        Tokens of the forward pass for `weights_read_bytes`. [tokens]

    Raises
    ------
    UserError
        If the context exceeds the model's.
    """
    limit = architecture.max_position_embeddings
    if not 1 <= context <= limit:
        raise UserError(f"context is {context}; {architecture.name} takes 1 to {limit} tokens")
    weights = weight_table(architecture=architecture)
    main = sum(w.parameters for w in weights if w.module == "main")
    draft = sum(w.parameters for w in weights if w.module == "draft")
    return {
        "parameters_main": main,
        "parameters_mtp": draft,
        "parameters_total": main + draft,
        "parameters_active": sum(w.parameters * w.active for w in weights if w.module == "main"),
        "checkpoint_bytes": sum(w.checkpoint_bytes for w in weights),
        "kv_bytes_per_sequence": {
            name: float(
                kv_bytes_per_sequence(
                    architecture=architecture, context=float(context), kv=kv, index=index
                )
            )
            for name, (kv, index) in STORAGES.items()
        },
        "kv_bytes_per_token_marginal": {
            name: kv_bytes_per_context_token(architecture=architecture, kv=kv, index=index)
            for name, (kv, index) in STORAGES.items()
        },
        "flops_per_token": total_flops(
            decode_token_ops(architecture=architecture, context=float(context))
        ),
        "weights_read_bytes": float(
            weights_read_bytes(architecture=architecture, tokens=float(tokens))
        ),
    }
