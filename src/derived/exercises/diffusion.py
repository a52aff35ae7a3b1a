"""Exercises of the chapter on diffusion."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from derived.exercises._exercise import Exercise, Hint, NotYet, number

__all__ = ["EXERCISES"]


def _values(result: Any) -> Tensor | None:
    """Return what a reader means by a finite number or by a list of them, or None."""
    if isinstance(result, Tensor):
        real = not result.is_complex() and result.ndim <= 1 and result.isfinite().all()
        return result.detach().double() if real else None
    single = number(result)
    if single is not None:
        return torch.tensor(single, dtype=torch.float64)
    try:
        values = [number(value) for value in result]
    except TypeError:
        return None
    return None if None in values else torch.tensor(values, dtype=torch.float64)


def _agree(some: list[Tensor], others: list[Any]) -> bool:
    """Say whether answers are equal, even if they were computed in float32."""
    return all(
        value.shape == (right := torch.as_tensor(other).double()).shape
        and torch.allclose(value, right, rtol=1e-5, atol=1e-6)
        for value, other in zip(some, others, strict=True)
    )


def _call(arguments: tuple) -> str:
    shown = [a.tolist() if isinstance(a, Tensor) else a for a in arguments]
    return f"({', '.join(map(str, shown))})"


def _compare(
    results: list,
    inputs: list[tuple],
    solution: Callable,
    hints: dict[str, Hint],
    special: Callable[[list[Tensor]], None] = lambda values: None,
) -> None:
    """Raise the hint for answers that are wrong in a known way, or show the first wrong one.

    The hint named `kind` is for what has no value or the wrong shape. `special` raises those that no
    list of wrong formulas covers, or whose text names something.
    """
    expected = [torch.as_tensor(solution(*arguments)).double() for arguments in inputs]
    values = [_values(result) for result in results]
    for result, value, right, arguments in zip(results, values, expected, inputs, strict=True):
        if value is None or value.ndim != right.ndim:
            raise NotYet("kind", call=_call(arguments), what=_say(result))
    if _agree(values, expected):
        return
    for name, hint in hints.items():
        for formula in hint.wrong if "{" not in hint.text else ():
            if _agree(values, [formula(*arguments) for arguments in inputs]):
                raise NotYet(name)
    special(values)
    index = next(i for i in range(len(values)) if not _agree([values[i]], [expected[i]]))
    raise NotYet(
        f"For {_call(inputs[index])}, expected {_show(expected[index])}, got "
        f"{_show(values[index])}."
    )


def _show(values: Tensor) -> str:
    if values.ndim == 0:
        return f"{values.item():.6g}"
    return f"({', '.join(f'{value:.6g}' for value in values.tolist())})"


def _say(value: Any) -> str:
    """Name what can't be used: a number that isn't finite by its value, others by their type."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}, {value.dtype}"
    return repr(value) if isinstance(value, str | float) else f"a {type(value).__name__}"


# diffusion-1: eps_from_v(x, v, alpha, sigma) returns the noise for any alpha and sigma.

_X, _V = torch.tensor([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]], dtype=torch.float64)
V_INPUTS = [(_X, _V, alpha, sigma) for alpha, sigma in [(0.7, 0.3), (1.0, 2.0), (0.6, 0.8)]]


def _eps_from_v(x: Tensor, v: Tensor, alpha: float, sigma: float) -> Tensor:
    return (sigma * x + alpha * v) / (alpha**2 + sigma**2)


