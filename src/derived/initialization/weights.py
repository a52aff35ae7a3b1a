"""Weights drawn from a distribution, and the fans that say how wide it is."""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from derived._validation import (
    count,
    floats,
    not_negative,
    number,
    one_of,
    positive_or_infinite,
    validated,
)
from derived.initialization._quadrature import _gauss_legendre

Distribution = Literal["normal", "uniform", "truncated_normal"]
Mode = Literal["fan_in", "fan_out", "fan_avg"]

_FLAT = 1e-6  # between narrower bounds the density is the same to 12 digits
_ROUNDS = 24  # of drawing again, after which one number in 10^16 is cut instead


def _matrix(name: str, value: Any) -> None:
    """Refuse what is not the weight of a layer, with at least two dimensions."""
    floats(name, value)
    _weight_shape(f"{name}.shape", value.shape)


def _weight_shape(name: str, value: Any) -> None:
    """Refuse what is not the shape of a layer's weight."""
    shape = tuple(value) if isinstance(value, Sequence) else value
    sizes = shape if isinstance(shape, tuple) and len(shape) >= 2 else [None]
    if any(not isinstance(size, int) or isinstance(size, bool) or size < 1 for size in sizes):
        raise ValueError(f"{name}: expected at least two sizes, each of at least 1, got {shape}")


def _bounds(arguments: dict[str, Any]) -> None:
    a, b = arguments["a"], arguments["b"]
    if b is None:
        positive_or_infinite("a", a)
        return
    for name, bound in (("a", a), ("b", b)):
        number(infinite=True)(name, bound)
    if not a < b:
        raise ValueError(f"a and b: expected bounds a < b, got a={a!r}, b={b!r}")


@validated(_bounds)
def truncnorm_gamma(a: Real, b: Real | None = None) -> float:
    r"""Return the variance of a standard normal variable, given that it lies within bounds.

    $\gamma(a,b)=\operatorname{Var}[z\mid a\le z\le b]$ (initialization-truncnorm-general), and
    $\gamma(a)=\gamma(-a,a)=1-2a\varphi(a)/(2\Phi(a)-1)$ (initialization-truncnorm).

    The moments are integrated, to 13 digits, as the closed forms lose theirs where the bounds are
    near each other or far from 0. Bounds may be infinite. Units: the bounds are in standard
    deviations.

    Raises:
        ValueError: for a bound that is no number, a <= 0 without b, or a >= b.
    """
    low, high = (-a, a) if b is None else (a, b)
    peak = min(max(low, 0.0), high)  # where the density is highest
    reach = 80 / (abs(peak) + math.hypot(peak, math.sqrt(80)))  # beyond: below e^-40 of that
    ends = max(low - peak, -reach), min(high - peak, reach)
    edges = torch.linspace(*ends, 9, dtype=torch.float64, device="cpu")
    t, weight = _gauss_legendre(edges)
    density = weight * torch.exp(-t * (peak + t / 2))  # of z = peak + t, relative to that of peak
    mean = density @ t / density.sum()
    return (density @ (t - mean) ** 2 / density.sum()).item()


