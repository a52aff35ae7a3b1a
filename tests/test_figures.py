"""Figures: their look, their words, their numbers, and what the book's pages make of them."""

import base64
import io
import struct
from itertools import combinations

import numpy as np
import pytest
from bs4 import BeautifulSoup
from colors import COLOR_BLINDNESS, contrast, least_difference
from matplotlib.patches import Rectangle
from nbformat import v4, write
from PIL import Image
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

from bookkit.site.figures import tables
from derived import figures

ALT = "A straight line from the origin up to one meter after one second."


@pytest.fixture
def shown(monkeypatch):
    """Collect what `show` displays."""
    outputs = []
    monkeypatch.setattr(figures, "display", lambda *output: outputs.append(output))
    return outputs


def line(**labels):
    fig, ax = figures.subplots(width=3.0)
    ax.plot([0, 1], [0, 1], label="position")
    ax.set(**({"xlabel": "time (s)", "ylabel": "distance (m)"} | labels))
    return fig


@pytest.mark.parametrize("color", [*figures.PALETTE, figures.GRAY])
def test_colors_are_seen_on_white(color):
    assert contrast(color, "#ffffff") >= 3


@pytest.mark.parametrize("kind", COLOR_BLINDNESS)
def test_colors_are_told_apart(kind):
    assert least_difference(figures.PALETTE, kind) > 15


def test_show_gives_one_output_with_picture_summary_and_words(shown):
    figures.show(line(), caption="It moves.", alt=ALT, name="fig-line")
    ((data, metadata),) = shown
    png = base64.b64decode(data["image/png"])
    assert struct.unpack(">II", png[16:24]) == (600, 375)  # twice the size on the page
    assert b"Software" not in png
    assert metadata == {
        "image/png": {
            "alt": ALT,
            "caption": "It moves.",
            "height": 188,
            "name": "fig-line",
            "photo": False,
            "width": 300,
        }
    }
    assert data["text/plain"].splitlines() == [
        "panel 1; x: time (s); y: distance (m)",
        "series    drawn as  n  x       y       mean  values",
        "position  line      2  0 to 1  0 to 1  0.5   0, 1",
    ]


def test_a_drawing_is_stored_in_few_colors_that_no_one_can_tell_from_all(shown):
    figures.show(line(), caption="It moves.", alt=ALT)
    figures.show(line(), caption="It moves.", alt=ALT, photo=True)  # a photo is stored as it is
    stored, exact = (
        Image.open(io.BytesIO(base64.b64decode(data["image/png"]))) for data, _ in shown
    )
    assert (stored.mode, exact.mode) == ("P", "RGBA")
    difference = np.subtract(stored.convert("RGB"), exact.convert("RGB"), dtype=int)
    assert abs(difference).max() <= 16  # of 255
    assert len(shown[0][0]["image/png"]) < len(shown[1][0]["image/png"]) / 2


def test_the_same_figure_gives_the_same_bytes(shown):
    figures.show(line(), caption="It moves.", alt=ALT)
    figures.show(line(), caption="It moves.", alt=ALT)
    assert shown[0] == shown[1]


def test_outside_a_notebook_the_summary_is_printed(capsys):
    figures.show(line(), caption="It moves.", alt=ALT)
    assert capsys.readouterr().out.startswith("panel 1; x: time (s)")


def test_a_figure_of_pyplot_is_closed(shown):
    from matplotlib import pyplot

    figures.style()
    fig, ax = pyplot.subplots()
    ax.set(xlabel="x", ylabel="y")
    figures.show(fig, caption="Empty axes.", alt=ALT)
    assert not pyplot.get_fignums()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"caption": " ", "alt": ALT}, "caption: expected a sentence"),
        ({"caption": "It moves.", "alt": "A line."}, "alt: expected at least 40 characters, got 7"),
        ({"caption": ALT, "alt": ALT}, "alt: expected words of its own"),
    ],
)
def test_words_are_asked_for(shown, words, message):
    with pytest.raises(ValueError, match=message):
        figures.show(line(), **words)
    assert not shown


@pytest.mark.parametrize("name", ["xlabel", "ylabel"])
def test_axes_with_numbers_need_a_label(shown, name):
    with pytest.raises(ValueError, match=rf"axes 1 show numbers along {name[0]} and no label"):
        figures.show(line(**{name: ""}), caption="It moves.", alt=ALT)


