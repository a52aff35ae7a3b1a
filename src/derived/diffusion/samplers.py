"""The way from noise to data: single steps, solvers, noise levels."""

import math
import numbers
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, get_args

import torch
from jaxtyping import Float, Real
from torch import Tensor

from derived._validation import (
    checks_values,
    count,
    finite_number,
    one_of,
    optional,
    positive,
    same_shape,
    share,
    validated,
)
from derived.diffusion._common import Denoiser, Solver, Time, _batch
from derived.diffusion.predictions import guide
from derived.diffusion.schedules import Schedule, _levels, _schedule, _timed

_LARGEST = 700  # the logarithm of a number that float64 holds, as does its inverse


def _falling(first: str, second: str) -> Callable[[dict[str, Any]], None]:
    """Return a check that one time is before another, for every sample."""

    def check(arguments: dict[str, Any]) -> None:
        if checks_values():
            t, s = (torch.as_tensor(arguments[name]) for name in (first, second))
            if not (t > s.to(t.device)).all():
                raise ValueError(f"{second}: expected less noise than at {first} = {t}, got {s}")

    return check


def _signal_left(arguments: dict[str, Any]) -> None:
    """Refuse to find x0 from the noise where there is nothing of it."""
    if checks_values() and (arguments["schedule"]._levels_at(arguments["t"])[0] == 0).any():
        raise ValueError(
            "eps: at SNR 0 x is the noise itself, and a prediction of the noise says nothing of "
            "x0, which the step needs; use sample(), with a denoiser that predicts x0"
        )


@validated(
    same_shape("x", "eps"),
    _timed("x", "t", "s"),
    _falling("t", "s"),
    _signal_left,
    x=_batch,
    eps=_batch,
    schedule=_schedule,
    eta=share,
)
def ddim_step(
    x: Float[Tensor, "batch *size"],
    eps: Float[Tensor, "batch *size"],
    t: Time,
    s: Time,
    schedule: Schedule,
    *,
    eta: numbers.Real = 0.0,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch *size"]:
    r"""Return $x_s=\alpha_s\hat x_0+\sqrt{\sigma_s^2-\varsigma^2}\,\hat\varepsilon+\varsigma z$ for $s<t$ (diffusion-ddim).

    $\varsigma$ is `eta` times the standard deviation of the posterior of the step from `t` to `s`,
    however long it is (diffusion-eta): 0 is the deterministic DDIM, 1 ancestral sampling.

    Shapes: `(batch, ...)`, the same for `x` and `eps`; the result has the dtype of `x`.

    Raises:
        ValueError: for different shapes, a time outside the schedule, `s` not before `t`, SNR 0 at
            `t`, an `eta` outside [0, 1].

    Source: Song et al. (2021), equations 12 and 16.
    """
    now, then = _levels(schedule, t, x), _levels(schedule, s, x)
    x0 = (x.double() - now[1] * eps.double()) / now[0]
    draw = _noise(x, generator)
    return _ddim(x0, eps.double(), now, then, eta, draw).to(x.dtype)


def _noise(x: Tensor, generator: torch.Generator | None) -> Callable[[], Tensor]:
    """Return what draws noise for `x` in its dtype, so that one seed gives what other code draws."""
    return lambda: torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)


def _ddim(
    x0: Tensor,
    eps: Tensor,
    now: tuple[Tensor, Tensor],
    then: tuple[Tensor, Tensor],
    eta: float,
    draw: Callable[[], Tensor],
) -> Tensor:
    (alpha_t, sigma_t), (alpha_s, sigma_s) = now, then
    if eta == 0:
        return alpha_s * x0 + sigma_s * eps
    # The posterior's share of the variance is 1 - rho²; as products, neither root can fail.
    rho = alpha_t * sigma_s / (alpha_s * sigma_t)
    noise = eta * sigma_s * ((1 - rho) * (1 + rho)).sqrt()
    rest = sigma_s * (1 - eta**2 + (eta * rho) ** 2).sqrt()
    return alpha_s * x0 + rest * eps + noise * draw()


