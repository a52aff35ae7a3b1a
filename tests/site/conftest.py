"""The built site in a real browser, from http:// and from disk.

The site is taken from `_build/html` (or SITE_DIR) as it is. SKIP_BROWSER=1 leaves these tests out;
SITE_SLOWDOWN=6 tries every page with a processor six times slower: no test may depend on time.
"""

import contextlib
import functools
import json
import os
import re
import threading
import time
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright
from visits import (
    AXE,
    CHAPTERS,
    KINDS,
    LATE,
    PAGES,
    SITE,
    SLOWDOWN,
    Opened,
    Visit,
    Visits,
    cases,
    check_alive,
    evaluate_within,
    new_context,
    require,
    scroll_through,
    slow_down,
)
from xdist.scheduler import LoadScopeScheduling

from bookkit.site.browser import launch
from bookkit.site.serve import Handler

HERE = Path(__file__).parent


class LateHandler(Handler):
    """A server that sends all but pages later, where the browser's request says by how much."""

    def do_GET(self) -> None:
        if not self.path.partition("?")[0].endswith(".html"):
            time.sleep(float(self.headers.get(LATE, 0)))
        super().do_GET()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    chosen = any(
        "page_name" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")
    )
    if "page_name" in metafunc.fixturenames and not chosen:
        # With no site there is still one test, which says so.
        metafunc.parametrize("page_name", cases(PAGES or ["index.html"]))
    if "base_kind" in metafunc.fixturenames:
        metafunc.parametrize("base_kind", ["http", "file"], scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests so that each visit is made once."""
    places = [place for place, item in enumerate(items) if item.path.parent == HERE]
    ours = sorted((items[place] for place in places), key=_order)
    for place, item in zip(places, ours, strict=True):
        items[place] = item


class ByVisit(LoadScopeScheduling):
    """Keeps the tests of a page in one process, so that each visit is made once.

    A chapter's page is shared by three processes, if there are so many: its visits in a wide and in
    a narrow window take about as long as all else. xdist's own groups don't reach its scheduler with
    every pytest, so the page and the window are read from the test's name.
    """

    def _split_scope(self, nodeid: str) -> str:
        case = re.search(r"\[([\w/]+\.html)(.*)\]$", nodeid)
        if not case:
            return nodeid
        page, how = case.groups()
        if page not in CHAPTERS:
            return page
        window = "narrow" if re.search("narrow|360", how) else "wide"
        return f"{page} {window if re.search('narrow|wide|360|1280', how) else 'rest'}"


def pytest_xdist_make_scheduler(config: pytest.Config, log) -> ByVisit:
    """Give a page's tests to one process."""
    return ByVisit(config, log)


def _visited(item: pytest.Item) -> tuple[str | None, str | None, str]:
    """Return the page, the kind of visit and the stage of it that a test looks at."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    kind, _, stage = parameters.get("visit", "").partition(", ")
    return parameters.get("page_name"), kind or parameters.get("window"), stage or "read"


def _order(item: pytest.Item) -> tuple[int, ...]:
    page, kind, stage = _visited(item)
    if page not in PAGES:
        return (1,)
    kinds = list(KINDS)
    if kind is None:
        return (0, PAGES.index(page), len(kinds))
    return (0, PAGES.index(page), kinds.index(kind), KINDS[kind].stages.index(stage))


def pytest_terminal_summary(terminalreporter) -> None:
    reports = [*terminalreporter.stats.get("passed", ()), *terminalreporter.stats.get("failed", ())]
    said = {name: value for report in reports for name, value in report.user_properties}
    if said:
        terminalreporter.section("what a page loads, uncompressed")
        for name, size in sorted(said.items()):
            terminalreporter.write_line(f"{size / 1000:7.0f} kB  {name}")


@pytest.fixture(scope="session")
def site() -> Path:
    """The built site's folder."""
    return require(SITE)


# Until the last test of this folder: Playwright runs once in a process, and others start it too.
@pytest.fixture(scope="package")
def browser():
    """One browser for all tests."""
    if os.environ.get("SKIP_BROWSER") == "1":
        pytest.skip("SKIP_BROWSER=1: the site was NOT tried in a browser")
    with sync_playwright() as playwright, contextlib.closing(launch(playwright)) as chromium:
        yield chromium


@pytest.fixture(autouse=True)
def _the_browser_lives(request):
    """A test during which the browser dies fails and says so, and so do those after it."""
    if "browser" not in request.fixturenames:
        yield
        return
    browser = request.getfixturevalue("browser")
    check_alive(browser)
    yield
    check_alive(browser)


@pytest.fixture(scope="session")
def bases(site) -> dict[str, str]:
    """The site's two addresses: a server of this machine, and the disk."""
    handler = functools.partial(LateHandler, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {"http": f"http://127.0.0.1:{server.server_port}", "file": site.as_uri()}
        server.shutdown()


@pytest.fixture
def base(bases, base_kind) -> str:
    """The address under test."""
    return bases[base_kind]


@pytest.fixture(scope="package")
def visits(bases, browser):
    """The page that is open."""
    with contextlib.closing(Visits(browser, bases)) as visits:
        yield visits


@pytest.fixture
def visit(request, page_name, visits) -> Opened:
    """The visit that a test is marked with (`visits.on`), which it must leave as it found it."""
    kind, _, stage = request.param.partition(", ")
    opened = visits.at(page_name, kind, stage or "read")
    before = opened.state()
    yield opened
    try:
        after = opened.state()
    except Exception:
        visits.close()
        raise
    if after != before:
        visits.close()
        assert after == before, "the test leaves the page changed"


@pytest.fixture
def open_page(browser):
    """A function that opens a page in a context of its own and shows all of it, unless told not to."""
    with contextlib.ExitStack() as stack:

        def opened(
            url: str, visit: Visit | None = None, slowdown: float = SLOWDOWN, shown=True, **options
        ):
            context = stack.enter_context(contextlib.closing(new_context(browser, **options)))
            page = context.new_page()
            if slowdown > 1:
                slow_down(page, slowdown)
            if visit:
                visit.watch(page)
            page.goto(url)
            if shown and options.get("java_script_enabled", True):
                scroll_through(page)
            return page

        yield opened


@pytest.fixture
def axe():
    """A function that returns what axe-core finds wrong with a page, most readable first."""

    def findings(page, rules: list[str] | None = None, without: str = "") -> list[str]:
        """Look at the page with these rules or with all; `without` says whose colors are known."""
        # The policy, which is tried elsewhere, forbids axe's script, but not to a debugger.
        session = page.context.new_cdp_session(page)
        session.send("Runtime.evaluate", {"expression": f"{AXE};0"})
        result = evaluate_within(
            page,
            """async ([rules, without]) => {
              const colors = ["color-contrast"];
              const all = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"];
              const rest = {
                "empty-table-header": { enabled: false },  // the corner of a data frame
                ...(without && { "color-contrast": { enabled: false } }),
              };
              const asked = { runOnly: rules ?? all, ...(!rules && { rules: rest }) };
              const resultTypes = ["violations"];
              const answers = [await axe.run(document, { ...asked, resultTypes })];
              if (without) {
                answers.push(await axe.run({ exclude: [without] }, { runOnly: colors, resultTypes }));
              }
              return { violations: answers.flatMap(({ violations }) => violations) };
            }""",
            [rules, without],
        )
        return [
            f"{rule['id']} ({rule['impact']}): {rule['help']}: "
            + json.dumps([node["html"][:160] for node in rule["nodes"][:3]])
            for rule in result["violations"]
        ]

    return findings
