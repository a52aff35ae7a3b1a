"""A Sphinx extension: what `derived.figures.show` stored becomes a figure of the book.

The output's picture gets its alternative text, its caption (MyST Markdown, numbered by Sphinx) and
a folded table of the numbers it plots. An image on any page without alternative text is a warning.

MyST-NB finds `FigureRenderer` by its entry point in the group `myst_nb.mime_renderers`.
"""

import posixpath
import re
from html import escape
from pathlib import Path
from urllib.parse import quote

from docutils import nodes
from myst_nb.core.render import MimeData, NbElementRenderer
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.fileutil import copy_asset_file
from sphinx.writers.html5 import HTML5Translator

__all__ = ["FigureRenderer", "figure_data", "picture", "setup", "tables"]

STYLESHEET = Path(__file__).with_name("figures.css")

# What a writer without alternative text falls back on: the file's name, or a hash of it.
_NO_WORDS = re.compile(r"\S*\.(png|jpe?g|gif|svg|webp|avif)|[0-9a-f]{16,}", re.IGNORECASE)

logger = logging.getLogger(__name__)


class picture(nodes.image):
    """The image of a figure, whose size the page knows before it is loaded."""


class figure_data(nodes.General, nodes.Element):
    """The numbers that a figure plots, folded; `text` is what `derived.figures.summary` wrote."""


class FigureRenderer:
    """MyST-NB's hook for an output's single representation, its PNG."""

    mime_priority_overrides = ()

    @staticmethod
    def handle_mime(
        renderer: NbElementRenderer, data: MimeData, inline: bool
    ) -> list[nodes.Element] | None:
        """Return the figure and its data, or None for all that is not a figure of ours."""
        said = data.output_metadata.get(data.mime_type, {})
        if inline or data.mime_type != "image/png" or "caption" not in said:
            return None
        markdown, document = renderer.renderer, renderer.renderer.document
        (image,) = renderer.render_image(data)
        # The theme's word for pictures that its dark mode must leave to us; and no link to the file.
        classes = ["no-scaled-link", "photo" if said.get("photo") else "dark-light"]
        image = picture(**{**image.attributes, "alt": said.get("alt", ""), "classes": classes})
        caption = nodes.caption(said["caption"])
        with markdown.current_node_context(caption):
            markdown.nested_render_text(said["caption"], data.line or 0, inline=True)
        figure = nodes.figure("", image, caption, classes=["derived-figure"])
        if name := said.get("name"):
            figure["names"].append(nodes.fully_normalize_name(name))
            document.note_explicit_target(figure, figure)
        document.set_id(figure)  # without an id Sphinx gives no number
        _, outputs = markdown.nb_client.code_cell_outputs(data.cell_index)
        bundles = (output.get("data", {}) for output in outputs)
        plain = next(bundle["text/plain"] for bundle in bundles if _is(bundle, data))
        result = [figure, figure_data(text=plain)]
        for node in result:
            node.source, node.line = document["source"], data.line
        return result


def _is(bundle: dict, data: MimeData) -> bool:
    return bundle.get(data.mime_type) == data.content


def tables(text: str) -> list[tuple[str, list[list[str]]]]:
    """Return each panel of a figure's summary: its heading, and its table's rows, header first."""
    panels = (panel.splitlines() for panel in text.split("\n\n"))
    return [(head, [re.split(r" {2,}", row) for row in rows]) for head, *rows in panels]


def _visit_figure_data(self: HTML5Translator, node: figure_data) -> None:
    body = []
    for head, rows in tables(node["text"]):
        if not rows:
            body.append(f"<p>{escape(head)}</p>")
            continue
        columns = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in rows[0])
        lines = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n"
            for row in rows[1:]
        )
        body.append(
            # Wide tables scroll on their own, by keyboard too.
            f'<div class="figure-data-table" role="group" aria-label="{escape(head)}" tabindex="0">'
            f"<table><caption>{escape(head)}</caption>\n"
            f"<thead><tr>{columns}</tr></thead>\n<tbody>{lines}</tbody></table></div>"
        )
    self.body.append(
        '<details class="figure-data"><summary>Data of this figure</summary>\n'
        + "\n".join(body)
        + "\n</details>\n"
    )
    raise nodes.SkipNode


def _visit_picture(self: HTML5Translator, node: picture) -> None:
    file = quote(self.builder.images[node["uri"]])
    attributes = {key: node[key] for key in ("alt", "width", "height") if key in node}
    source = posixpath.join(self.builder.imgpath, file)
    self.body.append(
        self.emptytag(node, "img", "\n", src=source, loading="lazy", decoding="async", **attributes)
    )
    raise nodes.SkipNode


def _skip(self, node: nodes.Element) -> None:
    raise nodes.SkipNode


def check_alternative_texts(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Warn of each image on a page that says nothing to someone who can't see it."""
    for image in doctree.findall(nodes.image):
        alt = image.get("alt", "").strip()
        if not alt or _NO_WORDS.fullmatch(alt):
            logger.warning(
                "image without alternative text: %s", image["uri"], location=image, type="figures"
            )


def _copy_stylesheet(app: Sphinx, error: Exception | None) -> None:
    if not error and app.builder.format == "html":
        copy_asset_file(str(STYLESHEET), str(Path(app.outdir) / "_static" / STYLESHEET.name))


def setup(app: Sphinx) -> dict:
    """Register the extension with Sphinx."""
    app.add_node(picture, html=(_visit_picture, None))
    app.add_node(
        figure_data,
        html=(_visit_figure_data, None),
        **dict.fromkeys(("latex", "text", "man", "texinfo"), (_skip, None)),
    )
    app.add_css_file(STYLESHEET.name)
    app.connect("doctree-resolved", check_alternative_texts)
    app.connect("build-finished", _copy_stylesheet)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
