"""Mutation testing: would a chapter's tests fail, were its formulas wrong?

``python -m bookkit.mutants iou`` changes ``src/derived/iou.py`` one operator, constant, index or
call at a time and runs ``tests/test_iou*.py`` on each changed module. A mutant that no test notices
survives: a formula that nobody checks, or a change without an effect. The latter is accepted, with
its reason, in ``tests/mutants.toml``:

    [iou]
    skip = ["BLOCK"]  # constants and functions that are never changed

    [[iou.survivors]]
    function = "giou"
    line = "hull = hull.clamp(min=0)"
    mutant = "hull = hull.clamp(min=1)"
    reason = "why the change has no effect"

A line that ends in ``# mutants: skip (reason)`` is left alone. So are messages, annotations,
assertions and ``raise``.

Torch and all else that the tests import from outside is imported once; each mutant is a fork, in
which the changed source stands in for the file's, so conftest and its import hooks see nothing
unusual. It runs only those tests that enter the changed function (seen on a first, unchanged run),
likely killers first, and ends at the first failure.

A run that tried all leaves its figures in ``tests/mutants/CHAPTER.json``, with date and commit; the
page on what is verified shows them.
"""

import argparse
import ast
import datetime
import difflib
import importlib
import io
import itertools
import json
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import time
import tokenize
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.machinery import ExtensionFileLoader, SourceFileLoader
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import BinaryIO

import hypothesis
import pytest

from bookkit.commit import commit
from bookkit.verified.record import chapter_digest

__all__ = ["Mutant", "Outcome", "Target", "keep", "main", "mutants_of", "read_settings", "report"]

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

# The book's folders from whose files the tests import.
_FOLDERS = ("tests", "benchmarks")

_SKIP = re.compile(r"#\s*mutants: skip\b(\s*\(.+\))?")


@dataclass(frozen=True)
class Mutant:
    """One change of a module: the whole changed source, and where and what the change is.

    `scope` is the line span of the outermost function or class around it, None for module code,
    which runs on import.
    """

    source: str
    number: int
    function: str
    line: str
    mutant: str
    scope: tuple[int, int] | None

    @property
    def key(self) -> tuple[str, str, str]:
        """What stays the same when lines move."""
        return self.function, self.line, self.mutant


def mutants_of(source: str, skip: frozenset[str] = frozenset()) -> list[Mutant]:
    """Return every mutant of a module's source, without those of the names in `skip`."""
    lines = source.encode().splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    skipped = _skipped_lines(source)
    mutants = {}
    for place, node in _reachable(ast.parse(source), skip):
        if node.lineno in skipped:
            continue
        for start, end, text in _changes(node, source.encode(), starts, place.in_index):
            mutant = _mutant(source.encode(), start, end, text, place)
            if _compiles(mutant.source):
                mutants.setdefault(mutant.source, mutant)
    return sorted(mutants.values(), key=lambda mutant: (mutant.number, mutant.mutant))


def _mutant(source: bytes, start: int, end: int, text: str, place: "_Place") -> Mutant:
    changed = source[:start] + text.encode() + source[end:]
    number = source[:start].count(b"\n")
    before, after = (whole.decode().splitlines()[number].strip() for whole in (source, changed))
    return Mutant(changed.decode(), number + 1, place.name, before, after, place.scope)


def _compiles(source: str) -> bool:
    """Say whether a change is a program at all: `clamp(min=0, max=1)` may have got two `max`."""
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True


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
        first = min([child.lineno, *(d.lineno for d in child.decorator_list)])
        return _Place(name, place.scope or (first, child.end_lineno))
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


# Running the tests ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """A chapter's module and its tests, in the folder of a book."""

    root: Path
    chapter: str

    @property
    def module(self) -> Path:
        return self.root / "src" / "derived" / f"{self.chapter}.py"

    @property
    def tests(self) -> list[Path]:
        """The chapter's tests: one file, and further ones whose names go on after an underscore."""
        folder = self.root / "tests"
        return [
            folder / f"test_{self.chapter}.py",
            *sorted(folder.glob(f"test_{self.chapter}_*.py")),
        ]


