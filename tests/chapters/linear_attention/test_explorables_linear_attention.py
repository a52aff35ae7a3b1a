"""The interactive figure on memory: its numbers equal Python's, and a reader can move it."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from linear_attention_numbers import LETTERS, RULES, memory, values
from support import close, data, now, rows, run_parity

from derived.explorables import MatrixMemory
from derived.linear_attention import delta_rule, recall_error

WRITERS = RULES[:3]


# --------------------------------------------------------------------------------- numbers


def random_states():
    """States in general position, and those on the edges of what the figure allows."""
    rng = np.random.default_rng(0)
    states = [MatrixMemory().state()]
    for dim in (2, 3, 4, 8, 32):
        for count in (1, 2, 7, 12):
            order = "".join(rng.permutation(list(LETTERS))[:count])
            disk = {x: (rng.uniform(0, 0.7, 2)).round(2).tolist() for x in order[::3]}
            drawn = {"seed": int(rng.integers(1, 9999)), "dim": dim, "order": order}
            drawn |= {
                "decay": rng.uniform(),
                "beta": rng.uniform(0, 2),
                "scale": rng.uniform(0, 64),
            }
            states.append(MatrixMemory(places=disk, **drawn).state())
    same = {"A": (0.6, 0.8), "D": (0.6, 0.8), "B": (-0.6, -0.8)}
    for edge in (0.0, 1.0):
        states.append(MatrixMemory(places=same, decay=edge, beta=2 * edge, scale=64 * edge).state())
    states.append(MatrixMemory(dim=2, places={"A": (0.0, 0.0), "B": (0.2, 0.0)}).state())
    return states


def theory_points():
    grid = []
    for count in (1, 2, 5, 12):
        for dim in (2, 3, 8, 32):
            for age in range(count):
                point = {"count": count, "dim": dim, "age": age, "decay": 0.5, "beta": 1.0}
                grid.append({**point, "rule": "hebb"})
                grid += [{**point, "rule": "decay", "decay": x} for x in (0.0, 0.3, 0.9, 1.0)]
                grid += [{**point, "rule": "delta", "beta": x} for x in (0.0, 0.3, 1.0, 1.7, 2.0)]
    return grid


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    """Everything the front end computes for shared states, beside those states."""
    folder = tmp_path_factory.mktemp("module")
    drawn = [
        {"order": LETTERS, "dim": dim, "seed": seed, "places": {}}
        for dim in (2, 5, 32)
        for seed in range(1, 101)
    ]
    given = {"states": random_states(), "grid": theory_points(), "drawn": drawn}
    script = Path(__file__).with_name("explorables_linear_attention_parity.mjs")
    results = run_parity(script, folder, given, MatrixMemory.script)
    return {**results, "states": given["states"], "grid": given["grid"]}


def test_the_front_end_knows_the_same_rules_and_letters(numbers):
    assert (tuple(numbers["rules"]), numbers["letters"]) == (RULES, LETTERS)


@pytest.mark.parametrize("rule", WRITERS)
def test_states_equal_pythons(numbers, rule):
    for state, ours in zip(numbers["states"], numbers["memories"], strict=True):
        close(ours["matrices"][rule], memory(state, ours["keys"], rule)[0])


@pytest.mark.parametrize("rule", RULES)
def test_answers_and_errors_equal_pythons(numbers, rule):
    for state, ours in zip(numbers["states"], numbers["memories"], strict=True):
        _, answers, errors = memory(state, ours["keys"], rule)
        close(ours["answers"][rule], answers)
        close(ours["errors"][rule], errors)


def test_the_newest_answer_is_that_of_delta_rule(numbers):
    for state, ours in zip(numbers["states"], numbers["memories"], strict=True):
        k = torch.tensor(ours["keys"], dtype=torch.float64)[None, None]
        beta = torch.full_like(k[..., 0], state["beta"])
        out = delta_rule(k, k, values(state["order"])[None, None], beta, chunk=4)
        close(ours["answers"]["delta"][-1], out[0, 0, -1])


def test_the_recalled_letter_has_the_largest_part(numbers):
    for state, ours in zip(numbers["states"], numbers["memories"], strict=True):
        for rule in RULES:
            answers = memory(state, ours["keys"], rule)[1]
            for letter, answer in zip(ours["recalled"][rule], answers, strict=True):
                # Where two are equal but for rounding, either is right.
                assert answer[LETTERS.index(letter)] >= answer.max() - 1e-12


def test_theory_lines_equal_recall_error(numbers):
    expected = []
    for point in numbers["grid"]:
        parameters = {
            "hebb": {},
            "decay": {"decay": point["decay"]},
            "delta": {"beta": point["beta"]},
        }[point["rule"]]
        rule = "delta" if point["rule"] == "delta" else "hebb"
        errors = recall_error(point["count"], point["dim"], rule, **parameters)
        expected.append(errors[point["count"] - 1 - point["age"]])
    close(numbers["expected"], torch.stack(expected))


def test_softmaxs_bounds_are_the_stated_ones_and_hold(numbers):
    for state, ours in zip(numbers["states"], numbers["memories"], strict=True):
        k = torch.tensor(ours["keys"], dtype=torch.float64)
        count = len(k)
        if count == 1:
            assert ours["bounds"] == [0]
            continue
        nearest = (k @ k.mT).fill_diagonal_(-math.inf).amax(1)
        leak = (count - 1) * (-state["scale"] * (1 - nearest)).exp()
        close(ours["bounds"], 2 * (leak / (1 + leak)).square())
        errors = memory(state, ours["keys"], "softmax")[2]
        assert (errors <= torch.tensor(ours["bounds"], dtype=torch.float64) + 1e-12).all()


# --------------------------------------------------------------------------------- keys


def test_keys_have_length_one_and_lie_where_they_were_dragged(numbers):
    for state, ours in zip(numbers["states"], numbers["memories"], strict=True):
        keys = dict(zip(state["order"], np.array(ours["keys"]), strict=True))
        assert {key.shape for key in keys.values()} == {(state["dim"],)}
        for letter, key in keys.items():
            assert np.linalg.norm(key) == pytest.approx(1, abs=1e-12)
            place = np.array(state["places"].get(letter, key[:2]))
            on_rim = state["dim"] == 2 or np.linalg.norm(place) > 0.999
            if on_rim and place.any() and letter in state["places"]:
                np.testing.assert_allclose(key[:2], place / np.linalg.norm(place), atol=1e-12)
            elif place.any():
                np.testing.assert_allclose(key[:2], place, atol=1e-12)


def test_two_keys_at_one_place_of_the_rim_are_the_same(numbers):
    keys = dict(zip("ABCDEF", numbers["memories"][-2]["keys"], strict=True))
    assert keys["A"] == keys["D"] == [-x for x in keys["B"]]
    assert keys["A"][:2] == [0.6, 0.8] and not any(keys["A"][2:])


def test_a_key_that_is_only_touched_stays_the_same(numbers):
    for before, after in zip(numbers["drawn"], numbers["untouched"], strict=True):
        close(after, before)


def test_the_center_of_the_disk_is_no_direction_of_the_plane(numbers):
    keys = dict(zip("ABCDEF", numbers["memories"][-1]["keys"], strict=True))
    assert keys["A"] == keys["B"] == [1, 0]


def test_random_keys_are_uniform_on_the_sphere(numbers):
    """Within five standard errors, cosines of two keys have mean 0 and mean square 1/d."""
    for i, dim in enumerate((2, 5, 32)):
        keys = torch.tensor(numbers["drawn"][100 * i : 100 * (i + 1)], dtype=torch.float64)
        cosines = (keys[:, ::2] * keys[:, 1::2]).sum(-1).flatten()  # pairs share no key
        assert abs(cosines.mean()) < 5 * (1 / dim / len(cosines)) ** 0.5
        spread = 3 / (dim * (dim + 2)) - 1 / dim**2  # the variance of the square
        error = 5 * (spread / len(cosines)) ** 0.5
        assert abs(cosines.square().mean() - 1 / dim) < error


def test_a_key_keeps_its_direction_when_dimensions_are_added(numbers):
    low, high = (np.array(numbers["drawn"][i]) for i in (100, 200))
    part = high[:, :5]
    np.testing.assert_allclose(part / np.linalg.norm(part, axis=1, keepdims=True), low, atol=1e-12)


# --------------------------------------------------------------------------------- widget


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"rule": "oja"}, "rule must be one of hebb, decay, delta, softmax; got 'oja'"),
        ({"dim": 1}, "dim must be an integer from 2 to 32; got 1"),
        ({"dim": 2.0}, "dim must be an integer"),
        ({"seed": 0}, "seed must be an integer from 1 to 9999; got 0"),
        ({"order": ""}, "order must be different letters from A to L; got ''"),
        ({"order": "ABA"}, "order must be different letters"),
        ({"order": "AZ"}, "order must be different letters"),
        ({"order": ["A", "B"]}, "order must be different letters"),
        ({"places": {"A": (0.8, 0.8)}}, r"places\['A'\] must be \(x, y\) in the unit disk"),
        ({"places": {"A": (0.8,)}}, r"places\['A'\] must be"),
        ({"places": {"A": ("x", 0)}}, r"places\['A'\] must be"),
        ({"places": {"A": (math.nan, 0)}}, r"places\['A'\] must be"),
        ({"places": {"Z": (0, 0)}}, "places must be those of letters from A to L; got 'Z'"),
        ({"places": 3}, "places must be a dict"),
        ({"decay": 1.1}, "decay must be a number from 0 to 1; got 1.1"),
        ({"beta": -0.1}, "beta must be a number from 0 to 2; got -0.1"),
        ({"scale": True}, "scale must be a number from 0 to 64; got True"),
    ],
)
def test_a_wrong_state_is_explained(state, message):
    with pytest.raises(ValueError, match=message):
        MatrixMemory(**state)


def test_its_expected_errors_are_pythons():
    assert MatrixMemory().expected_errors == [5 / 8] * 6
    decay = MatrixMemory(rule="decay", decay=0.5, order="CAB").expected_errors
    assert decay == recall_error(3, 8, "hebb", decay=0.5).tolist()
    delta = MatrixMemory(rule="delta", beta=0.5, dim=3).expected_errors
    assert delta == recall_error(6, 3, "delta", beta=0.5).tolist()
    with pytest.raises(ValueError, match="rule must be hebb, decay or delta for expected_errors"):
        _ = MatrixMemory(rule="softmax").expected_errors


# --------------------------------------------------------------------------------- browser


def live(tab):
    return tab.locator(".explorable-live")


def keys_of(tab):
    state = now(tab)
    return dict(zip(state["order"], json.loads(live(tab).get_attribute("data-keys")), strict=True))


def row(tab, rule):
    return rows(tab)[rule]


def bars(tab):
    return {bar["letter"]: float(bar["error"]) for bar in data(tab, ".xp-error")}


def agrees_with_python(tab):
    """Compare every number that the page holds with Python's for the state that it shows."""
    state, keys = now(tab), list(keys_of(tab).values())
    held = rows(tab)
    assert tuple(held) == RULES
    for rule in RULES:
        _, answers, errors = memory(state, keys, rule)
        shown = held[rule]
        assert shown["value"] == pytest.approx(errors.mean().item(), abs=1e-9)
        best = [LETTERS[i] for i in answers.argmax(1)]
        assert shown["right"] == sum(a == b for a, b in zip(best, state["order"], strict=True))
        kept = len(keys) * (state["dim"] + 12) if rule == "softmax" else 12 * state["dim"]
        assert shown["kept"] == kept
    matrix, _, errors = memory(state, keys, state["rule"])
    assert list(bars(tab)) == list(state["order"])
    close(list(bars(tab).values()), errors)
    levels = json.loads(tab.locator(".xp-theory").get_attribute("data-levels"))
    if state["rule"] == "softmax":
        assert (errors <= torch.tensor(levels, dtype=torch.float64) + 1e-12).all()
    else:
        close(levels, MatrixMemory(**state).expected_errors)
        close(json.loads(live(tab).get_attribute("data-matrix")), matrix)
    return state


