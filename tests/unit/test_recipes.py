import datetime as dt
from pathlib import Path
from typing import Any

import pytest
import yaml

from hwmodels.software import MEDIAN_DATE
from simulator.engines.labels import engine_labels, load_engine
from simulator.engines.pools import deployment_label, parse_deployment
from simulator.recipes.choice import choose_level, find_recipe
from simulator.recipes.files import (
    Cell,
    Recipe,
    holds,
    load_recipes,
    read_recipe,
    recipe_paths,
)
from simulator.recipes.layouts import PoolRequest
from simulator.recipes.resolve import ResolvedRecipe, resolve_recipe
from workloads.errors import UserError
from workloads.layout import Layout
from workloads.speculation import acceptance_names, published_acceptance

SOURCES = (
    "InferenceX",
    "sgl-project/sglang",
    "vllm-project/vllm",
    "NVIDIA/TensorRT-LLM",
    "ROCm/ATOM",
)

TOY = """
engines: [vllm]
skus: [h200]
models: [deepseek-v4-pro]
stands_in_for: [deepseek-v4-flash]
levels:
  - name: v1
    date: 2026-03-01
    date_kind: release
    source: example/repo
    layouts:
      - {layout: TP8, concurrency: [1, 16], when: {isl: 8192}}
      - {layout: DEP8, concurrency: [64, 256]}
      - {layout: 1xDEP8+2xTP8, concurrency: [32]}
    cells:
      - settings: {max_num_seqs: 100, max_num_batched_tokens: 2 * isl}
      - when: {concurrency: {min: 32}}
        settings: {max_num_seqs: concurrency}
        source: example/other
      - when: {concurrency: {min: 32, max: 64}, dp_attention: true}
        settings: {max_num_seqs: "max(1, concurrency // dp)"}
        plan: {moe_backend: fused}
        unknown: {gpu_memory_utilization: set by a variable}
      - when: {speculation: mtp}
        settings: {max_cudagraph_capture_size: max_num_seqs * (drafts + 1)}
        speculation: {drafts: 2, acceptance_length: 2.27}
      - when: {role: decode, tp: [4, 8]}
        settings: {max_num_batched_tokens: 512}
  - name: v2
    date: 2026-05-10
    date_kind: image_tag
    source: example/repo
    extends: v1
    assumed: the settings of v2 are those of v1
    cells:
      - settings: {max_num_seqs: 7}
"""


def toy(text: str = TOY) -> Recipe:
    return Recipe.model_validate(yaml.safe_load(text))


def resolve(**changes: Any) -> ResolvedRecipe:
    arguments: dict[str, Any] = {
        "engine": load_engine("vllm"),
        "sku": "h200",
        "model": "deepseek-v4-pro",
        "isl": 8192,
        "osl": 1024,
        "concurrency": 1,
        "date": dt.date(2026, 3, 1),
        "pools": (PoolRequest(workers=1, tp=8, ep=1, dp_attention=False),),
        "recipes": [toy()],
    }
    return resolve_recipe(**(arguments | changes))


def requests_of(layout: str) -> tuple[PoolRequest, ...]:
    """Complete requests for the pools of a deployment label."""
    return tuple(
        PoolRequest(
            role=pool.role,
            workers=pool.workers,
            tp=pool.layout.tp,
            ep=pool.layout.ep,
            dp_attention=pool.layout.dp_attention,
        )
        for pool in parse_deployment(layout)
    )


def layout_of(resolved: ResolvedRecipe) -> str:
    return deployment_label(resolved.pools)


