"""The interactive figure "push a box": its numbers equal Python's, and a reader can move it."""

import json
import re
from itertools import product
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from support import WIDGET, close, data, now, rows, run_parity, wait_until

from derived.explorables import PushABox
from derived.iou import box_loss, from_cxcywh, iou
from derived.iou.losses import Kind, Relative

KINDS = ("iou", "giou", "diou", "ciou", "eiou")


KINDS += ("focal_eiou", "siou", "alpha_iou", "wiou", "mpdiou", "inner_iou")


TOGGLES = {
    "detachEnclosing": False,
    "detachAlpha": True,
    "detachFocus": True,
}  # box_loss's defaults


FLAGS = [dict(zip(TOGGLES, flags, strict=True)) for flags in product((False, True), repeat=3)]


CONCERNED = {
    "detachEnclosing": ("giou", "diou", "ciou", "eiou", "focal_eiou", "siou"),
    "detachAlpha": ("ciou",),
    "detachFocus": ("focal_eiou",),
}


# Each loss with each setting of the toggles that concern it, in both coordinates.
DESCENTS = [
    {"kind": kind, "coordinates": coordinates, **flags}
    for coordinates in ("xyxy", "cxcywh")
    for kind in KINDS
    for flags in FLAGS
    if all(flags[t] == TOGGLES[t] or kind in CONCERNED[t] for t in TOGGLES)
]


def boxes(*corners):
    """Return boxes from two opposite corners each."""
    ends = np.sort(np.stack(corners, axis=1), axis=1)
    return ends.reshape(len(ends), 4)


def random_pairs():
    """Pairs in general position, by kind of position, and pairs on the edges of the definitions."""
    rng = np.random.default_rng(0)
    free = boxes(rng.uniform(0, 4, (160, 2)), rng.uniform(0, 4, (160, 2)))
    apart = boxes(rng.uniform(0, 1, (40, 2)), rng.uniform(0, 1, (40, 2)))
    away = apart[::-1] + np.tile(rng.uniform(1.1, 5, (40, 1)) * [1, 0.3], 2)
    outer = boxes(rng.uniform(0, 1, (40, 2)), rng.uniform(3, 4, (40, 2)))
    inner = boxes(rng.uniform(1, 2, (40, 2)), rng.uniform(2, 3, (40, 2)))
    general = [
        (free[:80], free[80:]),
        (apart, away),
        (inner, outer),
        (outer, inner),
        (free[:20] * 1e-6, free[20:40] * 1e-6),
        (free[40:60] * 1e6, free[60:80] * 1e6),
    ]
    # Corners on a grid of five lines: aligned, touching, equal and empty boxes, and points.
    grid = boxes(rng.integers(0, 5, (400, 2)), rng.integers(0, 5, (400, 2))).astype(float)
    points = np.array([[1.0, 1, 1, 1], [2, 1, 2, 1], [1, 1, 1, 1]])
    # Coincident centers, with other sizes, and offsets along one axis only.
    same = inner.copy()
    same += np.tile((outer[:, :2] + outer[:, 2:] - inner[:, :2] - inner[:, 2:]) / 2, 2)
    halves = np.round(same * 8) / 8  # so that the centers coincide to the last bit
    around = halves + np.array([-1, -0.5, 1, 0.5])
    edge = [
        (halves, around),
        (around, halves),
        (halves, halves + [0, 0.25, 0, 0.25]),
        (halves, around + [5, 0, 5, 0]),
        (grid[:200], grid[200:]),
        (grid[:20], grid[:20]),
        (outer[:5], outer[:5]),
        (points, points[[0, 0, 1]]),
    ]
    return np.concatenate([np.stack(pair, 1) for pair in general + edge])


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    """Everything the front end computes on shared pairs, beside those pairs."""
    pairs = random_pairs()
    rng = np.random.default_rng(1)
    starts = boxes(rng.uniform(0, 6, (6, 2)), rng.uniform(0, 4, (6, 2)))
    targets = boxes(rng.uniform(0, 6, (6, 2)), rng.uniform(0, 4, (6, 2)))
    special = [
        [[1.5, 2, 2.5, 3], [4.5, 2, 5.5, 3]],  # the figure's default state, which has ties
        [[2, 2, 2.1, 2.1], [2.04, 2.04, 2.06, 2.06]],  # so small that a step would turn it over
    ]
    runs = np.concatenate([np.stack([starts, targets], 1), special])
    field = {"width": 6, "height": 4, "columns": 12, "rows": 8}
    folder = tmp_path_factory.mktemp("module")
    given = {
        "pairs": pairs.tolist(),
        "flags": FLAGS,
        "runs": runs.tolist(),
        "descents": DESCENTS,
        "field": field,
    }
    script = Path(__file__).with_name("explorables_iou_parity.mjs")
    return {
        **run_parity(script, folder, given, "iou.js"),
        "pairs": torch.tensor(pairs),
        "runs": runs,
        "grid": field,
    }


