"""Pages of the built site, visited: what every test of the site uses.

A page is opened once for each way to meet it that matters, a *kind* of visit, and all tests look at
that one visit: see `KINDS`. What a visit is made to do for the tests comes in *stages*, of which
none is undone: tests of an earlier stage come first, and no test may leave the page changed.

The site is taken from `_build/html` (or SITE_DIR) as it is. SITE_SLOWDOWN=6 tries every page with a
processor six times slower: no test may depend on time.
"""

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Error
from support import AXE as AXE_FILE
from support import ROOT, seconds, wait_until

SITE = Path(os.environ.get("SITE_DIR", ROOT / "_build" / "html")).resolve()
# The largest first: when several processes share the pages, none is left with a long one at the end.
PAGES = [
    path.relative_to(SITE).as_posix()
    for path in sorted(SITE.rglob("*.html"), key=lambda path: (-path.stat().st_size, path))
    if "_static" not in path.relative_to(SITE).parts
]
CHAPTERS = [name for name in PAGES if name.startswith("chapters/")]
OF_A_CHAPTER = {"chapters", "reference", "verified"}  # folders with a page for each chapter
AXE = AXE_FILE.read_text(encoding="utf8")
SLOWDOWN = float(os.environ.get("SITE_SLOWDOWN", "1"))
# Seconds for which anything inside a page is waited for: a guard against hanging, no expectation.
LIMIT = seconds(30)
LATE = "X-Late"  # the header that asks our server to send all but pages this many seconds later

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
{
  // A browser without time, or with nobody looking, may draw no frames at all. Only time in which
  // the page had nothing else to do counts: each tick is asked for when the one before has come.
  let patience = 40;
  const frame = () => new Promise((done) => {
    let ticks = patience, drawn = false;
    requestAnimationFrame(() => {
      drawn = true;
      patience = 40;
      done();
    });
    const tick = () => {
      if (drawn) return;
      if (ticks > 0) setTimeout(tick, 25);
      else {
        patience = 4; // the next ones will not come either
        done();
      }
      ticks -= 1;
    };
    tick();
  });
  window.frames_drawn = async (count) => {
    for (let i = 0; i < count; i += 1) await frame();
  };
  window.within = (seconds, work) => Promise.race([
    work,
    new Promise((_, refuse) =>
      setTimeout(() => refuse(new Error(`not within ${seconds} s`)), 1000 * seconds)),
  ]);
}
"""

# What scrolls sideways and cannot be reached by keyboard.
UNREACHABLE = """() => [...document.querySelectorAll("main *")]
  .filter((e) => ["auto", "scroll"].includes(getComputedStyle(e).overflowX))
  .filter((e) => e.scrollWidth > e.clientWidth + 1 && e.checkVisibility())
  .filter((e) => e.tabIndex < 0 && !e.querySelector("a, button, input, summary, [tabindex]"))
  .map((e) => e.outerHTML.slice(0, 120))"""
# Which sections are laid out, and how high they are.
SECTIONS = """() => {
  const sections = [...document.querySelectorAll(".bd-article > section > section")];
  return {
    laid_out: sections.map(
      (section) => section.lastElementChild.checkVisibility({ contentVisibilityAuto: true })),
    heights: sections.map((section) => section.getBoundingClientRect().height),
  };
}"""
# Shows every part of the page once, and what comes when it is near is seen to come.
SCROLL = """async (seconds) => {
  const parts = [...document.querySelectorAll("article :is(img, [data-explorable])")];
  const inSight = (e) => {
    const { top, bottom, height } = e.getBoundingClientRect();
    return height > 0 && top < innerHeight && bottom > 0 && e.checkVisibility();
  };
  const missing = (e) => (e.tagName === "IMG" ? !e.complete : !e.querySelector(".explorable-live"));
  const ends = performance.now() + 1000 * seconds;
  for (let y = 0; y < document.documentElement.scrollHeight; y += 600) {
    window.scrollTo({ top: y, behavior: "instant" });
    await window.frames_drawn(1);
    let waited = false;
    while (parts.some((e) => inSight(e) && missing(e)) && performance.now() < ends) {
      waited = true;
      await new Promise((done) => setTimeout(done, 20));
    }
    if (waited) await window.frames_drawn(2);
  }
  window.scrollTo({ top: 0, behavior: "instant" });
  await window.frames_drawn(1);
}"""
# Takes away most of the letters in code and formulas that look like others, ten thousand a chapter:
# axe finds nothing in them but their contrast, and that is the same. Five of each look stay (color,
# size, weight, the grounds, and the classes that could make them differ in another theme). The
# boxes stay as large as they were, but for sources that were folded away.
THIN_OUT = """() => {
  const known = new Map();
  // The classes and the grounds on which an element stands.
  const place = (e) => {
    if (!e) return "";
    if (!known.has(e)) {
      const s = getComputedStyle(e);
      const ground = [s.backgroundColor, s.backgroundImage, s.opacity, s.filter, s.mixBlendMode];
      known.set(e, `${place(e.parentElement)} > ${e.tagName}.${e.className} ${ground}`);
    }
    return known.get(e);
  };
  const look = (e, where) => {
    const { color, fontSize, fontWeight, textShadow } = getComputedStyle(e);
    return [color, fontSize, fontWeight, textShadow, where].join();
  };
  const counts = new Map();
  const common = (looks) => {
    if (looks.every((each) => counts.get(each) >= 5)) return true;
    for (const each of looks) counts.set(each, (counts.get(each) ?? 0) + 1);
    return false;
  };
  const changes = [];
  for (const e of document.querySelectorAll("article pre *")) {
    const plain = !e.children.length && e.getAttributeNames().join() === "class";
    if (plain && e.checkVisibility() && common([look(e, place(e))])) {
      changes.push(() => e.replaceWith(e.textContent));
    }
  }
  for (const base of document.querySelectorAll("article .katex-html .base")) {
    if (base.querySelector("a, [href], [id], [tabindex]") || !base.checkVisibility()) continue;
    const where = place(base);
    const letters = [...base.querySelectorAll("*")]
      .filter((e) => [...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.data.trim()));
    // A ground within the formula would make it a formula of its own kind.
    const inner = (e) => place(e).slice(where.length).match(/rgba?\\([^)]*\\)/g).join();
    if (!common(letters.map((e) => look(e, where + inner(e))))) continue;
    const { width } = base.getBoundingClientRect();
    changes.push(() => {
      const strut = base.querySelector(":scope > .strut"); // as high as the formula
      const box = document.createElement("span");
      box.style.cssText = `display: inline-block; width: ${width}px`;
      base.replaceChildren(...(strut ? [strut] : []), box);
    });
  }
  // No rule of axe's concerns what stands inside MathML, and folded sources are all of one make.
  for (const formula of [...document.querySelectorAll("article .katex-mathml")].slice(20)) {
    changes.push(() => formula.replaceChildren());
  }
  for (const source of [...document.querySelectorAll("article details pre")].slice(20)) {
    changes.push(() => source.replaceChildren("…"));
  }
  for (const change of changes) change(); // having read all: each would lay the page out anew
}"""
# What a test could leave behind. A figure's state is its own from the stage on that tries figures.
STATE = """(stage) => ({
  address: location.href,
  theme: document.documentElement.dataset.theme,
  paper: matchMedia("print").matches,
  still: matchMedia("(prefers-reduced-motion: reduce)").matches,
  size: [innerWidth, innerHeight],
  opened: document.querySelectorAll("details[open]").length,
  figures: stage === "tried" ? [] : [...document.querySelectorAll(".explorable-live")]
    .map((figure) => figure.dataset.now),
})"""


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


@dataclass(frozen=True)
class Kind:
    """One way to meet a page: from which address, in which window, and in which stages."""

    base: str
    options: dict
    stages: tuple[str, ...]


# 360 px is the narrowest telephone; what fits it and stands still in it does so at 375 px as well.
# Without scripts a page is tried from disk: the same files, found by the same relative addresses,
# and what a server adds (their types) the visits with scripts see.
KINDS = {
    "wide": Kind(
        "http",
        {"viewport": {"width": 1280, "height": 800}},
        ("read", "tried", "paper", "opened", "judged"),
    ),
    "narrow": Kind(
        "http",
        {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark"},
        ("read", "opened", "judged"),
    ),
    "disk": Kind("file", {"viewport": {"width": 1280, "height": 900}}, ("read", "tried")),
    "unscripted": Kind("file", {"java_script_enabled": False}, ("read",)),
}


class Opened:
    """A page that is open, in one of its kind's stages.

    Attributes:
        page: Playwright's page.
        wire: what went over the wire, and what was complained of.
        first: what was the case before anything was scrolled: `laid_out` and `heights` of the
            sections, how many boxes are `unmeasured`, what is `unreachable` by keyboard.
        shifts: what moved while the page was loaded and scrolled through, and by how much (CLS).
    """

    def __init__(self, browser, bases: dict[str, str], page_name: str, kind: str) -> None:
        self.kind, self.stage = kind, "read"
        self.first, self.shifts = {}, []
        base = bases[KINDS[kind].base]
        self.wire = Visit(base)
        options = dict(KINDS[kind].options)
        served = KINDS[kind].base == "http"
        if served:
            options["extra_http_headers"] = {LATE: "0.2"}
        self._ends = contextlib.ExitStack()
        context = self._ends.enter_context(contextlib.closing(new_context(browser, **options)))
        self.page = context.new_page()
        self.wire.watch(self.page)
        # What comes late must be seen to come: files are sent late, and the processor is slow until
        # the page stands. From then on the walk through the page waits for what it has in sight.
        slow_down(self.page, max(3, SLOWDOWN) if served else SLOWDOWN)
        self.page.goto(f"{base}/{page_name}")
        match kind:
            case "wide" | "narrow":
                wait_for_frames(self.page)
                slow_down(self.page, SLOWDOWN)
                self._look_around()
            case "disk":
                self._load_everything()

    def _look_around(self) -> None:
        self.first = self.page.evaluate(SECTIONS)
        self.first["unmeasured"] = self.page.locator("article [data-scrolls=perhaps]").count()
        if self.kind == "narrow":
            self.first["unreachable"] = self.page.evaluate(UNREACHABLE)
        scroll_through(self.page)
        self.shifts = self.page.evaluate("window.shifts")

    def _load_everything(self) -> None:
        """Load every picture and every font that the style sheets name, and mount every figure."""
        evaluate_within(
            self.page,
            """async () => {
              for (const image of document.images) image.loading = "eager";
              await Promise.allSettled([
                ...[...document.images].map((image) => image.decode()),
                ...[...document.fonts].map((face) => face.load()),
              ]);
            }""",
        )
        mount_figures(self.page)

    def enter(self, stage: str) -> None:
        """Go on to a later stage."""
        if stage == self.stage:
            return
        stages = KINDS[self.kind].stages
        for step in stages[stages.index(self.stage) + 1 : stages.index(stage) + 1]:
            self._take(step)
            self.stage = step
        wait_for_frames(self.page)

    def _take(self, step: str) -> None:
        match step:
            case "paper":
                # As wide as A4 between its margins, in CSS pixels.
                self.page.set_viewport_size({"width": 658, "height": 900})
                self.page.emulate_media(media="print")
            case "opened":
                # Colors that are on their way to others would be judged for what they are not.
                self.page.emulate_media(media="screen", reduced_motion="reduce")
                self.page.set_viewport_size(KINDS[self.kind].options["viewport"])
                self.page.evaluate(
                    "document.querySelectorAll('details').forEach((d) => (d.open = true))"
                )
                # What a mark opens is loaded then.
                waiting = self.page.locator("details.verified[data-label], [aria-busy=true]")
                wait_until(lambda: waiting.count() == 0)
            case "judged":
                wait_for_frames(self.page)
                self.page.evaluate(THIN_OUT)

    def state(self) -> dict:
        """Return what a test could leave behind."""
        return self.page.evaluate(STATE, self.stage)

    def close(self) -> None:
        self._ends.close()


class Visits:
    """At most one page that is open: the one that the present tests look at."""

    def __init__(self, browser, bases: dict[str, str]) -> None:
        self._browser, self._bases = browser, bases
        self._name, self._opened = None, None

    def at(self, page_name: str, kind: str, stage: str) -> Opened:
        """Return a page in a stage of a kind of visit; open it anew only where it must be."""
        stages = KINDS[kind].stages
        if self._name != (page_name, kind) or stages.index(self._opened.stage) > stages.index(
            stage
        ):
            self.close()
            self._opened = Opened(self._browser, self._bases, page_name, kind)
            self._name = page_name, kind
        self._opened.enter(stage)
        return self._opened

    def close(self) -> None:
        """Close what is open; the next test opens its page anew."""
        opened, self._name, self._opened = self._opened, None, None
        if opened:
            opened.close()


def require(site: Path) -> Path:
    """Return the folder of a built site; without one skip the test, or fail if SITE_REQUIRED=1."""
    if (site / "index.html").exists():
        return site
    missing = f"There is no site in {site}: build it with `make book` first."
    if os.environ.get("SITE_REQUIRED") == "1":
        pytest.fail(missing, pytrace=False)
    pytest.skip(missing)


def on(*visits: str) -> pytest.MarkDecorator:
    """Mark a test that looks at a visit: "wide" in its first stage, or "wide, opened"."""
    return pytest.mark.parametrize("visit", visits, indirect=True)


def chapter(page_name: str) -> str | None:
    """Return the chapter whose page this is."""
    folder, _, name = page_name.rpartition("/")
    return name.removesuffix(".html") if folder in OF_A_CHAPTER else None


def cases(page_names: list[str]) -> list:
    """Return pages as cases of a test, marked with their chapter."""
    return [
        pytest.param(
            name, marks=pytest.mark.chapter(chapter(name)) if chapter(name) else (), id=name
        )
        for name in page_names
    ]


def check_alive(browser) -> None:
    """Fail, and say why, if the browser has ended: what its pages say then means nothing."""
    try:
        session = browser.new_browser_cdp_session()
        session.send("Browser.getVersion")
        session.detach()
    except Error as error:
        pytest.fail(f"The browser died: {error}", pytrace=False)


def new_context(browser, **options):
    """Return a browser context whose pages listen, and in which nothing is waited for without end."""
    context = browser.new_context(**options)
    context.set_default_timeout(1000 * LIMIT)
    context.set_default_navigation_timeout(1000 * LIMIT)
    context.add_init_script(LISTEN)
    return context


def slow_down(page, factor: float) -> None:
    """Make the processor as many times slower for this page."""
    session = page.context.new_cdp_session(page)
    session.send("Emulation.setCPUThrottlingRate", {"rate": factor})


def evaluate_within(page, function: str, argument=None):
    """Return what an asynchronous function in the page returns, within the limit of time."""
    return page.evaluate(
        f"([seconds, argument]) => window.within(seconds, ({function})(argument))",
        [LIMIT, argument],
    )


def wait_for_frames(page, count: int = 2) -> None:
    """Wait until the page has drawn what was just changed, observers' answers included."""
    evaluate_within(page, "(count) => window.frames_drawn(count)", count)


def scroll_through(page) -> None:
    """Show every part of the page once, for what loads only when it comes near."""
    evaluate_within(page, SCROLL, LIMIT / 2)
    mount_figures(page)


def mount_figures(page) -> None:
    """Go to each figure and wait until it lives."""
    for figure in page.locator("[data-explorable]").all():
        if figure.locator(".explorable-live").count() == 0:
            figure.scroll_into_view_if_needed()
            figure.locator(".explorable-live").wait_for()
