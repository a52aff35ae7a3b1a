"""Diffusion's results up to the loss floor, the exactness of every step, and the edges of the module."""

import copy
import itertools
import math
import pickle
import sys
from dataclasses import FrozenInstanceError

import mpmath
import numpy as np
import pytest
import support
import sympy
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from strategies import examples
from torch.distributions import Normal, kl_divergence

import derived
from derived.diffusion import (
    GaussianMixture,
    Schedule,
    add_noise,
    convert,
    ddim_step,
    frechet_distance,
    guide,
    karras_sigmas,
    loss_weight,
    sample,
)

PREDICTIONS = ["x0", "eps", "v", "score", "velocity"]
PAIRS = list(itertools.product(PREDICTIONS, PREDICTIONS))
DOUBLE = torch.float64


def random_tensor(*shape, seed=0, dtype=DOUBLE):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE).to(
        dtype
    )


def numbers_of(*values):
    return torch.tensor(values, dtype=DOUBLE)


MIXTURE = GaussianMixture(
    numbers_of(0.5, 0.3, 0.2),
    torch.tensor([[1.0, 0.5], [-1.5, 0.2], [0.3, -1.0]]),
    numbers_of(0.3, 0.5, 0.8),
)
LINE = GaussianMixture(numbers_of(0.6, 0.4), torch.tensor([[1.0], [-1.5]]), numbers_of(0.3, 0.6))
CHAINS = {
    "linear": Schedule.linear(),
    "cosine": Schedule.cosine(),
    "short": Schedule.linear(8, beta_min=0.02, beta_max=0.7),
    "shifted": Schedule.cosine().shifted(3.0),
}
SCHEDULES = CHAINS | {
    "zero": Schedule.linear().with_zero_terminal_snr(),
    "flow": Schedule.rectified_flow(),
    "flow shifted": Schedule.rectified_flow().shifted(3.0),
    "edm": Schedule.edm(),
}
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
every_chain = pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)


def some_times(schedule, count=16):
    """Times with signal and noise; of a chain the first ones, too."""
    if schedule.discrete:
        last = int(schedule.end) - 1
        return torch.tensor(sorted({*range(1, min(20, last)), *range(1, last + 1, 61), last}))
    return torch.linspace(schedule.end / 1000, schedule.end * 0.999, count, dtype=DOUBLE)


def close(a, b, rel=1e-12):
    """Compare with an absolute tolerance of `rel` times the largest number."""
    a, b = (torch.as_tensor(value, dtype=DOUBLE) for value in (a, b))
    assert a.isfinite().all()
    assert (a - b).abs().max() <= rel * b.abs().max()


# The oracle --------------------------------------------------------------------------------------

GRID = np.linspace(-12, 12, 4801)  # the trapezoidal rule is exact up to rounding for densities


def line_prior(y):
    """The density of LINE, from scipy."""
    return 0.6 * stats.norm.pdf(y, 1.0, 0.3) + 0.4 * stats.norm.pdf(y, -1.5, 0.6)


def moments_by_bayes(x, alpha, sigma):
    """p(x), E[x0|x] and Var[x0|x] by summing over a grid of x0."""
    joint = line_prior(GRID) * stats.norm.pdf(x[:, None], alpha * GRID, sigma)
    step = GRID[1] - GRID[0]
    density = joint.sum(1) * step
    mean = (joint * GRID).sum(1) * step / density
    variance = (joint * (GRID - mean[:, None]) ** 2).sum(1) * step / density
    return density, mean, variance


LEVELS = [(1.0, 0.2), (0.8, 0.6), (0.3, 1.7), (2.0, 0.5)]


@pytest.mark.verifies("diffusion-oracle-density", by="exact")
@pytest.mark.parametrize("alpha, sigma", LEVELS)
def test_density_is_the_convolution_of_data_and_noise(alpha, sigma):
    x = torch.linspace(-4, 4, 33, dtype=DOUBLE)[:, None]
    density, _, _ = moments_by_bayes(x[:, 0].numpy(), alpha, sigma)
    close(LINE.log_prob(x, alpha, sigma).exp(), density, 1e-10)
    close(LINE.noised(alpha, sigma).log_prob(x).exp(), density, 1e-10)


@pytest.mark.verifies("diffusion-oracle-density", by="peer")
def test_density_in_two_dimensions_agrees_with_scipy():
    x, alpha, sigma = random_tensor(20, 2), 0.7, 0.4
    expected = 0
    for weight, mean, std in zip(MIXTURE.weights, MIXTURE.means, MIXTURE.stds, strict=True):
        covariance = float(alpha**2 * std**2 + sigma**2) * np.eye(2)
        component = stats.multivariate_normal(alpha * mean.numpy(), covariance)
        expected = expected + float(weight) * component.pdf(x.numpy())
    close(MIXTURE.log_prob(x, alpha, sigma).exp(), expected, 1e-12)


@pytest.mark.verifies("diffusion-oracle", by="exact")
@pytest.mark.parametrize("alpha, sigma", LEVELS)
def test_denoiser_is_the_mean_of_bayes_posterior(alpha, sigma):
    x = torch.linspace(-4, 4, 33, dtype=DOUBLE)[:, None]
    _, mean, variance = moments_by_bayes(x[:, 0].numpy(), alpha, sigma)
    close(LINE.denoise(x, alpha, sigma)[:, 0], mean, 1e-10)
    close(LINE.covariance(x, alpha, sigma)[:, 0, 0], variance, 1e-10)


def test_denoiser_in_two_dimensions_is_the_mean_of_bayes_posterior():
    axis = torch.linspace(-6, 6, 301, dtype=DOUBLE)
    x0 = torch.cartesian_prod(axis, axis)
    x, alpha, sigma = numbers_of(0.3, -0.4)[None], 0.7, 0.4
    weight = MIXTURE.log_prob(x0).exp() * (-((x - alpha * x0) ** 2).sum(1) / 2 / sigma**2).exp()
    weight = weight / weight.sum()
    mean = weight @ x0
    apart = x0 - mean
    close(MIXTURE.denoise(x, alpha, sigma)[0], mean, 1e-10)
    close(MIXTURE.covariance(x, alpha, sigma)[0], (weight * apart.T) @ apart, 1e-10)


def test_mixture_takes_a_level_for_each_sample_and_answers_in_the_dtype_of_x():
    x, alpha, sigma = random_tensor(4, 2), numbers_of(1, 0.8, 0.5, 0.1), numbers_of(0.1, 0.6, 1, 2)
    for method in (MIXTURE.log_prob, MIXTURE.score, MIXTURE.denoise, MIXTURE.covariance):
        together = method(x, alpha, sigma)
        alone = [method(x[i : i + 1], alpha[i].item(), sigma[i]) for i in range(4)]
        assert together.equal(torch.cat(alone))
        half = method(x.half(), 0.5, 0.5)
        assert half.dtype == torch.float16
        assert half.equal(method(x.half().double(), 0.5, 0.5).half())
    assert MIXTURE.jacobian(x.float(), 1, 1).dtype == torch.float32
    assert MIXTURE.score(x).equal(MIXTURE.score(x, 1.0, 0.0))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("k", [1, 3, 7])
def test_weights_of_a_half_type_make_a_density_that_integrates_to_1(k, dtype):
    weights = torch.full((k,), 1 / k).to(dtype)  # of sum 1.002 for 3 in bfloat16
    mixture = GaussianMixture(weights, torch.zeros(k, 1), torch.ones(k))
    x = torch.linspace(-12, 12, 2001, dtype=torch.float64)
    total = torch.trapezoid(mixture.log_prob(x[:, None]).exp(), x).item()
    assert total == pytest.approx(1, abs=1e-9)
    with pytest.raises(ValueError, match="of sum 1"):
        GaussianMixture(weights * 1.02, torch.zeros(k, 1), torch.ones(k))


def test_samples_of_the_mixture_have_its_moments():
    n = 40_000
    x = MIXTURE.sample(n, generator=torch.Generator().manual_seed(1))
    mean = MIXTURE.weights @ MIXTURE.means
    apart = MIXTURE.means - mean
    covariance = (MIXTURE.weights * apart.T) @ apart
    covariance = covariance + (MIXTURE.weights @ MIXTURE.stds**2) * torch.eye(2)
    error = (x.mean(0) - mean) / (covariance.diag() / n).sqrt()
    assert error.abs().max() < 4
    product = (x - mean)[:, :, None] * (x - mean)[:, None]
    error = (product.mean(0) - covariance) / (product.std(0) / math.sqrt(n))
    assert error.abs().max() < 4
    assert MIXTURE.sample(2, dtype=torch.float32).dtype == torch.float32
    again = MIXTURE.sample(n, generator=torch.Generator().manual_seed(1))
    assert again.equal(x)


def test_a_component_without_width_is_a_point():
    point = GaussianMixture(torch.ones(1), torch.tensor([[2.0, -1.0]]), torch.zeros(1))
    x = random_tensor(3, 2)
    assert point.denoise(x, 0.5, 0.5).equal(point.means.expand(3, 2))
    assert not point.covariance(x, 0.5, 0.5).any()
    assert point.sample(2).equal(point.means.expand(2, 2))


# The chain ---------------------------------------------------------------------------------------


@pytest.mark.verifies("diffusion-forward", by="symbolic")
def test_chain_of_steps_is_one_step():
    """From t - 1 to t: the coefficient of x0, and the variances of two independent noises."""
    beta, before = sympy.symbols("beta_t alpha_before", positive=True)
    now = before * sympy.sqrt(1 - beta)
    from_before, from_noise = sympy.sqrt(1 - beta), sympy.sqrt(beta)
    variance_before = 1 - before**2
    assert sympy.simplify(from_before * before - now) == 0
    variance = from_before**2 * variance_before + from_noise**2
    assert sympy.simplify(variance - (1 - now**2)) == 0


