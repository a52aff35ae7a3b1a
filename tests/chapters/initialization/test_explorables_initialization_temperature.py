"""The interactive figures on initialization: their numbers equal Python's, and a reader can move them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from initialization_numbers import temperature as expected_table
from initialization_numbers import temperature_draws
from support import close, mulberry32, normals, now, rows, run_parity, wait_until

from derived.explorables import AttentionTemperature
from derived.initialization import rem_entropy, softmax_jacobian_norm

SIGMAS = [0.03, 1.0, 4.0, 30.0, 64.0]
DRAWS, MOST_KEYS = 200, 1024


# --------------------------------------------------------------------------------- temperature


@pytest.fixture(scope="module")
def temperature(tmp_path_factory):
    """Everything that "temperature of attention" computes, beside what it was given."""
    rng = np.random.default_rng(0)
    rows = [rng.normal(size=n).tolist() for n in (2, 8, 8, 100, 1024)]
    rows += [[0.0] * 8, [0.0, 0.0, -50.0], [3.0, 3.0, 3.0, -1.0], [0.0, 40.0], [-1000.0, 1000.0]]
    averages = [[n, sigma] for n in (8, 512, 1024) for sigma in (2**-6, 0.125, 1.0, 8.0, 64.0)]
    scales = [[64, 0, 1], [64, 0.5, 1.5], [64, 1, 1], [16, 0, 0.5], [1024, 1, 2]]
    lifts = [[row, key, w] for row in (1, 4) for key in (0, 7) for w in (1e-6, 0.3, 0.999)]
    given = {
        "logits": rows,
        "sigmas": SIGMAS,
        "averages": averages,
        "scales": scales,
        "lifts": lifts,
    }
    folder = tmp_path_factory.mktemp("module")
    script = Path(__file__).with_name("explorables_initialization_temperature_parity.mjs")
    results = run_parity(script, folder, given, AttentionTemperature.script)
    return results | {f"given_{name}": value for name, value in given.items()}


def test_the_draws_are_the_stated_generators(temperature):
    assert (temperature["draws"], temperature["keys"]) == (DRAWS, MOST_KEYS)
    expected = normals(1, DRAWS * MOST_KEYS)
    np.testing.assert_allclose(temperature["sample"], expected, rtol=0, atol=1e-12)


def test_the_generator_is_its_authors():
    """One number at a time, in Python's integers, as mulberry32 is published."""
    state, numbers = 12345, []
    for _ in range(100):
        state = (state + 0x6D2B79F5) % 2**32
        t = (state ^ state >> 15) * (state | 1) % 2**32
        t ^= (t + (t ^ t >> 7) * (t | 61)) % 2**32
        numbers.append(((t ^ t >> 14) % 2**32 + 0.5) / 2**32)
    assert mulberry32(12345, 100).tolist() == numbers


def test_the_draws_look_normal(temperature):
    """Moments within five standard errors, and no correlation from one number to the next."""
    z = np.array(temperature["sample"])
    error = 5 / np.sqrt(len(z))
    assert abs(z.mean()) < error
    assert abs((z**2).mean() - 1) < error * np.sqrt(2)
    assert abs((z**4).mean() - 3) < error * np.sqrt(96)
    assert abs((z[1:] * z[:-1]).mean()) < error
    assert abs((z[1:] ** 2 * z[:-1] ** 2).mean() - 1) < error * np.sqrt(8)


def test_each_softmax_is_torchs(temperature):
    for found, logits in zip(temperature["softmax"], temperature["given_logits"], strict=True):
        close(found, torch.tensor(logits, dtype=torch.float64).softmax(0))


@pytest.mark.parametrize("which", range(len(SIGMAS)))
def test_entropy_and_jacobian_are_pythons(temperature, which):
    for found, row in zip(temperature["measures"][which], temperature["given_logits"], strict=True):
        logits = SIGMAS[which] * torch.tensor(row, dtype=torch.float64)
        p = logits.softmax(0)
        close(found["entropy"], torch.special.entr(p).sum())
        # Also where it is tiny: a frozen softmax has a gradient, only a small one.
        close(found["jacobian"], softmax_jacobian_norm(p), atol=1e-150)


