"""Exercises of the chapter on initialization."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from derived.exercises._exercise import Exercise, Hint, NotYet, agree, number, recognize
from derived.initialization import (
    coord_check,
    gaussian_mean,
    moment_map,
    truncnorm_gamma,
    variance_scaling_,
)

__all__ = ["EXERCISES"]


def _numbers(results: list, inputs: list[tuple]) -> list[float]:
    """Return the answers, all of them finite numbers."""
    values = [number(result) for result in results]
    if None in values:
        index = values.index(None)
        raise NotYet("number", call=_call(inputs[index]), what=type(results[index]).__name__)
    return values


def _call(arguments: tuple) -> str:
    return f"({', '.join(f'{argument!r}' for argument in arguments)})"


def _first_wrong(values: list[float], expected: list[float], inputs: list[tuple]) -> NotYet:
    """Return what shows the first wrong number."""
    pairs = zip(values, expected, inputs, strict=True)
    value, right, arguments = next(pair for pair in pairs if not agree(pair[:1], pair[1:2]))
    return NotYet(f"For {_call(arguments)}, expected {right:.6g}, got {value:.6g}.")


# initialization-1: truncation_bound() returns a with gamma(a) = 0.9.

BOUND_HINTS = {
    "number": Hint(
        "Return one finite number, the bound a; this is a {what}.",
        lambda: "2.4",
        lambda: (-2.4, 2.4),
        lambda: math.inf,
    ),
    "negative": Hint(
        "A bound lies at a positive number of standard deviations; this is {a:.4g}.",
        lambda: -2.4,
        lambda: 0,
    ),
    "probability": Hint(
        "Between these bounds lies 90 % of the probability. The variance that is left is another "
        "quantity, here {gamma:.4g}: the tails weigh more in it, as they count with their square.",
        lambda: 1.6448536,
        lambda: 1.645,
    ),
    "std": Hint(
        "Here the standard deviation is 0.9 of what it was. Its square, the variance, is {gamma:.4g}.",
        lambda: 2.1048,
    ),
    "lost": Hint(
        "Here 90 % of the variance is lost; {gamma:.4g} is left.",
        lambda: 0.5596,
    ),
    "value": Hint(
        "gamma({a:.6g}) = {gamma:.4g}: move the bound {where}. One way is bisection, since gamma "
        "grows with a.",
        lambda: 1.0,
        lambda: 2.0,
        lambda: 2.3,
        lambda: 2.5,
        lambda: 3,
    ),
}


def _judge_bound(results: list) -> str:
    a = number(results[0])
    if a is None:
        raise NotYet("number", what=type(results[0]).__name__)
    if a <= 0:
        raise NotYet("negative", a=a)
    gamma = truncnorm_gamma(a)
    if abs(gamma - 0.9) <= 1e-3:
        return f"gamma({a:.6g}) = {gamma:.5f}."
    inside = math.erf(a / math.sqrt(2))
    known = {"probability": inside - 0.9, "std": math.sqrt(gamma) - 0.9, "lost": gamma - 0.1}
    for name, off in known.items():
        if abs(off) <= 1e-3:
            raise NotYet(name, gamma=gamma)
    raise NotYet("value", a=a, gamma=gamma, where="inward" if gamma > 0.9 else "outward")


# initialization-2: elu_second_moment(alpha) returns E[elu(z)^2] for a standard normal z.

ELU_INPUTS = [(1.0,), (0.5,), (2.0,), (1.6733,)]
_PHI = [math.erfc(k / math.sqrt(2)) / 2 for k in (0, 1, 2)]  # Phi(0), Phi(-1), Phi(-2)
_FIRST = math.exp(0.5) * _PHI[1]  # E[e^z] over negative z
_SECOND = math.exp(2) * _PHI[2]  # E[e^2z] over negative z


def _elu(alpha: float) -> float:
    """Return the second moment by quadrature."""
    return gaussian_mean(lambda z: F.elu(z, alpha) ** 2)


ELU_HINTS = {
    "number": Hint(
        "Return a finite number for each alpha; for {call} this is a {what}.",
        lambda alpha: "0.6",
        lambda alpha: (0.5, alpha),
        lambda alpha: math.nan,
    ),
    "half": Hint(
        "That is what the positive half contributes. The negative half, alpha (e^z - 1), adds its "
        "own square.",
        lambda alpha: 0.5,
    ),
    "whole": Hint(
        "The positive half is E[z²] over z > 0 alone: one half, not one.",
        lambda alpha: 1 + alpha**2 * (_SECOND - 2 * _FIRST + 0.5),
    ),
    "alpha": Hint(
        "Right for alpha = 1. The negative half is squared, and alpha with it.",
        lambda alpha: 0.5 + alpha * (_SECOND - 2 * _FIRST + 0.5),
        lambda alpha: 0.5 + _SECOND - 2 * _FIRST + 0.5,
    ),
    "cross term": Hint(
        "(e^z - 1)² = e^2z - 2 e^z + 1: a term is missing or lacks its factor.",
        lambda alpha: 0.5 + alpha**2 * (_SECOND + 0.5),
        lambda alpha: 0.5 + alpha**2 * (_SECOND - _FIRST + 0.5),
        lambda alpha: 0.5 + alpha**2 * (_SECOND - 0.5),
        lambda alpha: 0.5 + alpha**2 * (_SECOND + 2 * _FIRST + 0.5),
    ),
    "constant": Hint(
        "The 1 in (e^z - 1)² counts over negative z alone, which is half of the probability.",
        lambda alpha: 0.5 + alpha**2 * (_SECOND - 2 * _FIRST + 1),
    ),
    "shift": Hint(
        "Completing the square in e^kz times the normal density moves the bound: the integral over "
        "z < 0 is e^(k²/2) times Phi(-k), and not times Phi(0) = 1/2.",
        lambda alpha: 0.5 + alpha**2 * (math.exp(2) / 2 - math.exp(0.5) + 0.5),
    ),
    "without the exponential": Hint(
        "Completing the square in e^kz times the normal density leaves a factor e^(k²/2) behind: "
        "the integral over z < 0 is e^(k²/2) Phi(-k).",
        lambda alpha: 0.5 + alpha**2 * (_PHI[2] - 2 * _PHI[1] + 0.5),
    ),
    "other side": Hint(
        "The integral of e^kz times the normal density over z < 0 is e^(k²/2) Phi(-k); with "
        "Phi(+k) it would be the one over z > 0.",
        lambda alpha: (
            0.5 + alpha**2 * (math.exp(2) * (1 - _PHI[2]) - 2 * math.exp(0.5) * (1 - _PHI[1]) + 0.5)
        ),
    ),
    "variance": Hint(
        "That is the variance. The gain needs the second moment, with the mean left in.",
        lambda alpha: _elu(alpha) - gaussian_mean(lambda z: F.elu(z, alpha)) ** 2,
    ),
    "root": Hint(
        "That is the root of the second moment.",
        lambda alpha: math.sqrt(_elu(alpha)),
    ),
    "gain": Hint(
        "That is the gain, or its square. Asked for is what it is made of, E[elu(z)²].",
        lambda alpha: _elu(alpha) ** -0.5,
        lambda alpha: 1 / _elu(alpha),
    ),
    "factor": Hint(
        "This is {factor:.4g} times the second moment everywhere: a constant factor went astray.",
        lambda alpha: 2 * _elu(alpha),
        lambda alpha: _elu(alpha) / 2,
    ),
}


def _judge_elu(results: list) -> str:
    values = _numbers(results, ELU_INPUTS)
    expected = [_elu(*arguments) for arguments in ELU_INPUTS]
    if agree(values, expected):
        return f"quadrature agrees at {len(values)} values of alpha."
    recognize(values, expected, ELU_INPUTS, ELU_HINTS)
    raise _first_wrong(values, expected, ELU_INPUTS)


# initialization-3: signal(layers) returns the mean square of the pre-activations of that layer, in
# a ReLU network of nn.Linear layers with their default weights and without biases.

SIGNAL_INPUTS = [(1,), (2,), (5,), (30,)]

SIGNAL_HINTS = {
    "number": Hint(
        "Return a finite number for each count of layers; for {call} this is a {what}.",
        lambda layers: "0.3",
        lambda layers: [1 / 3] * layers,
        lambda layers: math.inf,
    ),
    "kept": Hint(
        "The default is not He's initialization: its weights are uniform between ±1/√d_in, with a "
        "variance of 1/(3 d_in), not 2/d_in.",
        lambda layers: 1.0,
        lambda layers: 2.0,
    ),
    "no relu": Hint(
        "That holds for linear layers alone: each ReLU between two of them halves the mean square.",
        lambda layers: 3.0**-layers,
    ),
    "after relu": Hint(
        "That counts one ReLU too many: the input has not been through one, and asked for is the "
        "mean square before the ReLU of the last layer.",
        lambda layers: 6.0**-layers,
    ),
    "first layer": Hint(
        "The first layer shrinks the signal, too: by 3, without a ReLU before it.",
        lambda layers: 6.0 ** -(layers - 1),
    ),
    "one more": Hint(
        "Counted one layer too many: layers = 1 is the first layer's pre-activations, 1/3.",
        lambda layers: 6.0**-layers / 3,
    ),
    "variance of the weights": Hint(
        "A uniform variable between ±c has the variance c²/3; with 1/d_in the thirds are lost.",
        lambda layers: 2.0 ** -(layers - 1),
        lambda layers: 2.0**-layers,
    ),
    "width of the interval": Hint(
        "The interval from -c to c is 2c wide, and its variance (2c)²/12 = c²/3, with c = 1/√d_in; "
        "yours is c²/12.",
        lambda layers: 24.0 ** -(layers - 1) / 12,
    ),
    "root": Hint(
        "That is the root mean square. Asked for is its square.",
        lambda layers: (6.0 ** -(layers - 1) / 3) ** 0.5,
    ),
    "factor": Hint(
        "The rate of decay is right, but this is {factor:.4g} times the mean square everywhere. "
        "Start from layers = 1: no ReLU has acted before it.",
        lambda layers: 6.0 ** -(layers - 1) * 2 / 3,
    ),
}


def _signal(layers: int) -> float:
    """Return the mean square by applying the moment map once a layer."""
    q = 1 / 3
    for _ in range(layers - 1):
        q, _ = moment_map(F.relu, 1 / 3, q)
    return q


def _judge_signal(results: list) -> str:
    values = _numbers(results, SIGNAL_INPUTS)
    expected = [_signal(*arguments) for arguments in SIGNAL_INPUTS]
    if agree(values, expected, rel=0.01):
        return f"the moment map agrees; after 30 layers {values[-1]:.2g} of the signal is left."
    recognize(values, expected, SIGNAL_INPUTS, SIGNAL_HINTS)
    raise _first_wrong(values, expected, SIGNAL_INPUTS)


# initialization-4: query_rate(optimizer, lr, d) returns the rate of T5's query weights with which
# training is that of logits over the root of d.

RATE_INPUTS = [("sgd", 0.1, 16), ("adam", 0.01, 16), ("sgd", 0.05, 64), ("adam", 0.003, 64)]

RATE_HINTS = {
    "number": Hint(
        "Return a finite number for each call; for {call} this is a {what}.",
        lambda optimizer, lr, d: optimizer,
        lambda optimizer, lr, d: (lr / d, lr / d**0.5),
        lambda optimizer, lr, d: math.nan,
    ),
    "negative": Hint(
        "A learning rate is above 0; for {call} this is {value:.4g}.",
        lambda optimizer, lr, d: -lr,
        lambda optimizer, lr, d: 0,
    ),
    "same": Hint(
        "With the same rate the first outputs agree, and no later ones: the smaller weights see a "
        "larger gradient, and a step weighs more for them.",
        lambda optimizer, lr, d: lr,
    ),
    "swapped": Hint(
        "The other way round: Adam's step has the size of the rate, whatever the gradient's, so "
        "one root is enough for it. SGD's has the gradient's, which brings another one.",
        lambda optimizer, lr, d: lr / d if optimizer == "adam" else lr / math.sqrt(d),
    ),
    "inverse": Hint(
        "Smaller weights need smaller steps: divide, where you multiply.",
        lambda optimizer, lr, d: lr * d if optimizer == "sgd" else lr * math.sqrt(d),
        lambda optimizer, lr, d: lr * d,
        lambda optimizer, lr, d: lr * math.sqrt(d),
    ),
    "adam only": Hint(
        "Right for Adam. With SGD the gradient itself is √d times as large, too.",
        lambda optimizer, lr, d: lr / math.sqrt(d),
    ),
    "sgd only": Hint(
        "Right for SGD. Adam divides the gradient by its own size, so √d enters once alone.",
        lambda optimizer, lr, d: lr / d,
    ),
    "only one changed": Hint(
        "Right for one of the optimizers; with the other, the unchanged rate is too large as well.",
        lambda optimizer, lr, d: lr / d if optimizer == "sgd" else lr,
        lambda optimizer, lr, d: lr / math.sqrt(d) if optimizer == "adam" else lr,
    ),
}


def _train_attention(optimizer: str, lr: float, d: int, query_lr: float | None) -> Tensor:
    """Return an attention layer's outputs in three steps: T5's if its queries have a rate."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x, target = normal(8, 12), normal(8, 12)
    scale = d**-0.5 if query_lr is None else 1.0
    w_q, w_k, w_v = normal(d, 12), normal(d, 12), normal(12, 12)
    weights = [nn.Parameter(w) for w in (w_q * d**-0.5 / scale / 12**0.5, w_k / 12**0.5, w_v)]
    rates = [lr if query_lr is None else query_lr, lr, lr]
    groups = [{"params": [w], "lr": rate} for w, rate in zip(weights, rates, strict=True)]
    descent = (
        torch.optim.SGD(groups) if optimizer == "sgd" else torch.optim.Adam(groups, lr=lr, eps=0)
    )
    outputs = []
    for _ in range(3):
        q, k, v = (x @ w.T for w in weights)
        y = (scale * q @ k.T).softmax(-1) @ v
        outputs.append(y.detach())
        descent.zero_grad()
        (y - target).square().mean().backward()
        descent.step()
    return torch.stack([*outputs, weights[1].detach().sum() * torch.ones_like(outputs[0])])


