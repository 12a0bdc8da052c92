"""Dense models: what they refuse, their defaults, and that they run end to end."""

from importlib import import_module

import pytest

from simulator.cli.main import run
from simulator.engines.pools import DoesNotFitError, PoolLayout
from simulator.prediction.assembly import assemble
from simulator.prediction.run import simulate_run
from simulator.scenario.configure import configure_run
from simulator.scenario.grid import build_sweep
from simulator.scenario.settings import Scenario, build_scenario
from simulator.scenario.target import resolve_target
from simulator.scenario.worker_layouts import candidate_layouts
from simulator.studies.sweep.deployments import plan_sweep
from workloads.architectures.catalog import load_architecture
from workloads.architectures.names import default_precision
from workloads.errors import UserError
from workloads.execution_plan import ExecutionPlan
from workloads.layout import Layout
from workloads.models import bind

assembly_module = import_module("simulator.prediction.assembly")


def configured(*, sku="a100", model="llama-3.1-8b", tp=1, concurrency=8, **settings):
    scenario = Scenario(sku=sku, model=model, **{"isl": 1024, "osl": 128, **settings})
    return configure_run(
        scenario,
        pools=(PoolLayout(layout=Layout(tp=tp)),),
        concurrency=concurrency,
    )


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (Layout(tp=8, ep=8), "ep is 8, but llama-3.1-8b has no experts"),
        (Layout(tp=8, dp_attention=True), "run more workers instead"),
        (Layout(tp=3), "tp is 3, which does not divide the 32 attention heads"),
        (Layout(tp=64), "tp is 64, which does not divide the 32 attention heads"),
        (Layout(tp=1, pp=33), "pp is 33; llama-3.1-8b has only 32 layers"),
    ],
)
def test_layouts_that_a_dense_model_cannot_have(layout, message):
    architecture = load_architecture("llama-3.1-8b")
    with pytest.raises(UserError, match=message):
        bind(architecture=architecture, layout=layout, plan=ExecutionPlan())


def test_there_is_no_draft_module():
    architecture = load_architecture("llama-3.1-8b")
    with pytest.raises(UserError, match="no draft module"):
        bind(architecture=architecture, layout=Layout(tp=1), plan=ExecutionPlan(), drafts=1)
    model = bind(architecture=architecture, layout=Layout(tp=1), plan=ExecutionPlan())
    assert model.draft_ops(requests=1.0, group_requests=1.0, drafts=0) == []
    with pytest.raises(UserError, match="drafts is 2"):
        model.draft_ops(requests=1.0, group_requests=1.0, drafts=2)


def test_layouts_to_try_are_tensor_parallel_unless_more_is_stated():
    scenario = Scenario(sku="a100", model="llama-3.1-8b")
    target = resolve_target(scenario)
    labels = [layout.label for layout in candidate_layouts(scenario=scenario, target=target)]
    assert labels == ["TP1", "TP2", "TP4", "TP8"]
    stated = scenario.model_copy(update={"ep": 8, "dp_attention": True})
    assert [layout.label for layout in candidate_layouts(scenario=stated, target=target)] == [
        "DEP8"
    ]


def test_the_usual_precision_follows_the_checkpoint():
    assert default_precision("llama-3.3-70b") == "bf16"
    assert default_precision("deepseek-v4-pro") == "fp4"
    assert default_precision("no such model") == "fp4"
    flags = {"sku": "h200", "model": "llama-3.3-70b"}
    assert build_scenario(flags=flags).scenario.precision == "bf16"
    assert build_scenario(flags=flags | {"precision": "fp8"}).scenario.precision == "fp8"
    assert build_scenario(flags={"sku": "h200"}).scenario.precision == "fp4"


def test_a_sweep_over_models_runs_each_in_its_usual_precision():
    flags = {"sku": "h200", "model": ["llama-3.3-70b", "deepseek-v4-pro"], "tp": 8}
    loads = list(build_sweep(flags=flags).loads())
    assert [(load.model, load.precision) for load in loads] == [
        ("llama-3.3-70b", "bf16"),
        ("deepseek-v4-pro", "fp4"),
    ]
    both = build_sweep(flags=flags | {"precision": ["fp8", "bf16"]})
    assert len(list(both.loads())) == 4
    assert plan_sweep(build_sweep(flags=flags)).sweeps


