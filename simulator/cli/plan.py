"""``simulate plan``: which hardware, and how much of it, for service-level objectives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator.cli import options
from simulator.cli.agentx import SESSION_FLAGS, session_flags
from simulator.cli.answers import give_answer
from simulator.cli.flags import flag, lists_of, one_each, takes
from simulator.scenario.declared import HOST, PAIR, POOLS, SCENARIO
from simulator.studies.agentx.declared import AGENTX
from simulator.studies.plan.declared import PLAN
from workloads.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path


@takes(
    *one_each(PLAN, *list(PLAN)[:10]),
    flag(PLAN["fleet_gpus"]),
    flag(PLAN["max_cost"]),
    flag(
        SCENARIO["sku"],
        lists=True,
        flag="skus",
        several="Chips or racks; default: shipping ones that have a price.",
    ),
    *one_each(PAIR, *PAIR),
    *one_each(SCENARIO, "model"),
    flag(
        SCENARIO["engine"],
        lists=True,
        several="Serving engines: vllm,dynamo-vllm@2026-07. Default: the one named for the SKU, "
        "and its orchestrators that have recipes there.",
    ),
    *one_each(SCENARIO, "precision"),
    *lists_of(SCENARIO, "tp", "ep"),
    *one_each(SCENARIO, "dp_attention"),
    *lists_of(POOLS, "prefill", "decode"),
    *one_each(POOLS, "disaggregated"),
    *one_each(SCENARIO, "isl", "osl", "lengths"),
    *lists_of(SCENARIO, "spec"),
    *one_each(SCENARIO, "acceptance_length", "overrides", "engine_settings", "kv_precision", *HOST),
    *one_each(PLAN, "think", "burstiness", "peak", "period", "workload"),
    *one_each(AGENTX, "agents", *SESSION_FLAGS),
    *one_each(SCENARIO, "economics"),
    *one_each(PLAN, "tier", "whole", "spare", "layouts", "replications", "every"),
    *one_each(SCENARIO, "seed", "calibration"),
    command="plan",
)
def plan(
    *,
    given: dict[str, Any],
    next_run: options.NextRun = False,
    scenario: options.ScenarioFile = None,
    out: options.Out = None,
    as_json: options.Json = False,
    json_lines: options.JsonLines = False,
    as_csv: options.Csv = False,
) -> None:
    """Rank hardware for service-level objectives, judged with queues and not on averages.

    Start with: simulate plan --interactivity 50 --ttft-p90 5 --rate 40; for coding agents
    simulate plan --workload agentx --agents 5000 --interactivity-p90 50
    """
    from simulator.studies.plan.request import build_plan
    from simulator.studies.plan.run import run_plan
    from simulator.studies.plan.text import print_plan

    as_json = as_json or json_lines
    options.check_output(as_json=as_json, as_csv=as_csv)
    trees = session_flags(given, workload="workload")
    if trees is not None:
        for name in PAIR:
            if given.pop(name) is not None:
                raise UserError("session trees take chips of one kind; leave --prefill-sku out")
        _plan_agents(given, trees, scenario=scenario, out=out, as_json=as_json, as_csv=as_csv)
        return
    if given.pop("agents") is not None:
        raise UserError("--agents counts session trees; add --workload agentx, or a file of them")
    request = build_plan(flags=given, file=scenario)
    give_answer(
        "plan",
        names=[],
        resolved=request.resolved,
        run=lambda on_progress, kept: run_plan(request, on_progress=on_progress, kept=kept),
        show=lambda result, directory: print_plan(result, directory=directory, ranks_runs=next_run),
        out=out,
        as_json=as_json,
        as_csv=as_csv,
    )


def _plan_agents(
    given: dict[str, Any],
    trees: dict[str, Any],
    *,
    scenario: Path | None,
    out: Path | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    from simulator.studies.agentx.fleet import run_fleet
    from simulator.studies.agentx.fleet_request import build_fleet
    from simulator.studies.agentx.text import print_fleet
    from simulator.studies.plan.request import priced_skus

    asked = build_fleet(given, trees=trees, file=scenario, default_skus=priced_skus)
    give_answer(
        "plan",
        names=["agents"],
        resolved={**asked.replay.resolved, "agents": asked.agents, "users": str(asked.objectives)},
        run=lambda on_progress, _kept: run_fleet(
            asked.replay,
            agents=asked.agents,
            objectives=asked.objectives,
            tier=asked.tier,
            whole_racks=asked.whole_racks,
            assumed=asked.assumed,
            on_progress=on_progress,
        ),
        show=lambda result, directory: print_fleet(result, directory=directory),
        out=out,
        as_json=as_json,
        as_csv=as_csv,
    )
