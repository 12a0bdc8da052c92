"""Families of grouped-query attention: Llama, Qwen, Mixtral, GLM-4, MiniMax, gpt-oss and others."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from workloads.architectures.huggingface.parts import (
    Reading,
    dense,
    dense_first,
    experts,
    grouped,
    hidden_size,
    layer_count,
    stacked,
)
from workloads.architectures.kinds import (
    BlockSelection,
    Experts,
    FeedForward,
    LinearAttention,
)
from workloads.errors import UserError

if TYPE_CHECKING:
    from workloads.architectures.huggingface.keys import Keys
    from workloads.architectures.kinds import Feed, GroupedAttention, Mixer


def _dense(keys: Keys, mixer: GroupedAttention) -> Reading:
    """Equal dense layers, with a window where the configuration switches one on."""
    layers = layer_count(keys)
    mixers: list[Mixer] = [mixer] * layers
    if keys.has("sliding_window") and keys.flag("use_sliding_window", default=True):
        window = replace(mixer, window=keys.number("sliding_window", what="window"))
        first = keys.number("max_window_layers", what="", default=0)
        mixers = [window if i >= first else mixer for i in range(layers)]
        if keys.has("layer_types"):
            kinds = keys.each("layer_types", length=layers)
            mixers = [window if kind == "sliding_attention" else mixer for kind in kinds]
    keys.ignore("layer_types", "max_window_layers", "sliding_window")
    return Reading(kinds=stacked(mixers, [dense(keys)] * layers))


def llama(keys: Keys) -> Reading:
    """Llama 2 and 3, Mistral, Seed-OSS."""
    return _dense(keys, grouped(keys, bias="qkvo" if keys.flag("attention_bias") else ""))


def qwen2(keys: Keys) -> Reading:
    """Qwen 2 and 2.5: biases of queries, keys and values, named in the code alone."""
    return _dense(keys, grouped(keys, bias="qkv"))


def qwen3(keys: Keys) -> Reading:
    """Qwen 3 dense: norms of queries and keys per head, named in the code alone."""
    return _dense(keys, grouped(keys, qk_norm="per_head"))


def _sparse_steps(keys: Keys, *, layers: int, moe: Experts) -> list[Feed]:
    """Qwen's ``decoder_sparse_step`` and ``mlp_only_layers``."""
    step = keys.number("decoder_sparse_step", what="", default=1)
    only = keys.get("mlp_only_layers") or []
    flags = [i not in only and (i + 1) % step == 0 for i in range(layers)]
    keys.ignore("intermediate_size")
    network = moe if all(flags) else dense(keys)
    return [moe if flag else network for flag in flags]


def qwen3_moe(keys: Keys) -> Reading:
    """Qwen 3 with experts."""
    layers = layer_count(keys)
    keys.ignore("sliding_window", "max_window_layers")
    mixer = grouped(keys, qk_norm="per_head")
    return Reading(
        kinds=stacked([mixer] * layers, _sparse_steps(keys, layers=layers, moe=experts(keys)))
    )


def mixtral(keys: Keys) -> Reading:
    """Mixtral: experts of the dense width in every layer."""
    layers = layer_count(keys)
    mixer = grouped(keys, window=int(keys.get("sliding_window") or 0))
    moe = experts(keys, width_key="intermediate_size")
    return Reading(kinds=stacked([mixer] * layers, [moe] * layers))


def glm4_moe(keys: Keys) -> Reading:
    """GLM-4.5 to 4.7: biases of queries, keys and values, dense layers first, an MTP block."""
    layers = layer_count(keys)
    norm = "per_head" if keys.flag("use_qk_norm") else ""
    mixer = grouped(keys, bias="qkv" if keys.flag("attention_bias") else "", qk_norm=norm)
    moe = experts(keys, router_bias=True)
    drafts = keys.number("num_nextn_predict_layers", what="draft layers", default=0)
    return Reading(
        kinds=stacked([mixer] * layers, dense_first(keys, layers=layers, moe=moe)),
        draft_kinds=stacked([mixer] * drafts, [moe] * drafts),
        fields={"draft_tables": drafts > 0},
    )


