"""Exercises of this chapter: other right answers pass, and an unknown mistake is shown."""

import math

import pytest
import torch
import torch.nn.functional as F
from support import judgment


def test_other_right_answers_pass():
    def judged(number, answer):
        return judgment(f"initialization-{number}", answer)

    for a in (2.443, torch.tensor(2.444)):
        assert "correct. Passed: gamma(2.44" in judged(1, lambda a=a: a)
    grid = torch.linspace(-10, 10, 200_001, dtype=torch.float64)
    density = torch.exp(-(grid**2) / 2) / math.sqrt(2 * math.pi)
    by_trapezoids = lambda alpha: torch.trapezoid(F.elu(grid, alpha) ** 2 * density, grid)
    assert "correct. Passed: quadrature agrees" in judged(2, by_trapezoids)
    rounded = lambda layers: float(f"{6.0 ** (1 - layers) / 3:.2e}")
    assert "after 30 layers 9e-24 of the signal is left" in judged(3, rounded)
    by_optimizer = lambda optimizer, lr, d: lr / {"sgd": d, "adam": math.sqrt(d)}[optimizer]
    assert "correct. Passed: in three steps" in judged(4, by_optimizer)
    state = torch.get_rng_state()
    zero = lambda r: (0, 1, 1 / r, 1 / r)  # a readout that starts at zero is as good
    assert "correct. Passed: the changes of the three layers" in judged(5, zero)
    as_tensor = lambda r: torch.tensor([r**-0.5, 1, 1 / r, 1 / r])
    assert "correct. Passed: the changes of the three layers" in judged(5, as_tensor)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("name", "answer", "said"),
    [
        ("initialization-2", lambda alpha: alpha, "For (1.0), expected 0.644945, got 1."),
        ("initialization-3", lambda layers: 1 / (3 * layers), "For (2), expected 0.0555556, got"),
        ("initialization-3", lambda layers: 0, "For (1), expected 0.333333, got 0."),
        (
            "initialization-4",
            lambda optimizer, lr, d: lr / (d if optimizer == "sgd" else 4),
            "For ('adam', 0.003, 64), the outputs of the two models are",
        ),
        (
            "initialization-5",
            lambda r: (20 * r**-0.5, 1, 1 / r, 1 / r),
            "At r = 1 the factors should be 1.",
        ),
    ],
)
def test_an_unknown_mistake_is_shown(name, answer, said):
    text = judgment(name, answer)
    assert text.startswith(f"{name}: not yet. ") and said in text