def python_loss(a, b, kind, flags=None):
    """Return the losses of pairs as `derived.iou` has them, on the figure's stage."""
    flags = {re.sub("[A-Z]", lambda m: f"_{m[0].lower()}", k): v for k, v in (flags or {}).items()}
    image = {"image_size": (7, 5)} if kind == "mpdiou" else {}
    return box_loss(a, b, kind, reduction="none", **flags, **image)


def python_gradient(pairs, kind, flags):
    a = pairs[:, 0].clone().requires_grad_()
    return torch.autograd.grad(python_loss(a, pairs[:, 1], kind, flags).sum(), a)[0]


def test_the_front_end_knows_the_same_losses(numbers):
    assert tuple(numbers["kinds"]) == KINDS == get_args(Kind) + get_args(Relative)


@pytest.mark.parametrize("kind", KINDS)
def test_values_equal_pythons(numbers, kind):
    pairs = numbers["pairs"]
    close(numbers["losses"][kind], python_loss(pairs[:, 0], pairs[:, 1], kind))
    close(numbers["iou"], iou(pairs[:, 0], pairs[:, 1]))


@pytest.mark.parametrize("flags", range(8))
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_equal_autograds(numbers, kind, flags):
    expected = python_gradient(numbers["pairs"], kind, FLAGS[flags])
    close(numbers["gradients"][kind][flags], expected)


@pytest.mark.parametrize("kind", KINDS)
def test_flags_have_pythons_defaults(numbers, kind):
    assert numbers["plain"][kind] == numbers["gradients"][kind][FLAGS.index(TOGGLES)]


def test_center_and_size_have_the_gradient_of_the_chain_rule(numbers):
    centered = torch.tensor([5.0, 6, 2, 4], dtype=torch.float64, requires_grad=True)
    edges = from_cxcywh(centered) @ torch.tensor([1.0, 10, 100, 1000], dtype=torch.float64)
    assert numbers["centered"] == torch.autograd.grad(edges, centered)[0].tolist()


@pytest.mark.parametrize("index", range(len(DESCENTS)))
def test_every_step_of_a_descent_is_the_stated_one(numbers, index):
    """One step down from each visited box, so that rounding at a kink cannot grow."""
    decay = torch.tensor([1.0] * 160 + [0.1] * 20 + [0.01] * 20, dtype=torch.float64)
    kind, coordinates, *flags = DESCENTS[index].values()
    flags = dict(zip(TOGGLES, flags, strict=True))
    for trail, (start, target) in zip(numbers["trails"][index], numbers["runs"], strict=True):
        trail = torch.tensor(trail, dtype=torch.float64)
        target = torch.tensor(target).expand(200, 4)
        assert trail.shape == (201, 4)
        close(start.tolist(), trail[0])
        here = trail[:-1]
        g = python_gradient(torch.stack([here, target], 1), kind, flags)
        rate = (0.1 * decay * (2 - iou(here, target)))[:, None]
        center, size = (here[:, :2] + here[:, 2:]) / 2, here[:, 2:] - here[:, :2]
        if coordinates == "cxcywh":
            center = center - rate * (g[:, :2] + g[:, 2:])
            size = size - rate * (g[:, 2:] - g[:, :2]) / 2
        else:
            there = here - rate * g
            center, size = (there[:, :2] + there[:, 2:]) / 2, there[:, 2:] - there[:, :2]
        size = size.clamp(min=0.01)
        close(trail[1:].tolist(), torch.cat([center - size / 2, center + size / 2], 1))


