"""Speculative decoding: how many drafted tokens a step accepts.

A step verifies k drafts and emits the accepted ones and one token more. Acceptance comes from
published distributions (``speculation_data/acceptance.yaml``), from a given mean, or is fixed as
benchmarks do. It is drawn before a request runs, so that its steps are known.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from workloads.datafiles import read_yaml_mapping
from workloads.errors import UserError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Sequence

IntArray = npt.NDArray[np.int64]

_CHUNK = 4096  # requests drawn at a time, which bounds memory
_BLOCK = 1 << 15  # steps drawn at a time, which stay in the processor's cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """Distribution of accepted drafts in one step; steps are independent.

    Parameters
    ----------
    survival:
        Probability that the draft at position 1, 2, ... k is accepted; each implies those
        before it, so that the values never increase. [-]

    Raises
    ------
    UserError
        If a value is outside [0, 1] or the values increase.
    """

    survival: tuple[float, ...]

    def __post_init__(self) -> None:
        values = (1.0, *self.survival, 0.0)
        for position, (before, here) in enumerate(pairwise(values), start=1):
            if not 0.0 <= here <= before:
                raise UserError(
                    f"acceptance at draft position {position} is {here:g}; it must lie between 0 "
                    f"and the {before:g} of the position before it"
                )

    @property
    def drafts(self) -> int:
        """Drafted tokens per step. [tokens]"""
        return len(self.survival)

    @property
    def acceptance_length(self) -> float:
        """Mean tokens per step, ``1 + sum of survival``. [tokens]"""
        return 1.0 + sum(self.survival)

    @property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """Probability of 1, 2, ... k + 1 tokens in a step. [-]"""
        return -np.diff(np.array([1.0, *self.survival, 0.0]))

    def truncated(self, *, drafts: int) -> Acceptance:
        """The same drafts with only the first ``drafts`` verified."""
        return Acceptance(survival=self.survival[:drafts])


NO_SPECULATION = Acceptance(survival=())


def acceptance_names() -> tuple[str, ...]:
    """Published distributions by name."""
    return tuple(sorted(_data()["distributions"]))


def acceptance_kind(name: str) -> str:
    """Kind of a published distribution: measured or estimate."""
    return str(_data()["distributions"][name]["kind"])


def published_acceptance(*, name: str, drafts: int) -> Acceptance:
    """A published distribution for a number of drafts.

    Parameters
    ----------
    name:
        One of `acceptance_names`.
    drafts:
        Drafted tokens per step. [tokens]

    Raises
    ------
    UserError
        If the name is unknown, or nothing is published for so many drafts.

    Notes
    -----
    Where only mean lengths A(1..k) are published, the shape is their differences, made
    non-increasing, and scaled so that the mean is A(k) itself.
    """
    distributions = _data()["distributions"]
    if name not in distributions:
        raise unknown_name(field="acceptance distribution", value=name, known=distributions)
    entry = distributions[name]
    values = entry.get("acceptance_length") or entry["position_rate"]
    if not 1 <= drafts <= len(values):
        raise UserError(
            f"drafts is {drafts}; acceptance distribution {name} is published for 1 to "
            f"{len(values)} drafts; draft fewer, or give the mean tokens per step with "
            "--acceptance-length"
        )
    if "position_rate" in entry:
        return Acceptance(survival=tuple(values[:drafts]))
    gains = np.diff([1.0, *values[:drafts]])
    shape = np.minimum.accumulate(np.maximum(gains, 0.0))
    survival = np.minimum(shape * ((values[drafts - 1] - 1.0) / shape.sum()), 1.0)
    return Acceptance(survival=tuple(survival.tolist()))


def acceptance_of_length(*, acceptance_length: float, drafts: int) -> Acceptance:
    """Acceptance of which only the mean is known: every draft is as likely as the one before.

    ``sum of r^i for i = 1..k = A - 1``, solved for r by bisection.

    Raises
    ------
    UserError
        If the length is not between 1 and k + 1.
    """
    _check_length(acceptance_length=acceptance_length, drafts=drafts)
    low, high = 0.0, 1.0
    for _ in range(60):
        rate = 0.5 * (low + high)
        if sum(rate**i for i in range(1, drafts + 1)) < acceptance_length - 1.0:
            low = rate
        else:
            high = rate
    return Acceptance(survival=tuple(high**i for i in range(1, drafts + 1)))


def synthetic_acceptance(*, acceptance_length: float, drafts: int) -> Acceptance:
    """Acceptance as benchmarks force it: the whole numbers around a length, in its proportion.

    SGLang's ``SGLANG_SIMULATE_ACC_LEN`` in its match-expected form; TensorRT-LLM forces the
    whole number ``A - 1`` of accepted drafts, the special case of a whole length.

    Raises
    ------
    UserError
        If the length is not between 1 and k + 1.
    """
    _check_length(acceptance_length=acceptance_length, drafts=drafts)
    accepted = acceptance_length - 1.0
    return Acceptance(
        survival=tuple(min(max(accepted - position, 0.0), 1.0) for position in range(drafts))
    )


def _check_length(*, acceptance_length: float, drafts: int) -> None:
    if drafts < 1:
        raise UserError(f"drafts is {drafts}; speculation needs at least 1")
    if not 1.0 <= acceptance_length <= drafts + 1.0:
        raise UserError(
            f"acceptance_length is {acceptance_length:g}; a step of {drafts} drafts emits "
            f"between 1 and {drafts + 1} tokens"
        )


def draw_decode_steps(
    *, rng: np.random.Generator, output_tokens: IntArray | Sequence[int], acceptance: Acceptance
) -> IntArray:
    """Steps of each request from its first output token to its last. [steps]

    Parameters
    ----------
    output_tokens:
        Output lengths, the first token included. [tokens]
    acceptance:
        Distribution of every step.

    Notes
    -----
    One stream of steps is drawn and each request takes the segment that follows the one before:
    it starts at the first step past a token offset (a stopping time, so that what follows is a
    fresh draw) and ends with the first step that has emitted enough. The last step of a request
    may emit more than is left; the surplus is dropped, as an engine does.
    """
    remaining = np.maximum(np.asarray(output_tokens, dtype=np.int64) - 1, 0)
    if acceptance.drafts == 0:
        return remaining
    pieces = [
        _segments(rng=rng, remaining=remaining[start : start + _CHUNK], acceptance=acceptance)
        for start in range(0, remaining.size, _CHUNK)
    ]
    return np.concatenate(pieces) if pieces else remaining


def _segments(*, rng: np.random.Generator, remaining: IntArray, acceptance: Acceptance) -> IntArray:
    """Steps of consecutive requests that have these tokens left."""
    offsets = np.concatenate(([0], np.cumsum(remaining + acceptance.drafts)))
    emitted = _emitted(rng=rng, tokens=int(offsets[-1]), acceptance=acceptance)
    first = np.searchsorted(emitted, offsets[:-1], side="left")
    last = np.searchsorted(emitted, emitted[first] + remaining, side="left")
    return last - first


def _emitted(*, rng: np.random.Generator, tokens: int, acceptance: Acceptance) -> IntArray:
    """Tokens emitted after 0, 1, 2, ... steps, until ``tokens`` are passed."""
    pieces: list[IntArray] = [np.zeros(1, dtype=np.int64)]
    total = 0
    while total < tokens + acceptance.drafts + 1:
        steps = int((tokens - total) / acceptance.acceptance_length * 1.01) + 64
        for start in range(0, steps, _BLOCK):
            uniform = rng.random(min(_BLOCK, steps - start))
            per_step = np.ones(uniform.size, dtype=np.uint8)
            for rate in acceptance.survival:
                per_step += (uniform < rate).view(np.uint8)
            pieces.append(total + np.cumsum(per_step, dtype=np.int64))
            total = int(pieces[-1][-1])
    return np.concatenate(pieces)


def expected_decode_steps(
    *, output_tokens: npt.ArrayLike, acceptance: Acceptance
) -> npt.NDArray[np.float64]:
    """Expected steps from the first output token to the last. [steps]

    Notes
    -----
    Wald's identity with the mean surplus of the last step in renewal equilibrium:
    ``(N + E[a (a - 1)] / (2 A)) / A`` for N tokens after the first and a tokens per step of mean
    A. Exact for large N; for N of a few steps within 2 %.
    """
    remaining = np.maximum(np.asarray(output_tokens, dtype=float) - 1.0, 0.0)
    per_step = np.arange(1, acceptance.drafts + 2)
    mean = acceptance.acceptance_length
    surplus = float((acceptance.probabilities * per_step * (per_step - 1)).sum()) / (2.0 * mean)
    return np.where(remaining > 0, (remaining + surplus) / mean, 0.0)


def verification_budget(*, model: str, concurrency_per_gpu: float) -> float:
    """Tokens that DSpark verifies per request and step at a load, the bonus token included.

    Parameters
    ----------
    model:
        ``deepseek-v4-pro`` or ``deepseek-v4-flash``, a release suffix allowed.
    concurrency_per_gpu:
        Running requests per GPU. [requests]

    Notes
    -----
    Production telemetry of DeepSeek, linear in the logarithm of the concurrency and constant
    outside the range that was published.
    """
    budgets = _data()["verification_budgets"]
    names = [known for known in budgets if model.startswith(known)]
    if not names:
        raise unknown_name(field="model", value=model, known=budgets)
    table = budgets[names[0]]
    return float(
        np.interp(
            np.log(max(concurrency_per_gpu, 1e-9)),
            np.log(table["concurrency_per_gpu"]),
            table["budget"],
        )
    )


def best_drafts(*, acceptance: Acceptance, step_s: Sequence[float]) -> int:
    """Drafts to verify for the highest token rate, as DSpark's adaptive rule chooses them.

    Parameters
    ----------
    acceptance:
        Distribution of the drafts, alike for all requests.
    step_s:
        Time of a step that verifies 0, 1, ... k drafts per request, drafting included. [s]

    Raises
    ------
    UserError
        If there are not ``k + 1`` times.

    Notes
    -----
    ``argmax over j of (1 + sum of survival up to j) / step_s[j]``: the rule of vLLM's adaptive
    verification (vLLM blog, 2026-08-14) with requests of equal confidence.
    """
    if len(step_s) != acceptance.drafts + 1:
        raise UserError(
            f"step_s has {len(step_s)} times; {acceptance.drafts} drafts need "
            f"{acceptance.drafts + 1}, from none to all"
        )
    emitted = 1.0 + np.concatenate(([0.0], np.cumsum(acceptance.survival)))
    return int(np.argmax(emitted / np.asarray(step_s)))


@cache
def _data() -> dict[str, Any]:
    return read_yaml_mapping(
        Path(str(resources.files("workloads") / "speculation_data" / "acceptance.yaml"))
    )
