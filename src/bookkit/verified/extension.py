"""The Sphinx side: a mark beside each labeled equation, and a page a chapter that lists them.

Marks are added while pages are written, never stored with what was read: a new outcome rewrites
pages, it does not read them again. What a mark opens is no part of its page: for each chapter a
script in ``_static/verified`` holds it, which the page loads when a mark is opened, and the list of
the chapter's equations, ``verified/CHAPTER.html``, holds the same sources for who has no scripts.
"""

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from bookkit.site import collected
from bookkit.verified import checks, helpers, markup
from bookkit.verified.equations import SUFFIXES, latex_digest

logger = logging.getLogger(__name__)

STYLE = Path(__file__).with_name("verified.css")


def setup(app: Sphinx) -> dict:
    # None of these changes what is read from a page; each build looks at all of them anew.
    app.add_config_value("verified_tests", "tests", "", str)
    app.add_config_value("verified_record", "_build/verified.json", "", str)
    app.add_config_value("verified_source", "src/derived", "", str)
    # Not in _config.yml: whether a build must prove itself is for its caller to say.
    required = os.environ.get("VERIFIED_REQUIRE_PASS") == "1"
    app.add_config_value("verified_require_pass", required, "", bool)

    collected.setup(app)
    app.add_node(markup.verified_mark, html=(markup.visit_mark, None))
    app.add_node(markup.verified_source, html=(markup.visit_source, None))
    app.add_node(verified_list)
    app.add_directive("verified-equations", VerifiedEquations)
    app.add_post_transform(AddMarks)
    app.add_post_transform(FillList)
    app.add_css_file(STYLE.name)
    app.connect("builder-inited", _add_style)
    app.connect("env-purge-doc", _purge)
    app.connect("env-merge-info", _merge)
    app.connect("env-before-read-docs", _read_lists_again)
    app.connect("doctree-read", _collect)
    app.connect("env-updated", _prove)
    app.connect("html-collect-pages", _collect_pages)
    app.connect("build-finished", _remind)
    return {
        "version": "1",
        "env_version": 1,
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }


def _add_style(app: Sphinx) -> None:
    # A new list, because an unset value is Sphinx's default, shared by all builds in a process.
    app.config.html_static_path = [*app.config.html_static_path, str(STYLE)]


def _seen(env: BuildEnvironment) -> dict[str, list[tuple[str, str]]]:
    """Return (label, hash) of the labeled equations that Sphinx saw, by page."""
    if not hasattr(env, "verified_seen"):
        env.verified_seen = {}
    return env.verified_seen


def _lists(env: BuildEnvironment) -> set[str]:
    """Return the pages that list the verified equations."""
    if not hasattr(env, "verified_lists"):
        env.verified_lists = set()
    return env.verified_lists