def test_averages_over_the_draws_are_pythons(temperature):
    sample = temperature_draws()
    for found, (n, sigma) in zip(
        temperature["averages"], temperature["given_averages"], strict=True
    ):
        p = (sigma * sample[:, :n]).softmax(1)
        norms = softmax_jacobian_norm(p)
        close(found["norms"], norms, atol=1e-150)
        close(found["mean"], norms.mean())
        close(found["median"], norms.quantile(0.5), atol=1e-150)
        close(found["entropy"], torch.special.entr(p).sum(1).mean())


def test_the_theory_is_the_chapters(temperature):
    expected = [rem_entropy(sigma, n) for n, sigma in temperature["given_averages"]]
    assert 0 in expected and max(expected) > 6
    close(temperature["theory"], expected)


def test_the_scale_of_the_logits_is_that_of_dot_products(temperature):
    """Exactly, for keys of independent signs: the mean of (q·k)² is |q|² = d σ_q²."""
    for found, (d, exponent, sigma_q) in zip(
        temperature["scales"], temperature["given_scales"], strict=True
    ):
        figure = AttentionTemperature(d=d, exponent=exponent, sigma_q=sigma_q)
        assert found == pytest.approx(figure.sigma, rel=1e-12)
        assert found**2 == pytest.approx(d * sigma_q**2 / d ** (2 * exponent), rel=1e-12)


def test_a_lifted_key_gets_the_weight_asked_for(temperature):
    for lift, (row, key, weight) in zip(
        temperature["lifts"], temperature["given_lifts"], strict=True
    ):
        logits = torch.tensor(temperature["given_logits"][row], dtype=torch.float64)
        logits[key] += lift
        assert logits.softmax(0)[key].item() == pytest.approx(weight, rel=1e-9)


def row(tab, value, name):
    return rows(tab)[str(value)][name]


def agrees_with_python(tab):
    """Compare the table with `derived.initialization` in the state shown; return that state."""
    state = now(tab)
    assert AttentionTemperature(**state).state() == state
    held = rows(tab)
    for exponent, numbers in expected_table(state).items():
        shown = {name: held[str(exponent)][name] for name in numbers}
        assert shown == pytest.approx(numbers, rel=1e-9, abs=1e-15)
    return state


def chosen(tab):
    """The weight of the key that can be dragged, as the handle tells it."""
    return float(tab.locator('[data-handle="key"]').get_attribute("aria-valuenow"))


def grab(tab):
    """Press the mouse on the key's handle and return where that is."""
    box = tab.locator('[data-handle="key"]').bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.mouse.move(x, y)
    tab.mouse.down()
    return x, y


def test_the_temperatures_default_state_makes_the_point(show):
    """Unscaled, two keys are heard and the gradient is larger, not smaller, than with 1/√d."""
    tab = show(figure=AttentionTemperature)
    agrees_with_python(tab)
    assert np.exp(row(tab, 0, "entropy")) < 3 and np.exp(row(tab, 0.5, "entropy")) > 300
    assert row(tab, 0, "mean") > 20 * row(tab, 0.5, "mean")
    text = tab.locator(".explorable-live").inner_text()
    assert "σ = 8.0, beyond σc = 3.53: frozen" in text.replace("\n", "")


def test_a_large_head_parts_mean_and_median(show):
    tab = show(figure=AttentionTemperature, d=1024)
    agrees_with_python(tab)
    assert row(tab, 0, "mean") > 20 * row(tab, 0.5, "mean")
    assert row(tab, 0, "median") < row(tab, 0.5, "median")


def test_each_control_changes_what_it_names(show):
    tab = show(figure=AttentionTemperature)
    for name, label, value, expected in (
        ("d", "head size", 8, 256),
        ("n", "keys", 4, 16),
        ("sigma_q", "queries", 1.5, 1.5),
    ):
        slider = tab.get_by_label(label)
        slider.fill(str(value))
        assert agrees_with_python(tab)[name] == expected
        assert str(expected) in slider.get_attribute("aria-valuetext")
    tab.locator('input[value="0.5"]').check()
    assert agrees_with_python(tab)["exponent"] == 0.5
    tab.click('[data-action="next"]')
    assert now(tab)["draw"] == 1
    tab.click('[data-action="reset"]')
    assert now(tab) == AttentionTemperature().state()


