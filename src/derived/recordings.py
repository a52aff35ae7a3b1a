"""Results of long experiments, recorded once by a named command and looked up where they are used.

A cell whose training takes minutes stays what a reader sees and can run; only its results are looked
up, as long as the code is the one that was recorded:

    @recorded("iou_digits", {"loss": "GIoU", "seed": 0, "steps": 10}, rel=0.05, reason="…")
    def final(loss, seed, steps=200): ...

A call with other arguments, or after an edit of the function or of anything in the notebook that it
uses, is computed. `final.compute(…)` computes in any case. `make sweeps CHAPTERS=iou` runs the
notebook with every such call computed, and stores the results in `chapters/recorded/iou_digits.json`.
Under the tests the call `spot` is computed anew once, and must give what is recorded within the
tolerance.

What the package `derived` and its dependencies compute is not part of the code that is compared:
their own tests and the spot check are for that.
"""

import ast
import functools
import hashlib
import inspect
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import Any

from derived.gpu import load

__all__ = ["Recorded", "digest", "recorded"]

Plain = None | bool | int | float | str | list | dict

DIGITS = 6  # significant digits of a result's numbers

# What the tools set: the folder that takes results, which names are computed anew (none: all), and
# whether a first use is checked.
FOLDER, NAMES, CHECK = "DERIVED_RECORD", "DERIVED_RECORD_NAMES", "DERIVED_SPOT_CHECK"


def recorded(
    name: str,
    spot: dict[str, Any],
    *,
    rel: Real = 0.0,
    abs: Real = 0.0,
    reason: str,
) -> Callable[[Callable], "Recorded"]:
    """Let a function's results be looked up in `chapters/recorded/<name>.json`.

    Args:
        name: the chapter's name, an underscore and one word for what is recorded.
        spot: arguments of a call of a few seconds, which is recorded too and computed anew under
            the tests.
        rel: how far a number of that call may lie from the recorded one, relative to it,
        abs: plus this much.
        reason: why it may.

    The function seeds its own generators, takes what JSON can hold, and returns numbers, texts,
    tensors, or lists, tuples and dicts of them; a tensor or tuple becomes a list, a number has 6
    significant digits, whether it was looked up or computed. The global generators of numbers are
    after a call as before it.

    Raises:
        ValueError: if the tolerance is no number of at least 0, or no reason is given.
    """
    for label, size in {"rel": rel, "abs": abs}.items():
        if isinstance(size, bool) or not isinstance(size, Real) or not 0 <= size < math.inf:
            raise ValueError(f"{label}: expected a finite number of at least 0, got {size!r}")
    if not reason.strip():
        raise ValueError("reason: expected why the numbers may differ, got nothing")
    return lambda function: Recorded(function, name, spot, (rel, abs))


class Recorded:
    """A function whose results are looked up; `recorded` makes it."""

    def __init__(
        self,
        function: Callable,
        name: str,
        spot: dict[str, Any],
        tolerance: tuple[Real, Real],
    ) -> None:
        functools.update_wrapper(self, function)
        kinds = [each.kind for each in inspect.signature(function).parameters.values()]
        if any(kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD for kind in kinds):
            raise ValueError(f"{function.__name__}: expected plain parameters, no *, ** or /")
        self._function, self.name, self._spot, self._tolerance = function, name, spot, tolerance
        self._results: list[dict] = []  # in a run that records
        self._seconds = 0.0
        self._checked = False

    def __call__(self, *args: Any, **kwargs: Any) -> Plain:
        """Return the recorded result of these arguments, or compute it where there is none.

        Raises:
            AssertionError: under the tests, if the code has changed since it was recorded, if these
                arguments are not recorded, or if the spot check fails.
            ValueError: in a run that records, for arguments that JSON can't hold.
        """
        arguments = self._bound(*args, **kwargs)
        if os.environ.get(FOLDER) and self.name in (os.environ.get(NAMES) or self.name).split(","):
            return self._record(arguments, *args, **kwargs)
        record = load(self.name)
        checks = os.environ.get(CHECK) == "1"
        if checks:
            self._check(record)
        if record and arguments is not None and record["source"] == self._digest():
            for entry in record["results"]:
                if entry["arguments"] == arguments:
                    return entry["result"]
        if checks:
            raise AssertionError(
                f"recorded/{self.name}.json: no result of {self.__name__} for {arguments}; "
                f"{self._remedy()}"
            )
        return self.compute(*args, **kwargs)

    def compute(self, *args: Any, **kwargs: Any) -> Plain:
        """Compute a result, whatever is recorded."""
        with _generators_kept():
            return _plain(self._function(*args, **kwargs))

    def _bound(self, *args: Any, **kwargs: Any) -> dict | None:
        """Return the arguments by name, defaults included, as JSON holds them; None if it can't."""
        bound = inspect.signature(self._function).bind(*args, **kwargs)
        bound.apply_defaults()
        try:
            return json.loads(json.dumps(bound.arguments))
        except TypeError:
            return None

    def _digest(self) -> str | None:
        return digest(tuple(_sources(self._function)), self.__name__)

    def _remedy(self) -> str:
        return f"make sweeps CHAPTERS={self.name.rpartition('_')[0]}"

    def _check(self, record: dict | None) -> None:
        """Compare the spot, at the first use, with what is computed now."""
        if self._checked:
            return
        if record is None:
            raise AssertionError(f"recorded/{self.name}.json is missing: {self._remedy()}")
        if record["source"] != self._digest():
            raise AssertionError(
                f"the code of {self.__name__} changed since it was recorded: {self._remedy()}"
            )
        wanted = self._bound(**self._spot)
        stored = [entry for entry in record["results"] if entry["arguments"] == wanted]
        if not stored:
            raise AssertionError(
                f"recorded/{self.name}.json: the spot {wanted} is not recorded: {self._remedy()}"
            )
        now = self.compute(**self._spot)
        if differing := list(_differences(stored[0]["result"], now, *self._tolerance)):
            raise AssertionError(
                f"the spot check of {self.__name__} fails, {self._spot}: "
                + "; ".join(differing[:5])
            )
        self._checked = True

    def _record(self, arguments: dict | None, *args: Any, **kwargs: Any) -> Plain:
        """Compute a result, and store it with the spot and what this kernel recorded before."""
        if arguments is None:
            raise ValueError(f"{self.__name__}: JSON can't hold its arguments")
        result = self._recorded_now(arguments, *args, **kwargs)
        self._recorded_now(self._bound(**self._spot), **self._spot)
        content = {
            "function": self.__name__,
            "source": self._digest(),
            "spot": self._bound(**self._spot),
            "CPU seconds": round(self._seconds, 1),
            "results": self._results,
        }
        path = Path(os.environ[FOLDER]) / f"{self.name}.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        return result

    def _recorded_now(self, arguments: dict | None, *args: Any, **kwargs: Any) -> Plain:
        for entry in self._results:
            if entry["arguments"] == arguments:
                return entry["result"]
        start = time.process_time()
        result = self.compute(*args, **kwargs)
        self._seconds += time.process_time() - start
        self._results.append({"arguments": arguments, "result": result})
        return result