def _purge(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    _seen(env).pop(docname, None)
    _lists(env).discard(docname)


def _merge(
    app: Sphinx, env: BuildEnvironment, docnames: Iterable[str], other: BuildEnvironment
) -> None:
    _seen(env).update({name: _seen(other)[name] for name in docnames if name in _seen(other)})
    _lists(env).update(_lists(other) & set(docnames))


def _read_lists_again(app: Sphinx, env: BuildEnvironment, docnames: list[str]) -> None:
    # What any page says, and its number, may stand in the list.
    if docnames:
        docnames += sorted(_lists(env) & env.found_docs - set(docnames))


def _collect(app: Sphinx, doctree: nodes.document) -> None:
    found = []
    for node in doctree.findall(nodes.math_block):
        if "amsmath" in node["classes"] and node.get("number"):
            text = "a bare LaTeX environment gets a number but no label: write $$ … $$ (label)"
            logger.warning(text, location=node, type="verified", subtype="unlabeled")
        elif node.get("label"):
            found.append((node["label"], latex_digest(node.astext())))
    if found:
        _seen(app.env)[app.env.docname] = found


def _prove(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Report what does not hold; return the pages to write again when tests or outcomes changed."""
    source = Path(app.confdir) / app.config.verified_source
    try:
        app.verified_book = book = _read_book(app, env)
        app.verified_helpers = known = helpers.in_book(book, source)
    except ValueError as error:  # names the file that is broken
        raise ExtensionError(str(error)) from None
    for problem in checks.problems(book, require_pass=app.config.verified_require_pass):
        _warn(problem)
    for problem in _disagreements(env, book):
        _warn(problem)
    for problem in helpers.problems(book, known, source):
        _warn(problem)
    found = (book.equations, book.tests, book.outcomes, book.earlier, sorted(book.changed_latex))
    state = hashlib.sha256(repr((found, known)).encode()).hexdigest()
    if state == getattr(env, "verified_state", None):
        return []
    env.verified_state = state
    return sorted((_seen(env).keys() | _lists(env)) & env.found_docs)


def _remind(app: Sphinx, exception: Exception | None) -> None:
    """Say how many marks rest on a record that no longer holds; a build is fine with it."""
    if exception is None and (behind := len(checks.unrecorded(app.verified_book))):
        marks = "1 mark has" if behind == 1 else f"{behind} marks have"
        # Not Sphinx's log, which a quiet build does not show below a warning.
        print(f"{marks} an old record, or none: `make test`, then `make record`", file=sys.stderr)


def _read_book(app: Sphinx, env: BuildEnvironment) -> checks.Book:
    config = app.config
    paths = checks.Paths.below(Path(app.confdir), config.verified_tests, config.verified_record)
    files = {name: Path(env.doc2path(name)) for name in _reading_order(env)}
    return checks.read_book(
        paths, {n: file for n, file in files.items() if file.suffix in SUFFIXES}
    )


def _reading_order(env: BuildEnvironment) -> list[str]:
    """Return the pages in the order of the table of contents, then those outside it."""
    order, queue = {}, [env.config.root_doc]
    while queue:
        name = queue.pop(0)
        if name not in order:
            order[name] = None
            queue = env.toctree_includes.get(name, []) + queue
    return list(order | dict.fromkeys(sorted(env.found_docs - order.keys())))


def _disagreements(env: BuildEnvironment, book: checks.Book) -> Iterable[checks.Problem]:
    """Compare the equations found in the pages' text with those that Sphinx saw."""
    read: dict[str, list[tuple[str, str]]] = {}
    for equation in book.equations:
        read.setdefault(equation.page, []).append((equation.label, equation.digest))
    for page in sorted(read.keys() | _seen(env).keys()):
        ours, theirs = read.get(page, []), _seen(env).get(page, [])
        if sorted(ours) != sorted(theirs):
            labels = ", ".join(sorted({label for label, _ in set(ours) ^ set(theirs)}))
            text = f"the page's text and Sphinx disagree on these labeled equations: {labels}"
            yield checks.Problem("parser", page, text)


def _warn(problem: checks.Problem) -> None:
    logger.warning(problem.text, location=problem.where, type="verified", subtype=problem.kind)


class AddMarks(SphinxPostTransform):
    """Put its mark after each labeled equation."""

    default_priority = 900
    formats = ("html",)

    def run(self, **kwargs: object) -> None:
        for node in list(self.document.findall(nodes.math_block)):
            if node.get("label") and "amsmath" not in node["classes"]:
                node["classes"].append("labeled")
                index = node.parent.index(node) + 1
                node.parent.insert(index, markup.verified_mark(label=node["label"]))


class verified_list(nodes.General, nodes.Element):
    """The place of the table of all chapters."""


class VerifiedEquations(SphinxDirective):
    """Count the labeled equations of each chapter, and lead to the list of them."""

    def run(self) -> list[nodes.Node]:
        _lists(self.env).add(self.env.docname)
        return [verified_list()]


class FillList(SphinxPostTransform):
    """Fill the table in, once all pages have been read and numbered."""

    # Before references are resolved (10), so that links to equations get their numbers.
    default_priority = 5

    def run(self, **kwargs: object) -> None:
        for node in list(self.document.findall(verified_list)):
            html = self.app.builder.format == "html"
            node.replace_self(markup.overview(self.app, self.env.docname) if html else [])


def _collect_pages(app: Sphinx) -> Iterator[collected.Page]:
    """Write what the marks of each page open, and yield the list of its equations."""
    folder = Path(app.outdir) / "_static" / "verified"
    folder.mkdir(parents=True, exist_ok=True)
    pages = markup.pages(app.verified_book)
    for old in {path.name for path in folder.iterdir()} - set(map(markup.script_name, pages)):
        (folder / old).unlink()  # of a page that is gone
    for page in pages:
        (folder / markup.script_name(page)).write_text(markup.panels(app, page), "utf-8")
        yield markup.listing(app, page)
