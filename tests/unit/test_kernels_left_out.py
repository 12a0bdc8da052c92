import pytest

from calibration.kernels.left_out import kernel_tables_of, table_without, without_kernels
from hwmodels.engine_files import kernel_table
from hwmodels.sku import load_sku
from hwmodels.software import load_software

NAMES = ("t0_s", "e_c", "e_m")


def table(sku, absent):
    chip = load_sku(sku)
    return table_without(
        sku=chip.key, generation=chip.generation, vendor=chip.vendor, absent=absent
    )


def values(entry):
    return [entry[name]["value"] for name in NAMES]


@pytest.mark.parametrize("sku", ["b200", "b300", "gb200", "h200"])
def test_a_sku_leaves_its_rows_behind_but_little_changes(sku):
    """Another SKU of the generation predicts its kernels within the table's own scatter."""
    generation = load_sku(sku).generation
    assert kernel_tables_of(sku)
    before = kernel_table()["families"]["gemm"]["fp8"][generation]
    after = table(sku, "sku")["families"]["gemm"]["fp8"][generation]
    assert values(after) != values(before)
    assert values(after) == pytest.approx(values(before), rel=0.15)


def test_other_generations_keep_their_entries():
    after = table("b200", "sku")
    for family, paths in kernel_table()["families"].items():
        for path, generations in paths.items():
            for name, entry in generations.items():
                if name != "blackwell":
                    assert after["families"][family][path][name] == entry


def test_a_path_measured_on_this_sku_alone_falls_to_related_skus():
    before = kernel_table()["families"]["grouped_gemm"]["fused"]
    assert before["blackwell"]["skus"] == ["gb200"]
    fused = table("gb200", "sku")["families"]["grouped_gemm"]["fused"]
    assert fused["blackwell"] == before["blackwell_ultra"]
    kept = table("b200", "sku")["families"]["grouped_gemm"]["fused"]
    assert kept["blackwell"] == before["blackwell"]


def test_a_generation_falls_to_another_of_its_vendor():
    before = kernel_table()["families"]
    after = table("h200", "generation")["families"]
    assert after["attention"]["decode"]["hopper"] == before["attention"]["decode"]["blackwell"]
    amd = table("mi300x", "generation")["families"]
    assert amd["gemm"]["fp8"]["cdna3"] == before["gemm"]["fp8"]["cdna4"]


def test_fp4_paths_that_no_stand_in_has_carry_its_fp8_rate_over():
    """FLOP/s are kept: half the share of a peak twice as high."""
    chip = load_sku("b200")
    before = kernel_table()["families"]["gemm"]["fp8"]["hopper"]
    after = table("b200", "generation")["families"]["gemm"]["nvfp4"]["blackwell"]
    assert after["e_c"]["value"] * chip.flops_fp4 == pytest.approx(
        before["e_c"]["value"] * chip.flops_fp8
    )
    assert after["e_m"] == before["e_m"]


def test_a_vendor_falls_to_what_all_others_share():
    before = kernel_table()["families"]["gemm"]["bf16"]
    assert table("mi355x", "vendor")["families"]["gemm"]["bf16"]["cdna4"] == before["generic"]
    assert table("b200", "vendor")["families"]["gemm"]["bf16"]["blackwell"] == before["cdna4"]


def test_the_network_between_nodes_is_not_the_chips():
    before = kernel_table()["collectives"]["all_to_all"]["blackwell"]
    after = table("b200", "generation")["collectives"]["all_to_all"]["blackwell"]
    assert after["scaleout_latency_s"] == before["scaleout_latency_s"]
    assert after["latency_s"] != before["latency_s"]


def test_a_level_keeps_its_parameters_on_another_table():
    sku = load_sku("h200")
    level = load_software(engine="vllm", sku=sku, model="deepseek-v4-pro", specification=True)
    level = level.with_parameters({"t0_scale": 2.0})
    changed = without_kernels(level, sku=sku, absent="generation")
    entry = kernel_table()["families"]["gemm"]["fp8"]["blackwell"]
    assert changed.kernels["gemm", "fp8"].t0_s == pytest.approx(2.0 * entry["t0_s"]["value"])
    assert changed.parameters == level.parameters
    assert changed.name != level.name
