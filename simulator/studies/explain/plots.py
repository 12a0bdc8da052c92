"""Where a step's time goes, stacked: against batch and against context, one row per SKU."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulator.output.style import FAINT_INK, GRID, INK
from simulator.studies.explain.run import HOST, explain_scenario
from simulator.version import version
from workloads.errors import UserError
from workloads.ops import Component

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from simulator.scenario.settings import Scenario
    from simulator.studies.explain.run import Explanation

FLOOR = "kernel floors and latencies"
REST = "head and other"
# Okabe and Ito's palette, told apart under all forms of colour blindness; bottom to top.
COLOURS = {
    FLOOR: "#c9ced6",
    HOST: "#59616d",
    Component.EXPERTS.value: "#e69f00",
    Component.DENSE.value: "#0072b2",
    Component.ATTENTION.value: "#009e73",
    Component.INDEXER.value: "#cc79a7",
    Component.COMMUNICATION.value: "#d55e00",
    Component.MHC.value: "#56b4e9",
    Component.DRAFT.value: "#f0e442",
    REST: "#8c6d46",
}
LARGEST_CONCURRENCY = 1024
LEAST_CONTEXT = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Steps of one worker over batches at one context, and over contexts at one batch.

    Parameters
    ----------
    explanation:
        The step that both sweeps go through.
    by_batch, by_context:
        Steps in order of concurrency, and of context.
    """

    explanation: Explanation
    by_batch: tuple[Explanation, ...]
    by_context: tuple[Explanation, ...]


def sweep_steps(scenario: Scenario, explanation: Explanation) -> Sweep:
    """Decode steps around one: on its layout, over doublings of batch and of context.

    Raises
    ------
    UserError
        If the step is not a decode step.
    """
    if explanation.phase != "decode":
        raise UserError(
            f"phase is {explanation.phase}; the picture shows decode steps, leave --phase out"
        )
    configuration = explanation.configuration
    layout = configuration.pools[-1].layout
    pinned = scenario.model_copy(
        update={"tp": layout.tp, "ep": layout.ep, "dp_attention": layout.dp_attention}
    )
    context = round(explanation.batch.decode_context)
    longest = explanation.assembly.architecture.max_position_embeddings

    def step(concurrency: int, tokens: int) -> Explanation:
        return explain_scenario(
            pinned, concurrency=concurrency, context=tokens, sensitivities=False
        )

    return Sweep(
        explanation=explanation,
        by_batch=tuple(step(n, context) for n in _doublings(1, LARGEST_CONCURRENCY)),
        by_context=tuple(
            step(configuration.concurrency, n) for n in _doublings(LEAST_CONTEXT, longest)
        ),
    )


def stack(explanation: Explanation) -> dict[str, float]:
    """The step by the parts that the picture stacks, bottom to top; they sum to it. [s]"""
    parts = dict.fromkeys(COLOURS, 0.0)
    for part in explanation.components:
        name = part.component if part.component in COLOURS else REST
        parts[FLOOR] += part.floor_s
        parts[name] += part.seconds - part.floor_s
    return parts


def step_time_figure(sweeps: Sequence[Sweep]) -> Figure:
    """Stacked step times, a row for each sweep; steps that do not fit the memory are left out."""
    from simulator.output.figure import ResultFigure

    rows = len(sweeps)
    height = 1.93 + 2.15 * rows
    figure = ResultFigure(width=11.5, height=height)
    axes = figure.subplots(
        rows,
        2,
        squeeze=False,
        sharey="col",
        sharex="col",
        gridspec_kw={
            "left": 0.06,
            "right": 0.985,
            "top": 1 - 1.28 / height,
            "bottom": 0.62 / height,
            "hspace": 0.34,
            "wspace": 0.1,
        },
    )
    _draw_header(figure, sweeps, height=height)
    for row, sweep in zip(axes, sweeps, strict=True):
        _draw_stacks(row[0], sweep.by_batch, [str(_concurrency(e)) for e in sweep.by_batch])
        _draw_stacks(
            row[1], sweep.by_context, [_tokens(e.batch.decode_context) for e in sweep.by_context]
        )
        row[0].set_title(_row_title(sweep), loc="left", fontsize=9.5, color=INK, pad=5)
        row[0].set_ylabel("ms per step", fontsize=9, color=INK)
    axes[-1][0].set_xlabel("requests of the worker", fontsize=9.5, color=INK)
    axes[-1][1].set_xlabel("context of each request (tokens)", fontsize=9.5, color=INK)
    return figure


