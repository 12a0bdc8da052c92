"""What docs/extend.md says, carried out: a chip, an engine, a model, a column, a study."""

import json
import re
from dataclasses import dataclass, fields, replace
from importlib import import_module
from pathlib import Path
from typing import Literal

import pytest
import typer
from pydantic import Field
from typer.testing import CliRunner

import simulator
from simulator.cli.flags import SETTINGS_OF, one_each, takes
from simulator.cli.main import run
from simulator.engines import registry
from simulator.engines.vllm.engine import VllmEngine, VllmSettings
from simulator.output.column import Column
from simulator.output.columns import SECTIONS, columns_page
from simulator.scenario.declared import SCENARIO
from simulator.studies.sweep import points, store
from tests.unit.engine_traces import closed, pool, requests, trace
from workloads.architectures.catalog import load_architecture
from workloads.architectures.kinds import GroupedAttention
from workloads.execution_plan import ExecutionPlan
from workloads.layout import Layout
from workloads.models import bind, mixers
from workloads.models.gqa_attention import GroupedQueryAttention

curve_run = import_module("simulator.studies.curve.run")

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "tests" / "data" / "model_configs"


def test_a_chip_is_one_file(tmp_path, capsys):
    """The B200 under another name: the same figures."""
    record = (ROOT / "hwmodels" / "catalog" / "b200.yaml").read_text(encoding="utf-8")
    own = tmp_path / "mychip.yaml"
    own.write_text(record, encoding="utf-8")
    figures = []
    for sku in ("b200", str(own)):
        command = ["--sku", sku, "--engine", "vllm@specification", "--tp", "8", "--ep", "1"]
        command += ["--no-dp-attention", "--concurrency", "4", "--isl", "256", "--osl", "32"]
        assert run([*command, "--out", str(tmp_path / Path(sku).stem), "--json"]) == 0
        (point,) = json.loads(capsys.readouterr().out)["points"]
        figures.append(point["total_tput_per_gpu"])
    assert figures[0] == figures[1]


class HalfSettings(VllmSettings):
    """vLLM's settings under another scheduler's name."""

    scheduler: Literal["half"] = "half"
    max_num_seqs: int = Field(1024, ge=2)


class HalfEngine(VllmEngine):
    """vLLM that runs half of the requests that its setting allows: one rule changed."""

    key = "half"
    title = "Half"
    settings_class = HalfSettings

    def build_scheduler(self, *, worker):
        own = self.settings.model_dump(exclude={"scheduler"})
        halved = {**own, "max_num_seqs": own["max_num_seqs"] // 2}
        return VllmEngine(settings=VllmSettings(**halved)).build_scheduler(worker=worker)


def test_an_engine_is_one_module_and_one_line(monkeypatch):
    monkeypatch.setitem(registry.ENGINES, HalfEngine.key, HalfEngine)
    workload = requests(*[(4, 4)] * 8)
    whole, _ = trace(pool(VllmSettings(max_num_seqs=4, block_size=4)), workload, closed(8))
    half, _ = trace(pool(HalfSettings(max_num_seqs=4, block_size=4)), workload, closed(8))
    most = [max(decode for _, _, _, decode in steps) for steps in (whole, half)]
    assert most == [4, 2]


def test_a_model_is_its_own_configuration_file(capsys):
    path = CONFIGS / "glm-4.7.json"
    command = ["explain", "--sku", "b200", "--engine", "vllm", "--model", str(path)]
    assert run([*command, "--tp", "8", "--ep", "8", "--concurrency", "4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfAttention(GroupedAttention):
    """Grouped attention whose decoding queries see every second token."""


class HalfLayers(GroupedQueryAttention):
    """Its operations: one rule changed."""

    def decode(self, *, requests, queries_per_request, context):
        return GroupedQueryAttention.decode(
            self,
            requests=requests,
            queries_per_request=queries_per_request,
            context=context / 2,
        )


def test_a_kind_of_attention_is_one_module_and_one_line(monkeypatch):
    known = mixers._KINDS[GroupedAttention]
    half = mixers._Kind(lambda *, kind, **bound: HalfLayers(kind=kind, **bound), known.shared)
    monkeypatch.setitem(mixers._KINDS, HalfAttention, half)
    whole = load_architecture("qwen3-32b")
    own = {each.name: getattr(whole.kinds[0].mixer, each.name) for each in fields(GroupedAttention)}
    layers = tuple(replace(layer, mixer=HalfAttention(**own)) for layer in whole.kinds)
    read = []
    for architecture in (whole, replace(whole, kinds=layers)):
        model = bind(architecture=architecture, layout=Layout(tp=2), plan=ExecutionPlan())
        ops = model.decode_attention_ops(requests=4, queries_per_request=1, context=4096)
        read.append(sum(op.kv_bytes for op in ops))
    assert read[1] == pytest.approx(read[0] / 2, rel=1e-3)


def test_a_column_is_a_definition_and_a_cell(monkeypatch):
    extra = Column(name="new_figure", kind="float", text="what it says", unit="s")
    monkeypatch.setitem(SECTIONS, "What it rests on", (*SECTIONS["What it rests on"], extra))
    for module, name in ((store, "STORED"), (store, "RUN"), (curve_run, "RUN")):
        monkeypatch.setattr(module, name, (*getattr(module, name), extra))
    known = points.result_cells
    monkeypatch.setattr(points, "result_cells", lambda run: known(run) | {"new_figure": 2.5})
    asked = {"sku": "h200", "model": "llama-3.1-8b", "tp": 1, "isl": 128, "osl": 16}
    for study in (simulator.curve, simulator.sweep):
        assert study(**asked, concurrency=(1,)).frame()["new_figure"].tolist() == [2.5]
    assert "| `new_figure` | float | s | what it says |" in columns_page()


def test_a_study_is_its_function_and_one_line(capsys):
    """A command with settings of a scenario: flags, parsing and ranges come with their names."""

    @takes(*one_each(SCENARIO, "sku", "tp", "concurrency"), command="peak")
    def peak(*, given):
        best = simulator.curve(model="llama-3.1-8b", isl=128, osl=16, **given).frontier[0]
        typer.echo(f"{best['label']} {best['total_tput_per_gpu']:.0f}")

    app = typer.Typer()
    app.callback()(lambda: None)
    app.command()(peak)
    SETTINGS_OF.pop("peak")
    found = CliRunner().invoke(app, ["peak", "--sku", "h200", "--tp", "1", "--concurrency", "2"])
    assert re.fullmatch(r"TP1 \d+", found.output.strip())
    wrong = CliRunner().invoke(app, ["peak", "--sku", "h200", "--tp", "one"])
    assert wrong.exit_code == 2
