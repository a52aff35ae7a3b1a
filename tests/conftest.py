"""One thread, fixed hypothesis settings, shapes checked in every call of `derived`, and a browser."""

import gc
import os
import sys
from collections import defaultdict
from types import SimpleNamespace

import pytest
import support
import torch
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

torch.set_num_threads(1)

# Every function of `derived` checks the shapes in its signature while the tests run; what a plugin
# imported before would not.
assert not [name for name in sys.modules if name.partition(".")[0] == "derived"]
install_import_hook("derived", "beartype.beartype")

settings.register_profile("ci", derandomize=True, deadline=None, database=None)
# For `make properties`: other examples each night, and the blob that repeats a failure.
settings.register_profile(
    "nightly",
    max_examples=2000,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ci")


@pytest.fixture(scope="module", autouse=True)
def _earlier_sphinx_applications_hold_no_listeners():
    """sphinx-external-toc goes through all objects in memory and takes from a new application the
    listeners of every collector that it finds, by numbers; in an earlier application's collector
    these are the numbers of others."""
    if toctree := sys.modules.get("sphinx.environment.collectors.toctree"):
        for thing in gc.get_objects():
            if issubclass(type(thing), toctree.TocTreeCollector):
                thing.listener_ids = None


@pytest.fixture
def git(tmp_path):
    """Run git in the test's own folder, and return what it prints."""

    def run(*arguments):
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return support.run(["git", *who, *arguments], cwd=tmp_path).stdout.strip()

    return run


@pytest.fixture(scope="module")
def browser():
    if os.environ.get("SKIP_BROWSER") == "1":
        pytest.skip("SKIP_BROWSER=1")
    from playwright.sync_api import sync_playwright

    from bookkit.site.browser import find_chromium, launch

    find_chromium()
    with sync_playwright() as playwright:
        chromium = launch(playwright)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def windows(browser, tmp_path_factory):
    """Pages with figures, opened from disk in windows that one test after another uses.

    `open_page` shows a page around `body`, or around a figure in a state, in a window of this width
    with a mouse or with touch. What such a page says on the console is in its `said`. It is the
    caller's until `give_back` takes it; so is what `blank` opens, a page with nothing. A new window would take three times as long as a new page.
    """
    # Imported here: what was imported before the hook would not have its shapes checked.
    from bookkit.site.explorables import page
    from derived.explorables import PushABox

    folder = tmp_path_factory.mktemp("pages")
    contexts, free = [], defaultdict(list)

    def open_window(kind):
        width, touch = kind
        context = browser.new_context(
            viewport={"width": width, "height": 800},
            has_touch=touch,
            is_mobile=touch,
            reduced_motion="reduce",
        )
        context.set_default_timeout(1000 * support.seconds(30))  # against hanging, no expectation
        contexts.append(context)
        tab = context.new_page()
        tab.kind, tab.said = kind, []
        tab.on("console", lambda message: tab.said.append(message.text))
        tab.on("pageerror", lambda error: tab.said.append(str(error)))
        return tab

    def blank(width=900, touch=False):
        unused = free[width, touch]
        return unused.pop() if unused else open_window((width, touch))

    def open_page(
        body=None,
        *,
        figure=PushABox,
        width=900,
        theme="light",
        touch=False,
        mounted=True,
        **state,
    ):
        body = body or figure(**state)._repr_mimebundle_()[0]["text/html"]
        path = page(folder, body, theme=theme)
        tab = blank(width, touch)
        tab.goto(path.as_uri())
        if mounted:
            tab.locator(".explorable-live").wait_for()
        return tab

    def give_back(tab):
        tab.goto("about:blank")
        tab.mouse.up()  # a test that failed may have held it
        tab.mouse.move(0, 0)
        tab.emulate_media(media="null", reduced_motion="reduce")
        tab.set_viewport_size({"width": tab.kind[0], "height": 800})
        tab.said = []
        free[tab.kind].append(tab)

    yield SimpleNamespace(blank=blank, open_page=open_page, give_back=give_back)
    for context in contexts:
        context.close()


@pytest.fixture
def show(windows):
    """Open a page, from disk, with a figure in it; nothing may go to the console but what is expected."""
    tabs, foreseen = [], []

    def open_page(body=None, *, expected=(), **options):
        foreseen.extend(expected)
        tabs.append(windows.open_page(body, **options))
        return tabs[-1]

    yield open_page
    said = [text for tab in tabs for text in tab.said]
    for tab in tabs:
        windows.give_back(tab)
    assert not [text for text in said if not any(part in text for part in foreseen)]