def minimax_m2(keys: Keys) -> Reading:
    """MiniMax-M2: experts of the dense width everywhere; the weights hold no MTP modules."""
    layers = layer_count(keys)
    kinds = keys.get("attn_type_list")
    if kinds is not None and any(kind != 1 for kind in kinds):
        raise UserError(
            f"{keys.source}: attn_type_list has linear layers, which MiniMax-M2 has not"
        )
    norm = keys.get("qk_norm_type", default="per_layer") if keys.flag("use_qk_norm") else ""
    mixer = grouped(keys, qk_norm=norm)
    moe = experts(keys, width_key="intermediate_size", router_bias=True)
    shared = keys.number("shared_intermediate_size", what="", default=0)
    keys.ignore("num_mtp_modules", "use_mtp")
    return Reading(kinds=stacked([mixer] * layers, [replace(moe, shared_width=shared)] * layers))


def minimax_m3(keys: Keys) -> Reading:
    """MiniMax-M3: block-sparse attention and experts after some full and dense layers."""
    layers = layer_count(keys)
    mixer = grouped(keys, qk_norm="per_head" if keys.flag("use_qk_norm") else "")
    sparse = keys.sub("sparse_attention_config")
    chosen = BlockSelection(
        heads=sparse.number("sparse_num_index_heads", what="index heads"),
        head_dim=sparse.number("sparse_index_dim", what="width of an index key"),
        blocks=sparse.number("sparse_topk_blocks", what="blocks chosen"),
        block_tokens=sparse.number("sparse_block_size", what="tokens of a block"),
    )
    flags = sparse.each("sparse_attention_freq", length=layers)
    mixers = [replace(mixer, selection=chosen) if flag else mixer for flag in flags]
    moe = experts(keys, width_key="intermediate_size", router_bias=True)
    shared = keys.number("n_shared_experts", what="", default=0)
    width = keys.number("shared_intermediate_size", what="", default=moe.width)
    moe = replace(moe, shared_width=shared * width)
    network = FeedForward(width=keys.number("dense_intermediate_size", what="dense width"))
    sparse_feeds = keys.each("moe_layer_freq", length=layers)
    keys.ignore("num_mtp_modules")
    return Reading(kinds=stacked(mixers, [moe if flag else network for flag in sparse_feeds]))


def gpt_oss(keys: Keys) -> Reading:
    """gpt-oss: windows and full attention in turn, sinks and biases everywhere."""
    layers = layer_count(keys)
    full = grouped(keys, bias="qkvo", sinks=True)
    window = replace(full, window=keys.number("sliding_window", what="window"))
    kinds = keys.each("layer_types", length=layers)
    moe = experts(keys, width_key="intermediate_size", router_bias=True, expert_bias=True)
    mixers = [window if kind == "sliding_attention" else full for kind in kinds]
    return Reading(kinds=stacked(mixers, [moe] * layers))


def hy_v3(keys: Keys) -> Reading:
    """Hunyuan 3: a dense layer, then experts, and MTP blocks."""
    layers = layer_count(keys)
    mixer = grouped(keys, qk_norm="per_head" if keys.flag("qk_norm") else "")
    moe = experts(keys, router_bias=True)
    drafts = keys.number("num_nextn_predict_layers", what="draft layers", default=0)
    return Reading(
        kinds=stacked([mixer] * layers, dense_first(keys, layers=layers, moe=moe)),
        draft_kinds=stacked([mixer] * drafts, [moe] * drafts),
    )


def llama4(keys: Keys) -> Reading:
    """Llama 4: three chunked layers in four, experts in every ``interleave_moe_layer_step``-th."""
    layers = layer_count(keys)
    full = grouped(keys)
    chunked = replace(full, chunk=keys.number("attention_chunk_size", what="chunk"))
    no_rope = keys.get("no_rope_layers") or [int((i + 1) % 4 != 0) for i in range(layers)]
    mixers: list[Mixer] = [chunked if flag else full for flag in no_rope[:layers]]
    step = keys.number("interleave_moe_layer_step", what="which layers have experts")
    moe = experts(keys, width_key="intermediate_size")
    # the code has one shared expert of the experts' width
    moe = replace(moe, shared_width=moe.width)
    listed = keys.get("moe_layers")
    sparse = listed if listed is not None else range(step - 1, layers, step)
    network = dense(keys, "intermediate_size_mlp")
    return Reading(kinds=stacked(mixers, [moe if i in sparse else network for i in range(layers)]))