def exact_levels(betas):
    """alpha_t and sigma_t with 40 digits."""
    square, levels = mpmath.mpf(1), [(mpmath.mpf(1), mpmath.mpf(0))]
    for beta in betas:
        square *= 1 - mpmath.mpf(beta)
        levels.append((mpmath.sqrt(square), mpmath.sqrt(1 - square)))
    return levels


def exact_betas(name):
    """The betas from their definitions, with 40 digits."""
    one = mpmath.mpf(1)
    if name == "linear":
        first, last = mpmath.mpf(1e-4), mpmath.mpf(0.02)
        return [first + (last - first) * i / 999 for i in range(1000)]
    offset = mpmath.mpf(0.008)
    square = [
        mpmath.cos((one * t / 1000 + offset) / (1 + offset) * mpmath.pi / 2) ** 2
        for t in range(1001)
    ]
    return [
        min(1 - after / before, mpmath.mpf(0.999)) for before, after in itertools.pairwise(square)
    ]


@pytest.mark.verifies("diffusion-forward", by="exact")
@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_tables_have_all_digits_at_every_step(name):
    with mpmath.workdps(40):
        expected = exact_levels(exact_betas(name))
        snr = [float((a / s) ** 2) for a, s in expected[1:]]
        log_snr = [float(2 * mpmath.log(a / s)) for a, s in expected[1:]]
        alpha, sigma = (
            torch.tensor([float(level[i]) for level in expected], dtype=DOUBLE) for i in (0, 1)
        )
    schedule, t = CHAINS[name], torch.arange(1001)
    torch.testing.assert_close(schedule.alpha(t), alpha, rtol=2e-13, atol=0)
    torch.testing.assert_close(schedule.sigma(t), sigma, rtol=2e-13, atol=0)
    torch.testing.assert_close(schedule.snr(t)[1:], numbers_of(*snr), rtol=4e-13, atol=0)
    torch.testing.assert_close(
        schedule.log_snr(t)[1:], numbers_of(*log_snr), rtol=1e-13, atol=1e-13
    )
    assert schedule.snr(0) == schedule.log_snr(0) == math.inf


@pytest.mark.verifies("diffusion-forward", by="sampling")
def test_noise_comes_to_the_schedules_mean_and_variance():
    """Both moments of the simulated chain, from its first two steps to its end."""
    n, betas = 20_000, numbers_of(0.1, 0.5, 0.3)
    schedule, generator = Schedule.from_betas(betas), torch.Generator().manual_seed(0)
    x = torch.full((n,), 2.0, dtype=DOUBLE)
    for t, beta in enumerate(betas, start=1):
        noise = torch.randn(n, generator=generator, dtype=DOUBLE)
        x = (1 - beta).sqrt() * x + beta.sqrt() * noise
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        assert abs(x.mean() - 2 * alpha) < 4 * sigma / math.sqrt(n)
        assert abs(x.var() / sigma**2 - 1) < 4 * math.sqrt(2 / n)
        noisy = add_noise(numbers_of(2.0), numbers_of(-3.0), t, schedule)
        assert noisy == 2 * alpha - 3 * sigma


@pytest.mark.verifies("diffusion-posterior", by="symbolic")
def test_posterior_completes_the_square():
    """q(x_t | x_before) q(x_before | x0) is proportional to the posterior, as a function of x_before."""
    x0, x_t, x = sympy.symbols("x_0 x_t x_before", real=True)
    beta, a = sympy.symbols("beta_t alpha_before", positive=True)
    before, now = 1 - a**2, 1 - (1 - beta) * a**2  # the variances
    mean = a * beta / now * x0 + sympy.sqrt(1 - beta) * before / now * x_t
    variance = before / now * beta
    joint = -((x_t - sympy.sqrt(1 - beta) * x) ** 2) / (2 * beta) - (x - a * x0) ** 2 / (2 * before)
    posterior = -((x - mean) ** 2) / (2 * variance)
    assert sympy.simplify(sympy.diff(joint - posterior, x)) == 0


def posterior(chain, t):
    """The coefficients of x0 and x_t, the variance and beta of (diffusion-posterior), in float64."""
    alpha, sigma = chain.alpha(t), chain.sigma(t)
    before, noise_before = chain.alpha(t - 1), chain.sigma(t - 1)
    beta = 1 - (alpha / before) ** 2
    of_x0 = before * beta / sigma**2
    of_x = (1 - beta).sqrt() * noise_before**2 / sigma**2
    return of_x0, of_x, noise_before**2 / sigma**2 * beta, beta


@every_chain
def test_ancestral_step_draws_from_the_posterior(chain):
    for t in [1, 2, 3, 7, int(chain.end)]:
        of_x0, of_x, variance, _ = posterior(chain, t)
        x0, eps = random_tensor(2, 3, seed=1), random_tensor(2, 3, seed=2)
        x = add_noise(x0, eps, t, chain)
        z = random_tensor(2, 3, seed=3)
        generator = torch.Generator().manual_seed(3)
        step = ddim_step(x, eps, t, t - 1, chain, eta=1.0, generator=generator)
        close(step, of_x0 * x0 + of_x * x + variance.sqrt() * z, 1e-9)


def gaussian_model(steps):
    """A chain and p(x_T) = N(0, 1), p(x_before | x_t) = N(a x + b, v): any numbers will do."""
    chain = Schedule.linear(steps, beta_min=0.1, beta_max=0.4)
    a, b = (
        torch.linspace(0.6, 1.1, steps, dtype=DOUBLE),
        torch.linspace(-0.3, 0.4, steps, dtype=DOUBLE),
    )
    return chain, a, b, torch.linspace(0.2, 0.7, steps, dtype=DOUBLE)


def forward_moments(chain, steps, x0):
    """Mean and covariance of (x_1, ..., x_T) given x0."""
    alpha = chain.alpha(torch.arange(1, steps + 1))
    least, most = (
        torch.minimum(*(m := torch.meshgrid(alpha, alpha, indexing="ij"))),
        torch.maximum(*m),
    )
    return alpha * x0, least / most * (1 - most**2)


def model_moments(a, b, v):
    """Mean and covariance of (x_0, ..., x_T) under the model."""
    steps = len(a)
    mean, map_noise = (
        torch.zeros(steps + 1, dtype=DOUBLE),
        torch.zeros(steps + 1, steps + 1, dtype=DOUBLE),
    )
    map_noise[steps, steps] = 1
    for t in range(steps, 0, -1):
        mean[t - 1] = a[t - 1] * mean[t] + b[t - 1]
        map_noise[t - 1] = a[t - 1] * map_noise[t]
        map_noise[t - 1, t - 1] = v[t - 1].sqrt()
    return mean, map_noise @ map_noise.T


@pytest.mark.verifies("diffusion-elbo", by="exact")
@pytest.mark.parametrize("steps", [2, 5])
def test_terms_of_the_bound_exceed_the_likelihood_by_a_divergence(steps):
    """The terms, each a Gaussian expectation, against log p(x0) and KL(q || p) of whole chains."""
    chain, a, b, v = gaussian_model(steps)
    x0 = numbers_of(0.7).squeeze()
    alpha, sigma = (level(torch.arange(steps + 1)) for level in (chain.alpha, chain.sigma))
    prior = Normal(0.0, 1.0)
    bound = kl_divergence(Normal(alpha[-1] * x0, sigma[-1]), prior)
    for t in range(2, steps + 1):
        of_x0, of_x, variance, _ = posterior(chain, t)
        # The means' difference is Gaussian over x_t; its square has its mean squared and variance.
        slope = of_x - a[t - 1]
        offset = of_x0 * x0 - b[t - 1] + slope * alpha[t] * x0
        apart = offset**2 + slope**2 * sigma[t] ** 2
        ratio = variance / v[t - 1]
        bound = bound + (ratio - 1 - ratio.log() + apart / v[t - 1]) / 2
    offset = x0 - a[0] * alpha[1] * x0 - b[0]
    apart = offset**2 + a[0] ** 2 * sigma[1] ** 2
    bound = bound + ((2 * torch.pi * v[0]).log() + apart / v[0]) / 2

    mean, covariance = model_moments(a, b, v)
    likelihood = Normal(mean[0], covariance[0, 0].sqrt()).log_prob(x0)
    gain = covariance[1:, 0] / covariance[0, 0]
    true = torch.distributions.MultivariateNormal(
        mean[1:] + gain * (x0 - mean[0]), covariance[1:, 1:] - torch.outer(gain, covariance[0, 1:])
    )
    forward = torch.distributions.MultivariateNormal(*forward_moments(chain, steps, x0))
    gap = kl_divergence(forward, true)
    assert gap > 0.01
    close(bound, gap - likelihood, 1e-12)


def divergence_of_step(chain, t, x0, guess):
    """KL of the posterior given x0 from the one given a guess, summed over the dimensions."""
    of_x0, of_x, variance, _ = posterior(chain, t)
    x = random_tensor(*x0.shape, seed=9)
    means = [of_x0 * value + of_x * x for value in (x0, guess)]
    return kl_divergence(*(Normal(mean, variance.sqrt()) for mean in means)).sum()


