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
# # A chip before it ships
#
# **Question.** How fast will Vera Rubin NVL72, MI455X and Ascend 950DT serve DeepSeek-V4-Pro, set
# beside GB300, from data sheets alone? And how much is such an answer worth?
#
# What cannot be known is what software will reach on them, so two answers are given. With
# *transferred* efficiencies each chip is served as well as related ones are today, according to the fit
# to measured runs. With the *specification* level nothing is fitted: kernels reach what kernel
# benchmarks of known chips say. Eight GPUs of each, vLLM.

# %%
import pandas as pd
from IPython.display import Markdown

import simulator as sim
from simulator.output.figure import ResultFigure
from simulator.output.style import dress

chips = ["gb300", "vr200", "mi455x", "ascend950dt"]
sheet = sim.catalog("skus").set_index("sku").loc[chips]
pd.DataFrame(
    {
        "status": sheet["status"],
        "HBM [GB]": sheet["hbm_usable_bytes"] / 1e9,
        "HBM [TB/s]": sheet["hbm_bytes_per_s"] / 1e12,
        "FP4 [PFLOP/s]": sheet["flops_fp4"] / 1e15,
        "FP8 [PFLOP/s]": sheet["flops_fp8"] / 1e15,
        "scale-up [GB/s]": sheet["scaleup_bytes_per_s"] / 1e9,
        "$/h": sheet["hyperscaler_usd_per_h"],
    }
).round(1)

# %%
node = {"gpus": 8, "concurrency": [1, 8, 32, 128, 512]}
speeds = (20, 30, 50)
worlds = {
    "transferred": sim.compare(*(f"{chip}:vllm" for chip in chips), at=speeds, **node),
    "specification": sim.compare(*(f"{chip}:vllm@specification" for chip in chips), at=speeds, **node),
}
worlds["transferred"].plot(log=True)

# %%
tables = {
    world: result.frame().assign(chip=lambda rows: rows["system"].str.split(":").str[0])
    for world, result in worlds.items()
}


def at(speed, column):
    """One figure of every chip at a speed, by what its software level rests on."""
    return pd.DataFrame(
        {
            world: table[table["interactivity"] == speed].set_index("chip")[column]
            for world, table in tables.items()
        }
    )


pd.concat({f"{speed} tok/s/user": at(speed, "ratio") for speed in speeds}, axis=1).round(1)

# %% [markdown]
# Throughput per GPU over GB300, above; empty where the curve does not reach the speed, or starts
# beyond it. Below, throughput at 30 tok/s/user with its 90 % band; *n/r*: at the low end of the
# band the speed is not reachable at all.

# %%
figure = ResultFigure(width=9, height=4.8)
axes = figure.add_axes((0.2, 0.15, 0.755, 0.6))
dress(
    figure, axes,
    caption=worlds["transferred"].caption + "; hollow squares: vllm@specification",
    title="Throughput at 30 tok/s/user, with 90 % bands",
    x_label="Token throughput per chip (tok/s/chip)", y_label="",
)
shapes = {"transferred": ("#0072b2", "o", 0.14), "specification": ("#d55e00", "s", -0.14)}
for world, (colour, shape, shift) in shapes.items():
    middle, low, high = (
        at(30, f"total_tput_per_gpu{end}")[world].to_numpy(float) for end in ("", "_lo", "_hi")
    )
    for row, (y, a, b) in enumerate(zip(middle, low, high, strict=True)):
        place = len(chips) - 1 - row + shift
        axes.plot([max(a, 10), b], [place, place], color=colour, linewidth=3, alpha=0.35)
        axes.plot(y, place, marker=shape, color=colour, markerfacecolor="white", linestyle="none",
                  label=world if row == 0 else None)
        if a == 0:
            axes.annotate("n/r", (10, place), (-4, 0), textcoords="offset points", va="center",
                          ha="right", fontsize=8, color=colour)
axes.set_xscale("log")
axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
axes.set_yticks(range(len(chips)), sheet["name"].iloc[::-1].str.replace(" (", "\n("), fontsize=8.5)
axes.legend(frameon=False, fontsize=8.5, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
axes.set_xlim(6)
figure

# %%
ratio, kinds = at(30, "ratio"), at(30, "kind")
said = [
    f"{sheet.loc[chip, 'name']} {ratio.loc[chip].min():.2g} to {ratio.loc[chip].max():.2g} times"
    for chip in chips[1:]
]
cost = at(30, "usd_per_million_tokens").loc[["gb300", "vr200"], "transferred"]
binding = at(30, "bottleneck").loc[chips[1:], "transferred"].mode().iloc[0]
Markdown(
    "**Answer.** At 30 tok/s/user, by what software does: " + ", ".join(said) + " the throughput per "
    f"GPU of GB300. At the prices of {worlds['transferred'].economics} VR200 would cost "
    f"${cost['vr200']:.3f} per million tokens "
    f"against ${cost['gb300']:.3f} (transferred efficiencies). What binds the new chips at this speed "
    f"is mostly *{binding}*, which no data sheet states."
)

# %% [markdown]
# ## How wrong could this be?
#
# A chip that nobody has served on is predicted from related SKUs. What that cost where it could be
# checked, by leaving out of the fit what the prediction may not know, is in the bands.

# %%
rows = tables["transferred"].query("interactivity == 30").set_index("chip")
points = worlds["transferred"].runs().groupby("sku", sort=False).first()
factor = pd.DataFrame(
    {
        "kind": points["kind"],
        "throughput at a concurrency: low": points["total_tput_per_gpu_lo"] / points["total_tput_per_gpu"],
        "high": points["total_tput_per_gpu_hi"] / points["total_tput_per_gpu"],
        "throughput at 30 tok/s/user: low": rows["total_tput_per_gpu_lo"] / rows["total_tput_per_gpu"],
        "high ": rows["total_tput_per_gpu_hi"] / rows["total_tput_per_gpu"],
    }
)
factor.round(2).replace({"throughput at 30 tok/s/user: low": {0.0: "not reachable"}})

# %%
wide = factor.loc[chips[1:]]
lost = [sheet.loc[chip, "name"] for chip in chips[1:] if wide.loc[chip].iloc[3] == 0]
apart = [sheet.loc[chip, "name"] for chip in chips[1:] if rows.loc[chip, "apart"]]
Markdown(
    "At a fixed number of users nine of ten runs are expected within "
    f"{wide.iloc[:, 1].min():.2f} to {wide.iloc[:, 2].max():.2f} of the prediction. At a fixed speed "
    "the same error is far larger: a chip that is slower than predicted keeps the speed only with "
    "fewer users, and near its fastest user with none. "
    + (f"At the low end of their bands {', '.join(lost)} cannot reach 30 tok/s/user at all. " if lost else
       f"The low ends reach down to {wide.iloc[:, 3].min():.2f}. ")
    + (f"The bands of {', '.join(apart)} and GB300 do not overlap. " if apart else
       "No band of the three lies clear of GB300's: data sheets alone do not rank these systems. ")
    + "Not in any band: that a figure of a data sheet is not met by what ships, clocks under "
    "sustained load, and first software: on MI355X four weeks of it were worth a factor of a hundred "
    "(SemiAnalysis InferenceX, 2026-05-21)."
)
