"""Whole attention modules and decode steps from the kernel table, against measured ones.

Nothing is fitted here: the operations of `workloads.models` are timed with the kernel table as it
stands and compared with tables that measured the module in one piece. What remains is what the
sum of kernels misses: launches that overlap, glue between them, an engine's own choice of kernel.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np

from calibration.importers import aiconfigurator_deepseek_v4 as deepseek_v4_tables
from hwmodels.roofline import step_ops_s
from hwmodels.software import PARAMETERS, load_software
from workloads.architectures.catalog import load_architecture
from workloads.execution_plan import ExecutionPlan
from workloads.layout import Layout
from workloads.models.deepseek_v4_attention import AttentionLayers, output_projection

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt
    import pandas as pd

    from hwmodels.sku import Sku
    from hwmodels.software import SoftwareLevel
    from workloads.architectures.deepseek_v4 import DeepseekV4Architecture
    from workloads.ops import Op

_ARCHITECTURES = {"pro": "deepseek-v4-pro", "flash": "deepseek-v4-flash"}


def table_level(*, sku: Sku, plan: ExecutionPlan | None = None) -> SoftwareLevel:
    """A software level that is the kernel table and nothing else: all scales one, no host time.

    Parameters
    ----------
    sku:
        Its generation selects the values.
    plan:
        Kernels in use; the default plan if ``None``.
    """
    level = load_software(engine="vllm", sku=sku, model="deepseek-v4-pro")
    neutral = {name: 1.0 if name.endswith("_scale") else 0.0 for name in PARAMETERS}
    return replace(level.with_parameters(neutral), plan=plan or ExecutionPlan())


def attention_module_ops(
    *,
    model: str,
    ratio: int,
    tp: int,
    batch: npt.NDArray[np.float64],
    queries: npt.NDArray[np.float64],
    prefix: npt.NDArray[np.float64],
    plan: ExecutionPlan,
) -> list[Op]:
    """Operations of one attention layer with its projections on one rank, no all-reduce.

    Parameters
    ----------
    model:
        ``pro`` or ``flash`` of DeepSeek V4.
    ratio:
        4 (CSA) or 128 (HCA).
    tp:
        Ranks that share the heads.
    batch, queries, prefix:
        Requests, new tokens of each (1 throughout is decode), and tokens before them.
    """
    architecture = cast("DeepseekV4Architecture", load_architecture(_ARCHITECTURES[model]))
    layout = Layout(tp=tp)
    layer = AttentionLayers(
        architecture=architecture, layout=layout, plan=plan, ratio=ratio, layers=1
    )
    tokens = batch * queries
    ops = layer.projections(tokens=tokens)
    if np.all(queries == 1):
        ops += layer.decode(requests=batch, queries_per_request=1, context=prefix + 1.0)
    else:
        ops += [
            replace(
                op,
                flops=op.flops * batch,
                kv_bytes=op.kv_bytes * batch,
                activation_bytes=op.activation_bytes * batch,
            )
            for op in layer.prefill(new_tokens=queries, prefix_tokens=prefix)
        ]
    ops += output_projection(
        architecture=architecture, layout=layout, plan=plan, tokens=tokens, layers=1
    )
    return [op for op in ops if not op.kind.is_communication]


def compare_modules(root: Path, *, skus: Mapping[str, Sku]) -> pd.DataFrame:
    """Measured attention modules with the time that the kernel table gives, ``predicted_s``.

    Parameters
    ----------
    root:
        From `calibration.importers.aiconfigurator.find_tables`.
    skus:
        Chips whose tables are read, by key.
    """
    import pandas as pd

    frame = deepseek_v4_tables.read_attention_module(root, skus=list(skus))
    frame = frame[frame["path"] == "fp8"]
    frame = frame.assign(phase=np.where(frame["queries"] == 1, "decode", "prefill"))
    plan = ExecutionPlan()
    parts = []
    for _, rows in frame.groupby(["sku", "model", "ratio", "tp", "phase"]):
        shape = rows.iloc[0]
        sku = skus[str(shape["sku"])]
        ops = attention_module_ops(
            model=str(shape["model"]),
            ratio=int(shape["ratio"]),
            tp=int(shape["tp"]),
            batch=rows["batch"].to_numpy(float),
            queries=rows["queries"].to_numpy(float),
            prefix=rows["prefix"].to_numpy(float),
            plan=plan,
        )
        level = table_level(sku=sku, plan=plan)
        predicted_s = np.broadcast_to(step_ops_s(ops=ops, sku=sku, software=level), len(rows))
        parts.append(rows.assign(predicted_s=predicted_s))
    return pd.concat(parts, ignore_index=True)


def module_errors(compared: pd.DataFrame) -> pd.DataFrame:
    """Errors by phase, module and engine.

    Columns ``phase, module, engine, bias, error, low, high, rows``: median of
    ``predicted / measured - 1``, median of its absolute value, 10th and 90th percentile. [-]
    """
    module = np.where(compared["ratio"] == 4, "CSA", "HCA")
    relative = compared["predicted_s"] / compared["time_s"] - 1.0
    groups = relative.groupby([compared["phase"], module, compared["engine"]])
    errors = groups.agg(
        bias="median",
        error=lambda x: x.abs().median(),
        low=lambda x: x.quantile(0.1),
        high=lambda x: x.quantile(0.9),
        rows="size",
    )
    return errors.rename_axis(["phase", "module", "engine"]).reset_index()
