"""Reader of the op tables of aiconfigurator-core, on small tables of the same form."""

from __future__ import annotations

import pandas as pd
import pytest

from calibration.importers import aiconfigurator as tables
from calibration.importers import aiconfigurator_deepseek_v4 as deepseek_v4_tables
from calibration.importers import aiconfigurator_links as link_tables
from calibration.kernels.table import main
from workloads.errors import UserError


def write(root, path, rows, *, device="NVIDIA H200", framework="TRTLLM"):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(rows)
    frame.insert(0, "framework", framework)
    if "device" not in frame:
        frame["device"] = device
    frame.to_parquet(file)


def gemm_rows(*latencies, dtype="bfloat16", m=8):
    return [
        {"gemm_dtype": dtype, "m": m + i, "n": 512, "k": 1024, "latency": latency}
        for i, latency in enumerate(latencies)
    ]


GEMM = "h200_sxm/gemm/{}/{}/gemm_perf.parquet"


def test_time_is_in_seconds_and_paths_are_named(tmp_path):
    rows = gemm_rows(0.5, dtype="fp8_block") + gemm_rows(0.25, dtype="int8_wo")
    write(tmp_path, GEMM.format("trtllm", "1.3.0"), rows)
    frame = tables.read_gemm(tables.find_tables(tmp_path), skus=["h200"])
    assert frame.to_dict("records") == [
        {
            "sku": "h200",
            "engine": "trtllm",
            "path": "fp8",
            "m": 8,
            "n": 512,
            "k": 1024,
            "time_s": 0.5e-3,
        }
    ]


def test_newest_version_that_is_not_a_fragment(tmp_path):
    write(tmp_path, GEMM.format("trtllm", "1.3.0rc9"), gemm_rows(1.0, 1.0, 1.0, 1.0))
    write(tmp_path, GEMM.format("trtllm", "1.3.0rc10"), gemm_rows(2.0, 2.0, 2.0))
    write(tmp_path, GEMM.format("trtllm", "1.3.0rc23"), gemm_rows(3.0))
    frame = tables.read_table(tmp_path, sku="h200", family="gemm", engine="trtllm", table="gemm")
    assert set(frame["version"]) == {"1.3.0rc10"}
    older = tables.read_table(
        tmp_path, sku="h200", family="gemm", engine="trtllm", table="gemm", version="1.3.0rc9"
    )
    assert len(older) == 4


def test_rows_of_another_device_and_without_time_are_dropped(tmp_path):
    rows = gemm_rows(0.1, 0.0, 0.3)
    rows[2]["device"] = "NVIDIA H100 80GB HBM3"
    for row in rows[:2]:
        row["device"] = "NVIDIA H200"
    write(tmp_path, GEMM.format("trtllm", "1.0"), rows)
    frame = tables.read_gemm(tmp_path, skus=["h200"])
    assert frame["time_s"].tolist() == [pytest.approx(1e-4)]


def test_gb200_rows_are_not_those_of_b200(tmp_path):
    write(
        tmp_path,
        "b200_sxm/gemm/trtllm/1.0/gemm_perf.parquet",
        [
            {**row, "device": device}
            for row, device in zip(
                gemm_rows(0.1, 0.2), ("NVIDIA B200", "NVIDIA GB200"), strict=True
            )
        ],
    )
    assert len(tables.read_gemm(tmp_path, skus=["b200"])) == 1


def test_eager_fp8_rows_of_vllm_are_left_out(tmp_path):
    write(tmp_path, GEMM.format("vllm", "0.24.0"), gemm_rows(0.4, dtype="fp8_block"))
    write(tmp_path, GEMM.format("sglang", "0.5.14"), gemm_rows(0.1, dtype="fp8_block"))
    assert set(tables.read_gemm(tmp_path, skus=["h200"])["engine"]) == {"sglang"}


def moe_row(**changes):
    row = {
        "kernel_source": "deepgemm",
        "moe_dtype": "fp8_block",
        "num_tokens": 64,
        "hidden_size": 7168,
        "inter_size": 2048,
        "topk": 8,
        "num_experts": 256,
        "moe_tp_size": 1,
        "moe_ep_size": 8,
        "distribution": "balanced",
        "latency": 0.2,
    }
    return {**row, **changes}


def test_experts_balanced_and_gated_only(tmp_path):
    rows = [
        moe_row(),
        moe_row(distribution="power_law_1.01"),
        moe_row(kernel_source="moe_torch_flow_nongated"),
    ]
    write(tmp_path, "h200_sxm/moe/trtllm/1.3.0/moe_perf.parquet", rows)
    (row,) = tables.read_moe(tmp_path, skus=["h200"]).to_dict("records")
    assert (row["path"], row["tokens"], row["moe_ep"]) == ("fp8", 64, 8)


def module_rows(*, prefix, queries=1, latency=0.1, ratio=4, model="DeepSeek-V4-Pro"):
    return [
        {
            "model": f"deepseek-ai/{model}",
            "gemm_type": "fp8_block",
            "batch_size": 1,
            "isl": queries,
            "tp_size": 1,
            "step": prefix,
            "compress_ratio": ratio,
            "latency": latency,
        }
    ]