def pixels(tab, x, y):
    """Where a point of the disk, whose radius is 1 and whose y points up, lies in the window."""
    box = tab.locator(".xp-rim").bounding_box()
    return box["x"] + (1 + x) * box["width"] / 2, box["y"] + (1 - y) * box["height"] / 2


def drag(tab, start, end):
    tab.mouse.move(*start)
    tab.mouse.down()
    tab.mouse.move(*((s + e) / 2 for s, e in zip(start, end, strict=True)))
    tab.mouse.move(*end)
    tab.mouse.up()


def drag_key(tab, letter, x, y):
    drag(tab, pixels(tab, *keys_of(tab)[letter][:2]), pixels(tab, x, y))


def drag_bar(tab, letter, columns):
    start = tab.locator(f'.xp-tick-x:text-is("{letter}")').bounding_box()
    x, y = start["x"] + start["width"] / 2, start["y"] - 25
    width = tab.locator(".xp-frame .xp-grid path").first.bounding_box()["width"]
    drag(tab, (x, y), (x + columns * width / max(len(now(tab)["order"]), 6), y))


@pytest.fixture
def memory_tab(show):
    return lambda **options: show(figure=MatrixMemory, **options)


@pytest.mark.parametrize("rule", RULES)
def test_it_mounts_from_disk_with_pythons_numbers(memory_tab, rule):
    tab = memory_tab(rule=rule, order="DBACGFE", dim=5, beta=1.3, decay=0.7, scale=9.0)
    agrees_with_python(tab)
    assert not tab.locator(".derived-explorable img").is_visible()