def test_axes_without_numbers_need_no_label(shown):
    fig, (left, middle, right) = figures.subplots(1, 3)
    left.bar(["IoU", "GIoU"], [1, 2])
    left.set(ylabel="mean")
    middle.imshow(np.eye(2))
    middle.axis("off")
    right.plot([0, 1])
    right.set(xticks=[], yticks=[])
    figures.show(fig, caption="Three panels.", alt=ALT)
    assert len(shown) == 1


def rows(draw):
    """Return the summary's rows of what `draw` draws on axes."""
    fig, ax = figures.subplots()
    draw(ax)
    ((_, (_, *found)),) = tables(figures.summary(fig))
    return found


@pytest.mark.parametrize(
    ("draw", "row"),
    [
        (
            lambda ax: ax.plot(np.arange(101), np.arange(101) ** 2, label="square"),
            [
                "square",
                "line",
                "101",
                "0 to 100",
                "0 to 1e+04",
                "3350",
                "0, 625, 2500, 5625, 1e+04",
            ],
        ),
        (
            lambda ax: ax.plot([1, 2], [3, 4], "o"),
            ["–", "points", "2", "1 to 2", "3 to 4", "3.5", "3, 4"],
        ),
        (lambda ax: ax.axhline(0.5), ["–", "horizontal line", "1", "–", "0.5", "0.5", "0.5"]),
        (lambda ax: ax.axvline(0.5), ["–", "vertical line", "1", "0.5", "–", "–", "–"]),
        (
            lambda ax: ax.scatter([1, 2], [3, 5]),
            ["–", "points", "2", "1 to 2", "3 to 5", "4", "3, 5"],
        ),
        (
            lambda ax: ax.bar(["IoU", "GIoU"], [0.5, -0.2], label="mean"),
            ["mean", "bars", "2", "0 to 1", "-0.2 to 0.5", "0.15", "IoU 0.5, GIoU -0.2"],
        ),
        (
            lambda ax: ax.barh(["a", "b"], [3, 4]),
            ["–", "bars", "2", "3 to 4", "0 to 1", "3.5", "a 3, b 4"],
        ),
        (
            lambda ax: ax.imshow(np.arange(6.0).reshape(2, 3)),
            ["–", "image", "2×3", "-0.5 to 2.5", "-0.5 to 1.5", "2.5", "0 to 5"],
        ),
        (
            lambda ax: ax.pcolormesh(np.arange(4), np.arange(3), np.arange(6).reshape(2, 3)),
            ["–", "heat map", "2×3", "0 to 3", "0 to 2", "2.5", "0 to 5"],
        ),
        (
            lambda ax: ax.contour(np.arange(4.0).reshape(2, 2), levels=[1, 2]),
            ["–", "contours", "2", "–", "–", "1.5", "1, 2"],
        ),
        (
            lambda ax: ax.quiver([0, 1], [2, 3], [3, 0], [4, 0]),
            ["–", "arrows", "2", "0 to 1", "2 to 3", "2.5", "5, 0"],
        ),
        (
            lambda ax: ax.fill_between([0, 1], [0, 1], [1, 2], label="spread"),
            ["spread", "area", "1", "0 to 1", "0 to 2", "–", "–"],
        ),
        (lambda ax: ax.hlines([1, 2], 0, 3), ["–", "segments", "2", "0 to 3", "1 to 2", "–", "–"]),
        (
            lambda ax: ax.add_patch(Rectangle((0.25, 0.5), 0.5, 0.25, label="A")),
            ["A", "rectangles", "1", "0.25 to 0.75", "0.5 to 0.75", "–", "–"],
        ),
        (
            lambda ax: ax.plot([0, 1, 2], [1.0, np.nan, 1e-9], label=" a  b "),
            ["a b", "line", "3", "0 to 2", "0 to 1", "0.5", "1, nan, 0"],
        ),
    ],
)
def test_summary_has_a_row(draw, row):
    assert rows(draw) == [row]


def test_error_bars_carry_their_label():
    labels = [row[0] for row in rows(lambda ax: ax.errorbar([0], [1], yerr=[0.1], label="IoU"))]
    assert labels == ["IoU", "–"]


def test_summary_names_panels_texts_and_color_bars():
    fig, (left, right) = figures.subplots(1, 2)
    left.set(title="Far  apart", xlabel="$t$ (s)")
    left.text(0.5, 0.5, "0.87\nhere")
    fig.colorbar(right.imshow(np.eye(2)), ax=right, label="loss")
    heads = [head for head, _ in tables(figures.summary(fig))]
    assert heads == [
        "panel 1; title: Far apart; x: t (s); texts: 0.87 here",
        "panel 2; color: loss",
    ]


