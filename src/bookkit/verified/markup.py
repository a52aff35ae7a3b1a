"""What the reader sees: the mark beside an equation, what it opens, and the lists of equations."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import PurePosixPath

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

from bookkit.site import collected
from bookkit.site.collected import element, link
from bookkit.site.pages import without_plain_tokens
from bookkit.verified.checks import Book, Verdict, told, verdict
from bookkit.verified.equations import Equation
from bookkit.verified.helpers import Helper, computing
from bookkit.verified.marks import METHODS, Test
from bookkit.verified.record import OUTCOMES

__all__ = [
    "chapter_title",
    "equation_link",
    "list_name",
    "listing",
    "overview",
    "pages",
    "panels",
    "script_name",
    "test_name",
    "verified_mark",
    "verified_source",
    "visit_mark",
    "visit_source",
]

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


def pages(book: Book) -> list[str]:
    """Return the pages that hold labeled equations, in the book's order."""
    return list(dict.fromkeys(equation.page for equation in book.equations))


def list_name(page: str) -> str:
    """Return the name of the page that lists the equations of `page`."""
    return f"verified/{PurePosixPath(page).name}"


def script_name(page: str) -> str:
    """Return the name, in ``_static/verified``, of the script with what the marks of `page` open."""
    return f"{PurePosixPath(page).name}.js"


def test_name(test: Test) -> str:
    """Return the id of a test's source on the lists."""
    return f"{PurePosixPath(test.path).stem}.{test.name.replace('::', '.')}"


def chapter_title(app: Sphinx, page: str) -> str:
    """Return a page's title with its number, if it has one."""
    title = app.env.titles[page]
    number = title.get("secnumber")
    return f"{'.'.join(map(str, number))}. {title.astext()}" if number else title.astext()


def equation_link(label: str) -> nodes.Node:
    """Return a link to an equation, whose text is its number."""
    return addnodes.pending_xref(
        "",
        nodes.literal("", label),
        refdomain="math",
        reftype="eq",
        reftarget=label,
        refexplicit=False,
        refwarn=True,
    )


# The mark -----------------------------------------------------------------------------------------


class verified_mark(nodes.General, nodes.Element):
    """The mark of the equation `label`; its text is no part of what the search index reads."""


def visit_mark(translator: HTML5Translator, node: verified_mark) -> None:
    """Write a mark: what it opens is loaded by site.js, and listed on a page for who has no script."""
    app, page, label = translator.builder.app, translator.builder.current_docname, node["label"]
    said = verdict(app.verified_book, label)
    script = f"_static/verified/{script_name(page)}?v={app.env.verified_state[:8]}"
    root = "../" * page.count("/")
    listed = f"{app.builder.get_relative_uri(page, list_name(page))}#{label}"
    translator.body.append(
        f'<details class="verified" data-status="{said.status}" '
        f'data-label="{escape(label)}" data-panels="{root}{escape(script)}">'
        f'<summary><span class="verified-sign" aria-hidden="true">{_SIGNS[said.status]}</span> '
        f"{escape(said.text)}</summary>"
        f'<div class="verified-tests"><p><a href="{escape(listed)}">Its tests and their source</a>'
        "</p></div></details>\n"
    )
    raise nodes.SkipNode


# What it opens ------------------------------------------------------------------------------------


def panels(app: Sphinx, page: str) -> str:
    """Return the script that brings what the marks of a page open.

    It calls ``verifiedPanels(panels, sources)`` of site.js: the HTML for each label, in which an
    element with ``data-source="3"`` stands for the third of the sources. Each source is in it once.
    """
    book, sources = app.verified_book, _Sources(app)
    parts = {}
    for label in (equation.label for equation in book.equations if equation.page == page):
        code = [_helper(app, sources, h, page) for h in computing(app.verified_helpers, label)]
        tests = [_panel(sources, book, test, label) for test in book.tests_of(label)]
        parts[label] = "".join(code + tests) or "<p>There is nothing to show yet.</p>"
    arguments = (json.dumps(part, ensure_ascii=False) for part in (parts, list(sources.blocks)))
    return f"verifiedPanels({', '.join(arguments)});\n"


class _Sources:
    """The highlighted sources that a script holds, each once."""

    def __init__(self, app: Sphinx) -> None:
        self.highlighter = app.builder.highlighter
        self.blocks: dict[str, int] = {}

    def slot(self, name: str, source: str) -> str:
        """Return the element that stands for a source."""
        block = without_plain_tokens(self.highlighter.highlight_block(source, "python"))
        # A box that scrolls must be reachable by keyboard, and then it needs a name.
        opening = f'<pre tabindex="0" role="group" aria-label="Source of {escape(name)}">'
        block = block.replace("<pre>", opening, 1)
        html = f'<div class="highlight-python notranslate">{block}</div>'
        return f'<div data-source="{self.blocks.setdefault(html, len(self.blocks))}"></div>'


