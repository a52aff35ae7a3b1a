"""The list of the chapters: a Sphinx extension with one directive.

    ```{chapter-list}
    What stands here is shown where no site is built, such as on GitHub.
    ```

lists the chapters that `_toc.yml` names, each with its title and the question that its notebook opens
with, and says which of the book's chapters are yet to come.
"""

import json
import re
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from bookkit.chapter.order import ORDER
from bookkit.verified.equations import book_pages

__all__ = ["question", "setup"]

_FOLDER = "chapters/"
_QUESTION = re.compile(
    r"^:::+ *\{admonition\} Question\n(?::[\w-]+:[^\n]*\n)*\s*(.+?)(?:\n\s*\n|\n:::)",
    re.MULTILINE | re.DOTALL,
)


def question(notebook: Path) -> str:
    """Return the question that a chapter's notebook opens with, in Markdown.

    Raises:
        ValueError: if it opens with none.
    """
    cells = json.loads(notebook.read_text("utf-8"))["cells"][:2]  # the opening
    asked = _QUESTION.search("\n\n".join("".join(cell["source"]) for cell in cells))
    if asked is None:
        raise ValueError(f"{notebook.name} does not open with an admonition “Question”")
    return " ".join(asked[1].split())


class ChapterList(SphinxDirective):
    """The chapters in order, and which are yet to come."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        root = Path(self.env.srcdir)
        pages = {name: path for name, path in book_pages(root).items() if name.startswith(_FOLDER)}
        for source in (root / "_toc.yml", *pages.values()):
            self.env.note_dependency(str(source))
        listing = nodes.enumerated_list(enumtype="arabic", prefix="", suffix=".")
        listing["classes"].append("chapter-list")
        for name, path in pages.items():
            try:
                listing += self._item(name, question(path))
            except ValueError as error:
                raise self.error(str(error)) from None
        coming = [words for name, words in ORDER.items() if _FOLDER + name not in pages]
        rest = nodes.paragraph("", f"Coming: {' · '.join(coming)}.")
        return [listing, rest] if coming else [listing]

    def _item(self, page: str, asked: str) -> nodes.list_item:
        item = nodes.list_item()
        # An absolute path, and no words: the link is called as the page is.
        text = StringList([f"[](/{page})", "", asked], source=self.get_source_info()[0])
        self.state.nested_parse(text, self.content_offset, item)
        return item


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("chapter-list", ChapterList)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
