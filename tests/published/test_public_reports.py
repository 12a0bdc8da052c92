"""Questions of public bug reports and pages, and what is right there."""

import json

import pytest

from calibration.importers.runs import import_runs
from simulator.cli.main import run
from simulator.engines.pools import parse_deployment
from simulator.prediction.assembly import assemble
from simulator.prediction.notes import counted_in_chips
from simulator.scenario.configure import configure_run
from simulator.scenario.settings import Scenario

TPU_RUN = {
    "hw": "tpuv7",
    "conc": 16,
    "model": "Qwen/Qwen3.5-397B-A17B-FP8",
    "infmax_model_prefix": "qwen3.5",
    "framework": "vllm",
    "precision": "fp8",
    "spec_decoding": "none",
    "disagg": False,
    "isl": 8192,
    "osl": 1024,
    "is_multinode": False,
    "tp": 8,
    "ep": 1,
    "dp_attention": "false",
    "tput_per_gpu": 2180,
    "output_tput_per_gpu": 242,
    "input_tput_per_gpu": 1938,
    "mean_ttft": 0.56,
    "median_tpot": 0.01575,
    "mean_tpot": 0.01575,
}
"""A run in the form of SemiAnalysisAI/InferenceX-app's fixtures, which are per chip."""


SECONDS_TRACE = (
    {"timestamp": 0.0, "input_length": 1000, "output_length": 50, "hash_ids": [0, 1]},
    {"timestamp": 0.2, "input_length": 2000, "output_length": 80, "hash_ids": [0, 1, 2, 3]},
    {"timestamp": 3.9, "input_length": 1500, "output_length": 60, "hash_ids": [7, 8, 10]},
)
GLM_CONFIG = {
    "architectures": ["GlmMoeDsaForCausalLM"],
    "hidden_size": 6144,
    "num_hidden_layers": 78,
    "num_attention_heads": 64,
    "n_routed_experts": 256,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 2048,
    "kv_lora_rank": 512,
    "qk_rope_head_dim": 64,
    "vocab_size": 154880,
    "max_position_embeddings": 1048576,
}


def configured(deployment, *, concurrency=1, **fields):
    configuration, _ = configure_run(
        Scenario(**fields), pools=parse_deployment(deployment), concurrency=concurrency
    )
    return configuration


def refused(capsys, *words):
    assert run([str(word) for word in words]) == 2
    return capsys.readouterr().err


# one million tokens ------------------------------------------------------------------------


@pytest.mark.parametrize("sku", ["b300", "gb300"])
@pytest.mark.parametrize("model", ["deepseek-v4-flash", "deepseek-v4-pro"])
def test_a_million_tokens_are_served_with_a_sane_step_budget(sku, model):
    """vllm-project/vllm#51799, vllm-project/recipes#762: served at budgets of 8k to 16k."""
    configuration = configured("TEP8", sku=sku, model=model, engine="vllm", isl=1_000_000, osl=1000)
    assembly = assemble(configuration)
    settings = assembly.pools[0].engine.settings
    assert 8192 <= settings.max_num_batched_tokens <= 16384
    pool = assembly.pools[0].kv_pool
    assert pool.total_blocks > pool.blocks(1_001_000)


# TPU v7 ------------------------------------------------------------------------------------


def test_tensor_parallelism_of_a_tpu_run_counts_its_cores(tmp_path):
    """Eight ranks are four chips: only so do rates per chip agree with the users' speed."""
    path = tmp_path / "sweep.json"
    path.write_text(json.dumps({"benchmarks": [TPU_RUN], "evaluations": []}))
    row = import_runs(path).frame.iloc[0]
    assert (row["sku"], row["gpus"], row["layout"]) == ("tpu7x", 4, "TP4")
    assert row["quality"] == "ok"


def test_a_layout_on_a_tpu_says_how_engines_call_it():
    """The report's TP8 of cores is TP4 of chips."""
    tpu = configured("TP4", sku="tpuv7", model="qwen3.5", engine="vllm", precision="fp8")
    (note,) = counted_in_chips(tpu)
    assert "TP4 is 4 chips, TP8 where engines" in note
    b200 = configured("TP4", sku="b200", model="qwen3.5", engine="vllm", precision="fp8")
    assert counted_in_chips(b200) == ()


