"""From a ``config.json`` to an architecture: the family, its layers, its stored formats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workloads.architectures.huggingface import compressed, grouped, latent
from workloads.architectures.huggingface.keys import Keys
from workloads.architectures.huggingface.quantisation import stored_formats
from workloads.architectures.layered import LayeredArchitecture
from workloads.errors import UserError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from workloads.architectures.base import Release
    from workloads.architectures.huggingface.parts import Reading

READERS: dict[str, Callable[[Keys], Reading]] = {
    "BailingMoeV2_5ForCausalLM": latent.bailing_v2_5,
    "BailingMoeV3ForCausalLM": latent.bailing_v3,
    "DeepseekV2ForCausalLM": latent.deepseek_v3,
    "DeepseekV32ForCausalLM": latent.sparse,
    "DeepseekV41ForCausalLM": compressed.deepseek_v41,
    "DeepseekV3ForCausalLM": latent.deepseek_v3,
    "Gemma4ForConditionalGeneration": grouped.gemma4,
    "Glm4MoeForCausalLM": grouped.glm4_moe,
    "Glm5NextForConditionalGeneration": latent.glm5_next,
    "GlmMoeDsaForCausalLM": latent.sparse,
    "GptOssForCausalLM": grouped.gpt_oss,
    "HYV3ForCausalLM": grouped.hy_v3,
    "KimiK25ForConditionalGeneration": latent.deepseek_v3,
    "KimiK3ForConditionalGeneration": latent.kimi_linear,
    "KimiLinearForCausalLM": latent.kimi_linear,
    "Llama4ForConditionalGeneration": grouped.llama4,
    "LlamaForCausalLM": grouped.llama,
    "MiMoV2FlashForCausalLM": grouped.mimo_v2,
    "MiMoV2ForCausalLM": grouped.mimo_v2,
    "MiniMaxM2ForCausalLM": grouped.minimax_m2,
    "MiniMaxM3ForCausalLM": grouped.minimax_m3,
    "MiniMaxM3SparseForConditionalGeneration": grouped.minimax_m3,
    "MistralForCausalLM": grouped.llama,
    "MistralLarge3ForCausalLM": latent.deepseek_v3,
    "MixtralForCausalLM": grouped.mixtral,
    "NemotronHForCausalLM": grouped.nemotron_h,
    "Qwen2ForCausalLM": grouped.qwen2,
    "Qwen3ForCausalLM": grouped.qwen3,
    "Qwen3MoeForCausalLM": grouped.qwen3_moe,
    "Qwen3NextForCausalLM": grouped.qwen3_next,
    "Qwen3VLMoeForConditionalGeneration": grouped.qwen3_moe,
    "Qwen3_5ForConditionalGeneration": grouped.qwen3_next,
    "Qwen3_5MoeForCausalLM": grouped.qwen3_next,
    "Qwen3_5MoeForConditionalGeneration": grouped.qwen3_next,
    "SeedOssForCausalLM": grouped.llama,
    "Step3p5ForCausalLM": grouped.step3p5,
    "Step3p7ForConditionalGeneration": grouped.step3p5,
}
"""By the architecture string; ``model_type`` does not tell all apart (``bailing_hybrid``)."""

_BY_TEXT_TYPE: dict[tuple[str, str], Callable[[Keys], Reading]] = {
    ("Mistral3ForConditionalGeneration", "mistral4"): latent.mistral4,
    ("Mistral3ForConditionalGeneration", "mistral"): grouped.llama,
    ("Mistral3ForConditionalGeneration", "ministral3"): grouped.llama,
}


def _reader(config: Mapping[str, Any], *, source: str) -> Callable[[Keys], Reading]:
    named = config.get("architectures")
    if not isinstance(named, list) or not named or not isinstance(named[0], str):
        raise UserError(
            f"{source} lacks architectures (which code the model runs); add what the published "
            'file says, such as "architectures": ["Qwen3ForCausalLM"]'
        )
    name = named[0]
    text = config.get("text_config")
    inner = str(text.get("model_type", "")) if isinstance(text, dict) else ""
    found = _BY_TEXT_TYPE.get((name, inner)) or READERS.get(name)
    if found is None:
        known = [*READERS, *(outer for outer, _ in _BY_TEXT_TYPE)]
        raise unknown_name(field=f"{source}: architecture", value=name, known=set(known))
    return found


def read_architecture(
    config: Mapping[str, Any],
    *,
    name: str,
    source: str,
    releases: tuple[Release, ...] = (),
    nearest: str = "",
    labels: bool = False,
) -> LayeredArchitecture:
    """The architecture that a ``config.json`` describes.

    Parameters
    ----------
    config:
        The parsed file, ``quantization_config`` included.
    name:
        Canonical name of the model.
    source:
        Name of the file, for messages.
    releases:
        Published checkpoints; without any, the one that ``quantization_config`` describes.
    nearest:
        Measured model whose efficiencies apply.
    labels:
        Whether a model without releases takes any label of precision, as the shipped dense ones.

    Raises
    ------
    UserError
        If the family is unknown, keys are missing, of the wrong type or not understood. Nothing
        is filled from the defaults of an engine's code.
    """
    reader = _reader(config, source=source)
    keys = Keys(config, source=source)
    hidden = keys.number("hidden_size", "dim", what="width")
    vocabulary = keys.number("vocab_size", what="vocabulary")
    context = keys.number("max_position_embeddings", "max_seq_len", what="longest context")
    # Gemma's configuration class ties them unless told otherwise; top level before text_config
    usual = str(config["architectures"][0]).startswith("Gemma")
    tied = config.get("tie_word_embeddings", keys.get("tie_word_embeddings", default=usual))
    reading = reader(keys)
    keys.check()
    stored = releases[0] if releases else stored_formats(config, source=source)
    fields: dict[str, Any] = {
        "native_expert_path": stored.expert_path,
        "native_dense_path": stored.dense_path,
        "native_feed_path": stored.feed_forward_path,
        "native_draft_path": stored.draft_path,
        **(reading.fields or {}),
    }
    return LayeredArchitecture(
        name=name,
        hidden_size=hidden,
        num_hidden_layers=len(reading.kinds),
        vocab_size=vocabulary,
        max_position_embeddings=context,
        releases=releases or (() if labels else (stored,)),
        kinds=reading.kinds,
        draft_kinds=reading.draft_kinds,
        tie_word_embeddings=bool(tied),
        nearest=nearest,
        **fields,
    )
