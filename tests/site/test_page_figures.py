"""Every interactive figure on every page: it mounts, reacts, and its numbers are Python's.

What a figure must show is said beside its chapter's tests: `tests/chapters/<chapter>/<chapter>_page.py`
holds `CHECKS`, a function for each figure that is given the mounted figure.
"""

import json

import pytest
from support import ROOT, gathered
from visits import on, wait_for_frames

from derived.explorables import EXPLORABLES

OWN_CHECKS = gathered("page", "CHECKS")
CHECKS = {name: check for own in OWN_CHECKS.values() for name, check in own.items()}


def chapter_of(figure):
    """The chapter of a figure is the module that holds it."""
    return figure.__module__.rpartition(".")[2]


@pytest.mark.parametrize(
    ("name", "chapter"),
    [
        pytest.param(
            name, chapter_of(figure), marks=pytest.mark.chapter(chapter_of(figure)), id=name
        )
        for name, figure in EXPLORABLES.items()
    ],
)
def test_each_figure_has_a_check(name, chapter):
    file = f"tests/chapters/{chapter}/{chapter}_page.py"
    assert name in OWN_CHECKS.get(chapter, {}), (
        f"{file} has no check of the figure {name} in CHECKS"
    )


def test_each_check_is_of_a_figure():
    assert CHECKS.keys() <= EXPLORABLES.keys()


def has_figures(page_name: str) -> bool:
    """Say whether a page's source holds a figure: a notebook's output, or the directive."""
    source = (ROOT / page_name).with_suffix("")
    if (notebook := source.with_suffix(".ipynb")).is_file():
        cells = json.loads(notebook.read_text("utf-8"))["cells"]
        outputs = [output for cell in cells for output in cell.get("outputs", ())]
        pages = ["".join(output.get("data", {}).get("text/html", "")) for output in outputs]
        return any("data-explorable=" in page for page in pages)
    text = source.with_suffix(".md")
    return text.is_file() and "```{explorable}" in text.read_text("utf-8")


@on("wide, tried", "disk, tried")
def test_figures_react_and_show_pythons_numbers(page_name, visit):
    page = visit.page
    places = page.locator("[data-explorable]").all()
    assert bool(places) == has_figures(page_name)
    for place in places:
        check = CHECKS[place.get_attribute("data-explorable")]
        figure = place.locator(".explorable-live")
        place.scroll_into_view_if_needed()  # what is far is not laid out, and shows no text
        wait_for_frames(page)
        check(figure)
        for react in (by_keyboard, by_mouse):
            before = figure.get_attribute("data-now")
            react(page, figure)
            assert figure.get_attribute("data-now") != before, f"no reaction {react.__name__}"
            check(figure)


def by_keyboard(page, figure) -> None:
    figure.locator("[data-handle]").first.focus()
    page.keyboard.press("ArrowRight")


def by_mouse(page, figure) -> None:
    handle = figure.locator("[data-handle]").first
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 30, y + 20, steps=4)
    page.mouse.up()
