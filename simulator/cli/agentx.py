"""``simulate agentx``: coding-agent sessions on one or more systems."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.cli import options
from simulator.cli.flags import one_each, takes
from simulator.scenario.declared import PAIR, POOL_GRID, POOLS, SCENARIO
from simulator.scenario.declared_limits import LIMITS
from simulator.studies.agentx.declared import AGENTX

if TYPE_CHECKING:
    from pathlib import Path


@takes(
    *one_each(AGENTX, "trees"),
    *one_each(SCENARIO, "concurrency", "model", "engine", "tp", "ep", "gpus"),
    *one_each(SCENARIO, "dp_attention"),
    *one_each(POOLS, *POOL_GRID),
    *one_each(SCENARIO, "precision", "spec", "acceptance_length"),
    *one_each(AGENTX, "kv_offload", "protocol", "x", "on_error", "characters_per_token"),
    *one_each(SCENARIO, "overrides", "engine_settings", "economics", "seed", "calibration"),
    command="agentx",
)
def agentx(
    *,
    systems: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SKU[:ENGINE[@DATE]]...",
            help="One or more: b200:vllm mi355x:sglang.",
            show_default=False,
        ),
    ] = None,
    given: dict[str, Any],
    scenario: options.ScenarioFile = None,
    out: options.Out = None,
    as_json: options.Json = False,
    as_csv: options.Csv = False,
) -> None:
    """Replay coding-agent sessions as InferenceX AgentX does, on one or more systems.

    Live sessions are --concurrency: 64 or 8,32,128; default: those that recipes were run with.

    Start with: simulate agentx b200:vllm --concurrency 64
    """
    options.check_output(as_json=as_json, as_csv=as_csv)
    replay(systems or [], flags=given, scenario=scenario, out=out, as_json=as_json, as_csv=as_csv)


SESSION_FLAGS = ("kv_offload", "protocol", "x")


def session_flags(given: dict[str, Any], *, workload: str = "trees") -> dict[str, Any] | None:
    """What a command was given for session trees, taken out; ``None`` if it serves others.

    Raises
    ------
    UserError
        If a setting of session trees is given with another workload.
    """
    from workloads.errors import UserError

    name = given.get(workload)
    own = {key: given.pop(key) for key in SESSION_FLAGS if key in given}
    if name is not None:
        from workloads.requests.agentx.files import holds_sessions

        if holds_sessions(name, chains=workload == "trees"):
            given.pop(workload)
            if given.pop("max_gpus", None) is not None:
                raise UserError(
                    "--max-gpus is about fixed lengths; replays of session trees state --gpus of "
                    "a worker and, on simulate agentx, --prefill and --decode"
                )
            return {**own, "trees": name}
    for key, value in own.items():
        if value is not None:
            flag = AGENTX[key].option
            raise UserError(f"--{flag} belongs to session trees; add --workload agentx, or a file")
    if workload == "trees" and given.pop("trees") is not None and name is not None:
        _take_lengths(given, name)
    return None


def sessions_only(given: dict[str, Any], stated: dict[str, Any]) -> dict[str, Any]:
    """Settings with one value each; flags of a command that are about other load are refused.

    Raises
    ------
    UserError
        If a setting has several values, or a flag has no meaning for session trees.
    """
    from workloads.errors import UserError

    for name, value in stated.items():
        if value is not None and value is not False:
            raise UserError(f"{name} has no meaning for session trees; leave it out")
    return {name: only_one(name, value) for name, value in given.items()}


def check_no_limits(given: dict[str, Any]) -> None:
    """Take limits of frontiers and pairs of chips out of what is given for session trees.

    Raises
    ------
    UserError
        If one is stated.
    """
    from workloads.errors import UserError

    for name in PAIR:
        if given.pop(name, None) is not None:
            raise UserError("session trees take chips of one kind; leave --prefill-sku out")
    for name, setting in LIMITS.items():
        if given.pop(name) is not None:
            raise UserError(
                f"--{setting.option} limits frontiers of requests without sessions; session trees "
                "tell the TTFT of every point, and simulate plan --agents takes limits"
            )


def _take_lengths(given: dict[str, Any], name: str) -> None:
    """Give a command the lengths of a workload that has nothing else.

    Raises
    ------
    UserError
        If it has more, or lengths are given beside it.
    """
    from workloads.errors import UserError
    from workloads.requests.catalog import MLPERF, NAMED_WORKLOADS, FixedLengthWorkload

    found: dict[str, Any]
    known = NAMED_WORKLOADS.get(name)
    if name.startswith(MLPERF):
        found = {"lengths": name}
    elif isinstance(known, FixedLengthWorkload):
        found = {"isl": known.isl, "osl": known.osl}
    else:
        raise UserError(
            f"workload '{name}' holds no agent sessions; this command takes agentx, a file of "
            "sessions, 8k1k or mlperf-r1-server, simulate load takes others"
        )
    for other in ("isl", "osl", "lengths"):
        if given.get(other) is not None:
            raise UserError(f"workload {name} and {other} are given; lengths come from one of them")
    given.update(found)


def only_one(name: str, value: Any) -> Any:
    """The one value of a list of layouts or settings that session trees take.

    Raises
    ------
    UserError
        If there are several.
    """
    from workloads.errors import UserError

    if name == "concurrency" or not isinstance(value, list | tuple):
        return value
    if len(value) > 1:
        raise UserError(
            f"{name} has several values; session trees take one a system: ask once a value, or let "
            "simulate search --workload agentx try layouts and settings"
        )
    return value[0]


def replay(
    systems: list[str],
    *,
    flags: dict[str, Any],
    scenario: Path | None,
    out: Path | None,
    as_json: bool,
    as_csv: bool = False,
) -> None:
    """Run a replay, write its files and print it; other commands hand session trees here."""
    import json

    from simulator.cli.progress import progress_bar
    from simulator.output.run_directory import RunDirectory
    from simulator.output.run_files import default_directory, write_result
    from simulator.studies.agentx.request import build_agentx
    from simulator.studies.agentx.run import run_agentx
    from simulator.studies.agentx.text import print_agentx

    asked = build_agentx(systems, flags=flags, file=scenario)
    path = out or default_directory(
        "agentx", [one.name for one in asked.systems], settings=asked.resolved
    )
    with RunDirectory(path) as directory, progress_bar() as on_progress:
        result = run_agentx(asked, on_progress=on_progress)
        write_result(
            directory,
            tables={"points": result.frame()},
            resolved=asked.resolved,
            summary=result.summary(),
            pictures={"agentx": result.plot},
        )
    if as_json:
        typer.echo(json.dumps(result.summary(), indent=2, ensure_ascii=False, default=str))
    elif as_csv:
        from simulator.output.text_tables import csv_of

        typer.echo(csv_of(result.frame()), nl=False)
    else:
        print_agentx(result, directory=path)
