"""Interactive figures on the website: a Sphinx extension, and the command that takes their pictures.

The extension writes scripts, styles and pictures to `_static/explorables/` and links them from the
pages that hold a figure, and from no others; a chapter's styles only from those with its figures. A
figure gets onto a page as a notebook's output or, where a page has no Python, with the directive

    ```{explorable} push_a_box
    :state: {"kind": "diou"}
    A caption other than the figure's own.
    ```

`python -m bookkit.site.explorables pictures` draws the pictures of the default states anew.
"""

import argparse
import base64
import hashlib
import io
import json
import operator
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from PIL import Image
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import derived.explorables
from bookkit.site.stills import used_script, used_style
from derived.explorables import EXPLORABLES, Explorable, module_source, style_source

__all__ = ["classic_source", "page", "picture_key", "setup", "take_pictures", "write_static"]

FOLDER = Path(derived.explorables.__file__).parent
HOST = Path(__file__).with_suffix(".js")
_STILL = re.compile(
    r'(?P<before><div class="explorable-slot"[^>]*>\s*<img) src="data:image/png;base64,(?P<png>[^"]+)"'
)
_NAMED = re.compile(r'data-explorable="(\w+)"')
PICTURE_WIDTH = 760  # of the column that a picture shows, in CSS pixels


def classic_source(figure: type[Explorable]) -> str:
    """Return the figure's module as a classic script that registers itself with the host."""
    source = module_source(figure.script)
    source = re.sub(r"^export (?=(async )?function|const|class)", "", source, flags=re.MULTILINE)
    source, registered = re.subn(
        r"^export default (\{.*\});$",
        rf'window.derivedExplorables.register("{figure.name}", \1);',
        source,
        flags=re.MULTILINE,
    )
    if registered != 1:
        raise ValueError(f"{figure.script} must end with one line `export default {{ … }};`")
    return f'(() => {{\n"use strict";\n{source}}})();\n'


def write_static(folder: Path) -> None:
    """Write the host, the style sheets and each figure's script to `folder`/explorables."""
    target = folder / "explorables"
    target.mkdir(parents=True, exist_ok=True)
    (target / "host.js").write_text(HOST.read_text("utf-8"), "utf-8")
    for figure in EXPLORABLES.values():
        (target / f"{figure.name}.js").write_text(classic_source(figure), "utf-8")
    for style in FOLDER.glob("*.css"):
        (target / style.name).write_text(style.read_text("utf-8"), "utf-8")


def styles(body: str) -> list[str]:
    """Return the addresses of the style sheets for the figures in a page's HTML, the kit's first."""
    chapters = {EXPLORABLES[name].chapter for name in _NAMED.findall(body) if name in EXPLORABLES}
    own = [f"{chapter}.css" for chapter in sorted(chapters) if (FOLDER / f"{chapter}.css").exists()]
    return [f"explorables/{name}" for name in ("kit.css", *own)]


# --------------------------------------------------------------------------------- Sphinx