def trails_of(numbers, kind, coordinates="xyxy", **flags):
    """Return the descents from the shared starts with one loss."""
    wanted = {"kind": kind, "coordinates": coordinates, **TOGGLES, **flags}
    return numbers["trails"][DESCENTS.index(wanted)]


def test_descent_takes_as_many_steps_as_asked_and_goes_by_edges(numbers):
    assert len(numbers["short"]) == 4
    full = trails_of(numbers, "diou")[0]
    assert numbers["unspecified"] == full
    moved = np.subtract(numbers["short"][1], numbers["short"][0])
    np.testing.assert_allclose(2 * moved, np.subtract(full[1], full[0]), atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_field_is_the_loss_with_the_box_centered_in_each_cell(numbers, kind):
    a, b = torch.tensor(numbers["runs"][0])
    grid = numbers["grid"]
    y, x = torch.meshgrid(
        (torch.arange(grid["rows"], dtype=torch.float64) + 0.5) / 2,
        (torch.arange(grid["columns"], dtype=torch.float64) + 0.5) / 2,
        indexing="ij",
    )
    centers = torch.stack([x, y], -1).reshape(-1, 2)
    half = (a[2:] - a[:2]) / 2
    there = torch.cat([centers - half, centers + half], 1)
    close(numbers["fields"][kind], python_loss(there, b, kind))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": (3, 1, 2, 2)}, r"a must have x1 < x2 in \[0, 7\].*got \(3.0, 1.0, 2.0, 2.0\)"),
        ({"b": (1, 1, 2, 9)}, r"b must have x1 < x2"),
        ({"a": (1, 2, 3)}, "a must be four finite numbers"),
        ({"a": (1, 2, 3, float("nan"))}, "a must be four finite numbers"),
        ({"a": 5}, "a must be four finite numbers .* got 5"),
        ({"kind": "l1"}, "kind must be one of iou, giou, .*, inner_iou; got 'l1'"),
        ({"coordinates": "xywh"}, "coordinates must be one of xyxy, cxcywh; got 'xywh'"),
        ({"detach_focus": 1}, "detach_focus must be True or False; got 1"),
        ({"detach_alpha": "no"}, "detach_alpha must be True or False; got 'no'"),
        ({"step": 201}, "step must be an integer from 0 to 200; got 201"),
        ({"step": 1.5}, "step must be an integer"),
    ],
)
def test_a_wrong_state_is_explained(state, message):
    with pytest.raises(ValueError, match=message):
        PushABox(**state)


def test_state_can_be_set_later_and_a_wrong_one_leaves_it():
    figure = PushABox()
    figure.a = [1, 1, 2, 2]
    with pytest.raises(ValueError, match="a must have"):
        figure.a = (2, 2, 1, 1)
    assert figure.a == (1.0, 1.0, 2.0, 2.0)


@pytest.mark.parametrize("kind", KINDS)
def test_its_loss_is_pythons(kind):
    figure = PushABox(a=(1, 1, 3, 2), b=(2, 1.5, 4, 4), kind=kind)
    a, b = torch.tensor([figure.a, figure.b], dtype=torch.float64)
    assert figure.loss == python_loss(a, b, kind).item()


def row(tab, kind, name):
    return rows(tab)[kind][name]


def pixels(tab, x, y):
    """Where a point of the stage, in its units, lies in the window."""
    box = tab.locator(".xp-stage").bounding_box()
    border = 1
    unit = (box["width"] - 2 * border) / 7
    return box["x"] + border + x * unit, box["y"] + border + y * unit


def drag(tab, start, end):
    tab.mouse.move(*pixels(tab, *start))
    tab.mouse.down()
    tab.mouse.move(*pixels(tab, *((s + e) / 2 for s, e in zip(start, end, strict=True))))
    tab.mouse.move(*pixels(tab, *end))
    tab.mouse.up()


def forces(tab):
    """The values of the arrows that are drawn, by name."""
    return {arrow["force"]: float(arrow["value"]) for arrow in data(tab, "[data-force]")}