V_HINTS = {
    "kind": Hint(
        "Return the noise as a tensor shaped as x, here (3,), of finite numbers; this is {what}.",
        lambda x, v, alpha, sigma: "eps",
        lambda x, v, alpha, sigma: 1.0,
        lambda x, v, alpha, sigma: x / 0,
        lambda x, v, alpha, sigma: torch.stack([x, v]),
    ),
    "circle": Hint(
        "Right where alpha² + sigma² = 1, and only there. Start from the two definitions, x = alpha "
        "x0 + sigma eps and v = alpha eps - sigma x0, and eliminate x0: what is left in front of "
        "eps?",
        lambda x, v, alpha, sigma: sigma * x + alpha * v,
    ),
    "clean": Hint(
        "That is x0, not the noise: of x = alpha x0 + sigma eps and v = alpha eps - sigma x0, "
        "eliminate x0.",
        lambda x, v, alpha, sigma: (alpha * x - sigma * v) / (alpha**2 + sigma**2),
        lambda x, v, alpha, sigma: alpha * x - sigma * v,
    ),
    "sign": Hint(
        "A sign went astray: sigma times x and alpha times v add up, and the terms in x0 cancel.",
        lambda x, v, alpha, sigma: (sigma * x - alpha * v) / (alpha**2 + sigma**2),
        lambda x, v, alpha, sigma: (alpha * v - sigma * x) / (alpha**2 + sigma**2),
        lambda x, v, alpha, sigma: sigma * x - alpha * v,
    ),
    "exchanged": Hint(
        "alpha and sigma are exchanged: in alpha x + sigma v the terms in x0 don't cancel.",
        lambda x, v, alpha, sigma: (alpha * x + sigma * v) / (alpha**2 + sigma**2),
        lambda x, v, alpha, sigma: alpha * x + sigma * v,
    ),
    "root": Hint(
        "Divided by the root of alpha² + sigma²; it is alpha² + sigma² itself that stands before "
        "eps.",
        lambda x, v, alpha, sigma: (sigma * x + alpha * v) / math.hypot(alpha, sigma),
    ),
    "velocity": Hint(
        "That takes v for the velocity eps - x0. Here v = alpha eps - sigma x0.",
        lambda x, v, alpha, sigma: (x + alpha * v) / (alpha + sigma),
    ),
}


def _judge_v(results: list) -> str:
    _compare(results, V_INPUTS, _eps_from_v, V_HINTS)
    return "right where alpha² + sigma² is 0.58, 5 and 1."


# diffusion-2: step_noise(alpha_t, alpha_s, eta) returns the noise that a DDIM step adds.

# The first two jump from the same level.
STEP_INPUTS = [(0.5, 0.8, 1.0), (0.5, 0.6, 1.0), (0.1, 0.9, 0.5), (0.7, 0.71, 1.0), (0.3, 0.6, 0.0)]


def _sigma(alpha: float) -> float:
    return math.sqrt(1 - alpha**2)


def _stride(alpha_t: float, alpha_s: float) -> float:
    """Return the standard deviation of the noise that the forward process adds from s to t."""
    return math.sqrt(1 - (alpha_t / alpha_s) ** 2)


def _step_noise(alpha_t: float, alpha_s: float, eta: float) -> float:
    return eta * _sigma(alpha_s) / _sigma(alpha_t) * _stride(alpha_t, alpha_s)