def _judge_rate(results: list) -> str:
    values = _numbers(results, RATE_INPUTS)
    for value, arguments in zip(values, RATE_INPUTS, strict=True):
        if value <= 0:
            raise NotYet("negative", call=_call(arguments), value=value)
    off = []
    for value, (optimizer, lr, d) in zip(values, RATE_INPUTS, strict=True):
        plain, t5 = (_train_attention(optimizer, lr, d, rate) for rate in (None, value))
        off.append((t5 - plain).abs().max().item())
    if max(off) < 1e-9:  # false for NaN, too
        return f"in three steps of SGD and Adam the outputs differ by {max(off):.0e} at most."
    for name, hint in RATE_HINTS.items():
        for formula in hint.wrong if name not in ("number", "negative") else ():
            if agree(values, [formula(*arguments) for arguments in RATE_INPUTS]):
                raise NotYet(name)
    index = next(i for i, difference in enumerate(off) if not difference < 1e-9)
    raise NotYet(
        f"For {_call(RATE_INPUTS[index])}, the outputs of the two models are {off[index]:.2g} "
        f"apart after three steps with {values[index]:.6g}."
    )


# initialization-5: transfer(r) returns four factors relative to the standard parametrization: of
# the readout's std, and of the rates of the input, the hidden and the readout layer.

