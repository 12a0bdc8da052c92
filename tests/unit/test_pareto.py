import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.analysis.pareto import Frontier, frontier_indices, ratio_at, under_a_line

POINTS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=0, max_size=25)
KNOTS = st.lists(st.tuples(st.floats(0.01, 10.0), st.floats(0.01, 100.0)), min_size=2, max_size=12)


def upper_left(points):
    """The dashboard's loop: sort by x, pop while y is at least the last one's."""
    front = []
    for x, y in sorted(points):
        if front and front[-1][0] == x:
            front[-1] = (x, max(y, front[-1][1]))
            x, y = front.pop()
        while front and y >= front[-1][1]:
            front.pop()
        front.append((x, y))
    return front


def d3_curve(x, y):
    """Bezier control points of d3.curveMonotoneX, point by point as d3-shape 3.2 draws them."""

    def sign(value):
        return -1 if value < 0 else 1

    def slope3(x0, y0, x1, y1, x2, y2):
        h0, h1 = x1 - x0, x2 - x1
        s0, s1 = (y1 - y0) / h0, (y2 - y1) / h1
        p = (s0 * h1 + s1 * h0) / (h0 + h1)
        return (sign(s0) + sign(s1)) * min(abs(s0), abs(s1), 0.5 * abs(p))

    def slope2(x0, y0, x1, y1, t):
        return (3 * (y1 - y0) / (x1 - x0) - t) / 2

    segments, previous = [], None
    for k in range(2, len(x)):
        t1 = slope3(x[k - 2], y[k - 2], x[k - 1], y[k - 1], x[k], y[k])
        t0 = slope2(x[k - 2], y[k - 2], x[k - 1], y[k - 1], t1) if k == 2 else previous
        segments.append((k - 2, t0, t1))
        previous = t1
    last = len(x) - 1
    segments.append((last - 1, previous, slope2(x[-2], y[-2], x[-1], y[-1], previous)))
    curve = []
    for k, t0, t1 in segments:
        dx = (x[k + 1] - x[k]) / 3
        curve.append(
            (
                (x[k], y[k]),
                (x[k] + dx, y[k] + dx * t0),
                (x[k + 1] - dx, y[k + 1] - dx * t1),
                (x[k + 1], y[k + 1]),
            )
        )
    return curve


def bezier(segment, u):
    weights = ((1 - u) ** 3, 3 * u * (1 - u) ** 2, 3 * u**2 * (1 - u), u**3)
    return tuple(
        sum(w * point[axis] for w, point in zip(weights, segment, strict=True)) for axis in (0, 1)
    )


# Control points that d3-shape 3.2.1 (npm) itself emits for these knots with
# line().curve(curveMonotoneX): per segment x1, y1, x2, y2, x, y.
D3_OUTPUT = {
    "steep and flat": (
        [(0, 10), (1, 9), (2.5, 7), (3, 2), (6, 1.5), (7, 0)],
        [
            (0.3333333333333333, 9.688888888888888, 0.6666666666666667, 9.377777777777778, 1, 9),
            (1.5, 8.433333333333334, 2, 8.333333333333334, 2.5, 7),
            (2.6666666666666665, 6.555555555555555, 2.8333333333333335, 2.0555555555555554, 3, 2),
            (4, 1.6666666666666667, 5, 1.8333333333333333, 6, 1.5),
            (6.333333333333333, 1.3888888888888888, 6.666666666666667, 0.6944444444444444, 7, 0),
        ],
    ),
    "uneven steps": (
        [(2, 100), (5, 90), (6, 89), (20, 40), (22, 39.9), (50, 1)],
        [
            (3, 95.79166666666667, 4, 91.58333333333333, 5, 90),
            (5.333333333333333, 89.47222222222223, 5.666666666666667, 89.38888888888889, 6, 89),
            (10.666666666666668, 83.55555555555556, 15.333333333333332, 40.466666666666676, 20, 40),
            (
                20.666666666666668,
                39.93333333333333,
                21.333333333333332,
                39.96666666666667,
                22,
                39.9,
            ),
            (31.333333333333336, 38.966666666666654, 40.666666666666664, 19.983333333333327, 50, 1),
        ],
    ),
}


@given(POINTS)
def test_the_rule_is_the_dashboards(points):
    indices = frontier_indices([x for x, _ in points], [y for _, y in points])
    assert [points[i] for i in indices] == upper_left(points)


@given(POINTS)
def test_no_point_of_the_frontier_is_beaten_and_every_other_is(points):
    indices = frontier_indices([x for x, _ in points], [y for _, y in points])
    chosen = [points[i] for i in indices]

    def beaten(p):
        return any(q[0] >= p[0] and q[1] >= p[1] and q != p for q in points)

    assert all(not beaten(p) for p in chosen)
    assert all(beaten(p) or p in chosen for p in points)


