"""Marks beside equations: what they open is loaded then, from http:// and from disk."""

import json
import re
from urllib.parse import urlsplit

import pytest
from bs4 import BeautifulSoup
from support import wait_until
from visits import PAGES, SITE, Visit

CHAPTERS = [name for name in PAGES if name.startswith("chapters/")]
SCRIPTS = "/_static/verified/"


def brought(chapter: str) -> tuple[dict[str, str], list[str]]:
    """Return what a chapter's script brings: the panel of each label, and the sources."""
    text = (SITE / chapter.replace("chapters", "_static/verified")).with_suffix(".js").read_text()
    return json.loads(f"[{re.fullmatch(r'verifiedPanels[(](.*)[)];', text.strip())[1]}]")


def mark(page, label):
    return page.locator(f'details.verified:has(a[href$="#{label}"])').element_handle()


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_each_mark_has_what_it_opens_and_each_source_is_there_once(chapter, site):
    panels, sources = brought(chapter)
    page = BeautifulSoup((SITE / chapter).read_text("utf-8"), "html.parser")
    marks = page.select("details.verified")
    assert [each["data-label"] for each in marks] == list(panels)
    assert len(marks) > 20
    assert len(set(sources)) == len(sources)
    slots = [re.findall(r'data-source="(\d+)"', panel) for panel in panels.values()]
    assert all(slots), "a mark without a source"
    assert {int(slot) for several in slots for slot in several} == set(range(len(sources)))
    for each in marks:
        address = urlsplit(each["data-panels"])
        assert (SITE / chapter).parent.joinpath(address.path).resolve().is_file()


def test_a_mark_opens_the_code_and_the_tests_of_its_equation(base, open_page, site):
    visit = Visit(base)
    page = open_page(f"{base}/chapters/iou.html", visit)
    loads = [url for url in visit.requests if SCRIPTS in url]
    assert loads == []
    for label, function in {"iou-giou": "giou", "iou-diou": "diou"}.items():
        opened = mark(page, label)
        opened.query_selector("summary").press("Enter")
        wait_until(lambda place=opened: place.query_selector(".verified-code"))
        said = opened.query_selector(".verified-code > p")
        assert said.text_content().startswith(f"computed by {function} ")
        reference = urlsplit(said.query_selector("a").get_attribute("href"))
        assert reference.fragment == function
        assert (site / "chapters" / reference.path).resolve().is_file()
        for name in (function, "test_each_similarity_against_shapely"):
            code = opened.query_selector(f'pre[aria-label="Source of {name}"]')
            assert f"def {name}(" in code.text_content()
            assert code.is_visible() and code.get_attribute("tabindex") == "0"
        uses = opened.query_selector("details > summary")
        uses.press("Enter")
        wait_until(uses.evaluate_handle("s => s.nextElementSibling").as_element().is_visible)
    # Both marks show that test: it came once.
    assert sum(SCRIPTS in url for url in visit.requests) == 1
    shown = opened.inner_html()
    for _ in range(2):
        opened.query_selector("summary").press("Enter")
    assert opened.inner_html() == shown
    ids = page.locator("[id]").evaluate_all("all => all.map((e) => e.id)")
    assert len(set(ids)) == len(ids)
    button = opened.query_selector(".copybtn")
    target = button.get_attribute("data-clipboard-target")
    assert opened.query_selector(target).text_content()
    assert visit.complaints == []
    assert visit.outside == []
    assert page.evaluate("window.violations") == []


def test_axe_finds_nothing_in_an_opened_mark(bases, open_page, axe):
    page = open_page(
        f"{bases['http']}/chapters/iou.html",
        bypass_csp=True,  # for axe's own script alone
        reduced_motion="reduce",
    )
    opened = mark(page, "iou-giou")
    opened.query_selector("summary").press("Enter")
    wait_until(lambda: opened.query_selector(".verified-code"))
    opened.evaluate("m => m.querySelectorAll('details').forEach((d) => (d.open = true))")
    assert axe(page) == []


def test_a_mark_whose_script_is_missing_keeps_its_link_and_tries_again(bases, open_page):
    page = open_page(f"{bases['http']}/chapters/iou.html")
    page.route(f"**{SCRIPTS}*", lambda route: route.abort())
    opened = mark(page, "iou-giou")
    opened.query_selector("summary").press("Enter")
    wait_until(lambda: opened.query_selector("[aria-busy]") is None)
    assert opened.query_selector(".verified-tests > p > a").is_visible()
    page.unroute(f"**{SCRIPTS}*")
    for _ in range(2):
        opened.query_selector("summary").press("Enter")
    wait_until(lambda: opened.query_selector(".verified-code"))


def test_without_scripts_a_mark_leads_to_the_sources(base, open_page):
    page = open_page(f"{base}/chapters/iou.html", java_script_enabled=False)
    opened = mark(page, "iou-giou")
    opened.query_selector("summary").press("Enter")
    opened.query_selector("a").press("Enter")
    page.wait_for_url("**/verified/iou.html#iou-giou")
    row = page.locator("tr#iou-giou")
    assert "computed by giou" in row.inner_text()
    test = row.locator("a", has_text="test_giou_counts_the_empty_pixels_of_the_hull")
    source = page.locator(f'[id="{test.get_attribute("href")[1:]}"]')
    assert not source.is_visible()
    test.press("Enter")
    source.wait_for()
    assert "def test_giou_counts_the_empty_pixels_of_the_hull" in source.text_content()
