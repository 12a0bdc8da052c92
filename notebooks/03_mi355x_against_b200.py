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
# # MI355X against B200: silicon or software?
#
# **Question.** In May 2026 one node of MI355X served DeepSeek-V4-Pro well below one of B200, both
# under SGLang, although the data sheet puts the two side by side. How much of the gap is silicon?
#
# The same simulation is run on two kinds of software level: `@specification` knows data sheets and
# benchmarks of single kernels only, and a dated level knows what the engine reached in measured
# runs of that day.

# %%
import numpy as np
import pandas as pd
from IPython.display import Markdown

import simulator as sim
from calibration.validation.comparison import compare_runs
from calibration.measured.runs import load_measured
from simulator.analysis.pareto import Frontier

node = {"gpus": 8, "concurrency": [1, 4, 16, 64, 256]}
speeds = (15, 20, 30, 35, 45, 55)
sheet = sim.catalog("skus").set_index("sku")
figures = {
    "HBM capacity": "hbm_usable_bytes",
    "HBM bandwidth": "hbm_bytes_per_s",
    "FP4 rate": "flops_fp4",
    "FP8 rate": "flops_fp8",
    "scale-up bandwidth": "scaleup_bytes_per_s",
}
{name: f"{sheet.loc['mi355x', key] / sheet.loc['b200', key]:.2f}x" for name, key in figures.items()}

# %% [markdown]
# MI355X over B200 on the data sheet, above. What that is worth, and what software made of it:

# %%
silicon = sim.compare("b200:sglang@specification", "mi355x:sglang@specification", at=speeds, **node)
dated = sim.compare("b200:sglang@2026-05-22", "mi355x:sglang@2026-05-21", at=speeds, **node)


def of_mi355x(result):
    rows = result.frame().set_index("interactivity")
    return rows[rows["system"].str.startswith("mi355x")]


ratios = {
    "data sheets and kernels": of_mi355x(silicon)["ratio"],
    "software of May 2026": of_mi355x(dated)["ratio"],
}
pd.DataFrame(ratios).T.rename_axis(columns="MI355X over B200 at tok/s/user").round(2)

# %%
runs = load_measured(
    models=["deepseek-v4-pro"], skus=["b200", "mi355x"], engines=["sglang"],
    speculation=["none"], since="2026-05-17", until="2026-05-21", quality="ok",
).query("isl == 8192")
names = {"b200": "b200:sglang@2026-05-22", "mi355x": "mi355x:sglang@2026-05-21"}
beside = runs.dropna(subset="median_tpot_s").assign(series=lambda rows: rows["sku"].map(names))
dated.plot(measured=beside)

# %% [markdown]
# The same MI355X over the dates of its software:

# %%
line = sim.timeline(
    sku="mi355x", engine="sglang", tp=8, ep=1, at=(20,), clients=(8, 64), concurrency=[1, 8, 64, 256]
)
line.plot()

# %%
b200_20 = dated.frame().query("interactivity == 20")["total_tput_per_gpu"].iloc[0]
at_20 = line.frame().query("basis == 'interactivity'").dropna(subset="total_tput_per_gpu")
first, last = at_20.iloc[0], of_mi355x(dated).loc[20]
silicon_20, first_20, last_20 = (
    of_mi355x(silicon).loc[20, "ratio"], first["total_tput_per_gpu"] / b200_20, last["ratio"],
)


def software_share(ratio):
    """Share of a gap that the specification does not have, in logarithms."""
    return np.log(ratio / silicon_20) / np.log(ratio)


steps = line.frame().query("basis == 'clients' and value == 8")["total_tput_per_gpu"]
left = (
    f"{software_share(last_20):.0%} of what was left on the 21st is too"
    if software_share(last_20) > 0.1
    else "what was left on the 21st is no more than data sheets and kernels explain"
)
Markdown(
    f"**Answer.** At 20 tok/s/user data sheets and kernels give MI355X {silicon_20:.2f} times the "
    f"throughput of B200. Engine software made that {first_20:.2f} times on {first['date']} and "
    f"{last_20:.2f} times on 2026-05-21. {software_share(first_20):.0%} of the earlier gap is "
    f"software (in logarithms); {left}. With eight clients the same chips went from "
    f"{steps.iloc[0]:.0f} to {steps.iloc[-1]:.0f} tok/s/GPU by software alone."
)

