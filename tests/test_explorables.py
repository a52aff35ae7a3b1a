"""Every interactive figure: its state, both scripts, its picture, its place on a page and in a notebook."""

import html
import json
import re
import subprocess
import sys

import pytest
from support import AXE, ROOT, WIDGET, node, now

from bookkit.site.browser import find_chromium
from bookkit.site.explorables import classic_source, picture_key
from derived.explorables import EXPLORABLES, PushABox, module_source

FOLDER = ROOT / "src/derived/explorables"

CASES = [
    pytest.param(figure, id=name, marks=pytest.mark.chapter(figure.chapter))
    for name, figure in EXPLORABLES.items()
]
FIGURES = pytest.mark.parametrize("figure", CASES)


@FIGURES
def test_both_scripts_parse(figure, tmp_path):
    for name, source in {
        "m.mjs": module_source(figure.script),
        "c.cjs": classic_source(figure),
    }.items():
        (tmp_path / name).write_text(source, "utf-8")
        node("--check", tmp_path / name)


@FIGURES
def test_the_module_exports_what_the_figure_does_and_the_classic_script_nothing(figure):
    module = module_source(figure.script)
    assert not re.search(r"^\s*import\b", module, re.MULTILINE)
    own = (FOLDER / figure.script).read_text("utf-8")
    exports = re.compile(r"^export .*", re.MULTILINE)
    assert exports.findall(module) == exports.findall(own)
    assert not re.search(r"^\s*(import|export)\b", classic_source(figure), re.MULTILINE)


@FIGURES
def test_the_classic_script_registers_its_figure(figure, tmp_path):
    script = tmp_path / "classic.cjs"
    script.write_text(
        "global.window = { derivedExplorables: { register: (name, frontEnd) =>"
        " console.log(name, typeof frontEnd.render) } };\n" + classic_source(figure),
        "utf-8",
    )
    assert node(script) == f"{figure.name} function\n"


def test_nothing_in_the_sources_needs_a_weaker_policy():
    for source in (*FOLDER.glob("*.js"), ROOT / "src/bookkit/site/explorables.js"):
        text = source.read_text("utf-8")
        for word in ("eval(", "new Function", "innerHTML", "onclick", "http://", "https://"):
            assert word not in text.replace("http://www.w3.org/2000/svg", ""), (source.name, word)


@FIGURES
def test_the_picture_shows_the_present_source_and_state(figure):
    png = (FOLDER / figure.script).with_suffix(".png")
    record = json.loads(png.with_suffix(".picture.json").read_text("utf-8"))
    assert record["key"] == picture_key(figure), "run `make pictures` and look at what it drew"
    assert png.stat().st_size <= 60_000


def test_a_script_that_does_not_import_the_kit_is_refused(monkeypatch, tmp_path):
    (tmp_path / "kit.js").write_text("export const a = 1;\n")
    (tmp_path / "odd.js").write_text("export default { };\n")
    monkeypatch.setattr("derived.explorables._base.FOLDER", tmp_path)
    with pytest.raises(ValueError, match="odd.js must import"):
        module_source("odd.js")


def test_a_widget_says_its_state_and_nothing_else():
    text = (
        "PushABox(a=(1.5, 2.0, 2.5, 3.0), b=(4.5, 2.0, 5.5, 3.0), coordinates='xyxy', "
        "detach_alpha=True, detach_enclosing=False, detach_focus=True, kind='giou', step=0)"
    )
    assert repr(PushABox()) == text
    first, second = (PushABox()._repr_mimebundle_()[0] for _ in range(2))
    widget = "application/vnd.jupyter.widget-view+json"
    assert first["text/plain"] == text and widget in first
    assert {**first, widget: None} == {**second, widget: None}


