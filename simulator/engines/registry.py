"""Schedulers of the serving engines, one module each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.engines.atom import AtomScheduler
from simulator.engines.settings import SglangSettings, TrtllmSettings, VllmSettings
from simulator.engines.sglang import SglangScheduler
from simulator.engines.trtllm import TrtllmScheduler
from simulator.engines.vllm import VllmScheduler

if TYPE_CHECKING:
    from simulator.engines.settings import EngineSettings
    from simulator.serving.scheduler import Scheduler
    from simulator.serving.worker import Worker


def build_scheduler(*, worker: Worker, settings: EngineSettings) -> Scheduler:
    """The scheduler of an engine, bound to a worker."""
    if isinstance(settings, VllmSettings):
        return VllmScheduler(worker=worker, settings=settings)
    if isinstance(settings, SglangSettings):
        return SglangScheduler(worker=worker, settings=settings)
    if isinstance(settings, TrtllmSettings):
        return TrtllmScheduler(worker=worker, settings=settings)
    return AtomScheduler(worker=worker, settings=settings)


def caches_prefixes(settings: EngineSettings) -> bool:
    """Whether an engine keeps the blocks of finished prompts for later ones."""
    if isinstance(settings, VllmSettings):
        return settings.enable_prefix_caching
    if isinstance(settings, SglangSettings):
        return not settings.disable_radix_cache
    return False
