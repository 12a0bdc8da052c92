import numpy as np
import pytest
from calibration_cases import level

from calibration.fit.effects import FITTED, EffectSpace
from hwmodels.fitted import EFFECTS


def test_a_level_is_the_sum_of_its_groups():
    levels = [level(), level(sku="b300"), level(engine="sglang")]
    space = EffectSpace(levels=levels)
    parameter = FITTED[0]
    effects = np.zeros(len(space))
    effects[space.columns[parameter.name, "all", ""]] = 0.1
    effects[space.columns[parameter.name, "engine", "vllm"]] = 0.02
    effects[space.columns[parameter.name, "sku", "b300"]] = 0.003
    sums = [space.values(effects=effects, level=each)[0] for each in levels]
    assert sums == pytest.approx([0.12, 0.123, 0.1])


def test_siblings_of_a_chip_family_share_their_kernels_and_strangers_do_not():
    space = EffectSpace(levels=[level(), level(sku="b300"), level(sku="h200")])
    parameter = FITTED[0]

    def shared(one, other):
        first, second = (set(space.indices(parameter=parameter, level=x)) for x in (one, other))
        return first & second

    siblings = shared(level(), level(sku="b300"))
    strangers = shared(level(), level(sku="h200"))
    assert space.columns[parameter.name, "kernels", "vllm/blackwell"] in siblings
    assert strangers < siblings


def test_a_level_that_no_run_has_gets_what_related_runs_share():
    space = EffectSpace(levels=[level()])
    parameter = FITTED[0]
    unseen = space.indices(parameter=parameter, level=level(sku="b300", level_date="2026-08"))
    own = space.indices(parameter=parameter, level=level())
    assert set(unseen) < set(own)
    # all, family, model, vendor, engine, port, kernels, the family's kernels, those in a precision
    assert len(unseen) == 9


def test_precisions_have_kernels_of_their_own_beside_what_they_share():
    space = EffectSpace(levels=[level(precision="fp4"), level(precision="fp8")])
    parameter = FITTED[0]
    fp4, fp8, unseen = (
        set(space.indices(parameter=parameter, level=level(precision=name)))
        for name in ("fp4", "fp8", "bf16")
    )
    assert len(fp4 - fp8) == len(fp8 - fp4) == 1
    assert unseen == fp4 & fp8


def test_values_stay_within_the_bounds_that_physics_sets():
    space = EffectSpace(levels=[level()])
    for sign in (-1.0, 1.0):
        values = space.values(effects=np.full(len(space), sign * 50.0), level=level())
        ends = [np.log(p.high if sign > 0 else p.low) for p in space.parameters]
        assert values == pytest.approx(ends)


def test_priors_have_a_width_for_every_effect_and_bounds_around_the_start():
    for parameter in FITTED:
        assert len(parameter.widths) == len(EFFECTS)
        assert min(parameter.widths) >= 0.0 < parameter.widths[0]
        assert parameter.low < 1.0 < parameter.high