def write_modules(root, engine, *, decode, prefill):
    for kind, ratio in (("csa", 4), ("hca", 128)):
        base = f"h200_sxm/sparse_attention/{engine}/1.0/dsv4_{kind}"
        rows = [row for prefix in decode for row in module_rows(prefix=prefix, ratio=ratio)]
        write(root, f"{base}_generation_module_perf.parquet", rows)
        rows = [row for q in prefill for row in module_rows(prefix=0, queries=q, ratio=ratio)]
        write(root, f"{base}_context_module_perf.parquet", rows)


def test_modules_that_select_from_flat_scores_are_left_out(tmp_path):
    write_modules(tmp_path, "sglang", decode=(1023, 8192), prefill=(4096, 8192))
    write_modules(tmp_path, "vllm", decode=(1023, 8192), prefill=(4096, 8192))
    frame = deepseek_v4_tables.read_attention_module(tmp_path, skus=["h200"])
    csa = frame[frame["ratio"] == 4]
    kept = csa.groupby("engine")[["prefix", "queries"]].apply(
        lambda rows: sorted(rows.itertuples(index=False, name=None))
    )
    assert kept["sglang"] == [(0, 4096), (0, 8192), (1023, 1)]
    assert kept["vllm"] == [(0, 4096), (1023, 1), (8192, 1)]
    assert (frame[frame["ratio"] == 128].groupby("engine").size() == 4).all()
    assert set(frame["model"]) == {"pro"}


def test_collective_sizes_are_elements_and_eager_rows_are_launches(tmp_path):
    nccl = {"op_name": "alltoall", "nccl_dtype": "half", "num_gpus": 8, "message_size": 1024}
    write(tmp_path, "h200_sxm/comm/nccl/2.29.2/nccl_perf.parquet", [{**nccl, "latency": 0.012}])
    custom = {"num_gpus": 8, "message_size": 512}
    write(
        tmp_path,
        "h200_sxm/comm/vllm/0.24.0/custom_allreduce_perf.parquet",
        [
            {**custom, "kernel_source": "vLLM_custom_eager", "latency": 0.020},
            {**custom, "kernel_source": "vLLM_custom_graph", "latency": 0.005},
        ],
    )
    rows = link_tables.read_collectives(tmp_path, skus=["h200"]).to_dict("records")
    assert [(r["kind"], r["message_bytes"], r["time_s"]) for r in rows] == [
        ("all_reduce", 1024.0, pytest.approx(5e-6)),
        ("all_to_all", 2048.0, pytest.approx(12e-6)),
    ]


def low_latency(root, system, *, nodes, dispatch_us, device):
    row = {
        "node_num": nodes,
        "hidden_size": 7168,
        "num_token": 128,
        "num_topk": 8,
        "num_experts": 256,
        "combine_avg_t_us": 60.0,
        "dispatch_avg_t_us": dispatch_us,
    }
    path = f"{system}/comm/sglang/0.5.12/wideep_deepep_ll_perf.parquet"
    write(root, path, [row], device=device)


def test_exchange_counts_ranks_and_takes_the_shared_measurement_once(tmp_path):
    low_latency(tmp_path, "h100_sxm", nodes=2, dispatch_us=102.0, device="NVIDIA H100")
    low_latency(tmp_path, "h200_sxm", nodes=2, dispatch_us=102.0, device="NVIDIA H200")
    low_latency(tmp_path, "gb300", nodes=1, dispatch_us=30.0, device="NVIDIA GB300")
    frame = link_tables.read_moe_exchange(tmp_path, skus=["h100", "h200", "gb300"])
    dispatch = frame[frame["phase"] == "dispatch"].set_index("sku")
    assert dispatch["ranks"].to_dict() == {"gb300": 4, "h200": 16}
    assert dispatch["time_s"]["h200"] == pytest.approx(102e-6)


def test_folder_without_tables_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds none of h100_sxm"):
        tables.find_tables(tmp_path)


def test_wheel_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(tables.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"op-tables"):
        tables.find_tables()


def test_unknown_sku_and_missing_table(tmp_path):
    write(tmp_path, GEMM.format("trtllm", "1.0"), gemm_rows(0.1))
    with pytest.raises(UserError, match="did you mean h200"):
        tables.read_table(tmp_path, sku="h20", family="gemm", engine="trtllm", table="gemm")
    with pytest.raises(UserError, match="no moe table for h200"):
        tables.read_moe(tmp_path, skus=["h200"])


def test_wheel_version(tmp_path):
    data = tmp_path / "aiconfigurator_core" / "systems" / "data"
    data.mkdir(parents=True)
    assert tables.wheel_version(data) == "unknown"
    (tmp_path / "aiconfigurator_core-0.12.0.dist-info").mkdir()
    assert tables.wheel_version(data) == "0.12.0"


def test_command_without_tables_says_so(tmp_path):
    with pytest.raises(UserError, match="name the folder systems/data"):
        main(["--tables", str(tmp_path), "--out", str(tmp_path / "kernels.yaml")])