STEP_HINTS = {
    "kind": Hint(
        "Return a finite number for each call; for {call} this is {what}.",
        lambda alpha_t, alpha_s, eta: "0.1",
        lambda alpha_t, alpha_s, eta: (eta, alpha_s),
        lambda alpha_t, alpha_s, eta: math.nan,
    ),
    "no eta": Hint(
        "That is the noise for eta = 1. It should grow with eta, and vanish for eta = 0.",
        lambda alpha_t, alpha_s, eta: _step_noise(alpha_t, alpha_s, 1.0),
    ),
    "eta in the root": Hint(
        "eta is a factor of the standard deviation. Under the root it would be one of the variance.",
        lambda alpha_t, alpha_s, eta: math.sqrt(eta) * _step_noise(alpha_t, alpha_s, 1.0),
    ),
    "variance": Hint(
        "That is a variance. The noise z is multiplied by its root.",
        lambda alpha_t, alpha_s, eta: _step_noise(alpha_t, alpha_s, eta) ** 2,
        lambda alpha_t, alpha_s, eta: eta * _step_noise(alpha_t, alpha_s, 1.0) ** 2,
    ),
    "inverted": Hint(
        "The ratio of the sigmas is upside down: for s near the data sigma_s is small, and so is "
        "the noise that may be added.",
        lambda alpha_t, alpha_s, eta: (
            eta * _sigma(alpha_t) / _sigma(alpha_s) * _stride(alpha_t, alpha_s)
        ),
    ),
    "forward": Hint(
        "That is the noise of the forward step from s to t. Given x0, less is unknown of x_s: the "
        "factor sigma_s / sigma_t is missing.",
        lambda alpha_t, alpha_s, eta: eta * _stride(alpha_t, alpha_s),
    ),
    "level": Hint(
        "That is eta times a level of noise, whatever the step. A short step adds little: the ratio "
        "alpha_t / alpha_s has to enter.",
        lambda alpha_t, alpha_s, eta: eta * _sigma(alpha_s),
        lambda alpha_t, alpha_s, eta: eta * _sigma(alpha_s) / _sigma(alpha_t),
    ),
    "one step": Hint(
        "This doesn't depend on alpha_s, so it is the noise of one fixed step. A sampler that "
        "jumps over many steps needs the ratio alpha_t / alpha_s of its own jump.",
        lambda alpha_t, alpha_s, eta: eta * math.sqrt(1 - alpha_t),
        lambda alpha_t, alpha_s, eta: 0.02 * eta,
        lambda alpha_t, alpha_s, eta: 0.141 * eta * alpha_t,
    ),
    "not squared": Hint(
        "Here alpha² + sigma² = 1. This takes alpha for the papers' alpha-bar, which is alpha².",
        lambda alpha_t, alpha_s, eta: (
            eta * math.sqrt((1 - alpha_s) / (1 - alpha_t) * (1 - alpha_t / alpha_s))
        ),
    ),
    "too much": Hint(
        "For {call} this is {value:.4g}, more than sigma_s = {sigma:.4g}: x_s would be noisier than "
        "it may, since what the predicted noise gets, sigma_s² minus the square of this, is "
        "negative.",
        lambda alpha_t, alpha_s, eta: eta * (1 + alpha_s),
        lambda alpha_t, alpha_s, eta: eta * alpha_s / alpha_t,
    ),
}


def _judge_step(results: list) -> str:
    def special(values: list[Tensor]) -> None:
        noise = [value.item() for value in values]
        if math.isclose(noise[0], noise[1], rel_tol=1e-6):
            raise NotYet("one step")
        for value, arguments in zip(noise, STEP_INPUTS, strict=True):
            if abs(value) > _sigma(arguments[1]):
                raise NotYet(
                    "too much", call=_call(arguments), value=value, sigma=_sigma(arguments[1])
                )

    _compare(results, STEP_INPUTS, _step_noise, STEP_HINTS, special)
    return "the step leaves x_s with the variance sigma_s², and eta = 1 is the posterior's."


# diffusion-3: commit_noise(m, s) returns the noise at which x = 0 stops being a mode of the sum of
# two equal components at m and -m of standard deviation s.

COMMIT_INPUTS = [(1.0, 0.5), (2.0, 0.3), (3.0, 1.0), (1.5, 1.2)]


def _commit_noise(m: float, s: float) -> float:
    return math.sqrt(m**2 - s**2)


COMMIT_HINTS = {
    "kind": Hint(
        "Return a finite number for each call; for {call} this is {what}.",
        lambda m, s: "m",
        lambda m, s: (m, s),
        lambda m, s: math.inf,
    ),
    "variance": Hint(
        "That is the variance of the noise at that moment. Its level sigma is the root.",
        lambda m, s: m**2 - s**2,
    ),
    "whole width": Hint(
        "That is the standard deviation of a component with the noise in it, as s² + sigma² = m² "
        "there. The noise alone is asked for.",
        lambda m, s: m,
    ),
    "widths add": Hint(
        "Standard deviations don't add up, variances do: a noisy component has s² + sigma².",
        lambda m, s: m - s,
    ),
    "sign": Hint(
        "The wider a component is by itself, the less noise is needed to fill the dip: s² has the "
        "other sign.",
        lambda m, s: math.sqrt(m**2 + s**2),
        lambda m, s: m + s,
    ),
    "distance": Hint(
        "The components are 2m apart, but each is at a distance of m from x = 0.",
        lambda m, s: math.sqrt(4 * m**2 - s**2),
        lambda m, s: 2 * m,
    ),
    "inflection": Hint(
        "x = 0 stops being a mode where the second derivative of the density vanishes there, "
        "m² / (s² + sigma²) = 1. For {call} yours is {ratio:.4g}, so x = 0 {where}.",
        lambda m, s: 0.5,
        lambda m, s: 4.0,
        lambda m, s: s,
    ),
}


