"""What a layer makes of the size of a signal: the gain of an activation."""

import copy
import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from derived._validation import not_negative, positive, validated
from derived.initialization._quadrature import _KINKS, _normal_nodes

Function = Callable[[Tensor], Tensor]
_SOME = slice(3, -5, 2)  # of some numbers, with another mean, another largest and another least


def _activation(name: str, value: Any) -> None:
    """Refuse what is not an elementwise function of a tensor."""
    if not callable(value):
        # One kind of error for all that a reader may get wrong, hence no TypeError.
        raise ValueError(f"{name}: expected a function of a tensor, got {value!r}")  # noqa: TRY004
    function = _of_doubles(value)
    try:
        answers = [function(numbers) for numbers in (_KINKS, _KINKS[_SOME])]
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{name}: expected a function of a float64 tensor, got {error}") from error
    for answer, numbers in zip(answers, (_KINKS, _KINKS[_SOME]), strict=True):
        if not isinstance(answer, Tensor) or answer.shape != numbers.shape:
            raise ValueError(f"{name}: expected a function that answers each element with a number")
    if not torch.allclose(answers[0][_SOME], answers[1], rtol=1e-6, atol=1e-12, equal_nan=True):
        raise ValueError(
            f"{name}: expected a function that answers each element alone and always the same, "
            "got one whose answer depends on the others or on chance"
        )


def _of_doubles(fn: Function) -> Function:
    """Return a function, also one with weights or one that works in place, of float64 tensors."""
    if isinstance(fn, nn.Module):
        fn = copy.deepcopy(fn).double()

    def function(y: Tensor) -> Any:
        answer = fn(y.clone())  # some change their argument
        return answer.to(y.dtype) if isinstance(answer, Tensor) else answer

    return function


@validated(fn=_activation, sigma=not_negative)
def gaussian_mean(fn: Function, sigma: Real = 1.0) -> float:
    r"""Return $\mathbb E[f(\sigma z)]$ for a standard normal $z$.

    A quadrature of Gauss and Legendre, in float64, on pieces that meet at multiples of 1/2, where
    the common activations have their kinks: 11 digits for these, up to $\sigma=30$. A jump or a
    kink elsewhere costs digits.

    Args:
        fn: a function that maps each element of a float64 tensor, alone, or a module that does so
            in whatever dtype its weights are, such as `nn.PReLU()`.
        sigma: standard deviation of the argument.

    Raises:
        ValueError: for something that isn't such a function, or a negative standard deviation.
    """
    y, weight = _normal_nodes(sigma)
    return (weight @ _of_doubles(fn)(y)).item()


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
    fn = _of_doubles(fn)
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
    fn = _of_doubles(fn)
    y, weight = _normal_nodes(math.sqrt(q))
    slope = torch.func.grad(lambda y: fn(y).sum())(y)
    return sigma_w2 * (weight @ fn(y) ** 2).item(), sigma_w2 * (weight @ slope**2).item()
