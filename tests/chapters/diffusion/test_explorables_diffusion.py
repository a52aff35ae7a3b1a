"""The interactive figures on diffusion: their numbers equal Python's, and a reader can move them."""

import functools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from support import close, normals, now, rows, run_parity, unchecked

from derived.diffusion import GaussianMixture, Schedule, guide, karras_sigmas, sample
from derived.explorables import DenoiseAPoint, GuidancePaths

SOLVERS = ("ddim", "heun", "dpmpp_2m")
COUNTS = [1, 2, 3, 12, 50]
LEVELS = [0.002, 0.3, 2.0, 80.0]
EDM = Schedule.edm()
TWO = ((0, 0, 1), (0, 0, math.sqrt(2)), (0, 0, 1))  # the condition's N(0, 1) and all data's N(0, 2)


def plane(numbers):
    return torch.tensor(numbers, dtype=torch.float64).reshape(-1, 2)


# --------------------------------------------------------------------------------- numbers


def random_components(rng, low=0.1):
    ends = [(rng.uniform(-3, 3), rng.uniform(-3, 3), rng.uniform(low, 1.5)) for _ in range(3)]
    return [tuple(round(x, 3) for x in end) for end in ends]


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    """Everything that the front ends compute, beside what they were given."""
    rng = np.random.default_rng(0)
    mixtures = [[DenoiseAPoint().components, sigma] for sigma in (0.05, 1.0, 8.0)]
    mixtures += [[random_components(rng), sigma] for sigma in (0.05, 0.2, 0.7, 2.0, 8.0)]
    asked = [("ABC", "A", 3.0), ("ABC", "AC", 1.5), ("AB", "B", 0.0), ("B", "A", 4.0)]
    states = [GuidancePaths().state()]
    states += [
        GuidancePaths(
            components=random_components(rng, 0.3), population=p, condition=c, guidance=w
        ).state()
        for p, c, w in [*asked, ("ABC", "C", 8.0)]
    ]
    two = {"components": TWO, "population": "B", "condition": "A"}
    wide = [GuidancePaths(**two, guidance=w).state() for w in (0.0, 1.0, 4.0, 8.0)]
    given = {
        "mixtures": mixtures,
        "points": rng.uniform(-4, 4, (30, 2)).tolist(),
        "counts": COUNTS,
        "states": [*states, wide[2]],
        "start": (80 * rng.normal(size=(12, 2))).tolist(),
        "levels": LEVELS,
        "seeds": [1, 2, 9999],
        "wide": [*wide, *states],
    }
    folder = tmp_path_factory.mktemp("module")
    script = Path(__file__).with_name("explorables_diffusion_parity.mjs")
    results = run_parity(script, folder, given, DenoiseAPoint.script, GuidancePaths.script)
    return results | {f"given_{name}": value for name, value in given.items()}


def mixture_of(components):
    table = torch.tensor(components, dtype=torch.float64)
    weights = torch.full((len(table),), 1 / len(table), dtype=torch.float64)
    return GaussianMixture(weights, table[:, :2], table[:, 2])


def test_density_and_score_are_the_mixtures(numbers):
    x = plane(numbers["given_points"])
    for i, (components, sigma) in enumerate(numbers["given_mixtures"]):
        mixture = mixture_of(components)
        close(numbers["logDensity"][i], mixture.log_prob(x, 1.0, sigma))
        close(plane(numbers["score"][i]), mixture.score(x, 1.0, sigma))


def test_the_posterior_is_the_mixtures(numbers):
    x = plane(numbers["given_points"])
    for found, (components, sigma) in zip(
        numbers["posterior"], numbers["given_mixtures"], strict=True
    ):
        mixture = mixture_of(components)
        close([f["logDensity"] for f in found], mixture.log_prob(x, 1.0, sigma))
        close([f["mean"] for f in found], mixture.denoise(x, 1.0, sigma))
        close([f["covariance"] for f in found], mixture.covariance(x, 1.0, sigma))
        alone = [mixture_of([component]).log_prob(x, 1.0, sigma) for component in components]
        close([f["shares"] for f in found], torch.stack(alone, 1).softmax(1))


