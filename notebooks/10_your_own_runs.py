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
# # Calibrate to your own runs
#
# **Question.** Your chip, engine or build is not among the measured runs, or behaves otherwise than
# they say. How many runs of your own does it take until predictions can be used?
#
# From the command line this is
# `simulate calibrate fit my_runs/ --fact sku=h200 --out my_fit`, and `--calibration my_fit`
# on every other command. It fits the published runs and yours together and takes minutes. Here the
# same is done in seconds, on a handful of published runs. Runs of vLLM on H200 play *yours*: the fit
# sees none of them but those that are added.

# %%
import os
import tempfile
from pathlib import Path

import pandas as pd
from IPython.display import Markdown

import simulator as sim
from calibration.validation.comparison import compare_runs
from calibration.fit.pipeline import FittedRuns, timed_fit, write_calibration
from calibration.importers.runs import import_runs
from calibration.measured.runs import load_measured
from calibration.measured.selection import select_for_fit

published = load_measured(models=["deepseek-v4-pro"], quality="ok")
is_yours = (published["sku"] == "h200") & (published["engine"] == "vllm")
yours = published[is_yours & (published["speculation"] == "none") & (published["concurrency"] <= 128)]
related = published[
    ~published["sku"].eq("h200")
    & published["engine"].isin(["vllm", "sglang"])
    & published["concurrency"].isin([1, 4, 16])
    & (published["isl"] == 1024) & (published["speculation"] == "none")
    & ~published["disaggregated"].astype(bool)
]
related.groupby(["engine", "sku"]).size().rename("runs that the fit always has").to_frame()

# %% [markdown]
# ## Fits with none, one and three of your runs
#
# A table of results becomes runs with `import_runs`, which also reads the result files of vLLM,
# SGLang, AIPerf and InferenceX. What the results do not say is given as facts, above all the date.

# %%
os.chdir(tempfile.mkdtemp())
chosen = yours[(yours["layout"] == "TP8") & (yours["isl"] == 1024)].set_index("concurrency")
columns = [
    "model", "sku", "engine", "precision", "speculation", "decode_tp", "decode_ep",
    "decode_dp_attention", "decode_gpus", "gpus", "isl", "osl", "concurrency",
    "total_tput_per_gpu", "median_tpot_s",
]


def fitted_with(clients, name):
    """Directory of a fit to related models and to your runs of these numbers of clients."""
    own = None
    if clients:
        table = chosen.loc[list(clients)].reset_index()
        table[columns].to_csv("my_runs.csv", index=False)
        own = import_runs(Path("my_runs.csv"), date="2026-09-01").frame
    selection = select_for_fit(related, own=own)
    fit, seconds = timed_fit(selection, workers=1)
    runs = FittedRuns(
        fit=fit, selection=selection, models=["deepseek-v4-pro"], bands={}, seconds=seconds
    )
    directory = Path(name)
    write_calibration(runs, directory=directory)
    return directory


fits = {
    "none": fitted_with((), "fit_without"),
    "one (8 clients)": fitted_with((8,), "fit_one"),
    "three (1, 8, 64 clients)": fitted_with((1, 8, 64), "fit_three"),
}

# %% [markdown]
# ## Your other runs, predicted
#
# Judged on runs that no fit has seen: other numbers of clients on the same layout, another layout
# (DEP8: experts and attention spread otherwise), and longer prompts.

# %%
judged = yours[~yours["run_id"].isin(chosen.loc[[1, 8, 64], "run_id"])]
compared = pd.concat(
    {
        name: compare_runs(judged, calibration=directory, workers=1)
        for name, directory in fits.items()
    },
    names=["own runs in the fit"],
).reset_index(level=0)
compared["error"] = (compared["throughput_ratio"] - 1).abs()
compared["group"] = compared["layout"] + ", " + compared["isl"].map("{:.0f}".format) + "/1024"
errors = compared.pivot_table(
    index="own runs in the fit", columns="group", values="error", aggfunc="median", sort=False
)
errors.map("{:.0%}".format).rename_axis(columns="median error of throughput")

# %%
beside = {"none": "no own run in the fit", "three (1, 8, 64 clients)": "three own runs in the fit"}
curves = sim.compare(
    *({"name": name, "calibration": fits[key]} for key, name in beside.items()),
    sku="h200", engine="vllm", tp=8, ep=1, dp_attention=False, isl=1024, osl=1024,
    concurrency=[1, 2, 4, 8, 16, 32, 64, 128],
)
mine = chosen.reset_index().assign(series="measured")
curves.plot(measured=mine)

# %%
before, one, after = (errors.loc[name] for name in fits)
same, other = "TP8, 1024/1024", "DEP8, 1024/1024"
Markdown(
    f"**Answer.** With none of your runs the median error is {before.min():.0%} to {before.max():.0%}. "
    f"One run brings it to {one.min():.0%} to {one.max():.0%}, three runs to {after.min():.0%} to "
    f"{after.max():.0%}. A few runs of one layout at few, some and many clients are enough for "
    f"that layout ({after[same]:.0%}); what they say of another layout is "
    f"{'as good' if after[other] < 1.5 * after[same] else 'less good'} ({after[other]:.0%}), so measure "
    "a run or two of each layout that you mean to compare."
)

# %% [markdown]
# ## How wrong could this be?

# %%
final = compared[compared["own runs in the fit"] == list(fits)[-1]]
worst = final.nlargest(5, "error")
worst[["layout", "isl", "concurrency", "total_tput_per_gpu", "predicted_tput_per_gpu", "error"]].round(2)

# %%
first = worst.iloc[0]
Markdown(
    f"Nine of ten of the {len(final)} runs that were kept back are within "
    f"{final['error'].quantile(0.9):.0%} after three runs; the worst, {first['layout']} at "
    f"{first['isl']:.0f}/1024 with {first['concurrency']:.0f} clients, is off by {first['error']:.0%}. "
    "Your runs may behave worse than these: they are medians of one source, all of one machine type, "
    "and a median of throughput and one of TPOT may come from two versions of an engine. A run "
    "of MTP, of a disaggregated deployment or of another model says more about those than runs "
    "without. This small fit writes no bands, since too few runs can be left out of it; "
    "`simulate calibrate fit` writes them with every fit."
)
