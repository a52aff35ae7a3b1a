"""Exercises of the chapter on linear attention."""

import functools
import math
from typing import Any

import torch
from torch import Tensor

from derived.exercises._exercise import Exercise, Hint, NotYet, agree, number, recognize
from derived.linear_attention import feature_map, recall_error, recurrent, segsum

__all__ = ["EXERCISES"]


def _matrix(result: Any) -> Tensor:
    """Return what a reader means by a matrix, also as rows of numbers."""
    if not isinstance(result, Tensor):
        try:
            result = torch.tensor([list(row) for row in result], dtype=torch.float64)
        except (TypeError, ValueError):
            raise NotYet("shape", what=_say(result)) from None
    if result.ndim != 2 or not result.is_floating_point():
        raise NotYet("shape", what=f"{result.dtype} of shape {tuple(result.shape)}")
    return result.to(torch.float64)


def _agree(some: Tensor, others: Tensor) -> bool:
    """Say whether answers are equal, even if they were computed in float32."""
    return some.shape == others.shape and torch.allclose(some, others, rtol=1e-5, atol=1e-6)


def _say(value: Any) -> str:
    """Name what can't be used: a number that isn't finite by its value, others by their type."""
    return repr(value) if isinstance(value, str | float) else f"a {type(value).__name__}"


def _judge_numbers(
    results: list, inputs: list[tuple], expected: list[float], hints: dict[str, Hint]
) -> str:
    """Compare numbers with the right ones; raise the hint for those wrong in a known way."""
    values = [number(result) for result in results]
    if None in values:
        raise NotYet("number", what=_say(results[values.index(None)]))
    if agree(values, expected, absolute=1e-6):
        return f"right at {len(expected)} inputs."
    recognize(values, expected, inputs, hints, absolute=1e-6)
    triples = zip(values, expected, inputs, strict=True)
    got, right, which = next(t for t in triples if not agree(t[:1], t[1:2], absolute=1e-6))
    arguments = ", ".join(f"{argument:g}" for argument in which)
    raise NotYet(f"For ({arguments}), expected {right:.6g}, got {got:.6g}.")


