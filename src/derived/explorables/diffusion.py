"""The interactive figures of the chapter on diffusion."""

import math
from typing import TYPE_CHECKING, Any

import traitlets

from derived.explorables._base import Explorable

if TYPE_CHECKING:
    from derived.diffusion import GaussianMixture

__all__ = ["DenoiseAPoint", "GuidancePaths"]

LETTERS = "ABC"
SIGMAS = (0.05, 8.0)  # as in diffusion_denoise.js
SOLVERS = ("ddim", "heun", "dpmpp_2m")
STEPS, GUIDANCE, SEEDS = 50, 8.0, 9999  # largest values, as in diffusion_guidance.js


def _number(name: str, value: Any, low: float, high: float) -> float:
    """Return `value` as a float between `low` and `high`, or say what is wrong with it."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{name} must be a number from {low:g} to {high:g}; got {value!r}")
    return float(value)


def _numbers(value: Any) -> tuple[float, ...]:
    """Return `value` as a tuple of finite floats, empty if it is none."""
    try:
        found = tuple(float(number) for number in value)
    except (TypeError, ValueError):
        return ()
    return found if all(map(math.isfinite, found)) else ()


def _components(
    value: Any, reach: tuple[float, float], stds: tuple[float, float]
) -> tuple[tuple[float, ...], ...]:
    """Return `value` as three (x, y, std) within the stage, or say what is wrong with it."""
    try:
        found = tuple(_numbers(component) for component in value)
    except TypeError:
        found = ()
    if len(found) != len(LETTERS) or any(len(component) != 3 for component in found):
        raise ValueError(f"components must be three times (x, y, std); got {value!r}")
    for letter, (x, y, std) in zip(LETTERS, found, strict=True):
        if not (abs(x) <= reach[0] and abs(y) <= reach[1] and stds[0] <= std <= stds[1]):
            raise ValueError(
                f"components: {letter} must have |x| up to {reach[0]:g}, |y| up to {reach[1]:g} and a "
                f"std from {stds[0]:g} to {stds[1]:g}; got {(x, y, std)}"
            )
    return found


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

    Args:
        components: three (x, y, std), equally likely, |x| up to 4, |y| up to 3, std 0.1 to 1.5.
        probe: the noisy point (x, y), within the same stage.
        sigma: the noise level σ, from 0.05 to 8.
        field: whether the score field is drawn.

    What the reader drags comes back: `figure.probe`, `figure.sigma`, … always hold the present
    state.

    Raises:
        ValueError: for any other value, naming the argument and what came.
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

    components = traitlets.Any().tag(sync=True, state=True)
    probe = traitlets.Any().tag(sync=True, state=True)
    sigma = traitlets.Any().tag(sync=True, state=True)
    field = traitlets.Any().tag(sync=True, state=True)

    def __init__(
        self,
        *,
        components: Any = ((-2.1, -1.1, 0.35), (2.1, -1.1, 0.35), (0.0, 1.8, 0.35)),
        probe: Any = (0.15, -2.0),
        sigma: Any = 1.0,
        field: Any = True,
    ) -> None:
        super().__init__(components=components, probe=probe, sigma=sigma, field=field)

    @property
    def mixture(self) -> "GaussianMixture":
        """The data as a `derived.diffusion.GaussianMixture`."""
        return _mixture(self.components)

    @traitlets.validate("components")
    def _valid_components(self, proposal: Any) -> tuple[tuple[float, ...], ...]:
        return _components(proposal.value, (4.0, 3.0), (0.1, 1.5))

    @traitlets.validate("probe")
    def _valid_probe(self, proposal: Any) -> tuple[float, ...]:
        probe = _numbers(proposal.value)
        if len(probe) != 2 or abs(probe[0]) > 4 or abs(probe[1]) > 3:
            message = "probe must be (x, y) with |x| up to 4 and |y| up to 3"
            raise ValueError(f"{message}; got {proposal.value!r}")
        return probe

    @traitlets.validate("sigma")
    def _valid_sigma(self, proposal: Any) -> float:
        return _number("sigma", proposal.value, *SIGMAS)

    @traitlets.validate("field")
    def _valid_field(self, proposal: Any) -> bool:
        if type(proposal.value) is not bool:
            raise ValueError(f"field must be True or False; got {proposal.value!r}")
        return proposal.value


class GuidancePaths(Explorable):
    """Guidance paths: from noise to data under guidance, beside the density one might expect.

    Data are components of three Gaussians in the plane. Paths follow the probability-flow ODE of
    the guided denoiser on Karras's noise levels from 80 to 0.002, then 0 (α = 1).

    Args:
        components: three (x, y, std), |x| and |y| up to 4, std 0.3 to 1.5.
        population: the letters of the components, equally likely, of which all data consist.
        condition: the letters of those that the condition asks for.
        guidance: the weight w, from 0 (no condition) over 1 (the condition alone) to 8.
        solver: "ddim", "heun" or "dpmpp_2m", as in `derived.diffusion.sample`.
        steps: the number of noise levels above 0, from 1 to 50.
        seed: of the starting noise, an integer from 1 to 9999.

    What the reader moves comes back: `figure.guidance`, `figure.steps`, … always hold the present
    state.

    Raises:
        ValueError: for any other value, naming the argument and what came.
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

    components = traitlets.Any().tag(sync=True, state=True)
    population = traitlets.Any().tag(sync=True, state=True)
    condition = traitlets.Any().tag(sync=True, state=True)
    guidance = traitlets.Any().tag(sync=True, state=True)
    solver = traitlets.Any().tag(sync=True, state=True)
    steps = traitlets.Any().tag(sync=True, state=True)
    seed = traitlets.Any().tag(sync=True, state=True)

    def __init__(
        self,
        *,
        components: Any = ((-1.6, -1.0, 0.7), (1.6, -1.0, 0.7), (0.0, 1.6, 0.7)),
        population: Any = "ABC",
        condition: Any = "A",
        guidance: Any = 3.0,
        solver: Any = "heun",
        steps: Any = 20,
        seed: Any = 1,
    ) -> None:
        super().__init__(
            components=components,
            population=population,
            condition=condition,
            guidance=guidance,
            solver=solver,
            steps=steps,
            seed=seed,
        )

    @property
    def mixtures(self) -> "tuple[GaussianMixture, GaussianMixture]":
        """All data, and those of the condition, as mixtures of `derived.diffusion`."""
        return tuple(
            _mixture([self.components[LETTERS.index(letter)] for letter in letters])
            for letters in (self.population, self.condition)
        )

    @traitlets.validate("components")
    def _valid_components(self, proposal: Any) -> tuple[tuple[float, ...], ...]:
        return _components(proposal.value, (4.0, 4.0), (0.3, 1.5))

    @traitlets.validate("population", "condition")
    def _valid_letters(self, proposal: Any) -> str:
        name, letters = proposal.trait.name, proposal.value
        if (
            not isinstance(letters, str)
            or not letters
            or len(set(letters)) != len(letters)
            or not set(letters) <= set(LETTERS)
        ):
            raise ValueError(f"{name} must be different letters of A, B and C; got {letters!r}")
        return "".join(sorted(letters))

    @traitlets.validate("guidance")
    def _valid_guidance(self, proposal: Any) -> float:
        return _number("guidance", proposal.value, 0.0, GUIDANCE)

    @traitlets.validate("solver")
    def _valid_solver(self, proposal: Any) -> str:
        if proposal.value not in SOLVERS:
            raise ValueError(f"solver must be one of {', '.join(SOLVERS)}; got {proposal.value!r}")
        return proposal.value

    @traitlets.validate("steps", "seed")
    def _valid_integer(self, proposal: Any) -> int:
        name, value = proposal.trait.name, proposal.value
        high = STEPS if name == "steps" else SEEDS
        if type(value) is not int or not 1 <= value <= high:
            raise ValueError(f"{name} must be an integer from 1 to {high}; got {value!r}")
        return value