def test_the_ellipse_is_that_of_the_covariance(numbers):
    for found in numbers["posterior"]:
        for one in found:
            axes, covariance = one["axes"], np.array(one["covariance"])
            assert axes["long"] >= axes["short"] > 0
            way = np.array([math.cos(axes["angle"]), math.sin(axes["angle"])])
            across = np.array([-way[1], way[0]])
            rebuilt = axes["long"] ** 2 * np.outer(way, way)
            rebuilt += axes["short"] ** 2 * np.outer(across, across)
            np.testing.assert_allclose(rebuilt, covariance, atol=1e-9)


def test_the_long_axis_exceeds_sigma_where_log_density_curves_upward(numbers):
    """Cov[x0 | x] = σ² (I + σ² ∇² log p): what the words beside the stage say."""
    x = plane(numbers["given_points"])
    seen = set()
    for found, (components, sigma) in zip(
        numbers["posterior"], numbers["given_mixtures"], strict=True
    ):
        mixture = mixture_of(components)
        for point, one in zip(x, found, strict=True):
            hessian = torch.autograd.functional.hessian(
                lambda z, m=mixture, s=sigma: m.log_prob(z[None], 1.0, s)[0], point
            )
            curve = torch.linalg.eigvalsh(hessian)[-1].item()
            if abs(curve) > 1e-6:
                assert (one["axes"]["long"] > sigma) == (curve > 0)
                seen.add(curve > 0)
    assert seen == {True, False}


def test_the_front_end_knows_the_same_solvers(numbers):
    assert tuple(numbers["solvers"]) == SOLVERS


def test_noise_levels_are_karrass(numbers):
    for count, levels in zip(COUNTS, numbers["karras"], strict=True):
        close(levels, karras_sigmas(count), atol=1e-15)


def test_the_noise_is_the_stated_generators(numbers):
    for seed, noise in zip(numbers["given_seeds"], numbers["noise"], strict=True):
        np.testing.assert_allclose(noise, 80 * normals(seed, 18), rtol=0, atol=1e-10)


def test_guided_denoisers_are_pythons(numbers):
    x = plane(numbers["given_points"])
    for state, ours in zip(numbers["given_states"], numbers["guided"], strict=True):
        p, q = GuidancePaths(**state).mixtures
        for sigma, found in zip(LEVELS, ours, strict=True):
            expected = guide(q.denoise(x, 1.0, sigma), p.denoise(x, 1.0, sigma), state["guidance"])
            close(plane(found), expected)


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_state_of_every_path_is_pythons(numbers, solver):
    start = plane(numbers["given_start"])
    for state, ours in zip(numbers["given_states"], numbers["paths"], strict=True):
        p, q = GuidancePaths(**state).mixtures
        for count, path in zip(COUNTS, ours[SOLVERS.index(solver)], strict=True):
            visited = []
            with unchecked():
                sample(
                    q.denoiser(EDM),
                    start,
                    karras_sigmas(count),
                    EDM,
                    solver,
                    guidance=state["guidance"],
                    unconditional=p.denoiser(EDM),
                    observe=visited.append,
                )
            assert len(path) == count + 1
            close(path, torch.stack(visited).flatten(1))


@pytest.mark.parametrize("solver", SOLVERS)
def test_calls_are_those_that_python_makes(numbers, solver):
    for count, calls in zip(COUNTS, numbers["calls"][SOLVERS.index(solver)], strict=True):
        made = []

        def denoiser(x, t, made=made):
            made.append(t)
            return torch.zeros_like(x)

        sample(denoiser, torch.ones(1, 2), karras_sigmas(count), EDM, solver)
        assert calls == len(made)


def test_the_tilted_density_is_the_product_of_powers(numbers):
    x = plane(numbers["given_points"])
    for state, ours in zip(numbers["given_states"], numbers["tiltedLog"], strict=True):
        p, q = GuidancePaths(**state).mixtures
        w = state["guidance"]
        close(ours, (1 - w) * p.log_prob(x) + w * q.log_prob(x))


