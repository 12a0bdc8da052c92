"""A model in numbers, without a chip: parameters, bytes and FLOPs a token."""

from __future__ import annotations

from typing import Any

from simulator.studies.explain.run import work_row
from workloads.architectures.catalog import stored_architecture
from workloads.models.accounting import account, decode_token_ops


def explain_model(model: str, *, context: int) -> dict[str, Any]:
    """A model's published figures from its operations, with the operations behind them.

    Parameters
    ----------
    context:
        Tokens of the sequence of which one is decoded, that one included. [tokens]

    Returns
    -------
    dict
        `workloads.models.accounting.account` with the model, the context and ``ops``: one
        decoded token on one rank.

    Raises
    ------
    UserError
        If the model is unknown, has no cost functions, or the context exceeds its limit.
    """
    architecture = stored_architecture(model)
    figures = account(architecture=architecture, context=context)
    ops = decode_token_ops(architecture=architecture, context=float(context))
    return {
        "model": architecture.name,
        "context": context,
        **figures,
        "ops": [work_row(op) for op in ops],
    }