def agrees_with_python(tab):
    """Compare every number that the page holds with Python's for the state that it shows."""
    state = now(tab)
    a, b = torch.tensor([state["a"], state["b"]], dtype=torch.float64)
    flags = {
        "detachEnclosing": state["detach_enclosing"],
        "detachAlpha": state["detach_alpha"],
        "detachFocus": state["detach_focus"],
    }
    edges = state["coordinates"] == "xyxy"
    held = rows(tab)
    assert tuple(held) == KINDS
    for kind in KINDS:
        assert held[kind]["value"] == pytest.approx(python_loss(a, b, kind).item(), abs=1e-9)
        g = python_gradient(torch.stack([a, b])[None], kind, flags)[0]
        if not edges:
            g = torch.cat([g[:2] + g[2:], (g[2:] - g[:2]) / 2])
        assert held[kind]["gradientNorm"] == pytest.approx(g.norm().item(), abs=1e-9)
        if kind != state["kind"]:
            continue
        expected = dict(
            zip(("x1", "y1", "x2", "y2") if edges else "xywh", (-g).tolist(), strict=True)
        )
        if not edges:
            expected["center"] = g[:2].norm().item()
            drawn = ["center", *(name for name in "wh" if abs(expected[name]) > 1e-12)]
            expected = {name: expected[name] for name in drawn}
        shown = {name: value for name, value in forces(tab).items() if name}
        assert shown == pytest.approx(expected, abs=1e-9)
    return state


def test_a_figure_mounts_from_disk_with_pythons_numbers(show):
    tab = show(a=(1, 1, 3.5, 2), b=(2, 1.5, 4, 4), kind="ciou", detach_alpha=False)
    agrees_with_python(tab)
    assert not tab.locator(".derived-explorable img").is_visible()
    assert tab.locator("figcaption").is_visible()
    assert not tab.locator(".explorable-note").is_visible()


def test_the_default_state_makes_the_point(show):
    """GIoU pushes both the near and the far edge of A outward."""
    tab = show()
    assert row(tab, "giou", "value") == 1.5
    assert forces(tab) == pytest.approx({"x1": -1 / 8, "y1": 0, "x2": 1 / 4, "y2": 0}, abs=1e-12)


def test_the_mouse_moves_and_resizes(show):
    tab = show()
    drag(tab, (2, 2.5), (2.5, 2))
    assert agrees_with_python(tab)["a"] == [2, 1.5, 3, 2.5]
    drag(tab, (3, 2.5), (3.75, 3))
    assert agrees_with_python(tab)["a"] == [2, 1.5, 3.75, 3]
    drag(tab, (4.5, 2), (4, 1))
    assert agrees_with_python(tab)["b"] == [4, 1, 5.5, 3]
    drag(tab, (5, 2), (9, 9))
    assert now(tab)["b"] == [5.5, 3, 7, 5], "a box stays on the stage"


def test_a_box_under_another_can_still_be_dragged(show):
    tab = show(a=(1, 1, 6, 4), b=(3, 2, 4, 3))
    drag(tab, (3.5, 2.5), (4, 2.5))
    assert now(tab)["b"] == [3.5, 2, 4.5, 3]
    drag(tab, (2, 1.5), (2.5, 1.5))
    assert now(tab)["a"] == [1.5, 1, 6.5, 4]


FOCUSED = """() => {
  const { activeElement: node } = document;
  const { handle, action, preset } = node.dataset;
  return node === document.body ? null : handle ?? action ?? preset ?? node.value;
}"""


def test_the_keyboard_alone_is_enough(show):
    tab = show()
    tab.keyboard.press("Tab")
    names = []
    while name := tab.evaluate(FOCUSED):
        names.append(name)
        tab.keyboard.press("Tab")
    assert names[:4] == ["a-move", "a-size", "b-move", "b-size"]
    assert {"giou", "on", "xyxy", "run", "reset", "nested"} <= set(names)
    tab.focus('[data-handle="a-move"]')
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("Shift+ArrowUp")
    assert now(tab)["a"] == [1.6, 1.5, 2.6, 2.5]
    said = tab.locator('[data-handle="a-move"]').get_attribute("aria-valuetext")
    assert said == "center at x 2.10, y 2.00"
    tab.focus('[data-handle="b-size"]')
    tab.keyboard.press("ArrowLeft")
    assert now(tab)["b"] == [4.5, 2, 5.4, 3]
    tab.focus('input[value="giou"]')
    tab.keyboard.press("ArrowDown")
    assert agrees_with_python(tab)["kind"] == "diou"


