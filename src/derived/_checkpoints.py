"""A run of training as one safetensors file: all that must be known to go on to the last bit."""

import json
import math
import os
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

__all__ = ["Run", "generators", "restore_generators"]


@dataclass
class Run:
    """What training changes as it goes, beside the generators, and the settings it started with."""

    model: nn.Module
    average: nn.Module | None
    descent: Optimizer
    plan: LRScheduler
    settings: dict[str, Any]
    losses: list[Tensor] = field(default_factory=list)

    def save(self, path: Path, generators: dict[str, Tensor]) -> None:
        """Write the run and the states of its generators; an interrupted write leaves the old file.

        Raises:
            ValueError: for a state of the model that is neither a tensor nor plain data.
        """
        from safetensors.torch import save_file

        descent = self.descent.state_dict()
        moments = {str(index): state for index, state in descent["state"].items()}
        parts = {"model": self.model.state_dict(), "generator": generators}
        parts |= {f"optimizer.{index}": state for index, state in moments.items()}
        if self.average:
            parts["ema"] = self.average.state_dict()
        state = {f"{part}/{name}": value for part in parts for name, value in parts[part].items()}
        tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
        extra = {name: value for name, value in state.items() if name not in tensors}
        for name, value in extra.items():  # as `nn.Module.get_extra_state` returns it
            _plain_data(name, value)
        tensors["losses"] = torch.stack(self.losses) if self.losses else torch.empty(0)
        # Clones, because safetensors refuses weights that share memory or aren't contiguous.
        dense = torch.contiguous_format
        tensors = {
            name: tensor.detach().cpu().clone(memory_format=dense)
            for name, tensor in tensors.items()
        }
        plain = {
            "settings": self.settings,
            "optimizer": descent["param_groups"],
            "schedule": self.plan.state_dict(),
            "extra": extra,
        }
        unfinished = path.with_name(f"{path.name}.part")
        save_file(tensors, unfinished, {name: json.dumps(value) for name, value in plain.items()})
        os.replace(unfinished, path)

    def load(self, path: Path) -> dict[str, Tensor]:
        """Take up a run where the file left it and return the states of its generators.

        Raises:
            ValueError: for a file that is no checkpoint, or one of a run with other settings.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                plain = {name: json.loads(text) for name, text in (file.metadata() or {}).items()}
                flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            flat |= plain.get("extra", {})
            before = plain["settings"]
        except (SafetensorError, json.JSONDecodeError, KeyError) as error:
            raise ValueError(f"checkpoint: {path} is no checkpoint of `fit` ({error!r})") from None
        for name, value in self.settings.items():
            if before[name] != value:
                raise ValueError(
                    f"checkpoint: {path} is of a run with {name}={before[name]!r}, got {value!r}; "
                    "choose another file to start afresh"
                )

        def part(prefix: str) -> dict[str, Any]:
            return {
                name.removeprefix(f"{prefix}/"): tensor
                for name, tensor in flat.items()
                if name.startswith(f"{prefix}/")
            }

        self.model.load_state_dict(part("model"))
        if self.average:
            self.average.load_state_dict(part("ema"))
        indices = [index for group in plain["optimizer"] for index in group["params"]]
        moments = {index: part(f"optimizer.{index}") for index in indices}
        moments = {index: state for index, state in moments.items() if state}
        self.descent.load_state_dict({"state": moments, "param_groups": plain["optimizer"]})
        self.plan.load_state_dict(plain["schedule"])
        self.losses = list(flat["losses"].to(next(self.model.parameters()).device))
        return part("generator")


def _plain_data(name: str, value: Any) -> None:
    """Refuse what a text can't hold so that it comes back the same."""
    try:
        same = json.loads(json.dumps(value)) == value
    except (TypeError, ValueError):
        same = False
    if not same:
        raise ValueError(
            f"checkpoint: expected tensors and plain data (numbers, text, lists and dicts with "
            f"text as keys) in the model's state, got {value!r} as {name}"
        )


def generators(device: torch.device) -> dict[str, Tensor]:
    """Return the states of the global generators of Python, NumPy and PyTorch as tensors.

    The words of Python's and NumPy's generators are below 2³², which float64 holds exactly; a
    missing second normal variate is NaN.
    """
    exact = torch.float64
    _, words, gauss = random.getstate()
    _, key, *rest = numpy.random.get_state()
    states = {
        "python": torch.tensor([*words, math.nan if gauss is None else gauss], dtype=exact),
        "numpy": torch.tensor([*key.tolist(), *rest], dtype=exact),
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_generators(states: dict[str, Tensor], device: torch.device) -> None:
    """Put the global generators into states that `generators` returned."""
    *words, gauss = states["python"].tolist()
    random.setstate((3, tuple(map(int, words)), None if math.isnan(gauss) else gauss))
    *key, position, has_gauss, cached = states["numpy"].tolist()
    key = numpy.array(key, dtype=numpy.uint32)
    numpy.random.set_state(("MT19937", key, int(position), int(has_gauss), cached))
    torch.set_rng_state(states["torch"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
