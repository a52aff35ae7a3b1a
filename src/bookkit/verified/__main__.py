"""Check the equations against their tests, or accept their LaTeX as compared with them."""

import argparse
import json
import os
import sys
from pathlib import Path

from bookkit.verified.checks import Book, Paths, problems, read_book
from bookkit.verified.equations import book_pages


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bookkit.verified", description=__doc__)
    parser.add_argument("command", choices=["accept", "check"])
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the book's folder")
    options = parser.parse_args(arguments)
    root = options.root.resolve()
    book = read_book(Paths.below(root), book_pages(root))
    return accept(book) if options.command == "accept" else check(book)


def check(book: Book) -> int:
    """Print every problem; the exit status says whether there was one."""
    required = os.environ.get("VERIFIED_REQUIRE_PASS") == "1"
    found = list(problems(book, require_pass=required))
    for problem in found:
        print(problem)
    print(f"{len(book.equations)} labeled equations, {len(book.tests)} tests, {_many(len(found))}")
    return 1 if found else 0


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


def _many(count: int) -> str:
    return "1 problem" if count == 1 else f"{count or 'no'} problems"


if __name__ == "__main__":
    sys.exit(main())
