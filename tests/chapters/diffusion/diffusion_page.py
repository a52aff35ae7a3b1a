"""Do the figures of this chapter, on a page, show Python's numbers?"""

import json

import pytest
import torch
from support import normals

from derived.diffusion import Schedule, karras_sigmas, sample
from derived.explorables import DenoiseAPoint, GuidancePaths

__all__ = ["CHECKS"]


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
    noise = 80 * normals(state["seed"], 800).reshape(-1, 2)
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


CHECKS = {"denoise_a_point": check_denoise_a_point, "guidance_paths": check_guidance_paths}
