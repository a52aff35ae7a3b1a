"""What is verified, in figures: from the records of tests and notebooks, and the mutants' results."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

from bookkit.site.reports import NOT_RUN, paragraph, table
from bookkit.stored import files as stored
from bookkit.verified import record
from bookkit.verified.checks import Book, verdict
from bookkit.verified.dependencies import dependencies
from bookkit.verified.marks import Test
from bookkit.verified.record import chapter_digest
from derived.explorables import EXPLORABLES

__all__ = ["Result", "Standing", "draw", "read_mutants", "sentences", "standing"]

# What the page calls an equation of each status of `bookkit.verified.checks.Verdict`.
_STATUSES = {
    "passed": "verified",
    "conjecture": "conjectured, with no counterexample found",
    "failed": "with a test that fails",
    "changed": "with tests that passed before a change",
    "open": NOT_RUN,
    "untested": "without a test",
}
_CHANGED = "changed since recorded"
_UNCOMPARED = "nbval-ignore-output"
_MUTANTS = {"date": str, "commit": str, "digest": str, "killed": int, "survived": int}


@dataclass(frozen=True)
class Result:
    """How many of `total` passed, in the last run here or, with a `date`, when last recorded.

    `changed` says that what was recorded is of what was before a change; then it counts nothing.
    """

    passed: int
    total: int
    date: str = ""
    changed: bool = False


@dataclass(frozen=True)
class Standing:
    """What is known of one chapter; None stands for what has not been run here.

    Args:
        statuses: how many equations have each status of `bookkit.verified.checks.Verdict`.
        tests: how many test functions verify its equations.
        cases: how many cases of these tests passed.
        outputs: how many stored outputs there are to compare.
        cells: how many cells came out as stored.
        figures: how many interactive figures it has.
        exercises: how many exercises it has.
        mutants: the result of ``python -m bookkit.mutants``, see there.
        current: whether that result is of the code and the tests as they are.
    """

    chapter: str
    title: str
    statuses: Counter
    tests: int
    cases: Result | None
    outputs: int
    cells: Result | None
    figures: int
    exercises: int
    mutants: dict | None
    current: bool


def standing(root: Path, book: Book, chapter: str, title: str) -> Standing:
    """Return what is known of a chapter of the book in `root`."""
    page, path = f"chapters/{chapter}", root / "chapters" / f"{chapter}.ipynb"
    labels = [equation.label for equation in book.equations if equation.page == page]
    tests = [test for test in book.tests if any(map(test.methods, labels))]
    cells = [c for c in json.loads(path.read_text("utf-8"))["cells"] if c["cell_type"] == "code"]
    compared = [c for c in cells if _UNCOMPARED not in _tags(c)]
    result = read_mutants(root / "tests" / "chapters" / chapter / "mutants.json")
    return Standing(
        chapter,
        title,
        Counter(verdict(book, label).status for label in labels),
        len(tests),
        _cases(book, tests),
        sum(len(cell["outputs"]) for cell in compared),
        _cells(root, path, book.paths.recorded(page)),
        sum(_is_of(figure.script, chapter) for figure in EXPLORABLES.values()),
        sum("exercise" in _tags(cell) for cell in cells),
        result,
        bool(result) and result["digest"] == chapter_digest(root, chapter),
    )


def _cases(book: Book, tests: Iterable[Test]) -> Result | None:
    """Return what became of these tests in the last run here, else when last recorded."""
    if here := [outcome for test in tests for outcome in book.outcomes[test]]:
        return Result(here.count("passed"), len(here))
    recorded = [book.earlier[test] for test in tests if test in book.earlier]
    if not recorded:
        return None
    date = min(earlier.date for earlier in recorded)
    if any(earlier.changed for earlier in recorded):
        return Result(0, 0, date, changed=True)
    outcomes = [outcome for earlier in recorded for outcome in earlier.outcomes]
    return Result(outcomes.count("passed"), len(outcomes), date)


def read_mutants(path: Path) -> dict | None:
    """Return a result of ``python -m bookkit.mutants`` for all mutants, or None without one.

    Raises:
        ValueError: names the file if something is missing, and says what.
    """
    if not path.is_file():
        return None
    with stored.opened(path) as result:
        if isinstance(result, dict) and result.keys() == {"sample"}:
            return None
        stored.check(result, _MUTANTS)
    return result


def _tags(cell: dict) -> list[str]:
    return cell["metadata"].get("tags", [])


def _cells(root: Path, path: Path, recorded: Path) -> Result | None:
    """Return how many cells of a notebook came out in the last run here, else when last recorded."""
    name, depends_on = path.relative_to(root).as_posix(), dependencies(path, root)
    here = record.read(root / record.OUTPUTS, record.NOTEBOOKS).get(name)
    if here and here["digest"] == record.combined(depends_on):
        return Result(here["passed"], here["passed"] + here["failed"])
    before = record.read_chapter(recorded).get("outputs", {}).get(name)
    if not before:
        return None
    if before["depends on"] != depends_on:
        return Result(0, 0, before["date"], changed=True)
    return Result(before["passed"], before["passed"], before["date"])


def _is_of(script: str, chapter: str) -> bool:
    return script == f"{chapter}.js" or script.startswith(f"{chapter}_")


# The page ---------------------------------------------------------------------------------------


def draw(app: Sphinx) -> list[nodes.Node]:
    """Return the book's figures in sentences, and those of each chapter in a table."""
    env, root = app.env, Path(app.confdir)
    pages = [name for name in _pages(app.verified_book) if name.startswith("chapters/")]
    chapters = [
        standing(root, app.verified_book, page.partition("/")[2], env.titles[page].astext())
        for page in pages
    ]
    items = [nodes.list_item("", paragraph(text)) for text in sentences(chapters)]
    head = ("Chapter", "Equations", "Tests", "Outputs", "Interactive figures", "Mutants noticed")
    return [nodes.bullet_list("", *items), table(head, list(map(_row, chapters)))]


