"""Write the table of docs/background/models.md that sets each model beside two others.

``python docs/tools/models_siblings.py`` binds every model on one server, without simulating: what
its weights leave for KV entries, how many requests fit, the time of a decode step of 16 requests
and the bound that peak bandwidth and peak rates set on it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hwmodels.roofline import peak_flops_per_s, step_ops_s
from simulator.engines.pools import DoesNotFitError, PoolLayout
from simulator.prediction.assembly import Assembly, assemble
from simulator.scenario.configure import configure_run
from simulator.scenario.settings import build_scenario
from workloads.layout import Layout

PAGE = Path(__file__).parents[1] / "background" / "models.md"
START, END = "<!-- siblings -->", "<!-- end of siblings -->"
SKU, REQUESTS, PROMPT, OUTPUT = "b200", 16, 8192, 1024
SIBLINGS = {
    "deepseek-v4.1-flash": ("deepseek-v4-flash", "glm-5.3-flash"),
    "gemma-4-26b-a4b": ("qwen3-30b-a3b", "gpt-oss-20b"),
    "glm-4.7": ("qwen3-235b-a22b", "hy3"),
    "glm-5.2": ("glm-5.1", "deepseek-v3.2"),
    "glm-5.3-flash": ("ling-3.0-flash", "deepseek-v4-flash"),
    "gpt-oss-20b": ("gpt-oss-120b", "gemma-4-26b-a4b"),
    "hy3": ("glm-4.7", "qwen3-235b-a22b"),
    "kimi-k2.6": ("kimi-k2.5", "deepseek-r1"),
    "kimi-k3": ("kimi-k2.6", "qwen3.8-2.4t-a95b"),
    "ling-2.6-flash": ("ling-3.0-flash", "qwen3.5-122b-a10b"),
    "ling-3.0-flash": ("ling-2.6-flash", "nemotron-3-super"),
    "llama-3.1-405b": ("llama-3.x-70b", "qwen3-32b"),
    "llama-4-maverick": ("llama-4-scout", "qwen3-235b-a22b"),
    "llama-4-scout": ("llama-4-maverick", "qwen3.5-122b-a10b"),
    "mimo-v2-flash": ("step-3.5-flash", "minimax-m2.5"),
    "mimo-v2.5-pro": ("mimo-v2-flash", "kimi-k2.6"),
    "minimax-m3": ("minimax-m2.5", "glm-4.7"),
    "mistral-large-3": ("deepseek-r1", "kimi-k2.6"),
    "mistral-small-4": ("mistral-large-3", "gpt-oss-120b"),
    "mixtral-8x7b": ("qwen3-30b-a3b", "gpt-oss-20b"),
    "nemotron-3-nano": ("qwen3-30b-a3b", "gpt-oss-20b"),
    "nemotron-3-super": ("ling-3.0-flash", "qwen3.5-122b-a10b"),
    "nemotron-3-ultra": ("qwen3.5", "glm-5.2"),
    "qwen3-235b-a22b": ("glm-4.7", "minimax-m2.5"),
    "qwen3-30b-a3b": ("qwen3.5-35b-a3b", "nemotron-3-nano"),
    "qwen3-32b": ("qwen3.5-27b", "llama-3.x-70b"),
    "qwen3-coder-480b-a35b": ("qwen3-235b-a22b", "qwen3.5"),
    "qwen3-next-80b-a3b": ("qwen3-30b-a3b", "qwen3.5-35b-a3b"),
    "qwen3.5-122b-a10b": ("qwen3.5", "qwen3.5-35b-a3b"),
    "qwen3.5-27b": ("qwen3-32b", "qwen3.5-35b-a3b"),
    "qwen3.5-35b-a3b": ("qwen3-next-80b-a3b", "qwen3-30b-a3b"),
    "qwen3.8-2.4t-a95b": ("kimi-k3", "qwen3.5"),
    "step-3.5-flash": ("mimo-v2-flash", "minimax-m2.5"),
}


def bound_model(name: str) -> tuple[Assembly, str]:
    """A model on the smaller of 8 and 16 chips that holds it, tensor parallel, and its format."""
    flags = {"sku": SKU, "model": name, "concurrency": (REQUESTS,)}
    scenario = build_scenario(flags=flags, file=None).scenario
    for chips in (8, 16):
        pools = (PoolLayout(layout=Layout(tp=chips)),)
        configuration, _ = configure_run(scenario, pools=pools, concurrency=REQUESTS)
        try:
            return assemble(configuration), configuration.precision
        except DoesNotFitError:
            continue
    raise SystemExit(f"{name} does not fit 16 x {SKU}")


def step_and_bound_s(found: Assembly) -> tuple[float, float]:
    """A decode step of the batch without the host's share, and what peak figures allow. [s]"""
    model, context = found.models[0], PROMPT + OUTPUT / 2.0
    tokens = float(REQUESTS)
    ops = [
        *model.token_ops(rank_tokens=tokens, group_tokens=tokens),
        *model.decode_attention_ops(requests=tokens, queries_per_request=1, context=context),
        *model.head_ops(samples=tokens),
    ]
    bound_s = 0.0
    for op in ops:
        if not op.kind.is_communication:
            rate = peak_flops_per_s(sku=found.sku, precision=op.precision)
            bytes_s = float(np.max(op.hbm_bytes)) / found.sku.hbm_bytes_per_s
            bound_s += op.layers * max(bytes_s, float(np.max(op.flops)) / rate)
    return float(step_ops_s(ops=ops, sku=found.sku, software=found.software)), bound_s


def table() -> str:
    """The rows of the page."""
    names = sorted({*SIBLINGS, *(one for pair in SIBLINGS.values() for one in pair)})
    found = {name: bound_model(name) for name in names}
    steps = {name: step_and_bound_s(one) for name, (one, _) in found.items()}
    lines = [
        "| model | format | chips | weights [GB/chip] | requests that fit | bound [ms] | step [ms] "
        "| kind | step over that of its siblings |",
        "|---|---|--:|--:|--:|--:|--:|---|---|",
    ]
    for name in names:
        one, label = found[name]
        pool, plan = one.pools[0].kv_pool, one.memory[0]
        fit = pool.total_blocks // (pool.blocks(PROMPT + OUTPUT) + pool.admission_blocks)
        fit = min(fit, pool.request_slots or fit)
        step_s, bound_s = steps[name]
        beside = ", ".join(
            f"{step_s / steps[other][0]:.2f} {other}" for other in SIBLINGS.get(name, ())
        )
        lines.append(
            f"| {name} | {label} | {one.pools[0].layout.gpus} "
            f"| {sum(plan.weights.values()) / 1e9:.1f} | {fit:,} | {1e3 * bound_s:.2f} "
            f"| {1e3 * step_s:.2f} | {one.software.kind} | {beside or '–'} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Replace the table between the page's marks."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{START}\n{table()}\n{END}{after}", encoding="utf-8")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