# inputs that contradict themselves, or say too little ---------------------------------------


def test_a_run_on_one_chip_too_small_for_it_is_suspect(tmp_path):
    """397 GB on a chip of 192, and 3,260 tok/s from 64 users at 32.8."""
    told = {"tp": 1, "conc": 64, "tput_per_gpu": 29400, "output_tput_per_gpu": 3260}
    told |= {"input_tput_per_gpu": 26140, "median_tpot": 0.0305, "mean_tpot": 0.0304}
    path = tmp_path / "agg.json"
    path.write_text(json.dumps(TPU_RUN | told | {"mean_ttft": 7.2}))
    row = import_runs(path).frame.iloc[0]
    assert row["quality"] == "suspect"
    assert "Little's law" in row["quality_reason"]
    assert "weights alone exceed the memory" in row["quality_reason"]


def test_a_trace_whose_unit_cannot_be_told_is_asked_for(tmp_path, capsys):
    """kvcache-ai/Mooncake#4, vllm-project/guidellm#948: seconds read as milliseconds."""
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in SECONDS_TRACE))
    told = refused(capsys, "load", "--sku", "b200", "--deployment", "TP8", "--workload", path)
    assert "--time-unit s or --time-unit ms" in told


@pytest.mark.parametrize("label", ["TP8DCP8", "TP8CP2"])
def test_context_parallelism_is_named_as_not_modelled(capsys, label):
    """vllm-project/recipes#115."""
    told = refused(capsys, "load", "--sku", "b200", "--deployment", label, "--concurrency", 8)
    assert "context parallelism (CP, DCP), which is not modelled" in told


@pytest.mark.parametrize("command", [["explain", "--sku", "b200", "--model"], ["show", "model"]])
def test_a_config_says_which_keys_it_lacks(tmp_path, capsys, command):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(GLM_CONFIG))
    told = refused(capsys, *command, path)
    assert told.startswith(f"error: {path} lacks ")
    for key in ("index_n_heads", "index_topk", "qk_nope_head_dim", "v_head_dim"):
        assert key in told


@pytest.mark.parametrize("text", ["arrived_at,num_prefill_tokens,num_decode_tokens\n0.0,370,40\n"])
def test_a_trace_of_another_simulator_is_refused_with_what_is_read(tmp_path, capsys, text):
    path = tmp_path / "trace.csv"
    path.write_text(text)
    told = refused(capsys, "load", "--sku", "b200", "--deployment", "TP8", "--workload", path)
    assert "unknown format" in told
    assert "Azure LLM inference" in told


# checkpoints -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "size_gb"), [("nvidia/DeepSeek-V4-Pro-NVFP4", 913), ("nvidia/GLM-5.1-NVFP4", 466)]
)
def test_nvfp4_releases_have_bytes_of_their_own(capsys, model, size_gb):
    """vllm-project/recipes#779: 913 GB, not the 865 of the MXFP4 release."""
    assert run(["show", "model", model]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "checkpoint " in line]
    assert float(line.split()[1].replace(",", "")) == pytest.approx(size_gb, rel=0.01)


def test_the_nvfp4_release_of_glm_keeps_shared_experts_and_dense_layers_in_bf16(capsys):
    """As the release's quantisation settings exclude them: 5 GB of a token's weights."""
    assert run(["show", "model", "nvidia/GLM-5.1-NVFP4"]) == 0
    read = [line for line in capsys.readouterr().out.splitlines() if "read by a token" in line]
    expert_parameters = 3 * 6144 * 2048
    routed = 75 * 8 * expert_parameters
    # 4 bits and a scale byte for 16 values; the rest in BF16
    expected_gb = (routed * (0.5 + 1 / 16) + (40.83e9 - routed) * 2) / 1e9
    assert float(read[0].split()[-2]) == pytest.approx(expected_gb, rel=0.005)
