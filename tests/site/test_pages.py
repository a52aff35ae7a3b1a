"""Every page, from http:// and from disk: it loads in silence, fits, and can be read by everyone."""

import pytest
from visits import SLOWDOWN, Visit, wait_for_frames

MEGABYTES = 3


def test_nothing_leaves_nothing_fails(page_name, base, open_page, site, record_property):
    visit = Visit(base)
    page = open_page(f"{base}/{page_name}", visit)
    assert visit.outside == []
    assert visit.complaints == []
    assert page.evaluate("window.violations") == []
    weight = visit.weight(site)
    record_property(page_name, weight)
    assert weight < MEGABYTES * 1e6, f"{page_name} loads {weight / 1e6:.1f} MB"


@pytest.mark.parametrize("details", ["closed", "open"])
def test_it_fits_a_narrow_window(page_name, bases, open_page, details):
    page = open_page(f"{bases['http']}/{page_name}", viewport={"width": 360, "height": 740})
    if details == "open":
        page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
        wait_for_frames(page)
    root = "document.documentElement"
    wide = page.evaluate(f"{root}.scrollWidth - {root}.clientWidth")
    assert wide == 0, f"wider than 360 px by {wide} px"


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 1280), ("dark", 360)])
def test_axe_finds_nothing(page_name, bases, open_page, axe, theme, width):
    page = open_page(
        f"{bases['http']}/{page_name}",
        bypass_csp=True,  # for axe's own script alone; the policy is tried elsewhere
        color_scheme=theme,
        reduced_motion="reduce",
        viewport={"width": width, "height": 800},
    )
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    page.evaluate("document.querySelectorAll('article details').forEach((d) => (d.open = true))")
    wait_for_frames(page)
    assert axe(page) == []


def test_math_needs_no_script(page_name, base, open_page):
    page = open_page(f"{base}/{page_name}", java_script_enabled=False)
    unreadable = page.locator(".katex").evaluate_all(
        """all => all
          .filter((formula) => !formula.closest("details:not([open])"))
          .filter((formula) => {
            const seen = formula.querySelector(".katex-html");
            return !formula.querySelector("math") || !seen.checkVisibility() || !seen.offsetWidth;
          })
          .map((formula) => formula.textContent)"""
    )
    assert unreadable == []
    # LaTeX that nothing drew would stand between its dollars.
    assert page.locator("article :is(p, li, td, dd):has-text('$')").count() == 0


@pytest.mark.parametrize("width", [1280, 375])
def test_no_line_begins_with_the_end_of_the_one_before(page_name, bases, open_page, width):
    page = open_page(f"{bases['http']}/{page_name}", viewport={"width": width, "height": 800})
    parted = page.locator("article span.math").evaluate_all(
        """all => all
          .filter((formula) => formula.checkVisibility())
          .filter((formula) => /^\\S/.test(formula.nextSibling?.data ?? ""))
          .filter((formula) => {
            const text = document.createRange();
            text.setStart(formula.nextSibling, 0);
            text.setEnd(formula.nextSibling, 1);
            const last = [...formula.querySelectorAll(".base")].at(-1);
            return text.getBoundingClientRect().left < last.getBoundingClientRect().left;
          })
          .map((formula) => formula.parentElement.textContent)"""
    )
    assert parted == []


@pytest.mark.parametrize("width", [1280, 375])
def test_nothing_moves_while_it_is_read(page_name, bases, open_page, width):
    """Figures mount, fonts and pictures arrive, and all stays where it was.

    All shifts together are held to what web.dev calls good for the worst five seconds (CLS).
    """
    # A slow processor, so that what comes late is seen to come; six times slower takes ten minutes.
    size = {"width": width, "height": 800}
    page = open_page(f"{bases['http']}/{page_name}", slowdown=max(3, SLOWDOWN), viewport=size)
    shifts = page.evaluate("window.shifts")
    assert sum(share for share, *_ in shifts) < 0.1, shifts