def _draw_header(figure: Figure, sweeps: Sequence[Sweep], *, height: float) -> None:
    from matplotlib.patches import Patch

    one = sweeps[0].explanation
    figure.text(
        0.06,
        1 - 0.26 / height,
        "Where the time of a decode step goes",
        fontsize=14,
        fontweight="bold",
        color=INK,
        va="center",
    )
    drafts = one.batch.queries_per_request - 1
    caption = (
        f"{one.configuration.model} {one.configuration.precision.upper()}, "
        f"{f'{drafts} drafts verified' if drafts else 'no speculation'}. "
        f"Left: context {one.batch.decode_context:,.0f} tokens; right: "
        f"{_concurrency(one)} requests. "
        "No room: beyond KV memory or the engine's cap."
    )
    figure.text(
        0.06,
        1 - 0.45 / height,
        "\n".join(textwrap.wrap(caption, 165)),
        fontsize=8.5,
        color=FAINT_INK,
        va="top",
    )
    shown = {
        name
        for sweep in sweeps
        for step in (*sweep.by_batch, *sweep.by_context)
        for name, seconds in stack(step).items()
        if seconds > 0.0
    }
    figure.legend(
        handles=[Patch(color=COLOURS[name], label=name) for name in COLOURS if name in shown],
        loc="upper left",
        bbox_to_anchor=(0.053, 1 - 0.66 / height),
        ncols=9,
        frameon=False,
        fontsize=8.5,
        labelcolor=INK,
        handlelength=1.0,
        handleheight=1.0,
        columnspacing=1.2,
        handletextpad=0.4,
    )
    figure.text(
        0.985,
        0.1 / height,
        f"simulated, forecurve {version()}",
        fontsize=8,
        color=FAINT_INK,
        ha="right",
    )


def _draw_stacks(axes: Axes, steps: Sequence[Explanation], labels: Sequence[str]) -> None:
    """One stacked bar per step that fits, its total above it."""
    places = np.arange(len(steps))
    fits = np.array([one.requests_that_fit >= _concurrency(one) for one in steps])
    stacks = [stack(one) for one in steps]
    base = np.zeros(len(steps))
    for name, colour in COLOURS.items():
        height_ms = fits * np.array([1e3 * parts[name] for parts in stacks])
        axes.bar(
            places,
            height_ms,
            bottom=base,
            width=0.82,
            color=colour,
            edgecolor="white",
            linewidth=0.15,
        )
        base += height_ms
    for place, total_ms, fit in zip(places, base, fits, strict=True):
        axes.annotate(
            f"{total_ms:.1f}" if fit else "no room",
            (float(place), float(total_ms)),
            xytext=(0, 2 if fit else 5),
            textcoords="offset points",
            ha="center",
            rotation=0 if fit else 90,
            fontsize=7.5,
            color=INK if fit else FAINT_INK,
        )
    axes.set_xticks(places, labels)
    axes.tick_params(colors=FAINT_INK, labelsize=8.5, length=2, labelbottom=True)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(x=0.02, y=0.13)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#aab2bd")


def _row_title(sweep: Sweep) -> str:
    one = sweep.explanation
    layout, software = one.configuration.pools[-1].layout, one.assembly.software
    return (
        f"{layout.gpus} x {one.assembly.sku.name}, {layout.label}, {software.name}, {software.kind}"
    )


def _concurrency(explanation: Explanation) -> int:
    return explanation.configuration.concurrency


def _doublings(least: int, most: int) -> list[int]:
    return [least << power for power in range((most // least).bit_length())]


def _tokens(count: float) -> str:
    if count >= 1 << 20:
        return f"{count / (1 << 20):.0f}M"
    return f"{count / 1024:.0f}k"
