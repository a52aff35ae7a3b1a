"""The stored results of ``make bench``, as tables.

A result is ``benchmarks/results/CHAPTER.json``, written by ``benchmarks/bench_CHAPTER.py``, whose
docstring says in plain words what is measured. Wherever in it an object has ``times_faster`` (a
median of ratios, reference over ours) and ``quartiles``, that is a row.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

from bookkit.site.reports import NOT_RUN, paragraph, table
from bookkit.stored import files as stored
from bookkit.verified.equations import book_pages

__all__ = ["Row", "draw", "explanation", "read", "rows", "summary", "tables"]

_NO_TEXT = re.compile(r"^ +python |^Writes ")

_TEXTS = {"date": str, "machine": str}
_RESULT = {**_TEXTS, "rounds": int, "versions": {str: str}, "results": dict}
_MEASURED = {"times_faster": int | float, "quartiles": [int | float]}
_MEASURED["ms"] = (int | float, {"derived": int | float})


@dataclass(frozen=True)
class Row:
    """One comparison: what was timed, our milliseconds, and how many times faster than the other."""

    name: tuple[str, ...]
    milliseconds: float
    faster: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """``faster`` or ``slower`` where three quarters of the rounds agree, else ``even``."""
        if self.low > 1:
            return "faster"
        return "slower" if self.high < 1 else "even"


def rows(results: dict, name: tuple[str, ...] = ()) -> Iterator[Row]:
    """Yield each comparison in a result; the reference beside itself is none.

    Raises:
        ValueError: for a comparison that lacks a number.
    """
    if _MEASURED.keys() & results.keys():
        where = ".".join(name)
        stored.check(results, _MEASURED, where)
        if len(results["quartiles"]) != 2 or not results["times_faster"] > 0:
            raise ValueError(f"{where}: expected two quartiles and a positive ratio")
        own = results["ms"]["derived"] if isinstance(results["ms"], dict) else results["ms"]
        if results["quartiles"] != [1, 1]:
            yield Row(name, own, results["times_faster"], *results["quartiles"])
        return
    for key, value in results.items():
        if isinstance(value, dict):
            yield from rows(value, (*name, key))


def read(path: Path) -> tuple[dict, list[Row]]:
    """Return a stored result and its comparisons.

    Raises:
        ValueError: names the file if something is missing, and says what.
    """
    with stored.opened(path) as record:
        stored.check(record, _RESULT)
        found = list(rows(record["results"]))
        if not found:
            raise ValueError("results: expected a comparison, got none")
    return record, found


def summary(found: list[Row]) -> str:
    """Say in one sentence how often ours is faster and slower, and by how much at the ends."""
    best, worst = max(found, key=lambda row: row.faster), min(found, key=lambda row: row.faster)
    counts = {word: sum(row.verdict == word for row in found) for word in ("faster", "slower")}
    even = len(found) - sum(counts.values())
    noun = "comparison" if len(found) == 1 else "comparisons"
    parts = [f"{count} {word}" for word, count in counts.items() if count]
    parts += [f"{even} about even"] if even else []
    return (
        f"Of {len(found)} {noun}: {', '.join(parts)}. "
        f"Ours takes between {_share(best)} and {_share(worst)} of the reference's time."
    )


def explanation(script: Path) -> list[str]:
    """Return the paragraphs of a benchmark's docstring that say what it measures."""
    said = ast.get_docstring(ast.parse(script.read_text("utf-8"))) or ""
    paragraphs = [text for text in said.split("\n\n") if not _NO_TEXT.match(text)]
    return [re.sub(r" Writes \S+\.json\.$", "", " ".join(text.split())) for text in paragraphs]


def tables(found: list[Row]) -> list[nodes.Node]:
    """Return one table of all comparisons, or one for each kind where names have three parts."""
    if not all(len(row.name) == 3 for row in found):
        head = ("Case", "Times as fast", "Middle half of the rounds", "Ours (ms)")
        return [table(head, list(map(_cells, found)))]
    drawn: list[nodes.Node] = []
    for kind in dict.fromkeys(row.name[0] for row in found):
        group = {row.name[1:]: row for row in found if row.name[0] == kind}
        sizes, names = (list(dict.fromkeys(key[part] for key in group)) for part in (0, 1))
        spread = {
            key: _fixed(f"{r.faster:.2f} ({r.low:.2f} to {r.high:.2f})") for key, r in group.items()
        }
        lines = [(size, *(spread.get((size, name), "") for name in names)) for size in sizes]
        drawn += [
            paragraph(f"`{kind}`: times as fast, with the middle half of the rounds."),
            table(("Size", *names), lines),
        ]
    return drawn


def _cells(row: Row) -> tuple[str, ...]:
    spread = _fixed(f"{row.low:.2f} to {row.high:.2f}")
    return " · ".join(row.name), f"{row.faster:.2f}", spread, f"{row.milliseconds:.3g}"


def _fixed(text: str) -> str:
    """Keep a cell on one line: in a narrow window the table scrolls instead."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def _share(row: Row) -> str:
    """Say which part of the reference's time ours takes, and for what."""
    return f"{100 / row.faster:.3g} % ({', '.join(row.name)})"


def draw(app: Sphinx) -> list[nodes.Node]:
    """Return a section for each chapter that has a benchmark, in the book's order."""
    root = Path(app.confdir)
    chapters = [page for page in book_pages(root) if page.startswith("chapters/")]
    return [node for page in chapters for node in _section(root, page, app.env.titles[page])]


def _section(root: Path, page: str, title: nodes.title) -> Iterator[nodes.Node]:
    chapter = page.partition("/")[2]
    script = root / "benchmarks" / f"bench_{chapter}.py"
    if not script.is_file():
        return
    result = root / "benchmarks" / "results" / f"{chapter}.json"
    section = nodes.section("", nodes.title("", title.astext()), ids=[f"benchmark-{chapter}"])
    section += [paragraph(text) for text in explanation(script)]
    if not result.is_file():
        section += paragraph(f"Result: {NOT_RUN}.")
        yield section
        return
    record, found = read(result)
    section += paragraph(summary(found))
    section += tables(found)
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    section += paragraph(
        f"Measured on {record['date']}: {record['rounds']} rounds on {record['machine']}; {versions}."
    )
    yield section
