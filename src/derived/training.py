"""The book's one training loop: seeds, batches, a schedule, progress.

`fit` is the loop that a chapter writes out once in plain PyTorch, and gives the same weights to
the last bit. What a longer run needs are options: clipped gradients, an average of the weights,
checkpoints, bfloat16. Started by `accelerate launch`, several processes share each batch; with
the environment variable `ACCELERATE_USE_CPU=true` they do without GPUs.
"""

import itertools
import math
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from io import TextIOBase
from numbers import Real
from pathlib import Path
from typing import Any

import numpy
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LRScheduler, OneCycleLR
from torch.optim.swa_utils import AveragedModel

from derived._checkpoints import Run, generators, restore_generators
from derived._validation import (
    count,
    integer,
    network,
    number,
    one_of,
    optional,
    positive,
    positive_or_infinite,
    seed,
    validated,
)

__all__ = ["OPTIMIZERS", "PRECISIONS", "SCHEDULES", "batches", "fit", "moving_average"]
__all__ += ["seed_everything"]

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"adam": Adam, "adamw": AdamW, "sgd": SGD}

# How the learning rate moves, given its largest value and the number of steps.
SCHEDULES: dict[str, Callable[[Optimizer, float, int], LRScheduler]] = {
    "constant": lambda optimizer, lr, steps: ConstantLR(optimizer, factor=1),
    "cosine": lambda optimizer, lr, steps: CosineAnnealingLR(optimizer, steps),
    # Of one step there is no cycle, but a first rate of a millionth.
    "onecycle": lambda optimizer, lr, steps: (
        OneCycleLR(optimizer, lr, total_steps=steps)
        if steps > 1
        else ConstantLR(optimizer, factor=1)
    ),
}

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16}  # what matrix products are computed in

_REDRAW = 0.1  # seconds between two states of the progress bar
_BAR = 30  # its length in characters


@validated(seed=integer(least=0, most=2**32 - 1))  # NumPy's generator takes no more
def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and PyTorch (on every device).

    Call it before the model is made: its weights, and later its dropout and any noise drawn in
    the loss, come from these generators. `fit` itself draws nothing from them.

    Raises:
        ValueError: for a seed that is not an integer from 0 to 2³² - 1.
    """
    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)


def _columns(name: str, value: Any) -> None:
    """Refuse what is not tensors with the same number of rows, at least one."""
    tensors = isinstance(value, tuple | list) and all(isinstance(one, Tensor) for one in value)
    if not tensors or not all(column.dim() for column in value):
        raise ValueError(f"{name}: expected a tuple of tensors with rows, such as (images, boxes)")
    rows = [len(column) for column in value]
    if len(set(rows)) != 1 or rows[0] == 0:
        raise ValueError(f"{name}: expected tensors with the same number of rows > 0, got {rows}")


@validated(data=_columns, steps=count, batch_size=count, seed=seed)
def batches(
    data: Sequence[Tensor], *, steps: int, batch_size: int, seed: int = 0
) -> Iterator[tuple[Tensor, ...]]:
    """Return `steps` batches, each the same rows of every tensor in `data`, in random order.

    The order is one shuffle of all rows after the other, cut into batches: each row has come k
    times before any comes k + 1 times. It depends on `seed` alone. Shuffles are drawn as they are
    needed: memory doesn't grow with `steps`.

    Raises:
        ValueError: for data without rows or of different lengths, counts below 1, and a seed that
            is not an integer of at least 0.
    """
    order = _row_numbers(len(data[0]), batch_size, torch.Generator("cpu").manual_seed(seed))
    return (
        tuple(column[rows.to(column.device)] for column in data)
        for rows in itertools.islice(order, steps)
    )


def _row_numbers(rows: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield batches of row numbers, cut from one shuffle of all after the other."""
    rest = torch.empty(0, dtype=torch.int64, device="cpu")
    while True:
        passes = math.ceil(max(0, batch_size - len(rest)) / rows)
        fresh = [torch.randperm(rows, generator=generator, device="cpu") for _ in range(passes)]
        order = torch.cat([rest, *fresh])
        yield order[:batch_size]
        rest = order[batch_size:].clone()  # or the memory of what is used up stays


@validated(model=network, decay=number(least=0, below=1))
def moving_average(model: nn.Module, *, decay: Real = 0.999) -> AveragedModel:
    """Return a copy of a model for `fit` to keep at the moving average of its weights.

    After the k-th step, with the weights θ_k,

        a_1 = θ_1,    a_{k+1} = d_k a_k + (1 - d_k) θ_{k+1},    d_k = min(decay, (1 + k) / (10 + k)).

    The smaller d_k of the first steps let the average forget the start. Call the result like the
    model; its weights alone are `average.module.state_dict()`. What a half type rounds away of an
    update is kept for the next ones. Parameters that are no floats are copied.

    Raises:
        ValueError: for what is no module, or a decay outside [0, 1).

    Source: Polyak and Juditsky (1992) for averaging; the warm-up is TensorFlow's
    `ExponentialMovingAverage` with `num_updates`.
    """

    return _MovingAverage(model, decay).eval().requires_grad_(False)


