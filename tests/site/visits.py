"""Pages of the built site, visited: what every test of the site uses.

The site is taken from `_build/html` (or SITE_DIR) as it is. SITE_SLOWDOWN=6 tries every page with a
processor six times slower: no test may depend on time.
"""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from support import AXE as AXE_FILE
from support import ROOT

SITE = Path(os.environ.get("SITE_DIR", ROOT / "_build" / "html")).resolve()
PAGES = sorted(
    path.relative_to(SITE).as_posix()
    for path in SITE.rglob("*.html")
    if "_static" not in path.relative_to(SITE).parts
)
AXE = AXE_FILE.read_text(encoding="utf8")
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