class TestDateRule:
    @pytest.mark.parametrize(
        ("date", "level"),
        [
            (dt.date(2026, 3, 1), "v1"),
            (dt.date(2026, 5, 9), "v1"),
            (dt.date(2026, 5, 10), "v2"),
            (dt.date(2027, 1, 1), "v2"),
            (None, "v2"),
        ],
    )
    def test_last_level_not_after_the_date(self, date: dt.date | None, level: str) -> None:
        chosen, messages = choose_level(toy(), date=date)
        assert chosen.name == level
        assert not [text for text in messages if "no recorded settings" in text]

    def test_before_the_first_the_first_flagged(self) -> None:
        chosen, messages = choose_level(toy(), date=dt.date(2026, 2, 28))
        assert chosen.name == "v1"
        assert messages == (
            "no recorded settings before 2026-02-28: the first, v1 of 2026-03-01, stand in",
        )

    def test_median_is_the_last_level_not_after_its_day(self) -> None:
        chosen, messages = choose_level(toy(), median=True)
        assert chosen.name == "v2"
        assert "undated median of runs to 2026-07-19: settings of v2" in messages

    def test_median_has_its_own_level_where_there_is_one(self) -> None:
        recipe = toy(
            TOY
            + """
  - {name: median-2026-07, date: 2026-07-19, date_kind: validity, source: a, extends: v1}
"""
        )
        assert choose_level(recipe, median=True)[0].name == "median-2026-07"
        assert choose_level(recipe)[0].name == "v2"
        assert choose_level(recipe, date=MEDIAN_DATE)[0].name == "v2"

    def test_median_before_the_first_level(self) -> None:
        late = toy(TOY.replace("2026-03-01", "2026-08-01").replace("2026-05-10", "2026-08-02"))
        chosen, messages = choose_level(late, median=True)
        assert chosen.name == "v1"
        assert messages[0].startswith("no recorded settings before 2026-07-19: the first, v1")

    def test_a_level_says_what_it_assumes(self) -> None:
        assert "the settings of v2 are those of v1" in resolve(date=None).messages


class TestConditions:
    @pytest.mark.parametrize(
        ("condition", "value", "expected"),
        [
            (8, 8, True),
            (8, 16, False),
            (True, 1, False),
            (1, True, False),
            (True, True, True),
            ([4, 8], 8, True),
            ([4, 8], 6, False),
            ("mtp", "mtp", True),
            (["mtp", "dspark"], "none", False),
            ({"min": 32}, 32, True),
            ({"min": 32}, 31, False),
            ({"max": 32}, 32, True),
            ({"max": 32}, 33, False),
            ({"min": 4, "max": 8}, 6, True),
            ({"min": 4}, "six", False),
        ],
    )
    def test_forms(self, condition: Any, value: object, expected: bool) -> None:
        cell = Cell.model_validate({"when": {"isl": condition}})
        assert holds(cell.when["isl"], value) is expected
        assert cell.applies({"isl": value}) is expected

    def test_all_must_hold(self) -> None:
        cell = Cell.model_validate({"when": {"isl": 8192, "tp": {"min": 8}}})
        assert cell.applies({"isl": 8192, "tp": 8, "ep": 1})
        assert not cell.applies({"isl": 8192, "tp": 4})
        assert not cell.applies({"isl": 8192})

    def test_unknown_condition(self) -> None:
        with pytest.raises(ValueError, match="batch is not one of isl, osl"):
            Cell.model_validate({"when": {"batch": 8}})

    @pytest.mark.parametrize(
        ("concurrency", "dp_attention", "max_num_seqs", "moe_backend"),
        [
            (16, True, 100, None),
            (32, False, 32, None),
            (32, True, 4, "fused"),
            (64, True, 8, "fused"),
            (128, True, 128, None),
        ],
    )
    def test_of_overlapping_cells_the_later_wins(
        self, concurrency: int, dp_attention: bool, max_num_seqs: int, moe_backend: str | None
    ) -> None:
        pool = PoolRequest(workers=1, tp=8, ep=8, dp_attention=dp_attention)
        resolved = resolve(concurrency=concurrency, pools=(pool,)).pools[0]
        assert resolved.settings.model_dump()["max_num_seqs"] == max_num_seqs
        assert resolved.plan.get("moe_backend") == moe_backend

    def test_a_level_overrides_what_it_extends(self) -> None:
        settings = resolve(date=None, concurrency=64).pools[0].settings.model_dump()
        assert (settings["max_num_seqs"], settings["max_num_batched_tokens"]) == (7, 16384)

    def test_each_pool_meets_its_own_conditions(self) -> None:
        resolved = resolve(
            pools=(
                PoolRequest(role="prefill", workers=1, tp=8, ep=8, dp_attention=True),
                PoolRequest(role="decode", workers=2, tp=8, ep=1, dp_attention=False),
            )
        )
        budgets = [pool.settings.model_dump()["max_num_batched_tokens"] for pool in resolved.pools]
        assert budgets == [16384, 512]
        assert resolved.provenance["decode.max_num_batched_tokens"] == "recorded, example/repo"
        assert resolved.provenance["prefill.max_num_batched_tokens"] == "recorded, example/repo"


class TestSettings:
    def test_expressions_read_the_load_the_layout_and_other_settings(self) -> None:
        resolved = resolve(concurrency=40, speculation="mtp")
        settings = resolved.pools[0].settings.model_dump()
        assert settings["max_num_batched_tokens"] == 2 * 8192
        assert settings["max_cudagraph_capture_size"] == 40 * 3
        assert resolved.pools[0].plan["graph_max_tokens"] == 120

    def test_provenance_of_each_setting(self) -> None:
        provenance = resolve(concurrency=40).provenance
        assert provenance["max_num_batched_tokens"] == "recorded, example/repo"
        assert provenance["max_num_seqs"] == "recorded, example/other"
        assert provenance["gpu_memory_utilization"] == "engine default, not recorded"
        assert "graph_max_tokens" not in resolve(concurrency=40).pools[0].plan

    @pytest.mark.parametrize(
        ("label", "sku", "layout", "changes", "tokens"),
        [
            ("vllm", "b200", "TP8", {}, 2048),
            ("vllm", "h200", "TP8", {}, None),
            ("dynamo-vllm", "b200", "1xDEP8+1xTP8", {}, 0),
            ("sglang", "mi355x", "DPATP8", {"concurrency": 64}, 64),
            ("sglang", "mi355x", "DPATP8", {"concurrency": 64, "speculation": "mtp"}, 256),
            ("sglang", "h200", "TP8", {}, None),
            ("sglang", "h200", "TP8", {"speculation": "mtp"}, 1024),
            ("trt", "b200", "TP8", {"concurrency": 1, "speculation": "mtp"}, 64),
            ("atom", "mi355x", "TP8", {"speculation": "mtp"}, 2048),
        ],
    )
    def test_graph_bound_in_tokens_of_a_rank(
        self, label: str, sku: str, layout: str, changes: dict[str, Any], tokens: int | None
    ) -> None:
        load = {"engine": load_engine(label), "sku": sku, "date": None, "recipes": None}
        resolved = resolve(**(load | {"pools": requests_of(layout)} | changes))
        assert resolved.pools[0].plan.get("graph_max_tokens") == tokens

    def test_a_value_known_to_be_unknown_is_told(self) -> None:
        pool = PoolRequest(workers=1, tp=8, ep=8, dp_attention=True)
        messages = resolve(concurrency=64, pools=(pool,)).messages
        assert "gpu_memory_utilization not recorded: set by a variable" in messages

    def test_a_setting_may_not_be_defined_by_itself(self) -> None:
        text = TOY.replace("max_num_seqs: 100", "max_num_seqs: max_num_seqs + 1")
        with pytest.raises(UserError, match="max_num_seqs is defined by itself"):
            resolve(recipes=[toy(text)])

    def test_a_value_out_of_range_names_setting_and_level(self) -> None:
        text = TOY.replace("max_num_seqs: 100", "max_num_seqs: concurrency - 1")
        with pytest.raises(UserError, match=r"recipe v1: max_num_seqs: .*greater than or equal"):
            resolve(recipes=[toy(text)])


