"""The equations of the chapter on diffusion from the samplers on, their peers, and the evaluation."""

import importlib
import itertools
import json
import math
from decimal import Decimal, localcontext
from pathlib import Path

import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
import sympy
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    HeunDiscreteScheduler,
)
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr
from torch.autograd import grad

import derived
from derived.diffusion import (
    GaussianMixture,
    Schedule,
    add_noise,
    convert,
    ddim_step,
    energy_distance,
    frechet_distance,
    guide,
    karras_sigmas,
    log_likelihood,
    loss_weight,
    sample,
)

BOOK = Path(__file__).parents[3]
LINEAR, COSINE = Schedule.linear(), Schedule.cosine()
FLOW, EDM = Schedule.rectified_flow(), Schedule.edm()
ZERO = LINEAR.with_zero_terminal_snr()
SCHEDULES = {"linear": LINEAR, "cosine": COSINE, "flow": FLOW, "edm": EDM}
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
PREDICTIONS = ["x0", "eps", "v", "score", "velocity"]


def tensor(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def levels(schedule, t):
    return schedule.alpha(t).item(), schedule.sigma(t).item()


def times_of(schedule, count, seed=0):
    """Random times of a schedule, with some signal and some noise, falling."""
    share = torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    times = (0.02 + 0.9 * share).sort(descending=True).values * schedule.end
    return times.round().long() if schedule.discrete else times


MIXTURE = GaussianMixture(
    tensor(0.5, 0.3, 0.2),
    tensor([-1.0, 0.0], [1.0, 1.0], [0.5, -1.2]),
    tensor(0.3, 0.2, 0.5),
)
NORMAL = GaussianMixture(tensor(1.0), tensor([2.0, -1.0]), tensor(0.5))


def normal(variance, mean=0.0):
    return GaussianMixture(tensor(1.0), tensor([mean]), tensor(variance**0.5))


def close(some, other, tolerance=1e-12):
    some, other = (torch.as_tensor(value, dtype=torch.float64) for value in (some, other))
    scale = max(1.0, other.abs().max().item())
    assert (some - other).abs().max().item() <= tolerance * scale


# The DDIM family


def ddim_noise(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    """The label's standard deviation of the noise that a step adds."""
    return eta * sigma_s / sigma_t * math.sqrt(sigma_t**2 - alpha_t**2 / alpha_s**2 * sigma_s**2)


@pytest.mark.verifies("diffusion-ddim", by="exact")
@every_schedule
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_a_step_points_at_the_data_and_at_the_noise(schedule, eta):
    x, eps = draw(6, 2, 3, seed=1), draw(6, 2, 3, seed=2)
    z = draw(6, 2, 3, seed=3)
    for t, s in itertools.pairwise(times_of(schedule, 5).tolist()):
        (a, b), (a_s, b_s) = levels(schedule, t), levels(schedule, s)
        noise = ddim_noise(a, b, a_s, b_s, eta)
        x0 = (x - b * eps) / a
        expected = a_s * x0 + math.sqrt(b_s**2 - noise**2) * eps + noise * z
        generator = torch.Generator().manual_seed(3)
        close(ddim_step(x, eps, t, s, schedule, eta=eta, generator=generator), expected)


def responses(schedule, t, s, eta):
    """What a step makes of x0, of the noise in x_t, and of the noise that it adds itself."""
    a, b = levels(schedule, t)

    def step(x, eps):
        generator = torch.Generator().manual_seed(5)
        return ddim_step(x, eps, t, s, schedule, eta=eta, generator=generator)

    one, none, z = (
        torch.ones(1, dtype=torch.float64),
        torch.zeros(1, dtype=torch.float64),
        draw(1, seed=5),
    )
    added = step(none, none)
    return [
        value.item()
        for value in (step(a * one, none) - added, step(b * one, one) - added, added / z)
    ]


@pytest.mark.verifies("diffusion-ddim-marginal", by="exact")
@every_schedule
def test_given_the_data_every_member_of_the_family_has_the_same_marginal(schedule):
    for eta in (0.0, 0.25, 0.7, 1.0):
        for t, s in itertools.combinations(times_of(schedule, 5).unique().flip(0).tolist(), 2):
            signal, kept, added = responses(schedule, t, s, eta)
            alpha, sigma = levels(schedule, s)
            assert signal == pytest.approx(alpha, abs=1e-12 * max(1, sigma))
            assert kept**2 + added**2 == pytest.approx(sigma**2, rel=1e-12)
            assert (abs(added) > 0) == (eta > 0)


def test_any_split_of_the_noise_keeps_the_marginal():
    sigma, part = sympy.symbols("sigma part", positive=True)
    kept = sympy.sqrt(sigma**2 - part**2)
    assert sympy.simplify(kept**2 + part**2 - sigma**2) == 0
    assert kept.subs(part, sigma) == 0  # the most that may be added is all of it


@pytest.mark.verifies("diffusion-eta", by="exact")
@every_schedule
def test_eta_is_measured_in_the_posterior_of_the_step_however_long(schedule):
    for t, s in itertools.combinations(times_of(schedule, 5).unique().flip(0).tolist(), 2):
        (a, b), (a_s, b_s) = levels(schedule, t), levels(schedule, s)
        gain = a / a_s  # of the forward step from s to t
        forward = b**2 - gain**2 * b_s**2
        posterior = 1 / (1 / b_s**2 + gain**2 / forward)
        pull = posterior * gain / forward
        signal, kept, added = responses(schedule, t, s, 1.0)
        assert added**2 == pytest.approx(posterior, rel=1e-9)
        # its mean, too: x0 enters directly and through x_t, the noise through x_t alone
        assert kept == pytest.approx(pull * b, rel=1e-9)
        assert signal == pytest.approx(posterior / b_s**2 * a_s + pull * a, rel=1e-9)
        half = responses(schedule, t, s, 0.5)[2]
        assert half == pytest.approx(ddim_noise(a, b, a_s, b_s, 0.5), rel=1e-9)


def peer_step(scheduler, eps, t, x, z=None):
    """A step of a scheduler of diffusers whose random numbers are given."""
    more = {} if z is None else {"eta": 1.0, "variance_noise": z}
    return scheduler.step(eps, t, x, **more).prev_sample


@pytest.mark.verifies("diffusion-ddim", by="peer")
@pytest.mark.verifies("diffusion-eta", by="peer")
@pytest.mark.parametrize("steps", [1000, 50])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_steps_agree_with_diffusers(steps, eta):
    scheduler = DDIMScheduler(clip_sample=False)
    scheduler.set_timesteps(steps)
    stride = 1000 // steps
    for t in scheduler.timesteps.tolist()[:: max(1, steps // 25)] + [0]:
        x, eps = draw(4, 3, seed=t), draw(4, 3, seed=t + 1)
        z = draw(4, 3, seed=t + 2)
        theirs = peer_step(scheduler, eps, t, x, z if eta else None)
        # They count from 0, so that -1 is what is 0 here.
        generator = torch.Generator().manual_seed(t + 2)
        s = max(0, t + 1 - stride)
        ours = ddim_step(x, eps, t + 1, s, LINEAR, eta=eta, generator=generator)
        close(ours, theirs, 1e-5)


@pytest.mark.parametrize("steps", [1000, 50])
def test_full_noise_is_ancestral_sampling_as_in_diffusers(steps):
    scheduler = DDPMScheduler(clip_sample=False, variance_type="fixed_small")
    scheduler.set_timesteps(steps)
    stride = 1000 // steps
    for t in scheduler.timesteps.tolist()[:: steps // 25][:-1]:
        x, eps = draw(4, 3, seed=t), draw(4, 3, seed=t + 1)
        state = torch.Generator().manual_seed(t + 2)
        theirs = scheduler.step(eps, t, x, generator=state).prev_sample
        generator = torch.Generator().manual_seed(t + 2)
        ours = ddim_step(x, eps, t + 1, t + 1 - stride, LINEAR, eta=1.0, generator=generator)
        close(ours, theirs, 1e-5)


@pytest.mark.verifies("diffusion-ddim-euler", by="exact")
@every_schedule
def test_without_noise_a_step_is_eulers_in_the_scaled_state(schedule):
    x, eps = draw(5, 4, seed=1), draw(5, 4, seed=2)
    for t, s in itertools.pairwise(times_of(schedule, 6).tolist()):
        (a, b), (a_s, b_s) = levels(schedule, t), levels(schedule, s)
        moved = ddim_step(x, eps, t, s, schedule) / a_s
        close(moved, x / a + (b_s / a_s - b / a) * eps)


# The probability-flow ODE


def derivatives(density, x, clock):
    """Values of a density on points, its derivative by the clock, gradient and Laplacian."""
    x, clock = x.clone().requires_grad_(), clock.clone().requires_grad_()
    p = density(x, clock)
    by_clock, slope = grad(p.sum(), (clock, x), create_graph=True)
    return p.detach(), by_clock.detach(), slope.detach(), divergence(slope, x)


def divergence(field, x):
    """Sum of the derivatives of each component by its own coordinate."""
    parts = [grad(field[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(x.shape[1])]
    return sum(parts).detach()


def outflow(flux, x, clock):
    """Divergence of a flux at points, as a function of points and clock."""
    x = x.clone().requires_grad_()
    return divergence(flux(x, clock), x)


POINTS = MIXTURE.noised(1.0, 0.7).sample(60, generator=torch.Generator().manual_seed(0))
CLOCK = torch.linspace(0.05, 2.5, 60, dtype=torch.float64)


def density(x, sigma):
    return MIXTURE.log_prob(x, 1.0, sigma).exp()


@pytest.mark.verifies("diffusion-heat", by="gradient")
def test_adding_noise_is_heat_flow():
    _, by_sigma, _, laplacian = derivatives(density, POINTS, CLOCK)
    close(by_sigma, CLOCK * laplacian, 1e-11)


@pytest.mark.verifies("diffusion-ode", by="gradient")
def test_the_flow_along_the_predicted_noise_has_the_same_marginals():
    def predicted(x, sigma):
        return (x - MIXTURE.denoise(x, 1.0, sigma)) / sigma[:, None]

    close(predicted(POINTS, CLOCK), -CLOCK[:, None] * MIXTURE.score(POINTS, 1.0, CLOCK), 1e-10)
    _, by_sigma, _, _ = derivatives(density, POINTS, CLOCK)
    flux = lambda x, sigma: density(x, sigma)[:, None] * predicted(x, sigma)
    close(by_sigma, -outflow(flux, POINTS, CLOCK), 1e-11)


@pytest.mark.verifies("diffusion-family", by="gradient")
@pytest.mark.parametrize("ell", [0.0, 0.5, 1.0, 2.0])
def test_every_noise_of_the_family_has_the_same_marginals(ell):
    _, by_sigma, _, laplacian = derivatives(density, POINTS, CLOCK)

    def flux(x, sigma):  # of the drift, in the direction of falling sigma
        drift = (1 + ell**2) * sigma[:, None] * MIXTURE.score(x, 1.0, sigma)
        return density(x, sigma)[:, None] * drift

    diffusion = (ell * (2 * CLOCK).sqrt()) ** 2 / 2
    # Fokker-Planck, with the clock running backward
    close(-by_sigma, -outflow(flux, POINTS, CLOCK) + diffusion * laplacian, 1e-11)


@pytest.mark.verifies("diffusion-family", by="exact")
def test_ancestral_sampling_is_the_member_with_ell_one():
    sigma, h = 1.3, 1e-5
    x, eps = tensor([0.4, -1.0]), tensor([0.9, 0.2])
    generator = torch.Generator().manual_seed(0)
    moved = ddim_step(x, eps, sigma, sigma - h, EDM, eta=1.0, generator=generator)
    z = draw(1, 2, seed=0)
    # -(1 + 1) sigma score dsigma, where eps = -sigma score, and sqrt(2 sigma) dw
    expected = 2 * eps * -h + math.sqrt(2 * sigma * h) * z
    close((moved - x) / h**0.5, expected / h**0.5, 1e-4)


VP = (lambda t: (1.3 * t).cos(), lambda t: (1.3 * t).sin())
STRAIGHT = (FLOW.alpha, FLOW.sigma)
GROWING = (lambda t: 1 + t, lambda t: 0.2 + t**2)  # of no family
CURVES = {"vp": VP, "flow": STRAIGHT, "growing": GROWING}


def rates(curve, t):
    """alpha, sigma, f and g^2 of a curve of levels at times."""
    t = t.clone().requires_grad_()
    alpha, sigma = curve[0](t), curve[1](t)
    (alpha_dot,) = grad(alpha.sum(), t, retain_graph=True)
    (sigma_dot,) = grad(sigma.sum(), t)
    alpha, sigma = alpha.detach(), sigma.detach()
    f = alpha_dot / alpha
    return alpha, sigma, f, 2 * sigma * sigma_dot - 2 * f * sigma**2


@pytest.mark.verifies("diffusion-general-ode", by="gradient")
@pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES)
def test_the_ode_of_any_schedule_keeps_its_marginals(curve):
    t = torch.linspace(0.1, 0.9, 60, dtype=torch.float64)
    alpha, sigma, f, g2 = rates(curve, t)

    def density(x, t):
        return MIXTURE.log_prob(x, curve[0](t), curve[1](t)).exp()

    def flux(x, t):
        drift = f[:, None] * x - g2[:, None] / 2 * MIXTURE.score(x, alpha, sigma)
        return MIXTURE.log_prob(x, alpha, sigma).exp()[:, None] * drift

    _, by_t, _, _ = derivatives(density, POINTS, t)
    close(by_t, -outflow(flux, POINTS, t), 1e-11)


def exact_path(x, sigma, to, mixture=NORMAL):
    """The label's path for Gaussian data, with alpha = 1."""
    s2 = mixture.stds[0] ** 2
    m = mixture.means[0]
    return m + (x - m) * ((s2 + to**2) / (s2 + sigma**2)) ** 0.5


@pytest.mark.verifies("diffusion-gaussian-path", by="gradient")
def test_paths_of_gaussian_data_follow_the_ode():
    x = draw(1, 2, seed=4) * 5
    for to in (0.03, 0.5, 2.0, 40.0):
        sigma = torch.tensor(to, dtype=torch.float64, requires_grad=True)
        path = exact_path(x, 5.0, sigma)
        moved = torch.stack([grad(p, sigma, retain_graph=True)[0] for p in path[0]])[None]
        close(moved, (path - NORMAL.denoise(path, 1.0, to)).detach() / to)
    close(exact_path(x, 5.0, 5.0), x)


@pytest.mark.verifies("diffusion-likelihood", by="gradient")
def test_along_a_path_the_density_changes_by_the_trace():
    score = MIXTURE.score(POINTS, 1.0, CLOCK)
    speed = -CLOCK[:, None] * score
    x, sigma = POINTS.clone().requires_grad_(), CLOCK.clone().requires_grad_()
    (by_sigma,) = grad(MIXTURE.log_prob(x, 1.0, sigma).sum(), sigma)
    along = by_sigma + (speed * score).sum(1)
    field = (x - MIXTURE.denoise(x, 1.0, CLOCK)) / CLOCK[:, None]
    close(along, -divergence(field, x), 1e-10)


def times_with_noise_left(schedule, n):
    """Falling times whose last has a little noise."""
    if schedule is EDM:
        return karras_sigmas(n, 0.05)[:-1]
    least = 2.0 if schedule.discrete else 0.05
    times = torch.linspace(schedule.end, least, n, dtype=torch.float64)
    return times.round().long() if schedule.discrete else times


@pytest.mark.verifies("diffusion-likelihood", by="exact")
@pytest.mark.parametrize("name", ["linear", "cosine", "flow", "edm", "zero"])
def test_the_likelihood_is_that_of_the_mixture(name):
    schedule = SCHEDULES.get(name, ZERO)
    centered = GaussianMixture(
        MIXTURE.weights, MIXTURE.means - MIXTURE.weights @ MIXTURE.means, MIXTURE.stds
    )
    errors = []
    for n in (60, 120):
        times = times_with_noise_left(schedule, n)
        alpha, sigma = levels(schedule, times[-1])
        x = centered.noised(alpha, sigma).sample(100, generator=torch.Generator().manual_seed(1))
        found = log_likelihood(centered.denoiser(schedule), x, times, schedule)
        assert found.shape == (100,) and found.dtype == torch.float64
        errors.append((found - centered.log_prob(x, alpha, sigma)).abs().mean().item())
    assert errors[1] < 1.5e-3 and errors[1] < errors[0] / 2.5  # order 2, up to what sigma_T leaves


def test_the_likelihood_of_gaussian_data_is_of_order_two_and_for_white_noise_exact():
    x = tensor([-1.5], [0.0], [2.0])

    def off(data, n):
        times = torch.linspace(1, 0.1, n + 1, dtype=torch.float64)
        found = log_likelihood(data.denoiser(FLOW), x, times, FLOW)
        return (found - data.log_prob(x, *levels(FLOW, 0.1))).abs().max().item()

    errors = [off(normal(0.3), n) for n in (12, 24, 48)]
    assert all(abs(slope - 2) < 0.15 for slope in slopes(errors)), slopes(errors)
    assert off(normal(1.0), 1) < 1e-12  # alpha^2 + sigma^2 scales it, and nothing else happens


def test_random_probes_estimate_the_trace_without_bias():
    times = karras_sigmas(12, 0.05)[:-1]
    x = tensor([0.3, -0.2]).expand(4000, 2).contiguous()
    exact = log_likelihood(MIXTURE.denoiser(EDM), x[:1], times, EDM)
    generator = torch.Generator().manual_seed(0)
    found = log_likelihood(MIXTURE.denoiser(EDM), x, times, EDM, probes=1, generator=generator)
    standard_error = found.std() / 4000**0.5
    assert standard_error > 0 and (found.mean() - exact).abs() < 5 * standard_error
    many = log_likelihood(MIXTURE.denoiser(EDM), x, times, EDM, probes=9, generator=generator)
    assert many.std() / found.std() == pytest.approx(1 / 3, rel=0.1)
    assert (many.mean() - exact).abs() < 5 * many.std() / 4000**0.5


def test_the_trace_is_exact_up_to_64_dimensions_and_estimated_above():
    times = karras_sigmas(8, 0.1)[:-1]
    for dim, exact in ((64, True), (65, False)):
        mixture = GaussianMixture(tensor(0.5, 0.5), draw(2, dim, seed=3), tensor(0.5, 1.0))
        x = mixture.sample(3, generator=torch.Generator().manual_seed(0))
        one, two = (
            log_likelihood(
                mixture.denoiser(EDM), x, times, EDM, generator=torch.Generator().manual_seed(seed)
            )
            for seed in (1, 2)
        )
        assert torch.equal(one, two) == exact


def test_the_likelihood_of_images_and_of_float32():
    image = lambda denoise: lambda x, t: denoise(x.flatten(1), t).view_as(x)
    mixture = GaussianMixture(tensor(0.5, 0.5), draw(2, 4, seed=3), tensor(0.5, 1.0))
    times = times_with_noise_left(LINEAR, 20)
    x = mixture.sample(5, generator=torch.Generator().manual_seed(0))
    flat = log_likelihood(mixture.denoiser(LINEAR), x, times, LINEAR)
    square = x.view(5, 1, 2, 2)
    close(log_likelihood(image(mixture.denoiser(LINEAR)), square, times, LINEAR), flat)
    single = log_likelihood(mixture.denoiser(LINEAR), x.float(), times.tolist(), LINEAR)
    assert single.dtype == torch.float32 and (single - flat).abs().max() < 1e-4
    with torch.no_grad():
        close(log_likelihood(mixture.denoiser(LINEAR), x, times, LINEAR), flat)


# Solvers


def slopes(errors):
    """Orders from errors at step counts that double: the logarithms of the ratios to base 2."""
    return [math.log2(a / b) for a, b in itertools.pairwise(errors)]


def error(solver, schedule, n):
    """The error at the end of n steps on Gaussian data, from noise to a little of it."""
    if schedule is EDM:
        times = karras_sigmas(n + 1, 0.1, 10.0)[:-1]
    else:
        times = torch.linspace(0.95, 0.1, n + 1, dtype=torch.float64)
    (a, b), (a_s, b_s) = levels(schedule, times[0]), levels(schedule, times[-1])
    x = b * draw(8, 2, seed=1)
    exact = a_s * exact_path(x / a, b / a, b_s / a_s)
    return (
        (sample(NORMAL.denoiser(schedule), x, times, schedule, solver) - exact).abs().max().item()
    )


@pytest.mark.verifies("diffusion-orders", by="exact")
@pytest.mark.parametrize("schedule", [EDM, FLOW], ids=["edm", "flow"])
@pytest.mark.parametrize(("solver", "order"), [("ddim", 1), ("heun", 2), ("dpmpp_2m", 2)])
def test_the_order_of_each_solver(solver, order, schedule):
    errors = [error(solver, schedule, n) for n in (40, 80, 160)]
    assert all(abs(slope - order) < 0.15 for slope in slopes(errors)), slopes(errors)


@pytest.mark.verifies("diffusion-heun", by="exact")
def test_a_step_of_heun():
    x, (t, s) = draw(6, 2, seed=1) * 2, (1.7, 0.9)
    noise = lambda x, sigma: (x - MIXTURE.denoise(x, 1.0, sigma)) / sigma
    h = s - t
    guess = x + h * noise(x, t)
    expected = x + h / 2 * (noise(x, t) + noise(guess, s))
    close(sample(MIXTURE.denoiser(EDM), x, [t, s], EDM, "heun"), expected)
    # the same in the scaled state of any other schedule
    t, s = 700, 400
    (a, b), (a_s, b_s) = levels(LINEAR, t), levels(LINEAR, s)
    y = x / a
    h = b_s / a_s - b / a
    guess = y + h * noise(y, b / a)
    expected = y + h / 2 * (noise(y, b / a) + noise(guess, b_s / a_s))
    close(sample(MIXTURE.denoiser(LINEAR), x, [t, s], LINEAR, "heun"), a_s * expected)


@pytest.mark.verifies("diffusion-exponential", by="exact")
@pytest.mark.parametrize("schedule", [LINEAR, FLOW, EDM], ids=["linear", "flow", "edm"])
def test_the_linear_part_of_the_ode_is_solved_exactly(schedule):
    t, s = (600, 150) if schedule is LINEAR else (0.8, 0.2)
    (a, b), (a_s, b_s) = levels(schedule, t), levels(schedule, s)
    x = draw(5, 2, seed=2)
    ends = math.log(a / b), math.log(a_s / b_s)
    nodes, weights = np.polynomial.legendre.leggauss(40)
    integral = 0
    for node, weight in zip(nodes, weights, strict=True):
        lam = (ends[1] - ends[0]) / 2 * node + (ends[0] + ends[1]) / 2
        kappa = math.exp(-lam)  # sigma / alpha on the way, where the path is known
        on_the_way = exact_path(x / a, b / a, kappa)
        x0 = NORMAL.denoise(on_the_way, 1.0, kappa)
        integral = integral + weight * (ends[1] - ends[0]) / 2 * math.exp(lam) * x0
    by_formula = b_s / b * x + b_s * integral
    close(by_formula, a_s * exact_path(x / a, b / a, b_s / a_s), 1e-11)


@pytest.mark.verifies("diffusion-dpmpp", by="exact")
@every_schedule
def test_a_step_of_dpmpp_extrapolates_from_the_one_before(schedule):
    times = times_of(schedule, 3, seed=4)
    x = draw(6, 2, seed=1)
    (a0, b0), (a, b), (a_s, b_s) = (levels(schedule, t) for t in times)
    denoise = lambda x, a, b: MIXTURE.denoise(x, a, b)
    first = denoise(x, a0, b0)
    x_t = a * first + b * (x - a0 * first) / b0  # there is none before the first: order 1
    now = denoise(x_t, a, b)
    h = math.log(a_s / b_s) - math.log(a / b)
    r = (math.log(a / b) - math.log(a0 / b0)) / h
    ahead = (1 + 1 / (2 * r)) * now - 1 / (2 * r) * first
    expected = b_s / b * x_t - a_s * (math.exp(-h) - 1) * ahead
    close(sample(MIXTURE.denoiser(schedule), x, times, schedule, "dpmpp_2m"), expected, 1e-11)


def test_one_seed_draws_what_diffusers_draws():
    scheduler = DDIMScheduler(clip_sample=False)
    times = leading(scheduler, 20)
    x, denoise = draw(10, 2, seed=6).float(), MIXTURE.denoiser(LINEAR)
    theirs, generator = x, torch.Generator().manual_seed(3)
    for t in scheduler.timesteps:
        eps = indexed(scheduler)(theirs, t)
        theirs = scheduler.step(eps, t, theirs, eta=1.0, generator=generator).prev_sample
    generator = torch.Generator().manual_seed(3)
    close(sample(denoise, x, times, LINEAR, eta=1.0, generator=generator), theirs, 1e-4)


def run_peer(scheduler, x, denoise):
    """Follow a scheduler of diffusers, whose predictions are of x0 and inputs are unscaled."""
    for t in scheduler.timesteps:
        x = scheduler.step(denoise(x, t), t, x).prev_sample
    return x


def leading(scheduler, n):
    """Times here that are those of a scheduler that counts from 0, with the end."""
    scheduler.set_timesteps(n)
    return torch.cat([scheduler.timesteps + 1, torch.zeros(1, dtype=torch.long)])


def indexed(scheduler):
    """The mixture's predictions of the noise at a scheduler's own steps, in our float64 levels."""

    def eps(x, t):
        denoised = MIXTURE.denoise(x, LINEAR.alpha(t + 1), LINEAR.sigma(t + 1))
        return convert(denoised, x, t + 1, "x0", "eps", LINEAR)

    return eps


@pytest.mark.parametrize("steps", [10, 25, 40, 100])
def test_ddim_agrees_with_diffusers_where_its_steps_are_even(steps):
    scheduler = DDIMScheduler(clip_sample=False)
    times = leading(scheduler, steps)
    x = draw(50, 2, seed=6)
    theirs = run_peer(scheduler, x, indexed(scheduler))
    close(sample(MIXTURE.denoiser(LINEAR), x, times, LINEAR), theirs, 1e-4)


@pytest.mark.verifies("diffusion-dpmpp", by="peer")
@pytest.mark.parametrize("steps", [2, 5, 20])
def test_dpmpp_agrees_with_diffusers(steps):
    scheduler = DPMSolverMultistepScheduler(
        lower_order_final=steps < 15, euler_at_final=steps >= 15
    )
    times = leading(scheduler, steps)
    x = draw(50, 2, seed=6)
    theirs = run_peer(scheduler, x, indexed(scheduler))
    close(sample(MIXTURE.denoiser(LINEAR), x, times, LINEAR, "dpmpp_2m"), theirs, 1e-4)


@pytest.mark.verifies("diffusion-heun", by="peer")
@pytest.mark.parametrize("steps", [3, 10])
def test_heun_agrees_with_diffusers(steps):
    scheduler = HeunDiscreteScheduler(beta_start=1e-4, beta_end=0.02)
    scheduler.set_timesteps(steps)
    sigmas = torch.cat([scheduler.sigmas[:1], scheduler.sigmas[1:-1:2], scheduler.sigmas[-1:]])
    x = draw(50, 2, seed=6).float() * scheduler.sigmas[0]
    theirs = x
    for t in scheduler.timesteps:
        sigma = scheduler.sigmas[
            scheduler.index_for_timestep(t)
            if scheduler.step_index is None
            else scheduler.step_index
        ]
        clean = MIXTURE.denoise(theirs, 1.0, sigma.item())
        theirs = scheduler.step((theirs - clean) / sigma, t, theirs).prev_sample
    wide = Schedule.edm(200.0)
    close(sample(MIXTURE.denoiser(wide), x, sigmas.double(), wide, "heun"), theirs, 1e-4)


@pytest.fixture(scope="module")
def peers():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BOOK / "benchmarks"))
        yield importlib.import_module("peers_diffusion")


def test_the_recorded_table_of_schedulers_is_measured_again(peers):
    recorded = json.loads((BOOK / "chapters/recorded/diffusion_peers.json").read_text())["cases"]
    measured = peers.measure()
    assert [row["case"] for row in measured] == [row["case"] for row in recorded]
    for new, old in zip(measured, recorded, strict=True):
        for who in ("right", "diffusers", "derived"):
            same = new[who] == old[who] or new[who] == pytest.approx(old[who], rel=1e-3, abs=1e-5)
            assert same, (new["case"], who)
        assert peers.agree(new["derived"], new["right"])
    right = [row["case"] for row in measured if peers.agree(row["diffusers"], row["right"])]
    assert [case.split(":")[0] for case in right] == [
        "DDIM, 10 steps, leading",
        "DDIM, 7 steps, leading",
        "the same, the unshifted levels given",
    ]


# Flow matching


def velocity(x, t):
    """What the best rectified flow predicts."""
    t = torch.as_tensor(t, dtype=torch.float64)
    x0 = MIXTURE.denoise(x, 1 - t, t)
    return convert(x0, x, t, "x0", "velocity", FLOW)


@pytest.mark.verifies("diffusion-flow-matching", by="gradient")
def test_the_best_velocity_is_the_probability_flow():
    t = torch.linspace(0.1, 0.9, 60, dtype=torch.float64)
    alpha, sigma, f, g2 = rates(STRAIGHT, t)
    x0 = MIXTURE.denoise(POINTS, alpha, sigma)
    eps = (POINTS - alpha[:, None] * x0) / sigma[:, None]
    flow = f[:, None] * POINTS - g2[:, None] / 2 * MIXTURE.score(POINTS, alpha, sigma)
    close(eps - x0, flow, 1e-11)
    close(velocity(POINTS, t), flow, 1e-11)


@pytest.mark.verifies("diffusion-flow-matching", by="sampling")
def test_no_other_velocity_has_a_smaller_loss():
    generator = torch.Generator().manual_seed(0)
    x0, eps, t = MIXTURE.sample(40_000, generator=generator), draw(40_000, 2, seed=1), 0.4
    x = add_noise(x0, eps, t, FLOW)
    off = velocity(x, t) - (eps - x0)
    # The residual has no correlation with any function of x: constants, x, squares, signs.
    for probe in (torch.ones_like(x), x, x**2, x.flip(1), (x > 0.2).double()):
        products = (off * probe).sum(1)
        assert products.mean().abs() < 5 * products.std() / 200


@pytest.mark.verifies("diffusion-rf-ddim", by="exact")
def test_eulers_step_of_rectified_flow_is_ddims():
    for t, s in [(0.9, 0.5), (0.5, 0.45), (0.2, 0.0)]:
        x0 = MIXTURE.denoise(POINTS, 1 - t, t)
        eps = (POINTS - (1 - t) * x0) / t
        moved = POINTS + (s - t) * velocity(POINTS, t)
        close(moved, (1 - s) * x0 + s * eps)
        close(ddim_step(POINTS, eps, t, s, FLOW), moved)


@pytest.mark.verifies("diffusion-rescale", by="exact")
@pytest.mark.parametrize("solver", ["ddim", "heun", "dpmpp_2m"])
def test_paths_on_two_schedules_differ_by_the_scale_alone(solver):
    steps = torch.tensor([980, 700, 450, 300, 120, 40, 5])
    ratio = LINEAR.sigma(steps) / LINEAR.alpha(steps)
    wide = Schedule.edm(200.0)
    grids = {LINEAR: steps, FLOW: ratio / (1 + ratio), wide: ratio}
    paths = {}
    for schedule, times in grids.items():
        assert torch.allclose(schedule.log_snr(times), LINEAR.log_snr(steps), atol=1e-10)
        states = []
        scale = schedule.alpha(times)
        start = scale[0] * draw(20, 2, seed=8) * 150
        sample(MIXTURE.denoiser(schedule), start, times, schedule, solver, observe=states.append)
        paths[schedule] = states, scale
    (states, scale), *others = paths.values()
    for states_2, scale_2 in others:
        for x, y, a, b in zip(states, states_2, scale, scale_2, strict=True):
            close(y, b / a * x, 1e-10)


@pytest.mark.verifies("diffusion-curved", by="gradient")
@pytest.mark.parametrize("s", [0.3, 1.0, 2.0])
def test_paths_of_rectified_flow_are_curved(s):
    x1 = tensor([1.0], [-2.0])
    data = normal(s**2)
    for when in (0.1, 0.5, 0.8):
        t = torch.tensor(when, dtype=torch.float64, requires_grad=True)
        path = x1 * ((1 - t) ** 2 * s**2 + t**2).sqrt()
        moved = torch.stack([grad(p, t, retain_graph=True)[0] for p in path[:, 0]])[:, None]
        at = path.detach()
        x0 = data.denoise(at, 1 - when, when)
        close(moved, convert(x0, at, when, "x0", "velocity", FLOW))


def test_a_path_between_equal_distributions_is_shortest_halfway():
    times = torch.linspace(1, 0.5, 201, dtype=torch.float64)
    half = sample(normal(1.0).denoiser(FLOW), tensor([1.0]), times, FLOW, "heun")
    assert half.item() == pytest.approx(math.sqrt(0.5), abs=1e-4)


# Schedules


@pytest.mark.verifies("diffusion-shift", by="symbolic")
def test_a_shift_divides_the_snr():
    t, u, k = sympy.symbols("t u k", positive=True)
    snr = lambda t: (1 - t) ** 2 / t**2
    shifted = k * t / (1 + (k - 1) * t)
    assert sympy.simplify(snr(shifted) - snr(t) / k**2) == 0
    (back,) = sympy.solve(sympy.Eq((1 - u) / u, (1 - t) / (t * k)), u)  # the roots: both positive
    assert sympy.simplify(back - shifted) == 0


@pytest.mark.verifies("diffusion-shift", by="exact")
@pytest.mark.parametrize("k", [0.5, 1.0, 3.0])
def test_a_shifted_schedule_is_a_change_of_time(k):
    t = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    shifted = FLOW.shifted(k)
    moved = k * t / (1 + (k - 1) * t)
    close(shifted.sigma(t), moved)
    close(shifted.alpha(t), 1 - moved)
    close(shifted.snr(t) * k**2 / FLOW.snr(t), torch.ones_like(t))


@pytest.mark.verifies("diffusion-shift-resolution", by="exact")
@pytest.mark.parametrize(("n", "m"), [(64, 1024), (256, 784), (1024, 64)])
def test_shifted_by_the_root_of_the_pixels_the_mean_color_is_as_uncertain(n, m):
    def uncertainty(schedule, t, pixels):
        """Standard deviation of the mean of x / alpha, by what each pixel's noise does to it."""
        noise = torch.eye(pixels, dtype=torch.float64)
        noisy = add_noise(torch.zeros_like(noise), noise, t, schedule) / schedule.alpha(t)
        return noisy.mean(1).square().sum().sqrt()

    k = math.sqrt(m / n)
    for t in (0.1, 0.5, 0.9):
        few = uncertainty(FLOW, t, n)
        close(uncertainty(FLOW.shifted(k), t, m), few)
        moved = k * t / (1 + (k - 1) * t)
        close(moved / ((1 - moved) * math.sqrt(m)), few)
        close(t / ((1 - t) * math.sqrt(n)), few)


@pytest.mark.verifies("diffusion-zero-snr", by="exact")
@pytest.mark.parametrize("schedule", [LINEAR, COSINE, Schedule.linear(50)], ids=str)
def test_zero_terminal_snr_keeps_the_first_step_and_empties_the_last(schedule):
    zero = schedule.with_zero_terminal_snr()
    t = torch.arange(1, int(schedule.end) + 1)
    alpha = schedule.alpha(t)
    expected = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])
    close(zero.alpha(t), expected, 1e-14)
    close(zero.alpha(t) ** 2 + zero.sigma(t) ** 2, torch.ones_like(alpha))
    assert zero.alpha(t[-1]) == 0 and zero.snr(t[-1]) == 0
    assert zero.alpha(t[0]).item() == pytest.approx(alpha[0].item(), rel=1e-15)


@pytest.mark.verifies("diffusion-zero-snr", by="peer")
def test_zero_terminal_snr_agrees_with_diffusers():
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    theirs = (1 - rescale_zero_terminal_snr(betas)).cumprod(0).sqrt()
    close(ZERO.alpha(torch.arange(1, 1001)), theirs)


def stable_diffusion():
    """The schedule of Stable Diffusion 1: betas whose roots grow linearly."""
    ends = 0.00085**0.5, 0.012**0.5
    return Schedule.from_betas(torch.linspace(*ends, 1000, dtype=torch.float64) ** 2)


@pytest.mark.verifies("diffusion-leakage", by="exact")
@pytest.mark.parametrize(("n", "value"), [(16, 0.5), (64, -1.0)])
def test_the_mean_of_an_image_outlives_its_pixels(n, value):
    schedule = stable_diffusion()
    noise = torch.eye(n, dtype=torch.float64)
    for t in (1, 500, 1000):
        image = torch.full((1, n), value, dtype=torch.float64)
        mean = add_noise(image, torch.zeros_like(image), t, schedule).mean()
        per_pixel = add_noise(torch.zeros_like(noise), noise, t, schedule).mean(1)
        snr = mean**2 / per_pixel.square().sum()
        close(snr / (n * value**2 * schedule.snr(t)), 1.0)


def test_the_mean_of_a_latent_is_left_in_the_last_step_of_stable_diffusion():
    snr = stable_diffusion().snr(1000).item()
    assert snr == pytest.approx(0.00468, abs=5e-6)
    assert 64 * 64 * snr == pytest.approx(19.2, abs=0.05)


@pytest.mark.verifies("diffusion-offset-noise", by="exact")
@pytest.mark.parametrize("kappa", [0.1, 1.0])
def test_offset_noise_is_white_noise_with_a_common_part(kappa):
    n = 9
    white, one = torch.eye(n, dtype=torch.float64), torch.ones(n, 1, dtype=torch.float64)
    mix = torch.cat([white, kappa * one], 1)  # what eps and xi are multiplied by
    covariance = mix @ mix.T
    close(covariance, white + kappa**2 * one @ one.T, 1e-15)
    mean = torch.full((n,), 1 / n, dtype=torch.float64)
    close(mean @ covariance @ mean, 1 / n + kappa**2, 1e-15)


@pytest.mark.verifies("diffusion-offset-noise", by="sampling")
def test_the_mean_of_offset_noise():
    n, kappa, rounds = 16, 0.3, 20_000
    noise = draw(rounds, n, seed=1) + kappa * draw(rounds, 1, seed=2)
    squares = noise.mean(1) ** 2
    assert abs(squares.mean() - (1 / n + kappa**2)) < 5 * squares.std() / rounds**0.5


@pytest.mark.verifies("diffusion-min-snr", by="exact")
@pytest.mark.parametrize("gamma", [0.5, 5.0])
def test_min_snr_is_one_loss_under_three_names(gamma):
    t = torch.arange(1, 1001, 7)
    snr = LINEAR.snr(t)
    cut = snr.clamp(max=gamma)
    close(loss_weight("x0", snr, gamma), cut)
    close(loss_weight("eps", snr, gamma), cut / snr)
    close(loss_weight("v", snr, gamma), cut / (snr + 1))
    x, x0, other = draw(len(t), 3, seed=1), draw(len(t), 3, seed=2), draw(len(t), 3, seed=3)
    losses = []
    for kind in ("x0", "eps", "v", "velocity"):
        off = convert(x0, x, t, "x0", kind, LINEAR) - convert(other, x, t, "x0", kind, LINEAR)
        if kind != "velocity":
            losses.append(loss_weight(kind, snr, gamma) * off.square().sum(1))
    close(losses[1] / losses[0], torch.ones(len(t)), 1e-9)
    close(losses[2] / losses[0], torch.ones(len(t)), 1e-9)


# Guidance


@pytest.mark.verifies("diffusion-guidance", by="exact")
@pytest.mark.parametrize("w", [-1.0, 0.0, 0.4, 1.0, 7.5])
def test_guidance_goes_on_from_one_prediction_to_the_other(w):
    cond, uncond = draw(4, 3, seed=1), draw(4, 3, seed=2)
    close(guide(cond, uncond, w), uncond + w * (cond - uncond), 1e-14)
    close(guide(cond, uncond, 0), uncond, 1e-15)
    close(guide(cond, uncond, 1), cond, 1e-15)


def test_a_guided_sampler_takes_the_guided_prediction_at_each_step():
    cond = GaussianMixture(tensor(1.0), MIXTURE.means[:1], MIXTURE.stds[:1])
    x, times = draw(9, 2, seed=1) * 5, karras_sigmas(6, 0.1, 5.0)
    both = lambda x, t: guide(cond.denoise(x, 1.0, t), MIXTURE.denoise(x, 1.0, t), 2.5)
    for solver in ("ddim", "heun", "dpmpp_2m"):
        guided = sample(
            *(cond.denoiser(EDM), x, times, EDM, solver),
            guidance=2.5,
            unconditional=MIXTURE.denoiser(EDM),
        )
        close(guided, sample(both, x, times, EDM, solver))


@pytest.mark.verifies("diffusion-guidance-affine", by="exact")
@every_schedule
@pytest.mark.parametrize(("source", "target"), list(itertools.permutations(PREDICTIONS, 2)))
def test_guidance_commutes_with_every_conversion(source, target, schedule):
    t = times_of(schedule, 6)
    x, cond, uncond = (draw(6, 3, seed=seed) for seed in (1, 2, 3))
    change = lambda prediction: convert(prediction, x, t, source, target, schedule)
    before, after = change(guide(cond, uncond, 3.0)), guide(change(cond), change(uncond), 3.0)
    close(before / after.abs().max(), after / after.abs().max(), 1e-9)


@pytest.mark.verifies("diffusion-guidance-affine", by="symbolic")
def test_guidance_commutes_with_affine_maps():
    A, c, a, b, w = sympy.symbols("A c a b w")
    change = lambda value: A * value + c
    both = change(a + w * (b - a)) - (change(a) + w * (change(b) - change(a)))
    assert sympy.expand(both) == 0
    squares = (a + w * (b - a)) ** 2 - (a**2 + w * (b**2 - a**2))
    assert sympy.expand(squares) != 0


def test_guidance_does_not_commute_with_clipping():
    cond, uncond = tensor([0.9]), tensor([0.3])
    before = guide(cond, uncond, 3.0).clamp(-1, 1)
    after = guide(cond.clamp(-1, 1), uncond.clamp(-1, 1), 3.0)
    assert before.item() == 1 and after.item() == pytest.approx(2.1)
    clipped = sample(
        *(lambda x, t: cond.expand_as(x), tensor([0.5]), [1.0, 0.0], EDM),
        guidance=3.0,
        unconditional=lambda x, t: uncond.expand_as(x),
        clip=1.0,
    )
    assert clipped.item() == 1  # guided first, then clipped


def tilted_variance(w):
    """The variance of p^(1-w) p_c^w for N(0, 2) and N(0, 1), by quadrature."""
    x = np.linspace(-40, 40, 400_001)
    log = -(1 - w) * x**2 / 4 - w * x**2 / 2
    weight = np.exp(log)
    return np.trapezoid(x**2 * weight, x) / np.trapezoid(weight, x)


def guided_slope(tau, w):
    """d log x / d sigma^2 of the guided ODE: half the guided score over -x."""
    return ((1 - w) / (2 + tau) + w / (1 + tau)) / 2


WEIGHTS = [0.0, 1.0, 1.5, 4.0]


@pytest.mark.verifies("diffusion-guided-variance", by="exact")
@pytest.mark.parametrize("w", WEIGHTS)
def test_guidance_does_not_sample_the_tilted_density(w):
    start, options = 1e9, {"rtol": 1e-10, "atol": 1e-14, "method": "LSODA"}
    assert tilted_variance(w) == pytest.approx(2 / (w + 1), rel=1e-9)
    u = np.log(start)  # in the logarithm of sigma^2, from high noise down to next to none

    def ode(u, v):  # of the logarithm of the variance
        return 2 * guided_slope(np.exp(u), w) * np.exp(u)

    def sde(u, v):  # twice the drift, and noise of variance d(sigma^2)
        tau = np.exp(u)
        return (4 * guided_slope(tau, w) * v - 1) * tau

    end = scipy.integrate.solve_ivp(ode, (u, -25), [u], **options).y[0, -1]
    assert math.exp(end) == pytest.approx(2 ** (1 - w), rel=1e-6)
    end = scipy.integrate.solve_ivp(sde, (u, -25), [start], **options).y[0, -1]
    assert end == pytest.approx((2 - 2 ** (2 - 2 * w)) / (2 * w - 1), rel=1e-6)


@pytest.mark.verifies("diffusion-guided-variance", by="exact")
@pytest.mark.parametrize("w", [1.5, 4.0])
def test_the_samplers_arrive_at_the_guided_variances(w):
    wide, broad, narrow = Schedule.edm(1e3), normal(2.0), normal(1.0)
    end = sample(
        *(narrow.denoiser(wide), tensor([1e3]), karras_sigmas(200, 1e-3, 1e3), wide, "heun"),
        guidance=w,
        unconditional=broad.denoiser(wide),
    )
    # The ODE is linear, so that one standard deviation of noise tells of all.
    assert end.item() ** 2 == pytest.approx(2 ** (1 - w), rel=5e-3)

    t = karras_sigmas(20_000, 1e-3, 1e3)[:-1]
    one = torch.ones(len(t), 1, dtype=torch.float64)
    clean = guide(narrow.denoise(one, 1.0, t), broad.denoise(one, 1.0, t), w)
    eps = (one - clean) / t[:, None]
    kept, added = (
        ddim_step(x, e, t[:-1], t[1:], wide, eta=1.0, generator=torch.Generator().manual_seed(0))
        for x, e in ((one[:-1], eps[:-1]), (0 * one[:-1], 0 * eps[:-1]))
    )
    z = draw(len(t) - 1, 1, seed=0)
    variance = 1e6
    for k, noise in zip((kept - added).flatten().tolist(), (added / z).flatten(), strict=True):
        variance = k**2 * variance + noise.item() ** 2
    assert variance == pytest.approx((2 - 2 ** (2 - 2 * w)) / (2 * w - 1), rel=5e-3)


# Evaluation


@pytest.mark.verifies("diffusion-energy-distance", by="enumeration")
def test_the_estimate_of_the_energy_distance_has_no_bias():
    p, q = tensor([0.0, 0.0], [1.0, 0.0], [0.0, 2.0]), tensor([1.0, 1.0], [0.0, 0.0])
    mean = lambda x, y: torch.cdist(x, y).mean()  # over all pairs, equal ones among them
    expected = 2 * mean(p, q) - mean(p, p) - mean(q, q)
    for n, m in ((2, 3), (3, 2)):
        samples = itertools.product(
            itertools.product(range(len(p)), repeat=n), itertools.product(range(len(q)), repeat=m)
        )
        values = [energy_distance(p[list(i)], q[list(j)]) for i, j in samples]
        close(torch.stack(values).mean(), expected)
        assert min(values) < 0 < expected


def test_the_energy_distance_is_zero_in_the_mean_for_equal_distributions_and_grows_apart():
    values = torch.stack(
        [energy_distance(draw(30, 2, seed=2 * i), draw(40, 2, seed=2 * i + 1)) for i in range(200)]
    )
    assert values.mean().abs() < 5 * values.std() / 200**0.5
    x, y = draw(300, 2, seed=1), draw(300, 2, seed=2)
    one, two = energy_distance(x, y + 1), energy_distance(x, y + 2)
    assert 0 < one < two
    close(energy_distance(x + 1e6, y + 1 + 1e6), one, 1e-7)
    close(energy_distance(3 * x, 3 * y + 3), 3 * one, 1e-7)
    close(energy_distance(y + 1, x), one, 1e-9)


def test_the_energy_distance_of_many_points_is_computed_in_parts():
    x, y = draw(1500, 3, seed=1), draw(1100, 3, seed=2) + 0.5
    total = lambda a, b: torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").sum()
    expected = 2 * total(x, y) / (1500 * 1100)
    expected = expected - total(x, x) / (1500 * 1499) - total(y, y) / (1100 * 1099)
    close(energy_distance(x, y), expected, 1e-8)
    close(energy_distance(x.view(1500, 3, 1), y.view(1100, 3, 1)), expected, 1e-8)


def test_a_sample_beside_itself_is_below_zero():
    x = draw(20, 2, seed=1)
    mean = torch.cdist(x, x).sum() / (20 * 19)
    close(energy_distance(x, x), -2 * mean / 20)
    same = torch.ones(5, 2)
    assert energy_distance(same, same) == 0 and energy_distance(same, same).dtype == torch.float32


def covariance(dim, rank, seed):
    factor = draw(dim, rank, seed=seed)
    return factor @ factor.T / rank


@pytest.mark.verifies("diffusion-frechet", by="peer")
@pytest.mark.parametrize("seed", range(3))
def test_the_frechet_distance_against_scipy(seed):
    a, b = covariance(6, 9, seed), covariance(6, 9, seed + 10)
    m, n = draw(6, seed=seed + 20), draw(6, seed=seed + 30)
    root = scipy.linalg.sqrtm(a.numpy())
    between = scipy.linalg.eigvalsh(root @ b.numpy() @ root)
    expected = ((m - n) ** 2).sum() + a.trace() + b.trace() - 2 * np.sqrt(between).sum()
    close(frechet_distance(m, a, n, b), expected, 1e-11)
    close(frechet_distance(n, b, m, a), expected, 1e-11)
    by_product = np.real(np.trace(scipy.linalg.sqrtm(a.numpy() @ b.numpy())))
    close(frechet_distance(m, a, m, b), a.trace() + b.trace() - 2 * by_product, 1e-9)


@pytest.mark.verifies("diffusion-frechet", by="exact")
def test_the_frechet_distance_of_independent_coordinates_is_the_sum_of_theirs():
    m, n, s, r = draw(4, seed=1), draw(4, seed=2), draw(4, seed=3).abs(), draw(4, seed=4).abs()
    s[0] = r[1] = 0
    expected = ((m - n) ** 2).sum() + ((s - r) ** 2).sum()
    close(frechet_distance(m, (s**2).diag(), n, (r**2).diag()), expected)
    turn = torch.linalg.qr(draw(4, 4, seed=5)).Q
    turned = [turn @ (x**2).diag() @ turn.T for x in (s, r)]
    close(frechet_distance(turn @ m, turned[0], turn @ n, turned[1]), expected, 1e-12)


@pytest.mark.parametrize("rank", [0, 1, 3, 40])
def test_singular_covariances_keep_their_digits(rank):
    zero = torch.zeros(40, dtype=torch.float64)
    a = covariance(40, max(rank, 1), 1) if rank else torch.zeros(40, 40, dtype=torch.float64)
    close(frechet_distance(zero, a, zero, a), 0.0, 1e-12)
    close(frechet_distance(zero, a, zero, 4 * a), a.trace(), 1e-12)
    close(frechet_distance(zero, a, zero, 0 * a), a.trace(), 1e-12)
    single = frechet_distance(zero.float(), a.float(), zero.float() + 1, a.float())
    assert single.dtype == torch.float32 and single.item() == pytest.approx(40, rel=1e-6)


# Exactness at every step


def exact_levels(steps):
    """alpha and sigma of the linear chain with 50 digits, from its betas as they are in float64."""
    betas = torch.linspace(1e-4, 0.02, steps, dtype=torch.float64).tolist()
    square, pairs = Decimal(1), [(Decimal(1), Decimal(0))]
    for beta in betas:
        square *= 1 - Decimal(beta)
        pairs.append((square.sqrt(), (1 - square).sqrt()))
    return pairs


def relative(values, exact):
    """The largest error of float32 results, relative to the exact ones."""
    pairs = zip(values.tolist(), exact, strict=True)
    return max(abs((Decimal(value) - right) / right) for value, right in pairs)


@pytest.mark.parametrize("steps", [1000, 50])
def test_single_steps_are_exact_to_the_last_digit_at_every_time(steps):
    x, eps, schedule = 1.25, -0.5, Schedule.linear(steps)
    with localcontext(prec=50):
        exact = exact_levels(steps)
        t = torch.arange(1, steps + 1)
        state, noise = torch.full((steps,), x), torch.full((steps,), eps)
        one, half = Decimal(x), Decimal(eps)
        levels = list(zip(exact[1:], exact[:-1], strict=True))
        right = [a_s * (one - b * half) / a + b_s * half for (a, b), (a_s, b_s) in levels]
        assert relative(ddim_step(state, noise, t, t - 1, schedule), right) < 1e-7
        right = [a * one + b * half for a, b in exact[1:]]
        assert relative(add_noise(state, noise, t, schedule), right) < 1e-7
        for source, target, right in (
            ("eps", "x0", [(one - b * half) / a for a, b in exact[1:]]),
            ("x0", "eps", [(one - a * half) / b for a, b in exact[1:]]),
            ("v", "x0", [a * one - b * half for a, b in exact[1:]]),
            ("x0", "v", [(a * one - half) / b for a, b in exact[1:]]),
        ):
            assert relative(convert(noise, state, t, source, target, schedule), right) < 1e-7


@pytest.mark.parametrize("steps", [1000, 50])
def test_stochastic_steps_are_exact_to_the_last_digit_at_every_time(steps):
    schedule = Schedule.linear(steps)
    with localcontext(prec=50):
        exact = exact_levels(steps)
        for t in [*range(2, 21), *range(21, steps + 1, steps // 9)]:
            (a, b), (a_s, b_s) = exact[t], exact[t - 1]
            generator = torch.Generator().manual_seed(t)
            x, eps = torch.full((3,), 1.25), torch.full((3,), -0.5)
            found = ddim_step(x, eps, t, t - 1, schedule, eta=1.0, generator=generator)
            single = torch.randn(3, generator=torch.Generator().manual_seed(t))
            z = [Decimal(value) for value in single.tolist()]
            noise = b_s / b * (b**2 - a**2 / a_s**2 * b_s**2).sqrt()
            clean = (Decimal("1.25") + b / 2) / a
            rest = a_s * clean - (b_s**2 - noise**2).sqrt() / 2
            assert relative(found, [rest + noise * value for value in z]) < 1e-6


@pytest.mark.parametrize("solver", ["ddim", "heun", "dpmpp_2m"])
def test_solvers_are_exact_to_the_last_digit_for_a_denoiser_that_is_sure(solver):
    sure = lambda x, t: torch.full_like(x, 0.75)
    with localcontext(prec=50):
        exact = exact_levels(1000)
        for t in [*range(3, 21), *range(21, 1001, 89)]:
            (a, b), (a_s, b_s) = exact[t], exact[t - 2]
            x = torch.tensor([2.0, -1.0])
            right = [
                a_s * Decimal("0.75") + b_s * (Decimal(value) - a * Decimal("0.75")) / b
                for value in x.tolist()
            ]
            found = sample(sure, x, torch.tensor([t, t - 1, t - 2]), LINEAR, solver)
            assert relative(found, right) < 1e-6


# Edges

SOLVERS = ["ddim", "heun", "dpmpp_2m"]
every_solver = pytest.mark.parametrize("solver", SOLVERS)


@every_solver
@pytest.mark.parametrize("schedule", [LINEAR, COSINE, ZERO, FLOW, EDM], ids=str)
def test_one_step_to_the_data_is_the_denoised_start(solver, schedule):
    x = schedule.sigma(schedule.end) * draw(20, 2, seed=1)
    expected = MIXTURE.denoiser(schedule)(x, schedule.times(1)[:1].expand(20))
    close(sample(MIXTURE.denoiser(schedule), x, schedule.times(1), schedule, solver), expected)


@every_solver
@pytest.mark.parametrize("schedule", [LINEAR, COSINE, ZERO, FLOW, EDM], ids=str)
def test_the_last_step_to_no_noise_is_finite_and_lands_on_the_data(solver, schedule):
    x = schedule.sigma(schedule.end) * draw(300, 2, seed=1)
    times = karras_sigmas(40) if schedule is EDM else schedule.times(100)
    end = sample(MIXTURE.denoiser(schedule), x, times, schedule, solver)
    assert end.isfinite().all()
    data = MIXTURE.sample(300, generator=torch.Generator().manual_seed(2))
    assert energy_distance(end, data) < 0.05 < energy_distance(x / x.std(), data)


@every_solver
def test_half_precision_stays_close(solver):
    x = draw(50, 2, seed=1)
    times = LINEAR.times(20)
    right = sample(MIXTURE.denoiser(LINEAR), x.half().double(), times, LINEAR, solver)
    found = sample(MIXTURE.denoiser(LINEAR), x.half(), times, LINEAR, solver)
    assert found.dtype == torch.float16
    assert (found.double() - right).abs().median() < 2e-3


def test_half_precision_has_noise_in_the_first_steps():
    one = torch.ones(1, dtype=torch.float16)
    assert 1 - (LINEAR.alpha(1).half()) ** 2 < 3e-4  # what computing in half precision makes of it
    moved = ddim_step(one, one, 1, 0, LINEAR)
    assert moved.item() == pytest.approx((1 - 0.01) / LINEAR.alpha(1).item(), rel=1e-3)
    assert add_noise(0 * one, one, 1, LINEAR).item() == pytest.approx(0.01, rel=1e-3)


@every_solver
@pytest.mark.parametrize(
    ("times", "said"),
    [
        ([500, 500, 0], "the same time twice"),
        ([500, 600, 0], "noise is added"),
        ([0, 500], "noise is added"),
        ([500], "expected at least 2"),
        ([1001, 0], "expected integer steps from 0"),
        ([500, 0.5], "expected integer steps from 0"),
    ],
)
def test_times_that_lead_nowhere_are_refused(solver, times, said):
    with pytest.raises(ValueError, match=said):
        sample(MIXTURE.denoiser(LINEAR), draw(2, 2), times, LINEAR, solver)


@every_solver
def test_from_pure_noise_the_noise_says_nothing_but_a_denoiser_does(solver):
    x = draw(8, 2, seed=1)
    with pytest.raises(ValueError, match="at SNR 0"):
        ddim_step(x, x, 1000, 500, ZERO)
    with pytest.raises(ValueError, match="SNR is 0"):
        convert(x, x, 1000, "eps", "x0", ZERO)
    times = ZERO.times(100)
    assert sample(MIXTURE.denoiser(ZERO), x, times, ZERO, solver).isfinite().all()


@every_solver
def test_guidance_of_weight_zero_and_one_is_none(solver):
    cond, uncond = NORMAL.denoiser(FLOW), MIXTURE.denoiser(FLOW)
    x, times = draw(7, 2, seed=1), FLOW.times(5)
    guided = lambda w: sample(cond, x, times, FLOW, solver, guidance=w, unconditional=uncond)
    close(guided(1.0), sample(cond, x, times, FLOW, solver))
    close(guided(0), sample(uncond, x, times, FLOW, solver))


def test_a_batch_of_none():
    times = karras_sigmas(4, 0.1, 5.0)
    nothing = torch.zeros(0, 2, dtype=torch.float64)
    assert log_likelihood(MIXTURE.denoiser(EDM), nothing, times[:-1], EDM).shape == (0,)


GOOD = torch.eye(2, dtype=torch.float64)
ORIGIN = torch.zeros(2, dtype=torch.float64)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: log_likelihood(MIXTURE.denoiser(EDM), draw(2, 2), [1.0, 0.0], EDM),
            "times[-1]: expected some noise; without any,",
        ),
        (
            lambda: log_likelihood(MIXTURE.denoiser(EDM), draw(2, 2), [1.0, 2.0], EDM),
            "times[0], times[1] = 1, 2: noise is added; expected times that fall",
        ),
        (
            lambda: log_likelihood(MIXTURE.denoiser(EDM), draw(2, 2), [1.0, 0.1], EDM, probes=0),
            "probes: expected an integer of at least 1, got 0",
        ),
        (
            lambda: log_likelihood(lambda x, t: x[:, :1], draw(2, 2), [1.0, 0.1], EDM),
            "denoiser: expected the shape of x, (2, 2), differentiable, got (2, 1)",
        ),
        (
            lambda: log_likelihood(lambda x, t: x.detach(), draw(2, 2), [1.0, 0.1], EDM),
            "denoiser: expected the shape of x, (2, 2), differentiable, got a result without",
        ),
        (
            lambda: log_likelihood(MIXTURE.denoiser(EDM), draw(2, 2), [1.0, 0.1], "edm"),
            "schedule: expected a Schedule, got str",
        ),
        (lambda: energy_distance(draw(1, 2), draw(3, 2)), "a: expected at least 2 samples, got 1"),
        (lambda: energy_distance(draw(3, 2), draw(1, 2)), "b: expected at least 2 samples, got 1"),
        (
            lambda: energy_distance(draw(3, 2), draw(3, 4)),
            "a and b: expected samples of one shape, got (2,) and (4,)",
        ),
        (
            lambda: energy_distance(draw(3, 2), draw(3, 2) * math.nan),
            "b: expected finite numbers, got NaN or infinity",
        ),
        (lambda: energy_distance([1.0, 2.0], draw(3)), "a: expected a torch.Tensor, got a list"),
        (
            lambda: frechet_distance(ORIGIN[None], GOOD, ORIGIN, GOOD),
            "mean_a: expected a finite vector of at least one number, got shape (1, 2)",
        ),
        (
            lambda: frechet_distance(ORIGIN, GOOD, ORIGIN, GOOD[:1]),
            "cov_b: expected a finite square matrix, got (1, 2)",
        ),
        (
            lambda: frechet_distance(ORIGIN, GOOD, ORIGIN, GOOD * math.inf),
            "cov_b: expected a finite square matrix, got (2, 2)",
        ),
        (
            lambda: frechet_distance(ORIGIN, GOOD + tensor([0.0, 1e-3], [0, 0]), ORIGIN, GOOD),
            "cov_a: expected a symmetric matrix",
        ),
        (
            lambda: frechet_distance(ORIGIN, GOOD, ORIGIN, tensor([1.0, 0.0], [0.0, -0.1])),
            "cov_b: expected no negative eigenvalue, got -0.1",
        ),
        (
            lambda: frechet_distance(ORIGIN[:1], GOOD, ORIGIN, GOOD),
            "mean_a, cov_a, mean_b, cov_b: expected one dimension, got [1, 2, 2, 2]",
        ),
    ],
)
def test_wrong_arguments_are_named_with_what_was_expected(call, said):
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value).startswith(said)


def test_without_validation_nan_goes_through():
    with derived.validation(False):
        assert energy_distance(draw(3, 2), draw(3, 2) * math.nan).isnan()


@pytest.mark.parametrize("solver", ["ddim", "heun", "dpmpp_2m"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_denoiser_may_work_in_place(solver, dtype):
    x = torch.full((2, 1), 3.0, dtype=dtype)
    start, seen = x.clone(), []

    def clamps(x, t):
        return x.clamp_(-0.1, 0.1) * 0

    def changes(state):
        seen.append(state.mul_(1.0).clone())
        state.zero_()

    guided = {"unconditional": clamps, "guidance": 2.0, "observe": changes}
    result = sample(clamps, x, [1.0, 0.5, 0.25], Schedule.rectified_flow(), solver, **guided)
    assert torch.equal(x, start) and torch.equal(seen[0], start)
    torch.testing.assert_close(result, start / 4)