@pytest.mark.verifies("diffusion-elbo-snr", by="exact")
@every_chain
def test_term_of_the_bound_is_a_difference_of_snr(chain):
    x0, guess = random_tensor(3, seed=1), random_tensor(3, seed=2)
    for t in [2, 3, 5, 8, int(chain.end) // 2 + 2, int(chain.end)]:
        expected = (chain.snr(t - 1) - chain.snr(t)) / 2 * (x0 - guess).square().sum()
        close(divergence_of_step(chain, t, x0, guess), expected, 1e-8)


@pytest.mark.verifies("diffusion-eps-loss", by="exact")
@every_chain
def test_term_of_the_bound_weighs_the_error_of_the_noise(chain):
    x, eps, guess = (random_tensor(1, 3, seed=seed) for seed in (1, 2, 3))
    for t in [2, 3, 5, 8, int(chain.end) // 2 + 2, int(chain.end)]:
        x0s = [convert(value, x, t, "eps", "x0", chain) for value in (eps, guess)]
        _, _, variance, beta = posterior(chain, t)
        weight = beta**2 / (2 * variance * (1 - beta) * chain.sigma(t) ** 2)
        close(divergence_of_step(chain, t, *x0s), weight * (eps - guess).square().sum(), 1e-8)


def gaussian(std, mean=0.0):
    return GaussianMixture(torch.ones(1), numbers_of(mean)[None], numbers_of(std))


def optimal_variance(chain, t, data):
    """(diffusion-optimal-variance), with the oracle's posterior variance."""
    of_x0, _, variance, _ = posterior(chain, t)
    missed = data.covariance(torch.zeros(1, 1, dtype=DOUBLE), chain.alpha(t), chain.sigma(t))
    return variance + of_x0**2 * missed[0, 0, 0]


def mean_bound(chain, data, scale=1.0):
    """E over the data of the bound without L_T, with the posterior mean and `scale` * the variance."""
    total = 0.0
    for t in range(1, int(chain.end) + 1):
        _, _, variance, _ = posterior(chain, t)
        best = optimal_variance(chain, t, data)
        missed = best - variance  # what the posterior mean leaves of the variance of x0
        used = scale * best
        if t == 1:
            total += ((2 * torch.pi * used).log() + missed / used) / 2
        else:
            total += (variance / used - 1 - (variance / used).log() + missed / used) / 2
    return total


@pytest.mark.verifies("diffusion-optimal-variance", by="exact")
@pytest.mark.parametrize("std", [0.2, 0.7, 1.5])
def test_optimal_variance_leaves_no_gap(std):
    chain, data = CHAINS["short"], gaussian(std, mean=0.4)
    for t in range(1, int(chain.end) + 1):
        alpha, before, sigma = chain.alpha(t), chain.alpha(t - 1), chain.sigma(t)
        ratio = alpha / before
        noise_before = chain.sigma(t - 1)
        var_before = before**2 * std**2 + noise_before**2
        reverse = var_before - (ratio * var_before) ** 2 / (alpha**2 * std**2 + sigma**2)
        close(optimal_variance(chain, t, data), reverse, 1e-12)
    entropy = math.log(2 * math.pi * math.e * std**2) / 2
    alpha, sigma = chain.alpha(chain.end), chain.sigma(chain.end)
    # E KL(q(x_T | x0) || q(x_T)) is what L_T is if p(x_T) is the marginal
    end = (1 + (alpha * std / sigma) ** 2).log() / 2
    close(mean_bound(chain, data) + end, entropy, 1e-12)
    for scale in (0.9, 1.1):
        assert mean_bound(chain, data, scale) + end > entropy + 1e-3


@pytest.mark.verifies("diffusion-variance-range", by="exact")
@every_chain
def test_optimal_variance_lies_between_the_two_of_ddpm(chain):
    for t in [1, 2, 3, 7, int(chain.end)]:
        _, _, least, most = posterior(chain, t)
        close(optimal_variance(chain, t, gaussian(0.0)), least, 1e-12)
        close(optimal_variance(chain, t, gaussian(1.0)), most, 1e-9)
        inner = [optimal_variance(chain, t, gaussian(std)) for std in (0.1, 0.5, 0.9)]
        assert least < inner[0] < inner[1] < inner[2] < most


def snr_grids(steps, low=-3.0, high=3.0):
    """lambda at even times of the linear and of the cosine schedule, between equal endpoints."""
    lambdas = np.array([low, high])
    # linear: log alpha² = -t²; cosine: alpha = cos(pi t / 2); both inverted for the endpoints
    start, end = np.sqrt(np.log1p(np.exp(-2 * lambdas)))
    t = np.linspace(start, end, steps)
    yield -np.log(np.expm1(t**2)) / 2
    start, end = 2 / np.pi * np.arctan(np.exp(-lambdas))
    yield -np.log(np.tan(np.pi / 2 * np.linspace(start, end, steps)))


@pytest.mark.verifies("diffusion-continuous-elbo", by="exact")
def test_sum_of_terms_tends_to_an_integral_without_the_schedule():
    std = 0.6
    integral = math.log((1 + std**2 * math.exp(6)) / (1 + std**2 * math.exp(-6))) / 2
    errors = []
    for steps in (500, 1000):
        for grid in snr_grids(steps):
            grid = torch.from_numpy(grid)
            alpha, sigma = torch.sigmoid(2 * grid).sqrt(), torch.sigmoid(-2 * grid).sqrt()
            x = torch.zeros(steps, 1, dtype=DOUBLE)
            missed = gaussian(std).covariance(x, alpha, sigma)[:, 0, 0]
            snr = (2 * grid).exp()
            errors.append(((snr[1:] - snr[:-1]) / 2 * missed[:-1]).sum().item() - integral)
    # an error of order 1/T, which halves with either schedule: both have one limit
    assert max(map(abs, errors)) < 0.1
    for coarse, fine in zip(errors[:2], errors[2:], strict=True):
        assert coarse / fine == pytest.approx(2, abs=0.1)
        assert 2 * fine - coarse == pytest.approx(0, abs=2e-3)
    # and its integrand is the error of the noise at that lambda
    middle = torch.linspace(-3, 3, 2001, dtype=DOUBLE)
    alpha, sigma = torch.sigmoid(2 * middle).sqrt(), torch.sigmoid(-2 * middle).sqrt()
    missed = gaussian(std).covariance(torch.zeros(2001, 1, dtype=DOUBLE), alpha, sigma)[:, 0, 0]
    error_of_noise = (alpha / sigma) ** 2 * missed
    assert torch.trapezoid(error_of_noise, middle).item() == pytest.approx(integral, abs=1e-5)


# Predictions -------------------------------------------------------------------------------------


def predictions(x0, eps, alpha, sigma):
    """By definition."""
    return {
        "x0": x0,
        "eps": eps,
        "score": -eps / sigma,
        "v": alpha * eps - sigma * x0,
        "velocity": eps - x0,
    }


@pytest.mark.verifies("diffusion-predictions", "diffusion-inverse", by="exact")
@every_schedule
@pytest.mark.parametrize("source, target", PAIRS)
def test_each_prediction_becomes_each_other(schedule, source, target):
    t = some_times(schedule)
    x0, eps = random_tensor(len(t), 3, seed=1), random_tensor(len(t), 3, seed=2)
    alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
    x = add_noise(x0, eps, t, schedule)
    expected = predictions(x0, eps, alpha, sigma)
    got = convert(expected[source], x, t, source, target, schedule)
    # rounding of x, in units of what is asked for
    tiny = 1e-12 * (1 + alpha / sigma + sigma / alpha) * (1 + 1 / sigma)
    assert ((got - expected[target]).abs() <= tiny * (1 + expected[target].abs())).all()


@pytest.mark.verifies("diffusion-inverse", by="symbolic")
def test_two_equations_determine_signal_and_noise():
    x0, eps, alpha, sigma = sympy.symbols("x_0 eps alpha sigma", positive=True)
    x, v, u = alpha * x0 + sigma * eps, alpha * eps - sigma * x0, eps - x0
    for wrong in (
        (alpha * x - sigma * v) / (alpha**2 + sigma**2) - x0,
        (x - sigma * u) / (alpha + sigma) - x0,
        (sigma * x + alpha * v) / (alpha**2 + sigma**2) - eps,
        (x + alpha * u) / (alpha + sigma) - eps,
    ):
        assert sympy.simplify(wrong) == 0


@examples(40)
@given(
    k=st.floats(0.01, 100),
    t=st.floats(0.01, 0.99),
    pair=st.sampled_from(PAIRS),
    values=st.lists(st.floats(-5, 5), min_size=2, max_size=2),
)
def test_conversions_undo_each_other(k, t, pair, values):
    schedule, (source, target) = Schedule.rectified_flow().shifted(k), pair
    pred, x = (numbers_of(value) for value in values)
    there = convert(pred, x, t, source, target, schedule)
    back = convert(there, x, t, target, source, schedule)
    ratio = schedule.alpha(t) / schedule.sigma(t)
    size = (1 + ratio + 1 / ratio) ** 2 * (1 + 1 / schedule.sigma(t)) ** 2
    assert abs(back - pred) <= 1e-13 * size * (1 + pred.abs() + x.abs())


@pytest.mark.verifies("diffusion-loss-ratio", by="exact")
@every_schedule
def test_errors_of_the_predictions_are_in_a_ratio_of_levels(schedule):
    t = some_times(schedule)
    x, x0, wrong = (random_tensor(len(t), 3, seed=seed) for seed in (1, 2, 3))
    error = {
        kind: (convert(x0, x, t, "x0", kind, schedule) - convert(wrong, x, t, "x0", kind, schedule))
        .square()
        .sum(1)
        for kind in ("x0", "eps", "v", "velocity")
    }
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    ratios = {
        "eps": schedule.snr(t),
        "v": (alpha**2 + sigma**2) ** 2 / sigma**2,
        "velocity": (alpha + sigma) ** 2 / sigma**2,
    }
    for kind, ratio in ratios.items():
        torch.testing.assert_close(error[kind], ratio * error["x0"], rtol=1e-9, atol=0)
    # hence the weights of one loss by four names
    for gamma in (0.01, 5.0, math.inf):
        losses = {kind: loss_weight(kind, schedule.snr(t), gamma) * error[kind] for kind in error}
        kinds = ["eps", "velocity"] + (["v"] if schedule.norm == "vp" else [])
        for kind in kinds:
            torch.testing.assert_close(losses[kind], losses["x0"], rtol=1e-9, atol=0)


@pytest.mark.verifies("diffusion-edm", by="symbolic")
def test_preconditioning_gives_unit_variances_and_the_least_gain():
    sigma, data, skip = sympy.symbols("sigma sigma_d c_skip", positive=True)
    c_skip = data**2 / (sigma**2 + data**2)
    c_out = sigma * data / sympy.sqrt(sigma**2 + data**2)
    c_in = 1 / sympy.sqrt(sigma**2 + data**2)
    assert sympy.simplify(c_in**2 * (data**2 + sigma**2) - 1) == 0
    # x0 - c_skip (x0 + sigma eps), of two independent parts
    variance = (1 - skip) ** 2 * data**2 + skip**2 * sigma**2
    assert sympy.simplify(variance.subs(skip, c_skip) - c_out**2) == 0
    assert sympy.solve(sympy.diff(variance, skip), skip) == [c_skip]
    assert sympy.diff(variance, skip, 2).is_positive


@pytest.mark.verifies("diffusion-edm-v", by="exact")
def test_what_edm_learns_is_v():
    edm = Schedule.edm()
    sigma = torch.logspace(-2, 1.8, 20, dtype=DOUBLE)
    x0, eps = random_tensor(20, 3, seed=1), random_tensor(20, 3, seed=2)
    x = add_noise(x0, eps, sigma, edm)
    # the schedule with alpha² + sigma² = 1 and as much noise per signal, reached at x / size
    size = (1 + sigma**2).sqrt()[:, None]
    c_skip, c_out = 1 / size**2, sigma[:, None] / size
    v = eps / size - sigma[:, None] / size * x0
    close((x0 - c_skip * x) / c_out, -v, 1e-12)
    # the same from a chain's table, at its own levels
    chain, t = CHAINS["linear"], torch.arange(1, 1001, 37)
    x0, eps = random_tensor(len(t), 3, seed=1), random_tensor(len(t), 3, seed=2)
    level = (chain.sigma(t) / chain.alpha(t))[:, None]
    state = add_noise(x0, eps, t, chain)
    x = (1 + level**2).sqrt() * state
    target = (x0 - x / (1 + level**2)) / (level / (1 + level**2).sqrt())
    torch.testing.assert_close(
        target, -convert(x0, state, t, "x0", "v", chain), rtol=1e-9, atol=1e-9
    )


# Tweedie and the floor ---------------------------------------------------------------------------


@pytest.mark.verifies("diffusion-tweedie", by="gradient")
@pytest.mark.parametrize("alpha, sigma", LEVELS)
def test_denoiser_follows_from_the_gradient_of_the_density(alpha, sigma):
    x = random_tensor(30, 2).requires_grad_()
    (score,) = torch.autograd.grad(MIXTURE.log_prob(x, alpha, sigma).sum(), x)
    close(MIXTURE.denoise(x, alpha, sigma), (x + sigma**2 * score) / alpha, 1e-12)
    close(MIXTURE.score(x, alpha, sigma), score, 1e-12)


@pytest.mark.verifies("diffusion-tweedie-covariance", by="gradient")
@pytest.mark.parametrize("alpha, sigma", LEVELS)
def test_covariance_is_the_derivative_of_the_denoiser(alpha, sigma):
    x = random_tensor(5, 2)
    for i in range(5):
        derivative = torch.autograd.functional.jacobian(
            lambda point: MIXTURE.denoise(point[None], alpha, sigma)[0], x[i]
        )
        close(MIXTURE.covariance(x, alpha, sigma)[i], sigma**2 / alpha * derivative, 1e-12)
        close(MIXTURE.jacobian(x, alpha, sigma)[i], derivative, 1e-12)


def joint_grid(alpha, sigma):
    """Points x0 and eps with their probabilities, for exact expectations on LINE."""
    x0, eps = np.linspace(-7, 5, 481), np.linspace(-9, 9, 361)
    weight = line_prior(x0)[:, None] * stats.norm.pdf(eps)
    weight = torch.from_numpy(weight / weight.sum()).flatten()
    x0, eps = (torch.from_numpy(g).flatten() for g in np.meshgrid(x0, eps, indexing="ij"))
    return weight, x0, eps, alpha * x0 + sigma * eps


@pytest.mark.verifies("diffusion-floor", "diffusion-floor-value", by="exact")
@pytest.mark.parametrize("alpha, sigma", [(0.8, 0.6), (0.5, 1.0)])
def test_loss_is_a_floor_and_the_error_of_the_score(alpha, sigma):
    """For an arbitrary network, by summing over a grid of data and noise."""
    weight, _, eps, x = joint_grid(alpha, sigma)
    network = 0.7 * x + 0.3 * torch.sin(3 * x) + 0.1
    best = (x - alpha * LINE.denoise(x[:, None], alpha, sigma)[:, 0]) / sigma
    score = LINE.score(x[:, None], alpha, sigma)[:, 0]
    loss, floor, error = (
        weight @ term.square() for term in (eps - network, eps - best, -network / sigma - score)
    )
    assert error > 0.05 and floor > 0.05
    close(loss, floor + sigma**2 * error, 1e-10)
    spread = weight @ LINE.covariance(x[:, None], alpha, sigma)[:, 0, 0]
    close(floor, (alpha / sigma) ** 2 * spread, 1e-10)


@pytest.mark.verifies("diffusion-floor", "diffusion-floor-value", by="symbolic")
def test_floor_of_a_gaussian_in_closed_form():
    """x0 ~ N(0, s²) and any linear network a x + b."""
    alpha, sigma, s = sympy.symbols("alpha sigma s", positive=True)
    a, b = sympy.symbols("a b", real=True)
    total = alpha**2 * s**2 + sigma**2
    best = sigma / total  # E[eps | x] = best * x
    loss = 1 - 2 * a * sigma + a**2 * total + b**2
    floor = 1 - 2 * best * sigma + best**2 * total
    error = (a / sigma - 1 / total) ** 2 * total + (b / sigma) ** 2
    assert sympy.simplify(loss - floor - sigma**2 * error) == 0
    assert sympy.simplify(floor - alpha**2 / sigma**2 * s**2 * sigma**2 / total) == 0


# Exactness ---------------------------------------------------------------------------------------


def long(values):
    return np.asarray(values.double().numpy(), dtype=np.longdouble)


def assert_rounded(got, expected):
    """Up to one rounding of the dtype, whatever the size of the number."""
    rounded = torch.from_numpy(np.asarray(expected, dtype=np.float64)).to(got.dtype)
    eps = torch.finfo(got.dtype)
    torch.testing.assert_close(
        got, rounded, rtol=eps.eps, atol=float(eps.smallest_normal) * eps.eps
    )


def long_levels(schedule, t):
    return (long(level(t))[:, None] for level in (schedule.alpha, schedule.sigma))


DTYPES = [torch.float32, torch.float16]
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float16"])


@every_dtype
@pytest.mark.parametrize("name", ["linear", "cosine", "flow", "edm"])
def test_conversions_and_noise_are_rounded_once_at_every_time(name, dtype):
    schedule = SCHEDULES[name]
    t = torch.arange(1, 1001) if schedule.discrete else some_times(schedule, 100)
    x, pred = (
        random_tensor(len(t), 2, seed=1, dtype=dtype),
        random_tensor(len(t), 2, seed=2, dtype=dtype),
    )
    alpha, sigma = long_levels(schedule, t)
    for source, target in PAIRS:
        given, noisy = long(pred), long(x)
        x0, eps = {
            "x0": (given, (noisy - alpha * given) / sigma),
            "eps": ((noisy - sigma * given) / alpha, given),
            "score": ((noisy + sigma**2 * given) / alpha, -sigma * given),
            "v": (
                (alpha * noisy - sigma * given) / (alpha**2 + sigma**2),
                (sigma * noisy + alpha * given) / (alpha**2 + sigma**2),
            ),
            "velocity": (
                (noisy - sigma * given) / (alpha + sigma),
                (noisy + alpha * given) / (alpha + sigma),
            ),
        }[source]
        expected = given if source == target else predictions(x0, eps, alpha, sigma)[target]
        got = convert(pred, x, t, source, target, schedule)
        assert got.dtype == dtype
        assert_rounded(got, expected)
    assert_rounded(add_noise(pred, x, t, schedule), alpha * long(pred) + sigma * long(x))


@every_dtype
@pytest.mark.parametrize("name", ["linear", "cosine"])
@pytest.mark.parametrize("stride", [1, 50])
def test_ddim_steps_are_rounded_once_at_every_time(name, stride, dtype):
    schedule = SCHEDULES[name]
    t = torch.arange(stride, 1001)
    x, eps = (
        random_tensor(len(t), 2, seed=1, dtype=dtype),
        random_tensor(len(t), 2, seed=2, dtype=dtype),
    )
    generator = torch.Generator().manual_seed(3)
    z = long(torch.randn(len(t), 2, generator=generator, dtype=dtype))
    (alpha_t, sigma_t), (alpha_s, sigma_s) = (long_levels(schedule, s) for s in (t, t - stride))
    x0 = (long(x) - sigma_t * long(eps)) / alpha_t
    for eta in (0.0, 0.5, 1.0):
        noise = eta * sigma_s / sigma_t * np.sqrt(sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2)
        expected = alpha_s * x0 + np.sqrt(sigma_s**2 - noise**2) * long(eps) + noise * z
        generator = torch.Generator().manual_seed(3)
        got = ddim_step(x, eps, t, t - stride, schedule, eta=eta, generator=generator)
        assert got.dtype == dtype
        assert_rounded(got, expected)


def reference_sampler(x, times, schedule, solver):
    """The chapter's formulas for the oracle MIXTURE, step by step in extended precision."""

    def denoised(state, t):
        state = torch.from_numpy(state.astype(np.float64))
        return long(MIXTURE.denoise(state, schedule.alpha(t), schedule.sigma(t)))

    x, before = long(x), None
    levels = [
        [np.longdouble(level(t)) for level in (schedule.alpha, schedule.sigma)] for t in times
    ]
    lambdas = [np.log(a) - np.log(s) if s > 0 else np.longdouble(np.inf) for a, s in levels]
    for i in range(len(times) - 1):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = levels[i : i + 2]
        x0 = denoised(x, times[i])
        eps = (x - alpha_t * x0) / sigma_t
        euler = alpha_s * x0 + sigma_s * eps
        if solver == "heun" and sigma_s > 0 and alpha_t > 0:
            then = (euler - alpha_s * denoised(euler, times[i + 1])) / sigma_s
            h = sigma_s / alpha_s - sigma_t / alpha_t
            x = alpha_s * (x / alpha_t + h / 2 * (eps + then))
        elif solver == "dpmpp_2m" and before is not None and sigma_s > 0 and i > 0:
            h = lambdas[i + 1] - lambdas[i]
            r = (lambdas[i] - lambdas[i - 1]) / h
            mixed = (1 + 1 / (2 * r)) * x0 - before / (2 * r)
            x = sigma_s / sigma_t * x - alpha_s * (np.exp(-h) - 1) * mixed
        else:
            x = euler
        before = x0
    return x


def plan(schedule, steps=6):
    return karras_sigmas(steps) if schedule.norm == "ve" else schedule.times(steps)


@every_schedule
@pytest.mark.parametrize("solver", ["ddim", "heun", "dpmpp_2m"])
def test_samplers_follow_their_formulas(schedule, solver):
    times = plan(schedule)
    x = random_tensor(4, 2) * schedule.sigma(times[0])
    with np.errstate(divide="ignore"):
        expected = reference_sampler(x, times, schedule, solver)
    got = sample(MIXTURE.denoiser(schedule), x, times, schedule, solver)
    assert got.isfinite().all()
    close(got, torch.from_numpy(expected.astype(np.float64)), 1e-8)


def test_a_step_is_deterministic_unless_asked_otherwise():
    x, eps = random_tensor(4, 2, seed=1), random_tensor(4, 2, seed=2)
    step = ddim_step(x, eps, 900, 400, CHAINS["linear"])
    assert step.equal(ddim_step(x, eps, 900, 400, CHAINS["linear"], eta=0.0))
    sampled = [
        sample(MIXTURE.denoiser(CHAINS["linear"]), x, [900, 400], CHAINS["linear"])
        for _ in range(2)
    ]
    assert sampled[0].equal(sampled[1])


def test_sampler_with_eta_takes_ddim_steps():
    schedule, times, x = CHAINS["linear"], torch.tensor([1000, 400, 30, 0]), random_tensor(4, 2)
    generator = torch.Generator().manual_seed(5)
    got = sample(MIXTURE.denoiser(schedule), x, times, schedule, eta=0.7, generator=generator)
    generator = torch.Generator().manual_seed(5)
    for t, s in itertools.pairwise(times):
        x0 = MIXTURE.denoiser(schedule)(x, t)
        eps = convert(x0, x, t, "x0", "eps", schedule)
        x = ddim_step(x, eps, t, s, schedule, eta=0.7, generator=generator)
    close(got, x, 1e-9)


def test_ancestral_sampling_from_no_signal_forgets_the_state():
    """At SNR 0 the posterior's noise is all there is: nothing of x stays, and no root is negative."""
    schedule, x = SCHEDULES["zero"], random_tensor(4, 2)
    for s in (999, 500, 20):
        steps = [
            sample(
                lambda state, t: torch.zeros_like(state),
                start,
                [1000, s],
                schedule,
                eta=1.0,
                generator=torch.Generator().manual_seed(5),
            )
            for start in (x, -3 * x)
        ]
        assert steps[0].equal(steps[1])
        close(steps[0], schedule.sigma(s) * random_tensor(4, 2, seed=5), 1e-12)


# Schedules ---------------------------------------------------------------------------------------


def test_schedules_without_a_table_are_their_formulas():
    t = torch.linspace(0, 1, 11, dtype=DOUBLE)
    flow, edm = Schedule.rectified_flow(), Schedule.edm(sigma_max=3.0)
    assert flow.alpha(t).equal(1 - t) and flow.sigma(t).equal(t)
    assert edm.alpha(3 * t).equal(torch.ones(11, dtype=DOUBLE)) and edm.sigma(3 * t).equal(3 * t)
    assert (flow.end, edm.end, Schedule.edm().end) == (1.0, 3.0, 80.0)
    assert not flow.discrete and not edm.discrete and CHAINS["linear"].discrete
    assert flow.snr(0) == flow.log_snr(0) == math.inf
    assert flow.snr(1) == 0 and flow.log_snr(1) == -math.inf
    assert edm.snr(2.0) == 0.25 and edm.log_snr(2.0) == pytest.approx(-math.log(4))


@examples(40)
@given(t=st.floats(1e-6, 1 - 1e-6), k=st.floats(1e-2, 1e2))
def test_shift_scales_the_noise_per_signal_and_keeps_the_norm(t, k):
    for schedule, time in (
        (Schedule.rectified_flow(), t),
        (Schedule.edm(), 80 * t),
        (CHAINS["cosine"], 1 + round(998 * t)),
    ):
        shifted = schedule.shifted(k)
        assert shifted.snr(time) == pytest.approx(float(schedule.snr(time)) / k**2, rel=1e-9)
        alpha, sigma = shifted.alpha(time).item(), shifted.sigma(time).item()
        norm = {"vp": math.hypot(alpha, sigma), "flow": alpha + sigma, "ve": alpha}[schedule.norm]
        assert norm == pytest.approx(1, rel=1e-12)
        assert (shifted.end, shifted.discrete) == (schedule.end, schedule.discrete)
    moved = k * t / (1 + (k - 1) * t)
    assert Schedule.rectified_flow().shifted(k).sigma(t) == pytest.approx(moved, rel=1e-9)


def test_zero_terminal_snr_maps_the_signal_affinely():
    chain = CHAINS["linear"]
    zero, t = chain.with_zero_terminal_snr(), torch.arange(1, 1001)
    alpha = chain.alpha(t)
    expected = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])
    torch.testing.assert_close(zero.alpha(t), expected, rtol=1e-13, atol=0)
    close(zero.alpha(t) ** 2 + zero.sigma(t) ** 2, torch.ones(1000), 1e-12)
    torch.testing.assert_close(zero.sigma(t)[0], chain.sigma(1), rtol=1e-11, atol=0)
    assert zero.alpha(1000) == 0 and zero.sigma(1000) == 1 and zero.snr(1000) == 0
    assert zero.alpha(0) == 1 and zero.sigma(0) == 0
    assert chain.alpha(1000) > 0