class TestSpeculation:
    def test_without_it_there_are_no_drafts(self) -> None:
        resolved = resolve()
        assert (resolved.drafts, resolved.acceptance_length) == (0, None)

    def test_blank_drafts_and_acceptance_come_from_the_recipe(self) -> None:
        resolved = resolve(speculation="mtp")
        assert (resolved.drafts, resolved.acceptance_length) == (2, 2.27)
        assert "vllm mtp: 2 drafts per step from the recipe" in resolved.messages

    def test_what_is_given_comes_first(self) -> None:
        resolved = resolve(speculation="mtp", drafts=3, acceptance_length=2.5)
        assert (resolved.drafts, resolved.acceptance_length) == (3, 2.5)

    def test_a_forced_length_holds_for_its_own_drafts_only(self) -> None:
        resolved = resolve(speculation="mtp", drafts=3)
        assert (resolved.drafts, resolved.acceptance_length) == (3, None)
        assert resolved.acceptance_source == "deepseek-v4-pro-mtp-random"

    def test_any_mtp_block_stands_in_where_nothing_is_published(self) -> None:
        resolved = resolve(speculation="mtp", model="deepseek-r1", date=None, recipes=None)
        assert (resolved.drafts, resolved.acceptance_length) == (1, None)
        assert resolved.acceptance_source == "mtp-text"

    def test_unrecorded_drafts_are_assumed_and_told(self) -> None:
        resolved = resolve(speculation="dspark", model="deepseek-v4-flash")
        assert resolved.drafts == 5
        assert any("drafts per step not recorded: 5 assumed" in told for told in resolved.messages)
        assert resolved.acceptance_source == "deepseek-v4-flash-dspark-serving"


class TestLayouts:
    @pytest.mark.parametrize(
        ("known", "concurrency", "expected"),
        [
            ({}, 1, "TP8"),
            ({}, 8, "TP8"),
            ({}, 64, "DEP8"),
            ({}, 4096, "DEP8"),
            ({"tp": 8}, 32, "TP8"),
            ({"tp": 8}, 48, "DEP8"),
            ({"tp": 8, "ep": 1}, 256, "TP8"),
            ({"dp_attention": True}, 1, "DEP8"),
            ({"gpus": 8}, 256, "DEP8"),
        ],
    )
    def test_blanks_from_the_nearest_offer_that_agrees(
        self, known: dict[str, Any], concurrency: int, expected: str
    ) -> None:
        resolved = resolve(concurrency=concurrency, pools=(PoolRequest(**known),))
        assert layout_of(resolved) == expected
        assert any("from recipe v1" in text for text in resolved.messages)

    def test_an_offer_under_its_conditions_comes_first(self) -> None:
        assert layout_of(resolve(isl=1024, pools=(PoolRequest(),))) == "DEP8"

    def test_a_complete_layout_is_left_alone(self) -> None:
        pool = PoolRequest(tp=4, ep=2, dp_attention=False, gpus=8)
        resolved = resolve(pools=(pool,))
        assert resolved.pools[0].layout == Layout(tp=4, ep=2)
        assert resolved.pools[0].workers == 2
        assert not any("from recipe" in text for text in resolved.messages)

    def test_without_an_offer_ep_is_one_without_data_parallelism(self) -> None:
        resolved = resolve(pools=(PoolRequest(tp=16),))
        assert resolved.pools[0].layout == Layout(tp=16)
        assert any("ep 1, no DP" in text for text in resolved.messages)

    def test_neither_layout_nor_offer(self) -> None:
        with pytest.raises(UserError, match="the layout is blank and recipe v1 offers none"):
            resolve(pools=(PoolRequest(ep=64),))

    def test_a_disaggregated_deployment_from_its_offer(self) -> None:
        pools = (PoolRequest(role="prefill"), PoolRequest(role="decode", tp=8))
        resolved = resolve(concurrency=1, pools=pools)
        assert layout_of(resolved) == "1xDEP8+2xTP8"
        assert [pool.role for pool in resolved.pools] == ["prefill", "decode"]

    def test_a_wholly_blank_one_may_be_an_aggregated_server(self) -> None:
        pools = (PoolRequest(role="prefill"), PoolRequest(role="decode"))
        assert layout_of(resolve(concurrency=1, pools=pools)) == "TP8"
        assert layout_of(resolve(concurrency=32, pools=pools)) == "1xDEP8+2xTP8"


