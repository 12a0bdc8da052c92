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
# # First light: data sheets and kernel tables against measured DeepSeek-V4-Pro
#
# What does the simulator say of MI355X and B200 when nothing in it was fitted to a serving run?
# Every number it uses here is a data-sheet figure, a kernel benchmark or an estimate that says
# so: peak rates, bandwidths, launch counts, kernel floors, scheduler settings of the recorded
# servers. Set beside it: every measured aggregated run of fixed lengths on the two chips that
# does not contradict itself.

# %%
import matplotlib.pyplot as plt
import numpy as np

from calibration.validation.comparison import compare_runs, error_table, first_light_runs

runs = first_light_runs()
runs.groupby(["sku", "engine", "source"]).size().rename("runs").to_frame()

# %%
compared = compare_runs(runs, specification=True, workers=2)
compared["batch"] = np.select(
    [compared["concurrency"] <= 8, compared["concurrency"] <= 64],
    ["1-8", "9-64"],
    default="65+",
)

# %% [markdown]
# ## The error, by chip, engine and batch
#
# Relative errors: 0.25 is 25 %. A positive bias of throughput, or a negative one of TPOT, is a
# prediction that is too fast.

# %%
error_table(compared, by=["sku", "engine"]).round(2)

# %%
error_table(compared, by=["sku", "batch"]).round(2)

# %% [markdown]
# ## Predicted against measured

# %%
figure, axes = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
style = {"b200": ("o", "#0b7a3b"), "mi355x": ("^", "#c23b22")}
for axis, measured, predicted, name in (
    (axes[0], "total_tput_per_gpu", "predicted_tput_per_gpu", "tok/s/GPU"),
    (axes[1], "median_tpot_s", "predicted_tpot_s", "median TPOT [s]"),
):
    for sku, (marker, colour) in style.items():
        part = compared[compared["sku"] == sku]
        axis.scatter(
            part[measured], part[predicted], marker=marker, facecolors="none",
            edgecolors=colour, label=sku,
        )
    low, high = np.nanmin(compared[measured]), np.nanmax(compared[measured])
    axis.plot([low, high], [low, high], color="black", linewidth=0.8)
    axis.fill_between(
        [low, high], [0.8 * low, 0.8 * high], [1.25 * low, 1.25 * high], color="grey", alpha=0.2
    )
    axis.set(xscale="log", yscale="log", xlabel=f"measured {name}", ylabel=f"simulated {name}")
    axis.legend()
_ = figure.suptitle("DeepSeek-V4-Pro, nothing fitted; grey: within 25 %")

# %% [markdown]
# ## How wrong could this be?
#
# As wrong as above, and the first releases of an engine far more: nothing here knows that the
# kernels of MI355X on its first day were fallbacks. What a specification knows is the shape of
# the curve (which limit binds where) and the order of magnitude at its ends. The level of the
# curve belongs to the software, so the calibrated levels of the product carry a date.

# %%
worst = compared.assign(factor=np.exp(np.abs(np.log(compared["throughput_ratio"]))))
columns = ["sku", "engine", "layout", "concurrency", "date", "total_tput_per_gpu",
           "predicted_tput_per_gpu", "factor"]
worst.nlargest(10, "factor")[columns].round(1)
