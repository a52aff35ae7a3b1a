"""The interactive figure "signal through depth": its numbers equal Python's, and a reader can move it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from initialization_numbers import ACTIVATIONS, signal
from support import close, normals, now, rows, run_parity

from derived.explorables import SignalThroughDepth
from derived.initialization import gain, moment_map

NETWORKS, DEEPEST, WIDEST = 40, 50, 256
LAYERS = 6  # of the networks whose weights are drawn


@pytest.fixture(scope="module")
def depth(tmp_path_factory):
    """Everything that "signal through depth" computes, beside what it was given."""
    points = np.concatenate([np.linspace(-9, 9, 180), [-40, -1e-9, 1e-9, 40]]).tolist()
    given = {
        "points": points,
        "maps": [[g, q] for g in (0.5, 1.0, 1.7) for q in (0, 1e-8, 0.3, 1.0, 7.0, 400.0)],
        "fields": [[name, g, 20] for name in ACTIVATIONS for g in (0.8, 1.6)],
        "seed": 3,
        "runs": [[name, g, 12, 32, i] for name in ACTIVATIONS for g in (0.7, 1.6) for i in (0, 39)]
        + [["relu", 1.4, 50, 8, i] for i in range(12)],
        "laws": [[name, 1.5, LAYERS, 16] for name in ACTIVATIONS],
        "seeds": list(range(12)),
    }
    folder = tmp_path_factory.mktemp("module")
    script = Path(__file__).with_name("explorables_initialization_depth_parity.mjs")
    results = run_parity(script, folder, given, SignalThroughDepth.script)
    return results | {f"given_{name}": value for name, value in given.items()}


def test_the_draws_of_the_networks_are_the_stated_generators(depth):
    assert depth["sizes"] == [NETWORKS, DEEPEST, WIDEST]
    np.testing.assert_allclose(depth["sample"], normals(3, 1000), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_and_slopes_are_torchs(depth, name):
    x = torch.tensor(depth["given_points"], dtype=torch.float64, requires_grad=True)
    y = ACTIVATIONS[name](x)
    close(depth["values"][name], y.detach())
    (slope,) = torch.autograd.grad(y.sum(), x)
    close(depth["slopes"][name], slope)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gains_and_maps_are_the_chapters(depth, name):
    fn = ACTIVATIONS[name]
    close(depth["gains"][name], gain(fn), atol=0)
    for found, (g, q) in zip(depth["maps"][name], depth["given_maps"], strict=True):
        expected = moment_map(fn, g**2, q)
        close(found["q"], expected[0], atol=1e-12)
        if q > 0:  # at a kink the slope is a convention
            close(found["chi"], expected[1], atol=1e-12)


def test_the_infinitely_wide_network_iterates_the_chapters_map(depth):
    for found, (name, g, layers) in zip(depth["fields"], depth["given_fields"], strict=True):
        q, chi = [1.0], []
        for _ in range(layers):
            new, factor = moment_map(ACTIVATIONS[name], g**2, q[-1])
            q.append(new)
            chi.append(factor)
        close(found["q"], q)
        gradient = [np.prod(chi[layer : layers - 1]) for layer in range(layers)]
        close(found["gradient"], gradient)
        assert found["gradient"][-1] == 1


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_deviation_from_the_fixed_point_is_multiplied_as_stated(depth, name):
    """GELU's fixed point repels, tanh's and SELU's attract, and ReLU keeps what it gets."""
    fn = ACTIVATIONS[name]
    step = 1e-4
    high, low = (moment_map(fn, gain(fn) ** 2, 1 + h)[0] for h in (step, -step))
    assert depth["stability"][name] == pytest.approx((high - low) / (2 * step), rel=1e-6)
    side = {"relu": 0, "gelu": 1, "tanh": -1, "selu": -1}[name]
    assert np.sign(round(depth["stability"][name] - 1, 6)) == side


