"""What a label of precision means: published checkpoints, on chips with and without FP4 units."""

import pytest

from hwmodels.sku import load_sku
from hwmodels.software import load_software
from simulator.engines.default_engine import default_engine
from simulator.engines.pools import PoolConfiguration
from simulator.engines.sglang.engine import SglangSettings
from simulator.prediction.assembly import execution_plan
from simulator.prediction.release_plan import release_messages
from simulator.scenario.settings import Scenario, build_scenario
from simulator.scenario.table_rows import configure_row
from simulator.studies.curve.run import explore_curve
from workloads.architectures.catalog import architecture_names, load_architecture, usual_release
from workloads.architectures.names import default_precision
from workloads.errors import UserError
from workloads.execution_plan import ExecutionPlan
from workloads.layout import Layout
from workloads.models import bind


def plan_of(model, precision, sku="b200", **recipe):
    chip = load_sku(sku)
    return execution_plan(
        software=load_software(engine="sglang", sku=chip, model=model),
        pool=PoolConfiguration(layout=Layout(tp=8), settings=SglangSettings(), plan=recipe),
        precision=precision,
        sku=chip,
        architecture=load_architecture(model),
    )


@pytest.mark.parametrize(
    ("model", "precision", "sku", "experts", "dense", "feed_forward", "kv", "dispatch"),
    [
        ("kimi-k2.5", "int4", "b200", "int4", "bf16", "bf16", "bf16", 2.0),
        ("kimi-k2.5", "int4", "h200", "int4", "bf16", "bf16", "bf16", 2.0),
        ("kimi-k2.5", "fp4", "b200", "nvfp4", "bf16", "nvfp4", "fp8", 1 + 1 / 32),
        ("kimi-k2.5", "fp4", "mi355x", "mxfp4", "bf16", "mxfp4", "fp8", 1 + 1 / 32),
        ("kimi-k2.5", "fp4", "h200", "int4", "bf16", "int4", "fp8", 2.0),
        ("kimi-k2.5", "fp8", "h200", "fp8", "fp8", "fp8", "bf16", 1 + 1 / 32),
        ("glm-5", "fp8", "gb200", "fp8", "fp8", "fp8", "fp8_ds_mla", 1 + 1 / 32),
        ("glm-5", "fp8", "h200", "fp8", "fp8", "fp8", "fp8_ds_mla", 1 + 1 / 32),
        ("glm-5", "fp4", "gb200", "nvfp4", "bf16", "nvfp4", "fp8_ds_mla", 1 + 1 / 32),
        ("glm-5", "bf16", "mi355x", "bf16", "bf16", "bf16", "fp8_ds_mla", 2.0),
    ],
)
def test_plan_of_a_release(model, precision, sku, experts, dense, feed_forward, kv, dispatch):
    plan = plan_of(model, precision, sku)
    assert (plan.expert_path, plan.dense_path, plan.feed_forward_path) == (
        experts,
        dense,
        feed_forward,
    )
    assert (plan.kv_storage, plan.dispatch_bytes_per_value) == (kv, dispatch)


def test_a_recipe_has_the_last_word():
    plan = plan_of("kimi-k2.5", "int4", kv_storage="fp8", expert_path="w4a16")
    assert (plan.kv_storage, plan.expert_path, plan.dense_path) == ("fp8", "w4a16", "bf16")


@pytest.mark.parametrize(
    ("model", "precision", "known"),
    [
        ("kimi-k2.5", "bf16", "int4, fp4, fp8"),
        ("glm-5", "int4", "fp8, fp4, bf16"),
        ("deepseek-r1", "int4", "fp8, fp4"),
    ],
)
def test_a_precision_without_a_release_is_refused(model, precision, known):
    with pytest.raises(UserError, match=f"precision is {precision}; {model} comes in {known}"):
        plan_of(model, precision)


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("kimi-k2.5", "int4"),
        ("K2-Thinking", "int4"),
        ("moonshotai/Kimi-K2.6", "int4"),
        ("nvidia/Kimi-K2.5-NVFP4", "fp4"),
        ("moonshotai/Kimi-K2-Instruct", "fp8"),
        ("glm-5", "fp8"),
        ("GLM-5.1", "fp8"),
        ("zai-org/GLM-5", "bf16"),
        ("nvidia/GLM-5-NVFP4", "fp4"),
        ("deepseek-r1", "fp8"),
        ("llama-3.1-8b", "bf16"),
        ("nobody's", "fp4"),
    ],
)
def test_precision_where_none_is_named(name, precision):
    assert default_precision(name) == precision
    assert Scenario(sku="b200", model=name).precision == precision


