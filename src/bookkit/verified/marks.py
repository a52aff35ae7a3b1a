"""Tests that verify an equation, found by reading their source; nothing is imported."""

import ast
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["METHODS", "Test", "in_file", "in_folder"]

# How a test verifies: what the mark beside an equation says, and what that means.
METHODS = {
    "exact": ("exact identity", "Both sides are computed in float64 and agree to rounding."),
    "symbolic": ("symbolic algebra", "A computer algebra system reduces the difference to zero."),
    "gradient": (
        "automatic differentiation",
        "The derived gradient equals the one that automatic differentiation finds.",
    ),
    "enumeration": (
        "enumeration",
        "Brute force: every case of a finite set, or shapes rasterized and counted.",
    ),
    "peer": ("an independent implementation", "Code written by others gives the same values."),
    "sampling": (
        "sampling",
        "A Monte Carlo estimate lies within five standard errors of the formula.",
    ),
    "conjecture": (
        "search",
        "Not proven: a search for a counterexample, which found none, is all there is.",
    ),
}

_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Test:
    """A test function with its marks, each a label and a method, and the helpers it calls."""

    path: str
    name: str
    first: int
    last: int
    source: str
    summary: str
    marks: tuple[tuple[str, str], ...]
    helpers: tuple[tuple[str, str], ...]

    @property
    def where(self) -> str:
        return f"{self.path}:{self.first}"

    def methods(self, label: str) -> list[str]:
        """Return the methods by which this test verifies `label`."""
        return [by for marked, by in self.marks if marked == label]


def in_folder(folder: Path, root: Path) -> tuple[list[Test], list[tuple[str, str]]]:
    """Return all tests with a mark below `folder`, and (where, what is wrong) for bad marks."""
    tests, wrong = [], []
    for path in sorted(folder.rglob("*.py")):
        own, bad = in_file(path, root)
        tests += own
        wrong += bad
    return tests, wrong


def in_file(path: Path, root: Path) -> tuple[list[Test], list[tuple[str, str]]]:
    """Return the tests with a mark in one file, and (where, what is wrong) for bad marks."""
    text = path.read_text("utf-8")
    if "verifies" not in text:  # parsing is the slow part, and most files have no mark
        return [], []
    name = path.relative_to(root).as_posix()
    tree = ast.parse(text, filename=str(path))
    lines = text.splitlines()
    definitions = _definitions(tree)
    tests, wrong = [], []
    for qualname, function, expressions in _marked(tree, "", ()):
        marks = []
        for expression in expressions:
            labels, error = _read(expression)
            marks += labels
            if error:
                wrong.append((f"{name}:{expression.lineno}", error))
        if not all(part.lower().startswith("test") for part in qualname.split("::")):
            message = f"`{qualname}` carries a mark, but pytest does not collect that name"
            wrong.append((f"{name}:{function.lineno}", message))
        elif marks:
            first, last = _span(function)
            helpers = tuple(
                (key, _source(lines, node)) for key, node in _used(function, definitions)
            )
            summary = (ast.get_docstring(function) or "").partition("\n")[0]
            source = _source(lines, function)
            test = Test(name, qualname, first, last, source, summary, tuple(marks), helpers)
            tests.append(test)
    return tests, wrong


def _marked(
    scope: ast.AST, prefix: str, outer: tuple[ast.Call, ...]
) -> Iterator[tuple[str, _Function, tuple[ast.Call, ...]]]:
    """Yield each function with the marks on it, on its classes and in `pytestmark`."""
    inherited = outer + _pytestmark(scope)
    for node in ast.iter_child_nodes(scope):
        if isinstance(node, ast.ClassDef):
            marks = inherited + _marks(*node.decorator_list)
            yield from _marked(node, f"{prefix}{node.name}::", marks)
        elif isinstance(node, _Function):
            own = _marks(*node.decorator_list)
            # A mark on a class or module counts for its tests, not for the functions beside them.
            if own or (inherited and node.name.startswith("test")):
                yield f"{prefix}{node.name}", node, inherited + own


def _pytestmark(scope: ast.AST) -> tuple[ast.Call, ...]:
    for node in ast.iter_child_nodes(scope):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
            return _marks(node.value)
    return ()


def _marks(*expressions: ast.expr) -> tuple[ast.Call, ...]:
    """Return the marks in decorators or in `pytestmark`; `verifies` alone is short for them."""
    nodes = [node for expression in expressions for node in ast.walk(expression)]
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    return tuple(call for call in calls if _is_mark(ast.unparse(call.func)))


def _is_mark(name: str) -> bool:
    return name == "verifies" or name.endswith("mark.verifies")


def _read(mark: ast.Call) -> tuple[list[tuple[str, str]], str]:
    """Return a mark's labels, each with the method, or what is wrong with it."""
    labels = [label.value for label in mark.args if isinstance(label, ast.Constant)]
    match mark.keywords:
        case [ast.keyword(arg="by", value=ast.Constant(value=by))] if labels:
            if by not in METHODS:
                return [], f'unknown method by="{by}": use one of {", ".join(METHODS)}'
            if len(labels) == len(mark.args) and all(isinstance(label, str) for label in labels):
                return [(label, by) for label in labels], ""
    return [], f'`{ast.unparse(mark)}`: write pytest.mark.verifies("label", by="method")'


def _definitions(tree: ast.Module) -> dict[str, ast.stmt]:
    """Return the functions, classes and constants of a test file that are no tests."""
    named = {}
    for node in tree.body:
        if isinstance(node, _Function | ast.ClassDef):
            if not node.name.lower().startswith("test"):
                named[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                named |= {n.id: node for n in ast.walk(target) if isinstance(n, ast.Name)}
    named.pop("pytestmark", None)
    return named


def _used(function: _Function, definitions: dict[str, ast.stmt]) -> list[tuple[str, ast.stmt]]:
    """Return what a test uses of its own file, directly or through another, in file order."""
    used, queue = {}, [function]
    while queue:
        for node in ast.walk(queue.pop()):
            match node:
                # An argument counts too: a fixture is used by naming it.
                case ast.Name(id=name) | ast.arg(arg=name):
                    pass
                case _:
                    continue
            if name in definitions and definitions[name] not in used:
                used[definitions[name]] = name
                queue.append(definitions[name])
    return sorted(((name, node) for node, name in used.items()), key=lambda pair: pair[1].lineno)


def _span(node: ast.stmt) -> tuple[int, int]:
    """Return the first and the last line of a statement, its decorators included."""
    decorators = getattr(node, "decorator_list", [])
    return min([node.lineno, *(d.lineno for d in decorators)]), node.end_lineno


def _source(lines: list[str], node: ast.stmt) -> str:
    first, last = _span(node)
    return textwrap.dedent("\n".join(lines[first - 1 : last]))
