"""Every reader of a file that a user may give, with good files to start from."""

import json
import sys
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from calibration.fit.files import write_fit
from calibration.importers.point_table import translated
from calibration.importers.runs import import_runs
from calibration.scoreboard.given import read_given
from calibration.scoreboard.mlperf_table import (
    is_mlperf_table,
    read_mlperf_rows,
    text_table,
)
from hwmodels import fitted
from hwmodels.calibration_files import _groups_of, sealed
from hwmodels.economics import load_economics
from hwmodels.fitted import fitted_level, read_fits
from hwmodels.sku import load_sku
from simulator.output.csv_table import read_run_table
from simulator.prediction.bands import read_banded
from simulator.recipes.files import read_recipe
from simulator.scenario.grid import build_sweep
from simulator.scenario.settings import build_scenario
from simulator.scenario.table_rows import configure_row
from simulator.studies.compare.request import build_systems
from simulator.studies.load.request import build_load
from simulator.studies.plan.request import build_plan
from simulator.studies.report.sources import source_of
from simulator.studies.search.request import build_search
from simulator.studies.sensitivity.request import build_sensitivity
from workloads.architectures.catalog import file_architecture
from workloads.errors import UserError
from workloads.requests.agentx.files import holds_sessions, read_session_trees
from workloads.requests.catalog import load_workload
from workloads.requests.length_laws import read_lengths
from workloads.requests.traces import TraceOptions

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
sys.path.append(str(ROOT / "tests" / "unit"))


@dataclass(frozen=True)
class Reader:
    """One reader: the name of the file that it takes, a good text, and what reads it."""

    file: str
    text: str
    read: object


SCENARIO = yaml.safe_dump(
    {
        "sku": "b200",
        "model": "deepseek-v4-pro",
        "engine": "vllm@2026-05",
        "tp": 8,
        "ep": 8,
        "dp_attention": False,
        "isl": 1024,
        "osl": 128,
        "spec": "mtp:2",
        "acceptance_length": 1.7,
        "overrides": {"hbm_bytes_per_s": 7.5e12},
        "economics": "2026-04",
        "seed": 3,
    }
)
RESOLVED = yaml.safe_dump(
    {name: {"value": value, "origin": "flag"} for name, value in yaml.safe_load(SCENARIO).items()}
)


LENGTHS = yaml.safe_dump(
    {
        "prompt": {"law": "lognormal", "median_tokens": 800, "sigma": 0.9, "cap_tokens": 32000},
        "output": {"law": "histogram", "edges": [1, 64, 256, 1024], "counts": [120, 510, 330]},
    }
)
MODEL = yaml.safe_dump(
    {"config_json": json.loads((DATA / "model_configs" / "gpt-oss-20b.json").read_text("utf-8"))}
)
SESSIONS = "".join(
    json.dumps(row) + "\n"
    for row in (
        {
            "session_id": "root",
            "turns": [
                {"messages": [{"role": "user", "content": "x" * 40}], "spawns": ["sub"]},
                {"messages": [{"content": [{"text": "abc"}]}], "max_tokens": 8, "delay": 500},
                {"messages": [{"content": "abc"}], "max_tokens": 8, "forks": ["branch"]},
            ],
        },
        {"session_id": "sub", "turns": [{"messages": [{"content": "y" * 9}], "max_tokens": 3}]},
        {"session_id": "branch", "turns": [{"messages": [{"content": "z"}], "max_tokens": 2}]},
    )
)
PLAYS = "".join(
    json.dumps(row) + "\n"
    for row in (
        {"schema": "dynamo.agentic_mooncake", "version": 2, "block_size": 64},
        *(
            {
                "request_id": f"r{number}",
                "play_id": "play",
                "session_id": "main",
                "model": "m",
                "input_length": 64 * (number + 2),
                "output_length": 20,
                "hash_ids": list(range(number + 2)),
                "not_before_ms": 5.0,
                "dependencies": [
                    {"request_id": f"r{before}", "delay_ms": 3.0, "trigger": "completion"}
                    for before in range(number)
                ],
            }
            for number in range(3)
        ),
    )
)
PREDICTED = (
    "model,sku,engine,precision,isl,osl,concurrency,status,pred_total_tput_per_gpu,"
    "pred_median_tpot_s,pred_mean_tpot_s,pred_mean_ttft_s,pred_median_ttft_s\n"
    "gpt-oss-120b,b200,vllm,fp4,1024,128,8,ok,1500,0.005,0.005,0.1,0.1\n"
    "gpt-oss-120b,b200,vllm,fp4,1024,128,16,refused,,,,,\n"
)
POINTS = (
    "model,hw,framework,precision,tp,isl,osl,conc,tput_per_gpu,actual_tpot_ms,predicted_tpot_ms\n"
    "gpt-oss-120b,b200,vllm,fp4,1,1024,128,8,1500,5,5.5\n"
    "gpt-oss-120b,h200,vllm,fp4,1,1024,128,16,1200,7,9.1\n"
)
MLPERF = (
    "Submitter,Model,Scenario,Accelerator,# of Accelerators,Units,Result\n"
    "A,llama3.1-8b,Offline,NVIDIA H200-SXM-141GB,8,Tokens/s,160000\n"
    "B,llama2-70b-99,Server,NVIDIA H200-SXM-141GB,8,Tokens/s,32000\n"
)


