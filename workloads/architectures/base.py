"""What every model architecture states, and its published checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from workloads.errors import UserError

if TYPE_CHECKING:
    from workloads.execution_plan import DensePath, ExpertPath, KvStorage

EXPERT_LABELS = ("fp4", "fp8", "bf16")
"""Labels of precision of a model that states no releases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A published checkpoint of a model: what a label of precision stands for.

    Parameters
    ----------
    label:
        ``fp4``, ``fp8``, ``int4`` or ``bf16``: of the routed experts.
    expert_path, dense_path, feed_forward_path:
        Arithmetic paths that its tensors are stored for, see
        `workloads.execution_plan.ExecutionPlan`;
        NVIDIA's ``nvfp4`` stands for ``mxfp4`` on other vendors' chips.
    kv_storage:
        KV cache that the checkpoint asks for; ``None`` leaves it to the engine.
    repositories:
        Names on Hugging Face, which mean this release where no precision is named.
    source, note:
        Where it is published, and what that leaves open.
    """

    label: Literal["fp4", "fp8", "int4", "bf16"]
    expert_path: ExpertPath
    dense_path: DensePath
    feed_forward_path: DensePath | None = None
    kv_storage: KvStorage | None = None
    repositories: tuple[str, ...] = ()
    source: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """What every architecture states; field names are those of the published ``config.json``.

    Parameters
    ----------
    name:
        Canonical name, such as ``deepseek-v4-pro``.
    hidden_size, num_hidden_layers, vocab_size:
        Width of the residual stream, decoder layers, vocabulary. [-]
    max_position_embeddings:
        Longest context. [tokens]
    native_expert_path, native_dense_path:
        Arithmetic paths that the published checkpoint is made for, in the terms of
        `workloads.execution_plan.ExecutionPlan`; the same where there are no experts.
    releases:
        What each label of precision stands for, the usual one first; empty where the label
        names the routed experts alone and the software level the rest.
    """

    family: ClassVar[str] = ""

    name: str
    hidden_size: int
    num_hidden_layers: int
    vocab_size: int
    max_position_embeddings: int
    native_expert_path: ExpertPath
    native_dense_path: DensePath
    releases: tuple[Release, ...] = ()

    def release(self, label: str) -> Release | None:
        """The checkpoint that a label of precision means; ``None`` where labels name experts only.

        Raises
        ------
        UserError
            If the model is not released in that precision.
        """
        if not self.releases and label in EXPERT_LABELS:
            return None
        for release in self.releases:
            if release.label == label:
                return release
        known = ", ".join(release.label for release in self.releases) or ", ".join(EXPERT_LABELS)
        raise UserError(f"precision is {label}; {self.name} comes in {known}: choose one of them")
