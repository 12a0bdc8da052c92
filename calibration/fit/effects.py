"""Few parameters with a meaning, shared across SKUs and engines through nested effects.

A parameter of a software level is, in logarithms, a sum: one value for all, plus what its model's
architecture, the model, its vendor, its engine, its port (engine on a vendor's chips), its kernels
(engine on a chip generation), those for the architecture, those for it in one precision, its SKU,
its engine on that SKU and its own build or date add. Each addend is drawn towards zero by a prior
of stated width, so that few runs move a level a little and many move it a lot, and a level without
runs gets what related ones share.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from hwmodels.fitted import EFFECTS, effect_groups

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter that is fitted.

    Parameters
    ----------
    name:
        Of `hwmodels.software.PARAMETERS`.
    widths:
        Prior standard deviation of each of `EFFECTS`, in natural logarithms. [-]
    low, high:
        Bounds that physics sets on the value over its starting value. [-]
    """

    name: str
    widths: tuple[float, ...]
    low: float
    high: float


# The widths began as judgements of how far each addend may lie from what its relatives share. They
# were then scaled, each effect and each parameter by one factor in steps of 1.6 up to 2.6, so that
# runs of a SKU, engine, chip generation, architecture or layout that is left out are predicted
# best; series that are kept back had no part in it. What chips and kernels add came out wider,
# what engines add on all chips alike narrower. Kernels of one precision have the width of those of
# an architecture: engines ship them at other times, and FP8 and FP4 paths differ by a third.
FITTED: tuple[Parameter, ...] = (
    # kernel floors: launches are counted, not measured, and an unported engine may run twice as
    # many; what differs by vendor alone is little
    Parameter(
        name="t0_scale",
        widths=(0.061, 0.062, 0.039, 0.0076, 0.018, 0.058, 0.12, 0.094, 0.094, 0.03, 0.012, 0.12),
        low=0.3,
        high=8.0,
    ),
    # matrix products: an unseen kernel path may be several times off (W4A16 on Hopper)
    Parameter(
        name="compute_scale",
        widths=(0.046, 0.062, 0.039, 0.0076, 0.014, 0.044, 0.12, 0.094, 0.094, 0.03, 0.012, 0.086),
        low=0.05,
        high=2.0,
    ),
    # routed experts beside other products: a kernel of its own on every path
    Parameter(
        name="grouped_compute_scale",
        widths=(0.048, 0.099, 0.05, 0.012, 0.024, 0.019, 0.24, 0.062, 0.062, 0.032, 0.012, 0.031),
        low=0.1,
        high=4.0,
    ),
    # attention kernels: tables hold the good ones, engines choose others for some head shapes
    Parameter(
        name="attention_scale",
        widths=(0.023, 0.062, 0.02, 0.0076, 0.015, 0.012, 0.1, 0.039, 0.039, 0.02, 0.0046, 0.02),
        low=0.1,
        high=2.0,
    ),
    # streaming weights: physics leaves little room; tables of block-scaled FP8 reach 0.57 of the
    # memory rate, per-tensor FP8 of dense models 0.9
    Parameter(
        name="memory_scale",
        widths=(0.024, 0.03, 0.019, 0.0073, 0.012, 0.038, 0.063, 0.05, 0.05, 0.032, 0.012, 0.074),
        low=0.2,
        high=1.6,
    ),
    # experts that the benchmark's random tokens touch: a property of model and text, so shared
    Parameter(
        name="expert_traffic_scale",
        widths=(0.078, 0.32, 0.15, 0.0, 0.023, 0.074, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0),
        low=0.3,
        high=1.3,
    ),
    # launches outside a graph: host code, which differs most; 56 us were measured on B300 and
    # 14-45 us in op tables, so that hundreds are another cause in disguise
    Parameter(
        name="eager_launch_s",
        widths=(0.25, 0.26, 0.16, 0.031, 0.094, 0.3, 0.25, 0.19, 0.19, 0.2, 0.062, 0.48),
        low=0.05,
        high=10.0,
    ),
    # accepted drafts where a run's own acceptance was not recorded
    Parameter(
        name="acceptance_scale",
        widths=(0.024, 0.099, 0.093, 0.0, 0.022, 0.0, 0.0, 0.0, 0.0, 0.0, 0.012, 0.093),
        low=0.3,
        high=1.8,
    ),
)


@dataclass(frozen=True, slots=True)
class LevelKey:
    """A software level that runs belong to.

    Parameters
    ----------
    family, model:
        Architecture of the model, see `workloads.architectures.catalog`.
    engine, sku, level_date:
        Engine whose kernels run, SKU key, and the level's date or pseudo-date.
    vendor, generation:
        Of the SKU.
    precision:
        Label of the run, such as ``fp4``: that of the kernels.

    Attributes
    ----------
    groups:
        The member of each of `EFFECTS` that this level belongs to.
    """

    family: str
    model: str
    engine: str
    sku: str
    level_date: str
    vendor: str
    generation: str
    precision: str
    groups: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        groups = effect_groups(
            family=self.family,
            model=self.model,
            engine=self.engine,
            sku=self.sku,
            vendor=self.vendor,
            generation=self.generation,
            precision=self.precision,
            level_date=self.level_date,
        )
        object.__setattr__(self, "groups", tuple(groups.values()))


class EffectSpace:
    """Columns of the linear system: the effects that some level has a share in.

    Parameters
    ----------
    levels:
        All levels of the fit.
    parameters:
        The parameters that are fitted.
    """

    def __init__(
        self, *, levels: list[LevelKey], parameters: tuple[Parameter, ...] = FITTED
    ) -> None:
        self.parameters = parameters
        self.columns: dict[tuple[str, str, str], int] = {}
        widths: list[float] = []
        for parameter in parameters:
            for level in levels:
                for effect, group, width in zip(
                    EFFECTS, level.groups, parameter.widths, strict=True
                ):
                    key = (parameter.name, effect, group)
                    if width > 0.0 and key not in self.columns:
                        self.columns[key] = len(widths)
                        widths.append(width)
        self.widths = np.array(widths)

    def __len__(self) -> int:
        return len(self.widths)

    def indices(self, *, parameter: Parameter, level: LevelKey) -> list[int]:
        """Columns whose effects add up to a parameter of a level; unknown groups add nothing."""
        keys = [
            (parameter.name, effect, group)
            for effect, group in zip(EFFECTS, level.groups, strict=True)
        ]
        return [self.columns[key] for key in keys if key in self.columns]

    def sums(self, *, effects: FloatArray, level: LevelKey) -> FloatArray:
        """Log parameters of a level over their starting values, bounds aside. [-]"""
        return np.array(
            [
                float(sum(effects[i] for i in self.indices(parameter=parameter, level=level)))
                for parameter in self.parameters
            ]
        )

    def values(self, *, effects: FloatArray, level: LevelKey) -> FloatArray:
        """Log parameters of a level over their starting values, within bounds. [-]"""
        low = np.log([parameter.low for parameter in self.parameters])
        high = np.log([parameter.high for parameter in self.parameters])
        clipped: FloatArray = np.clip(self.sums(effects=effects, level=level), low, high)
        return clipped