def tilted_moments(state, cells=300, reach=11.0):
    """Mean and standard deviations by the midpoint rule on another grid than the figure's."""
    axis = (torch.arange(cells, dtype=torch.float64) + 0.5) * (2 * reach / cells) - reach
    x = torch.cartesian_prod(axis, axis)
    p, q = GuidancePaths(**state).mixtures
    w = state["guidance"]
    weight = ((1 - w) * p.log_prob(x) + w * q.log_prob(x)).softmax(0)[:, None]
    mean = (weight * x).sum(0)
    return mean, (weight * (x - mean).square()).sum(0).sqrt()


def test_moments_of_the_tilted_density(numbers):
    """Of two Gaussians exactly, of mixtures by quadrature."""
    for state, ours in zip(numbers["given_wide"], numbers["tiltedMoments"], strict=True):
        if state["components"] == TWO:
            expected = [[0, 0], [math.sqrt(2 / (state["guidance"] + 1))] * 2]
            close([ours["mean"], ours["std"]], expected, atol=1e-8)
        else:
            mean, std = tilted_moments(state)
            close(ours["mean"], mean, rtol=0, atol=1e-6)
            close(ours["std"], std, rtol=0, atol=1e-6)


def test_moments_of_points(numbers):
    x = np.array(numbers["given_points"])
    close(numbers["moments"]["mean"], x.mean(0))
    close(numbers["moments"]["std"], x.std(0))


def test_guidance_does_not_sample_the_tilted_density(numbers):
    """Of two Gaussians the ODE's variance is 2^(1 − w), up to what 400 steps and σ = 80 leave."""
    assert numbers["given_wide"][2]["guidance"] == 4
    shrink = plane(numbers["fine"]) * 80 / plane(numbers["given_start"])
    close(shrink.square(), torch.full_like(shrink, 2.0**-3), rtol=0, atol=2e-4)


# --------------------------------------------------------------------------------- widgets


@pytest.mark.parametrize(
    ("figure", "state", "message"),
    [
        (DenoiseAPoint, {"sigma": 0.01}, "sigma must be a number from 0.05 to 8; got 0.01"),
        (DenoiseAPoint, {"sigma": True}, "sigma must be a number from 0.05 to 8; got True"),
        (DenoiseAPoint, {"probe": (1, 2, 3)}, r"probe must be \(x, y\) .* got \(1, 2, 3\)"),
        (DenoiseAPoint, {"probe": (0, 3.5)}, r"probe must be \(x, y\)"),
        (DenoiseAPoint, {"probe": ("a", 0)}, r"probe must be \(x, y\)"),
        (DenoiseAPoint, {"probe": (math.nan, 0)}, r"probe must be \(x, y\)"),
        (DenoiseAPoint, {"field": 1}, "field must be True or False; got 1"),
        (DenoiseAPoint, {"components": 3}, r"components must be three times \(x, y, std\); got 3"),
        (DenoiseAPoint, {"components": ((0, 0, 1),) * 2}, "components must be three times"),
        (DenoiseAPoint, {"components": ((0, 0),) * 3}, "components must be three times"),
        (
            DenoiseAPoint,
            {"components": ((0, 0, 1), (0, 3.5, 1), (0, 0, 1))},
            r"components: B must have \|x\| up to 4, \|y\| up to 3 and a std from 0.1 to 1.5; got",
        ),
        (
            GuidancePaths,
            {"components": ((0, 0, 0.1),) * 3},
            "components: A must .* from 0.3 to 1.5",
        ),
        (GuidancePaths, {"population": ""}, "population must be different letters of A, B and C"),
        (GuidancePaths, {"condition": "AA"}, "condition must be different letters .* got 'AA'"),
        (GuidancePaths, {"condition": "AD"}, "condition must be different letters"),
        (GuidancePaths, {"condition": None}, "condition must be different letters .* got None"),
        (GuidancePaths, {"guidance": 9}, "guidance must be a number from 0 to 8; got 9"),
        (GuidancePaths, {"solver": "euler"}, "solver must be one of ddim, heun, dpmpp_2m"),
        (GuidancePaths, {"steps": 0}, "steps must be an integer from 1 to 50; got 0"),
        (GuidancePaths, {"steps": 2.0}, "steps must be an integer from 1 to 50; got 2.0"),
        (GuidancePaths, {"seed": 10000}, "seed must be an integer from 1 to 9999; got 10000"),
    ],
)
def test_a_wrong_state_is_explained(figure, state, message):
    with pytest.raises(ValueError, match=message):
        figure(**state)


