"""What the site does: its policy holds, search finds, themes switch, panels open and close."""

from urllib.parse import urljoin, urlsplit

import pytest
from bs4 import BeautifulSoup
from support import wait_until
from visits import (
    CHAPTERS,
    PAGES,
    SECTIONS,
    SITE,
    UNREACHABLE,
    Visit,
    cases,
    on,
    wait_for_frames,
)

OUTSIDE = "https://outside.example/"
# What an attack would try, and the directive that must stop it.
ATTEMPTS = {
    "an inline script": "script-src-elem",
    "an inline handler": "script-src-attr",
    "a script from elsewhere": "script-src-elem",
    "an image from elsewhere": "img-src",
    "a style sheet from elsewhere": "style-src-elem",
    "a request": "connect-src",
    "a frame": "frame-src",
}
TRY = """([attempt, outside]) => {
  const add = (tag, attributes) =>
    document.body.append(Object.assign(document.createElement(tag), attributes));
  ({
    "an inline script": () => add("script", { textContent: "window.harm = 1" }),
    "an inline handler": () => {
      document.body.setAttribute("onclick", "window.harm = 1");
      document.body.click();
    },
    "a script from elsewhere": () => add("script", { src: outside }),
    "an image from elsewhere": () => add("img", { src: outside }),
    "a style sheet from elsewhere": () => add("link", { rel: "stylesheet", href: outside }),
    "a request": () => fetch(outside).then(() => (window.harm = 1), () => {}),
    "a frame": () => add("iframe", { src: outside }),
  })[attempt]();
}"""


# What moves. None of these properties is inherited, so that only elements which a rule of a style
# sheet or their own attribute names can have them; asking all of them takes seconds.
MOVING = """() => {
  const moves = (s) => parseFloat(s.transitionDuration) || !["", "none"].includes(s.animationName)
    || !["", "auto"].includes(s.scrollBehavior);
  const unknown = (s) => /var\\(/.test(s.transition + s.animation + s.scrollBehavior);
  const named = new Set(document.querySelectorAll("[style*=transition], [style*=animation], [style*=scroll]"));
  const read = (rules) => {
    for (const rule of rules) {
      if (rule.style && (moves(rule.style) || unknown(rule.style))) {
        const elements = rule.selectorText.replace(/::[\\w-]+|:(before|after)\\b/g, "") || "*";
        for (const e of document.querySelectorAll(elements)) named.add(e);
      }
      if (rule.cssRules) read(rule.cssRules);
      if (rule.styleSheet) read(rule.styleSheet.cssRules);
    }
  };
  for (const sheet of [...document.styleSheets, ...document.adoptedStyleSheets]) read(sheet.cssRules);
  return {
    asked: named.size,
    moving: [...named]
      .filter((e) => [null, "::before", "::after"].some((part) => moves(getComputedStyle(e, part))))
      .map((e) => e.outerHTML.slice(0, 100)),
  };
}"""
# How far below the window's top a link's target stands: `scroll-padding-top`.
PADDING = 72
# The section before a heading's own.
PREVIOUS = "h.parentElement.previousElementSibling.closest('section')"


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_the_policy_forbids(attempt, base, open_page):
    arrived = []
    page = open_page(f"{base}/index.html")
    page.context.on("response", lambda response: arrived.append(response.url))
    page.evaluate(TRY, [attempt, OUTSIDE])
    wait_until(lambda: page.evaluate("window.violations.length"))
    assert page.evaluate("window.violations")[0].startswith(f"{ATTEMPTS[attempt]}: ")
    wait_for_frames(page)
    assert page.evaluate("window.harm") is None
    assert [url for url in arrived if url.startswith(OUTSIDE)] == []


def test_search_finds_a_word(base, open_page):
    visit = Visit(base)
    page = open_page(f"{base}/index.html", visit, viewport={"width": 1280, "height": 800})
    page.keyboard.press("Control+k")
    page.keyboard.type("notation")
    page.keyboard.press("Enter")
    hit = page.locator("#search-results ul.search li a").first
    hit.wait_for()
    assert page.locator("#search-input").input_value() == "notation"
    hit.click()
    page.wait_for_url("**/notation.html**")
    assert visit.outside == []
    assert visit.complaints == []


def test_the_theme_is_the_systems_until_the_reader_chooses(base, open_page):
    page = open_page(f"{base}/index.html", color_scheme="dark")
    theme = "document.documentElement.dataset.theme"
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    assert page.evaluate(theme) == "dark"
    button = page.get_by_role("button", name="Color theme")
    button.click()
    assert page.evaluate(theme) == "light"
    assert page.evaluate(background) != dark
    page.reload()
    assert page.evaluate(theme) == "light"
    button.click()  # dark
    button.click()  # automatic again
    assert button.inner_text().endswith("automatic")
    assert page.evaluate(theme) == "dark"
    page.emulate_media(color_scheme="light")
    wait_until(lambda: page.evaluate(theme) == "light")


