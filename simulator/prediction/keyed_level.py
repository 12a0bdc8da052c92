"""Software levels as keys of caches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

    from hwmodels.software import SoftwareLevel


@dataclass(frozen=True, slots=True)
class KeyedLevel:
    """A software level that caches compare by its name and parameters."""

    identity: tuple[object, ...]
    level: SoftwareLevel = field(compare=False)

    @classmethod
    def of(cls, level: SoftwareLevel) -> Self:
        """The key of a level."""
        return cls((level.name, *sorted(level.parameters.items())), level)
