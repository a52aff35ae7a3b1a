"""The equations of the chapter on initialization, and the edges of `derived.initialization`."""

import itertools
import math
import sys
import warnings
from fractions import Fraction

import pytest
import scipy
import sympy
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import digamma, polygamma
from scipy.stats import ks_2samp, kstest, ortho_group, truncnorm
from support import run
from torch import nn
from torch.autograd import grad

import derived
from derived.initialization import (
    coord_check,
    deepnorm_constants,
    encoder_decoder_deepnorm,
    fans,
    fixup_scale,
    gain,
    gaussian_mean,
    moment_map,
    mup_groups,
    orthogonal_,
    rem_entropy,
    softmax_jacobian_norm,
    trunc_normal_,
    truncnorm_gamma,
    variance_scaling_,
    width_sweep,
)

SMOOTH = {"tanh": torch.tanh, "erf": torch.erf, "gelu": F.gelu, "silu": F.silu, "sin": torch.sin}
KINKED = {"relu": F.relu, "elu": F.elu, "selu": F.selu, "hardtanh": F.hardtanh, "relu6": F.relu6}
ACTIVATIONS = SMOOTH | KINKED | {"hardswish": F.hardswish, "softsign": F.softsign}
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.fixture(autouse=True)
def _the_same_chance_for_each_test():
    torch.manual_seed(0)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=seeded(seed), dtype=dtype)


def phi(x):
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def Phi(x):
    return math.erfc(-x / math.sqrt(2)) / 2


def mean_is(samples, expected, *, also=0.0):
    """The mean is within five standard errors (and what else is known to be off) of a number."""
    samples = samples.flatten().double()
    error = 5 * samples.std() / math.sqrt(len(samples))
    assert abs(samples.mean() - expected) <= error + also, (samples.mean(), expected, error)


def variance_is(samples, expected, *, also=0.0):
    """The same for the variance of samples whose mean is known to be 0."""
    mean_is(samples.double() ** 2, expected, also=also)


def integral(function, sigma=1.0):
    """E f(sigma z) by scipy, between the kinks."""
    kinks = {k / sigma for k in (-6, -3, -1, 0, 1, 3, 6)} | {-10.0, 10.0}
    ends = sorted(k for k in kinks if abs(k) <= 10)

    def density(z):
        return function(torch.tensor(sigma * z, dtype=torch.float64)).item() * phi(z)

    pieces = itertools.pairwise(ends)
    return sum(scipy.integrate.quad(density, a, b, epsabs=1e-14, limit=200)[0] for a, b in pieces)


def sign_matrices(rows, columns):
    """Every matrix of -1 and 1: (2^(rows columns), rows, columns)."""
    entries = torch.tensor([-1.0, 1.0], dtype=torch.float64).expand(rows * columns, 2)
    return torch.cartesian_prod(*entries).view(-1, rows, columns)


# Samples


@pytest.mark.verifies("initialization-uniform", by="symbolic")
def test_a_uniform_variable_between_root_three_sigma_has_variance_sigma_squared():
    x, c, sigma = sympy.symbols("x c sigma", positive=True)
    variance = sympy.integrate(x**2, (x, -c, c)) / (2 * c)
    assert sympy.simplify(variance - c**2 / 3) == 0
    assert sympy.simplify(variance.subs(c, sympy.sqrt(3) * sigma) - sigma**2) == 0


@pytest.mark.verifies("initialization-uniform", by="sampling")
def test_uniform_weights_fill_root_three_sigma_on_both_sides():
    sigma = 1 / math.sqrt(400)
    w = variance_scaling_(torch.empty(500, 400), distribution="uniform", generator=seeded())
    mean_is(w**2, sigma**2)
    for end in (w.max(), -w.min()):
        assert 0.9999 < end / (math.sqrt(3) * sigma) < 1 + 1e-6


@pytest.mark.verifies("initialization-truncnorm", by="symbolic")
def test_the_variance_of_a_cut_normal_variable_is_one_minus_the_boundary_term():
    x, a = sympy.symbols("x a", positive=True)
    density = sympy.exp(-(x**2) / 2) / sympy.sqrt(2 * sympy.pi)
    cdf = (1 + sympy.erf(a / sympy.sqrt(2))) / 2
    inside = sympy.integrate(density, (x, -a, a))
    second = sympy.integrate(x**2 * density, (x, -a, a))
    assert sympy.simplify(inside - (2 * cdf - 1)) == 0
    formula = 1 - 2 * a * density.subs(x, a) / (2 * cdf - 1)
    assert sympy.simplify(second / inside - formula) == 0
    for bound in (1, 2, 3):
        expected = formula.subs(a, bound).evalf(20)
        assert truncnorm_gamma(bound) == pytest.approx(float(expected), rel=1e-13)


@pytest.mark.verifies("initialization-truncnorm", by="peer")
@pytest.mark.parametrize("a", [0.3, 0.5, 1, 1.5, 2, 2.5, 3, 5, 8])
def test_gamma_is_the_variance_of_scipys_truncnorm(a):
    assert truncnorm_gamma(a) == pytest.approx(truncnorm(-a, a).var(), rel=1e-12)
    assert truncnorm_gamma(a) == pytest.approx(1 - 2 * a * phi(a) / (2 * Phi(a) - 1), rel=1e-12)
    assert truncnorm_gamma(-a, a) == truncnorm_gamma(a)


def closed_gamma(a, b):
    inside = Phi(b) - Phi(a)
    mean = (phi(a) - phi(b)) / inside
    return 1 + (a * phi(a) - b * phi(b)) / inside - mean**2


@pytest.mark.verifies("initialization-truncnorm-general", by="peer")
@given(st.floats(-4, 3), st.floats(0.25, 8))
def test_gamma_with_two_bounds_against_the_closed_form_and_scipy(a, width):
    b = a + width
    assert truncnorm_gamma(a, b) == pytest.approx(closed_gamma(a, b), rel=1e-8)
    assert truncnorm_gamma(a, b) == pytest.approx(truncnorm(a, b).var(), rel=1e-7)
    assert truncnorm_gamma(-b, -a) == pytest.approx(truncnorm_gamma(a, b), rel=1e-11)


def test_gamma_keeps_its_digits_where_the_closed_form_loses_them():
    for a in (1e-150, 1e-9, 1e-4):  # nearly uniform
        assert truncnorm_gamma(a) == pytest.approx(a * a / 3, rel=1e-8)
    for a in (1e-9, 1e-4):
        assert truncnorm_gamma(2, 2 + 2 * a) == pytest.approx(a * a / 3, rel=1e-3)
    for a in (1e3, 1e9):  # nearly exponential, with the rate a
        assert truncnorm_gamma(a, math.inf) == pytest.approx(a**-2, rel=1e-5)
        assert truncnorm_gamma(-math.inf, -a) == pytest.approx(a**-2, rel=1e-5)
    assert truncnorm_gamma(5, 7) == pytest.approx(tail_variance(5, 7), rel=1e-12)
    assert truncnorm_gamma(-20, -3) == pytest.approx(tail_variance(3, 20), rel=1e-12)
    assert truncnorm_gamma(8) == pytest.approx(1 - 16 * phi(8), abs=1e-14)
    for a, b in ((-math.inf, math.inf), (-40, 50), (-math.inf, 30)):
        assert truncnorm_gamma(a, b) == pytest.approx(1, abs=1e-14)
    assert truncnorm_gamma(math.inf) == pytest.approx(1, abs=1e-14)
    assert truncnorm_gamma(0, math.inf) == pytest.approx(1 - 2 / math.pi, rel=1e-13)


def tail_variance(a, b):
    """The variance between a and b, with 50 digits."""
    x = sympy.symbols("x")
    density = sympy.exp(-(x**2) / 2)
    m0, m1, m2 = (
        sympy.Integral(x**k * density, (x, a, b)).evalf(50, maxn=100000) for k in range(3)
    )
    return float(m2 / m0 - (m1 / m0) ** 2)


def test_keras_constant_is_the_root_of_gamma_of_two():
    assert math.sqrt(truncnorm_gamma(2)) == pytest.approx(0.87962566103423978, rel=1e-14)


@pytest.mark.parametrize("a", [0.5, 1.0, 1.26, 2.0, 4.0])
def test_truncated_weights_have_the_std_asked_for_and_lie_within_the_bounds(a):
    w = torch.empty(2000, 2000)
    assert trunc_normal_(w, 0.02, a, generator=seeded()) is w
    assert w.std().item() == pytest.approx(0.02, rel=2e-3)
    sigma = 0.02 / math.sqrt(truncnorm_gamma(a))
    assert 0.99 * a * sigma < w.abs().max() <= a * sigma * (1 + 1e-6)
    uncorrected = trunc_normal_(torch.empty(2000, 2000), 0.02, a, exact_std=False)
    expected = 0.02 * math.sqrt(truncnorm_gamma(a))
    assert uncorrected.std().item() == pytest.approx(expected, rel=2e-3)
    assert 0.99 * a * 0.02 < uncorrected.abs().max() <= a * 0.02 * (1 + 1e-6)


@pytest.mark.parametrize("a", [0.05, 0.7, 1.25, 1.2534, 2.0, 3.5, 9.0])
def test_truncated_weights_have_the_law_of_scipys_truncnorm(a):
    w = trunc_normal_(torch.empty(50_000, dtype=torch.float64), 1, a, generator=seeded(1))
    sigma = 1 / math.sqrt(truncnorm_gamma(a))
    assert kstest(w.numpy() / sigma, truncnorm(-a, a).cdf).pvalue > 0.01
    if a < 3:
        assert kstest(w.numpy() / sigma, truncnorm(-1.1 * a, 1.1 * a).cdf).pvalue < 0.01


def test_truncated_weights_are_those_of_torch_when_told_the_bounds_in_its_units():
    own = trunc_normal_(torch.empty(50_000), 0.02, exact_std=False, generator=seeded())
    torchs = nn.init.trunc_normal_(torch.empty(50_000), 0, 0.02, -0.04, 0.04, generator=seeded(1))
    assert ks_2samp(own.numpy(), torchs.numpy()).pvalue > 0.01


def test_no_bounds_cut_nothing():
    w = trunc_normal_(torch.empty(10_000), 0.5, math.inf, generator=seeded())
    plain = torch.empty(10_000).normal_(generator=seeded()) * 0.5
    assert torch.equal(w, plain)


@pytest.mark.parametrize("dtype", DTYPES)
def test_truncated_weights_of_every_dtype_are_rounded_ones_of_float32(dtype):
    w = trunc_normal_(torch.empty(100, 300, dtype=dtype), 0.02, generator=seeded())
    draw = torch.promote_types(dtype, torch.float32)
    wide = trunc_normal_(torch.empty(100, 300, dtype=draw), 0.02, generator=seeded())
    assert w.dtype == dtype and torch.equal(w, wide.to(dtype))
    assert w.double().std().item() == pytest.approx(0.02, rel=0.02)