def test_paper_is_light(bases, open_page):
    page = open_page(f"{bases['http']}/index.html", color_scheme="dark")
    theme = "document.documentElement.dataset.theme"
    page.evaluate(f"addEventListener('beforeprint', () => (window.printed = {theme}))")
    page.pdf()
    assert page.evaluate("window.printed") == "light"
    wait_until(lambda: page.evaluate(theme) == "dark")


def test_without_scripts_the_page_is_light_and_shows_no_dead_button(base, open_page):
    page = open_page(f"{base}/index.html", java_script_enabled=False, color_scheme="dark")
    assert page.get_by_role("button").count() == 0
    assert page.locator("html").get_attribute("data-theme") == "light"
    page.locator("summary[title='Download this page']").click()
    assert page.locator("a[download]").is_visible()


@pytest.mark.parametrize(
    ("name", "panel"),
    [("Contents of the book", "#book-contents"), ("On this page", "#page-contents")],
)
def test_a_panel_opens_and_closes_by_keyboard(base, open_page, name, panel):
    page = open_page(f"{base}/index.html", viewport={"width": 360, "height": 740})
    button = page.get_by_role("button", name=name)
    assert button.get_attribute("aria-expanded") == "false"
    button.focus()
    page.keyboard.press("Enter")
    page.locator(f"{panel} :focus").wait_for()
    assert button.get_attribute("aria-expanded") == "true"
    page.keyboard.press("Escape")
    assert button.get_attribute("aria-expanded") == "false"
    assert button.evaluate("b => b === document.activeElement")


