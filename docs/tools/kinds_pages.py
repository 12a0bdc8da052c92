"""Fill the tables of docs/background/kinds: which models have a kind of layer, and what it costs.

``python docs/tools/kinds_pages.py`` rewrites what stands between the marks of each page. The text
around them, with its equations, is written by hand.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from workloads.architectures.catalog import architecture_names, load_architecture
from workloads.architectures.kinds import (
    Experts,
    GroupedAttention,
    LatentAttention,
    LinearAttention,
)
from workloads.execution_plan import ExecutionPlan
from workloads.layout import Layout
from workloads.models.mixers import bind_mixer

if TYPE_CHECKING:
    from workloads.architectures.base import Architecture
    from workloads.architectures.kinds import Feed, Mixer

FOLDER = Path(__file__).parents[1] / "background" / "kinds"
START, END = "<!-- models -->", "<!-- end of models -->"
CONTEXT = 8192
_PLAN = ExecutionPlan(
    dense_path="bf16", expert_path="bf16", kv_storage="bf16", attention_head_multiple=1
)
_MIXERS = (
    "| model | layers | projections [M] | core [MFLOP] | read [kB] | kept [B/token] | kept [MB] |"
)
_FEEDS = (
    "| model | layers | experts, of a token | width, shared | matrices | latent | of a layer [M] |"
)


def kind_of(mixer: Mixer) -> str:
    """Name of the page of a mixer."""
    if isinstance(mixer, GroupedAttention):
        if mixer.selection:
            return "block_sparse"
        return "window" if mixer.window else "chunk" if mixer.chunk else "grouped"
    if isinstance(mixer, LatentAttention):
        return "sparse_latent" if mixer.indexer else "latent"
    if isinstance(mixer, LinearAttention):
        return {"gdn": "gated_delta", "kda": "kda"}.get(mixer.rule, mixer.rule)
    return "shared_rows"


def _sum(ops: list, field: str) -> float:
    return float(sum(op.layers * np.max(getattr(op, field)) for op in ops))


def mixer_row(name: str, mixer: Mixer, layers: int, *, architecture: Architecture) -> str:
    """One layer of a kind: a token decoded at the context of `CONTEXT`, entries in BF16."""
    bound = bind_mixer(
        mixer,
        hidden=architecture.hidden_size,
        model=name,
        layout=Layout(tp=1),
        plan=_PLAN,
        layers=1,
    )
    core = bound.decode(requests=1.0, queries_per_request=1, context=float(CONTEXT))
    weights = _sum(bound.projections(tokens=1.0), "weight_bytes") / 2e6
    token = mixer.context_bytes(kv="bf16", index="fp8")
    constant = mixer.constant_bytes(kv="bf16") / 1e6
    return (
        f"| {name} | {layers} | {weights:,.1f} | {_sum(core, 'flops') / 1e6:,.2f} "
        f"| {_sum(core, 'kv_bytes') / 1e3:,.0f} | {token:,.0f} | {constant:,.2f} |"
    )


def feed_row(name: str, feed: Feed, layers: int, *, architecture: Architecture) -> str:
    """One layer of experts."""
    assert isinstance(feed, Experts)
    width = feed.latent or architecture.hidden_size
    routed = feed.experts * feed.matrices * width * feed.width
    shared = feed.matrices * architecture.hidden_size * feed.shared_width
    latent = 2 * architecture.hidden_size * feed.latent
    return (
        f"| {name} | {layers} | {feed.experts}, {feed.per_token} | {feed.width}, "
        f"{feed.shared_width} | {feed.matrices} | {feed.latent or '–'} "
        f"| {(routed + shared + latent) / 1e6:,.0f} |"
    )


def tables() -> dict[str, str]:
    """The table of each page, by its name."""
    rows: dict[str, list[str]] = {}
    for name in architecture_names():
        architecture = load_architecture(name)
        mixers = Counter(layer.mixer for layer in architecture.layers if layer.mixer)
        for mixer, count in mixers.items():
            row = mixer_row(name, mixer, count, architecture=architecture)
            rows.setdefault(kind_of(mixer), [_MIXERS, "|---|--:|--:|--:|--:|--:|--:|"]).append(row)
        feeds = Counter(
            layer.feed for layer in architecture.layers if isinstance(layer.feed, Experts)
        )
        for feed, count in feeds.items():
            row = feed_row(name, feed, count, architecture=architecture)
            rows.setdefault("experts", [_FEEDS, "|---|--:|---|---|--:|--:|--:|"]).append(row)
    return {page: "\n".join(lines) for page, lines in rows.items()}


def filled(page: Path, table: str) -> str:
    """The text of a page with its table."""
    before, _, rest = page.read_text(encoding="utf-8").partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{table}\n{END}{after}"


def main() -> None:
    """Write all pages."""
    for name, table in tables().items():
        page = FOLDER / f"{name}.md"
        page.write_text(filled(page, table), encoding="utf-8")
        print(f"wrote {page}")


if __name__ == "__main__":
    main()
