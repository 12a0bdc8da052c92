# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Long context: from 8k to 1M tokens
#
# **Question.** What does a long context cost on a node of B300: first token, speed, users at a
# time? And what did DeepSeek-V4-Pro change against V3.2, which has fewer parameters but no
# compressed attention?
#
# V3.2 stops at 163,840 tokens. Both run under SGLang as TP8, V4-Pro with FP4 experts, V3.2 with
# FP8 ones. Decode speed is that of 32 users, or of as many as fit.

# %%
import numpy as np
import pandas as pd
from IPython.display import Markdown

import simulator as sim
from simulator.studies.explain.model import explain_model
from simulator.output.figure import ResultFigure
from simulator.output.style import dress

node = {"sku": "b300", "engine": "sglang", "tp": 8, "ep": 1}
models = {"deepseek-v4-pro": "fp4", "deepseek-v3.2": "fp8"}
contexts = [8192, 32768, 131072, 524288, 1_040_000]
rows = []
for model, precision in models.items():
    for context in contexts:
        if context > 163_840 - 1024 and model == "deepseek-v3.2":
            continue
        asked = {**node, "model": model, "precision": precision}
        alone = sim.run_load(
            **asked, isl=context, osl=1024, length_distribution="fixed", concurrency=1, requests=2
        )
        fit = sim.explain(**asked, context=context, clients=1024).explanation.requests_that_fit
        busy = sim.explain(**asked, context=context, clients=min(32, fit)).explanation
        rows.append(
            {
                "model": model,
                "context": context,
                "TTFT alone [s]": alone.metrics.ttft.median_s,
                "speed alone [tok/s]": alone.metrics.interactivity,
                "speed, 32 users [tok/s]": busy.tokens_per_s_per_user,
                "requests that fit": fit,
                "level": alone.resolved["software_level"]["value"],
                "kind": alone.kind,
            }
        )
table = pd.DataFrame(rows).set_index(["model", "context"])
table.drop(columns=["level", "kind"]).round(2)

# %%
figure = ResultFigure(width=11, height=4.8)
panels = {
    "TTFT alone [s]": "TTFT of a lone prompt (s)",
    "speed, 32 users [tok/s]": "speed, up to 32 decoding (tok/s/user)",
    "requests that fit": "requests that fit the node",
}
for place, (column, label) in enumerate(panels.items()):
    axes = figure.add_axes((0.07 + 0.318 * place, 0.15, 0.255, 0.6))
    if place == 0:
        dress(
            figure, axes,
            caption="deepseek-v4-pro FP4 and deepseek-v3.2 FP8 on 8 x NVIDIA B300 SXM (HGX), TP8, "
            f"sglang, levels {' and '.join(table['level'].unique())}, 1,024 output tokens, "
            "aggregated, no speculation; no dollars; simulated",
            title="What a long context costs", x_label="context (tokens)", y_label=label,
        )
    for model, colour, shape in zip(models, ("#0072b2", "#d55e00"), "os", strict=True):
        line = table.loc[model, column]
        axes.plot(line.index, line, color=colour, linestyle="--", marker=shape,
                  markerfacecolor="white", label=model)
    axes.set(xscale="log", xlabel="context (tokens)")
    if place:
        axes.set_ylabel(label)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#e6e9ee")
    if "speed" not in column:
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, 1.15 * table[column].max())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axes.minorticks_off()
    axes.set_xticks([8192, 65536, 524288], ["8k", "64k", "512k"])
axes.legend(frameon=False, fontsize=8.5)
figure

# %%
def at_a_million(figures):
    """A figure of V3.2 beyond its limit: straight on from two contexts within it."""
    near, far = (figures(explain_model("deepseek-v3.2", context=n)) for n in (65536, 131072))
    return far + (far - near) / 65536 * (1_048_576 - 131072)


own = explain_model("deepseek-v4-pro", context=1_048_576)


def kv(figures):
    return figures["kv_bytes_per_sequence"]["fp8_fp8idx"]