def _helper(app: Sphinx, sources: _Sources, helper: Helper, page: str) -> str:
    name = f"<code>{escape(helper.name)}</code>"
    if reference := _reference(app, helper):
        name = f'<a href="{app.builder.get_relative_uri(page, reference[0])}#{reference[1]}">{name}</a>'
    return (
        f'<div class="verified-code"><p><span class="verified-computed">computed by {name}</span> '
        f"<code>{escape(helper.path)}</code>, {_lines(helper)}</p>"
        f"{sources.slot(helper.name, helper.source)}</div>"
    )


def _reference(app: Sphinx, helper: Helper) -> tuple[str, str] | None:
    """Return the page and the place of a helper's reference, if the book has one."""
    if "bookkit.site.reference" not in app.extensions:
        return None
    from bookkit.site import reference  # which uses what stands here

    return reference.page_name(helper.chapter), reference.place(helper)


def _panel(sources: _Sources, book: Book, test: Test, label: str) -> str:
    ways = ", ".join(dict.fromkeys(METHODS[by][0] for by in test.methods(label)))
    helpers = "".join(
        f'<details class="verified-helper"><summary>uses <code>{escape(name)}</code></summary>'
        f"{sources.slot(name, source)}</details>"
        for name, source in test.helpers
    )
    return (
        f'<div class="verified-test"><p>{_outcome(book, test, label)} '
        f"<code>{escape(test.path)}</code>, {_lines(test)} · {escape(ways)}</p>"
        f"{sources.slot(test.name, test.source)}{helpers}</div>"
    )


def _lines(part: Test | Helper) -> str:
    return f"lines {part.first}–{part.last}" if part.last > part.first else f"line {part.first}"


def _outcome(book: Book, test: Test, label: str) -> str:
    outcomes = book.known(test, label)
    worst = max(outcomes, key=OUTCOMES.index) if outcomes else "none"
    said = escape(told(book, test, label))
    return f'<span class="verified-outcome" data-outcome="{worst}">{said}</span>'


# The lists ----------------------------------------------------------------------------------------


def overview(app: Sphinx, page: str) -> list[nodes.Node]:
    """Return what is known of all equations: totals, methods, and a row a chapter."""
    book = app.verified_book
    head = ("Chapter", "Equations", "Outcome", "Tests")
    rows = [_chapter_row(app, page, chapter) for chapter in pages(book)]
    return [_totals(book.equations, book), _legend(book), *([_table(head, rows)] if rows else [])]


def _chapter_row(app: Sphinx, page: str, chapter: str) -> list[nodes.Node]:
    book = app.verified_book
    equations = [equation for equation in book.equations if equation.page == chapter]
    tests = {test for equation in equations for test in book.tests_of(equation.label)}
    return [
        link(app, page, list_name(chapter), chapter_title(app, chapter)),
        nodes.Text(str(len(equations))),
        nodes.Text(", ".join(_counts(equations, book))),
        nodes.Text(str(len(tests))),
    ]


def _table(head: Iterable[str], rows: Iterable[Iterable[nodes.Node]]) -> nodes.table:
    head = list(head)
    group = nodes.tgroup("", cols=len(head))
    group += [nodes.colspec("", colwidth=1, stub=int(not column)) for column in range(len(head))]

    def line(cells: Iterable[nodes.Node]) -> nodes.row:
        return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", cell)) for cell in cells))

    group += nodes.thead("", line(map(nodes.Text, head)))
    group += nodes.tbody("", *map(line, rows))
    return nodes.table("", group, classes=["verified-chapters"])


def _counts(equations: Iterable[Equation], book: Book) -> list[str]:
    counts = Counter(verdict(book, equation.label).status for equation in equations)
    return [f"{counts[status]} {words}" for status, words in _TOTALS.items() if counts[status]]


def _totals(equations: Iterable[Equation], book: Book) -> nodes.paragraph:
    equations = list(equations)
    noun = "equation" if len(equations) == 1 else "equations"
    parts = ", ".join(_counts(equations, book)) or "none yet"
    return nodes.paragraph("", f"{len(equations)} labeled {noun}: {parts}.")


def _legend(book: Book) -> nodes.Node:
    """Explain the methods in use, with the number of equations each verifies."""
    used = Counter(by for e in book.equations for by in verdict(book, e.label).methods)
    items = []
    for by, (name, meaning) in METHODS.items():
        if used[by]:
            items.append(element("dt", f"{name[0].upper()}{name[1:]} ({used[by]})"))
            items.append(element("dd", meaning))
    return element("dl", *items, cls="verified-methods")


def listing(app: Sphinx, page: str) -> collected.Page:
    """Return the page that lists the equations of a chapter, with the sources of their tests."""
    book, name = app.verified_book, list_name(page)
    equations = [equation for equation in book.equations if equation.page == page]
    tests = [t for t in book.tests if any(t.methods(equation.label) for equation in equations)]
    body = [
        collected.ways(
            link(app, name, page, "To the chapter"),
            *_reference_link(app, name, page),
            *(link(app, name, place, "All chapters") for place in sorted(app.env.verified_lists)),
        ),
        _totals(equations, book),
        _section("Equations", _list(app, page, name, equations)),
        _section("Tests", *_test_sources(tests)),
    ]
    title = f"Verified equations: {app.env.titles[page].astext()}"
    said = f"The {len(equations)} equations of the chapter, each with the tests that verify it."
    return collected.page(app, name, title, said, body)