def _judge_commit(results: list) -> str:
    def special(values: list[Tensor]) -> None:
        for value, (m, s) in zip(values, COMMIT_INPUTS, strict=True):
            ratio = m**2 / (s**2 + value.item() ** 2)
            if abs(ratio - 1) > 1e-5:
                where = "is a dip between the two, still" if ratio > 1 else "is the mode, still"
                raise NotYet("inflection", call=_call((m, s)), ratio=ratio, where=where)

    _compare(results, COMMIT_INPUTS, _commit_noise, COMMIT_HINTS, special)
    return "there the density at x = 0 has no curvature, for four pairs of components."


# diffusion-4: shifted_levels(n, k) returns the levels of n steps of rectified flow, shifted by k.

LEVELS_INPUTS = [(4, 3.0), (5, 1.0), (3, 0.5), (1, 2.0)]


def _shift(t: Tensor | float, k: float) -> Tensor | float:
    return k * t / (1 + (k - 1) * t)


def _line(n: int) -> Tensor:
    return torch.linspace(1, 0, n + 1, dtype=torch.float64)


def _shifted_levels(n: int, k: float) -> Tensor:
    return _shift(_line(n), k)


def _shifted_ends(n: int, k: float) -> list[float]:
    """Shift the ends of the levels 1 to 1/1000, lay the grid between them, and shift it again."""
    grid = torch.linspace(1, _shift(0.001, k), n, dtype=torch.float64)
    return [*_shift(grid, k).tolist(), 0.0]


LEVELS_HINTS = {
    "kind": Hint(
        "Return a list or tensor of finite numbers; for {call} this is {what}.",
        lambda n, k: "levels",
        lambda n, k: 1.0,
        lambda n, k: _shifted_levels(n, k) / 0,
        lambda n, k: _shifted_levels(n, k)[:, None],
    ),
    "unshifted": Hint(
        "These levels are uniform. Shift each: t' = k t / (1 + (k - 1) t).",
        lambda n, k: _line(n),
    ),
    "twice": Hint(
        "Shifted twice: shifts multiply, so that this is the shift by k².",
        lambda n, k: _shift(_shifted_levels(n, k), k),
    ),
    "ends first": Hint(
        "The lower end of the grid was shifted before the grid was laid, and again with it: the "
        "last call of the network is spent on a level that is almost free of noise.",
        _shifted_ends,
    ),
    "inverse": Hint(
        "That shifts by 1/k: a shift by more than 1 spends more of its steps on noisy levels.",
        lambda n, k: _shifted_levels(n, 1 / k),
        lambda n, k: _line(n) / (k + (1 - k) * _line(n)),
    ),
    "rising": Hint(
        "Sampling begins with noise: the levels fall from 1 to 0.",
        lambda n, k: _shifted_levels(n, k).flip(0),
    ),
    "not normalized": Hint(
        "At t = 1 the level must stay 1: divide by 1 + (k - 1) t.",
        lambda n, k: k * _line(n),
        lambda n, k: k * _line(n) / (1 + k * _line(n)),
    ),
    "number": Hint(
        "A grid of n steps has n + 1 levels, both ends among them; for {call} these are {number}.",
        lambda n, k: _shifted_levels(n, k)[:-1],
        lambda n, k: _shifted_levels(n + 1, k),
    ),
    "ends": Hint(
        "The levels go from 1, pure noise, to 0, the data; for {call} they go from {first:.4g} to "
        "{last:.4g}.",
        lambda n, k: _shift(torch.linspace(1, 0.001, n + 1), k),
        lambda n, k: _shift(torch.linspace(0.999, 0, n + 1), k),
    ),
}