def test_only_the_tensor_itself_is_filled_and_without_a_gradient():
    store = torch.zeros(6, 8)
    trunc_normal_(store.T[::2], 1, generator=seeded())
    assert store[:, ::2].all() and not store[:, 1::2].any()
    parameter = nn.Parameter(torch.zeros(5, 5))
    for fill in (lambda w: trunc_normal_(w, 1), orthogonal_, variance_scaling_):
        parameter.data.zero_()
        assert fill(parameter) is parameter and parameter.all() and parameter.is_leaf
        store.zero_()
        fill(store.T[::2])
        assert store[:, ::2].all() and not store[:, 1::2].any()
    assert trunc_normal_(torch.empty(()), 1).shape == ()
    assert trunc_normal_(torch.empty(0, 3), 1).shape == (0, 3)
    assert not trunc_normal_(torch.ones(3, 3), 0).any()


@pytest.mark.parametrize(
    "fill",
    [
        lambda w, g: trunc_normal_(w, 1, generator=g),
        lambda w, g: trunc_normal_(w, 1, 0.5, generator=g),
        lambda w, g: orthogonal_(w, generator=g),
        lambda w, g: variance_scaling_(w, distribution="normal", generator=g),
        lambda w, g: variance_scaling_(w, distribution="uniform", generator=g),
        lambda w, g: variance_scaling_(w, distribution="truncated_normal", generator=g),
    ],
)
def test_a_generator_decides_the_weights_and_the_global_one_is_left_alone(fill):
    state = torch.get_rng_state()
    first, again, other = (fill(torch.empty(9, 7), seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(5)
    first = fill(torch.empty(9, 7), None)
    torch.manual_seed(5)
    assert torch.equal(first, fill(torch.empty(9, 7), None))
    assert not torch.equal(first, fill(torch.empty(9, 7), None))


@pytest.mark.verifies("initialization-haar", by="sampling")
@pytest.mark.parametrize("size", [2, 3, 5])
def test_q_with_the_signs_of_r_has_the_moments_of_haar_and_without_them_not(size):
    Q, R = torch.linalg.qr(normal(10_000, size, size))
    signed = Q * R.diagonal(dim1=-2, dim2=-1).sign()[:, None, :]
    drawn = torch.stack([orthogonal_(Q.new_empty(size, size)) for _ in range(2500)])
    for W in (signed, drawn):
        trace = torch.einsum("bii->b", W)
        mean_is(trace, 0)
        mean_is(trace**2, 1)
        mean_is(torch.einsum("bij,bji->b", W, W), 1)
        mean_is(torch.linalg.det(W), 0)
        for i, j in itertools.product(range(size), repeat=2):
            mean_is(W[:, i, j], 0)
            mean_is(W[:, i, j] ** 2, 1 / size)
            mean_is(W[:, i, j] ** 4, 3 / (size * (size + 2)))
    with pytest.raises(AssertionError):
        mean_is(Q[:, 0, 0], 0)


@pytest.mark.verifies("initialization-haar", by="peer")
def test_orthogonal_matrices_have_the_eigenvalues_of_scipys():
    def angles(W):
        values = torch.linalg.eigvals(W)
        return values[values.imag > 1e-9].angle()

    own = torch.stack([orthogonal_(torch.empty(6, 6, dtype=torch.float64)) for _ in range(3000)])
    peer = torch.from_numpy(ortho_group.rvs(6, size=3000, random_state=0))
    assert ks_2samp(angles(own), angles(peer)).pvalue > 0.01
    assert ks_2samp(own[:, 0, 0], peer[:, 0, 0]).pvalue > 0.01
    Q, _ = torch.linalg.qr(normal(3000, 6, 6))
    assert ks_2samp(angles(Q), angles(peer)).pvalue < 1e-6


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (30, 50), (50, 30), (8, 2, 3, 3)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gain", [1.0, math.sqrt(2), 0])
def test_the_shorter_side_is_orthonormal_times_the_gain(shape, dtype, gain):
    w = torch.empty(shape, dtype=dtype)
    assert orthogonal_(w, gain, generator=seeded()) is w
    W = w.flatten(1).double()
    gram = W @ W.T if W.shape[0] <= W.shape[1] else W.T @ W
    error = (gram - gain**2 * torch.eye(len(gram), dtype=torch.float64)).abs().max()
    assert error < {0: 1e-6, 1: 8 * gain**2 * torch.finfo(dtype).eps}[gain > 0]


def test_a_draw_of_exactly_zero_spoils_no_orthogonal_matrix(monkeypatch):
    """PyTorch's float32 normal numbers are 0 now and then; here all are, and nothing is nan."""
    monkeypatch.setattr(torch.Tensor, "normal_", lambda tensor, **_: tensor.zero_())
    w = orthogonal_(torch.empty(4, 4))
    torch.testing.assert_close(w @ w.T, torch.eye(4))


# One layer


@pytest.mark.verifies("initialization-second-moment", by="enumeration")
@pytest.mark.parametrize("x", [(3.0, 4, 5, 6), (1.0, 0, 0, 0), (-2.0, 7, 1, 1)])
def test_all_sign_matrices_together_multiply_the_mean_square_by_fan_in(x):
    x, sigma = torch.tensor(x, dtype=torch.float64), 0.3
    W = sigma * sign_matrices(2, 4)
    assert W.mean(0).abs().max() < 1e-15 and (W**2).mean(0).sub(sigma**2).abs().max() < 1e-15
    expected = 4 * sigma**2 * (x**2).mean()
    torch.testing.assert_close(((W @ x) ** 2).mean(), expected)


@pytest.mark.verifies("initialization-second-moment", by="sampling")
@pytest.mark.parametrize("distribution", ["normal", "uniform", "truncated_normal"])
def test_one_over_fan_in_keeps_the_mean_square_of_a_fixed_input_of_any_mean(distribution):
    x = 10 + torch.arange(20.0)
    y = variance_scaling_(torch.empty(40_000, 20), "fan_in", distribution, generator=seeded()) @ x
    mean_is(y**2, (x**2).mean())


@pytest.mark.verifies("initialization-backward", by="enumeration")
def test_all_sign_matrices_together_multiply_the_gradients_mean_square_by_fan_out():
    sigma, g_y = 0.7, torch.tensor([1.0, -3, 2], dtype=torch.float64)
    W = sigma * sign_matrices(3, 2)
    x = torch.ones(len(W), 2, dtype=torch.float64, requires_grad=True)
    y = torch.einsum("bij,bj->bi", W, x)
    (g_x,) = grad((y * g_y).sum(), x)
    torch.testing.assert_close(g_x, torch.einsum("bij,i->bj", W, g_y))  # W^T g_y
    torch.testing.assert_close((g_x**2).mean(), 3 * sigma**2 * (g_y**2).mean())


@pytest.mark.verifies("initialization-xavier", by="symbolic")
def test_xaviers_forward_and_backward_factors_multiply_to_at_most_one():
    m, n = sympy.symbols("d_in d_out", positive=True)
    variance = 2 / (m + n)
    forward, backward = m * variance, n * variance  # second-moment and backward
    assert sympy.simplify(forward * backward - (1 - ((m - n) / (m + n)) ** 2)) == 0
    assert sympy.solve(forward - 1, m) == [n]
    w = variance_scaling_(torch.empty(3000, 1000), "fan_avg", generator=seeded())
    expected = float(variance.subs({m: 1000, n: 3000}))
    variance_is(w, expected)
    variance_is(nn.init.xavier_normal_(torch.empty(3000, 1000), generator=seeded()), expected)


@pytest.mark.verifies("initialization-telescope", by="enumeration")
@pytest.mark.parametrize("widths", [(3, 2, 4), (2, 4, 1, 3), (1, 3, 3)])
def test_with_fan_in_everywhere_the_gradients_factor_is_last_over_first_width(widths):
    layers = [
        sign_matrices(after, before) / math.sqrt(before)
        for before, after in itertools.pairwise(widths)
    ]
    index = torch.cartesian_prod(*[torch.arange(len(W)) for W in layers]).view(-1, len(layers))
    x = torch.ones(len(index), widths[0], dtype=torch.float64, requires_grad=True)
    y = x
    for W, chosen in zip(layers, index.T, strict=True):
        y = torch.einsum("bij,bj->bi", W[chosen], y)
    g_last = 1 + torch.arange(widths[-1], dtype=torch.float64)
    (g_first,) = grad((y * g_last).sum(), x)
    factor = (g_first**2).mean() / (g_last**2).mean()
    assert factor.item() == pytest.approx(widths[-1] / widths[0], rel=1e-12)
    steps = [after / before for before, after in itertools.pairwise(widths)]
    assert factor.item() == pytest.approx(math.prod(steps), rel=1e-12)


@pytest.mark.parametrize("distribution", ["normal", "uniform", "truncated_normal"])
@pytest.mark.parametrize(("mode", "fan"), [("fan_in", 500), ("fan_out", 1500), ("fan_avg", 1000)])
def test_variance_scaling_gives_the_variance_of_its_fan(distribution, mode, fan):
    w = torch.empty(1500, 500)
    assert variance_scaling_(w, mode, distribution, 1.7, generator=seeded()) is w
    sigma = 1.7 / math.sqrt(fan)
    assert w.std().item() == pytest.approx(sigma, rel=5e-3)
    mean_is(w, 0)
    most = {
        "normal": math.inf,
        "uniform": math.sqrt(3) * sigma,
        "truncated_normal": 2 * sigma / math.sqrt(truncnorm_gamma(2)),
    }[distribution]
    assert w.abs().max() <= most * (1 + 1e-6)
    assert w.abs().max() > 4 * sigma if math.isinf(most) else w.abs().max() > 0.99 * most


def test_variance_scaling_by_default_is_lecuns_and_knows_groups():
    w = variance_scaling_(torch.empty(600, 400), generator=seeded())
    assert torch.equal(w, torch.empty(600, 400).normal_(0, 1 / 20, generator=seeded()))
    kernel = torch.empty(64, 1, 3, 3)
    depthwise = variance_scaling_(kernel, "fan_out", groups=64, generator=seeded())
    assert torch.equal(depthwise, torch.empty(64, 1, 3, 3).normal_(0, 1 / 3, generator=seeded()))
    kernel = torch.empty(64, 16, 3, 3)
    back = variance_scaling_(kernel, groups=4, transposed=True, generator=seeded())
    assert torch.equal(back, torch.empty(64, 16, 3, 3).normal_(0, 1 / 12, generator=seeded()))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("kernel", [(3,), (3, 5), (1, 3, 3)])
def test_fans_count_what_a_convolution_of_ones_adds_up(transposed, groups, kernel):
    kind = f"Conv{'Transpose' if transposed else ''}{len(kernel)}d"
    conv = getattr(nn, kind)(8, 12, kernel, groups=groups, bias=False)
    nn.init.ones_(conv.weight)
    x = torch.ones(1, 8, *[9] * len(kernel), requires_grad=True)
    y = conv(x)
    (g,) = grad(y.sum(), x)
    assert fans(conv.weight.shape, groups=groups, transposed=transposed) == (y.max(), g.max())


def test_fans_of_a_linear_layer():
    assert fans((30, 20)) == fans(nn.Linear(20, 30).weight.shape) == (20, 30)
    assert fans([2, 3]) == (3, 2)


# Activations


@pytest.mark.verifies("initialization-relu-half", by="enumeration")
@pytest.mark.parametrize("law", [(-1.0, 1.0), (-3.0, -1.0, 0.0, 0.0, 1.0, 3.0), (-5.0, -1, 1, 5)])
@pytest.mark.parametrize("width", [1, 2, 5])
@pytest.mark.parametrize("slope", [0.0, 0.1, 0.7])
def test_leaky_relu_of_all_weights_of_a_symmetric_law_keeps_its_share_exactly(law, width, slope):
    weights = torch.cartesian_prod(*torch.tensor(law, dtype=torch.float64).expand(width, -1))
    y = weights.view(-1, width) @ (1.5 + torch.arange(width, dtype=torch.float64))
    share = (F.leaky_relu(y, slope) ** 2).mean() / (y**2).mean()
    assert share.item() == pytest.approx((1 + slope**2) / 2, rel=1e-13)
    assert ((F.relu(y) ** 2).mean() / (y**2).mean()).item() == pytest.approx(0.5, rel=1e-13)


@pytest.mark.verifies("initialization-he", by="peer")
@pytest.mark.parametrize("slope", [0.0, 0.01, 0.2, 1.0])
def test_he_is_the_gain_of_leaky_relu_and_what_torch_draws(slope):
    d = 400
    expected = 2 / ((1 + slope**2) * d)
    g = gain(lambda y: F.leaky_relu(y, slope))
    assert g**2 / d == pytest.approx(expected, rel=1e-12)
    torchs = nn.init.kaiming_normal_(torch.empty(900, d), slope, generator=seeded())
    own = variance_scaling_(torch.empty(900, d), gain=g, generator=seeded())
    torch.testing.assert_close(own, torchs)
    variance_is(own, expected)


MOMENTS = {
    "relu": (F.relu, 1 / 2),
    "gelu": (F.gelu, 1 / 3 + 1 / (2 * math.sqrt(3) * math.pi)),
    "relu2": (lambda y: F.relu(y) ** 2, 3 / 2),
    "erf": (torch.erf, 2 / math.pi * math.asin(2 / 3)),
    "sin": (torch.sin, (1 - math.exp(-2)) / 2),
    "identity": (lambda y: y, 1),
    "absolute": (torch.abs, 1),
}


@pytest.mark.verifies("initialization-gain", by="exact")
@pytest.mark.parametrize("name", MOMENTS)
def test_gain_is_one_over_the_root_of_the_activations_second_moment(name):
    fn, moment = MOMENTS[name]
    assert gain(fn) ** -2 == pytest.approx(moment, rel=1e-12)
    assert gaussian_mean(lambda y: fn(y) ** 2) == pytest.approx(moment, rel=1e-12)


@pytest.mark.verifies("initialization-gain", by="sampling")
@pytest.mark.parametrize("name", ["relu", "gelu", "tanh", "silu"])
def test_weights_with_the_gain_keep_the_activations_second_moment_at_one(name):
    fn, d = ACTIVATIONS[name], 1000
    samples = []
    for seed in range(30):
        x = fn(normal(d, seed=seed, dtype=torch.float32))
        w = variance_scaling_(torch.empty(d, d), gain=gain(fn), generator=seeded(100 + seed))
        samples.append((fn(w @ x) ** 2).mean())
    mean_is(torch.stack(samples), gain(fn) ** -2)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("sigma", [0.05, 0.3, 1, 2.5, 30])
def test_gaussian_means_against_scipy(name, sigma):
    fn = ACTIVATIONS[name]
    assert gaussian_mean(fn, sigma) == pytest.approx(integral(fn, sigma), rel=1e-10, abs=1e-11)
    second = integral(lambda y: fn(y) ** 2, sigma)
    assert gain(fn, sigma) == pytest.approx(sigma / math.sqrt(second), rel=1e-10)
    assert moment_map(fn, 1.5, sigma**2)[0] == pytest.approx(1.5 * second, rel=1e-10)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("sigma", [0.3, 1, 4])
def test_the_gain_makes_the_pre_activations_spread_a_fixed_point(name, sigma):
    fn = ACTIVATIONS[name]
    assert moment_map(fn, gain(fn, sigma) ** 2, sigma**2)[0] == pytest.approx(sigma**2, rel=1e-12)


def test_moments_at_spread_zero_are_values_at_zero():
    assert gaussian_mean(lambda y: 3 + y, 0) == pytest.approx(3, rel=1e-14)
    assert moment_map(torch.sigmoid, 2, 0) == pytest.approx((0.5, 0.125), rel=1e-13)
    assert moment_map(torch.tanh, 0, 1) == (0, 0)
    assert moment_map(torch.ones_like, 3, 1) == pytest.approx((3, 0), rel=1e-13)


def test_a_jump_or_a_kink_elsewhere_costs_digits_but_not_the_number():
    beyond = gaussian_mean(lambda y: (y > 0.3).double())
    assert beyond == pytest.approx(Phi(-0.3), abs=5e-3)
    kink = gaussian_mean(lambda y: F.relu(y - 0.3))
    assert kink == pytest.approx(phi(0.3) - 0.3 * Phi(-0.3), abs=1e-4)


@pytest.mark.verifies("initialization-gelu", by="exact")
@pytest.mark.parametrize("sigma", [0.01, 0.3, 1, 1.7, 5, 30])
def test_the_second_moment_of_gelu_in_closed_form(sigma):
    s = sigma**2
    terms = [
        1 / 4,
        math.asin(s / (1 + s)) / (2 * math.pi),
        s / (math.pi * (1 + s) * math.sqrt(1 + 2 * s)),
    ]
    assert gaussian_mean(lambda y: F.gelu(y) ** 2, sigma) == pytest.approx(
        s * sum(terms), rel=1e-11
    )
    assert integral(lambda y: F.gelu(y) ** 2, sigma) == pytest.approx(s * sum(terms), rel=1e-9)


def selu_constants():
    alpha = (1 / math.sqrt(2 * math.pi)) / (1 / 2 - math.sqrt(math.e) * Phi(-1))
    second = math.e**2 * Phi(-2) - 2 * math.sqrt(math.e) * Phi(-1) + 1 / 2
    return alpha, (1 / 2 + alpha**2 * second) ** -0.5


@pytest.mark.verifies("initialization-selu", by="exact")
def test_selus_constants_give_mean_zero_and_second_moment_one_and_are_torchs():
    alpha, scale = selu_constants()
    own = lambda y: scale * torch.where(y > 0, y, alpha * torch.expm1(y))
    assert gaussian_mean(own) == pytest.approx(0, abs=1e-13)
    assert gaussian_mean(lambda y: own(y) ** 2) == pytest.approx(1, rel=1e-12)
    y = torch.linspace(-5, 5, 101, dtype=torch.float64)
    torch.testing.assert_close(own(y), F.selu(y), rtol=1e-12, atol=1e-12)


@pytest.mark.verifies("initialization-moment-jacobian", by="gradient")
@pytest.mark.parametrize("omega", [0.0, 0.5, 1.0])
def test_the_jacobian_of_selus_moment_map_against_central_differences(omega):
    def moments(mu, nu):
        value = lambda z: F.selu(omega * mu + math.sqrt(nu) * z)
        mean = integral(value)
        return mean, integral(lambda z: value(z) ** 2) - mean**2

    z_mean = lambda weight, power: gaussian_mean(lambda z: weight(z) * F.selu(z) ** power)
    formula = [
        [omega * z_mean(lambda z: z, 1), z_mean(lambda z: z**2 - 1, 1) / 2],
        [omega * z_mean(lambda z: z, 2), z_mean(lambda z: z**2 - 1, 2) / 2],
    ]
    h = 1e-4
    by_mean = [(a - b) / (2 * h) for a, b in zip(moments(h, 1), moments(-h, 1), strict=True)]
    by_spread = [
        (a - b) / (2 * h) for a, b in zip(moments(0, 1 + h), moments(0, 1 - h), strict=True)
    ]
    differences = torch.tensor([by_mean, by_spread]).T
    torch.testing.assert_close(torch.tensor(formula), differences, rtol=0, atol=2e-5)
    radius = torch.linalg.eigvals(torch.tensor(formula)).abs().max().item()
    assert (radius < 1) == (omega < 1)  # it contracts only if the mean does not pass through


# Depth


@pytest.mark.verifies("initialization-mean-field", by="sampling")
@pytest.mark.parametrize("name", ["tanh", "relu", "gelu", "hardtanh"])
def test_a_wide_layer_maps_the_signal_and_the_gradient_as_mean_field_says(name):
    fn, d, sigma_w2, q = ACTIVATIONS[name], 600, 1.6, 0.8
    forward, backward = [], []
    for seed in range(60):
        y = (math.sqrt(q) * normal(d, seed=seed)).requires_grad_()
        w = y.new_empty(d, d)
        variance_scaling_(w, gain=math.sqrt(sigma_w2), generator=seeded(2000 + seed))
        after = w @ fn(y)
        g_after = normal(d, seed=1000 + seed)
        (g,) = grad((after * g_after).sum(), y)
        forward.append((after.detach() ** 2).mean())
        backward.append((g**2).mean() / (g_after**2).mean())
    q_after, chi = moment_map(fn, sigma_w2, q)
    mean_is(torch.stack(forward), q_after)
    mean_is(torch.stack(backward), chi)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("q", [0.2, 1.0, 7.0])
def test_chi_is_the_mean_square_slope(name, q):
    fn, h = ACTIVATIONS[name], 1e-6
    slope = lambda y: (fn(y + h) - fn(y - h)) / (2 * h)
    expected = 2.5 * gaussian_mean(lambda y: slope(y) ** 2, math.sqrt(q))
    assert moment_map(fn, 2.5, q)[1] == pytest.approx(expected, rel=1e-4)


def test_he_with_relu_is_on_the_edge_at_every_size_of_the_signal():
    for q in (0.01, 1.0, 50.0):
        assert moment_map(F.relu, 2, q) == pytest.approx((q, 1), rel=1e-12)


@pytest.mark.verifies("initialization-fixed-point", by="gradient")
@pytest.mark.parametrize("name", [*ACTIVATIONS, "sin", "leaky"])
def test_the_slope_of_the_moment_map_at_its_fixed_point(name):
    """Below 1 a signal of the wrong size comes back to q = 1, above 1 it is driven off."""
    fn = {**ACTIVATIONS, "leaky": lambda y: F.leaky_relu(y, 0.2)}[name]
    sigma_w2, h = gain(fn) ** 2, 1e-4
    above, below = (moment_map(fn, sigma_w2, 1 + step)[0] for step in (h, -h))
    weighted = gaussian_mean(lambda z: (z**2 - 1) * fn(z) ** 2)
    slope = weighted / (2 * gaussian_mean(lambda z: fn(z) ** 2))
    assert (above - below) / (2 * h) == pytest.approx(slope, abs=1e-6)
    repels = {"gelu": True, "silu": True, "hardswish": True, "relu": False, "leaky": False}
    assert (slope > 1 + 1e-6) == repels.get(name, False)


def hermite_coefficients(fn, sigma, degree):
    """c_k = E f(sigma z) h_k(z), with the normalized Hermite polynomials."""

    def moments(z):
        h = [torch.ones_like(z), z]
        for k in range(1, degree):
            h.append((z * h[k] - math.sqrt(k) * h[k - 1]) / math.sqrt(k + 1))
        return h

    value = lambda k: lambda z: fn(sigma * z) * moments(z)[k]
    return torch.tensor([gaussian_mean(value(k)) for k in range(degree + 1)], dtype=torch.float64)


@pytest.mark.verifies("initialization-mean-degree", by="exact")
@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("q", [0.1, 0.6])
def test_chi_at_a_fixed_point_is_the_mean_degree_of_the_activation(name, q):
    fn = SMOOTH[name]
    c2 = hermite_coefficients(fn, math.sqrt(q), 40) ** 2
    sigma_w2 = q / gaussian_mean(lambda y: fn(y) ** 2, math.sqrt(q))
    q_after, chi = moment_map(fn, sigma_w2, q)
    assert q_after == pytest.approx(q, rel=1e-12)
    assert chi == pytest.approx(((torch.arange(41) * c2).sum() / c2.sum()).item(), rel=1e-6)


ODD = {
    "tanh": torch.tanh,
    "erf": torch.erf,
    "sin": torch.sin,
    "atan": torch.atan,
    "softsign": F.softsign,
    "hardtanh": F.hardtanh,
    "tanhshrink": F.tanhshrink,
    "cube": lambda y: y**3,
    "line and cube": lambda y: y + 0.1 * y**3,
    "sign": torch.sign,
}


@pytest.mark.verifies("initialization-odd-chaos", by="enumeration")
@pytest.mark.parametrize("name", ODD)
def test_at_every_fixed_point_of_an_odd_function_gradients_grow(name):
    fn = ODD[name]
    for q in (0.05, 0.3, 1.0, 4.0):
        sigma_w2 = gain(fn, math.sqrt(q)) ** 2
        if name == "sign":  # its slope is 0 where it has one; of a steep tanh it is not
            fn = lambda y: torch.tanh(200 * y)
        q_after, chi = moment_map(fn, sigma_w2, q)
        assert q_after == pytest.approx(q, rel=0.02 if name == "sign" else 1e-10)
        assert chi > 1 + 1e-6
    assert moment_map(lambda y: 3 * y, 1 / 9, 2) == pytest.approx((2, 1), rel=1e-12)
    shifted = lambda y: torch.tanh(y + 1)  # not odd
    assert moment_map(shifted, gain(shifted) ** 2, 1)[1] < 1


@pytest.mark.verifies("initialization-layer-variance", by="exact")
def test_one_layers_second_moments_are_those_of_a_random_number_of_squares():
    """Given that k of d pre-activations are positive, their squares add up to chi-squared_k."""
    for d in (1, 2, 7, 64):
        share = [Fraction(math.comb(d, k), 2**d) for k in range(d + 1)]
        first = sum(p * k for k, p in enumerate(share)) * Fraction(2, d)
        second = sum(p * k * (k + 2) for k, p in enumerate(share)) * Fraction(4, d**2)
        assert first == 1 and second == 1 + Fraction(5, d)


def relu_stack(layers, width, draws, seed=0):
    """Return q_L / q_0 of a He-initialized ReLU stack, (draws,)."""
    x = torch.ones(draws, width, dtype=torch.float64)
    generator = seeded(seed)
    for _ in range(layers):
        w = x.new_empty(draws, width, width).normal_(0, (2 / width) ** 0.5, generator=generator)
        x = F.relu(torch.einsum("bij,bj->bi", w, x))
    return (x**2).mean(1)  # (2/d)|x_L|² over (2/d)|x_0|², where |x_0|² = d


@pytest.mark.verifies("initialization-layer-variance", by="sampling")
def test_a_stack_multiplies_the_moments_of_its_layers():
    q = relu_stack(3, 10, 40_000)
    mean_is(q, 1)
    mean_is(q**2, (1 + 5 / 10) ** 3)


@pytest.mark.verifies("initialization-finite-width", by="exact")
def test_the_logarithm_of_one_layers_factor_to_leading_order():
    """Mean and variance of ln chi-squared_k are digamma(k/2) + ln 2 and trigamma(k/2)."""
    for d in (64, 256, 1000):
        k = torch.arange(1, d + 1)
        share = torch.tensor([math.comb(d, int(i)) / 2**d for i in k], dtype=torch.float64)
        log = torch.from_numpy(digamma(k.numpy() / 2)) + math.log(2) + math.log(2 / d)
        mean = share @ log
        variance = share @ torch.from_numpy(polygamma(1, k.numpy() / 2)) + share @ (log - mean) ** 2
        assert d * mean.item() == pytest.approx(-5 / 2, rel=6 / d)
        assert d * variance.item() == pytest.approx(5, rel=9 / d)


@pytest.mark.verifies("initialization-finite-width", by="sampling")
def test_a_typical_deep_network_shrinks():
    log = relu_stack(20, 64, 500).log()
    mean_is(log, -5 * 20 / (2 * 64), also=0.1 * 0.78)  # the next order in 1/d
    assert log.var().item() == pytest.approx(5 * 20 / 64, rel=0.35)
    assert log.median() < -0.5


@pytest.mark.verifies("initialization-gram", by="sampling")
def test_columns_of_normal_weights_are_nearly_orthonormal():
    d_out, d_in = 8, 3
    W = normal(100_000, d_out, d_in) / math.sqrt(d_out)
    gram = W.mT @ W
    for i, j in itertools.product(range(d_in), repeat=2):
        expected = float(i == j)
        mean_is(gram[:, i, j], expected)
        mean_is((gram[:, i, j] - expected) ** 2, (1 + expected) / d_out)


# Attention


@pytest.mark.verifies("initialization-logit-variance", by="enumeration")
@pytest.mark.parametrize("d", [1, 3, 5])
def test_the_variance_of_logits_over_all_queries_and_keys(d):
    signs = sign_matrices(1, d)[:, 0]
    queries, keys = torch.cat([0.5 * signs, 2 * signs]), 3 * signs
    logits = queries @ keys.T
    assert abs(logits.mean()) < 1e-12
    sigma_q2, sigma_k2 = (0.5**2 + 2**2) / 2, 3**2
    assert (logits**2).mean().item() == pytest.approx(d * sigma_q2 * sigma_k2, rel=1e-12)
    # Where the query is a key (learned, not drawn) the logits grow as d, not as its root.
    assert ((keys**2).sum(1) ** 2).mean().item() == pytest.approx((d * sigma_k2) ** 2)


def softmax_of_noise(sigma, n, draws, seed=0):
    return (sigma * normal(draws, n, seed=seed)).softmax(-1)


def entropy(p):
    return -torch.special.xlogy(p, p).sum(-1)


@pytest.mark.verifies("initialization-rem", by="sampling")
@pytest.mark.parametrize("share", [0.3, 0.6, 0.8, 1.0, 1.5, 2.5])
def test_the_entropy_over_ln_n_approaches_the_random_energy_model(share):
    errors = []
    for n in (2**6, 2**11, 2**16):
        sigma = share * math.sqrt(2 * math.log(n))
        limit = max(0, 1 - share**2)
        assert rem_entropy(sigma, n) / math.log(n) == pytest.approx(limit, abs=1e-12)
        H = entropy(softmax_of_noise(sigma, n, max(100, 2**21 // n)))
        errors.append(abs(H.mean().item() / math.log(n) - limit))
    assert errors[0] > errors[1] > errors[2] or errors[0] < 0.01
    assert errors[2] < (0.35 if share == 1 else 0.2)  # at the transition it falls most slowly


def test_with_scaled_logits_the_entropy_is_that_of_the_random_energy_model():
    H = entropy(softmax_of_noise(1, 512, 2000))
    mean_is(H, rem_entropy(1, 512), also=0.01)
    assert rem_entropy(1, 512) == pytest.approx(math.log(512) - 0.5)
    assert rem_entropy(0, 7) == math.log(7) and rem_entropy(3, 1) == 0


@pytest.mark.verifies("initialization-participation", by="sampling")
@pytest.mark.parametrize("sigma", [0.5, 1.0, 1.5])
def test_the_number_of_keys_times_the_sum_of_squares_is_e_to_sigma_squared(sigma):
    n = 2**15
    assert sigma < math.sqrt(2 * math.log(n)) / 2
    p = softmax_of_noise(sigma, n, 200)
    mean_is(n * (p**2).sum(-1), math.exp(sigma**2), also=1e-3 * math.exp(sigma**2))
    beyond = softmax_of_noise(3.4, n, 200)
    assert n * (beyond**2).sum(-1).mean() < math.exp(3.4**2) / 2


probabilities = st.lists(st.floats(-40, 40), min_size=1, max_size=8).map(
    lambda logits: torch.tensor(logits, dtype=torch.float64)
)


@pytest.mark.verifies("initialization-softmax-jacobian", by="gradient")
@given(probabilities)
def test_the_norm_of_the_softmaxs_jacobian_against_autograd(logits):
    p = logits.softmax(-1)
    jacobian = torch.autograd.functional.jacobian(lambda s: s.softmax(-1), logits)
    torch.testing.assert_close(jacobian, torch.diag(p) - torch.outer(p, p))
    squared = (p**2).sum() - 2 * (p**3).sum() + (p**2).sum() ** 2
    assert abs(squared - (jacobian**2).sum()) < 1e-15
    norm = softmax_jacobian_norm(p)
    assert norm.item() == pytest.approx(jacobian.norm().item(), rel=1e-6, abs=1e-15)


@pytest.mark.verifies("initialization-softmax-jacobian", by="sampling")
def test_the_norm_is_the_gradients_size_for_random_values():
    logits = normal(6).requires_grad_()
    values = normal(20_000, 6, seed=1)
    p = logits.softmax(-1)
    g = torch.autograd.grad(p, logits, values, is_grads_batched=True)[0]  # d(sum p_i v_i)/ds
    mean_is((g**2).sum(-1), softmax_jacobian_norm(p.detach()).item() ** 2)


def test_the_norm_keeps_its_digits_near_one_hot_and_its_shape():
    for rest in (1e-3, 1e-9, 1e-15, 1e-100):
        p = torch.tensor([rest, 1 - rest], dtype=torch.float64)
        assert softmax_jacobian_norm(p).item() == pytest.approx(2 * rest * (1 - rest), rel=1e-12)
    assert softmax_jacobian_norm(torch.ones(4, 1)).tolist() == [0, 0, 0, 0]
    assert softmax_jacobian_norm(torch.tensor([0.5, 0.5])).item() == 0.5
    assert softmax_jacobian_norm(torch.eye(3)).tolist() == [0, 0, 0]
    for dtype in DTYPES:
        p = torch.full((2, 3, 4), 0.25, dtype=dtype)
        norm = softmax_jacobian_norm(p)
        assert norm.shape == (2, 3) and norm.dtype == torch.promote_types(dtype, torch.float32)
        assert norm.flatten().tolist() == pytest.approx([math.sqrt(3) / 4] * 6, rel=1e-6)


def gap_density(n):
    """The density at 0 of the gap between the two largest of n standard normal numbers."""
    density = lambda x: phi(x) ** 2 * Phi(x) ** (n - 2)
    return n * (n - 1) * scipy.integrate.quad(density, -9, 9, epsabs=1e-14, limit=200)[0]


def frozen_norm(gap):
    """The norm for two keys whose logits differ by a gap: 2 p (1 - p)."""
    return 1 / (1 + math.cosh(gap))


@pytest.mark.verifies("initialization-frozen-jacobian", by="exact")
def test_two_keys_share_the_weight_as_often_as_their_logits_are_close():
    assert gap_density(2) == pytest.approx(1 / math.sqrt(math.pi), rel=1e-12)
    errors = []
    for sigma in (16, 64, 256):
        # The gap of two standard normal numbers is |N(0, 2)|.
        integrand = lambda t, s=sigma: frozen_norm(t) ** 2 * 2 * phi(t / s / 2**0.5) / 2**0.5 / s
        mean = scipy.integrate.quad(integrand, 0, 60, epsabs=1e-15, limit=200)[0]
        errors.append(abs(mean / (gap_density(2) / (3 * sigma)) - 1))
    assert errors[0] < 5e-3 and errors[1] < errors[0] / 10 and errors[2] < errors[1] / 10


@pytest.mark.verifies("initialization-frozen-jacobian", by="sampling")
@pytest.mark.parametrize("n", [3, 64, 512])
def test_the_jacobians_mean_square_falls_as_one_over_sigma(n):
    for sigma, off in ((64, 0.2), (256, 0.05)):
        p = softmax_of_noise(sigma, n, 4_000_000 // n)
        expected = gap_density(n) / (3 * sigma)
        mean_is(softmax_jacobian_norm(p) ** 2, expected, also=off * expected)


# Parametrizations


@pytest.mark.verifies("initialization-t5", by="sampling")
def test_t5s_projections_give_logits_of_variance_one_without_scaling_them():
    d_model, d, draws = 48, 16, 4000
    x, other = (v * (d_model / (v**2).sum()).sqrt() for v in normal(2, d_model, seed=1))
    W_q = normal(draws, d, d_model, seed=2) * (d_model * d) ** -0.5
    W_k = normal(draws, d, d_model, seed=3) * d_model**-0.5
    q, k = W_q @ x, W_k @ other
    mean_is(q**2, 1 / d)
    mean_is(k**2, 1)
    variance_is((q * k).sum(-1), 1)


def train(weight, scale, optimizer, steps=3):
    """Train y = scale W x on a fixed problem and return scale W after each step."""
    W = nn.Parameter(weight.clone())
    x, target = normal(20, 6, seed=5), normal(20, 4, seed=6)
    descent = optimizer([W])
    path = []
    for _ in range(steps):
        descent.zero_grad()
        (torch.tanh(x @ (scale * W).T) - target).square().mean().backward()
        descent.step()
        path.append(scale * W.detach())
    return torch.stack(path)


@pytest.mark.verifies("initialization-reparametrization", by="exact")
@pytest.mark.parametrize("c", [8.0, 0.3])
def test_a_factor_moved_out_of_the_weights_asks_for_another_rate(c):
    start = normal(4, 6)

    def sgd(lr):
        return lambda p: torch.optim.SGD(p, lr=lr)

    def adam(lr):
        return lambda p: torch.optim.Adam(p, lr=lr, eps=0)

    for make, rate in ((sgd, 0.1 / c**2), (adam, 0.1 / c)):
        plain = train(start, 1, make(0.1))
        torch.testing.assert_close(train(start / c, c, make(rate)), plain, rtol=1e-11, atol=1e-12)
        assert (train(start / c, c, make(0.1)) - plain).abs().max() > 1e-2


@pytest.mark.verifies("initialization-relative-step", by="peer")
@pytest.mark.parametrize("c", [8.0, 0.3])
def test_adafactors_steps_are_in_proportion_to_the_weights(c):
    make = lambda p: torch.optim.Adafactor(p, lr=0.05, eps=(1e-40, 1e-3))
    start = normal(4, 6)
    plain = train(start, 1, make)
    assert (plain[0] - start).square().mean().sqrt() > 0.01
    torch.testing.assert_close(train(start / c, c, make), plain, rtol=1e-10, atol=1e-12)
    small = train(1e-6 * start, 1, make)  # below eps2 the step is no longer in proportion
    assert (train(1e-6 * start / c, c, make) - small).abs().max() > 1e-4
    # The step is the rate times RMS(W) times a normalized gradient of RMS at most 1.
    step = (plain[0] - start).square().mean().sqrt() / start.square().mean().sqrt()
    assert 0.02 < step.item() <= 0.05 * (1 + 1e-9)


@pytest.mark.verifies("initialization-adam-step", by="exact")
@pytest.mark.parametrize(("d_in", "d_out"), [(5, 3), (40, 70)])
def test_adams_first_step_adds_up_the_absolute_inputs(d_in, d_out):
    x, delta, eta = normal(d_in), normal(d_out, seed=1), 0.01
    W = nn.Parameter(normal(d_out, d_in, seed=2))
    before = W.detach().clone()
    (W @ x @ delta).backward()  # its gradient is delta x^T
    torch.testing.assert_close(W.grad, torch.outer(delta, x))
    torch.optim.Adam([W], lr=eta, eps=0).step()
    change = W.detach() - before
    torch.testing.assert_close(change @ x, -eta * delta.sign() * x.abs().sum())
    spectral = torch.linalg.matrix_norm(change, 2).item()
    assert spectral == pytest.approx(eta * math.sqrt(d_in * d_out), rel=1e-10)


def mlp(width, layers=2, bias=True):
    hidden = [nn.Linear(width, width, bias=bias) for _ in range(layers - 1)]
    stack = [nn.Linear(8, width, bias=bias), *hidden]
    stack = [module for layer in stack for module in (layer, nn.ReLU())]
    return nn.Sequential(*stack, nn.Linear(width, 5, bias=bias))


def make_mlp(mup, base=64, lr=0.01):
    """A network of three layers, with μP or with the standard parametrization."""

    def make(width):
        torch.manual_seed(0)
        model = mlp(width)
        for layer in (model[0], model[2]):
            variance_scaling_(layer.weight, gain=math.sqrt(2))
        readout_std = base**0.5 / width if mup else width**-0.5
        nn.init.normal_(model[4].weight, std=readout_std)
        groups = mup_groups(model, base, lr) if mup else model.parameters()
        x, target = normal(32, 8, dtype=torch.float32), torch.arange(32) % 5
        optimizer = torch.optim.Adam(groups, lr=lr)
        return model, optimizer, lambda model: F.cross_entropy(model(x), target)

    return make


def slope(widths, values):
    """The slope of a line through the points, on logarithmic scales."""
    x = torch.tensor(widths).double().log()
    y = values.double().log()
    return ((x - x.mean()) @ (y - y.mean()) / ((x - x.mean()) ** 2).sum()).item()


@pytest.mark.verifies("initialization-mup", by="sampling")
def test_with_mup_no_layer_moves_more_when_the_network_is_wider():
    widths = [64, 256, 1024]
    by_mup = coord_check(make_mlp(mup=True), widths, 5)
    standard = coord_check(make_mlp(mup=False), widths, 5)
    assert list(by_mup) == list(standard) == ["0", "2", "4"]
    torch.testing.assert_close(by_mup["0"][0], standard["0"][0])  # the same at the base width
    for name in ("0", "2", "4"):
        assert abs(slope(widths, by_mup[name])) < 0.15
    assert slope(widths, standard["4"]) > 0.3 and slope(widths, standard["2"]) > 0.3


@pytest.mark.verifies("initialization-mup", by="exact")
@pytest.mark.parametrize("width", [32, 64, 192])
def test_mups_rates_of_a_plain_network(width):
    model = mlp(width, layers=3)
    groups = mup_groups(model, 64, 0.1)
    r = width / 64
    assert [group["role"] for group in groups] == ["input", "hidden", "readout"]
    assert [group["lr"] for group in groups] == pytest.approx([0.1, 0.1 / r, 0.1 / r], rel=1e-15)
    names = {id(weight): name for name, weight in model.named_parameters()}
    held = [[names[id(weight)] for weight in group["params"]] for group in groups]
    assert held[0] == ["0.weight", "0.bias", "2.bias", "4.bias", "6.bias"]
    assert held[1:] == [["2.weight", "4.weight"], ["6.weight"]]
    optimizer = torch.optim.Adam(groups)
    assert [group["lr"] for group in optimizer.param_groups] == [group["lr"] for group in groups]


class Tokens(nn.Module):
    """Embeddings of tokens and of places, a hidden layer between norms, a readout."""

    def __init__(self, width, tied=False):
        super().__init__()
        self.token, self.place = nn.Embedding(10, width), nn.Embedding(4, width)
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width, bias=False)
        self.readout = nn.Linear(width, 10)
        if tied:
            self.readout.weight = self.token.weight

    def forward(self, tokens):
        x = self.token(tokens) + self.place(torch.arange(4))
        return self.readout(x + self.down(F.relu(self.up(self.norm(x)))))


def test_mup_takes_embeddings_as_the_input_and_their_size_as_the_width():
    groups = mup_groups(Tokens(96), 32, 0.3)
    assert [len(group["params"]) for group in groups] == [6, 2, 1]
    assert [group["lr"] for group in groups] == pytest.approx([0.3, 0.1, 0.1])
    shapes = [tuple(weight.shape) for weight in groups[1]["params"] + groups[2]["params"]]
    assert shapes == [(384, 96), (96, 384), (10, 96)]
    both = nn.Sequential(nn.Embedding(10, 6), nn.Linear(6, 10))
    assert [len(group["params"]) for group in mup_groups(both, 3, 1)] == [2, 0, 1]


def test_coord_check_measures_the_change_of_every_linear_layer():
    x = torch.tensor([[1.0, 2.0]])
    used = []

    def make(width):
        model = nn.Module()
        model.first, model.unused = nn.Linear(2, width, bias=False), nn.Linear(2, 3)
        nn.init.ones_(model.first.weight)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)

        def loss(model):
            used.append(width)
            return model.first(x).sum()  # each weight falls by 0.5 x a step

        return model, optimizer, loss

    changes = coord_check(make, [3, 4], 2)
    assert list(changes) == ["first"] and changes["first"].shape == (2,)
    assert changes["first"].tolist() == [5, 5]  # two steps of 0.5 (1 + 4)
    assert used == 4 * [3] + 4 * [4]
    assert coord_check(make, (3,))["first"].tolist() == [12.5]  # five steps by default


@pytest.mark.parametrize("scale", [1e-3, 300.0])
def test_coord_check_measures_half_types_in_float32(scale):
    """The squares of such changes are 0 or infinite in float16."""
    x = torch.ones(2, 3).half()

    def make(width):
        model = nn.Linear(3, width, bias=False).half()
        nn.init.zeros_(model.weight)
        rate = scale / 6
        return model, torch.optim.SGD(model.parameters(), lr=rate), lambda m: m(x).sum()

    change = coord_check(make, [4], steps=1)[""]
    assert change.dtype == torch.float32
    assert change.item() == pytest.approx(scale, rel=2e-3)


@pytest.mark.parametrize("width", [32, 512])
def test_mup_takes_linear_layers_beside_an_embedding_for_input_layers(width):
    class Labeled(nn.Module):
        def __init__(self):
            super().__init__()
            self.label, self.enter = nn.Embedding(2, width), nn.Linear(5, width)
            self.time, self.wide = nn.Linear(3, width), nn.Linear(2 * width, width)
            self.narrow, self.read = nn.Linear(7, width), nn.Linear(width, 1)

    model = Labeled()
    inputs, hidden, readout = mup_groups(model, 32, 0.1)
    rates = {id(w): group["lr"] for group in (inputs, hidden, readout) for w in group["params"]}
    for layer in (model.label, model.enter, model.time):
        assert rates[id(layer.weight)] == 0.1
    for layer in (model.wide, model.narrow, model.read):  # a bottleneck is inside, not beside
        assert rates[id(layer.weight)] == pytest.approx(0.1 * 32 / width)
    two = nn.ModuleList([nn.Linear(5, width), nn.Linear(3, width), nn.Linear(width, 1)])
    assert [len(group["params"]) for group in mup_groups(two, 32, 0.1)] == [5, 0, 1]


def test_coord_check_sees_no_change_in_dropout():
    x = torch.randn(16, 5)

    def make(width):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(5, width), nn.Dropout(0.5), nn.Linear(width, 1))
        return model, torch.optim.SGD(model.parameters(), lr=0.0), lambda m: m(x).square().mean()

    assert all(change.eq(0).all() for change in coord_check(make, [8, 16]).values())
    chance = torch.rand(3)
    model, _, loss = make(16)
    for _ in range(5):
        loss(model)
    assert torch.equal(chance, torch.rand(3))  # as without measuring


def test_coord_check_refuses_models_of_different_layers():
    x = torch.randn(16, 5)

    def make(width):
        deeper = [nn.Linear(width, width)] * (width > 32)
        model = nn.Sequential(nn.Linear(5, width), *deeper, nn.Linear(width, 1))
        return model, torch.optim.SGD(model.parameters(), lr=0.1), lambda m: m(x).square().mean()

    for widths in ([16, 64], [64, 16]):
        with pytest.raises(ValueError, match="^make_model: .* same linear layers .* at width "):
            coord_check(make, widths)


def test_coord_check_leaves_no_hooks():
    kept = []

    def make(width):
        made = make_mlp(mup=True)(width)
        kept.append(made[0])
        return made

    coord_check(make, [8], 1)
    assert not any(module._forward_hooks for module in kept[0].modules())


def clusters(rows=300, seed=0):
    """Integer features and their classes: five centers with noise, rounded."""
    classes = torch.arange(rows) % 5
    centers = 4 * normal(5, 6, seed=seed + 1)
    return (centers[classes] + normal(rows, 6, seed=seed + 2)).round().to(torch.int8), classes


@pytest.mark.parametrize("mup", [False, True])
@pytest.mark.parametrize("steps", [4, 20])
def test_one_run_of_the_width_sweep_written_out(mup, steps):
    (inputs, classes), width, lr = clusters(), 12, 0.02
    options = {"steps": steps, "batch_size": 16, "seed": 3}
    losses = width_sweep((inputs, classes), [4, width], [0.5, lr], **options)
    generator = seeded(3)
    order = torch.randint(300, (steps, 16), generator=generator)
    stds = [(2 / 6) ** 0.5, (2 / width) ** 0.5, width**-0.5 * (4 / width) ** (0.5 * mup)]
    shapes = [(width, 6), (width, width), (5, width)]
    weights = [
        torch.empty(shape).normal_(0, std, generator=generator).requires_grad_()
        for shape, std in zip(shapes, stds, strict=True)
    ]
    biases = [torch.zeros(rows, requires_grad=True) for rows, _ in shapes]
    factor = 4 / width if mup else 1
    rates = [lr, lr * factor, lr * factor]
    groups = [{"params": [w], "lr": rate} for w, rate in zip(weights, rates, strict=True)]
    optimizer = torch.optim.Adam([*groups, {"params": biases, "lr": lr}])
    values = []
    for rows in order:
        x = inputs[rows].float()
        for w, b in zip(weights[:-1], biases[:-1], strict=True):
            x = F.relu(x @ w.T + b)
        loss = F.cross_entropy(x @ weights[-1].T + biases[-1], classes[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    last = values[-2:] if steps == 20 else values[-1:]
    assert losses.shape == (2, 2, 2) and not losses.requires_grad
    assert losses[int(mup), 1, 1].item() == pytest.approx(sum(last) / len(last), rel=1e-4)


def test_the_width_sweep_is_the_same_at_the_base_width_and_leaves_chance_alone():
    state = torch.get_rng_state()
    losses = width_sweep(clusters(), [8, 64], [1e-3, 0.05, 1e35], steps=20)
    assert torch.equal(state, torch.get_rng_state())
    torch.testing.assert_close(losses[0, 0], losses[1, 0])
    assert not torch.equal(losses[0, 1], losses[1, 1])
    assert (losses[..., 2] == math.inf).all() and losses[..., :2].isfinite().all()
    assert losses[0, 0, 1] < losses[0, 0, 0] / 2  # it has learned
    assert torch.equal(losses, width_sweep(clusters(), [8, 64], [1e-3, 0.05, 1e35], steps=20))
    other = width_sweep(clusters(), [8, 64], [1e-3, 0.05, 1e35], steps=20, seed=1)
    assert not torch.equal(losses, other)
    by_default = width_sweep(clusters(), [8], [0.05], steps=2)
    assert torch.equal(by_default, width_sweep(clusters(), [8], [0.05], steps=2, batch_size=256))


# Norms and residuals


def normalized_loss(W):
    """A function that does not change when all weights are multiplied by a number: RMSNorm."""
    x, target = normal(10, 5), normal(10, 4, seed=1)
    y = x @ W.T
    return (y / y.square().mean(-1, keepdim=True).sqrt() - target).pow(2).mean()


@pytest.mark.verifies("initialization-scale-invariance", by="gradient")
@pytest.mark.parametrize("a", [0.25, 3.0])
def test_before_a_norm_the_gradient_is_orthogonal_and_of_degree_minus_one(a):
    def layer_norm(W):
        y = normal(10, 5) @ W.T
        return (F.layer_norm(y, (4,), eps=0) - normal(10, 4, seed=1)).pow(2).mean()

    for f in (normalized_loss, layer_norm):
        W = normal(4, 5, seed=2).requires_grad_()
        scaled = (a * W).detach().requires_grad_()
        assert f(W).item() == pytest.approx(f(scaled).item(), rel=1e-12)
        g, g_scaled = grad(f(W), W)[0], grad(f(scaled), scaled)[0]
        assert g.norm() > 0.1 and abs((g * W).sum()) < 1e-14
        torch.testing.assert_close(g_scaled, g / a)


@pytest.mark.verifies("initialization-effective-rate", by="exact")
def test_a_step_before_a_norm_is_one_of_the_rate_over_the_squared_norm():
    W, eta = 7 * normal(4, 5, seed=2), 0.9
    gradient = lambda V: grad(normalized_loss(V.requires_grad_()), V)[0]
    size, direction = W.norm(), W / W.norm()
    after = W - eta * gradient(W.clone())
    torch.testing.assert_close(
        after / size, direction - eta / size**2 * gradient(direction.clone())
    )
    grown = size**2 + eta**2 * gradient(W.clone()).norm() ** 2
    assert (after.norm() ** 2).item() == pytest.approx(grown.item(), rel=1e-12)


@pytest.mark.verifies("initialization-post-norm", by="exact")
def test_post_norm_halves_the_share_of_the_input_in_each_layer():
    L, d = 6, 50_000
    x0, branches = normal(d, seed=9), normal(L, d)
    x = normed = x0
    for branch in branches:
        x = (x + branch) / math.sqrt(2)
        normed = F.layer_norm(normed + branch, (d,), eps=0)
    sums = 2 ** (-L / 2) * x0
    sums += sum(2 ** (-(L - layer) / 2) * branches[layer] for layer in range(L))
    torch.testing.assert_close(x, sums)
    # A real norm divides by what it finds, not by the root of 2: nearly the same in a wide layer.
    assert (normed - sums).square().mean().sqrt() < 0.05
    assert F.cosine_similarity(x0, normed, 0).item() == pytest.approx(2 ** (-L / 2), abs=0.02)


@pytest.mark.verifies("initialization-pre-norm", by="sampling")
def test_pre_norm_adds_one_variance_in_each_layer():
    d = 200_000
    x = normal(d, seed=9)
    for layer, branch in enumerate(normal(8, d)):
        variance_is(x, 1 + layer)
        cosine = F.cosine_similarity(x, x + branch, 0).item()
        assert cosine == pytest.approx(math.sqrt((layer + 1) / (layer + 2)), abs=5 / math.sqrt(d))
        x = x + branch


def first_step(branches, layers, scale):
    """The output's change by one SGD step of x + sum of linear branches that start at 0."""
    generator = seeded(1)
    x, target = normal(6, seed=2), normal(6, seed=3)
    stacks = []
    for _ in range(branches):
        stack = [orthogonal_(x.new_empty(6, 6), scale, generator=generator) for _ in range(layers)]
        stack[-1].zero_()
        stacks.append([nn.Parameter(W) for W in stack])

    def output():
        total = x
        for stack in stacks:
            branch = x
            for W in stack:
                branch = W @ branch
            total = total + branch
        return total

    before = output()
    optimizer = torch.optim.SGD([W for stack in stacks for W in stack], lr=0.1)
    ((before - target) ** 2).sum().backward()
    optimizer.step()
    return (output() - before).detach()


@pytest.mark.verifies("initialization-fixup", by="exact")
@pytest.mark.parametrize("layers", [2, 3, 4])
def test_with_fixups_scale_the_first_step_does_not_depend_on_the_number_of_branches(layers):
    one = first_step(1, layers, fixup_scale(1, layers))
    assert fixup_scale(1, layers) == 1 and one.norm() > 0.1
    for branches in (2, 5, 32):
        a = fixup_scale(branches, layers)
        assert a ** (2 * (layers - 1)) == pytest.approx(1 / branches, rel=1e-12)
        assert a == pytest.approx(branches ** (-1 / (2 * layers - 2)), rel=1e-12)
        torch.testing.assert_close(first_step(branches, layers, a), one)
        torch.testing.assert_close(first_step(branches, layers, 1.0), branches * one)


def test_deepnorms_constants_of_an_encoder_and_its_decoder():
    """By the formulas of the paper's figure for 6 and 6 layers, and how they grow."""
    encoder, decoder = encoder_decoder_deepnorm(6, 6)
    assert encoder == pytest.approx((0.81 * 6 ** (5 / 16), 0.87 * 6 ** (-5 / 16)), rel=1e-14)
    assert decoder == pytest.approx((18**0.25, 72**-0.25), rel=1e-14)
    wider, same = encoder_decoder_deepnorm(96, 6)
    assert wider[0] == pytest.approx(2 * encoder[0], rel=1e-14)
    assert wider[1] == pytest.approx(encoder[1] / 2, rel=1e-14) and same == decoder


@pytest.mark.verifies("initialization-deepnorm", by="symbolic")
def test_deepnorms_constants_bound_the_sum_of_all_updates():
    N = sympy.symbols("N", positive=True)
    condition = {"sgd": lambda a, b: 4 * N * (b / a) ** 2, "adam": lambda a, b: 4 * N * b / a}
    for optimizer, p in (("sgd", sympy.Rational(1, 4)), ("adam", sympy.Rational(1, 2))):
        alpha, beta = (2 * N) ** p, (8 * N) ** -p
        assert sympy.simplify(condition[optimizer](alpha, beta) - 1) == 0
        for layers in (1, 12, 1000):
            expected = [float(constant.subs(N, layers)) for constant in (alpha, beta)]
            assert deepnorm_constants(layers, optimizer) == pytest.approx(expected, rel=1e-14)
    assert deepnorm_constants(12) == deepnorm_constants(12, "sgd")


# What other libraries do (the chapter's table of traps)


@pytest.mark.parametrize("distribution", ["normal", "uniform", "truncated_normal"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_half_types_are_drawn_in_float32_and_rounded(dtype, distribution):
    shape = (64, 50)
    exact, w = torch.empty(shape), torch.empty(shape, dtype=dtype)
    for weight in (exact, w):
        generator = torch.Generator().manual_seed(2)
        out = variance_scaling_(weight, distribution=distribution, generator=generator)
        assert out is weight
    assert torch.equal(w, exact.to(dtype))


@pytest.mark.parametrize("fn", [nn.LeakyReLU(0.1, inplace=True), nn.ReLU(inplace=True), nn.PReLU()])
def test_activations_may_work_in_place_or_have_weights(fn):
    slope = {nn.LeakyReLU: 0.1, nn.ReLU: 0.0, nn.PReLU: 0.25}[type(fn)]

    def plain(x):
        return torch.where(x > 0, x, slope * x)

    assert gain(fn) == pytest.approx(gain(plain), rel=1e-12)
    assert gaussian_mean(fn, 2.0) == pytest.approx(gaussian_mean(plain, 2.0), rel=1e-12)
    assert moment_map(fn, 1.5, 2.0) == pytest.approx(moment_map(plain, 1.5, 2.0), rel=1e-12)
    assert all(weight.dtype == torch.float32 for weight in fn.parameters())


def test_a_function_may_answer_in_another_dtype():
    assert gaussian_mean(lambda y: y > 0) == pytest.approx(0.5, rel=1e-12)
    assert gain(lambda y: (y > 0).float()) == pytest.approx(math.sqrt(2), rel=1e-12)


@pytest.mark.parametrize(
    "fn", [nn.Softmax(-1), lambda x: x - x.mean(), lambda x: x.cumsum(0), nn.Dropout(0.5)]
)
def test_what_looks_at_other_elements_or_at_chance_has_no_gain(fn):
    with pytest.raises(
        ValueError, match="^fn: expected a function that answers each element alone"
    ):
        gain(fn)


def test_what_breaks_on_float64_has_no_gain():
    linear = nn.Linear(33, 33)
    with pytest.raises(ValueError, match="^fn: expected a function of a float64 tensor, got "):
        gain(lambda x: linear(x))


@pytest.mark.parametrize("a", [1e-200, 1e-40, 1e-7, 2e-6])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_between_very_narrow_bounds_the_weights_are_uniform(a, dtype):
    generator = torch.Generator().manual_seed(1)
    w = trunc_normal_(torch.empty(20_000, dtype=dtype), 0.5, a, generator=generator).double()
    assert w.abs().max().item() == pytest.approx(0.5 * math.sqrt(3), rel=5e-3)
    assert w.std().item() == pytest.approx(0.5, rel=0.02)
    short = trunc_normal_(torch.empty(100, dtype=torch.float64), 0.5, a, exact_std=False)
    assert 0 < short.abs().max().item() <= 0.5 * a


def test_nothing_is_drawn_on_the_meta_device():
    w = torch.empty(8, 8, device="meta")
    for function in (trunc_normal_, variance_scaling_, orthogonal_):
        assert function(w, *[0.02] * (function is trunc_normal_)) is w
    with torch.device("meta"):
        assert truncnorm_gamma(2.0) == pytest.approx(0.7737, abs=1e-4)
        assert gain(torch.relu) == pytest.approx(math.sqrt(2), rel=1e-12)


ONE_GRAPH = """
import math, torch
from derived.initialization import trunc_normal_, truncnorm_gamma
for a in (1.0, 2.0):
    fill = torch.compile(lambda w: trunc_normal_(w, 0.5, a), backend="eager", fullgraph=True)
    torch.manual_seed(3)
    w = fill(torch.empty(20_000))
    assert w.abs().max() <= a * 0.5 / math.sqrt(truncnorm_gamma(a)) * (1 + 1e-6)
    assert abs(w.std().item() / 0.5 - 1) < 0.02, w.std()
"""


def test_truncated_weights_are_drawn_in_one_graph():
    run([sys.executable, "-c", ONE_GRAPH])  # apart, as what watches the types can't be compiled


def test_torchs_bounds_of_a_truncated_normal_are_absolute():
    """With the usual std nothing is cut at ±2, and the std of what is cut is not corrected."""
    w = nn.init.trunc_normal_(torch.empty(1000, 1000), std=0.02, generator=seeded())
    assert 4 * 0.02 < w.abs().max() < 2
    w = nn.init.trunc_normal_(torch.empty(1000, 1000), std=1, generator=seeded())
    assert w.std().item() == pytest.approx(math.sqrt(truncnorm_gamma(2)), rel=2e-3)
    negative = nn.init.trunc_normal_(torch.empty(1000), std=-0.02)  # sampled without a word
    assert negative.std().item() == pytest.approx(0.02, rel=0.2)


def test_inverting_the_error_function_scales_the_bounds_or_forgets_them():
    """The formulas of timm's two variants: erfinv of a uniform number, then scaled and clamped."""
    u = torch.empty(1_000_000, dtype=torch.float64).uniform_(-1, 1, generator=seeded())

    def by_inversion(std, a):
        return (torch.erfinv(u * (2 * Phi(a / std) - 1)) * math.sqrt(2) * std).clamp(-a, a)

    assert by_inversion(0.02, 2).abs().max() > 4 * 0.02  # bounds ±2 of a std of 0.02: none
    tensorflow = 0.02 * by_inversion(1.0, 2)  # bounds in units of the std, which isn't corrected
    assert tensorflow.abs().max() <= 2 * 0.02
    assert tensorflow.std().item() == pytest.approx(0.02 * math.sqrt(truncnorm_gamma(2)), rel=2e-3)


def test_calculate_gain_is_not_the_gain_of_tanh_selu_or_sigmoid():
    assert nn.init.calculate_gain("tanh") == 5 / 3 != pytest.approx(gain(torch.tanh), rel=0.04)
    assert nn.init.calculate_gain("selu") == 3 / 4 and gain(F.selu) == pytest.approx(1, rel=1e-12)
    assert nn.init.calculate_gain("sigmoid") == 1 and gain(torch.sigmoid) > 1.8
    assert nn.init.calculate_gain("relu") == pytest.approx(gain(F.relu), rel=1e-12)


def test_linears_default_has_a_third_of_the_variance_that_keeps_the_signal():
    torch.manual_seed(0)
    layer = nn.Linear(500, 800)
    assert layer.weight.var().item() * 500 == pytest.approx(1 / 3, rel=0.01)
    assert layer.bias.var().item() * 500 == pytest.approx(1 / 3, rel=0.2)


def test_attentions_packed_projections_get_half_the_variance_of_separate_ones():
    torch.manual_seed(0)
    E = 256
    packed = nn.MultiheadAttention(E, 4).in_proj_weight
    assert packed.var().item() * E == pytest.approx(0.5, rel=0.02)
    separate = nn.MultiheadAttention(E, 4, kdim=E, vdim=E + 1).q_proj_weight
    assert separate.var().item() * E == pytest.approx(1, rel=0.02)


def test_torchs_fans_know_neither_groups_nor_transposition():
    torch_fans = nn.init._calculate_fan_in_and_fan_out
    depthwise = nn.Conv2d(64, 64, 3, groups=64).weight
    assert torch_fans(depthwise) == (9, 576) and fans(depthwise.shape, groups=64) == (9, 9)
    back = nn.ConvTranspose2d(16, 64, 3).weight
    assert torch_fans(back) == (576, 144) and fans(back.shape, transposed=True) == (144, 576)


# Bad input

NAN, INF = math.nan, math.inf
W = torch.empty(4, 4)
CLASSES = torch.arange(4)


def sweep(data=(W, CLASSES), widths=(4,), rates=(0.1,), **options):
    return width_sweep(data, widths, rates, **({"steps": 1} | options))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: truncnorm_gamma(0), "a: expected a number above 0, got 0"),
        (lambda: truncnorm_gamma(-2.0), "a: expected a number above 0, got -2.0"),
        (lambda: truncnorm_gamma(NAN), "a: expected a number above 0, got nan"),
        (lambda: truncnorm_gamma("2"), "a: expected a number above 0, got '2'"),
        (lambda: truncnorm_gamma(True), "a: expected a number above 0, got True"),
        (lambda: truncnorm_gamma(2, 2), "a and b: expected bounds a < b, got a=2, b=2"),
        (lambda: truncnorm_gamma(3, -1.5), "a and b: expected bounds a < b, got a=3, b=-1.5"),
        (lambda: truncnorm_gamma(INF, INF), "a and b: expected bounds a < b, got a=inf, b=inf"),
        (lambda: truncnorm_gamma(0, NAN), "b: expected a number, got nan"),
        (lambda: truncnorm_gamma(None, 1), "a: expected a number, got None"),
        (lambda: truncnorm_gamma(False, 1), "a: expected a number, got False"),
        (lambda: trunc_normal_(W, -0.02), "std: expected a finite number of at least 0, got -0.02"),
        (lambda: trunc_normal_(W, NAN), "std: expected a finite number of at least 0, got nan"),
        (lambda: trunc_normal_(W, INF), "std: expected a finite number of at least 0, got inf"),
        (lambda: trunc_normal_(W, 1, 0), "a: expected a number above 0, got 0"),
        (lambda: trunc_normal_(W, 1, -2), "a: expected a number above 0, got -2"),
        (
            lambda: trunc_normal_(W.int(), 1),
            "w: expected floats, got torch.int32",
        ),
        (lambda: trunc_normal_([1.0], 1), "w: expected a torch.Tensor, got a list"),
        (
            lambda: orthogonal_(W[0]),
            "w.shape: expected at least two sizes, each of at least 1, got (4,)",
        ),
        (
            lambda: orthogonal_(torch.tensor(1.0)),
            "w.shape: expected at least two sizes, each of at least 1, got ()",
        ),
        (
            lambda: orthogonal_(W[:0]),
            "w.shape: expected at least two sizes, each of at least 1, got (0, 4)",
        ),
        (lambda: orthogonal_(W, -1), "gain: expected a finite number of at least 0, got -1"),
        (
            lambda: variance_scaling_(W[:, :0]),
            "w.shape: expected at least two sizes, each of at least 1, got (4, 0)",
        ),
        (
            lambda: variance_scaling_(W[0]),
            "w.shape: expected at least two sizes, each of at least 1, got (4,)",
        ),
        (
            lambda: variance_scaling_(W, "fan"),
            "mode: expected one of fan_in, fan_out, fan_avg; got 'fan'",
        ),
        (
            lambda: variance_scaling_(W, distribution="cauchy"),
            "distribution: expected one of normal, uniform, truncated_normal; got 'cauchy'",
        ),
        (
            lambda: variance_scaling_(W, gain=NAN),
            "gain: expected a finite number of at least 0, got nan",
        ),
        (
            lambda: variance_scaling_(W, groups=3),
            "groups: expected a divisor of shape[0] = 4, got 3",
        ),
        (lambda: fans((6, 2), groups=4), "groups: expected a divisor of shape[0] = 6, got 4"),
        (lambda: fans((6, 2), groups=0), "groups: expected an integer of at least 1, got 0"),
        (
            lambda: fans((6, 0)),
            "shape: expected at least two sizes, each of at least 1, got (6, 0)",
        ),
        (lambda: fans((6,)), "shape: expected at least two sizes, each of at least 1, got (6,)"),
        (lambda: fans(6), "shape: expected at least two sizes, each of at least 1, got 6"),
        (
            lambda: fans([6, 2.0]),
            "shape: expected at least two sizes, each of at least 1, got (6, 2.0)",
        ),
        (
            lambda: fans((6, True)),
            "shape: expected at least two sizes, each of at least 1, got (6, True)",
        ),
        (lambda: gain("tanh"), "fn: expected a function of a tensor, got 'tanh'"),
        (
            lambda: gain(torch.sum),
            "fn: expected a function that answers each element with a number",
        ),
        (
            lambda: gaussian_mean(lambda y: 1.0),
            "fn: expected a function that answers each element with a number",
        ),
        (
            lambda: gain(torch.zeros_like),
            "fn: expected a finite second moment above 0, got 0",
        ),
        (
            lambda: gain(lambda y: torch.exp(y**4)),
            "fn: expected a finite second moment above 0, got inf",
        ),
        (
            lambda: gain(torch.log),
            "fn: expected a finite second moment above 0, got nan",
        ),
        (lambda: gain(torch.tanh, 0), "sigma: expected a finite number above 0, got 0"),
        (
            lambda: gaussian_mean(torch.tanh, -1),
            "sigma: expected a finite number of at least 0, got -1",
        ),
        (
            lambda: moment_map(torch.tanh, -1, 1),
            "sigma_w2: expected a finite number of at least 0, got -1",
        ),
        (
            lambda: moment_map(torch.tanh, 1, -1),
            "q: expected a finite number of at least 0, got -1",
        ),
        (lambda: moment_map(None, 1, 1), "fn: expected a function of a tensor, got None"),
        (
            lambda: rem_entropy(-1, 5),
            "sigma: expected a finite number of at least 0, got -1",
        ),
        (lambda: rem_entropy(1, 0), "n: expected an integer of at least 1, got 0"),
        (
            lambda: softmax_jacobian_norm(torch.tensor(1.0)),
            "p: expected shape (..., n) with n > 0, got ()",
        ),
        (
            lambda: softmax_jacobian_norm(torch.empty(3, 0)),
            "p: expected shape (..., n) with n > 0, got (3, 0)",
        ),
        (
            lambda: softmax_jacobian_norm(torch.tensor([1, 0])),
            "p: expected floats, got torch.int64",
        ),
        (
            lambda: softmax_jacobian_norm(torch.tensor([0.5, 0.4])),
            "p: expected probabilities, at least 0 and adding up to 1",
        ),
        (
            lambda: softmax_jacobian_norm(torch.tensor([[0.5, 0.5], [1.5, -0.5]])),
            "p: expected probabilities, at least 0 and adding up to 1",
        ),
        (
            lambda: softmax_jacobian_norm(torch.tensor([[0.5, 0.5], [0.5, 0.49]])),
            "p: expected probabilities, at least 0 and adding up to 1",
        ),
        (
            lambda: softmax_jacobian_norm(torch.tensor([NAN, 1.0])),
            "p: expected probabilities, at least 0 and adding up to 1",
        ),
        (lambda: deepnorm_constants(0), "layers: expected an integer of at least 1, got 0"),
        (
            lambda: deepnorm_constants(6, "lamb"),
            "optimizer: expected one of sgd, adam; got 'lamb'",
        ),
        (lambda: fixup_scale(0, 2), "branches: expected an integer of at least 1, got 0"),
        (
            lambda: fixup_scale(8, 1),
            "layers_per_branch: expected at least 2, as the last layer starts at 0, got 1",
        ),
        (
            lambda: fixup_scale(8, 2.5),
            "layers_per_branch: expected an integer of at least 1, got 2.5",
        ),
        (lambda: mup_groups([W], 4, 1), None),
        (lambda: mup_groups(mlp(4), 0, 1), "base_width: expected an integer of at least 1, got 0"),
        (lambda: mup_groups(mlp(4), 4, 0), "lr: expected a finite number above 0, got 0"),
        (
            lambda: mup_groups(nn.Linear(3, 4), 4, 1),
            "model: expected an input layer and a readout, each of its own",
        ),
        (
            lambda: mup_groups(nn.Embedding(3, 4), 4, 1),
            "model: expected an input layer and a readout, each of its own",
        ),
        (
            lambda: mup_groups(nn.LayerNorm(4), 4, 1),
            "model: expected an input layer and a readout, each of its own",
        ),
        (
            lambda: mup_groups(Tokens(8, tied=True), 4, 1),
            "model: expected weights that aren't shared, as each has its own rate",
        ),
        (
            lambda: mup_groups(nn.Sequential(mlp(4), nn.Conv1d(3, 4, 1)), 4, 1),
            "model: expected matrices in Linear and Embedding layers alone, got 1.weight",
        ),
        (
            lambda: mup_groups(nn.Sequential(mlp(4), nn.MultiheadAttention(4, 1)), 4, 1),
            "model: expected matrices in Linear and Embedding layers alone, got 1.in_proj_weight",
        ),
        (
            lambda: coord_check(make_mlp(mup=True), []),
            "widths: expected a sequence of widths, got []",
        ),
        (
            lambda: coord_check(make_mlp(mup=True), 8),
            "widths: expected a sequence of widths, got 8",
        ),
        (
            lambda: coord_check(make_mlp(mup=True), [8, 0]),
            "widths: expected an integer of at least 1, got 0",
        ),
        (
            lambda: coord_check(make_mlp(mup=True), [8], 0),
            "steps: expected an integer of at least 1, got 0",
        ),
        (lambda: sweep(W), "data: expected two tensors, (inputs, classes)"),
        (lambda: sweep((W, [0, 1, 2, 3])), "data: expected two tensors, (inputs, classes)"),
        (lambda: sweep((None, CLASSES)), "data: expected two tensors, (inputs, classes)"),
        (lambda: sweep((W, CLASSES, W)), "data: expected two tensors, (inputs, classes)"),
        (
            lambda: sweep((W[0], CLASSES)),
            "data: expected shapes (rows, features) and (rows,), not empty, got (4,) and (4,)",
        ),
        (
            lambda: sweep((W, CLASSES[:3])),
            "data: expected shapes (rows, features) and (rows,), not empty, got (4, 4) and (3,)",
        ),
        (
            lambda: sweep((W[:0], CLASSES[:0])),
            "data: expected shapes (rows, features) and (rows,), not empty, got (0, 4) and (0,)",
        ),
        (
            lambda: sweep((W, CLASSES.int())),
            "data: expected classes of dtype torch.int64, got torch.int32",
        ),
        (lambda: sweep(widths=[]), "widths: expected a sequence of widths, got []"),
        (lambda: sweep(widths=[4, -4]), "widths: expected an integer of at least 1, got -4"),
        (lambda: sweep(rates=[]), "rates: expected a sequence of learning rates, got []"),
        (lambda: sweep(rates=0.1), "rates: expected a sequence of learning rates, got 0.1"),
        (lambda: sweep(rates=[0.1, 0.0]), "rates: expected a finite number above 0, got 0.0"),
        (lambda: sweep(steps=0), "steps: expected an integer of at least 1, got 0"),
        (lambda: sweep(batch_size=0), "batch_size: expected an integer of at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_named_with_what_was_expected(call, message):
    before = W.clone()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError) as error:
            call()
    if message is None:
        assert str(error.value).startswith("model: expected a torch.nn.Module, got [tensor(")
    else:
        assert str(error.value) == message
    assert torch.equal(W.nan_to_num(), before.nan_to_num())  # nothing was filled


def test_without_validation_probabilities_are_not_looked_at():
    with derived.validation(False):
        assert softmax_jacobian_norm(torch.tensor([NAN, 1.0])).isnan()
        assert softmax_jacobian_norm(torch.tensor([0.3, 0.3])).isfinite()
        with pytest.raises(ValueError, match="expected shape"):
            softmax_jacobian_norm(torch.tensor(1.0))


def test_probabilities_of_every_dtype_may_be_off_by_rounding():
    for dtype in DTYPES:
        for n in (3, 1000, 50_000):
            p = torch.softmax(2 * normal(20, n, dtype=torch.float32), -1).to(dtype)
            assert softmax_jacobian_norm(p).isfinite().all()