def _grid(arguments: dict[str, Any]) -> None:
    """Refuse times that don't lead from noise to data."""
    given, schedule = arguments["times"], arguments["schedule"]
    if isinstance(given, list | tuple) and any(isinstance(time, bool) for time in given):
        raise ValueError(f"times: expected numbers, got {given!r}")
    times = torch.as_tensor(given, dtype=torch.float64)
    if times.ndim != 1 or len(times) < 2:
        raise ValueError(f"times: expected at least 2 in a list, got shape {tuple(times.shape)}")
    schedule._check("times", given if isinstance(given, Tensor) else times)
    wrong = ~(times[1:] < times[:-1])
    if wrong.any():
        i = wrong.nonzero()[0].item()
        a, b = times[i].item(), times[i + 1].item()
        what = "the same time twice" if a == b else "noise is added"
        raise ValueError(
            f"times[{i}], times[{i + 1}] = {a:g}, {b:g}: {what}; expected times that fall, from "
            "noise to data"
        )


def _options(arguments: dict[str, Any]) -> None:
    """Refuse options that don't go together."""
    if (arguments["unconditional"] is None) != (arguments["guidance"] is None):
        raise ValueError("guidance and unconditional: expected both or neither")
    if arguments["eta"] != 0 and arguments["solver"] != "ddim":
        raise ValueError(f"eta: expected 0 for {arguments['solver']}, a solver of the ODE")


@validated(
    _grid,
    _options,
    x=_batch,
    schedule=_schedule,
    solver=one_of(get_args(Solver)),
    guidance=optional(finite_number),
    clip=optional(positive),
    eta=share,
)
def sample(
    denoiser: Denoiser,
    x: Float[Tensor, "batch *size"],
    times: Real[Tensor, "n"] | Sequence[numbers.Real],
    schedule: Schedule,
    solver: Solver = "ddim",
    *,
    guidance: numbers.Real | None = None,
    unconditional: Denoiser | None = None,
    clip: numbers.Real | None = None,
    eta: numbers.Real = 0.0,
    generator: torch.Generator | None = None,
    observe: Callable[[Tensor], Any] | None = None,
) -> Float[Tensor, "batch *size"]:
    r"""Follow the probability-flow ODE from the state `x` at `times[0]` to `times[-1]`.

    - `ddim`: order 1, one call of the denoiser a step (see diffusion-ddim); with `eta` the stochastic family.
    - `heun`: order 2, two calls a step (diffusion-heun), in $x/\alpha$ against $\sigma/\alpha$.
    - `dpmpp_2m`: order 2, one call a step (diffusion-dpmpp), from this denoised state and the one before.

    Where a second-order step has no formula, it's the first order's: with Heun the step to
    $\sigma=0$ and the one from SNR 0; with DPM++ the first, the one to $\sigma=0$, and the two after
    SNR 0.

    Args:
        denoiser: see `derived.diffusion`.
        x: the start, `(batch, ...)`, of standard deviation $\sigma$ if it's pure noise.
        times: falling, at least 2, as of `schedule.times` or `karras_sigmas`.
        guidance: the weight of `guide`, if any, with `unconditional`, the denoiser without the
            condition.
        clip: if given, what is denoised (and guided) is clipped to [-clip, clip].
        eta: see `ddim_step`; only for `ddim`.
        generator: of the noise of `eta`.
        observe: called with each state, the first and the last included, in x's dtype.

    Raises:
        ValueError: for times that don't fall (duplicates included) or are outside the schedule,
            fewer than 2 of them, guidance without an unconditional denoiser or the reverse, `eta`
            with a solver of the ODE, a denoiser that returns another shape.

    Source: Song et al. (2021), equation 12; Karras et al. (2022), algorithm 1; Lu et al. (2022b),
    algorithm 2.
    """
    times = torch.as_tensor(times, dtype=torch.float64)
    levels = [_levels(schedule, t, x) for t in times]
    kind = torch.int64 if schedule.discrete else torch.promote_types(x.dtype, torch.float32)

    def denoised(state: Tensor, i: int) -> Tensor:
        t = times[i].to(x.device, kind).expand(len(x))
        # A copy for each, which a denoiser may change.
        result = denoiser(state.to(x.dtype, copy=True), t)
        if result.shape != x.shape:
            raise ValueError(
                f"denoiser: expected the shape of x, {tuple(x.shape)}, got {tuple(result.shape)}"
            )
        if unconditional is not None:
            result = guide(
                result.double(), unconditional(state.to(x.dtype, copy=True), t).double(), guidance
            )
        return result.double() if clip is None else result.double().clamp(-clip, clip)

    step = {
        "ddim": partial(_ddim_solver, eta=eta, draw=_noise(x, generator)),
        "heun": _heun_solver,
        "dpmpp_2m": _dpmpp_solver,
    }[solver]
    state, memory = x.double(), None
    if observe is not None:
        observe(x.clone())
    for i in range(len(times) - 1):
        state, memory = step(denoised, state, i, levels, memory)
        if observe is not None:
            observe(state.to(x.dtype, copy=True))
    return state.to(x.dtype)


