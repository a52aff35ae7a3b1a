"""What must hold between equations, tests, the accepted LaTeX and the record."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bookkit.verified import equations, marks, record
from bookkit.verified.equations import Equation
from bookkit.verified.marks import METHODS, Test

__all__ = ["Book", "Paths", "Problem", "Verdict", "described", "problems", "read_book", "verdict"]


@dataclass(frozen=True)
class Paths:
    """Where the book keeps its tests and its record."""

    root: Path
    tests: Path
    record: Path

    @classmethod
    def below(
        cls,
        root: Path,
        tests: str = "tests",
        record: str = "_build/verified.json",
    ) -> "Paths":
        return cls(root, root / tests, root / record)

    def accepted(self, page: str) -> Path:
        """Return the file of the accepted LaTeX of a page, beside what proves the chapter."""
        return self.tests / "chapters" / page.rpartition("/")[2] / "equations.json"

    def all_accepted(self) -> dict[Path, dict[str, str]]:
        """Return the accepted LaTeX of every chapter, by its file."""
        files = sorted(self.tests.glob("chapters/*/equations.json"))
        return {file: json.loads(file.read_text("utf-8")) for file in files}


@dataclass(frozen=True)
class Problem:
    """Something that must not be, with its place and a word for its kind."""

    kind: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


@dataclass(frozen=True)
class Book:
    """All equations and tests of a book, with the outcome of each test's cases."""

    paths: Paths
    equations: tuple[Equation, ...]
    tests: tuple[Test, ...]
    accepted: Mapping[str, str]
    outcomes: Mapping[Test, list[str]]
    wrong_marks: tuple[tuple[str, str], ...]

    def tests_of(self, label: str) -> list[Test]:
        return [test for test in self.tests if test.methods(label)]


@dataclass(frozen=True)
class Verdict:
    """What is known of one equation: `status`, the methods that count, and the sentence that says it.

    `status` is ``passed``, ``conjecture`` (a search passed), ``failed``, ``open`` (no pass on
    record) or ``untested``.
    """

    status: str
    methods: tuple[str, ...]
    text: str


def read_book(paths: Paths, pages: Mapping[str, Path]) -> Book:
    """Read the book's equations (of `pages`), tests, accepted LaTeX and record."""
    found, wrong = marks.in_folder(paths.tests, paths.root)
    known = record.read(paths.record, record.TESTS)
    digests = {
        name: record.code_digest(paths.root / name, paths.root)
        for name in {test.path for test in found}
    }
    return Book(
        paths,
        tuple(e for name, file in pages.items() for e in equations.in_page(file, name, paths.root)),
        tuple(found),
        {
            label: digest
            for known in paths.all_accepted().values()
            for label, digest in known.items()
        },
        {test: record.outcomes(known, test, digests[test.path]) for test in found},
        tuple(wrong),
    )


def verdict(book: Book, label: str) -> Verdict:
    """Say what the tests and the record know of the equation `label`."""
    tests = book.tests_of(label)
    if not tests:
        return Verdict("untested", (), "no test verifies this equation")
    outcomes = [outcome for test in tests for outcome in book.outcomes[test]]
    passing = [test for test in tests if "passed" in book.outcomes[test]]
    failed = "failed" in outcomes
    # A method counts as used only where its test passed.
    counted = passing if passing and not failed else tests
    methods = _methods(counted, label)
    ways = _and(METHODS[by][0] for by in methods)
    # One mark of "conjecture" is enough to call the statement one, whatever else was checked.
    conjecture = "conjecture" in _methods(tests, label)
    if failed:
        return Verdict("failed", methods, f"a test of it fails ({ways})")
    if not passing:
        when = "not passed here" if outcomes else "not run here"
        word = "conjecture, tested" if conjecture else "tested"
        return Verdict("open", methods, f"{word} by {ways} · {when}")
    if conjecture:
        return Verdict("conjecture", methods, f"conjecture, checked by {ways}")
    return Verdict("passed", methods, f"verified by {ways}")


def _methods(tests: Iterable[Test], label: str) -> tuple[str, ...]:
    used = {by for test in tests for by in test.methods(label)}
    return tuple(by for by in METHODS if by in used)


def _and(words: Iterable[str]) -> str:
    *rest, last = words
    return f"{', '.join(rest)} and {last}" if rest else last


def problems(book: Book, *, require_pass: bool = False) -> Iterator[Problem]:
    """Yield what is wrong with a book; with `require_pass`, each equation needs a passing test."""
    for where, text in book.wrong_marks:
        yield Problem("mark", where, text)
    yield from _label_problems(book)
    yield from _latex_problems(book)
    if require_pass:
        yield from _outcome_problems(book)


def _label_problems(book: Book) -> Iterator[Problem]:
    first = {}
    for equation in book.equations:
        other = first.setdefault(equation.label, equation)
        if other is not equation:
            text = f"label `{equation.label}` is taken: {other.where} has it too"
            yield Problem("duplicate", equation.where, text)
        elif not book.tests_of(equation.label):
            text = (
                f"no test verifies `{equation.label}`: write one and mark it "
                f'@pytest.mark.verifies("{equation.label}", by="…")'
            )
            yield Problem("untested", equation.where, text)
    for test in book.tests:
        for label in dict.fromkeys(label for label, _ in test.marks if label not in first):
            text = f"{test.name} verifies `{label}`, but no page has an equation with that label"
            yield Problem("unknown", test.where, text)


def _latex_problems(book: Book) -> Iterator[Problem]:
    labels = {equation.label for equation in book.equations}
    for equation in book.equations:
        known = book.accepted.get(equation.label)
        if known != equation.digest:
            what = "is new" if known is None else "changed"
            text = (
                f"LaTeX of `{equation.label}` {what}: compare it with its tests, "
                "then `make accept-equations`"
            )
            yield Problem("latex", equation.where, text)
    for file, accepted in book.paths.all_accepted().items():
        where = f"{file.relative_to(book.paths.root).as_posix()}:1"
        for label in sorted(accepted.keys() - labels):
            text = f"holds `{label}`, which no page has: `make accept-equations` removes it"
            yield Problem("stale", where, text)


def _outcome_problems(book: Book) -> Iterator[Problem]:
    for equation in book.equations:
        tests = book.tests_of(equation.label)
        if tests and verdict(book, equation.label).status in ("open", "failed"):
            found = "; ".join(
                f"{test.where} {test.name}: {described(book.outcomes[test])}" for test in tests
            )
            text = f"`{equation.label}` needs a test that passes and none that fails ({found})"
            yield Problem("outcome", equation.where, text)


def described(outcomes: list[str]) -> str:
    """Say the outcomes of a test's cases in a few words."""
    if len(set(outcomes)) <= 1:
        cases = f" ({len(outcomes)} cases)" if len(outcomes) > 1 else ""
        return (outcomes[0] if outcomes else "not run here") + cases
    counts = Counter(outcomes)
    return ", ".join(f"{counts[word]} {word}" for word in record.OUTCOMES if counts[word])
