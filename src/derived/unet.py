"""A small class-conditional UNet for images, and the weights that ship with the book.

Pixels go into channels and back (PixelUnshuffle, PixelShuffle), so that no convolution runs at the
full resolution: on a CPU that is most of the time.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from derived._devices import on_the_cpu
from derived._validation import checks_values, count, network, validated
from derived.data import mnist
from derived.diffusion import Schedule, convert, energy_distance, sample
from derived.training import fit, moving_average

__all__ = ["UNet", "held_out", "load_checkpoint", "race", "velocity_denoiser", "velocity_loss"]

_GROUPS = 8  # of channels that are normalized together
_FREQUENCIES = 32  # of the sine and cosine features of time
_FASTEST = 1000.0  # radians per unit of time
_HELD_OUT = 500  # digits that no checkpoint has seen, 50 a class on average
_CLASSES = 10  # and as a label: of no known class
_UNLABELED = 0.1  # of the rows train the prediction without a class, which guidance needs


def _width(name: str, value: Any) -> None:
    """Refuse what is not a multiple of the number of groups."""
    count(name, value)
    if value % _GROUPS:
        raise ValueError(f"{name}: expected a multiple of {_GROUPS}, got {value}")


def _batch(arguments: dict[str, Any]) -> None:
    """Refuse images, times and labels that do not fit the network or each other."""
    config = arguments["self"].config
    x, t, labels = (arguments[name] for name in ("x", "t", "labels"))
    channels, classes = config["channels"], config["classes"]
    if x.ndim != 4 or x.shape[1] != channels or x.shape[2] % 4 or x.shape[3] % 4:
        raise ValueError(
            f"x: expected shape (batch, {channels}, height, width) with multiples of 4, got "
            f"{tuple(x.shape)}"
        )
    for name, value in (("t", t), ("labels", labels)):
        if value.shape != x.shape[:1]:
            raise ValueError(f"{name}: expected shape ({len(x)},), got {tuple(value.shape)}")
    if checks_values() and not ((labels >= 0) & (labels <= classes)).all():
        raise ValueError(
            f"labels: expected integers from 0 to {classes} (of no known class), got "
            f"{labels.min()} to {labels.max()}"
        )


class UNet(nn.Module):
    """A network of noisy images, their times and their classes: `model(x, t, labels)`.

    Two resolutions, a half and a quarter of the image's: a residual block on the way down, `depth`
    at the bottom, one on the way up that also sees what came down. Time and class enter every
    block as a scale and a shift of its channels (Perez et al., 2018).

    Args:
        channels: of the images, and of the answer.
        classes: number of labels; the label `classes` itself means "of no known class".
        width: channels at half the resolution, a multiple of 8; three times as many at a quarter.
        depth: residual blocks at a quarter of the resolution.

    Raises:
        ValueError: for counts below 1, or a width that is not a multiple of 8.

    Source: Ronneberger et al. (2015); with time in residual blocks, Ho et al. (2020), appendix B.
    """

    @validated(channels=count, classes=count, width=_width, depth=count)
    def __init__(
        self, *, channels: int = 1, classes: int = 10, width: int = 32, depth: int = 2
    ) -> None:
        super().__init__()
        self.config = {"channels": channels, "classes": classes, "width": width, "depth": depth}
        deep = 3 * width
        self.time = nn.Sequential(
            nn.Linear(2 * _FREQUENCIES, deep), nn.SiLU(), nn.Linear(deep, deep)
        )
        self.label = nn.Embedding(classes + 1, deep)
        self.enter = nn.Sequential(
            nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, width, 3, padding=1)
        )
        self.down = Block(width, width, deep)
        self.shrink = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * width, deep, 1))
        self.bottom = nn.ModuleList(Block(deep, deep, deep) for _ in range(depth))
        self.grow = nn.Sequential(nn.Conv2d(deep, 4 * width, 1), nn.PixelShuffle(2))
        self.up = Block(2 * width, width, deep)
        self.leave = nn.Sequential(
            nn.GroupNorm(_GROUPS, width),
            nn.SiLU(),
            nn.Conv2d(width, 4 * channels, 3, padding=1),
            nn.PixelShuffle(2),
        )

    @validated(_batch)
    def forward(
        self,
        x: Float[Tensor, "batch channels height width"],
        t: Float[Tensor, "batch"],
        labels: Int64[Tensor, "batch"],
    ) -> Float[Tensor, "batch channels height width"]:
        """Return the prediction for images x (height and width multiples of 4) at times t.

        Raises:
            ValueError: for shapes that do not fit, or a label outside 0..classes.
        """
        about = functional.silu(self.time(_waves(t).to(x.dtype)) + self.label(labels))
        fine = self.down(self.enter(x), about)
        coarse = self.shrink(fine)
        for block in self.bottom:
            coarse = block(coarse, about)
        return self.leave(self.up(torch.cat([self.grow(coarse), fine], dim=1), about))


class Block(nn.Module):
    """Two normalized convolutions beside a shortcut; the second one starts at zero."""

    def __init__(self, before: int, after: int, about: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.GroupNorm(_GROUPS, before), nn.SiLU(), nn.Conv2d(before, after, 3, padding=1)
        )
        self.modulate = nn.Linear(about, 2 * after)
        self.norm = nn.GroupNorm(_GROUPS, after)
        self.second = nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Identity() if before == after else nn.Conv2d(before, after, 1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(
        self, x: Float[Tensor, "batch before h w"], about: Float[Tensor, "batch features"]
    ) -> Float[Tensor, "batch after h w"]:
        scale, shift = self.modulate(about)[..., None, None].chunk(2, dim=1)
        inner = self.norm(self.first(x)) * (1 + scale) + shift
        return self.shortcut(x) + self.second(functional.silu(inner))


def _waves(t: Float[Tensor, "batch"]) -> Float[Tensor, "batch features"]:
    """Return sine and cosine of t at frequencies from 1 to `_FASTEST`, evenly spaced in log."""
    steps = torch.arange(_FREQUENCIES, device=t.device) / (_FREQUENCIES - 1)
    angles = t[:, None].float() * torch.exp(math.log(_FASTEST) * steps)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def _shipped(name: str, value: Any) -> None:
    """Refuse what is not the name of a checkpoint that ships with the book."""
    names = sorted({path.stem for folder in _folders() for path in folder.glob("*.safetensors")})
    if value not in names:
        raise ValueError(f"{name}: expected one of {', '.join(names) or 'none'}; got {value!r}")


def _folders() -> tuple[Path, Path]:
    """Return where checkpoints stand: in the installed package, and in the repository."""
    package = Path(__file__).resolve().parent
    return package / "checkpoints", package.parents[1] / "chapters" / "checkpoints"


@validated(name=_shipped)
def load_checkpoint(name: str) -> tuple[UNet, dict[str, Any]]:
    """Return a trained UNet in evaluation mode and the recipe that its weights came from.

    `diffusion` answers with the velocity ε - x_0 of rectified flow, x_t = (1 - t) x_0 + t ε, for
    digits of MNIST scaled to -1..1; `make checkpoints CHAPTERS=diffusion` trained it. The
    weights are stored in half precision and returned as float32.

    Raises:
        ValueError: for a name under which no checkpoint ships.
    """
    from safetensors import safe_open

    path = next(path for folder in _folders() if (path := folder / f"{name}.safetensors").is_file())
    with safe_open(path, framework="pt") as file:
        recipe = {key: json.loads(text) for key, text in file.metadata().items()}
        weights = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
    model = UNet(**recipe["config"])
    model.load_state_dict(weights)
    return model.eval(), recipe


@on_the_cpu
def held_out() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return MNIST's digits in -1..1 with their labels: 4,500 to train on, and the 500 held out."""
    images, labels = mnist()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    images, labels = images[order, None] * 2 - 1, labels[order]
    return (images[_HELD_OUT:], labels[_HELD_OUT:]), (images[:_HELD_OUT], labels[:_HELD_OUT])


