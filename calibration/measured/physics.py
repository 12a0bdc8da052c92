"""What measured runs ask of their chips: floating-point work and memory traffic over the peaks.

The requests of a run need FLOPs that no engine can spare, and each decode step reads bytes. Both
are counted from below: the published arithmetic of the model at the fastest format of the chip
that the run's label allows, weights once a step at the fewest bytes, KV entries in FP8, no
padding, no communication, no copies. A run whose figures ask for more than its GPUs can give is
not the run that its label says: prompts found in a prefix cache, another precision, speculation
that is not recorded, figures of another layout.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hwmodels.sku import load_sku
from workloads.architectures.catalog import load_architecture
from workloads.models.accounting import decode_token_ops, prefill_ops, total_flops
from workloads.models.expert_load import experts_touched
from workloads.models.kv_bytes import kv_bytes_per_sequence
from workloads.models.weights import weight_table

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]

NEAR_PEAK = 0.9
"""Share of a peak from which a run is named as suspect. [-]"""

FEWEST_EXPERTS = 0.3
"""Experts that tokens touch, at the least, over those under uniform routing: the lower bound of
``expert_traffic_scale`` in `calibration.fit.effects`. [-]"""

MOST_DRAFTS = 7
"""Drafts of a speculating run that states none, as many as any recipe makes. [tokens]"""

LEAST_BYTES = {"fp4": 0.5, "nvfp4": 0.5, "int4": 0.5, "fp8": 1.0, "bf16": 2.0}
"""Fewest bytes of a parameter by the label of a run's precision. [B]"""

_ROUTED = ("routed experts", "expert biases")
_NOT_READ = ("embedding", "n-gram tables")


def peak_shares(
    frame: pd.DataFrame,
    *,
    requests_per_s: pd.Series,
    inputs: pd.Series,
    outputs: pd.Series,
    tpot_s: pd.Series,
) -> pd.DataFrame:
    """Shares of the peaks that runs ask for over their whole length; NaN where unknown. [-]

    Parameters
    ----------
    frame:
        Runs in the columns of `calibration.measured.schema.COLUMNS`.
    requests_per_s:
        Rate at which each run finished requests. [1/s]
    inputs, outputs:
        Mean lengths. [tokens]
    tpot_s:
        Time per output token. [s]

    Returns
    -------
    ``flops``: work of all requests over what all GPUs compute at peak; of a disaggregated run
    that of prompts over its prefill GPUs, if larger. ``hbm``: weights and KV entries that decode
    steps read, over what the GPUs that decode read at peak, with `FEWEST_EXPERTS`.
    ``hbm_uniform``: the same with experts touched as under uniform routing. ``both``: FLOPs, and
    the reads of KV entries in steps of the same GPUs, which no matrix product hides.

    Notes
    -----
    Of a run with S servers that decode b requests each, at t seconds a token and a tokens a
    step, the steps read ``S (W(b) + b K) a^-1 t^-1`` bytes a second, with weights W that b
    tokens touch and KV bytes K of a mean context. Clients that decode: ``rate (L_out - 1) t``.
    """
    known = inputs.notna() & tpot_s.notna() & requests_per_s.notna() & frame["gpus"].notna()
    shares = pd.DataFrame(
        np.nan, index=frame.index, columns=["flops", "hbm", "hbm_uniform", "both"], dtype=float
    )
    table = frame[known].assign(rate=requests_per_s, prompt=inputs, output=outputs, tpot=tpot_s)
    for (model, sku, label), rows in table.groupby(["model", "sku", "precision"], sort=False):
        shares.loc[rows.index] = _shares(rows, model=str(model), sku=str(sku), label=str(label))
    return shares


def _shares(rows: pd.DataFrame, *, model: str, sku: str, label: str) -> FloatArray:
    rate, prompt, output, tpot = (
        rows[name].to_numpy(float) for name in ("rate", "prompt", "output", "tpot")
    )
    work = np.array([_flops(model, p, o) for p, o in zip(prompt, output, strict=True)])
    peak, bandwidth = peak_flops(sku, label=label), load_sku(sku).hbm_bytes_per_s
    gpus = rows["gpus"].to_numpy(float)
    split = rows["disaggregated"].astype(bool).to_numpy()
    flops = rate * work.sum(axis=1) / gpus / peak
    of_prompts = rate * work[:, 0] / rows["prefill_gpus"].to_numpy(float) / peak
    flops = np.where(split, np.fmax(flops, of_prompts), flops)

    decoding = np.minimum(rate * (output - 1) * tpot, rows["concurrency"].to_numpy(float))
    workers = rows["decode_workers"].fillna(1).to_numpy(float)
    readers = np.where(split, rows["decode_gpus"].to_numpy(float), gpus) * bandwidth
    steps_per_s = 1.0 / (tpot * _most_accepted(rows))
    # the steps of a worker whose requests come and go idle in between
    busy = np.minimum(decoding / workers, 1.0)
    held = decoding * np.array([_kv(model, c) for c in prompt + output / 2.0])
    kv = held * steps_per_s / readers
    batch = np.maximum(decoding / workers, 1.0)
    reads = [
        workers * busy * _weights(model, label=label, tokens=batch, experts=experts)
        for experts in (FEWEST_EXPERTS, 1.0)
    ]
    hbm, uniform = (each * steps_per_s / readers + kv for each in reads)
    both = np.where(split, np.nan, flops + kv)
    return np.stack([flops, hbm, uniform, both], axis=1)


