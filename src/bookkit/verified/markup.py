"""What the reader sees: the mark beside an equation, and the list of all equations."""

from collections import Counter
from html import escape
from itertools import groupby

from docutils import nodes
from sphinx import addnodes
from sphinx.environment import BuildEnvironment
from sphinx.writers.html5 import HTML5Translator

from bookkit.verified.checks import Book, told, verdict
from bookkit.verified.marks import METHODS, Test
from bookkit.verified.record import OUTCOMES

# A sign for each status, and what the list's summary calls so many equations of it.
_SIGNS = {"passed": "✓", "conjecture": "?", "failed": "✗"}
_SIGNS |= dict.fromkeys(("changed", "open", "untested"), "○")
_TOTALS = {
    "passed": "verified",
    "conjecture": "conjectured and checked by search",
    "failed": "with a test that fails",
    "changed": "with tests that passed before a change",
    "open": "with tests that have not passed here",
    "untested": "without a test",
}


class verified_mark(nodes.General, nodes.Element):
    """The mark of the equation `label`; its text is no part of what the search index reads."""


class html_element(nodes.General, nodes.Element):
    """An HTML element `tag` around other nodes, for what docutils has no node for."""


def visit_element(translator: HTML5Translator, node: html_element) -> None:
    attributes = {name: value for name, value in node["attributes"].items() if value is not None}
    translator.body.append(translator.starttag(node, node["tag"], "", **attributes))


def depart_element(translator: HTML5Translator, node: html_element) -> None:
    translator.body.append(f"</{node['tag']}>\n")


def visit_mark(translator: HTML5Translator, node: verified_mark) -> None:
    translator.body.append(_mark(translator, node["label"]))
    raise nodes.SkipNode


def _mark(translator: HTML5Translator, label: str) -> str:
    book = translator.builder.app.verified_book
    found = verdict(book, label)
    panels = "".join(_panel(translator, book, test, label) for test in book.tests_of(label))
    return (
        f'<details class="verified" data-status="{found.status}">'
        f'<summary><span class="verified-sign" aria-hidden="true">{_SIGNS[found.status]}</span> '
        f"{escape(found.text)}</summary>"
        f'<div class="verified-tests">{panels or "<p>There is nothing to show yet.</p>"}</div>'
        "</details>\n"
    )


def _panel(translator: HTML5Translator, book: Book, test: Test, label: str) -> str:
    lines = f"lines {test.first}–{test.last}" if test.last > test.first else f"line {test.first}"
    ways = ", ".join(dict.fromkeys(METHODS[by][0] for by in test.methods(label)))
    helpers = "".join(
        f'<details class="verified-helper"><summary>uses <code>{escape(name)}</code></summary>'
        f"{_source(translator, name, source)}</details>"
        for name, source in test.helpers
    )
    return (
        '<div class="verified-test">'
        f'<p><span class="verified-outcome" data-outcome="{_worst(book.known(test, label))}">'
        f"{escape(told(book, test, label))}</span> "
        f"<code>{escape(test.path)}</code>, {lines} · {escape(ways)}</p>"
        f"{_source(translator, test.name, test.source)}{helpers}</div>"
    )


def _worst(outcomes: list[str]) -> str:
    return max(outcomes, key=OUTCOMES.index) if outcomes else "none"


def _source(translator: HTML5Translator, name: str, source: str) -> str:
    """Return a source where the page needs it first, and a link to that place ever after.

    A script may put a copy in the link's place (`verified-again`); the link works without one,
    since browsers open the `<details>` around what a link leads to.
    """
    if not hasattr(translator, "verified_sources"):
        translator.verified_sources = {}
    sources = translator.verified_sources
    title = f"Source of {name}"
    if source in sources:
        anchor = sources[source]
        return f'<p class="verified-again"><a href="#{anchor}">{escape(title)}</a></p>'
    anchor = sources[source] = f"verified-source-{len(sources) + 1}"
    return _code(translator, source, title, anchor)