def test_a_focused_handle_is_seen(show):
    tab = show()
    for name in ("a-move", "b-size"):
        tab.focus(f'[data-handle="{name}"]')
        tab.keyboard.press("ArrowLeft")
        outline = tab.locator(f'[data-handle="{name}"]').evaluate(
            "node => getComputedStyle(node).outlineStyle"
        )
        assert outline == "solid"


def test_touch_drags_a_box_and_leaves_the_page_where_it_is(show):
    tab = show(width=360, touch=True)
    tab.evaluate("document.body.style.paddingBottom = '2000px'")
    touch = tab.context.new_cdp_session(tab)

    def send(kind, *points):
        points = [{"x": x, "y": y} for x, y in points]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    send("touchStart", pixels(tab, 2, 2.5))
    for share in (0.25, 0.5, 0.75, 1):
        send("touchMove", pixels(tab, 2 + 0.5 * share, 2.5 - 1.5 * share))
    send("touchEnd")
    assert now(tab)["a"] == [2, 0.5, 3, 1.5]
    assert tab.evaluate("scrollY") == 0


def test_toggles_change_the_gradient_and_not_the_loss(show):
    tab = show(kind="diou")
    before = row(tab, "diou", "value"), row(tab, "diou", "gradientNorm")
    tab.get_by_label("detach the hull").check()
    state = agrees_with_python(tab)
    assert state["detach_enclosing"] is True
    assert row(tab, "diou", "value") == before[0] and row(tab, "diou", "gradientNorm") > before[1]
    shown = forces(tab)
    assert shown["x1"] == pytest.approx(shown["x2"]), "with c² detached the box keeps its width"


# Whether a toggle is disabled, and the arrows after it was clicked all the same; then it is put back.
CLICKED_ANYWAY = """(node) => {
  const click = () => { node.disabled = false; node.click(); };
  const { disabled } = node;
  click();
  const arrows = [...document.querySelectorAll("[data-force]")].map(({ dataset }) => dataset);
  const forces = Object.fromEntries(arrows.map(({ force, value }) => [force, Number(value)]));
  click();
  return [disabled, forces];
}"""


def test_a_toggle_that_changes_nothing_is_disabled(show):
    tab = show(a=(2, 1, 3.5, 3), b=(2.5, 1.5, 4.5, 3))
    labels = {"detach_enclosing": "the hull", "detach_alpha": "α", "detach_focus": "the focus"}
    for kind in KINDS:
        tab.locator(f'input[value="{kind}"]').check()
        before = forces(tab)
        for name, label in labels.items():
            disabled, after = tab.get_by_label(f"detach {label}").evaluate(CLICKED_ANYWAY)
            assert disabled == (after == pytest.approx(before, abs=1e-12)), (kind, name)
        assert forces(tab) == before


def test_center_and_size_change_arrows_norm_and_run(show, numbers):
    tab = show()
    tab.get_by_label("center and size").check()
    assert agrees_with_python(tab)["coordinates"] == "cxcywh"
    assert forces(tab) == pytest.approx({"": -3 / 16, "w": 3 / 16, "center": 1 / 8})
    tab.click('[data-action="run"]')
    target = torch.tensor([now(tab)["b"]], dtype=torch.float64)
    for kind in KINDS:
        last = torch.tensor([trails_of(numbers, kind, "cxcywh")[-2][-1]], dtype=torch.float64)
        assert row(tab, kind, "iou") == pytest.approx(iou(last, target).item(), abs=1e-12)
    assert row(tab, "giou", "iou") > 0.9, "the published simulation's coordinates inflate less"
    tab.get_by_label("edges").check()
    assert agrees_with_python(tab)["coordinates"] == "xyxy"


