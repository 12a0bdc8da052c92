"""The table of docs/background/models.md is what the models give."""

from pathlib import Path

import pytest

from workloads.architectures.catalog import architecture_names, load_architecture
from workloads.models.accounting import account

PAGE = Path(__file__).parents[2] / "docs" / "background" / "models.md"
ROWS = {
    cells[1]: cells[4:9]
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if len(cells := [cell.strip() for cell in line.split("|")]) == 10 and cells[4][:1].isdigit()
}


def test_every_list_of_layers_has_a_row():
    layered = {n for n in architecture_names() if load_architecture(n).family == "layers"}
    assert set(ROWS) == layered


@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_row_is_the_models(name):
    architecture = load_architecture(name)
    figures = account(architecture=architecture, context=1024)
    longest = float(architecture.max_position_embeddings)
    constant = float(architecture.bounded_bytes(context=longest, kv="bf16"))
    assert ROWS[name] == [
        f"{figures['parameters_main'] / 1e9:,.2f}",
        f"{figures['parameters_active'] / 1e9:,.2f}",
        f"{figures['parameters_mtp'] / 1e9:,.2f}",
        f"{architecture.context_bytes(kv='bf16', index='bf16'):,.0f}",
        f"{constant / 1e6:,.1f}",
    ]
