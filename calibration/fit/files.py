"""Writing a fit as the data files that the simulator reads."""

from __future__ import annotations

from collections import Counter
from math import log
from typing import TYPE_CHECKING, Any

import yaml

from hwmodels.calibration_files import sealed
from hwmodels.evidence import DeploymentForm
from hwmodels.fitted import EFFECTS, FITTED_FILE, newest_level_date
from simulator.engines.pools import deployment_label
from simulator.output.text_file import write_text
from workloads.architectures.catalog import architecture_names, load_architecture

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from calibration.fit.gauss_newton import Fit
    from calibration.fit.observations import Observation

SMALLEST_EFFECT = 5e-4
"""Effects below this, in logarithms, are left out of the file. [-]"""


def fit_entry(fit: Fit, *, models: list[str], source: str) -> dict[str, Any]:
    """A fit in the form of ``fitted.yaml``.

    Parameters
    ----------
    models:
        Canonical names of the models that it holds for.
    source:
        Data and date of the fit.
    """
    levels = [observation.level for observation in fit.observations]
    effects: dict[str, dict[str, dict[str, float]]] = {}
    for (parameter, effect, group), column in fit.space.columns.items():
        value = float(fit.solution.effects[column])
        if abs(value) >= SMALLEST_EFFECT:
            effects.setdefault(parameter, {}).setdefault(effect, {})[group] = round(value, 4)
    for groups in effects.values():
        for effect in EFFECTS:
            if effect in groups:
                groups[effect] = dict(sorted(groups[effect].items()))
    return {
        "models": models,
        "families": {name: load_architecture(name).family for name in architecture_names()},
        "source": source,
        "generations": {
            level.sku: level.generation.split("_")[0] for level in sorted(levels, key=str)
        },
        "precisions": sorted({level.precision for level in levels}),
        "runs": dict(sorted(Counter(level.groups[-1] for level in levels).items())),
        "forms": forms_of(fit.observations),
        "bounds": {
            parameter.name: [round(log(parameter.low), 4), round(log(parameter.high), 4)]
            for parameter in fit.space.parameters
        },
        "effects": effects,
    }


def forms_of(observations: Sequence[Observation]) -> dict[str, dict[str, Any]]:
    """Runs, newest level and pools of each `hwmodels.evidence.DeploymentForm`, by its key."""
    level_dates: dict[str, list[str]] = {}
    pools: dict[str, Counter[str]] = {}
    for observation in observations:
        run = observation.configuration
        form = DeploymentForm(
            model=run.model,
            sku=observation.level.sku,
            engine=run.engine.label,
            speculation=run.speculation,
            disaggregated=len(run.pools) > 1,
        )
        level_dates.setdefault(form.key, []).append(observation.level.level_date)
        pools.setdefault(form.key, Counter())[deployment_label(run.pools)] += 1
    return {
        key: {
            "runs": len(each),
            "newest": newest_level_date(each),
            "deployments": [
                label for label, _ in sorted(pools[key].items(), key=lambda pair: (-pair[1], pair))
            ],
        }
        for key, each in sorted(level_dates.items())
    }


def write_fit(entries: list[dict[str, Any]], *, directory: Path) -> Path:
    """Write ``fitted.yaml`` into a directory."""
    path = directory / FITTED_FILE
    header = (
        "# Factors on software parameters, in natural logarithms, fitted to measured runs;\n"
        "# written by `simulate calibrate fit`, meaning in hwmodels/fitted.py. Each value is of\n"
        "# kind fitted, unit 1, with the source of its entry.\n"
    )
    text = yaml.safe_dump(sealed({"fits": entries}), sort_keys=False, width=100)
    write_text(path, header + text)
    return path