# %% [markdown]
# ## How wrong could this be?
#
# Measured runs of the two levels, 8k/1k without speculation, and their predictions, read at equal
# speed per user where both measured curves reach. The fit has seen these runs.

# %%
compared = compare_runs(runs, workers=1).dropna(subset="median_tpot_s")
both = (35, 45, 55)  # tok/s/user


def ratio_at(tput, tpot):
    curves = {
        sku: Frontier.of(1 / rows[tpot].to_numpy(), rows[tput].to_numpy())
        for sku, rows in compared.groupby("sku")
    }
    return [(curves["mi355x"].at(x) or np.nan) / (curves["b200"].at(x) or np.nan) for x in both]


known = pd.DataFrame(
    {
        "measured": ratio_at("total_tput_per_gpu", "median_tpot_s"),
        "simulated": ratio_at("predicted_tput_per_gpu", "predicted_tpot_s"),
    },
    index=pd.Index(both, name="tok/s/user"),
).rename_axis(columns="MI355X over B200")
known.round(2)

# %% [markdown]
# At the lower speeds of the article, by date of MI355X's software. B200's runs of more than 32
# clients state no TPOT; the output tokens that a user gets per second stand in, which are within
# 2 % of it where TTFT is about a second.

# %%
published = load_measured(
    models=["deepseek-v4-pro"], skus=["b200", "mi355x"], engines=["sglang"],
    speculation=["none"], quality="ok",
).query("isl == 8192 and osl == 1024 and decode_tp == 8 and precision == 'fp4'")
speed = (1 / published["median_tpot_s"]).fillna(
    published["total_tput_per_gpu"] * 8 / 9 / published["concurrency"]
)


def published_at(rows):
    """tok/s/GPU of published runs at the article's speeds."""
    curve = Frontier.of(speed[rows.index], rows["total_tput_per_gpu"])
    return np.array([curve.at(x) for x in low_speeds])


low_speeds, days = (15, 20, 25, 30), ("2026-05-17", "2026-05-21")
older = sim.compare(
    "b200:sglang@2026-05-22", *(f"mi355x:sglang@{day}" for day in days), at=low_speeds, **node
).frame()
of_b200 = published_at(published.query("sku == 'b200'"))
gaps = pd.DataFrame(
    {
        (day, kind): values
        for day in days
        for kind, values in (
            ("published", of_b200 / published_at(published.query(f"sku == 'mi355x' and date == '{day}'"))),
            ("simulated", 1 / older.query(f"system == 'mi355x:sglang@{day}'")["ratio"].to_numpy()),
        )
    },
    index=pd.Index(low_speeds, name="tok/s/user"),
).rename_axis(columns=["B200 over MI355X", ""])
gaps.round(1)

# %%
levels = compared.groupby("sku")["throughput_ratio"].median() - 1
off = (known["simulated"] / known["measured"]).dropna()
bands = of_mi355x(dated).loc[list(both)]
inside = known["measured"].between(bands["ratio_lo"], bands["ratio_hi"])
spec = of_mi355x(silicon).loc[20]
said = {key: f"{gap.min():.1f} to {gap.max():.1f}" for key, gap in gaps.items()}
Markdown(
    f"At {both[0]} to {both[-1]} tok/s/user the simulated ratio is {off.min():.1f} to {off.max():.1f} times the measured "
    f"one. The median error of throughput is {levels['mi355x']:+.0%} on MI355X and "
    f"{levels['b200']:+.0%} on B200; in the ratio the two combine, and where curves are steep "
    "an error of speed is a larger one of throughput. The 90 % band of the ratio holds the measured "
    f"one at {inside.sum()} of {len(inside)} of these speeds. At 20 tok/s/user it runs from "
    f"{last.ratio_lo:.2f} to {last.ratio_hi:.2f}; that of the specification, from "
    f"{spec.ratio_lo:.2f} to {spec.ratio_hi:.2f}, cannot rank the two chips.\n\n"
    "SemiAnalysis put B200 at about five times MI355X at 15 to 30 tok/s/user on 2026-05-22 "
    "(InferenceX-app, *mi355x-deepseek-v4-pro-sglang-110x-in-26-days*). Published runs say "
    f"{said['2026-05-17', 'published']} times with MI355X's software of 2026-05-17 (simulated "
    f"{said['2026-05-17', 'simulated']}) and {said['2026-05-21', 'published']} times with that of "
    f"2026-05-21 (simulated {said['2026-05-21', 'simulated']}): the factor of five is one of the "
    "earlier software."
)
