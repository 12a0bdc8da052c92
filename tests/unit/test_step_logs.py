"""Logs of engines' steps: what is read, what is refused, and a level found again from them."""

import json
from dataclasses import replace

import numpy as np
import pytest

from calibration.fit.effects import FITTED
from calibration.fit.own_fit import at_fitted_level
from calibration.fit.own_runs import fit_steps
from calibration.fit.response import tuned
from calibration.fit.step_fit import StepTimes, read_steps, step_s
from calibration.importers.step_logs import read_step_log
from simulator.cli.main import run
from simulator.prediction.assembly import assemble, named_software
from workloads.errors import UserError

FACTS = {
    "model": "gpt-oss-120b",
    "sku": "b200",
    "engine": "vllm",
    "precision": "fp4",
    "layout": "TP2",
    "date": "2026-09-01",
    "isl": 1024,
    "osl": 1024,
}
TRUTH = {"t0_scale": 0.30, "memory_scale": -0.15, "eager_launch_s": 0.0}
POOL_TOKENS = 4_000_000
BATCHES = [(r, c) for r in (1, 2, 4, 8, 16, 32, 64, 128, 200) for c in (600, 1500, 6000)]


def vllm_line(running, output, usage, *, prompt=0.0, engine=0):
    return (
        f"INFO 09-01 10:00:00 [loggers.py:248] Engine {engine:03d}: "
        f"Avg prompt throughput: {prompt:.1f} tokens/s, "
        f"Avg generation throughput: {output:.1f} tokens/s, Running: {running} reqs, "
        f"Waiting: 0 reqs, GPU KV cache usage: {usage:.1f}%, Prefix cache hit rate: 0.0%"
    )


def sglang_line(running, tokens, output):
    return (
        f"[2026-09-01 10:00:00 TP0] Decode batch, #running-req: {running}, #token: {tokens}, "
        f"token usage: 0.10, cuda graph: True, gen throughput (token/s): {output:.2f}, "
        "#queue-req: 0, "
    )


PREFILL = (
    "[2026-09-01 10:00:00 TP0] Prefill batch, #new-seq: 1, #new-token: 1024, #cached-token: 0, "
    "token usage: 0.00, #running-req: 1, #queue-req: 0, "
)


def fpm(seconds, *, requests=0, kv=0, prompts=0, new=0, prefix=0, **changes):
    scheduled = {
        "num_prefill_requests": prompts,
        "sum_prefill_tokens": new,
        "sum_prefill_kv_tokens": prefix,
        "num_decode_requests": requests,
        "sum_decode_kv_tokens": kv,
    }
    record = {"version": 1, "dp_rank": 0, "wall_time": seconds, "scheduled_requests": scheduled}
    return json.dumps(record | changes)


def write(folder, lines, name="engine.log"):
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_vllm_rates_become_the_time_of_a_mean_step(tmp_path):
    lines = [
        "INFO GPU KV cache size: 4,000,000 tokens",
        vllm_line(32, 1600.0, 10.0),
        vllm_line(32, 1600.0, 10.0, prompt=500.0),
        "INFO 09-01 SpecDecoding metrics: Mean acceptance length: 2.50, Accepted throughput: 1",
        vllm_line(64, 1600.0, 10.0),
        vllm_line(0, 0.0, 0.0),
        vllm_line(8, 400.0, 1.0, engine=1),
        vllm_line(8, 400.0, 1.0, engine=1),
    ]
    log = read_step_log(write(tmp_path, lines))
    assert (log.kind, log.pool_tokens) == ("vLLM", 4_000_000)
    first, second = log.steps
    assert first.seconds == pytest.approx(32 / 1600.0)
    assert first.prefill_tokens == pytest.approx(500.0 * 0.02)
    assert (first.accepted, first.kv_share, first.spread) == (2.5, 0.1, True)
    assert first.place.endswith("line 3")
    assert second.seconds == pytest.approx(0.02)
    assert any("changed by more than 10" in note for note in log.notes)
    assert any("nothing decodes" in note for note in log.notes)


def test_sglang_decode_lines_count_between_prompts(tmp_path):
    lines = [
        sglang_line(16, 32000, 800.0),
        sglang_line(16, 32400, 800.0),
        PREFILL,
        sglang_line(16, 32800, 400.0),
        sglang_line(16, 33200, 800.0).replace("cuda", "accept len: 3.04, cuda"),
    ]
    log = read_step_log(write(tmp_path, lines))
    assert [step.seconds for step in log.steps] == pytest.approx([0.02, 0.02])
    assert [step.kv_tokens for step in log.steps] == [32400, 33200]
    assert [step.accepted for step in log.steps] == [None, 3.04]
    assert any("a prompt was computed" in note for note in log.notes)