def test_the_first_key_skips_to_the_text(base, open_page):
    page = open_page(f"{base}/index.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#main-content"


@pytest.mark.parametrize("slowdown", [1, 6])
def test_the_section_being_read_is_marked(bases, open_page, slowdown):
    size = {"width": 1280, "height": 800}
    page = open_page(f"{bases['http']}/index.html", slowdown=slowdown, viewport=size)
    heading = page.locator("article h2").nth(1)
    heading.evaluate("h => window.scrollTo(0, h.getBoundingClientRect().top + scrollY - 80)")
    read, before = (heading.evaluate(f"h => {e}.id") for e in ("h.parentElement", PREVIOUS))
    page.locator(f'#page-contents a[aria-current][href="#{read}"]').wait_for()
    assert page.locator("#page-contents a[aria-current]").count() == 1
    # Without a scroll: what stands above grows, and the heading moves out of reach.
    page.evaluate(
        """() => {
          document.documentElement.style.overflowAnchor = "none";
          document.querySelector("article h1").style.paddingBottom = "400px";
        }"""
    )
    page.locator(f'#page-contents a[aria-current][href="#{before}"]').wait_for()


@on("narrow")
def test_what_is_too_wide_can_be_scrolled_by_keyboard(visit):
    assert visit.page.evaluate(UNREACHABLE) == []


@on("narrow")
@pytest.mark.parametrize("page_name", cases(CHAPTERS))
def test_what_was_never_near_can_be_scrolled_by_keyboard(visit):
    assert visit.first["unmeasured"] > 20
    assert visit.first["unreachable"] == []


@on("wide")
@pytest.mark.parametrize("page_name", cases(CHAPTERS))
def test_what_was_near_is_reached_by_keyboard_only_if_it_scrolls(visit):
    # What is folded away is measured when it is opened.
    states = visit.page.locator("article [data-scrolls]").evaluate_all(
        """all => all.filter((e) => e.checkVisibility())
          .map((e) => [e.dataset.scrolls, e.scrollWidth > e.clientWidth + 1])"""
    )
    assert states
    assert {tuple(state) for state in states} == {("yes", True)}


def test_what_has_the_focus_keeps_it_when_it_comes_near(bases, open_page):
    page = open_page(f"{bases['http']}/chapters/iou.html", viewport={"width": 1280, "height": 800})
    page.reload()
    far = page.locator("article > section > section:nth-last-of-type(6)")
    box = far.locator(".math-scroll[data-scrolls=perhaps]").last
    box.evaluate("b => b.focus()")
    wait_until(lambda: far.locator("[data-scrolls=perhaps]:not(details *)").count() == 1)
    assert box.evaluate("b => b === document.activeElement")


@pytest.mark.parametrize(("window", "width"), [("wide", 1400), ("narrow", 412)])
@pytest.mark.parametrize("page_name", cases(CHAPTERS))
def test_a_link_leads_to_an_equation_that_is_far(page_name, window, width, bases, open_page):
    url = f"{bases['http']}/{page_name}"
    page = open_page(url, shown=False, viewport={"width": width, "height": 800})
    names = page.locator("article div.math[id]").evaluate_all("all => all.map((e) => e.id)")
    far = names[len(names) // 2], names[-2]

    def top(name):
        return page.evaluate("n => document.getElementById(n).getBoundingClientRect().top", name)

    for name in far:
        target = page.locator(f'[id="{name}"]')
        assert not target.evaluate("e => e.checkVisibility({contentVisibilityAuto: true})")
        page.evaluate("name => document.querySelector(`a[href='#${name}']`).click()", name)
        wait_for_frames(page, 10)
        assert top(name) == pytest.approx(PADDING, abs=2), f"clicked on {name}"
    for name in far:
        page.goto("about:blank")
        page.goto(f"{url}#{name}")
        wait_for_frames(page, 10)
        assert top(name) == pytest.approx(PADDING, abs=2), f"opened at {name}"


def linked(pages):
    """Return the pages to which the texts of these lead."""
    names = set()
    for name in pages:
        text = BeautifulSoup((SITE / name).read_text("utf-8"), "html.parser").article
        for link in text.select("a[href]"):
            names.add(urlsplit(urljoin(f"/{name}", link["href"])).path.lstrip("/"))
    return names


def test_all_pages_are_reached_from_the_first(bases, open_page):
    page = open_page(f"{bases['http']}/index.html")
    links = page.locator("#book-contents nav a").evaluate_all("all => all.map((a) => a.pathname)")
    listed = {link.lstrip("/") for link in links}
    assert set(PAGES) - listed - linked(listed) <= {"index.html", "search.html"}


@on("wide", "narrow")
def test_a_section_is_laid_out_when_it_comes_near_and_its_height_is_known_roughly(visit, page_name):
    now = visit.page.evaluate(SECTIONS)
    assert all(now["laid_out"]), "what was near once is left out again"
    guessed = visit.first["heights"]
    if page_name in CHAPTERS:
        assert not all(visit.first["laid_out"])
    elif not page_name.startswith(("verified/", "reference/")):
        return  # a short page: what is guessed wrongly there moves nothing far
    ratios = [g / h for g, h in zip(guessed, now["heights"], strict=True)]
    # Too low a guess would let the parts of a section lie on those of the next.
    assert 0.75 < min(ratios) and max(ratios) < 2
    assert 1 < sum(guessed) / sum(now["heights"]) < 1.5


@on("wide, paper")
def test_paper_holds_the_text_and_nothing_to_click(visit, page_name):
    page = visit.page
    clickable = "nav, button, input, summary:not(.verified > summary), .copybtn, .headerlink, label"
    shown = page.locator(f"body :is({clickable})").evaluate_all(
        "all => all.filter((e) => e.checkVisibility() && e.getClientRects().length)"
        ".map((e) => e.outerHTML.slice(0, 100))"
    )
    assert page_name == "search.html" or shown == []
    state = page.evaluate(
        """() => {
          const inside = (e) => e.checkVisibility() && e.getBoundingClientRect();
          const right = document.documentElement.clientWidth;
          const style = (selector, property) => [...new Set(
            [...document.querySelectorAll(selector)].map((e) => getComputedStyle(e)[property]))];
          return {
            cut: [...document.querySelectorAll("article :is(.katex-html, pre, img, table)")]
              .filter((e) => inside(e) && inside(e).right > right + 1)
              .map((e) => e.outerHTML.slice(0, 100)),
            split: style("article :is(figure, .cell_input, div.math, tr)", "breakInside"),
            parted: style("article .verified", "breakBefore"),
            wrapped: style("article pre", "whiteSpaceCollapse"),
            left_out: [...document.querySelectorAll("article > section > section > *")]
              .filter((e) => !e.checkVisibility({ contentVisibilityAuto: true }) && e.checkVisibility())
              .map((e) => e.outerHTML.slice(0, 100)),
            gap: document.querySelector(".book-footer").getBoundingClientRect().top
              - document.querySelector("article").getBoundingClientRect().bottom,
          };
        }"""
    )
    assert state["cut"] == []
    assert state["left_out"] == []
    assert set(state["split"]) <= {"avoid"}
    assert set(state["parted"]) <= {"avoid"}
    assert state["gap"] >= 0  # the footer once lay over a page's text


@on("wide")
def test_who_wants_no_motion_sees_none(visit):
    visit.page.emulate_media(reduced_motion="reduce")
    wait_for_frames(visit.page)
    motion = visit.page.evaluate(MOVING)
    assert motion["asked"] > 5  # of the frame alone
    assert motion["moving"] == []
    assert visit.page.evaluate("document.getAnimations().length") == 0
    visit.page.emulate_media(reduced_motion="no-preference")
