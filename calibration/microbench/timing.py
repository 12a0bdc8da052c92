"""Timing on a GPU with PyTorch: warm-up, graph replay where it works, events, medians.

The operands of a case are held several times over, larger together than any cache, and used in
turn, so that weights come from memory as they do in a decode step.
"""

from __future__ import annotations

import statistics
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

from calibration.microbench.rows import Machine, Timing
from workloads.errors import UserError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

    from calibration.microbench.cases import Case

COLD_BYTES = 512e6
"""Size of all operand sets together: more than twice the last-level caches of present GPUs. [B]"""

MOST_CALLS = 64
LAUNCHES = 200
"""Small kernels behind one another when launches are timed."""

WARM_UPS = 3


def load_torch() -> Any:
    """PyTorch.

    Raises
    ------
    UserError
        If it is not installed.
    """
    try:
        return import_module("torch")
    except ImportError:
        raise UserError(
            "the microbenchmark needs PyTorch; install the build for your GPU (pytorch.org) "
            "into this environment"
        ) from None


def choose_device(torch: Any, name: str) -> str:
    """The device to time, ``cuda`` also for ROCm.

    Raises
    ------
    UserError
        If it is not there.
    """
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(
            "PyTorch sees no GPU; check the driver and that PyTorch is a CUDA or ROCm build, or "
            "try the cases with --device cpu --small"
        )
    if not name.startswith(("cuda", "cpu")):
        raise UserError(f"device is '{name}'; write cuda, cuda:1 or cpu")
    return name


def describe_machine(torch: Any, *, device: str, driver: str, date: dt.date) -> Machine:
    """What rows say about where they were measured."""
    if device.startswith("cuda"):
        name = str(torch.cuda.get_device_name(device))
        hip = getattr(torch.version, "hip", None)
        runtime = f"rocm {hip}" if hip else f"cuda {torch.version.cuda}"
    else:
        name, runtime = "cpu", "cpu"
    return Machine(
        device=name,
        driver=driver,
        runtime=runtime,
        torch=str(torch.__version__),
        date=date.isoformat(),
    )


def free_bytes(torch: Any, *, device: str) -> float:
    """Free memory of a device; a gigabyte for the CPU. [B]"""
    return float(torch.cuda.mem_get_info(device)[0]) if device.startswith("cuda") else 1e9


def time_case(torch: Any, case: Case, *, device: str, repeats: int) -> Timing | None:
    """Time of one case; ``None`` where the device or the PyTorch build cannot run it."""
    gpu = device.startswith("cuda")
    launch = case.kind.startswith("launch")
    if case.kind == "launch_graph" and not gpu:
        return None
    sets = 1 if launch else _sets(case)
    calls = LAUNCHES if launch else sets
    try:
        call = _operation(torch, case, device=device, sets=sets)
        for _ in range(WARM_UPS):
            call(0)
        if not gpu:
            return _timing(_cpu_times(call, calls=calls, repeats=repeats), calls, "eager")
        graph = None if case.kind == "launch_eager" else _captured(torch, call, calls=calls)
        run = graph.replay if graph is not None else lambda: [call(i % sets) for i in range(calls)]
        times = _gpu_times(torch, run, calls=calls, repeats=repeats, device=device)
    except (RuntimeError, NotImplementedError, AttributeError):
        # an unsupported type or shape, or too little memory: the case is left out of the rows
        return None
    return _timing(times, calls, "eager" if graph is None else "graph")


def _sets(case: Case) -> int:
    return max(2, min(MOST_CALLS, round(COLD_BYTES / max(case.hbm_bytes, 1.0))))


def _timing(times: list[float], calls: int, replay: str) -> Timing:
    return Timing(
        time_s=statistics.median(times),
        fastest_s=min(times),
        slowest_s=max(times),
        repeats=len(times),
        calls=calls,
        replay=replay,
    )


def _captured(torch: Any, call: Callable[[int], Any], *, calls: int) -> Any | None:
    """A graph of the calls in turn; ``None`` where an operation cannot be captured."""
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            for index in range(calls):
                call(index)
    except RuntimeError:
        torch.cuda.synchronize()
        return None
    return graph


def _gpu_times(
    torch: Any, run: Callable[[], Any], *, calls: int, repeats: int, device: str
) -> list[float]:
    """Seconds of one call in each repeat, between two events on the stream."""
    times = []
    for repeat in range(WARM_UPS + repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        torch.cuda.synchronize(device)
        if repeat >= WARM_UPS:
            times.append(1e-3 * start.elapsed_time(end) / calls)
    return times


def _cpu_times(call: Callable[[int], Any], *, calls: int, repeats: int) -> list[float]:
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        for index in range(calls):
            call(index)
        times.append((time.perf_counter() - started) / calls)
    return times


def _operation(torch: Any, case: Case, *, device: str, sets: int) -> Callable[[int], Any]:
    """The case as a call that uses its operand sets in turn."""
    half = torch.bfloat16

    def random(*shape: int) -> Any:
        return torch.randn(*shape, device=device, dtype=torch.float32).to(half)

    match case.kind:
        case "gemm" if case.path == "fp8":
            return _scaled_product(torch, case, device=device, sets=sets, random=random)
        case "gemm":
            left = [random(case.m, case.k) for _ in range(sets)]
            right = [random(case.n, case.k) for _ in range(sets)]
            out = torch.empty(case.m, case.n, device=device, dtype=half)
            return lambda i: torch.mm(left[i % sets], right[i % sets].t(), out=out)
        case "grouped_gemm":
            left = [random(case.groups, case.m, case.k) for _ in range(sets)]
            right = [random(case.groups, case.n, case.k) for _ in range(sets)]
            out = torch.empty(case.groups, case.m, case.n, device=device, dtype=half)
            return lambda i: torch.bmm(left[i % sets], right[i % sets].transpose(1, 2), out=out)
        case "copy":
            source = [_stream(torch, case, device) for _ in range(sets)]
            target = [_stream(torch, case, device) for _ in range(sets)]
            return lambda i: target[i % sets].copy_(source[i % sets])
        case "read":
            source = [_stream(torch, case, device) for _ in range(sets)]
            return lambda i: torch.sum(source[i % sets])
        case "gather":
            pool = random(max(4 * case.m, 1024), case.n)
            index = [torch.randint(0, pool.shape[0], (case.m,), device=device) for _ in range(sets)]
            out = torch.empty(case.m, case.n, device=device, dtype=half)
            return lambda i: torch.index_select(pool, 0, index[i % sets], out=out)
    small = torch.zeros(1, device=device)
    return lambda _: small.add_(1.0)


def _stream(torch: Any, case: Case, device: str) -> Any:
    return torch.ones(max(case.size_bytes // 4, 1), device=device, dtype=torch.float32)


def _scaled_product(
    torch: Any, case: Case, *, device: str, sets: int, random: Callable[..., Any]
) -> Callable[[int], Any]:
    """An FP8 product with one scale per tensor; the second operand is column-major."""
    eight = torch.float8_e4m3fn
    left = [random(case.m, case.k).to(eight) for _ in range(sets)]
    right = [random(case.n, case.k).to(eight).t() for _ in range(sets)]
    one = torch.ones((), device=device, dtype=torch.float32)
    return lambda i: torch._scaled_mm(
        left[i % sets], right[i % sets], scale_a=one, scale_b=one, out_dtype=torch.bfloat16
    )