def test_a_row_without_precision_takes_that_of_the_repository():
    row = {
        "model": "nvidia/Kimi-K2.5-NVFP4",
        "sku": "b200",
        "engine": "sglang",
        "isl": 1024,
        "osl": 1024,
        "concurrency": 8,
        "decode_tp": 8,
        "decode_ep": 1,
        "decode_dp_attention": False,
        "gpus": 8,
    }
    configuration, messages = configure_row(row)
    assert (configuration.model, configuration.precision) == ("kimi-k2.5", "fp4")
    assert "precision blank: fp4" in messages
    assert "no recipe of kimi-k2.5: that of deepseek-r1 stands in" in messages


def test_every_repository_is_a_name_of_its_model_and_states_a_source():
    for name in architecture_names():
        for release in load_architecture(name).releases:
            assert release.source
            for repository in release.repositories:
                assert load_architecture(repository).name == name
                assert usual_release(repository) == release


def test_four_bits_with_scales_per_32_weights():
    """0.5 + 2 / 32 bytes a weight; the kernels are those of FP4 weights with BF16 inputs."""
    model = bind(
        architecture=load_architecture("kimi-k2.5"), layout=Layout(tp=8), plan=plan_of("k2", "int4")
    )
    parts = model.weight_bytes_per_rank(speculative=False)
    assert parts["routed experts"] == 60 * 384 * 3 * 7168 * 2048 * 0.5625 / 8
    ops = {op.name: op for op in model.token_ops(rank_tokens=64.0, group_tokens=64.0)}
    assert ops["experts.w13"].precision == ops["experts.w2"].precision == "w4a16"
    assert ops["shared.w13"].precision == ops["mla.q_b"].precision == "bf16"
    # BF16 inputs are not quantised: the permutation is one launch
    assert ops["experts.permute"].kernels == 1


@pytest.mark.parametrize("model", ["kimi-k2.5", "glm-5", "deepseek-r1"])
def test_shared_expert_and_dense_layers_follow_the_feed_forward_path(model):
    def parts(**plan):
        bound = bind(
            architecture=load_architecture(model), layout=Layout(tp=1), plan=ExecutionPlan(**plan)
        )
        return bound.weight_bytes_per_rank(speculative=False)

    plain, same, narrow = (
        parts(dense_path="bf16"),
        parts(dense_path="bf16", feed_forward_path="bf16"),
        parts(dense_path="bf16", feed_forward_path="nvfp4"),
    )
    assert plain == same
    assert narrow["dense layers"] == plain["dense layers"] * 0.5625 / 2
    assert narrow["shared expert and router"] < 0.5 * plain["shared expert and router"]
    assert narrow["attention"] == plain["attention"]


def test_a_model_without_an_mtp_block_takes_no_drafts():
    with pytest.raises(UserError, match=r"drafts is 2, but mistral-large-3 has no draft"):
        bind(
            architecture=load_architecture("mistral-large-3"),
            layout=Layout(tp=8),
            plan=ExecutionPlan(),
            drafts=2,
        )


@pytest.mark.parametrize(
    ("sku", "model", "engine"),
    [
        ("b200", "kimi-k2.5", "sglang"),
        ("mi300x", "glm-5", "sglang"),
        ("trainium3", "glm-5", "vllm"),
        ("b200", "deepseek-r1", "sglang"),
        ("mi355x", "deepseek-v4-pro", "sglang"),
    ],
)
def test_engine_where_none_is_named(sku, model, engine):
    found, reason = default_engine(sku=sku, model=model)
    assert found == engine
    assert reason.startswith("default: ")


@pytest.mark.parametrize("sku", ["h100", "h200", "b200", "b300", "gb200", "mi300x", "mi355x"])
@pytest.mark.parametrize("model", ["kimi-k2.5", "glm-5"])
def test_models_of_a_fitted_layer_never_rest_on_kernel_tables_alone(model, sku):
    """The default engine has runs of the layer on the chip, of the model or of its relations."""
    own = load_software(engine="sglang", sku=load_sku(sku), model=model)
    assert own.kind in ("calibrated", "transferred")
    assert own.basis in ("own runs", "sibling")
    assert own.parameters["t0_scale"] > 0.0


@pytest.mark.parametrize(
    ("sku", "model", "precision", "said"),
    [
        ("h200", "kimi-k2.5", "fp4", "h200 has no FP4 units"),
        ("mi300x", "gpt-oss-120b", "fp4", "mi300x has no FP4 units"),
        ("mi355x", "deepseek-r1", "fp4", "MXFP4 in place of NVFP4"),
        ("b200", "kimi-k2.5", "fp8", "K2.5 itself is not released in FP8"),
    ],
)
def test_what_stands_in_for_a_release_is_told_with_the_result(sku, model, precision, said):
    scenario = build_scenario(
        flags={"sku": sku, "model": model, "precision": precision, "gpus": 8, "concurrency": (1,)}
    )
    assert said in " ".join(explore_curve(scenario).messages)


def test_native_weights_on_a_chip_that_has_their_format_need_no_word():
    architecture = load_architecture("deepseek-r1")
    release = architecture.release("fp8")
    assert release_messages(release, sku=load_sku("h200")) == []