def test_the_html_carries_state_picture_and_caption():
    figure = PushABox(kind="diou", step=50)
    page_html = figure._repr_mimebundle_()[0]["text/html"]
    state = json.loads(html.unescape(re.search(r'data-state="([^"]*)"', page_html)[1]))
    assert PushABox(**state).state() == figure.state()
    assert 'data-explorable="push_a_box"' in page_html
    assert re.search(r'<img src="data:image/png;base64,[^"]+" alt="[^"]{40,}" width=', page_html)
    assert html.escape(PushABox.caption) in page_html


def test_the_caption_is_true_of_the_picture():
    assert "the state in which" in PushABox()._repr_mimebundle_()[0]["text/html"]
    other = PushABox(kind="ciou")._repr_mimebundle_()[0]["text/html"]
    assert "another state than the one" in other


def build(folder, **pages):
    """Build a book of these Markdown pages with warnings as errors; return how it went."""
    source = folder / "source"
    source.mkdir()
    for name, text in pages.items():
        (source / f"{name}.md").write_text(text, "utf-8")
    config = {"extensions": ["myst_parser", "bookkit.site.explorables"], "exclude_patterns": []}
    (source / "conf.py").write_text(f"globals().update({config!r})\n", "utf-8")
    # A process of its own: Sphinx registers its nodes once in each.
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", source, folder / "html"]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_the_directive_puts_a_figure_on_a_page_and_scripts_on_no_other(tmp_path):
    run = build(
        tmp_path,
        index="# Book\n\n```{toctree}\nplain\n```\n\n"
        '```{explorable} push_a_box\n:state: {"kind": "diou"}\nA *caption* of its own.\n```\n\n'
        "```{explorable} push_a_box\n```\n",
        plain="# Plain\n\nNothing here.\n",
    )
    assert run.returncode == 0, run.stderr
    output = tmp_path / "html"
    text = (output / "index.html").read_text("utf-8")
    first, second = re.findall(r'data-explorable="push_a_box" data-state="([^"]*)"', text)
    assert json.loads(html.unescape(first)) == json.loads(json.dumps(PushABox(kind="diou").state()))
    assert json.loads(html.unescape(second)) == json.loads(json.dumps(PushABox().state()))
    assert "<em>caption</em>" in text and html.escape(PushABox.caption[:60]) in text
    for asset in ("host.js", "kit.css", "iou.css"):
        assert len(re.findall(rf"_static/explorables/{asset}\?v=\w+", text)) == 1
    assert "explorables/" not in (output / "plain.html").read_text("utf-8")
    pictures = re.findall(r'<img src="_static/explorables/(\w+\.png)" loading="lazy"', text)
    assert len(pictures) == 2 and len(set(pictures)) == 1
    assert "linear_attention.css" not in text, "no other chapter's styles"
    files = {path.name for path in (output / "_static/explorables").iterdir()}
    sheets = {"kit.css", *(f"{figure.chapter}.css" for figure in EXPLORABLES.values())}
    assert files == {"host.js", *sheets, pictures[0], *(f"{name}.js" for name in EXPLORABLES)}


def test_each_wrong_directive_fails_the_build_and_says_why(tmp_path):
    wrong = {
        "```{explorable} push_a_bix\n```": "no such figure: push_a_bix",
        '```{explorable} push_a_box\n:state: {"kind": "l1"}\n```': "kind must be one of",
        "```{explorable} push_a_box\n:state: {kind}\n```": "Expecting property name",
        '```{explorable} push_a_box\n:state: {"c": 1}\n```': "unexpected keyword argument 'c'",
    }
    run = build(tmp_path, index="# Book\n\n" + "\n\n".join(wrong) + "\n")
    assert run.returncode != 0
    for message in wrong.values():
        assert message in run.stderr


# One visit a figure at a desk and one on a phone; each test on it first sets what it needs.

TOP = "document.getElementById('after').getBoundingClientRect().top + scrollY"


@pytest.fixture(scope="module", params=CASES)
def figure(request):
    return request.param


