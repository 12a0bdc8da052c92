import datetime as dt
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from simulator.analysis.metrics import Distribution, RunMetrics
from simulator.cli.main import run as run_command
from simulator.engines.pools import DoesNotFitError, deployment_label
from simulator.output.csv_table import read_run_table, write_run_table
from simulator.scenario.configuration import RunConfiguration, RunResult
from simulator.scenario.table_rows import configure_row
from simulator.studies.predict.run import OUTPUT_COLUMNS, predict_table
from workloads.errors import UserError

ROW = {
    "run_id": "r1",
    "model": "dsv4-pro",
    "sku": "b200",
    "engine": "vllm",
    "precision": "fp4",
    "spec_decoding": "none",
    "disagg": "False",
    "decode_workers": "",
    "decode_tp": "8.0",
    "decode_ep": "1.0",
    "decode_dp_attn": "False",
    "decode_gpus": "8.0",
    "num_gpus": "8.0",
    "isl": "8192.0",
    "osl": "1024.0",
    "concurrency": "16.0",
    "length_distribution": "uniform_0.8",
    "date": "",
    "total_tput_per_gpu": "1234.5",
    "note": "kept as it is",
}


def table(*changes: Mapping[str, object]) -> pd.DataFrame:
    return pd.DataFrame([{**ROW, **change} for change in changes])


def latency(seconds: float) -> Distribution:
    return Distribution(
        mean_s=seconds, median_s=seconds / 2, p90_s=seconds, p99_s=3 * seconds, std_s=0.0
    )


def metrics(configuration: RunConfiguration) -> RunMetrics:
    rate = 100.0 * configuration.concurrency
    nothing = latency(0.0)
    return RunMetrics(
        requests=10,
        unfinished=0,
        duration_s=1.0,
        gpus=configuration.gpus,
        prefill_gpus=configuration.gpus,
        decode_gpus=configuration.gpus,
        prompt_tokens=1,
        output_tokens=1,
        requests_per_s=1.0,
        total_tput_per_gpu=rate,
        input_tput_per_gpu=rate * 8 / 9,
        output_tput_per_gpu=rate / 9,
        input_tput_per_prefill_gpu=rate,
        output_tput_per_decode_gpu=rate / 5,
        ttft=latency(2.0),
        tpot=latency(0.01 * configuration.isl / 1024),
        e2el=nothing,
        queue=nothing,
        preemptions=0,
        cached_tokens=0,
        accepted_drafts=0,
        mean_concurrency=1.0,
        littles_law_ratio=1.0,
    )


def fake_run(configuration: RunConfiguration) -> RunResult:
    """Figures that depend on the configuration only; some configurations fail."""
    if configuration.concurrency == 13:
        raise DoesNotFitError("weights need more than there is")
    if configuration.concurrency == 17:
        raise ZeroDivisionError("a defect")
    if configuration.concurrency == 19:
        raise UserError("disaggregation is not offered")
    return RunResult(
        metrics=metrics(configuration),
        bottleneck="kernel floor",
        kind="specification",
        bands={"median_tpot_s": (0.001, 0.002)} if configuration.isl == 1024 else {},
    )


def slow_start_run(configuration: RunConfiguration) -> RunResult:
    """Finishes the heavy configurations last, so that order is not by chance."""
    time.sleep(0.02 if configuration.concurrency > 32 else 0.0)
    return fake_run(configuration)


