"""The site's frame: a Sphinx extension that makes the theme's pages safe, light and self-contained.

A Content-Security-Policy stands in every page and no page holds an inline script; nothing comes
from elsewhere; one style sheet holds the rules that the pages use and no others.

heights.py  what a browser may leave out until it comes near
math.py     formulas, drawn by KaTeX (katex.cjs) when the site is built
styles.py   the one style sheet
templates/  what is overridden of the theme
static/     our scripts, styles and mark
"""

import hashlib
import html
import re
import shutil
from pathlib import Path
from urllib.parse import quote

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util import logging

from bookkit import ROOT
from bookkit.site import collected, math, styles
from bookkit.site.heights import with_heights

__all__ = ["POLICY", "THEMES", "setup", "without_plain_tokens"]

logger = logging.getLogger(__name__)

HERE = Path(__file__).parent


# The templates and styles override these two; another version needs a look at every page first.
THEMES = {"sphinx-book-theme": "1.1.4", "pydata-sphinx-theme": "0.15.4"}

# Browsers match 'self' with file: for a page read from disk (tried: Chromium 156, Firefox 153).
# KaTeX places its glyphs with style attributes, hence 'unsafe-inline' for styles alone.
POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self'; frame-src 'none'; object-src 'none'; "
    "base-uri 'self'; form-action 'self'"
)

# The theme's scripts, and Sphinx's for highlighting found words; site.js and search.html replace
# them. The theme names the page for a version switcher that the book has not.
_REPLACED = {
    "_static/doctools.js",
    "_static/sphinx_highlight.js",
    "_static/scripts/sphinx-book-theme.js",
}
_THEME_INLINE = "DOCUMENTATION_OPTIONS.pagename"
# A script is loaded where a page holds what it works on.
_NEEDED_BY = {
    "_static/clipboard.min.js": 'class="highlight',
    "_static/copybutton.js": 'class="highlight',
    "_static/documentation_options.js": 'class="highlight',
    "_static/design-tabs.js": "sd-tab-set",
}
# Markup that keeps a screen reader from what stands there.
_REPAIRS = {
    ' aria-label="Toggle hidden content"': "",  # MyST-NB; the summary's own words say it better
    ' role="doc-biblioentry"': ' role="listitem"',  # docutils; the former role is deprecated
    ' id="exercise-content"': "",  # sphinx-exercise; the same on each
}
# Boxes that scroll where their content is wider. What is far from the window is not laid out, and so
# not measured: the keyboard reaches each until site.js knows that it needn't.
_BOXES = (
    "<pre>",
    '<div class="math-scroll">',
    '<div class="pst-scrollable-table-container">',
    '<div class="output text_html">',
)
_UNMEASURED = ' tabindex="0" data-scrolls="perhaps">'
# Tokens of code in the text's own color: two of three, and no style needs their elements.
_PLAIN_TOKEN = re.compile(r'<span(?: class="(?:n|nn|p|w)")?>([^<]*)</span>')
_HIGHLIGHTED = re.compile(r'<div class="highlight">.*?</pre>', re.DOTALL)
# Sphinx's layout already has one.
_VIEWPORT = '<meta name="viewport" content="width=device-width, initial-scale=1" />'
_INLINE_SCRIPT = re.compile(r"<script(?![^>]*\bsrc=)[^>]*>|\son\w+=", re.IGNORECASE)

_THEME_SHEETS = (
    "basic.css",
    "styles/bootstrap.css",
    "styles/pydata-sphinx-theme.css",
    "pygments.css",
    "styles/sphinx-book-theme.css",
)


