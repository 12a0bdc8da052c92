"""The standard normal law, for arrays, from Python's own functions.

`math.erfc` and `statistics.NormalDist.inv_cdf` (Wichura 1988, algorithm AS 241) are exact to about
1e-15; a library for these two functions alone would take a quarter of the installed size.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]

_ROOT_HALF = math.sqrt(0.5)
_STANDARD = NormalDist()


def normal_cdf(z: npt.ArrayLike) -> FloatArray:
    """Probability of a standard normal value of at most `z`. [-]"""
    scaled = -_ROOT_HALF * np.asarray(z, dtype=np.float64)
    erfc = np.fromiter(map(math.erfc, scaled.ravel().tolist()), np.float64, scaled.size)
    found: FloatArray = 0.5 * erfc.reshape(scaled.shape)
    return found


def normal_quantile(probability: npt.ArrayLike) -> FloatArray:
    """Value that a standard normal one does not exceed with a probability. [-]

    Minus infinity at 0 and infinity at 1.

    Raises
    ------
    ValueError
        If a probability is not in [0, 1].
    """
    p = np.asarray(probability, dtype=np.float64)
    found = np.where(p == 0, -np.inf, np.inf)
    inner = (p != 0) & (p != 1)
    found[inner] = [_STANDARD.inv_cdf(each) for each in p[inner].tolist()]
    return found
