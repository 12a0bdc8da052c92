"""Ladders: one deployment under one load at rising concurrency, the unit of work of a sweep."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simulator.engines.pools import DoesNotFitError
from simulator.prediction.run import simulate_run
from simulator.scenario.configure import configure_run
from simulator.scenario.run_cells import identity_cells
from simulator.studies.ladder import concurrencies, ends_after
from simulator.studies.sweep.store import (
    check_shared,
    digest_of_inputs,
    ladder_name,
    read_ladder,
    result_cells,
    run_key,
    write_ladder,
)
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from simulator.recipes.resolve import ResolvedRecipe
    from simulator.scenario.candidates import Pools
    from simulator.scenario.configuration import RunConfiguration
    from simulator.scenario.settings import Scenario
    from simulator.scenario.target import Target

_ONE_AT_A_TIME = threading.Lock()
_SAVE_EVERY_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """One deployment of a target under one load; ``load`` leaves the layout open."""

    load: Scenario
    target: Target
    pools: Pools

    @property
    def steps(self) -> tuple[int, ...]:
        """Concurrencies to try. [requests]

        The stated ones; else powers of two to 2,048, or to 128 per GPU of a larger deployment.
        """
        return concurrencies(self.load.concurrency, gpus=sum(pool.gpus for pool in self.pools))

    @property
    def file_name(self) -> str:
        """Name of the file with its runs."""
        return ladder_name(load=self.load, pools=self.pools)

    @property
    def table_key(self) -> str:
        """Ladders with the same key price their steps with the same tables, lengths aside."""
        load = self.load.model_dump_json(
            include={"sku", "overrides", "engine", "model", "precision", "spec"}
        )
        return f"{load} {self.pools}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderDone:
    """What became of a ladder.

    Parameters
    ----------
    concurrencies:
        Those that belong to it: all stated ones, or those until throughput stalled. [requests]
    fresh:
        Runs that were simulated now and not found on disk.
    """

    name: str
    concurrencies: tuple[int, ...]
    fresh: int


def climb(ladders: Sequence[Ladder], *, directory: Path, inputs: str) -> list[LadderDone]:
    """Simulate the runs of ladders that their files lack, and save them as they come."""
    return [_climb(ladder, directory=directory, inputs=inputs) for ladder in ladders]


def climb_elsewhere(
    ladders: Sequence[Ladder],
    *,
    directory: Path,
    inputs: str,
    skus: Sequence[str],
    calibration: Path | None,
) -> list[LadderDone]:
    """`climb` in a process of another machine.

    One task at a time, however many threads the process has.

    Raises
    ------
    UserError
        If the directory is not the one that the sweep gathers from, or code or data differ.
    """
    with _ONE_AT_A_TIME:
        check_shared(directory, inputs=inputs)
        if digest_of_inputs(skus=skus, calibration=calibration) != inputs:
            raise UserError(
                f"worker {socket.gethostname()} has other code or data than this machine; "
                "install the same version of forecurve there"
            )
        return climb(ladders, directory=directory, inputs=inputs)


def _climb(ladder: Ladder, *, directory: Path, inputs: str) -> LadderDone:
    path = directory / ladder.file_name
    found = read_ladder(path)
    rows: dict[int, dict[str, Any]] = (
        {} if found is None else {row["concurrency"]: row for row in found.to_pylist()}
    )
    gained: list[float] = []
    climbed: list[int] = []
    fresh, saved, saved_at = 0, 0, time.monotonic()
    try:
        for concurrency in ladder.steps:
            row = rows.get(concurrency)
            key, configuration, recipe = _configure(ladder, concurrency, inputs=inputs)
            if row is None or row["key"] != key:
                rows[concurrency] = row = {
                    **identity_cells(load=ladder.load, pools=ladder.pools, concurrency=concurrency),
                    "key": key,
                    **_run(configuration, recipe),
                }
                fresh += 1
            climbed.append(concurrency)
            if time.monotonic() - saved_at > _SAVE_EVERY_S:
                write_ladder(path, list(rows.values()))
                saved, saved_at = fresh, time.monotonic()
            if row["status"] != "ok":
                continue
            gained.append(row["total_tput_per_gpu"])
            if ladder.load.concurrency is None and ends_after(
                gained, bottleneck=row["bottleneck"], kv_fill=row["kv_fill"]
            ):
                break
    finally:
        if fresh > saved:
            write_ladder(path, list(rows.values()))
    return LadderDone(name=ladder.file_name, concurrencies=tuple(climbed), fresh=fresh)


def _configure(
    ladder: Ladder, concurrency: int, *, inputs: str
) -> tuple[str, RunConfiguration | UserError, ResolvedRecipe | None]:
    try:
        configuration, recipe = configure_run(
            ladder.load,
            target=ladder.target,
            pools=ladder.pools,
            concurrency=concurrency,
        )
    except UserError as error:
        return f"{inputs[:8]}: {error}", error, None
    return run_key(configuration, inputs=inputs), configuration, recipe


def _run(
    configuration: RunConfiguration | UserError, recipe: ResolvedRecipe | None
) -> dict[str, Any]:
    """Cells of a run; a run that cannot be has a status and a reason and no metrics."""
    if isinstance(configuration, UserError) or recipe is None:
        return {"status": "unsupported", "reason": str(configuration)}
    cells = {"recipe": recipe.level}
    try:
        outcome = simulate_run(configuration)
    except DoesNotFitError as error:
        return {**cells, "status": "does_not_fit", "reason": str(error)}
    except UserError as error:
        return {**cells, "status": "unsupported", "reason": str(error)}
    except Exception as error:  # a defect in one run must not lose the others
        return {**cells, "status": "failed", "reason": f"{type(error).__name__}: {error}"}
    messages = "\n".join(dict.fromkeys((*recipe.messages, *outcome.messages)))
    return cells | result_cells(outcome) | {"status": "ok", "reason": "", "messages": messages}
