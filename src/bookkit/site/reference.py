"""A reference page for each chapter, made of its helpers' docstrings: a Sphinx extension.

``reference/CHAPTER.html`` shows each public helper's signature, its docstring with the formulas
drawn, the equations that it computes, the tests of equations that call it, and how fast it is
beside others where ``make bench`` measured that. Nothing is imported: `bookkit.verified.helpers`
reads the source. A line below a chapter's title leads there.

A docstring is Markdown with sections in Google's style (Args, Returns, Raises, Attributes). What
stands there between backquotes and is a helper's name becomes a link, and so does a cited label.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

from bookkit.site import collected
from bookkit.site.collected import element, link, parsed
from bookkit.site.reports import benchmarks
from bookkit.verified import markup
from bookkit.verified.helpers import CITATION, Helper, calls

__all__ = ["page_name", "place", "sections", "setup", "timed"]

STYLE = Path(__file__).with_name("reference.css")

# Section titles of a docstring, and whether what follows is a list of names with meanings.
_SECTIONS = {"Args": True, "Attributes": True, "Raises": True, "Returns": False}
_SECTION = re.compile(rf"^({'|'.join(_SECTIONS)}):\n((?:    .*\n?|\n)+)", re.MULTILINE)
_ITEM = re.compile(r"^([\w*`, .]+?): (.*(?:\n(?: .*)?)*)", re.MULTILINE)


def setup(app: Sphinx) -> dict:
    """Set up the Sphinx extension ``bookkit.site.reference``."""
    collected.setup(app)
    app.add_post_transform(AddWays)
    app.add_css_file(STYLE.name)
    app.connect("builder-inited", _add_style)
    app.connect("html-collect-pages", _collect_pages)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def _add_style(app: Sphinx) -> None:
    # A new list, because an unset value is Sphinx's default, shared by all builds in a process.
    app.config.html_static_path = [*app.config.html_static_path, str(STYLE)]


def page_name(chapter: str) -> str:
    """Return the name of a chapter's reference page."""
    return f"reference/{chapter}"


def place(helper: Helper) -> str:
    """Return the id of a helper on its page."""
    return helper.name


class AddWays(SphinxPostTransform):
    """Put below the title of a chapter what leads to its helpers and its equations."""

    default_priority = 900
    formats = ("html",)

    def run(self, **kwargs: object) -> None:
        page, title = self.env.docname, self.document.next_node(nodes.title)
        if title is None or page not in markup.pages(self.app.verified_book):
            return
        chapter = page.rpartition("/")[2]
        links = []
        if _of(self.app, chapter):
            links.append(link(self.app, page, page_name(chapter), "Reference of its code"))
        links.append(link(self.app, page, markup.list_name(page), "Its verified equations"))
        title.parent.insert(title.parent.index(title) + 1, collected.ways(*links))


def _of(app: Sphinx, chapter: str) -> list[Helper]:
    return [helper for helper in app.verified_helpers if helper.chapter == chapter]


def _collect_pages(app: Sphinx) -> Iterator[collected.Page]:
    for page in markup.pages(app.verified_book):
        chapter = page.rpartition("/")[2]
        if helpers := _of(app, chapter):
            yield _page(app, page, chapter, helpers)


def _page(app: Sphinx, page: str, chapter: str, helpers: list[Helper]) -> collected.Page:
    name = page_name(chapter)
    measured = timed(Path(app.confdir), chapter, helpers)
    body: list[nodes.Node] = [
        collected.ways(
            link(app, name, page, "To the chapter"),
            link(app, name, markup.list_name(page), "Its verified equations"),
        ),
        nodes.paragraph("", "", *_import(chapter, helpers)),
    ]
    section = None
    for helper in helpers:
        part = _section(app, page, name, helper, helpers, measured.get(helper.name, []))
        if helper.owner and section is not None:
            section += part  # a method stands under its class
        else:
            section = part
            body.append(section)
    title = f"Reference: {app.env.titles[page].astext()}"
    said = f"The {len(helpers)} public helpers of derived.{chapter}, from their docstrings."
    return collected.page(app, name, title, said, body)