def visit(windows, figure, **window):
    """Come to a page whose figure is below the window, and scroll until it is mounted."""
    body = (
        f"<p id='before' tabindex='-1' style='height: 900px'>Before</p>{figure()._repr_mimebundle_()[0]['text/html']}"
        "<p id='after'>After</p>"
    )
    tab = windows.open_page(body, mounted=False, **window)
    tab.pictured, before = tab.locator(".derived-explorable img").is_visible(), tab.evaluate(TOP)
    tab.evaluate("scrollTo(0, 600)")
    tab.locator(".explorable-live").wait_for()
    tab.moved = before - tab.evaluate(TOP)
    tab.locator("[data-action]").first.click()
    return tab


@pytest.fixture(scope="module")
def desk(windows, figure):
    tab = visit(windows, figure, width=900)
    yield tab
    windows.give_back(tab)


@pytest.fixture(scope="module")
def phone(windows, figure):
    tab = visit(windows, figure, width=360, touch=True)
    yield tab
    windows.give_back(tab)


# Two frames, in which a figure hears of its new width; where frames stop, a second.
FRAMES = """() => new Promise((resolve) => {
  setTimeout(resolve, 1000);
  requestAnimationFrame(() => requestAnimationFrame(resolve));
})"""


def resize(tab, width):
    """Give a page another width and its figure the time to follow."""
    if tab.viewport_size["width"] != width:
        tab.set_viewport_size({"width": width, "height": 800})
        tab.evaluate(FRAMES)


def test_mounting_moves_nothing_else(desk, phone):
    for tab in (desk, phone):
        assert tab.pictured
        # What the hidden note frees at the caption's end may take one line away.
        assert 0 <= tab.moved <= 50


TARGETS = """() => {
  const targets = "button, .xp-row-label, .xp-toggle, .xp-slider, .xp-handle";
  const seen = [...document.querySelectorAll(targets)].filter((node) => node.checkVisibility());
  return seen.map((node) => {
    const { width, height } = node.getBoundingClientRect();
    return [Math.min(width, height), node.ariaLabel ?? node.textContent];
  });
}"""


def fits_and_can_be_hit(tab, width, least):
    resize(tab, width)
    assert tab.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    fold = tab.locator(".xp-fold[aria-expanded=false]")
    if width < 660 and fold.count():
        fold.click()
    assert tab.locator(".xp-row-label").last.is_visible()
    assert tab.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    targets = tab.evaluate(TARGETS)
    assert [target for target in targets if target[0] < least - 0.01] == []
    assert len(targets) > 1


@pytest.mark.parametrize("width", [320, 360, 375, 700])
def test_it_fits_and_can_be_hit(desk, phone, width):
    fits_and_can_be_hit(desk, width, 24)
    fits_and_can_be_hit(phone, width, 44)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 900])
def test_axe_finds_nothing(desk, theme, width):
    assert AXE.exists(), "axe-core is missing: run `npm ci`."
    resize(desk, width)
    desk.evaluate("theme => (document.documentElement.dataset.theme = theme)", theme)
    # Through the debugger, which the page's policy does not concern.
    if not desk.evaluate("'axe' in window"):
        desk.evaluate(AXE.read_text("utf-8") + "; undefined")
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    options = f"runOnly: {json.dumps(tags)}, preload: false, resultTypes: ['violations']"
    violations = desk.evaluate(f"axe.run(document, {{ {options} }}).then((all) => all.violations)")
    assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in violations] == []


# Of one element of each kind, what the properties are that the style sheets set.
STYLES = """(names) => {
  const kinds = new Map();
  for (const node of document.querySelectorAll(".explorable-live *")) {
    const [own, around] = [node, node.parentNode].map((e) => e.getAttribute("class"));
    const { chosen, selected, series } = node.dataset;
    kinds.set([node.localName, own, around, chosen, selected, series].join(), node);
  }
  return [...kinds].flatMap(([kind, node]) => [null, "::before"].map((part) => {
    const style = getComputedStyle(node, part);
    return [kind, part, ...names.map((name) => `${name}: ${style.getPropertyValue(name)}`)];
  }));
}"""