def test_ties():
    assert frontier_indices([1, 1, 1], [5, 7, 6]) == [1]
    assert frontier_indices([1, 2], [5, 5]) == [1]
    assert frontier_indices([3, 3], [5, 5]) == [0]
    assert frontier_indices([1, np.nan, 2, np.inf], [5, 9, np.nan, 9]) == [0]
    assert frontier_indices([], []) == []
    with pytest.raises(ValueError, match="one y for each x"):
        frontier_indices([1, 2], [1])


@pytest.mark.parametrize("name", D3_OUTPUT)
def test_the_test_oracle_draws_what_d3_draws(name):
    knots, expected = D3_OUTPUT[name]
    x, y = zip(*knots, strict=True)
    drawn = [tuple(c for point in segment[1:] for c in point) for segment in d3_curve(x, y)]
    np.testing.assert_allclose(drawn, expected, rtol=1e-12, atol=1e-12)


def assert_follows_d3(x, y):
    curve = Frontier.of(x, y)
    for segment in d3_curve(list(x), list(y)):
        for u in np.linspace(0, 1, 9):
            at_x, expected = bezier(segment, u)
            at_x = min(max(at_x, x[0]), x[-1])
            assert curve.at(at_x) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", D3_OUTPUT)
def test_made_up_knots_follow_d3(name):
    x, y = zip(*D3_OUTPUT[name][0], strict=True)
    assert_follows_d3(x, y)


@given(KNOTS)
def test_any_frontier_follows_d3(steps):
    """Knots from positive steps: x ascends, y descends, as every frontier does."""
    x = np.cumsum([step for step, _ in steps])
    y = np.cumsum([step for _, step in steps])[::-1]
    if len(x) > 2:
        assert_follows_d3(x, y)


@given(KNOTS)
def test_the_curve_passes_its_knots_and_stays_between_inner_ones(steps):
    x = np.cumsum([step for step, _ in steps])
    y = np.cumsum([step for _, step in steps])[::-1]
    curve = Frontier.of(x, y)
    np.testing.assert_allclose(curve.values(x), y, rtol=1e-9)
    for k in range(1, len(x) - 2):
        between = curve.values(np.linspace(x[k], x[k + 1], 20))
        assert np.all(np.diff(between) <= 1e-9 * y[0])


def test_two_knots_are_a_line_and_one_is_a_point():
    line = Frontier.of([1, 3], [4, 2])
    assert line.at(2.0) == pytest.approx(3.0)
    point = Frontier.of([5.0], [7.0])
    assert (point.at(5.0), point.at(5.1)) == (7.0, None)
    assert Frontier.of([], []).at(1.0) is None


def test_outside_the_curve_is_unreachable():
    curve = Frontier.of([10, 20, 30], [300, 200, 50])
    assert curve.at(9.999) is None
    assert curve.at(30.001) is None
    assert curve.at(10.0) == 300.0
    assert curve.at(30.0) == pytest.approx(50.0)
    np.testing.assert_array_equal(np.isnan(curve.values([5, 15, 35])), [True, False, True])


def test_dominated_points_do_not_bend_the_curve():
    curve = Frontier.of([10, 15, 20, 30], [300, 100, 200, 50])
    assert curve.indices == (0, 2, 3)
    assert curve.at(15.0) == Frontier.of([10, 20, 30], [300, 200, 50]).at(15.0)


def test_cost_follows_from_interpolated_throughput():
    curve = Frontier.of([10, 20, 30], [300, 200, 50])

    def usd_per_million(tput):
        return 2.0 * 1e6 / 3600 / tput

    derived = curve.derived_at(25.0, usd_per_million)
    assert derived == usd_per_million(curve.at(25.0))
    splined = Frontier.of([10, 20, 30], [-usd_per_million(y) for y in (300, 200, 50)])
    assert derived != pytest.approx(-splined.at(25.0), rel=0.05)
    assert curve.derived_at(31.0, usd_per_million) is None


def test_ratios_are_missing_where_either_curve_is():
    first = Frontier.of([10, 20, 30], [300, 200, 50])
    second = Frontier.of([15, 40], [100, 50])
    low, middle, high = ratio_at(first, second, [12, 20, 35])
    assert (low, high) == (None, None)
    assert middle == pytest.approx(200 / 90)


@given(
    base_s=st.floats(0.005, 0.05),
    request_s=st.floats(1e-5, 1e-3),
    low=st.integers(4, 512),
    part=st.floats(0.01, 0.99),
)
def test_loads_between_two_others_lie_on_the_line_between_them(base_s, request_s, low, part):
    """Steps of a + b n seconds: what lies a little under what n requests give is passed over."""

    def point(n):
        return 1.0 / (base_s + request_s * n), n / (base_s + request_s * n)

    between = point(low * (1.0 + part))
    for factor, under in ((0.99, True), (1.01, False)):
        x, y = np.array([point(2 * low), point(low), (between[0], factor * between[1])]).T
        found = under_a_line(x, y, deployment=["one", "one", "other"], clients=[2 * low, low, 3])
        assert found.tolist() == [False, False, under]
        alone = under_a_line(x, y, deployment=["one"] * 3, clients=[2 * low, low, low // 2])
        assert not alone.any()
