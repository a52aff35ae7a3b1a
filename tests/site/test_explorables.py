"""Every interactive figure on every page: it mounts, reacts, and its numbers are Python's."""

import json

import pytest
import torch

from derived.explorables.iou import KINDS
from derived.iou import box_loss


def check_push_a_box(figure) -> None:
    """The losses shown are those of the boxes shown."""
    state = json.loads(figure.get_attribute("data-now"))
    a, b = (torch.tensor(state[name], dtype=torch.float64) for name in "ab")
    for kind in KINDS:
        image = {"image_size": (7, 5)} if kind == "mpdiou" else {}
        row = figure.locator(f"tr[data-kind={kind}][data-value]")
        shown = float(row.get_attribute("data-value"))
        assert shown == pytest.approx(box_loss(a, b, kind, **image).item(), abs=1e-9)
        assert row.locator("td").first.text_content() == f"{shown:.3f}".replace("-", "−")


CHECKS = {"push_a_box": check_push_a_box}
WITH_FIGURES = {"index.html", "chapters/iou.html"}


def test_figures_react_and_show_pythons_numbers(page_name, base, open_page):
    page = open_page(f"{base}/{page_name}", viewport={"width": 1280, "height": 900})
    places = page.locator("[data-explorable]").all()
    assert places or page_name not in WITH_FIGURES
    for place in places:
        check = CHECKS[place.get_attribute("data-explorable")]
        figure = place.locator(".explorable-live")
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
