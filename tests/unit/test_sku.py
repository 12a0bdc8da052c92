"""The hardware catalogue: loading, names, provenance, overrides, bad input."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodels.sku import figure_fields, list_skus, load_sku
from workloads.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from hwmodels.quantities import Figure

EXPECTED = [
    "a100",
    "ascend910c",
    "ascend950dt",
    "ascend950pr",
    "b200",
    "b300",
    "gaudi3",
    "gb200",
    "gb300",
    "h100",
    "h200",
    "mi300x",
    "mi325x",
    "mi350x",
    "mi355x",
    "mi455x",
    "rtx_pro_6000",
    "tpu7x",
    "trainium3",
    "vr200",
]

MINIMAL = """
name: A chip
vendor: user
generation: mine
status: announced
scaleup_topology: switch
figures:
  flops_bf16: {value: 1000, unit: TFLOP/s, kind: estimate, note: a guess}
  hbm_bytes: {value: 100, unit: GB, kind: estimate, note: a guess}
  hbm_usable_bytes: {value: 96, unit: GB, kind: estimate, note: a guess}
  hbm_bytes_per_s: {value: 4, unit: TB/s, kind: estimate, note: a guess}
  scaleup_bytes_per_s: {value: 800, unit: Gb/s, kind: estimate, note: a guess}
  scaleup_world: {value: 16, unit: chips, kind: estimate, note: a guess}
  node_gpus: {value: 8, unit: chips, kind: estimate, note: a guess}
