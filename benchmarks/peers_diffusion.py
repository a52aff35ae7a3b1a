"""Where the schedulers of diffusers agree with the equations and where they don't, run and recorded.

    python benchmarks/peers_diffusion.py

Data are N(2, 1), so that every denoiser is exact. Settings that a case doesn't name are the
library's defaults, but for `clip_sample=False`. Distances are the largest among 1,000 samples.
Writes chapters/recorded/diffusion_peers.json, whose rows a test measures again.
"""

import datetime
import itertools
import math
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
from _timing import store
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
)
from torch import Tensor

from derived.diffusion import GaussianMixture, Schedule, ddim_step, karras_sigmas, sample

__all__ = ["agree", "measure"]

MEAN = 2.0
LINEAR, FLOW = Schedule.linear(), Schedule.rectified_flow()
DATA = GaussianMixture(
    torch.ones(1, dtype=torch.float64),
    torch.full((1, 1), MEAN, dtype=torch.float64),
    torch.ones(1, dtype=torch.float64),
)
START = torch.randn(1000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
EXPLAINED = "an error that says why"
Value = float | str | list[float]


def outcome(run: Callable[[], Any]) -> Value:
    """Return what comes out: a number, a list of them, or which kind of failure."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = run()
    except (IndexError, ValueError) as error:
        return EXPLAINED if isinstance(error, ValueError) else type(error).__name__
    if isinstance(result, Tensor) and not result.isfinite().all():
        return "NaN or infinity"
    return result.tolist() if isinstance(result, Tensor) else result


def noise(x: Tensor, t: Tensor, schedule: Schedule = LINEAR) -> Tensor:
    """Return the exact prediction of the noise at a time of diffusers, which counts from 0."""
    alpha, sigma = schedule.alpha(t + 1), schedule.sigma(t + 1)
    return (x - alpha * DATA.denoise(x, alpha, sigma)) / sigma


def follow(scheduler: Any, steps: int) -> tuple[Tensor, list[int]]:
    """Return where a scheduler leads, and the times that it announces, counted from 1, and 0."""
    scheduler.set_timesteps(steps)
    x = START
    for t in scheduler.timesteps:
        x = scheduler.step(noise(x, t), t, x).prev_sample
    return x, [*(scheduler.timesteps + 1).tolist(), 0]


def by_hand(times: list[int]) -> Tensor:
    """Return where DDIM leads along some times, from the betas and in plain arithmetic."""
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    square = torch.cat([torch.ones(1, dtype=torch.float64), (1 - betas).cumprod(0)])
    x = START
    for t, s in itertools.pairwise(times):
        x0 = MEAN + square[t].sqrt() * (x - square[t].sqrt() * MEAN)  # the variance is always 1
        eps = (x - square[t].sqrt() * x0) / (1 - square[t]).sqrt()
        x = square[s].sqrt() * x0 + (1 - square[s]).sqrt() * eps
    return x


def distances(steps: int, **settings: Any) -> tuple[Callable[[], float], Callable[[], float]]:
    """Return how far theirs and ours end from DDIM along the times of their scheduler."""

    def run() -> tuple[Tensor, list[int]]:
        return follow(DDIMScheduler(**{"clip_sample": False} | settings), steps)

    def theirs() -> float:
        end, times = run()
        return (end - by_hand(times)).abs().max().item()

    def ours() -> float:
        _, times = run()
        end = sample(DATA.denoiser(LINEAR), START, times, LINEAR)
        return (end - by_hand(times)).abs().max().item()

    return theirs, ours


def ran(end: Tensor) -> str:
    return "samples" if end.isfinite().all() else "NaN or infinity"


def multistep() -> str:
    """Sample by DPM++(2M) with Karras' levels on the cosine schedule."""
    scheduler = DPMSolverMultistepScheduler(
        beta_schedule="squaredcos_cap_v2", use_karras_sigmas=True
    )
    scheduler.set_timesteps(10)
    x = START
    for t in scheduler.timesteps:
        x = scheduler.step(noise(x, t, Schedule.cosine()), t, x).prev_sample
    return ran(x)


def own_multistep() -> str:
    wide = Schedule.edm(2e4)  # the noise of the cosine schedule goes up to there
    sigmas = karras_sigmas(10, 0.006, 2e4)
    return ran(sample(DATA.denoiser(wide), 2e4 * START, sigmas, wide, "dpmpp_2m"))


def from_no_signal() -> Tensor:
    scheduler = DDIMScheduler(
        clip_sample=False, rescale_betas_zero_snr=True, timestep_spacing="trailing"
    )
    scheduler.set_timesteps(10)
    return scheduler.step(START, scheduler.timesteps[0], START + 1).prev_sample


def shifted() -> Tensor:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(4)
    return scheduler.sigmas


def shifted_levels() -> Tensor:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(sigmas=[1.0, 0.75, 0.5, 0.25])
    return scheduler.sigmas


def own_shifted() -> Tensor:
    return FLOW.shifted(3.0).sigma(FLOW.times(4))


ZERO = LINEAR.with_zero_terminal_snr()
LEVELS = [1.0, 0.9, 0.75, 0.5, 0.0]
AWAY = "distance from DDIM along its own times"

# what is asked, the right answer, and who is asked: diffusers and this book
CASES: list[tuple[str, Value, Callable[[], Any], Callable[[], Any]]] = [
    (f"DDIM, 10 steps, leading: {AWAY}", 0.0, *distances(10)),
    (f"DDIM, 7 steps, leading: {AWAY}", 0.0, *distances(7)),
    (f"DDIM, 7 steps, trailing: {AWAY}", 0.0, *distances(7, timestep_spacing="trailing")),
    (f"DDIM, 7 steps, linspace: {AWAY}", 0.0, *distances(7, timestep_spacing="linspace")),
    (f"DDIM, 10 steps, default clipping: {AWAY}", 0.0, *distances(10, clip_sample=True)),
    (
        "DDIM, 7 steps, default spacing: the first step, of 1,000",
        1000,
        lambda: follow(DDIMScheduler(clip_sample=False), 7)[1][0],
        lambda: LINEAR.times(7)[0],
    ),
    (
        "prediction of the noise where the SNR is 0",
        EXPLAINED,
        from_no_signal,
        lambda: ddim_step(START + 1, START, 1000, 900, ZERO),
    ),
    ("rectified flow, 4 steps shifted by 3: levels", LEVELS, shifted, own_shifted),
    ("the same, the unshifted levels given", LEVELS, shifted_levels, own_shifted),
    ("DPM++(2M), 10 steps, cosine schedule, Karras' levels", "samples", multistep, own_multistep),
    (
        "noise of the first of 1,000 steps: relative error",
        0.0,
        lambda: abs((1 - DDIMScheduler().alphas_cumprod[0]).sqrt().item() / 0.01 - 1),
        lambda: abs(LINEAR.sigma(1).item() / 0.01 - 1),
    ),
]


def measure() -> list[dict[str, Any]]:
    """Run all cases and return them as rows of a table."""
    return [
        {"case": case, "right": right, "diffusers": outcome(theirs), "derived": outcome(ours)}
        for case, right, theirs, ours in CASES
    ]


def agree(value: Value, right: Value) -> bool:
    """Say whether an answer is right, to the digits of float32."""
    if isinstance(value, str) or isinstance(right, str):
        return value == right
    values, rights = (v if isinstance(v, list) else [v] for v in (value, right))
    return len(values) == len(rights) and all(
        math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-5) for a, b in zip(values, rights, strict=True)
    )


def main() -> None:
    torch.set_num_threads(1)
    rows = measure()
    for row in rows:
        print(row["case"])
        for who in ("right", "diffusers", "derived"):
            print(f"    {who:10} {row[who]}")
    record = {
        "versions": {name: version(name) for name in ("torch", "diffusers")},
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cases": rows,
    }
    store("chapters/recorded/diffusion_peers.json", record)


if __name__ == "__main__":
    main()