def velocity_loss(model: nn.Module, x0: Tensor, labels: Tensor) -> Tensor:
    """Return the squared error of the velocity ε - x_0 on the way x_t = (1 - t) x_0 + t ε.

    Times are the logistic function of a standard normal variable (Esser et al., 2024, section
    3.1); a tenth of the labels are replaced by "of no known class".
    """
    eps = torch.randn_like(x0)
    t = torch.randn(len(x0), device=x0.device).sigmoid()
    known = torch.rand(len(x0), device=x0.device) >= _UNLABELED
    labels = torch.where(known, labels, _CLASSES)
    weight = t[:, None, None, None]
    state = ((1 - weight) * x0 + weight * eps).to(x0.dtype)  # of half images, too
    answer = model(state, t, labels)
    return (answer - (eps - x0)).square().mean()


def velocity_denoiser(
    model: Callable[..., Tensor], labels: Tensor
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the denoiser (x, t) -> x_0 = x - t u that `diffusion.sample` takes.

    Args:
        model: `model(x, t, labels)` returns the velocity u of rectified flow.
        labels: of the images to be drawn, one for each row of x.
    """
    flow = Schedule.rectified_flow()
    return lambda x, t: convert(model(x, t, labels).to(x.dtype), x, t, "velocity", "x0", flow)


@validated(model=network, steps=count, batch_size=count)
def race(
    model: nn.Module,
    *,
    steps: int,
    batch_size: int = 256,
    calls: tuple[int, ...] = (5, 9, 19, 39),
) -> Iterator[dict[str, Any]]:
    """Train a model on MNIST in bf16, then yield a row for each solver and number of calls.

    A row holds the speeds of training and of sampling, in images a second, and the energy distance
    of 500 drawn digits from the 500 held out. The model stays where it is, on any device.
    """
    device = next(model.parameters()).device
    train, (unseen, _) = held_out()
    average = moving_average(model)
    options = {"steps": steps, "batch_size": batch_size, "clip": 1.0, "precision": "bf16"}
    begin = time.perf_counter()
    fit(model, velocity_loss, train, ema=average, **options)
    speed = steps * batch_size / (time.perf_counter() - begin)
    flow, labels = Schedule.rectified_flow(), torch.arange(len(unseen), device=device) % _CLASSES
    start = torch.randn(unseen.shape, generator=torch.Generator().manual_seed(0)).to(device)
    for solver in ("ddim", "heun", "dpmpp_2m"):
        for number in calls:
            times = flow.times((number + 1) // 2 if solver == "heun" else number)
            begin = time.perf_counter()
            with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
                drawn = sample(velocity_denoiser(average, labels), start, times, flow, solver).cpu()
            seconds = time.perf_counter() - begin
            yield {
                "solver": solver,
                "calls": number,
                "energy distance": energy_distance(drawn, unseen).item(),
                "sampling: images/s": len(drawn) / seconds,
                "training: images/s": speed,
            }
