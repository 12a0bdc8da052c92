"""The figures of results: drawn without a display, shown by a notebook as they are."""

from __future__ import annotations

from io import BytesIO

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

SCREEN_DPI = 100
"""Of what a notebook shows and keeps; files have more."""


class ResultFigure(Figure):
    """A figure that needs no pyplot: a notebook shows it where it is a cell's last value.

    Parameters
    ----------
    width, height:
        Its size. [in]
    """

    def __init__(self, *, width: float, height: float) -> None:
        super().__init__(figsize=(width, height), dpi=SCREEN_DPI)
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        file = BytesIO()
        self.savefig(file, format="png", dpi=SCREEN_DPI)
        return file.getvalue()