@dataclass(eq=False)
class Watcher:
    """A pytest plugin: chooses and orders the tests, and sees what each of them does.

    `entered` holds, for each test, the first lines of the functions of the file `watched` that it
    calls; under "" those called for all tests, on import or by a fixture that several share.
    """

    costs: dict[str, float] | None = None
    watched: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    entered: dict[str, set[int]] = field(default_factory=lambda: {"": set()})
    killer: str = ""

    @contextmanager
    def watch(self, name: str) -> Iterator[None]:
        lines = self.entered.setdefault(name, set())

        def note(frame, event, _) -> None:
            if event == "call" and frame.f_code.co_filename == self.watched:
                lines.add(frame.f_code.co_firstlineno)

        before = sys.getprofile()
        if self.watched:
            sys.setprofile(note)
        try:
            yield
        finally:
            sys.setprofile(before)

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self):
        # A failure is enough here: no shrinking of the example, no explaining.
        hypothesis.settings.register_profile(
            "mutants",
            hypothesis.settings(),
            derandomize=True,
            deadline=None,
            database=None,
            phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        )
        hypothesis.settings.load_profile("mutants")
        with self.watch(""):
            return (yield)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self.costs is not None:
            chosen = [item for item in items if item.nodeid in self.costs]
            items[:] = sorted(chosen, key=lambda item: self.costs[item.nodeid])

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef):
        if fixturedef.scope == "function":
            return (yield)
        with self.watch(""):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item):
        start = time.monotonic()
        with self.watch(item.nodeid):
            result = yield
        self.seconds[item.nodeid] = time.monotonic() - start
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.killer = report.nodeid


def _run_tests(target: Target, watcher: Watcher) -> int:
    options = ["-x", "-q", "-p", "no:cacheprovider"]
    # No record of what a mutant does; and of course these modules are loaded already.
    options += ["-p", "bookkit.verified.plugin", "--verified-record="]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    return int(pytest.main([*map(str, target.tests), *options], plugins=[watcher]))


@dataclass(frozen=True)
class Clean:
    """What the run of the unchanged module showed."""

    status: int
    output: str
    total: float
    seconds: dict[str, float]
    entered: dict[str, set[int]]
    modules: list[str]

    def limit(self, tests: list[str]) -> float:
        """Return the time after which some of the tests must have ended: four times what it took."""
        others = sum(self.seconds.values()) - sum(self.seconds[test] for test in tests)
        return 4 * (self.total - others)

    def tests_for(self, mutant: Mutant) -> list[str]:
        """Return the tests that enter the changed function; no other can notice the change."""
        first, last = mutant.scope or (0, sys.maxsize)
        if any(first <= line <= last for line in self.entered[""]) or not mutant.scope:
            return list(self.seconds)
        return [t for t in self.seconds if any(first <= n <= last for n in self.entered[t])]


def _clean_run(target: Target, answers: Connection) -> None:
    """Run the tests on the unchanged module, in a fork, and send what they show."""
    watcher = Watcher(watched=str(target.module))
    output, start = _silence(), time.monotonic()
    status = _run_tests(target, watcher)
    total = time.monotonic() - start
    sys.stdout.flush()
    output.seek(0)
    printed = output.read().decode(errors="replace")
    modules = _outside(target.root)
    answers.send(Clean(status, printed, total, watcher.seconds, watcher.entered, modules))


def _trial(target: Target, mutant: Mutant, costs: dict[str, float], answers: Connection) -> None:
    """Run the tests on a mutant, in a fork, and send what noticed it, "" if nothing did."""
    os.setpgid(0, 0)  # so that a time limit also ends what the tests have started
    _silence()
    _substitute(target.module, mutant.source)
    watcher = Watcher(costs)
    status = _run_tests(target, watcher)
    answers.send((watcher.killer or f"pytest's exit status {status}") if status else "")


def _silence() -> BinaryIO:
    """Send what this process prints to an unnamed file, and return that."""
    sink = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process lives)
    os.dup2(sink.fileno(), 1)
    os.dup2(sink.fileno(), 2)
    return sink


def _outside(root: Path) -> list[str]:
    """Return the loaded modules that come from outside the book and are imported as usual."""
    names = []
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        if type(getattr(spec, "loader", None)) in (SourceFileLoader, ExtensionFileLoader):
            own = name.partition(".")[0] in ("bookkit", "derived", "__main__")
            if not own and not any(Path(spec.origin).is_relative_to(root / f) for f in _FOLDERS):
                names.append(name)
    return names


