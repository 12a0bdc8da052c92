"""Published power and money arithmetic, with the constants of its date."""

from __future__ import annotations

import pytest

from hwmodels.economics import (
    joules_per_token,
    load_economics,
    tokens_per_s_per_mw,
    usd_per_million_tokens,
)


@pytest.mark.parametrize(("tokens_per_s", "per_mw"), [(651.0, 300e3), (1085.0, 500e3)])
def test_b200_vllm_throughput_per_megawatt(tokens_per_s: float, per_mw: float) -> None:
    """B200, vLLM, DeepSeek-V4-Pro at 50 tok/s/user: 300k to 500k tok/s/MW, 651 to 1,085 tok/s/GPU.

    SemiAnalysis InferenceX blog (May 2026), at the 2.17 kW per B200 that its registry held until
    2026-07-13 (InferenceX-app@e6eed33 packages/constants/src/gpu-keys.ts). Exact.
    """
    kw = load_economics("2026-04").for_sku("b200").inferencex_kw
    assert kw == 2.17
    assert tokens_per_s_per_mw(tokens_per_s_per_gpu=tokens_per_s, kw_per_gpu=kw) == pytest.approx(
        per_mw, rel=1e-12
    )
    assert joules_per_token(tokens_per_s_per_gpu=tokens_per_s, kw_per_gpu=kw) == pytest.approx(
        1e6 / per_mw, rel=1e-12
    )


def test_gb300_cost_per_million_output_tokens() -> None:
    """GB300, MTP, 8k/1k, 50 tok/s/user: $0.156 per M output tokens is 4,722 tok/s per decode GPU.

    SemiAnalysis InferenceX blog (May 2026), at $2.652 per GB300 and hour of the registry of that
    time (InferenceX-app@e6eed33). Both ways within the rounding of the printed digits.
    """
    price = load_economics("2026-04").for_sku("gb300").usd_per_gpu_hour("hyperscaler")
    assert price == 2.652
    cost = usd_per_million_tokens(usd_per_gpu_hour=price, tokens_per_s_per_gpu=4722.0)
    assert round(float(cost), 3) == 0.156
    rate_at_printed_cost = price * 1e6 / 3600.0 / 0.156
    assert rate_at_printed_cost == pytest.approx(4722.0, abs=1.0)


@pytest.mark.parametrize(
    ("sku", "low", "high"),
    [
        ("h100", 1.26, 1.29),
        ("h200", 1.26, 1.29),
        ("b200", 1.26, 1.29),
        ("mi300x", 1.26, 1.29),
        ("mi325x", 1.26, 1.29),
        ("mi355x", 1.26, 1.29),
        ("gb200", 1.12, 1.13),
    ],
)
def test_the_old_power_was_after_pue(sku: str, low: float, high: float) -> None:
    """2026-04 over 2026-07 kW is near the PUE: 1.3 with air, 1.1 with direct liquid cooling.

    InferenceX-app PR #578 and docs/powerx-system-power.md (06b5ae8).
    """
    old = load_economics("2026-04").for_sku(sku).inferencex_kw
    new = load_economics("2026-07").for_sku(sku)
    assert old is not None
    assert new.it_kw is not None
    assert new.pue is not None
    assert low <= old / new.it_kw <= high
    assert old / new.it_kw == pytest.approx(new.pue, rel=0.05)


@pytest.mark.parametrize(
    ("sku", "utility_kw", "hyperscaler", "rental"),
    [
        ("h100", 1.78, 1.17, 2.00),
        ("h200", 1.78, 1.22, 2.90),
        ("b200", 2.22, 1.73, 3.70),
        ("b300", 2.47, 2.26, 4.25),
        ("gb200", 2.06, 1.86, 4.00),
        ("gb300", 2.33, 2.31, 5.00),
        ("vr200", 3.63, 3.61, 8.50),
        ("mi300x", 1.81, 0.95, 1.30),
        ("mi325x", 2.20, 1.10, 1.60),
        ("mi355x", 2.72, 1.50, 2.90),
        ("tpu7x", 1.33, 1.21, 2.00),
        ("rtx_pro_6000", 1.27, 0.68, 0.52),
    ],
)
def test_constants_of_september_2026(
    sku: str, utility_kw: float, hyperscaler: float, rental: float
) -> None:
    """Utility kW rounded to two digits, and prices.

    InferenceX-app packages/constants/src/gpu-keys.ts (Sep 2026; PRs #659, #661, #1071, #1123).
    """
    row = load_economics("2026-09").for_sku(sku)
    assert row.utility_kw == pytest.approx(utility_kw, abs=0.006)
    assert row.usd_per_gpu_hour("hyperscaler") == hyperscaler
    assert row.usd_per_gpu_hour("rental") == rental
