import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.errors import UserError
from workloads.requests.arrivals import Deterministic, RateWindow, Steps, poisson
from workloads.requests.catalog import AGENTIC, NAMED_WORKLOADS
from workloads.requests.lengths import (
    EmpiricalLength,
    FixedLength,
    LognormalLength,
    UniformLength,
    length_distribution,
)
from workloads.requests.synthetic import Conversations, inferencex_requests, open_loop_requests
from workloads.speculation import acceptance_of_length, draw_decode_steps


def inferencex(**changes):
    arguments = {"isl": 8192, "osl": 1024, "count": 2000, "rng": np.random.default_rng(0)}
    return inferencex_requests(**(arguments | changes))


def test_inferencex_lengths_are_uniform_between_the_ratio_and_the_nominal_length():
    requests = inferencex(count=200_000)
    prompts = np.array([r.prompt_tokens for r in requests])
    outputs = np.array([r.output_tokens for r in requests])
    # int(0.8 * 8192) = 6553 and int(0.8 * 1024) = 819, both ends included
    assert (prompts.min(), prompts.max()) == (6553, 8192)
    assert (outputs.min(), outputs.max()) == (819, 1024)
    assert prompts.mean() == pytest.approx((6553 + 8192) / 2, rel=1e-3)
    assert outputs.mean() == pytest.approx((819 + 1024) / 2, rel=1e-3)
    counts = np.bincount(outputs - 819)
    assert counts.size == 206
    # chi-square of a uniform law over 206 values: mean 205, standard deviation 20
    chi_square = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
    assert 130 < chi_square < 280
    assert abs(np.corrcoef(prompts, outputs)[0, 1]) < 0.01


def test_inferencex_requests_are_closed_loop_and_share_nothing():
    requests = inferencex(count=3)
    assert [r.index for r in requests] == [0, 1, 2]
    assert all(r.arrival_s is None and r.block_hashes == () and r.session == -1 for r in requests)
    assert all(r.decode_steps == r.output_tokens - 1 for r in requests)


ACCEPTANCE = acceptance_of_length(acceptance_length=2.2, drafts=3)


def test_a_longer_run_starts_with_the_requests_of_a_shorter_one():
    def drafted(count):
        rng = np.random.default_rng(2)
        return inferencex(
            count=count,
            decode_steps=lambda tokens: draw_decode_steps(
                rng=rng, output_tokens=tokens, acceptance=ACCEPTANCE
            ),
        )

    assert inferencex(count=500)[:100] == inferencex(count=100)
    assert drafted(9000)[:5000] == drafted(5000)


def test_the_chat_template_is_subtracted_before_drawing_and_added_to_each_prompt():
    prompts = [r.prompt_tokens for r in inferencex(isl=1000, template_tokens=100, count=20_000)]
    assert (min(prompts), max(prompts)) == (720 + 100, 1000)


def test_other_length_distributions():
    short = [r.prompt_tokens for r in inferencex(isl=50, distribution="uniform_0_to_cap")]
    assert (min(short), max(short)) == (1, 50)
    assert {r.prompt_tokens for r in inferencex(distribution="fixed")} == {8192}
    assert {r.output_tokens for r in inferencex(range_ratio=1.0)} == {1024}


def test_decode_steps_come_from_an_array_or_a_function():
    half = inferencex(decode_steps=lambda output: np.maximum(1, (output - 1) // 2))
    assert all(r.decode_steps == (r.output_tokens - 1) // 2 for r in half)
    given_steps = inferencex(count=4, decode_steps=np.array([10, 20, 30, 40]))
    assert [r.decode_steps for r in given_steps] == [10, 20, 30, 40]
    for wrong in ([1, 2], [0, 1, 1, 1], [1024, 1, 1, 1]):
        with pytest.raises(ValueError, match="decode_steps"):
            inferencex(count=4, decode_steps=np.array(wrong))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"count": 0}, "count is 0"),
        ({"osl": 0}, "nominal_tokens is 0"),
        ({"isl": 100, "template_tokens": 100}, "template_tokens is 100"),
        ({"range_ratio": 1.5}, "range_ratio is 1.5"),
        ({"distribution": "unifrom_0.8"}, "did you mean .*uniform_<ratio>"),
    ],
)
def test_bad_inferencex_parameters_are_named(changes, text):
    with pytest.raises(UserError, match=text):
        inferencex(**changes)


@pytest.mark.parametrize(
    "distribution",
    [
        FixedLength(7),
        UniformLength(3, 9),
        LognormalLength(200.0, 1.0, 1500),
        LognormalLength(20.0, 0.0, 1500),
        EmpiricalLength([1, 1, 10]),
        length_distribution(name="uniform_0.5", nominal_tokens=100),
    ],
    ids=lambda distribution: type(distribution).__name__,
)
def test_mean_of_a_length_distribution(distribution):
    sample = distribution.sample(np.random.default_rng(5), 100_000)
    assert sample.min() >= 1
    error = sample.std() / np.sqrt(sample.size)
    assert sample.mean() == pytest.approx(distribution.mean_tokens, abs=4 * error + 1e-12)


def test_bad_lengths_are_named():
    with pytest.raises(UserError, match="high_tokens is 3"):
        UniformLength(4, 3)
    with pytest.raises(UserError, match="empty"):
        EmpiricalLength([])
    with pytest.raises(UserError, match="sigma is -1"):
        LognormalLength(5.0, -1.0, 10)


