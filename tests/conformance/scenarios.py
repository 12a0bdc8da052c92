"""Random scenarios for an engine's own scheduler and ours: plain data, the same for both."""

import random

KINDS = (
    "plain",
    "whole_prompts",
    "tiny_pool",
    "tiny_first_chunk",
    "prefix",
    "speculation",
    "interval",
    "interval_dp",
    "in_flight",
    "in_flight_dp",
    "in_flight_tiny",
)
"""Kinds of vLLM scenarios."""

EACH = 32


def vllm_scenarios(*, each=EACH, seed=2026):
    """Scenarios of every kind in turn, ``each`` a kind."""
    return [
        _vllm(kind, random.Random(f"{seed} {kind} {number}"))
        for kind in KINDS
        for number in range(each)
    ]


def _vllm(kind, rng):
    block = rng.choice([4, 16])
    count = rng.randint(2, 40)
    spread = rng.choice([0.0, 5.0, 60.0])
    requests = []
    for _ in range(count):
        row = {
            "prompt": rng.randint(1, 250),
            "output": rng.randint(1, 60),
            "at": round(rng.random() * spread * 2) / 2 + (0.25 if spread else 0.0),
        }
        requests.append(row)
    dp = rng.choice([2, 4]) if kind.endswith("dp") else 1
    scenario = {
        "kind": kind,
        "dp": dp,
        "async": kind.startswith("in_flight"),
        "block_tokens": block,
        "blocks": 4000,
        "drafts": 0,
        "settings": {
            "max_num_batched_tokens": rng.choice([48, 64, 128, 300]),
            "max_num_seqs": rng.choice([4, 12, 40]),
            "enable_chunked_prefill": kind != "whole_prompts",
            "enable_prefix_caching": kind == "prefix",
        },
        "requests": requests,
    }
    if kind == "whole_prompts":
        scenario["settings"]["max_num_batched_tokens"] = rng.choice([256, 300, 512])
    if kind == "tiny_first_chunk":
        scenario["settings"]["scheduler_reserve_full_isl"] = False
    if "tiny" in kind:
        scenario["blocks"] = rng.choice([1, 2, 3]) * -(-320 // block)
    if "interval" in kind:
        scenario["settings"]["prefill_schedule_interval"] = rng.choice([2, 4, 8])
    if kind == "prefix":
        groups = rng.randint(1, 3)
        for row in requests:
            row["group"] = rng.randrange(groups)
            row["shared"] = block * rng.choice([0, 2, 5, 10])
            row["prompt"] = row["shared"] + rng.randint(1, 120)
    if kind == "speculation":
        drafts = scenario["drafts"] = rng.choice([1, 3])
        for row in requests:
            row["accepted"] = rng.randint(0, drafts)
            row["steps"] = rng.randint(0, 30)
            row["output"] = 1 + row["steps"] * (1 + row["accepted"])
    return scenario


CLOSED = ((64, 1), (64, 8), (128, 1), (128, 8), (256, 8))
"""Clients and prefill interval of the closed loops."""


def closed_loops(*, seed=2026):
    """Eight data-parallel ranks under closed loops of 8,192/1,024 with a step in flight."""
    cases = []
    for clients, interval in CLOSED:
        rng = random.Random(f"{seed} closed {clients} {interval}")
        requests = [
            {"prompt": rng.randint(6554, 8192), "output": rng.randint(820, 1024), "at": 0.0}
            for _ in range(4 * clients)
        ]
        cases.append(
            {
                "kind": "closed",
                "dp": 8,
                "async": True,
                "block_tokens": 16,
                "blocks": 10**6,
                "drafts": 0,
                "step_s": [0.03, 1e-4],
                "closed": {"clients": clients, "turnaround_s": 0.01},
                "settings": {
                    "max_num_batched_tokens": 8192,
                    "max_num_seqs": 1024,
                    "enable_chunked_prefill": True,
                    "enable_prefix_caching": False,
                    "prefill_schedule_interval": interval,
                },
                "requests": requests,
            }
        )
    return cases


def delayer_cases(*, count, seed=2026):
    """Random states of ranks, pass by pass, for SGLang's prefill delayer."""
    cases = []
    for number in range(count):
        rng = random.Random(f"{seed} delayer {number}")
        ranks, slots = rng.choice([2, 4, 8]), rng.choice([4, 8, 16])
        passes = []
        for _ in range(200):
            most = rng.choice([slots, slots - 1, slots // 2])
            passes.append(
                {
                    "ready": [rng.random() < 0.9 for _ in range(ranks)],
                    "running": [rng.randint(0, most) for _ in range(ranks)],
                    "waiting": [rng.randint(1, 6) for _ in range(ranks)],
                    "started": [rng.randint(0, 3) for _ in range(ranks)],
                }
            )
        cases.append(
            {
                "ranks": ranks,
                "slots": slots,
                "max_passes": rng.choice([3, 10, 30]),
                "passes": passes,
            }
        )
    return cases
