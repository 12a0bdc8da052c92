"""`simulate explain`: a step in parts that sum to it, sensitivities, the model in numbers."""

import json

import pytest

from hwmodels.sku import load_sku
from simulator.cli.main import run
from simulator.engines.pools import DoesNotFitError
from simulator.output.style import save_figure
from simulator.prediction.step_breakdown import Limit, time_ops
from simulator.scenario.settings import Scenario, build_scenario
from simulator.studies.explain.deployment import explain_deployment
from simulator.studies.explain.model import explain_model
from simulator.studies.explain.plots import COLOURS, stack, step_time_figure, sweep_steps
from simulator.studies.explain.request import parse_phase
from simulator.studies.explain.run import HOST, explain_scenario
from workloads.errors import UserError
from workloads.ops import Component, Op, OpKind

LAYOUTS = {
    "TEP8": {"sku": "b300", "tp": 8, "ep": 8},
    "DEP8 MTP": {
        "sku": "b200",
        "engine": "sglang",
        "tp": 8,
        "ep": 8,
        "dp_attention": True,
        "spec": "mtp:2",
        "acceptance_length": 2.0,
    },
    "TP8 AMD": {"sku": "mi355x", "tp": 8, "ep": 1},
}


def explain(name="TEP8", *, concurrency=64, sensitivities=False, phase="decode", **numbers):
    settings = {key: numbers.pop(key) for key in tuple(numbers) if key in Scenario.model_fields}
    return explain_scenario(
        Scenario(**LAYOUTS.get(name, {"sku": name}) | settings),
        concurrency=concurrency,
        phase=phase,
        sensitivities=sensitivities,
        **numbers,
    )


def table_step_s(explanation):
    """The same step from the tables that the engine reads."""
    cost, batch = explanation.assembly.pools[-1].cost, explanation.batch
    tokens, samples = batch.of_group(ranks=explanation.assembly.models[-1].layout.attention_dp)
    seconds = cost.fixed_s(
        rank_tokens=batch.rank_tokens,
        group_tokens=tokens,
        rank_samples=batch.rank_samples,
        group_samples=samples,
        has_prefill=bool(batch.prefill),
    )
    if batch.decode_requests:
        context_sum = batch.decode_requests * batch.decode_context
        seconds += cost.decode_attention(
            requests=batch.decode_requests, context_sum=context_sum
        ).value_s
    return seconds + sum(
        cost.prefill_attention_s(new_tokens=c.new_tokens, prefix_tokens=c.prefix_tokens)
        for c in batch.prefill
    )


