"""The edge of the helpers: arguments are checked once, before anything is computed.

`validated` is always the outermost decorator. What it refuses, it refuses with a `ValueError` that
names the argument, what was expected and what came, also where a type checker such as beartype
watches the function inside. In a graph that `torch.compile` traces, nothing is checked.

The checks below are the vocabulary of all modules. To every one of them, what NumPy counts and
measures with is a number as Python's own is, and `True` is none.
"""

import functools
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from numbers import Integral, Real
from typing import Any

import numpy
import torch
from torch import Tensor, nn
from torch._C._functorch import TransformType

__all__ = ["broadcastable", "checks_values", "comparable", "count", "finite_floats"]
__all__ += [
    "finite_number",
    "floats",
    "integer",
    "is_number",
    "mapped",
    "network",
    "not_negative",
    "number",
    "one_of",
    "optional",
]
__all__ += ["positive", "positive_or_infinite", "real_tensor", "same_length", "same_shape", "seed"]
__all__ += ["share", "validated", "validation"]

Check = Callable[[str, Any], None]
Relation = Callable[[dict[str, Any]], None]

_checks_values = ContextVar("derived.validation", default=True)


@contextmanager
def validation(enabled: bool) -> Iterator[None]:
    """Switch the checks of values on or off inside a `with` block.

    They look for NaN, infinity and what else a formula does not allow, and make a GPU wait for its
    results. Off, NaN goes in and comes out as NaN. Shapes, dtypes and options are always checked.
    Inside `torch.func.vmap` values can't be looked at, and they are off. The switch is local to the thread or the asynchronous task.
    """
    token = _checks_values.set(enabled)
    try:
        yield
    finally:
        _checks_values.reset(token)


def checks_values() -> bool:
    """Say whether checks may look at values, see `validation`."""
    return _checks_values.get() and not mapped()


def mapped() -> bool:
    """Say whether `torch.func.vmap` is at work, in which a tensor has no values to look at."""
    levels = torch._C._functorch.get_interpreter_stack() or []
    return any(level.key() == TransformType.Vmap for level in levels)


def validated(*relations: Relation, **checks: Check) -> Callable[[Callable], Callable]:
    """Decorate a function so that its arguments are checked before each call.

    Args:
        relations: functions of all arguments, by name, called when each has passed on its own.
        checks: for the argument of that name, a function of the name and the value.

    A check raises `ValueError` and returns nothing. NumPy's numbers and fractions, also those in a
    list or a tuple, arrive at the checks and at the function as Python's int and float, which all
    that follows can compute with and store.
    """

    def decorate(function: Callable) -> Callable:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def checked(*args, **kwargs):
            if not torch.compiler.is_compiling():
                args = tuple(map(_plain, args))
                kwargs = {name: _plain(value) for name, value in kwargs.items()}
                call = signature.bind(*args, **kwargs)
                call.apply_defaults()
                for name, check in checks.items():
                    check(name, call.arguments[name])
                for relation in relations:
                    relation(call.arguments)
            return function(*args, **kwargs)

        return checked

    return decorate


def _plain(value: Any) -> Any:
    """Return a number of NumPy or a fraction, or a list or tuple with such, as of Python's types."""
    if isinstance(value, numpy.number):
        return value.item()
    if isinstance(value, Real) and not isinstance(value, int | float):
        return int(value) if isinstance(value, Integral) else float(value)
    if type(value) in (list, tuple):
        plain = [_plain(each) for each in value]
        if any(new is not old for new, old in zip(plain, value, strict=True)):
            return type(value)(plain)
    return value


# Tensors -----------------------------------------------------------------------------------------


def real_tensor(name: str, value: Any) -> None:
    """Refuse what is not a tensor of real numbers."""
    if not isinstance(value, Tensor):
        # One kind of error for all that a reader may get wrong, hence no TypeError.
        raise ValueError(f"{name}: expected a torch.Tensor, got {_kind(value)}")  # noqa: TRY004
    if value.dtype == torch.bool or value.is_complex():
        raise ValueError(f"{name}: expected real numbers (float or integer), got {value.dtype}")


def comparable(value: Tensor) -> Tensor:
    """Return a tensor as PyTorch can compare it: for its wider unsigned integers, in float64."""
    unsigned = value.dtype in (torch.uint16, torch.uint32, torch.uint64)
    return value.double() if unsigned else value


def floats(name: str, value: Any) -> None:
    """Refuse what is not a tensor of floats."""
    real_tensor(name, value)
    if not value.is_floating_point():
        raise ValueError(f"{name}: expected floats, got {value.dtype}")


