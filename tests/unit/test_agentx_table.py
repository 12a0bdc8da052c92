"""The table of public AgentX runs: which rows are simulated how, and what is made of them."""

from types import SimpleNamespace

from calibration.agentx import levels
from calibration.agentx.__main__ import cliffs, page_row, write_page
from calibration.agentx.rows import measured_rows

ROWS = {row.name: row for row in measured_rows()}


def test_rows_have_the_window_the_drafts_and_the_client_of_their_run() -> None:
    assert ROWS["repro_b300_600s_off"].protocol == "agentx-fast:600"
    assert ROWS["mi355x_dp8_b200align_c64_1200s"].protocol == "agentx-fast:1200"
    assert ROWS["glm_b300_pr2268_TP8_c4"].protocol == "agentx-2026-07"
    assert ROWS["ix440246"].protocol == "agentx"
    assert ROWS["kimi_k3_b300_res_c16"].settings["spec"] == "dspark:7"
    assert ROWS["kimi_k3_b300_res_c16"].settings["acceptance_length"] == 3.84
    assert ROWS["lane20m_c12"].skipped == "class agentx-other has no run of its own"
    assert (ROWS["ix439522"].kv_offload, ROWS["ix440246"].kv_offload) == ("cpu:356GB", None)
    assert len(ROWS) == 52


def test_cliffs_are_compared_where_rows_stand_around_one() -> None:
    names = [f"glm_b300_pr2268_DPA8_c{n}" for n in (48, 64, 96, 128, 256)]
    hits = (0.97, 0.9, 0.6, 0.4, 0.1)
    found = [
        (ROWS[name], {"gpu_hit": hit, "host_hit": 0.0})
        for name, hit in zip(names, hits, strict=True)
    ]
    (line,) = cliffs([*found, (ROWS["ix440246"], {"gpu_hit": 0.9, "host_hit": 0.0})])
    assert line.endswith(
        "hits below 80 % at 64 measured, at 96 predicted, within one doubling, one grid step apart"
    )
    late = [(row, {"gpu_hit": 0.95, "host_hit": 0.0}) for row, _ in found]
    assert cliffs(late)[0].endswith("at none of its rows predicted, up to 256")


def test_a_page_gets_the_table_between_its_marks(tmp_path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- calibration.agentx -->\nold\n<!-- end of calibration.agentx -->\nb\n")
    row = ROWS["glm_b300_pr2268_TP8_c8"]
    figures = {"total_tok_s_gpu": 10_000.0, "ttft_p50_s": 0.5, "gpu_hit": 0.9, "host_hit": 0.0}
    line = page_row(row, figures)
    assert "12,603 → 10,000 (-21 %)" in line
    write_page(page, [line], ["a bar"], skipped=[("x", "why"), ("y", "why")])
    text = page.read_text()
    assert text.startswith("a\n<!-- calibration.agentx -->\n| run |")
    assert "* a bar\n* left out: x, y: why\n<!-- end of calibration.agentx -->\nb" in text
    assert "old" not in text


def test_both_levels_stand_beside_what_was_measured(monkeypatch) -> None:
    def point(level, itl_s):
        metrics = SimpleNamespace(
            total_tokens_per_s_per_gpu=28_000.0, itl_p90_s=itl_s, ttft_p50_s=2.0
        )
        return SimpleNamespace(level=f"vllm@{level}", metrics=metrics)

    row = ROWS["ix440246"]
    monkeypatch.setattr(levels, "has_agentic_level", lambda one: one is row)
    monkeypatch.setattr(levels, "_point", lambda _: point("new", 0.02326 * 1.1))
    monkeypatch.setattr(levels, "_fixed", lambda _: point("old", 0.02326 * 1.8))
    head, _, line, medians = levels.compared([row, ROWS["kimi_k3_b300_res_c16"]])
    assert head == "| run | levels | tok/s/GPU | P90 ITL ms | TTFT p50 s |"
    assert line.startswith("| ix440246: b200:vllm, 64 sessions | new / old | 28,907: -3 / -3 % |")
    assert "23.3: +10 / +80 %" in line
    assert medians.endswith("| 3 / 3 % | 10 / 80 % | 1 / 1 % |")
