"""Which engine settings a search varies, and their values."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from simulator.recipes.files import SETTINGS_CLASSES
from workloads.errors import UserError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from simulator.engines.settings import EngineSettings

CHUNKS = (2048, 4096, 8192, 16384, 32768)

VARIED: dict[str, dict[str, tuple[Any, ...]]] = {
    "vllm": {"max_num_batched_tokens": CHUNKS},
    "sglang": {
        "chunked_prefill_size": (*CHUNKS[1:], 65536),
        "enable_mixed_chunk": (False, True),
    },
    "trtllm": {"max_num_tokens": CHUNKS, "enable_chunked_prefill": (False, True)},
    "atom": {"max_num_batched_tokens": CHUNKS},
}
"""Settings by scheduler that trade first tokens against speed, beside the recipe's own values.

How much a step may prefill, and whether prompts share steps with decoding requests. Memory
fractions, graph sizes and caps on running requests stay the recipe's: they cost nothing until
they bind, and how far they can go is found out on the machine.
"""

Changes = tuple[tuple[str, Any], ...]


def variants(
    settings: EngineSettings, *, varied: Mapping[str, tuple[Any, ...]] | None = None
) -> Iterator[tuple[EngineSettings, Changes]]:
    """Each combination of values of the varied settings, and how it differs; the given one first.

    Parameters
    ----------
    varied:
        Values by setting; ``None``: `VARIED` of the scheduler.

    Raises
    ------
    UserError
        If the engine has no such setting, or a value is out of its range.
    """
    chosen = VARIED[settings.scheduler] if varied is None else varied
    cls = SETTINGS_CLASSES[settings.scheduler]
    for name in chosen:
        if name not in cls.model_fields or name == "scheduler":
            known = [field for field in cls.model_fields if field != "scheduler"]
            raise unknown_name(field=f"setting of {settings.scheduler}", value=name, known=known)
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