class TestTable:
    def test_columns_pass_through_in_order_before_the_predictions(self) -> None:
        frame = table({})
        result = predict_table(frame, workers=1, run=fake_run)
        assert list(result.columns) == [*frame.columns, *OUTPUT_COLUMNS]
        assert result[list(frame.columns)].equals(frame)

    def test_the_columns_that_were_asked_for(self) -> None:
        assert OUTPUT_COLUMNS == (
            "pred_total_tput_per_gpu",
            "pred_output_tput_per_gpu",
            "pred_mean_ttft_s",
            "pred_median_ttft_s",
            "pred_p99_ttft_s",
            "pred_mean_tpot_s",
            "pred_median_tpot_s",
            "pred_total_tput_per_gpu_lo",
            "pred_total_tput_per_gpu_hi",
            "pred_median_tpot_s_lo",
            "pred_median_tpot_s_hi",
            "pred_median_ttft_s_lo",
            "pred_median_ttft_s_hi",
            "kind",
            "status",
            "bottleneck",
            "message",
        )

    def test_a_result_in_json_is_sent_to_score(self, tmp_path, capsys) -> None:
        path = tmp_path / "agg.json"
        path.write_text("{}", encoding="utf-8")
        assert run_command(["predict", str(path), "--out", str(tmp_path / "p.csv")]) == 2
        assert f"simulate score {path}" in capsys.readouterr().err

    def test_a_chip_of_two_devices_says_what_its_ranks_are(self) -> None:
        """TP8 of a TPU v7 is four chips for engines, eight here."""
        tpu = {"sku": "tpu7x", "model": "qwen3.5", "precision": "fp8"}
        row = predict_table(table(tpu), workers=1, run=fake_run).iloc[0]
        assert "TP8 is 8 chips, TP16 where engines" in row.message

    def test_figures_of_a_run(self) -> None:
        row = predict_table(table({}), workers=1, run=fake_run).iloc[0]
        assert row.pred_total_tput_per_gpu == 1600.0
        assert row.pred_output_tput_per_gpu == 320.0  # per decode GPU, as InferenceX counts
        assert (row.pred_mean_ttft_s, row.pred_median_ttft_s, row.pred_p99_ttft_s) == (2, 1, 6)
        assert (row.pred_mean_tpot_s, row.pred_median_tpot_s) == (0.08, 0.04)
        assert (row.status, row.kind, row.bottleneck) == ("ok", "specification", "kernel floor")
        assert "undated median of runs to 2026-07-19" in row.message

    def test_bands_are_blank_where_nothing_was_compared(self) -> None:
        result = predict_table(table({}, {"isl": 1024}), workers=1, run=fake_run)
        assert result.pred_median_tpot_s_lo.tolist() == pytest.approx([np.nan, 0.001], nan_ok=True)
        assert result.pred_median_tpot_s_hi.tolist() == pytest.approx([np.nan, 0.002], nan_ok=True)
        assert result.pred_total_tput_per_gpu_lo.isna().all()

    def test_a_bad_row_stops_no_other(self) -> None:
        result = predict_table(
            table(
                {"concurrency": 1},
                {"concurrency": "many"},
                {"concurrency": 0},
                {"model": "dsv4-por"},
                {"spec_decoding": "eagle"},
                {"sku": "b2000"},
                {"engine": "vlmm"},
                {"date": "yesterday"},
                {"isl": ""},
                {"decode_ep": 3},
                {"decode_dp_attn": "perhaps"},
                {"concurrency": 13},
                {"concurrency": 17},
                {"concurrency": 19},
                {"concurrency": 2},
            ),
            workers=1,
            run=fake_run,
        )
        assert result.status.tolist() == [
            "ok",
            *["unsupported"] * 10,
            "does_not_fit",
            *["unsupported"] * 2,
            "ok",
        ]
        for position, text in {
            1: "concurrency is 'many', which is not a number",
            2: "concurrency is 0; it must be a whole number of at least 1",
            3: "model 'dsv4-por' is unknown",
            4: "spec_decoding 'eagle' is unknown",
            5: "'b2000'",
            6: "engine 'vlmm' is unknown",
            7: "date 'yesterday' is not a date",
            8: "isl is blank",
            9: "ep is 3, which does not divide the 8 ranks",
            10: "decode_dp_attn is 'perhaps'; write True or False",
            11: "weights need more than there is",
            12: "failed: ZeroDivisionError: a defect",
            13: "disaggregation is not offered",
        }.items():
            assert text in result.message[position]
        failed = result.iloc[1:14]
        assert failed[list(OUTPUT_COLUMNS[:13])].isna().all().all()

    def test_dates_that_share_a_level_are_run_once_and_keep_what_each_assumed(self) -> None:
        ran = []

        def counting_run(configuration: RunConfiguration) -> RunResult:
            ran.append(configuration.level_date)
            return fake_run(configuration)

        days = ({"sku": "b300", "engine": "vllm", "date": day} for day in ("2026-06-01", ""))
        result = predict_table(table(*days), workers=1, run=counting_run)
        assert len(ran) == 1
        assert result.pred_median_tpot_s.nunique() == 1
        assert result.message.nunique() == 2

    def test_equal_configurations_run_once(self) -> None:
        ran: list[int] = []

        def count(configuration: RunConfiguration) -> RunResult:
            ran.append(configuration.concurrency)
            return fake_run(configuration)

        result = predict_table(
            table({"run_id": "a"}, {"run_id": "b"}, {"run_id": "c", "concurrency": 4}),
            workers=1,
            run=count,
        )
        assert sorted(ran) == [4, 16]
        assert result.run_id.tolist() == ["a", "b", "c"]
        assert result.pred_total_tput_per_gpu.tolist() == [1600.0, 1600.0, 400.0]

    def test_any_number_of_processes_gives_the_same_bytes(self, tmp_path: Path) -> None:
        rows = [
            {"run_id": f"r{i}", "sku": sku, "concurrency": concurrency, "engine": engine}
            for i, (sku, engine, concurrency) in enumerate(
                (sku, engine, concurrency)
                for sku in ("b300", "b200", "mi355x")
                for engine in ("sglang", "vllm")
                for concurrency in (64, 1, 13, 17, 16, "x")
            )
        ]
        written = []
        for workers in (1, 2, 3):
            path = tmp_path / f"{workers}.csv"
            result = predict_table(table(*rows), workers=workers, run=slow_start_run)
            write_run_table(result, path)
            written.append(path.read_bytes())
        assert written[0] == written[1] == written[2]
        assert result.run_id.tolist() == [row["run_id"] for row in rows]

    def test_progress_counts_every_row_once(self) -> None:
        seen: list[tuple[int, int]] = []
        predict_table(
            table({}, {"concurrency": "x"}, {"concurrency": 2}, {}),
            workers=1,
            progress=lambda done, total: seen.append((done, total)),
            run=fake_run,
        )
        assert seen[0] == (1, 4)
        assert seen[-1] == (4, 4)
        assert [done for done, _ in seen] == sorted(done for done, _ in seen)

    def test_an_empty_table(self) -> None:
        result = predict_table(table({}).iloc[:0], workers=2, run=fake_run)
        assert len(result) == 0
        assert list(result.columns) == [*ROW, *OUTPUT_COLUMNS]

    def test_the_kind_of_a_measured_run_keeps_its_values_under_another_name(self) -> None:
        frame = table({"kind": "single_run"})
        result = predict_table(frame, workers=1, run=fake_run)
        assert result.input_kind.tolist() == ["single_run"]
        assert result.kind.tolist() == ["specification"]

    def test_predicting_again_replaces_the_predictions(self) -> None:
        first = predict_table(table({}), workers=1, run=fake_run)
        again = predict_table(first, workers=1, run=fake_run)
        pd.testing.assert_frame_equal(first, again)

    def test_workers_below_one(self) -> None:
        with pytest.raises(UserError, match="workers is 0; it must be at least 1"):
            predict_table(table({}), workers=0, run=fake_run)


