"""Every interactive figure on every page: it mounts, reacts, and its numbers are Python's."""

import json

import initialization_numbers as explorables_numbers
import linear_attention_numbers as matrix_memory_numbers
import pytest
import torch
from visits import on, wait_for_frames

from derived import initialization
from derived.diffusion import Schedule, karras_sigmas, sample
from derived.explorables import DenoiseAPoint, GuidancePaths
from derived.explorables.iou import KINDS
from derived.iou import box_loss


def check_push_a_box(figure) -> None:
    """The losses shown are those of the boxes shown."""
    state = json.loads(figure.get_attribute("data-now"))
    a, b = (torch.tensor(state[name], dtype=torch.float64) for name in "ab")
    for kind in KINDS:
        image = {"image_size": (7, 5)} if kind == "mpdiou" else {}
        row = figure.locator(f"tr[data-kind={kind}][data-value]")
        shown = float(row.get_attribute("data-value"))
        assert shown == pytest.approx(box_loss(a, b, kind, **image).item(), abs=1e-9)
        assert row.locator("td").first.text_content() == f"{shown:.3f}".replace("-", "−")


def check_attention_temperature(figure) -> None:
    """The averages shown are those over the same draws."""
    state = json.loads(figure.get_attribute("data-now"))
    for exponent, numbers in explorables_numbers.temperature(state).items():
        row = figure.locator(f'tr[data-kind="{exponent}"][data-mean]')
        shown = {name: float(row.get_attribute(f"data-{name}")) for name in numbers}
        assert shown == pytest.approx(numbers, rel=1e-9, abs=1e-15)


def check_signal_through_depth(figure) -> None:
    """Gains, and the median of the networks shown."""
    for name, fn in explorables_numbers.ACTIVATIONS.items():
        row = figure.locator(f'tr[data-kind="{name}"][data-gain]')
        shown = float(row.get_attribute("data-gain"))
        assert shown == pytest.approx(initialization.gain(fn), rel=1e-9)
    q = explorables_numbers.signal(json.loads(figure.get_attribute("data-now")))
    median = float(figure.get_attribute("data-median"))
    assert median == pytest.approx(q[:, -1].quantile(0.5).item(), rel=1e-9)


def check_matrix_memory(figure) -> None:
    """The errors shown are those of the keys and the order shown."""
    state = json.loads(figure.get_attribute("data-now"))
    keys = json.loads(figure.get_attribute("data-keys"))
    for rule in matrix_memory_numbers.RULES:
        errors = matrix_memory_numbers.memory(state, keys, rule)[2]
        row = figure.locator(f"tr[data-kind={rule}][data-value]")
        shown = float(row.get_attribute("data-value"))
        assert shown == pytest.approx(errors.mean().item(), abs=1e-9)
        assert row.locator("td").first.inner_text() == f"{shown:.2f}"


def check_denoise_a_point(figure) -> None:
    """The denoised mean and covariance shown are those of the mixture shown."""
    state = json.loads(figure.get_attribute("data-now"))
    shown = json.loads(figure.get_attribute("data-posterior"))
    x = torch.tensor([state["probe"]], dtype=torch.float64)
    mixture = DenoiseAPoint(**state).mixture
    mean = mixture.denoise(x, 1.0, state["sigma"])[0].tolist()
    assert shown["mean"] == pytest.approx(mean, abs=1e-9)
    covariance = mixture.covariance(x, 1.0, state["sigma"])[0]
    for i in (0, 1):
        assert shown["covariance"][i] == pytest.approx(covariance[i].tolist(), abs=1e-9)
    start = ", ".join(f"{value:.2f}" for value in mean).replace("-", "−")
    assert figure.locator(".xp-readout").inner_text().startswith(f"E[x₀ | x] is ({start})")


def check_guidance_paths(figure) -> None:
    """The samples' mean and spread are those of the same noise in Python."""
    state = json.loads(figure.get_attribute("data-now"))
    shown = json.loads(figure.get_attribute("data-moments"))["sampled"]
    p, q = GuidancePaths(**state).mixtures
    noise = 80 * explorables_numbers.normals(state["seed"], 800).reshape(-1, 2)
    edm = Schedule.edm()
    x = sample(
        q.denoiser(edm),
        torch.tensor(noise),
        karras_sigmas(state["steps"]),
        edm,
        state["solver"],
        guidance=state["guidance"],
        unconditional=p.denoiser(edm),
    )
    assert shown["mean"] == pytest.approx(x.mean(0).tolist(), abs=1e-9)
    assert shown["std"] == pytest.approx(x.std(0, correction=0).tolist(), abs=1e-9)


CHECKS = {
    "push_a_box": check_push_a_box,
    "attention_temperature": check_attention_temperature,
    "signal_through_depth": check_signal_through_depth,
    "matrix_memory": check_matrix_memory,
    "denoise_a_point": check_denoise_a_point,
    "guidance_paths": check_guidance_paths,
}
WITH_FIGURES = {
    "index.html",
    *(
        f"chapters/{name}.html"
        for name in ("initialization", "linear_attention", "iou", "diffusion")
    ),
}


@on("wide, tried", "disk, tried")
def test_figures_react_and_show_pythons_numbers(page_name, visit):
    page = visit.page
    places = page.locator("[data-explorable]").all()
    assert places or page_name not in WITH_FIGURES
    for place in places:
        check = CHECKS[place.get_attribute("data-explorable")]
        figure = place.locator(".explorable-live")
        place.scroll_into_view_if_needed()  # what is far is not laid out, and shows no text
        wait_for_frames(page)
        check(figure)
        for react in (by_keyboard, by_mouse):
            before = figure.get_attribute("data-now")
            react(page, figure)
            assert figure.get_attribute("data-now") != before, f"no reaction {react.__name__}"
            check(figure)


def by_keyboard(page, figure) -> None:
    figure.locator("[data-handle]").first.focus()
    page.keyboard.press("ArrowRight")


def by_mouse(page, figure) -> None:
    handle = figure.locator("[data-handle]").first
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 30, y + 20, steps=4)
    page.mouse.up()