class TestRelatedSkus:
    def test_related_skus_in_order_with_a_message(self) -> None:
        resolved = resolve(sku="h100", related_skus=("h20", "h200"))
        assert "no recipe on h100: that of h200 stands in" in resolved.messages

    def test_family_of_the_model_with_a_message(self) -> None:
        resolved = resolve(model="deepseek-v4-flash")
        assert "no recipe of deepseek-v4-flash: that of deepseek-v4-pro stands in" in (
            resolved.messages
        )

    def test_same_scheduler_under_another_label(self) -> None:
        resolved = resolve(engine=load_engine("dynamo-vllm"))
        assert "no dynamo-vllm recipe: settings of vllm" in resolved.messages

    def test_the_label_counts_more_than_the_sku(self) -> None:
        recipe, _ = find_recipe(
            engine=load_engine("vllm"), sku="gb300", model="deepseek-v4-pro", related_skus=("b300",)
        )
        assert (recipe.engines, recipe.skus) == (["vllm"], ["b300"])

    def test_without_related_skus_the_engine_defaults(self) -> None:
        resolved = resolve(sku="mi355x", recipes=[toy(), *load_recipes()], model="deepseek-r1")
        assert "no vllm recipe for deepseek-r1 on mi355x: engine defaults" in resolved.messages
        assert resolved.date is None

    def test_no_scheduler_at_all(self) -> None:
        with pytest.raises(UserError, match="engine sglang has no recipe"):
            resolve(engine=load_engine("sglang"))


class TestFiles:
    @pytest.mark.parametrize("path", recipe_paths(), ids=lambda path: path.stem)
    def test_every_file_validates_and_names_its_sources(self, path: Path) -> None:
        recipe = read_recipe(path)
        for level in recipe.levels:
            assert any(source in level.source for source in SOURCES), level.name
            assert "http" not in level.source or "://" in level.source
            for cell in level.cells:
                source = cell.speculation.acceptance_source if cell.speculation else None
                assert source is None or source in acceptance_names()

    @pytest.mark.parametrize("path", recipe_paths(), ids=lambda path: path.stem)
    def test_every_offered_run_resolves(self, path: Path) -> None:
        recipe = read_recipe(path)
        for level in recipe.levels:
            date = level.date
            for offer in level.layouts:
                values = dict(offer.when)
                for concurrency in offer.concurrency:
                    resolved = resolve_recipe(
                        engine=engine_labels()[recipe.engines[0]],
                        sku=recipe.skus[0],
                        model=recipe.models[0],
                        isl=int(values.get("isl", 8192)),  # type: ignore[arg-type]
                        osl=1024,
                        concurrency=concurrency,
                        date=date,
                        median=level.is_median,
                        pools=requests_of(offer.layout),
                        speculation=str(values.get("speculation", "mtp")),  # type: ignore[arg-type]
                        scenario=str(values.get("scenario", "fixed")),
                        recipes=[recipe],
                    )
                    assert layout_of(resolved) == offer.layout
                    assert resolved.level.endswith(level.name)
                    if resolved.acceptance_source is not None:
                        published_acceptance(
                            name=resolved.acceptance_source, drafts=resolved.drafts
                        )

    def test_every_scheduler_has_a_general_recipe(self) -> None:
        general = {recipe.engine for recipe in load_recipes() if not recipe.skus}
        assert general == {engine.engine for engine in engine_labels().values()}

    @pytest.mark.parametrize(
        ("before", "after", "message"),
        [
            ("vllm]", "vlm]", r"'vlm' is not one of vllm, sglang"),
            ("vllm]", "vllm, sglang]", "must share a scheduler"),
            ("max_num_seqs: 7", "max_seqs: 7", "max_seqs is no vllm setting"),
            ("max_num_seqs: 7", "max_num_seqs: users", "max_num_seqs reads users"),
            ("max_num_seqs: 7", "max_num_seqs: isl.real", "only numbers, names"),
            ("moe_backend: fused", "moe_back: fused", "moe_back is not one of expert_path"),
            ("2026-05-10", "2026-02-10", "not in order of date"),
            ("extends: v1", "extends: v0", "extends v0, not listed above it"),
            ("name: v2", "name: v1", "two levels are called v1|not listed above it"),
            ("layout: TP8", "layout: 8xGPU", "is not a pool such as DEP8"),
            ("source: example/repo", "source: ''", "at least 1 character"),
            ("date_kind: image_tag", "date_kind: guess", "date_kind"),
            ("date_kind: image_tag", "date_kind: any", "a date belongs to every date_kind"),
            ("unknown: {gpu_memory", "unknown: {gpu", "gpu_utilization is no vllm setting"),
            ("- when: {speculation: mtp}", "- kind: estimate", "an estimate needs a note"),
        ],
    )
    def test_a_file_with_a_mistake_is_refused(
        self, before: str, after: str, message: str, tmp_path: Path
    ) -> None:
        assert before in TOY
        path = tmp_path / "recipe.yaml"
        path.write_text(TOY.replace(before, after, 1 if "source" in before else -1))
        with pytest.raises(UserError, match=message):
            read_recipe(path)

    def test_a_file_that_is_no_yaml(self, tmp_path: Path) -> None:
        path = tmp_path / "recipe.yaml"
        path.write_text("engines: [vllm\nskus: [h200]\n")
        with pytest.raises(UserError, match=r"recipe.yaml line 2, column \d+"):
            read_recipe(path)


