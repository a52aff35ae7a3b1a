"""The interactive figures of the chapter on diffusion."""

from typing import TYPE_CHECKING, Any

from derived.explorables._base import Explorable
from derived.explorables._state import Choice, Flag, Integer, Letters, Number, Point, State, floats

if TYPE_CHECKING:
    from derived.diffusion import GaussianMixture

__all__ = ["DenoiseAPoint", "GuidancePaths"]

LETTERS = "ABC"
SIGMAS = (0.05, 8.0)  # as in diffusion_denoise.js
SOLVERS = ("ddim", "heun", "dpmpp_2m")
STEPS, GUIDANCE, SEEDS = 50, 8.0, 9999  # largest values, as in diffusion_guidance.js
NAMED = {"said": "of A, B and C", "sort": True}  # components, in whatever order


class Components(State):
    """Three Gaussians (x, y, std), |x| and |y| up to `reach` and std within `stds`."""

    expected = "three times (x, y, std)"

    def __init__(
        self,
        default: tuple[tuple[float, ...], ...],
        reach: tuple[float, float],
        stds: tuple[float, float],
        help: str,
    ) -> None:
        super().__init__(default, help)
        self.reach, self.stds = reach, stds

    def checked(self, value: Any) -> tuple[tuple[float, ...], ...]:
        try:
            components = tuple(floats(component) for component in value)
        except TypeError:
            components = ()
        if len(components) != len(LETTERS) or any(len(part) != 3 for part in components):
            self.refuse(value)
        (width, height), (least, most) = self.reach, self.stds
        for letter, (x, y, std) in zip(LETTERS, components, strict=True):
            if not (abs(x) <= width and abs(y) <= height and least <= std <= most):
                raise ValueError(
                    f"{self.name}: {letter} must have |x| up to {width:g}, |y| up to {height:g} and a "
                    f"std from {least:g} to {most:g}; got {(x, y, std)}"
                )
        return components


def _mixture(components: Any) -> "GaussianMixture":
    """Return the components, equally likely, as the chapter's mixture."""
    # Imported here: the website's build needs these classes and not torch.
    import torch

    from derived.diffusion import GaussianMixture

    table = torch.tensor(components, dtype=torch.float64)
    weights = torch.full((len(table),), 1 / len(table), dtype=torch.float64)
    return GaussianMixture(weights, table[:, :2], table[:, 2])


class DenoiseAPoint(Explorable):
    """Denoise a point: drag a noisy point and the data, and see what is known of the clean one.

    Data are a mixture of three Gaussians in the plane, a noisy point is x₀ + σ · noise (α = 1).
    """

    name = "denoise_a_point"
    script = "diffusion_denoise.js"
    caption = (
        "Denoise a point. The shading is the density of noisy data. The arrow leads from the noisy point "
        "x to E[x₀ | x], as Tweedie’s formula reads it off the score; the ellipse is Cov[x₀ | x]. Here x "
        "may come from A or from B, so the arrow ends between them, where there is no data, and the "
        "ellipse stretches toward both. It is longer than the circle of radius σ: there the paths to A "
        "and to B part. Lower the noise, and the arrow takes a side; raise it, and the arrow ends near "
        "the mean of all data, wherever x is."
    )
    alt = (
        "Three groups of data, A at the lower left, B at the lower right and C at the top, blurred by "
        "noise of σ = 1. A noisy point x lies below the middle between A and B; it came from A with "
        "probability 36 %, from B with 63 % and from C with 1 %. An arrow leads from x up to "
        "E[x₀ | x] = (0.52, −1.18), between A and B. Around its tip lies a flat ellipse with standard "
        "deviations 1.82 along and 0.40 across, longer than the dashed circle of radius 1. Small "
        "arrows of the score point from everywhere toward the nearest group."
    )
    reserve = (
        "calc(max(50cqw + 726px, 75cqw + 560px) - 0.2 * var(--xp-touch))",
        "max(455px, 43cqw + 151px)",
    )

    components = Components(
        ((-2.1, -1.1, 0.35), (2.1, -1.1, 0.35), (0.0, 1.8, 0.35)),
        (4.0, 3.0),
        (0.1, 1.5),
        "three (x, y, std), equally likely, |x| up to 4, |y| up to 3, std 0.1 to 1.5.",
    )
    probe = Point((0.15, -2.0), (4.0, 3.0), "the noisy point (x, y), within the same stage.")
    sigma = Number(1.0, *SIGMAS, "the noise level σ, from 0.05 to 8.")
    field = Flag(True, "whether the score field is drawn.")

    @property
    def mixture(self) -> "GaussianMixture":
        """The data as a `derived.diffusion.GaussianMixture`."""
        return _mixture(self.components)