@pytest.mark.parametrize("phase", ["decode", "prefill", "mixed"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_the_parts_sum_to_the_step_that_the_simulator_charges(name, phase):
    for concurrency in (1, 8, 100):
        found = explain(name, concurrency=concurrency, phase=phase)
        assert sum(part.seconds for part in found.components) == pytest.approx(found.step_s)
        assert sum(found.time.by_limit.values()) == pytest.approx(found.step_s)
        assert found.step_s == pytest.approx(table_step_s(found), rel=0.006)


def test_at_knots_of_the_tables_the_sum_is_exact():
    found = explain(concurrency=64, context=4096)
    assert found.step_s == pytest.approx(table_step_s(found), rel=1e-12)


@pytest.mark.parametrize("phase", ["decode", "prefill", "mixed"])
def test_each_part_is_the_sum_of_its_shares(phase):
    found = explain("DEP8 MTP", phase=phase)
    for part in found.components:
        shares = (part.floor_s, part.compute_s, part.memory_s, part.network_s, part.host_s)
        assert sum(shares) == pytest.approx(part.seconds, abs=1e-15)
        assert min(shares) >= 0.0
    for time in found.time.ops:
        assert sum(time.by_limit.values()) == pytest.approx(time.seconds, abs=1e-15)


def test_components_are_named_and_the_host_comes_last():
    names = [part.component for part in explain("DEP8 MTP").components]
    assert names[-1] == HOST
    assert {"experts", "dense weights", "attention", "indexer", "communication"} <= set(names)
    assert {"mHC", "head", "draft"} <= set(names)


def gemm(flops, weight_bytes):
    return Op(
        name="gemm",
        component=Component.DENSE,
        kind=OpKind.GEMM,
        precision="fp8",
        flops=flops,
        weight_bytes=weight_bytes,
    )


def test_shares_of_the_roofline_are_the_sensitivities_to_each_rate():
    found = explain()
    sku, software = found.assembly.sku, found.assembly.software
    op = gemm(8e10, 2.2e8)
    (time,) = time_ops(ops=[op], sku=sku, software=software)
    faster = sku.model_copy(update={"flops_fp8": sku.flops_fp8 * 1.0001})
    wider = sku.model_copy(update={"hbm_bytes_per_s": sku.hbm_bytes_per_s * 1.0001})
    for other, share_s in ((faster, time.compute_s), (wider, time.memory_s)):
        (changed,) = time_ops(ops=[op], sku=other, software=software)
        assert (time.seconds - changed.seconds) / 1e-4 == pytest.approx(share_s, rel=1e-3)
        assert share_s > 0.1 * time.seconds


def test_the_latency_of_a_collective_counts_as_its_floor():
    found = explain(concurrency=1)
    part = next(p for p in found.components if p.component == "communication")
    assert part.floor_s > 0.9 * part.seconds
    large = explain(concurrency=1024)
    part = next(p for p in large.components if p.component == "communication")
    assert part.network_s > part.floor_s


def test_requests_spread_evenly_over_the_attention_ranks():
    found = explain("DEP8 MTP", concurrency=64)
    assert found.batch.decode_requests == 8
    assert found.batch.rank_tokens == 24
    assert found.batch.of_group(ranks=8) == (192, 64)
    few = explain("DEP8 MTP", concurrency=3)
    assert few.batch.decode_requests == 1
    assert few.batch.of_group(ranks=8) == (9, 3)
    assert explain("TEP8", concurrency=64).batch.decode_requests == 64


def test_the_default_context_is_the_mean_prompt_and_half_the_mean_output():
    found = explain(isl=1000, osl=100, length_distribution="fixed")
    assert found.batch.decode_context == 1050
    assert explain(context=5).batch.decode_context == 5


def test_a_chunk_ends_at_the_context():
    found = explain(phase="prefill", new_tokens=1000, context=100_000)
    (chunk,) = found.batch.prefill
    assert (chunk.new_tokens, chunk.prefix_tokens) == (1000, 99_000)
    assert found.batch.decode_requests == 0
    assert found.tokens_per_s_per_user is None
    mixed = explain(phase="mixed", new_tokens=1000)
    assert mixed.batch.prefill[0].prefix_tokens == 0
    assert mixed.batch.rank_tokens == 1064


@pytest.mark.parametrize("phase", ["decode", "prefill", "mixed"])
def test_every_phase_reaches_the_context_limit_of_the_model(phase):
    near = explain(phase=phase, concurrency=1, context=8192)
    far = explain(phase=phase, concurrency=1, context=1_048_576)
    assert far.step_s > near.step_s
    with pytest.raises(UserError, match=r"1048577.*takes 1 to 1048576 tokens"):
        explain(phase=phase, context=1_048_577)


def test_a_mixed_step_takes_less_than_its_parts_apart():
    mixed = explain(phase="mixed", new_tokens=1024)
    apart = explain(phase="decode").step_s + explain(phase="prefill", new_tokens=1024).step_s
    assert max(explain(phase="decode").step_s, 0.5 * apart) < mixed.step_s < apart


def test_drafts_multiply_the_speed_by_the_acceptance_length():
    found = explain("DEP8 MTP")
    assert found.acceptance_length == 2.0
    assert found.tokens_per_s_per_user == pytest.approx(2.0 / found.step_s)
    assert any(part.component == "draft" and part.seconds > 0 for part in found.components)


def test_hidden_work_is_shown_and_not_counted():
    found = explain()
    assert found.time.hidden_s > 0.0
    assert sum(part.hidden_s for part in found.components) == pytest.approx(found.time.hidden_s)


@pytest.mark.parametrize("phase", ["decode", "mixed"])
def test_elasticities_are_the_shares_of_what_they_scale(phase):
    found = explain(phase=phase, sensitivities=True)
    by_name = {one.parameter: one.elasticity for one in found.sensitivities}
    limits = {limit: seconds / found.step_s for limit, seconds in found.time.by_limit.items()}
    floors = by_name["t0"] + by_name["collective_latency"]
    host = by_name["host_step_s"] + by_name.get("eager_launch_s", 0.0)
    compute = sum(value for name, value in by_name.items() if name.startswith("flops_"))
    families = sum(value for name, value in by_name.items() if name.startswith("e_m "))
    assert floors == pytest.approx(limits[Limit.FLOOR], abs=0.01)
    assert host == pytest.approx(limits[Limit.HOST], abs=0.01)
    assert compute == pytest.approx(-limits[Limit.COMPUTE], abs=0.01)
    assert by_name["hbm_bytes_per_s"] == pytest.approx(-limits[Limit.MEMORY], abs=0.01)
    assert by_name["hbm_bytes_per_s"] == pytest.approx(families, abs=1e-3)
    sizes = [abs(one.elasticity) for one in found.sensitivities]
    assert sizes == sorted(sizes, reverse=True)


def test_twice_the_bandwidth_saves_what_the_elasticity_says_at_most():
    before = explain(sensitivities=True)
    width = before.assembly.sku.hbm_bytes_per_s
    after = explain(overrides={"hbm_bytes_per_s": 2.0 * width})
    share = before.time.by_limit[Limit.MEMORY] / before.step_s
    assert 1.0 - share / 2.0 <= after.step_s / before.step_s < 1.0 - 0.35 * share


def test_bytes_and_flops_are_the_sums_over_the_operations():
    found = explain()
    weights = sum(t.op.layers * t.op.weight_bytes for t in found.time.ops)
    assert found.bytes_by_use["weights"] == pytest.approx(float(weights))
    assert found.weights_alone_s == pytest.approx(float(weights) / load_sku("b300").hbm_bytes_per_s)
    flops = sum(t.op.layers * float(t.op.flops) for t in found.time.ops)
    assert sum(found.flops_by_precision.values()) == pytest.approx(flops)
    assert set(found.flops_by_precision) >= {"fp8", "bf16", "mxfp4xfp8"}


def test_without_a_layout_the_recipe_chooses():
    found = explain("b200", concurrency=64)
    assert any("from recipe" in message for message in found.messages)


def test_a_chip_without_recipe_gets_the_smallest_worker_that_fits():
    found = explain("tpu7x", concurrency=16)
    layout = found.configuration.pools[-1].layout
    assert (layout.label, layout.gpus) == ("TEP8", 8)
    assert any("no recipe offers a layout" in message for message in found.messages)
    assert found.assembly.memory[-1].pool_bytes > 0
    with pytest.raises(DoesNotFitError, match="does not fit"):
        explain("tpu7x", tp=4, ep=4)


def test_what_does_not_fit_at_that_context_is_said():
    found = explain(concurrency=64, context=1_048_576)
    assert found.requests_that_fit < 64
    assert any(f"only {found.requests_that_fit} requests" in m for m in found.messages)
    roomy = explain(concurrency=1)
    assert not any("fit at a time" in message for message in roomy.messages)


def test_a_mixed_step_of_an_engine_that_does_not_mix_is_noted():
    found = explain("DEP8 MTP", phase="mixed", new_tokens=512)
    assert any("does not mix" in message for message in found.messages)
    assert not any("does not mix" in m for m in explain(phase="mixed", new_tokens=512).messages)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"concurrency": 0}, "concurrency is 0; it must be at least 1"),
        ({"context": 0}, "context is 0"),
        ({"new_tokens": 512}, "--phase prefill or mixed"),
        ({"phase": "prefill", "new_tokens": 512, "context": 100}, "new_tokens is 512, more than"),
        ({"tp": 7, "ep": 7}, "does not divide the 128 attention heads"),
    ],
)
def test_numbers_out_of_range_are_refused(numbers, message):
    with pytest.raises(UserError, match=message):
        explain(**numbers)


