"""Does the figure of this chapter, on a page, show Python's numbers?"""

import json

import pytest
from linear_attention_numbers import RULES, memory

__all__ = ["CHECKS"]


def check_matrix_memory(figure) -> None:
    """The errors shown are those of the keys and the order shown."""
    state = json.loads(figure.get_attribute("data-now"))
    keys = json.loads(figure.get_attribute("data-keys"))
    for rule in RULES:
        errors = memory(state, keys, rule)[2]
        row = figure.locator(f"tr[data-kind={rule}][data-value]")
        shown = float(row.get_attribute("data-value"))
        assert shown == pytest.approx(errors.mean().item(), abs=1e-9)
        assert row.locator("td").first.inner_text() == f"{shown:.2f}"


CHECKS = {"matrix_memory": check_matrix_memory}