def open_loop(**changes):
    arguments = {
        "arrivals": poisson(rate_per_s=10.0),
        "prompt": UniformLength(100, 200),
        "output": FixedLength(10),
        "rng": np.random.default_rng(1),
        "count": 1000,
    }
    return [r for chunk in open_loop_requests(**(arguments | changes)) for r in chunk]


@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 400), chunk=st.integers(1, 150))
def test_open_loop_requests_do_not_depend_on_the_chunk(count, chunk):
    requests = open_loop(count=count, chunk=chunk)
    assert [r.index for r in requests] == list(range(count))
    assert requests == open_loop(count=count)


def test_two_services_see_the_same_arrivals_whatever_the_lengths():
    long = open_loop(prompt=FixedLength(5000))
    assert [r.arrival_s for r in long] == [r.arrival_s for r in open_loop()]
    assert [r.output_tokens for r in long] == [r.output_tokens for r in open_loop()]


def test_an_open_loop_ends_by_count_duration_or_process():
    assert len(open_loop(arrivals=Deterministic(rate_per_s=2.0), count=None, duration_s=5.0)) == 11
    assert len(open_loop(arrivals=Deterministic(rate_per_s=2.0), count=4, duration_s=5.0)) == 4
    process = Steps(windows=(RateWindow(duration_s=3.0, rate_per_s=10.0),))
    assert 10 < len(open_loop(arrivals=process, count=1000)) < 60


def test_open_loop_errors():
    with pytest.raises(UserError, match="count and duration_s are both missing"):
        open_loop(count=None)
    with pytest.raises(UserError, match="duration_s is 0"):
        open_loop(duration_s=0)


CONVERSATIONS = Conversations(
    turns=FixedLength(4),
    shared_prefix_tokens=640,
    first_input=FixedLength(100),
    next_input=FixedLength(50),
    output=FixedLength(30),
    mean_think_s=2.0,
    max_context_tokens=10_000,
    block_tokens=64,
)


def test_turns_resend_the_history_and_share_blocks():
    first, second = CONVERSATIONS.sessions(rng=np.random.default_rng(0), count=2)
    assert [r.prompt_tokens for r in first] == [740, 820, 900, 980]
    assert [(r.session, r.turn) for r in second] == [(1, 0), (1, 1), (1, 2), (1, 3)]
    assert [r.index for r in (*first, *second)] == list(range(8))
    assert first[0].think_s == 0.0
    assert all(r.think_s > 0 for r in first[1:])
    for turn in first:
        assert len(turn.block_hashes) == turn.prompt_tokens // 64
    # each prompt extends the one before; sessions share the 10 blocks of the prefix only
    assert first[3].block_hashes[: len(first[2].block_hashes)] == first[2].block_hashes
    common = set(first[3].block_hashes) & set(second[3].block_hashes)
    assert common == set(range(10))


def test_a_session_ends_before_its_context_limit():
    from dataclasses import replace

    (turns,) = replace(CONVERSATIONS, max_context_tokens=930).sessions(
        rng=np.random.default_rng(0), count=1
    )
    assert [r.prompt_tokens + r.output_tokens for r in turns] == [770, 850, 930]
    with pytest.raises(UserError, match="first turn of a session takes 770 tokens"):
        next(
            replace(CONVERSATIONS, max_context_tokens=769).sessions(
                rng=np.random.default_rng(0), count=1
            )
        )


def test_sessions_arrive_by_a_process():
    sessions = CONVERSATIONS.sessions(
        rng=np.random.default_rng(0), count=3, arrivals=Deterministic(rate_per_s=0.5)
    )
    assert [[r.arrival_s for r in turns] for turns in sessions] == [
        [0.0, None, None, None],
        [2.0, None, None, None],
        [4.0, None, None, None],
    ]


def test_the_agentic_workload_has_the_published_means():
    """AgentX, August 2026: about 135,000 prompt and 850 to 1,000 output tokens a request."""
    sessions = AGENTIC.sessions(rng=np.random.default_rng(0), count=150)
    lengths = np.array([(r.prompt_tokens, r.output_tokens) for turns in sessions for r in turns])
    prompt, output = lengths.mean(axis=0)
    assert prompt == pytest.approx(135_000, rel=0.1)
    assert 850 <= output <= 1000


def test_named_workloads_give_the_requests_asked_for():
    for workload in NAMED_WORKLOADS.values():
        requests = list(workload.requests(rng=np.random.default_rng(0), count=20))
        assert [r.index for r in requests] == list(range(20))
        assert not workload.is_timed
    with pytest.raises(UserError, match="8k1k has no length of its own"):
        list(NAMED_WORKLOADS["8k1k"].requests(rng=np.random.default_rng(0)))


def test_a_long_open_loop_needs_the_memory_of_a_chunk():
    stream = open_loop_requests(
        arrivals=poisson(rate_per_s=10.0),
        prompt=UniformLength(100, 200),
        output=FixedLength(10),
        rng=np.random.default_rng(0),
        count=60_000,
        chunk=1000,
    )
    next(stream)
    tracemalloc.start()
    sent = sum(len(chunk) for chunk in stream)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sent == 59_000
    # some 100 B a request: all 59,000 at once would take more than 10 MB
    assert peak_bytes < 2e6