def step3p5(keys: Keys) -> Reading:
    """Step 3.5 and 3.7: other heads in sliding layers, a gate a head, three MTP layers."""
    layers = layer_count(keys)
    gate = "head" if keys.flag("use_head_wise_attn_gate") else ""
    full = grouped(keys, qk_norm="per_head", gate=gate)
    other = keys.sub("attention_other_setting")
    window = replace(
        full,
        heads=other.number("num_attention_heads", what="heads of sliding layers"),
        kv_heads=other.number("num_attention_groups", what="KV heads of sliding layers"),
        key_dim=other.number("head_dim", what="head width of sliding layers"),
        value_dim=other.number("head_dim", what="head width of sliding layers"),
        window=keys.number("sliding_window", what="window"),
    )
    drafts = keys.number("num_nextn_predict_layers", what="draft layers", default=0)
    kinds = keys.each("layer_types", length=layers)
    mixers = [window if kind == "sliding_attention" else full for kind in kinds]
    shared = keys.number("share_expert_dim", what="width of the shared expert", default=0)
    moe = replace(experts(keys, router_bias=True), shared_width=shared)
    enum = keys.get("moe_layers_enum")
    sparse = {int(i) for i in enum.split(",")} if isinstance(enum, str) else set(enum or ())
    network = dense(keys)
    feeds = [moe if i in sparse else network for i in range(layers)]
    return Reading(
        kinds=stacked(mixers, feeds),
        draft_kinds=stacked([window] * drafts, [network] * drafts),
    )


def mimo_v2(keys: Keys) -> Reading:
    """MiMo V2: values narrower than keys, other heads in sliding layers."""
    layers = layer_count(keys)
    full = grouped(keys)
    keys.ignore("sliding_window_size", "attention_chunk_size")
    window = replace(
        full,
        heads=keys.number("swa_num_attention_heads", what="heads of sliding layers"),
        kv_heads=keys.number("swa_num_key_value_heads", what="KV heads of sliding layers"),
        key_dim=keys.number("swa_head_dim", what="key width of sliding layers"),
        value_dim=keys.number("swa_v_head_dim", what="value width of sliding layers"),
        window=keys.number("sliding_window", what="window"),
        sinks=False,
    )
    kinds = keys.each("hybrid_layer_pattern", length=layers)
    moe = experts(keys, router_bias=True)
    return Reading(
        kinds=stacked(
            [window if kind else full for kind in kinds],
            dense_first(keys, layers=layers, moe=moe),
        )
    )


def gemma4(keys: Keys) -> Reading:
    """Gemma 4: five sliding layers to a full one, whose keys are its values; dense or experts."""
    layers = layer_count(keys)
    window = grouped(keys, qk_norm="per_head", window=keys.number("sliding_window", what="window"))
    head = keys.number("global_head_dim", what="head width of full layers")
    full = replace(
        window,
        window=0,
        kv_heads=keys.number(
            "num_global_key_value_heads", what="KV heads of full layers", default=window.kv_heads
        ),
        key_dim=head,
        value_dim=head,
        value_is_key=keys.flag("attention_k_eq_v"),
    )
    kinds = keys.each("layer_types", length=layers)
    network: Feed = dense(keys)
    if keys.flag("enable_moe_block"):
        network = experts(keys, dense_width=dense(keys).width)
    keys.ignore("num_experts", "top_k_experts", "moe_intermediate_size")
    mixers = [window if kind == "sliding_attention" else full for kind in kinds]
    return Reading(kinds=stacked(mixers, [network] * layers))


def _delta_net(keys: Keys) -> LinearAttention:
    dtype = keys.get("mamba_ssm_dtype", default="float32")
    return LinearAttention(
        rule="gdn",
        key_heads=keys.number("linear_num_key_heads", what="key heads of linear layers"),
        key_dim=keys.number("linear_key_head_dim", what="key width of linear layers"),
        value_heads=keys.number("linear_num_value_heads", what="value heads of linear layers"),
        value_dim=keys.number("linear_value_head_dim", what="value width of linear layers"),
        taps=keys.number("linear_conv_kernel_dim", what="taps of the convolution"),
        state_dtype="bfloat16" if dtype in ("bfloat16", "float16") else "float32",
    )


