"""Train the weights that ship with the book, and store them with the recipe they came from."""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from derived.data import mnist
from derived.training import fit, moving_average, seed_everything
from derived.unet import UNet

__all__ = ["RECIPES", "diffusion", "digest", "held_out", "main", "velocity_loss"]

FOLDER = Path("chapters") / "checkpoints"
HELD_OUT = 500  # digits that no checkpoint has seen, 50 a class on average
CLASSES = 10  # and as a label: of no known class
UNLABELED = 0.1  # of the rows train the prediction without a class, which guidance needs


def held_out() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return the digits in -1..1 with their labels, 4,500 to train on and the 500 held out."""
    images, labels = mnist()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    images, labels = images[order, None] * 2 - 1, labels[order]
    return (images[HELD_OUT:], labels[HELD_OUT:]), (images[:HELD_OUT], labels[:HELD_OUT])


def velocity_loss(model: nn.Module, x0: Tensor, labels: Tensor) -> Tensor:
    """Return the squared error of the velocity ε - x_0 on the way x_t = (1 - t) x_0 + t ε.

    Times are the logistic function of a standard normal variable (Esser et al., 2024, section
    3.1); a tenth of the labels are replaced by "of no known class".
    """
    eps = torch.randn_like(x0)
    t = torch.randn(len(x0), device=x0.device).sigmoid()
    known = torch.rand(len(x0), device=x0.device) >= UNLABELED
    labels = torch.where(known, labels, CLASSES)
    weight = t[:, None, None, None]
    answer = model((1 - weight) * x0 + weight * eps, t, labels)
    return (answer - (eps - x0)).square().mean()


def diffusion(*, steps: int = 2000, seed: int = 0) -> tuple[UNet, dict]:
    """Train the UNet on the digits; return the average of its weights and the recipe."""
    seed_everything(seed)
    model = UNet(classes=CLASSES)
    average = moving_average(model, decay=0.995)
    options = {"steps": steps, "batch_size": 64, "lr": 3e-3, "seed": seed, "clip": 1.0}
    train, _ = held_out()
    losses = fit(model, velocity_loss, train, ema=average, **options)
    final = losses[-100:].mean().item()
    return average.module, {"config": model.config, "options": options, "final loss": final}


def digest(model: nn.Module) -> str:
    """Return a hash of a model's weights in half precision, in the order of their names."""
    state = model.state_dict()
    raw = b"".join(state[name].half().cpu().numpy().tobytes() for name in sorted(state))
    return hashlib.sha256(raw).hexdigest()[:16]


RECIPES: dict[str, Callable[..., tuple[nn.Module, dict]]] = {"diffusion": diffusion}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line `python -m bookkit.checkpoints` and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m bookkit.checkpoints", description=__doc__)
    parser.add_argument("name", nargs="*", help=f"of {', '.join(RECIPES)}; all without any")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where to store them")
    parser.add_argument("--steps", type=int, help="another number of steps, for a trial")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for name in options.name or RECIPES:
        start = time.process_time()
        model, recipe = RECIPES[name](**({"steps": options.steps} if options.steps else {}))
        seconds = time.process_time() - start
        recipe |= {
            "command": f"python -m bookkit.checkpoints {name}",
            "torch": torch.__version__,
            "CPU seconds": round(seconds),
            "weights": digest(model),
        }
        path = options.folder / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        weights = {key: each.half().contiguous() for key, each in model.state_dict().items()}
        save_file(weights, path, {key: json.dumps(value) for key, value in recipe.items()})
        print(f"{path}: loss {recipe['final loss']:.4f} in {seconds:.0f} CPU-s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
