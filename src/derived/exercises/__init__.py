"""Checks that a reader's answers must pass: `check("iou-1", my_function)`.

One module a chapter holds its exercises, in a dictionary `EXERCISES` by their names.
"""

import importlib
import pkgutil
import textwrap
from functools import cache
from typing import Any

from derived.exercises._exercise import Exercise, examine

__all__ = ["check", "exercises"]

_WIDTH = 88  # characters; fits a notebook's output without scrolling


@cache
def exercises() -> dict[str, Exercise]:
    """Return all exercises of the book by name."""
    chapters = [module.name for module in pkgutil.iter_modules(__path__)]
    modules = [
        importlib.import_module(f"{__name__}.{chapter}")
        for chapter in sorted(chapters)
        if not chapter.startswith("_")
    ]
    return {name: exercise for module in modules for name, exercise in module.EXERCISES.items()}


def check(name: Any, answer: Any) -> None:
    """Print how far a function answers an exercise: not attempted, a hint, or what passed.

    It never raises, so that "Run all" reaches the end of a notebook.
    """
    if isinstance(name, str) and name in exercises():
        text = f"{name}: {examine(exercises()[name], answer).text}"
    else:
        known = ", ".join(exercises())
        text = f'No exercise has this name. Write check("<name>", <function>) with one of: {known}.'
    print(textwrap.fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False))
