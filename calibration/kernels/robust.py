"""Robust least squares, for the laws of kernels, links and exchanges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]


def soft_l1_fit(
    residuals: Callable[[FloatArray], FloatArray],
    start: FloatArray,
    *,
    bounds: tuple[FloatArray, FloatArray],
    scale: float,
    jacobian: Callable[[FloatArray], FloatArray] | None = None,
) -> FloatArray:
    """Unknowns within bounds with the least soft-L1 loss of their residuals.

    Parameters
    ----------
    residuals:
        Residuals at some unknowns. [-]
    start, bounds:
        Where the unknowns start, and their least and largest values.
    scale:
        Residual beyond which the loss grows linearly. [-]
    jacobian:
        Derivatives (residuals, unknowns); ``None``: by differences.

    Raises
    ------
    UserError
        If SciPy is not installed.
    """
    try:
        from scipy.optimize import least_squares
    except ImportError:
        raise UserError(
            "fitting laws of kernels needs the package scipy: pip install 'forecurve[kernels]'"
        ) from None
    found = least_squares(
        residuals,
        start,
        jac="2-point" if jacobian is None else jacobian,
        bounds=bounds,
        loss="soft_l1",
        f_scale=scale,
    )
    return np.asarray(found.x, dtype=np.float64)
