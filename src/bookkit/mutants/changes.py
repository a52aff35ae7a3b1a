"""The mutants of a module: its source with one operator, constant, index or call changed."""

import ast
import hashlib
import io
import itertools
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Mutant", "draw", "mutants_of"]

_OPERATORS = {
    ast.Add: ("+", ["-"]),
    ast.Sub: ("-", ["+"]),
    ast.Mult: ("*", ["/"]),
    ast.Div: ("/", ["*"]),
    ast.FloorDiv: ("//", ["*"]),
    ast.Mod: ("%", ["*"]),
    ast.Pow: ("**", ["*"]),
    ast.MatMult: ("@", ["*"]),
    ast.BitAnd: ("&", ["|"]),
    ast.BitOr: ("|", ["&"]),
    ast.BitXor: ("^", ["&"]),
    ast.Lt: ("<", ["<=", ">="]),
    ast.LtE: ("<=", ["<", ">"]),
    ast.Gt: (">", [">=", "<="]),
    ast.GtE: (">=", [">", "<"]),
    ast.Eq: ("==", ["!="]),
    ast.NotEq: ("!=", ["=="]),
    ast.Is: ("is", ["is not"]),
    ast.IsNot: ("is not", ["is"]),
    ast.In: ("in", ["not in"]),
    ast.NotIn: ("not in", ["in"]),
    ast.And: ("and", ["or"]),
    ast.Or: ("or", ["and"]),
    ast.USub: ("-", [""]),
    ast.Not: ("not", [""]),
    ast.Invert: ("~", [""]),
}

_TWINS = [
    ("all", "any"),
    ("amax", "amin"),
    ("argmax", "argmin"),
    ("ceil", "floor"),
    ("cos", "sin"),
    ("cummax", "cummin"),
    ("cumprod", "cumsum"),
    ("logical_and", "logical_or"),
    ("max", "min"),
    ("maximum", "minimum"),
    ("mean", "sum"),
    ("ones", "zeros"),
    ("ones_like", "zeros_like"),
    ("sigmoid", "tanh"),
]
_TWIN = {a: b for pair in _TWINS for a, b in (pair, pair[::-1])}

# Methods whose call can go while the object in front of it stays.
_DROPPED = {"abs", "clamp", "clamp_min", "detach", "exp", "log", "neg", "sqrt", "square"}

# Functions of which two arguments, by position, can change places.
_SWAPPED = {"atan2": (0, 1), "arctan2": (0, 1), "div": (0, 1), "pow": (0, 1), "where": (1, 2)}

_SKIP = re.compile(r"#\s*mutants: skip\b(\s*\(.+\))?")


@dataclass(frozen=True)
class Mutant:
    """One change of a file: the whole changed source, and where and what the change is.

    `scope` is the line span of the outermost function or class around it, None for module code,
    which runs on import. `path` is None where the source was read from no file.
    """

    source: str
    number: int
    function: str
    line: str
    mutant: str
    scope: tuple[int, int] | None
    path: Path | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """What stays the same when lines move, also to another file."""
        return self.function, self.line, self.mutant


def draw(mutants: list[Mutant], number: int, seed: int) -> list[Mutant]:
    """Return at most `number` of the mutants, chosen at random by the seed.

    The choice looks at nothing but the seed and each mutant's key, so that where functions only
    move within a file, or to another, the same mutants are drawn before and after.
    """

    def rank(mutant: Mutant) -> bytes:
        return hashlib.sha256("\0".join([str(seed), *mutant.key]).encode()).digest()

    return sorted(mutants, key=rank)[:number]


def mutants_of(
    source: str, skip: frozenset[str] = frozenset(), path: Path | None = None
) -> list[Mutant]:
    """Return every mutant of the source in the file `path`, without those of the names in `skip`."""
    lines = source.encode().splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    skipped = _skipped_lines(source)
    tree = ast.parse(source)
    statements = [(_first_line(node), node.end_lineno) for node in tree.body]
    mutants = {}
    for place, node in _reachable(tree, skip):
        if node.lineno in skipped:
            continue
        for start, end, text in _changes(node, source.encode(), starts, place.in_index):
            mutant = _mutant(source.encode(), start, end, text, place, path)
            if _compiles(mutant, statements):
                mutants.setdefault(mutant.source, mutant)
    return sorted(mutants.values(), key=lambda mutant: (mutant.number, mutant.mutant))


def _mutant(
    source: bytes, start: int, end: int, text: str, place: "_Place", path: Path | None
) -> Mutant:
    changed = source[:start] + text.encode() + source[end:]
    number = source[:start].count(b"\n")
    before, after = (whole.decode().splitlines()[number].strip() for whole in (source, changed))
    return Mutant(changed.decode(), number + 1, place.name, before, after, place.scope, path)


def _compiles(mutant: Mutant, statements: list[tuple[int, int]]) -> bool:
    """Say whether a change is a program at all: `clamp(min=0, max=1)` may have got two `max`.

    The statement of the module that it is in says so; compiling the others takes most of the time.
    """
    first, last = next(span for span in statements if span[0] <= mutant.number <= span[1])
    try:
        compile("\n".join(mutant.source.splitlines()[first - 1 : last]), "mutant", "exec")
    except SyntaxError:
        return False
    return True


def _first_line(node: ast.stmt) -> int:
    """Return where a statement begins, with its decorators."""
    return min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])


def _skipped_lines(source: str) -> set[int]:
    """Return the lines that a comment takes out; such a comment must give its reason."""
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and (match := _SKIP.match(token.string)):
            if not match[1]:
                raise ValueError(f"line {token.start[0]}: write `# mutants: skip (reason)`")
            lines.add(token.start[0])
    return lines