TRANSFER_INPUTS = [(1.0,), (2.0,), (8.0,)]
_BASE, _FLAT, _SEEDS = 64, 0.15, 4

TRANSFER_HINTS = {
    "shape": Hint(
        "Return four numbers: the factors of the readout's std and of the rates of the input, the "
        "hidden and the readout layer.",
        lambda r: 1 / r,
        lambda r: (1, 1 / r, 1 / r),
    ),
    "numbers": Hint(
        "The four must be finite and at least 0, the rates above 0; for r = {r:g} they are {what}.",
        lambda r: (r**-0.5, 1, 1 / r, math.inf),
        lambda r: (r**-0.5, 1, 0, 1 / r),
        lambda r: (-1, 1, 1 / r, 1 / r),
        lambda r: ("1", 1, 1, 1),
    ),
    "standard": Hint(
        "Nothing changes with the width: that is the standard parametrization, whose logits move "
        "more and more the wider the network is.",
        lambda r: (1, 1, 1, 1),
        lambda r: (2, 2, 2, 2),
    ),
    "inverse": Hint(
        "The wider the layer, the more aligned steps add up: divide by r, where you multiply.",
        lambda r: (r**0.5, 1, r, r),
        lambda r: (r**-0.5, 1, r, r),
    ),
    "sgd": Hint(
        "Those are the rates for SGD. Adam's steps have the size of the rate whatever the "
        "gradient's, which changes all three.",
        lambda r: (r**-0.5, r, 1, 1 / r),
    ),
    "all rates": Hint(
        "One rate for all, over r: then the input layer, whose fan-in doesn't grow, stands still "
        "in a wide network.",
        lambda r: (r**-0.5, 1 / r, 1 / r, 1 / r),
    ),
    "input": Hint(
        "The input layer adds up as many inputs at every width, so its steps must not depend on "
        "r; yours go as r to the power {power:.2g}.",
        lambda r: (r**-0.5, r**-0.5, 1 / r, 1 / r),
        lambda r: (r**-0.5, r, 1 / r, 1 / r),
    ),
    "hidden grows": Hint(
        "The hidden layer moves more the wider it is: each of its outputs adds up d aligned steps. "
        "Its rate must fall faster than r to the power {power:.2g}.",
        lambda r: (r**-0.5, 1, 1, 1 / r),
        lambda r: (r**-0.5, 1, r**-0.5, 1 / r),
    ),
    "hidden frozen": Hint(
        "Flat, but at a price: the hidden layer's rate goes as r to the power {power:.2g}, and in "
        "a wide network it stands still. It learns no features.",
        lambda r: (r**-0.5, 1, r**-2, 1 / r),
        lambda r: (r**-0.5, 1, r**-1.5, 1 / r),
    ),
    "readout's std": Hint(
        "The readout starts too large: with the standard 1/√d the aligned changes of the features "
        "add up to √d. In all its std must fall as 1/d, so the factor on the standard one "
        "is below r to the power {power:.2g}.",
        lambda r: (1, 1, 1 / r, 1 / r),
        lambda r: (r**-0.25, 1, 1 / r, 1 / r),
    ),
    "readout grows": Hint(
        "The logits move more the wider the network is: the readout, too, adds up d aligned steps. "
        "Its rate must fall faster than r to the power {power:.2g}.",
        lambda r: (r**-0.5, 1, 1 / r, 1),
        lambda r: (r**-0.5, 1, 1 / r, r**-0.5),
    ),
    "readout frozen": Hint(
        "The readout's rate goes as r to the power {power:.2g}: in a wide network it stands still.",
        lambda r: (r**-0.5, 1, 1 / r, r**-2),
    ),
    "not a power": Hint(
        "The factors should be powers of r, the same for every r; from r = 2 to r = 8 yours don't "
        "go on as from r = 1 to r = 2.",
        lambda r: (r**-0.5, 1, 1 / (1 + r), 1 / r),
        lambda r: (1, 1, 1, 1) if r < 3 else (r**-0.5, 1, 1 / r, 1 / r),
    ),
}


