"""What can be said of the pages without a browser: heads, alternative texts, links, downloads."""

import functools
import html
import re
from importlib import resources
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup
from visits import SITE

from bookkit.site.pages import POLICY
from derived.explorables import EXPLORABLES


@functools.cache
def parsed(name: str) -> BeautifulSoup:
    return BeautifulSoup((SITE / name).read_text(encoding="utf8"), "html.parser")


@functools.cache
def ids(name: str) -> set[str]:
    """Return what links can lead to on a page: read from its tags alone, much faster than parsing."""
    text = (SITE / name).read_text(encoding="utf8")
    return {html.unescape(value) for value in re.findall(r'<[a-zA-Z][^<>]*?\sid="([^"]*)"', text)}


def test_it_has_a_head_and_one_title(page_name, site):
    page = parsed(page_name)
    assert page.html["lang"] == "en"
    assert len(page.find_all("h1")) == 1
    assert "Deep Learning, Derived" in page.title.text
    description = page.find("meta", {"name": "description"})["content"]
    assert 10 < len(description) <= 160


def test_its_policy_comes_before_anything_it_governs(page_name, site):
    page = parsed(page_name)
    policy = page.find("meta", {"http-equiv": "Content-Security-Policy"})
    assert policy["content"] == POLICY
    assert policy.find_previous(["script", "link", "style", "img"]) is None


def test_no_script_or_handler_stands_in_the_page(page_name, site):
    page = parsed(page_name)
    assert [str(script) for script in page.find_all("script") if not script.get("src")] == []
    handlers = [
        f"{tag.name} {a}" for tag in page.find_all(True) for a in tag.attrs if a[:2] == "on"
    ]
    assert handlers == []
    assert page.find_all(href=lambda href: href and href.startswith("javascript:")) == []


def test_every_image_says_what_it_shows(page_name, site):
    silent = [str(img)[:120] for img in parsed(page_name).find_all("img") if img.get("alt") is None]
    assert silent == []
    in_text = parsed(page_name).article.find_all("img")
    assert [str(img)[:120] for img in in_text if len(img["alt"]) < 40] == []


def test_every_link_leads_somewhere(page_name, site):
    broken = []
    for tag in parsed(page_name).find_all(["a", "link", "script", "img", "form"]):
        target = tag.get("href") or tag.get("src") or tag.get("action")
        parts = urlsplit(target or "")
        if not target or parts.scheme or parts.netloc:
            continue
        path = ((site / page_name).parent / unquote(parts.path)).resolve() if parts.path else None
        path = path or site / page_name
        if not path.is_file() or not path.is_relative_to(site):
            broken.append(target)
        elif parts.fragment and path.suffix == ".html":
            name = path.relative_to(site).as_posix()
            if unquote(parts.fragment) not in ids(name):
                broken.append(target)
    assert broken == []


def test_no_two_elements_have_the_same_id(page_name, site):
    named = [element["id"] for element in parsed(page_name).select("[id]")]
    assert len(set(named)) == len(named)
    assert set(named) == ids(page_name)


def test_a_source_stands_once_on_a_page(page_name, site):
    sources = parsed(page_name).select(".verified-sources pre")
    assert len({source["id"] for source in sources}) == len(sources)
    assert parsed(page_name).select(".verified pre") == []  # a mark loads what it opens


def test_a_page_stays_small_enough_for_a_telephone(page_name, site):
    # Each element costs time to read, style and lay out; formulas are most of them.
    assert len(parsed(page_name).find_all(True)) < 45_000
    # Drawn formulas are most of a chapter: 0.9 of 1.35 MB where there are most of them.
    limit = 1.4e6 if page_name.startswith("chapters/") else 1e6
    assert (site / page_name).stat().st_size < limit
    # Code in the text's own color needs no elements.
    assert parsed(page_name).select(".highlight :is(.n, .nn, .p, .w)") == []


def test_pictures_are_files_of_their_own(page_name, site):
    pictures = parsed(page_name).article.find_all("img")
    # One inside the page delays what stands above it, and is loaded by those who never get there.
    assert [str(image)[:120] for image in pictures if image["src"].startswith("data:")] == []
    assert {image.get("loading") for image in pictures} <= {"lazy"}
    for figure in parsed(page_name).select("[data-explorable]"):
        still = figure.select_one(".explorable-slot > img")
        module = EXPLORABLES[figure["data-explorable"]]
        original = resources.files("derived.explorables") / module.script.replace(".js", ".png")
        assert ((site / page_name).parent / still["src"]).read_bytes() == original.read_bytes()


def test_the_download_is_the_source(page_name, site):
    book = site.parents[1]  # of _build/html
    for link in parsed(page_name).find_all("a", download=True):
        copy = ((site / page_name).parent / unquote(link["href"])).resolve()
        source = book / copy.relative_to(site / "_sources")
        assert copy.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("name", ["index.html", "search.html"])
def test_one_search_field(name, site):
    assert len(parsed(name).find_all("input", {"type": "search"})) == 1
