"""Per-chip figures of the catalogue against totals that vendors publish for whole systems."""

from __future__ import annotations

import pytest

from hwmodels.sku import load_sku

# Rack totals of Understanding-GPU data/rack_systems.csv (Aug 2026); for GB200 and GB300 NVIDIA's
# product pages, whose FP4 to BF16 totals are sparse except GB300's 1,080 PF of dense FP4.
RACKS = [
    ("gb200", "flops_fp4", 720e15, 0.01),  # 1,440 PF sparse
    ("gb200", "flops_fp8", 360e15, 0.01),  # 720 PF sparse
    ("gb200", "flops_bf16", 180e15, 0.01),  # 360 PF sparse
    ("gb200", "hbm_bytes_per_s", 576e12, 0.01),
    ("gb300", "flops_fp4", 1080e15, 0.01),
    ("gb300", "flops_fp8", 360e15, 0.01),
    ("gb300", "hbm_bytes_per_s", 576e12, 0.01),
    ("vr200", "flops_fp4", 2520e15, 0.01),
    ("vr200", "flops_fp8", 1260e15, 0.01),
    ("vr200", "flops_bf16", 288e15, 0.01),
    ("vr200", "hbm_bytes_per_s", 1580e12, 0.01),
    ("mi455x", "flops_fp4", 2900e15, 0.01),
    ("mi455x", "flops_fp8", 1400e15, 0.04),  # printed with two digits, from 19.4 PF a chip
    ("mi455x", "flops_bf16", 362e15, 0.01),
    ("mi455x", "hbm_bytes_per_s", 1700e12, 0.02),
]


@pytest.mark.parametrize(("key", "field", "rack", "tolerance"), RACKS)
def test_rack_totals_are_the_chips(key: str, field: str, rack: float, tolerance: float) -> None:
    sku = load_sku(key)
    assert sku.rack_gpus == 72
    assert getattr(sku, field) * sku.rack_gpus == pytest.approx(rack, rel=tolerance)


@pytest.mark.parametrize(
    ("key", "both_directions"),
    [("gb200", 130e12), ("gb300", 130e12), ("vr200", 260e12), ("mi455x", 260e12)],
)
def test_rack_link_totals_count_both_directions(key: str, both_directions: float) -> None:
    """NVIDIA's 130 and 260 TB/s and AMD's 260 TB/s a rack are twice the rate per direction."""
    sku = load_sku(key)
    assert 2 * 72 * sku.scaleup_bytes_per_s == pytest.approx(both_directions, rel=0.01)


@pytest.mark.parametrize(
    ("key", "field", "sparse"),
    [
        ("h100", "flops_fp8", 3958e12),  # NVIDIA H100 product page
        ("h200", "flops_bf16", 1979e12),  # NVIDIA H200 product page
        ("b200", "flops_fp4", 18e15),  # NVIDIA HGX page
        ("mi355x", "flops_fp4", 20.1e15),  # AMD press material
        ("rtx_pro_6000", "flops_fp4", 4e15),  # NVIDIA product page, at a higher clock
    ],
)
def test_rates_are_the_dense_half_of_the_sparse_ones(key: str, field: str, sparse: float) -> None:
    assert getattr(load_sku(key), field) == pytest.approx(sparse / 2, rel=0.07)


def test_atlas_950_superpod() -> None:
    """8 EF of FP8 over 8,192 chips are 977 TF: between the 919 bin and the full part's 1,034.

    Huawei Ascend 950 whitepaper (Sep 2026).
    """
    figure = load_sku("ascend950dt").figures["flops_fp8"]
    low, high = figure.si_range
    assert low <= 8e18 / 8192 <= high


def test_ampere_to_blackwell_memory_read_by_the_driver() -> None:
    """nvidia-smi totals: 81,559, 143,771, 189,471, 275,040, 284,208 and 97,887 MiB.

    ai-dynamo/aiconfigurator@095f58a systems/*.yaml for the last four.
    """
    skus = ("h100", "h200", "gb200", "b300", "gb300", "rtx_pro_6000")
    gigabytes = (85.5, 150.8, 198.7, 288.4, 298.0, 102.6)
    for key, expected in zip(skus, gigabytes, strict=True):
        assert load_sku(key).hbm_usable_bytes / 1e9 == pytest.approx(expected, abs=0.05), key
    assert load_sku("gb300").hbm_usable_bytes / load_sku("gb200").hbm_usable_bytes == pytest.approx(
        1.5, rel=0.001
    )
