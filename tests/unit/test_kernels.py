"""Fits of kernel and link efficiencies, the work behind table rows, and the shipped table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.kernels import work as work
from calibration.kernels.collectives import LinkParameters, fit_link, fit_links, link_error
from calibration.kernels.fit import (
    KernelParameters,
    fit_family,
    fit_kernel,
    kernel_samples,
    median_error,
    predict_s,
)
from calibration.kernels.modules import attention_module_ops, table_level
from calibration.kernels.report import replace_blocks, table_blocks
from hwmodels.sku import list_skus, load_sku
from workloads.architectures.catalog import load_architecture
from workloads.errors import UserError
from workloads.execution_plan import ExecutionPlan
from workloads.layout import Layout
from workloads.models import bind
from workloads.models.deepseek_v4_attention import AttentionLayers
from workloads.models.expert_load import ExpertLoad
from workloads.models.indexer import index_ops
from workloads.models.moe import Moe
from workloads.models.parts import gemm
from workloads.ops import Component, OpKind

ROOT = Path(__file__).parents[2]
TABLE = yaml.safe_load((ROOT / "hwmodels/software/kernels.yaml").read_text(encoding="utf-8"))
SKUS = {key: load_sku(key) for key in ("h100", "h200", "b200")}


def shapes(sku: str, *, rows: int = 200, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    m, n, k = (2.0 ** rng.uniform(low, 14, rows) for low in (0, 9, 9))
    frame = pd.DataFrame({"sku": sku, "path": "bf16", "m": m, "n": n, "k": k})
    return work.gemm_work(frame)


def measured(truth: KernelParameters, *, sku: str, noise: float = 0.0, **kwargs) -> pd.DataFrame:
    frame = shapes(sku, **kwargs).assign(time_s=1.0)
    samples = kernel_samples(frame, skus=SKUS, precision="bf16")
    spread = np.random.default_rng(1).normal(0.0, noise, len(frame)) if noise else 0.0
    return frame.assign(time_s=predict_s(truth, samples) * np.exp(spread))


@settings(max_examples=15, deadline=None)
@given(t0_us=st.floats(1.0, 30.0), e_c=st.floats(0.1, 0.95), e_m=st.floats(0.2, 0.95))
def test_fit_recovers_what_made_the_rows(t0_us, e_c, e_m):
    truth = KernelParameters(t0_s=t0_us * 1e-6, e_c=e_c, e_m=e_m)
    frame = measured(truth, sku="h200", noise=0.02)
    found = fit_kernel(kernel_samples(frame, skus=SKUS, precision="bf16"))
    assert found.t0_s == pytest.approx(truth.t0_s, rel=0.05)
    assert found.e_c == pytest.approx(truth.e_c, rel=0.05)
    assert found.e_m == pytest.approx(truth.e_m, rel=0.05)


def test_fit_forgives_outliers():
    truth = KernelParameters(t0_s=3e-6, e_c=0.7, e_m=0.8)
    frame = measured(truth, sku="h200")
    frame.loc[::10, "time_s"] *= 5.0
    found = fit_kernel(kernel_samples(frame, skus=SKUS, precision="bf16"))
    assert found.e_c == pytest.approx(0.7, rel=0.1)
    assert found.e_m == pytest.approx(0.8, rel=0.1)


def test_efficiency_stays_below_one():
    truth = KernelParameters(t0_s=3e-6, e_c=0.7, e_m=0.8)
    frame = measured(truth, sku="h200").assign(time_s=lambda f: f["time_s"] / 10.0)
    found = fit_kernel(kernel_samples(frame, skus=SKUS, precision="bf16"))
    assert found.e_c <= 1.0
    assert found.e_m <= 1.0


def test_held_parameter_is_not_fitted():
    truth = KernelParameters(t0_s=3e-6, e_c=0.7, e_m=0.8)
    samples = kernel_samples(measured(truth, sku="h200"), skus=SKUS, precision="bf16")
    found = fit_kernel(samples, fixed={"e_m": 0.5})
    assert found.e_m == 0.5


def test_known_part_of_the_time_is_not_fitted():
    truth = KernelParameters(t0_s=3e-6, e_c=0.7, e_m=0.8)
    frame = measured(truth, sku="h200").assign(fixed_s=1e-4)
    frame["time_s"] += 1e-4
    found = fit_kernel(kernel_samples(frame, skus=SKUS, precision="bf16"))
    assert found.t0_s == pytest.approx(3e-6, rel=0.02)


def test_each_sku_weighs_the_same_and_each_engine_within_it():
    frame = pd.concat(
        [
            shapes("h100", rows=100).assign(engine="a"),
            shapes("h200", rows=30).assign(engine="a"),
            shapes("h200", rows=70).assign(engine="b"),
        ]
    ).assign(time_s=1e-5)
    weight = kernel_samples(frame, skus=SKUS, precision="bf16").groupby(["sku", "engine"])["weight"]
    totals = weight.sum()
    assert totals["h100", "a"] == pytest.approx(totals["h200"].sum())
    assert totals["h200", "a"] == pytest.approx(totals["h200", "b"])


def test_family_errors_separate_skus_from_generations():
    hopper = KernelParameters(t0_s=3e-6, e_c=0.8, e_m=0.8)
    blackwell = KernelParameters(t0_s=3e-6, e_c=0.4, e_m=0.8)
    frame = pd.concat(
        [
            measured(hopper, sku="h100", seed=1),
            measured(hopper, sku="h200", seed=2),
            measured(blackwell, sku="b200", seed=3),
        ]
    )
    fits = fit_family(
        kernel_samples(frame, skus=SKUS, precision="bf16"),
        generation_of={key: sku.generation for key, sku in SKUS.items()},
    )
    assert set(fits) == {"hopper", "blackwell", "generic"}
    assert fits["hopper"].in_sample_error < 0.01
    assert fits["hopper"].cross_sku_error < 0.01
    assert fits["blackwell"].cross_sku_error is None
    assert fits["blackwell"].cross_generation_error > 0.02
    assert fits["blackwell"].in_sample_error < 0.001
    assert fits["hopper"].without["h100"].e_c == pytest.approx(0.8, rel=0.02)
    low, high = fits["generic"].spread["e_c"]
    assert (low, high) == pytest.approx((0.4, 0.8), rel=0.02)


def test_median_error_weighs_rows():
    truth = KernelParameters(t0_s=3e-6, e_c=0.7, e_m=0.8)
    samples = kernel_samples(measured(truth, sku="h200"), skus=SKUS, precision="bf16")
    samples.loc[: len(samples) // 2 + 5, "time_s"] *= 0.5
    assert median_error(truth, samples) == pytest.approx(1.0)
    samples.loc[: len(samples) // 2 + 5, "weight"] = 1e-6
    assert median_error(truth, samples) == pytest.approx(0.0, abs=1e-9)


def test_link_fit_recovers_latency_and_efficiency():
    peak_s = np.geomspace(1e-8, 1e-2, 40)
    truth = LinkParameters(latency_s=8e-6, efficiency=0.6)
    time_s = truth.latency_s + peak_s / truth.efficiency
    found = fit_link(peak_s=peak_s, time_s=time_s)
    assert found.latency_s == pytest.approx(8e-6, rel=1e-3)
    assert found.efficiency == pytest.approx(0.6, rel=1e-3)
    assert link_error(found, peak_s=peak_s, time_s=time_s) < 1e-3


def test_link_fits_leave_each_sku_out():
    peak_s = np.geomspace(1e-8, 1e-2, 20)
    frame = pd.concat(
        [
            pd.DataFrame({"sku": sku, "peak_s": peak_s, "time_s": 1e-5 + peak_s / efficiency})
            for sku, efficiency in (("h100", 0.5), ("h200", 0.7))
        ]
    )
    fits = fit_links(frame, generation_of={"h100": "hopper", "h200": "hopper"})
    assert fits["hopper"].without["h100"].efficiency == pytest.approx(0.7, rel=0.01)
    assert fits["hopper"].cross_sku_error > fits["hopper"].in_sample_error


def total(ops, field):
    return sum(float(np.sum(getattr(op, field))) for op in ops)


@pytest.mark.parametrize("path", ["bf16", "fp8", "nvfp4"])
def test_gemm_work_is_that_of_the_cost_models(path):
    row = work.gemm_work(pd.DataFrame({"path": [path], "m": [48], "n": [2048], "k": [7168]}))
    op = gemm(
        name="x",
        component=Component.DENSE,
        path=path,
        tokens=48.0,
        inputs=7168.0,
        outputs=2048.0,
        layers=1,
        scale=1.0,
    )
    assert row["flops"].item() == op.flops
    assert row["hbm_bytes"].item() == pytest.approx(op.hbm_bytes)
    assert row["kernels"].item() == op.kernels


def moe_ops(path: str, *, tp: int, tokens: float, backend: str = "dispatch_combine"):
    moe = Moe(
        hidden=7168,
        intermediate=3072,
        experts=384,
        experts_per_token=6,
        shared_experts=0,
        layout=Layout(tp=tp, ep=tp, dp_attention=tp > 1),
        plan=ExecutionPlan(expert_path=path, moe_backend=backend),
        load=ExpertLoad(),
    )
    ops = moe.ops(rank_tokens=tokens / tp, group_tokens=tokens, layers=1)
    return [op for op in ops if op.name.startswith("experts.")]


@pytest.mark.parametrize("path", ["mxfp4xfp8", "fp8", "w4a16"])
def test_moe_work_is_that_of_the_cost_models(path):
    """At enough tokens that every expert is touched, where uniform and balanced agree."""
    tokens = 65536.0
    shape = {"tokens": tokens, "hidden": 7168, "inter": 3072, "top_k": 6, "experts": 384}
    row = work.moe_work(pd.DataFrame([{"path": path, **shape, "moe_tp": 1, "moe_ep": 1}]))
    ops = moe_ops(path, tp=1, tokens=tokens)
    grouped = [op for op in ops if op.kind is OpKind.GROUPED_GEMM]
    memory = [op for op in ops if op.kind is OpKind.MEMORY]
    assert row["flops"].item() == pytest.approx(total(grouped, "flops"), rel=1e-6)
    assert row["hbm_bytes"].item() == pytest.approx(total(grouped, "hbm_bytes"), rel=1e-3)
    assert row["kernels"].item() == total(grouped, "kernels")
    assert row["memory_bytes"].item() == pytest.approx(total(memory, "hbm_bytes"), rel=1e-3)
    assert row["memory_kernels"].item() == total(memory, "kernels")
    assert row["tokens_per_expert"].item() == 1024.0


def test_fused_work_is_that_of_the_cost_models():
    shape = {"tokens_per_rank": 8192, "hidden": 7168, "inter": 3072, "top_k": 6, "experts": 384}
    row = work.mega_moe_work(pd.DataFrame([{**shape, "ep": 8}]))
    quantise, fused = moe_ops("mxfp4xfp8", tp=8, tokens=8.0 * 8192, backend="fused")
    assert row["flops"].item() == pytest.approx(float(fused.flops), rel=0.03)  # slowest rank
    assert row["hbm_bytes"].item() == pytest.approx(float(fused.hbm_bytes), rel=0.03)
    assert row["kernels"].item() == fused.kernels
    assert row["memory_bytes"].item() == pytest.approx(float(quantise.hbm_bytes))
    assert row["wire_bytes"].item() == pytest.approx(8192 * 6 * 7168 * (1 + 1 / 32 + 2) * 7 / 8)


@pytest.mark.parametrize(("queries", "prefix"), [(1, 127), (1, 8191), (4096, 0), (2048, 65536)])
def test_attention_work_is_that_of_the_cost_models(queries, prefix):
    row = work.attention_work(
        pd.DataFrame([{"batch": 2, "queries": queries, "prefix": prefix, "heads": 64}])
    )
    layer = AttentionLayers(
        architecture=load_architecture("deepseek-v4-flash"),
        layout=Layout(tp=1),
        plan=ExecutionPlan(),
        ratio=128,
        layers=1,
    )
    if queries == 1:
        ops = layer.decode(requests=2.0, queries_per_request=1, context=prefix + 1.0)
        scale = 1.0
    else:
        ops = layer.prefill(new_tokens=float(queries), prefix_tokens=float(prefix))
        scale = 2.0
    (core,) = [op for op in ops if op.kind is OpKind.ATTENTION]
    assert row["flops"].item() == pytest.approx(scale * float(core.flops), rel=0.02)
    assert row["hbm_bytes"].item() == pytest.approx(scale * float(core.hbm_bytes), rel=0.02)
    assert row["kernels"].item() == core.kernels
    assert row["phase"].item() == core.variant


@pytest.mark.parametrize("phase", ["decode", "prefill"])
def test_latent_attention_work_is_that_of_the_cost_models(phase):
    shape = {"batch": 1, "context": 4096, "heads": 128, "kv_bytes_per_value": 1.0}
    row = work.mla_work(pd.DataFrame([{"phase": phase, **shape}]))
    cost = bind(
        architecture=load_architecture("deepseek-r1"),
        layout=Layout(tp=1),
        plan=ExecutionPlan(kv_storage="fp8"),
    )
    if phase == "decode":
        ops = cost.decode_attention_ops(requests=1.0, queries_per_request=1, context=4096.0)
    else:
        ops = cost.prefill_attention_ops(new_tokens=4096.0, prefix_tokens=0.0)
    (core,) = [op for op in ops if op.kind is OpKind.ATTENTION]
    assert core.variant == f"mla_{phase}"
    assert row["flops"].item() == pytest.approx(float(core.flops), rel=1e-3)
    assert row["hbm_bytes"].item() == pytest.approx(float(core.hbm_bytes), rel=0.02)
    assert row["kernels"].item() == core.kernels


def test_indexer_and_selection_work_are_those_of_the_cost_models():
    row = pd.DataFrame([{"model": "pro", "batch": 1, "queries": 512, "prefix": 32768}])
    score, top_k = index_ops(
        phase="prefill",
        queries=512.0,
        scored=512.0 * (32768 + 256.5) / 4.0,
        keys=(32768 + 512) / 4.0,
        heads=64,
        head_dim=128,
        top_k=1024,
        plan=ExecutionPlan(),
        layers=1,
    )
    indexed, selected = work.indexer_work(row), work.top_k_work(row)
    assert indexed["flops"].item() == pytest.approx(score.flops, rel=1e-3)
    assert indexed["hbm_bytes"].item() == pytest.approx(score.hbm_bytes, rel=1e-3)
    assert selected["hbm_bytes"].item() == pytest.approx(top_k.hbm_bytes, rel=1e-3)


def test_hyper_connection_work_is_that_of_the_cost_models():
    cost = bind(
        architecture=load_architecture("deepseek-v4-pro"), layout=Layout(tp=1), plan=ExecutionPlan()
    )
    ops = {op.name: op for op in cost.token_ops(rank_tokens=4096.0, group_tokens=4096.0)}
    frame = pd.DataFrame({"part": ["pre", "post"], "tokens": 4096, "hidden": 7168})
    for row, name in zip(
        work.mhc_work(frame).to_dict("records"), ("mhc.pre", "mhc.post"), strict=True
    ):
        assert row["hbm_bytes"] == pytest.approx(2.0 * float(ops[name].activation_bytes))
        assert row["kernels"] == 2.0 * ops[name].kernels


def test_exchange_work_splits_domain_and_network():
    frame = pd.DataFrame(
        [{"tokens_per_rank": 128, "top_k": 8, "hidden": 7168, "value_bytes": 2.0, "ranks": 16}]
    ).assign(nodes=2)
    row = work.exchange_work(frame).iloc[0]
    assert row["wire_bytes"] / row["message_bytes"] == pytest.approx(7 / 16)
    assert row["network_bytes"] / row["message_bytes"] == pytest.approx(8 / 16)


def test_all_reduce_crosses_the_links_twice():
    frame = pd.DataFrame(
        {"kind": ["all_reduce", "all_gather"], "group": 8, "message_bytes": 1024.0}
    )
    assert work.collective_work(frame)["wire_bytes"].tolist() == [1792.0, 896.0]


def figures(entry):
    return [value for value in entry.values() if isinstance(value, dict) and "value" in value]


@pytest.mark.parametrize("section", ["families", "collectives"])
def test_every_figure_of_the_shipped_table_says_where_it_comes_from(section):
    entries = []
    for paths in TABLE[section].values():
        nested = paths.values() if section == "families" else [paths]
        entries += [entry for generations in nested for entry in generations.values()]
        assert all("generic" in generations for generations in nested)
    for entry in entries:
        assert len(figures(entry)) >= 3
        for figure in figures(entry):
            assert figure["kind"] in ("fitted", "measured", "estimate")
            assert figure["source"]
            assert figure["value"] > 0
            if figure["unit"] == "-":
                assert figure["value"] <= 1.0
            if "range" in figure:
                low, high = figure["range"]
                assert low <= high


@pytest.mark.parametrize("key", list_skus())
def test_every_sku_has_a_kernel_for_every_operation(key):
    """Names of families, paths and variants in the table match those of the cost models."""
    sku = load_sku(key)
    level = table_level(sku=sku)
    for name, backend in (
        ("deepseek-v4-pro", "fused"),
        ("deepseek-v4-pro", "dispatch_combine"),
        ("deepseek-v3.2", "dispatch_combine"),
        ("deepseek-r1", "dispatch_combine"),
    ):
        plan = ExecutionPlan(moe_backend=backend)
        cost = bind(
            architecture=load_architecture(name),
            layout=Layout(tp=8, ep=8, dp_attention=True),
            plan=plan,
        )
        ops = [
            *cost.token_ops(rank_tokens=8.0, group_tokens=64.0),
            *cost.decode_attention_ops(requests=8.0, queries_per_request=1, context=8192.0),
            *cost.prefill_attention_ops(new_tokens=512.0, prefix_tokens=8192.0),
        ]
        for op in ops:
            if op.kind.is_communication:
                assert level.collective(kind=op.kind).efficiency > 0
            else:
                assert level.kernel(op=op).t0_s > 0
            if op.variant:
                assert (op.kind.value, op.variant) in level.kernels


def test_attention_module_ops_leave_the_all_reduce_out():
    one = np.array([1.0])
    ops = attention_module_ops(
        model="pro",
        ratio=4,
        tp=8,
        batch=one,
        queries=one,
        prefix=np.array([8191.0]),
        plan=ExecutionPlan(),
    )
    assert not [op.name for op in ops if op.kind.is_communication]
    assert {"csa.wq_b", "attention.wo_b"} <= {op.name for op in ops}


def test_left_out_fits_are_close_to_the_full_ones():
    """Leaving one SKU out moves no efficiency by more than half: one generation, one table."""
    path = ROOT / "calibration/measurements/kernels_without.yaml"
    without = yaml.safe_load(path.read_text(encoding="utf-8"))
    for key, sections in without.items():
        generation = load_sku(key).generation
        for family, paths in sections["families"].items():
            for name, values in paths.items():
                shipped = TABLE["families"][family][name][generation]
                for field, value in values.items():
                    assert value == pytest.approx(shipped[field]["value"], rel=0.5)


def test_page_shows_the_shipped_table():
    page = (ROOT / "docs/background/kernels.md").read_text(encoding="utf-8")
    assert replace_blocks(page, table_blocks()) == page


def test_missing_block_of_a_page_is_named():
    with pytest.raises(UserError, match="'families' occurs 0 times"):
        replace_blocks("# nothing here", {"families": "| |"})