def _reference_link(app: Sphinx, name: str, page: str) -> Iterator[nodes.Node]:
    chapter = PurePosixPath(page).name
    owned = [helper for helper in app.verified_helpers if helper.chapter == chapter]
    if owned and (place := _reference(app, owned[0])):
        yield link(app, name, place[0], "Reference of its code")


def _section(title: str, *children: nodes.Node) -> nodes.section:
    return nodes.section("", nodes.title("", title), *children, ids=[title.lower()])


def _list(app: Sphinx, page: str, name: str, equations: Iterable[Equation]) -> nodes.Node:
    columns = ("Equation number", "Equation", "Outcome", "Code and tests")
    cells = (element("th", c, role="columnheader", scope="col") for c in columns)
    head = element("thead", element("tr", *cells, role="row"), role="rowgroup")
    rows = element("tbody", *(_row(app, name, e) for e in equations), role="rowgroup")
    label = {"aria-label": app.env.titles[page].astext()}
    # The roles keep this a table for screen readers although its layout is a grid.
    return element("table", head, rows, cls="verified-list", role="table", **label)


def _row(app: Sphinx, name: str, equation: Equation) -> nodes.Node:
    book = app.verified_book
    said = verdict(book, equation.label)
    latex = equation.latex
    math = nodes.math_block(latex, latex, nowrap=False, number=None, label=None)
    items = [_code_item(app, name, h) for h in computing(app.verified_helpers, equation.label)]
    items += [_test_item(book, test, equation.label) for test in book.tests_of(equation.label)]
    number = nodes.inline("", "", equation_link(equation.label))
    return element(
        "tr",
        element("td", number, role="cell", cls="verified-number"),
        element("td", math, role="cell", cls="verified-equation"),
        element("td", *_said(said), role="cell", cls="verified-verdict"),
        element("td", element("ul", *items) if items else "", role="cell", cls="verified-names"),
        role="row",
        ids=[equation.label],
        **{"data-status": said.status},
    )


def _said(said: Verdict) -> tuple[nodes.Node, str]:
    sign = element("span", _SIGNS[said.status], cls="verified-sign", **{"aria-hidden": "true"})
    return sign, f" {said.text}"


def _code_item(app: Sphinx, name: str, helper: Helper) -> nodes.Node:
    code = nodes.literal("", helper.name)
    place = _reference(app, helper)
    shown = link(app, name, place[0], code, to=place[1]) if place else code
    return element("li", "computed by ", nodes.inline("", "", shown), f" {helper.where}")


def _test_item(book: Book, test: Test, label: str) -> nodes.Node:
    summary = f" {test.summary}" if test.summary else ""
    target = nodes.reference("", "", nodes.literal("", test.name), refuri=f"#{test_name(test)}")
    said = f" {test.where} · {told(book, test, label)}.{summary}"
    return element("li", nodes.inline("", "", target), said)


class verified_source(nodes.General, nodes.Element):
    """A source as plain text; it is no part of what the search index reads."""


def visit_source(translator: HTML5Translator, node: verified_source) -> None:
    """Write a source that is reached by keyboard, since its box may scroll."""
    translator.body.append(
        f'<pre id="{escape(node["place"])}" tabindex="0" role="group" '
        f'aria-label="Source of {escape(node["name"])}">{escape(node["source"])}</pre>\n'
    )
    raise nodes.SkipNode


def _test_sources(tests: Iterable[Test]) -> Iterator[nodes.Node]:
    """Yield a folded source for each test, then for each definition that tests use."""
    shared: dict[tuple[str, str], str] = {}
    items = []
    for test in tests:
        used = {name: f"{PurePosixPath(test.path).stem}.{name}" for name, _ in test.helpers}
        for name, source in test.helpers:
            shared[(used[name], name)] = source
        below = [
            nodes.reference("", "", nodes.literal("", name), refuri=f"#{place}")
            for name, place in used.items()
        ]
        uses = [element("p", "uses ", *_listed(below))] if below else []
        said = f" {test.path}, {_lines(test)}"
        items.append(_folded(test.name, said, test_name(test), test.source, *uses))
    yield element("ul", *items, cls="verified-sources")
    if shared:
        yield nodes.rubric("", "What they use")
        folded = (_folded(name, "", place, source) for (place, name), source in shared.items())
        yield element("ul", *folded, cls="verified-sources")


def _listed(parts: Iterable[nodes.Node]) -> Iterator[nodes.Node | str]:
    for number, part in enumerate(parts):
        yield from ([", "] if number else [])
        yield nodes.inline("", "", part)


def _folded(name: str, said: str, place: str, source: str, *below: nodes.Node) -> nodes.Node:
    code = verified_source(name=name, place=place, source=source)
    summary = element("summary", nodes.literal("", name), said)
    return element("li", element("details", summary, code, *below))
