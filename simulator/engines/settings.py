"""Which server settings are recorded only; each engine's own stand in its module."""

from __future__ import annotations

from workloads.errors import UserError

_TWO_BATCHES = "the overlap of two half batches is not simulated"
_OFFLOAD = "weights in host memory are not simulated"

INFORMATIVE: dict[str, dict[str, str]] = {
    "vllm": {
        "offload_group_size": _OFFLOAD,
        "offload_num_in_group": _OFFLOAD,
    },
    "sglang": {
        "enable_two_batch_overlap": _TWO_BATCHES,
    },
    "atom": {"enable_tbo": _TWO_BATCHES},
}
"""Settings by scheduler that are recorded and printed but change no figure, and why."""


def check_is_simulated(*, scheduler: str, name: str) -> None:
    """Refuse a setting that no figure depends on.

    Raises
    ------
    UserError
        If the setting is one of `INFORMATIVE`.
    """
    reason = INFORMATIVE.get(scheduler, {}).get(name)
    if reason is not None:
        raise UserError(
            f"setting {name} of {scheduler} is recorded only and changes no figure: {reason}; "
            "leave it out"
        )