def _substitute(path: Path, source: str) -> None:
    """Let importing the file at `path` give `source`; import hooks then work on it as on any."""
    get_data, path_stats = SourceFileLoader.get_data, SourceFileLoader.path_stats

    def changed_data(loader: SourceFileLoader, name: str) -> bytes:
        return source.encode() if name == str(path) else get_data(loader, name)

    def changed_stats(loader: SourceFileLoader, name: str) -> dict:
        if name == str(path):
            raise OSError("a mutant has no bytecode")
        return path_stats(loader, name)

    SourceFileLoader.get_data = changed_data
    SourceFileLoader.path_stats = changed_stats


_FORK = multiprocessing.get_context("fork")


@dataclass
class Trial:
    """A mutant whose tests are running; at `ends` its time is over."""

    mutant: Mutant
    process: ForkProcess
    answers: Connection
    ends: float

    def killer(self) -> str:
        """Return what noticed the mutant, "" if nothing did; end the tests if they still run."""
        if self.process.is_alive():
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.join()
            return "time limit"
        self.process.join()
        with suppress(EOFError):  # no answer: the change has brought the whole process down
            if self.answers.poll():
                return self.answers.recv()
        return f"exit {self.process.exitcode}"


def _fork(work: Callable[..., None], *arguments: object) -> tuple[ForkProcess, Connection]:
    receiver, sender = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=work, args=(*arguments, sender))
    process.start()
    sender.close()
    return process, receiver


@dataclass
class Outcome:
    """What became of each mutant; with the killed ones, what noticed them."""

    killed: list[tuple[Mutant, str]] = field(default_factory=list)
    survived: list[Mutant] = field(default_factory=list)
    untried: list[Mutant] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.killed) + len(self.survived) + len(self.untried)


def _try_all(
    target: Target, mutants: list[Mutant], clean: Clean, jobs: int, patience: float, deadline: float
) -> Outcome:
    """Run the tests on each mutant, `jobs` at a time, until the deadline.

    A mutant has `patience` seconds, or four times what the unchanged module needed if that is more.
    """
    outcome, waiting, trials = Outcome(), mutants[::-1], []
    kills: Counter[str] = Counter()
    end = "\r" if sys.stderr.isatty() else "\n"
    while trials or (waiting and time.monotonic() < deadline):
        while waiting and len(trials) < jobs and time.monotonic() < deadline:
            mutant = waiting.pop()
            tests = clean.tests_for(mutant)
            if not tests:
                outcome.survived.append(mutant)
                continue
            # Quick tests that have killed before come first.
            costs = {test: clean.seconds[test] / (1 + kills[test]) for test in tests}
            limit = max(patience, clean.limit(tests))
            process, answers = _fork(_trial, target, mutant, costs)
            ends = min(time.monotonic() + limit, deadline)
            trials.append(Trial(mutant, process, answers, ends))
        pause = min((trial.ends for trial in trials), default=0) - time.monotonic()
        wait([trial.process.sentinel for trial in trials], max(0, pause))
        for trial in list(trials):
            late = time.monotonic() >= trial.ends
            if trial.process.is_alive() and not late:
                continue
            trials.remove(trial)
            killer = trial.killer()
            if killer == "time limit" and trial.ends == deadline:
                outcome.untried.append(trial.mutant)
            elif killer:
                kills[killer] += 1
                outcome.killed.append((trial.mutant, killer))
            else:
                outcome.survived.append(trial.mutant)
            if sys.stderr.isatty() or len(outcome) % 50 == 0:
                print(f"{len(outcome)} of {len(mutants)} mutants tried", end=end, file=sys.stderr)
    outcome.untried += waiting
    return outcome


# The verdict ------------------------------------------------------------------------------------


def read_settings(
    root: Path, chapter: str
) -> tuple[frozenset[str], dict[tuple[str, str, str], str]]:
    """Return the names to skip and the accepted survivors, each with its reason."""
    path = root / "tests" / "mutants.toml"
    settings = tomllib.loads(path.read_text("utf-8")).get(chapter, {}) if path.is_file() else {}
    accepted = {}
    for entry in settings.get("survivors", []):
        if set(entry) != {"function", "line", "mutant", "reason"} or not entry["reason"].strip():
            sys.exit(f"{path}: a survivor needs function, line, mutant and reason, not {entry}")
        accepted[entry["function"], entry["line"], entry["mutant"]] = entry["reason"]
    return frozenset(settings.get("skip", [])), accepted


