"""What a layer makes of the size of a signal: the gain of an activation."""

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from derived._validation import not_negative, positive, validated
from derived.initialization._quadrature import _KINKS, _normal_nodes

Function = Callable[[Tensor], Tensor]


def _activation(name: str, value: Any) -> None:
    """Refuse what is not an elementwise function of a tensor."""
    if not callable(value):
        # One kind of error for all that a reader may get wrong, hence no TypeError.
        raise ValueError(f"{name}: expected a function of a tensor, got {value!r}")  # noqa: TRY004
    result = value(_KINKS.clone())  # some change their argument
    if not isinstance(result, Tensor) or result.shape != _KINKS.shape:
        raise ValueError(f"{name}: expected a function that answers each element with a number")


@validated(fn=_activation, sigma=not_negative)
def gaussian_mean(fn: Function, sigma: Real = 1.0) -> float:
    r"""Return $\mathbb E[f(\sigma z)]$ for a standard normal $z$.

    A quadrature of Gauss and Legendre, in float64, on pieces that meet at multiples of 1/2, where
    the common activations have their kinks: 11 digits for these, up to $\sigma=30$. A jump or a
    kink elsewhere costs digits.

    Args:
        fn: a function that maps each element of a float64 tensor.
        sigma: standard deviation of the argument.

    Raises:
        ValueError: for something that isn't such a function, or a negative standard deviation.
    """
    y, weight = _normal_nodes(sigma)
    return (weight @ fn(y)).item()


@validated(fn=_activation, sigma=positive)
def gain(fn: Function, sigma: Real = 1.0) -> float:
    r"""Return the gain with which pre-activations keep the standard deviation that they have.

    $g=\sigma\big/\sqrt{\mathbb E[\phi(\sigma z)^2]}$; at $\sigma=1$,
    $g^{-2}=\mathbb E[\phi(z)^2]$ (initialization-gain). If $\phi$ is homogeneous, as ReLU is,
    $\sigma$ doesn't matter.

    Args:
        fn: the activation, see `gaussian_mean`.
        sigma: standard deviation of the pre-activations.

    Raises:
        ValueError: for something that isn't such a function, one that vanishes where it matters,
            or a standard deviation that isn't above 0.
    """
    second_moment = gaussian_mean(lambda y: fn(y) ** 2, sigma)
    if not 0 < second_moment < math.inf:
        raise ValueError(f"fn: expected a finite second moment above 0, got {second_moment:g}")
    return sigma / math.sqrt(second_moment)


@validated(fn=_activation, sigma_w2=not_negative, q=not_negative)
def moment_map(fn: Function, sigma_w2: Real, q: Real) -> tuple[float, float]:
    r"""Return what one wide layer makes of a signal's size, and of a gradient's.

    $q'=\sigma_w^2\,\mathbb E[\phi(\sqrt q\,z)^2]$ and
    $\chi=\sigma_w^2\,\mathbb E[\phi'(\sqrt q\,z)^2]$ (initialization-mean-field): the mean square
    of the next layer's pre-activations, and the factor on the mean square of the gradient.

    Args:
        fn: the activation, see `gaussian_mean`, differentiable but for kinks.
        sigma_w2: variance of a weight times the fan-in.
        q: mean square of the pre-activations.

    Raises:
        ValueError: for something that isn't such a function, or a negative number.

    Source: Poole et al. (2016) for q', Schoenholz et al. (2017) for chi.
    """
    y, weight = _normal_nodes(math.sqrt(q))
    slope = torch.func.grad(lambda y: fn(y).sum())(y)
    return sigma_w2 * (weight @ fn(y) ** 2).item(), sigma_w2 * (weight @ slope**2).item()