def test_the_mouse_lifts_a_key_until_it_takes_all(show):
    tab = show(figure=AttentionTemperature)
    start = chosen(tab)
    x, y = grab(tab)
    tab.mouse.move(x, y - 8)
    tab.mouse.move(x + 3, y - 60, steps=4)
    tab.mouse.up()
    state = now(tab)
    assert state["key"] == 413 and state["lift"] > 2 and chosen(tab) > 0.99 > start
    logits = temperature_draws()[0, :512] * 8
    logits[413] += state["lift"]
    assert chosen(tab) == pytest.approx(logits.softmax(0)[413].item(), abs=1e-6)


def test_the_mouse_takes_another_key(show):
    tab = show(figure=AttentionTemperature, exponent=0.5, n=16, key=3)
    frame = tab.locator(".xp-frame").bounding_box()
    across = frame["width"] - 44 - 30
    tab.mouse.click(frame["x"] + 44 + across * 9.5 / 16, frame["y"] + 100)
    assert now(tab)["key"] == 9 and now(tab)["lift"] == 0
    x, y = grab(tab)
    tab.mouse.move(x + across * 2 / 16, y + 2, steps=5)
    tab.mouse.up()
    assert now(tab)["key"] == 11 and now(tab)["lift"] == 0


def test_the_keyboard_moves_the_temperature(show):
    tab = show(figure=AttentionTemperature)
    tab.focus('[data-handle="key"]')
    for key in ("ArrowUp", "ArrowUp", "Shift+ArrowDown"):
        tab.keyboard.press(key)
    assert now(tab)["lift"] == -3
    said = tab.locator('[data-handle="key"]').get_attribute("aria-valuetext")
    assert said.startswith("key 413: weight 0.0058, logit ")
    tab.keyboard.press("ArrowRight")
    assert (now(tab)["key"], now(tab)["lift"]) == (414, 0)
    tab.keyboard.press("Shift+ArrowLeft")
    assert now(tab)["key"] == 404
    tab.focus('input[value="0"]')
    tab.keyboard.press("ArrowDown")
    assert agrees_with_python(tab)["exponent"] == 0.5
    tab.get_by_label("keys").focus()
    tab.keyboard.press("ArrowLeft")
    assert agrees_with_python(tab)["n"] == 256
    tab.locator("[data-announcer]").filter(has_text="keys of 256").wait_for(state="attached")


def test_touch_lifts_the_key_and_scrolls_elsewhere(show):
    tab = show(figure=AttentionTemperature, width=375, touch=True)
    touch = tab.context.new_cdp_session(tab)

    def swipe(x, y, dx, dy):
        def send(kind, *points):
            points = [{"x": x, "y": y} for x, y in points]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        send("touchStart", (x, y))
        for share in (0.25, 0.5, 0.75, 1):
            send("touchMove", (x + share * dx, y + share * dy))
        send("touchEnd")

    box = tab.locator('[data-handle="key"]').bounding_box()
    swipe(box["x"] + 22, box["y"] + 22, 0, -40)
    assert now(tab)["lift"] > 1 and tab.evaluate("scrollY") == 0
    before = now(tab)
    frame = tab.locator(".xp-frame").bounding_box()
    swipe(frame["x"] + 100, frame["y"] + 180, 0, -150)
    wait_until(lambda: tab.evaluate("scrollY") > 50)
    assert now(tab) == before


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"d": 48}, "d must be a power of two from 16 to 1024; got 48"),
        ({"d": 64.0}, "d must be a power of two"),
        ({"n": 4}, "n must be a power of two from 8 to 1024; got 4"),
        ({"exponent": 0.25}, "exponent must be 0, 0.5 or 1; got 0.25"),
        ({"exponent": True}, "exponent must be 0, 0.5 or 1; got True"),
        ({"sigma_q": 3}, "sigma_q must be a number from 0.5 to 2; got 3"),
        ({"sigma_q": "1"}, "sigma_q must be a number"),
        ({"draw": 200}, "draw must be an integer from 0 to 199; got 200"),
        ({"key": -1}, "key must be an integer from 0 to 1023; got -1"),
        ({"lift": float("nan")}, "lift must be a number from -1000 to 1000; got nan"),
    ],
)
def test_a_wrong_temperature_is_explained(state, message):
    with pytest.raises(ValueError, match=message):
        AttentionTemperature(**state)


def test_its_theory_is_pythons():
    assert AttentionTemperature(exponent=0.5).theory == pytest.approx(np.log(512) - 0.5)
    assert AttentionTemperature().theory == 0