def test_it_looks_the_same_whichever_styles_come_last(desk, figure):
    """In JupyterLab the kit's styles stand in the page once for each open notebook's figures."""
    resize(desk, 900)
    names = sorted(set(re.findall(r"^ +([\w-]+):", figure._css, re.MULTILINE)))
    before = desk.evaluate(STYLES, names)
    sheet = desk.add_style_tag(content=(FOLDER / "kit.css").read_text("utf-8"))
    after = desk.evaluate(STYLES, names)
    sheet.evaluate("node => node.remove()")
    changed = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    assert [set(a) ^ set(b) | {a[0]} for a, b in changed] == []


def test_print_shows_the_picture(desk):
    desk.emulate_media(media="print")
    seen = {name: desk.locator(name).is_visible() for name in ("figure img", ".explorable-live")}
    desk.emulate_media(media="null")
    assert seen == {"figure img": True, ".explorable-live": False}


# The states at both ends of each slider.
ENDS = """() => [...document.querySelectorAll("input[type=range]")].flatMap((input) =>
  [input.max, input.min].map((end) => {
    input.value = end;
    input.dispatchEvent(new Event("input", { bubbles: true }));
    return JSON.parse(document.querySelector(".explorable-live").dataset.now);
  }))"""


def test_python_accepts_what_the_sliders_reach(desk, figure):
    """The bounds stand in the figure's script, too."""
    states = desk.evaluate(ENDS)
    assert len(states) == 2 * desk.locator("input[type=range]").count()
    for state in states:
        assert json.loads(json.dumps(figure(**state).state())) == state