@pytest.mark.parametrize(
    ("precision", "sku", "path"),
    [
        ("bf16", "a100", "bf16"),
        ("fp8", "h200", "fp8"),
        ("fp4", "b200", "nvfp4"),
        ("fp4", "mi355x", "mxfp4"),
    ],
)
def test_the_label_is_the_precision_of_the_projections(precision, sku, path):
    configuration, _ = configured(sku=sku, precision=precision, engine="vllm")
    (model,) = assemble(configuration).models
    assert model.plan.dense_path == path
    assert model.plan.kv_storage == "bf16"
    assert {op.precision for op in model.token_ops(rank_tokens=1.0, group_tokens=1.0)} == {
        path,
        "bf16",
    }


def test_each_rank_has_a_pool_for_its_kv_heads():
    """Blocks of 16 tokens: 2 MiB on one rank of 8B, an eighth of it on eight ranks."""
    for tp, block_bytes in ((1, 16 * 131_072), (8, 16 * 16_384)):
        configuration, _ = configured(tp=tp)
        assembly = assemble(configuration)
        (pool,) = assembly.pools
        assert pool.kv_pool.block_tokens == 16
        assert pool.kv_pool.total_blocks == assembly.memory[0].pool_bytes // block_bytes


def test_what_a_chip_cannot_hold_is_refused_with_its_bytes():
    configuration, _ = configured(sku="a100", model="llama-3.3-70b", tp=1)
    with pytest.raises(DoesNotFitError, match=r"feed-forward\s+-112\.7 GB"):
        assemble(configuration)


def test_vllm_on_a100_has_the_smaller_defaults():
    configuration, recipe = configured()
    settings = configuration.pools[0].settings
    assert (settings.max_num_batched_tokens, settings.max_num_seqs) == (2048, 256)
    assert configuration.pools[0].plan["graph_prefill"] is True
    assert "engine defaults on A100; no run is recorded" in recipe.messages
    elsewhere, recipe = configured(sku="h200", engine="vllm")
    assert elsewhere.pools[0].settings.max_num_batched_tokens == 8192
    assert elsewhere.pools[0].plan["graph_prefill"] is True
    assert "no vllm recipe for llama-3.1-8b on h200: engine defaults" in recipe.messages


def test_fits_to_other_families_are_not_carried_over(monkeypatch):
    configuration, _ = configured(sku="h200", model="llama-3.3-70b", tp=4, engine="vllm")
    monkeypatch.setattr(assembly_module, "is_fitted", lambda *_, **__: False)
    outcome = simulate_run(configuration)
    assert outcome.kind == "specification"
    assert any("no fit to llama-3.x-70b" in message for message in outcome.messages)
    assert outcome.metrics.total_tput_per_gpu > 0
    monkeypatch.setattr(assembly_module, "is_fitted", lambda *_, **__: True)
    assert simulate_run(configuration).kind != "specification"


def test_prefill_and_decode_pools_hand_over_keys_and_values():
    scenario = Scenario(sku="h200", model="llama-3.3-70b", engine="dynamo-vllm", isl=1024, osl=128)
    pools = tuple(PoolLayout(layout=Layout(tp=4), role=role) for role in ("prefill", "decode"))
    configuration, _ = configure_run(scenario, pools=pools, concurrency=4)
    assembly = assemble(configuration)
    link = assembly.deployment.transfer
    assert link.token_bytes == pytest.approx(327_680.0)
    assert link.request_bytes == pytest.approx(0.0)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--sku", "a100", "--model", "llama-3.1-8b", "--tp", "1"],
        ["--model", "llama-3.3-70b", "--sku", "h200", "--tp", "8"],
        ["--model", "meta-llama/Llama-3.3-70B-Instruct", "--sku", "mi300x", "--tp", "8"],
    ],
)
def test_the_command_gives_a_curve(arguments, tmp_path, capsys):
    load = ["--isl", "1024", "--osl", "128", "--concurrency", "4", "--out", str(tmp_path)]
    assert run([*arguments, *load]) == 0
    assert "BF16" in capsys.readouterr().out


def test_speculation_is_refused_in_one_line(tmp_path, capsys):
    arguments = ["--sku", "a100", "--model", "llama-3.1-8b", "--tp", "1", "--spec", "mtp:1"]
    assert run([*arguments, "--concurrency", "1", "--out", str(tmp_path)]) == 2
    assert "no draft module" in capsys.readouterr().err
