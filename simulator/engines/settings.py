"""Which server settings are recorded only; each engine's own stand in its module."""

from __future__ import annotations

from workloads.errors import UserError

_OFFLOAD = "weights in host memory are not simulated"
_STREAM = (
    "the first token and the last are sent at once, so that TTFT, TPOT and the end stay; only the "
    "gaps between the chunks that a client sees grow, which are not reported"
)

INFORMATIVE: dict[str, dict[str, str]] = {
    "vllm": {
        "offload_group_size": _OFFLOAD,
        "offload_num_in_group": _OFFLOAD,
        "stream_interval": _STREAM,
    },
    "sglang": {
        "num_continuous_decode_steps": "the server declares it, but no code of 0.5.14 to 0.5.23 "
        "reads it",
        "stream_interval": _STREAM,
    },
    "trtllm": {"stream_interval": _STREAM},
    "atom": {},
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