class GuidancePaths(Explorable):
    """Guidance paths: from noise to data under guidance, beside the density one might expect.

    Data are components of three Gaussians in the plane. Paths follow the probability-flow ODE of
    the guided denoiser on Karras's noise levels from 80 to 0.002, then 0 (α = 1).
    """

    name = "guidance_paths"
    script = "diffusion_guidance.js"
    caption = (
        "Guidance paths. Guidance with a weight w above 1 is often said to sample the tilted density, on "
        "the right. What the guided ODE samples, on the left, lies farther out and closer together: the "
        "push away from the other data acts at every noise level, and only at the last one is it the "
        "tilted density’s. At w = 1 both are the data of the condition. Lower the number of steps to see "
        "what each solver makes of the same paths; drag the components, or choose “two Gaussians”, where "
        "both standard deviations are known: 2^((1 − w)/2) on the left, √(2/(w + 1)) on the right."
    )
    alt = (
        "Two squares show the same part of the plane with three groups of data, A at the lower left, B "
        "at the lower right, C at the top. On the right the tilted density for w = 3 is a round hill "
        "around A, with mean (−1.66, −1.04) and standard deviations (0.66, 0.67). On the left 24 paths "
        "lead from noise in the middle to 400 samples, which lie to the lower left of the hill, away "
        "from B and C: mean (−2.33, −1.42), standard deviations (0.51, 0.60). A table compares solvers "
        "at 20 steps: DDIM makes 20 network calls and has the error 0.14, Heun 39 and 0.067, DPM++ "
        "(2M) 20 and 0.12."
    )
    reserve = (
        "calc(max(130cqw + 867px, 200cqw + 541px) - 0.2 * var(--xp-touch))",
        "max(min(50cqw + 316px, 726px), 50cqw + 278px)",
    )

    components = Components(
        ((-1.6, -1.0, 0.7), (1.6, -1.0, 0.7), (0.0, 1.6, 0.7)),
        (4.0, 4.0),
        (0.3, 1.5),
        "three (x, y, std), |x| and |y| up to 4, std 0.3 to 1.5.",
    )
    population = Letters(
        "ABC",
        LETTERS,
        "the letters of the components, equally likely, of which all data consist.",
        **NAMED,
    )
    condition = Letters("A", LETTERS, "the letters of those that the condition asks for.", **NAMED)
    guidance = Number(
        3.0,
        0.0,
        GUIDANCE,
        "the weight w, from 0 (no condition) over 1 (the condition alone) to 8.",
    )
    solver = Choice("heun", SOLVERS, "one of those of `derived.diffusion.sample`.")
    steps = Integer(20, 1, STEPS, "the number of noise levels above 0, from 1 to 50.")
    seed = Integer(1, 1, SEEDS, "of the starting noise, an integer from 1 to 9999.")

    @property
    def mixtures(self) -> "tuple[GaussianMixture, GaussianMixture]":
        """All data, and those of the condition, as mixtures of `derived.diffusion`."""
        return tuple(
            _mixture([self.components[LETTERS.index(letter)] for letter in letters])
            for letters in (self.population, self.condition)
        )