def setup(app: Sphinx) -> dict:
    """Set up the Sphinx extension ``bookkit.site``."""
    math.setup(app)
    # Whatever makes the book is part of it: a change there builds every page again.
    app.add_config_value("site_digest", _digest(ROOT / "src"), "env", str)
    # Jupyter Book sets it even where sphinx_comments is not loaded.
    app.add_config_value("comments_config", {}, "", dict)
    app.add_js_file("site.js")
    app.connect("config-inited", _configure, priority=900)
    app.connect("builder-inited", _add_static)
    # After the theme (500) has filled the page's context.
    app.connect("html-page-context", _fill_page, priority=900)
    # After every extension has written its own sheet.
    app.connect("build-finished", _finish, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def _digest(folder: Path) -> str:
    files = sorted(
        path
        for part in ("bookkit", "derived/explorables")
        for path in (folder / part).rglob("*.*")
        if path.suffix in {".py", ".js", ".cjs", ".css", ".html", ".svg"}
    )
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _configure(app: Sphinx, config: Config) -> None:
    # New objects, because unset values are Sphinx's defaults, shared by all builds in a process.
    config.templates_path = [str(HERE / "templates"), *config.templates_path]
    config.html_math_renderer = "bookkit"
    # The theme's own components, none of which our frame shows, would be drawn for every page.
    config.html_sidebars = {"**": []}
    config.html_theme_options = config.html_theme_options | {
        "article_header_start": [],
        "article_header_end": [],
        "footer_content_items": [],
        "primary_sidebar_end": [],
        "secondary_sidebar_items": [],
        "use_download_button": False,
        "use_fullscreen_button": False,
    }


def _add_static(app: Sphinx) -> None:
    app.config.html_static_path = [*app.config.html_static_path, str(HERE / "static")]


def _fill_page(
    app: Sphinx, pagename: str, templatename: str, context: dict, doctree: nodes.document | None
) -> None:
    body = context.get("body", "")
    for wrong, right in _REPAIRS.items():
        body = body.replace(wrong, right)
    for box in _BOXES:
        body = body.replace(box, box.removesuffix(">") + _UNMEASURED)
    if "body" in context:
        context["body"] = with_heights(without_plain_tokens(body), doctree)
    if found := _INLINE_SCRIPT.search(body):
        logger.warning(
            "the page's policy forbids inline scripts and handlers: %s",
            body[found.start() : found.start() + 80],
            location=pagename,
            type="site",
        )
    context["script_files"] = _scripts(context, pagename)
    # Sheets that all pages share are in book.css; an extension may add its own to one page.
    shared = set(app.builder._orig_css_files)
    context["css_files"] = [sheet for sheet in context["css_files"] if sheet not in shared]
    context["metatags"] = _metatags(context.get("metatags", ""), doctree or context["docstitle"])
    context |= _links(app.config.html_theme_options, pagename, context)


def without_plain_tokens(body: str) -> str:
    """Return HTML whose highlighted code has no elements for what has the text's own color."""
    return _HIGHLIGHTED.sub(lambda code: _PLAIN_TOKEN.sub(r"\1", code[0]), body)


def _scripts(context: dict, pagename: str) -> list:
    kept = []
    for script in context["script_files"]:
        name, inline = str(script.filename or ""), script.attributes.get("body")
        if inline and not inline.startswith(_THEME_INLINE):
            logger.warning("an extension adds an inline script: %.80s", inline, type="site")
        wanted = pagename == "search" or _NEEDED_BY.get(name, "") in context.get("body", "")
        if not inline and name not in _REPLACED and wanted:
            script.attributes.setdefault("defer", "defer")
            kept.append(script)
    return kept


def _metatags(given: str, page: nodes.document | str) -> str:
    policy = f'<meta http-equiv="Content-Security-Policy" content="{html.escape(POLICY)}">'
    tags = [policy, given.replace(_VIEWPORT, "").strip()]
    if 'name="description"' not in given:
        content = page if isinstance(page, str) else _description(page)
        tags.append(f'<meta name="description" content="{html.escape(content)}">')
    return "\n    ".join(["", *filter(None, tags)])


def _description(doctree: nodes.document, length: int = 160) -> str:
    """Return the page's first sentences, up to `length` characters, without formulas."""
    for paragraph in doctree.findall(nodes.paragraph):
        copy = paragraph.deepcopy()
        for formula in list(copy.findall(lambda n: isinstance(n, nodes.math | nodes.raw))):
            formula.parent.remove(formula)
        text = " ".join(copy.astext().split())
        if len(text) > 40:
            return text if len(text) <= length else text[: length - 1].rsplit(" ", 1)[0] + " …"
    return doctree.next_node(nodes.title).astext()


def _links(options: dict, pagename: str, context: dict) -> dict[str, str]:
    """Return the addresses that the repository's URL gives a page; none while it is empty."""
    url = options.get("repository_url", "").rstrip("/")
    if not url:
        return {"repository_url": "", "colab_url": "", "issue_url": ""}
    branch = options.get("repository_branch") or "main"
    source = pagename + (context.get("page_source_suffix") or "")
    colab = url.replace("https://github.com/", "https://colab.research.google.com/github/", 1)
    is_notebook = colab != url and source.endswith(".ipynb")
    return {
        "repository_url": url,
        "colab_url": f"{colab}/blob/{branch}/{source}" if is_notebook else "",
        "issue_url": f"{url}/issues/new?title={quote(f'Error on page {source}: ')}",
    }


def _finish(app: Sphinx, error: Exception | None) -> None:
    """Write the style sheet and remove what Sphinx leaves behind."""
    static = Path(app.outdir) / "_static"
    # Sphinx copies static files when it writes pages; otherwise all is as it was left.
    if error or app.builder.name != "html" or not (static / _THEME_SHEETS[1]).exists():
        return
    names = {"search", *app.env.found_docs, *collected.names(app)}
    pages = {Path(app.outdir) / f"{name}.html" for name in names}
    for path in set(Path(app.outdir).rglob("*.html")) - pages:
        path.unlink()  # a page of an earlier build, or a theme's template
    _write_styles(app, static, pages)


def _write_styles(app: Sphinx, static: Path, pages: set[Path]) -> None:
    """Write book.css and the fonts it names, and remove what it was made of."""
    sheets = [*map(static.joinpath, _THEME_SHEETS), *_extension_sheets(app, static)]
    texts = [_text(path) for path in sheets]
    texts += [
        styles.only_woff2(_text(math.KATEX / "katex.min.css")),
        _text(HERE / "static/site.css"),
    ]
    for folder in ("images", "locales", "scripts", "styles", "vendor"):  # the theme's
        shutil.rmtree(static / folder, ignore_errors=True)
    for path in {*sheets, static / "site.css"}:
        path.unlink(missing_ok=True)
    seen = {word for path in static.rglob("*.js") for word in styles.script_words(_text(path))}
    for page in pages:
        seen |= styles.attribute_words(_text(page))
    (static / "book.css").write_text(styles.bundle(texts, seen), encoding="utf8")
    shutil.copytree(
        math.KATEX / "fonts",
        static / "fonts",
        ignore=shutil.ignore_patterns("*.ttf", "*.woff"),
        dirs_exist_ok=True,
    )


def _extension_sheets(app: Sphinx, static: Path) -> list[Path]:
    """Return the style sheets that extensions registered, in their order."""
    known = {f"_static/{name}" for name in _THEME_SHEETS}
    sheets = sorted(app.builder._orig_css_files, key=lambda sheet: sheet.priority)
    names = dict.fromkeys(str(sheet.filename).partition("?")[0] for sheet in sheets)
    paths = [static.parent / name for name in names if name not in known]
    if missing := [path.name for path in paths if not path.exists()]:
        logger.warning("style sheets that do not exist: %s", ", ".join(missing), type="site")
    return [path for path in paths if path.exists()]


def _text(path: Path) -> str:
    return path.read_text(encoding="utf8")
