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
# # Wide EP on NVL72 against 8-GPU islands
#
# **Question.** GB200 NVL72 joins 72 GPUs by NVLink, B200 joins eight and leaves the rest to the
# network. DeepSeek-V4-Pro has 384 experts a layer; spread over more GPUs each holds fewer of them
# and reads fewer weights a step, but tokens must travel. Does wide expert parallelism pay, and is
# it the fabric that makes the difference between the two?
#
# Under Dynamo with vLLM, two prefill workers of eight GPUs feed one decode worker of 8 or 32 GPUs
# with experts spread over 8 or 32 of them. Lengths are 1k/1k, so that decode matters most. The
# third system does not exist: B200 with the scale-up domain of NVL72.

# %%
import pandas as pd
from IPython.display import Markdown

import simulator as sim
from calibration.validation.comparison import compare_runs
from calibration.measured.runs import load_measured

deployment = {
    "engine": "dynamo-vllm", "isl": 1024, "osl": 1024,
    "prefill": 2, "prefill_tp": 8, "prefill_ep": 8, "prefill_dp_attention": True,
    "decode": 1, "tp": [8, 32], "ep": [8, 32], "dp_attention": True,
    "concurrency": [128, 512, 1024, 2048],
}
sheet = sim.catalog("skus").set_index("sku")
faster = {"scaleup_world": int(sheet.loc["gb200", "scaleup_world"])}
curves = sim.compare(
    {"name": "B200", "sku": "b200", **deployment},
    {"name": "B200 with the fabric of NVL72", "sku": "b200", "overrides": faster, **deployment},
    {"name": "GB200 NVL72", "sku": "gb200", **deployment},
    at=(20, 25, 30, 33, 35, 37),
    ttft_p90_s=30.0,
)
ratios = curves.frame().pivot(index="system", columns="interactivity", values="ratio")
ratios.rename_axis(columns="throughput over B200 at tok/s/user").round(2)

# %%
curves.plot(log=True)

# %%
curves.plot_ratio()

# %% [markdown]
# ## What wide EP does to a step
#
# The same 512 users on 8 and on 32 decode GPUs.

# %%
runs = curves.runs().query("concurrency == 512")
wide = runs[runs["label"].str.endswith(("+1xDEP8", "+1xDEP32"))]
wide = wide.assign(decode=wide["label"].str.split("+").str[1])
speed = wide.pivot(index="series", columns="decode", values="interactivity")[["1xDEP8", "1xDEP32"]]
speed["EP32 over EP8"] = speed["1xDEP32"] / speed["1xDEP8"]
speed.rename_axis(columns="tok/s/user of 512 users").round(2)

# %%
gain, gb200 = speed["EP32 over EP8"], ratios.loc["GB200 NVL72"].dropna()
fabric = ratios.loc["B200 with the fabric of NVL72"]
x, x0 = gb200.idxmax(), gb200.index[0]
network = speed.loc["B200 with the fabric of NVL72", "1xDEP32"] / speed.loc["B200", "1xDEP32"] - 1
Markdown(
    f"**Answer.** Wide EP {'pays on either' if gain.min() > 1 else 'does not pay on both'}: the "
    f"same 512 users are {gain['B200']:.1f} times as fast "
    f"on 32 decode GPUs of B200 as on eight, and {gain['GB200 NVL72']:.1f} times on GB200. At {x0:g} "
    f"tok/s/user GB200 gives {gb200[x0]:.1f} times the throughput of B200; the ratio is largest, "
    f"{gb200[x]:.1f}, at {x:g} tok/s/user, where B200 runs out of speed. The fabric of NVL72 makes "
    f"the wide step of B200 {network:.0%} faster and gives it {fabric[x0]:.1f} times its throughput at "
    f"{x0:g} and {fabric[x]:.1f} times at {x:g} tok/s/user: near the end of a curve a little speed is "
    "much throughput."
)

# %% [markdown]
# ## How wrong could this be?
#
# Measured runs of GB200 under Dynamo whose decode worker has one EP rank for each of 8, 12 or 16
# GPUs. None is wider, so that EP32 is an extrapolation in any case. Runs of up to 512 clients were
# fitted, larger ones only predicted.

# %%
measured = load_measured(
    models=["deepseek-v4-pro"], skus=["gb200"], engines=["dynamo-vllm", "dynamo-sglang"],
    speculation=["none"], quality="ok",
)
measured = measured[
    measured["layout"].str.contains(r"DEP8\+1xDEP(?:8|16)$") & (measured["concurrency"] <= 1536)
]
compared = compare_runs(measured, workers=1)
compared["decode"] = compared["layout"].str.split("+").str[1]
compared["speed, simulated over measured"] = 1 / compared["tpot_ratio"]
compared["throughput, simulated over measured"] = compared["throughput_ratio"]
shown = ["engine", "layout", "isl", "concurrency", "speed, simulated over measured",
         "throughput, simulated over measured"]
compared[shown].sort_values(["engine", "layout"]).round(2)

# %%
err = compared.groupby(["engine", "decode"])["speed, simulated over measured"].median().unstack()
vllm = err.loc["dynamo-vllm"]
bands = curves.frame().set_index(["interactivity", "system"]).loc[(x0, "GB200 NVL72")]
Markdown(
    f"Under vLLM the speed of an EP8 decode worker is simulated at {vllm['1xDEP8']:.2f} times the "
    f"measured one, that of an EP16 worker at {vllm['1xDEP16']:.2f} times: "
    + (
        "the gain of wide EP is overstated by "
        f"{vllm['1xDEP16'] / vllm['1xDEP8'] - 1:.0%} where it can be checked. "
        if vllm["1xDEP16"] > vllm["1xDEP8"]
        else "the gain of wide EP is not overstated where it can be checked. "
    )
    + f"Under SGLang an EP16 worker is at {err.loc['dynamo-sglang', '1xDEP16']:.2f} times. Throughput "
    f"is {compared['throughput_ratio'].min():.2f} to {compared['throughput_ratio'].max():.2f} times the "
    "measured one; it is lowest where decode waits for prefill, which this comparison gives two "
    "workers for that reason. The 90 % band of GB200 over B200 at "
    f"{x0:g} tok/s/user runs from {bands.ratio_lo:.2f} to {bands.ratio_hi:.2f}; it takes the errors of the "
    "two as independent. DeepSeek R1 at 1k/1k with MTP under TensorRT-LLM was measured at 4.4 "
    "times in favour of GB200 at 125 tok/s/user (SemiAnalysis InferenceX, 2026-05-22), with the "
    f"fabric named as the cause: another model, engine and date, and the same shape as the "
    f"{gb200.max():.1f} here at its highest."
)
