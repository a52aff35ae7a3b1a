"""The book's one training loop: seeds, batches, a schedule, progress.

`fit` is the loop that a chapter writes out once in plain PyTorch, and gives the same weights to
the last bit.
"""

import math
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOBase
from numbers import Real
from typing import Any

import numpy
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LRScheduler, OneCycleLR

from derived._validation import count, one_of, validated

__all__ = ["OPTIMIZERS", "SCHEDULES", "batches", "fit", "seed_everything"]

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"adam": Adam, "adamw": AdamW, "sgd": SGD}

# How the learning rate moves, given its largest value and the number of steps.
SCHEDULES: dict[str, Callable[[Optimizer, float, int], LRScheduler]] = {
    "constant": lambda optimizer, lr, steps: ConstantLR(optimizer, factor=1),
    "cosine": lambda optimizer, lr, steps: CosineAnnealingLR(optimizer, steps),
    "onecycle": lambda optimizer, lr, steps: OneCycleLR(optimizer, lr, total_steps=steps),
}

_REDRAW = 0.1  # seconds between two states of the progress bar
_BAR = 30  # its length in characters


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and PyTorch (on every device).

    Call it before the model is made: its weights, and later its dropout and any noise drawn in
    the loss, come from these generators. `fit` itself draws nothing from them.
    """
    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)


def _columns(name: str, value: Any) -> None:
    """Refuse what is not tensors with the same number of rows, at least one."""
    tensors = isinstance(value, tuple | list) and all(isinstance(each, Tensor) for each in value)
    if not tensors or not all(each.dim() for each in value):
        raise ValueError(f"{name}: expected a tuple of tensors with rows, such as (images, boxes)")
    rows = [len(each) for each in value]
    if len(set(rows)) != 1 or rows[0] == 0:
        raise ValueError(f"{name}: expected tensors with the same number of rows > 0, got {rows}")


@validated(data=_columns, steps=count, batch_size=count)
def batches(
    data: Sequence[Tensor], *, steps: int, batch_size: int, seed: int = 0
) -> Iterator[tuple[Tensor, ...]]:
    """Return `steps` batches, each the same rows of every tensor in `data`, in random order.

    The order is one shuffle of all rows after the other, cut into batches: each row has come k
    times before any comes k + 1 times. It depends on `seed` alone.

    Raises:
        ValueError: for data without rows or of different lengths, and counts below 1.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = len(data[0])
    passes = math.ceil(steps * batch_size / rows)
    order = torch.cat([torch.randperm(rows, generator=generator) for _ in range(passes)])
    chosen = order.split(batch_size)[:steps]
    return (tuple(column[which.to(column.device)] for column in data) for which in chosen)


@validated(optimizer=one_of(list(OPTIMIZERS)), schedule=one_of(list(SCHEDULES)))
def fit(
    model: nn.Module,
    loss: Callable[..., Tensor],
    data: Sequence[Tensor],
    *,
    steps: int,
    batch_size: int = 64,
    lr: Real = 1e-3,
    seed: int = 0,
    device: torch.device | str | None = None,
    optimizer: str = "adamw",
    schedule: str = "onecycle",
) -> Float[Tensor, "{steps}"]:
    """Train a model in place and return the loss of every step.

    Each step takes a batch, computes `loss(model, *batch)` and lets the optimizer descend its
    gradient; then the schedule sets the next learning rate. The model is left in training mode.
    A progress bar shows in terminals and live notebooks and is erased at the end; the environment
    variable `DERIVED_PROGRESS=0` turns it off.

    Args:
        model: the module to train.
        loss: a function of the model and the tensors of one batch that returns a scalar.
        data: tensors with one row an example, such as (images, boxes).
        steps: number of updates.
        batch_size: rows in each; see `batches` for their order.
        lr: the learning rate, at its largest where the schedule changes it.
        seed: of the order of the rows; `seed_everything` is for all other chance.
        device: where to train; the model is moved there. By default where it is.
        optimizer: one of `OPTIMIZERS`, with PyTorch's defaults.
        schedule: one of `SCHEDULES`, with PyTorch's defaults: onecycle moves the momentum as well.

    Raises:
        ValueError: for data without rows or of different lengths, counts below 1, an unknown
            name, or a loss that is not one finite number (the model keeps the weights it had
            before that step).
    """
    order = batches(data, steps=steps, batch_size=batch_size, seed=seed)
    model.to(device).train()
    descent = OPTIMIZERS[optimizer](model.parameters(), lr=lr)
    plan = SCHEDULES[schedule](descent, lr, steps)
    where = next(model.parameters()).device
    losses = []
    with _progress(steps) as show:
        for step, batch in enumerate(order, 1):
            value = loss(model, *(column.to(where) for column in batch))
            if value.shape or not value.isfinite():
                raise ValueError(
                    f"loss: expected one finite number, got {_say(value)} at step {step}"
                )
            descent.zero_grad()
            value.backward()
            descent.step()
            plan.step()
            losses.append(value.detach())
            show(step, value)
    return torch.stack(losses).cpu()


def _say(value: Tensor) -> str:
    return f"shape {tuple(value.shape)}" if value.shape else f"{value.item()}"


@contextmanager
def _progress(steps: int) -> Iterator[Callable[[int, Tensor], None]]:
    """Give a function of the step and its loss that redraws a bar; erase the bar at the end."""
    stream = _screen()
    width, due = 0, 0.0

    def show(step: int, value: Tensor) -> None:
        nonlocal width, due
        if stream and time.monotonic() >= due:
            done = _BAR * step // steps
            line = f"[{'=' * done}{' ' * (_BAR - done)}] {step}/{steps}, loss {value.item():.4g}"
            stream.write("\r" + line.ljust(width))
            stream.flush()
            width, due = max(width, len(line)), time.monotonic() + _REDRAW

    try:
        yield show
    finally:
        if width:
            stream.write("\r" + " " * width + "\r")
            stream.flush()


def _screen() -> TextIOBase | None:
    """Return the stream on which someone watches, if any.

    A notebook's kernel has no terminal, and its standard error looks like a failure there.
    """
    if os.environ.get("DERIVED_PROGRESS") == "0":
        return None
    if sys.stderr.isatty():
        return sys.stderr
    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    return sys.stdout if hasattr(shell, "kernel") else None
