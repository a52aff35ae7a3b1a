"""One thread, fixed hypothesis settings, shapes checked in every call of `derived`, and a browser."""

import gc
import os
import sys

import pytest
import support
import torch
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

torch.set_num_threads(1)

# Every function of `derived` checks the shapes in its signature while the tests run.
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


@pytest.fixture
def show(browser, tmp_path):
    """Open a page, from disk, with a figure in it; nothing may go to the console but what is expected."""
    # Imported here: what was imported before the hook would not have its shapes checked.
    from bookkit.site.explorables import page
    from derived.explorables import PushABox

    contexts, said, foreseen = [], [], []

    def open_page(
        body=None,
        *,
        figure=PushABox,
        width=900,
        theme="light",
        touch=False,
        expected=(),
        mounted=True,
        **state,
    ):
        foreseen.extend(expected)
        body = body or figure(**state)._repr_mimebundle_()[0]["text/html"]
        path = page(tmp_path, body, theme=theme)
        context = browser.new_context(
            viewport={"width": width, "height": 800},
            has_touch=touch,
            is_mobile=touch,
            reduced_motion="reduce",
        )
        context.set_default_timeout(1000 * support.seconds(30))  # against hanging, no expectation
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.goto(path.as_uri())
        if mounted:
            tab.locator(".explorable-live").wait_for()
        tab.said = said
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert not [text for text in said if not any(part in text for part in foreseen)]