def _difference(target: Target, source: str, mutant: Mutant) -> str:
    """Return a survivor as a diff, headed by the entry that would accept it."""
    name = target.module.relative_to(target.root).as_posix()
    lines = difflib.unified_diff(
        source.splitlines(), mutant.source.splitlines(), name, name, n=1, lineterm=""
    )
    return f"{name}:{mutant.number} in {mutant.function}\n" + "\n".join(list(lines)[2:])


def report(
    target: Target, source: str, outcome: Outcome, skip: frozenset[str], accepted: dict
) -> tuple[dict, bool]:
    """Print what survived and what is stale; return the figures and whether all is in order."""
    fine = [mutant for mutant in outcome.survived if mutant.key in accepted]
    open_ = [mutant for mutant in outcome.survived if mutant.key not in accepted]
    stale = accepted.keys() - {mutant.key for mutant in outcome.survived + outcome.untried}
    for mutant in open_:
        print(_difference(target, source, mutant), end="\n\n")
    stale |= {("skip", name) for name in skip if not re.search(rf"\b{re.escape(name)}\b", source)}
    for entry in sorted(stale):
        print(f"stale in tests/mutants.toml, killed or gone: {' | '.join(entry)}")
    counted = len(outcome.killed) + len(open_)
    score = 100 * len(outcome.killed) / counted if counted else 100.0
    print(
        f"{target.chapter}: {len(outcome.killed)} of {counted} mutants killed ({score:.1f} %); "
        f"{len(fine)} more survive for an accepted reason"
    )
    if outcome.untried:
        print(f"{len(outcome.untried)} mutants were not tried: out of time")
    figures = {
        "chapter": target.chapter,
        "total": len(outcome),
        "killed": len(outcome.killed),
        "survived": len(open_),
        "accepted": len(fine),
        "untried": len(outcome.untried),
        "score": round(score, 1),
        "killers": dict(Counter(killer for _, killer in outcome.killed).most_common()),
        "survivors": [
            {"function": m.function, "line": m.line, "mutant": m.mutant, "number": m.number}
            for m in open_
        ],
    }
    return figures, not (stale or outcome.untried)


def keep(target: Target, figures: dict) -> None:
    """Write what the book's pages say of a whole run to ``tests/mutants/CHAPTER.json``."""
    kept = {key: figures[key] for key in ("killed", "survived", "accepted", "score", "seconds")}
    result = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit(target.root),
        "digest": chapter_digest(target.root, target.chapter),
        **kept,
    }
    path = target.root / "tests" / "mutants" / f"{target.chapter}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bookkit.mutants", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("chapter", help="the chapter's name, as in src/derived/CHAPTER.py")
    parser.add_argument("--jobs", type=int, default=2, help="tests run at a time (2)")
    parser.add_argument("--max-minutes", type=float, default=20, help="time for all (20)")
    parser.add_argument(
        "--patience", type=float, default=20, help="seconds that each mutant has at least (20)"
    )
    parser.add_argument("--fail-under", type=float, default=90, help="percent to be killed (90)")
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the book's folder")
    options = parser.parse_args(arguments)
    start = time.monotonic()
    target = Target(options.root.resolve(), options.chapter)
    source = target.module.read_text("utf-8")
    skip, accepted = read_settings(target.root, target.chapter)
    mutants = mutants_of(source, skip)

    os.chdir(target.root)
    sys.path.insert(0, str(target.root / "src"))
    os.environ["OMP_NUM_THREADS"] = "1"  # a pool of threads does not outlive a fork
    process, answers = _fork(_clean_run, target)
    clean = answers.recv()
    process.join()
    if clean.status:
        print(clean.output)
        print("the tests must pass on the unchanged module before mutants mean anything")
        return 1
    for name in clean.modules:
        importlib.import_module(name)

    deadline = start + 60 * options.max_minutes
    outcome = _try_all(target, mutants, clean, options.jobs, options.patience, deadline)
    figures, in_order = report(target, source, outcome, skip, accepted)
    figures["seconds"] = round(time.monotonic() - start, 1)
    result = target.root / "_build" / f"mutants-{target.chapter}.json"
    result.parent.mkdir(exist_ok=True)
    result.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    if not outcome.untried:
        keep(target, figures)
    return 0 if in_order and figures["score"] >= options.fail_under else 1


if __name__ == "__main__":
    sys.exit(main())
