"""``simulate search``: the best deployment and engine settings for a goal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator.cli import options
from simulator.cli.agentx import session_flags, sessions_only
from simulator.cli.answers import give_answer
from simulator.cli.flags import flag, lists_of, one_each, takes
from simulator.scenario.declared import HOST, POOLS, SCENARIO
from simulator.studies.agentx.declared import AGENTX
from simulator.studies.search.declared import SEARCH

if TYPE_CHECKING:
    from pathlib import Path


@takes(
    *lists_of(SCENARIO, "sku"),
    *one_each(SEARCH, *SEARCH),
    *one_each(SCENARIO, "model"),
    flag(
        SCENARIO["engine"],
        lists=True,
        several="Serving engines; default: every one the SKU is deployed with.",
    ),
    *one_each(SCENARIO, "precision"),
    *lists_of(SCENARIO, "tp", "ep"),
    *one_each(SCENARIO, "dp_attention"),
    *lists_of(POOLS, "prefill", "decode"),
    *one_each(POOLS, "disaggregated", "max_gpus"),
    *one_each(SCENARIO, "isl", "osl", "lengths", "concurrency"),
    flag(SCENARIO["spec"], lists=True, several="Speculation to try: none,mtp:1,mtp:2."),
    *one_each(SCENARIO, "acceptance_length", "overrides", "engine_settings", "kv_precision", *HOST),
    *one_each(SCENARIO, "economics", "seed", "calibration"),
    *one_each(AGENTX, "trees", "kv_offload", "protocol"),
    command="search",
)
def search(
    *,
    given: dict[str, Any],
    scenario: options.ScenarioFile = None,
    out: options.Out = None,
    as_json: options.Json = False,
    json_lines: options.JsonLines = False,
    as_csv: options.Csv = False,
) -> None:
    """Find the best layout and engine settings for a goal, and the command that launches them.

    Start with: simulate search --sku mi355x --goal throughput --interactivity 30 --ttft-p90 5;
    for coding agents simulate search --sku b200 --workload agentx --interactivity-p90 40
    """
    from simulator.studies.search.request import build_search
    from simulator.studies.search.run import run_search
    from simulator.studies.search.text import print_search

    as_json = as_json or json_lines
    options.check_output(as_json=as_json, as_csv=as_csv)
    trees = session_flags(given)
    if trees is not None:
        _search_agents(given | trees, scenario=scenario, out=out, output=(as_json, as_csv))
        return
    request = build_search(flags=given, file=scenario)
    give_answer(
        "search",
        names=request.settings.values["sku"],
        resolved=request.resolved,
        run=lambda on_progress, kept: run_search(request, on_progress=on_progress, kept=kept),
        show=lambda result, directory: print_search(result, directory=directory),
        out=out,
        as_json=as_json,
        as_csv=as_csv,
    )


def _search_agents(
    given: dict[str, Any], *, scenario: Path | None, out: Path | None, output: tuple[bool, bool]
) -> None:
    from simulator.studies.agentx.asked import ask_of_agents
    from simulator.studies.agentx.search import search_agents
    from simulator.studies.agentx.search_text import print_search

    systems = {name: given.pop(name) for name in ("sku", "engine")}
    flags = {**sessions_only(given, {}), **systems}
    own = {name: setting.default for name, setting in SEARCH.items()}
    asked = ask_of_agents(flags, own=own, file=scenario, by_engine=True)
    give_answer(
        "search",
        names=["agents"],
        resolved=asked.resolved,
        run=lambda on_progress, kept: search_agents(asked, on_progress=on_progress, kept=kept),
        show=lambda result, directory: print_search(result, directory=directory),
        out=out,
        as_json=output[0],
        as_csv=output[1],
    )
