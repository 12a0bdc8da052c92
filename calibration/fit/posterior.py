"""How well a fit knows its effects: the covariance that a refit on a few more runs starts from.

Effects of single levels are left out: a level of a user's own has an addend of its own.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hwmodels.calibration_files import digest_of
from hwmodels.fitted import EFFECTS, read_fits
from simulator.output.text_file import staged
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from calibration.fit.effects import EffectSpace

    FloatArray = npt.NDArray[np.float64]

POSTERIOR_FILE = "posterior.npz"
LEVEL_EFFECT = EFFECTS[-1]
"""The effect of a single build or date, of which only the prior's width is used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Posterior:
    """Covariance of a fit's effects, those of single levels aside.

    Parameters
    ----------
    columns:
        Place of each (parameter, effect, group).
    covariance:
        Of the effects, natural logarithms. [-]
    note:
        What a reader should know of it; empty where it is that of the fit.
    """

    columns: dict[tuple[str, str, str], int]
    covariance: FloatArray
    note: str = ""

    def prior(self, space: EffectSpace) -> FloatArray:
        """Covariance of another space's effects before its runs are seen. [-]

        Effects that the fit does not know, and those of levels, have the width of their prior.
        """
        prior = np.diag(space.widths**2)
        known = [(here, self.columns[key]) for key, here in space.columns.items() if key in self]
        ours = [here for here, _ in known]
        theirs = [there for _, there in known]
        prior[np.ix_(ours, ours)] = self.covariance[np.ix_(theirs, theirs)]
        return prior

    def __contains__(self, key: tuple[str, str, str]) -> bool:
        return key in self.columns


def posterior_of(space: EffectSpace, *, covariance: FloatArray) -> Posterior:
    """What a fit leaves of its effects' covariance."""
    kept = [(key, column) for key, column in space.columns.items() if key[1] != LEVEL_EFFECT]
    places = [column for _, column in kept]
    return Posterior(
        columns={key: place for place, (key, _) in enumerate(kept)},
        covariance=covariance[np.ix_(places, places)],
    )


def write_posterior(
    posterior: Posterior, *, directory: Path, fits: Sequence[dict[str, object]]
) -> Path:
    """Write ``posterior.npz`` beside the fit that it belongs to, in single precision.

    ``fits`` are the entries of the ``fitted.yaml`` there; their digest ties both files.
    """
    path = directory / POSTERIOR_FILE
    rows, columns = np.tril_indices(len(posterior.columns))
    with staged(path, make_folder=True) as stage, stage.open("wb") as file:
        np.savez_compressed(
            file,
            digest=np.array(digest_of({"fits": list(fits)})),
            columns=np.array(["\t".join(key) for key in posterior.columns]),
            covariance=posterior.covariance[rows, columns].astype(np.float32),
        )
    return path


def read_posterior(directory: Path | None = None) -> Posterior:
    """The posterior of a calibration, or of the shipped fit.

    Raises
    ------
    UserError
        If there is none, it cannot be read, or that of a directory is of another fit than the
        one beside it.
    """
    shipped = Path(str(resources.files("calibration.fit") / "data"))
    path = (directory or shipped) / POSTERIOR_FILE
    if not path.is_file():
        raise UserError(
            f"{path} does not exist; a fit that own runs refine has one: "
            f"simulate calibrate fit --out {directory or 'DIR'}"
        )
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            digest = str(file["digest"])
            names = [tuple(text.split("\t")) for text in file["columns"].tolist()]
            packed = file["covariance"].astype(np.float64)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        raise UserError(f"{path} cannot be read; write it again with the fit") from None
    note = ""
    if digest != digest_of({"fits": read_fits(directory)}):
        if directory is not None:
            raise UserError(f"{path} is of another fit than the fitted.yaml beside it")
        note = "how well the shipped fit is known is taken from the fit before it"
    count = len(names)
    if len(packed) != count * (count + 1) // 2 or not np.isfinite(packed).all():
        raise UserError(f"{path} holds no covariance of its {count} effects")
    covariance = np.zeros((count, count))
    rows, columns = np.tril_indices(count)
    covariance[rows, columns] = packed
    covariance[columns, rows] = packed
    return Posterior(
        columns={(key[0], key[1], key[2]): place for place, key in enumerate(names)},
        covariance=covariance,
        note=note,
    )