def _draw(n: int, d: int, seed: int) -> Tensor:
    return torch.rand(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# linear_attention-1: cosformer_features(x, m) returns features F of the rows of x, so that
# F(q) F(k)^T = (q k^T) cos(pi (i - j) / 2m).

# Queries and keys in turn; the last two are shorter than m.
FEATURE_INPUTS = [(_draw(n, 2, seed), m) for seed, (n, m) in enumerate([(5, 5)] * 2 + [(3, 7)] * 2)]


def _waves(x: Tensor, angle_of_one: float, *waves: str) -> Tensor:
    angle = angle_of_one * torch.arange(len(x), dtype=x.dtype)[:, None]
    return torch.cat([x * getattr(angle, wave)() for wave in waves], 1)


FEATURE_HINTS = {
    "shape": Hint(
        "Return a matrix of floats with as many rows as x has; this is {what}.",
        lambda x, m: 1.0,
        lambda x, m: torch.ones(len(x)),
        lambda x, m: torch.ones(2, 2, 2),
        lambda x, m: [[0, 1], [2]],
    ),
    "rows": Hint(
        "Each row of x gets one row of features: expected {rows} rows, got {shape}. Join cosines "
        "and sines along the features, with dim=1.",
        lambda x, m: torch.cat([_waves(x, math.pi / (2 * m), w) for w in ("cos", "sin")], 0),
        lambda x, m: _waves(x, math.pi / (2 * m), "cos", "sin").T,
    ),
    "half": Hint(
        "That is one half of cos(a - b) = cos(a) cos(b) + sin(a) sin(b). Return the features of "
        "both halves side by side.",
        lambda x, m: _waves(x, math.pi / (2 * m), "cos"),
        lambda x, m: _waves(x, math.pi / (2 * m), "sin"),
    ),
    "added": Hint(
        "Adding cosine and sine brings products of the one with the other into the weights. Put "
        "them side by side instead.",
        lambda x, m: _waves(x, math.pi / (2 * m), "cos") + _waves(x, math.pi / (2 * m), "sin"),
    ),
    "twice the angle": Hint(
        "The angle is twice as large as it should be: from 0 to m it goes through a quarter of a "
        "circle, pi/2, so that no cosine of a difference is negative.",
        lambda x, m: _waves(x, math.pi / m, "cos", "sin"),
    ),
    "whole circle": Hint(
        "From 0 to m the angle goes through a quarter of a circle, not through the whole: it is "
        "pi i / 2m.",
        lambda x, m: _waves(x, 2 * math.pi / m, "cos", "sin"),
    ),
    "no m": Hint(
        "The position itself is no angle: it is pi i / 2m.",
        lambda x, m: _waves(x, 1.0, "cos", "sin"),
        lambda x, m: _waves(x, math.pi / 2, "cos", "sin"),
    ),
    "without pi": Hint(
        "The angle lacks its factor pi/2.",
        lambda x, m: _waves(x, 1 / m, "cos", "sin"),
        lambda x, m: _waves(x, 1 / (2 * m), "cos", "sin"),
    ),
    "length for m": Hint(
        "Right where x has m rows. The angle depends on m alone, not on how many rows there are.",
        lambda x, m: feature_map(x, "cosformer"),
    ),
    "no position": Hint(
        "These weights don't depend on the position: they are multiples of x y.",
        lambda x, m: x,
        lambda x, m: torch.cat([x, x], 1),
    ),
    "scaled": Hint(
        "The weights are {factor:.4g} times as large as they should be, everywhere.",
        lambda x, m: 2 * _waves(x, math.pi / (2 * m), "cos", "sin"),
        lambda x, m: _waves(x, math.pi / (2 * m), "cos", "sin") / math.sqrt(2),
    ),
}


def _weights(features: list[Tensor]) -> list[Tensor]:
    """Return the inner products of the features of queries with those of keys."""
    return [q @ k.mT for q, k in zip(features[::2], features[1::2], strict=True)]


def _judge_features(results: list) -> str:
    features = [_matrix(result) for result in results]
    for (x, _), got in zip(FEATURE_INPUTS, features, strict=True):
        if len(got) != len(x):
            raise NotYet("rows", rows=len(x), shape=tuple(got.shape))
    widths = {got.shape[1] for got in features}
    if len(widths) > 1:
        raise NotYet("All inputs have rows of 2 numbers; expected rows of one length for all.")
    got = _weights(features)
    right = _weights([_waves(x, math.pi / (2 * m), "cos", "sin") for x, m in FEATURE_INPUTS])
    if all(map(_agree, got, right)):
        return "all weights of 5 positions at m = 5 and of 3 positions at m = 7."
    for name, hint in FEATURE_HINTS.items():
        for formula in hint.wrong if name not in ("shape", "rows", "scaled") else ():
            wrong = _weights([formula(x, m) for x, m in FEATURE_INPUTS])
            if all(map(_agree, got, wrong)):
                raise NotYet(name)
    factor = (got[0][0, 0] / right[0][0, 0]).item()
    if all(_agree(some, factor * other) for some, other in zip(got, right, strict=True)) and factor:
        raise NotYet("scaled", factor=factor)
    which = 0 if not _agree(got[0], right[0]) else 1
    i, j = (~torch.isclose(got[which], right[which], rtol=1e-6)).nonzero()[0].tolist()
    raise NotYet(
        f"With m = {FEATURE_INPUTS[2 * which][1]}, the weight of query {i} for key {j} should be "
        f"{right[which][i, j]:.6g}; it is {got[which][i, j]:.6g}."
    )


# linear_attention-2: balanced_chunk(d_k, d_v) returns the chunk length at which the part within
# chunks costs as much as the part through the state.

CHUNK_INPUTS = [(64, 64), (16, 48), (128, 32), (1, 3)]

CHUNK_HINTS = {
    "number": Hint(
        "Return one finite number; this is {what}.",
        lambda d_k, d_v: str(d_k),
        lambda d_k, d_v: (d_k, d_v),
        lambda d_k, d_v: math.nan,
    ),
    "state used once": Hint(
        "The state is used twice in a chunk: it is read, Q S, and it is written, K^T V. Each costs "
        "2 C d_k d_v.",
        lambda d_k, d_v: d_k * d_v / (d_k + d_v),
    ),
    "mask": Hint(
        "That counts half of the products within a chunk. The mask sets results to 0 that have "
        "been computed.",
        lambda d_k, d_v: 4 * d_k * d_v / (d_k + d_v),
    ),
    "one product": Hint(
        "Within a chunk there are two products, Q K^T and the weights with V: 2 C² d_k and "
        "2 C² d_v. This balances one of them.",
        lambda d_k, d_v: 2 * d_v,
        lambda d_k, d_v: 2 * d_k,
        lambda d_k, d_v: d_v,
        lambda d_k, d_v: d_k,
    ),
    "mean": Hint(
        "The balance of C (d_k + d_v) with 2 d_k d_v is not this mean, although it is the same "
        "where d_k = d_v.",
        lambda d_k, d_v: (d_k + d_v) / 2,
        lambda d_k, d_v: math.sqrt(d_k * d_v),
    ),
    "sum": Hint(
        "Divide by d_k + d_v what the state costs; this is d_k + d_v itself.",
        lambda d_k, d_v: d_k + d_v,
    ),
    "whole": Hint(
        "The cost within chunks is proportional to C: divide what the state costs, 2 d_k d_v, by "
        "what one unit of C costs.",
        lambda d_k, d_v: d_k * d_v,
        lambda d_k, d_v: 2 * d_k * d_v,
        lambda d_k, d_v: 4 * d_k * d_v,
    ),
    "inverse": Hint(
        "That is one over the length.",
        lambda d_k, d_v: (d_k + d_v) / (2 * d_k * d_v),
    ),
    "factor": Hint(
        "This is {factor:.4g} times the length everywhere: a constant factor went astray.",
        lambda d_k, d_v: 6 * d_k * d_v / (d_k + d_v),
        lambda d_k, d_v: d_k * d_v / (d_k + d_v) / 2,
    ),
}


def _judge_chunk(results: list) -> str:
    expected = [2 * d_k * d_v / (d_k + d_v) for d_k, d_v in CHUNK_INPUTS]
    return _judge_numbers(results, CHUNK_INPUTS, expected, CHUNK_HINTS)


# linear_attention-3: decay_matrix(log_decay) returns the products of decays between two places,
# with values and gradients that are right for strong decay and for resets.

MILD = [-0.1, -0.7, -0.3, -0.2]
STRONG = 8 * [-200.0]  # exp(200 * 7) is more than a float64 holds
RESET = [-0.1, -0.7, -math.inf, -0.2, -0.4]
DECAY_INPUTS = [
    (torch.tensor(log, dtype=torch.float64, requires_grad=True),) for log in (MILD, STRONG, RESET)
]


def _sums(log: Tensor) -> Tensor:
    """Return L_i - L_j, with L the running sums."""
    sums = log.cumsum(0)
    return sums[:, None] - sums


def _lower(log: Tensor) -> Tensor:
    return torch.ones(len(log), len(log), dtype=torch.bool).tril()


def _filled(log: Tensor) -> Tensor:
    return _sums(log).masked_fill(~_lower(log), -math.inf)


DECAY_HINTS = {
    "shape": Hint(
        "Return a matrix of floats, one row and one column for each decay; this is {what}.",
        lambda log: 1.0,
        lambda log: log,
        lambda log: log.exp().cumprod(0),
    ),
    "size": Hint(
        "Expected shape ({n}, {n}) for {n} decays, got {shape}.",
        lambda log: segsum(torch.nn.functional.pad(log, (1, 0))).exp(),
        lambda log: segsum(log[1:]).exp(),
    ),
    "log": Hint(
        "That is the logarithm of D. Take its exp.",
        lambda log: segsum(log),
    ),
    "no mask": Hint(
        "Above the diagonal D is 0: no token gets anything from a later one. There this matrix has "
        "products of inverse decays.",
        lambda log: _sums(log).exp(),
    ),
    "symmetric": Hint(
        "Above the diagonal D is 0: no token gets anything from a later one.",
        lambda log: (-_sums(log).abs()).exp(),
        lambda log: segsum(log).exp() + segsum(log).exp().mT,
    ),
    "transposed": Hint(
        "That is the transpose: row i is the token that reads, column j the one that wrote, j <= i.",
        lambda log: segsum(log).exp().mT,
    ),
    "own decay": Hint(
        "That is off by one: the decay at j comes before j is written and doesn't touch it, so the "
        "product begins with j + 1 and is 1 on the diagonal.",
        lambda log: segsum(log).exp() * log.exp(),
        lambda log: segsum(log).exp() * log.exp() * (1 - torch.eye(len(log))),
    ),
    "last decay": Hint(
        "That is off by one: the decay at i does act before i reads. The product runs from j + 1 "
        "to i.",
        lambda log: torch.where(_lower(log).tril(-1), segsum(log).exp() / log.exp()[:, None], 0),
        lambda log: (
            torch.where(_lower(log).tril(-1), segsum(log).exp() / log.exp()[:, None], 1)
            * _lower(log)
        ),
    ),
    "mask after exp": Hint(
        "For strong decay there is NaN in the matrix. Above the diagonal exp(L_i - L_j) overflows, "
        "and infinity times 0 is NaN: mask before exp.",
        lambda log: _sums(log).exp() * _lower(log),
    ),
    "where": Hint(
        "All values are right, but for strong decay the gradient is NaN: where() keeps the "
        "overflow out of the matrix, but its slope, infinity times 0, comes back. Mask before exp.",
        lambda log: torch.where(_lower(log), _finite_sums(log).exp(), 0),
    ),
    "reset": Hint(
        "Right for strong decay, but a reset gives NaN: after it both sums are -inf, and "
        "-inf - (-inf) is NaN. Add up what lies between j and i, instead of subtracting two sums.",
        lambda log: _filled(log).exp(),
    ),
    "reset's gradient": Hint(
        "All values are right, but the gradient at a reset is not finite.",
        lambda log: segsum(log.exp().log()).exp(),
    ),
    "cut off": Hint(
        "Strong decay or a reset is cut off: an entry that should be {right:.3g} is {value:.3g}.",
        lambda log: segsum(log.clamp(min=-10)).exp(),
        lambda log: segsum(log.clamp(min=-30)).exp(),
    ),
    "detached": Hint(
        "The values are right, but no gradient comes back to log_decay: build the matrix from "
        "operations on the tensor, not from copies (detach, item, tolist, torch.tensor).",
        lambda log: segsum(log.detach()).exp(),
        lambda log: segsum(log).exp().tolist(),
    ),
    "gradient": Hint(
        "The values are right, but the gradient is not: a part of the matrix doesn't depend on "
        "log_decay as it should.",
        lambda log: (segsum(log) + segsum(log.detach())).mul(0.5).exp(),
    ),
}


def _finite_sums(log: Tensor) -> Tensor:
    """Return L_i - L_j below the diagonal, also across a reset, where it is -1e4."""
    return _sums(log.clamp(min=-1e4))


def _judge_decay(results: list) -> str:
    inputs = [log for (log,) in DECAY_INPUTS]
    matrices = [_matrix(result) for result in results]
    for log, got in zip(inputs, matrices, strict=True):
        if got.shape != (len(log), len(log)):
            raise NotYet("size", n=len(log), shape=tuple(got.shape))
    right = [segsum(log).exp() for log in inputs]
    (mild, strong, reset), (mild_right, strong_right, reset_right) = matrices, right
    if not _agree(mild, mild_right):
        _recognize_decay(mild.detach(), mild_right)
    if not _agree(strong, strong_right):
        if strong.isnan().any():
            raise NotYet("mask after exp")
        _cut_off(strong, strong_right)
    if any(not got.requires_grad for got in matrices):
        raise NotYet("detached")
    slopes, right_slopes = (
        [
            # Each entry with a weight of its own, so that no error hides in a sum.
            torch.autograd.grad((D.cos() + D * _draw(len(D), len(D), 9)).sum(), log)[0]
            for D, log in zip(some, inputs, strict=True)
        ]
        for some in (matrices, right)
    )
    if not slopes[1].isfinite().all():
        raise NotYet("where")
    if reset.isnan().any():
        raise NotYet("reset")
    if not _agree(reset, reset_right) or (reset[reset_right == 0] != 0).any():
        _cut_off(reset, reset_right)
    if not slopes[2].isfinite().all():
        raise NotYet("reset's gradient")
    if not all(map(_agree, slopes, right_slopes)):
        raise NotYet("gradient")
    return "values and gradients for mild decay, for strong decay and for a reset."


def _cut_off(got: Tensor, right: Tensor) -> None:
    index = (got - right).abs().argmax()
    raise NotYet("cut off", value=got.flatten()[index].item(), right=right.flatten()[index].item())


def _recognize_decay(got: Tensor, right: Tensor) -> None:
    log = torch.tensor(MILD, dtype=torch.float64)
    early = ("log", "no mask", "symmetric", "transposed", "own decay", "last decay")
    for name in early:
        if any(_agree(got, formula(log)) for formula in DECAY_HINTS[name].wrong):
            raise NotYet(name)
    i, j = (~torch.isclose(got, right)).nonzero()[0].tolist()
    raise NotYet(
        f"For log_decay = {MILD}, expected {right[i, j]:.6g} in row {i}, column {j} (from 0), got "
        f"{got[i, j]:.6g}."
    )


# linear_attention-4: first_item_error(c) returns the error of the first of two pairs whose keys
# have the cosine c, after the delta rule has written both.

COSINES = [(0.5,), (-0.5,), (0.8,), (0.1,), (1.0,), (0.0,)]


def _first_item_error(c: float) -> float:
    """Return the error by running the recurrence."""
    keys = torch.tensor([[1.0, 0.0], [c, math.sqrt(1 - c**2)]], dtype=torch.float64)[None, None]
    values = torch.eye(2, dtype=torch.float64)[None, None]
    _, state = recurrent(keys, keys, values, beta=torch.ones(1, 1, 2, dtype=torch.float64))
    return torch.linalg.vector_norm(keys @ state - values, dim=-1)[0, 0, 0].item()


COSINE_HINTS = {
    "number": Hint(
        "Return one finite number; this is {what}.",
        lambda c: "0.5",
        lambda c: [c, c**2],
        lambda c: math.inf,
    ),
    "hebb": Hint(
        "That is the error under Hebb's rule. The delta rule writes v_2 minus what k_2 already "
        "reads, c v_1, and this difference is longer than v_2.",
        lambda c: abs(c),
    ),
    "second": Hint(
        "The second pair is exact, the first is no longer: writing the second changes what k_1 "
        "reads.",
        lambda c: 0,
    ),
    "erased only": Hint(
        "That is the part of the error along v_1, what the second write erases. It also adds c v_2 "
        "to what k_1 reads.",
        lambda c: c**2,
    ),
    "no overlap": Hint(
        "|v_2 - c v_1| is the length of what is written with k_2. Read with k_1 it comes back "
        "times the cosine of the keys.",
        lambda c: math.sqrt(1 + c**2),
    ),
    "squared": Hint(
        "That is the square of the error.",
        lambda c: c**2 * (1 + c**2),
    ),
    "sign": Hint(
        "For negative cosines this is negative. A length is not.",
        lambda c: c * math.sqrt(1 + c**2),
    ),
    "minus": Hint(
        "The values are orthonormal, so |v_2 - c v_1|² = 1 + c²: the squares add, whatever the "
        "sign between the vectors.",
        lambda c: abs(c) * math.sqrt(1 - c**2),
        lambda c: abs(c) * abs(1 - c**2),
    ),
    "lengths added": Hint(
        "The lengths of orthogonal parts don't add, their squares do.",
        lambda c: abs(c) + c**2,
        lambda c: abs(c) * abs(1 + c),
    ),
    "like values": Hint(
        "That is so for v_1 = v_2. The values are orthogonal here.",
        lambda c: abs(c) * abs(1 - c),
    ),
    "factor": Hint(
        "This is {factor:.4g} times the error everywhere: a constant factor went astray.",
        lambda c: 2 * _first_item_error(c),
        lambda c: -_first_item_error(c),
    ),
}


def _judge_cosine(results: list) -> str:
    # The last cosine is 0, where any factor would do.
    inputs, expected = COSINES[::-1], [_first_item_error(c) for (c,) in COSINES[::-1]]
    return _judge_numbers(results[::-1], inputs, expected, COSINE_HINTS)


# linear_attention-5: memory_limits(d) returns how many random pairs Hebb's rule stores with an
# expected error of at most 1, and the age at which the delta rule keeps half of the signal.

LIMIT_INPUTS = [(2,), (8,), (64,), (100,)]


def _half_life(d: int) -> float:
    return math.log(0.5) / math.log(1 - 1 / d)


LIMIT_HINTS = {
    "shape": Hint(
        "Return two finite numbers, (pairs, age).",
        lambda d: d + 1,
        lambda d: (d + 1, _half_life(d), 0),
        lambda d: (d + 1, None),
        lambda d: (d + 1, math.inf),
    ),
    "swapped": Hint(
        "Both are right, but in the other order: pairs first, then the age.",
        lambda d: (_half_life(d), d + 1),
    ),
    "own pair": Hint(
        "Of N pairs only N - 1 disturb the one that is read: the error is (N - 1)/d, so one more "
        "pair fits.",
        lambda d: (d, _half_life(d)),
    ),
    "pairs": Hint(
        "Check the number of pairs: at N = {pairs:g} and d = {d} the expected "
        "error is {error:.4g}. The largest N at which it is at most 1 is asked for.",
        lambda d: (d - 1, _half_life(d)),
        lambda d: (d + 2, _half_life(d)),
        lambda d: (2 * d, _half_life(d)),
        lambda d: (1, _half_life(d)),
    ),
    "fraction": Hint(
        "The number of pairs is a whole number of at least 1, this is {pairs:g}.",
        lambda d: (d + 0.5, _half_life(d)),
        lambda d: (-d, _half_life(d)),
    ),
    "first order": Hint(
        "d ln 2 holds for large d. Exactly, each later write leaves 1 - 1/d of the signal: solve "
        "(1 - 1/d)^a = 1/2.",
        lambda d: (d + 1, d * math.log(2)),
    ),
    "rounded": Hint(
        "The age is asked for as a real number: solve (1 - 1/d)^a = 1/2 without rounding.",
        lambda d: (d + 1, round(_half_life(d))),
        lambda d: (d + 1, math.ceil(_half_life(d))),
        lambda d: (d + 1, math.floor(_half_life(d))),
    ),
    "sign": Hint(
        "An age is positive, and so is the quotient of ln(1/2) and ln(1 - 1/d), both of which are "
        "negative.",
        lambda d: (d + 1, -_half_life(d)),
    ),
    "e-fold": Hint(
        "After this age about 1/e of the signal is left; one half is asked for.",
        lambda d: (d + 1, -1 / math.log(1 - 1 / d)),
        lambda d: (d + 1, d),
    ),
    "logarithms": Hint(
        "Two kinds of logarithm are mixed. Any one will do, the same above and below.",
        lambda d: (d + 1, -1 / math.log2(1 - 1 / d) * math.log(2) ** 2),
        lambda d: (d + 1, math.log(0.5) / math.log2(1 - 1 / d)),
        lambda d: (d + 1, math.log2(0.5) / math.log10(1 - 1 / d)),
        lambda d: (d + 1, math.log(0.5) / math.log10(1 - 1 / d)),
    ),
    "square": Hint(
        "After this age the square of the signal is one half. The signal itself, (1 - 1/d)^a, is "
        "asked about.",
        lambda d: (d + 1, _half_life(d) / 2),
    ),
    "kept": Hint(
        "For d = {d}, of age {age:.6g} the signal is {signal:.6g}, and 0.5 is asked for.",
        lambda d: (d + 1, 3.0),
        lambda d: (d + 1, _half_life(d + 1)),
    ),
}


def _judge_limits(results: list) -> str:
    limits = [_pair(result) for result in results]
    pairs, ages = torch.tensor(limits, dtype=torch.float64).unbind(1)
    dims = [d for (d,) in LIMIT_INPUTS]
    most = [_most_pairs(d) for d in dims]
    right = torch.tensor([_half_life(d) for d in dims], dtype=torch.float64)
    if _agree(pairs, right) and ages.tolist() == most:
        raise NotYet("swapped")
    if pairs.tolist() == dims:
        raise NotYet("own pair")
    for n, d, largest in zip(pairs.tolist(), dims, most, strict=True):
        if n != int(n) or n < 1:
            raise NotYet("fraction", pairs=n)
        if n != largest:
            error = recall_error(int(n), d).mean().item()
            raise NotYet("pairs", pairs=n, d=d, error=error)
    if _agree(ages, right):
        return f"both numbers for {len(dims)} dimensions."
    for name in ("first order", "rounded", "sign", "e-fold", "logarithms", "square"):
        for formula in LIMIT_HINTS[name].wrong:
            if _agree(ages, torch.tensor([formula(d)[1] for d in dims], dtype=torch.float64)):
                raise NotYet(name)
    index = next(i for i in range(len(dims)) if not _agree(ages[i], right[i]))
    d, age = dims[index], ages[index].item()
    raise NotYet("kept", d=d, age=age, signal=(1 - 1 / d) ** age)


def _pair(result: Any) -> tuple[float, float]:
    """Return a reader's two numbers."""
    try:
        numbers = [number(each) for each in result]
    except TypeError:
        raise NotYet("shape") from None
    if len(numbers) != 2 or None in numbers:
        raise NotYet("shape")
    return tuple(numbers)


@functools.cache
def _most_pairs(d: int) -> int:
    """Return the largest number of pairs at which Hebb's expected error is at most 1."""
    return max(n for n in range(1, 3 * d) if recall_error(n, d).mean() <= 1 + 1e-9)  # rounding


EXERCISES = {
    "linear_attention-1": Exercise(FEATURE_INPUTS, _judge_features, FEATURE_HINTS),
    "linear_attention-2": Exercise(CHUNK_INPUTS, _judge_chunk, CHUNK_HINTS),
    "linear_attention-3": Exercise(DECAY_INPUTS, _judge_decay, DECAY_HINTS),
    "linear_attention-4": Exercise(COSINES, _judge_cosine, COSINE_HINTS),
    "linear_attention-5": Exercise(LIMIT_INPUTS, _judge_limits, LIMIT_HINTS),
}
