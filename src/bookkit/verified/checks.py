"""What must hold between equations, tests, the accepted LaTeX and the record."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bookkit.verified import equations, marks, record
from bookkit.verified.dependencies import dependencies
from bookkit.verified.equations import Equation
from bookkit.verified.marks import METHODS, Test
from bookkit.verified.record import Earlier

__all__ = [
    "Book",
    "Paths",
    "Problem",
    "Verdict",
    "described",
    "problems",
    "read_book",
    "told",
    "unrecorded",
    "verdict",
]


@dataclass(frozen=True)
class Paths:
    """Where the book keeps its tests, and the record of the last run here."""

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
        return self.proof(page) / "equations.json"

    def recorded(self, page: str) -> Path:
        """Return the file of what became of a page's tests when it was last recorded."""
        return self.proof(page) / "record.json"

    def proof(self, page: str) -> Path:
        """Return the folder of what proves a page."""
        return self.tests / "chapters" / page.rpartition("/")[2]

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
    """All equations and tests of a book, with what became of each test.

    Args:
        accepted: the hash of each equation's LaTeX that was compared with its tests, by label.
        outcomes: of each case of a test in the last run here, none if code has changed since.
        wrong_marks: where a mark in the tests can't count, and why.
        earlier: what became of a test when its chapter was last recorded, if it was.
        changed_latex: the labels whose LaTeX is not as it was then.
        depends_on: the digest of each file that the tests in a file depend on.
    """

    paths: Paths
    equations: tuple[Equation, ...]
    tests: tuple[Test, ...]
    accepted: Mapping[str, str]
    outcomes: Mapping[Test, list[str]]
    wrong_marks: tuple[tuple[str, str], ...]
    earlier: Mapping[Test, Earlier] = field(default_factory=dict)
    changed_latex: frozenset[str] = frozenset()
    depends_on: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def tests_of(self, label: str) -> list[Test]:
        return [test for test in self.tests if test.methods(label)]

    def earlier_of(self, test: Test, label: str) -> Earlier | None:
        """Return what was recorded of a test, and what has changed of it and of an equation."""
        known = self.earlier.get(test)
        if known and label in self.changed_latex:
            return replace(known, changed=(*known.changed, "the equation"))
        return known

    def known(self, test: Test, label: str) -> list[str]:
        """Return what is known of a test's cases as it and an equation are: here, else recorded."""
        known = self.earlier_of(test, label)
        recorded = known.outcomes if known and not known.changed else ()
        return self.outcomes[test] or list(recorded)


@dataclass(frozen=True)
class Verdict:
    """What is known of one equation: `status`, the methods that count, and the sentence that says it.

    `status` is ``passed``, ``conjecture`` (a search passed), ``failed``, ``changed`` (passed when
    last recorded, but the equation or what its tests depend on has changed since), ``open`` (no
    pass on record) or ``untested``. `date` is that of the recorded run if the verdict rests on it.
    """

    status: str
    methods: tuple[str, ...]
    text: str
    date: str = ""


def read_book(paths: Paths, pages: Mapping[str, Path]) -> Book:
    """Read the book's equations (of `pages`), tests, accepted LaTeX and records."""
    tests, wrong = marks.in_folder(paths.tests, paths.root)
    here = record.read(paths.record, record.TESTS)
    depends_on = {
        name: dependencies(paths.root / name, paths.root) for name in {test.path for test in tests}
    }
    digests = {name: record.combined(digests) for name, digests in depends_on.items()}
    stored = {name: record.read_chapter(paths.recorded(name)) for name in pages}
    all_equations = [
        equation
        for name, file in pages.items()
        for equation in equations.in_page(file, name, paths.root)
    ]
    pages_of = {equation.label: equation.page for equation in all_equations}
    earlier = {
        test: known
        for test in tests
        for label, _ in test.marks
        if label in pages_of
        and (known := record.earlier(stored[pages_of[label]], test, depends_on[test.path]))
    }
    return Book(
        paths,
        tuple(all_equations),
        tuple(tests),
        {
            label: digest
            for known in paths.all_accepted().values()
            for label, digest in known.items()
        },
        {test: record.outcomes(here, test, digests[test.path]) for test in tests},
        tuple(wrong),
        earlier,
        frozenset(
            equation.label
            for equation in all_equations
            if stored[equation.page].get("equations", {}).get(equation.label) != equation.digest
        ),
        depends_on,
    )


