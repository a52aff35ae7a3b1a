"""How high a section will be, roughly, so that a browser may leave it out until it comes near.

A chapter holds tens of thousands of elements, most of them glyphs of formulas. The style sheet
lets the browser lay out only the sections near the window; for the others it needs a height, or the
page would be short and its parts would lie on top of one another. The first look at a section
replaces the estimate, which should rather be too large.
"""

import math
import re

from docutils import nodes

__all__ = ["section_heights", "with_heights"]

_LINE = 1.75  # of running text, in rem
_LETTERS = 66  # a line
_FOLDED = 3.5
_FIGURE = 26
_EXPLORABLE = 46
_ROW = 2.4
_GAPS = {"tr": 3, "dd": 1.8}
_CELL = re.compile(r"<t[dh].*?</t[dh]>", re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
_PARAGRAPHS = (nodes.paragraph, nodes.term, nodes.caption)


def section_heights(doctree: nodes.document) -> dict[str, int]:
    """Return the height in rem, in a wide window, of each section below the page's title."""
    title = next(doctree.findall(nodes.section), None)
    parts = title.children if title else []
    return {part["ids"][0]: math.ceil(_height(part)) for part in parts if _is_section(part)}


def with_heights(body: str, doctree: nodes.document | None) -> str:
    """Return a page's HTML, in which each section that may be left out says how high it is."""
    for name, height in section_heights(doctree).items() if doctree else ():
        body = body.replace(
            f'<section id="{name}">', f'<section id="{name}" style="--height: {height}rem">', 1
        )
    return body


def _is_section(node: nodes.Node) -> bool:
    return isinstance(node, nodes.section)


def _row(letters: list[int]) -> float:
    """Return the height of a table's row, whose columns share the width."""
    lines = math.ceil(max(letters, default=0) * len(letters) / _LETTERS)
    return max(_ROW, 1.2 * lines + 1)


def _height(node: nodes.Node) -> float:
    if isinstance(node, nodes.Element):
        if "dropdown" in node.get("classes", []) or node.get("hide_mode") == "all":
            return _FOLDED
        if node.get("tag") == "details":
            return _LINE
        if node.get("hide_mode") == "input":
            return _FOLDED + sum(map(_height, node.children[1:]))
    match node:
        case nodes.title():
            return 5
        case nodes.row():
            return _row([len(entry.astext()) for entry in node.children])
        case nodes.Element() if isinstance(node, _PARAGRAPHS) or node.get("tag") == "li":
            return _LINE * math.ceil(len(node.astext()) / _LETTERS) + 1
        case nodes.math_block():
            return 5 + 2.5 * node.astext().count(r"\\")
        case nodes.literal_block():
            return 1.4 * (node.astext().count("\n") + 1) + 2
        case nodes.image():
            return _FIGURE
        case nodes.raw():
            text = node.astext()
            if "data-explorable" in text:
                return _EXPLORABLE
            return sum(
                _row([len(_TAG.sub("", cell)) for cell in _CELL.findall(row)])
                for row in text.split("<tr")[1:]
            )
    tag = node.get("tag") if isinstance(node, nodes.Element) else None
    return _GAPS.get(tag, 0) + sum(map(_height, node.children))
