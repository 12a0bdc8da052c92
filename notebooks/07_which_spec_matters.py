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
# # Which number on the data sheet matters?
#
# **Question.** A chip has memory bandwidth, memory capacity, FLOPs and a fabric. For
# DeepSeek-V4-Pro on a node of B200: which of them buys throughput, and when?
#
# An *elasticity* of 0.5 says that 1 % more of a number gives 0.5 % more throughput. It is taken at
# a fixed speed per user: a better chip then also lets more users share it.

# %%
import numpy as np
import pandas as pd
from IPython.display import Markdown

import simulator as sim
from hwmodels.sku import load_sku
from simulator.output.figure import ResultFigure
from simulator.output.style import dress

wide = {"tp": 8, "ep": 8, "dp_attention": True}
regimes = {
    "50 tok/s/user\n(few users, TP8)": {"interactivity": 50, "tp": 8},
    "30 tok/s/user\n(TP8)": {"interactivity": 30, "tp": 8},
    "15 tok/s/user\n(many users, DEP8)": {"interactivity": 15, **wide},
    "128k prompts,\n8 users (TP8)": {"concurrency": [8], "isl": 131072, "tp": 8},
}
studies = {
    name: sim.sensitivity(sku="b200", engine="vllm", replications=1, **regime)
    for name, regime in regimes.items()
}
figures = {
    "hbm_bytes_per_s": "HBM bandwidth",
    "hbm_usable_bytes": "HBM capacity",
    "flops_fp8": "FP8 rate",
    "flops_fp4": "FP4 rate",
    "flops_bf16": "BF16 rate",
    "scaleup_bytes_per_s": "scale-up fabric",
}
elasticities = pd.DataFrame(
    {
        name: study.frame().set_index("parameter")["elasticity_throughput"]
        for name, study in studies.items()
    }
).reindex(figures).fillna(0.0).rename(index=figures)
elasticities.rename(columns=lambda name: name.replace("\n", " ")).round(2)

# %%
colours = dict(zip(elasticities.index,
                   ("#0072b2", "#56b4e9", "#d55e00", "#e69f00", "#cc79a7", "#009e73"), strict=True))
figure = ResultFigure(width=10, height=4.8)
axes = figure.add_axes((0.082, 0.17, 0.893, 0.62))
level = next(iter(studies.values())).level
dress(
    figure, axes,
    caption="deepseek-v4-pro FP4 on NVIDIA B200 SXM (HGX), 8192/1024 and 131072/1024, "
    f"{level}, aggregated, no speculation, closed loop; no dollars; simulated",
    title="What 1 % more of a number is worth in throughput",
    x_label="", y_label="Elasticity of throughput (-)",
)
axes.yaxis.set_major_formatter("{x:.1f}")
places = np.arange(len(elasticities.columns))
for step, (name, row) in enumerate(elasticities.iterrows()):
    bars = axes.bar(places + 0.13 * (step - 2.5), row, width=0.12, color=colours[name], label=name)
    axes.bar_label(bars, [f"{value:.2f}" if value >= 0.005 else "0" for value in row], fontsize=7,
                   padding=1)
axes.set_xticks(places, elasticities.columns, fontsize=9)
axes.legend(frameon=False, fontsize=8.5, ncols=3)
axes.set_ylim(0, 1.25 * elasticities.to_numpy().max())
figure

# %% [markdown]
# ## Twice as much
#
# Elasticities are local. The same with twice the number, against the node as it is, on the best
# layout at each speed:

# %%
chip = load_sku("b200")
node = {"sku": "b200", "engine": "vllm", "gpus": 8, "concurrency": [1, 4, 16, 64, 256]}
doubled = {
    "twice the HBM bandwidth": ["hbm_bytes_per_s"],
    "twice the HBM capacity": ["hbm_usable_bytes"],
    "twice the FLOPs": ["flops_fp4", "flops_fp8", "flops_bf16"],
    "twice the fabric": ["scaleup_bytes_per_s"],
}
twice = sim.compare(
    {"name": "as it is", **node},
    *(
        {"name": name, **node, "overrides": {key: 2 * getattr(chip, key) for key in keys}}
        for name, keys in doubled.items()
    ),
    at=(30, 50),
)
gain = twice.frame().pivot(index="system", columns="interactivity", values="ratio")
gain.loc[list(doubled)].rename_axis(columns="throughput, times, at tok/s/user").round(2)

# %%
first = elasticities.idxmax()
rates = elasticities.loc[["FP8 rate", "FP4 rate", "BF16 rate"]].sum()
capacity = elasticities.loc["HBM capacity"]
Markdown(
    "**Answer.** "
    + "; ".join(
        f"{name.replace(chr(10), ' ')}: {first[name]} ({elasticities.loc[first[name], name]:.2f})"
        for name in elasticities.columns
    )
    + ". The three FLOP rates together weigh "
    f"{rates.iloc[0]:.2f} for few users and {rates.iloc[2]:.2f} for many: prefill is what they speed "
    "up. "
    + (
        "Capacity is worth nothing once the weights fit, at any of these loads: V4's KV cache is "
        "too small to fill what is left. "
        if (capacity.abs() < 0.01).all()
        else f"Capacity is worth up to {capacity.max():.2f}. "
    )
    + f"The fabric inside the node is worth {elasticities.loc['scale-up fabric'].max():.2f} at the "
    f"most. Twice the memory bandwidth gives {gain.loc['twice the HBM bandwidth', 30]:.2f} times the "
    f"throughput at 30 tok/s/user, less than twice, since part of a step is kernel floors that no "
    "data sheet lists."
)

# %%
studies["30 tok/s/user\n(TP8)"].plot()

# %% [markdown]
# ## How wrong could this be?
#
# An elasticity is a share of time, so it is wrong where the shares are. The check: the same
# elasticities on the level that knows no measured run, only data sheets and kernel benchmarks.
# The fit moved kernel floors and efficiencies between the two.

# %%
name = list(regimes)[1]
study = sim.sensitivity(sku="b200", engine="vllm@specification", replications=1, **regimes[name])
other = study.frame().set_index("parameter")["elasticity_throughput"].reindex(figures).fillna(0.0)
side = pd.DataFrame({"fitted": elasticities[name], "specification": other.rename(index=figures)})
side.round(2)

# %%
moved = (side["fitted"] - side["specification"]).abs()
floors = studies[name].frame().set_index("parameter").loc["t0_scale", "elasticity_throughput"]
Markdown(
    f"Without the fit the elasticities at 30 tok/s/user differ by up to {moved.max():.2f} "
    f"({moved.idxmax()}), and the order of the first two is "
    + (
        "the same. "
        if list(side["fitted"].nlargest(2).index) == list(side["specification"].nlargest(2).index)
        else "another one. "
    )
    + f"The largest uncertainty is a number on no data sheet: 1 % longer kernel floors cost "
    f"{-floors:.2f} % throughput there. Not varied: that "
    "software would be tuned anew for a chip with other proportions, and counts such as GPUs "
    "in a node."
)