def _judge_transfer(results: list) -> str:
    widths = [r for (r,) in TRANSFER_INPUTS]
    factors = {r: _factors(r, result) for r, result in zip(widths, results, strict=True)}
    _explain_powers([_power(list(column)) for column in zip(*factors.values(), strict=True)])
    slopes = _slopes(factors)
    said = ", ".join(f"{slope:+.2f}" for slope in slopes)
    if max(map(abs, slopes)) > _FLAT:
        raise NotYet(
            f"The powers of r are right, but the changes of the three layers have the slopes "
            f"{said} over the width. At r = 1 the factors should be 1."
        )
    return f"the changes of the three layers have the slopes {said} over the width."


def _factors(r: float, result: Any) -> list[float]:
    """Return the four factors for one width."""
    try:
        four = list(result)
    except TypeError:
        raise NotYet("shape") from None
    if len(four) != 4:
        raise NotYet("shape")
    values = [number(value) for value in four]
    if None in values or min(values) < 0 or 0 in values[1:]:
        shown = [value if number(value) is None else number(value) for value in four]
        simple = all(isinstance(value, float | str) for value in shown)
        raise NotYet(
            "numbers", r=r, what=", ".join(map(repr, shown)) if simple else "something else"
        )
    return values


def _power(column: list[float]) -> float:
    """Return the power of r of one factor; that of a factor of 0 everywhere is minus infinity."""
    if not any(column):
        return -math.inf
    if 0 in column:
        raise NotYet("not a power")
    one, two, eight = map(math.log2, column)
    if abs((two - one) - (eight - one) / 3) > 0.02:
        raise NotYet("not a power")
    return (eight - one) / 3


