"""Check the equations against their tests, accept their LaTeX, or record what the last run found."""

import argparse
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from bookkit.stored.commit import commit
from bookkit.verified import record as records
from bookkit.verified.checks import Book, Paths, Problem, problems, read_book
from bookkit.verified.dependencies import dependencies
from bookkit.verified.equations import book_pages


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bookkit.verified", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, command in {"accept": accept, "check": check, "record": record}.items():
        one = commands.add_parser(name, help=command.__doc__.partition("\n")[0])
        one.add_argument("--root", type=Path, default=Path.cwd(), help="the book's folder")
        if command is record:
            one.add_argument("chapters", nargs="*", help="such as iou; all without any")
    options = parser.parse_args(arguments)
    root = options.root.resolve()
    book = read_book(Paths.below(root), book_pages(root))
    if options.command == "record":
        return record(book, options.chapters)
    return accept(book) if options.command == "accept" else check(book)


def check(book: Book) -> int:
    """Print every problem; the exit status says whether there was one."""
    required = os.environ.get("VERIFIED_REQUIRE_PASS") == "1"
    wrong = list(problems(book, require_pass=required))
    for problem in wrong:
        print(problem)
    print(f"{len(book.equations)} labeled equations, {len(book.tests)} tests, {_many(len(wrong))}")
    return 1 if wrong else 0


def accept(book: Book) -> int:
    """Store the hash of each equation's LaTeX, and say what has changed and what to compare."""
    new = {equation.label: equation.digest for equation in book.equations}
    for equation in book.equations:
        old = book.accepted.get(equation.label)
        if old != equation.digest:
            print(f"{equation.label}  {old or 'new'} -> {equation.digest}  ({equation.where})")
            print(f"    {' '.join(equation.latex.split())}")
            for test in book.tests_of(equation.label):
                print(f"    compare with {test.where} {test.name}")
    for label in sorted(book.accepted.keys() - new.keys()):
        print(f"{label}  {book.accepted[label]} -> removed")
    if new == book.accepted:
        print(f"all {len(new)} equations are as accepted")
    by_file: dict[Path, dict[str, str]] = {}
    for equation in book.equations:
        by_file.setdefault(book.paths.accepted(equation.page), {})[equation.label] = equation.digest
    for file in book.paths.all_accepted().keys() - by_file.keys():
        file.unlink()
    for file, accepted in by_file.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(accepted, indent=2, sort_keys=True) + "\n", "utf-8")
    return 0


def record(book: Book, chapters: Iterable[str] = ()) -> int:
    """Store per chapter what became of its tests in the last run here, to be committed.

    Nothing is stored if an equation of these chapters has no test that passed, has one that failed
    or has not run, if its LaTeX is not accepted, or if a notebook's outputs do not come out again;
    each such place is printed.
    """
    pages = {page.rpartition("/")[2]: page for page in (e.page for e in book.equations)}
    if unknown := sorted(set(chapters) - pages.keys()):
        print(f"no chapter with labeled equations: {', '.join(unknown)}; of {', '.join(pages)}")
        return 1
    chosen = {pages[name] for name in chapters} or set(pages.values())
    some = replace(book, equations=tuple(e for e in book.equations if e.page in chosen))
    outputs = {page: _outputs(book, page) for page in chosen}
    missing = list(_unproven(some)) or list(_not_run(some))
    if missing := [*missing, *(each for each in outputs.values() if isinstance(each, Problem))]:
        for problem in missing:
            print(problem)
        print(f"nothing is recorded: {_many(len(missing))}; `make test` first, and let it pass")
        return 1
    if not chapters:
        for file in book.paths.tests.glob("chapters/*/record.json"):
            if file.parent.name not in pages:
                file.unlink()
    made_of = commit(book.paths.root)
    here = records.read(book.paths.record, records.TESTS)
    for page in sorted(chosen):
        labels = {e.label: e.digest for e in some.equations if e.page == page}
        tests = [test for test in book.tests if any(map(test.methods, labels))]
        stored = records.in_short(here, tests, book.depends_on)
        file = book.paths.recorded(page)
        stored |= {"commit": made_of, "equations": labels, "outputs": outputs[page]}
        records.write(file, stored)
        print(
            f"{file.relative_to(book.paths.root).as_posix()}: {len(labels)} equations, {len(tests)} tests"
        )
    return 0


def _unproven(book: Book) -> Iterable[Problem]:
    """Yield why an equation of the book can't be recorded as one that holds."""
    kinds = ("duplicate", "untested", "latex", "outcome")
    return (p for p in problems(book, require_pass=True) if p.kind in kinds)


def _not_run(book: Book) -> Iterable[Problem]:
    """Yield the tests of the book's equations of which the last run here tells nothing."""
    for test in dict.fromkeys(t for e in book.equations for t in book.tests_of(e.label)):
        if not book.outcomes[test]:
            yield Problem("outcome", test.where, f"{test.name} has not run as it is now")


def _outputs(book: Book, page: str) -> dict | Problem:
    """Return how many cells of a page's notebook came out as stored, by the notebook's name.

    What was recorded before is kept if the notebook has not run here as it is now.
    """
    name, root = f"{page}.ipynb", book.paths.root
    before = records.read_chapter(book.paths.recorded(page)).get("outputs", {})
    here = records.read(root / records.OUTPUTS, records.NOTEBOOKS).get(name)
    if not here or not (root / name).is_file():
        return before
    depends_on = dependencies(root / name, root)
    if here["digest"] != records.combined(depends_on):
        return before
    if here["failed"]:
        return Problem("outcome", name, f"{here['failed']} cells do not come out as stored")
    return {name: {"depends on": depends_on, "date": here["date"], "passed": here["passed"]}}


def _many(count: int) -> str:
    return "1 problem" if count == 1 else f"{count or 'no'} problems"


if __name__ == "__main__":
    sys.exit(main())