@dataclass(frozen=True)
class _Place:
    name: str = "module"
    scope: tuple[int, int] | None = None
    in_index: bool = False


def _reachable(tree: ast.Module, skip: frozenset[str]) -> Iterator[tuple[_Place, ast.expr]]:
    """Yield the expressions and assignments whose change would change what the module computes."""
    stack: list[tuple[_Place, ast.AST]] = [(_Place(), tree)]
    while stack:
        place, node = stack.pop()
        if hasattr(node, "lineno"):
            yield place, node
        for name, value in ast.iter_fields(node):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and not _inert(node, name, child, skip):
                    stack.append((_inside(place, node, name, child), child))


def _inside(place: _Place, node: ast.AST, field_name: str, child: ast.AST) -> _Place:
    if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        name = child.name if place.scope is None else f"{place.name}.{child.name}"
        return _Place(name, place.scope or (_first_line(child), child.end_lineno))
    if field_name == "decorator_list":
        # What a decorator does, it may do without entering the function.
        return _Place(place.name, None)
    indexes = isinstance(node, ast.Subscript) and field_name == "slice"
    inherited = place.in_index and not isinstance(node, ast.Call)
    return _Place(place.name, place.scope, indexes or inherited)


def _inert(parent: ast.AST, name: str, node: ast.AST, skip: frozenset[str]) -> bool:
    """Say whether nothing of what `node` says is part of the computation, or it is to be skipped."""
    if name in ("annotation", "returns", "op", "ops", "ctx"):
        return True
    match node:
        case ast.Raise() | ast.Assert() | ast.JoinedStr() | ast.Import() | ast.ImportFrom():
            return True
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return node.name in skip
        case ast.Assign(targets=[ast.Name(id=target)]) | ast.AnnAssign(target=ast.Name(id=target)):
            return target in skip or target == "__all__"
        case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
            return True
    return False


def _changes(
    node: ast.AST, source: bytes, starts: list[int], in_index: bool
) -> Iterator[tuple[int, int, str]]:
    """Yield (start, end, new text), in bytes of the source, for each change of one node."""

    def begin(part: ast.AST) -> int:
        return starts[part.lineno - 1] + part.col_offset

    def end(part: ast.AST) -> int:
        return starts[part.end_lineno - 1] + part.end_col_offset

    def text(part: ast.AST) -> str:
        return source[begin(part) : end(part)].decode()

    def operator(op: ast.AST, left: int, right: int, tail: str = "") -> Iterator[tuple]:
        symbol, others = _OPERATORS.get(type(op), ("", []))
        at = _find(source, symbol + tail, left, right) if others else -1
        for other in others if at >= 0 else []:
            yield at, at + len(symbol), other

    match node:
        case ast.BinOp(left=left, op=op, right=right):
            if not (_is_text(left) or _is_text(right)):
                yield from operator(op, end(left), begin(right))
        case ast.AugAssign(target=target, op=op, value=value):
            yield from operator(op, end(target), begin(value), "=")
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            for a, op, b in zip([left, *comparators], ops, comparators, strict=False):
                yield from operator(op, end(a), begin(b))
        case ast.BoolOp(op=op, values=values):
            for a, b in itertools.pairwise(values):
                yield from operator(op, end(a), begin(b))
        case ast.UnaryOp(op=op, operand=operand):
            yield from operator(op, begin(node), begin(operand))
        case ast.Constant(value=bool(value)):
            yield begin(node), end(node), str(not value)
        case ast.Constant(value=int(value) | float(value)):
            for other in _other_numbers(value, in_index):
                yield begin(node), end(node), other
        case ast.Attribute(attr=name) if name in _TWIN:
            yield end(node) - len(name.encode()), end(node), _TWIN[name]
        case ast.Name(id=name) if name in _TWIN:
            yield begin(node), end(node), _TWIN[name]
        case ast.keyword(arg="min" | "max" as name):
            yield begin(node), begin(node) + 3, _TWIN[name]
        case ast.IfExp(test=test) | ast.If(test=test) | ast.While(test=test):
            if not isinstance(test, ast.Compare | ast.BoolOp | ast.UnaryOp | ast.Constant):
                yield begin(test), begin(test), "not "
        # Without arguments by position: `torch.exp(x)` would leave `torch`.
        case ast.Call(func=ast.Attribute(value=owner, attr=name), args=[]) if name in _DROPPED:
            yield _find(source, f".{name}", end(owner), end(node)), end(node), ""
    if isinstance(node, ast.Call) and not node.keywords:
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in _SWAPPED and len(node.args) > max(_SWAPPED[name]):
            a, b = (node.args[index] for index in _SWAPPED[name])
            between = source[end(a) : begin(b)].decode()
            yield begin(a), end(b), text(b) + between + text(a)


def _find(source: bytes, symbol: str, start: int, end: int) -> int:
    """Return where `symbol` stands between two operands, past comments; -1 where it does not."""
    code = re.sub(rb"#[^\n]*", lambda comment: b" " * len(comment[0]), source[start:end])
    at = code.find(symbol.encode())
    return start + at if at >= 0 else -1


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or isinstance(getattr(node, "value", None), str)


def _other_numbers(value: float, in_index: bool) -> list[str]:
    if value in (0, 1):
        return [repr(type(value)(1 - value))] + (["2"] if value == 1 and not in_index else [])
    # A negated index would often be another name for the same element.
    return [repr(value + 1)] + ([] if in_index else [f"(-{value!r})"])
