"""``simulate explain``: where the time of one step goes, or a model in numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from simulator.cli.flags import flag, one_each, takes
from simulator.scenario.declared import POOLS, SCENARIO
from workloads.errors import UserError

if TYPE_CHECKING:
    from simulator.scenario.settings import Scenario
    from simulator.studies.explain.deployment import DeploymentExplanation
    from simulator.studies.explain.run import Explanation

Plot = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        metavar="FILE",
        help="Draw the step's time against batch and against context as a PNG.",
    ),
]
_DEFAULT_CONCURRENCY = 64


@takes(
    flag(
        SCENARIO["sku"],
        metavar="NAME[,NAME]",
        text="Chip or rack; several are set side by side. Without one: the model in numbers.",
    ),
    *one_each(SCENARIO, "model", "engine", "precision"),
    flag(SCENARIO["tp"], text="Tensor parallel degree; default: the recipe's."),
    flag(SCENARIO["ep"], text="Expert parallel degree; default: the recipe's."),
    flag(
        SCENARIO["dp_attention"],
        text="Attention data parallelism; default: no with --tp, else the recipe's.",
    ),
    *one_each(SCENARIO, "isl", "osl", "spec", "acceptance_length", "overrides"),
    *one_each(SCENARIO, "engine_settings", "kv_precision", "calibration"),
    *one_each(POOLS, "disaggregated"),
    command="explain",
)
def explain(
    *,
    given: dict[str, Any],
    deployment: Annotated[
        str | None,
        typer.Option(
            "--deployment",
            metavar="LABEL",
            help="All pools at once, 1xDEP8+1xDEP16 or DEP8; default: as best deployed for the "
            "clients, or what the recipe of a named engine ran nearest to them.",
        ),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency",
            metavar="N",
            help="Requests of the worker, or clients of a deployment; default 64.",
        ),
    ] = None,
    workload: Annotated[
        str | None,
        typer.Option(
            "--workload",
            metavar="NAME",
            help="agentx: layout, settings and step times of agentic runs, at an hour's mean "
            "prompt (131,072 tokens) unless --isl is given.",
        ),
    ] = None,
    phase: Annotated[
        str, typer.Option("--phase", metavar="NAME", help="Step: decode, prefill or mixed.")
    ] = "decode",
    context: Annotated[
        int | None,
        typer.Option(
            "--context",
            metavar="TOKENS",
            help="Context of decoding requests, and of a prompt at the end of its chunk; "
            "default: mean prompt and half the mean output.",
        ),
    ] = None,
    new_tokens: Annotated[
        int | None,
        typer.Option(
            "--new-tokens",
            metavar="TOKENS",
            help="Tokens of a prompt chunk; default: the mean prompt, or the step's budget.",
        ),
    ] = None,
    ops: Annotated[bool, typer.Option("--ops", help="Print every operation too.")] = False,
    plot: Plot = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON with every operation instead.")
    ] = False,
) -> None:
    """Show where the time of one step goes: by component, by limit, and what would help.

    With a model and no SKU: parameters, bytes and FLOPs. Start with:
    simulate explain --sku b300 --tp 8 --ep 8 --concurrency 64; of prefill and decode pools, which
    of them binds too: simulate explain --sku gb300 --engine dynamo-sglang --spec mtp:3
    --deployment 4xDEP8+1xDEP16 --concurrency 1024
    """
    step: dict[str, Any] = {"concurrency": concurrency, "new_tokens": new_tokens, "plot": plot}
    step["deployment"] = deployment
    sku, model = given.pop("sku"), given.pop("model")
    if sku is None:
        stated = [name for name, value in (given | step).items() if value is not None]
        if model is None or stated:
            why = f"{stated[0]} needs a SKU" if stated else "neither SKU nor model is given"
            raise UserError(f"{why}; name one with --sku, as in --sku b300")
        _print_model(model, context=context, ops=ops, as_json=as_json)
        return
    from simulator.scenario.settings import build_scenario
    from simulator.studies.explain.deployment import explain_deployment, has_pools
    from simulator.studies.explain.request import best_for_clients, parse_phase
    from simulator.studies.explain.run import explain_scenario

    names = [name.strip() for name in sku.split(",") if name.strip()]
    if not names:
        raise UserError(f"sku '{sku}' names none; write --sku b300, or --sku b200,mi355x")
    traffic = _traffic(workload, given)
    flags = [{"sku": name, "model": model, **given} for name in names]
    clients = _DEFAULT_CONCURRENCY if concurrency is None else concurrency
    told = [""] * len(names)
    if workload is None and deployment is None:
        one_worker = len(names) > 1 or plot is not None or phase != "decode"
        chosen = [best_for_clients(each, clients=clients, one_worker=one_worker) for each in flags]
        flags, told = [each for each, _, _ in chosen], [each for _, _, each in chosen]
        deployment = chosen[0][1] if len(names) == 1 else None
    elif given["disaggregated"] is not None:
        raise UserError(
            "--disaggregated and --aggregated choose among the forms in which a SKU was deployed; "
            "leave them out beside --deployment or --workload"
        )
    scenarios = [
        build_scenario(
            flags={name: value for name, value in each.items() if name != "disaggregated"}
        ).scenario
        for each in flags
    ]
    if workload is None and (
        deployment is not None or has_pools(scenarios[0], deployment=deployment)
    ):
        twice = [name for name in ("tp", "ep", "dp_attention") if given[name] is not None]
        if deployment is not None and twice:
            raise UserError(f"deployment {deployment} and {twice[0]} are given; keep one of them")
        if plot is not None or phase != "decode":
            raise UserError(
                "a deployment is explained by a step of each pool; leave --phase and --plot out, "
                "or name one worker with --tp and --ep"
            )
        found = [
            explain_deployment(
                scenario,
                clients=clients,
                deployment=deployment,
                context=context,
                new_tokens=new_tokens,
                assumed=assumed,
            )
            for scenario, assumed in zip(scenarios, told, strict=True)
        ]
        _print_deployments(found, ops=ops, as_json=as_json)
        return
    if deployment is not None:
        raise UserError(f"deployment {deployment} is of fixed lengths; leave --workload out")
    explanations = [
        explain_scenario(
            scenario,
            concurrency=clients,
            phase=parse_phase(phase),
            context=context,
            new_tokens=new_tokens,
            traffic=traffic,
            assumed=assumed,
        )
        for scenario, assumed in zip(scenarios, told, strict=True)
    ]
    if plot is not None:
        _draw(scenarios, explanations, path=plot)
    _print_steps(explanations, ops=ops, as_json=as_json)
    if plot is not None and not as_json:
        typer.echo(f"\nwrote {plot}")


def _traffic(workload: str | None, given: dict[str, Any]) -> Literal["fixed", "agentic"]:
    """The traffic of a workload; agentic lengths are put where none are given."""
    if workload is None:
        return "fixed"
    if workload != "agentx":
        raise UserError(f"workload '{workload}' is not agentx; state lengths with --isl and --osl")
    from simulator.prediction.agentic import TYPICAL_ISL, TYPICAL_OSL

    for name, tokens in (("isl", TYPICAL_ISL), ("osl", TYPICAL_OSL)):
        given[name] = tokens if given[name] is None else given[name]
    return "agentic"


def _print_steps(explanations: list[Explanation], *, ops: bool, as_json: bool) -> None:
    import json

    from simulator.studies.explain.text import comparison_text, step_text

    if as_json:
        found = [explanation.to_dict() for explanation in explanations]
        typer.echo(json.dumps(found[0] if len(found) == 1 else found, indent=2))
    elif len(explanations) > 1 and not ops:
        typer.echo(comparison_text(explanations))
    else:
        typer.echo("\n\n".join(step_text(one, with_ops=ops) for one in explanations))


def _print_deployments(
    found: list[DeploymentExplanation | Explanation], *, ops: bool, as_json: bool
) -> None:
    import json

    from simulator.studies.explain.deployment import DeploymentExplanation
    from simulator.studies.explain.deployment_text import deployment_text
    from simulator.studies.explain.text import step_text

    if as_json:
        dicts = [one.to_dict() for one in found]
        typer.echo(json.dumps(dicts[0] if len(dicts) == 1 else dicts, indent=2))
        return
    texts = [
        deployment_text(one, with_ops=ops)
        if isinstance(one, DeploymentExplanation)
        else step_text(one, with_ops=ops)
        for one in found
    ]
    typer.echo("\n\n".join(texts))


def _print_model(model: str, *, context: int | None, ops: bool, as_json: bool) -> None:
    import json

    from simulator.output.model_text import model_text
    from simulator.studies.explain.model import explain_model

    figures = explain_model(model, context=8192 if context is None else context)
    typer.echo(json.dumps(figures, indent=2) if as_json else model_text(figures, with_ops=ops))


def _draw(scenarios: list[Scenario], explanations: list[Explanation], *, path: Path) -> None:
    from simulator.output.style import save_figure
    from simulator.studies.explain.plots import step_time_figure, sweep_steps

    sweeps = [
        sweep_steps(scenario, explanation)
        for scenario, explanation in zip(scenarios, explanations, strict=True)
    ]
    try:
        save_figure(step_time_figure(sweeps), path)
    except UserError as error:
        raise UserError(f"{error}; name another file with --plot") from None