def test_a_run_draws_trails_and_reset_removes_them(show, numbers):
    tab = show()
    tab.click('[data-action="run"]')
    target = torch.tensor([now(tab)["b"]], dtype=torch.float64)
    for kind in KINDS:
        last = torch.tensor([trails_of(numbers, kind)[-2][-1]], dtype=torch.float64)
        assert row(tab, kind, "iou") == pytest.approx(iou(last, target).item(), abs=1e-12)
        line = tab.locator(f'[data-layer="trails"] [data-kind="{kind}"] polyline')
        points = 201 if kind in KINDS[:5] else 0
        assert len(line.get_attribute("points").split()) == points
    tab.get_by_label("detach the hull").check()
    assert row(tab, "iou", "iou") == 0 and row(tab, "diou", "iou") > 0.9
    assert row(tab, "wiou", "iou") > 0.9, "WIoU's hull is always detached"
    heading = tab.locator("thead th").last.text_content()
    assert heading == "IoU at step 200"
    tab.locator("[data-announcer]").filter(has_text="Force on A’s center").wait_for(
        state="attached"
    )
    drag(tab, (2, 2.5), (2, 1))
    assert now(tab)["step"] == 200, "trails follow the box that is dragged"
    tab.locator('input[value="siou"]').check()
    line = tab.locator('[data-layer="trails"] [data-kind="siou"] polyline')
    assert len(line.get_attribute("points").split()) == 201
    tab.click('[data-action="reset"]')
    assert now(tab) == json.loads(json.dumps(PushABox().state()))
    assert tab.locator('[data-layer="trails"] polyline').first.get_attribute("points") == ""


def test_the_end_of_a_run_is_announced(show):
    tab = show()
    tab.click('[data-action="run"]')
    said = tab.locator("[data-announcer]").filter(has_text="IoU after 200 steps")
    said.wait_for(state="attached")
    assert "EIoU loss: 0.78" in said.text_content() and "MPDIoU" not in said.text_content()


def test_a_run_is_animated_unless_motion_is_unwanted(show):
    tab = show()
    tab.emulate_media(reduced_motion="no-preference")
    tab.click('[data-action="run"]')
    wait_until(lambda: now(tab)["step"] > 0)
    assert tab.locator('[data-action="run"]').text_content() == "Stop"
    tab.click('[data-action="run"]')
    assert 0 < now(tab)["step"] < 200
    tab.locator('input[type="range"]').fill("120")
    assert now(tab)["step"] == 120


# The kinds of the rows that are seen.
SHOWN = """() => [...document.querySelectorAll("tr[data-kind][data-value]")]
  .filter((row) => row.checkVisibility()).map((row) => row.dataset.kind)"""


@pytest.mark.parametrize("touch", [False, True])
def test_relatives_fold_in_a_narrow_column_only_and_the_chosen_one_shows(show, touch):
    tab = show(width=360 if touch else 900, touch=touch, kind="wiou")
    tab.set_viewport_size({"width": 360, "height": 800})
    folded, unfolded = [*KINDS[:5], "wiou"], list(KINDS)
    assert tab.evaluate(SHOWN) == folded
    fold = tab.get_by_role("button", name="6 relatives")
    assert fold.get_attribute("aria-expanded") == "false"
    fold.click()
    assert fold.get_attribute("aria-expanded") == "true"
    assert tab.evaluate(SHOWN) == unfolded
    tab.set_viewport_size({"width": 900, "height": 800})
    assert not fold.is_visible() and tab.evaluate(SHOWN) == unfolded
    tab.set_viewport_size({"width": 360, "height": 800})
    fold.click()
    assert tab.evaluate(SHOWN) == folded
    # The arrow keys go through the losses that are shown.
    tab.locator('input[value="eiou"]').check()
    tab.keyboard.press("ArrowDown")
    assert agrees_with_python(tab)["kind"] == "iou"


@pytest.mark.parametrize(
    ("preset", "kinds", "force"),
    [
        ("far, on axis", ("iou", "alpha_iou", "inner_iou", "focal_eiou"), "none"),
        ("nested", ("iou", "giou", "alpha_iou", "inner_iou"), "size"),
        ("thin cross", ("diou", "siou", "wiou", "mpdiou"), "size"),
    ],
)
def test_presets_show_what_the_chapter_says(show, preset, kinds, force):
    """Neither of IoU's plateaus moves a box; DIoU does not move one whose center is right."""
    tab = show(a=(1, 1, 2, 2), b=(5, 3, 6, 4))
    for kind in kinds:
        tab.check(f'input[value="{kind}"]')
        tab.click(f'[data-preset="{preset}"]')
        assert agrees_with_python(tab)["kind"] == kind
        shown = forces(tab)
        x1, y1, x2, y2 = (shown[edge] for edge in ("x1", "y1", "x2", "y2"))
        assert [x1 + x2, y1 + y2] == pytest.approx([0, 0], abs=1e-12)
        assert (max(map(abs, (x1, x2, y1, y2))) > 1e-3) == (force == "size"), kind


