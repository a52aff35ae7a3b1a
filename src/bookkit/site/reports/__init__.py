"""Pages drawn from what was measured: a Sphinx extension with two directives.

    ```{verification-report}
    ```

puts the present figures of all that is checked on a page, and ``{benchmark-report}`` the stored
results of ``make bench``. Both are filled in when a page is written, from what lies on the disk
then: a new result rewrites the page, it does not read it again.

verification.py  equations, tests, outputs, interactive figures, mutants
benchmarks.py    times beside those of plain implementations
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective

__all__ = ["NOT_RUN", "paragraph", "setup", "table"]

NOT_RUN = "not run here"

_SOURCES = ("_build/verified.json", "_build/outputs.json")
_SOURCES += ("tests/chapters/*/mutants.json", "tests/chapters/*/record.json")
# What stored outputs depend on.
_SOURCES += ("src/derived/**/*.py", "requirements.txt", "chapters/recorded/*.json")
_SOURCES += ("benchmarks/bench_*.py", "benchmarks/results/*.json", "chapters/*.ipynb")


def paragraph(text: str) -> nodes.paragraph:
    """Return a paragraph of plain text, in which `words` between backquotes are code."""
    parts = text.split("`")
    children = [nodes.literal("", p) if n % 2 else nodes.Text(p) for n, p in enumerate(parts)]
    return nodes.paragraph("", "", *children)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> nodes.table:
    """Return a table whose first column heads its rows."""
    group = nodes.tgroup("", cols=len(head))
    group += [nodes.colspec("", colwidth=1, stub=int(not column)) for column in range(len(head))]
    group += nodes.thead("", _row(head))
    group += nodes.tbody("", *map(_row, rows))
    return nodes.table("", group)


def _row(cells: Sequence[str]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", paragraph(cell)) for cell in cells))


class report(nodes.General, nodes.Element):
    """The place of a report; `draw` names which."""


class _Report(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        _pages(self.env).add(self.env.docname)
        return [report(draw=self.name)]


class FillReports(SphinxPostTransform):
    """Draw the reports, once all pages have been read and numbered."""

    default_priority = 5

    def run(self, **kwargs: object) -> None:
        for node in list(self.document.findall(report)):
            try:
                node.replace_self(_drawings()[node["draw"]](self.app))
            except ValueError as error:  # names the file that is broken
                raise ExtensionError(str(error)) from None


def _drawings() -> dict[str, Callable[[Sphinx], list[nodes.Node]]]:
    # Imported here: both use what stands above.
    from bookkit.site.reports import benchmarks, verification

    return {"verification-report": verification.draw, "benchmark-report": benchmarks.draw}


def _pages(env: BuildEnvironment) -> set[str]:
    """Return the pages that hold a report."""
    if not hasattr(env, "report_pages"):
        env.report_pages = set()
    return env.report_pages


def _purge(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    _pages(env).discard(docname)


def _merge(app: Sphinx, env: BuildEnvironment, docnames: set, other: BuildEnvironment) -> None:
    _pages(env).update(_pages(other) & set(docnames))


def _written_again(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Return the pages with reports if anything that they draw from has changed."""
    root = Path(app.confdir)
    sums = hashlib.sha256(str(getattr(env, "verified_state", "")).encode())
    for path in sorted(path for pattern in _SOURCES for path in root.glob(pattern)):
        sums.update(path.name.encode() + path.read_bytes())
    if sums.hexdigest() == getattr(env, "report_state", None):
        return []
    env.report_state = sums.hexdigest()
    return sorted(_pages(env) & env.found_docs)


def setup(app: Sphinx) -> dict:
    """Set up the Sphinx extension ``bookkit.site.reports``."""
    app.add_node(report)
    for name in _drawings():
        app.add_directive(name, _Report)
    app.add_post_transform(FillReports)
    app.connect("env-purge-doc", _purge)
    app.connect("env-merge-info", _merge)
    # After bookkit.verified has read the outcomes (500).
    app.connect("env-updated", _written_again, priority=900)
    return {
        "version": "1",
        "env_version": 1,
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }
