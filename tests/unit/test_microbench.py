"""The parts of the microbenchmark that need no GPU, and its rows beside the kernel table."""

import datetime as dt
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.importers.microbench import read_microbench, sku_of_device
from calibration.kernels.fit import KernelParameters
from calibration.kernels.microbench_report import compare_with_table, launch_times
from calibration.kernels.microbench_report import main as report_main
from calibration.microbench.__main__ import main
from calibration.microbench.cases import Case, small_cases, standard_cases
from calibration.microbench.rows import COLUMNS, Machine, Timing, read_rows, write_rows
from calibration.microbench.timing import choose_device, describe_machine, load_torch
from hwmodels.engine_files import kernel_table
from hwmodels.roofline import peak_flops_per_s, roofline_s
from hwmodels.sku import load_sku
from workloads.errors import UserError

MACHINE = Machine(
    device="NVIDIA H200", driver="580.65.06", runtime="cuda 13.0", torch="2.9.0", date="2026-09-01"
)


def timing(seconds=1e-5, *, replay="graph"):
    return Timing(
        time_s=seconds,
        fastest_s=seconds,
        slowest_s=2 * seconds,
        repeats=20,
        calls=64,
        replay=replay,
    )


def test_products_count_two_flops_per_multiply_add_and_every_operand_once():
    product = Case(kind="gemm", path="fp8", m=3, n=5, k=7)
    assert product.flops == 2 * 3 * 5 * 7
    assert product.hbm_bytes == 5 * 7 + 3 * 7 + 2 * 3 * 5
    grouped = Case(kind="grouped_gemm", path="bf16", m=3, n=5, k=7, groups=4)
    assert grouped.flops == 4 * product.flops
    assert grouped.hbm_bytes == 4 * 2 * (5 * 7 + 3 * 7 + 3 * 5)


def test_streams_gathers_and_launches():
    assert Case(kind="copy", size_bytes=100).hbm_bytes == 200
    assert Case(kind="read", size_bytes=100).hbm_bytes == 100
    assert Case(kind="gather", m=10, n=576).hbm_bytes == 10 * (2 * 2 * 576 + 8)
    assert Case(kind="launch_graph").hbm_bytes == Case(kind="launch_graph").flops == 0


def test_the_standard_cases_cover_every_kind_and_fit_the_memory():
    cases = standard_cases(memory_bytes=140e9)
    assert {case.kind for case in cases} == {case.kind for case in small_cases()}
    assert len(set(cases)) == len(cases)
    few = standard_cases(memory_bytes=1e9)
    assert max(case.hbm_bytes for case in few) <= 0.25e9
    assert len(few) < len(cases)


sizes = st.integers(min_value=0, max_value=2**31)


@settings(max_examples=30)
@given(
    m=sizes,
    n=sizes,
    seconds=st.floats(min_value=1e-9, max_value=10.0),
    kind=st.sampled_from(["gemm", "copy", "gather"]),
)
def test_rows_survive_a_file(tmp_path_factory, m, n, seconds, kind):
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    case = Case(kind=kind, path="bf16", m=m, n=n, k=3, size_bytes=m)
    write_rows(path, [(case, timing(seconds))], machine=MACHINE)
    ((read_case, read_timing, machine),) = read_rows(path)
    assert read_case == case
    assert machine == MACHINE
    assert read_timing.time_s == pytest.approx(seconds, rel=1e-5)
    assert path.read_text(encoding="utf-8").splitlines()[0].split(",") == list(COLUMNS)


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        ("time_s", "soon", "time_s is 'soon', which is not a number"),
        ("time_s", "0", "time_s is 0; it must be above 0"),
        ("m", "-1", "m is -1; it must be finite and not negative"),
        ("kind", "gem", "kind 'gem' is unknown"),
    ],
)
def test_wrong_cells_are_named(tmp_path, column, cell, message):
    path = tmp_path / "rows.csv"
    write_rows(path, [(Case(kind="gemm", path="bf16", m=1, n=2, k=3), timing())], machine=MACHINE)
    header, line = path.read_text(encoding="utf-8").splitlines()
    cells = dict(zip(header.split(","), line.split(","), strict=True)) | {column: cell}
    path.write_text(f"{header}\n{','.join(cells.values())}\n", encoding="utf-8")
    with pytest.raises(UserError, match=f"line 2: .*{message}"):
        read_rows(path)


def test_a_table_without_a_column_or_file_is_refused(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("kind,m\n", encoding="utf-8")
    with pytest.raises(UserError, match="line 1: column path is missing"):
        read_rows(path)
    with pytest.raises(UserError, match="cannot read"):
        read_rows(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("device", "sku"),
    [
        ("NVIDIA H200", "h200"),
        ("NVIDIA B300 SXM6 AC", "b300"),
        ("AMD Instinct MI355X", "mi355x"),
        ("NVIDIA GB200", "gb200"),
    ],
)
def test_drivers_name_skus(device, sku):
    assert sku_of_device(device) == sku


def test_a_device_that_names_no_sku_needs_one():
    with pytest.raises(UserError, match="names no SKU of the catalogue"):
        sku_of_device("NVIDIA GeForce")


def table_time(case, *, family, path, sku):
    """The time that the kernel table itself predicts."""
    chip = load_sku(sku)
    entry = kernel_table()["families"][family][path][chip.generation]
    own = KernelParameters(**{name: entry[name]["value"] for name in ("t0_s", "e_c", "e_m")})
    work_s = roofline_s(
        flops=float(case.flops),
        hbm_bytes=float(case.hbm_bytes),
        peak_flops_per_s=peak_flops_per_s(sku=chip, precision="bf16" if path == "any" else path),
        hbm_bytes_per_s=chip.hbm_bytes_per_s,
        compute_efficiency=own.e_c,
        memory_efficiency=own.e_m,
    )
    return own.t0_s + float(work_s)


@pytest.fixture
def exact_rows(tmp_path):
    """A file whose times are the kernel table's, slower by a tenth for memory streams."""
    rows = []
    for case in standard_cases(memory_bytes=140e9):
        if case.kind == "gemm":
            rows.append((case, timing(table_time(case, family="gemm", path=case.path, sku="h200"))))
        elif case.kind in ("copy", "read"):
            seconds = 1.1 * table_time(case, family="memory", path="any", sku="h200")
            rows.append((case, timing(seconds)))
    rows += [
        (Case(kind="launch_eager"), timing(4e-6, replay="eager")),
        (Case(kind="launch_graph"), timing(1e-6)),
    ]
    path = tmp_path / "h200.csv"
    write_rows(path, rows, machine=MACHINE)
    return path


def test_rows_that_follow_the_table_agree_with_it(exact_rows):
    rows = read_microbench(exact_rows)
    assert set(rows["sku"]) == {"h200"}
    assert set(rows["driver"]) == {MACHINE.driver}
    found = compare_with_table(rows).set_index(["family", "path"])
    assert found.loc[("gemm", "fp8"), "error"] == pytest.approx(0.0, abs=1e-4)
    assert found.loc[("memory", "any"), "bias"] == pytest.approx(1 / 1.1 - 1, abs=1e-3)
    fitted, table = (
        [found.loc[("gemm", "bf16"), f"{prefix}{name}"] for name in ("t0_s", "e_c", "e_m")]
        for prefix in ("fitted_", "")
    )
    assert fitted == pytest.approx(table, rel=0.02)
    assert found.loc[("memory", "any"), "fitted_error"] < 0.01


def test_launches_are_told_apart(exact_rows):
    rows = read_microbench(exact_rows)
    assert launch_times(rows) == {"eager": 4e-6, "graph": 1e-6}
    assert "launch" not in set(compare_with_table(rows)["family"])


def test_the_report_is_a_table(exact_rows, capsys):
    assert report_main([str(exact_rows)]) == 0
    out = capsys.readouterr().out
    assert "| h200 | gemm fp8 |" in out
    assert "A small kernel takes 1.0 µs in a graph." in out
    assert report_main([str(exact_rows.with_name("none.csv"))]) == 2
    assert "cannot read" in capsys.readouterr().err


def test_without_pytorch_the_command_says_what_to_install(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match="needs PyTorch"):
        load_torch()
    assert main(["--out", str(tmp_path / "rows.csv")]) == 2
    assert "needs PyTorch" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_machine_without_a_gpu_is_told():
    torch = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: False))
    with pytest.raises(UserError, match="PyTorch sees no GPU"):
        choose_device(torch, "cuda")
    with pytest.raises(UserError, match="device is 'tpu'"):
        choose_device(torch, "tpu")
    assert choose_device(torch, "cpu") == "cpu"


def test_rows_say_which_runtime_measured_them():
    torch = SimpleNamespace(
        __version__="2.9.0",
        version=SimpleNamespace(cuda=None, hip="7.0.1"),
        cuda=SimpleNamespace(get_device_name=lambda device: "AMD Instinct MI355X"),
    )
    machine = describe_machine(torch, device="cuda", driver="6.16", date=dt.date(2026, 9, 1))
    assert (machine.device, machine.runtime) == ("AMD Instinct MI355X", "rocm 7.0.1")
    assert machine.date == "2026-09-01"
