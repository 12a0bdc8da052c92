"""What a deployment cannot exceed: bounds from single steps that spare whole simulations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.prediction.run import acceptance_of
from workloads.speculation import expected_decode_steps

if TYPE_CHECKING:
    from simulator.prediction.assembly import Assembly
    from simulator.scenario.configuration import RunConfiguration
    from simulator.serving.router import WorkerPool

MEDIAN_SLACK = 1.1
"""How far the median speed may lie above the mean, which is what the bounds are about. [-]"""

TTFT_SLACK = 1.25
"""How far a percentile of TTFT may lie below that of a mean prompt on an idle worker. [-]"""

_LARGEST_BATCH = 1 << 20
_LEAST_CHUNK = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentBounds:
    """Bounds on a deployment under a load of given mean lengths.

    Parameters
    ----------
    entry, last:
        Pools that prefill and that decode; the same pool where workers do both.
    prompt_tokens, output_tokens:
        Mean lengths. [tokens]
    decode_steps:
        Mean steps from the first to the last token. [steps]

    Notes
    -----
    A step with prompt chunks and decoding requests takes at least as long as one with the
    chunks alone, and as one with the decoding requests alone. So no schedule passes either the
    prompts that back-to-back prefill steps take in, or the requests that decode batches of the
    whole concurrency finish (asymptotic bounds of operational analysis: Denning and Buzen,
    "The operational analysis of queueing network models", ACM Computing Surveys 10 (1978)).
    """

    entry: WorkerPool
    last: WorkerPool
    prompt_tokens: float
    output_tokens: float
    decode_steps: float

    def decode_step_s(self, requests: int) -> float:
        """Time of a decode step of one worker with this many requests over its ranks. [s]"""
        ranks, cost = self.last.layout.attention_dp, self.last.cost
        on_rank = -(-requests // ranks)
        queries = cost.queries_per_request
        context = self.prompt_tokens + self.output_tokens / 2.0
        fixed_s = cost.fixed_s(
            rank_tokens=on_rank * queries,
            group_tokens=requests * queries,
            rank_samples=on_rank,
            group_samples=requests,
            has_prefill=False,
        )
        line = cost.decode_attention(requests=on_rank, context_sum=on_rank * context)
        return fixed_s + line.value_s

    @property
    def alone_tokens_per_s(self) -> float:
        """Mean speed of a user who has the deployment to himself. [tok/s]"""
        return self._speed(1)

    @property
    def alone_ttft_s(self) -> float:
        """Time to first token of a mean prompt on an idle worker. [s]"""
        prompt, budget = round(self.prompt_tokens), self._budget
        done, total_s = 0, 0.0
        while done < prompt:
            new = min(budget, prompt - done)
            total_s += self._prefill_step_s(rank_tokens=new, group_tokens=new, ends=1)
            total_s += self.entry.cost.prefill_attention_s(new_tokens=new, prefix_tokens=done)
            done += new
        return total_s

    @property
    def prefill_requests_per_s(self) -> float:
        """Requests whose prompts back-to-back prefill steps on all ranks take in. [1/s]"""
        ranks, prompt = self.entry.layout.attention_dp, round(self.prompt_tokens)
        sizes = {self._budget}
        while 2 * _LEAST_CHUNK * 2 ** len(sizes) <= self._budget:
            sizes.add(_LEAST_CHUNK * 2 ** len(sizes))
        token_s = min(
            self._prefill_step_s(rank_tokens=size, group_tokens=size * ranks, ends=0)
            / (size * ranks)
            for size in sizes
        )
        attention_s = self.entry.cost.prefill_attention_s(new_tokens=prompt, prefix_tokens=0)
        return self.entry.workers / (token_s * prompt + attention_s / ranks)

    def requests_per_s(self, *, concurrency: int, least_speed: float = 0.0) -> float:
        """Requests per second that no schedule passes at a concurrency. [1/s]

        Parameters
        ----------
        concurrency:
            Requests in the system at most.
        least_speed:
            Speed that the median user must have, which limits the decode batches. [tok/s]
        """
        workers, ranks = self.last.workers, self.last.layout.attention_dp
        cap = self.last.engine.running_cap(attention_dp=ranks) * ranks
        largest = int(min(-(-concurrency // workers), cap, _LARGEST_BATCH))
        batch = self._batch_at(least_speed / MEDIAN_SLACK, largest=largest)
        if batch == 0:
            return 0.0
        if not self.decode_steps:
            return self.prefill_requests_per_s
        decoded = max(
            size / (self.decode_steps * self.decode_step_s(size))
            for size in {batch, *(1 << power for power in range(batch.bit_length()))}
        )
        return min(self.prefill_requests_per_s, workers * decoded)

    @property
    def most_running(self) -> float:
        """Requests that one worker decodes at a time: its running cap, or what its KV holds."""
        ranks, pool = self.last.layout.attention_dp, self.last.kv_pool
        # the last request is admitted only while the blocks of its prompt's windows are free
        charge = pool.admission_charge(tokens=round(self.prompt_tokens), cached_tokens=0)
        held = (pool.total_blocks - charge) / pool.blocks(
            self.prompt_tokens + self.output_tokens / 2.0
        )
        slots = float("inf") if pool.request_slots is None else pool.request_slots
        cap = self.last.engine.running_cap(attention_dp=ranks)
        return ranks * max(1.0, min(cap, slots, held))

    def kv_fill(self, clients: int) -> float:
        """Share of the KV pools' blocks that all requests take, or as many as may run. [-]"""
        ranks = self.last.layout.attention_dp
        on_rank = min(
            clients / (self.last.workers * ranks), self.last.engine.running_cap(attention_dp=ranks)
        )
        tokens = self.prompt_tokens + self.output_tokens
        return on_rank * self.last.kv_pool.blocks(tokens) / self.last.kv_pool.total_blocks

    def excludes(self, *, least_speed: float, ttft_limit_s: float) -> str:
        """What even a lone user does not get, in words; empty if he may get it all."""
        speed, ttft_s = self.alone_tokens_per_s, self.alone_ttft_s
        if speed * MEDIAN_SLACK < least_speed:
            return f"a lone user gets {speed:.1f} tok/s, {least_speed:g} are asked for"
        if ttft_s > TTFT_SLACK * ttft_limit_s:
            return (
                f"a lone prompt takes {ttft_s:.2f} s to its first token, "
                f"{ttft_limit_s:g} s are allowed"
            )
        return ""

    def _speed(self, batch: int) -> float:
        if not self.decode_steps:
            return float("inf")
        return (self.output_tokens - 1.0) / self.decode_steps / self.decode_step_s(batch)

    def _batch_at(self, speed: float, *, largest: int) -> int:
        """The largest decode batch of a worker whose steps give every user this speed."""
        low, high = 0, largest + 1
        while high - low > 1:
            middle = (low + high) // 2
            if self._speed(middle) >= speed:
                low = middle
            else:
                high = middle
        return low

    @property
    def _budget(self) -> int:
        return self.entry.engine.step_token_budget(attention_dp=self.entry.layout.attention_dp)

    def _prefill_step_s(self, *, rank_tokens: int, group_tokens: int, ends: int) -> float:
        return self.entry.cost.fixed_s(
            rank_tokens=rank_tokens,
            group_tokens=group_tokens,
            rank_samples=ends,
            group_samples=ends,
            has_prefill=True,
        )


def deployment_bounds(configuration: RunConfiguration, *, assembly: Assembly) -> DeploymentBounds:
    """Bounds on a configuration under its own load."""
    prompt, output = (law.mean_tokens for law in configuration.lengths)
    acceptance = acceptance_of(configuration, software=assembly.software)
    steps = float(expected_decode_steps(output_tokens=output, acceptance=acceptance))
    return DeploymentBounds(
        entry=assembly.pools[0],
        last=assembly.pools[-1],
        prompt_tokens=prompt,
        output_tokens=output,
        decode_steps=steps,
    )
