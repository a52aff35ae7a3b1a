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
from torch import nn

from derived.training import fit, moving_average, seed_everything
from derived.unet import UNet, held_out, velocity_loss

__all__ = ["RECIPES", "diffusion", "digest", "main"]

FOLDER = Path("chapters") / "checkpoints"


def diffusion(*, steps: int = 2000, seed: int = 0) -> tuple[UNet, dict]:
    """Train the UNet on the digits; return the average of its weights and the recipe."""
    seed_everything(seed)
    model = UNet()
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
    """Run the command line `python -m bookkit.stored.checkpoints` and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bookkit.stored.checkpoints", description=__doc__
    )
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
            "command": f"make checkpoints CHAPTERS={name}",
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
