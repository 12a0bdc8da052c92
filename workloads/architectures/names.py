"""Names of models: what an alias, a repository or a file stands for."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from workloads.architectures.catalog import (
    architecture_names,
    label_of_repository,
    load_architecture,
    unknown_model,
    usual_release,
)
from workloads.architectures.model_file import is_model_file, model_file

if TYPE_CHECKING:
    from workloads.architectures.base import PrecisionLabel


@cache
def _model_aliases() -> dict[str, str]:
    names: dict[str, str] = {}
    for canonical, aliases in architecture_names().items():
        names |= {alias.lower(): canonical for alias in (canonical, *aliases)}
    return names


def canonical_model(name: str) -> str:
    """The canonical name of a model label; of a file its path.

    Raises
    ------
    UserError
        If the label is unknown, with the nearest ones, or the file is not there.
    """
    if is_model_file(name):
        return str(model_file(name))
    found = _model_aliases().get(name.strip().lower())
    if found is None:
        raise unknown_model(name)
    return found


def default_precision(model: str) -> PrecisionLabel:
    """Label of the checkpoint that is meant where nobody names one.

    Of models that state their releases the one that the name stands for, else the usual one; of
    others FP4 experts, or BF16 if dense.

    Parameters
    ----------
    model:
        Name, alias or file; of an unknown one nothing else is known than that most are served in
        FP4.
    """
    if not is_model_file(model) and model.strip().lower() not in _model_aliases():
        return "fp4"
    release = usual_release(model)
    if release is not None:
        return release.label
    label = label_of_repository(model)
    if label is not None:
        return label
    return "fp4" if load_architecture(model).routed_experts else "bf16"
