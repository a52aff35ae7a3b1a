"""JSON files that an earlier run left, read so that a broken one is refused by its name.

A shape says what must be there: a type or a union of types for a value; ``{"key": shape}`` for an
object with at least these keys; ``{str: shape}`` for one with any keys; ``[shape]`` for a list; a
tuple for one of several shapes.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["check", "opened"]


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Give what a JSON file holds; a ValueError within the context begins with the file's name."""
    try:
        yield json.loads(path.read_text("utf-8"))
    except ValueError as error:
        hint = "restore it, or delete it and run again what wrote it"
        raise ValueError(f"{path}: {error}; {hint}") from None


def check(value: Any, shape: Any, where: str = "") -> None:
    """Refuse what does not have the shape.

    Raises:
        ValueError: says what was expected, where in the file, and what came.
    """
    if isinstance(shape, tuple):
        errors = [error for each in shape if (error := _refusal(value, each, where))]
        if len(errors) == len(shape):
            raise ValueError("; or ".join(errors))
    elif isinstance(shape, dict):
        _typed(value, dict, where)
        for key in value if str in shape else shape:
            place = f"{where}.{key}" if where else key
            if key not in value:
                raise ValueError(f"{place} is missing")
            check(value[key], shape.get(str, shape.get(key)), place)
    elif isinstance(shape, list):
        _typed(value, list, where)
        for index, each in enumerate(value):
            check(each, shape[0], f"{where}[{index}]")
    else:
        _typed(value, shape, where)


def _refusal(value: Any, shape: Any, where: str) -> str:
    """Return why a value does not have a shape, nothing if it has."""
    try:
        check(value, shape, where)
    except ValueError as error:
        return str(error)
    return ""


def _typed(value: Any, kind: Any, where: str) -> None:
    # JSON tells true from 1, which Python counts as an int.
    if isinstance(value, bool) or not isinstance(value, kind):
        name = getattr(kind, "__name__", str(kind))
        came = type(value).__name__
        raise ValueError(f"{where or 'the file'}: expected {name}, got {came}")  # noqa: TRY004