def _import(chapter: str, helpers: list[Helper]) -> list[nodes.Node]:
    count = sum(not helper.owner for helper in helpers)
    noun = "name" if count == 1 else "names"
    return [
        nodes.Text(f"The {count} public {noun} of "),
        nodes.literal("", f"derived.{chapter}"),
        nodes.Text(
            ", from the docstrings. A number in parentheses leads to the equation that is computed."
        ),
    ]


def _section(
    app: Sphinx,
    page: str,
    name: str,
    helper: Helper,
    helpers: list[Helper],
    rows: list[benchmarks.Row],
) -> nodes.section:
    title = nodes.title("", "", nodes.literal("", helper.name))
    signature = nodes.literal_block(helper.signature, helper.signature, language="python")
    section = nodes.section("", title, signature, ids=[place(helper)])
    section += _docstring(app, name, helper, helpers)
    section += _facts(app, page, name, helper, rows)
    return section


# The docstring ------------------------------------------------------------------------------------


def _docstring(
    app: Sphinx, name: str, helper: Helper, helpers: list[Helper]
) -> Iterator[nodes.Node]:
    for heading, content in sections(helper.docstring):
        if not heading:
            yield from _text(app, content, helper, name, helpers)
            continue
        yield nodes.rubric("", heading)
        if isinstance(content, str):
            yield from _text(app, content, helper, name, helpers)
            continue
        items: list[nodes.Node] = []
        for term, meaning in content:
            items.append(element("dt", element("code", term, cls="literal")))
            items.append(element("dd", *_text(app, meaning, helper, name, helpers)))
        yield element("dl", *items, cls="helper-terms")


def sections(docstring: str) -> Iterator[tuple[str, str | list[tuple[str, str]]]]:
    """Yield a docstring's parts in order: ("", text), or (heading, text or [(name, meaning)])."""
    end = 0
    for match in _SECTION.finditer(docstring):
        if text := docstring[end : match.start()].strip():
            yield "", text
        end = match.end()
        heading, content = match[1], re.sub(r"^    ", "", match[2], flags=re.MULTILINE).strip()
        items = _ITEM.findall(content) if _SECTIONS[heading] else []
        yield heading, [(term, " ".join(said.split())) for term, said in items] or content
    if text := docstring[end:].strip():
        yield "", text


def _text(
    app: Sphinx, text: str, helper: Helper, name: str, helpers: list[Helper]
) -> list[nodes.Node]:
    """Return the nodes of a docstring's Markdown, with its labels and helpers as links."""
    found = nodes.Element("", *parsed(app, text, helper.where, name))
    for raw in list(found.findall(nodes.raw)):
        raw.replace_self(nodes.Text(raw.astext()))  # `a <b> c` is no HTML here
    known = {other.name: place(other) for other in helpers if other.name != helper.name}
    for literal in list(found.findall(nodes.literal)):
        if target := known.get(literal.astext()):
            literal.replace_self(nodes.reference("", "", literal.deepcopy(), refuri=f"#{target}"))
    labels = {equation.label for equation in app.verified_book.equations}
    for part in list(found.findall(nodes.Text)):
        if CITATION.search(part) and not isinstance(part.parent, nodes.math | nodes.math_block):
            part.parent.replace(part, list(_linked(str(part), labels)))
    return found.children


def _linked(text: str, labels: set[str]) -> Iterator[nodes.Node]:
    """Yield a text with each citation replaced by the numbers of its equations."""
    end = 0
    for match in CITATION.finditer(text):
        cited = re.split(r",\s+", match["labels"])
        if not labels.issuperset(cited):
            continue  # no citation, or one that has been reported
        yield nodes.Text(text[end : match.start()] + ("(see " if match["see"] else ""))
        yield from _numbers(cited)
        if match["see"]:
            yield nodes.Text(")")
        end = match.end()
    yield nodes.Text(text[end:])