"""


def write(folder: Path, text: str, name: str = "mine.yaml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def all_figures() -> list[tuple[str, str, Figure]]:
    return [(k, name, fig) for k in list_skus() for name, fig in load_sku(k).figures.items()]


def test_catalogue_is_complete() -> None:
    assert list_skus() == EXPECTED


def test_every_figure_says_where_it_comes_from() -> None:
    figures = all_figures()
    assert len(figures) > 400
    for sku, name, figure in figures:
        assert figure.source or figure.kind == "estimate", f"{sku}.{name} has no source"
        assert figure.note or figure.kind != "estimate", f"{sku}.{name} guesses without a note"
        assert figure.kind in ("datasheet", "measured", "estimate"), f"{sku}.{name} {figure.kind}"


@pytest.mark.parametrize("key", EXPECTED)
def test_listed_sources_are_those_cited(key: str) -> None:
    sku = load_sku(key)
    assert set(sku.sources) == {f.source for f in sku.figures.values() if f.source}


@pytest.mark.parametrize("key", EXPECTED)
def test_attributes_are_the_figures_in_si(key: str) -> None:
    sku = load_sku(key)
    for name in figure_fields():
        group, _, member = name.rpartition(".")
        attribute = getattr(getattr(sku, group) if group else sku, member)
        figure = sku.figures.get(name)
        assert attribute == (None if figure is None else figure.si), f"{key}.{name}"


def test_units_are_converted_once() -> None:
    sku = load_sku("b200")
    assert sku.flops_fp4 == 9e15
    assert sku.hbm_bytes_per_s == 7.7e12
    assert sku.figures["hbm_bytes_per_s"].value == 7.7
    assert sku.figures["hbm_bytes_per_s"].unit == "TB/s"
    assert sku.scaleout_bytes_per_s == 50e9  # 400 Gb/s
    assert sku.clock_hz == 1.965e9
    assert sku.collective.alltoall_latency_s == pytest.approx(10.65e-6, rel=1e-12)
    assert load_sku("b300").hbm_usable_bytes == 275040 * 2**20
    assert isinstance(sku.scaleup_world, int)


def test_unknown_figures_are_absent() -> None:
    assert load_sku("h200").flops_fp4 is None
    assert load_sku("ascend910c").flops_fp8 is None
    assert load_sku("mi325x").hbm_efficiency is None
    assert load_sku("b200").scaleup_pair_bytes_per_s is None
    assert load_sku("vr200").collective.allreduce_efficiency is None


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("MI355X", "mi355x"),
        ("gb200-nvl72", "gb200"),
        ("GB300_NVL72", "gb300"),
        ("vr_nvl72", "vr200"),
        ("h200-sxm", "h200"),
        ("rtx6000pro", "rtx_pro_6000"),
        ("RTX PRO 6000", "rtx_pro_6000"),
        ("950DT", "ascend950dt"),
        ("tpuv7", "tpu7x"),
    ],
)
def test_names_ignore_case_and_punctuation(name: str, key: str) -> None:
    assert load_sku(name).key == key


def test_no_two_skus_share_a_name() -> None:
    owners: dict[str, str] = {}
    for key in list_skus():
        for name in (key, *load_sku(key).aliases):
            plain = "".join(c for c in name.lower() if c.isalnum())
            assert owners.setdefault(plain, key) == key, f"{name} means {owners[plain]} and {key}"


def test_related_skus_are_other_shipped_ones() -> None:
    for key in list_skus():
        related = load_sku(key).related_skus
        assert key not in related
        assert set(related) <= set(list_skus())
        assert len(set(related)) == len(related)


@pytest.mark.parametrize("key", EXPECTED)
def test_no_driver_reports_more_memory_than_is_sold(key: str) -> None:
    sku = load_sku(key)
    assert 0.9 * sku.hbm_bytes <= sku.hbm_usable_bytes <= sku.hbm_bytes


@pytest.mark.parametrize("key", EXPECTED)
def test_narrower_arithmetic_is_not_slower(key: str) -> None:
    sku = load_sku(key)
    rates = (sku.flops_fp32, sku.flops_bf16, sku.flops_fp8, sku.flops_fp6, sku.flops_fp4)
    known = [rate for rate in rates if rate is not None]
    assert known == sorted(known)


@pytest.mark.parametrize("key", EXPECTED)
def test_links_of_a_chip_add_up(key: str) -> None:
    """A mesh has a link to each peer, a 3D torus six neighbours; a switch has no pair links."""
    sku = load_sku(key)
    pair = sku.scaleup_pair_bytes_per_s
    if sku.scaleup_topology == "switch":
        assert pair is None
    else:
        peers = sku.scaleup_world - 1 if sku.scaleup_topology == "mesh" else 6
        assert pair is not None
        assert pair * peers == pytest.approx(sku.scaleup_bytes_per_s, rel=1e-9)


@pytest.mark.parametrize("key", EXPECTED)
def test_systems_nest(key: str) -> None:
    sku = load_sku(key)
    assert sku.scaleup_world % sku.node_gpus == 0
    assert sku.rack_gpus is None or sku.rack_gpus % sku.node_gpus == 0


def test_measured_collectives_respect_the_links() -> None:
    """Only an all-reduce may beat the link, by at most 2 (g-1)/g, where the switch reduces."""
    for key in list_skus():
        sku = load_sku(key)
        for name, figure in sku.figures.items():
            if "efficiency" in name:
                bound = 2 * 7 / 8 if name == "collective.allreduce_efficiency" else 1.0
                assert figure.si_range[1] <= bound, f"{key}.{name}"
        if sku.scaleup_topology == "mesh" and sku.collective.allreduce_efficiency:
            assert sku.collective.allreduce_efficiency <= 1.0


def test_override_is_recorded_as_the_users() -> None:
    sku = load_sku("gb200")
    changed = sku.override({"hbm_usable_bytes": 298e9, "flops_bf16": 3e15})
    assert changed.hbm_usable_bytes == 298e9
    assert changed.flops_bf16 == 3e15
    figure = changed.figures["hbm_usable_bytes"]
    assert figure.kind == "user"
    assert figure.note == "replaces 189471 MiB (measured)"
    assert sku.hbm_usable_bytes == 189471 * 2**20
    assert sku.figures["hbm_usable_bytes"].kind == "measured"
    assert changed.key == "gb200"
    assert changed != sku
    assert changed.flops_fp4 == sku.flops_fp4


def test_override_can_fill_a_blank() -> None:
    sku = load_sku("h200").override({"flops_fp4": 4e15, "scaleup_world": 72})
    assert sku.flops_fp4 == 4e15
    assert sku.figures["flops_fp4"].note == "was unknown"
    assert sku.scaleup_world == 72


@settings(max_examples=30)
@given(st.sampled_from(EXPECTED), st.floats(1e-3, 1e3))
def test_override_of_a_rate_changes_nothing_else(key: str, factor: float) -> None:
    sku = load_sku(key)
    changed = sku.override({"hbm_bytes_per_s": sku.hbm_bytes_per_s * factor})
    assert changed.hbm_bytes_per_s == pytest.approx(sku.hbm_bytes_per_s * factor, rel=1e-12)
    for name in figure_fields():
        if name != "hbm_bytes_per_s":
            assert changed.figures.get(name) == sku.figures.get(name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hbm_usable_byte": 1e9}, r"sku field 'hbm_usable_byte' is unknown; did you mean.*hbm_us"),
        (
            {"hbm_bytes_per_s": -1.0},
            r"hbm_bytes_per_s is -1.0; it must be a positive number in B/s",
        ),
        ({"hbm_bytes_per_s": 0}, "must be a positive number"),
        ({"hbm_bytes_per_s": float("nan")}, "must be a positive number"),
        ({"hbm_bytes_per_s": float("inf")}, "must be a positive number"),
        ({"hbm_bytes_per_s": "fast"}, r"hbm_bytes_per_s is 'fast'; it must be a positive number"),
        ({"hbm_bytes_per_s": True}, "must be a positive number"),
        ({"hbm_usable_bytes": 298.0}, r"298 B, below a thousandth of the chip's .* SI units"),
        ({"hbm_bytes_per_s": 8000}, r"8000 B/s, below a thousandth of the chip's .* SI units"),
        ({"hbm_efficiency": 0.9}, "hbm_efficiency is on record only and changes no figure"),
        ({"scaleup_world": 7.5}, r"override of b200: scaleup_world: .*valid integer"),
    ],
)
def test_bad_override(changes: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_sku("b200").override(changes)


def test_unknown_sku_offers_the_nearest() -> None:
    with pytest.raises(UserError, match=r"sku 'mi356x' is unknown; did you mean .*mi355x"):
        load_sku("mi356x")
    with pytest.raises(UserError, match="known: a100, ascend910c"):
        load_sku("???")


def test_a_users_file_loads(tmp_path: Path) -> None:
    sku = load_sku(write(tmp_path, MINIMAL, "my_chip.yaml"))
    assert sku.key == "my_chip"
    assert sku.scaleup_bytes_per_s == 100e9
    assert sku.scaleup_world == 16
    assert sku.related_skus == ()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("value: 4, unit: TB/s", "value: 4, unit: GB", r"hbm_bytes_per_s is in GB; .* unit of B/s"),
        ("unit: TB/s", "unit: furlong", r"hbm_bytes_per_s: unit 'furlong' is unknown; use one of"),
        ("value: 4, ", "value: -4, ", r"hbm_bytes_per_s: value: .*greater than 0 \(given: -4\)"),
        ("value: 4, ", "value: .inf, ", r"hbm_bytes_per_s: value: .*finite"),
        ("TB/s, kind: estimate", "TB/s, kind: rumour", r"hbm_bytes_per_s: kind: .*'datasheet'"),
        ("TB/s, kind: estimate", "TB/s, kind: measured", "a measured figure needs a source"),
        ("TB/s, kind: estimate, note: a guess", "TB/s, kind: estimate", "an estimate needs a note"),
        ("value: 4, ", "value: 4, high: 3, ", "high 3 is below the value 4"),
        ("value: 4, ", "value: 4, low: 5, ", "low 5 exceeds the value 4"),
        ("hbm_bytes_per_s:", "hbm_bandwidth:", r"figure 'hbm_bandwidth' is unknown; did you mean"),
        ("value: 16,", "value: 16.5,", r"scaleup_world: .*valid integer.*\(given: 16.5\)"),
        ("  flops_bf16:", "flops_fp8: 1\n  flops_bf16:", r"line \d+, column \d+"),
        ("status: announced", "status: announced\ntdp: 5", r"tdp: Extra inputs"),
        ("status: announced", "tdp_w: 5\nstatus: announced", "tdp_w belongs under 'figures'"),
        ("figures:", "figures: 5\nrest:", "figures must hold 'name: value' lines; it holds int"),
        ("figures:", "figures:\n  collective: 5", "collective must hold 'name: value' lines"),
        ("figures:", "figures:\n  l2_bytes: 5", "l2_bytes: Input should be a valid dict"),
        ("vendor: user", "vendor: user\ncolour: [red", r"mine.yaml line \d+, column \d+"),
    ],
)
def test_bad_file(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in MINIMAL
    with pytest.raises(UserError, match=message) as caught:
        load_sku(write(tmp_path, MINIMAL.replace(old, new)))
    assert "mine.yaml" in str(caught.value)


def test_a_missing_figure_is_named(tmp_path: Path) -> None:
    text = "\n".join(line for line in MINIMAL.splitlines() if "node_gpus" not in line)
    with pytest.raises(UserError, match="node_gpus: Field required"):
        load_sku(write(tmp_path, text))


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*absent.yaml: No such file"):
        load_sku(str(tmp_path / "absent.yaml"))
    with pytest.raises(UserError, match="it holds list"):
        load_sku(write(tmp_path, "- a\n- b\n"))
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    with pytest.raises(UserError, match="is not UTF-8"):
        load_sku(str(tmp_path / "latin.yaml"))


def test_skus_hash_and_pickle() -> None:
    sku = load_sku("mi355x")
    changed = sku.override({"hbm_bytes_per_s": 9e12})
    assert load_sku("MI355X") is sku
    assert {sku: 1, changed: 2}[sku] == 1
    assert pickle.loads(pickle.dumps(changed)) == changed
