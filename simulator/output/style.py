"""The look of every figure: colours, title, caption and axes, and how it is written.

Vendors keep their hues (NVIDIA greens, AMD reds and oranges, others blues and purples) in shades
that stay apart under colour blindness.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from simulator.output.text_file import staged
from simulator.version import version

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHADES = {
    "nvidia": ("#00845a", "#054d38", "#63c19d", "#1f9e89", "#a5c400"),
    "amd": ("#d1520f", "#8f1d14", "#f0a35c", "#c94f7c", "#7a4b12"),
}
OTHER_SHADES = ("#3f63b5", "#7b4ea3", "#8fb4e8")
INK, FAINT_INK, GRID = "#1c2430", "#69727f", "#e6e9ee"
DASHES = (0, (5, 2.2))
DPI = 160
_RIGHT = 0.975
"""Where captions end, as a share of the width."""
_CAPTION_CHARACTERS_PER_INCH = 14.33


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, as a whole or not at all; equal figures make equal bytes.

    Raises
    ------
    UserError
        If the file cannot be written.
    """
    with staged(path) as stage:
        figure.savefig(stage, dpi=DPI, metadata={"Software": f"forecurve {version()}, simulated"})


def dress(
    figure: Figure,
    axes: Axes,
    *,
    caption: str,
    title: str,
    x_label: str,
    y_label: str,
    hint: str = "",
) -> None:
    """Title, caption, axis labels, grid and the line that says it is simulated."""
    left = axes.get_position().x0
    inches = (_RIGHT - left) * figure.get_figwidth()
    figure.text(left, 0.955, title, fontsize=14, fontweight="bold", color=INK, va="center")
    figure.text(
        left,
        0.925,
        "\n".join(textwrap.wrap(caption, round(_CAPTION_CHARACTERS_PER_INCH * inches))),
        fontsize=8.5,
        color=FAINT_INK,
        va="top",
        linespacing=1.35,
    )
    figure.text(
        _RIGHT, 0.012, f"simulated, forecurve {version()}", fontsize=8, color=FAINT_INK, ha="right"
    )
    figure.text(left, 0.012, hint, fontsize=8, color=FAINT_INK)
    axes.set_xlabel(x_label, fontsize=10.5, color=INK)
    axes.set_ylabel(y_label, fontsize=10.5, color=INK)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#aab2bd")
    axes.tick_params(colors=FAINT_INK, labelsize=9, length=3)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")


def log_throughput(axes: Axes) -> None:
    """A logarithmic y axis with plain numbers at 1, 2 and 5 of every decade."""
    from matplotlib.ticker import LogLocator

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axes.minorticks_off()
