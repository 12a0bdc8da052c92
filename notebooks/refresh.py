"""Runs notebooks from their text halves and writes the other halves, with small pictures.

    python notebooks/refresh.py            # all of them
    python notebooks/refresh.py notebooks/02_what_if_tour.py

The text half (percent format) is the one to edit. CI executes the notebooks as they are.
"""

from __future__ import annotations

import base64
import sys
import time
from io import BytesIO
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from PIL import Image

HERE = Path(__file__).parent
COLOURS = 256


def small_picture(encoded: str) -> str:
    """A PNG with a palette: half the bytes, and the same picture to the eye."""
    picture = Image.open(BytesIO(base64.b64decode(encoded))).convert("RGB")
    file = BytesIO()
    picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def refresh(text: Path) -> None:
    """Execute one notebook and write it beside its text."""
    notebook = jupytext.read(text)
    notebook.metadata["kernelspec"] = {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }
    started = time.monotonic()
    NotebookClient(
        notebook, timeout=600, record_timing=False, resources={"metadata": {"path": str(HERE)}}
    ).execute()
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                data["image/png"] = small_picture(data["image/png"])
    written = text.with_suffix(".ipynb")
    nbformat.write(notebook, written)
    size = written.stat().st_size / 1024
    print(f"{text.name}: {time.monotonic() - started:.0f} s, {size:.0f} KiB")


if __name__ == "__main__":
    named = [Path(name) for name in sys.argv[1:]]
    for path in named or sorted(HERE.glob("[0-9]*.py")):
        refresh(path)
