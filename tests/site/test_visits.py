"""The visits themselves: nothing can hang, what dies or moves is noticed, and no test spoils a page."""

import os
import subprocess
import sys

import pytest
from support import ROOT
from visits import (
    LIMIT,
    THIN_OUT,
    Opened,
    Visits,
    evaluate_within,
    new_context,
    require,
    scroll_through,
    wait_for_frames,
)

TALL = "<article>" + "<p style='height: 2000px'>Text.</p>" * 3 + "</article>"


@pytest.fixture
def context(browser):
    with_limit = new_context(browser)
    yield with_limit
    with_limit.close()


def test_a_page_that_draws_no_frames_ends_all_the_same(context):
    context.add_init_script("window.requestAnimationFrame = () => 0")
    page = context.new_page()
    page.goto("about:blank")
    page.set_content(TALL)
    wait_for_frames(page, 3)
    scroll_through(page)
    assert page.evaluate("scrollY") == 0


def test_what_never_ends_in_a_page_is_given_up(context, monkeypatch):
    monkeypatch.setattr("visits.LIMIT", 0.1)
    page = context.new_page()
    page.goto("about:blank")
    with pytest.raises(Exception, match="not within 0.1 s"):
        evaluate_within(page, "() => new Promise(() => {})")


def test_a_busy_page_is_waited_for_until_it_draws(context):
    page = context.new_page()
    page.goto("about:blank")
    page.evaluate(
        """() => {
          requestAnimationFrame(() => requestAnimationFrame(() => (window.second = true)));
          const end = performance.now() + 3000; // longer than a page without frames is given
          while (performance.now() < end);
        }"""
    )
    wait_for_frames(page)
    assert page.evaluate("window.second")


# A process of its own: Playwright runs once in each.
DYING = """
import os, signal, pytest
from playwright.sync_api import sync_playwright
from visits import check_alive
from bookkit.site.browser import launch
with sync_playwright() as playwright:
    browser = launch(playwright)
    check_alive(browser)
    processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    os.kill(next(p["id"] for p in processes if p["type"] == "browser"), signal.SIGKILL)
    with pytest.raises(pytest.fail.Exception, match="The browser died"):
        check_alive(browser)
    print("noticed")
"""


def test_a_browser_that_dies_is_noticed(browser):
    paths = [ROOT / "src", ROOT / "tests", ROOT / "tests" / "site"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    run = subprocess.run(
        [sys.executable, "-c", DYING],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert run.stdout == "noticed\n", run.stderr


FIGURE = """<!doctype html><article><p>Above.</p>
<figure data-explorable="late" style="margin: 0">{slot}</figure><p>Below.</p>
<p style="height: 3000px">More.</p></article>
<script>
  new IntersectionObserver(([entry], observer) => {{
    if (!entry.isIntersecting) return;
    observer.disconnect();
    setTimeout(() => {{
      document.querySelector("figure").innerHTML =
        "<div class='explorable-live' style='height: 400px'>Here.</div>";
    }}, 300);
  }}).observe(document.querySelector("figure"));
</script>"""


@pytest.mark.parametrize(("height", "moves"), [(400, False), (40, True)])
def test_what_a_late_figure_moves_is_seen(browser, tmp_path, height, moves):
    slot = f"<div style='height: {height}px'>Wait.</div>"
    (tmp_path / "page.html").write_text(FIGURE.format(slot=slot), encoding="utf8")
    bases = {"http": tmp_path.as_uri()}
    opened = Opened(browser, bases, "page.html", "wide")
    assert (sum(share for share, *_ in opened.shifts) >= 0.1) == moves
    opened.close()


def test_stages_follow_each_other_and_an_earlier_one_opens_the_page_anew(browser, tmp_path):
    (tmp_path / "page.html").write_text(
        "<!doctype html><article><details><summary>A</summary>B</details></article>",
        encoding="utf8",
    )
    visits = Visits(browser, {"http": tmp_path.as_uri()})
    read = visits.at("page.html", "narrow", "read")
    assert read.state()["opened"] == 0
    opened = visits.at("page.html", "narrow", "opened")
    assert opened is read and opened.state()["opened"] == 1
    anew = visits.at("page.html", "narrow", "read")
    assert anew is not read and read.page.is_closed() and anew.state()["opened"] == 0
    visits.close()
    assert anew.page.is_closed()


def test_what_is_thinned_out_keeps_each_look_and_all_sizes(context, axe):
    page = context.new_page()
    page.goto("about:blank")
    base = (
        "<span class='katex'><span class='katex-html' aria-hidden='true'><span class='base'>"
        "<span class='strut' style='height: 1em; vertical-align: -0.25em'></span>{}</span></span></span>"
    )
    usual = base.format("<span class='mord'>x</span>" * 10)
    pale = base.format("<span class='mord' style='color: #eee'>pale</span>")
    code = "".join(f"<span class='k'>if</span> <span class='o'>{i}</span>\n" for i in range(20))
    page.set_content(
        "<!doctype html><html lang=en><title>T</title><style>.strut, .base {display: inline-block}"
        ".k {color: #00c} .rare {color: #ddd}</style><main><h1>T</h1><article>"
        + "<p>"
        + usual * 20
        + pale
        + usual * 5
        + "</p>"
        + f"<pre tabindex=0>{code}<span class='rare'>pale</span></pre></article></main>"
    )
    size = """["pre", "p"].map((name) => {
      const { width, height } = document.querySelector(name).getBoundingClientRect();
      return [width, height];
    })"""
    before, high = page.evaluate("document.querySelectorAll('*').length"), page.evaluate(size)
    page.evaluate(THIN_OUT)
    assert page.evaluate("document.querySelectorAll('*').length") < 0.5 * before
    assert page.evaluate(size) == high
    pale_ones = axe(page, ["color-contrast"])
    assert len(pale_ones) == 1
    assert "#eee" in pale_ones[0] and "rare" in pale_ones[0]


@pytest.mark.parametrize(("required", "outcome"), [("0", pytest.skip), ("1", pytest.fail)])
def test_without_a_site_the_tests_say_so(tmp_path, monkeypatch, required, outcome):
    monkeypatch.setenv("SITE_REQUIRED", required)
    with pytest.raises(outcome.Exception, match="build it with `make book` first"):
        require(tmp_path)
    (tmp_path / "index.html").touch()
    assert require(tmp_path) == tmp_path
