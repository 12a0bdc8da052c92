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
# # Which chip for coding agents?
#
# **Question.** Recorded coding agents replayed as InferenceX AgentX does: which chip carries most of
# them, what is host memory worth, and when does the link to it matter?
#
# DeepSeek-V4-Pro on eight chips as TP8 under SGLang, three draft tokens with the benchmark's forced
# acceptance of 2.49. To run within a minute the windows are those of AgentX's fast mode, 20 minutes
# with one warm-up request a session, which read about 6 % below an hour; VR200 has not been measured.

# %%
import pandas as pd
from IPython.display import Markdown

import simulator as sim
from simulator.output.figure import ResultFigure
from simulator.output.style import dress

chips = ["b200", "b300", "gb300", "mi355x", "vr200"]
few, many = 24, 96
node = {
    "tp": 8, "ep": 1, "dp_attention": False, "spec": "mtp:3", "acceptance_length": 2.49,
    "protocol": "agentx-fast",
}
rows = []
for chip in chips:
    for sessions, memory in [(few, "cpu"), (many, "cpu"), (many, "none")]:
        point = sim.agentx(
            f"{chip}:sglang", concurrency=sessions, kv_offload=memory, **node
        ).points[0]
        m = point.metrics
        rows.append(
            {
                "chip": chip,
                "sessions": sessions,
                "host memory": "with" if memory == "cpu" else "without",
                "tok/s/GPU": m.total_tokens_per_s_per_gpu,
                "P90 tok/s/user": m.interactivity_p90,
                "TTFT P50 [s]": m.ttft_p50_s,
                "hit rate": m.hit_total,
                "Mtok/s per MW": point.tokens_per_s_per_utility_mw / 1e6,
                "$ per M tokens": point.usd_per_million_tokens,
                "pool fills at": point.capacity.sessions_device,
                "with host at": point.capacity.sessions_host,
                "kind": point.kind,
            }
        )
table = pd.DataFrame(rows).set_index(["chip", "sessions", "host memory"])
table.round({"tok/s/GPU": 0, "pool fills at": 0, "with host at": 0}).round(3)

# %%
figure = ResultFigure(width=9, height=4.6)
axes = figure.add_axes((0.1, 0.15, 0.86, 0.62))
dress(
    figure, axes,
    caption="deepseek-v4-pro FP4 on 8 chips, TP8, SGLang, mtp:3 at 2.49 tokens a step, generated "
    "sessions, 20-minute windows; simulated",
    title="What coding agents get from eight chips",
    x_label="", y_label="total tok/s/GPU, cached tokens included",
)
labels = [(few, "with"), (many, "with"), (many, "without")]
for place, (sessions, memory) in enumerate(labels):
    bars = [table.loc[(chip, sessions, memory), "tok/s/GPU"] for chip in chips]
    axes.bar(
        [n + 0.26 * (place - 1) for n in range(len(chips))], bars, width=0.24,
        color=("#0072b2", "#009e73", "#d55e00")[place],
        label=f"{sessions} sessions, {memory} host memory",
    )
axes.set_xticks(range(len(chips)), [chip.upper() for chip in chips])
axes.legend(frameon=False, fontsize=8.5)
figure

# %%
links = {16e9: None, 63e9: None, 256e9: None}
for speed in links:
    links[speed] = sim.agentx(
        "b200:sglang", concurrency=many, kv_offload="cpu",
        overrides={"host_link_bytes_per_s": speed}, **node,
    ).points[0].metrics
link = pd.DataFrame(
    {
        f"{speed / 1e9:.0f} GB/s": {
            "tok/s/GPU": m.total_tokens_per_s_per_gpu, "TTFT P50 [s]": m.ttft_p50_s,
            "from host": m.hit_host,
        }
        for speed, m in links.items()
    }
).T
link.rename_axis("host link a chip").round(3)

# %%
busy = table.xs(many, level="sessions")
worth = (
    busy.xs("with", level="host memory")["tok/s/GPU"]
    / busy.xs("without", level="host memory")["tok/s/GPU"]
)
calm = table.loc[(slice(None), few, "with"), :].droplevel([1, 2])
best = busy.xs("with", level="host memory")["tok/s/GPU"].drop("vr200").idxmax()
spread = link["tok/s/GPU"]
Markdown(
    f"**Answer.** With {few} sessions on eight chips the sessions and not the chips set the pace: "
    f"{calm['tok/s/GPU'].min():,.0f} to {calm['tok/s/GPU'].max():,.0f} tok/s/GPU, and what differs is "
    f"the speed of the slow tail, {calm['P90 tok/s/user'].min():.0f} to "
    f"{calm['P90 tok/s/user'].max():.0f} tok/s. The KV pool of eight chips is full at "
    f"{calm['pool fills at'].min():.0f} (least memory) to {calm['pool fills at'].max():.0f} sessions. "
    f"With {many} sessions and host memory {best.upper()} gives most of the measured chips. Without "
    f"host memory prompts are computed again: it is worth a factor of {worth.min():.1f} "
    f"({worth.idxmin().upper()}) to {worth.max():.1f} ({worth.idxmax().upper()}). The link matters "
    f"less than the size: from 16 to 256 GB/s B200's throughput changes by "
    f"{spread.iloc[-1] / spread.iloc[0] - 1:+.0%}, since its host pool is too small by then."
)

# %% [markdown]
# ## How wrong could this be?
#
# One public run has this very form: MI355X as TP8 under SGLang with 48 sessions for an hour
# (sglang/ROCm AgentX repro report). The page docs/background/agentx.md has all public runs.

# %%
published = {"tok/s/GPU": 19_172, "P90 tok/s/user": 25.6, "TTFT P50 [s]": 0.70, "hit rate": 0.968}
m = sim.agentx("mi355x:sglang", concurrency=48, **node).points[0].metrics
simulated = {
    "tok/s/GPU": m.total_tokens_per_s_per_gpu, "P90 tok/s/user": m.interactivity_p90,
    "TTFT P50 [s]": m.ttft_p50_s, "hit rate": m.hit_total,
}
pd.DataFrame({"published, an hour": published, "simulated, 20 minutes": simulated}).round(3)

# %%
kinds = ", ".join(f"{chip.upper()} {kind}" for chip, kind in calm["kind"].items())
Markdown(
    f"Kinds of prediction: {kinds}. The sessions are generated to published statistics; how length, "
    "context and pauses of one session hang together is not published, so that few sessions depend "
    "on single traces. The session at which a pool overflows follows from 300,000 tokens a session, "
    "an estimate; measured cliffs lie within one step of 48, 64, 96 and 128 sessions of the "
    "simulated ones. Hit rates from host memory rest on the recipes' host pools (2.75 times the "
    "device's on B200, 3 times on the others, 356 GB a chip at most and 228 on Grace), and on "
    "links of 54 to 103 GB/s over PCIe and 191 over NVLink-C2C."
)