def test_the_mixtures_are_those_of_the_letters():
    figure = GuidancePaths(components=((1, 2, 0.5), (3, 4, 1), (0, -1, 1.5)), condition="CA")
    assert figure.condition == "AC", "the order of the letters says nothing"
    p, q = figure.mixtures
    assert p.means.tolist() == [[1, 2], [3, 4], [0, -1]]
    assert q.means.tolist() == [[1, 2], [0, -1]] and q.stds.tolist() == [0.5, 1.5]
    assert q.weights.tolist() == [0.5, 0.5]
    mixture = DenoiseAPoint().mixture
    assert mixture.stds.tolist() == [0.35] * 3 and mixture.means[2].tolist() == [0, 1.8]


# --------------------------------------------------------------------------------- browser


def pixels(tab, point, reach):
    """Where a point of the first stage lies in the window."""
    box = tab.locator(".xp-stage").first.bounding_box()
    unit = (box["width"] - 2) / (2 * reach[0])
    return (
        box["x"] + 1 + (reach[0] + point[0]) * unit,
        box["y"] + 1 + (reach[1] - point[1]) * unit,
    )


def drag(tab, start, end, reach):
    tab.mouse.move(*pixels(tab, start, reach))
    tab.mouse.down()
    tab.mouse.move(*pixels(tab, [(s + e) / 2 for s, e in zip(start, end, strict=True)], reach))
    tab.mouse.move(*pixels(tab, end, reach))
    tab.mouse.up()


def held(tab, name):
    return json.loads(tab.locator(".explorable-live").get_attribute(f"data-{name}"))


def shown(tab, kind, name):
    return rows(tab)[kind][name]


def denoise_agrees(tab):
    """Compare every number that the page holds with Python's for the state that it shows."""
    state, found = now(tab), held(tab, "posterior")
    x, sigma = plane(state["probe"]), state["sigma"]
    mixture = DenoiseAPoint(**state).mixture
    close(found["mean"], mixture.denoise(x, 1.0, sigma)[0])
    close(found["covariance"], mixture.covariance(x, 1.0, sigma)[0])
    shares = [shown(tab, letter, "value") for letter in "ABC"]
    alone = [mixture_of([c]).log_prob(x, 1.0, sigma) for c in state["components"]]
    close(shares, torch.stack(alone, 1).softmax(1)[0])
    return state


@functools.cache
def ends(told, count, steps, solver):
    """Where the first paths of a state, told as JSON, end; the same question is answered once."""
    state = json.loads(told)
    p, q = GuidancePaths(**state).mixtures
    start = plane(80 * normals(state["seed"], 800))[:count]
    how = {"guidance": state["guidance"], "unconditional": p.denoiser(EDM)}
    with unchecked():
        return sample(q.denoiser(EDM), start, karras_sigmas(steps), EDM, solver, **how)


@functools.cache
def told_moments(told):
    return tilted_moments(json.loads(told))


