"""The engines that there are, one line each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from simulator.engines.atom.engine import AtomEngine
from simulator.engines.base import Engine
from simulator.engines.sglang.engine import SglangEngine
from simulator.engines.trtllm.engine import TrtllmEngine
from simulator.engines.vllm.engine import VllmEngine
from workloads.errors import unknown_name

if TYPE_CHECKING:
    from simulator.engines.base import EngineSettings

AnyEngine: TypeAlias = Engine[Any]

ENGINES: dict[str, type[AnyEngine]] = {
    engine.key: engine
    for engine in (
        VllmEngine,
        SglangEngine,
        TrtllmEngine,
        AtomEngine,
    )
}
"""Engine classes by the name of their scheduler."""


def engine_class(key: str) -> type[AnyEngine]:
    """The engine whose scheduler has a name.

    Raises
    ------
    UserError
        If there is none.
    """
    found = ENGINES.get(key)
    if found is None:
        raise unknown_name(field="scheduler", value=key, known=ENGINES)
    return found


def bind_engine(settings: EngineSettings) -> AnyEngine:
    """The engine that settings belong to, with them.

    Raises
    ------
    UserError
        If no engine is registered under their scheduler's name.
    TypeError
        If they are of another class than that engine's.
    """
    engine = engine_class(settings.scheduler)
    if not isinstance(settings, engine.settings_class):
        raise TypeError(
            f"settings of {settings.scheduler} are {type(settings).__name__}, "
            f"not {engine.settings_class.__name__}"
        )
    return engine(settings)
