"""Op tables of grouped-query attention: what is read, and that work is counted as in the model."""

import pandas as pd
import pytest

from calibration.importers import aiconfigurator as tables
from calibration.kernels.work import gqa_work
from hwmodels.sku import load_sku
from hwmodels.software import load_software
from workloads.architectures.catalog import load_architecture
from workloads.execution_plan import ExecutionPlan
from workloads.layout import Layout
from workloads.models import bind


def row(**changes):
    return {
        "framework": "VLLM",
        "device": "NVIDIA A100-SXM4-80GB",
        "batch_size": 4,
        "isl": 1,
        "num_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "attn_dtype": "bfloat16",
        "kv_cache_dtype": "bfloat16",
        "step": 1023,
        "window_size": 0,
        "latency": 0.5,
        **changes,
    }


def write(root, *, phase, rows):
    path = root / "a100_sxm" / "attention" / "vllm" / "0.14.0" / f"{phase}_attention_perf.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_parquet(path)


@pytest.fixture
def frame(tmp_path):
    write(
        tmp_path,
        phase="generation",
        rows=[
            row(),
            row(latency=0.7),
            row(kv_cache_dtype="fp8", latency=0.25),
            row(head_dim=64),
            row(window_size=1024),
            row(attn_dtype="fp8"),
            row(num_key_value_heads=0),
        ],
    )
    write(tmp_path, phase="context", rows=[row(isl=512, step=0, latency=2.0)])
    return tables.read_gqa(tables.find_tables(tmp_path), skus=["a100"])


def test_heads_of_128_over_the_whole_context_in_bf16_are_read(frame):
    found = frame[["phase", "kv_bytes_per_value", "batch", "context", "time_s"]]
    assert found.to_dict("split")["data"] == [
        ["decode", 1.0, 4, 1024, pytest.approx(0.25e-3)],
        ["decode", 2.0, 4, 1024, pytest.approx(0.6e-3)],  # repeated shapes: their median
        ["prefill", 2.0, 4, 512, pytest.approx(2e-3)],
    ]
    assert set(frame["kv_heads"]) == {8}
    assert set(frame["heads"]) == {32}


def test_a_rows_work_is_that_of_the_models_operation(frame):
    work = gqa_work(frame).set_index(["phase", "kv_bytes_per_value"])
    for kv, value in (("bf16", 2.0), ("fp8", 1.0)):
        model = bind(
            architecture=load_architecture("llama-3.1-8b"),
            layout=Layout(tp=1),
            plan=ExecutionPlan(dense_path="bf16", kv_storage=kv),
        )
        (core,) = model.decode_attention_ops(requests=4.0, queries_per_request=1, context=1024.0)
        counted = work.loc[("decode", value)]
        assert counted["flops"] == pytest.approx(core.flops)
        assert counted["hbm_bytes"] == pytest.approx(core.hbm_bytes)
        assert counted["kernels"] == core.kernels
        if kv == "bf16":
            (core,) = model.prefill_attention_ops(new_tokens=512.0, prefix_tokens=0.0)
            counted = work.loc[("prefill", value)]
            assert counted["flops"] == pytest.approx(4 * core.flops)
            assert counted["hbm_bytes"] == pytest.approx(4 * core.hbm_bytes)
            assert counted["kernels"] == core.kernels


def test_a100_has_kernels_of_its_own_and_other_generations_do_not_inherit_them():
    level = load_software(engine="vllm", sku=load_sku("a100"), model="llama-3.1-8b")
    hopper = load_software(engine="vllm", sku=load_sku("h200"), model="llama-3.1-8b")
    other = load_software(engine="vllm", sku=load_sku("tpu7x"), model="llama-3.1-8b")
    for family in (("gemm", "bf16"), ("attention", "gqa_decode"), ("attention", "gqa_prefill")):
        assert level.kernels[family] != other.kernels[family] != hopper.kernels[family]
        for one in (level, hopper, other):
            fit = one.kernels[family]
            assert fit.t0_s > 0
            assert 0 < fit.memory_efficiency <= 1
            assert 0 < fit.compute_efficiency <= 1
