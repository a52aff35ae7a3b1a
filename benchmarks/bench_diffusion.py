"""How exact and how fast are the samplers of `derived.diffusion`, beside diffusers' schedulers?

    python benchmarks/bench_diffusion.py [--rounds 15]

Exactness: one step of DDIM and the noising in float32, at every time of the linear chain, against
50 digits; the largest relative error, over all times and over those below 20.

Speed: 20 steps from noise to data, float32, 16 images of 3 x 32 x 32, one thread, CPU time; checks
of values are on, as by default. Once with a small network of two layers, once with a denoiser that
costs next to nothing, which shows the sampler's own cost alone: ours computes in float64 inside.
Both sample along the same times; the network predicts x0.

Writes benchmarks/results/diffusion.json.
"""

import argparse
import math
import statistics
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any

import torch
from _timing import conditions, interleaved, ratio, store
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
)
from torch import Tensor, nn

from derived.diffusion import Schedule, add_noise, ddim_step, sample

STEPS, SHAPE = 20, (16, 3, 32, 32)
LEAST = (
    0.95  # how many times faster than diffusers the samplers are to be, at least, with a network
)
MOST = 1e-6  # the largest relative error that single steps are to have
LINEAR, FLOW = Schedule.linear(), Schedule.rectified_flow()


def exact_levels() -> list[tuple[Decimal, Decimal]]:
    """Return alpha and sigma with 50 digits, from the betas as they are in float64."""
    square, pairs = Decimal(1), [(Decimal(1), Decimal(0))]
    for beta in torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64).tolist():
        square *= 1 - Decimal(beta)
        pairs.append((square.sqrt(), (1 - square).sqrt()))
    return pairs


def exactness() -> dict[str, dict[str, dict[str, float]]]:
    """Return the largest relative errors, of all times and of those below 20."""
    x, eps, t = torch.full((1000,), 1.25), torch.full((1000,), -0.5), torch.arange(1, 1001)
    one, half = Decimal("1.25"), Decimal("-0.5")
    ddim = DDIMScheduler(clip_sample=False)
    ddim.set_timesteps(1000)
    steps = [ddim.step(eps[:1], i, x[:1]).prev_sample for i in range(1000)]
    with localcontext(prec=50):
        exact = exact_levels()
        pairs = list(zip(exact[1:], exact[:-1], strict=True))
        right = {
            "ddim step": [a_s * (one - b * half) / a + b_s * half for (a, b), (a_s, b_s) in pairs],
            "noising": [a * one + b * half for a, b in exact[1:]],
        }
        found = {
            "ddim step": {
                "diffusers": torch.cat(steps),
                "derived": ddim_step(x, eps, t, t - 1, LINEAR),
            },
            "noising": {
                "diffusers": ddim.add_noise(x, eps, t - 1),
                "derived": add_noise(x, eps, t, LINEAR),
            },
        }
        return {
            what: {
                who: {
                    "all": relative(values, right[what]),
                    "below 20": relative(values[:19], right[what][:19]),
                }
                for who, values in found[what].items()
            }
            for what in right
        }


def relative(values: Tensor, exact: list[Decimal]) -> float:
    pairs = zip(values.tolist(), exact, strict=True)
    return float(max(abs((Decimal(value) - right) / right) for value, right in pairs))


def follow(
    scheduler: Any, x: Tensor, denoise: Callable, options: dict[str, Any], **more: Any
) -> Tensor:
    """Follow a scheduler of diffusers from noise to data."""
    scheduler.set_timesteps(**options)
    for t in scheduler.timesteps:
        x = scheduler.step(denoise(x, t), t, x, **more).prev_sample
    return x


def samplers(denoise: Callable) -> dict[str, tuple[Callable, Callable]]:
    """Return pairs of the same sampler: diffusers' and ours."""
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    count = {"num_inference_steps": STEPS}
    ddim = DDIMScheduler(clip_sample=False, prediction_type="sample")
    multistep = DPMSolverMultistepScheduler(timestep_spacing="leading", prediction_type="sample")
    flow = FlowMatchEulerDiscreteScheduler()
    levels = torch.linspace(1, 0, STEPS + 1, dtype=torch.float64)

    def noise() -> dict[str, Any]:
        return {"eta": 1.0, "generator": torch.Generator().manual_seed(1)}

    def times(scheduler: Any) -> Tensor:
        scheduler.set_timesteps(**count)
        return torch.cat([scheduler.timesteps + 1, torch.zeros(1, dtype=torch.long)])

    def velocity(x: Tensor, t: Tensor) -> Tensor:  # of a sample that the network predicts
        return (x - denoise(x, t)) / (t / 1000)

    even, other = times(ddim), times(multistep)
    return {
        "ddim": (
            lambda: follow(ddim, x, denoise, count),
            lambda: sample(denoise, x, even, LINEAR),
        ),
        "ancestral": (
            lambda: follow(ddim, x, denoise, count, **noise()),
            lambda: sample(denoise, x, even, LINEAR, **noise()),
        ),
        "dpmpp_2m": (
            lambda: follow(multistep, x, denoise, count),
            lambda: sample(denoise, x, other, LINEAR, "dpmpp_2m"),
        ),
        "rectified flow": (
            lambda: follow(flow, x, velocity, {"sigmas": levels[:-1].tolist()}),
            lambda: sample(denoise, x, levels, FLOW),
        ),
    }


def network() -> Callable[[Tensor, Tensor], Tensor]:
    size, width = math.prod(SHAPE[1:]), 1024
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(size, width), nn.SiLU(), nn.Linear(width, size)).eval()
    return lambda x, t: model(x.flatten(1)).view_as(x)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)

    errors = exactness()
    for what, by in errors.items():
        for who, error in by.items():
            aim = f"   at most {MOST:g} is aimed at" if who == "derived" else ""
            print(
                f"{what:10} {who:10} relative error {error['all']:.1e}, "
                f"below step 20 {error['below 20']:.1e}{aim}"
            )

    speed = {}
    with torch.no_grad():
        for name, denoise in (("network", network()), ("bare", lambda x, t: 0.5 * x)):
            for solver, (theirs, ours) in samplers(denoise).items():
                assert torch.allclose(theirs(), ours(), rtol=1e-4, atol=1e-4), solver
                times = interleaved({"diffusers": theirs, "derived": ours}, rounds=rounds)
                medians = {who: statistics.median(values) for who, values in times.items()}
                faster, low, high = ratio(times["diffusers"], times["derived"])
                speed[f"{solver}, {name}"] = {
                    "ms": medians,
                    "times_faster": faster,
                    "quartiles": [low, high],
                }
                aim = f"   at least {LEAST:g} is aimed at" if name == "network" else ""
                print(
                    f"{solver:14} {name:8} {medians['diffusers']:8.2f} {medians['derived']:8.2f} ms"
                    f"   {faster:5.2f} times faster ({low:.2f} to {high:.2f}){aim}"
                )
    record = conditions(rounds) | {"results": {"exactness": errors, "speed": speed}}
    store("benchmarks/results/diffusion.json", record)


if __name__ == "__main__":
    main()