def _code(translator: HTML5Translator, source: str, name: str, anchor: str) -> str:
    block = translator.highlighter.highlight_block(source, "python")
    # A box that scrolls must be reachable by keyboard, and then it needs a name.
    opening = f'<pre tabindex="0" role="group" aria-label="{escape(name)}">'
    return (
        f'<div class="highlight-python notranslate" id="{anchor}">'
        f"{block.replace('<pre>', opening, 1)}</div>"
    )


def listing(book: Book, env: BuildEnvironment) -> list[nodes.Node]:
    """Return the list of all equations: how many hold, by what methods, and each in its chapter."""
    pages = [(page, list(group)) for page, group in groupby(book.equations, lambda e: e.page)]
    return [
        _totals(book),
        _legend(book),
        *(_chapter(book, env, page, group) for page, group in pages),
    ]


def _element(tag: str, *children: nodes.Node | str, cls: str = "", **attributes: str):
    element = html_element(tag=tag, attributes=attributes, classes=cls.split())
    element += [nodes.Text(child) if isinstance(child, str) else child for child in children]
    return element


def _totals(book: Book) -> nodes.Node:
    counts = Counter(verdict(book, equation.label).status for equation in book.equations)
    parts = [f"{counts[status]} {words}" for status, words in _TOTALS.items() if counts[status]]
    total = len(book.equations)
    noun = "equation" if total == 1 else "equations"
    return nodes.paragraph("", f"{total} labeled {noun}: {', '.join(parts) or 'none yet'}.")


def _legend(book: Book) -> nodes.Node:
    """Explain the methods in use, with the number of equations each verifies."""
    used = Counter(by for e in book.equations for by in verdict(book, e.label).methods)
    items = []
    for by, (name, meaning) in METHODS.items():
        if used[by]:
            items.append(_element("dt", f"{name[0].upper()}{name[1:]} ({used[by]})"))
            items.append(_element("dd", meaning))
    return _element("dl", *items, cls="verified-methods")


def _chapter(book: Book, env: BuildEnvironment, page: str, equations: list) -> nodes.Node:
    title = env.titles[page].astext()
    number = env.titles[page].get("secnumber")
    heading = f"{'.'.join(map(str, number))}. {title}" if number else title
    columns = ("Equation number", "Equation", "Outcome", "Tests")
    head = _element(
        "thead",
        _element(
            "tr",
            *(_element("th", c, role="columnheader", scope="col") for c in columns),
            role="row",
        ),
        role="rowgroup",
    )
    rows = _element("tbody", *(_row(book, equation) for equation in equations), role="rowgroup")
    table = _element(
        "table", head, rows, cls="verified-list", role="table", **{"aria-label": title}
    )
    name = f"equations-of-{page.rpartition('/')[2]}"
    return nodes.section("", nodes.title("", heading), table, ids=[name], names=[name])


def _row(book: Book, equation) -> nodes.Node:
    found = verdict(book, equation.label)
    link = addnodes.pending_xref(
        "",
        nodes.literal("", equation.label),
        refdomain="math",
        reftype="eq",
        reftarget=equation.label,
        refexplicit=False,
        refwarn=True,
    )
    latex = equation.latex
    math = nodes.math_block(latex, latex, nowrap=False, number=None, label=None)
    sign = _element("span", _SIGNS[found.status], cls="verified-sign", **{"aria-hidden": "true"})
    tests = [_test_item(book, test, equation.label) for test in book.tests_of(equation.label)]
    # The roles keep this a table for screen readers although its layout is a grid.
    return _element(
        "tr",
        _element("td", nodes.inline("", "", link), role="cell", cls="verified-number"),
        _element("td", math, role="cell", cls="verified-equation"),
        _element("td", sign, f" {found.text}", role="cell", cls="verified-verdict"),
        _element("td", _element("ul", *tests) if tests else "", role="cell", cls="verified-names"),
        role="row",
        **{"data-status": found.status},
    )


def _test_item(book: Book, test: Test, label: str) -> nodes.Node:
    summary = f" {test.summary}" if test.summary else ""
    return _element(
        "li",
        nodes.literal("", test.name),
        f" {test.where} · {told(book, test, label)}.{summary}",
    )