def guidance_agrees(tab):
    """The samples' and the tilted density's moments, and the solvers' errors, are Python's."""
    state, found, held_rows = now(tab), held(tab, "moments"), rows(tab)
    # What the paths depend on beside the numbers of steps and paths, and the solver.
    told = json.dumps(state | {"steps": 20, "solver": "heun"}, sort_keys=True)
    x = ends(told, 400, state["steps"], state["solver"])
    close(
        [found["sampled"]["mean"], found["sampled"]["std"]],
        torch.stack([x.mean(0), x.std(0, correction=0)]),
    )
    mean, std = told_moments(told)
    close([found["tilted"]["mean"], found["tilted"]["std"]], torch.stack([mean, std]), atol=1e-6)
    reference = ends(told, 60, 128, "heun")
    for solver in SOLVERS:
        chosen = solver == state["solver"]
        few = x[:60] if chosen else ends(told, 60, state["steps"], solver)
        far = (few - reference).norm(dim=1)
        # numpy's median is the mean of the two in the middle; torch's is the lower one.
        expected = pytest.approx(np.median(far), rel=1e-8, abs=1e-12)
        assert held_rows[solver]["value"] == expected
    return state


@pytest.fixture
def denoise_tab(show):
    return lambda **options: show(figure=DenoiseAPoint, **options)


@pytest.fixture
def guidance_tab(show):
    return lambda **options: show(figure=GuidancePaths, **options)


def test_the_default_state_of_denoising_makes_the_point(denoise_tab):
    """The arrow ends between two groups, where there is no data, and the ellipse is long."""
    tab = denoise_tab()
    state, found = denoise_agrees(tab), held(tab, "posterior")
    mixture = DenoiseAPoint().mixture
    there, peak = mixture.log_prob(torch.stack([plane(found["mean"])[0], mixture.means[0]])).exp()
    assert there < 0.01 * peak
    shares = [shown(tab, letter, "value") for letter in "ABC"]
    assert min(shares[:2]) > 0.3 and shares[2] < 0.02
    axes = np.sqrt(np.linalg.eigvalsh(found["covariance"]))
    assert axes[0] < 0.5 * state["sigma"] and axes[1] > 1.5 * state["sigma"]
    words = tab.locator(".xp-readout").text_content()
    assert words.startswith(
        "E[x₀ | x] is (0.52, −1.18); x₀ lies about it with standard deviations "
    )
    for number in ("(0.52, −1.18)", "1.82", "0.40", "36 %", "63 %", "1 %"):
        assert number in tab.locator(".explorable-live").text_content()
        assert number in DenoiseAPoint.alt


def test_less_noise_takes_a_side_and_much_gives_the_mean_of_all_data(denoise_tab):
    tab = denoise_tab()
    tab.get_by_role("slider", name="noise", exact=True).fill("-1.75")
    assert denoise_agrees(tab)["sigma"] == pytest.approx(2**-1.75, abs=1e-3)
    assert shown(tab, "B", "value") > 0.9
    tab.get_by_role("slider", name="noise", exact=True).fill("3")
    assert denoise_agrees(tab)["sigma"] == 8
    everything = DenoiseAPoint().mixture.means.mean(0)
    close(held(tab, "posterior")["mean"], everything, rtol=0, atol=0.1)


def test_the_mouse_drags_the_point_and_the_data(denoise_tab):
    tab = denoise_tab()
    drag(tab, (0.15, -2), (1.5, 0.5), (4, 3))
    assert denoise_agrees(tab)["probe"] == pytest.approx([1.5, 0.5], abs=0.02)
    drag(tab, (-2.1, -1.1), (-1, 1), (4, 3))
    assert denoise_agrees(tab)["components"][0] == pytest.approx([-1, 1, 0.35], abs=0.02)
    assert tab.locator('input[value="A"]').is_checked()
    drag(tab, (-1, 1), (9, 9), (4, 3))
    assert denoise_agrees(tab)["components"][0][:2] == pytest.approx([3.9, 2.9])


def test_each_component_has_its_own_std(denoise_tab):
    tab = denoise_tab()
    tab.check('input[value="C"]')
    tab.get_by_role("slider", name="std", exact=True).fill("1.2")
    stds = [std for _, _, std in denoise_agrees(tab)["components"]]
    assert stds == [0.35, 0.35, 1.2]