def _explain_powers(powers: list[float]) -> None:
    """Raise the hint for powers that are not those of μP."""

    def are(*expected: int | None) -> bool:
        pairs = zip(powers, expected, strict=True)
        return all(some is None or abs(power - some) <= 0.05 for power, some in pairs)

    known = {
        "standard": (0, 0, 0, 0),
        "inverse": (None, 0, 1, 1),
        "sgd": (None, 1, 0, -1),
        "all rates": (None, -1, -1, -1),
    }
    for name, expected in known.items():
        if are(*expected):
            raise NotYet(name)
    std, rate, hidden, readout = powers
    if abs(rate) > 0.05:
        raise NotYet("input", power=rate)
    for name, power in (("hidden", hidden), ("readout", readout)):
        if abs(power + 1) > 0.05:
            if name == "readout" and std > -0.45 and power > -1:
                break
            raise NotYet(f"{name} {'grows' if power > -1 else 'frozen'}", power=power)
    if std > -0.45:  # a smaller one, or 0, is as good: training moves it where it belongs
        raise NotYet("readout's std", power=std)


def _slopes(factors: dict[float, list[float]]) -> list[float]:
    """Return how fast the changes of the three layers grow with the width, after five steps."""
    changes = [_changes(factors, seed) for seed in range(_SEEDS)]
    x = torch.tensor([math.log(r) for r in factors], dtype=torch.float64)
    x = x - x.mean()
    logs = [sum(c[name] for c in changes).double().clamp(min=1e-30).log() for name in changes[0]]
    return [(x @ log / (x @ x)).item() for log in logs]