def _judge_levels(results: list) -> str:
    def special(values: list[Tensor]) -> None:
        for levels, (n, k) in zip(values, LEVELS_INPUTS, strict=True):
            if len(levels) != n + 1:
                raise NotYet("number", call=_call((n, k)), number=len(levels))
            first, last = levels[0].item(), levels[-1].item()
            if abs(first - 1) > 1e-5 or abs(last) > 1e-5:
                raise NotYet("ends", call=_call((n, k)), first=first, last=last)

    _compare(results, LEVELS_INPUTS, _shifted_levels, LEVELS_HINTS, special)
    return "four steps shifted by 3 are at 1, 0.9, 0.75, 0.5 and 0."


# diffusion-5: guided_variance(a, b, w) returns the variance of what the guided ODE samples.

GUIDED_INPUTS = [(2.0, 1.0, 4.0), (2.0, 1.0, 0.25), (3.0, 0.5, 2.0), (1.0, 2.0, 1.5)]


def _guided_variance(a: float, b: float, w: float) -> float:
    return b * (a / b) ** (1 - w)


def _guided_sde(a: float, b: float, w: float) -> float:
    power = 2 * w - 1
    return a ** (2 - 2 * w) * b ** (2 * w) * ((a / b) ** power - 1) / ((a - b) * power)


GUIDED_HINTS = {
    "kind": Hint(
        "Return a finite number for each call; for {call} this is {what}.",
        lambda a, b, w: "b",
        lambda a, b, w: (a, b),
        lambda a, b, w: math.nan,
    ),
    "tilted": Hint(
        "That is the variance of the tilted density, p^(1-w) times p_c^w, made normal. The guided "
        "ODE doesn't end there: its score is the tilted density's at sigma = 0 alone.",
        lambda a, b, w: 1 / (w / b + (1 - w) / a),
    ),
    "sde": Hint(
        "That is what the SDE with ell = 1 samples. Without its noise the ODE ends elsewhere.",
        _guided_sde,
    ),
    "exchanged": Hint(
        "w = 0 must give the variance a of p, and w = 1 that of p_c, b; here it is the other way "
        "round.",
        lambda a, b, w: a * (b / a) ** (1 - w),
    ),
    "mixed": Hint(
        "Variances are not mixed, scores are. Write dx/dsigma with the guided score, separate the "
        "variables, and see which powers of a and b come out.",
        lambda a, b, w: (1 - w) * a + w * b,
        lambda a, b, w: ((1 - w) * a**0.5 + w * b**0.5) ** 2,
    ),
    "std": Hint(
        "That is the standard deviation; asked for is the variance.",
        lambda a, b, w: _guided_variance(a, b, w) ** 0.5,
    ),
    "square": Hint(
        "The path x shrinks by the root of a^(1-w) b^w; its variance by the square of that root. "
        "This is squared once too often.",
        lambda a, b, w: _guided_variance(a, b, w) ** 2,
    ),
    "convention": Hint(
        "That is right for the other convention, eps_c + w (eps_c - eps_u). In this chapter w = 1 "
        "is the conditional model itself.",
        lambda a, b, w: _guided_variance(a, b, 1 + w),
    ),
    "power": Hint(
        "The power is not the right one: w = 0 must give a, and w = 1 must give b.",
        lambda a, b, w: b * (a / b) ** (w - 1),
        lambda a, b, w: b * (a / b) ** -w / (a / b),
        lambda a, b, w: a * (a / b) ** (1 - w),
    ),
}


def _judge_guided(results: list) -> str:
    _compare(results, GUIDED_INPUTS, _guided_variance, GUIDED_HINTS)
    return "right at four triples, also where the condition widens the distribution."


EXERCISES = {
    "diffusion-1": Exercise(V_INPUTS, _judge_v, V_HINTS),
    "diffusion-2": Exercise(STEP_INPUTS, _judge_step, STEP_HINTS),
    "diffusion-3": Exercise(COMMIT_INPUTS, _judge_commit, COMMIT_HINTS),
    "diffusion-4": Exercise(LEVELS_INPUTS, _judge_levels, LEVELS_HINTS),
    "diffusion-5": Exercise(GUIDED_INPUTS, _judge_guided, GUIDED_HINTS),
}
