"""The operations of a step: names, shapes, communication by layout, effects of the plan."""

from collections import Counter

import numpy as np
import pytest

from workloads.architectures.catalog import load_architecture
from workloads.errors import UserError
from workloads.execution_plan import ExecutionPlan
from workloads.layout import Layout
from workloads.models import bind
from workloads.models.expert_load import ExpertLoad
from workloads.ops import Component, OpKind

NAMES = (
    *("deepseek-v4-pro", "deepseek-v4-flash", "deepseek-v4-pro-0813"),
    *("deepseek-v3.2", "dsr1", "glm-5"),
)
DEP8 = Layout(tp=8, ep=8, dp_attention=True)
QUANTITIES = ("flops", "weight_bytes", "kv_bytes", "activation_bytes", "message_bytes")


def model_of(name="deepseek-v4-pro", layout=None, *, drafts=0, load=None, **plan):
    return bind(
        architecture=load_architecture(name),
        layout=layout or Layout(tp=1),
        plan=ExecutionPlan(**plan),
        expert_load=load or ExpertLoad(),
        drafts=drafts,
    )


def groups_of(model, *, tokens, requests, context, new_tokens):
    """The five groups of a mixed step."""
    layout = model.layout
    drafts = model.drafts
    return {
        "token": model.token_ops(rank_tokens=tokens, group_tokens=tokens * layout.attention_dp),
        "decode": model.decode_attention_ops(
            requests=requests, queries_per_request=drafts + 1, context=context
        ),
        "prefill": model.prefill_attention_ops(new_tokens=new_tokens, prefix_tokens=context),
        "head": model.head_ops(samples=requests),
        "draft": model.draft_ops(
            requests=requests, group_requests=requests * layout.attention_dp, drafts=drafts
        ),
    }


def step_of(model, **batch):
    return [op for ops in groups_of(model, **batch).values() for op in ops]


BATCH = {"tokens": 300.0, "requests": 50.0, "context": 9000.0, "new_tokens": 100.0}


def amount(ops, field):
    return sum(op.layers * float(getattr(op, field)) for op in ops)


