"""Access to the keys of a ``config.json``: what is used, what lacks, what is not understood."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from workloads.architectures.model_file import MOST_LAYERS
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

_MATTERS: dict[str, str] = {
    "layer_types": "which layers attend to all, to a window or linearly",
    "full_attention_interval": "which layers have full attention",
    "hybrid_layer_pattern": "which layers attend to a window",
    "hybrid_override_pattern": "which layers are Mamba, experts or attention",
    "layers_block_type": "which layers are Mamba, experts or attention",
    "attn_type_list": "which layers have linear attention",
    "linear_attn_config": "linear attention layers and their state",
    "layer_group_size": "which layers have linear attention",
    "block_configs": "every layer's own shape",
    "sparse_attention_config": "block-sparse attention",
    "compress_ratios": "compressed entries of the KV cache",
    "sliding_window": "a window of attention",
    "attention_chunk_size": "attention within chunks",
    "num_kv_shared_layers": "layers that share KV entries",
    "kv_source_layer_ids": "layers that share KV entries",
    "swa_num_attention_heads": "heads of the sliding layers",
    "attention_other_setting": "heads of the sliding layers",
    "global_head_dim": "heads of the full layers",
    "kv_lora_rank": "latent attention",
    "index_topk": "sparse attention",
    "index_kpool": "pooled index keys",
    "indexer_types": "which layers share an indexer",
    "index_source_layer_ids": "which layers share an indexer",
    "indexer_budget": "sparse attention",
    "n_routed_experts": "experts",
    "num_experts": "experts",
    "num_local_experts": "experts",
    "moe_num_experts": "experts",
    "n_shared_experts": "shared experts",
    "num_shared_experts": "shared experts",
    "shared_expert_intermediate_size": "a shared expert",
    "share_expert_dim": "a shared expert",
    "shared_intermediate_size": "a shared expert",
    "moe_layer_freq": "which layers have experts",
    "mlp_layer_types": "which layers have experts",
    "moe_layers_enum": "which layers have experts",
    "mlp_only_layers": "which layers have experts",
    "interleave_moe_layer_step": "which layers have experts",
    "first_k_dense_replace": "which layers have experts",
    "enable_moe_block": "experts beside the dense network",
    "routed_expert_hidden_size": "experts on a latent width",
    "moe_latent_size": "experts on a latent width",
    "attn_output_gate": "the output gate of attention",
    "mla_use_output_gate": "the output gate of attention",
    "use_head_wise_attn_gate": "the output gate of attention",
    "hc_mult": "residual streams",
    "mhc_num_residual_streams": "residual streams",
    "attn_res_block_size": "attention over residual blocks",
    "hidden_size_per_layer_input": "embeddings of every layer",
    "engram_layer_ids": "n-gram tables",
    "ngram_vocab_size_base": "n-gram tables",
    "cla_share_factor": "layers that share KV entries",
    "cross_attention_layers": "cross attention",
    "num_nextn_predict_layers": "draft layers",
    "mtp_num_hidden_layers": "draft layers",
    "dspark_block_size": "a DSpark draft module",
}
"""Keys that change operations or bytes, and what each would change."""


_GROUPS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(index|indexer|candidate|sparse)_"), "which keys attention reads"),
    (re.compile(r"(engram|ngram)_"), "n-gram tables"),
    (re.compile(r"(linear|kda|mamba|ssm)_.*(heads|dim|size|layers)$"), "linear layers"),
    (re.compile(r".*(_source_layer_ids|_layer_pattern|_kv_layers)$"), "which layers are alike"),
    (re.compile(r"(routed_expert|moe_latent|expert)_.*(size|dim|rank)$"), "the shape of experts"),
)
"""Keys of a kind, known or not, that change operations or bytes, and what each would change."""

_HARMLESS = re.compile(
    r".*(rope|dropout|eps|coef|loss|init|range|scale|norm|dtype|bias|theta|interleave|act|chunk_size"
    r"|group_size)(_.*)?$"
)
"""Words of keys that change neither operations nor bytes as counted here."""


def _off(value: Any) -> bool:
    """Whether a value says that a feature is absent."""
    if isinstance(value, list):
        return all(_off(item) for item in value)
    return value in (None, False, 0, -1, "", {})


class Keys:
    """The keys of one configuration: ``text_config`` first, then the top level.

    Parameters
    ----------
    config:
        Parsed ``config.json``.
    source:
        Name of the file, for messages.
    """

    def __init__(self, config: Mapping[str, Any], *, source: str) -> None:
        self.source = source
        text = config.get("text_config") or config.get("language_config")
        self._layers: list[Mapping[str, Any]] = [config]
        if isinstance(text, dict):
            self._layers.insert(0, text)
        self._used: set[str] = set()
        self._missing: dict[str, str] = {}

    def has(self, *names: str) -> bool:
        """Whether one of the keys is there with a value that means something."""
        return not _off(self.get(*names))

    def get(self, *names: str, default: Any = None) -> Any:
        """The value of the first key that is there; all of them count as understood."""
        self._used.update(names)
        for name in names:
            for layer in self._layers:
                if name in layer:
                    return layer[name]
        return default

    def number(self, *names: str, what: str, default: int | None = None) -> int:
        """A whole number; without a default the key must be there.

        Raises
        ------
        UserError
            If the value is not a whole number of 0 or more, or layers are more than any model's.
        """
        value = self.get(*names)
        if value is None and default is not None:
            return default
        if value is None:
            self._missing.setdefault(names[0], what)
            return 1
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise UserError(
                f"{self.source}: {names[0]} is {value!r}; it must be a whole number, 0 or more"
            )
        if what in ("layers", "draft layers") and value > MOST_LAYERS:
            raise UserError(
                f"{self.source}: {names[0]} is {value:,}; a model has {MOST_LAYERS:,} at the most"
            )
        return value

    def flag(self, *names: str, default: bool = False) -> bool:
        """Whether a switch is on."""
        value = self.get(*names)
        return default if value is None else bool(value)

    def each(self, *names: str, length: int) -> list[Any]:
        """A list with an entry for each of ``length`` layers; longer ones are cut (MTP).

        Raises
        ------
        UserError
            If it is not a list or too short.
        """
        value = self.get(*names)
        if value is None:
            self._missing.setdefault(names[0], "an entry for each layer")
            return [None] * length
        if not isinstance(value, list) or len(value) < length:
            count = len(value) if isinstance(value, list) else type(value).__name__
            raise UserError(
                f"{self.source}: {names[0]} has {count} entries; {length} layers need one each"
            )
        return value[:length]

    def sub(self, name: str) -> Keys:
        """The keys of a nested mapping, with messages that name it.

        Raises
        ------
        UserError
            If it is not a mapping.
        """
        value = self.get(name)
        if value is None:
            self._missing.setdefault(name, _MATTERS.get(name, "a group of keys"))
            value = {}
        if not isinstance(value, dict):
            raise UserError(f"{self.source}: {name} must hold keys; it is {value!r}")
        inner = Keys(value, source=f"{self.source}: {name}")
        inner._missing = self._missing
        return inner

    def ignore(self, *names: str) -> None:
        """Mark keys that have no bearing on this family."""
        self._used.update(names)

    def check(self) -> None:
        """Refuse a configuration that lacks keys or has some that are not understood.

        Raises
        ------
        UserError
            Naming the keys, and what each is or would change.
        """
        if self._missing:
            lacks = ", ".join(f"{name} ({what})" for name, what in self._missing.items())
            raise UserError(f"{self.source} lacks {lacks}; add what the published file says")
        for layer in self._layers:
            for name, value in layer.items():
                changes = None if name in self._used or _off(value) else _changed_by(name)
                if changes:
                    raise UserError(
                        f"{self.source}: {name} is not understood for this family; it would "
                        f"change {changes}"
                    )


def _changed_by(name: str) -> str | None:
    """What a key that no reader took would change; ``None`` of one without bearing."""
    if name in _MATTERS:
        return _MATTERS[name]
    if _HARMLESS.fullmatch(name):
        return None
    return next((what for pattern, what in _GROUPS if pattern.match(name)), None)