def test_the_default_state_makes_the_point(memory_tab):
    """Hebb blends two keys that are alike, delta overwrites the older one, softmax tells them apart."""
    tab = memory_tab()
    state = agrees_with_python(tab)
    keys = list(keys_of(tab).values())
    assert keys[0] @ np.array(keys[5]) == pytest.approx(math.cos(math.radians(26)), abs=1e-4)
    hebb, delta, softmax = (memory(state, keys, rule) for rule in ("hebb", "delta", "softmax"))
    a, f = LETTERS.index("A"), LETTERS.index("F")
    assert hebb[1][0, [a, f]].tolist() == pytest.approx([1, 0.8988], abs=1e-4)
    assert min(hebb[2][0], hebb[2][5]) > 1 > 5 / 8 > max(hebb[2][1:5])
    assert delta[2][5] < 1e-12 and delta[1][0].argmax() == f
    assert softmax[2].max() < 0.01 and softmax[1].argmax(1).tolist() == [0, 1, 2, 3, 4, 5]
    tab.check('input[value="delta"]')
    agrees_with_python(tab)
    wrong = tab.locator(".xp-answers [data-wrong]")
    assert wrong.all_text_contents() == ["F"]


def test_the_words_say_what_the_caption_and_alt_text_say(memory_tab):
    tab = memory_tab()
    readout = tab.locator(".xp-readout").text_content()
    assert readout == "Asked for A, Hebb answers 1.00 A + 0.90 F + 0.41 E + …, error 1.08."
    assert {letter: round(error, 2) for letter, error in bars(tab).items()}["F"] == 1.15
    assert max(error for letter, error in bars(tab).items() if letter not in "AF") < 0.51
    means = {rule: f"{row(tab, rule)['value']:.2f}" for rule in RULES}
    assert means == {"hebb": "0.60", "decay": "0.47", "delta": "0.46", "softmax": "0.00"}
    assert [row(tab, rule)["kept"] for rule in RULES] == [96, 96, 96, 120]
    for number in ("1.00", "0.90", "1.08", "1.15", "0.51", "0.60", "0.47", "0.46", "96", "120"):
        assert number in MatrixMemory.alt