def test_forward_pass_metrics_are_read_as_json_lines_and_as_a_table(tmp_path):
    lines = [fpm(0.02, requests=16, kv=32000), fpm(0.5, prompts=1, new=8192, prefix=100), fpm(0.0)]
    log = read_step_log(write(tmp_path, lines, name="fpm.jsonl"))
    assert [step.seconds for step in log.steps] == [0.02, 0.5]
    assert log.steps[1].prefix_tokens == 100
    assert all(step.timed for step in log.steps)
    header = "worker_id,dp_rank,sum_prefill_tokens,num_prefill_requests,sum_prefill_kv_tokens"
    header += ",num_decode_requests,sum_decode_kv_tokens,latency_ms"
    table = write(tmp_path, [header, "w,0,0,0,0,16,32000,20.0"], name="fpm.csv")
    (step,) = read_step_log(table).steps
    assert (step.seconds, step.kv_tokens, step.decode_requests) == (0.02, 32000, 16)


def test_broken_lines_are_named_and_files_of_them_refused(tmp_path):
    good = [sglang_line(16, 32000 + row, 800.0) for row in range(20)]
    broken = good[3].replace("#token: 32003", "#tok")
    log = read_step_log(write(tmp_path, [*good, broken]))
    assert len(log.steps) == 19
    (note,) = [each for each in log.notes if each.startswith("broken")]
    assert "engine.log, line 21: a decode batch without tokens" in note
    with pytest.raises(UserError, match=r"2 of 3 lines of [\s\S]*line 1: .*without tokens"):
        read_step_log(write(tmp_path, [broken, broken, good[0]]))
    with pytest.raises(UserError, match="KV cache usage 120 %"):
        read_step_log(write(tmp_path, [vllm_line(4, 80.0, 120.0)] * 2))
    with pytest.raises(UserError, match="num_decode_requests is -3; it must be 0 or more"):
        read_step_log(write(tmp_path, [fpm(0.02, requests=-3)]))
    with pytest.raises(UserError, match="not JSON"):
        read_step_log(write(tmp_path, [fpm(0.02, requests=1, kv=9), "{"]))


def test_milliseconds_in_a_column_of_seconds_are_refused(tmp_path):
    with pytest.raises(UserError, match="times are in seconds"):
        read_step_log(write(tmp_path, [fpm(45.0, requests=16, kv=32000)] * 3))
    with pytest.raises(UserError, match="holds no steps; known are"):
        read_step_log(write(tmp_path, ["nothing of a server"]))
    with pytest.raises(UserError, match="no step that can be used"):
        read_step_log(write(tmp_path, [vllm_line(4, 80.0, 1.0)]))


def engine(folder):
    """An engine of the shipped level, and one whose software is slower by `TRUTH`."""
    probe = write(folder, [fpm(0.02, requests=8, kv=8000)], name="probe.jsonl")
    (batch,), _ = read_steps([probe], facts=FACTS)
    _, start = at_fitted_level(batch, directory=None)
    truth = start + np.array([TRUTH.get(parameter.name, 0.0) for parameter in FITTED])
    return batch, start, truth


def bound(batch, logs):
    named = {p.name: float(v) for p, v in zip(FITTED, logs, strict=True)}
    software = tuned(named_software(batch.configuration), logs=named)
    return assemble(batch.configuration, software=software)


def seconds(batch, assembly, *, requests, kv, new=0.0, chunk=0.0):
    spread = bool(chunk)
    made = replace(
        batch.batch,
        decode_requests=requests,
        kv_tokens=kv,
        prefill_tokens=new,
        prefill_requests=0.0 if spread or not new else 1.0,
        spread=spread,
    )
    return step_s(replace(batch, batch=made, prompt_chunk=chunk), assembly)


