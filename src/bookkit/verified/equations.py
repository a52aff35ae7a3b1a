"""Labeled equations, read from the text of the pages.

MyST's own block parser finds them, so the answer comes in milliseconds and without a Sphinx
build; each build compares it with what Sphinx saw.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.directives import parse_directive_text
from myst_parser.parsers.mdit import create_md_parser
from sphinx.directives.patches import MathDirective
from sphinx_external_toc.parsing import parse_toc_yaml

__all__ = ["SUFFIXES", "Equation", "book_pages", "in_markdown", "in_page", "latex_digest"]

SUFFIXES = (".ipynb", ".md")

# Directives whose content is not Markdown; in all others an equation is an equation.
_VERBATIM = {
    "code",
    "code-block",
    "code-cell",
    "eval-rst",
    "highlight",
    "literalinclude",
    "mermaid",
    "parsed-literal",
    "raw",
    "sourcecode",
}


@dataclass(frozen=True)
class Equation:
    """A displayed equation with a label; `where` names its place for an error message."""

    label: str
    latex: str
    page: str
    where: str

    @property
    def digest(self) -> str:
        return latex_digest(self.latex)


def latex_digest(latex: str) -> str:
    """Hash LaTeX; white space counts only as the border between two words."""
    return hashlib.sha256(" ".join(latex.split()).encode()).hexdigest()[:16]


def book_pages(root: Path) -> dict[str, Path]:
    """Return the pages of the book in `root` by name, in the order of its ``_toc.yml``."""
    names = [name.removesuffix(Path(name).suffix) for name in parse_toc_yaml(root / "_toc.yml")]
    return {name: _source(root, name) for name in names}


def _source(root: Path, name: str) -> Path:
    for suffix in SUFFIXES:
        if (path := root / f"{name}{suffix}").is_file():
            return path
    raise FileNotFoundError(f"_toc.yml names `{name}`, but there is no {name}.ipynb and no .md")


def in_page(path: Path, page: str, root: Path) -> list[Equation]:
    """Return the labeled equations of a notebook or Markdown page, in order."""
    name = path.relative_to(root).as_posix()
    if path.suffix != ".ipynb":
        labeled = in_markdown(path.read_text("utf-8"))
        return [Equation(label, latex, page, f"{name}:{line}") for line, label, latex in labeled]
    cells = json.loads(path.read_text("utf-8"))["cells"]
    return [
        Equation(label, latex, page, f"{name}: cell {number}, line {line}")
        for number, cell in enumerate(cells, 1)
        if cell["cell_type"] == "markdown"
        for line, label, latex in in_markdown(_joined(cell["source"]))
    ]


def _joined(source: str | Iterable[str]) -> str:
    return source if isinstance(source, str) else "".join(source)


def in_markdown(text: str, before: int = 0) -> Iterator[tuple[int, str, str]]:
    """Yield (line, label, LaTeX) of each labeled equation; `before` lines precede the text."""
    for token in _parser().parse(text):
        line = before + (token.map[0] if token.map else 0) + 1
        if token.type == "math_block_label":
            yield line, token.info, token.content
        elif token.type in ("fence", "colon_fence") and token.info.startswith("{"):
            name, _, argument = token.info[1:].partition("}")
            if name == "math":
                yield from _in_math_directive(line, argument.strip(), token.content)
            elif name not in _VERBATIM:
                yield from in_markdown(token.content, line)


def _in_math_directive(line: int, argument: str, content: str) -> Iterator[tuple[int, str, str]]:
    parsed = parse_directive_text(MathDirective, argument, content)
    label = parsed.options.get("label", parsed.options.get("name"))
    if label:
        head = [parsed.arguments[0], ""] if parsed.arguments else []
        yield line, label, "\n".join([*head, *parsed.body])


@cache
def _parser() -> MarkdownIt:
    syntax = {"amsmath", "colon_fence", "deflist", "dollarmath", "fieldlist"}
    return create_md_parser(MdParserConfig(enable_extensions=syntax), RendererHTML)