@every_schedule
def test_signal_falls_and_noise_grows(schedule):
    t = torch.arange(int(schedule.end) + 1) if schedule.discrete else plan(schedule).flip(0)
    ratio = schedule.log_snr(t)
    assert (ratio[1:] < ratio[:-1]).all()
    assert schedule.alpha(0) == 1 and schedule.sigma(0) == 0
    assert not torch.signbit(schedule.sigma(0))


def test_a_schedule_never_changes():
    betas = numbers_of(0.1, 0.2)
    schedule = Schedule.from_betas(betas)
    before = schedule.alpha(torch.arange(3)).clone()
    betas.zero_()
    schedule.alpha(torch.arange(3)).zero_()
    schedule.with_zero_terminal_snr()
    assert schedule.alpha(torch.arange(3)).equal(before)
    with pytest.raises(FrozenInstanceError):
        schedule.end = 5
    weights = torch.ones(1)
    mixture = GaussianMixture(weights, torch.zeros(1, 1), torch.ones(1))
    weights.zero_()
    assert mixture.weights.item() == 1
    learned = torch.zeros(1, 1).requires_grad_()
    assert not GaussianMixture(torch.ones(1), learned, torch.ones(1)).means.requires_grad
    with pytest.raises(FrozenInstanceError):
        mixture.means = torch.zeros(2, 1)