def _pages(book: Book) -> Iterable[str]:
    return dict.fromkeys(equation.page for equation in book.equations)


def sentences(chapters: list[Standing]) -> Iterator[str]:
    """Yield what holds for the whole book."""
    statuses = sum((one.statuses for one in chapters), Counter())
    parts = [
        f"{statuses[status]} {words}" for status, words in _STATUSES.items() if statuses[status]
    ]
    yield f"Equations: {statuses.total()} with a label in {_many(len(chapters), 'chapter')}; {', '.join(parts)}."
    yield f"Tests of them: {sum(one.tests for one in chapters)}; {_ran((one.cases for one in chapters), 'case')}."
    yield (
        f"Stored outputs: {sum(one.outputs for one in chapters)} in {_many(len(chapters), 'notebook')}, "
        f"figures included; {_ran((one.cells for one in chapters), 'cell')}."
    )
    yield f"Interactive figures: {sum(one.figures for one in chapters)}; exercises: {sum(one.exercises for one in chapters)}."
    tried = [one.mutants for one in chapters if one.mutants]
    if not tried:
        yield f"Mutants: {NOT_RUN}."
        return
    killed, counted = (
        sum(r["killed"] for r in tried),
        sum(r["killed"] + r["survived"] for r in tried),
    )
    some = "" if len(tried) == len(chapters) else f", in {len(tried)} of {len(chapters)} chapters"
    yield f"Mutants: {killed:,} of {counted:,} noticed{some}."


def _ran(results: Iterable[Result | None], noun: str) -> str:
    """Say what came of the last run here, chapter by chapter, in one sum, and of recorded runs."""
    results = list(results)
    known = [one for one in results if one and not one.changed]
    parts = []
    if here := [one for one in known if not one.date]:
        parts.append(f"in the last run here {_sum(here, noun)} passed")
    if recorded := [one for one in known if one.date]:
        dates = {one.date for one in recorded}
        first, last = min(dates), max(dates)
        when = f"on {first}" if first == last else f"between {first} and {last}"
        parts.append(f"{_sum(recorded, noun)} passed {when}")
    if changed := sum(one.changed for one in results if one):
        parts.append(f"{_many(changed, 'chapter')} {_CHANGED}")
    if (missing := results.count(None)) and parts:
        parts.append(f"{_many(missing, 'chapter')} {NOT_RUN}")
    return ", ".join(parts) or NOT_RUN


def _sum(results: Iterable[Result], noun: str) -> str:
    passed, total = (sum(n) for n in zip(*((r.passed, r.total) for r in results), strict=True))
    return f"{passed:,} of {_many(total, noun)}"


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _row(one: Standing) -> tuple[str, ...]:
    total = one.statuses.total()
    holding = one.statuses["passed"] + one.statuses["conjecture"]
    missing = one.statuses["open"] + one.statuses["changed"]
    unknown = _CHANGED if one.statuses["changed"] else NOT_RUN
    return (
        one.title,
        f"{total}, {unknown}" if missing == total else f"{holding} of {total} hold",
        _cell(one.cases, one.tests, lambda cases: f"{cases.passed} of {cases.total} cases"),
        _cell(one.cells, one.outputs, lambda cells: f"{one.outputs}, {_compared(cells)}"),
        str(one.figures),
        _mutants(one),
    )


def _cell(result: Result | None, count: int, said: Callable[[Result], str]) -> str:
    if not result or result.changed:
        return f"{count}, {_CHANGED if result else NOT_RUN}"
    return f"{said(result)}{', ' * bool(result.date)}{result.date}"


def _compared(cells: Result) -> str:
    return "compared" if cells.passed == cells.total else "differ"


def _mutants(one: Standing) -> str:
    if not one.mutants:
        return NOT_RUN
    result = one.mutants
    counted = result["killed"] + result["survived"]
    old = "" if one.current else ", before the last change"
    return f"{result['killed']} of {counted} ({result['date']}, commit {result['commit']}{old})"
