"""Notes as answers print them: alike ones in one line, what decides most in front."""

from simulator.output.note_text import grouped, note_lines


def few(level, runs, sku):
    return f"level {level} rests on {runs} measured runs on {sku} and on what related runs share"


def test_drafts_are_told_by_engine_and_method():
    told = ["vr200: dynamo-sglang mtp: 3 drafts per step from the recipe"]
    told += ["vr200: dynamo-trt mtp: 1 drafts per step from the recipe"]
    told += ["mi455x: atom dspark: 7 drafts per step from the recipe"]
    told += ["mi455x: atom dspark: 2 drafts per step from the recipe"]
    assert grouped(told) == [
        "drafts per step from the recipes: dynamo-sglang mtp 3; dynamo-trt mtp 1; "
        "atom dspark 7 or 2"
    ]


def test_a_single_note_stays_as_it_is():
    told = [few("sglang@2026-07", 4, "b200"), "x follows the load: none is recorded"]
    assert grouped(told) == told


def test_levels_of_several_skus_are_one_line_with_their_runs():
    told = [few("sglang@2026-07", 4, "b200"), few("sglang@2026-07", 2, "gb200")]
    (line,) = grouped(told)
    assert line.endswith("share: sglang@2026-07 4 on b200, 2 on gb200")


def test_forms_without_runs_name_their_skus():
    def no_run(engine, sku):
        return (
            f"no run of m under {engine}, disaggregated, on {sku} was fitted: kernels of its other "
            "deployments, bands of a relation"
        )

    told = [no_run("e with mtp", "a"), no_run("e with mtp", "b"), no_run("e", "a")]
    (line,) = grouped(told)
    assert line.startswith(
        "no run was fitted of m under e mtp, disaggregated on a, b; m under e, disaggregated on a:"
    )


def test_the_same_of_several_systems_is_said_once():
    assert grouped(["vr200: acceptance from x", "mi455x: acceptance from x"]) == [
        "vr200, mi455x: acceptance from x"
    ]


def test_systems_with_engine_and_date_are_merged_too():
    told = [
        "mi355x:sglang@2026-05-02: " + few("sglang@2026-05-02", 4, "mi355x"),
        "b200+gb300: prefill on b200: " + few("sglang@2026-07", 4, "b200"),
        "mi355x:sglang@2026-05-02: acceptance from x",
        "b200:sglang: acceptance from x",
    ]
    assert grouped(told) == [
        "levels that rest on few measured runs, and on what related runs share: "
        "sglang@2026-05-02 4 on mi355x; sglang@2026-07 4 on b200",
        "mi355x:sglang@2026-05-02, b200:sglang: acceptance from x",
    ]


def test_a_system_called_as_its_chip_is_named_once():
    assert grouped(["gb200: gb200: deployments as recipe x ran them"]) == [
        "gb200: deployments as recipe x ran them"
    ]


def test_what_is_larger_than_asked_is_counted_over_all_forms():
    told = [f"{n} deployments of more than 16 chips left out (--max-gpus)" for n in (2, 5)]
    assert grouped(told) == ["7 deployments of more than 16 chips left out (--max-gpus)"]


def test_forms_that_compete_are_counted_where_several_skus_do():
    one = "b200 as best deployed, of vllm (9 runs on b200), trt (8 runs on b200); pin one with "
    two = "h100 as best deployed, of vllm (9 runs on h200); pin one with "
    assert "vllm (9 runs" in grouped([one + "--engine and --spec"])[0]
    (line,) = grouped([one + "--engine and --spec", two + "--engine and --spec"])
    assert "compete (engine, speculation, pools): b200 2, h100 1;" in line


def test_limits_that_bind_come_first_and_what_competed_last():
    told = [
        "b200 as best deployed, of vllm (9 runs on b200); pin one with --engine and --spec",
        "KV tokens a rank, vLLM's own count: DEP8 1",
        "economics 2026-09: pue of mi355x is 1.3: as for air",
        "gpu_memory_utilization not recorded: it is set by a variable of the script",
        "acceptance from x (estimate)",
        few("sglang@2026-07", 4, "b200"),
        "engine sglang stands in, default: most runs are on it",
        "step token budgets of a rank differ: a 2,048 (DEP4); b 8,192 (TP8)",
    ]
    assert note_lines(told) == [f"note: {each}" for each in reversed(told)]


def test_graphs_and_followers_are_merged():
    steps = "decode steps of {} beyond 512 tokens a rank run outside graphs: raise n with n=N"
    told = [steps.format("TP8"), steps.format("DEP8")]
    told += [f"decode.{name} follows the load: none is recorded" for name in ("a", "b")]
    assert grouped(told) == [
        "decode steps run outside graphs, TP8, DEP8 beyond 512 tokens a rank: raise n with n=N",
        "decode.a, decode.b follow the load: none is recorded",
    ]
