"""InferenceX's Pareto frontier and its interpolation, equal to what the dashboard draws."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def frontier_indices(x: npt.ArrayLike, y: npt.ArrayLike) -> list[int]:
    """Positions of the points that no other point beats, by ascending `x`.

    InferenceX's rule (its app calls it ``upper_left``): sort by x, and drop a point while a
    later one has at least its y; of equal x the higher y stays. Higher is better on both axes,
    as for interactivity and throughput. Of identical points the first given stays; points
    that are not finite are never on the frontier.

    Raises
    ------
    ValueError
        If `x` and `y` differ in length.
    """
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if xs.shape != ys.shape or xs.ndim != 1:
        raise ValueError(f"x has shape {xs.shape} and y {ys.shape}; give one y for each x")
    best_last = np.lexsort((-np.arange(xs.size), ys, xs))
    kept: list[int] = []
    highest = -np.inf
    for index in best_last[::-1].tolist():
        if np.isfinite(xs[index]) and np.isfinite(ys[index]) and ys[index] > highest:
            highest = float(ys[index])
            kept.append(index)
    return kept[::-1]


def under_a_line(
    x: npt.ArrayLike, y: npt.ArrayLike, *, deployment: Sequence[object], clients: npt.ArrayLike
) -> BoolArray:
    """Which points lie under the line between two neighbouring loads of another deployment.

    Closed loops between two loads lie on about that line: where a step takes ``a + b n`` seconds
    with n requests, the speed is ``1 / (a + b n)`` and throughput ``n / (a + b n)``, linear in the
    speed. So the other deployment serves a point's speed at more throughput, though no point of it
    beats the point.

    Parameters
    ----------
    x, y:
        Interactivity and throughput. [tok/s/user], [tok/s/GPU]
    deployment:
        What each point is a load of.
    clients:
        Its concurrency; loads up to twice each other are neighbours. [requests]
    """
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    loads = np.asarray(clients)
    under = np.zeros(xs.size, dtype=bool)
    for name in dict.fromkeys(deployment):
        own = np.array([each == name for each in deployment])
        members = np.flatnonzero(own)[np.argsort(loads[own], kind="stable")]
        for first, second in pairwise(members.tolist()):
            apart = loads[second] - loads[first]
            if apart < 2 or apart > loads[first]:
                continue
            slow, fast = sorted((first, second), key=lambda each: xs[each])
            between = (xs > xs[slow]) & (xs < xs[fast]) & ~own
            under |= between & (ys < np.interp(xs, xs[[slow, fast]], ys[[slow, fast]]))
    return under


@dataclass(frozen=True, eq=False)
class Frontier:
    """A frontier as a curve: a monotone cubic through its knots, defined only between them.

    Parameters
    ----------
    x:
        Knots, strictly ascending; interactivity. [tokens/s per user]
    y:
        Values at the knots; throughput. [tokens/s per GPU]
    slope:
        Tangents at the knots (`monotone_slopes`).
    indices:
        Positions of the knots among the points that the frontier was taken from.
    """

    x: FloatArray
    y: FloatArray
    slope: FloatArray
    indices: tuple[int, ...]

    @classmethod
    def of(cls, x: npt.ArrayLike, y: npt.ArrayLike) -> Frontier:
        """The frontier of points (see `frontier_indices`)."""
        xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        indices = frontier_indices(xs, ys)
        knots_x, knots_y = xs[indices], ys[indices]
        return cls(knots_x, knots_y, monotone_slopes(knots_x, knots_y), tuple(indices))

    def scaled(self, factor: float) -> Frontier:
        """The curve with every knot moved on both axes, as an error in time moves runs."""
        return Frontier(self.x * factor, self.y * factor, self.slope, self.indices)

    def at(self, x: float) -> float | None:
        """The curve at `x`; ``None`` outside its knots, where it is unreachable."""
        value = float(self.values(np.array([x]))[0])
        return None if np.isnan(value) else value

    def at_least(self, x: float) -> float | None:
        """The most at a speed of at least `x`: at the slow end, and not below it, that end's.

        ``None`` beyond the fast end, where it is unreachable.
        """
        return self.at(max(x, float(self.x[0]))) if self.x.size else None

    def values(self, x: npt.ArrayLike) -> FloatArray:
        """The curve at every `x`; NaN outside its knots."""
        wanted = np.asarray(x, dtype=np.float64)
        result = np.full(wanted.shape, np.nan)
        if self.x.size == 0:
            return result
        inside = (wanted >= self.x[0]) & (wanted <= self.x[-1])
        if self.x.size == 1:
            result[inside] = self.y[0]
            return result
        left = np.clip(
            np.searchsorted(self.x, wanted[inside], side="right") - 1, 0, self.x.size - 2
        )
        right = left + 1
        width = self.x[right] - self.x[left]
        t = (wanted[inside] - self.x[left]) / width
        result[inside] = (
            self.y[left] * (1 + 2 * t) * (1 - t) ** 2
            + self.slope[left] * width * t * (1 - t) ** 2
            + self.y[right] * t**2 * (3 - 2 * t)
            + self.slope[right] * width * t**2 * (t - 1)
        )
        return result

    def derived_at(self, x: float, quantity: Callable[[float], float]) -> float | None:
        """A quantity that follows from throughput, such as $ per million tokens, at `x`.

        It is computed from the interpolated throughput. Interpolating the quantity itself would
        give another curve, so nothing else is offered.
        """
        throughput = self.at(x)
        return None if throughput is None else quantity(throughput)


def monotone_slopes(x: FloatArray, y: FloatArray) -> FloatArray:
    """Tangents of the monotone cubic that ``d3.curveMonotoneX`` draws.

    An inner knot has ``(sign(s0) + sign(s1)) min(|s0|, |s1|, |p|/2)`` with ``s0``, ``s1`` the
    secants on either side and ``p = (s0 h1 + s1 h0)/(h0 + h1)`` the slope of the parabola
    through the three knots. An end knot has ``(3 s - t)/2``, with ``s`` its secant and ``t`` its
    neighbour's tangent, which is not limited as in Steffen's paper. Two knots give a line.

    References
    ----------
    Steffen, "A simple method for monotonic interpolation in one dimension", Astronomy and
    Astrophysics 239 (1990); ``slope2`` and ``slope3`` of d3-shape 3.2, github.com/d3/d3-shape.
    """
    if x.size < 2:
        return np.zeros(x.size)
    width = np.diff(x)
    secant = np.diff(y) / width
    if x.size == 2:
        return np.repeat(secant, 2)
    h0, h1, s0, s1 = width[:-1], width[1:], secant[:-1], secant[1:]
    parabola = (s0 * h1 + s1 * h0) / (h0 + h1)
    inner = (_sign(s0) + _sign(s1)) * np.minimum(
        np.minimum(np.abs(s0), np.abs(s1)), 0.5 * np.abs(parabola)
    )
    first = (3 * secant[0] - inner[0]) / 2
    last = (3 * secant[-1] - inner[-1]) / 2
    return np.concatenate(([first], inner, [last]))


def _sign(values: FloatArray) -> FloatArray:
    return np.where(values < 0, -1.0, 1.0)


def ratio_at(first: Frontier, second: Frontier, x: Sequence[float]) -> list[float | None]:
    """How many times the throughput of `second` the `first` has at equal interactivity.

    ``None`` where either curve is unreachable.
    """
    ratios: list[float | None] = []
    for point in x:
        above, below = first.at(point), second.at(point)
        ratios.append(None if above is None or not below else above / below)
    return ratios
