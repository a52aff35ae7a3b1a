"""Does the notation page list each symbol that two chapters or more use?

A symbol is what remains of a labeled equation's LaTeX when words, operators' names, accents and
layout are taken away: Latin and Greek letters, and letters in a style of their own such as
``\\mathbb E``. Indices are symbols too. One that stands in the equations of two chapters must be
explained for each of them: in the first column of a table below a heading that links the chapter,
or below the heading "General".
"""

import re
from collections.abc import Iterator
from pathlib import Path

from bookkit.verified.equations import Equation, book_pages, in_page

__all__ = ["GENERAL", "equations", "listed", "missing", "problems", "symbols", "used"]

GENERAL = "General"

_SPACE = re.compile(r"\\\\\[[^\]]*\]|\\[hv]space\s*\{[^{}]*\}")  # also that after a line's end
_WORDS = re.compile(
    r"\\(?:text|textrm|textit|mathrm|mathit|operatorname\*?|begin|end|tag|phantom)\s*\{[^{}]*\}"
)
_STYLED = re.compile(r"\\(mathbb|mathcal|mathbf|boldsymbol|mathfrak)\s*(?:\{\s*(\w)\s*\}|(\w))")
_STYLED_GREEK = re.compile(r"\\(?:mathbf|boldsymbol)\s*\{?\s*(?=\\)")
_TOKEN = re.compile(r"\\([A-Za-z]+)|([A-Za-z])")
_GREEK = set(
    re.findall(
        r"\w+",
        """
        alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi
        rho varrho sigma varsigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi
        Pi Sigma Upsilon Phi Psi Omega ell nabla odot oslash otimes
        """,
    )
)
_LINK = re.compile(r"\]\(chapters/(\w+)(?:\.ipynb)?[#)]")
_MATH = re.compile(r"(?<!\\)\$([^$]+)\$")
_HEADING = re.compile(r"^## +(.+?) *$", re.MULTILINE)
# What needs no explanation: the base of the natural logarithm, beside pi, which is not in _GREEK.
_KNOWN = frozenset({"e"})


def symbols(latex: str) -> set[str]:
    r"""Return the symbols in LaTeX, such as ``x``, ``\alpha`` and ``\mathbb E``."""
    rest = _WORDS.sub(" ", _SPACE.sub(" ", latex))
    found = {rf"\{style} {one or two}" for style, one, two in _STYLED.findall(rest)}
    rest = _STYLED_GREEK.sub(" ", _STYLED.sub(" ", rest))
    for command, letter in _TOKEN.findall(rest):
        if letter:
            found.add(letter)
        elif command in _GREEK:
            found.add(rf"\{command}")
    return found - _KNOWN


def equations(root: Path) -> Iterator[tuple[str, Equation]]:
    """Yield each labeled equation of the chapters of the book in `root`, with its chapter."""
    for page, path in book_pages(root).items():
        if page.startswith("chapters/"):
            for equation in in_page(path, page, root):
                yield page.removeprefix("chapters/"), equation


def used(root: Path) -> dict[str, dict[str, str]]:
    """Return each symbol with the chapters that use it, and the first label in each."""
    found: dict[str, dict[str, str]] = {}
    for chapter, equation in equations(root):
        for symbol in symbols(equation.latex):
            found.setdefault(symbol, {}).setdefault(chapter, equation.label)
    return found


def listed(page: str) -> dict[str, set[str]]:
    """Return the symbols that the notation page lists, by chapter; `GENERAL` holds those for all."""
    _, *parts = _HEADING.split(page)
    found: dict[str, set[str]] = {GENERAL: set()}
    for heading, text in zip(parts[::2], parts[1::2], strict=True):
        columns = (line.split("|")[1] for line in text.splitlines() if line.startswith("|"))
        here = {s for column in columns for math in _MATH.findall(column) for s in symbols(math)}
        for chapter in [GENERAL] if heading == GENERAL else _LINK.findall(text):
            found.setdefault(chapter, set()).update(here)
    return found


def missing(found: dict[str, dict[str, str]], known: dict[str, set[str]]) -> Iterator[str]:
    """Yield a sentence for each symbol that two chapters share and one lacks an explanation of."""
    for symbol, chapters in sorted(found.items()):
        for chapter, label in sorted(chapters.items()) if len(chapters) > 1 else ():
            if symbol not in known[GENERAL] | known.get(chapter, set()):
                others = ", ".join(sorted(chapters.keys() - {chapter}))
                yield (
                    f"${symbol}$ stands in the equation {label}, and in chapters {others}: explain "
                    f"it in notation.md, in a section that links chapters/{chapter}.ipynb or in "
                    f"“{GENERAL}”"
                )


def problems(root: Path) -> list[str]:
    """Return what the notation page of the book in `root` lacks, a sentence each."""
    page = (root / "notation.md").read_text("utf-8")
    return list(missing(used(root), listed(page)))
