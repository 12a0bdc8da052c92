"""Models by file: a config.json, a YAML, and what is said of one that is not understood."""

import json
from pathlib import Path

import pytest
import yaml

from simulator.cli.main import run
from workloads.architectures.catalog import load_architecture
from workloads.architectures.names import canonical_model, default_precision
from workloads.errors import UserError

FOLDER = Path(__file__).parents[1] / "data" / "model_configs"
QWEN = json.loads((FOLDER / "qwen3-32b.json").read_text())
MOE = json.loads((FOLDER / "qwen3-235b-a22b.json").read_text())


def written(folder, config, name="m.json"):
    path = folder / name
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    return str(path)


def without(config, *names):
    return {key: value for key, value in config.items() if key not in names}


def refusal(folder, config, name="m.json"):
    with pytest.raises(UserError) as error:
        load_architecture(written(folder, config, name))
    return str(error.value)


def test_a_file_travels_as_its_path(tmp_path):
    path = written(tmp_path, QWEN)
    assert canonical_model(path) == path
    assert default_precision(path) == "bf16"
    assert load_architecture(path).name == "m"


def test_a_folder_with_a_config_is_a_model_of_its_name(tmp_path):
    folder = tmp_path / "My-Model"
    folder.mkdir()
    written(folder, QWEN, "config.json")
    assert load_architecture(str(folder)).name == "My-Model"


def test_an_edited_file_is_read_again(tmp_path):
    path = written(tmp_path, QWEN)
    before = load_architecture(path).num_hidden_layers
    written(tmp_path, QWEN | {"num_hidden_layers": 10, "max_window_layers": 64})
    assert (before, load_architecture(path).num_hidden_layers) == (64, 10)


def test_a_yaml_takes_published_keys_or_those_of_a_shipped_model(tmp_path):
    mine = {"name": "mine", "config_json": QWEN}
    mine_path = written(tmp_path, yaml.safe_dump(mine), "mine.yaml")
    assert load_architecture(mine_path).layers == load_architecture(written(tmp_path, QWEN)).layers
    based = {"base": "deepseek-r1", "config": {"num_hidden_layers": 30}}
    derived = load_architecture(written(tmp_path, yaml.safe_dump(based), "half.yaml"))
    assert (derived.name, len(derived.layers)) == ("half", 30)


def test_missing_keys_are_all_named(tmp_path):
    text = refusal(tmp_path, without(QWEN, "intermediate_size", "num_attention_heads"))
    assert "m.json lacks num_attention_heads (query heads), intermediate_size" in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kv_lora_rank": 512}, "kv_lora_rank is not understood for this family; it would change"),
        ({"attention_chunk_size": 8192}, "attention within chunks"),
        ({"engram_layer_ids": [1]}, "n-gram tables"),
        ({"indexer_new_budget": 64}, "which keys attention reads"),
        ({"kda_head_dim": 128}, "linear layers"),
        ({"mlp_layer_pattern": [1, 0]}, "which layers are alike"),
        ({"expert_input_size": 3584}, "the shape of experts"),
        ({"num_hidden_layers": "many"}, "num_hidden_layers is 'many'; it must be a whole number"),
        ({"architectures": ["Qwen9ForCausalLM"]}, "did you mean Qwen"),
        ({"quantization_config": {"quant_method": "bitnet"}}, "'BITNET' is not understood"),
        ({"quantization_config": {"quant_method": "awq", "bits": 3}}, "bits '3'"),
        (
            {"quantization_config": {"quant_method": "quark", "layer_quant_config": {"*": 1}}},
            "formats by layer",
        ),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "'BITSANDBYTES'"),
    ],
)
def test_what_matters_and_is_not_understood_is_named(tmp_path, change, said):
    text = refusal(tmp_path, QWEN | change)
    assert said in text
    assert "\n" not in text


def test_what_does_not_matter_is_passed_over(tmp_path):
    harmless = {"rope_theta": 1e6, "sliding_window": None, "torch_dtype": "bfloat16"}
    harmless |= {"index_rope_interleave": True, "mamba_chunk_size": 128, "index_topk_freq": 0}
    assert load_architecture(written(tmp_path, QWEN | harmless)).num_hidden_layers == 64


def test_an_indexer_list_is_never_guessed(tmp_path):
    config = json.loads((FOLDER / "glm-5.2.json").read_text())
    assert "lacks indexer_types" in refusal(tmp_path, without(config, "indexer_types"))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("m.json", "{not json", "line 1, column 2: not JSON"),
        ("m.json", "[1]", "must hold the keys of a model"),
        ("m.yaml", "name: x", "lacks config"),
        ("m.yaml", "config: {hidden_size: 1}\nfamily: dense", "does not describe a model"),
        ("m.yaml", "config: {}\nfamily: nets", "model family 'nets' is unknown"),
        ("m.json", json.dumps(without(QWEN, "architectures")), "lacks architectures"),
    ],
)
def test_a_file_that_is_no_model_is_refused_in_a_line(tmp_path, name, content, said):
    text = refusal(tmp_path, content, name)
    assert said in text
    assert "\n" not in text


def test_a_file_that_is_not_there_is_refused():
    with pytest.raises(UserError, match="does not exist"):
        canonical_model("no/such/config.json")


