"""Where hits fall: GLM-5.2 on B300 under SGLang, whose published runs stand around a cliff."""

import pytest

from calibration.agentx.__main__ import CLIFF_HIT, predicted
from calibration.agentx.rows import measured_rows

ROWS = {row.name: row for row in measured_rows()}


@pytest.mark.slow
def test_hits_fall_within_one_step_of_the_published_grid() -> None:
    """Measured .95 at 48 sessions and .64 at 64 (InferenceX PR 2268): below .8 from 64 on.

    One step of the grid 48, 64, 96 later would be 96.
    """
    at = {n: ROWS[f"glm_b300_pr2268_DPA8_c{n}"] for n in (48, 64, 96)}
    measured = {n: row.hit_total for n, row in at.items()}
    assert measured[48] > CLIFF_HIT > measured[64] > measured[96]
    hits = {n: predicted(at[n]).hit_total for n in (48, 96)}
    assert hits[48] > CLIFF_HIT > hits[96]
