"""KV pools of published agentic runs, in the terms of each server's start-up line.

``GPU KV cache size`` of vLLM is summed over ranks as InferenceX serves it (API id 440246; B300 as
rounded in its post on KV working sets); ``max_total_num_tokens`` of SGLang is a rank's (id 440845;
the MI355X reproduction reports sums).
"""

import pytest

from simulator.prediction.agentic import configure_agentic
from simulator.prediction.assembly import assemble
from simulator.prediction.kv_capacity import kv_capacity
from simulator.studies.agentx.request import build_agentx, points_of

DEP8 = {"tp": 8, "ep": 8, "dp_attention": True, "spec": "mtp:3"}
DP8 = {"tp": 8, "ep": 1, "dp_attention": True, "spec": "mtp:3"}
TP8 = {"tp": 8, "ep": 1, "dp_attention": False, "spec": "mtp:3"}
GLM = {"tp": 8, "ep": 1, "dp_attention": False, "model": "glm-5.2", "precision": "fp4"}


def capacity(system, layout, sessions):
    asked = build_agentx([system], flags={**layout, "concurrency": (sessions,)})
    sessions, pools = points_of(asked.systems[0], sessions=asked.sessions)[0]
    configuration, _ = configure_agentic(
        asked.systems[0].scenario, pools=pools, sessions=sessions, workload=asked.workload
    )
    return kv_capacity(assemble(configuration))


@pytest.mark.parametrize(
    ("system", "layout", "sessions", "logged_tokens", "rel"),
    [
        ("b200:vllm", DEP8, 64, 21_965_416, 0.08),
        ("b300:vllm", DEP8, 384, 43e6, 0.10),
        ("b300:sglang", DEP8, 32, 8 * 10_646_528, 0.20),
        ("mi355x:sglang", TP8, 48, 10_598_400, 0.10),
        ("mi355x:sglang", DP8, 64, 56_090_624, 0.10),
        ("b300:sglang", GLM, 8, 3.3e6, 0.20),
    ],
)
def test_the_pool_is_what_the_server_printed(system, layout, sessions, logged_tokens, rel) -> None:
    assert capacity(system, layout, sessions).logged_tokens == pytest.approx(logged_tokens, rel=rel)


def test_pools_fill_between_the_sessions_whose_hits_say_so() -> None:
    """On the device .94 of prompts at 64 sessions and .73 at 196 (B200); .91 at 384 (B300)."""
    assert 64 < capacity("b200:vllm", DEP8, 196).sessions_device < 196
    assert capacity("b300:vllm", DEP8, 384).sessions_device > 384
