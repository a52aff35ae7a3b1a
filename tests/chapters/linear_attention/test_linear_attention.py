"""The equations of the chapter on linear attention, and the edges of `derived.linear_attention`."""

import itertools
import math
import warnings

import numpy as np
import pytest
import sympy
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import slopes_agree
from torch.autograd import grad
from torch.nn.functional import normalize, rms_norm, scaled_dot_product_attention
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

import derived
from derived.linear_attention import (
    chunked,
    delta_rule,
    feature_map,
    linear_attention,
    random_feature_variance,
    random_features,
    recall_error,
    recurrent,
    segsum,
)

POSITIVE_KINDS = ("elu", "relu", "sphere", "taylor", "cosformer")
every_kind = pytest.mark.parametrize("kind", POSITIVE_KINDS)


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def sequences(n, *, d=4, e=3, b=2, h=2, seed=0, dtype=torch.float64):
    """Queries, keys and values of random numbers."""
    sizes = (d, d, e)
    return [draw(b, h, n, size, seed=seed + i, dtype=dtype) for i, size in enumerate(sizes)]


def overlapping(n):
    """Queries and keys whose first entries are positive, so that relu leaves them some weight."""
    q, k, v = sequences(n, d=6)
    for x in (q, k):
        x[..., 0] = x[..., 0].abs() + 0.1
    return q, k, v


def decays(*shape, seed=9):
    """Numbers between 0.2 and 1."""
    return 0.2 + 0.8 * torch.rand(shape, generator=torch.Generator().manual_seed(seed)).double()


def products(gamma):
    """D, each entry multiplied out: no logarithm, no cumulative sum."""
    n = gamma.shape[-1]
    D = gamma.new_zeros(*gamma.shape, n)
    for i in range(n):
        for j in range(i + 1):
            D[..., i, j] = gamma[..., j + 1 : i + 1].prod(-1)
    return D


def weights_of(kind, q, k):
    """The inner products of all features, from what the kinds are meant to be."""
    s = q @ k.mT
    if kind == "elu":
        phi = lambda x: torch.nn.functional.elu(x) + 1
        return phi(q) @ phi(k).mT
    if kind == "relu":
        return q.clamp(min=0) @ k.clamp(min=0).mT
    if kind == "sphere":
        return 1 + torch.cosine_similarity(q[..., :, None, :], k[..., None, :, :], dim=-1)
    if kind == "taylor":
        return 1 + s + s**2 / 2
    if kind == "identity":
        return s
    i, j = (torch.arange(x.shape[-2], dtype=torch.float64) for x in (q, k))
    angle = math.pi * (i[:, None] - j) / (2 * len(i))
    return weights_of("relu", q, k) * angle.cos()


def close(actual, expected, tolerance=1e-12):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


# Three matrices and a bracket


@pytest.mark.verifies("linear_attention-associativity", by="exact")
def test_moving_the_bracket_changes_nothing():
    q, k, v = (x.mul(8).round() for x in sequences(37))  # integers, so no rounding
    assert torch.equal((q @ k.mT) @ v, q @ (k.mT @ v))
    assert torch.equal(linear_attention(q, k, v, kind="identity", normalize=False), (q @ k.mT) @ v)


def flops(function):
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


@pytest.mark.verifies("linear_attention-cost", by="exact")
@pytest.mark.parametrize(("d", "e"), [(64, 64), (16, 48), (3, 6), (1, 1)])
def test_the_cost_of_both_brackets_and_where_they_meet(d, e):
    def both(n):
        q, k, v = (x[0, 0] for x in sequences(n, d=d, e=e))
        return flops(lambda: (q @ k.mT) @ v), flops(lambda: q @ (k.mT @ v))

    for n in (1, 10, 200):
        assert both(n) == (2 * n**2 * (d + e), 4 * n * d * e)
    meet = 2 * d * e / (d + e)
    assert meet == int(meet)
    equal = both(int(meet))
    assert equal[0] == equal[1]
    more = both(int(meet) + 1)
    assert more[0] > more[1]


# Attention as a weighted average, and which weights factor


def average(weights, v):
    """The normalized sums of the formula, one query after the other."""
    outputs = []
    for row in weights.unbind(-2):
        total = sum(row[..., j, None] * v[..., j, :] for j in range(v.shape[-2]))
        outputs.append(total / row.sum(-1)[..., None])
    return torch.stack(outputs, -2)


@pytest.mark.verifies("linear_attention-kernel", by="peer")
@pytest.mark.parametrize("causal", [False, True])
def test_with_the_exponential_the_average_is_softmax_attention(causal):
    q, k, v = sequences(11, d=5)
    weights = (q @ k.mT / math.sqrt(5)).exp()
    weights = weights.tril() if causal else weights
    close(average(weights, v), scaled_dot_product_attention(q, k, v, is_causal=causal))


@pytest.mark.verifies("linear_attention-kernel", by="exact")
@every_kind
@pytest.mark.parametrize("causal", [False, True])
def test_each_kind_is_an_average_with_its_weights(kind, causal):
    q, k, v = overlapping(9)
    weights = weights_of(kind, q, k)
    assert weights.min() >= 0
    weights = weights.tril() if causal else weights
    close(linear_attention(q, k, v, kind=kind, causal=causal), average(weights, v))
    bare = linear_attention(q, k, v, kind=kind, causal=causal, normalize=False)
    close(bare, weights @ v)


@pytest.mark.verifies("linear_attention-factored", by="exact")
@every_kind
def test_a_factored_average_reads_one_state_and_one_normalizer(kind):
    q, k, v = overlapping(9)
    phi_q, phi_k = feature_map(q, kind), feature_map(k, kind)
    S = sum(phi_k[:, :, j, :, None] * v[:, :, j, None, :] for j in range(9))
    z = sum(phi_k[:, :, j] for j in range(9))
    rows = []
    for i in range(9):
        above = (S.mT @ phi_q[:, :, i, :, None])[..., 0]
        below = (z * phi_q[:, :, i]).sum(-1, keepdim=True)
        rows.append(above / below)
    close(linear_attention(q, k, v, kind=kind), torch.stack(rows, 2))
    close(torch.stack(rows, 2), average(weights_of(kind, q, k), v))


def test_queries_and_keys_may_differ_in_number():
    q, k, v = overlapping(8)
    q = q[:, :, :5]
    for kind in ("elu", "relu", "sphere", "taylor"):
        close(linear_attention(q, k, v, kind=kind), average(weights_of(kind, q, k), v))
    assert linear_attention(q, k[:, :, :0], v[:, :, :0]).eq(0).all()  # nothing to average


@pytest.mark.verifies("linear_attention-rank", by="exact")
def test_the_rank_is_bounded_by_the_features_but_the_causal_matrix_has_full_rank():
    n, r = 40, 6
    q, k = draw(1, 1, n, r), draw(1, 1, n, r, seed=1)
    identity = torch.eye(n, dtype=torch.float64)[None, None]
    whole, causal = (
        linear_attention(q, k, identity, causal=causal)[0, 0] for causal in (False, True)
    )
    assert torch.linalg.matrix_rank(whole) == r
    assert torch.equal(causal, causal.tril())
    blocks = [causal[i:, :i] for i in range(1, n)]
    assert max(torch.linalg.matrix_rank(block).item() for block in blocks) == r
    assert (causal.diagonal() > 0).all()
    close(torch.linalg.slogdet(causal).logabsdet, causal.diagonal().log().sum(), 1e-10)
    assert torch.linalg.slogdet(causal).sign == 1
    softmax = scaled_dot_product_attention(5 * q, k, identity)[0, 0]
    assert torch.linalg.matrix_rank(softmax) == n


@pytest.mark.verifies("linear_attention-total-probability", by="exact")
def test_the_double_softmax_needs_no_normalizer_and_looks_ahead():
    q, k, v = sequences(12)
    A = (
        torch.stack([q[..., c].exp() / q.exp().sum(-1) for c in range(4)], -1)
        @ (k.exp() / k.exp().sum(-2, keepdim=True)).mT
    )
    close(A.sum(-1), torch.ones_like(A[..., 0]))
    close(linear_attention(q, k, v, kind="softmax", normalize=False), A @ v)
    close(linear_attention(q, k, v, kind="softmax"), A @ v)
    later = k.clone()
    later[:, :, -1] += 1
    changed = linear_attention(q, later, v, kind="softmax") - linear_attention(
        q, k, v, kind="softmax"
    )
    assert (changed[:, :, 0].abs() > 1e-4).any()


