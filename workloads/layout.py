"""How one worker (one engine instance) spreads a model over its GPUs."""

from __future__ import annotations

from dataclasses import dataclass

from workloads.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Parallel layout of one worker, in the terms that InferenceX labels runs with.

    Parameters
    ----------
    tp:
        Ranks of one pipeline stage. Without attention data parallelism the attention is tensor
        parallel over them; with it each rank serves its own requests.
    ep:
        Expert parallel degree; experts are further split over ``tp / ep`` ranks.
    dp_attention:
        Whether attention is data parallel.
    pp:
        Pipeline stages.

    Raises
    ------
    UserError
        If a degree is below one or ``ep`` does not divide ``tp``.
    """

    tp: int
    ep: int = 1
    dp_attention: bool = False
    pp: int = 1

    def __post_init__(self) -> None:
        for field in ("tp", "ep", "pp"):
            if getattr(self, field) < 1:
                raise UserError(f"{field} is {getattr(self, field)}; it must be at least 1")
        if self.tp % self.ep:
            raise UserError(
                f"ep is {self.ep}, which does not divide the {self.tp} ranks of the worker; "
                f"choose one of {', '.join(str(d) for d in divisors(self.tp))}"
            )

    @property
    def gpus(self) -> int:
        """GPUs of one worker."""
        return self.tp * self.pp

    @property
    def attention_tp(self) -> int:
        """Ranks that share the attention heads of one request."""
        return 1 if self.dp_attention else self.tp

    @property
    def attention_dp(self) -> int:
        """Ranks that each serve their own requests, in lockstep."""
        return self.tp if self.dp_attention else 1

    @property
    def moe_tp(self) -> int:
        """Ranks over which each expert is split."""
        return self.tp // self.ep

    @property
    def label(self) -> str:
        """InferenceX point label: TP8, TEP8, DEP8, EPn or DPAEPn; ``PPn`` appended."""
        if self.ep == self.tp and self.tp > 1:
            name = f"DEP{self.tp}" if self.dp_attention else f"TEP{self.tp}"
        elif self.ep > 1:
            name = f"DPAEP{self.ep}" if self.dp_attention else f"EP{self.ep}"
        else:
            name = f"DPATP{self.tp}" if self.dp_attention else f"TP{self.tp}"
        return name if self.pp == 1 else f"{name}PP{self.pp}"


def divisors(number: int) -> list[int]:
    """All divisors of a positive integer, ascending."""
    return [d for d in range(1, number + 1) if number % d == 0]
