"""ATOM's rules as traces: (start, steps, prefill tokens, decode requests)."""

from engine_traces import finishes, pool, requests, trace

from simulator.engines.atom.engine import AtomSettings


def atom(**settings):
    return AtomSettings(
        **{
            "deferred_output": False,
            "prefill_alignment": "none",
            "max_num_batched_tokens": 16,
            "max_num_seqs": 8,
            **settings,
        }
    )


def test_whole_prompts_go_first() -> None:
    steps, records = trace(pool(atom()), requests((10, 3), (8, 2), (4, 2)))
    assert steps == [
        (0.0, 1, 10, 0),  # 8 more would exceed 16, and the third does not overtake
        (1.0, 1, 12, 0),
        (2.0, 1, 0, 3),
        (3.0, 1, 0, 1),
    ]
    assert finishes(records) == [(3.0, 1), (3.0, 2), (4.0, 0)]


def test_a_prompt_beyond_the_budget_is_cut_and_taken_alone() -> None:
    steps, _ = trace(pool(atom()), requests((40, 1), (8, 1)))
    assert steps == [(0.0, 1, 16, 0), (1.0, 1, 16, 0), (2.0, 1, 16, 0)]


def test_max_num_seqs_bounds_admission() -> None:
    steps, _ = trace(pool(atom(max_num_seqs=1)), requests((4, 3), (4, 1)))
    assert steps == [(0.0, 1, 4, 0), (1.0, 2, 0, 1), (3.0, 1, 4, 0)]


def test_the_last_admitted_request_is_preempted() -> None:
    steps, records = trace(pool(atom(), blocks=5), requests((7, 5), (7, 5)))
    assert steps == [
        (0.0, 1, 14, 0),
        (1.0, 1, 0, 2),
        (2.0, 1, 0, 1),
        (3.0, 2, 0, 1),
        (5.0, 1, 9, 0),
        (6.0, 2, 0, 1),
    ]
    assert records.preemptions.tolist() == [0, 1]


def test_ranks_wait_to_start_prompts_together() -> None:
    engine = atom(prefill_alignment="some_ranks", prefill_align_max_ticks=3)
    workload = requests((4, 12), (4, 12), (4, 1), (4, 1), at=[0, 0, 1.5, 4.5])
    steps, _ = trace(pool(engine, dp=2), workload)
    assert steps == [
        (0.0, 1, (4, 4), (0, 0)),
        (1.0, 1, (0, 0), (1, 1)),
        (2.0, 3, (0, 0), (1, 1)),
        (5.0, 1, (4, 4), (0, 0)),
        (6.0, 7, (0, 0), (1, 1)),
    ]
