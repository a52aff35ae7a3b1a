"""Exercises of this chapter: other right answers pass, and an unknown mistake is shown."""

import pytest
import torch
from support import judgment


def test_other_right_answers_pass():
    def judged(number, answer):
        return judgment(f"diffusion-{number}", answer)

    def by_elimination(x, v, alpha, sigma):
        both = torch.tensor([[alpha, sigma], [-sigma, alpha]], dtype=torch.float64)
        return torch.linalg.solve(both, torch.stack([x, v]))[1]

    single = lambda x, v, alpha, sigma: by_elimination(x, v, alpha, sigma).float()
    for answer in (by_elimination, single):
        assert "correct. Passed: right where alpha" in judged(1, answer)

    def by_precisions(alpha_t, alpha_s, eta):
        gain = torch.tensor(alpha_t / alpha_s)
        precision = 1 / (1 - alpha_s**2) + gain**2 / (1 - gain**2)
        return eta * precision.rsqrt()

    assert "correct. Passed: the step leaves x_s" in judged(2, by_precisions)

    def by_bisection(m, s):
        low, high = 0.0, m
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if m**2 > s**2 + middle**2 else (low, middle)
        return low

    assert "correct. Passed: there the density" in judged(3, by_bisection)
    as_list = lambda n, k: [k * (n - i) / (n + (k - 1) * (n - i)) for i in range(n + 1)]
    for answer in (as_list, lambda n, k: torch.tensor(as_list(n, k))):
        assert "correct. Passed: four steps shifted by 3" in judged(4, answer)
    powers = lambda a, b, w: torch.tensor(a) ** (1 - w) * b**w
    assert "correct. Passed: right at four triples" in judged(5, powers)


@pytest.mark.parametrize(
    ("name", "answer", "said"),
    [
        ("diffusion-1", lambda x, v, alpha, sigma: x, "0.7, 0.3), expected (2.06897, "),
        (
            "diffusion-2",
            lambda t, s, eta: eta * s * t,
            "For (0.5, 0.8, 1.0), expected 0.540833, got",
        ),
        (
            "diffusion-4",
            lambda n, k: [1 - i / n * (n < 4) for i in range(n)] + [0],
            "got (1, 1, 1,",
        ),
        ("diffusion-5", lambda a, b, w: a, "For (2.0, 1.0, 4.0), expected 0.125, got 2."),
    ],
)
def test_an_unknown_mistake_is_shown(name, answer, said):
    text = judgment(name, answer)
    assert text.startswith(f"{name}: not yet. ") and said in text
