"""Asks SGLang's own prefill delayer for decisions; runs in the engine's environment.

    python sglang_driver.py WHEEL < cases.json > decisions.json

The class is one file of the wheel; what it imports is replaced by the least that it needs: an
all-gather that knows the state of all ranks, and the settings that it reads.
"""

import contextlib
import json
import logging
import sys
import types
import zipfile

import torch

FILE = "sglang/srt/managers/prefill_delayer.py"


class Anything:
    """Answers every attribute with itself, every call with false."""

    def __getattr__(self, name):
        return self

    def __call__(self, *args, **kwargs):
        return None

    def get(self, *args):
        return False


def load(wheel, ranks, state):
    """The module of a wheel for a group of ranks whose gathered state is ``state``."""
    parallel = types.SimpleNamespace(
        num_dp_ranks=ranks,
        attn_dp_enabled=True,
        attn_cp_size=1,
        attn_tp_size=1,
        tp_group=types.SimpleNamespace(cpu_group=None, device_group=None, device="cpu"),
    )
    schedule = types.SimpleNamespace(
        prefill_delayer_queue_min_ratio=None,
        prefill_delayer_max_delay_ms=None,
        prefill_max_requests=None,
        disable_overlap_schedule=False,
    )

    def gather(out, _local, group=None):
        out.copy_(torch.tensor(state["rows"], dtype=torch.int64).flatten())

    fakes = {
        "sglang.srt.distributed.utils": {"all_gather_single": gather},
        "sglang.srt.environ": {"envs": Anything()},
        "sglang.srt.runtime_context": {
            "get_parallel": lambda: parallel,
            "get_schedule": lambda: schedule,
        },
        "sglang.srt.utils": {"get_bool_env_var": lambda *_: False},
    }
    for name, members in fakes.items():
        module = types.ModuleType(name)
        module.__dict__.update(members)
        sys.modules[name] = module
    source = zipfile.ZipFile(wheel).read(FILE).decode()
    module = types.ModuleType("delayer")
    sys.modules["delayer"] = module
    exec(compile(source, FILE, "exec"), module.__dict__)
    return module


def run(wheel, case):
    """Decisions of one case: whether prompts may start, pass by pass."""
    state = {}
    ranks = case["ranks"]
    module = load(wheel, ranks, state)
    delayer = module.PrefillDelayer(
        max_delay_passes=case["max_passes"], token_usage_low_watermark=None
    )
    trackers = [module.RecentPrefillBatchSizeTracker() for _ in range(ranks)]
    decisions = []
    for one in case["passes"]:
        largest = [tracker.max_prefill_bs for tracker in trackers]
        state["rows"] = [
            [int(ready), 0, running, size, waiting, 0]
            for ready, running, size, waiting in zip(
                one["ready"], one["running"], largest, one["waiting"], strict=True
            )
        ]
        executors = [
            module.PrefillDelayerSinglePassExecutor(delayer, token_usage=0.5) for _ in range(ranks)
        ]
        # all ranks decide alike: the first decides for the group, the others estimate
        first = delayer._negotiate_should_allow_prefill(
            local_prefillable=one["ready"][0],
            token_usage=0.5,
            running_batch=one["running"][0],
            max_prefill_bs=largest[0],
            max_running_requests=case["slots"],
            waiting_queue_len=one["waiting"][0],
        )
        decisions.append(bool(first.output_allow))
        for rank, executor in enumerate(executors):
            executor._result = first
            if one["ready"][rank]:
                executor.negotiate_should_allow_prefill(
                    local_prefillable=True,
                    running_batch=one["running"][rank],
                    max_prefill_bs=largest[rank],
                    max_running_requests=case["slots"],
                    waiting_queue_len=one["waiting"][rank],
                )
            started = one["started"][rank] if first.output_allow and one["ready"][rank] else 0
            size = executor.finalize(actual_prefill_bs=started)
            if size:
                trackers[rank].observe_attempt(size)
    return decisions


def main():
    logging.disable(logging.CRITICAL)
    with contextlib.redirect_stdout(sys.stderr):
        decisions = [run(sys.argv[1], case) for case in json.load(sys.stdin)]
    json.dump(decisions, sys.stdout)


if __name__ == "__main__":
    main()
