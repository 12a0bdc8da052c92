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
# # What-if tour
#
# **Question.** A node of eight B300 serves DeepSeek-V4-Pro under vLLM, 8k prompts and 1k answers,
# to users who want 30 tok/s. Which change is worth most: a faster chip, speculation, another
# engine, shorter prompts?
#
# A system of `sim.compare` is a name as on the command line (`"b300:trt"`) or, from Python,
# a mapping of settings. `overrides` changes figures of the data sheet, in SI units.

# %%
import numpy as np
from IPython.display import Markdown

import simulator as sim
from simulator.output.figure import ResultFigure
from simulator.output.style import dress

node = {"sku": "b300", "engine": "vllm", "gpus": 8, "concurrency": [1, 4, 16, 64, 256]}
sheet = sim.catalog("skus").set_index("sku").loc["b300"]


def a_quarter_more(*figures):
    return {"overrides": {name: 1.25 * sheet[name] for name in figures}}


changes = {
    "HBM bandwidth +25 %": a_quarter_more("hbm_bytes_per_s"),
    "HBM capacity +25 %": a_quarter_more("hbm_usable_bytes"),
    "FP4 and FP8 rates +25 %": a_quarter_more("flops_fp4", "flops_fp8"),
    "NVLink +25 %": a_quarter_more("scaleup_bytes_per_s"),
    "two MTP drafts": {"spec": "mtp:2"},
    "TensorRT-LLM": {"engine": "trt"},
    "SGLang": {"engine": "sglang"},
    "prompts of 4k": {"isl": 4096},
}

# %% [markdown]
# ## Every change against the node as it is
#
# Simulated throughput per GPU against the node as it is, at three speeds per user [tok/s].

# %%
tour = sim.compare(
    {"name": "as it is", **node},
    *({"name": name, **node, **change} for name, change in changes.items()),
    at=(20, 30, 60),
)
at_30 = tour.frame().query("interactivity == 30").set_index("system")
gains = tour.frame().pivot(index="system", columns="interactivity", values="ratio") - 1
gains.loc[["as it is", *changes]].map(lambda gain: f"{gain:+.0%}").replace("+nan%", "out of reach")

# %%
order = at_30.drop(index="as it is")["ratio"].sort_values()
figure = ResultFigure(width=9, height=4.6)
axes = figure.add_axes((0.23, 0.13, 0.72, 0.66))
dress(
    figure,
    axes,
    caption=tour.caption,
    title="What each change is worth at 30 tok/s/user",
    x_label="Token throughput per chip over the node as it is (%)",
    y_label="",
)
percent = 100 * (order.to_numpy() - 1)
axes.barh(range(len(order)), percent, height=0.62, color="#0072b2", zorder=3)
axes.set_yticks(range(len(order)), order.index)
for place, value in enumerate(percent):
    text = f"{value:+.0f} %" if round(value) else "0 %"
    axes.annotate(text, (max(value, 0), place), (4, 0), textcoords="offset points",
                  va="center", fontsize=8.5)
axes.set_xlim(min(0, percent.min()) * 1.1, percent.max() * 1.12)
axes.axvline(0, color="#1c2430", linewidth=0.8)
figure

# %% [markdown]
# ## Why

# %%
step = sim.explain(**{**node, "concurrency": None}, clients=64)
parts = step.frame().set_index("component")["seconds"].sort_values(ascending=False)
hardware = order[order.index.str.contains("%")]
answers = at_30.loc["prompts of 4k", "output_tput_per_gpu"] / at_30.loc["as it is", "output_tput_per_gpu"]
best, second = order.index[-1], order.index[-2]
Markdown(
    f"**Answer.** At 30 tok/s/user *{best}* is worth most ({order[best] - 1:+.0%}), then *{second}* "
    f"({order[second] - 1:+.0%}). Of a quarter more of one figure of the data sheet, "
    f"*{hardware.index[-1]}* is worth most ({hardware.iloc[-1] - 1:+.0%}) and "
    f"*{hardware.index[0]}* least ({hardware.iloc[0] - 1:+.0%}): on the curve around this speed "
    f"the limit is *{at_30.loc['as it is', 'bottleneck']}*, and of a decode step of 64 users "
    f"{parts.iloc[0] / parts.sum():.0%} goes into the {parts.index[0]}. Shorter prompts lose tokens "
    f"because there are fewer to count; answers per GPU change by {answers - 1:+.0%}."
)

# %%
step.plot()

# %% [markdown]
# ## How wrong could this be?
#
# One of the changes has been measured: InferenceX ran this node with and without MTP, on the same
# layout with the same number of clients. Both sets of runs went into the fit, so this is how well
# the model can say what it has been told, and no forecast.

# %%
from calibration.validation.comparison import compare_runs
from calibration.measured.runs import load_measured

runs = load_measured(models=["deepseek-v4-pro"], skus=["b300"], engines=["vllm"], quality="ok")
runs = runs.query("isl == 8192 and layout == 'TP8' and concurrency in (4, 8, 16, 32, 64)")
both = compare_runs(runs, workers=1).pivot_table(
    index="concurrency", columns="speculation",
    values=["total_tput_per_gpu", "predicted_tput_per_gpu"],
)
mtp = both.xs("mtp", axis=1, level=1) / both.xs("none", axis=1, level=1)
mtp.columns = ["simulated gain", "measured gain"]
mtp.round(2)

# %%
missed = float(np.exp(np.abs(np.log(mtp["simulated gain"] / mtp["measured gain"])).mean()) - 1)
base = at_30.loc["as it is"]
Markdown(
    f"The gain of MTP is missed by {missed:.0%} on average. The level is less certain than a gain: "
    f"nine of ten measured runs are expected between {base.total_tput_per_gpu_lo:,.0f} and "
    f"{base.total_tput_per_gpu_hi:,.0f} tok/s/GPU at 30 tok/s/user where the node as it is stands "
    f"at {base.total_tput_per_gpu:,.0f}. A change to one number of the same machine keeps most of "
    "that error on both sides, so that it cancels in the gain. It does not cancel between engines: "
    + "; ".join(
        f"{name} is {at_30.loc[name, 'ratio']:.2f} times vLLM with a band from "
        f"{at_30.loc[name, 'ratio_lo']:.2f} to {at_30.loc[name, 'ratio_hi']:.2f}"
        for name in ("TensorRT-LLM", "SGLang")
    )
    + ". Where such a band holds 1, the order of the two engines is open."
)
