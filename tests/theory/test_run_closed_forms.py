"""What assembly, memory, bands and the run connect, by closed forms through the run call itself.

Parts have tests of their own; these fail where a part is right and its figure is lost, halved or
swapped on the way into a prediction.
"""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

import simulator
from hwmodels.kv_transfers import load_transfer_library
from hwmodels.roofline import step_ops_s
from simulator.prediction import bands as bands_module
from simulator.prediction.assembly import named_software
from simulator.prediction.run import acceptance_of, simulate_run
from simulator.recipes.layouts import PoolRequest
from simulator.scenario.configure import configure_run
from simulator.scenario.settings import build_scenario
from workloads.speculation import published_acceptance

DATA = Path(bands_module.__file__).parent / "data"


def configured(*, pools, concurrency, requests_per_client=1, **settings):
    scenario = build_scenario(flags=settings, file=None).scenario
    configuration, _ = configure_run(scenario, pools=pools, concurrency=concurrency)
    return replace(configuration, requests_per_client=requests_per_client)


def aggregated(**layout):
    return [PoolRequest(**layout)]


# KV transfer ---------------------------------------------------------------------------------


def first_token_s(*, port_bytes_per_s):
    pools = [
        PoolRequest(role=role, workers=1, tp=8, ep=8, dp_attention=False)
        for role in ("prefill", "decode")
    ]
    outcome = simulate_run(
        configured(
            sku="h200",
            model="deepseek-v3.2",
            engine="dynamo-vllm@specification",
            precision="fp8",
            isl=4096,
            osl=4,
            length_distribution="fixed",
            overrides={"scaleout_bytes_per_s": port_bytes_per_s},
            pools=pools,
            concurrency=1,
        )
    )
    return outcome.metrics.ttft.mean_s


def test_time_to_first_token_pays_for_every_byte_of_kv():
    """TTFT over port rates 1 and 2 GB/s differs by the bytes that 61 layers of 4,096 tokens hold.

    An entry of vLLM's FP8 cache of DeepSeek-V3.2 is 512 B of e4m3, 4 scales of 4 B and 64 rotary
    values in BF16, the indexer's key 128 B and a scale of 4 B; each of the 8 tensor-parallel ranks
    needs a copy of the one latent head; NIXL's pull reaches 0.761 of the 8 ports' rate.
    """
    entry_bytes = 512 + 4 * 4 + 64 * 2
    index_bytes = 128 + 4
    moved_bytes = 8 * 61 * (entry_bytes + index_bytes) * 4096
    share = load_transfer_library("nixl").share["pull"]
    expected_s = moved_bytes / (8 * share) * (1 / 1e9 - 1 / 2e9)
    found_s = first_token_s(port_bytes_per_s=1e9) - first_token_s(port_bytes_per_s=2e9)
    assert found_s == pytest.approx(expected_s, rel=1e-6)


# decode of data-parallel ranks ---------------------------------------------------------------


def test_a_decode_step_takes_what_its_fullest_rank_takes():
    """Compute is slowed until tokens set the step; outputs of random lengths unbalance 8 ranks."""
    configuration = configured(
        sku="h200",
        model="deepseek-r1",
        engine="sglang@specification",
        precision="fp8",
        isl=64,
        osl=64,
        length_distribution="uniform_0_to_cap",
        overrides={"flops_fp8": 2e12, "flops_bf16": 1e12},
        pools=aggregated(tp=8, ep=8, dp_attention=True),
        concurrency=96,
    )
    runs = []
    outcome = simulate_run(configuration, on_step=runs.append)
    model, sku = outcome.assembly.models[0], outcome.assembly.sku

    def seconds(ops):
        return float(step_ops_s(ops=ops, sku=sku, software=outcome.assembly.software))

    host_s = outcome.assembly.software.host_step_s
    unbalanced = 0
    for run in runs:
        fullest, group = max(run.decode_requests), sum(run.decode_requests)
        if sum(run.prefill_tokens) or fullest < 2 * group / 8:
            continue
        unbalanced += 1
        tokens_s = seconds(model.token_ops(rank_tokens=float(fullest), group_tokens=float(group)))
        balanced_s = seconds(model.token_ops(rank_tokens=group / 8, group_tokens=float(group)))
        attention_s = [
            seconds(
                model.decode_attention_ops(
                    requests=float(fullest), queries_per_request=1, context=context
                )
            )
            for context in (1.0, 128.0)
        ]
        own_s = host_s + tokens_s + seconds(model.head_ops(samples=float(fullest)))
        step_s = (run.end_s - run.start_s) / run.steps
        assert 0.99 * (own_s + attention_s[0]) < step_s < 1.01 * (own_s + attention_s[1])
        assert tokens_s > 1.1 * balanced_s  # a mean over the ranks would be seen
    assert unbalanced > 5


# memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("engine", "setting", "runtime_bytes"),
    [("vllm", "gpu_memory_utilization", 2.0e9), ("atom", "gpu_memory_utilization", 3.0e9)],
)
def test_weights_reserves_and_pool_are_the_fraction_of_memory(engine, setting, runtime_bytes):
    """Fraction x usable = weights + activations + sampler + runtime + blocks, to one block.

    Llama-3.1-70B in FP8 on TP8: activations of a step of 8,192 tokens are 16 hidden vectors of
    8,192 values in BF16 each; the runtime's reserve is 2 GB for vLLM (start-up lines of B300) and
    3 GB elsewhere (an estimate).
    """
    outcome = simulate_run(
        configured(
            sku="mi355x",
            model="llama-3.x-70b",
            engine=f"{engine}@specification",
            precision="fp8",
            kv_precision="bf16",
            isl=1024,
            osl=2,
            engine_settings={setting: 0.8, "max_num_batched_tokens": 8192, "max_num_seqs": 64},
            pools=aggregated(tp=8, ep=1, dp_attention=False),
            concurrency=1,
        )
    )
    pool = outcome.assembly.pools[0].kv_pool
    weights = outcome.assembly.models[0].weight_bytes_per_rank(speculative=False)
    sampler = outcome.assembly.pools[0].engine.sampler_bytes(vocab_size=128256, attention_dp=1)
    usable = outcome.assembly.sku.hbm_usable_bytes
    activation_bytes = 8192 * 16 * 8192 * 2.0
    taken = sum(weights.values()) + activation_bytes + sampler + runtime_bytes
    block_bytes = 80 * 2 * 1 * 128 * 2 * pool.block_tokens  # one KV head of 128 a rank, BF16
    assert pool.total_blocks * block_bytes == pytest.approx(0.8 * usable - taken, abs=block_bytes)


# speculation ---------------------------------------------------------------------------------


def test_accepted_drafts_are_those_of_the_source_times_the_levels_scale():
    """Tokens per step of a lone request: 1 + scale (length - 1), within what 2,000 steps tell."""
    configuration = configured(
        sku="b200",
        model="deepseek-r1",
        engine="sglang",
        precision="fp4",
        spec="mtp:3",
        isl=64,
        osl=5000,
        length_distribution="fixed",
        pools=aggregated(tp=8, ep=1, dp_attention=False),
        concurrency=1,
    )
    configuration = replace(configuration, acceptance_length=None)
    assert configuration.acceptance_source is not None
    source = published_acceptance(name=configuration.acceptance_source, drafts=3)
    level = named_software(configuration)
    for scale in (0.5, 1.0, 1.1):
        steps = []
        simulate_run(
            configuration,
            software=level.with_parameters({"acceptance_scale": scale}),
            on_step=lambda run, steps=steps: steps.append(run.steps * max(run.decode_requests)),
        )
        expected = 1.0 + scale * (source.acceptance_length - 1.0)
        assert 4999 / sum(steps) == pytest.approx(expected, rel=0.04)
    scaled = level.with_parameters({"acceptance_scale": 0.5})
    on_text = acceptance_of(configuration, software=scaled, on_text=True)
    assert on_text.acceptance_length == pytest.approx(source.acceptance_length)


# bands ---------------------------------------------------------------------------------------


def stated_factors(*, basis, cell):
    """Low and high of each metric in the shipped file, read on its own."""
    data = yaml.safe_load((DATA / "bands.yaml").read_text(encoding="utf-8"))
    found = dict(data["bands"][basis]) | data.get("cells", {}).get(basis, {}).get(cell, {})
    return {name: (band["low"], band["high"]) for name, band in found.items()}


BANDED_RUN = {
    "sku": "b200",
    "model": "deepseek-r1",
    "engine": "sglang",
    "precision": "fp4",
    "isl": 256,
    "osl": 16,
}


def test_a_run_carries_the_stated_band_about_its_prediction():
    outcome = simulate_run(
        configured(**BANDED_RUN, pools=aggregated(tp=8, ep=1, dp_attention=False), concurrency=4)
    )
    software, metrics = outcome.assembly.software, outcome.metrics
    cell = f"sglang/{software.generation.split('_')[0]}/floor-bound"  # 4 requests on one rank
    factors = stated_factors(basis=software.basis, cell=cell)
    assert set(outcome.bands) == set(factors)
    figures = {
        "total_tput_per_gpu": metrics.total_tput_per_gpu,
        "median_tpot_s": metrics.tpot.median_s,
        "median_ttft_s": metrics.ttft.median_s,
    }
    for name, (low, high) in factors.items():
        assert low < 1.2
        assert low < high
        assert outcome.bands[name] == pytest.approx((low * figures[name], high * figures[name]))


def test_tables_carry_low_below_high_and_the_run_between_as_stated():
    """Columns of curve, sweep and predict hold the same factors, each end under its name."""
    settings = {**BANDED_RUN, "concurrency": (4,), "seed": 3}
    curve = simulator.curve(**settings, tp=8, ep=1).frame().iloc[0]
    sweep = simulator.sweep(workers=1, **settings, tp=8, ep=1).frame().iloc[0]
    row = {name: str(value) for name, value in settings.items()}
    row |= {"concurrency": "4", "tp": "8", "ep": "1"}
    predicted = simulator.predict(pd.DataFrame([row]), workers=1).iloc[0]
    for metric in ("total_tput_per_gpu", "median_tpot_s", "median_ttft_s"):
        ends = [curve[f"{metric}_lo"], curve[f"{metric}_hi"]]
        assert ends[0] < ends[1]
        assert [sweep[f"{metric}_lo"], sweep[f"{metric}_hi"]] == pytest.approx(ends, rel=1e-6)
        # a row without a date takes the median level: other figures, the same factors
        factors = [end / curve[metric] for end in ends]
        name = f"pred_{metric}"
        assert [predicted[f"{name}_lo"], predicted[f"{name}_hi"]] == pytest.approx(
            [factor * predicted[name] for factor in factors], rel=1e-6
        )