def test_focal_eiou_drifts_off_unless_its_focus_is_detached(show):
    tab = show()
    tab.click('[data-preset="Focal-EIoU’s drift"]')
    state = agrees_with_python(tab)
    assert state["kind"] == "focal_eiou" and state["detach_focus"] is False
    a, b = torch.tensor([[state["a"]], [state["b"]]], dtype=torch.float64)
    assert iou(a, b).item() == pytest.approx(1 / 8)
    assert all(value < 0 for value in (forces(tab)["x1"], forces(tab)["x2"], forces(tab)["y1"]))
    tab.click('[data-action="run"]')
    assert row(tab, "focal_eiou", "iou") == 0
    tab.get_by_label("detach the focus").check()
    assert row(tab, "focal_eiou", "iou") > 0.99


def test_siou_leaves_the_axis_where_diou_returns_to_it(show):
    tab = show()
    tab.click('[data-preset="SIoU’s angle"]')
    state = agrees_with_python(tab)
    assert state["kind"] == "siou" and state["a"][1] < state["b"][1], "A stands a little higher"
    siou = forces(tab)
    assert siou["y1"] == pytest.approx(siou["y2"]) and siou["y1"] < -0.01, "and is sent up"
    tab.locator('input[value="diou"]').check()
    assert forces(tab)["y1"] > 0


def test_small_boxes_feel_mpdiou_less_and_diou_more(show):
    tab = show(detach_enclosing=True)
    tab.click('[data-preset="far, on axis"]')
    large = {kind: row(tab, kind, "gradientNorm") for kind in ("mpdiou", "diou")}
    tab.click('[data-preset="MPDIoU, small boxes"]')
    assert agrees_with_python(tab)["kind"] == "mpdiou"
    # The same situation at half the size.
    assert row(tab, "mpdiou", "gradientNorm") == pytest.approx(large["mpdiou"] / 2)
    assert row(tab, "diou", "gradientNorm") == pytest.approx(large["diou"] * 2)
    tab.click('[data-action="run"]')
    assert row(tab, "mpdiou", "iou") == 0 and row(tab, "diou", "iou") > 0.9


CORNER = """() => {
  const copy = document.createElement("canvas");
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(document.querySelector(".xp-canvas"), 0, 0);
  return context.getImageData(3, 3, 1, 1).data[0];
}"""


def test_the_theme_is_followed_at_once(show):
    tab = show()
    assert tab.evaluate(CORNER) > 140
    tab.evaluate("document.documentElement.dataset.theme = 'dark'")
    assert tab.evaluate(CORNER) < 100
    tab.evaluate("delete document.documentElement.dataset.theme")
    assert tab.evaluate(CORNER) > 140
    tab.evaluate("document.body.dataset.jpThemeLight = 'false'")
    assert tab.evaluate(CORNER) < 100
    tab.evaluate("delete document.body.dataset.jpThemeLight")
    tab.evaluate("document.body.classList.add('vscode-dark')")
    color = tab.locator(".explorable-live").evaluate("node => getComputedStyle(node).color")
    assert color == "rgb(232, 235, 239)"


def test_a_notebooks_widget_hears_and_is_heard(windows):
    tab = windows.blank()
    tab.add_style_tag(content=PushABox._css)
    tab.evaluate(WIDGET, [PushABox._esm, PushABox().state()])
    tab.locator(".explorable-live").wait_for()
    tab.evaluate("tell('kind', 'diou')")
    assert agrees_with_python(tab)["kind"] == "diou"
    drag(tab, (2, 2.5), (2.5, 2))
    tab.wait_for_function("log.saves > 0", polling=50)  # not by frames, which may stop
    assert tab.evaluate("model.get('a')") == [2, 1.5, 3, 2.5]
    assert PushABox(**now(tab)).loss == pytest.approx(row(tab, "diou", "value"), abs=1e-9)
    tab.evaluate("stop()")
    assert tab.locator(".explorable-live").count() == 0
    assert tab.evaluate("listening()") == 0
    windows.give_back(tab)