def verdict(book: Book, label: str) -> Verdict:
    """Say what the tests and the records know of the equation `label`.

    What a run here left of a test is preferred to what is recorded of it.
    """
    tests = book.tests_of(label)
    if not tests:
        return Verdict("untested", (), "no test verifies this equation")
    known = {test: book.known(test, label) for test in tests}
    passing = [test for test in tests if "passed" in known[test]]
    failed = any("failed" in outcomes for outcomes in known.values())
    # A method counts as used only where its test passed.
    counted = passing if passing and not failed else tests
    methods = _methods(counted, label)
    ways = _and(METHODS[by][0] for by in methods)
    # One mark of "conjecture" is enough to call the statement one, whatever else was checked.
    conjecture = "conjecture" in _methods(tests, label)
    if failed:
        return Verdict("failed", methods, f"a test of it fails ({ways})")
    if not passing:
        word = "conjecture, tested" if conjecture else "tested"
        return _open(book, label, methods, f"{word} by {ways}")
    date = min((book.earlier[test].date for test in passing if not book.outcomes[test]), default="")
    when = f" · passed on {date}" if date else ""
    if conjecture:
        return Verdict("conjecture", methods, f"conjecture, checked by {ways}{when}", date)
    return Verdict("passed", methods, f"verified by {ways}{when}", date)


def _open(book: Book, label: str, methods: tuple[str, ...], said: str) -> Verdict:
    """Say why no pass is known of an equation that has tests."""
    tests = book.tests_of(label)
    if any(book.outcomes[test] for test in tests):
        return Verdict("open", methods, f"{said} · not passed here")
    recorded = [known for test in tests if (known := book.earlier_of(test, label))]
    dates = [known.date for known in recorded if known.changed and "passed" in known.outcomes]
    if dates:
        return Verdict("changed", methods, f"{said} · changed since {min(dates)}", min(dates))
    return Verdict("open", methods, f"{said} · not run here")


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
    # Only a run here proves something; what is recorded proves it for those who have run nothing.
    book = replace(book, earlier={})
    for equation in book.equations:
        tests = book.tests_of(equation.label)
        if tests and verdict(book, equation.label).status in ("open", "failed"):
            results = "; ".join(
                f"{test.where} {test.name}: {described(book.outcomes[test])}" for test in tests
            )
            text = f"`{equation.label}` needs a test that passes and none that fails ({results})"
            yield Problem("outcome", equation.where, text)


def described(outcomes: list[str]) -> str:
    """Say the outcomes of a test's cases in a few words."""
    if len(set(outcomes)) <= 1:
        cases = f" ({len(outcomes)} cases)" if len(outcomes) > 1 else ""
        return (outcomes[0] if outcomes else "not run here") + cases
    counts = Counter(outcomes)
    return ", ".join(f"{counts[word]} {word}" for word in record.OUTCOMES if counts[word])


def told(book: Book, test: Test, label: str) -> str:
    """Say what is known of a test of an equation: from a run here, else from the record."""
    known = book.earlier_of(test, label)
    if book.outcomes[test] or not known:
        return described(book.outcomes[test])
    if known.changed:
        return f"changed since {known.date} ({', '.join(known.changed)})"
    return f"{described(list(known.outcomes))} on {known.date}"


def unrecorded(book: Book) -> list[str]:
    """Return the labels whose record is older than the equation or one of its tests, or missing."""
    return [
        equation.label
        for equation in book.equations
        if not all(
            _is_recorded(book, test, equation.label) for test in book.tests_of(equation.label)
        )
    ]


def _is_recorded(book: Book, test: Test, label: str) -> bool:
    known = book.earlier_of(test, label)
    return known is not None and not known.changed