def _scenario(path):
    build_scenario(flags={}, file=path)


def _sweep(path):
    build_sweep(flags={}, file=path)


def _trace(path):
    for skip in ("raise", "skip"):
        options = TraceOptions(
            on_error=skip, characters_per_token=4.0, default_output_tokens=8, time_unit=None
        )
        load_workload(path, options=options)


def _table(path):
    for row in read_run_table(path).head(20).to_dict("records"):
        try:
            configure_row(row)
        except UserError:
            continue


def _fitted(path):
    fitted_level(
        engine="vllm",
        sku=load_sku("b200"),
        model="deepseek-v4-pro",
        precision="fp4",
        date=None,
        median=False,
        directory=path.parent,
    )


def _sessions(path):
    for skip in ("raise", "skip"):
        options = TraceOptions(
            on_error=skip, characters_per_token=4.0, default_output_tokens=8, time_unit=None
        )
        holds_sessions(str(path))
        read_session_trees(path, options=options)


def _results_of_mlperf(path):
    frame = text_table(path)
    if is_mlperf_table(list(frame.columns)):
        read_mlperf_rows(frame)


def _system(path):
    build_systems([str(path), "b200"], flags={}, file=None)


def _seal(path):
    """Give an altered file a digest that fits, so that what stands behind the digest is read."""
    try:
        content = yaml.load(path.read_text("utf-8"), yaml.CSafeLoader)
        path.write_text(yaml.dump(sealed(content), Dumper=yaml.CSafeDumper), "utf-8")
    except (OverflowError, RecursionError, TypeError, ValueError, yaml.YAMLError):
        pass  # no mapping: the reader says so


def _sealed_fit(path):
    _seal(path)
    _fitted(path)


def _bands(path):
    if not (path.parent / "fitted.yaml").exists():
        write_fit(read_fits()[:1], directory=path.parent)
    read_banded(path.parent)


def _sealed_bands(path):
    _seal(path)
    _bands(path)


def _report(path):
    source_of(path.parent)


def _shipped(*parts):
    return ROOT.joinpath(*parts).read_text(encoding="utf-8")


def _small_fit(folder):
    """The shipped fit as far as one engine on one chip goes: the same form, read faster."""
    fits = []
    for fit in read_fits():
        runs = {name: n for name, n in fit["runs"].items() if "/vllm/b200/" in name}
        if not runs:
            continue
        fit = fit | {"runs": runs, "forms": dict(list(fit["forms"].items())[:2])}
        known = _groups_of(fit, effects=fitted.EFFECTS, groups=fitted.effect_groups)
        effects = {
            parameter: {
                effect: {group: value for group, value in values.items() if group in known[effect]}
                for effect, values in by_effect.items()
            }
            for parameter, by_effect in fit["effects"].items()
        }
        fits.append(fit | {"effects": effects})
    return write_fit(fits, directory=folder).read_text(encoding="utf-8")


def _small_bands():
    """The shipped bands with two of many cells and pairs."""
    content = yaml.safe_load(_shipped("simulator", "prediction", "data", "bands.yaml"))
    for name in ("cells", "pairs"):
        content[name] = dict(list(content[name].items())[:2])
    del content["digest"]
    return yaml.safe_dump(sealed(content), sort_keys=False)