class _MovingAverage(AveragedModel):
    """The average that `moving_average` describes, of weights of any dtype."""

    def __init__(self, model: nn.Module, decay: Real) -> None:
        super().__init__(model, multi_avg_fn=self._update)
        self.decay = decay
        # Of a half type, whose numbers next to each other an update of a thousandth lies between.
        for index, weight in self._halves(self.module):
            self.register_buffer(f"rest_{index}", torch.zeros_like(weight, dtype=torch.float32))

    @staticmethod
    def _halves(model: nn.Module) -> Iterator[tuple[int, Tensor]]:
        for index, weight in enumerate(model.parameters()):
            if weight.dtype in (torch.float16, torch.bfloat16):
                yield index, weight.detach()

    def _share(self, updates: Tensor) -> float:
        """Return the share of the new weights, 1 - d_k."""
        done = updates.item()
        return 1 - min(self.decay, (1 + done) / (10 + done))

    def _update(self, average: list[Tensor], weights: list[Tensor], updates: Tensor) -> None:
        if not (average[0].is_floating_point() or average[0].is_complex()):
            torch._foreach_copy_(average, weights)
        elif average[0].dtype not in (torch.float16, torch.bfloat16):
            torch._foreach_lerp_(average, weights, self._share(updates))

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        if self.n_averaged > 0:
            share = self._share(self.n_averaged)
            pairs = zip(self._halves(self.module), self._halves(model), strict=True)
            for (index, average), (_, weight) in pairs:
                rest = self.get_buffer(f"rest_{index}")
                exact = (average.float() + rest).lerp(weight.to(rest), share)
                average.copy_(exact)
                rest.copy_(exact - average.float())
        super().update_parameters(model)


def _trainable(name: str, value: Any) -> None:
    """Refuse what has no weights that training could change."""
    network(name, value)
    if not any(weight.requires_grad for weight in value.parameters()):
        raise ValueError(f"{name}: expected weights to train, got none")


def _average(name: str, value: Any) -> None:
    """Refuse what `moving_average` has not made."""
    if not isinstance(value, AveragedModel):
        raise ValueError(f"{name}: expected None or what moving_average(model) returns")  # noqa: TRY004


def _file(name: str, value: Any) -> None:
    """Refuse a path in a folder that does not exist, before hours of training."""
    if not Path(value).absolute().parent.is_dir():
        raise ValueError(f"{name}: expected a file in a folder that exists, got {value}")