def test_line_labels_stand_apart_and_are_readable():
    fig, ax = figures.subplots()
    for number, color in enumerate(figures.PALETTE):
        ax.plot([0, 1], [0, 1 + number / 1000], label=f"line {number}", color=color)
    ax.plot([0, 1], [0, -1])  # without a label
    figures.label_lines(ax)
    fig.draw_without_rendering()
    assert len(ax.texts) == len(figures.PALETTE)
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    assert all(contrast(text.get_color(), "#ffffff") >= 4.5 for text in ax.texts)


def test_style_ignores_the_readers_settings():
    import matplotlib

    with matplotlib.rc_context({"lines.linewidth": 9, "axes.facecolor": "black"}):
        _, ax = figures.subplots()
        assert ax.plot([0, 1])[0].get_linewidth() == 2
        assert ax.get_facecolor() == (1, 1, 1, 1)


# What Sphinx makes of it.

BOOK = """
extensions = ["myst_nb", "bookkit.site.figures"]
nb_execution_mode = "off"
numfig = True
myst_enable_extensions = ["dollarmath"]
exclude_patterns = ["_build"]
"""


def build(folder, *cells):
    """Build a book of one notebook; return its page and Sphinx's warnings."""
    (folder / "conf.py").write_text(BOOK)
    cells = [v4.new_markdown_cell("# Title"), *cells]
    notebook = v4.new_notebook(cells=cells, metadata={"language_info": {"name": "python"}})
    write(notebook, folder / "index.ipynb")
    warnings, out = io.StringIO(), folder / "_build"
    with docutils_namespace():
        app = Sphinx(folder, folder, out, out / ".doctrees", "html", status=None, warning=warnings)
        app.build()
    page = (out / "index.html").read_text(encoding="utf-8")
    return BeautifulSoup(page, "html.parser"), warnings.getvalue()


def cell_showing(shown, **words):
    figures.show(line(), **words)
    data, metadata = shown[-1]
    output = v4.new_output("display_data", data, metadata=metadata)
    return v4.new_code_cell("figures.show(fig)", execution_count=1, outputs=[output])


def test_a_page_holds_the_figure_its_words_and_its_data(shown, tmp_path):
    words = {"caption": "It *moves*, $x < y$ & `z`.", "alt": f'{ALT} "Quoted" <tag>.'}
    page, warnings = build(
        tmp_path,
        cell_showing(shown, **words, name="fig-line"),
        v4.new_markdown_cell("See {numref}`fig-line`."),
        cell_showing(shown, **words, photo=True),
    )
    assert warnings == ""
    plain, photo = page.select("figure.derived-figure")
    assert plain["id"] == "fig-line"
    assert page.select_one("a[href='#fig-line'] .std-numref").text == "Fig. 1"
    assert plain.select_one("figcaption .caption-number").text.strip() == "Fig. 1"
    assert plain.select_one("figcaption em").text == "moves"
    assert plain.select_one("figcaption .math").text == r"\(x < y\)"
    image = plain.img
    assert image["alt"] == words["alt"]
    assert (image["width"], image["height"]) == ("300", "188")
    assert (tmp_path / "_build" / image["src"]).is_file()
    assert not plain.select("a:has(img)")
    assert "dark-light" in image["class"]
    assert "photo" in photo.img["class"]
    assert "dark-light" not in photo.img["class"]
    data = plain.find_next_sibling("details")
    assert data.summary.text == "Data of this figure"
    cells = [[cell.text for cell in row.select("th, td")] for row in data.select("tr")]
    assert cells[1] == ["position", "line", "2", "0 to 1", "0 to 1", "0.5", "0, 1"]
    assert (tmp_path / "_build" / "_static" / "figures.css").is_file()


def test_images_without_words_are_warnings(shown, tmp_path):
    figures.show(line(), caption="It moves.", alt=ALT)
    (tmp_path / "plot.png").write_bytes(base64.b64decode(shown[0][0]["image/png"]))
    silent = ["", "plot.png", "assets/plot.png", "0123456789abcdef0123456789abcdef"]
    images = [v4.new_markdown_cell(f"![{alt}](plot.png)") for alt in [*silent, ALT]]
    # A picture of pyplot's own, without metadata, for which Sphinx would make its hash the text.
    output = v4.new_output("display_data", {"image/png": shown[0][0]["image/png"]})
    other = v4.new_code_cell("plt.show()", execution_count=1, outputs=[output])
    _, warnings = build(tmp_path, *images, other)
    assert warnings.count("WARNING") == warnings.count("image without alternative text") == 5
    assert warnings.count("alternative text: plot.png") == 4