class ExplorableDirective(SphinxDirective):
    """Put an interactive figure on a page; the content, if any, is its caption."""

    required_arguments = 1
    has_content = True
    option_spec: ClassVar[dict] = {"state": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        if name not in EXPLORABLES:
            raise self.error(f"no such figure: {name}; there are {', '.join(EXPLORABLES)}")
        figure = EXPLORABLES[name]
        try:
            state = figure(**json.loads(self.options.get("state", "{}"))).state()
        except (TypeError, ValueError) as error:
            raise self.error(f"{name} cannot start in this state: {error}") from error
        before, after = figure.frame(state)
        caption = nodes.container(classes=["explorable-caption"])
        if self.content:
            self.state.nested_parse(self.content, self.content_offset, caption)
        else:
            caption += nodes.paragraph(text=figure.caption)
        return [nodes.raw("", before, format="html"), caption, nodes.raw("", after, format="html")]


def _write_scripts(app: Sphinx) -> None:
    # Before any page is written, so that the links get the checksums of what they link.
    if app.builder.format == "html":
        write_static(Path(app.outdir) / "_static")


def _link_files(app: Sphinx, _page: str, _template: str, context: dict, _doctree: Any) -> None:
    if 'data-explorable="' in context.get("body", ""):
        app.add_js_file("explorables/host.js", loading_method="defer")
        for style in styles(context["body"]):
            app.add_css_file(style)
        context["body"] = _STILL.sub(lambda found: _as_file(found, app, context), context["body"])


def _as_file(still: re.Match, app: Sphinx, context: dict) -> str:
    """Store a figure's picture beside its script, and return its tag with the file's address.

    In a notebook the picture is part of the output. On the site it would be half of what a chapter
    weighs, although few readers see it before the live figure takes its place.
    """
    png = base64.b64decode(still["png"])
    name = f"_static/explorables/{hashlib.sha256(png).hexdigest()[:16]}.png"
    (Path(app.outdir) / name).write_bytes(png)
    source = context["pathto"](name, resource=True)
    return f'{still["before"]} src="{source}" loading="lazy" decoding="async"'


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive and the scripts with Sphinx."""
    app.add_directive("explorable", ExplorableDirective)
    app.connect("builder-inited", _write_scripts)
    app.connect("html-page-context", _link_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


# --------------------------------------------------------------------------------- pictures


def picture_key(figure: type[Explorable]) -> str:
    """Return a hash of all that decides what a figure's picture shows, as `stills` finds it."""
    kit, own = ((FOLDER / name).read_text("utf-8") for name in ("kit.js", figure.script))
    script = used_script(kit, own)
    parts = [script, used_style(style_source(figure.chapter), script), json.dumps(figure().state())]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def page(folder: Path, body: str, *, theme: str = "light") -> Path:
    """Write a page of its own around `body`, with the scripts, if not there yet; return its path."""
    if not (folder / "explorables").exists():
        write_static(folder)
    policy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
    links = "\n".join(f'<link rel="stylesheet" href="{style}">' for style in styles(body))
    path = folder / "index.html"
    path.write_text(
        f"""<!doctype html>
<html lang="en" data-theme="{theme}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>Interactive figures</title>
{links}
<style>
body {{ margin: 15px; font-family: "Liberation Sans", Arial, sans-serif; }}
html[data-theme="dark"] body {{ background: #14181e; color: #e8ebef; }}
</style>
<script defer src="explorables/host.js"></script>
</head>
<body><main><h1>Interactive figures</h1>
{body}
</main></body>
</html>
""",
        "utf-8",
    )
    return path


def _few_colors(picture: Image.Image) -> Image.Image:
    """Return the picture in 112 colors, which takes a third of the bytes."""
    # Half of them by area, for smooth shading, half by distance, for thin lines in rare colors.
    common = picture.quantize(64, Image.Quantize.MEDIANCUT).getpalette()
    rare = picture.quantize(48, Image.Quantize.MAXCOVERAGE).getpalette()
    # The background keeps its own color: a page shows it beside its white.
    background = picture.getpixel((0, picture.height - 1))
    colors = [
        background if max(map(abs, map(operator.sub, color, background))) < 8 else color
        for color in zip(*[iter(common + rare)] * 3, strict=True)
    ]
    palette = Image.new("P", (1, 1))
    palette.putpalette([channel for color in colors for channel in color])
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


def take_pictures(names: Iterable[str]) -> None:
    """Draw these figures' default states, without their controls, each with its record beside it."""
    from playwright.sync_api import sync_playwright

    from bookkit.site.browser import launch

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = launch(playwright)
        tab = browser.new_page(
            viewport={"width": PICTURE_WIDTH + 30, "height": 900}, device_scale_factor=1.5
        )
        for name in names:
            figure = EXPLORABLES[name]
            state = json.dumps(figure().state()).replace('"', "&quot;")
            body = (
                f'<div class="derived-explorable" data-explorable="{name}" data-state="{state}">'
                '<figure><div class="explorable-slot"></div></figure></div>'
            )
            tab.goto(page(Path(folder), body).as_uri())
            live = tab.locator(".explorable-live")
            live.wait_for()
            tab.add_style_tag(content=".xp-controls { display: none }")
            shot = Image.open(io.BytesIO(live.screenshot())).convert("RGB")
            png = (FOLDER / figure.script).with_suffix(".png")
            _few_colors(shot).save(png, optimize=True)
            box = live.bounding_box()
            size = {side: round(box[side]) for side in ("width", "height")}
            record = json.dumps({"key": picture_key(figure), **size}, indent=2)
            png.with_suffix(".picture.json").write_text(record + "\n", "utf-8")
            print(f"{png.name}: {png.stat().st_size / 1000:.0f} kB")
        browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bookkit.site.explorables", description=__doc__)
    parser.add_argument("command", choices=["pictures"])
    parser.add_argument("figure", nargs="*", help="names of figures; all without any")
    figures = parser.parse_args().figure
    if unknown := set(figures) - EXPLORABLES.keys():
        parser.error(f"no such figure: {', '.join(unknown)}; there are {', '.join(EXPLORABLES)}")
    take_pictures(figures or EXPLORABLES)