@cache
def readers(folder: Path):
    """Readers by name; the folder is where good files are prepared."""
    small_fit = _small_fit(folder)
    found = {
        "scenario": Reader("s.yaml", SCENARIO, _scenario),
        "resolved": Reader("s.yaml", RESOLVED, _scenario),
        "sweep": Reader("s.yaml", SCENARIO.replace("tp: 8", "tp: [4, 8]"), _sweep),
        "load": Reader(
            "s.yaml",
            SCENARIO + "rate: 2.0\narrivals: gamma\nburstiness: 0.5\nrequests: 40\n",
            lambda path: build_load(flags={}, file=path),
        ),
        "plan": Reader(
            "s.yaml",
            SCENARIO + "interactivity: 30\nrate: 4.0\nburstiness: 0.5\nspare: true\n",
            lambda path: build_plan(flags={}, file=path),
        ),
        "search": Reader(
            "s.yaml",
            SCENARIO + "goal: cost\ninteractivity: 30\nvary: {max_num_seqs: [16, 64]}\n",
            lambda path: build_search(flags={}, file=path),
        ),
        "sensitivity": Reader(
            "s.yaml",
            SCENARIO + "step: 0.1\nreplications: 3\n",
            lambda path: build_sensitivity(flags={}, file=path),
        ),
        "sku": Reader(
            "chip.yaml",
            _shipped("hwmodels", "catalog", "b200.yaml"),
            lambda path: load_sku(str(path)),
        ),
        "economics": Reader(
            "prices.yaml",
            _shipped("hwmodels", "economics", "2026-04.yaml"),
            lambda path: load_economics(str(path)),
        ),
        "fitted": Reader("fitted.yaml", small_fit, _fitted),
        "fitted sealed": Reader("fitted.yaml", small_fit, _sealed_fit),
        "bands": Reader("bands.yaml", _small_bands(), _bands),
        "bands sealed": Reader("bands.yaml", _small_bands(), _sealed_bands),
        "recipe": Reader(
            "recipe.yaml",
            _shipped("simulator", "recipes", "data", "vllm-b200.yaml"),
            lambda path: read_recipe(path),
        ),
        "config": Reader(
            "config.json",
            (DATA / "model_configs" / "qwen3-32b.json").read_text(encoding="utf-8"),
            lambda path: file_architecture(path),
        ),
        "table": Reader("runs.csv", (DATA / "results" / "runs.csv").read_text("utf-8"), _table),
    }
    for name in ("glm-5.2", "nemotron-3-nano-30b-a3b", "qwen3-next-80b-a3b"):
        found[f"config {name}"] = Reader(
            "config.json",
            (DATA / "model_configs" / f"{name}.json").read_text(encoding="utf-8"),
            lambda path: file_architecture(path),
        )
    for path in sorted((DATA / "traces").iterdir()):
        if path.is_file() and path.stat().st_size < 200_000:
            text = path.read_text(encoding="utf-8")
            found[f"trace {path.name}"] = Reader(path.name, text, _trace)
    for path in sorted((DATA / "results").iterdir()):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            found[f"results {path.name}"] = Reader(
                path.name, text, lambda path: import_runs(path, sku="b200", layout="TP8")
            )
    found |= {
        "lengths": Reader("lengths.yaml", LENGTHS, lambda path: read_lengths(path)),
        "model": Reader("model.yaml", MODEL, lambda path: file_architecture(path)),
        "system": Reader("system.yaml", SCENARIO, _system),
        "sessions dag": Reader("dag.jsonl", SESSIONS, _sessions),
        "sessions mooncake": Reader(
            "turns.jsonl", (DATA / "traces" / "aiperf_sessions.jsonl").read_text("utf-8"), _sessions
        ),
        "sessions weka": Reader(
            "weka.jsonl", (DATA / "traces" / "weka.jsonl").read_text("utf-8"), _sessions
        ),
        "sessions plays": Reader("plays.jsonl", PLAYS, _sessions),
        "score predictions": Reader("predicted.csv", PREDICTED, lambda path: read_given(path)),
        "score points": Reader("points.csv", POINTS, lambda path: translated(text_table(path))),
        "score mlperf": Reader("results.csv", MLPERF, _results_of_mlperf),
    }
    from report_cases import write_run

    run = write_run(folder / "run")
    for name in ("summary.json", "points.csv"):
        found[f"report {name}"] = Reader(name, (run / name).read_text("utf-8"), _report)
    return found


def attempt(reader: Reader, text: str, folder: Path):
    """What goes wrong beyond a clean error when a reader is given a text; ``None``: nothing."""
    path = folder / reader.file
    try:
        path.write_text(text, encoding="utf-8", newline="")
    except UnicodeEncodeError:
        return None
    read_banded.cache_clear()
    fitted._read.cache_clear()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            reader.read(path)
    except UserError as error:
        lines = str(error).split("\n")
        if len(lines) > 30 or max(map(len, lines)) > 1200:
            return f"an error of {len(lines)} lines, {len(str(error))} characters: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None
