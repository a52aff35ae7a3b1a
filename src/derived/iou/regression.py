"""The regression simulation: boxes that descend a loss toward their targets."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from derived._devices import on_the_cpu
from derived._validation import count, same_length, seed, validated
from derived.iou._checks import _some_sized_boxes
from derived.iou._pairs import _dtypes
from derived.iou.losses import Kind, Relative, box_loss, from_cxcywh, iou


@validated(points=count, seed=seed)
@on_the_cpu
def regression_cases(
    points: int, *, seed: int = 0
) -> tuple[Float[Tensor, "n 4"], Float[Tensor, "n 4"]]:
    """Return the starts and targets of the regression simulation, as (cx, cy, w, h).

    Around seven targets of area 1 at (10, 10), with aspect ratios from 1:4 to 4:1, anchors of
    seven areas and seven aspect ratios stand at `points` places, uniform in a disk of radius 3.
    Every anchor is paired with every target.

    Shapes: two tensors `(343 * points, 4)`. Source: Zheng et al. (2020), section "Simulation
    experiment", with 5,000 points.

    Raises:
        ValueError: for a number of points that isn't an integer of at least 1, or a seed that isn't
            one of at least 0.
    """
    ratios = torch.tensor([1 / 4, 1 / 3, 1 / 2, 1, 2, 3, 4])
    areas = torch.tensor([0.5, 0.67, 0.75, 1, 1.33, 1.5, 2])
    draw = torch.rand(2, points, generator=torch.Generator().manual_seed(seed))
    places = torch.polar(3 * draw[0].sqrt(), 2 * torch.pi * draw[1]) + (10 + 10j)
    place, target, size, shape = torch.cartesian_prod(
        torch.arange(points), *3 * [torch.arange(7)]
    ).unbind(1)
    center, area, ratio = places[place], areas[size], ratios[shape]
    start = torch.stack([center.real, center.imag, (area * ratio).sqrt(), (area / ratio).sqrt()], 1)
    middle = torch.full((len(start),), 10.0)
    goal = [middle, middle, ratios[target].sqrt(), ratios[target].rsqrt()]
    return start, torch.stack(goal, 1)


def regression_slope(
    boxes: Float[Tensor, "n 4"], goal: Float[Tensor, "n 4"], kind: Kind | Relative, **flags: Any
) -> Float[Tensor, "n 4"]:
    """Return each loss's gradient with respect to its own box, all given as (cx, cy, w, h).

    Shapes: `(N, 4)` and `(N, 4)` to `(N, 4)`. `flags` go to `box_loss`, as do errors.
    """
    x = boxes.detach().requires_grad_()
    loss = box_loss(from_cxcywh(x), from_cxcywh(goal), kind, reduction="sum", **flags)
    return torch.autograd.grad(loss, x)[0]


@validated(same_length("start", "goal"), start=_some_sized_boxes, goal=_some_sized_boxes)
def regression_descent(
    start: Float[Tensor, "n 4"],
    goal: Float[Tensor, "n 4"],
    slope: Callable[[Tensor, Tensor], Tensor],
) -> tuple[Float[Tensor, "n 4"], Float[Tensor, "200"]]:
    r"""Return where 200 steps of the regression simulation take boxes given as (cx, cy, w, h).

    $x\leftarrow x-\eta\,(2-J)\,\nabla_xL$ with the rate 0.1, from step 160 on 0.01, from step 180
    on 0.001; sizes stay at least 0.01.

    Args:
        start: the first boxes.
        goal: their targets.
        slope: a function of the boxes and their targets that returns $\nabla_xL$, such as
            `regression_slope` with its `kind` fixed.

    Returns:
        The last boxes, and the mean $\ell_1$ error of all of them after each step.

    Source: Zheng et al. (2020), section "Simulation experiment".

    Raises:
        ValueError: for a wrong shape or dtype, no boxes, different lengths, NaN, infinity, a
            negative width or height.
    """
    x, target, errors = start.to(_dtypes(start)[1]), from_cxcywh(goal), []
    for rate in 160 * [0.1] + 20 * [0.01] + 20 * [0.001]:
        x = x - rate * (2 - iou(from_cxcywh(x), target))[:, None] * slope(x, goal)
        x[:, 2:].clamp_(min=0.01)
        errors.append((x - goal).abs().sum(1).mean())
    return x, torch.stack(errors)