def test_the_score_field_can_be_put_away(denoise_tab):
    tab = denoise_tab()
    assert tab.locator(".xp-score").is_visible()
    tab.get_by_label("score field").uncheck()
    assert denoise_agrees(tab)["field"] is False
    assert not tab.locator(".xp-score").is_visible()
    assert not tab.locator(".xp-key-score").is_visible()


@pytest.mark.parametrize(
    "preset", ["torn between two", "nearly clean", "only noise", "far out", "one Gaussian"]
)
def test_examples_of_denoising(denoise_tab, preset):
    tab = denoise_tab(sigma=3.0, probe=(1, 1))
    tab.click(f'[data-preset="{preset}"]')
    state = denoise_agrees(tab)
    assert DenoiseAPoint(**state).state() != DenoiseAPoint(sigma=3.0, probe=(1, 1)).state()
    if preset == "one Gaussian":
        half = [coordinate / 2 for coordinate in state["probe"]]
        close(held(tab, "posterior")["mean"], half)
    tab.click('[data-action="reset"]')
    assert now(tab)["sigma"] == 3.0


FOCUSED = """() => {
  const { activeElement: node } = document;
  const { handle, action, preset } = node.dataset;
  const label = node.closest(".xp-slider")?.textContent.split(" ")[0];
  return node === document.body ? null : handle ?? action ?? preset ?? label ?? node.value;
}"""


def focused(tab):
    """What the Tab key reaches, in order."""
    tab.keyboard.press("Tab")
    names = []
    while name := tab.evaluate(FOCUSED):
        names.append(name)
        tab.keyboard.press("Tab")
    return names


def test_the_keyboard_alone_denoises(denoise_tab):
    tab = denoise_tab()
    names = focused(tab)
    assert names[:4] == ["x", "A", "B", "C"]
    assert {"noise", "on", "reset", "A", "std", "torn between two", "one Gaussian"} <= set(names)
    tab.focus('[data-handle="x"]')
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("Shift+ArrowUp")
    assert denoise_agrees(tab)["probe"] == pytest.approx([0.2, -1.75])
    told = tab.locator('[data-handle="x"]').get_attribute("aria-valuetext")
    mean = [f"{value:.2f}".replace("-", "−") for value in held(tab, "posterior")["mean"]]
    assert told == f"x 0.20, y −1.75; denoised to ({', '.join(mean)})"
    tab.locator("[data-announcer]").filter(
        has_text=f"σ 1.00. x (0.20, −1.75) is from A {100 * shown(tab, 'A', 'value'):.0f} %"
    ).wait_for(state="attached")
    tab.focus('[data-handle="C"]')
    tab.keyboard.press("ArrowLeft")
    assert denoise_agrees(tab)["components"][2] == [-0.05, 1.8, 0.35]
    assert tab.locator('input[value="C"]').is_checked()


def test_the_default_state_of_guidance_makes_the_point(guidance_tab):
    """The samples lie farther out than the tilted density and closer together."""
    tab = guidance_tab()
    guidance_agrees(tab)
    found = held(tab, "moments")
    out = {name: np.linalg.norm(found[name]["mean"]) for name in found}
    assert out["sampled"] > out["tilted"] + 0.7
    assert max(found["sampled"]["std"]) < min(found["tilted"]["std"])
    words = " ".join(tab.locator(".xp-title, td.xp-number").all_text_contents())
    numbers = ("(−2.33, −1.42)", "(0.51, 0.60)", "(−1.66, −1.04)", "(0.66, 0.67)")
    for number in (*numbers, "20", "0.14", "39", "0.067", "0.12"):
        assert number in words and number in GuidancePaths.alt


def test_without_guidance_both_are_the_condition(guidance_tab):
    tab = guidance_tab()
    tab.get_by_role("slider", name="guidance", exact=True).fill("1")
    assert guidance_agrees(tab)["guidance"] == 1
    found = held(tab, "moments")
    close(found["tilted"]["mean"], [-1.6, -1], rtol=0, atol=1e-6)
    error = 5 * 0.7 / math.sqrt(400)
    close(found["sampled"]["mean"], [-1.6, -1], rtol=0, atol=error)