def _most_accepted(rows: pd.DataFrame) -> FloatArray:
    """Tokens of a decode step of one request, at the most. [tokens]"""
    speculates = (rows["speculation"] != "none").to_numpy()
    drafts = rows["drafts"].fillna(MOST_DRAFTS).to_numpy(float)
    accepted = rows["acceptance_length"].fillna(pd.Series(drafts + 1.0, index=rows.index))
    return np.where(speculates, accepted.to_numpy(float), 1.0)


def peak_flops(sku: str, *, label: str) -> float:
    """Dense peak of the fastest format that a run's label of precision allows. [FLOP/s]"""
    chip = load_sku(sku)
    peaks = [chip.flops_bf16]
    if label != "bf16":
        peaks.append(chip.flops_fp8 or 0.0)
    if label not in ("bf16", "fp8"):
        peaks.append(chip.flops_fp4 or 0.0)
    return max(peaks)


@lru_cache(maxsize=4096)
def _flops(model: str, prompt: float, output: float) -> tuple[float, float]:
    """FLOPs of a request's prompt, and of its output. [FLOP]"""
    architecture = load_architecture(model)
    first = prefill_ops(architecture=architecture, new_tokens=prompt, prefix_tokens=0.0)
    later = decode_token_ops(architecture=architecture, context=prompt + output / 2.0)
    return total_flops(first)["raw"], output * total_flops(later)["raw"]


@lru_cache(maxsize=4096)
def _kv(model: str, context: float) -> float:
    """KV bytes of a sequence in the smallest storage that engines have. [B]"""
    architecture = load_architecture(model)
    size = kv_bytes_per_sequence(
        architecture=architecture, context=context, kv="fp8_ds_mla", index="fp4"
    )
    return float(size)


def _weights(model: str, *, label: str, tokens: FloatArray, experts: float) -> FloatArray:
    """Bytes of weights that a step of ``tokens`` tokens reads, at the fewest. [B]"""
    sums = _weight_sums(model)
    scale = min(1.0, LEAST_BYTES.get(label, 0.5) * sums.parameters / sums.released_bytes)
    read = np.full_like(tokens, sums.dense_bytes)
    if sums.experts:
        touched = experts_touched(
            experts=sums.experts, experts_per_token=sums.per_token, tokens=tokens
        )
        least = np.maximum(experts * np.asarray(touched), sums.per_token)
        read += least / sums.experts * sums.routed_bytes
    return np.asarray(scale * read, dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class _WeightSums:
    """Weights of a model as released, without its draft module; embeddings are not read. [B]"""

    parameters: float
    released_bytes: float
    dense_bytes: float
    routed_bytes: float
    experts: int
    per_token: int


@lru_cache(maxsize=64)
def _weight_sums(model: str) -> _WeightSums:
    architecture = load_architecture(model)
    main = [weight for weight in weight_table(architecture=architecture) if weight.module == "main"]
    routed = sum(w.checkpoint_bytes for w in main if w.name in _ROUTED)
    unread = sum(w.checkpoint_bytes for w in main if w.name in _NOT_READ)
    released = sum(w.checkpoint_bytes for w in main)
    return _WeightSums(
        parameters=sum(w.parameters for w in main),
        released_bytes=released,
        dense_bytes=released - routed - unread,
        routed_bytes=routed,
        experts=architecture.routed_experts if routed else 0,
        per_token=architecture.routed_per_token if routed else 0,
    )


def beyond_peak(shares: pd.DataFrame) -> pd.Series:
    """Why runs ask for more than their GPUs can give; a text for each that does."""
    return _named(shares, columns=("flops", "hbm", "both"), low=1.0, high=np.inf)


def near_peak(shares: pd.DataFrame) -> pd.Series:
    """Why runs that ask for little less than the peaks are suspect; a text for each of them."""
    certain = _named(shares, columns=("flops", "hbm", "both"), low=NEAR_PEAK, high=1.0)
    spread = _named(shares, columns=("hbm_uniform",), low=NEAR_PEAK, high=np.inf)
    beyond = beyond_peak(shares).index
    found: pd.Series = pd.concat([certain, spread[~spread.index.isin(certain.index)]])
    kept: pd.Series = found[~found.index.isin(beyond)]
    return kept


_MEANING = {
    "flops": "of peak FLOP/s",
    "hbm": "of peak memory bandwidth",
    "hbm_uniform": "of peak memory bandwidth if tokens spread evenly over the experts",
    "both": "of its time at peak FLOP/s and, for KV entries, peak memory bandwidth",
}


def _named(shares: pd.DataFrame, *, columns: tuple[str, ...], low: float, high: float) -> pd.Series:
    texts: dict[object, str] = {}
    for column in reversed(columns):
        values = shares[column]
        for row in values.index[(values > low) & (values <= high)]:
            texts[row] = f"asks for {values[row]:.0%} {_MEANING[column]}".replace("%", " %")
    return pd.Series(texts, dtype=object)