def test_the_mouse_drags_keys(memory_tab):
    tab = memory_tab()
    drag_key(tab, "C", 0.3, -0.4)
    assert agrees_with_python(tab)["places"]["C"] == [0.3, -0.4]
    assert tab.locator(".xp-readout b").text_content() == "C", "what was touched is asked for"
    drag_key(tab, "C", 1.2, 0.0)
    assert agrees_with_python(tab)["places"]["C"] == [1, 0], "the rim holds it"


def test_a_key_dragged_onto_another_on_the_rim_becomes_the_same(memory_tab):
    tab = memory_tab(rule="delta")
    place = now(tab)["places"]["A"]
    turn = math.radians(2)
    x = place[0] * math.cos(turn) - place[1] * math.sin(turn)
    y = place[0] * math.sin(turn) + place[1] * math.cos(turn)
    drag_key(tab, "F", x, y)
    assert agrees_with_python(tab)["places"]["F"] == place
    assert bars(tab)["F"] == pytest.approx(0, abs=1e-12)
    assert bars(tab)["A"] == pytest.approx(2, abs=1e-6), "the answer is the other letter"


def test_in_two_dimensions_keys_stay_on_the_circle(memory_tab):
    tab = memory_tab(dim=2, order="AB", places={"A": (1, 0), "B": (0, 1)})
    assert bars(tab) == {"A": 0, "B": 0}
    drag_key(tab, "B", 0.5, 0.5)
    state = agrees_with_python(tab)
    assert state["places"]["B"] == pytest.approx([0.7071, 0.7071])
    assert bars(tab)["A"] == pytest.approx(0.5, abs=1e-3)