def weighted(name, g, layers, width, number):
    """ln q at the end and ln of the first layer's squared gradient, of networks with drawn weights."""
    generator = torch.Generator().manual_seed(0)
    draw = {"generator": generator, "dtype": torch.float64}
    w = torch.randn(layers, number, width, width, **draw) * g / width**0.5
    x = torch.ones(number, width, 1, dtype=torch.float64) / g  # of any direction, and q = 1
    y = [(w[0] @ x).requires_grad_()]
    for layer in range(1, layers):
        y.append(w[layer] @ ACTIVATIONS[name](y[-1]))
    q = g**2 * ACTIVATIONS[name](y[-1]).square().mean((1, 2))
    delta = torch.randn(number, width, 1, **draw)
    delta = delta / delta.norm(dim=1, keepdim=True)
    (first,) = torch.autograd.grad((y[-1] * delta).sum(), y[0])
    return torch.stack([q.detach(), first.square().sum((1, 2))], 1).log().numpy()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_networks_without_weights_have_the_law_of_networks_with_weights(depth, name):
    """Means, variances and the covariance of both logarithms, within five standard errors."""
    ours = np.array(depth["laws"][list(ACTIVATIONS).index(name)])
    theirs = weighted(name, 1.5, LAYERS, 16, 4000)
    center = theirs.mean(0)

    def moments(ends):
        a, b = (ends - center).T
        return np.stack([a, b, a * a, b * b, a * b])

    found, expected = moments(ours), moments(theirs)
    error = np.hypot(found.std(1) / len(ours) ** 0.5, expected.std(1) / len(theirs) ** 0.5)
    assert (abs(found.mean(1) - expected.mean(1)) <= 5 * error).all()


def test_a_network_computes_what_it_says(depth):
    """Rebuild the weights that the draws stand for, and send signal and gradient through them."""
    for found, (name, g, layers, width, _) in zip(depth["runs"], depth["given_runs"], strict=True):
        fn = ACTIVATIONS[name]
        forward, backward = torch.tensor(found["rows"], dtype=torch.float64)
        q = [torch.tensor(1.0, dtype=torch.float64)]
        values, h = [], []
        for layer in range(layers):
            values.append((q[-1].sqrt() * forward[layer]).requires_grad_())
            h.append(fn(values[-1]))
            q.append(g**2 * h[-1].detach().square().mean())
        close(found["q"], torch.stack(q))
        close(found["last"], values[-1].detach())
        delta = backward[layers - 1] / backward[layers - 1].norm()
        gradient = [1.0]
        for layer in reversed(range(layers - 1)):
            x = h[layer].detach()
            fresh = g * width**-0.5 * delta.norm() * backward[layer]
            # A matrix W with W x = y whose other part sends delta to `fresh`, but for its part along x.
            w = torch.zeros(width, width, dtype=torch.float64)
            if x.norm() > 0:
                unit = x / x.norm()
                w = torch.outer(values[layer + 1].detach(), x) / x.dot(x)
                fresh = fresh - unit * unit.dot(fresh)
                torch.testing.assert_close(w @ x, values[layer + 1].detach())
            if delta.norm() > 0:
                w = w + torch.outer(delta, fresh) / delta.dot(delta)
            (delta,) = torch.autograd.grad((w @ h[layer]).dot(delta), values[layer])
            gradient.insert(0, delta.dot(delta).item())
        close(found["gradient"], gradient)


def agrees_with_python(tab):
    """Compare the table and the median with `derived.initialization`; return the state shown."""
    state = now(tab)
    assert SignalThroughDepth(**state).state() == state
    held = rows(tab)
    for name, fn in ACTIVATIONS.items():
        g = gain(fn)
        assert held[name]["gain"] == pytest.approx(g, rel=1e-9)
        chi = moment_map(fn, g**2, 1)[1]
        assert held[name]["chi"] == pytest.approx(chi, rel=1e-9)
    median = signal(state)[:, -1].quantile(0.5).item()
    assert shown(tab, "median") == pytest.approx(median, rel=1e-9)
    q = 1.0
    for _ in range(state["depth"]):
        q = moment_map(ACTIVATIONS[state["activation"]], state["gain"] ** 2, q)[0]
    assert shown(tab, "limit") == pytest.approx(q, rel=1e-9)
    return state


