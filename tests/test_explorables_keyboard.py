"""Every interactive figure, whichever there are: the keyboard alone works it, and it says what changed."""

import time

import pytest

from derived.explorables import EXPLORABLES

FIGURES = pytest.mark.parametrize("figure", EXPLORABLES.values(), ids=EXPLORABLES)
# All that a pointer can work, but for what is hidden or switched off; of radio buttons, one a group.
CONTROLS = """() => {
  const groups = new Set();
  const all = document.querySelectorAll(".explorable-live :is(button, input, select, [tabindex='0'])");
  return [...all].filter((e) => e.checkVisibility() && !e.disabled).filter((e) => {
    if (e.type !== "radio") return true;
    const isFirst = !groups.has(e.name);
    groups.add(e.name);
    return isFirst;
  }).length;
}"""
# Counts what is announced from now on.
LISTEN = """() => {
  window.announced = 0;
  new MutationObserver(() => (window.announced += 1)).observe(
    document.querySelector(".explorable-live [aria-live]"), { childList: true, characterData: true });
}"""
# A figure's state, and what a screen reader tells of the control in use.
NOW = """() => {
  const { activeElement: e } = document;
  const { now } = document.querySelector(".explorable-live").dataset;
  const told = [e.ariaValueText, e.value, e.checked, e.ariaExpanded, e.ariaPressed, e.textContent];
  return { state: now, told: told.join("|") };
}"""
FOCUSED = """() => {
  const { activeElement: e } = document;
  if (!e.closest(".explorable-live")) return null;
  const kind = e.getAttribute("role") ?? e.getAttribute("type") ?? e.localName;
  const label = e.ariaLabel || e.labels?.[0]?.textContent || e.textContent;
  return { kind, label: label.trim(), value: e.ariaValueText, atMost: e.max !== "" && e.value === e.max };
}"""


def keys(control: dict) -> list[str]:
    """Return the keys by which a control of this kind is worked."""
    match control["kind"]:
        case "slider":  # a handle with two degrees of freedom
            return ["ArrowRight", "ArrowUp"]
        case "range":
            return ["ArrowLeft" if control["atMost"] else "ArrowRight"]
        case "radio":
            return ["ArrowDown"]
        case "checkbox":
            return ["Space"]
        case "button":
            return ["Enter"]
    raise AssertionError(f"no key is known for {control}")


@FIGURES
def test_tab_reaches_every_control_and_each_has_a_name(show, figure):
    tab = show(figure=figure)
    expected, reached = tab.evaluate(CONTROLS), []
    tab.keyboard.press("Tab")
    while (control := tab.evaluate(FOCUSED)) and len(reached) <= expected:
        reached.append(control)
        tab.keyboard.press("Tab")
    assert len(reached) == expected, reached
    assert [control for control in reached if not control["label"]] == []
    # A number that changes is heard with its unit or its words.
    moving = [c for c in reached if c["kind"] in ("slider", "range")]
    assert [control for control in moving if not control["value"]] == []


@FIGURES
def test_what_the_keyboard_changes_is_heard(show, figure):
    tab = show(figure=figure)
    tab.evaluate(LISTEN)
    tab.keyboard.press("Tab")
    silent, changed = [], 0
    while control := tab.evaluate(FOCUSED):
        tab.evaluate("window.announced = 0")
        before = tab.evaluate(NOW)
        for key in keys(control):
            tab.keyboard.press(key)
        after = tab.evaluate(NOW)
        changed += after != before
        # A control that does not tell its change itself has it announced.
        if after["state"] != before["state"] and after["told"] == before["told"]:
            deadline = time.monotonic() + 60
            while not tab.evaluate("window.announced") and time.monotonic() < deadline:
                tab.wait_for_timeout(50)
            silent += [] if tab.evaluate("window.announced") else [control]
        tab.keyboard.press("Tab")
    assert silent == []
    assert changed >= 3