@validated(
    model=_trainable,
    data=_columns,
    steps=count,
    batch_size=count,
    lr=positive,
    seed=seed,
    optimizer=one_of(list(OPTIMIZERS)),
    schedule=one_of(list(SCHEDULES)),
    precision=one_of(list(PRECISIONS)),
    clip=optional(positive_or_infinite),
    ema=optional(_average),
    checkpoint=optional(_file),
    save_every=count,
)
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
    clip: Real | None = None,
    ema: AveragedModel | None = None,
    precision: str = "fp32",
    checkpoint: str | Path | None = None,
    save_every: int = 1000,
) -> Float[Tensor, "{steps}"]:
    """Train a model in place and return the loss of every step.

    Each step takes a batch, computes `loss(model, *batch)` and lets the optimizer descend its
    gradient; then the schedule sets the next learning rate. The model is left in training mode.
    A progress bar shows in terminals and live notebooks and is erased at the end; the environment
    variable `DERIVED_PROGRESS=0` turns it off.

    In a script that `accelerate launch` started, each of n processes takes the n-th part of every
    batch and the gradients are averaged: the losses, of a `loss` that is a mean over rows, are
    those of one process. Processes after the first draw their chance from generators of their own.

    Args:
        model: the module to train.
        loss: a function of the model and the tensors of one batch that returns a scalar.
        data: tensors with one row an example, such as (images, boxes).
        steps: number of updates.
        batch_size: rows in each, of all processes together; see `batches` for their order.
        lr: the learning rate, at its largest where the schedule changes it.
        seed: of the order of the rows; `seed_everything` is for all other chance.
        device: where to train; the model is moved there. By default where it is, and with several
            processes where Accelerate puts each.
        optimizer: one of `OPTIMIZERS`, with PyTorch's defaults.
        schedule: one of `SCHEDULES`, with PyTorch's defaults: onecycle moves the momentum as well.
        clip: the largest norm of the gradient of all weights together; a longer one is shortened.
        ema: what `moving_average(model)` returned, updated after each step.
        precision: one of `PRECISIONS`; bf16 computes `loss` under `torch.autocast` and leaves
            weights, moments and the average in their own precision.
        checkpoint: a safetensors file for all that the run has come to, written before the first
            step, every `save_every` steps and at the end. If it exists, the run goes on from there, with the weights that
            an uninterrupted run would have had to the last bit.

    Raises:
        ValueError: for a model without weights to train, data without rows or of different
            lengths, counts below 1, a rate or a clip that is not above 0, a seed that is not an
            integer of at least 0, an unknown name, a checkpoint of a run with other settings, a
            model with a state that a checkpoint can't hold, a batch that does not divide among the processes, or a loss that is not one finite
            number (the model keeps the weights it had before that step).
    """
    order = batches(data, steps=steps, batch_size=batch_size, seed=seed)
    team = _team()
    rank, ranks = (team.process_index, team.num_processes) if team else (0, 1)
    if batch_size % ranks:
        raise ValueError(f"batch_size: expected a multiple of {ranks} processes, got {batch_size}")
    model.to(team.device if team else device).train()
    where = next(model.parameters()).device
    descent = OPTIMIZERS[optimizer](model.parameters(), lr=lr)
    plan = SCHEDULES[schedule](descent, lr, steps)
    settings = {"steps": steps, "batch_size": batch_size, "lr": lr, "seed": seed, "clip": clip}
    settings |= {"optimizer": optimizer, "schedule": schedule, "precision": precision}
    settings |= {"rows": len(data[0]), "ema": ema is not None, "processes": ranks}
    run = Run(model, ema and ema.to(where), descent, plan, settings)
    if rank:
        torch.manual_seed(torch.initial_seed() + rank)
    if checkpoint and Path(checkpoint).exists():
        states = run.load(Path(checkpoint))
        # Clones, because PyTorch reads a generator's state from where the memory of a view begins.
        own = {name: state[rank].clone() for name, state in states.items()}
        restore_generators(own, where)
    elif checkpoint:  # what can't be saved is known before hours of training
        _save(run, Path(checkpoint), team, where)
    if team:
        _share_first(itertools.chain(model.parameters(), model.buffers()))
    low = PRECISIONS[precision]
    done = len(run.losses)
    with _progress(steps, watched=rank == 0) as show:
        for step, batch in enumerate(itertools.islice(order, done, None), done + 1):
            with torch.autocast(where.type, low) if low else nullcontext():
                value = loss(model, *(column[rank::ranks].to(where) for column in batch))
            mean = _mean(team, value.detach())
            if value.shape or not mean.isfinite():
                raise ValueError(
                    f"loss: expected one finite number, got {_say(mean)} at step {step}"
                )
            descent.zero_grad()
            value.backward()
            if team:
                _share_gradients(team, model)
                _share_first(model.buffers())
            if clip:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            descent.step()
            plan.step()
            if ema:
                ema.update_parameters(model)
            run.losses.append(mean)
            show(step, mean)
            if checkpoint and (step % save_every == 0 or step == steps):
                _save(run, Path(checkpoint), team, where)
    return torch.stack(run.losses).cpu()


def _team():
    """Return Accelerate's view of the processes that share this run; None of one alone.

    One process needs nothing of it: a machine without Accelerate can train.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return None
    from accelerate import Accelerator

    return Accelerator(mixed_precision="no")


def _save(run: Run, path: Path, team, where: torch.device) -> None:
    """Write a checkpoint with the generators of every process."""
    states = {name: _all(team, state) for name, state in generators(where).items()}
    if not team or team.is_main_process:
        run.save(path, states)
    if team:
        team.wait_for_everyone()


@torch.no_grad()
def _share_first(tensors: Iterable[Tensor]) -> None:
    """Give every process what the first has in its tensors."""
    for tensor in tensors:
        whole = tensor.detach().contiguous()
        torch.distributed.broadcast(whole, 0)
        tensor.copy_(whole)


@torch.no_grad()
def _share_gradients(team, model: nn.Module) -> None:
    """Give every process the mean of the gradients; weights without one on all of them keep none.

    The model stays as it is, with its attributes and with layers that a loss leaves out. A wrapper
    such as DistributedDataParallel takes both away.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    used = torch.tensor([weight.grad is not None for weight in weights]).float().to(team.device)
    for weight, users in zip(weights, team.reduce(used, "sum").tolist(), strict=True):
        if users:
            own = torch.zeros_like(weight) if weight.grad is None else weight.grad
            weight.grad = team.reduce(own.contiguous(), "mean")


def _mean(team, value: Tensor) -> Tensor:
    return team.reduce(value, "mean") if team else value


def _all(team, state: Tensor) -> Tensor:
    """Return a state of every process, one a row."""
    return team.gather(state.to(team.device)[None]) if team else state[None]


def _say(value: Tensor) -> str:
    return f"shape {tuple(value.shape)}" if value.shape else f"{value.item()}"


@contextmanager
def _progress(steps: int, *, watched: bool) -> Iterator[Callable[[int, Tensor], None]]:
    """Give a function of the step and its loss that redraws a bar; erase the bar at the end."""
    stream = _screen() if watched else None
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
