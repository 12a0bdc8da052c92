"""Launch commands that a simulated configuration corresponds to: a starting point, not a recipe.

Only flags that are public are written: those of SGLang 0.5.23 and Dynamo 1.6.1 as their packages
on PyPI parse them, and of vLLM and TensorRT-LLM as InferenceX's launch scripts of August 2026 use
them (github.com/SemiAnalysisAI/InferenceX, benchmarks/). What the simulation assumed and no flag
sets is a comment.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from simulator.engines.launch_flags import LaunchRequest
from simulator.engines.registry import bind_engine, engine_class
from workloads.architectures.catalog import repository_of

if TYPE_CHECKING:
    from simulator.engines.pools import PoolConfiguration, Role
    from simulator.engines.registry import AnyEngine
    from simulator.scenario.configuration import RunConfiguration

STARTING_POINT = "a starting point: the simulation knows these flags, not your machine"
TRTLLM_OPTIONS = "trtllm-options.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Commands of one serving stack.

    Parameters
    ----------
    stack:
        Such as ``vLLM`` or ``Dynamo with vLLM``.
    commands:
        One shell command a process, with how many to start.
    files:
        Files that the commands read, by name.
    notes:
        What was simulated and has no flag.
    """

    stack: str
    commands: tuple[tuple[int, str], ...]
    files: dict[str, str]
    notes: tuple[str, ...]

    @property
    def text(self) -> str:
        """The commands as a shell script with comments."""
        lines = [f"# {self.stack}: {STARTING_POINT}"]
        for name, content in self.files.items():
            lines += [f"cat > {name} <<'END'", content.rstrip(), "END"]
        for count, command in self.commands:
            if count > 1:
                lines.append(f"# start {count} of these")
            lines.append(command)
        return "\n".join([*lines, *(f"# simulated, without a flag: {note}" for note in self.notes)])


def launch_commands(configuration: RunConfiguration) -> tuple[Launch, ...]:
    """Launch commands of a configuration, the bare server first, then under Dynamo.

    Prefill and decode pools are launched under Dynamo only. ATOM publishes no stable command
    line, so that its configurations have none.
    """
    engine = engine_class(configuration.engine.engine)
    if not engine.server:
        return ()
    launches = [_under_dynamo(configuration)]
    if len(configuration.pools) == 1:
        launches.insert(0, _bare(configuration))
    return tuple(launches)


def _bare(configuration: RunConfiguration) -> Launch:
    (pool,) = configuration.pools
    engine = bind_engine(pool.settings)
    flags = engine.launch_flags(_request(configuration, pool))
    words = [*engine.server, _repository(configuration), *flags.words]
    if flags.options:
        words += ["--extra_llm_api_options", TRTLLM_OPTIONS]
    return Launch(
        stack=engine.title,
        commands=((pool.workers, _command(words)),),
        files=_files({TRTLLM_OPTIONS: flags.options}),
        notes=tuple(flags.notes),
    )


def _repository(configuration: RunConfiguration) -> str:
    return repository_of(
        configuration.model,
        precision=configuration.precision,
        vendor=configuration.sku.vendor,
    )


def _under_dynamo(configuration: RunConfiguration) -> Launch:
    commands = [(1, _command(["python3", "-m", "dynamo.frontend", "--router-mode", "round-robin"]))]
    files: dict[str, dict[str, Any]] = {}
    notes: dict[str, None] = {}
    for pool in configuration.pools:
        engine = bind_engine(pool.settings)
        flags = engine.launch_flags(_request(configuration, pool))
        words = [*engine.dynamo_worker, _repository(configuration), *engine.dynamo_words(flags)]
        if flags.options:
            options = TRTLLM_OPTIONS if pool.role == "aggregated" else f"{pool.role}.yaml"
            words += ["--extra-engine-args", options]
            files[options] = flags.options
        words += _pool_words(pool.role, engine=engine)
        commands.append((pool.workers, _command(words)))
        notes |= dict.fromkeys(flags.notes)
    return Launch(
        stack=f"Dynamo with {engine.title}",
        commands=tuple(commands),
        files=_files(files),
        notes=tuple(notes),
    )


def _pool_words(role: Role, *, engine: AnyEngine) -> list[str]:
    if role == "aggregated":
        return []
    return ["--disaggregation-mode", role, *engine.transfer_words()]


def _request(configuration: RunConfiguration, pool: PoolConfiguration) -> LaunchRequest:
    return LaunchRequest(
        layout=pool.layout,
        # prompt and output, with a little room for a chat template
        longest_context=configuration.longest_context + 256,
        speculation=configuration.speculation,
        drafts=configuration.drafts,
        plan=pool.plan,
    )


def _files(options: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {
        name: yaml.safe_dump(content, sort_keys=False)
        for name, content in options.items()
        if content
    }


def _command(words: list[str]) -> str:
    """A shell command, a flag a line."""
    lines: list[list[str]] = [[]]
    for word in words:
        if word.startswith("--") and lines[0]:
            lines.append([])
        lines[-1].append(shlex.quote(word))
    return " \\\n  ".join(" ".join(line) for line in lines)