@pytest.mark.verifies("linear_attention-taylor", by="exact")
@pytest.mark.parametrize("d", [1, 3, 8])
def test_the_features_of_the_second_degree(d):
    q, k = draw(50, d), draw(40, d, seed=1)
    phi_q, phi_k = feature_map(q, "taylor"), feature_map(k, "taylor")
    assert phi_q.shape[-1] == 1 + d + d**2
    outer = torch.einsum("ni,nj->nij", q, q).reshape(50, -1) / math.sqrt(2)
    close(phi_q, torch.cat([torch.ones(50, 1), q, outer], -1))
    s = q @ k.mT
    close(phi_q @ phi_k.mT, 1 + s + s**2 / 2)
    close(phi_q @ phi_k.mT, 0.5 + (1 + s) ** 2 / 2)
    assert (phi_q @ phi_k.mT).min() >= 0.5 - 1e-12
    x = feature_map(q[:1], "taylor")
    opposite = feature_map(-q[:1] / q[:1].square().sum(), "taylor")  # s = -1, the lowest point
    close(x @ opposite.mT, torch.full((1, 1), 0.5, dtype=torch.float64))


def test_the_features_on_the_sphere_are_one_plus_the_cosine():
    q, k = draw(20, 5), draw(30, 5, seed=1)
    features = feature_map(q, "sphere") @ feature_map(k, "sphere").mT
    close(features, 1 + torch.cosine_similarity(q[:, None], k, dim=-1))
    close(feature_map(3 * q, "sphere"), feature_map(q, "sphere"))


@pytest.mark.verifies("linear_attention-cosformer", by="exact")
@pytest.mark.parametrize("m", [1, 2, 7])
def test_the_cosine_of_a_distance_factors(m):
    q, k = draw(m, 4), draw(m, 4, seed=1)
    i = torch.arange(m, dtype=torch.float64)
    phi = lambda x: x.clamp(min=0)
    cos, sin = (i * math.pi / (2 * m)).cos()[:, None], (i * math.pi / (2 * m)).sin()[:, None]
    by_distance = (phi(q) @ phi(k).mT) * (math.pi * (i[:, None] - i) / (2 * m)).cos()
    close((cos * phi(q)) @ (cos * phi(k)).mT + (sin * phi(q)) @ (sin * phi(k)).mT, by_distance)
    close(feature_map(q, "cosformer") @ feature_map(k, "cosformer").mT, by_distance)
    close(feature_map(q, "cosformer"), torch.cat([cos * phi(q), sin * phi(q)], -1))
    assert by_distance.min() >= 0  # no distance reaches m, where the cosine changes sign


def test_elu_features_are_those_of_torch_but_do_not_vanish():
    x = draw(100, 3) * 5
    close(feature_map(x, "elu"), torch.nn.functional.elu(x) + 1)
    far = torch.tensor([-20.0, -80.0])
    assert (torch.nn.functional.elu(far) + 1).eq(0).all()
    torch.testing.assert_close(feature_map(far, "elu"), far.exp())
    slope = torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64, requires_grad=True)
    close(
        grad(feature_map(slope, "elu").sum(), slope)[0],
        torch.tensor([math.exp(-1), 1, 1], dtype=torch.float64),
    )
    assert torch.equal(feature_map(x, "identity"), x)
    assert torch.equal(feature_map(x), feature_map(x, "elu"))


@pytest.mark.parametrize("kind", ["sphere", "taylor"])
def test_of_vectors_without_dimension_only_the_feature_1_is_left(kind):
    nothing = torch.ones(2, 3, 5, 0)
    assert torch.equal(feature_map(nothing, kind), torch.ones(2, 3, 5, 1))
    # All similarities are 1, so that attention is the mean.
    values = draw(2, 3, 5, 4).float()
    outputs = linear_attention(nothing, nothing, values, kind=kind, normalize=True)
    torch.testing.assert_close(outputs, values.mean(2, keepdim=True).expand_as(values))


# Random features


def gauss(nodes=80):
    """Points and weights in the plane for means over w ~ N(0, I), exact for smooth functions."""
    x, weight = np.polynomial.hermite_e.hermegauss(nodes)
    x, weight = torch.from_numpy(x), torch.from_numpy(weight / math.sqrt(2 * math.pi))
    return torch.cartesian_prod(x, x), torch.outer(weight, weight).flatten()


def moments(q, k, kind):
    """Mean and variance of one random direction's estimate of exp(q k), by quadrature."""
    directions, weight = gauss()
    one = [random_features(x, directions, kind) * math.sqrt(len(directions)) for x in (q, k)]
    product = one[0] * one[1]
    if kind == "trigonometric":
        product = product[..., : len(directions)] + product[..., len(directions) :]
    mean = (product * weight).sum(-1)
    return mean, ((product - mean[..., None]) ** 2 * weight).sum(-1)


both_features = pytest.mark.parametrize("kind", ["positive", "trigonometric"])


@pytest.mark.verifies("linear_attention-random-features", by="exact")
@pytest.mark.verifies("linear_attention-random-variance", by="exact")
@both_features
def test_mean_and_variance_of_random_features(kind):
    q, k = draw(20, 2) * 0.7, draw(20, 2, seed=1) * 0.7
    mean, variance = moments(q, k, kind)
    close(mean, (q * k).sum(-1).exp(), 1e-10)
    close(variance, random_feature_variance(q, k, kind), 1e-10)
    zero = torch.zeros(1, 2, dtype=torch.float64)
    near = {"positive": (q, -q), "trigonometric": (q, q)}[kind]  # where each is certain
    close(random_feature_variance(*near, kind), torch.zeros(20, dtype=torch.float64))
    assert random_feature_variance(zero, zero, kind) == 0
    broadcast = random_feature_variance(q[:, None], k, kind)
    close(broadcast.diagonal(), variance, 1e-10)


@pytest.mark.verifies("linear_attention-random-features", by="symbolic")
@pytest.mark.verifies("linear_attention-random-variance", by="symbolic")
def test_mean_and_variance_of_random_features_by_computer_algebra():
    """For each coordinate of w on its own; the means of products over all are products."""
    w, a = sympy.symbols("w a", real=True)
    density = sympy.exp(-(w**2) / 2) / sympy.sqrt(2 * sympy.pi)
    whole = (w, -sympy.oo, sympy.oo)
    mgf = sympy.integrate(sympy.exp(a * w) * density, whole)
    wave = sympy.integrate(sympy.cos(a * w) * density, whole)
    q, k = (sympy.Matrix(sympy.symbols(f"{x}1:3", real=True)) for x in "qk")
    square = lambda x: x.dot(x)
    mean_exp = lambda x: sympy.Mul(*[mgf.subs(a, entry) for entry in x])
    mean_cos = lambda x: sympy.exp(-square(x) / 2)
    assert sympy.simplify(wave - mean_cos(sympy.Matrix([a]))) == 0

    halves = sympy.exp(-(square(q) + square(k)) / 2)
    mean, second = halves * mean_exp(q + k), halves**2 * mean_exp(2 * (q + k))
    assert sympy.simplify(mean - sympy.exp(q.dot(k))) == 0
    variance = sympy.exp(2 * q.dot(k)) * (sympy.exp(square(q + k)) - 1)
    assert sympy.simplify(sympy.expand(second - mean**2) - sympy.expand(variance)) == 0

    # cos(w q) cos(w k) + sin(w q) sin(w k) = cos(w (q - k)), and cos^2 = (1 + cos of twice) / 2
    mean = mean_cos(q - k) / halves
    second = (1 + mean_cos(2 * (q - k))) / 2 / halves**2
    assert sympy.simplify(mean - sympy.exp(q.dot(k))) == 0
    variance = (1 - sympy.exp(-square(q - k))) ** 2 / 2 / halves**2
    assert sympy.simplify(sympy.expand(second - mean**2) - sympy.expand(variance)) == 0


@pytest.mark.verifies("linear_attention-random-variance", by="sampling")
def test_sampled_trigonometric_features_have_this_variance():
    q, k = 0.3 * draw(8), 0.3 * draw(8, seed=1)
    directions, rounds = draw(40_000, 8, seed=2), 200
    features = [random_features(x, directions, "trigonometric") * 200 for x in (q, k)]
    estimates = (features[0] * features[1]).view(2, -1).sum(0)
    mean, spread = estimates.mean(), estimates.std() / 200
    assert abs(mean - (q @ k).exp()) <= 5 * spread
    variances = estimates.view(rounds, -1).var(-1)
    expected = random_feature_variance(q, k, "trigonometric")
    assert abs(variances.mean() - expected) <= 5 * variances.std() / math.sqrt(rounds)


