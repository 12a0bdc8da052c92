"""Published GB200 frontier: DeepSeek-V4-Pro FP4, 8K/1K, Dynamo vLLM, disaggregated, no MTP.

InferenceX-app, ``gb300-nvl72-vs-gb200-nvl72-dsv4-pro-vllm-fp4.mdx`` (2026-05-22),
github.com/SemiAnalysisAI/InferenceX-app: tok/s/user and tok/s/GPU (input and output over all
GPUs) of the eight points of the GB200 table.
"""

import pytest

from simulator.analysis.pareto import Frontier

GB200 = (
    (74.13, 32.8),
    (32.69, 1613.8),
    (28.31, 2004.5),
    (24.42, 3148.0),
    (21.26, 5336.2),
    (21.60, 6036.2),
    (18.51, 8153.1),
    (15.26, 8933.0),
)


def test_gb200_points_are_reproduced_at_their_knots():
    """Exact to 1e-12: interpolation must not move a measured knot."""
    curve = Frontier.of([x for x, _ in GB200], [y for _, y in GB200])
    # 5,336.2 @ 21.26 is beaten by 6,036.2 @ 21.60
    assert curve.indices == (7, 6, 5, 3, 2, 1, 0)
    for x, y in GB200:
        if (x, y) != (21.26, 5336.2):
            assert curve.at(x) == pytest.approx(y, rel=1e-12)
    assert curve.at(21.26) > 5336.2


def test_gb200_between_knots_as_d3_draws_it():
    """Bezier points that d3-shape 3.2.1 emits for these knots, at the middle of each segment."""
    controls = (
        (15.26, 8933.0, 8796.626710599301, 8660.253421198602, 8153.1, 18.51),
        (18.51, 8153.1, 7670.914131845022, 6924.450030600857, 6036.2, 21.6),
        (21.6, 6036.2, 5225.564049742907, 3700.6426735218515, 3148.0, 24.42),
        (24.42, 3148.0, 2385.6666666666665, 2235.827701674277, 2004.5, 28.31),
        (28.31, 2004.5, 1744.0333333333333, 1725.2025096525097, 1613.8, 32.69),
        (32.69, 1613.8, 559.8, 296.29999999999995, 32.8, 74.13),
    )
    curve = Frontier.of([x for x, _ in GB200], [y for _, y in GB200])
    for x0, y0, y1, y2, y3, x3 in controls:
        middle = (y0 + 3 * y1 + 3 * y2 + y3) / 8
        assert curve.at((x0 + x3) / 2) == pytest.approx(middle, rel=1e-9)


@pytest.mark.parametrize("x", [15.25, 74.2, 100.0])
def test_gb200_is_unreachable_outside_its_points(x):
    assert Frontier.of([x for x, _ in GB200], [y for _, y in GB200]).at(x) is None
