"""Every page, from http:// and from disk: it loads in silence, fits, and can be read by everyone."""

import pytest
from support import wait_until
from visits import on, wait_for_frames

MEGABYTES = 3
# What depends on the colors alone. The other rules are tried in both themes, each at one width.
OF_COLORS = ["color-contrast", "link-in-text-block"]


@on("wide", "disk")
def test_nothing_leaves_nothing_fails(visit, page_name, site, record_property):
    assert visit.wire.outside == []
    assert visit.wire.complaints == []
    assert visit.page.evaluate("window.violations") == []
    if visit.kind == "wide":
        weight = visit.wire.weight(site)
        record_property(page_name, weight)
        assert weight < MEGABYTES * 1e6, f"{page_name} loads {weight / 1e6:.1f} MB"


@on("narrow", "narrow, opened")
def test_it_fits_a_narrow_window(visit):
    root = "document.documentElement"
    wide = visit.page.evaluate(f"{root}.scrollWidth - {root}.clientWidth")
    assert wide == 0, f"wider than 360 px by {wide} px"


@pytest.mark.parametrize(
    ("visit", "theme", "rules", "without"),
    [
        ("wide, judged", "light", None, ""),
        ("wide, judged", "dark", OF_COLORS, ""),
        # The text has the colors of a wide window; figures are judged at this width by their own tests.
        ("narrow, judged", "dark", None, "article"),
    ],
    indirect=["visit"],
    ids=["light-1280", "dark-1280", "dark-360"],
)
def test_axe_finds_nothing(visit, axe, theme, rules, without):
    before = visit.page.evaluate("document.documentElement.dataset.theme")
    recolor(visit.page, theme)
    assert axe(visit.page, rules, without) == []
    recolor(visit.page, before)


def recolor(page, theme: str) -> None:
    page.emulate_media(color_scheme=theme)
    wait_until(lambda: page.evaluate("document.documentElement.dataset.theme") == theme)
    wait_for_frames(page)


@on("unscripted")
def test_math_needs_no_script(visit):
    page = visit.page
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


@on("wide", "narrow")
def test_no_line_begins_with_the_end_of_the_one_before(visit):
    parted = visit.page.locator("article span.math").evaluate_all(
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


@on("wide", "narrow")
def test_nothing_moves_while_it_is_read(visit):
    """Figures mount, fonts and pictures arrive, and all stays where it was.

    All shifts together are held to what web.dev calls good for the worst five seconds (CLS).
    """
    assert sum(share for share, *_ in visit.shifts) < 0.1, visit.shifts