def test_all_random_directions_together_estimate_the_exponential():
    q, k = 0.3 * draw(5, 6), 0.3 * draw(4, 6, seed=1)
    directions = draw(200_000, 6, seed=2)
    for kind, number in (("positive", 200_000), ("trigonometric", 400_000)):
        features = [random_features(x, directions, kind) for x in (q, k)]
        assert features[0].shape == (5, number)
        variance = random_feature_variance(q[:, None], k, kind) / len(directions)
        error = features[0] @ features[1].mT - (q @ k.mT).exp()
        assert (error.abs() <= 5 * variance.sqrt()).all()
    assert (random_features(q, directions[:10]) > 0).all()  # positive by default
    assert torch.equal(random_feature_variance(q, q), random_feature_variance(q, q, "positive"))


# Causal attention is a recurrence


@pytest.mark.verifies("linear_attention-recurrence", by="exact")
@every_kind
def test_causal_attention_walks_with_one_state_and_one_normalizer(kind):
    q, k, v = overlapping(70)  # longer than the chunks it is computed in
    phi_q, phi_k = feature_map(q, kind), feature_map(k, kind)
    S = torch.zeros(2, 2, phi_k.shape[-1], 3, dtype=torch.float64)
    z, rows = S[..., 0], []
    for t in range(70):
        S = S + phi_k[:, :, t, :, None] * v[:, :, t, None, :]
        z = z + phi_k[:, :, t]
        above = torch.einsum("bhrd,bhr->bhd", S, phi_q[:, :, t])
        rows.append(above / torch.einsum("bhr,bhr->bh", z, phi_q[:, :, t])[..., None])
    close(linear_attention(q, k, v, kind=kind, causal=True), torch.stack(rows, 2), 1e-11)
    bare, state = recurrent(phi_q, phi_k, v)
    close(state, S)
    close(linear_attention(q, k, v, kind=kind, causal=True, normalize=False), bare)


def quadratic(q, k, v, D):
    """The attention form: all weights at once."""
    return ((q @ k.mT) * D) @ v


chunk_cases = given(
    n=st.integers(0, 40), chunk=st.integers(1, 50), sizes=st.tuples(*2 * [st.integers(1, 5)])
)


@pytest.mark.verifies("linear_attention-chunked", by="exact")
@chunk_cases
def test_chunks_of_any_size_give_the_quadratic_form(n, chunk, sizes):
    q, k, v = sequences(n, d=sizes[0], e=sizes[1], seed=n)
    expected = quadratic(q, k, v, torch.ones(n, n, dtype=torch.float64).tril())
    close(chunked(q, k, v, chunk=chunk), expected)
    outputs, state = recurrent(q, k, v)
    close(outputs, expected)
    close(state, k.mT @ v)


@pytest.mark.verifies("linear_attention-chunked", by="exact")
def test_the_chunked_form_as_it_is_printed():
    q, k, v = sequences(24)
    for C in (1, 4, 6, 24):
        S, outputs = torch.zeros(2, 2, 4, 3, dtype=torch.float64), []
        M = (torch.arange(C)[:, None] >= torch.arange(C)).double()
        for Q, K, V in zip(*[x.split(C, 2) for x in (q, k, v)], strict=True):
            outputs.append(Q @ S + ((Q @ K.mT) * M) @ V)
            S = S + K.mT @ V
        close(torch.cat(outputs, 2), recurrent(q, k, v)[0])
        close(chunked(q, k, v, chunk=C), torch.cat(outputs, 2))


@pytest.mark.verifies("linear_attention-chunked-cost", by="exact")
@pytest.mark.parametrize(
    ("n", "C", "d", "e"), [(256, 64, 16, 16), (60, 10, 3, 8), (128, 128, 4, 4)]
)
def test_the_cost_of_the_chunked_form(n, C, d, e):
    q, k, v = sequences(n, d=d, e=e, b=1, h=1)
    assert flops(lambda: chunked(q, k, v, chunk=C)) == 2 * n * (2 * d * e + C * (d + e))
    # Decays cost no matrix product.
    log = torch.zeros(1, 1, n, dtype=torch.float64)
    assert flops(lambda: chunked(q, k, v, log_decay=log, chunk=C)) == flops(
        lambda: chunked(q, k, v, chunk=C)
    )


def test_the_default_chunk_changes_nothing():
    q, k, v = sequences(150)
    close(chunked(q, k, v), chunked(q, k, v, chunk=7))
    beta = decays(2, 2, 150)
    k = normalize(k, dim=-1)
    close(delta_rule(q, k, v, beta), delta_rule(q, k, v, beta, chunk=7))
    assert torch.equal(chunked(q, k, v), chunked(q, k, v, chunk=64))
    assert torch.equal(delta_rule(q, k, v, beta), delta_rule(q, k, v, beta, chunk=64))
    assert not torch.equal(delta_rule(q, k, v, beta), delta_rule(q, k, v, beta, chunk=65))
    assert not torch.equal(chunked(q, k, v), chunked(q, k, v, chunk=65))


# Forgetting: decay and gates


@pytest.mark.verifies("linear_attention-decay", by="exact")
def test_a_decaying_recurrence_is_attention_with_products_of_decays():
    q, k, v = sequences(20)
    gamma = decays(2, 2, 20)
    S, rows = torch.zeros(2, 2, 4, 3, dtype=torch.float64), []
    for t in range(20):
        S = gamma[:, :, t, None, None] * S + k[:, :, t, :, None] * v[:, :, t, None]
        rows.append((S.mT @ q[:, :, t, :, None])[..., 0])
    outputs, state = recurrent(q, k, v, log_decay=gamma.log())
    close(outputs, torch.stack(rows, 2))
    close(state, S)
    close(quadratic(q, k, v, products(gamma)), torch.stack(rows, 2))
    close(segsum(gamma.log()).exp(), products(gamma))


