"""Which engine settings a search varies, and their values."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from simulator.engines.registry import engine_class
from simulator.engines.settings import check_is_simulated
from workloads.errors import UserError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from simulator.engines.base import EngineSettings

Changes = tuple[tuple[str, Any], ...]


def variants(
    settings: EngineSettings, *, varied: Mapping[str, tuple[Any, ...]] | None = None
) -> Iterator[tuple[EngineSettings, Changes]]:
    """Each combination of values of the varied settings, and how it differs; the given one first.

    Parameters
    ----------
    varied:
        Values by setting; ``None``: the engine's own, `Engine.varied`.

    Raises
    ------
    UserError
        If the engine has no such setting, or a value is out of its range.
    """
    engine = engine_class(settings.scheduler)
    chosen = engine.varied if varied is None else varied
    cls = engine.settings_class
    for name in chosen:
        if name not in cls.model_fields or name == "scheduler":
            known = [field for field in cls.model_fields if field != "scheduler"]
            raise unknown_name(field=f"setting of {settings.scheduler}", value=name, known=known)
        check_is_simulated(scheduler=settings.scheduler, name=name)
    yield settings, ()
    seen = {settings}
    for values in product(*chosen.values()):
        wanted = dict(zip(chosen, values, strict=True))
        try:
            other: Any = cls(**(settings.model_dump() | wanted))
        except ValidationError as error:
            first = error.errors()[0]
            raise UserError(
                f"{first['loc'][0]} is {first['input']!r}: {first['msg'].lower()}"
            ) from None
        if other in seen:
            continue
        seen.add(other)
        changed = {
            name: value for name, value in wanted.items() if getattr(settings, name) != value
        }
        yield other, tuple(changed.items())