@validated(w=floats, std=not_negative, a=positive_or_infinite)
@torch.no_grad()
def trunc_normal_(
    w: Float[Tensor, "*shape"],
    std: Real,
    a: Real = 2.0,
    *,
    exact_std: bool = True,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*shape"]:
    r"""Fill a tensor from a normal distribution of mean 0 that is cut at ±a standard deviations.

    The normal distribution has the standard deviation $\sigma$ before it is cut at $\pm a\sigma$,
    and $\sigma\sqrt{\gamma(a)}$ after (see initialization-truncnorm). So
    $\sigma=\mathrm{std}/\sqrt{\gamma(a)}$, unless `exact_std` is false: then
    $\sigma=\mathrm{std}$, and the weights get a smaller standard deviation than asked for.

    Args:
        w: the tensor, of any shape.
        std: standard deviation of the weights (of the uncut ones, if not `exact_std`).
        a: the bounds, in units of $\sigma$; infinite ones cut nothing.
        exact_std: correct for what is cut.
        generator: where to draw from.

    Raises:
        ValueError: for integers, a negative standard deviation, or bounds that aren't above 0.
    """
    if w.is_meta:
        return w
    dtype = torch.promote_types(w.dtype, torch.float32)
    if a < _FLAT:
        bound = math.sqrt(3) * std if exact_std else a * std
        wide = torch.empty(w.shape, dtype=dtype, device=w.device)
        return w.copy_(wide.uniform_(-bound, bound, generator=generator))
    sigma = std / math.sqrt(truncnorm_gamma(a)) if exact_std else std

    def propose(number: int) -> tuple[Tensor, Tensor]:
        """Draw, and say what is to be drawn again; at least 79 % are kept, whatever the bounds."""
        z = torch.empty(number, dtype=dtype, device=w.device)
        if a * a > math.pi / 2:
            return z.normal_(generator=generator), z.abs() > a
        height = torch.empty_like(z).uniform_(generator=generator)
        return z.uniform_(-a, a, generator=generator), height > torch.exp(-z * z / 2)

    z, again = propose(w.numel())
    if torch.compiler.is_compiling():  # the number to draw again would break the graph
        for _ in range(_ROUNDS):
            fresh, rejected = propose(w.numel())
            z, again = torch.where(again, fresh, z), again & rejected
        return w.copy_((z.clamp(-a, a) * sigma).view(w.shape))
    again = again.nonzero().squeeze(1)
    while len(again):
        fresh, rejected = propose(len(again))
        z[again] = fresh
        again = again[rejected]
    return w.copy_(z.mul_(sigma).view(w.shape))


@validated(w=_matrix, gain=not_negative)
@torch.no_grad()
def orthogonal_(
    w: Float[Tensor, "out *rest"],
    gain: Real = 1.0,
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "out *rest"]:
    r"""Fill a matrix with orthonormal columns or rows, evenly distributed, times a gain.

    $W=Q\operatorname{sign}(\operatorname{diag}R)$ for the QR decomposition of a standard normal
    matrix (initialization-haar). What remains of that matrix after each Householder reflection is
    normal and independent of it, so the reflections are drawn directly, and nothing is decomposed.

    Shapes: `(out, …)`, taken as a matrix of `out` rows. The shorter of its sides is orthonormal.

    Raises:
        ValueError: for fewer than two dimensions, a size 0, integers, or a negative gain.

    Source: Stewart (1980), theorem 3.3, for the reflections; Mezzadri (2007) for the signs.
    """
    matrix = w.flatten(1)
    long, short = max(matrix.shape), min(matrix.shape)
    dtype = torch.promote_types(w.dtype, torch.float32)
    x = torch.empty(long, short, dtype=dtype, device=w.device).normal_(generator=generator).tril_()
    first = x.diagonal().add_(1e-18)  # in float32 a draw is 0 now and then, and 0/0 to be avoided
    r = torch.linalg.vector_norm(x, dim=0).copysign_(-first)  # the diagonal of R
    tau = 1 - first / r
    q = torch.linalg.householder_product(x.div_(first - r), tau).mul_(gain * r.sign())
    return w.copy_((q if matrix.shape == q.shape else q.mT).view(w.shape))


def _groups_divide(arguments: dict[str, Any]) -> None:
    groups, size = arguments["groups"], arguments["shape"][0]
    if size % groups:
        raise ValueError(f"groups: expected a divisor of shape[0] = {size}, got {groups}")


@validated(_groups_divide, shape=_weight_shape, groups=count)
def fans(shape: Sequence[int], *, groups: int = 1, transposed: bool = False) -> tuple[int, int]:
    """Return how many inputs an output adds up, and how many outputs an input goes to.

    Shapes: a linear layer's `(out, in)`, a convolution's `(out, in / groups, …)` or a transposed
    one's `(in, out / groups, …)`, where … is the size of its kernel. The counts are those away
    from borders, at stride 1: with a stride, fan-out (of a transposed one fan-in) is, on average,
    smaller by the product of the strides.

    Raises:
        ValueError: for fewer than two sizes, a size below 1, or groups that don't divide the
            first of them.
    """
    first, second = shape[0] // groups, shape[1]
    kernel = math.prod(shape[2:])
    return (first * kernel, second * kernel) if transposed else (second * kernel, first * kernel)


@validated(
    w=_matrix,
    mode=one_of(get_args(Mode)),
    distribution=one_of(get_args(Distribution)),
    gain=not_negative,
)
@torch.no_grad()
def variance_scaling_(
    w: Float[Tensor, "out *rest"],
    mode: Mode = "fan_in",
    distribution: Distribution = "normal",
    gain: Real = 1.0,
    *,
    groups: int = 1,
    transposed: bool = False,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "out *rest"]:
    r"""Fill a weight with the variance $g^2/\text{fan}$, whatever the distribution.

    $\sigma_w^2=g^2/d_\mathrm{in}$ (initialization-gain) holds the forward pass, with the fan-out
    the backward pass (see initialization-backward), with their mean neither (see
    initialization-xavier).

    Args:
        w: the weight of a layer, see `fans`.
        mode: which fan; "fan_avg" is the mean of both.
        distribution: of mean 0; a uniform one lies within $\pm\sqrt3\,\sigma_w$
            (initialization-uniform), a truncated normal one is cut at two standard deviations and
            corrected for it.
        gain: see the function `gain`.
        groups, transposed: of a convolution, see `fans`.
        generator: where to draw from.

    Raises:
        ValueError: for fewer than two dimensions, a size 0, integers, an unknown mode or
            distribution, a negative gain, or groups that don't divide the first size.

    Source: He et al. (2015); for the mean of both fans Glorot and Bengio (2010).
    """
    fan_in, fan_out = fans(w.shape, groups=groups, transposed=transposed)
    fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]
    std = gain / math.sqrt(fan)
    if distribution == "truncated_normal":
        return trunc_normal_(w, std, generator=generator)
    wide = w.to(torch.promote_types(w.dtype, torch.float32))  # w itself, if it is wide enough
    if distribution == "normal":
        wide.normal_(0, std, generator=generator)
    else:
        wide.uniform_(-math.sqrt(3) * std, math.sqrt(3) * std, generator=generator)
    return w if wide is w else w.copy_(wide)
