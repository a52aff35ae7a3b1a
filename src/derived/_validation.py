"""The edge of the helpers: arguments are checked once, before anything is computed.

`validated` is always the outermost decorator. What it refuses, it refuses with a `ValueError` that
names the argument, what was expected and what came, also where a type checker such as beartype
watches the function inside. In a graph that `torch.compile` traces, nothing is checked.
"""

import functools
import inspect
import math
import numbers
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

__all__ = ["broadcastable", "checks_values", "count", "finite_number", "one_of", "real_tensor"]
__all__ += ["validated", "validation"]

_checks_values = ContextVar("derived.validation", default=True)


@contextmanager
def validation(enabled: bool) -> Iterator[None]:
    """Switch the checks of values on or off inside a `with` block.

    They look for NaN, infinity and what else a formula does not allow, and make a GPU wait for its
    results. Off, NaN goes in and comes out as NaN. Shapes, dtypes and options are always checked.
    The switch is local to the thread or the asynchronous task.
    """
    token = _checks_values.set(enabled)
    try:
        yield
    finally:
        _checks_values.reset(token)


def checks_values() -> bool:
    """Say whether checks may look at values, see `validation`."""
    return _checks_values.get()


def validated(
    *relations: Callable[[dict[str, Any]], None], **checks: Callable[[str, Any], None]
) -> Callable[[Callable], Callable]:
    """Decorate a function so that its arguments are checked before each call.

    Args:
        relations: functions of all arguments, by name, called when each has passed on its own.
        checks: for the argument of that name, a function of the name and the value.

    A check raises `ValueError` and returns nothing.
    """

    def decorate(function: Callable) -> Callable:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def checked(*args, **kwargs):
            if not torch.compiler.is_compiling():
                call = signature.bind(*args, **kwargs)
                call.apply_defaults()
                for name, check in checks.items():
                    check(name, call.arguments[name])
                for relation in relations:
                    relation(call.arguments)
            return function(*args, **kwargs)

        return checked

    return decorate


def real_tensor(name: str, value: Any) -> None:
    """Refuse what is not a tensor of real numbers."""
    if not isinstance(value, Tensor):
        # One kind of error for all that a reader may get wrong, hence no TypeError.
        raise ValueError(f"{name}: expected a torch.Tensor, got {_kind(value)}")  # noqa: TRY004
    if value.dtype == torch.bool or value.is_complex():
        raise ValueError(f"{name}: expected real numbers (float or integer), got {value.dtype}")


def count(name: str, value: Any) -> None:
    """Refuse what is not an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}: expected an integer of at least 1, got {value!r}")


def finite_number(name: str, value: Any) -> None:
    """Refuse what is not a finite number."""
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not number or not math.isfinite(value):
        raise ValueError(f"{name}: expected a finite number, got {value!r}")


def one_of(options: Sequence[str]) -> Callable[[str, Any], None]:
    """Return a check that refuses every value but the listed ones."""

    def check(name: str, value: Any) -> None:
        if value not in options:
            raise ValueError(f"{name}: expected one of {', '.join(options)}; got {value!r}")

    return check


def broadcastable(first: str, second: str, *, hint: str) -> Callable[[dict[str, Any]], None]:
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


def _kind(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