def test_schedules_and_mixtures_are_compared_by_identity():
    for make in (Schedule.rectified_flow, mixture):
        one, other = make(), make()
        assert one != other and len({one, other}) == 2


def test_levels_have_the_dtype_and_shape_of_time():
    schedule = Schedule.rectified_flow()
    for method in (schedule.alpha, schedule.sigma, schedule.snr, schedule.log_snr):
        for dtype in (torch.float16, torch.float32, DOUBLE):
            level = method(torch.full((2, 3), 0.25, dtype=dtype))
            assert level.dtype == dtype and level.shape == (2, 3)
        assert method(0.25).dtype == method(torch.tensor(1)).dtype == DOUBLE
    assert CHAINS["linear"].alpha(3).dtype == DOUBLE


def test_names_say_how_a_schedule_was_made():
    schedule = Schedule.linear(10, beta_max=0.5).with_zero_terminal_snr().shifted(2)
    assert "linear(10).with_zero_terminal_snr().shifted(2)" in repr(schedule)
    assert Schedule.cosine(20).name == "cosine(20)"
    assert "function" not in repr(schedule)


def test_times_run_evenly_from_noise_to_data():
    assert CHAINS["linear"].times(4).tolist() == [1000, 750, 500, 250, 0]
    assert CHAINS["linear"].times(3).tolist() == [1000, 667, 333, 0]
    assert CHAINS["short"].times(8).tolist() == [8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert CHAINS["linear"].times(1).tolist() == [1000, 0]
    assert CHAINS["linear"].times(4).dtype == torch.int64
    assert Schedule.rectified_flow().times(4).tolist() == [1, 0.75, 0.5, 0.25, 0]
    assert Schedule.edm(8.0).times(2).tolist() == [8, 4, 0]


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_tables_agree_with_diffusers(name):
    from diffusers import DDPMScheduler

    peer = DDPMScheduler(
        1000, beta_schedule={"linear": "linear", "cosine": "squaredcos_cap_v2"}[name]
    )
    expected = peer.alphas_cumprod.double()
    # its table is a product in float32
    torch.testing.assert_close(
        CHAINS[name].alpha(torch.arange(1, 1001)) ** 2, expected, rtol=2e-4, atol=1e-6
    )


def test_cosine_takes_its_offset_and_cut():
    t = torch.arange(11) / 10
    angle = torch.pi / 2 * (t.double() + 0.1) / 1.1
    expected = angle.cos() / angle[0].cos()
    schedule = Schedule.cosine(10, offset=0.1, beta_max=1 - 1e-6)
    torch.testing.assert_close(schedule.alpha(torch.arange(10)), expected[:10], rtol=1e-6, atol=0)
    assert schedule.alpha(10) == pytest.approx(1e-3 * schedule.alpha(9).item(), rel=1e-9)
    default = Schedule.cosine(10)
    ratio = default.alpha(10) / default.alpha(9)
    assert ratio == pytest.approx(math.sqrt(0.001), rel=1e-9)


def test_linear_takes_its_betas():
    schedule = Schedule.linear(3, beta_min=0.1, beta_max=0.5)
    square = schedule.alpha(torch.arange(4)) ** 2
    close(1 - square[1:] / square[:-1], numbers_of(0.1, 0.3, 0.5), 1e-12)


def test_karras_levels_are_even_in_their_root():
    sigmas = karras_sigmas(5, 0.1, 10.0, 3.0)
    assert sigmas.shape == (6,) and sigmas[0] == 10 and sigmas[-1] == 0
    root = sigmas[:-1] ** (1 / 3)
    close(root.diff(), root.diff().mean().expand(4), 1e-12)
    assert sigmas[-2] == pytest.approx(0.1, rel=1e-12)
    assert karras_sigmas(1).tolist() == [80.0, 0.0]
    assert karras_sigmas(2).tolist() == pytest.approx([80.0, 0.002, 0.0])
    # the defaults, from equation 5 of the paper
    ends = 80 ** (1 / 7), 0.002 ** (1 / 7)
    expected = [(ends[0] + i / 17 * (ends[1] - ends[0])) ** 7 for i in range(18)]
    assert karras_sigmas(18).tolist() == pytest.approx([*expected, 0.0], rel=1e-12)


# Weights and guidance ----------------------------------------------------------------------------


def test_weights_of_the_loss_as_a_table():
    snr = numbers_of(0, 0.25, 1, 4, 16, math.inf)
    expected = {
        "x0": [0, 0.25, 1, 4, 5, 5],
        "eps": [1, 1, 1, 1, 5 / 16, 0],
        "v": [0, 0.2, 0.5, 0.8, 5 / 17, 0],
        "velocity": [0, 1 / 9, 1 / 4, 4 / 9, 5 / 25, 0],
    }
    for kind, weights in expected.items():
        assert loss_weight(kind, snr).tolist() == pytest.approx(weights)
    plain = {kind: loss_weight(kind, snr, math.inf)[[1, -1]].tolist() for kind in expected}
    assert plain["eps"] == [1, 1]
    assert plain["x0"] == [0.25, math.inf]
    assert plain["v"] == pytest.approx([0.2, 1])
    assert plain["velocity"] == pytest.approx([1 / 9, 1])
    assert loss_weight("eps", numbers_of(5.0), 5).item() == 1
    assert loss_weight("v", torch.tensor([4.0], dtype=torch.float16)).dtype == torch.float16


def test_guidance_goes_from_one_prediction_through_the_other():
    cond, uncond = random_tensor(3, seed=1), random_tensor(3, seed=2)
    assert guide(cond, uncond, 0).equal(uncond)
    close(guide(cond, uncond, 1), cond, 1e-15)
    close(guide(cond, uncond, 3), uncond + 3 * (cond - uncond), 1e-15)
    close(guide(cond, uncond, -1), 2 * uncond - cond, 1e-15)
    half = guide(cond.half(), uncond.half(), 7.5)
    assert half.dtype == torch.float16
    assert half.equal(guide(cond.half().double(), uncond.half().double(), 7.5).half())


@examples(40)
@given(w=st.floats(-3, 9), t=st.integers(1, 999), target=st.sampled_from(PREDICTIONS))
def test_guidance_commutes_with_every_conversion(w, t, target):
    schedule = CHAINS["linear"]
    x, cond, uncond = (random_tensor(1, 4, seed=seed) for seed in (1, 2, 3))

    def to_target(pred):
        return convert(pred, x, t, "v", target, schedule)

    close(to_target(guide(cond, uncond, w)), guide(to_target(cond), to_target(uncond), w), 1e-11)


def test_guided_sampling_guides_the_denoiser_and_clips_afterwards():
    schedule, x = Schedule.rectified_flow(), random_tensor(5, 2)
    other = GaussianMixture(torch.ones(1), torch.zeros(1, 2), torch.ones(1)).denoiser(schedule)
    denoiser, times = MIXTURE.denoiser(schedule), schedule.times(5)

    def guided(state, t):
        return (other(state, t) + 2.5 * (denoiser(state, t) - other(state, t))).clamp(-0.8, 0.8)

    for solver in ("ddim", "heun", "dpmpp_2m"):
        got = sample(
            denoiser, x, times, schedule, solver, guidance=2.5, unconditional=other, clip=0.8
        )
        close(got, sample(guided, x, times, schedule, solver), 1e-12)
    alone = sample(denoiser, x, times, schedule, clip=0.3)
    assert alone.abs().max() == 0.3
    only = sample(denoiser, x, times, schedule, guidance=0, unconditional=other)
    close(only, sample(other, x, times, schedule), 1e-12)


# The edge ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, DOUBLE])
@pytest.mark.parametrize("name", ["linear", "flow"])
def test_a_denoiser_gets_states_in_the_samplers_dtype_and_a_time_for_each(name, dtype):
    schedule, calls = SCHEDULES[name], []

    def denoiser(x, t):
        calls.append((x.dtype, t.dtype, t.shape, t[0].item()))
        return torch.zeros_like(x)

    seen = []
    x = random_tensor(3, 2, 2, dtype=dtype)
    got = sample(denoiser, x, schedule.times(2), schedule, observe=seen.append)
    kind = torch.int64 if schedule.discrete else {torch.float16: torch.float32}.get(dtype, dtype)
    middle = 500 if schedule.discrete else 0.5
    assert calls == [(dtype, kind, (3,), schedule.end), (dtype, kind, (3,), middle)]
    assert len(seen) == 3 and seen[0].equal(x) and seen[-1].equal(got)
    assert all(state.dtype == dtype for state in seen)
    close(seen[1], (schedule.sigma(middle) / schedule.sigma(schedule.end)) * x.double(), 1e-3)
    assert got.dtype == dtype


def test_times_may_be_a_list_of_numbers():
    x, times = random_tensor(4, 2), [1.0, 0.7, 0.3, 0.1]
    schedule = SCHEDULES["flow"]
    expected = sample(MIXTURE.denoiser(schedule), x, numbers_of(*times), schedule)
    assert sample(MIXTURE.denoiser(schedule), x, times, schedule).equal(expected)


@pytest.mark.parametrize("solver, calls", [("ddim", 5), ("heun", 9), ("dpmpp_2m", 5)])
def test_solvers_call_the_denoiser_as_often_as_they_say(solver, calls):
    schedule, count = Schedule.edm(), []

    def denoiser(x, t):
        count.append(t)
        return torch.zeros_like(x)

    sample(denoiser, torch.ones(1, 1), karras_sigmas(5), schedule, solver)
    assert len(count) == calls


@pytest.mark.parametrize("solver", ["ddim", "heun", "dpmpp_2m"])
@every_schedule
def test_one_step_to_the_data_is_the_denoised_state(solver, schedule):
    x = random_tensor(3, 2) * schedule.sigma(schedule.end)
    got = sample(MIXTURE.denoiser(schedule), x, [schedule.end, 0], schedule, solver)
    t = torch.tensor(schedule.end, dtype=DOUBLE)
    close(got, MIXTURE.denoiser(schedule)(x, t), 1e-12)


@pytest.mark.parametrize("solver", ["ddim", "heun", "dpmpp_2m"])
def test_samplers_run_backward_for_gradients(solver):
    schedule = Schedule.rectified_flow()
    x = random_tensor(2, 2).requires_grad_()
    sample(MIXTURE.denoiser(schedule), x, schedule.times(4), schedule, solver).sum().backward()
    assert x.grad.isfinite().all() and x.grad.abs().min() > 0


def test_defined_limits_at_no_signal_and_at_no_noise():
    zero, x = SCHEDULES["zero"], random_tensor(2, 3)
    pred = random_tensor(2, 3, seed=1)
    assert convert(pred, x, 1000, "eps", "score", zero).equal(-pred)
    assert convert(pred, x, 1000, "score", "eps", zero).equal(-pred)
    assert convert(pred, x, 1000, "eps", "eps", zero).equal(pred)
    assert convert(pred, x, 1000, "v", "x0", zero).equal(-pred)
    assert convert(pred, x, 1000, "velocity", "x0", zero).equal(x - pred)
    assert convert(pred, x, 1000, "x0", "eps", zero).equal(x)
    assert convert(pred, x, 0, "eps", "x0", zero).equal(x)
    assert convert(pred, x, 0, "v", "eps", zero).equal(pred)
    assert convert(pred, x, 0, "velocity", "eps", zero).equal(x + pred)
    assert convert(pred, x, 0, "score", "eps", zero).equal(0 * pred)
    assert convert(pred, x, 0, "x0", "x0", zero) is pred
    assert add_noise(pred, x, 0, zero).equal(pred) and add_noise(pred, x, 1000, zero).equal(x)
    for s in (999, 1, 0):
        t = torch.tensor([1000, 1000])
        assert convert(pred, x, t, "x0", "v", zero).equal(-pred)
        assert ddim_step(x, pred, 999, s, zero).isfinite().all() if s < 999 else True


CHAIN, FLOW = CHAINS["short"], Schedule.rectified_flow()
X = torch.zeros(2, 3)
P = torch.zeros(2, 2)


def mixture(weights=(0.5, 0.5), means=((0.0, 0.0), (1.0, 1.0)), stds=(1.0, 1.0)):
    return GaussianMixture(*(torch.tensor(value) for value in (weights, means, stds)))


ERRORS = {
    "weights of another sum": (lambda: mixture(weights=(0.5, 0.6)), "weights: .* sum 1"),
    "weight of 0": (lambda: mixture(weights=(1.0, 0.0)), "weights: .*positive"),
    "negative std": (lambda: mixture(stds=(1.0, -1.0)), "stds: .*at least 0"),
    "mean of NaN": (lambda: mixture(means=((0.0, math.nan), (1.0, 1.0))), "means: .*finite"),
    "too few means": (lambda: mixture(means=((0.0, 0.0),)), r"expected shapes \(k,\)"),
    "flat means": (lambda: mixture(means=(0.0, 0.0)), r"expected shapes \(k,\)"),
    "too few stds": (lambda: mixture(stds=(1.0,)), r"expected shapes \(k,\)"),
    "no components": (lambda: mixture((), (), ()), r"expected shapes \(k,\)"),
    "weights as a number": (lambda: mixture(1.0), r"expected shapes \(k,\)"),
    "weights as a list": (lambda: GaussianMixture([1.0], P, P), "weights: expected a torch.Tensor"),
    "no samples": (lambda: MIXTURE.sample(0), "n: expected an integer"),
    "points of 3": (lambda: MIXTURE.score(X), r"x: expected shape \(batch, 2\), got \(2, 3\)"),
    "one point": (lambda: MIXTURE.log_prob(X[0, :2]), r"x: expected shape \(batch, 2\)"),
    "integer points": (lambda: MIXTURE.denoise(P.long(), 1, 1), "x: expected floats"),
    "negative sigma": (lambda: MIXTURE.denoise(P, 1, -1), "sigma: .*at least 0"),
    "negative sigmas": (lambda: MIXTURE.denoise(P, 1, -torch.ones(2)), "sigma: .*at least 0"),
    "infinite alpha": (lambda: MIXTURE.denoise(P, math.inf, 1), "alpha: expected a finite"),
    "alpha of NaN": (lambda: MIXTURE.jacobian(P, torch.tensor(math.nan), 1), "alpha: .*finite"),
    "alpha as text": (lambda: MIXTURE.covariance(P, "1", 1), "alpha: expected a finite number"),
    "three sigmas": (lambda: MIXTURE.denoise(P, 1, torch.ones(3)), r"sigma: .*\(2,\), got \(3,\)"),
    "negative scale": (lambda: MIXTURE.noised(-1, 1), "alpha: .*at least 0"),
    "density of a point": (lambda: mixture(stds=(0.0, 1.0)).log_prob(P), "sigma is 0"),
    "no steps": (lambda: Schedule.linear(0), "steps: expected an integer"),
    "betas of a rescaled schedule": (
        lambda: Schedule.linear(10, beta_min=0.01, beta_max=2.0),
        r"betas\[5\] = 1.1\d*: .*strictly between 0 and 1",
    ),
    "beta of 0": (lambda: Schedule.from_betas(numbers_of(0.1, 0)), r"betas\[1\] = 0"),
    "beta of 1": (lambda: Schedule.from_betas(numbers_of(1.0)), r"betas\[0\] = 1"),
    "beta of NaN": (lambda: Schedule.from_betas(numbers_of(math.nan)), r"betas\[0\] = nan"),
    "no betas": (lambda: Schedule.from_betas(torch.ones(0)), "betas: expected shape"),
    "a table of betas": (
        lambda: Schedule.from_betas(0.5 * torch.ones(2, 2)),
        "betas: expected shape",
    ),
    "integer betas": (lambda: Schedule.from_betas(torch.ones(2).long()), "betas: expected floats"),
    "no cosine steps": (lambda: Schedule.cosine(0), "steps: expected an integer"),
    "negative offset": (
        lambda: Schedule.cosine(offset=-0.1),
        "offset: expected a number from 0 to 1",
    ),
    "large offset": (lambda: Schedule.cosine(offset=1.5), "offset: expected a number from 0 to 1"),
    "cut at 0": (lambda: Schedule.cosine(beta_max=0), "beta_max: expected a finite number above 0"),
    "sigma_max 0": (lambda: Schedule.edm(0.0), "sigma_max: expected a finite number above 0"),
    "infinite sigma_max": (lambda: Schedule.edm(math.inf), "sigma_max: expected a finite"),
    "no shift": (lambda: FLOW.shifted(0), "factor: expected a finite number above 0"),
    "a shift of true": (lambda: FLOW.shifted(True), "factor: expected a finite number"),
    "zero SNR of a flow": (FLOW.with_zero_terminal_snr, "expected a chain of 2 steps or more"),
    "zero SNR of one step": (
        Schedule.linear(1).with_zero_terminal_snr,
        "expected a chain of 2 steps or more",
    ),
    "time above the end": (lambda: FLOW.alpha(1.1), r"t: expected times from 0 .*got 1.1"),
    "time below 0": (lambda: CHAIN.sigma(-1), r"t: expected integer steps from 0 .* to 8"),
    "step above the end": (lambda: CHAIN.snr(torch.tensor([3, 9])), "got 9"),
    "half a step": (lambda: CHAIN.log_snr(2.5), "integer steps .*got 2.5"),
    "time of NaN": (lambda: FLOW.alpha(math.nan), "got nan"),
    "times as a list": (lambda: FLOW.alpha([0.1]), "t: expected a torch.Tensor"),
    "time of true": (lambda: FLOW.alpha(True), "t: expected a torch.Tensor"),
    "more steps than the chain": (lambda: CHAIN.times(9), "steps: expected at most the chain's 8"),
    "steps as a float": (lambda: CHAIN.times(4.0), "steps: expected an integer"),
    "shapes that only broadcast": (
        lambda: convert(X[:1], X, 1, "x0", "eps", CHAIN),
        "pred and x: expected one shape",
    ),
    "integers": (lambda: convert(X.long(), X, 1, "x0", "eps", CHAIN), "pred: expected floats"),
    "a scalar": (lambda: convert(X[0, 0], X[0, 0], 1, "x0", "v", CHAIN), "expected shape"),
    "unknown source": (lambda: convert(X, X, 1, "noise", "x0", CHAIN), "source: expected one of"),
    "unknown target": (lambda: convert(X, X, 1, "x0", "u", CHAIN), "target: expected one of"),
    "no schedule": (lambda: convert(X, X, 1, "x0", "v", "linear"), "schedule: .*got str"),
    "a time too many": (
        lambda: convert(X, X, torch.ones(3), "x0", "v", FLOW),
        r"t: expected a number or shape \(2,\), got \(3,\)",
    ),
    "noise at no signal": (
        lambda: convert(X, X, 1.0, "eps", "x0", FLOW),
        "source: .*SNR is 0.*'eps' doesn't determine 'x0'; predict",
    ),
    "score at no signal": (
        lambda: convert(X, X, torch.tensor([0.5, 1.0]), "score", "v", FLOW),
        "'score' doesn't determine 'v'",
    ),
    "score without noise": (lambda: convert(X, X, 0, "v", "score", FLOW), "target: at sigma = 0"),
    "noise of data": (lambda: convert(X, X, 0, "x0", "eps", FLOW), "source: at sigma = 0 x is x0"),
    "score of some without noise": (
        lambda: convert(X, X, torch.tensor([0.5, 0.0]), "v", "score", FLOW),
        "target: at sigma = 0",
    ),
    "noise of another shape": (lambda: add_noise(X, X[:1], 1, CHAIN), "x0 and eps: expected one"),
    "noise at no time": (lambda: add_noise(X, X, 9, CHAIN), "t: expected integer steps"),
    "noise without schedule": (lambda: add_noise(X, X, 1, None), "schedule: .*got NoneType"),
    "step to more noise": (lambda: ddim_step(X, X, 2, 3, CHAIN), "s: expected less noise"),
    "step to the same time": (lambda: ddim_step(X, X, 2, 2, CHAIN), "s: expected less noise"),
    "some steps backward": (
        lambda: ddim_step(X, X, torch.tensor([3, 1]), torch.tensor([2, 1]), CHAIN),
        "s: expected less noise",
    ),
    "step from no signal": (lambda: ddim_step(X, X, 1.0, 0.5, FLOW), "eps: at SNR 0"),
    "some steps from no signal": (
        lambda: ddim_step(X, X, torch.tensor([1.0, 0.9]), 0.5, FLOW),
        "eps: at SNR 0",
    ),
    "step below 0": (lambda: ddim_step(X, X, 1, -1, CHAIN), "s: expected integer steps"),
    "eta above 1": (lambda: ddim_step(X, X, 2, 1, CHAIN, eta=1.1), "eta: .*from 0 to 1, got 1.1"),
    "eta of NaN": (
        lambda: ddim_step(X, X, 2, 1, CHAIN, eta=math.nan),
        "eta: expected a number from 0 to 1",
    ),
    "step of another shape": (lambda: ddim_step(X, X[:, :1], 2, 1, CHAIN), "x and eps: expected"),
    "unknown weight": (lambda: loss_weight("score", numbers_of(1.0)), "kind: expected one of"),
    "negative SNR": (lambda: loss_weight("v", numbers_of(1, -1)), "snr: expected numbers of at"),
    "SNR of NaN": (lambda: loss_weight("v", numbers_of(math.nan)), "snr: expected numbers of at"),
    "integer SNR": (lambda: loss_weight("v", torch.tensor([1])), "snr: expected floats"),
    "gamma of 0": (lambda: loss_weight("v", numbers_of(1), 0), "gamma: expected a number above 0"),
    "gamma of NaN": (lambda: loss_weight("v", numbers_of(1), math.nan), "gamma: expected a number"),
    "gamma as text": (lambda: loss_weight("v", numbers_of(1), "5"), "gamma: expected a number"),
    "guides of two shapes": (lambda: guide(X, X[0], 2.0), "cond and uncond: expected one shape"),
    "guides of integers": (lambda: guide(X.long(), X.long(), 2.0), "cond: expected floats"),
    "infinite guidance": (lambda: guide(X, X, math.inf), "w: expected a finite number"),
    "no levels": (lambda: karras_sigmas(0), "n: expected an integer"),
    "least level of 0": (
        lambda: karras_sigmas(3, 0.0),
        "sigma_min: expected a finite number above 0",
    ),
    "levels reversed": (lambda: karras_sigmas(3, 2.0, 1.0), "sigma_min: expected less than"),
    "levels equal": (lambda: karras_sigmas(3, 1.0, 1.0), "sigma_min: expected less than"),
    "rho of 0": (lambda: karras_sigmas(3, rho=0), "rho: expected a finite number above 0"),
    "infinite level": (
        lambda: karras_sigmas(3, sigma_max=math.inf),
        "sigma_max: expected a finite",
    ),
}


@pytest.mark.parametrize("call, message", ERRORS.values(), ids=ERRORS)
def test_errors_name_the_argument_and_what_was_expected(call, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        call()


def run(times=(1.0, 0.5, 0.0), schedule=FLOW, denoiser=lambda x, t: x, x=X, **options):
    return sample(denoiser, x, times, schedule, **options)


SAMPLE_ERRORS = {
    "one time": (lambda: run([1.0]), "times: expected at least 2"),
    "a table of times": (lambda: run(torch.ones(2, 2)), "times: expected at least 2 in a list"),
    "a time twice": (
        lambda: run([1.0, 0.5, 0.5, 0.0]),
        r"times\[1\], times\[2\] = 0.5, 0.5: the same time twice",
    ),
    "times that rise": (
        lambda: run([0.5, 1.0]),
        r"times\[0\], times\[1\] = 0.5, 1: noise is added",
    ),
    "times beyond": (lambda: run([2.0, 1.0]), "times: expected times from 0"),
    "times of NaN": (lambda: run([1.0, math.nan]), "times: expected times from 0.*got nan"),
    "half steps": (lambda: run([4.0, 2.5], CHAIN), "times: expected integer steps"),
    "unknown solver": (lambda: run(solver="euler"), "solver: expected one of ddim"),
    "guidance alone": (lambda: run(guidance=2.0), "guidance and unconditional: expected both"),
    "unconditional alone": (
        lambda: run(unconditional=lambda x, t: x),
        "guidance and unconditional: expected both",
    ),
    "guidance as text": (
        lambda: run(guidance="2", unconditional=lambda x, t: x),
        "guidance: expected a finite number",
    ),
    "clip at 0": (lambda: run(clip=0.0), "clip: expected a finite number above 0"),
    "eta with heun": (lambda: run(solver="heun", eta=0.5), "eta: expected 0 for heun"),
    "negative eta": (lambda: run(eta=-0.5), "eta: expected a number from 0 to 1"),
    "integers": (lambda: run(x=X.long()), "x: expected floats"),
    "no schedule": (lambda: run(schedule=None), "schedule: expected a Schedule"),
    "denoiser of another shape": (
        lambda: run(denoiser=lambda x, t: x[:, :1]),
        r"denoiser: expected the shape of x, \(2, 3\), got \(2, 1\)",
    ),
}


@pytest.mark.parametrize("call, message", SAMPLE_ERRORS.values(), ids=SAMPLE_ERRORS)
def test_sampler_refuses_what_leads_nowhere(call, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        call()


def test_without_validation_values_are_not_looked_at():
    nan, one = numbers_of(math.nan), numbers_of(1.0)
    with derived.validation(False):
        assert Schedule.rectified_flow().alpha(nan).isnan()
        assert convert(one, one, 1.0, "eps", "x0", FLOW).isnan()
        assert ddim_step(one, one, 1.0, 0.5, FLOW).isnan()
        assert not ddim_step(one, one, 0.5, 0.5, FLOW).isnan()
        assert loss_weight("x0", nan).isnan()
        assert MIXTURE.log_prob(torch.zeros(1, 2), 1.0, nan).isnan()
        with pytest.raises(ValueError, match="expected one shape"):
            convert(X, X[:1], 1.0, "v", "x0", FLOW)


def test_a_batch_may_be_empty():
    empty = torch.zeros(0, 2)
    t = torch.zeros(0)
    assert convert(empty, empty, t, "x0", "x0", FLOW).shape == (0, 2)
    assert convert(empty, empty, 0.5, "x0", "v", FLOW).shape == (0, 2)
    assert sample(MIXTURE.denoiser(FLOW), empty, [1.0, 0.0], FLOW).shape == (0, 2)


def test_what_has_no_dimension_or_no_power_is_refused():
    none, vector = torch.zeros(0), torch.zeros(1)
    with pytest.raises(ValueError, match="^mean_a: expected a finite vector of at least one"):
        frechet_distance(none, torch.zeros(0, 0), none, torch.zeros(0, 0))
    with pytest.raises(ValueError, match="^cov_a: expected a finite square matrix"):
        frechet_distance(vector, torch.zeros(0, 0), vector, torch.eye(1))
    for rho in (1e-3, 0.006):
        with pytest.raises(ValueError, match="^rho: expected a number with which"):
            karras_sigmas(5, rho=rho)
    least = karras_sigmas(5, rho=0.01)
    assert least.isfinite().all() and (least.diff() < 0).all()


def test_large_covariances_of_float16_are_symmetric_or_not():
    cov = torch.tensor([[6e4, 1e4], [3e4, 6e4]]).half()  # of a sum beyond 65,504
    with pytest.raises(ValueError, match="symmetric"):
        frechet_distance(torch.zeros(2).half(), cov, torch.zeros(2).half(), cov)


COMPILED = """
import logging, torch
from derived.diffusion import Schedule, add_noise, convert
logging.disable(logging.CRITICAL)
chain, graphs = Schedule.linear(1000), []
x, eps = torch.randn(2, 3, 2)
def backend(graph, inputs):
    graphs.append(graph)
    return graph.forward
noisy = torch.compile(lambda x, eps, t: add_noise(x, eps, t, chain), backend=backend, fullgraph=True)
for t in range(10, 90, 10):
    assert torch.equal(noisy(x, eps, t), add_noise(x, eps, t, chain))
assert len(graphs) <= 2, len(graphs)
for source, target in (("eps", "v"), ("score", "eps"), ("v", "x0")):
    def change(pred, x): return convert(pred, x, 500, source, target, chain)
    one = torch.compile(change, backend="eager", fullgraph=True)
    torch.testing.assert_close(one(eps, x), change(eps, x))
"""


def test_noising_and_converting_compile_into_one_graph_for_all_steps():
    support.run(
        [sys.executable, "-c", COMPILED]
    )  # apart, as what watches the types can't be compiled


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule.linear(9),
        Schedule.cosine(9).with_zero_terminal_snr(),
        Schedule.edm(),
        Schedule.rectified_flow().shifted(3.0),
    ],
    ids=lambda schedule: schedule.name,
)
def test_a_schedule_can_be_sent_to_another_process(schedule):
    for other in (pickle.loads(pickle.dumps(schedule)), copy.deepcopy(schedule)):
        times = schedule.times(4)
        assert torch.equal(other.alpha(times), schedule.alpha(times))
        assert torch.equal(other.sigma(times), schedule.sigma(times))
        assert repr(other) == repr(schedule)
