"""``simulate sensitivity``: which number of chip, software or workload matters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator.cli import options
from simulator.cli.agentx import session_flags, sessions_only
from simulator.cli.answers import give_answer
from simulator.cli.flags import flag, lists_of, one_each, takes
from simulator.scenario.declared import HOST, POOLS, SCENARIO
from simulator.studies.agentx.declared import AGENTX
from simulator.studies.sensitivity.declared import SENSITIVITY
from workloads.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path


@takes(
    *one_each(SCENARIO, "sku", "model", "engine", "precision", "tp", "ep", "dp_attention"),
    *lists_of(POOLS, "prefill", "decode"),
    *one_each(POOLS, "disaggregated"),
    *one_each(SCENARIO, "isl", "osl", "lengths"),
    flag(SCENARIO["concurrency"], kind="int", metavar="N", text="Closed-loop clients; default 64."),
    *one_each(SENSITIVITY, *SENSITIVITY),
    *one_each(
        SCENARIO, "spec", "acceptance_length", "overrides", "engine_settings", "kv_precision", *HOST
    ),
    *one_each(SCENARIO, "seed", "calibration"),
    *one_each(AGENTX, "trees", "kv_offload", "protocol"),
    command="sensitivity",
)
def sensitivity(
    *,
    given: dict[str, Any],
    scenario: options.ScenarioFile = None,
    out: options.Out = None,
    as_json: options.Json = False,
    as_csv: options.Csv = False,
) -> None:
    """Show which number matters: elasticities to data sheet, software and workload.

    Start with: simulate sensitivity --sku b300 --concurrency 64; for coding agents
    simulate sensitivity --sku b300 --workload agentx
    """
    from simulator.studies.sensitivity.request import build_sensitivity
    from simulator.studies.sensitivity.run import run_sensitivity
    from simulator.studies.sensitivity.text import print_sensitivity

    options.check_output(as_json=as_json, as_csv=as_csv)
    trees = session_flags(given)
    if trees is not None:
        if given.pop("disaggregated") is not None:
            raise UserError("--disaggregated or --aggregated has no meaning for session trees")
        _of_agents(given | trees, scenario=scenario, out=out, output=(as_json, as_csv))
        return
    request = build_sensitivity(flags=given, file=scenario)
    give_answer(
        "sensitivity",
        names=request.settings.values["sku"],
        resolved=request.resolved,
        run=lambda on_progress, _kept: run_sensitivity(request, on_progress=on_progress),
        show=lambda result, directory: print_sensitivity(result, directory=directory),
        out=out,
        as_json=as_json,
        as_csv=as_csv,
    )


def _of_agents(
    given: dict[str, Any], *, scenario: Path | None, out: Path | None, output: tuple[bool, bool]
) -> None:
    from simulator.studies.agentx.asked import ask_of_agents
    from simulator.studies.agentx.sensitivity import DEFAULTS, run_agent_sensitivity
    from simulator.studies.sensitivity.text import print_sensitivity

    asked = ask_of_agents(
        sessions_only(given, {}), own={"interactivity": None, **DEFAULTS}, file=scenario
    )
    give_answer(
        "sensitivity",
        names=[asked.replay.systems[0].name],
        resolved=asked.resolved,
        run=lambda on_progress, _kept: run_agent_sensitivity(asked, on_progress=on_progress),
        show=lambda result, directory: print_sensitivity(result, directory=directory),
        out=out,
        as_json=output[0],
        as_csv=output[1],
    )