def shown(tab, name):
    return float(tab.locator(".explorable-live").get_attribute(f"data-{name}"))


def test_the_depths_default_state_makes_the_point(show):
    """He's gain holds the mean; the typical network shrinks, by about exp(-5 L / 2 d)."""
    tab = show(figure=SignalThroughDepth)
    state = agrees_with_python(tab)
    assert state["gain"] == pytest.approx(2**0.5)
    assert shown(tab, "limit") == pytest.approx(1) and shown(tab, "median") < 0.2
    ends = torch.cat([signal({**state, "seed": seed})[:, -1] for seed in range(20)])
    assert ends.mean() == pytest.approx(1, abs=5 * ends.std().item() / 800**0.5)
    # To leading order; the next one is 1 / d of it.
    expected = np.exp(-5 * state["depth"] / (2 * state["width"]))
    assert ends.median().item() == pytest.approx(expected, rel=0.25)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_choosing_an_activation_sets_its_gain(show, name):
    tab = show(figure=SignalThroughDepth, activation="relu" if name != "relu" else "tanh", gain=2.0)
    tab.locator(f'input[value="{name}"]').check()
    state = agrees_with_python(tab)
    assert state["activation"] == name and state["gain"] == pytest.approx(gain(ACTIVATIONS[name]))
    assert shown(tab, "limit") == pytest.approx(1, abs=1e-6)


def test_gelu_drifts_off_its_fixed_point_and_tanh_does_not(show):
    tab = show(figure=SignalThroughDepth)
    tab.locator('input[value="gelu"]').check()
    assert shown(tab, "median") < 1e-3
    tab.locator('input[value="tanh"]').check()
    assert 0.8 < shown(tab, "median") < 1.2


def test_each_control_of_the_depth_changes_what_it_names(show):
    tab = show(figure=SignalThroughDepth)
    for name, value, expected in (("gain", 1.2, 1.2), ("layers", 17, 17), ("width", 5, 32)):
        tab.get_by_label(name, exact=False).first.fill(str(value))
        assert agrees_with_python(tab)["depth" if name == "layers" else name] == expected
    tab.click('[data-action="again"]')
    assert agrees_with_python(tab)["seed"] == 51
    tab.click('[data-action="reset"]')
    assert now(tab) == SignalThroughDepth().state()


def test_the_mouse_and_the_keyboard_move_the_layer(show):
    tab = show(figure=SignalThroughDepth)
    box = tab.locator('[data-handle="layer"]').bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x - 60, y + 10, steps=4)
    tab.mouse.up()
    layer = now(tab)["layer"]
    assert 15 < layer < 30 and f"Layer {layer}:" in tab.locator(".explorable-live").inner_text()
    tab.focus('[data-handle="layer"]')
    for key in ("ArrowRight", "ArrowUp", "Shift+ArrowLeft"):
        tab.keyboard.press(key)
    assert now(tab)["layer"] == layer - 3
    said = tab.locator('[data-handle="layer"]').get_attribute("aria-valuetext")
    assert said.startswith(f"layer {layer - 3} of 50: q ")
    tab.get_by_label("layers").fill("4")
    assert tab.locator('[data-handle="layer"]').get_attribute("aria-valuenow") == "4"
    tab.locator("[data-announcer]").filter(has_text="after 4 layers").wait_for(state="attached")


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"activation": "sin"}, "activation must be one of relu, gelu, tanh, selu; got 'sin'"),
        ({"gain": 0}, "gain must be a number from 0.5 to 2.5; got 0"),
        ({"gain": True}, "gain must be a number"),
        ({"depth": 51}, "depth must be an integer from 2 to 50; got 51"),
        ({"width": 100}, "width must be a power of two from 8 to 256; got 100"),
        ({"layer": 0}, "layer must be an integer from 1 to 50; got 0"),
        ({"seed": 100}, "seed must be an integer from 0 to 99; got 100"),
    ],
)
def test_a_wrong_depth_is_explained(state, message):
    with pytest.raises(ValueError, match=message):
        SignalThroughDepth(**state)