def configured(**changes: object) -> tuple[RunConfiguration, str]:
    configuration, messages = configure_row({**ROW, **changes})
    return configuration, "; ".join(messages)


DISAGGREGATED: dict[str, Any] = {
    "engine": "dynamo-vllm",
    "sku": "gb200",
    "disagg": True,
    "prefill_workers": 3.0,
    "prefill_tp": 8.0,
    "prefill_ep": 8.0,
    "prefill_dp_attn": True,
    "prefill_gpus": 24.0,
    "decode_workers": 1.0,
    "decode_tp": 8.0,
    "decode_ep": 8.0,
    "decode_dp_attn": True,
    "decode_gpus": 8.0,
    "num_gpus": 32.0,
    "concurrency": 4096,
}


class TestRow:
    def test_an_aggregated_layout_stands_in_the_decode_columns(self) -> None:
        configuration, _ = configured(prefill_tp=4, prefill_ep=4)
        assert deployment_label(configuration.pools) == "TP8"
        assert (configuration.model, configuration.sku.key) == ("deepseek-v4-pro", "b200")
        assert (configuration.isl, configuration.osl, configuration.concurrency) == (8192, 1024, 16)
        assert configuration.requests_per_client == 10

    def test_values_and_text_mean_the_same(self) -> None:
        values = {
            "decode_workers": np.nan,
            "decode_tp": 8.0,
            "decode_ep": np.int64(1),
            "decode_dp_attn": False,
            "disagg": np.False_,
            "isl": 8192,
            "concurrency": 16,
            "date": None,
        }
        assert configured(**values)[0] == configured()[0]

    @pytest.mark.parametrize(
        ("changes", "label", "told"),
        [
            ({"decode_ep": "", "decode_dp_attn": ""}, "TP8", "ep, dp_attn from recipe"),
            (
                {"decode_ep": "", "decode_dp_attn": "", "concurrency": 512},
                "DEP8",
                "DEP8, run at concurrency 512",
            ),
            (
                {"decode_ep": "", "decode_dp_attn": "", "decode_tp": 4, "decode_gpus": 4},
                "TP4",
                "ep, dp_attn blank and not in recipe",
            ),
            ({"decode_tp": "", "decode_gpus": "", "num_gpus": ""}, "TP8", "tp, workers from"),
        ],
    )
    def test_blanks_are_filled_and_told(
        self, changes: dict[str, object], label: str, told: str
    ) -> None:
        configuration, message = configured(**changes)
        assert deployment_label(configuration.pools) == label
        assert told in message

    def test_no_layout_and_no_recipe(self) -> None:
        with pytest.raises(UserError, match="the layout is blank and recipe"):
            configured(
                model="dsr1",
                decode_tp="",
                decode_ep="",
                decode_dp_attn="",
                decode_gpus="",
                num_gpus="",
            )

    def test_an_empty_date_is_the_undated_median(self) -> None:
        _, message = configured()
        assert "undated median of runs to 2026-07-19: settings of v0.25.0" in message
        median, _ = configured(sku="mi355x", engine="sglang")
        assert median.median
        assert not configured(sku="mi355x", engine="sglang", date="2026-05")[0].median

    def test_a_date_before_every_recipe_is_told(self) -> None:
        _, message = configured(date="2026-05-21")
        assert "no recorded settings before 2026-05-21: the first, v0.25.0" in message

    @pytest.mark.parametrize(
        ("date", "day"),
        [("2026-05-03", dt.date(2026, 5, 3)), ("2026-05", dt.date(2026, 5, 31))],
    )
    def test_a_date_means_its_last_day(self, date: str, day: dt.date) -> None:
        configuration, _ = configured(sku="mi355x", engine="sglang", date=date)
        assert configuration.level_date == day
        carried, _ = configured(sku="mi355x", engine=f"sglang@{date}")
        assert carried == configuration

    def test_a_date_before_every_recipe_of_a_dated_engine_is_told(self) -> None:
        _, message = configured(sku="mi355x", engine="sglang", date="2025-01-01")
        assert "no recorded settings before 2025-01-01" in message

    def test_an_engine_may_ask_for_the_specification(self) -> None:
        bare, _ = configured(engine="vllm@specification")
        assert bare.specification
        assert bare.step_cost_key != configured(engine="vllm")[0].step_cost_key

    def test_two_pools(self) -> None:
        configuration, _ = configured(**DISAGGREGATED)
        assert deployment_label(configuration.pools) == "3xDEP8+1xDEP8"
        assert [pool.role for pool in configuration.pools] == ["prefill", "decode"]
        assert configuration.gpus == 32
        budgets = [
            pool.settings.model_dump()["max_num_batched_tokens"] for pool in configuration.pools
        ]
        assert budgets == [32768, 512]

    def test_ranks_of_a_worker_are_gpus_over_workers(self) -> None:
        configuration, message = configured(**(DISAGGREGATED | {"decode_tp": 1.0}))
        assert configuration.pools[1].layout.tp == 8
        assert configuration.pools[1].layout.dp_attention
        assert "decode_tp 1 on 8 GPUs a worker: data-parallel attention" in message

    def test_gpus_of_a_pool_are_what_the_other_leaves(self) -> None:
        configuration, _ = configured(**(DISAGGREGATED | {"decode_gpus": ""}))
        assert configuration.pools[1].gpus == 8

    def test_pools_without_any_layout_come_from_the_recipe(self) -> None:
        blank = dict.fromkeys(
            [name for name in DISAGGREGATED if name.startswith(("prefill", "decode", "num"))], ""
        )
        configuration, message = configured(**(DISAGGREGATED | blank))
        assert deployment_label(configuration.pools) == "3xDEP8+1xDEP8"
        assert "decode workers from recipe" in message

    def test_no_decode_workers_are_one_aggregated_server(self) -> None:
        configuration, message = configured(
            **(DISAGGREGATED | {"decode_workers": 0.0, "prefill_workers": 1, "prefill_gpus": 8})
        )
        assert deployment_label(configuration.pools) == "DEP8"
        assert "no decode workers: one aggregated server" in message

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"decode_gpus": 7.0, "decode_workers": 2}, "7, which 2 workers do not share evenly"),
            ({"decode_gpus": 4.0, "decode_workers": 1}, "decode_tp is 8, but a worker has 4 GPUs"),
            ({"decode_tp": 1.5}, "decode_tp is 1.5; it must be a whole number"),
            ({"osl": "inf"}, "osl is inf; it must be finite"),
            ({"spec_decoding": "medusa"}, "spec_decoding 'medusa' is unknown"),
            ({"sku": " "}, "sku is blank; fill it in"),
        ],
    )
    def test_cells_that_contradict_or_say_nothing(
        self, changes: dict[str, object], message: str
    ) -> None:
        with pytest.raises(UserError, match=message):
            configured(**changes)

    def test_speculation_from_the_recipe(self) -> None:
        configuration, message = configured(spec_decoding="mtp", spec_tokens="")
        assert (configuration.speculation, configuration.drafts) == ("mtp", 2)
        assert configuration.acceptance_source == "deepseek-v4-pro-mtp-random"
        assert "2 drafts per step from the recipe" in message

    def test_speculation_as_measured(self) -> None:
        configuration, _ = configured(
            spec_decoding="mtp", spec_tokens="3.0", acceptance_length="2.24"
        )
        assert (configuration.drafts, configuration.acceptance_length) == (3, 2.24)
        assert configuration.acceptance_source is None

    def test_step_costs_are_shared_over_load_and_lengths(self) -> None:
        one, _ = configured()
        other, _ = configured(concurrency=4, isl=1024)
        assert one.step_cost_key == other.step_cost_key
        for change in (
            {"sku": "h200"},
            {"model": "deepseek-v4-flash"},
            {"decode_ep": 8},
            {"spec_decoding": "mtp"},
        ):
            assert configured(**change)[0].step_cost_key != one.step_cost_key
        for other in (
            replace(one, sku=one.sku.override({"hbm_bytes_per_s": 1e12})),
            replace(one, level_date=dt.date(2026, 5, 21)),
            replace(one, median=False),
        ):
            assert other.step_cost_key != one.step_cost_key