def flops(figures):
    return figures["flops_per_token"]["raw"]


v4, v32 = table.loc["deepseek-v4-pro"], table.loc["deepseek-v3.2"]
held = v4["requests that fit"] / v32["requests that fit"]
long = 131072
Markdown(
    f"**Answer.** From 8k to 1M tokens a lone user of V4-Pro goes from "
    f"{v4.loc[8192, 'speed alone [tok/s]']:.0f} to {v4.loc[contexts[-1], 'speed alone [tok/s]']:.0f} "
    f"tok/s, and waits {v4.loc[contexts[-1], 'TTFT alone [s]']:.0f} s "
    f"for the first token instead of {v4.loc[8192, 'TTFT alone [s]']:.1f} s: long context is a matter "
    f"of prefill. With 128k tokens V4-Pro needs {v4.loc[long, 'TTFT alone [s]']:.0f} s where V3.2 "
    f"needs {v32.loc[long, 'TTFT alone [s]']:.0f} s, up to 32 users decode at "
    f"{v4.loc[long].iloc[2]:.0f} against {v32.loc[long].iloc[2]:.0f} tok/s each, and "
    f"{held[long]:.1f} times as many requests fit. At 1M tokens V4-Pro stores "
    f"{kv(own) / at_a_million(kv):.0%} of the KV cache and computes {flops(own) / at_a_million(flops):.0%} "
    "of the FLOPs of a decoded token that V3.2 would, had it gone on."
)

# %% [markdown]
# ## How wrong could this be?
#
# The fit knows prompts of 1k and 8k tokens. One published figure checks the flat decode: SGLang's
# day-0 post (LMSYS, 2026-04-25) has V4-Pro for a single user on eight B200 as TP8, with
# speculation, at 199 tok/s with 4k tokens and 180 tok/s with 900k.

# %%
published = {4096: 199.0, 900_000: 180.0}
checked = {
    context: sim.run_load(
        sku="b200", engine="sglang", tp=8, ep=1, spec="mtp:3", isl=context, osl=1024,
        length_distribution="fixed", concurrency=1, requests=2,
    ).metrics.interactivity
    for context in published
}
check = pd.DataFrame({"published [tok/s]": published, "simulated [tok/s]": checked})
check.rename_axis("context").round(0)

# %%
kept = check.loc[900_000] / check.loc[4096]
level = check["simulated [tok/s]"] / check["published [tok/s]"]
report = {"KV cache": (kv(own) / at_a_million(kv), 0.10), "FLOPs": (flops(own) / at_a_million(flops), 0.27)}
ends = sim.curve(**node, concurrency=[1]).frame().iloc[0]
Markdown(
    f"Of its speed with 4k tokens the published server keeps {kept.iloc[0]:.0%} with 900k, the "
    f"simulated one {kept.iloc[1]:.0%}; its level is {level.min():.2f} to {level.max():.2f} of the "
    "published one, with the drafts and their acceptance unknown. The technical report (arXiv "
    "2606.19348) gives V4-Pro at 1M tokens "
    + " and ".join(f"{stated:.0%} of V3.2's {name} (here {ours:.0%})" for name, (ours, stated) in report.items())
    + ", counting formats of its own. The band of throughput on this node is "
    f"{ends.total_tput_per_gpu_lo / ends.total_tput_per_gpu:.2f} to "
    f"{ends.total_tput_per_gpu_hi / ends.total_tput_per_gpu:.2f} of the prediction, that of TTFT "
    f"{ends.median_ttft_s_lo / ends.median_ttft_s:.2f} to {ends.median_ttft_s_hi / ends.median_ttft_s:.1f}; "
    "both come from runs of up to 8k tokens, so that a TTFT of minutes may be further off. The "
    f"prediction of V3.2 is *{v32['kind'].iloc[0]}*"
    + (": its efficiencies are those fitted on V4-Pro." if v32["kind"].iloc[0] == "transferred" else ".")
)