def finite_floats(name: str, value: Any) -> None:
    """Refuse what is not a tensor of finite floats; look at the values only if they are checked."""
    floats(name, value)
    # A sum is quicker to look at than all numbers, and is finite unless one of them isn't.
    if checks_values() and not value.detach().sum().isfinite() and not value.isfinite().all():
        index = (~value.isfinite()).nonzero()[0].tolist()
        first = value[tuple(index)].item()
        raise ValueError(f"{name}: expected finite numbers, got {first} at {index}")


def broadcastable(first: str, second: str, *, hint: str) -> Relation:
    """Return a check that the shapes of two tensors broadcast.

    `hint` ends the message: what the reader may have wanted instead.
    """

    def check(arguments: dict[str, Any]) -> None:
        shapes = [tuple(arguments[name].shape) for name in (first, second)]
        try:
            torch.broadcast_shapes(*shapes)
        except RuntimeError:
            raise ValueError(
                f"{first} and {second}: expected shapes that broadcast, got {shapes[0]} and "
                f"{shapes[1]}. {hint}"
            ) from None

    return check


def same_shape(first: str, second: str) -> Relation:
    """Return a check that two tensors have one shape; broadcasting would hide a mistake."""

    def check(arguments: dict[str, Any]) -> None:
        shapes = [tuple(arguments[name].shape) for name in (first, second)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"{first} and {second}: expected one shape, got {shapes[0]} and {shapes[1]}"
            )

    return check


def same_length(first: str, second: str) -> Relation:
    """Return a check that two tensors have the same number of rows."""

    def check(arguments: dict[str, Any]) -> None:
        lengths = [len(arguments[name]) for name in (first, second)]
        if lengths[0] != lengths[1]:
            raise ValueError(
                f"{first} and {second}: expected the same length, got {lengths[0]} and {lengths[1]}"
            )

    return check


# Numbers -----------------------------------------------------------------------------------------


def is_number(value: Any) -> bool:
    """Say whether a value is a real number, infinity and NaN included."""
    return isinstance(value, Real) and not isinstance(value, bool)


def number(
    *,
    least: Real | None = None,
    above: Real | None = None,
    most: Real | None = None,
    below: Real | None = None,
    infinite: bool = False,
    why: str = "",
) -> Check:
    """Return a check that a number lies within bounds.

    Args:
        least, above: the lower bound, if there is one, itself allowed or not.
        most, below: the upper bound likewise; only together with `least`.
        infinite: whether infinity is allowed.
        why: follows the bounds in the message.
    """
    if most is not None:
        bounds = f"a number from {least:g} to {most:g}"
    elif below is not None:
        bounds = f"a number in [{least:g}, {below:g})"
    else:
        bounds = "a number" if infinite else "a finite number"
        if least is not None:
            bounds += f" of at least {least:g}"
        elif above is not None:
            bounds += f" above {above:g}"

    def check(name: str, value: Any) -> None:
        if not is_number(value) or not (
            (-math.inf < value < math.inf or (infinite and abs(value) == math.inf))
            and (least is None or value >= least)
            and (above is None or value > above)
            and (most is None or value <= most)
            and (below is None or value < below)
        ):
            raise ValueError(f"{name}: expected {bounds}{why}, got {value!r}")

    return check


finite_number = number()
positive = number(above=0)
positive_or_infinite = number(above=0, infinite=True)
not_negative = number(least=0)
share = number(least=0, most=1)


def integer(*, least: int, most: int | None = None) -> Check:
    """Return a check that a number is an integer within bounds, which are allowed themselves."""
    bounds = f"of at least {least}" if most is None else f"from {least} to {most}"

    def check(name: str, value: Any) -> None:
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        if not whole or value < least or (most is not None and value > most):
            raise ValueError(f"{name}: expected an integer {bounds}, got {value!r}")

    return check


count = integer(least=1)
seed = integer(least=0, most=2**64 - 1)  # as PyTorch's generators have it


# What is no number -------------------------------------------------------------------------------


def one_of(options: Sequence[str]) -> Check:
    """Return a check that refuses every value but the listed ones."""

    def check(name: str, value: Any) -> None:
        if not isinstance(value, str) or value not in options:
            raise ValueError(f"{name}: expected one of {', '.join(options)}; got {value!r}")

    return check


def optional(check: Check) -> Check:
    """Return a check that lets None pass."""
    return lambda name, value: None if value is None else check(name, value)


def network(name: str, value: Any) -> None:
    """Refuse what is not a module of PyTorch."""
    if not isinstance(value, nn.Module):
        raise ValueError(f"{name}: expected a torch.nn.Module, got {value!r}")  # noqa: TRY004


def _kind(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
