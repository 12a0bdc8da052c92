"""What a what-if is worth: the points of a frontier beside those of the unchanged chip."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from simulator.engines.labels import SOFTWARE_OF
from simulator.engines.pools import parse_deployment
from simulator.output.text_tables import number, table_of
from simulator.prediction.run import simulate_run
from simulator.scenario.configure import configure_run
from simulator.scenario.run_cells import LOAD_COLUMNS
from simulator.studies.processes import side_by_side
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd
    from rich.table import Table

    from simulator.scenario.settings import Scenario

    Row = Mapping[str, Any]

_SAME = 5e-3
"""By how much a ratio may differ from 1 and still print as 1.00. [-]"""
COMPARED = ("total_tput_per_gpu", "median_tpot_s", "median_ttft_s")
"""Figures that are set beside those of the unchanged chip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A point of a what-if beside the same point of the unchanged chip.

    Parameters
    ----------
    series, engine, spec, label, concurrency:
        The point.
    changed:
        What differs, in words.
    before, after:
        Figures of `COMPARED` without and with it; ``before`` is empty where the unchanged chip
        cannot run the point. [tok/s], [s], [s]
    reason:
        Why it cannot.
    """

    series: str
    engine: str
    spec: str
    label: str
    concurrency: int
    changed: str
    before: Mapping[str, float]
    after: Mapping[str, float]
    reason: str = ""

    def ratio(self, name: str) -> float | None:
        """A figure over the unchanged one; ``None`` where there is none. [-]"""
        old = self.before.get(name)
        return self.after[name] / old if old else None

    def to_dict(self) -> dict[str, Any]:
        """The point, its figures with and without the change, and their ratios."""
        names = ("series", "engine", "spec", "label", "concurrency", "changed")
        found: dict[str, Any] = {name: getattr(self, name) for name in names}
        for name in COMPARED:
            found[name] = self.after[name]
            found[f"unchanged_{name}"] = self.before.get(name)
            found[f"{name}_ratio"] = self.ratio(name)
        return found | {"reason": self.reason}


def changes_of(
    rows: Sequence[Row],
    *,
    base: Scenario,
    with_software: bool = False,
    workers: int | None = None,
) -> list[Change]:
    """The points of what-ifs on a frontier, each simulated once more without its change.

    Parameters
    ----------
    rows:
        Simulated runs in the columns of a sweep; those on a frontier that state fields of the
        SKU or settings of the server count.
    base:
        A scenario of the runs, for what their columns do not tell: clients, KV format, fit.
    with_software:
        Whether another SKU's software level is a change too, which is undone.
    workers:
        Processes; ``None``: one per core.
    """
    changed = [
        row
        for row in rows
        if row["on_frontier"]
        and (
            row["overrides"]
            or row["engine_settings"]
            or (with_software and SOFTWARE_OF in row["engine"])
        )
    ]
    calls: list[Callable[[], dict[str, float] | str]] = [
        partial(_unchanged, _unchanged_load(row, base=base, with_software=with_software), row)
        for row in changed
    ]
    found = side_by_side(calls, workers=workers)
    return [
        Change(
            series=str(row.get("series", "")),
            engine=str(row["engine"]),
            spec=str(row["spec"]),
            label=str(row["label"]),
            concurrency=int(row["concurrency"]),
            changed=_words(row, with_software=with_software),
            before={} if isinstance(before, str) else before,
            after={name: float(row[name]) for name in COMPARED},
            reason=before if isinstance(before, str) else "",
        )
        for row, before in zip(changed, found, strict=True)
    ]


def changes_frame(changes: Sequence[Change]) -> pd.DataFrame:
    """A row for each change, as `Change.to_dict`."""
    import pandas as pd

    return pd.DataFrame([change.to_dict() for change in changes])


def changes_table(changes: Sequence[Change]) -> Table:
    """Changes for a reader: throughput, TPOT and TTFT over the unchanged chip's."""
    several = len({(change.series, change.engine, change.spec) for change in changes}) > 1
    alike = {change.changed for change in changes}
    told = f" ({next(iter(alike))})" if len(alike) == 1 else ""
    headers = ["layout", "clients", "tok/s/GPU", "unchanged", "ratio"]
    headers += ["TPOT s", "unchanged", "ratio", "TTFT p50 s", "unchanged", "ratio"]
    headers += [] if told else ["changed"]
    table = table_of(
        title=f"against the unchanged chip{told}, point by point",
        headers=headers,
        left=("layout", "changed"),
    )
    for change in changes:
        spec = "" if change.spec == "none" else f" {change.spec}"
        name = f"{change.series}: {change.engine}{spec} " if several else ""
        cells = [f"{name}{change.label}", f"{change.concurrency:,}"]
        for figure in COMPARED:
            ratio = change.ratio(figure)
            cells += [
                number(change.after[figure]),
                number(change.before.get(figure)) if ratio else "cannot run",
                "" if ratio is None else f"{ratio:.2f}x",
            ]
        table.add_row(*cells, *([] if told else [change.changed]))
    return table


def changes_remark(changes: Sequence[Change]) -> str:
    """That a change shows at no point, and why that may be; empty where it does."""
    ratios = [ratio for one in changes for name in COMPARED if (ratio := one.ratio(name))]
    if not ratios or any(abs(ratio - 1.0) > _SAME for ratio in ratios):
        return ""
    return (
        "the change binds at none of these points, which are deployments of the unchanged chip: "
        "what more memory or a larger limit lets fit is more clients (--concurrency) and other "
        "layouts (--tp, --ep)"
    )


def _unchanged_load(row: Row, *, base: Scenario, with_software: bool) -> Scenario:
    """The scenario of a run without its change."""
    kept = {name: row[name] for name in LOAD_COLUMNS}
    kept |= {"overrides": {}, "engine_settings": {}}
    kept["prefill_sku"] = row["prefill_sku"] or None
    kept["acceptance_length"] = _present(row["acceptance_length"])
    if with_software:
        kept["engine"] = _own_software(str(row["engine"]))
    return base.model_copy(update=kept)


def _unchanged(load: Scenario, row: Row) -> dict[str, float] | str:
    """Figures of the unchanged run, or why there is none."""
    try:
        configuration, _ = configure_run(
            load, pools=parse_deployment(str(row["label"])), concurrency=int(row["concurrency"])
        )
        metrics = simulate_run(configuration).metrics.to_dict()
    except (UserError, ValueError) as error:
        return str(error).splitlines()[0]
    return {name: float(value) for name in COMPARED if (value := metrics[name]) is not None}


def _own_software(engine: str) -> str:
    name, at, date = engine.partition("@")
    kept = [part for part in name.split("+") if not part.startswith(SOFTWARE_OF)]
    return f"{'+'.join(kept)}{at}{date}"


def _words(row: Row, *, with_software: bool) -> str:
    parts = [
        f"{name} {value:g}" if isinstance(value, float | int) else f"{name} {value}"
        for column in ("overrides", "engine_settings")
        for name, value in (json.loads(row[column]) if row[column] else {}).items()
    ]
    if with_software and SOFTWARE_OF in row["engine"]:
        parts.append("another SKU's software")
    return ", ".join(parts)


def _present(value: Any) -> float | None:
    return None if value is None or value != value else float(value)