def test_fewer_steps_and_other_solvers(guidance_tab):
    tab = guidance_tab()
    tab.get_by_role("slider", name="steps", exact=True).fill("5")
    assert guidance_agrees(tab)["steps"] == 5
    assert [shown(tab, solver, "calls") for solver in SOLVERS] == [5, 9, 5]
    errors = [shown(tab, solver, "value") for solver in SOLVERS]
    for solver in SOLVERS:
        tab.check(f'input[value="{solver}"]')
        assert guidance_agrees(tab)["solver"] == solver
    assert errors == [shown(tab, solver, "value") for solver in SOLVERS]
    tab.click('[data-action="draw"]')
    assert guidance_agrees(tab)["seed"] == 2
    tab.click('[data-action="reset"]')
    assert now(tab) == json.loads(json.dumps(GuidancePaths().state()))


@pytest.mark.parametrize(
    ("preset", "points"),
    [("one of three", 3), ("the middle one", 3), ("two Gaussians", 2), ("no guidance", 3)],
)
def test_examples_of_guidance(guidance_tab, preset, points):
    tab = guidance_tab(steps=50, guidance=2.0)
    tab.click(f'[data-preset="{preset}"]')
    state = guidance_agrees(tab)
    assert tab.locator("[data-handle]:visible").count() == points
    assert GuidancePaths(**state).state() != GuidancePaths(steps=50, guidance=2.0).state()
    asked = tab.locator(".xp-points [data-chosen]").evaluate_all(
        "all => all.map(n => n.dataset.point)"
    )
    assert "".join(sorted(asked)) == state["condition"]


def test_components_of_guidance_are_dragged_and_moved_by_keyboard(guidance_tab):
    tab = guidance_tab()
    drag(tab, (1.6, -1), (2.5, 1), (4, 4))
    assert guidance_agrees(tab)["components"][1] == pytest.approx([2.5, 1, 0.7], abs=0.02)
    tab.focus('[data-handle="A"]')
    tab.keyboard.press("ArrowDown")
    assert guidance_agrees(tab)["components"][0] == [-1.6, -1.05, 0.7]
    tab.locator("[data-announcer]").filter(
        has_text="Guidance 3.00, Heun, 39 network calls, error "
    ).wait_for(state="attached")
    names = focused(tab)
    assert {"B", "C", "guidance", "steps", "draw", "reset", "no guidance", "heun"} <= set(names)


@pytest.mark.parametrize("figure", [DenoiseAPoint, GuidancePaths])
def test_touch_drags_a_point_and_leaves_the_page_where_it_is(show, figure):
    tab = show(figure=figure, width=375, touch=True)
    tab.evaluate("document.body.style.paddingBottom = '2000px'")
    touch = tab.context.new_cdp_session(tab)
    reach = (4, 3) if figure is DenoiseAPoint else (4, 4)
    start = pixels(tab, now(tab)["components"][0][:2], reach)
    end = pixels(tab, (-1, 0.5), reach)
    for kind, share in (("Start", 0), ("Move", 0.3), ("Move", 0.6), ("Move", 1)):
        x, y = (s + share * (e - s) for s, e in zip(start, end, strict=True))
        points = [{"x": x, "y": y}]
        touch.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert now(tab)["components"][0][:2] == pytest.approx([-1, 0.5], abs=0.03)
    assert tab.evaluate("scrollY") == 0


SHADE = """() => {
  const copy = document.createElement("canvas");
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(document.querySelector(".xp-canvas"), 0, 0);
  return context.getImageData(3, 3, 1, 1).data[0];
}"""


@pytest.mark.parametrize("figure", [DenoiseAPoint, GuidancePaths])
def test_the_theme_is_followed_at_once(show, figure):
    tab = show(figure=figure)
    assert tab.evaluate(SHADE) > 140
    tab.evaluate("document.documentElement.dataset.theme = 'dark'")
    assert tab.evaluate(SHADE) < 100