def _changes(factors: dict[float, list[float]], seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x, target = torch.randn(32, 8, generator=generator), torch.arange(32) % 4

    def make(width: int) -> tuple[nn.Module, torch.optim.Adam, Callable[[nn.Module], Tensor]]:
        readout_std, *rates = factors[width / _BASE]
        with torch.random.fork_rng(devices=[]):  # the reader's own random numbers stay as they are
            sizes = [(8, width), (width, width), (width, 4)]
            layers = [nn.Linear(before, after, bias=False) for before, after in sizes]
        for layer, gain in zip(layers, (1.0, 2**0.5, readout_std), strict=True):
            variance_scaling_(layer.weight, gain=gain, generator=generator)
        groups = [
            {"params": [layer.weight], "lr": 0.01 * rate}
            for layer, rate in zip(layers, rates, strict=True)
        ]
        model = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
        return model, torch.optim.Adam(groups), lambda model: F.cross_entropy(model(x), target)

    return coord_check(make, [int(r * _BASE) for r in factors])


EXERCISES = {
    "initialization-1": Exercise([()], _judge_bound, BOUND_HINTS),
    "initialization-2": Exercise(ELU_INPUTS, _judge_elu, ELU_HINTS),
    "initialization-3": Exercise(SIGNAL_INPUTS, _judge_signal, SIGNAL_HINTS),
    "initialization-4": Exercise(RATE_INPUTS, _judge_rate, RATE_HINTS),
    "initialization-5": Exercise(TRANSFER_INPUTS, _judge_transfer, TRANSFER_HINTS),
}