@pytest.mark.parametrize(
    ("quantisation", "label", "paths"),
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8", ("fp8", "fp8", "fp8")),
        (
            {
                "quant_method": "modelopt",
                "quant_algo": "NVFP4",
                "exclude_modules": ["*self_attn*", "*shared_experts*", "lm_head"],
            },
            "fp4",
            ("nvfp4", "bf16", "bf16"),
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int"}}},
                "ignore": ["lm_head"],
            },
            "int4",
            ("int4", "int4", "int4"),
        ),
        ({"quant_method": "mxfp4"}, "fp4", ("mxfp4xfp8", "bf16", "bf16")),
        (
            {
                "quant_method": "compressed-tensors",
                "format": "mixed-precision",
                "config_groups": {
                    "group_0": {
                        "targets": ["re:.*self_attn.*"],
                        "weights": {"num_bits": 8, "type": "float"},
                    },
                    "group_1": {
                        "targets": ["re:.*mlp.experts.*"],
                        "weights": {"num_bits": 4, "type": "float", "group_size": 16},
                    },
                },
                "ignore": ["re:.*shared_expert.*"],
            },
            "fp4",
            ("nvfp4", "fp8", "bf16"),
        ),
        (
            {
                "quant_method": "quark",
                "global_quant_config": {"weight": {"dtype": "fp4", "group_size": 32}},
                "exclude": ["re:.*self_attn.*", "lm_head"],
            },
            "fp4",
            ("mxfp4xfp8", "bf16", "mxfp4"),
        ),
    ],
)
def test_stored_formats_by_tensor_class(tmp_path, quantisation, label, paths):
    architecture = load_architecture(written(tmp_path, MOE | {"quantization_config": quantisation}))
    (release,) = architecture.releases
    found = (release.expert_path, release.dense_path, release.feed_forward_path)
    assert (release.label, found) == (label, paths)


def test_hf_quant_config_beside_the_file_counts(tmp_path):
    written(tmp_path, MOE, "config.json")
    quant = {"quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"}}
    written(tmp_path, quant, "hf_quant_config.json")
    (release,) = load_architecture(str(tmp_path / "config.json")).releases
    assert (release.expert_path, release.kv_storage) == ("nvfp4", "fp8")


@pytest.mark.parametrize(
    "command",
    [
        ["show", "model"],
        ["explain", "--sku", "b200", "--engine", "vllm", "--tp", "4", "--model"],
    ],
)
def test_commands_take_a_file(tmp_path, capsys, command):
    assert run([*command, written(tmp_path, QWEN, "q.json")]) == 0
    assert capsys.readouterr().out


def test_a_curve_of_a_file(tmp_path, capsys):
    arguments = ["--sku", "h200", "--engine", "vllm", "--model", written(tmp_path, QWEN, "q.json")]
    load = ["--tp", "4", "--isl", "1024", "--osl", "128", "--concurrency", "4"]
    assert run([*arguments, *load, "--out", str(tmp_path / "out")]) == 0
    assert "no fit to q or another dense model" in capsys.readouterr().out


def test_a_bad_file_ends_in_one_line_and_code_2(tmp_path, capsys):
    path = written(tmp_path, without(QWEN, "vocab_size"))
    assert run(["--sku", "h200", "--engine", "vllm", "--tp", "4", "--model", path]) == 2
    assert "lacks vocab_size" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("thinkingmachines/Inkling", "947e9 of the 975e9"),
        ("google/gemma-4-31B", "no list of its layers"),
        ("mistral-medium-3.5", "no config.json"),
    ],
)
def test_a_model_that_is_left_out_is_refused_with_the_reason(name, reason):
    for ask in (load_architecture, canonical_model):
        with pytest.raises(UserError, match=reason):
            ask(name)


@pytest.mark.parametrize(
    ("repository", "model", "label"),
    [
        ("meta-llama/Llama-3.1-405B-Instruct-FP8", "llama-3.1-405b", "fp8"),
        ("nvidia/Llama-3.3-70B-Instruct-FP4", "llama-3.x-70b", "fp4"),
        ("Qwen/Qwen3-32B-FP8", "qwen3-32b", "fp8"),
        ("nvidia/Qwen3.6-27B-NVFP4", "qwen3.5-27b", "fp4"),
        ("Qwen/Qwen3-32B", "qwen3-32b", "bf16"),
        ("nvidia/DeepSeek-R1-0528-NVFP4", "deepseek-r1", "fp4"),
        ("deepseek-ai/DeepSeek-V4-Flash-Vision-Exp", "deepseek-v4-flash-0731", "fp4"),
    ],
)
def test_a_repository_means_its_model_and_its_format(repository, model, label):
    assert (canonical_model(repository), default_precision(repository)) == (model, label)


@pytest.mark.parametrize(
    "document",
    [
        {"config_json": QWEN | {"num_hidden_layers": 2**31}},
        {"base": "deepseek-r1", "config": {"num_hidden_layers": 2**31}},
        {"base": "deepseek-r1", "config": {"num_nextn_predict_layers": 2**31}},
        {"config_json": QWEN | {"layer_types": {"repeat": ["full_attention"], "length": 2**31}}},
        {"config_json": QWEN | {"layer_types": {"runs": [["full_attention", 2**31]]}}},
    ],
)
def test_more_layers_than_any_model_has_are_refused_before_memory_is_full(tmp_path, document):
    text = yaml.safe_dump({"name": "deep"} | document)
    assert "2,147,483,648" in (said := refusal(tmp_path, text, "deep.yaml"))
    assert "10,000 at the most" in said


def test_a_pattern_of_nothing_is_refused(tmp_path):
    config = QWEN | {"layer_types": {"repeat": [], "length": 64}}
    text = yaml.safe_dump({"name": "none", "config_json": config})
    assert "repeat is empty" in refusal(tmp_path, text, "none.yaml")


@pytest.mark.parametrize("change", [{"head_dim": float("inf")}, {"full_attention_interval": 0}])
def test_widths_and_intervals_that_are_none_are_refused(tmp_path, change):
    config = (
        QWEN
        if "head_dim" in change
        else json.loads((FOLDER / "qwen3-next-80b-a3b.json").read_text())
    )
    assert "does not describe a model" in refusal(tmp_path, without(config, "layer_types") | change)
