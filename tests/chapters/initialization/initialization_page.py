"""Do the figures of this chapter, on a page, show Python's numbers?"""

import json

import pytest
from initialization_numbers import ACTIVATIONS, signal, temperature

from derived.initialization import gain

__all__ = ["CHECKS"]


def check_attention_temperature(figure) -> None:
    """The averages shown are those over the same draws."""
    state = json.loads(figure.get_attribute("data-now"))
    for exponent, numbers in temperature(state).items():
        row = figure.locator(f'tr[data-kind="{exponent}"][data-mean]')
        shown = {name: float(row.get_attribute(f"data-{name}")) for name in numbers}
        assert shown == pytest.approx(numbers, rel=1e-9, abs=1e-15)


def check_signal_through_depth(figure) -> None:
    """Gains, and the median of the networks shown."""
    for name, fn in ACTIVATIONS.items():
        row = figure.locator(f'tr[data-kind="{name}"][data-gain]')
        shown = float(row.get_attribute("data-gain"))
        assert shown == pytest.approx(gain(fn), rel=1e-9)
    q = signal(json.loads(figure.get_attribute("data-now")))
    median = float(figure.get_attribute("data-median"))
    assert median == pytest.approx(q[:, -1].quantile(0.5).item(), rel=1e-9)


CHECKS = {
    "attention_temperature": check_attention_temperature,
    "signal_through_depth": check_signal_through_depth,
}
