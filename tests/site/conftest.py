"""The built site in a real browser, from http:// and from disk.

The site is taken from `_build/html` (or SITE_DIR) as it is. SKIP_BROWSER=1 leaves these tests out;
SITE_SLOWDOWN=6 tries every page with a processor six times slower: no test may depend on time.
"""

import contextlib
import functools
import json
import os
import threading
import time
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import sync_playwright

from bookkit.browser import launch
from bookkit.serve import Handler

ROOT = Path(__file__).parents[2]
SITE = Path(os.environ.get("SITE_DIR", ROOT / "_build" / "html")).resolve()
PAGES = sorted(
    path.relative_to(SITE).as_posix()
    for path in SITE.rglob("*.html")
    if "_static" not in path.relative_to(SITE).parts
)
AXE = (ROOT / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf8")
SLOWDOWN = float(os.environ.get("SITE_SLOWDOWN", "1"))
# A policy violation is an event; a page's own scripts could miss one, this listener cannot.
LISTEN = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.effectiveDirective}: ${event.blockedURI || event.sourceFile}`));
window.shifts = [];
new PerformanceObserver((list) =>
  window.shifts.push(...list.getEntries().map(({ value, sources }) =>
    [value, ...sources.slice(0, 3).map(({ node }) => node?.outerHTML?.slice(0, 80) ?? node?.textContent)])),
).observe({ type: "layout-shift", buffered: true });
window.frames_drawn = async (count) => {
  for (let i = 0; i < count; i += 1) await new Promise(requestAnimationFrame);
};
"""


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


@dataclass
class Visit:
    """All that went over the wire, and all that was complained of, while a page was open."""

    base: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def watch(self, page) -> None:
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("requestfailed", lambda request: self.complaints.append(f"failed: {request.url}"))
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("console", self._console)

    def _console(self, message) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"console {message.type}: {message.text}")

    @property
    def outside(self) -> list[str]:
        """The requests that left the site."""
        inside = (self.base + "/", "data:", "blob:")
        return [url for url in self.requests if not url.startswith(inside)]

    def weight(self, site: Path) -> int:
        """Return the bytes of all files that the page loaded."""
        paths = {unquote(urlsplit(url).path) for url in self.requests if url.startswith(self.base)}
        prefix = unquote(urlsplit(self.base).path)
        return sum((site / path.removeprefix(prefix).lstrip("/")).stat().st_size for path in paths)


def wait_until(true, seconds: float = 120) -> None:
    """Wait for a condition; Playwright's own waiting evaluates strings, which the policy forbids."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


def wait_for_frames(page, count: int = 2) -> None:
    """Wait until the page has drawn what was just changed, observers' answers included."""
    page.evaluate("(count) => window.frames_drawn(count)", count)


def scroll_through(page) -> None:
    """Show every part of the page once, for what loads only when it comes near."""
    page.evaluate(
        """async () => {
          for (let y = 0; y < document.documentElement.scrollHeight; y += 600) {
            window.scrollTo({ top: y, behavior: "instant" });
            await window.frames_drawn(2);
          }
          window.scrollTo({ top: 0, behavior: "instant" });
        }"""
    )
    for figure in page.locator("[data-explorable]").all():
        figure.scroll_into_view_if_needed()
        figure.locator(".explorable-live").wait_for()


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