class TestRecordedValues:
    """A few settings read off the public scripts by hand."""

    def resolve(self, label: str, sku: str, layout: str, **changes: Any) -> dict[str, Any]:
        resolved = resolve_recipe(
            engine=load_engine(label),
            sku=sku,
            model="deepseek-v4-pro",
            osl=1024,
            pools=requests_of(layout),
            **({"isl": 8192} | changes),
        )
        return {**resolved.pools[-1].settings.model_dump(), **resolved.pools[-1].plan}

    def test_b200_vllm_megamoe(self) -> None:
        """InferenceX dsv4_fp4_b200_vllm.sh: budget 2,048 above 128 users, interval 4."""
        values = self.resolve("vllm", "b200", "DEP8", concurrency=512)
        assert values["max_num_batched_tokens"] == 2048
        assert values["prefill_schedule_interval"] == 4
        assert (values["moe_backend"], values["index_storage"]) == ("fused", "fp4")

    def test_h200_vllm_runs_marlin_with_a_small_budget(self) -> None:
        """InferenceX dsv4_fp8_h200.sh: 512 tokens, 512 sequences, 0.95 of memory."""
        values = self.resolve("vllm", "h200", "TP8", concurrency=64)
        assert (values["max_num_batched_tokens"], values["max_num_seqs"]) == (512, 512)
        assert (values["gpu_memory_utilization"], values["expert_path"]) == (0.95, "w4a16")

    def test_mi355x_sglang_scales_with_the_load(self) -> None:
        """InferenceX dsv4_fp4_mi355x_sglang.sh: cap and graphs CONC, chunk ISL x TP under DP."""
        values = self.resolve("sglang", "mi355x", "DPATP8", concurrency=256)
        assert (values["max_running_requests"], values["cuda_graph_max_bs"]) == (256, 256)
        assert values["chunked_prefill_size"] == 65536
        assert values["enable_prefill_delayer"]

    def test_b200_trt_token_budget_with_drafts(self) -> None:
        """InferenceX dsv4_fp4_b200_trt_mtp.sh: ISL + (MTP + 1) x batch + 256."""
        values = self.resolve("trt", "b200", "TP8", concurrency=32, speculation="mtp")
        assert values["max_num_tokens"] == 8192 + 4 * 32 + 256

    def test_gb300_trt_decode_batch(self) -> None:
        """NVIDIA/srt-slurm ctx8dep4_gen1dep32_batch16: batch 16, 64 tokens at 615 users."""
        values = self.resolve(
            "dynamo-trt", "gb300", "8xDEP4+1xDEP32", concurrency=615, speculation="mtp"
        )
        assert (values["max_batch_size"], values["max_num_tokens"]) == (16, 64)
