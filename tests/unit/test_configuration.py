import pytest

from simulator.engines.pools import PoolLayout, deployment_label, parse_deployment
from workloads.layout import Layout


@pytest.mark.parametrize(
    "label", ["TP8", "TEP8", "DEP8", "DPATP4", "2xTP4", "TP8PP2", "1xDEP8+6xTP8", "8xDEP4+1xDEP40"]
)
def test_deployment_labels_read_back(label: str) -> None:
    assert deployment_label(parse_deployment(label)) == label


def test_a_disaggregated_label_names_prefill_first() -> None:
    prefill, decode = parse_deployment("2xDEP8+1xDEP16")
    assert prefill == PoolLayout(
        role="prefill", workers=2, layout=Layout(tp=8, ep=8, dp_attention=True)
    )
    assert (decode.role, decode.workers, decode.layout.tp, decode.gpus) == ("decode", 1, 16, 16)
    assert prefill.gpus == 16


@pytest.mark.parametrize("text", ["", "8", "TP", "XP8", "0x TP8", "TP8+TP8+TP8", "tp8", "TP8x2"])
def test_text_that_is_no_deployment(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a pool|more than a prefill"):
        parse_deployment(text)