def test_an_unknown_phase_gets_the_nearest_name():
    assert parse_phase("mixed") == "mixed"
    with pytest.raises(UserError, match="prefill"):
        parse_phase("prefil")


KEYS = {
    "parameters_main",
    "parameters_mtp",
    "parameters_total",
    "parameters_active",
    "checkpoint_bytes",
    "kv_bytes_per_sequence",
    "kv_bytes_per_token_marginal",
    "flops_per_token",
    "weights_read_bytes",
}


def test_a_model_in_numbers_with_the_operations_behind_them():
    figures = explain_model("dsv4-pro", context=1_048_576)
    assert set(figures) >= KEYS
    assert set(figures["kv_bytes_per_sequence"]) == {"fp8_fp4idx", "fp8_fp8idx", "bf16"}
    total = figures["parameters_main"] + figures["parameters_mtp"]
    assert figures["parameters_total"] == total
    flops = sum(op["layers"] * op["flops"] for op in figures["ops"])
    assert figures["flops_per_token"]["raw"] == pytest.approx(flops)
    with pytest.raises(UserError, match="takes 1 to 1048576"):
        explain_model("deepseek-v4-pro", context=2_000_000)


def simulate(capsys, *arguments):
    status = run(["explain", *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_the_command_prints_time_bytes_flops_and_sensitivities(capsys):
    status, out, _ = simulate(
        capsys, "--sku", "b300", "--tp", "8", "--ep", "8", "--concurrency", "64"
    )
    assert status == 0
    for text in ("TEP8", "experts", "host", "floor", "weights", "fp8", "most sensitive", "binds"):
        assert text in out
    assert "wq_a_wkv" not in out
    _, longer, _ = simulate(capsys, "--sku", "b300", "--tp", "8", "--ops")
    assert "wq_a_wkv" in longer


def test_several_skus_stand_side_by_side(capsys):
    status, out, _ = simulate(capsys, "--sku", "b200,mi355x", "--tp", "8", "--concurrency", "4")
    assert status == 0
    header = next(line for line in out.splitlines() if line.startswith("ms"))
    assert header.split()[1:] == ["b200", "TP8", "mi355x", "TP8"]
    assert "most sensitive" in out


def test_json_holds_everything_and_survives_a_round_trip(capsys):
    status, out, _ = simulate(capsys, "--sku", "b300", "--tp", "8", "--ep", "8", "--json")
    assert status == 0
    found = json.loads(out)
    assert found["layout"] == "TEP8"
    assert found["step_s"] == pytest.approx(sum(c["seconds"] for c in found["components"]))
    assert sum(found["seconds_by_limit"].values()) == pytest.approx(found["step_s"])
    assert len(found["sensitivities"]) > 3
    assert sum(op["seconds"] for op in found["ops"]) == pytest.approx(
        found["step_s"] - found["host_step_s"] - found["eager_wait_s"]
    )
    assert found["concurrency"] == 64


def test_without_a_sku_the_model_is_printed(capsys):
    arguments = ("--model", "deepseek-v4-pro", "--context", "1048576")
    status, out, _ = simulate(capsys, *arguments, "--json")
    assert status == 0
    assert set(json.loads(out)) >= KEYS
    assert "1,573.00 B" in simulate(capsys, *arguments)[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name one with --sku"),
        (("--model", "deepseek-v4-pro", "--tp", "8"), "tp needs a SKU"),
        (("--sku", "b3000"), "b300"),
        (("--sku", ","), "names none"),
        (("--sku", "b300", "--ep", "7"), "ep is 7"),
        (("--sku", "b300", "--tp", "8", "--ep", "3"), "does not divide the 8 ranks"),
        (("--sku", "b300", "--phase", "decoding"), "decode"),
        (("--sku", "b300", "--tp", "1"), "does not fit"),
        (("--sku", "b300", "--plot", "no/such/folder/x.png"), "--plot"),
        (("--sku", "b300", "--phase", "prefill", "--plot", "x.png"), "--phase"),
    ],
)
def test_errors_of_a_user_are_one_message_and_exit_two(capsys, arguments, message):
    status, out, err = simulate(capsys, *arguments)
    assert status == 2
    assert out == ""
    assert err.startswith("error: ")
    assert message in err
    assert "Traceback" not in err


@pytest.fixture(scope="module")
def sweep():
    scenario = Scenario(sku="b300", tp=8, ep=8)
    return sweep_steps(scenario, explain_scenario(scenario, concurrency=16, sensitivities=False))


def test_the_picture_stacks_parts_that_sum_to_the_step(sweep):
    for step in (*sweep.by_batch, *sweep.by_context):
        parts = stack(step)
        assert sum(parts.values()) == pytest.approx(step.step_s)
        assert list(parts) == list(COLOURS)
        assert min(parts.values()) >= -1e-15


def test_the_sweeps_hold_the_other_axis_fixed(sweep):
    assert [e.configuration.concurrency for e in sweep.by_batch] == [1 << n for n in range(11)]
    assert len({e.batch.decode_context for e in sweep.by_batch}) == 1
    assert {e.configuration.concurrency for e in sweep.by_context} == {16}
    assert sweep.by_context[-1].batch.decode_context == 1_048_576
    assert {e.configuration.pools[-1].layout.label for e in sweep.by_batch} == {"TEP8"}


def test_equal_pictures_are_equal_bytes(sweep, tmp_path):
    for name in ("a.png", "b.png"):
        save_figure(step_time_figure([sweep]), tmp_path / name)
    first = (tmp_path / "a.png").read_bytes()
    assert first == (tmp_path / "b.png").read_bytes()
    assert first.startswith(b"\x89PNG")


POOLS = {"sku": "b200", "engine": "dynamo-sglang", "isl": 1024, "osl": 32}


@pytest.fixture(scope="module")
def of_pools():
    scenario = build_scenario(flags=POOLS).scenario
    return explain_deployment(scenario, clients=64, deployment="1xDEP8+2xDEP8", sensitivities=False)


def test_pools_are_explained_by_a_step_of_each_at_what_the_run_decodes(of_pools):
    one = of_pools
    assert [each.pool.role for each in (one.prefill, one.decode)] == ["prefill", "decode"]
    assert [each.phase for each in (one.prefill, one.decode)] == ["prefill", "decode"]
    for each in (one.prefill, one.decode):
        assert sum(part.seconds for part in each.components) == pytest.approx(each.step_s)
    # Little: what decodes is rate times the time from first to last token
    mean_output = 32 * 0.9
    assert one.decoding == pytest.approx(
        one.requests_per_s * one.tpot_s * (mean_output - 1), rel=0.2
    )
    assert one.decode.configuration.concurrency == max(1, round(one.decoding / 2))
    # a step of the explained batch gives about the speed that the run shows
    assert one.decode.tokens_per_s_per_user == pytest.approx(one.interactivity, rel=0.25)
    assert 0 < one.requests_per_s <= one.most_prefilled * 1.02


def test_the_pool_that_more_workers_help_binds():
    """Long prompts and few tokens bind the prompts' pool, the reverse the other one."""

    def binds(**lengths):
        scenario = build_scenario(flags=POOLS | lengths).scenario
        return explain_deployment(
            scenario, clients=64, deployment="1xDEP8+1xDEP8", sensitivities=False
        )

    prompts = binds(isl=8192, osl=16)
    assert prompts.binds == "prefill"
    assert prompts.gain_prefill > 0.05 > prompts.gain_decode
    tokens = binds(isl=256, osl=128)
    assert tokens.binds == "decode"
    assert tokens.gain_decode > tokens.gain_prefill


def test_the_transfer_of_a_prompt_takes_its_bytes_over_the_links(of_pools):
    link = of_pools.decode.assembly.deployment.transfer
    moved = of_pools.hand_over
    assert moved.size_bytes == link.size_bytes(round(1024 * 0.9))
    assert moved.seconds >= moved.size_bytes / link.bandwidth_bytes_per_s + link.latency_s


def test_explain_takes_pools_from_the_command_line(capsys):
    asked = ["--sku", "mi355x", "--engine", "atom-disagg", "--isl", "512", "--osl", "16"]
    assert run(["explain", *asked, "--concurrency", "8"]) == 0
    text = capsys.readouterr().out
    for told in (
        "10 % more workers",
        "a prefill worker",
        "a decode worker",
        "KV transfer of",
        "binds:",
    ):
        assert told in text
    pools = ["--deployment", "1xTP8+1xTP8"]
    assert run(["explain", *asked, *pools, "--concurrency", "8", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["label"] == "1xTP8+1xTP8"
    assert found["binds"] in ("prefill", "decode", "neither")
    assert run(["explain", *asked, *pools, "--tp", "8"]) == 2
    assert run(["explain", *asked, "--deployment", "1xFOO"]) == 2
    assert run(["explain", "--sku", "b200", "--deployment", "DEP8", "--concurrency", "8"]) == 0
    assert "as DEP8" in capsys.readouterr().out
