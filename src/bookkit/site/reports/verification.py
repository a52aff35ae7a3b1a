"""What is verified, in figures: from the record of the tests, the notebooks and the mutants' results."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

from bookkit.site.reports import NOT_RUN, paragraph, table
from bookkit.stored import files as stored
from bookkit.verified import record
from bookkit.verified.checks import Book, verdict
from bookkit.verified.record import chapter_digest, file_digest
from derived.explorables import EXPLORABLES

__all__ = ["Standing", "draw", "read_mutants", "sentences", "standing"]

# What the page calls an equation of each status of `bookkit.verified.checks.Verdict`.
_STATUSES = {
    "passed": "verified",
    "conjecture": "conjectured, with no counterexample found",
    "failed": "with a test that fails",
    "open": NOT_RUN,
    "untested": "without a test",
}
_UNCOMPARED = "nbval-ignore-output"
_MUTANTS = {"date": str, "commit": str, "digest": str, "killed": int, "survived": int}


@dataclass(frozen=True)
class Standing:
    """What is known of one chapter; None stands for what has not been run here.

    Args:
        statuses: how many equations have each status of `bookkit.verified.checks.Verdict`.
        tests: how many test functions verify its equations.
        cases: how many cases of these tests passed, and of how many.
        outputs: how many stored outputs there are to compare.
        cells: how many cells came out as stored in the last run, and of how many.
        figures: how many interactive figures it has.
        exercises: how many exercises it has.
        mutants: the result of ``python -m bookkit.mutants``, see there.
        current: whether that result is of the code and the tests as they are.
    """

    chapter: str
    title: str
    statuses: Counter
    tests: int
    cases: tuple[int, int] | None
    outputs: int
    cells: tuple[int, int] | None
    figures: int
    exercises: int
    mutants: dict | None
    current: bool


def standing(root: Path, book: Book, chapter: str, title: str) -> Standing:
    """Return what is known of a chapter of the book in `root`."""
    page, path = f"chapters/{chapter}", root / "chapters" / f"{chapter}.ipynb"
    labels = [equation.label for equation in book.equations if equation.page == page]
    tests = [test for test in book.tests if any(map(test.methods, labels))]
    outcomes = [outcome for test in tests for outcome in book.outcomes[test]]
    cells = [c for c in json.loads(path.read_text("utf-8"))["cells"] if c["cell_type"] == "code"]
    compared = [c for c in cells if _UNCOMPARED not in _tags(c)]
    result = read_mutants(root / "tests" / "chapters" / chapter / "mutants.json")
    return Standing(
        chapter,
        title,
        Counter(verdict(book, label).status for label in labels),
        len(tests),
        (outcomes.count("passed"), len(outcomes)) if outcomes else None,
        sum(len(cell["outputs"]) for cell in compared),
        _cells(root, path),
        sum(_is_of(figure.script, chapter) for figure in EXPLORABLES.values()),
        sum("exercise" in _tags(cell) for cell in cells),
        result,
        bool(result) and result["digest"] == chapter_digest(root, chapter),
    )


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


def _cells(root: Path, path: Path) -> tuple[int, int] | None:
    outputs = record.read(root / "_build" / "outputs.json", record.NOTEBOOKS)
    known = outputs.get(path.relative_to(root).as_posix())
    if not known or known["digest"] != file_digest(path):
        return None
    return known["passed"], known["passed"] + known["failed"]


def _is_of(script: str, chapter: str) -> bool:
    return script == f"{chapter}.js" or script.startswith(f"{chapter}_")


# The page ---------------------------------------------------------------------------------------


def draw(app: Sphinx) -> list[nodes.Node]:
    """Return the book's figures in sentences, and those of each chapter in a table."""
    env, root = app.env, Path(app.confdir)
    chapters = [name for name in _pages(app.verified_book) if name.startswith("chapters/")]
    found = [
        standing(root, app.verified_book, page.partition("/")[2], env.titles[page].astext())
        for page in chapters
    ]
    items = [nodes.list_item("", paragraph(text)) for text in sentences(found)]
    head = ("Chapter", "Equations", "Tests", "Outputs", "Interactive figures", "Mutants noticed")
    return [nodes.bullet_list("", *items), table(head, list(map(_row, found)))]


def _pages(book: Book) -> Iterable[str]:
    return dict.fromkeys(equation.page for equation in book.equations)


def sentences(found: list[Standing]) -> Iterator[str]:
    """Yield what holds for the whole book."""
    statuses = sum((one.statuses for one in found), Counter())
    parts = [
        f"{statuses[status]} {words}" for status, words in _STATUSES.items() if statuses[status]
    ]
    chapters = _many(len(found), "chapter")
    yield f"Equations: {statuses.total()} with a label in {chapters}; {', '.join(parts)}."
    yield f"Tests of them: {sum(one.tests for one in found)}; {_run(one.cases for one in found)}."
    yield (
        f"Stored outputs: {sum(one.outputs for one in found)} in {_many(len(found), 'notebook')}, "
        f"figures included; {_run((one.cells for one in found), 'cell')}."
    )
    yield f"Interactive figures: {sum(one.figures for one in found)}; exercises: {sum(one.exercises for one in found)}."
    tried = [one.mutants for one in found if one.mutants]
    if not tried:
        yield f"Mutants: {NOT_RUN}."
        return
    killed, counted = (
        sum(r["killed"] for r in tried),
        sum(r["killed"] + r["survived"] for r in tried),
    )
    some = "" if len(tried) == len(found) else f", in {len(tried)} of {len(found)} chapters"
    yield f"Mutants: {killed:,} of {counted:,} noticed{some}."


def _run(parts: Iterable[tuple[int, int] | None], noun: str = "case") -> str:
    """Say what came of the last run, chapter by chapter, in one sum."""
    parts = list(parts)
    known = [part for part in parts if part]
    if not known:
        return NOT_RUN
    passed, total = (sum(numbers) for numbers in zip(*known, strict=True))
    what = f"in the last run here {passed:,} of {_many(total, noun)} passed"
    missing = len(parts) - len(known)
    return f"{what}, {_many(missing, 'chapter')} {NOT_RUN}" if missing else what


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _row(one: Standing) -> tuple[str, ...]:
    total = one.statuses.total()
    holding = one.statuses["passed"] + one.statuses["conjecture"]
    return (
        one.title,
        f"{total}, {NOT_RUN}" if one.statuses["open"] == total else f"{holding} of {total} hold",
        f"{one.cases[0]} of {one.cases[1]} cases" if one.cases else f"{one.tests}, {NOT_RUN}",
        f"{one.outputs}, {'compared' if _whole(one.cells) else 'differ' if one.cells else NOT_RUN}",
        str(one.figures),
        _mutants(one),
    )


def _whole(part: tuple[int, int] | None) -> bool:
    return part is not None and part[0] == part[1]


def _mutants(one: Standing) -> str:
    if not one.mutants:
        return NOT_RUN
    result = one.mutants
    counted = result["killed"] + result["survived"]
    old = "" if one.current else ", before the last change"
    return f"{result['killed']} of {counted} ({result['date']}, commit {result['commit']}{old})"
