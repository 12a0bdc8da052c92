"""Tables of docs/background/kernels.md, rendered from the kernel table and the op tables.

``python -m calibration.kernels.report --page docs/background/kernels.md`` replaces the blocks
between ``<!-- NAME -->`` and ``<!-- end -->``. Blocks that compare with the op tables are left as
they are where the wheel is not installed.
"""

from __future__ import annotations

import argparse
import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from calibration.command_line import run_main
from calibration.importers import aiconfigurator as tables
from calibration.kernels.modules import compare_modules, module_errors
from calibration.pages.markdown import markdown_table, percent
from hwmodels.sku import load_sku
from simulator.output.text_file import write_text
from workloads.datafiles import read_text
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd


def _range(figure: Mapping[str, Any], *, scale: float, digits: int) -> str:
    value = f"{scale * figure['value']:.{digits}f}"
    if "range" not in figure:
        return f"{value} (held)" if figure["source"].startswith("held") else value
    low, high = (f"{scale * bound:.{digits}f}" for bound in figure["range"])
    return value if low == high == value else f"{value} ({low}–{high})"


def family_rows(table: Mapping[str, Any]) -> str:
    """Fitted values with their range over engines and SKUs, and the errors, as Markdown."""
    rows = []
    for family, paths in table["families"].items():
        for path, generations in paths.items():
            for generation, entry in generations.items():
                duplicate = path == "any" and family in ("gemm", "grouped_gemm", "indexer")
                if duplicate or "error" not in entry:
                    continue
                error = entry["error"]
                rows.append(
                    [
                        f"{family} {path}",
                        generation,
                        _range(entry["t0_s"], scale=1e6, digits=1),
                        _range(entry["e_c"], scale=1.0, digits=2),
                        _range(entry["e_m"], scale=1.0, digits=2),
                        percent(error["in_sample"]),
                        percent(error.get("cross_sku")),
                        percent(error.get("cross_generation")),
                        str(entry["rows"]),
                    ]
                )
    header = ("family", "generation", "t0 [µs]", "e_c", "e_m", "in sample", "other SKU")
    return markdown_table((*header, "other generation", "rows"), rows)


def estimate_rows(table: Mapping[str, Any]) -> str:
    """Values that no table stands behind, as Markdown."""
    rows = [
        [
            f"{family} {path}",
            generation,
            f"{1e6 * entry['t0_s']['value']:.1f}",
            f"{entry['e_c']['value']:.2f}",
            f"{entry['e_m']['value']:.2f}",
        ]
        for family, paths in table["families"].items()
        for path, generations in paths.items()
        for generation, entry in generations.items()
        if "error" not in entry and path != "any"
    ]
    return markdown_table(("family", "generation", "t0 [µs]", "e_c", "e_m"), rows)


def collective_rows(table: Mapping[str, Any]) -> str:
    """Collectives and exchange kernels, as Markdown."""
    rows = []
    for section in ("collectives", "exchange_kernels"):
        for kind, generations in table[section].items():
            for generation, entry in generations.items():
                error = entry.get("error", {})
                network = entry.get("scaleout_efficiency")
                rows.append(
                    [
                        kind.replace("_", "-"),
                        generation,
                        f"{1e6 * entry['latency_s']['value']:.1f}",
                        f"{entry['efficiency']['value']:.2f}",
                        f"{network['value']:.2f}" if network else "",
                        entry["efficiency"]["kind"],
                        percent(error.get("in_sample")),
                        percent(error.get("cross_sku")),
                    ]
                )
    header = ("kind", "generation", "latency [µs]", "efficiency", "over the network", "kind")
    return markdown_table((*header, "in sample", "other SKU"), rows)


def module_rows(errors: pd.DataFrame) -> str:
    """Errors of `calibration.kernels.modules.module_errors`, as Markdown."""
    rows = [
        [
            str(row["phase"]),
            str(row["module"]),
            str(row["engine"]),
            f"{100.0 * row['bias']:+.0f} %",
            percent(row["error"]),
            f"{100.0 * row['low']:+.0f} to {100.0 * row['high']:+.0f} %",
            str(row["rows"]),
        ]
        for _, row in errors.iterrows()
    ]
    return markdown_table(("phase", "module", "engine", "bias", "error", "10–90 %", "rows"), rows)


def replace_blocks(page: str, blocks: Mapping[str, str]) -> str:
    """A Markdown page with the named blocks replaced.

    Raises
    ------
    UserError
        If the page lacks a block.
    """
    for name, text in blocks.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        page, count = pattern.subn(rf"\g<1>{text}\n\g<2>", page)
        if count != 1:
            raise UserError(f"page: block '{name}' occurs {count} times; it must occur once")
    return page


def table_blocks() -> dict[str, str]:
    """The blocks that the shipped kernel table fills."""
    path = resources.files("hwmodels") / "software" / "kernels.yaml"
    table = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    return {
        "families": family_rows(table),
        "collectives": collective_rows(table),
        "estimates": estimate_rows(table),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: ``--page FILE --tables FOLDER``."""
    parser = argparse.ArgumentParser(description="fill the tables of docs/background/kernels.md")
    parser.add_argument("--page", type=Path, required=True, help="Markdown page to rewrite")
    parser.add_argument("--tables", type=Path, help="systems/data folder of the wheel")
    options = parser.parse_args(arguments)
    blocks = table_blocks()
    try:
        root = tables.find_tables(options.tables)
    except UserError as error:
        print(f"modules: left as they are; {error}")
    else:
        keys = [key for key in tables.SYSTEM_OF_SKU if key not in tables.DENSE_ONLY]
        skus = {key: load_sku(key) for key in keys}
        blocks["modules"] = module_rows(module_errors(compare_modules(root, skus=skus)))
    page = read_text(options.page)
    write_text(options.page, replace_blocks(page, blocks))


if __name__ == "__main__":
    run_main(main)