def test_bars_are_dragged_into_another_order(memory_tab):
    tab = memory_tab(rule="delta")
    drag_bar(tab, "A", 5)
    assert agrees_with_python(tab)["order"] == "BCDEFA"
    assert bars(tab)["A"] == pytest.approx(0, abs=1e-12) and bars(tab)["F"] > 1
    drag_bar(tab, "E", -2)
    assert agrees_with_python(tab)["order"] == "BECDFA"
    drag_bar(tab, "B", -9)
    assert now(tab)["order"] == "BECDFA"


def test_the_order_matters_not_to_hebb(memory_tab):
    tab = memory_tab()
    before = bars(tab)
    drag_bar(tab, "A", 5)
    assert now(tab)["order"] == "BCDEFA"
    assert bars(tab) == pytest.approx(before)


FOCUSED = """() => {
  const { activeElement: node } = document;
  const { handle, action, preset } = node.dataset;
  return node === document.body ? null : handle ?? action ?? preset ?? node.value;
}"""


def test_the_keyboard_alone_is_enough(memory_tab):
    tab = memory_tab(rule="delta")
    tab.keyboard.press("Tab")
    names = []
    while name := tab.evaluate(FOCUSED):
        names.append(name)
        tab.keyboard.press("Tab")
    assert names[:6] == list("ABCDEF")
    assert {"delta", "earlier", "later", "draw", "reset", "right angle"} <= set(names)
    tab.focus('[data-handle="B"]')
    assert tab.locator(".xp-readout b").text_content() == "B"
    x, y = keys_of(tab)["B"][:2]
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("Shift+ArrowDown")
    state = agrees_with_python(tab)
    assert state["places"]["B"] == pytest.approx([x + 0.05, y - 0.25], abs=0.011)
    said = tab.locator('[data-handle="B"]').get_attribute("aria-valuetext")
    error = f"{bars(tab)['B']:.2f}"
    assert said.startswith("x ") and said.endswith(f"read error {error}")
    tab.focus('[data-action="later"]')
    tab.keyboard.press("Enter")
    assert agrees_with_python(tab)["order"] == "ACBDEF"
    tab.focus('[data-action="earlier"]')
    for _ in range(4):
        tab.keyboard.press("Enter")
    assert now(tab)["order"] == "BACDEF", "the first stays the first"
    tab.focus('input[value="delta"]')
    tab.keyboard.press("ArrowDown")
    assert agrees_with_python(tab)["rule"] == "softmax"


def test_a_key_slides_along_the_rim_by_keyboard(memory_tab):
    tab = memory_tab()
    tab.focus('[data-handle="A"]')
    angles = []
    for _ in range(5):
        tab.keyboard.press("ArrowUp")
        x, y = now(tab)["places"]["A"]
        angles.append(math.degrees(math.atan2(y, x)))
        assert math.hypot(x, y) == pytest.approx(1, abs=1e-4)
    assert angles == sorted(angles) and angles[-1] > 30


def test_what_changes_is_announced(memory_tab):
    tab = memory_tab()
    tab.check('input[value="delta"]')
    tab.locator("[data-announcer]").filter(
        has_text="delta: mean error 0.46, 5 of 6 recalled. Asked for A, delta answers 0.90 F"
    ).wait_for(state="attached")


def test_touch_drags_keys_and_bars_and_leaves_the_page_where_it_is(memory_tab):
    tab = memory_tab(width=360, touch=True)
    tab.evaluate("document.body.style.paddingBottom = '2000px'")
    touch = tab.context.new_cdp_session(tab)

    def swipe(start, end):
        for kind, share in (("Start", 0), ("Move", 0.3), ("Move", 0.6), ("Move", 1)):
            x, y = (s + share * (e - s) for s, e in zip(start, end, strict=True))
            points = [{"x": x, "y": y}]
            touch.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    swipe(pixels(tab, *keys_of(tab)["C"][:2]), pixels(tab, -0.5, -0.5))
    assert now(tab)["places"]["C"] == pytest.approx([-0.5, -0.5], abs=0.011)
    assert tab.evaluate("scrollY") == 0
    tab.locator(".xp-sortable").scroll_into_view_if_needed()
    before = tab.evaluate("scrollY")
    box = tab.locator(".xp-error").first.bounding_box()
    start = box["x"] + box["width"] / 2, box["y"] + 5
    swipe(start, (start[0] + 150, start[1] + 2))
    assert agrees_with_python(tab)["order"][0] != "A"
    assert tab.evaluate("scrollY") == before


