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
# # How many prefill GPUs for each decode GPU?
#
# **Question.** GB200 NVL72 serves DeepSeek-V4-Pro with 8k prompts and 1k answers under Dynamo and
# vLLM. Decode runs on one worker of eight GPUs (DEP8). How many prefill workers of eight should
# feed it?
#
# Too few, and prompts queue while decode GPUs idle; too many, and prefill GPUs idle. InferenceX
# measured two of the ratios with 4,096 clients. `sim.run_load` simulates each deployment under a
# stated number of clients, with ten requests for each as InferenceX sends them.

# %%
import pandas as pd
from IPython.display import Markdown

import simulator as sim
from simulator.output.figure import ResultFigure
from simulator.output.style import dress

clients = (512, 1024, 4096)
workers = (1, 2, 3, 4)
runs = {
    (number, prefill): sim.run_load(
        sku="gb200", engine="dynamo-vllm@2026-05-22", isl=8192, osl=1024,
        deployment=f"{prefill}xDEP8+1xDEP8", concurrency=number,
    )
    for number in clients
    for prefill in workers
}
table = pd.DataFrame(
    {
        "tok/s/GPU": {key: run.metrics.total_tput_per_gpu for key, run in runs.items()},
        "tok/s/user": {key: run.metrics.interactivity for key, run in runs.items()},
        "median TTFT [s]": {key: run.metrics.ttft.median_s for key, run in runs.items()},
    }
).rename_axis(["clients", "prefill workers"])
table.unstack(0).round(1)

# %%
# InferenceX-app, gb300-nvl72-vs-gb200-nvl72-dsv4-pro-vllm-fp4.mdx (2026-05-22), and TTFT from its
# table of eight configurations
measured = pd.DataFrame(
    [(512, 1, 5336.2, 21.26, 2.341), (1024, 1, 6036.2, 21.60, 40.52),
     (4096, 2, 8153.1, 18.51, float("nan")), (4096, 3, 8933.0, 15.26, 51.78)],
    columns=["clients", "prefill workers", *table.columns],
).set_index(["clients", "prefill workers"])

figure = ResultFigure(width=10, height=4.8)
left, right = figure.add_axes((0.082, 0.14, 0.4, 0.6)), figure.add_axes((0.575, 0.14, 0.4, 0.6))
one = next(iter(runs.values()))
level = one.resolved["software_level"]["value"]
dress(
    figure, left,
    caption=f"deepseek-v4-pro FP4 on NVIDIA GB200 NVL72, 8192/1024, dynamo-vllm, {level}, "
    "disaggregated, decode 1xDEP8, no speculation, closed loop; no dollars. Dashed and hollow: "
    "simulated; filled: measured",
    title="Prefill workers of eight GPUs for one decode worker of eight",
    x_label="prefill workers", y_label="Token throughput per chip (tok/s/chip)",
)
for number, colour, shape in zip(clients, ("#0072b2", "#d55e00", "#009e73"), "o^s", strict=True):
    rows = table.loc[number]
    for axes, name in ((left, "tok/s/GPU"), (right, "median TTFT [s]")):
        axes.plot(rows.index, rows[name], color=colour, linestyle="--", marker=shape,
                  markerfacecolor="white", label=f"{number:,} clients")
        known = measured.loc[number, name]
        axes.plot(known.index, known, color=colour, marker=shape, linestyle="none", zorder=6)
right.set(yscale="log", xlabel="prefill workers", ylabel="median TTFT (s)")
right.axhline(10, color="#69727f", linewidth=1, linestyle=":")
right.text(workers[-1], 10.6, "10 s", ha="right", fontsize=8, color="#69727f")
right.spines[["top", "right"]].set_visible(False)
right.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
right.legend(frameon=False, fontsize=8.5)
left.set_ylim(0)
for axes in (left, right):
    axes.set_xticks(workers)
figure

# %%
most = clients[-1]
rate, speed = table["tok/s/GPU"], table["tok/s/user"]
best = {number: rate.loc[number].idxmax() for number in clients}
more, slower = (column[most, 3] / column[most, 2] - 1 for column in (rate, speed))
online = table[table["median TTFT [s]"] <= 10]
choice = online["tok/s/GPU"].idxmax()
Markdown(
    "**Answer.** It depends on the load. By throughput per GPU the best number of prefill workers "
    "is " + ", ".join(f"{best[number]} at {number:,} clients" for number in clients) + ". With "
    f"{most:,} clients, going from two workers to three changes throughput per GPU by {more:+.1%} "
    f"and speed per user by {slower:+.1%}: prefill stops being the limit, and the decode worker "
    "gets more users at a time. "
    f"If the median user must see a first token within 10 s, the best of these is {choice[1]} "
    f"workers with {choice[0]:,} clients, at {online.loc[choice, 'tok/s/GPU']:,.0f} tok/s/GPU; "
    f"the {rate.max():,.0f} at the top of the table are bought with a queue of "
    f"{table.loc[rate.idxmax(), 'median TTFT [s]']:.0f} s."
)

# %% [markdown]
# ## How wrong could this be?
#
# The measured points, and the trade between the two with 4,096 clients. Runs of more than 512
# clients were not fitted; those of fewer clients on the same deployments were.

# %%
off = (table.loc[measured.index] / measured).rename_axis(columns="simulated over measured")
off.round(2)

# %%
truth_more, truth_slower = (
    measured.loc[(most, 3), name] / measured.loc[(most, 2), name] - 1
    for name in ("tok/s/GPU", "tok/s/user")
)
low = off["tok/s/GPU"]
Markdown(
    f"Measured, the third worker brought {truth_more:+.1%} throughput per GPU at {truth_slower:+.1%} "
    f"speed; simulated, {more:+.1%} at {slower:+.1%}. The direction of the trade is "
    f"{'right' if more > 0 > slower else 'wrong'}. The level "
    f"is {low.min():.2f} to {low.max():.2f} of the measured one, "
    + (
        "lowest where prefill is the limit: prefill workers are taken for slower than they are, so "
        "that the simulation asks for too many of them rather than too few. "
        if low.idxmin()[1] == 1
        else "and no one limit explains where it is lowest. "
    )
    + "The server settings of that date are not recorded; later ones stand in."
)
