"""Schedules that nobody chose: what each promises, and chains against the products of their steps."""

import math

import pytest
import torch
from diffusion_draws import betas, has_terminal_snr, schedules, times
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, sizes

from derived.diffusion import Schedule, karras_sigmas


@given(schedules())
@examples(30)
def test_the_noise_of_a_schedule_grows_and_its_norm_stays(schedule):
    t = schedule.times(int(min(schedule.end, 20)) if schedule.discrete else 20).flip(0)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    assert alpha[0] == 1 and sigma[0] == 0
    assert (alpha >= 0).all() and (sigma >= 0).all()
    # Where a level hardly changes, the last bit of its root or of its logistic function may.
    bit = torch.finfo(torch.float64).eps
    assert (alpha.diff() <= bit).all() and (sigma.diff() >= -bit).all()
    assert (schedule.log_snr(t).diff() <= 0).all() or schedule.snr(t[1]) == math.inf
    norm = {"vp": torch.hypot(alpha, sigma), "flow": alpha + sigma, "ve": alpha}[schedule.norm]
    torch.testing.assert_close(norm, torch.ones_like(norm), rtol=0, atol=1e-12)
    torch.testing.assert_close(schedule.snr(t), (alpha / sigma) ** 2)
    logarithm = schedule.snr(t).log()
    known = logarithm.isfinite()
    torch.testing.assert_close(schedule.log_snr(t)[known], logarithm[known], rtol=1e-9, atol=1e-9)


@given(betas)
@examples(30)
def test_a_chain_is_the_product_of_its_steps(betas):
    schedule = Schedule.from_betas(betas)
    alpha = (1 - betas).sqrt().cumprod(0)
    t = torch.arange(1, len(betas) + 1)
    torch.testing.assert_close(schedule.alpha(t), alpha, rtol=1e-9, atol=1e-15)
    # The variance after a step is what is left of the one before, and what the step adds.
    variance, steps = 0.0, []
    for beta in betas.tolist():
        variance = (1 - beta) * variance + beta
        steps.append(variance)
    torch.testing.assert_close(
        schedule.sigma(t) ** 2, torch.tensor(steps).double(), rtol=1e-5, atol=0
    )


@given(schedules(discrete=True).filter(has_terminal_snr))
@examples(25)
def test_zero_terminal_snr_takes_all_signal_at_the_end_and_keeps_the_first_step(schedule):
    t = torch.arange(int(schedule.end) + 1)
    before, after = schedule.alpha(t), schedule.with_zero_terminal_snr().alpha(t)
    assert after[-1] == 0
    assert schedule.with_zero_terminal_snr().snr(t)[-1] == 0
    torch.testing.assert_close(after[:2], before[:2], rtol=1e-12, atol=0)
    assert (after.diff() <= 0).all()
    # Affine: the same share of the way from the first step to the last.
    share = (before[1] - before[1:]) / (before[1] - before[-1])
    torch.testing.assert_close((after[1] - after[1:]) / after[1], share, rtol=1e-6, atol=1e-9)


@given(schedules(), sizes(1e3, 1e-3), sizes(1e3, 1e-3), st.data())
@examples(25)
def test_shifts_multiply(schedule, first, second, data):
    t = data.draw(times(schedule))
    twice, once = schedule.shifted(first).shifted(second), schedule.shifted(first * second)
    for level in ("alpha", "sigma"):
        torch.testing.assert_close(
            getattr(twice, level)(t), getattr(once, level)(t), rtol=1e-9, atol=1e-12
        )


@given(st.integers(1, 200), sizes(1.0, 1e-6), sizes(1e6, 2.0), st.floats(1, 20))
@examples(30)
def test_karras_sigmas_fall_from_one_end_to_the_other(n, least, most, rho):
    sigmas = karras_sigmas(n, least, most, rho)
    assert (sigmas.diff() < 0).all()
    assert sigmas[0] == most and sigmas[-1] == 0
    assert n == 1 or sigmas[-2].item() == pytest.approx(least, rel=1e-9)
    roots = sigmas[:-1] ** (1 / rho)
    assert n < 3 or torch.allclose(roots.diff(), roots.diff().mean(), rtol=1e-6, atol=1e-9)
