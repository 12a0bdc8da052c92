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
# # A 10 MW hall under bursty load
#
# **Question.** A hall gives 10 MW at the meter. How many users of DeepSeek-V4-Pro does it carry on
# B300, if the median user must get 20 tok/s and nine of ten first tokens must come within 5 s? And
# what do bursts cost?
#
# `sim.plan` judges deployments in open-loop load tests, so that queues count, and replicates the
# best one until the power is used up. Arrivals are Poisson first. Then all users swing together:
# the rate goes up to 1.5 times its mean and back every 15 minutes.

# %%
import pandas as pd
from IPython.display import Markdown

import simulator as sim
from simulator.output.figure import ResultFigure
from simulator.output.style import dress

slos = {"interactivity": 20, "ttft_p90": 5}
ask = {"sku": "b300", "engine": "dynamo-vllm", "mw": 10, "layouts": 1, "replications": 3, **slos}
swing = {"peak": 1.5, "period": 900.0}
halls = {"Poisson": sim.plan(**ask), "swing": sim.plan(**ask, **swing)}
plans = pd.concat({name: hall.frame() for name, hall in halls.items()}).droplevel(1)
shown = ["layout", "gpus", "replicas", "rate_per_s", "users", "usd_per_month",
         "usd_per_million_tokens", "p90_ttft_s", "limit"]
plans[shown].T

# %%
figure = ResultFigure(width=9, height=4.6)
axes = figure.add_axes((0.09, 0.13, 0.885, 0.62))
dress(
    figure, axes,
    caption=halls["Poisson"].caption.replace("Poisson arrivals", "Poisson or swinging arrivals")
    + f"; {plans.loc['Poisson', 'layout']}, disaggregated, {plans.loc['Poisson', 'level']}",
    title="p90 TTFT against the load of the hall",
    x_label="requests/s of the hall, mean", y_label="p90 TTFT (s)",
)
for (name, hall), colour, shape in zip(halls.items(), ("#0072b2", "#d55e00"), "os", strict=True):
    tests = hall.load_tests().sort_values("replica_rate_per_s")
    rates = tests["replica_rate_per_s"] * plans.loc[name, "replicas"]
    axes.plot(rates, tests["p90_ttft_s"], color=colour, linestyle="--", marker=shape,
              markerfacecolor="white", label=f"{name} arrivals, load tests")
    axes.plot(plans.loc[name, "rate_per_s"], plans.loc[name, "p90_ttft_s"], color=colour,
              marker=shape, markersize=9, linestyle="none", label=f"{name}: the plan")
axes.axhline(slos["ttft_p90"], color="#69727f", linewidth=1, linestyle=":")
axes.set_ylim(0, 4 * slos["ttft_p90"])
axes.set_yticks(range(0, 21, 5))
axes.legend(frameon=False, fontsize=8.5, loc="upper left")
figure

# %% [markdown]
# ## What a burst does to a replica
#
# Requests that come in bunches of a few scatter over hundreds of replicas: one of them sees all but
# Poisson arrivals. A swing that all users share does not scatter. One replica of the fleet, at the
# rate that the first plan gives it:

# %%
best = halls["Poisson"].best[0]
rate = best.capacity.rate_per_s
loads = {
    "Poisson": {},
    "bunches, all at one replica": {"burstiness": 0.25},
    "swing around that rate": swing,
}
runs = {
    name: sim.run_load(
        sku=best.sku, engine=best.engine, deployment=best.label, rate=rate,
        ttft_slo=slos["ttft_p90"], tpot_slo=1 / slos["interactivity"], **load,
    )
    for name, load in loads.items()
}
bursts = pd.DataFrame(
    {
        "p50 TTFT [s]": {name: run.metrics.ttft.median_s for name, run in runs.items()},
        "p90 TTFT [s]": {name: run.metrics.ttft.p90_s for name, run in runs.items()},
        "p99 TTFT [s]": {name: run.metrics.ttft.p99_s for name, run in runs.items()},
        "tok/s/user": {name: run.metrics.interactivity for name, run in runs.items()},
        "in time": {name: run.goodput.joint_share for name, run in runs.items()},
    }
)
bursts.round(2)

# %%
runs["swing around that rate"].plot()

# %%
calm, wave = plans.loc["Poisson"], plans.loc["swing"]
hurt = bursts.loc["swing around that rate"]
Markdown(
    f"**Answer.** The hall holds {calm['gpus']:,} B300 in {calm['replicas']:.0f} replicas of "
    f"{calm['layout']}. Under Poisson arrivals it carries {calm['users']:,.0f} users at a time "
    f"({calm['rate_per_s']:,.0f} requests/s) for ${calm['usd_per_month'] / 1e6:.1f} M a month, and "
    f"{calm['limit']} breaks first when the load grows. If all users swing by half around the mean, "
    f"{wave['users']:,.0f} on average are what it carries: the swing costs "
    f"{1 - wave['users'] / calm['users']:.0%} of the hall. Filled to the first number it would not "
    f"show in speed ({hurt['tok/s/user']:.0f} tok/s/user), but nine of ten first tokens would "
    f"take up to {hurt['p90 TTFT [s]']:.0f} s and {hurt['in time']:.0%} of the requests be in time."
)

# %% [markdown]
# ## How wrong could this be?

# %%
band = plans.assign(
    low=plans["users"] * plans["band_low"], high=plans["users"] * plans["band_high"]
)[["kind", "users", "low", "high"]]
band.round(0)

# %%
from calibration.validation.comparison import compare_runs
from calibration.measured.runs import load_measured

measured = load_measured(
    models=["deepseek-v4-pro"], skus=["b300", "b200"], engines=["dynamo-vllm"],
    speculation=["none"], quality="ok",
).query("isl == 8192 and concurrency >= 32 and layout != ''")
known = compare_runs(measured[measured["decode_gpus"].notna()], workers=1)
known = known.assign(simulated_over_measured=known["throughput_ratio"])
known[["sku", "layout", "concurrency", "simulated_over_measured"]].round(2)

# %%
ratio = known["simulated_over_measured"]
ours = known[(known["sku"] == "b300") & (known["layout"] == calm["layout"])]
low = band.loc["Poisson", "low"]
Markdown(
    "The band of the first plan ends at "
    f"{band.loc['Poisson', 'high']:,.0f} users; at its low end "
    + (f"it has {low:,.0f}" if low > 0 else "the speed is not reachable at all")
    + ". It is this wide because a deployment that is slower "
    "than predicted keeps its speed only with fewer users: where the SLO is near what a lone "
    "user gets, an error of a third in speed costs most of the capacity. "
    + (
        f"{len(ours)} measured runs are of this deployment on B300. "
        if len(ours)
        else "No run of this deployment on B300 has been published. "
    )
    + f"On the runs above, its nearest relatives, simulated throughput is {ratio.min():.2f} to "
    f"{ratio.max():.2f} times the measured one. `layouts=1` and three replications were chosen for "
    "speed: the closed loops that choose the deployment to test are an estimate, and a plan to buy by "
    "should test more of them (the default is three, with five replications). Failing nodes and "
    "redundancy (`spare=True`) are left out."
)
