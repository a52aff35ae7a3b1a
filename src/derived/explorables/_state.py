"""A figure's state, declared once: each trait holds its default, what it accepts, and what it means."""

import inspect
import math
import numbers
from collections.abc import Collection
from typing import Any

import numpy as np
import traitlets

__all__ = [
    "Choice",
    "Flag",
    "Integer",
    "Letters",
    "Level",
    "Number",
    "Point",
    "PowerOfTwo",
    "State",
    "floats",
    "signature",
]


class State(traitlets.TraitType):
    """One part of a figure's state, synchronized with the front end.

    A kind of state defines `checked`, which returns a value in its one form or calls `refuse`.
    Python's numbers and NumPy's are accepted alike; a bool is no number.

    Args:
        default: the value in which the figure starts.
        help: what it means, one or more lines for the figure's docstring.
    """

    expected = "anything"  # what a value must be, for the message

    def __init__(self, default: Any, help: str) -> None:
        super().__init__(default_value=default, help=help)
        self.tag(sync=True, state=True)

    def checked(self, value: Any) -> Any:
        """Return the value in its one form.

        Raises:
            ValueError: if it is none, naming the state and what came.
        """
        raise NotImplementedError

    def refuse(self, value: Any, expected: str | None = None) -> None:
        """Raise the `ValueError` that says what was expected and what came."""
        raise ValueError(f"{self.name} must be {expected or self.expected}; got {value!r}")

    def validate(self, _obj: Any, value: Any) -> Any:
        """Called by traitlets before a value is stored."""
        return self.checked(value)


class Number(State):
    """A number from `low` to `high`, stored as a float."""

    def __init__(self, default: float, low: float, high: float, help: str) -> None:
        super().__init__(default, help)
        self.low, self.high = low, high
        self.expected = f"a number from {low:g} to {high:g}"

    def checked(self, value: Any) -> float:
        real = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not real or not self.low <= value <= self.high:
            self.refuse(value)
        return float(value)


class Integer(State):
    """An integer from `low` to `high`."""

    form = "an integer"

    def __init__(self, default: int, low: int, high: int, help: str) -> None:
        super().__init__(default, help)
        self.low, self.high = low, high
        self.expected = f"{self.form} from {low} to {high}"

    def checked(self, value: Any) -> int:
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if not whole or not self.low <= value <= self.high:
            self.refuse(value)
        return int(value)


class PowerOfTwo(Integer):
    """A power of two from `low` to `high`."""

    form = "a power of two"

    def checked(self, value: Any) -> int:
        whole = super().checked(value)
        if whole.bit_count() != 1:
            self.refuse(value)
        return whole


class Level(State):
    """One of a few numbers, stored as a float."""

    def __init__(self, default: float, levels: Collection[float], help: str) -> None:
        super().__init__(default, help)
        self.levels = tuple(levels)
        *most, last = (f"{level:g}" for level in self.levels)
        self.expected = f"{', '.join(most)} or {last}"

    def checked(self, value: Any) -> float:
        real = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not real or value not in self.levels:
            self.refuse(value)
        return float(value)


class Choice(State):
    """One of a few words."""

    def __init__(self, default: str, words: Collection[str], help: str) -> None:
        super().__init__(default, help)
        self.words = tuple(words)
        self.expected = f"one of {', '.join(self.words)}"

    def checked(self, value: Any) -> str:
        if not isinstance(value, str) or value not in self.words:
            self.refuse(value)
        return str(value)


class Flag(State):
    """True or False."""

    expected = "True or False"

    def checked(self, value: Any) -> bool:
        if not isinstance(value, bool | np.bool_):
            self.refuse(value)
        return bool(value)


class Letters(State):
    """Different letters of an alphabet, at least one; `sort` where their order says nothing."""

    def __init__(
        self, default: str, alphabet: str, help: str, *, said: str, sort: bool = False
    ) -> None:
        super().__init__(default, help)
        self.alphabet, self.sort = alphabet, sort
        self.expected = f"different letters {said}"

    def checked(self, value: Any) -> str:
        if (
            not isinstance(value, str)
            or not value
            or len(set(value)) != len(value)
            or not set(value) <= set(self.alphabet)
        ):
            self.refuse(value)
        return "".join(sorted(value)) if self.sort else str(value)


class Point(State):
    """A point (x, y) with |x| and |y| up to `reach`."""

    def __init__(self, default: tuple[float, float], reach: tuple[float, float], help: str) -> None:
        super().__init__(default, help)
        self.reach = reach
        self.expected = f"(x, y) with |x| up to {reach[0]:g} and |y| up to {reach[1]:g}"

    def checked(self, value: Any) -> tuple[float, ...]:
        point = floats(value)
        if len(point) != 2 or abs(point[0]) > self.reach[0] or abs(point[1]) > self.reach[1]:
            self.refuse(value)
        return point


def floats(value: Any) -> tuple[float, ...]:
    """Return `value` as a tuple of finite floats, empty if it is none."""
    try:
        parts = tuple(float(number) for number in value)
    except (TypeError, ValueError):
        return ()
    return parts if all(map(math.isfinite, parts)) else ()


def signature(states: dict[str, State]) -> inspect.Signature:
    """Return the signature of a figure that is made from these: keywords alone, with defaults."""
    return inspect.Signature(
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=state.default_value)
        for name, state in states.items()
    )