def qwen3_next(keys: Keys) -> Reading:
    """Qwen3-Next and Qwen3.5 to 3.8: three gated delta nets to a gated attention layer."""
    layers = layer_count(keys)
    gate = "full" if keys.flag("attn_output_gate", default=True) else ""
    full = grouped(keys, qk_norm="per_head", gate=gate)
    linear = _delta_net(keys)
    if keys.has("layer_types"):
        kinds = keys.each("layer_types", length=layers)
        keys.ignore("full_attention_interval")
    else:
        every = keys.number("full_attention_interval", what="which layers have full attention")
        kinds = [
            "full_attention" if (i + 1) % every == 0 else "linear_attention" for i in range(layers)
        ]
    mixers: list[Mixer] = [full if kind == "full_attention" else linear for kind in kinds]
    feeds: list[Feed]
    if keys.has("num_experts"):
        shared = keys.number("shared_expert_intermediate_size", what="", default=0)
        moe = replace(experts(keys), shared_width=shared, shared_gate=shared > 0)
        feeds = _sparse_steps(keys, layers=layers, moe=moe)
    else:
        feeds = [dense(keys)] * layers
    keys.ignore("mlp_only_layers", "decoder_sparse_step")
    drafts = keys.number("mtp_num_hidden_layers", what="draft layers", default=0)
    return Reading(
        kinds=stacked(mixers, feeds),
        draft_kinds=stacked([full] * drafts, [feeds[-1]] * drafts),
    )


def nemotron_h(keys: Keys) -> Reading:
    """Nemotron-H and Nemotron-3: layers of one part each, Mamba-2, attention or experts."""
    names = {"M": "mamba", "E": "moe", "*": "attention", "-": "mlp"}
    pattern = keys.get("hybrid_override_pattern")
    kinds = keys.get("layers_block_type")
    if kinds is None:
        kinds = [names.get(letter, letter) for letter in pattern or ""]
        if not pattern:
            keys.each("layers_block_type", length=1)
    keys.ignore("num_hidden_layers", "mlp_hidden_act")
    matrices = 2 if keys.get("mlp_hidden_act") == "relu2" else 3
    mamba = LinearAttention(
        rule="mamba2",
        key_heads=keys.number("n_groups", what="groups of Mamba-2"),
        key_dim=keys.number("ssm_state_size", what="width of the state of Mamba-2"),
        value_heads=keys.number("mamba_num_heads", what="heads of Mamba-2"),
        value_dim=keys.number("mamba_head_dim", what="head width of Mamba-2"),
        taps=keys.number("conv_kernel", what="taps of the convolution"),
        state_dtype="bfloat16" if keys.get("mamba_ssm_cache_dtype") == "bfloat16" else "float32",
    )
    attention = grouped(keys)
    latent = keys.number("moe_latent_size", what="", default=0)
    feeds: dict[str, Feed] = {}
    if "moe" in kinds:
        moe = experts(keys, matrices=matrices, latent=latent, router_bias=True)
        feeds["moe"] = replace(moe, latent_norm=latent)
    if "mlp" in kinds:
        feeds["mlp"] = replace(dense(keys), matrices=matrices)
    mixers: dict[str, Mixer] = {"mamba": mamba, "attention": attention}
    unknown = set(kinds) - {*mixers, *feeds}
    if unknown:
        raise UserError(
            f"{keys.source}: layer kind '{min(unknown)}' is not understood; "
            "Nemotron-H has mamba (M), moe (E), attention (*) and mlp (-)"
        )
    drafts = keys.number("num_nextn_predict_layers", what="draft layers", default=0)
    keys.ignore("mtp_hybrid_override_pattern", "mtp_layers_block_type")
    return Reading(
        kinds=stacked([mixers.get(k) for k in kinds], [feeds.get(k) for k in kinds]),
        draft_kinds=stacked([attention] * drafts, [feeds.get("moe")] * drafts),
    )


__all__ = [
    "gemma4",
    "glm4_moe",
    "gpt_oss",
    "hidden_size",
    "hy_v3",
    "llama",
    "llama4",
    "mimo_v2",
    "minimax_m2",
    "minimax_m3",
    "mixtral",
    "nemotron_h",
    "qwen2",
    "qwen3",
    "qwen3_moe",
    "qwen3_next",
    "step3p5",
]