# The keyboard alone works a figure, and it says what changed.

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
# Begins in front of the figure, and counts what is announced from now on.
START = """() => {
  document.getElementById("before").focus();
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


def test_tab_reaches_every_control_and_each_has_a_name(desk):
    resize(desk, 900)
    desk.evaluate(START)
    expected, reached = desk.evaluate(CONTROLS), []
    desk.keyboard.press("Tab")
    while (control := desk.evaluate(FOCUSED)) and len(reached) <= expected:
        reached.append(control)
        desk.keyboard.press("Tab")
    assert len(reached) == expected, reached
    assert [control for control in reached if not control["label"]] == []
    # A number that changes is heard with its unit or its words.
    moving = [c for c in reached if c["kind"] in ("slider", "range")]
    assert [control for control in moving if not control["value"]] == []


def test_what_the_keyboard_changes_is_heard(desk):
    resize(desk, 900)
    desk.evaluate(START)
    desk.clock.install()  # so that what is said within a second is said at once
    desk.clock.pause_at(desk.evaluate("Date.now()") / 1000 + 60)
    desk.keyboard.press("Tab")
    silent, changed = [], 0
    while control := desk.evaluate(FOCUSED):
        desk.clock.run_for(1000)
        desk.evaluate("window.announced = 0")
        before = desk.evaluate(NOW)
        for key in keys(control):
            desk.keyboard.press(key)
        after = desk.evaluate(NOW)
        changed += after != before
        # A control that does not tell its change itself has it announced.
        if after["state"] != before["state"] and after["told"] == before["told"]:
            desk.clock.run_for(1000)
            silent += [] if desk.evaluate("window.announced") else [control]
        desk.keyboard.press("Tab")
    desk.clock.resume()
    assert silent == []
    assert changed >= 3


def test_nothing_was_said_on_the_console(desk, phone):
    assert desk.said == phone.said == []


def test_a_script_is_loaded_only_when_its_figure_comes_near(show):
    body = f"<p style='height: 4000px'></p>{PushABox()._repr_mimebundle_()[0]['text/html']}"
    tab = show(body, mounted=False)
    script = 'script[src$="push_a_box.js"]'
    tab.wait_for_timeout(200)
    assert tab.locator(script).count() == 0
    tab.locator(".derived-explorable").scroll_into_view_if_needed()
    tab.locator(".explorable-live").wait_for()
    assert tab.locator(script).count() == 1


def test_two_figures_on_a_page_do_not_disturb_each_other(show):
    first, second = (
        PushABox(kind=kind)._repr_mimebundle_()[0]["text/html"] for kind in ("iou", "diou")
    )
    tab = show(first + second, mounted=False)
    tab.locator("[data-explorable]").last.scroll_into_view_if_needed()
    tab.locator(".explorable-live").nth(1).wait_for()
    lives = tab.locator(".explorable-live")
    lives.first.locator('input[value="ciou"]').check()
    kinds = [json.loads(live.get_attribute("data-now"))["kind"] for live in lives.all()]
    assert kinds == ["ciou", "diou"]
    assert lives.last.locator('input[value="diou"]').is_checked()


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [('data-explorable="push_a_bax"', "could not load"), ('data-state="{', "JSON")],
)
def test_what_cannot_run_stays_a_picture_and_says_why(show, wrong, reason):
    body = PushABox()._repr_mimebundle_()[0]["text/html"]
    name = wrong.split("=")[0]
    body = re.sub(rf'{name}="[^"]*"', f'{wrong.rstrip(chr(34))}"', body, count=1)
    tab = show(body, mounted=False, expected=("stays a picture", "ERR_FILE_NOT_FOUND"))
    tab.locator(".is-still").wait_for()
    assert tab.locator(".derived-explorable img").is_visible()
    assert tab.locator(".explorable-live").count() == 0
    assert any("stays a picture" in text and reason in text for text in tab.said)


@FIGURES
def test_a_widget_tells_its_state_and_goes_without_a_trace(windows, figure):
    tab = windows.blank()
    tab.add_style_tag(content=figure._css)
    tab.evaluate(WIDGET, [figure._esm, figure().state()])
    tab.locator("[data-handle]").first.focus()
    tab.keyboard.press("ArrowUp")
    tab.wait_for_function("log.saves > 0", polling=50)  # not by frames, which may stop
    names = list(figure().state())
    state = tab.evaluate("names => Object.fromEntries(names.map((n) => [n, model.get(n)]))", names)
    assert state == now(tab) != figure().state()
    for name, value in json.loads(json.dumps(figure().state())).items():
        tab.evaluate("([name, value]) => tell(name, value)", [name, value])
    assert now(tab) == json.loads(json.dumps(figure().state()))
    assert figure(**state).state() != figure().state(), "Python accepts what the reader did"
    tab.evaluate("stop()")
    assert tab.locator(".explorable-live").count() == 0
    assert tab.evaluate("listening()") == 0
    assert tab.said == []
    windows.give_back(tab)


def test_a_missing_browser_is_named_in_one_sentence(monkeypatch):
    monkeypatch.setattr("bookkit.site.browser.shutil.which", lambda name: None)
    monkeypatch.setattr("bookkit.site.browser._APPLICATIONS", ())
    with pytest.raises(RuntimeError, match=r"^No Chromium or Chrome was found: .*apt-get install"):
        find_chromium()


def test_two_figures_on_a_page_keep_their_choices_apart(show):
    """Each brings its own copy of the kit, so the groups' names must differ without a common count."""
    figures = [EXPLORABLES[name]() for name in ("attention_temperature", "signal_through_depth")]
    tab = show("".join(figure._repr_mimebundle_()[0]["text/html"] for figure in figures))
    tab.locator("[data-explorable]").nth(1).scroll_into_view_if_needed()
    tab.locator(".explorable-live").nth(1).wait_for()
    groups = tab.eval_on_selector_all(
        "fieldset.xp-group", "sets => sets.map(s => s.querySelectorAll('input:checked').length)"
    )
    assert len(groups) > 1
    assert set(groups) == {1}