class TestCsv:
    def test_cells_survive_as_they_were_written(self, tmp_path: Path) -> None:
        text = (
            "run_id,model,sku,engine,isl,osl,concurrency,note\r\n"
            '007,m,s,e,8192.0,1e3,NA,"a,\n""b"""\r\n\r\n'
        )
        (tmp_path / "in.csv").write_bytes(text.encode())
        frame = read_run_table(tmp_path / "in.csv")
        assert frame.iloc[0].tolist() == ["007", "m", "s", "e", "8192.0", "1e3", "NA", 'a,\n"b"']
        write_run_table(frame, tmp_path / "out.csv")
        assert read_run_table(tmp_path / "out.csv").equals(frame)

    def test_numbers_have_six_digits_and_blanks_stay_blank(self, tmp_path: Path) -> None:
        write_run_table(pd.DataFrame({"a": [1 / 3, np.nan]}), tmp_path / "out.csv")
        assert (tmp_path / "out.csv").read_text() == 'a\n0.333333\n""\n'

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "line 1: there is no header"),
            ("model,sku\na,b\n", "line 1: column engine is missing"),
            ("model,sku,model\n", "line 1, column 3: column model stands twice"),
            (
                "model,sku,engine,isl,osl,concurrency\na,b,c,1,1,1\na,b,c,1\n",
                r"line 3, column 5 \(osl\): the line has 4 fields and the header 6",
            ),
            (
                "model,sku,engine,isl,osl,concurrency\na,b,c,1,1,1,7\n",
                r"line 2, column 7 \(after concurrency\): the line has 7 fields",
            ),
            (
                'model,sku,engine,isl,osl,concurrency\n"a\nb",b,c,1,1,1\n"a,b,c,1,1,1\n',
                "line 4: unexpected end of data",
            ),
            ('model,sku,engine,isl,osl,concurrency\n"a"x,b,c,1,1,1\n', "line 2: ',' expected"),
            ("model,sku,engine,isl,osl,concurrency\na,\0,c,1,1,1\n", "line 2: holds a NUL byte"),
        ],
    )
    def test_malformed_files_name_the_place(self, text: str, message: str, tmp_path: Path) -> None:
        path = tmp_path / "runs.csv"
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            read_run_table(path)

    def test_files_that_cannot_be_read_or_written(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"cannot read .*runs.csv: No such file"):
            read_run_table(tmp_path / "runs.csv")
        (tmp_path / "latin.csv").write_bytes(b"model,\xe9\n")
        with pytest.raises(UserError, match="is not UTF-8 text"):
            read_run_table(tmp_path / "latin.csv")
        with pytest.raises(UserError, match="cannot write"):
            write_run_table(pd.DataFrame({"a": [1]}), tmp_path / "no" / "out.csv")
