"""Statistics of session trees, and what is published of AgentX's traces."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from workloads.requests.agentx.content import SeenContent, common_blocks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workloads.requests.agentx.content import Content
    from workloads.requests.agentx.forest import SessionTree

SOURCE = "Hugging Face semianalysisai/cc-traces-weka-062126, revision 23f152f6, 393 sessions"


@dataclass(frozen=True, slots=True)
class Target:
    """A published statistic: its value, and the relative error that the generator may have."""

    name: str
    value: float
    unit: str
    tolerance: float


TARGETS = (
    Target("main requests", 56_798, "requests", 0.10),
    Target("sub-agent requests", 42_029, "requests", 0.15),
    Target("sub-agent groups", 1_697, "groups", 0.15),
    Target("chains", 9_843, "chains", 0.25),
    Target("input, all requests", 21.635e9, "tokens", 0.15),
    Target("output, all requests", 106.47e6, "tokens", 0.15),
    Target("main ISL, p50", 254_080, "tokens", 0.25),
    Target("main ISL, p90", 651_008, "tokens", 0.10),
    Target("main ISL, p99", 897_672, "tokens", 0.10),
    Target("sub-agent ISL, p50", 64_000, "tokens", 0.15),
    Target("sub-agent ISL, p90", 196_326, "tokens", 0.25),
    Target("new tokens, p50", 1_664, "tokens", 0.10),
    Target("new tokens, p99", 46_722, "tokens", 0.15),
    Target("new tokens, mean", 3_792, "tokens", 0.10),
    Target("main OSL, p50", 616, "tokens", 0.15),
    Target("main OSL, p90", 3_502, "tokens", 0.15),
    Target("OSL, p50", 444, "tokens", 0.10),
    Target("OSL, mean", 1_077, "tokens", 0.10),
    Target("main requests a session, p50", 65, "requests", 0.10),
    Target("main requests a session, p90", 330, "requests", 0.15),
    Target("main requests a session, mean", 144.5, "requests", 0.10),
    Target("gap between main turns, p50", 4.9, "s", 0.15),
    Target("gap between main turns, p90", 131.5, "s", 0.15),
    Target("gap between main turns, p99", 3_257, "s", 0.25),
    Target("gap between main turns, mean", 395, "s", 0.20),
    Target("share of gaps above 300 s", 0.045, "-", 0.30),
    Target("share of gaps above 1,800 s", 0.014, "-", 0.25),
    Target("sessions with sub-agents", 175, "sessions", 0.02),
    Target("groups a session with sub-agents, mean", 9.7, "groups", 0.15),
    Target("requests a group, p50", 16, "requests", 0.10),
    Target("requests a group, mean", 24.8, "requests", 0.10),
    Target("groups at a time, median peak", 3, "groups", 0.35),
    Target("wall time of a group, p50", 136, "s", 0.20),
    Target("share of a session that waits", 0.964, "-", 0.03),
    Target("infinite-cache hit", 0.98309, "-", 0.005),
    Target("hit on the chain's last request", 0.9721, "-", 0.03),
    Target("hit of a request, main, p50", 0.9944, "-", 0.005),
    Target("hit of a request, sub-agents, p50", 0.9766, "-", 0.005),
    Target("requests without a hit, main", 0.007, "-", 0.20),
    Target("requests without a hit, sub-agents", 0.040, "-", 0.15),
)
"""Published statistics of the whole data set, in the order in which they are measured here."""


def trace_statistics(trees: Iterable[SessionTree]) -> dict[str, float]:
    """What `TARGETS` states, of some trees."""
    counted = _Counted()
    for tree in trees:
        counted.add(tree)
    return counted.figures()


class _Counted:
    """Columns of requests, gaps and groups over trees."""

    def __init__(self) -> None:
        self.requests: list[tuple[int, int, int, int]] = []  # agent, prompt, output, new
        self.gaps_s: list[float] = []
        self.main_counts: list[int] = []
        self.group_counts: list[int] = []
        self.group_calls: list[int] = []
        self.walls_s: list[float] = []
        self.peaks: list[int] = []
        self.blocks = self.hits = self.chain_hits = self.chains = 0
        self.waiting_s = self.spans_s = 0.0

    def add(self, tree: SessionTree) -> None:
        """Count a tree."""
        seen, last = SeenContent(), dict[int, "Content"]()
        groups: dict[int, list[tuple[float, float]]] = {}
        main_chain = tree.requests[0].call.chain
        turns: list[tuple[float, float]] = []
        main = 0
        for one in tree.requests:
            call = one.call
            blocks = call.prompt_tokens // tree.block_tokens
            hit = seen.match(call.content)
            seen.add(call.content)
            self.blocks += blocks
            self.hits += hit
            if call.chain in last:
                self.chain_hits += common_blocks(last[call.chain], call.content)
            last[call.chain] = call.content
            new = (blocks - hit) * tree.block_tokens
            self.requests.append((one.agent, call.prompt_tokens, call.output_tokens, new))
            if one.agent:
                groups.setdefault(one.agent, []).append((call.start_s, call.end_s))
            else:
                main += 1
                if call.chain == main_chain:
                    turns.append((call.start_s, call.end_s))
        self.chains += len(last)
        self.main_counts.append(main)
        gaps = [max(0.0, b[0] - a[1]) for a, b in pairwise(turns)]
        self.gaps_s += gaps
        self.waiting_s += sum(gaps)
        self.spans_s += turns[-1][1] - turns[0][0]
        if groups:
            self._add_groups(list(groups.values()))

    def _add_groups(self, groups: list[list[tuple[float, float]]]) -> None:
        self.group_counts.append(len(groups))
        spans = [(min(s for s, _ in calls), max(e for _, e in calls)) for calls in groups]
        self.group_calls += [len(calls) for calls in groups]
        self.walls_s += [end - start for start, end in spans]
        events = sorted([(s, 1) for s, _ in spans] + [(e, -1) for _, e in spans])
        live = np.cumsum([step for _, step in events])
        self.peaks.append(int(live.max()))

    def figures(self) -> dict[str, float]:
        """The statistics under the names of `TARGETS`."""
        agent, prompt, output, new = np.array(self.requests, dtype=np.int64).T
        main, sub = agent == 0, agent > 0
        gaps_s = np.array(self.gaps_s)
        hit = 1.0 - new / prompt
        p = np.percentile
        values = (
            *(main.sum(), sub.sum(), len(self.group_calls), self.chains),
            *(prompt.sum(), output.sum()),
            *p(prompt[main], (50, 90, 99)),
            *p(prompt[sub], (50, 90)),
            *(*p(new, (50, 99)), new.mean()),
            *p(output[main], (50, 90)),
            *(p(output, 50), output.mean()),
            *(*p(self.main_counts, (50, 90)), np.mean(self.main_counts)),
            *(*p(gaps_s, (50, 90, 99)), gaps_s.mean()),
            *((gaps_s > 300).mean(), (gaps_s > 1800).mean()),
            *(len(self.group_counts), np.mean(self.group_counts)),
            *(p(self.group_calls, 50), np.mean(self.group_calls)),
            *(p(self.peaks, 50), p(self.walls_s, 50)),
            self.waiting_s / self.spans_s,
            *(self.hits / self.blocks, self.chain_hits / self.blocks),
            *(p(hit[main], 50), p(hit[sub], 50)),
            *((hit[main] <= 0).mean(), (hit[sub] <= 0).mean()),
        )
        names = (target.name for target in TARGETS)
        return {name: float(value) for name, value in zip(names, values, strict=True)}