@contextmanager
def _generators_kept() -> Iterator[None]:
    """Put the global generators back, so that a result looked up and one computed leave the same."""
    import torch

    from derived._checkpoints import generators, restore_generators

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    before = generators(device)
    try:
        yield
    finally:
        restore_generators(before, device)


def _plain(value: Any) -> Plain:
    """Return a result as JSON holds it, its numbers rounded."""
    if hasattr(value, "tolist"):  # a tensor, or a number or array of NumPy's
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _differences(
    stored: Plain, now: Plain, rel: Real, abs_: Real, place: str = ""
) -> Iterator[str]:
    """Yield where a result leaves the recorded one by more than `abs_ + rel·|recorded|`."""
    if isinstance(stored, dict) and isinstance(now, dict) and [*stored] == [*now]:
        for key in stored:
            yield from _differences(stored[key], now[key], rel, abs_, f"{place}[{key!r}]")
    elif isinstance(stored, list) and isinstance(now, list) and len(stored) == len(now):
        for index, (old, new) in enumerate(zip(stored, now, strict=True)):
            yield from _differences(old, new, rel, abs_, f"{place}[{index}]")
    elif _is_number(stored) and _is_number(now):
        allowed = abs_ + rel * abs(stored)
        same = stored == now or (math.isnan(stored) and math.isnan(now))
        if not same and not abs(stored - now) <= allowed:
            yield f"result{place}: recorded {stored:.6g}, now {now:.6g}, allowed ± {allowed:.3g}"
    elif stored != now:
        yield f"result{place}: recorded {stored!r}, now {now!r}"


def _is_number(value: Plain) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# Which code a result is of.


def _sources(function: Callable) -> list[str]:
    """Return what was run, in order, where the function is from: a notebook's cells or a file."""
    cells = function.__globals__.get("In")
    if isinstance(cells, list):
        return cells
    try:
        return [inspect.getsource(inspect.getmodule(function) or function)]
    except (OSError, TypeError):
        return []


@functools.lru_cache(maxsize=32)
def digest(sources: tuple[str, ...], name: str) -> str | None:
    """Return a hash of a function's code with all that it uses of the cells that were run.

    Args:
        sources: the cells' Python, in the order in which they ran; of a cell that ran twice, both.
        name: the function's.

    Comments, layout, docstrings, annotations and the decorator `recorded` don't count, and of an
    import only the name that is used. What a method call changes in place is not seen. None: no
    cell defines the function in a way that can be read.
    """
    return _Cells(sources).digest(name)


