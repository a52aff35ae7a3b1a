"""Pages that no file of the book stands for: made of nodes when the site is written.

Sphinx reads pages from files; these are gathered from tests, docstrings and records, one a chapter,
and would need a file for each. They stand outside the table of contents, so other pages must link
to them. They are searched like the others.
"""

import html
from collections.abc import Iterable

from docutils import nodes
from myst_parser.parsers.sphinx_ import MystParser
from sphinx.application import Sphinx
from sphinx.util.docutils import LoggingReporter, new_document

from bookkit.site.heights import with_heights

__all__ = ["Page", "element", "link", "names", "page", "parsed", "setup", "ways"]

Page = tuple[str, dict, str]  # what Sphinx's event html-collect-pages wants


class html_element(nodes.General, nodes.Element):
    """An HTML element `tag` around other nodes, for what docutils has no node for."""


def visit_element(translator, node: html_element) -> None:
    """Write the start tag; an attribute that is None is left out."""
    attributes = {name: value for name, value in node["attributes"].items() if value is not None}
    translator.body.append(translator.starttag(node, node["tag"], "", **attributes))


def depart_element(translator, node: html_element) -> None:
    """Write the end tag."""
    translator.body.append(f"</{node['tag']}>\n")


def setup(app: Sphinx) -> None:
    """Register the node; more than one extension may do so."""
    app.add_node(html_element, override=True, html=(visit_element, depart_element))


def element(
    tag: str, *children: nodes.Node | str, cls: str = "", **attributes: str | list[str] | None
):
    """Return an HTML element of these children."""
    made = html_element(tag=tag, attributes=attributes, classes=cls.split())
    made += [nodes.Text(child) if isinstance(child, str) else child for child in children]
    return made


def link(app: Sphinx, start: str, page: str, *children: nodes.Node | str, to: str = ""):
    """Return a link from the page `start` to another, or to the place `to` on it."""
    address = "" if page == start else app.builder.get_relative_uri(start, page)
    uri = f"{address}#{to}" if to else address
    made = nodes.reference("", "", refuri=uri, internal=True)
    made += [nodes.Text(child) if isinstance(child, str) else child for child in children]
    return made


def ways(*links: nodes.Node) -> nodes.Node:
    """Return the line with the ways to related pages."""
    return element("p", *(nodes.inline("", "", one) for one in links), cls="ways d-print-none")


def names(app: Sphinx) -> set[str]:
    """Return the names of the pages that were collected in this build."""
    if not hasattr(app, "collected_pages"):
        app.collected_pages = set()
    return app.collected_pages


def page(app: Sphinx, name: str, title: str, said: str, body: Iterable[nodes.Node]) -> Page:
    """Return a page for the event html-collect-pages, and let the search index read it.

    Args:
        said: a sentence for search engines.
        body: what stands below the title; its sections are listed beside the page.
    """
    builder = app.builder
    section = nodes.section("", nodes.title("", title), *body, ids=[nodes.make_id(title)])
    document = new_document(name)
    document.settings.env = app.env
    document += section
    app.env.resolve_references(document, name, builder)
    # These are of the page that was written before.
    builder.current_docname, builder.secnumbers, builder.fignumbers = name, {}, {}
    rendered = builder.render_partial(section)["fragment"]
    builder.index_page(name, document, title)
    # The search index and the inventory hold what stands here. What is added while pages are written
    # isn't kept for the next build: what was read has been stored before.
    app.env.all_docs[name], app.env.titles[name] = 0, nodes.title("", title)
    names(app).add(name)
    parts = [part for part in section.children if isinstance(part, nodes.section)]
    context = {
        "title": html.escape(title),
        "body": with_heights(rendered, document),
        "metatags": f'<meta name="description" content="{html.escape(said)}">',
        "toc": builder.render_partial(_contents(section, parts))["fragment"],
        "display_toc": bool(parts),
        "parents": [],
        "sourcename": "",
    }
    return name, context, "page.html"


def _contents(section: nodes.section, parts: list[nodes.section]) -> nodes.bullet_list:
    """Return the list "On this page" in the form that Sphinx gives it."""

    def item(part: nodes.section, *below: nodes.Node) -> nodes.list_item:
        target = nodes.reference(
            "", part.next_node(nodes.title).astext(), refuri=f"#{part['ids'][0]}", internal=True
        )
        return nodes.list_item("", nodes.paragraph("", "", target), *below)

    inner = [nodes.bullet_list("", *map(item, parts))] if parts else []
    return nodes.bullet_list("", item(section, *inner))


def parsed(app: Sphinx, text: str, where: str, name: str) -> list[nodes.Node]:
    """Return the nodes of Markdown for the page `name`; `where` is named in warnings."""
    document = new_document(where)
    document.settings.env = app.env
    document.reporter = LoggingReporter.from_reporter(document.reporter)
    app.env.prepare_settings(name)
    try:
        parser = MystParser()
        parser.set_application(app)
        parser.parse(text, document)
    finally:
        app.env.temp_data.clear()
    return document.children