def test_fewer_and_more_pairs_and_dimensions(memory_tab):
    tab = memory_tab(rule="delta")
    pairs, dimension = (tab.get_by_label(name) for name in ("pairs", "dimension"))
    pairs.fill("9")
    assert agrees_with_python(tab)["order"] == "ABCDEFGHI"
    pairs.fill("3")
    assert agrees_with_python(tab)["order"] == "ABC"
    pairs.fill("6")
    dimension.fill("2")
    state = agrees_with_python(tab)
    assert state["places"] == MatrixMemory().state()["places"] | {
        letter: list(place) for letter, place in MatrixMemory().places.items()
    }, "dragged keys stay where they were"
    dimension.fill("32")
    agrees_with_python(tab)
    pairs.fill("1")
    agrees_with_python(tab)


@pytest.mark.parametrize(
    ("rule", "label", "value", "name"),
    [
        ("decay", "decay γ", "0.5", "decay"),
        ("delta", "step β", "1.5", "beta"),
        ("softmax", "scale s", "8", "scale"),
    ],
)
def test_each_rule_has_its_parameter(memory_tab, rule, label, value, name):
    tab = memory_tab()
    assert tab.locator(".xp-knob .xp-slider:visible").count() == 0
    tab.check(f'input[value="{rule}"]')
    before = row(tab, rule)["value"]
    tab.get_by_role("slider", name=label, exact=True).fill(value)
    assert agrees_with_python(tab)[name] == float(value)
    assert row(tab, rule)["value"] != before
    assert tab.locator(".xp-knob .xp-slider:visible").count() == 1


@pytest.mark.parametrize(
    "preset",
    ["two alike", "one key, two values", "right angle", "too many pairs", "room to spare"],
)
def test_presets_show_what_they_say(memory_tab, preset):
    tab = memory_tab(rule="delta", order="CA")
    tab.click(f'[data-preset="{preset}"]')
    state = agrees_with_python(tab)
    keys = list(keys_of(tab).values())
    errors = {rule: memory(state, keys, rule)[2] for rule in RULES}
    if preset == "right angle":
        close(errors["hebb"], [0, 0])
        close(errors["delta"], [0, 0])
    elif preset == "two alike":
        default = json.loads(json.dumps(MatrixMemory(rule="delta").state()))
        assert state == default
    elif preset == "one key, two values":
        assert errors["delta"][5] < 1e-12 and errors["delta"][0] == pytest.approx(2, abs=1e-9)
        assert errors["softmax"][[0, 5]].tolist() == pytest.approx([0.5, 0.5], abs=1e-3)
    elif preset == "too many pairs":
        assert len(keys) > state["dim"] and errors["hebb"].mean() > 1
        assert row(tab, "hebb")["right"] > row(tab, "delta")["right"], "delta is not always better"
    elif preset == "room to spare":
        assert len(keys) < state["dim"] and errors["hebb"].mean() < 0.3


def test_new_keys_and_reset(memory_tab):
    tab = memory_tab()
    before = keys_of(tab)
    tab.click('[data-action="draw"]')
    state = agrees_with_python(tab)
    assert state["seed"] == MatrixMemory().seed + 1 and state["places"] == {}
    assert all(keys_of(tab)[letter] != before[letter] for letter in "ABCDEF")
    tab.click('[data-action="reset"]')
    assert now(tab) == json.loads(json.dumps(MatrixMemory().state()))
    assert keys_of(tab) == before


def test_changing_the_rule_moves_nothing(memory_tab):
    for width, touch in ((900, False), (360, True)):
        tab = memory_tab(width=width, touch=touch)
        heights = set()
        for rule in RULES:
            tab.check(f'input[value="{rule}"]')
            heights.add(
                tab.locator(".xp-stage, .xp-sortable, .xp-maps").evaluate_all(
                    "nodes => nodes.map((node) => node.getBoundingClientRect().top + scrollY).join()"
                )
            )
        assert len(heights) == 1