Levels = list[tuple[Tensor, Tensor]]


def _ddim_solver(
    denoised: Callable[[Tensor, int], Tensor],
    x: Tensor,
    i: int,
    levels: Levels,
    memory: Tensor | None,
    eta: float,
    draw: Callable[[], Tensor],
) -> tuple[Tensor, None]:
    alpha, sigma = levels[i]
    x0 = denoised(x, i)
    return _ddim(x0, (x - alpha * x0) / sigma, levels[i], levels[i + 1], eta, draw), None


def _heun_solver(
    denoised: Callable[[Tensor, int], Tensor],
    x: Tensor,
    i: int,
    levels: Levels,
    memory: Tensor | None,
) -> tuple[Tensor, None]:
    (alpha_t, sigma_t), (alpha_s, sigma_s) = levels[i : i + 2]
    x0 = denoised(x, i)
    eps = (x - alpha_t * x0) / sigma_t
    euler = alpha_s * x0 + sigma_s * eps
    if sigma_s == 0 or alpha_t == 0:
        return euler, None
    eps_s = (euler - alpha_s * denoised(euler, i + 1)) / sigma_s
    change = (sigma_s / alpha_s - sigma_t / alpha_t) * (eps + eps_s) / 2
    return alpha_s * (x / alpha_t + change), None


def _dpmpp_solver(
    denoised: Callable[[Tensor, int], Tensor],
    x: Tensor,
    i: int,
    levels: Levels,
    memory: Tensor | None,
) -> tuple[Tensor, Tensor]:
    (alpha_s, sigma_s), (_, sigma_t) = levels[i + 1], levels[i]
    lambdas = [alpha.log() - sigma.log() for alpha, sigma in levels[max(0, i - 1) : i + 2]]
    h = lambdas[-1] - lambdas[-2]
    x0 = denoised(x, i)
    target = x0
    if memory is not None and sigma_s > 0:
        half = h / (2 * (lambdas[-2] - lambdas[-3]))  # 1/2r
        target = (1 + half) * x0 - half * memory
    return sigma_s / sigma_t * x - alpha_s * (-h).expm1() * target, x0


@validated(
    n=count,
    sigma_min=positive,
    sigma_max=positive,
    rho=positive,
)
def karras_sigmas(
    n: int,
    sigma_min: numbers.Real = 0.002,
    sigma_max: numbers.Real = 80.0,
    rho: numbers.Real = 7.0,
) -> Float[Tensor, "{n}+1"]:
    r"""Return `n` noise levels from `sigma_max` to `sigma_min`, and 0, evenly spaced in $\sigma^{1/\rho}$.

    The times of `n` steps for `Schedule.edm`; for `n = 1` they are `sigma_max` and 0.

    Raises:
        ValueError: for no steps, numbers that aren't positive, `sigma_min` not below `sigma_max`,
            a `rho` so small that a power exceeds float64.

    Source: Karras et al. (2022), equation 5.
    """
    if sigma_min >= sigma_max:
        raise ValueError(f"sigma_min: expected less than sigma_max = {sigma_max}, got {sigma_min}")
    if max(abs(math.log(sigma)) for sigma in (sigma_min, sigma_max)) > _LARGEST * rho:
        raise ValueError(
            f"rho: expected a number with which sigma^(1/rho) is one of float64, got {rho} for "
            f"sigma from {sigma_min} to {sigma_max}"
        )
    ends = [sigma ** (1 / rho) for sigma in (sigma_max, sigma_min)]
    sigmas = torch.linspace(*ends, n, dtype=torch.float64) ** rho
    sigmas[0] = sigma_max
    return torch.nn.functional.pad(sigmas, (0, 1))