@chunk_cases
def test_chunks_of_any_size_give_the_quadratic_form_with_decays(n, chunk, sizes):
    q, k, v = sequences(n, d=sizes[0], e=sizes[1], seed=n)
    gamma = decays(2, 2, n, seed=n)
    gamma[0, 0, n // 2 :: 3] = 0  # resets
    gamma[1, 0] = 1  # no decay
    gamma[1, 1] = 0  # only resets
    expected = quadratic(q, k, v, products(gamma))
    close(chunked(q, k, v, log_decay=gamma.log(), chunk=chunk), expected)
    close(recurrent(q, k, v, log_decay=gamma.log())[0], expected)


@pytest.mark.verifies("linear_attention-semiseparable", by="exact")
def test_the_matrix_of_decays_has_a_bidiagonal_inverse_and_factors_at_each_place():
    gamma = decays(12)
    n, D = 12, segsum(gamma.log()).exp()
    gamma_matrix, shift = gamma.diag(), torch.zeros(n, n, dtype=torch.float64)
    for i in range(1, n):
        shift[i, i - 1] = 1
    inverse = torch.eye(n, dtype=torch.float64) - gamma_matrix @ shift
    close(D @ inverse, torch.eye(n, dtype=torch.float64))
    close(torch.linalg.inv(D), inverse)
    assert torch.equal(D.diagonal(), torch.ones(n, dtype=torch.float64))
    for i in range(n):
        for m in range(i + 1):
            for j in range(m + 1):
                close(D[i, j], D[i, m] * D[m, j])
    ranks = {torch.linalg.matrix_rank(D[m:, :m], rtol=1e-10).item() for m in range(1, n)}
    assert ranks == {1}


@pytest.mark.verifies("linear_attention-chunked-decay", by="exact")
def test_the_chunked_form_with_decays_as_it_is_printed():
    q, k, v = sequences(24)
    gamma = decays(2, 2, 24)
    for C in (1, 4, 6, 24):
        S, outputs = torch.zeros(2, 2, 4, 3, dtype=torch.float64), []
        parts = [x.split(C, 2) for x in (q, k, v, gamma)]
        for Q, K, V, g in zip(*parts, strict=True):
            b = g.cumprod(-1)
            outputs.append(torch.diag_embed(b) @ Q @ S + ((Q @ K.mT) * products(g)) @ V)
            last = b[..., -1, None]
            S = last[..., None] * S + K.mT @ torch.diag_embed(last / b) @ V
        log = gamma.log()
        close(torch.cat(outputs, 2), recurrent(q, k, v, log_decay=log)[0])
        close(chunked(q, k, v, log_decay=log, chunk=C), torch.cat(outputs, 2))


@pytest.mark.verifies("linear_attention-gates", by="exact")
def test_a_decay_for_each_channel_moves_into_queries_and_keys():
    q, k, v = sequences(12)
    g = decays(2, 2, 12, 4)
    b = g.cumprod(-2)
    expected = ((q * b) @ (k / b).mT).tril() @ v
    outputs, state = recurrent(q, k, v, log_decay=g.log())
    close(outputs, expected, 1e-11)
    S = torch.zeros(2, 2, 4, 3, dtype=torch.float64)
    for t in range(12):
        S = torch.diag_embed(g[:, :, t]) @ S + k[:, :, t, :, None] * v[:, :, t, None]
    close(state, S)
    same = gamma_for_all_channels = decays(2, 2, 12)
    close(
        recurrent(q, k, v, log_decay=same.log()[..., None].expand(2, 2, 12, 4))[0],
        recurrent(q, k, v, log_decay=gamma_for_all_channels.log())[0],
    )


def test_segsum_sums_what_lies_between():
    log = torch.tensor([-1.0, -2.0, -4.0])
    expected = [[0, -math.inf, -math.inf], [-2, 0, -math.inf], [-6, -4, 0]]
    assert segsum(log).tolist() == expected
    reset = torch.tensor([-1.0, -math.inf, -4.0])
    assert segsum(reset).exp().tolist() == [
        [1, 0, 0],
        [0, 1, 0],
        [0, torch.tensor(-4.0).exp().item(), 1],
    ]
    assert segsum(torch.zeros(3, 0)).shape == (3, 0, 0)
    # Strong decays neither overflow nor swallow weak ones.
    strong = torch.tensor([-1e8, -1e8, -1.0], dtype=torch.float32)
    assert segsum(strong)[2, 1] == -1


@pytest.mark.parametrize("edge", [0.0, 1.0])
def test_gradients_are_finite_and_right_for_decays_of_0_and_1(edge):
    """Against the products of decays themselves, where 0 is nothing special."""
    q, k, v = sequences(10)
    gamma = decays(2, 2, 10)
    gamma[:, :, 4], gamma[0, :, 7] = edge, edge

    def gradients(function, *inputs):
        leaves = [x.clone().requires_grad_() for x in inputs]
        out = function(*leaves)
        return grad((out * out.detach().cos()).sum(), leaves)

    expected = list(gradients(lambda q, k, v, g: quadratic(q, k, v, _products(g)), q, k, v, gamma))
    expected[3] = gamma * expected[3]  # by the logarithm
    for C in (1, 3, 64):
        form = lambda q, k, v, log, C=C: chunked(q, k, v, log_decay=log, chunk=C)
        for ours, theirs in zip(gradients(form, q, k, v, gamma.log()), expected, strict=True):
            close(ours, theirs)
    walk = lambda q, k, v, log: recurrent(q, k, v, log_decay=log)[0]
    for ours, theirs in zip(gradients(walk, q, k, v, gamma.log()), expected, strict=True):
        close(ours, theirs)


def _products(gamma):
    """D for autograd: without writing in place."""
    n = gamma.shape[-1]
    rows = [
        torch.stack(
            [
                gamma[..., j + 1 : i + 1].prod(-1) if j <= i else torch.zeros_like(gamma[..., 0])
                for j in range(n)
            ],
            -1,
        )
        for i in range(n)
    ]
    return torch.stack(rows, -2)


# Why the normalizer is dropped


@pytest.mark.verifies("linear_attention-stability", by="gradient")
def test_the_slopes_of_both_normalizations():
    for smallest in (1e-6, 0.1, 1.0):
        s = decays(7).requires_grad_()
        with torch.no_grad():
            s[3] = smallest
        p = s / s.sum()
        slope = grad(p[3], s)[0][3]
        close(slope, p[3] * (1 - p[3]) / s[3], 1e-10)
    x = (3 * draw(7)).requires_grad_()
    jacobian = torch.func.jacrev(lambda x: x.exp() / x.exp().sum())(x)
    p = x.softmax(0)
    close(jacobian.diagonal(), p * (1 - p))
    assert jacobian.diagonal().max() <= 0.25
    tie = torch.func.jacrev(lambda x: x.softmax(0))(torch.zeros(2, dtype=torch.float64))
    assert tie[0, 0] == 0.25  # the bound is reached
    tiny = torch.tensor([1e-6, 5.0], dtype=torch.float64, requires_grad=True)
    assert grad(tiny[0] / tiny.sum(), tiny)[0][0] > 0.19


@pytest.mark.verifies("linear_attention-rmsnorm", by="exact")
def test_the_root_mean_square_norm_cancels_any_positive_factor():
    q, k, v = sequences(9)
    outputs, _ = recurrent(q, k, v)
    norm = lambda x: x / x.square().mean(-1, keepdim=True).sqrt()
    close(norm(outputs), rms_norm(outputs, (3,), eps=0.0))
    for c in (1e-6, 0.3, 1e6):
        close(norm(outputs / c), norm(outputs))
        scaled, _ = recurrent(q, k, v, scale=1 / c)
        close(norm(scaled), norm(outputs))
    phi_q, phi_k = feature_map(q), feature_map(k)
    close(norm(linear_attention(q, k, v, causal=True)), norm(recurrent(phi_q, phi_k, v)[0]), 1e-11)


# Memory and its capacity


def design(d):
    """Unit vectors over which the mean of a polynomial of degree 5 is that over the sphere."""
    if d == 2:
        angle = 2 * math.pi * torch.arange(6, dtype=torch.float64) / 6
        return torch.stack([angle.cos(), angle.sin()], 1)
    golden = (1 + math.sqrt(5)) / 2
    signs = itertools.product((1, -1), (golden, -golden))
    corners = [p for a, b in signs for p in ((0, a, b), (a, b, 0), (b, 0, a))]
    return normalize(torch.tensor(corners, dtype=torch.float64), dim=1)


def all_memories(d, pairs):
    """Every sequence of keys of a design: the mean over all is that over random keys.

    Each key enters the error of a read with degree 4 at most.
    """
    points = design(d)
    index = torch.cartesian_prod(*[torch.arange(len(points))] * pairs).view(-1, pairs)
    keys = points[index][:, None]
    angle = torch.arange(pairs, dtype=torch.float64) ** 2  # any values of length 1 will do
    values = torch.stack([angle.cos(), angle.sin()], 1).expand(len(keys), 1, pairs, 2)
    return keys, values


def read_errors(keys, values, **rule):
    """Mean square error and mean signal of reading each pair from the final state."""
    _, state = recurrent(keys, keys, values, **rule)
    read = keys @ state
    return (
        (read - values).square().sum(-1).mean((0, 1)),
        (read * values).sum(-1).mean((0, 1)),
        state,
    )


memories = pytest.mark.parametrize(("d", "pairs"), [(2, 1), (2, 3), (2, 5), (3, 2), (3, 4)])


@pytest.mark.parametrize("d", [2, 3])
def test_the_designs_have_the_means_of_the_sphere(d):
    x, one = design(d), torch.eye(d, dtype=torch.float64)
    assert len(x) == {2: 6, 3: 12}[d]
    close(torch.einsum("na,nb->ab", x, x) / len(x), one / d)
    fourth = torch.einsum("na,nb,nc,ne->abce", x, x, x, x) / len(x)
    pairings = [
        torch.einsum(f"{p},{q}->abce", one, one)
        for p, q in (("ab", "ce"), ("ac", "be"), ("ae", "bc"))
    ]
    close(fourth, sum(pairings) / (d * (d + 2)))
    for odd in ("na->a", "na,nb,nc->abc"):
        assert torch.einsum(odd, *[x] * odd.count("n")).abs().max() < 1e-14


@pytest.mark.verifies("linear_attention-hebb-error", by="enumeration")
@memories
def test_the_read_error_of_a_sum_of_outer_products(d, pairs):
    error, signal, _ = read_errors(*all_memories(d, pairs))
    close(error, torch.full((pairs,), (pairs - 1) / d, dtype=torch.float64))
    close(signal, torch.ones(pairs, dtype=torch.float64))
    close(recall_error(pairs, d), error)
    assert torch.equal(recall_error(pairs, d), recall_error(pairs, d, "hebb"))


@pytest.mark.verifies("linear_attention-hebb-error", by="sampling")
@pytest.mark.verifies("linear_attention-delta-age", by="sampling")
@pytest.mark.parametrize("rule", ["hebb", "delta"])
def test_read_errors_of_random_keys(rule):
    pairs, d, rounds = 48, 16, 2000
    keys = normalize(draw(rounds, 1, pairs, d), dim=-1)
    values = normalize(draw(rounds, 1, pairs, 4, seed=1), dim=-1)
    beta = {"beta": torch.ones(rounds, 1, pairs).double()} if rule == "delta" else {}
    _, state = recurrent(keys, keys, values, **beta)
    error = (keys @ state - values).square().sum(-1)[:, 0]
    expected = recall_error(pairs, d, rule)
    spread = error.std(0) / math.sqrt(rounds)
    assert ((error.mean(0) - expected).abs() <= 5 * spread + 1e-12).all()


@pytest.mark.verifies("linear_attention-delta-age", by="enumeration")
@memories
def test_what_the_delta_rule_keeps_of_a_pair_by_its_age(d, pairs):
    keys, values = all_memories(d, pairs)
    ones = torch.ones(len(keys), 1, pairs, dtype=torch.float64)
    error, signal, state = read_errors(keys, values, beta=ones)
    rho, lam = 1 - 1 / d, 1 - 2 * (d + 1) / (d * (d + 2))
    i = torch.arange(1, pairs + 1, dtype=torch.float64)
    age = pairs - i
    close(signal, rho**age)
    expected = 2 * (1 - rho**age) - rho**pairs + rho**i * lam**age
    close(error, expected)
    close(state.square().sum((-2, -1)).mean().item(), d * (1 - rho**pairs))
    close(recall_error(pairs, d, "delta"), error)


@memories
@pytest.mark.parametrize("rule", ["hebb", "delta"])
@pytest.mark.parametrize(("decay", "beta"), [(0.7, 1.0), (1.0, 0.6), (0.8, 1.5), (0.0, 1.0)])
def test_read_errors_with_decays_and_other_step_sizes(d, pairs, rule, decay, beta):
    keys, values = all_memories(d, pairs)
    steps = torch.full((len(keys), 1, pairs), beta, dtype=torch.float64)
    log_decay = torch.full_like(steps, decay).log()
    options = {"log_decay": log_decay} | ({"beta": steps} if rule == "delta" else {})
    error, _, _ = read_errors(keys, values, **options)
    close(recall_error(pairs, d, rule, decay=decay, beta=beta), error)


@pytest.mark.verifies("linear_attention-least-squares", by="enumeration")
@pytest.mark.parametrize(("pairs", "d"), [(6, 2), (7, 4), (4, 4), (3, 5), (1, 1)])
def test_the_least_error_that_any_state_has(pairs, d):
    """The mean over all signs of values is that over all independent ones with mean 0."""
    keys = draw(pairs, d)
    values = torch.tensor(list(itertools.product((-1, 1), repeat=pairs))).double().T
    best = torch.linalg.lstsq(keys, values, driver="gelsd").solution  # all signs side by side
    errors = (keys @ best - values).square().mean(0)
    close(errors.mean().item(), max(0.0, 1 - d / pairs))
    close(recall_error(pairs, d, "least_squares").mean().item(), errors.mean().item())
    for other in (best + 0.01, best * 0.99):
        assert (keys @ other - values).square().sum() >= (
            keys @ best - values
        ).square().sum() - 1e-12


@pytest.mark.parametrize("rule", ["hebb", "delta", "least_squares"])
def test_no_expected_error_is_below_that_of_least_squares(rule):
    for pairs, d in ((10, 4), (40, 16), (5, 8)):
        error = recall_error(pairs, d, rule)
        assert error.shape == (pairs,) and error.dtype == torch.float64
        assert error.mean() >= recall_error(pairs, d, "least_squares").mean() - 1e-12


# Writing what is missing: the delta rule


def step(state, key, value, **options):
    """One step of `recurrent` from a state, for one key and one value."""
    names = {name: torch.full((1, 1, 1), x, dtype=torch.float64) for name, x in options.items()}
    inputs = [x.view(1, 1, 1, -1) for x in (key, key, value)]
    return recurrent(*inputs, state=state[None, None], **names)[1][0, 0]


@pytest.mark.verifies("linear_attention-delta", by="gradient")
@pytest.mark.parametrize("beta", [0.1, 1.0, 1.7])
def test_the_delta_rule_is_a_step_down_the_square_loss(beta):
    S, k, v = draw(4, 3).requires_grad_(), normalize(draw(4, seed=1), dim=0), draw(3, seed=2)
    loss = (S.mT @ k - v).square().sum() / 2
    stepped = S - beta * grad(loss, S)[0]
    written = (torch.eye(4) - beta * torch.outer(k, k)) @ S + beta * torch.outer(k, v)
    close(stepped, written)
    close(step(S.detach(), k, v, beta=beta), written.detach())


@pytest.mark.verifies("linear_attention-delta-contraction", by="exact")
@pytest.mark.parametrize("beta", [0.1, 1.0, 1.7, 2.0])
def test_one_step_multiplies_the_error_of_its_own_key(beta):
    S, k, v = draw(4, 3), 0.9 * normalize(draw(4, seed=1), dim=0), draw(3, seed=2)
    after = step(S, k, v, beta=beta).mT @ k - v
    close(after, (1 - beta * k @ k) * (S.mT @ k - v))
    unit = normalize(k, dim=0)
    exact = step(S, unit, v, beta=1.0).mT @ unit
    close(exact, v)  # and with beta |k|^2 = 1 nothing is left


RULES = {
    "hebb": (lambda S, k, v, beta, gamma: -(v @ S.mT @ k), {}),
    "decay": (
        lambda S, k, v, beta, gamma: -(v @ S.mT @ k) + (1 - gamma) / (2 * beta) * S.square().sum(),
        {"log_decay"},
    ),
    "delta": (lambda S, k, v, beta, gamma: (S.mT @ k - v).square().sum() / 2, {"beta"}),
    "gated delta": (
        lambda S, k, v, beta, gamma: (S.mT @ k - v).square().sum() / 2,
        {"beta", "log_decay"},
    ),
}


@pytest.mark.verifies("linear_attention-rules", by="gradient")
@pytest.mark.parametrize("rule", RULES)
def test_each_rule_is_a_gradient_step_of_its_loss(rule):
    beta, gamma = 0.4, 0.7
    loss, used = RULES[rule]
    S, k, v = draw(4, 3), normalize(draw(4, seed=1), dim=0), draw(3, seed=2)
    start = (gamma * S if rule == "gated delta" else S).requires_grad_()
    (slope,) = grad(loss(start, k, v, beta, gamma), start)
    stepped = (start - beta * slope).detach()
    eye, kk, kv = torch.eye(4).double(), torch.outer(k, k), torch.outer(k, v)
    printed = {
        "hebb": S + beta * kv,
        "decay": gamma * S + beta * kv,
        "delta": (eye - beta * kk) @ S + beta * kv,
        "gated delta": gamma * (eye - beta * kk) @ S + beta * kv,
    }[rule].detach()
    close(stepped, printed)
    options = {"beta": beta, "log_decay": math.log(gamma)}
    value = v if "beta" in used else beta * v  # without beta, the strength is the value's
    ours = step(S.detach(), k, value, **{name: options[name] for name in used})
    close(ours, printed)


def unit_keys(n, **options):
    q, k, v = sequences(n, **options)
    return q, normalize(k, dim=-1), v


def naive_delta(q, k, v, beta, gamma):
    """The gated delta rule from its formula, with matrices, one token after the other."""
    S, eye, rows = (
        torch.zeros(*k.shape[:2], k.shape[3], v.shape[3]).double(),
        torch.eye(k.shape[3]),
        [],
    )
    for t in range(k.shape[2]):
        column, row = k[:, :, t, :, None], v[:, :, t, None]
        b, g = beta[:, :, t, None, None], gamma[:, :, t, None, None]
        S = g * (eye - b * column @ column.mT) @ S + b * column @ row
        rows.append((S.mT @ q[:, :, t, :, None])[..., 0])
    return torch.stack(rows, 2), S


def test_the_gated_delta_rule_and_what_it_reduces_to():
    q, k, v = unit_keys(15)
    beta, gamma = 2 * decays(2, 2, 15, seed=3) - 0.4, decays(2, 2, 15)
    one = torch.ones_like(gamma)
    for b, g in ((beta, gamma), (beta, one), (one, gamma)):
        expected = naive_delta(q, k, v, b, g)
        for ours, theirs in zip(
            recurrent(q, k, v, beta=b, log_decay=g.log()), expected, strict=True
        ):
            close(ours, theirs)
    close(recurrent(q, k, v, beta=beta)[0], naive_delta(q, k, v, beta, one)[0])
    weak = torch.full_like(beta, 1e-9)  # the rule's own decay vanishes with beta, and Hebb is left
    hebb = recurrent(q, k, v, log_decay=gamma.log())[0]
    close(recurrent(q, k, v, beta=weak, log_decay=gamma.log())[0] / 1e-9, hebb, 1e-7)
    orthonormal = torch.linalg.qr(draw(2, 2, 6, 6)).Q
    q, v = draw(2, 2, 6, 6), draw(2, 2, 6, 3, seed=1)
    close(recurrent(q, orthonormal, v, beta=one[..., :6])[0], recurrent(q, orthonormal, v)[0])


def test_with_a_step_of_2_the_delta_rule_reflects():
    k = normalize(draw(4), dim=0)
    reflection = step(torch.eye(4).double(), k, torch.zeros(4).double(), beta=2.0)
    close(reflection @ reflection, torch.eye(4).double())
    close(reflection @ k, -k)


@pytest.mark.verifies("linear_attention-delta-ut", by="exact")
def test_the_delta_rule_as_one_triangular_system():
    q, k, v = (x[0, 0] for x in unit_keys(10))
    beta, S0 = decays(10), draw(4, 3, seed=5)
    T = torch.eye(10) + (beta.diag() @ k @ k.mT).tril(-1)
    U = torch.linalg.inv(T) @ beta.diag() @ (v - k @ S0)
    M = torch.ones(10, 10).tril()
    inputs = [x[None, None] for x in (q, k, v)]
    outputs, state = recurrent(*inputs, beta=beta[None, None], state=S0[None, None])
    close(q @ S0 + ((q @ k.mT) * M) @ U, outputs[0, 0])
    close(S0 + k.mT @ U, state[0, 0])


@pytest.mark.verifies("linear_attention-delta", by="exact")
@pytest.mark.verifies("linear_attention-delta-ut", by="exact")
@chunk_cases
def test_the_delta_rule_in_chunks_of_any_size(n, chunk, sizes):
    q, k, v = unit_keys(n, d=sizes[0], e=sizes[1], seed=n)
    beta = 2 * decays(2, 2, n, seed=n) - 0.4  # also 0 and 2, nearly
    close(delta_rule(q, k, v, beta, chunk=chunk), recurrent(q, k, v, beta=beta)[0])


@pytest.mark.verifies("linear_attention-pigeonhole", by="enumeration")
@pytest.mark.parametrize(
    ("bits", "pairs", "words"), [(1, 2, 2), (2, 2, 2), (1, 1, 2), (1, 1, 3), (2, 1, 3)]
)
def test_no_state_holds_more_bits_than_it_has(bits, pairs, words):
    """Try every writer; a reader exists if all that is written to one state agrees."""
    contents = list(itertools.product(range(words), repeat=pairs))

    def readable(writer):
        for state in set(writer):
            found = {what for what, where in zip(contents, writer, strict=True) if where == state}
            if any(len({what[i] for what in found}) > 1 for i in range(pairs)):
                return False
        return True

    writers = itertools.product(range(2**bits), repeat=len(contents))
    assert any(map(readable, writers)) == (bits >= pairs * math.log2(words))


# Gradients, forms, shapes and dtypes


def test_gradients_of_all_forms():
    q, k, v = (x.requires_grad_() for x in sequences(5, b=1, h=1))
    log = decays(1, 1, 5).log().requires_grad_()
    beta = (0.3 * decays(1, 1, 5)).requires_grad_()
    small = k.detach().mul(0.2).requires_grad_()
    slopes_agree(lambda *x: chunked(*x[:3], log_decay=x[3], chunk=2), (q, k, v, log))
    slopes_agree(lambda *x: chunked(*x, chunk=2), (q, k, v))
    slopes_agree(lambda *x: delta_rule(*x, chunk=2), (q, small, v, beta))
    state = draw(1, 1, 4, 3).requires_grad_()
    slopes_agree(
        lambda *x: recurrent(*x[:3], log_decay=x[3], beta=x[4], state=x[5]),
        (q, small, v, log, beta, state),
    )
    for kind in (*POSITIVE_KINDS, "softmax"):
        slopes_agree(lambda *x, kind=kind: linear_attention(*x, kind=kind), (q, k, v))
    for kind in POSITIVE_KINDS:
        slopes_agree(lambda *x, kind=kind: linear_attention(*x, kind=kind, causal=True), (q, k, v))


FORMS = {
    "chunked": lambda q, k, v, **o: chunked(q, k, v, chunk=3, **o),
    "decayed": lambda q, k, v, **o: chunked(
        q, k, v, log_decay=-torch.ones_like(k[..., 0]), chunk=3, **o
    ),
    "recurrent": lambda q, k, v, **o: recurrent(q, k, v, **o)[0],
    "delta": lambda q, k, v, **o: delta_rule(
        q, k, v, 0.05 * torch.ones_like(k[..., 0]), chunk=3, **o
    ),
    "elu": lambda q, k, v: linear_attention(q, k, v, causal=True),
}
every_form = pytest.mark.parametrize("form", FORMS)


@every_form
def test_no_output_depends_on_what_comes_later(form):
    q, k, v = (x[:, :1] for x in sequences(8, b=1, h=1))
    for which in range(3):

        def output(x, which=which):
            inputs = [q, k, v]
            inputs[which] = x
            return FORMS[form](*inputs)[0, 0]

        jacobian = torch.func.jacrev(output)([q, k, v][which])[:, :, 0, 0]  # (t, e, s, d)
        influence = jacobian.abs().amax((1, 3))
        assert torch.equal(influence, influence.tril())
        assert (influence.diagonal() > 0).all()


@pytest.mark.parametrize("form", ["chunked", "decayed", "recurrent", "delta"])
def test_nothing_is_scaled_unless_asked(form):
    q, k, v = sequences(7)
    close(FORMS[form](q, k, v, scale=0.25), FORMS[form](q, k, v) / 4)
    close(FORMS[form](4 * q, k, v), 4 * FORMS[form](q, k, v))


@every_form
@pytest.mark.parametrize("n", [0, 1])
def test_short_sequences(form, n):
    q, k, v = (x.requires_grad_() for x in sequences(n))
    out = FORMS[form](q, k, v)
    assert out.shape == (2, 2, n, 3)
    gradients = grad(out.sum(), (q, k, v), materialize_grads=True)
    assert all(
        g.isfinite().all() and g.shape == x.shape for g, x in zip(gradients, (q, k, v), strict=True)
    )
    empty = FORMS[form](*(x[:0] for x in (q, k, v)))
    assert empty.shape == (0, 2, n, 3)


@pytest.mark.parametrize("kind", [*POSITIVE_KINDS, "softmax"])
def test_an_average_over_nothing_is_0(kind):
    q, k, v = sequences(0)
    assert linear_attention(q, k, v, kind=kind).shape == (2, 2, 0, 3)


def test_a_recurrence_goes_on_from_its_state():
    q, k, v = unit_keys(13)
    log, beta = decays(2, 2, 13).log(), decays(2, 2, 13, seed=4)
    for options in ({}, {"log_decay": log}, {"beta": beta}, {"log_decay": log, "beta": beta}):
        whole, last = recurrent(q, k, v, **options)
        first, state = recurrent(
            *(x[:, :, :5] for x in (q, k, v)), **{n: x[:, :, :5] for n, x in options.items()}
        )
        kept = state.clone()
        rest, final = recurrent(
            *(x[:, :, 5:] for x in (q, k, v)),
            state=state,
            **{n: x[:, :, 5:] for n, x in options.items()},
        )
        close(torch.cat([first, rest], 2), whole)
        close(final, last)
        assert torch.equal(state, kept)


@pytest.mark.parametrize("rule", ["decay", "gated delta"])
def test_packed_sequences_do_not_leak_into_each_other(rule):
    q, k, v = unit_keys(20)
    log, beta = decays(2, 2, 20).log(), decays(2, 2, 20, seed=4)
    starts = [0, 7, 8, 15, 20]
    log[:, :, starts[:-1]] = -math.inf
    options = {"log_decay": log} | ({"beta": beta} if rule == "gated delta" else {})
    packed, last = recurrent(q, k, v, **options)
    for start, stop in itertools.pairwise(starts):
        part = slice(start, stop)
        alone, state = recurrent(
            *(x[:, :, part] for x in (q, k, v)), **{n: x[:, :, part] for n, x in options.items()}
        )
        close(packed[:, :, part], alone)
    close(last, state)
    if rule == "decay":
        for C in (1, 3, 64):
            close(chunked(q, k, v, log_decay=log, chunk=C), packed)
        poisoned = v.clone()
        poisoned[:, :, :8] = 1e300  # not even as 0 * huge
        assert torch.equal(
            chunked(q, k, poisoned, log_decay=log, chunk=3)[:, :, 8:],
            chunked(q, k, v, log_decay=log, chunk=3)[:, :, 8:],
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_outputs_have_the_dtype_of_the_values_and_states_are_wide(dtype):
    q, k, v = (0.3 * x for x in unit_keys(20))
    exact = {form: function(q, k, v) for form, function in FORMS.items()}
    low = [x.to(dtype) for x in (q, k, v)]
    tolerance = {torch.float16: 5e-3, torch.bfloat16: 4e-2, torch.float32: 1e-5}.get(dtype, 1e-12)
    for form, function in FORMS.items():
        out = function(*low)
        assert out.dtype == dtype
        torch.testing.assert_close(out.double(), exact[form], rtol=tolerance, atol=tolerance)
        leaf = low[1].clone().requires_grad_()
        assert grad(function(low[0], leaf, low[2]).sum(), leaf)[0].dtype == dtype
    wide = torch.promote_types(dtype, torch.float32)
    state = torch.zeros(2, 2, 4, 3, dtype=torch.float16)
    assert recurrent(*low)[1].dtype == recurrent(*low, state=state)[1].dtype == wide
    for other in (torch.float32, torch.float64):  # whatever the values are
        log, beta = -decays(2, 2, 20).to(other), decays(2, 2, 20).to(other)
        assert recurrent(*low, log_decay=log, beta=beta)[0].dtype == dtype
        assert chunked(*low, log_decay=log).dtype == delta_rule(*low, beta).dtype == dtype


def test_long_sums_in_bfloat16_do_not_get_stuck():
    """In bfloat16 256 + 1 = 256."""
    ones = torch.ones(1, 1, 4096, 1, dtype=torch.bfloat16)
    assert recurrent(ones[:, :, :600], ones[:, :, :600], ones[:, :, :600])[1].item() == 600
    assert chunked(ones, ones, ones)[0, 0, -1, 0].item() == 4096
    none = torch.zeros(1, 1, 4096)
    assert chunked(ones, ones, ones, log_decay=none)[0, 0, -1, 0].item() == 4096
    beta = torch.full((1, 1, 4096), 2.0**-12)
    assert delta_rule(ones, ones, ones, beta)[0, 0, -1, 0].item() == pytest.approx(
        1 - math.exp(-1), rel=4e-3
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_lose_only_the_last_rounding(dtype):
    """Over thousands of tokens, where sums, normalizers and positions leave a half type's range."""
    low = [x.to(dtype) for x in sequences(3000, d=8, b=1, h=1)]
    wide = [x.double() for x in low]
    log = decays(1, 1, 3000).log().to(dtype) / 256
    forms = {
        kind: lambda q, k, v, kind=kind, **more: linear_attention(q, k, v, kind=kind, **more)
        for kind in ("elu", "relu", "sphere", "taylor", "cosformer", "softmax")
    }
    forms |= {
        "causal": lambda q, k, v: linear_attention(q, k, v, causal=True),
        "chunked": lambda q, k, v: chunked(q, k, v / 64),
        "decayed": lambda q, k, v: chunked(q, k, v / 64, log_decay=log.to(v.dtype)),
        "features": lambda q, k, v: feature_map(q / 2, "taylor"),
        "positions": lambda q, k, v: feature_map(q, "cosformer"),
        "random": lambda q, k, v: random_features(q, k[0, 0, :5]),
        "variance": lambda q, k, v: random_feature_variance(q / 4, k / 4),
    }
    for form, function in forms.items():
        exact = function(*wide)
        out = function(*low)
        assert out.dtype == dtype, form
        rounding = torch.finfo(dtype).eps * exact.abs() + 1e-5 * exact.abs().max()
        assert ((out.double() - exact).abs() <= rounding).all(), form


def test_decays_of_a_half_type_are_summed_in_float32():
    """In float16 2048 + 1 = 2048."""
    sums = segsum(-torch.ones(2101).half())
    assert sums.dtype == torch.float16 and sums[-1, 0].item() == -2100


@pytest.mark.parametrize("causal", [False, True])
def test_small_positive_features_still_give_an_average(causal):
    """Their products are below the least number, so the average is taken as of larger ones."""
    v = torch.tensor([1.0, 2.0, 3.0]).view(1, 1, 3, 1)
    mean = torch.tensor([1.0, 1.5, 2.0]) if causal else torch.full((3,), 2.0)
    for small in (-20.0, -50.0, -80.0):
        x = torch.full((1, 1, 3, 2), small)
        assert linear_attention(x, x, v, causal=causal).flatten().tolist() == mean.tolist()


def test_a_direction_has_length_1_however_long_the_vector_is():
    x = torch.tensor([3.0, -4.0, 0.0])
    for dtype, factors in {
        torch.float16: (1e-5, 1.0, 1e4),
        torch.bfloat16: (1e-36, 1e36),
        torch.float32: (1e-40, 1e-25, 1e20, 8e37),
        torch.float64: (1e-300, 1e300),
    }.items():
        for factor in factors:
            scaled = (x.double() * factor).to(dtype)
            wanted = scaled.double() / factor / 5
            direction = feature_map(scaled[None], "sphere").double()[0, 1:]
            torch.testing.assert_close(direction, wanted, rtol=2e-2, atol=0)
            assert direction.norm().item() == pytest.approx(1, rel=4 * torch.finfo(dtype).eps)


def test_queries_may_be_mapped_over_while_keys_and_values_are_shared():
    q, k, v = (x[:1] for x in sequences(5))
    queries = torch.stack([q, -q, 2 * q])
    with derived.validation(False):
        for function in FORMS.values():
            mapped = torch.func.vmap(lambda query, function=function: function(query, k, v))(
                queries
            )
            close(mapped, torch.stack([function(query, k, v) for query in queries]))


def test_inputs_need_not_be_contiguous():
    q, k, v = (x.transpose(1, 2) for x in sequences(3, h=70))  # as from a projection
    assert not q.is_contiguous()
    dense = [x.contiguous() for x in (q, k, v)]
    for function in FORMS.values():
        close(function(q, k, v), function(*dense))
    of_heads = decays(2, 3).log()[..., None]  # one number for a whole head
    spread = of_heads.expand(2, 3, 70)
    close(chunked(q, k, v, log_decay=spread), chunked(*dense, log_decay=spread.contiguous()))


def peak_bytes(function):
    """The most memory that lives at one time in tensors made by a function, its result included."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        function()
    events = sorted(trace.profiler.kineto_results.events(), key=lambda event: event.start_ns())
    changes = [event.nbytes() for event in events if event.name() == "[memory]"]
    return max(itertools.accumulate(changes, initial=0))


@pytest.mark.parametrize("form", ["chunked", "decayed", "delta", "elu"])
def test_memory_beyond_the_output_does_not_grow_with_the_length(form):
    functions = {
        "chunked": lambda q, k, v: chunked(q, k, v),
        "decayed": lambda q, k, v: chunked(q, k, v, log_decay=-torch.ones_like(k[..., 0])),
        "delta": lambda q, k, v: delta_rule(q, k, v, torch.ones_like(k[..., 0])),
        "elu": lambda q, k, v: linear_attention(q, k, v, causal=True),
    }
    beyond = []
    for n in (2048, 4096):
        q, k, v = unit_keys(n, d=16, e=16, b=1, h=1, dtype=torch.float32)
        peak = peak_bytes(lambda q=q, k=k, v=v: functions[form](q, k, v))
        beyond.append(peak - v.nbytes)
        assert peak >= v.nbytes
    per_token = (beyond[1] - beyond[0]) / 2048
    assert per_token <= 4 * 16 * 1.5  # at most what checks of values look at: k squared


# Bad input


def test_weights_that_are_all_0_give_0_and_no_gradient():
    q = -torch.rand(1, 1, 5, 4).double()  # relu sees nothing
    q[:, :, 3] = 1
    k, v = torch.rand(1, 1, 5, 4).double(), draw(1, 1, 5, 3)
    leaves = [x.clone().requires_grad_() for x in (q, k, v)]
    for causal in (False, True):
        out = linear_attention(*leaves, kind="relu", causal=causal)
        dead = [0, 1, 2, 4]
        assert out[:, :, dead].eq(0).all() and out[:, :, 3].ne(0).all()
        gradients = grad(out.sum(), leaves)
        assert all(g.isfinite().all() for g in gradients)
        assert gradients[0][:, :, dead].eq(0).all()
    none = linear_attention(
        leaves[0][:, :, :2], -leaves[1][:, :, :2], leaves[2][:, :, :2], kind="relu"
    )
    assert all(g.eq(0).all() for g in grad(none.sum(), leaves))
    for dtype in (torch.float32, torch.float16):
        zero = torch.zeros(1, 1, 3, 4, dtype=dtype)
        assert linear_attention(zero, zero, torch.ones_like(zero), kind="relu").eq(0).all()


def test_a_zero_vector_has_no_direction():
    x = torch.zeros(2, 3, requires_grad=True)
    features = feature_map(x, "sphere")
    assert features.tolist() == [[1, 0, 0, 0]] * 2
    assert grad(features.sum(), x)[0].eq(0).all()


Q, K, V = sequences(6)
LOG, BETA = -torch.ones(2, 2, 6).double(), torch.ones(2, 2, 6).double()
NAN = Q.clone().index_fill_(2, torch.tensor(1), math.nan)
ERRORS = [
    (lambda: linear_attention(Q.tolist(), K, V), r"^q: expected a torch.Tensor, got a list"),
    (lambda: linear_attention(Q.long(), K, V), r"^q: expected floats, got torch.int64"),
    (
        lambda: linear_attention(Q[0], K, V),
        r"^q: expected shape \(batch, heads, length, dim\), got",
    ),
    (
        lambda: linear_attention(Q, K[..., :2], V),
        r"^q and k: .* got \(2, 2, 6, 4\) and \(2, 2, 6, 2\)",
    ),
    (lambda: linear_attention(Q[:1], K, V), r"^q and k: expected the same batch, heads and dim"),
    (lambda: linear_attention(Q[:, :1], K, V), r"^q and k: expected the same batch, heads and dim"),
    (
        lambda: linear_attention(Q, K, V[:, :, 1:]),
        r"^k and v: expected the same batch, heads and l",
    ),
    (lambda: linear_attention(Q, K, V[:1]), r"^k and v: expected the same batch, heads and length"),
    (lambda: linear_attention(Q, K, V[:, :1]), r"^k and v: expected the same batch, heads and le"),
    (
        lambda: linear_attention(Q, K, V.float()),
        r"^q, k and v: expected one dtype, got torch.float6",
    ),
    (
        lambda: linear_attention(Q[:, :, 1:], K, V, causal=True),
        r"^q and k: expected the same length",
    ),
    (
        lambda: linear_attention(Q[:, :, 1:], K, V, kind="cosformer"),
        r"^q and k: expected the same l",
    ),
    (
        lambda: linear_attention(Q, K, V, kind="exp"),
        r"^kind: expected one of elu, relu, .*; got 'exp'",
    ),
    (lambda: linear_attention(Q, K, V, kind="identity"), r"^kind and normalize: .*'identity'"),
    (
        lambda: linear_attention(Q, K, V, kind="softmax", causal=True),
        r"^kind and causal: .*'softmax'",
    ),
    (
        lambda: linear_attention(NAN, K, V),
        r"^q: expected finite numbers, got nan at \[0, 0, 1, 0\]",
    ),
    (
        lambda: linear_attention(Q, K / 0, V),
        r"^k: expected finite numbers, got -?inf at \[0, 0, 0, 0",
    ),
    (lambda: linear_attention(Q, K, NAN), r"^v: expected finite numbers"),
    (lambda: feature_map(Q, "softmax"), r"^kind: expected one of"),
    (lambda: feature_map(torch.tensor(1.0)), r"^x: expected shape \(\.\.\., dim\), got \(\)"),
    (
        lambda: feature_map(torch.ones(3), "cosformer"),
        r"^x: expected shape \(\.\.\., length, dim\)",
    ),
    (lambda: random_features(Q, K), r"^directions: expected shape \(number, dim\), got"),
    (lambda: random_features(Q, K[0, 0, :0]), r"^directions: expected shape \(number, dim\), got"),
    (lambda: random_features(Q, V[0, 0]), r"^x and directions: expected the same last dimension"),
    (
        lambda: random_features(Q, K[0, 0], "cosine"),
        r"^kind: expected one of positive, trigonometric",
    ),
    (lambda: random_feature_variance(Q, V), r"^q and k: expected the same last dimension"),
    (lambda: random_feature_variance(Q, K[:, :, :5]), r"^q and k: expected shapes that broadcast"),
    (lambda: random_feature_variance(Q, K, "relu"), r"^kind: expected one of"),
    (
        lambda: segsum(decays(4)),
        r"^log_decay: expected logarithms .* got 0\.\d+\. For a decay g pass",
    ),
    (
        lambda: segsum(torch.tensor([0.0, 0.5])),
        r"^log_decay: expected logarithms .* got 0\.5\. For a decay g pass g\.log\(\)",
    ),
    (lambda: segsum(torch.tensor([-1.0, math.nan])), r"^log_decay: expected logarithms .* got nan"),
    (
        lambda: segsum(torch.tensor([-1])),
        r"^log_decay: expected floats of shape \(\.\.\., length\)",
    ),
    (
        lambda: segsum(torch.tensor(-1.0)),
        r"^log_decay: expected floats of shape \(\.\.\., length\)",
    ),
    (lambda: chunked(Q, K, V, chunk=0), r"^chunk: expected an integer of at least 1, got 0"),
    (lambda: chunked(Q, K, V, scale=math.inf), r"^scale: expected a finite number, got inf"),
    (lambda: chunked(Q, K, V, scale=True), r"^scale: expected a finite number, got True"),
    (lambda: chunked(Q, K, V, scale="2"), r"^scale: expected a finite number, got '2'"),
    (lambda: chunked(Q[:, :, 1:], K, V), r"^q and k: expected the same length, got"),
    (lambda: chunked(Q, K, V, log_decay=-LOG), r"^log_decay: expected logarithms .* got 1\."),
    (
        lambda: chunked(Q, K, V, log_decay=LOG[0]),
        r"^log_decay and k: expected one log_decay a token",
    ),
    (
        lambda: chunked(Q, K, V, log_decay=-K.abs()),
        r"^log_decay and k: expected one log_decay a tok",
    ),
    (lambda: recurrent(Q, K, V, log_decay=-V.abs()), r"^log_decay and k: .* or one a channel"),
    (lambda: recurrent(Q, K, V, beta=BETA[..., 1:]), r"^beta and k: expected one beta a token"),
    (lambda: recurrent(Q, K, V, beta=K), r"^beta and k: expected one beta a token"),
    (lambda: recurrent(Q, K, V, beta=BETA / 0), r"^beta: expected finite numbers"),
    (
        lambda: recurrent(Q, K, V, state=V),
        r"^state and k, v: expected shape \(batch, heads, d_k, d_v",
    ),
    (lambda: recurrent(Q, K, V, state=NAN), r"^state: expected finite numbers"),
    (lambda: recurrent(Q, K[:, :, 1:], V), r"^k and v: expected the same"),
    (lambda: delta_rule(Q, K, V, None), r"^beta: expected a torch.Tensor, got None"),
    (lambda: delta_rule(Q, K, V, BETA[:1]), r"^beta and k: expected one beta a token"),
    (lambda: delta_rule(Q, K, V, BETA, chunk=2.0), r"^chunk: expected an integer"),
    (lambda: recall_error(0, 4), r"^pairs: expected an integer of at least 1, got 0"),
    (lambda: recall_error(4, 0), r"^dim: expected an integer of at least 1, got 0"),
    (lambda: recall_error(4, 4, "ridge"), r"^rule: expected one of hebb, delta, least_squares"),
    (lambda: recall_error(4, 4, decay=1.1), r"^decay: expected a number from 0 to 1, got 1\.1"),
    (
        lambda: recall_error(4, 4, decay=-0.1),
        r"^decay: expected a number from 0 to 1, got -0\.1",
    ),
    (lambda: recall_error(4, 4, beta=math.nan), r"^beta: expected a finite number, got nan"),
]


@pytest.mark.parametrize(("call", "message"), ERRORS, ids=[message[:40] for _, message in ERRORS])
def test_errors_name_the_argument_and_what_came(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_without_checks_of_values_nan_passes_through():
    with derived.validation(False):
        assert linear_attention(NAN, K, V)[:, :, 1].isnan().all()
        assert chunked(NAN, K, V)[:, :, 1].isnan().all()
        assert recurrent(Q, K, V, log_decay=-LOG)[0].isfinite().all()
        assert segsum(decays(3)).isnan().sum() == 0
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            recurrent(Q, K, V, beta=100 * BETA)


def test_large_numbers_are_not_taken_for_infinity():
    large = torch.full((1, 1, 4, 2), 3e38)  # their sum is infinite in float32
    assert not large.sum().isfinite()
    assert torch.equal(feature_map(large, "relu"), large)


@pytest.mark.parametrize(
    "function", [lambda b, k: delta_rule(Q, k, V, b), lambda b, k: recurrent(Q, k, V, beta=b)]
)
def test_steps_that_enlarge_an_error_are_warned_of(function):
    unit = normalize(K, dim=-1)
    with pytest.warns(UserWarning, match=r"beta: a step is stable for 0 <= .* got 2\.1 to 2\.1"):
        function(2.1 * BETA, unit)
    with pytest.warns(UserWarning, match=r"got 4 to 4, and the state may grow"):
        function(BETA, 2 * unit)  # it is the step times the square of the key that counts
    with pytest.warns(UserWarning, match=r"got -0\.1 to -0\.1"):
        function(-0.1 * BETA, unit)
    one = BETA.clone()
    one[1, 1, 3] = 3
    with pytest.warns(UserWarning, match=r"got 1 to 3, and the state may grow"):
        function(one, unit)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        function(0 * BETA, unit)
        function(2 * BETA, unit)
        recurrent(Q, 100 * K, V)
