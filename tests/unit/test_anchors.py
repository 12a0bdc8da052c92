"""One run of a build moves the others of its series."""

import numpy as np
import pytest
from calibration_cases import level, observation

from calibration.validation.anchors import REACH, move_by_anchors
from calibration.validation.folds import LeftOut

OLD, NEW = level(level_date="2026-05-01"), level(level_date="2026-06-01")


def sweep(series, *, at, missed, clients):
    measured = [missed, -missed, np.nan]
    return [
        observation(n, at=at, series=series, measured=measured, concurrency=c)
        for n, c in enumerate(clients)
    ]


@pytest.fixture
def moved():
    """Two builds of a series that are predicted at 0 and measured elsewhere, and a lone run."""
    observations = [
        *sweep("a", at=OLD, missed=0.1, clients=(1, 4, 64)),
        *sweep("a", at=NEW, missed=0.3, clients=(8, 16)),
        *sweep("b", at=NEW, missed=0.5, clients=(8,)),
    ]
    rows = list(range(len(observations)))
    left = LeftOut(
        rows=rows,
        logs=np.arange(len(rows))[:, None] * np.ones((1, 6)),
        offsets=np.zeros(len(rows)),
        basis=["own runs"] * len(rows),
        without=[frozenset(rows)] * len(rows),
    )
    return move_by_anchors(left, predicted=np.zeros((len(rows), 3)), observations=observations)


def test_the_middle_run_of_each_build_is_the_anchor(moved):
    left, kept, _ = moved
    assert left.rows == kept == [0, 2, 3]
    assert left.logs[:, 0].tolist() == [0, 2, 3]
    assert [1 in dropped for dropped in left.without] == [False, False, True]


def test_its_miss_counts_less_the_further_away(moved):
    _, _, predicted = moved
    shares = np.exp(-np.array([2.0, 4.0, 1.0]) / REACH)
    np.testing.assert_allclose(predicted[:, 0], shares * [0.1, 0.1, 0.3])
    np.testing.assert_allclose(predicted[:, 1], -predicted[:, 0])
    assert (predicted[:, 2] == 0.0).all()