def _numbers(labels: Iterable[str]) -> Iterator[nodes.Node]:
    for number, label in enumerate(labels):
        if number:
            yield nodes.Text(", ")
        yield markup.equation_link(label)


# What is known of it ------------------------------------------------------------------------------


def _facts(
    app: Sphinx, page: str, name: str, helper: Helper, rows: list[benchmarks.Row]
) -> Iterator[nodes.Node]:
    """Yield what is computed, how fast, and which tests of equations call it."""
    items: list[nodes.Node] = []
    for argument, words in helper.choices:
        items += [element("dt", "Choices of ", nodes.literal("", argument))]
        items += [element("dd", ", ".join(words))]
    for term, labels in (("Computes", helper.computes), ("See also", helper.mentions)):
        if labels:
            inner = nodes.inline("", "", *_numbers(labels))
            items += [element("dt", term), element("dd", inner)]
    if rows:
        items += [element("dt", "Speed"), element("dd", *_speed(app, name, helper.chapter, rows))]
    items += [element("dt", "Source"), element("dd", nodes.literal("", helper.where))]
    book = app.verified_book
    listed = {equation.label for equation in book.equations if equation.page == page}
    tests = [
        test
        for test in book.tests
        if listed.intersection(label for label, _ in test.marks)
        and calls(test, helper, book.paths.root)
    ]
    if tests:
        items.append(element("dt", "Tests", cls="d-print-none"))
        items.append(element("dd", *_tests(app, page, name, tests), cls="d-print-none"))
    yield element("dl", *items, cls="helper-facts")


def _tests(app: Sphinx, page: str, name: str, tests: list) -> Iterator[nodes.Node | str]:
    """Yield the tests, folded where they are many."""
    items = [
        element("li", _test_link(app, page, name, test), f" {test.summary}" if test.summary else "")
        for test in tests
    ]
    count = "1 test of an equation" if len(tests) == 1 else f"{len(tests)} tests of equations"
    summary = element("summary", f"{count} call{'s' if len(tests) == 1 else ''} it")
    yield element("details", summary, element("ul", *items))


def _test_link(app: Sphinx, page: str, name: str, test) -> nodes.Node:
    code = nodes.literal("", test.name)
    shown = link(app, name, markup.list_name(page), code, to=markup.test_name(test))
    return nodes.inline("", "", shown)


def _speed(
    app: Sphinx, name: str, chapter: str, rows: list[benchmarks.Row]
) -> Iterator[nodes.Node | str]:
    said = [f"{row.faster:.2f} times as fast ({' · '.join(row.name)})" for row in rows]
    yield nodes.inline(
        "",
        "",
        nodes.Text(f"{'; '.join(said)}. "),
        link(app, name, "benchmarks", "Than what, and how measured", to=f"benchmark-{chapter}"),
    )


def timed(root: Path, chapter: str, helpers: Iterable[Helper]) -> dict[str, list[benchmarks.Row]]:
    """Return the comparisons of a chapter's benchmark whose names name a helper, by its name.

    A helper is named by its words ("rotated iou" for `rotated_iou`); of names inside one another
    the longest counts.
    """
    file = root / "benchmarks" / "results" / f"{chapter}.json"
    if not file.is_file():
        return {}
    words = {h.name: re.sub(r"[_ ]+", " ", h.name).strip() for h in helpers if not h.owner}
    longest = sorted(words, key=lambda name: -len(words[name]))
    measured: dict[str, list[benchmarks.Row]] = {}
    for row in benchmarks.read(file)[1]:
        rest = re.sub(r"_", " ", " · ".join(row.name))
        for name in longest:
            rest, times = re.subn(rf"\b{re.escape(words[name])}\b", "·", rest)
            if times:
                measured.setdefault(name, []).append(row)
    return measured