class _Cells:
    """The statements of cells, by the names that they bind or change."""

    def __init__(self, sources: tuple[str, ...]) -> None:
        self.statements: list[ast.stmt] = []
        for source in sources:
            try:
                self.statements += ast.parse(source).body
            except SyntaxError:  # such a cell never ran
                continue
        for statement in self.statements:
            if isinstance(statement, ast.FunctionDef):
                kept = [each for each in statement.decorator_list if not _records(each)]
                statement.decorator_list = kept
        self.touched = [_touched(statement) for statement in self.statements]

    def digest(self, name: str) -> str | None:
        end = len(self.statements)
        start = self._last_binding(name, end)
        if start is None or not isinstance(self.statements[start], ast.FunctionDef):
            return None
        texts: dict[tuple[int, str], str] = {}
        waiting = [(name, end)]
        while waiting:
            wanted, before = waiting.pop()
            for index in self._made_by(wanted, before):
                statement = self.statements[index]
                key = (index, wanted if _is_import(statement) else "")
                if key in texts:
                    continue
                texts[key] = _text(statement, wanted)
                used = _used(statement, late=False)
                waiting += [(name, end if late else index) for name, late in used]
        return hashlib.sha256("\n".join(sorted(texts.values())).encode()).hexdigest()[:16]

    def _last_binding(self, name: str, before: int) -> int | None:
        bound = (i for i in reversed(range(before)) if self.touched[i].get(name) == "bound")
        return next(bound, None)

    def _made_by(self, name: str, before: int) -> list[int]:
        """Return the last statement before a place that binds a name, and those that change it."""
        start = self._last_binding(name, before)
        if start is None:
            return []
        return [start, *(i for i in range(start + 1, before) if name in self.touched[i])]


def _records(decorator: ast.expr) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return getattr(called, "id", getattr(called, "attr", None)) == "recorded"


def _is_import(statement: ast.AST) -> bool:
    return isinstance(statement, ast.Import | ast.ImportFrom)


def _touched(statement: ast.AST) -> dict[str, str]:
    """Return the names that a statement binds or, by a subscript, attribute or `|=`, changes."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name: "bound"}
    touched: dict[str, str] = {}
    added_to = set()
    for node in _outside_functions(statement):
        if isinstance(node, ast.AugAssign):
            added_to.add(node.target)
            touched.update(dict.fromkeys(_bases(node.target), "changed"))
        elif isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store):
            for base in _bases(node):
                touched.setdefault(base, "changed")
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            if node not in added_to:
                touched[node.id] = "bound"
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            touched[node.name] = "bound"
        elif _is_import(node):
            touched.update({_bound_by(alias): "bound" for alias in node.names})
    return touched


def _bound_by(alias: ast.alias) -> str:
    return alias.asname or alias.name.partition(".")[0]


def _bases(target: ast.expr) -> list[str]:
    while isinstance(target, ast.Subscript | ast.Attribute):
        target = target.value
    return [target.id] if isinstance(target, ast.Name) else []


_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a statement's parts without what functions, classes and comprehensions keep inside."""
    yield node
    if not isinstance(node, _SCOPES + _COMPREHENSIONS):
        for child in ast.iter_child_nodes(node):
            yield from _outside_functions(child)


def _used(node: ast.AST, *, late: bool) -> Iterator[tuple[str, bool]]:
    """Yield the names that are read, and whether only when a function is called.

    A function's or comprehension's own names are left out; a class's count, which at worst compares
    more code than is needed.
    """
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        body = node.body if isinstance(node.body, list) else [node.body]
        own = {each.arg for each in ast.walk(node.args) if isinstance(each, ast.arg)}
        for part in body:
            own |= {name for name, how in _touched(part).items() if how == "bound"}
        outside = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
        for part in [*outside, *getattr(node, "decorator_list", [])]:
            yield from _used(part, late=late)
        for part in body:
            yield from (each for each in _used(part, late=True) if each[0] not in own)
    elif isinstance(node, _COMPREHENSIONS):
        parts = [each for generator in node.generators for each in ast.walk(generator.target)]
        own = {each.id for each in parts if isinstance(each, ast.Name)}
        for child in ast.iter_child_nodes(node):
            yield from (each for each in _used(child, late=late) if each[0] not in own)
    elif isinstance(node, ast.Name):
        if isinstance(node.ctx, ast.Load):
            yield node.id, late
    else:
        for child in ast.iter_child_nodes(node):
            yield from _used(child, late=late)


_NO_CODE = {"ctx", "kind", "type_comment", "type_params", "returns", "annotation"}


def _text(statement: ast.stmt, name: str) -> str:
    if not _is_import(statement):
        return _canonical(statement)
    alias = next(each for each in statement.names if _bound_by(each) == name)
    return f"from {getattr(statement, 'module', None)} import {alias.name} as {name}"


def _canonical(node: Any) -> str:
    """Return a part of Python's syntax as text, which all versions of Python write alike."""
    if isinstance(node, list):
        return f"[{','.join(map(_canonical, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    parts = dict(ast.iter_fields(node))
    if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
        parts["body"] = parts["body"][1:]
    shown = [
        f"{name}={_canonical(value)}"
        for name, value in parts.items()
        if name not in _NO_CODE and value is not None and value != []
    ]
    return f"{type(node).__name__}({','.join(shown)})"