@pytest.mark.parametrize("layout", [Layout(tp=1), Layout(tp=8), DEP8], ids=lambda x: x.label)
@pytest.mark.parametrize("drafts", [0, 1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_names_are_unique_in_a_step(name, drafts, layout):
    model = model_of(name, layout, drafts=drafts, moe_backend="fused")
    names = Counter(op.name for op in step_of(model, **BATCH))
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("drafts", [0, 3])
@pytest.mark.parametrize("name", NAMES)
def test_overlap_stages_stay_within_a_group(name, drafts):
    """Groups are timed one by one, so that a stage in two of them would count twice."""
    groups = groups_of(model_of(name, DEP8, drafts=drafts, moe_backend="fused"), **BATCH)
    stages = [{op.stage for op in ops if op.stage} for ops in groups.values()]
    assert sum(len(names) for names in stages) == len(set().union(*stages))
    for ops in groups.values():
        for stage in {op.stage for op in ops if op.stage}:
            assert len({op.layers for op in ops if op.stage == stage}) == 1


@pytest.mark.parametrize("layout", [Layout(tp=4), DEP8, Layout(tp=8, ep=4, dp_attention=True)])
@pytest.mark.parametrize("name", NAMES)
def test_arrays_give_what_scalars_give(name, layout):
    model = model_of(name, layout, drafts=2, load=ExpertLoad(kind="power_law"))
    grid = {key: value * np.array([0.1, 1.0, 7.0]) for key, value in BATCH.items()}
    by_array = step_of(model, **grid)
    for index in range(3):
        by_scalar = step_of(model, **{key: float(value[index]) for key, value in grid.items()})
        for one, many in zip(by_scalar, by_array, strict=True):
            assert one.name == many.name
            for field in QUANTITIES:
                value = np.broadcast_to(getattr(many, field), 3)[index]
                assert value == pytest.approx(float(getattr(one, field)), rel=1e-12), field


@pytest.mark.parametrize(
    ("layout", "backend", "expected"),
    [
        (Layout(tp=1), "dispatch_combine", {}),
        (Layout(tp=8), "tensor_parallel", {OpKind.ALL_REDUCE: 2}),
        (Layout(tp=8, ep=8), "fused", {OpKind.ALL_REDUCE: 2}),
        (DEP8, "dispatch_combine", {OpKind.ALL_TO_ALL: 2}),
        (DEP8, "fused", {OpKind.ALL_TO_ALL: 2}),
        (DEP8, "allgather", {OpKind.ALL_GATHER: 1, OpKind.REDUCE_SCATTER: 1}),
        (DEP8, "gather_reduce", {OpKind.ALL_GATHER: 1, OpKind.ALL_REDUCE: 1}),
        (
            Layout(tp=8, ep=2, dp_attention=True),
            "dispatch_combine",
            {OpKind.ALL_GATHER: 1, OpKind.REDUCE_SCATTER: 1},
        ),
        (
            Layout(tp=8, dp_attention=True),
            "dispatch_combine",
            {OpKind.ALL_GATHER: 1, OpKind.REDUCE_SCATTER: 1},
        ),
    ],
)
@pytest.mark.parametrize("name", ["deepseek-v4-pro", "deepseek-r1"])
def test_communication_of_a_layer(name, layout, backend, expected):
    model = model_of(name, layout, moe_backend=backend)
    ops = model.token_ops(rank_tokens=64.0, group_tokens=64.0 * layout.attention_dp)
    assert Counter(op.kind for op in ops if op.kind.is_communication) == expected
    for op in ops:
        if op.kind.is_communication:
            assert op.group_size == layout.tp
            assert op.component is Component.COMMUNICATION


def test_message_sizes():
    """Sizes of each collective for 64 tokens a rank, 512 in the group."""
    hidden = 7168
    tokens = {"rank_tokens": 64.0, "group_tokens": 512.0}
    balanced = ExpertLoad(kind="balanced")
    by_pair = {op.name: op for op in model_of(layout=DEP8, load=balanced).token_ops(**tokens)}
    assert by_pair["moe.dispatch"].message_bytes == 64 * 6 * hidden * (1 + 1 / 32)
    assert by_pair["moe.combine"].message_bytes == 64 * 6 * hidden * 2
    gathered = model_of(layout=DEP8, load=balanced, moe_backend="allgather").token_ops(**tokens)
    by_token = {op.name: op for op in gathered}
    assert by_token["moe.dispatch"].message_bytes == 512 * hidden * (1 + 1 / 32)
    assert by_token["moe.combine"].message_bytes == 512 * hidden * 2
    # every rank is padded to the fullest: 8 x 64 tokens though only 100 are there
    padded = model_of(layout=DEP8, load=balanced, moe_backend="gather_reduce")
    filled = {op.name: op for op in padded.token_ops(rank_tokens=64.0, group_tokens=100.0)}
    assert filled["moe.combine"].message_bytes == 512 * hidden * 2
    parallel = model_of(layout=Layout(tp=8)).token_ops(rank_tokens=64.0, group_tokens=64.0)
    reduced = {op.name: op for op in parallel}
    assert reduced["attention.all_reduce"].message_bytes == 64 * hidden * 2
    assert reduced["moe.all_reduce"].layers == 61


def test_two_half_batches_read_weights_twice_and_hide_one_side():
    """Overlap of half batches: 2 x max(experts, exchange) of a half, weights read once a half."""
    tokens = {"rank_tokens": 64.0, "group_tokens": 512.0}
    whole = {op.name: op for op in model_of(layout=DEP8).token_ops(**tokens)}
    halves = model_of(layout=DEP8, two_batch_overlap=True).token_ops(**tokens)
    split = {op.name: op for op in halves}
    assert split["moe.dispatch"].layers == 2 * whole["moe.dispatch"].layers
    assert split["moe.dispatch"].message_bytes == pytest.approx(
        whole["moe.dispatch"].message_bytes / 2, rel=0.1
    )
    assert split["moe.dispatch"].stream != split["experts.w13"].stream
    assert split["moe.dispatch"].stage == split["experts.w13"].stage == "moe"
    read = {
        name: sum(op.weight_bytes * op.layers for op in ops.values() if "experts" in op.name)
        for name, ops in (("whole", whole), ("split", split))
    }
    assert read["whole"] < read["split"] <= 2 * read["whole"]
    # a kernel that fuses exchange and experts has nothing left to overlap
    fused = [
        model_of(layout=DEP8, moe_backend="fused", two_batch_overlap=flag).token_ops(**tokens)
        for flag in (False, True)
    ]
    assert [str(op) for op in fused[0]] == [str(op) for op in fused[1]]


def test_exchange_is_set_by_the_fuller_side():
    """A rank with few tokens still receives what the others send to its experts."""
    model = model_of(layout=DEP8, load=ExpertLoad(kind="balanced"))
    few = {op.name: op for op in model.token_ops(rank_tokens=1.0, group_tokens=512.0)}
    assert few["moe.dispatch"].message_bytes == 64 * 6 * 7168 * (1 + 1 / 32)


def test_fused_kernel_overlaps_its_exchange():
    ops = model_of(layout=DEP8, moe_backend="fused").token_ops(rank_tokens=64.0, group_tokens=512.0)
    streams = {op.name: (op.stage, op.stream) for op in ops}
    assert streams["experts.fused"][0] == streams["moe.dispatch"][0] == "moe"
    assert streams["experts.fused"][1] != streams["moe.dispatch"][1]
    assert streams["moe.combine"] == streams["moe.dispatch"]
    assert streams["shared.w13"][0] == ""


def test_pipeline_sends_all_residual_streams():
    ops = model_of(layout=Layout(tp=2, pp=4)).token_ops(rank_tokens=10.0, group_tokens=10.0)
    send = next(op for op in ops if op.kind is OpKind.POINT_TO_POINT)
    assert send.message_bytes == 10 * 4 * 7168 * 2
    assert next(op for op in ops if op.name == "moe.router").layers == 16


@pytest.mark.parametrize(
    ("path", "bytes_per_parameter"),
    [
        *(("mxfp4xfp8", 0.53125), ("nvfp4", 0.5625), ("w4a16", 0.53125)),
        *(("int4", 0.5625), ("fp8", 1.0), ("bf16", 2.0)),
    ],
)
def test_expert_formats(path, bytes_per_parameter):
    model = model_of(expert_path=path, load=ExpertLoad(kind="balanced"))
    ops = model.token_ops(rank_tokens=1e6, group_tokens=1e6)
    grouped = [op for op in ops if op.kind is OpKind.GROUPED_GEMM]
    assert {op.precision for op in grouped} == {"w4a16" if path == "int4" else path}
    per_layer = sum(op.weight_bytes for op in grouped)
    assert per_layer == pytest.approx(384 * 3 * 7168 * 3072 * bytes_per_parameter, rel=1e-4)


def test_overlap_can_be_switched_off():
    ops = step_of(model_of(aux_stream_overlap=False, shared_expert_overlap=False), **BATCH)
    assert {op.stage for op in ops} == {""}
    overlapped = {op.stage for op in step_of(model_of(), **BATCH)} - {""}
    assert overlapped == {"csa.projections", "hca.projections", "moe"}


def test_kernel_scale_multiplies_every_launch():
    def launches(scale):
        ops = step_of(model_of(kernels_scale=scale), **BATCH)
        return sum(op.kernels * op.layers for op in ops if not op.kind.is_communication)

    assert launches(2.5) == pytest.approx(2.5 * launches(1.0))


def test_launches_of_a_decode_step_can_be_added_up():
    """Per layer: 6 mHC, 2+2+1 query and window, 2+2 output, 2 router, 6 experts, 5 shared."""
    ops = [
        *model_of().token_ops(rank_tokens=1.0, group_tokens=1.0),
        *model_of().decode_attention_ops(requests=1.0, queries_per_request=1, context=8192.0),
    ]
    every_layer = 6 + 5 + 4 + 2 + 6 + 5
    # compressor 2; CSA also indexer projections 2 + 1 + 1 + 2, score and selection 2; core 2
    csa, hca = 2 + 6 + 2 + 2, 2 + 2
    expected = 61 * every_layer + 30 * csa + 31 * hca + 1
    assert sum(op.kernels * op.layers for op in ops) == expected


def test_storage_changes_what_is_read():
    def read(**plan):
        ops = model_of(**plan).decode_attention_ops(
            requests=1.0, queries_per_request=1, context=131072.0
        )
        return {op.name: op.kv_bytes for op in ops}

    assert read()["csa.decode"] == (128 + 1024) * 584
    assert read(kv_storage="bf16")["csa.decode"] == (128 + 1024) * 1024
    assert read()["hca.decode"] == (128 + 1024) * 584
    assert read()["indexer.decode_score"] == 32768 * 132
    assert read(index_storage="fp4")["indexer.decode_score"] == 32768 * 68


@pytest.mark.parametrize(
    ("part", "online", "bytes_of_a_token"),
    [
        # FP32 value and gate of 512: written once, read once for each of the windows that overlap;
        # an entry of 584 B every 4 or 128 tokens
        ("csa", False, 3 * (2 * 2 * 512 * 4) + 584 / 4),
        ("hca", False, 2 * (2 * 512 * 4) + 584 / 128),
        # maximum, sum and value of the open window: read and written
        ("hca", True, 2 * (3 * 512 * 4) + 584 / 128),
    ],
)
def test_bytes_of_a_compressor_by_hand(part, online, bytes_of_a_token):
    ops = model_of(online_compressor_state=online).token_ops(rank_tokens=7.0, group_tokens=7.0)
    pooled = next(op for op in ops if op.name == f"{part}.compress")
    assert pooled.kv_bytes == pytest.approx(7 * bytes_of_a_token, rel=1e-12)
    overlap = 2 if part == "csa" else 1
    assert pooled.activation_bytes == 7 * 2 * overlap * 512 * 2  # value and gate in BF16


def test_online_state_is_smaller():
    full, online = model_of(), model_of(online_compressor_state=True)
    assert online.state_bytes_per_request() < 0.4 * full.state_bytes_per_request()
    assert (
        full.kv_bytes_per_token() == online.kv_bytes_per_token() == pytest.approx(5511.44, abs=0.01)
    )


def test_speculation_keeps_a_window_for_the_draft():
    added = model_of(drafts=1).state_bytes_per_request() - model_of().state_bytes_per_request()
    assert added == 128 * 584


def test_redundant_experts_are_stored():
    spread = ExpertLoad(kind="power_law", redundant_experts=16)
    plain = model_of(layout=DEP8).weight_bytes_per_rank(speculative=False)
    copied = model_of(layout=DEP8, load=spread).weight_bytes_per_rank(speculative=False)
    assert copied["routed experts"] == pytest.approx(plain["routed experts"] * 400 / 384)


@pytest.mark.parametrize("name", ["deepseek-v4-pro", "deepseek-r1"])
def test_mtp_runs_once_per_draft(name):
    """First pass over every token of the step, later passes over one token per request."""
    model = model_of(name, drafts=3)
    first = [
        op
        for op in model.token_ops(rank_tokens=40.0, group_tokens=40.0)
        if op.name.startswith("draft.first")
    ]
    later = [
        op
        for op in model.draft_ops(requests=10.0, group_requests=10.0, drafts=3)
        if op.name.startswith("draft.next")
    ]
    router = {op.name.split(".")[1]: op for op in first + later if op.name.endswith("moe.router")}
    assert router["first"].flops == 4 * router["next"].flops
    assert (router["first"].layers, router["next"].layers) == (1, 2)
    head = next(
        op
        for op in model.draft_ops(requests=10.0, group_requests=10.0, drafts=3)
        if op.name == "draft.head.lm_head"
    )
    assert head.layers == 3


def test_one_mtp_pass_is_about_one_layer():
    """One of 62 layers, with two square projections more and without compressor or indexer."""
    model = model_of(drafts=1)
    ops = model.token_ops(rank_tokens=64.0, group_tokens=64.0)
    draft = amount([op for op in ops if op.name.startswith("draft")], "weight_bytes")
    main = amount([op for op in ops if not op.name.startswith("draft")], "weight_bytes")
    assert draft == pytest.approx(main / 61, rel=0.03)


def test_dspark_drafts_a_block_in_one_pass():
    model = model_of("deepseek-v4-flash-0731", drafts=5)
    ops = {op.name: op for op in model.draft_ops(requests=8.0, group_requests=8.0, drafts=5)}
    assert ops["draft.block.moe.router"].layers == 3
    assert ops["draft.block.moe.router"].flops == 8 * 5 * 2 * 4096 * 256
    assert ops["draft.head.lm_head"].layers == 1
    assert ops["draft.markov"].layers == 5
    markov = ops["draft.markov"]
    assert markov.weight_bytes == 256 * 129280 * 2
    assert markov.flops == 8 * 2 * 256 * 129280
    assert markov.activation_bytes == 8 * (256 * 2 + 129280 * 4)


def test_resident_bytes_of_a_dspark_module_by_hand():
    """Three layers, the projection of the taps, two Markov matrices, the streams' combination."""
    model = model_of("deepseek-v4-flash-0731", drafts=5)
    taps = 3 * 4096**2 * (1 + 1 / 128**2)  # FP8, one byte of scale per 128 x 128
    rest = model.drafter.weight_bytes() - 3 * sum(model.layer_weight_bytes(ratio=0).values())
    markov, streams = 2 * 256 * 129280 * 2, 4**2 * 4096 * 4
    assert rest == pytest.approx(taps + markov + streams)


def test_no_drafts_no_draft_work():
    model = model_of()
    assert model.draft_ops(requests=8.0, group_requests=8.0, drafts=0) == []
    with pytest.raises(UserError, match="bind it with drafts"):
        model.draft_ops(requests=8.0, group_requests=8.0, drafts=1)


@pytest.mark.parametrize(
    ("name", "layout", "options", "message"),
    [
        ("deepseek-v4-pro", Layout(tp=7), {}, "tp is 7.*128 attention heads.*divisor of 16"),
        ("deepseek-v4-pro", Layout(tp=32), {}, "tp is 32.*16 output groups"),
        ("deepseek-v4-flash", Layout(tp=16), {}, "tp is 16.*8 output groups"),
        ("deepseek-v4-pro", Layout(tp=5, ep=5, dp_attention=True), {}, "ep is 5.*384 routed"),
        ("deepseek-r1", Layout(tp=24), {}, "tp is 24.*128 attention heads"),
        ("deepseek-v4-pro", Layout(tp=5, dp_attention=True), {}, "tp / ep is 5.*3072"),
        ("deepseek-v4-pro", Layout(tp=1, pp=62), {}, "pp is 62.*61 layers"),
        ("deepseek-v4-pro", Layout(tp=1), {"drafts": -1}, "drafts is -1"),
        (
            "deepseek-v4-pro",
            DEP8,
            {"expert_load": ExpertLoad(redundant_experts=3)},
            "ep is 8.*384 routed experts with their 3 redundant copies.*redundant_experts=8",
        ),
    ],
)
def test_layouts_that_do_not_divide_the_model(name, layout, options, message):
    with pytest.raises(UserError, match=message):
        bind(architecture=load_architecture(name), layout=layout, plan=ExecutionPlan(), **options)


def test_context_parallelism_needs_attention_ranks():
    with pytest.raises(UserError, match="set dp_attention"):
        model_of(layout=Layout(tp=8)).context_parallel_prefill_ops(
            new_tokens=100.0, prefix_tokens=0.0
        )
