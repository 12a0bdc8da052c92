"""A number with its unit, its kind and where it came from."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Kind = Literal["datasheet", "measured", "fitted", "estimate", "user"]

_UNITS: dict[str, tuple[str, float]] = {
    # unit in a data file -> SI unit, factor
    "FLOP/s": ("FLOP/s", 1.0),
    "TFLOP/s": ("FLOP/s", 1e12),
    "TOP/s": ("FLOP/s", 1e12),
    "B": ("B", 1.0),
    "MB": ("B", 1e6),
    "MiB": ("B", 2.0**20),
    "GB": ("B", 1e9),
    "GiB": ("B", 2.0**30),
    "B/s": ("B/s", 1.0),
    "GB/s": ("B/s", 1e9),
    "TB/s": ("B/s", 1e12),
    "Gb/s": ("B/s", 1e9 / 8.0),
    "s": ("s", 1.0),
    "us": ("s", 1e-6),
    "Hz": ("Hz", 1.0),
    "MHz": ("Hz", 1e6),
    "W": ("W", 1.0),
    "kW": ("W", 1e3),
    "chips": ("chips", 1.0),
    "cores": ("cores", 1.0),
    "USD/h": ("USD/h", 1.0),
    "-": ("-", 1.0),
}


class Figure(BaseModel):
    """A number as its source states it.

    Parameters
    ----------
    value, unit:
        As published; `si` converts.
    kind:
        ``datasheet`` (a vendor's or registry's specification), ``measured``, ``fitted``,
        ``estimate`` (nobody published it; the note says what it rests on) or ``user`` (an
        override).
    source:
        Public place to check it; required for data sheets, measurements and fits.
    note:
        Conditions, and why this value of several; required for an estimate.
    low, high:
        Range of the credible sources, in ``unit``.

    Raises
    ------
    ValueError
        If the value is not positive and finite, the unit is unknown, the range excludes the
        value, or the source or note that the kind requires is missing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float = Field(gt=0, allow_inf_nan=False)
    unit: str
    kind: Kind
    source: str = ""
    note: str = ""
    low: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    high: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _check(self) -> Figure:
        if self.unit not in _UNITS:
            raise ValueError(f"unit '{self.unit}' is unknown; use one of {', '.join(_UNITS)}")
        if self.kind in ("datasheet", "measured", "fitted") and not self.source.strip():
            raise ValueError(f"a {self.kind} figure needs a source")
        if self.kind == "estimate" and not self.note.strip():
            raise ValueError("an estimate needs a note that says what it rests on")
        if self.low is not None and self.low > self.value:
            raise ValueError(f"low {self.low:g} exceeds the value {self.value:g}")
        if self.high is not None and self.high < self.value:
            raise ValueError(f"high {self.high:g} is below the value {self.value:g}")
        return self

    @property
    def si_unit(self) -> str:
        """Unit of `si`."""
        return _UNITS[self.unit][0]

    @property
    def si(self) -> float:
        """The value in SI base units."""
        return _scaled(self.value, self.unit)

    @property
    def si_range(self) -> tuple[float, float]:
        """Low and high in SI base units; the value itself where a side is not stated."""
        low = self.value if self.low is None else self.low
        high = self.value if self.high is None else self.high
        return _scaled(low, self.unit), _scaled(high, self.unit)


def _scaled(value: float, unit: str) -> float:
    # 15 digits, so that 2.039 TB/s prints as 2039000000000 and not with a binary remainder
    return float(f"{value * _UNITS[unit][1]:.15g}")