def log_of(kind, batch, assembly, rng):
    """Half an hour of an engine, as it would have logged it: noise of 2 %."""
    lines = [f"INFO GPU KV cache size: {POOL_TOKENS:,} tokens"] if kind == "vllm" else []
    for requests, context in BATCHES:
        for _ in range(4):
            kv = requests * context
            noise = float(np.exp(0.02 * rng.normal()))
            took = seconds(batch, assembly, requests=requests, kv=kv) * noise
            if kind == "vllm":
                lines.append(vllm_line(requests, requests / took, 100.0 * kv / POOL_TOKENS))
            elif kind == "sglang":
                lines.append(sglang_line(requests, kv, requests / took))
            else:
                lines.append(fpm(took, requests=requests, kv=kv))
                mixed = seconds(batch, assembly, requests=requests, kv=kv, new=1024.0)
                lines.append(fpm(mixed * noise, requests=requests, kv=kv, prompts=1, new=1024))
    return lines


@pytest.mark.parametrize("kind", ["vllm", "sglang", "fpm"])
def test_a_known_level_is_found_again_from_its_own_log(kind, tmp_path):
    """A closed loop: steps of a level that the fit does not know, and what it says of others."""
    batch, start, truth = engine(tmp_path)
    slower = bound(batch, truth)
    path = write(tmp_path, log_of(kind, batch, slower, np.random.default_rng(3)))
    batches, _ = read_steps([path], facts=FACTS)
    own = fit_steps(batches)
    (level,) = own.fit.levels
    assert level == "moe_gqa/vllm/b200/2026-09-01"
    errors = {name: own.fit.errors(getattr(own.fit, name))["tpot"] for name in ("before", "after")}
    assert errors["before"] > 0.1
    assert errors["after"] < 0.03
    found = bound(batch, own.fit.start[0] + own.fit.moves[0])
    unknown = bound(batch, start)
    for requests, context in ((3, 900), (24, 3000), (100, 2000)):  # batches that the log lacks
        kv = requests * context
        true = seconds(batch, slower, requests=requests, kv=kv)
        assert seconds(batch, found, requests=requests, kv=kv) == pytest.approx(true, rel=0.04)
        assert seconds(batch, unknown, requests=requests, kv=kv) < 0.92 * true


def test_prompts_within_a_mean_step_count_by_their_share(tmp_path):
    batch, start, _ = engine(tmp_path)
    assembly = bound(batch, start)
    alone = seconds(batch, assembly, requests=16, kv=16000)
    whole = seconds(batch, assembly, requests=16, kv=16000, new=1024.0, chunk=1024.0)
    tenth = seconds(batch, assembly, requests=16, kv=16000, new=102.4, chunk=1024.0)
    assert tenth == pytest.approx(0.9 * alone + 0.1 * whole)
    assert whole > alone


def test_slopes_of_steps_are_differences(tmp_path):
    batch, start, _ = engine(tmp_path)
    times = StepTimes()
    slope = times.slopes([batch], start[None])[0, 1]
    moved = start.copy()
    moved[0] += 0.05
    rise = times.respond([batch], moved[None]) - times.respond([batch], start[None])
    assert slope[0] == pytest.approx(rise[0, 1] / 0.05)
    assert slope[0] > 0.0


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"sku": "b200"}, "a step log does not say model, engine, layout; give --fact model="),
        (FACTS | {"layout": "1xTP2+1xTP2"}, "a step log is of one engine"),
        (
            FACTS | {"model": "deepseek-r1", "layout": "TP8", "speculation": "mtp", "drafts": 3},
            "give --fact acceptance_length",
        ),
    ],
)
def test_what_a_log_does_not_say_is_asked_for(facts, message, tmp_path):
    path = write(tmp_path, [sglang_line(16, 32000, 800.0)] * 2)
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        read_steps([path], facts=facts)


def test_a_log_calibrates_a_level_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    batch, _, truth = engine(tmp_path)
    write(tmp_path, log_of("vllm", batch, bound(batch, truth), np.random.default_rng(3)))
    facts = [part for name, value in FACTS.items() for part in ("--fact", f"{name}={value}")]
    assert run(["calibrate", "fit", "--steps", "engine.log", *facts, "--out", "mine"]) == 0
    out = capsys.readouterr().out
    assert "steps of engine.log, fitted in" in out
    assert "median error of step times" in out
    question = ["explain", "--sku", "b200", "--model", "gpt-oss-120b", "--engine", "vllm"]
    assert run([*question, "--calibration", "mine"]) == 0
    assert "vllm@2026-09-01 of mine (calibrated)" in capsys.readouterr().out
    assert run(["calibrate", "fit", "runs.csv", "--steps", "engine.log", "--out", "o"]) == 2
    assert "one after the other" in capsys.readouterr().err
