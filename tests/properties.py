"""What holds for every public helper, as rows: `tests/chapters/<chapter>/<chapter>_rows.py`.

Each holds `HELPERS`, one row a helper, whose key is the helper's name behind the chapter's. Nothing
is registered: a chapter is a notebook in `chapters/`, and `tests/test_properties.py` asks each for
its module and its rows.
"""

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from support import ROOT, gathered

__all__ = [
    "COUNTS",
    "INFINITY",
    "NAN",
    "NEGATIVE",
    "NOT_POSITIVE",
    "UNKNOWN",
    "Helper",
    "floats_in",
    "is_like",
    "is_number",
    "lacking",
    "public",
    "rows",
    "wrong",
]

NAN, INFINITY = torch.nan, torch.inf

Arguments = dict[str, Any]


@dataclass(frozen=True)
class Helper:
    """One public helper.

    Args:
        call: it.
        arguments: draws its arguments, by name, from its documented domain.
        answer: asserts the shape and the dtype of a result, given the arguments.
        errors: what makes it raise: for the words of its docstring, changed arguments, each with
            how the message begins.
        slopes: names of the arguments by which its result can be differentiated.
        finite: whether a result must be finite, given the arguments.
        without: whether NaN in a result says that there is nothing to tell; elsewhere NaN is wrong.
        slow: whether one call takes so long that few examples must do, except at night.
        documented: whose docstring lists the errors.
    """

    call: Callable
    arguments: st.SearchStrategy[Arguments]
    answer: Callable[[Arguments, Any], None]
    errors: dict[str, list] = field(default_factory=dict)
    slopes: tuple[str, ...] = ()
    finite: Callable[[Arguments], bool] = lambda arguments: True
    without: bool = False
    slow: bool = False
    documented: Any = None


def wrong(says: str | None = None, **changes) -> tuple[str, Arguments]:
    """Changed arguments, and how the message begins: with the first one's name unless told."""
    return says or next(iter(changes)), changes


# What several chapters refuse.
NOT_POSITIVE = (0, -1.0, NAN, INFINITY, True, "1")
NEGATIVE = (-1.0, NAN, INFINITY, True, "1")
COUNTS = (0, -1, 1.0, True, None)
UNKNOWN = {"kind": [wrong(kind="area"), wrong(kind=None)]}


def is_like(result, shape, dtype):
    assert (tuple(result.shape), result.dtype) == (tuple(shape), dtype)


def is_number(arguments, result):
    assert type(result) is float


def floats_in(result: Any) -> Iterator[torch.Tensor]:
    """Yield what numbers a result holds, as tensors."""
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, tuple | list):
        for part in result:
            yield from floats_in(part)
    elif isinstance(result, torch.Tensor) and result.is_floating_point():
        yield result
    elif isinstance(result, float):
        yield torch.tensor(result, dtype=torch.float64)


def rows() -> dict[str, dict[str, Helper]]:
    """Return the rows of each chapter that has any."""
    return gathered("rows", "HELPERS")


def public(chapter: str) -> Iterator[tuple[str, Any]]:
    """Yield every public helper of a chapter's module, methods included, with its name."""
    module = importlib.import_module(f"derived.{chapter}")
    for name in module.__all__:
        thing = getattr(module, name)
        yield f"{chapter}.{name}", thing
        if inspect.isclass(thing):
            for part in vars(thing):
                if not part.startswith("_") and callable(getattr(thing, part)):
                    yield f"{chapter}.{name}.{part}", getattr(thing, part)


def lacking(chapter: str, root: Path = ROOT) -> Iterator[str]:
    """Yield a sentence for each thing that a chapter of the book in `root` needs and lacks here."""
    if importlib.util.find_spec(f"derived.{chapter}") is None:
        yield f"chapters/{chapter}.ipynb has no module src/derived/{chapter}.py"
        return
    place = f"tests/chapters/{chapter}/{chapter}_rows.py"
    if not (root / place).is_file():
        yield f"{place} is missing: each public helper of derived.{chapter} needs a row in its HELPERS"
        return
    present = gathered("rows", "HELPERS", root)[chapter].keys()
    helpers = dict(public(chapter)).keys()
    for name in sorted(helpers - present):
        yield f"{name} has no row in {place}"
    for name in sorted(present - helpers):
        yield f"{place} has a row for {name}, which derived.{chapter} doesn't offer"
