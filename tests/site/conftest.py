"""The built site in a real browser, from http:// and from disk.

The site is taken from `_build/html` (or SITE_DIR) as it is. SKIP_BROWSER=1 leaves these tests out;
SITE_SLOWDOWN=6 tries every page with a processor six times slower: no test may depend on time.
"""

import contextlib
import functools
import json
import os
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright
from visits import AXE, LISTEN, PAGES, SITE, SLOWDOWN, Visit, scroll_through

from bookkit.site.browser import launch
from bookkit.site.serve import Handler


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "page_name" in metafunc.fixturenames:
        # With no site there is still one test, which says so.
        metafunc.parametrize("page_name", PAGES or ["index.html"])
    if "base_kind" in metafunc.fixturenames:
        metafunc.parametrize("base_kind", ["http", "file"], scope="session")


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
    if not (SITE / "index.html").exists():
        pytest.fail(f"There is no site in {SITE}: build it with `make book` first.", pytrace=False)
    return SITE


@pytest.fixture(scope="session")
def browser(site):
    """One browser for all tests."""
    if os.environ.get("SKIP_BROWSER") == "1":
        pytest.skip("SKIP_BROWSER=1: the site was NOT tried in a browser")
    with sync_playwright() as playwright, contextlib.closing(launch(playwright)) as chromium:
        yield chromium


@pytest.fixture(scope="session")
def bases(site) -> dict[str, str]:
    """The site's two addresses: a server of this machine, and the disk."""
    handler = functools.partial(Handler, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {"http": f"http://127.0.0.1:{server.server_port}", "file": site.as_uri()}
        server.shutdown()


@pytest.fixture
def base(bases, base_kind) -> str:
    """The address under test."""
    return bases[base_kind]


@pytest.fixture
def open_page(browser):
    """A function that opens a page in a context of its own and shows all of it."""
    with contextlib.ExitStack() as stack:

        def opened(url: str, visit: Visit | None = None, slowdown: float = SLOWDOWN, **options):
            context = stack.enter_context(contextlib.closing(browser.new_context(**options)))
            context.set_default_timeout(120_000)  # a guard against hanging, no expectation
            context.add_init_script(LISTEN)
            page = context.new_page()
            if slowdown > 1:
                session = context.new_cdp_session(page)
                session.send("Emulation.setCPUThrottlingRate", {"rate": slowdown})
            if visit:
                visit.watch(page)
            page.goto(url)
            if options.get("java_script_enabled", True):
                scroll_through(page)
            return page

        yield opened


@pytest.fixture
def axe():
    """A function that returns what axe-core finds wrong with a page, most readable first."""

    def findings(page) -> list[str]:
        page.evaluate(AXE)
        result = page.evaluate(
            """() => axe.run(document, {
              runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"],
              rules: { "empty-table-header": { enabled: false } },  // the corner of a data frame
              resultTypes: ["violations"],
            })"""
        )
        return [
            f"{rule['id']} ({rule['impact']}): {rule['help']}: "
            + json.dumps([node["html"][:160] for node in rule["nodes"][:3]])
            for rule in result["violations"]
        ]

    return findings
