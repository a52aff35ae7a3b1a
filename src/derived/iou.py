"""Intersection over union of boxes and the losses that grew out of it.

Boxes are `(x1, y1, x2, y2)` with `x1 <= x2` and `y1 <= y2`, in any unit. Labels in parentheses are
those of the equations in the chapter.

At the edges, what the mathematics says, with a finite gradient:

- Integers are computed with in double precision and answered in float32; float16 and bfloat16 are
  computed with and answered in float32; float64 stays float64.
- There is no additive epsilon, so the unit doesn't matter, as long as areas are normal numbers of
  the dtype (in float32, sides between 1e-19 and 1e19). An area below is none.
- If the union has no area, the IoU is 1 for equal boxes and 0 for others, and its gradient is 0. A
  hull without area has no empty part, boxes at one point have no distance, and a point has the
  aspect ratio of a square.
- For identical boxes each loss is exactly 0 and its gradient is 0 up to rounding: minimum and
  maximum split the gradient of a tie in half, which at this kink is the mean of both sides. (With
  `detach_enclosing`, GIoU keeps half the slope of the union there, and inflates a perfect box.)
- Where SIoU's centers coincide, the angle of the line between them is that of an axis.
- Boxes that only touch, and boxes without area, overlap as little as separated ones: the gradient
  of the intersection is 0.
"""

import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy
import torch
from jaxtyping import Bool, Float, Int64, Real
from torch import Tensor

from derived._validation import (
    broadcastable,
    checks_values,
    count,
    finite_number,
    one_of,
    real_tensor,
    validated,
)

__all__ = ["area", "box_loss", "ciou", "diou", "eiou", "from_cxcywh", "giou", "iou", "pairwise"]
__all__ += ["regression_cases", "regression_descent", "regression_slope"]
__all__ += ["gwd", "kld", "rotated_corners", "rotated_iou"]
__all__ += ["average_precision", "coco_map", "nms"]

Kind = Literal["iou", "giou", "diou", "ciou", "eiou"]
Relative = Literal["focal_eiou", "siou", "alpha_iou", "wiou", "mpdiou", "inner_iou"]
Reduction = Literal["mean", "sum", "none"]
_KINDS, _RELATIVES = get_args(Kind), get_args(Relative)
Coordinates = tuple[Tensor, ...]  # x1, y1, x2, y2, each of a shape that broadcasts with the other's

_CPU_BLOCK = 2**16  # pairs at a time: what is computed on the way then stays in the cache


def _boxes(name: str, value: object) -> None:
    """Refuse a tensor that doesn't hold boxes; look at the values only if they are checked."""
    real_tensor(name, value)
    if value.shape[-1:] != (4,):
        raise ValueError(f"{name}: expected shape (..., 4), got {tuple(value.shape)}")
    if checks_values():
        x1, y1, x2, y2 = value.unbind(-1)
        valid_x = (-torch.inf < x1) & (x1 <= x2) & (x2 < torch.inf)  # false for NaN, too
        valid_y = (-torch.inf < y1) & (y1 <= y2) & (y2 < torch.inf)
        wrong = ~(valid_x & valid_y)
        if wrong.any():
            raise ValueError(_explain(name, value, wrong))


def _list_of_boxes(name: str, value: object) -> None:
    """Refuse what isn't one list of boxes."""
    _boxes(name, value)
    if value.ndim != 2:
        raise ValueError(f"{name}: expected shape (number, 4), got {tuple(value.shape)}")


def _sized_boxes(name: str, value: object) -> None:
    """Refuse a tensor that doesn't hold (cx, cy, w, h); look at the values only if checked."""
    real_tensor(name, value)
    if value.shape[-1:] != (4,) or not value.is_floating_point():
        raise ValueError(
            f"{name}: expected floats of shape (..., 4), got {value.dtype}, {tuple(value.shape)}"
        )
    if checks_values():
        finite, (width, height) = value.isfinite().all(-1), value[..., 2:].unbind(-1)
        wrong = ~(finite & (width >= 0) & (height >= 0))
        if wrong.any():
            index = tuple(wrong.nonzero()[0].tolist())
            raise ValueError(
                f"{name}[{', '.join(map(str, index))}] = {tuple(value[index].tolist())}: expected "
                f"(center x, center y, width, height), finite and with sizes of at least 0"
            )


def _same_length(first: str, second: str) -> Callable[[dict[str, Any]], None]:
    """Return a check that two tensors have the same number of rows."""

    def check(arguments: dict[str, Any]) -> None:
        lengths = [len(arguments[name]) for name in (first, second)]
        if lengths[0] != lengths[1]:
            raise ValueError(
                f"{first} and {second}: expected the same length, got {lengths[0]} and {lengths[1]}"
            )

    return check


def _some_sized_boxes(name: str, value: object) -> None:
    """Refuse what isn't one list of (cx, cy, w, h), with at least one box."""
    _sized_boxes(name, value)
    if value.ndim != 2 or len(value) == 0:
        raise ValueError(
            f"{name}: expected shape (number, 4) with at least one box, got {tuple(value.shape)}"
        )


def _explain(name: str, boxes: Tensor, wrong: Tensor) -> str:
    """Say which box is the first wrong one and what is wrong with it."""
    index = tuple(wrong.nonzero()[0].tolist())
    box = boxes[index].tolist()
    if not boxes[index].isfinite().all():
        reason = "expected finite numbers"
    else:
        reason = "x2 < x1" if box[2] < box[0] else "y2 < y1"
    place = f"{name}[{', '.join(map(str, index))}]" if index else name
    more = f"; {wrong.sum() - 1} more like it" if wrong.sum() > 1 else ""
    return (
        f"{place} = ({', '.join(f'{number:g}' for number in box)}): {reason}; boxes are "
        f"(x1, y1, x2, y2) with x1 <= x2 and y1 <= y2, not (x, y, width, height){more}"
    )


_PAIRWISE_HINT = "For every box of one list with every box of another, call pairwise(a, b)."
_two_boxes = validated(broadcastable("a", "b", hint=_PAIRWISE_HINT), a=_boxes, b=_boxes)


@validated(boxes=_boxes)
def area(boxes: Real[Tensor, "*n 4"]) -> Float[Tensor, "*n"]:
    r"""Return the areas of boxes, $|A|=\prod_k(A_k^+-A_k^-)$.

    Shapes: `(..., 4)` to `(...)`. Units: the square of the boxes'.

    Raises:
        ValueError: for a wrong shape or dtype, NaN, infinity, reversed boxes.
    """
    work, result = _dtypes(boxes)
    x1, y1, x2, y2 = _coordinates(boxes, work)
    return ((x2 - x1) * (y2 - y1)).to(result)


@_two_boxes
def iou(a: Real[Tensor, "*#n 4"], b: Real[Tensor, "*#n 4"]) -> Float[Tensor, "*#n"]:
    r"""Return the intersection over union, $J=|A\cap B|/|A\cup B|$ (iou-definition), in [0, 1].

    Shapes: `(..., 4)` and `(..., 4)`, whose leading dimensions broadcast, to `(...)`.

    Raises:
        ValueError: for a wrong shape or dtype, NaN, infinity, reversed boxes.
    """
    return _elementwise("iou", a, b)


@_two_boxes
def giou(a: Real[Tensor, "*#n 4"], b: Real[Tensor, "*#n 4"]) -> Float[Tensor, "*#n"]:
    r"""Return the generalized IoU, $J-(|C|-U)/|C|$ (iou-giou), in (-1, 1].

    $C$ is the smallest box around both, $U$ the area of their union. -1 is reached only by boxes
    without area. Shapes and errors as for `iou`. Source: Rezatofighi et al. (2019).
    """
    return _elementwise("giou", a, b)


@_two_boxes
def diou(a: Real[Tensor, "*#n 4"], b: Real[Tensor, "*#n 4"]) -> Float[Tensor, "*#n"]:
    r"""Return the distance IoU, $J-\rho^2/c^2$ (iou-diou), in (-1, 1].

    $\rho$ is the distance of the centers, $c$ the diagonal of the smallest box around both. -1 is
    reached only by points. Shapes and errors as for `iou`. Source: Zheng et al. (2020).
    """
    return _elementwise("diou", a, b)


@_two_boxes
def ciou(
    a: Real[Tensor, "*#n 4"], b: Real[Tensor, "*#n 4"], *, detach_alpha: bool = True
) -> Float[Tensor, "*#n"]:
    r"""Return the complete IoU, $J-\rho^2/c^2-\alpha v$ (iou-ciou, iou-ciou-v), in (-3/2, 1].

    $v$ compares the aspect ratios. Its weight $\alpha$ counts as a constant in the gradient unless
    `detach_alpha` is false (iou-ciou-alpha). Shapes and errors as for `iou`.
    Source: Zheng et al. (2020).
    """
    return _elementwise("ciou", a, b, detach_alpha=detach_alpha)


@_two_boxes
def eiou(a: Real[Tensor, "*#n 4"], b: Real[Tensor, "*#n 4"]) -> Float[Tensor, "*#n"]:
    r"""Return the efficient IoU, $J-\rho^2/c^2-(\Delta w)^2/c_w^2-(\Delta h)^2/c_h^2$ (iou-eiou).

    $\Delta w,\Delta h$ are the differences of the sizes, $c_w\times c_h$ is the size of the smallest
    box around both; the values lie in (-9/4, 1] (iou-eiou-range). Shapes and errors as for `iou`.
    Source: Zhang et al. (2022).
    """
    return _elementwise("eiou", a, b)


@validated(a=_list_of_boxes, b=_list_of_boxes, kind=one_of(_KINDS))
def pairwise(
    a: Real[Tensor, "n 4"], b: Real[Tensor, "m 4"], kind: Kind = "iou"
) -> Float[Tensor, "n m"]:
    """Return the similarity of every box of one list with every box of another.

    Shapes: `(N, 4)` and `(M, 4)` to `(N, M)`; either list may be empty. `kind` is the name of a
    function of this module. Differentiable.

    Raises:
        ValueError: for a wrong shape, dtype or kind, NaN, infinity, reversed boxes.
    """
    work, result = _dtypes(a, b)
    columns = _coordinates(b, work)
    if torch.is_grad_enabled() and (a.requires_grad or b.requires_grad) or a.device.type != "cpu":
        return _similarity(kind, _pair(_coordinates(a[:, None], work), columns)).to(result)
    matrix = a.new_empty(len(a), len(b), dtype=result)
    rows = max(1, _CPU_BLOCK // max(1, len(b)))
    for block, boxes in zip(matrix.split(rows), a[:, None].split(rows), strict=True):
        block.copy_(_similarity(kind, _pair(_coordinates(boxes, work), columns)))
    return matrix


def _at_least(least: numbers.Real, why: str) -> Callable[[str, object], None]:
    """Return a check that a number is finite and at least `least`."""

    def check(name: str, value: object) -> None:
        number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not number or not least <= value < torch.inf:
            raise ValueError(f"{name}: expected a number of at least {least:g}{why}, got {value!r}")

    return check


def _image_size(arguments: dict[str, Any]) -> None:
    """Refuse MPDIoU without the size of an image."""
    size = arguments["image_size"]
    if arguments["kind"] == "mpdiou":
        pair = isinstance(size, tuple | list) and len(size) == 2
        if not pair or not all(isinstance(side, numbers.Real) for side in size):
            raise ValueError(f"image_size: expected (width, height) for mpdiou, got {size!r}")
        if not all(0 < side < torch.inf for side in size):
            raise ValueError(f"image_size: expected positive finite sides, got {size!r}")


@validated(
    broadcastable("pred", "target", hint=_PAIRWISE_HINT),
    _image_size,
    pred=_boxes,
    target=_boxes,
    kind=one_of(_KINDS + _RELATIVES),
    alpha=_at_least(1, ", below which the slope at J = 0 is infinite"),
    gamma=_at_least(0, ""),
    ratio=_at_least(0.01, ""),
    reduction=one_of(get_args(Reduction)),
)
def box_loss(
    pred: Real[Tensor, "*#n 4"],
    target: Real[Tensor, "*#n 4"],
    kind: Kind | Relative = "giou",
    *,
    detach_enclosing: bool = False,
    detach_alpha: bool = True,
    detach_focus: bool = True,
    alpha: numbers.Real = 3.0,
    gamma: numbers.Real = 0.5,
    ratio: numbers.Real = 0.75,
    image_size: Sequence[numbers.Real] | None = None,
    reduction: Reduction = "mean",
) -> Float[Tensor, "*#n"] | Float[Tensor, ""]:
    r"""Return the loss of predicted against target boxes, 0 for identical ones.

    For `iou`, `giou`, `diou`, `ciou` and `eiou` it is one minus the function of that name. The
    relatives, with $J$ the IoU:

    - `focal_eiou`: $J^\gamma\,(1-\mathrm{EIoU})$ (iou-focal-eiou), Zhang et al. (2022).
    - `siou`: distances weighed by their angle, and shapes (iou-siou), Gevorgyan (2022).
    - `alpha_iou`: $1-J^\alpha$ (iou-alpha), He et al. (2021).
    - `wiou`: $e^{\rho^2/c^2}(1-J)$, version 1 (iou-wiou), Tong et al. (2023).
    - `mpdiou`: distances of corners in units of the image (iou-mpdiou), Ma and Xu (2023).
    - `inner_iou`: $1-J$ of boxes scaled about their centers (iou-inner), Zhang et al. (2023).

    Shapes: `(..., 4)` and `(..., 4)`, whose leading dimensions broadcast, to a scalar, or to
    `(...)` without reduction. The mean over no boxes is 0, with gradient 0.

    Args:
        kind: one of the names above.
        detach_enclosing: let the size of the hull (GIoU's area, the squared sides and diagonal of
            the others) count as a constant in the gradient (iou-far-detached). In WIoU it always
            does, by definition.
        detach_alpha: let CIoU's weight count as a constant in the gradient (iou-ciou-alpha).
        detach_focus: let Focal-EIoU's weight $J^\gamma$ count as one (iou-focal-slope).
        alpha: the power of `alpha_iou`, at least 1.
        gamma: the power in `focal_eiou`, at least 0.
        ratio: the scale of `inner_iou`'s boxes, positive.
        image_size: width and height of the image, which `mpdiou` needs, in the boxes' unit.
        reduction: what to do with the losses of the pairs.

    Raises:
        ValueError: for a wrong shape, dtype, kind, power, ratio, size or reduction, NaN, infinity,
            reversed boxes.
    """
    work, result = _dtypes(pred, target)
    a, b = _coordinates(pred, work), _coordinates(target, work)
    hull = {"detach_enclosing": detach_enclosing}
    if kind in _KINDS:
        loss = 1 - _similarity(kind, _pair(a, b), detach_alpha=detach_alpha, **hull)
    else:
        powers = {"alpha": alpha, "gamma": gamma, "detach_focus": detach_focus}
        loss = _relative_loss(kind, a, b, ratio=ratio, image_size=image_size, **powers, **hull)
    loss = loss.to(result)
    if reduction == "none":
        return loss
    return loss.sum() if reduction == "sum" else loss.sum() / max(1, loss.numel())


@validated(boxes=_sized_boxes)
def from_cxcywh(boxes: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 4"]:
    """Return boxes given as (center x, center y, width, height) as (x1, y1, x2, y2).

    Shapes: `(..., 4)` to `(..., 4)`.

    Raises:
        ValueError: for a wrong shape or dtype, NaN, infinity, a negative width or height.
    """
    center, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([center - half, center + half], dim=-1)


@validated(points=count)
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
        ValueError: for a number of points that isn't an integer of at least 1.
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


@validated(_same_length("start", "goal"), start=_some_sized_boxes, goal=_some_sized_boxes)
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
    x, target, errors = start, from_cxcywh(goal), []
    for rate in 160 * [0.1] + 20 * [0.01] + 20 * [0.001]:
        x = x - rate * (2 - iou(from_cxcywh(x), target))[:, None] * slope(x, goal)
        x[:, 2:].clamp_(min=0.01)
        errors.append((x - goal).abs().sum(1).mean())
    return x, torch.stack(errors)


class _Pair(NamedTuple):
    """What every formula needs of two boxes."""

    a: Coordinates
    b: Coordinates
    a_width: Tensor
    a_height: Tensor
    b_width: Tensor
    b_height: Tensor
    overlap_x: Tensor  # negative for a gap
    overlap_y: Tensor
    union: Tensor
    j: Tensor

    @property
    def hull(self) -> tuple[Tensor, Tensor]:
        """Width and height: |A| + |B| = |A and B| + |hull|, also on a line."""
        width = self.a_width + self.b_width - self.overlap_x
        return width, self.a_height + self.b_height - self.overlap_y

    @property
    def offset(self) -> tuple[Tensor, Tensor]:
        """The center of A minus that of B: differences first, which are exact for near boxes."""
        (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = self.a, self.b
        return ((ax1 - bx1) + (ax2 - bx2)) / 2, ((ay1 - by1) + (ay2 - by2)) / 2


def _pair(a: Coordinates, b: Coordinates) -> _Pair:
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = a, b
    a_width, a_height, b_width, b_height = ax2 - ax1, ay2 - ay1, bx2 - bx1, by2 - by1

    # iou-intersection, iou-definition
    overlap_x = _overlap(ax1, ax2, bx1, bx2)
    overlap_y = _overlap(ay1, ay2, by1, by2)
    intersection = overlap_x.relu() * overlap_y.relu()
    union = a_width * a_height + b_width * b_height - intersection
    # 1 for equal boxes without area; in place, as PyTorch is far faster with floats than with bools
    with torch.no_grad():
        difference = (a_width + b_width).sub_(overlap_x, alpha=2)
        difference.add_((a_height + b_height).sub_(overlap_y, alpha=2))
        equal = difference.add_(union).lt_(_tiny(union))
    j = _ratio(intersection, union) + equal
    return _Pair(a, b, a_width, a_height, b_width, b_height, overlap_x, overlap_y, union, j)


def _overlap(a1: Tensor, a2: Tensor, b1: Tensor, b2: Tensor) -> Tensor:
    """Return min(a2, b2) - max(a1, b1), what two intervals share, negative for a gap."""
    if not any(end.requires_grad for end in (a1, a2, b1, b2)):
        return torch.minimum(a2, b2) - torch.maximum(a1, b1)
    # The same, to the last bit and with the same gradient, as means of weights 1, 1/2 or 0: going
    # back through masks, as those functions do, takes several times as long.
    return torch.lerp(b2, a2, _below(a2, b2)) - torch.lerp(a1, b1, _below(a1, b1))


@torch.no_grad()
def _below(a: Tensor, b: Tensor) -> Tensor:
    """Return 1 where a < b, 1/2 where they are equal, else 0."""
    return (b - a).sign_().add_(1).div_(2)


def _similarity(
    kind: Kind, pair: _Pair, *, detach_enclosing: bool = False, detach_alpha: bool = True
) -> Tensor:
    """Return the similarity of the boxes of a pair."""
    if kind == "iou":
        return pair.j

    # iou-giou
    hull_width, hull_height = pair.hull
    if kind == "giou":
        hull = _constant(hull_width * hull_height, detach_enclosing)
        return pair.j - _ratio(hull - pair.union, hull)

    # iou-diou
    delta_x, delta_y = pair.offset
    c2 = _constant(hull_width**2 + hull_height**2, detach_enclosing)
    diou = pair.j - _ratio(delta_x**2 + delta_y**2, c2)
    if kind == "diou":
        return diou

    # iou-ciou, iou-ciou-v
    if kind == "ciou":
        angle = _angle(pair.b_width, pair.b_height) - _angle(pair.a_width, pair.a_height)
        v = 4 / torch.pi**2 * angle**2
        alpha = _constant(_ratio(v, 1 - pair.j + v), detach_alpha)
        return diou - alpha * v

    # iou-eiou
    width2 = _constant(hull_width**2, detach_enclosing)
    height2 = _constant(hull_height**2, detach_enclosing)
    wider, higher = pair.a_width - pair.b_width, pair.a_height - pair.b_height
    return diou - _ratio(wider**2, width2) - _ratio(higher**2, height2)


def _relative_loss(
    kind: Relative,
    a: Coordinates,
    b: Coordinates,
    *,
    detach_enclosing: bool,
    detach_focus: bool,
    alpha: numbers.Real,
    gamma: numbers.Real,
    ratio: numbers.Real,
    image_size: Sequence[numbers.Real] | None,
) -> Tensor:
    """Return the loss of one of the relatives for boxes given by their coordinates."""
    # iou-inner
    if kind == "inner_iou":
        return 1 - _pair(_scaled(a, ratio), _scaled(b, ratio)).j

    # iou-alpha, iou-mpdiou, iou-focal-eiou
    pair = _pair(a, b)
    j = pair.j
    if kind == "alpha_iou":
        return 1 - j**alpha
    if kind == "mpdiou":
        corners2 = sum((p - q) ** 2 for p, q in zip(a, b, strict=True))
        return 1 - j + corners2 / (image_size[0] ** 2 + image_size[1] ** 2)
    if kind == "focal_eiou":
        eiou_loss = 1 - _similarity("eiou", pair, detach_enclosing=detach_enclosing)
        # where J = 0 the power's slope is infinite, but J's is 0
        focus = _constant(j.where(j > 0, 1) ** gamma * (j > 0), detach_focus)
        return focus * eiou_loss

    # iou-wiou; the definition holds c2 constant
    delta_x, delta_y = pair.offset
    hull_width, hull_height = pair.hull
    rho2 = delta_x**2 + delta_y**2
    if kind == "wiou":
        return torch.exp(_ratio(rho2, (hull_width**2 + hull_height**2).detach())) * (1 - j)

    # iou-siou
    weight = 2 - _ratio(2 * (delta_x * delta_y).abs(), rho2)
    distance, shape = 0.0, 0.0
    for delta, hull in ((delta_x, hull_width), (delta_y, hull_height)):
        part = _ratio(delta**2, _constant(hull**2, detach_enclosing))
        distance = distance + 1 - torch.exp(-weight * part)
    for own, wanted in ((pair.a_width, pair.b_width), (pair.a_height, pair.b_height)):
        difference = _ratio((own - wanted).abs(), torch.maximum(own, wanted))
        shape = shape + (1 - torch.exp(-difference)) ** 4
    return 1 - j + (distance + shape) / 2


def _scaled(box: Coordinates, ratio: numbers.Real) -> Coordinates:
    """Return boxes scaled about their centers."""
    x1, y1, x2, y2 = box
    dx, dy = (1 - ratio) / 2 * (x2 - x1), (1 - ratio) / 2 * (y2 - y1)
    return x1 + dx, y1 + dy, x2 - dx, y2 - dy


def _angle(width: Tensor, height: Tensor) -> Tensor:
    """Return arctan(w/h); a point, whose angle could be any, counts as a square."""
    point = width**2 + height**2 < _tiny(width)
    return torch.atan2(width.masked_fill(point, 1), height.masked_fill(point, 1))


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """Return part / whole, and 0 where both are 0: over infinity, so that the gradient is 0 too."""
    return part / torch.nn.functional.threshold(whole, _tiny(whole), torch.inf)


def _tiny(quantity: Tensor) -> float:
    """Return the least normal number, below which a quantity can't be divided by."""
    return torch.finfo(quantity.dtype).tiny


def _constant(quantity: Tensor, detach: bool) -> Tensor:
    return quantity.detach() if detach else quantity


def _elementwise(kind: Kind, a: Tensor, b: Tensor, **flags: bool) -> Tensor:
    work, result = _dtypes(a, b)
    pair = _pair(_coordinates(a, work), _coordinates(b, work))
    return _similarity(kind, pair, **flags).to(result)


def _coordinates(boxes: Tensor, dtype: torch.dtype) -> Coordinates:
    """Return x1, y1, x2, y2, each contiguous, which makes what follows several times faster."""
    return tuple(column.contiguous() for column in boxes.to(dtype).unbind(-1))


def _dtypes(*tensors: Tensor) -> tuple[torch.dtype, torch.dtype]:
    """Return the dtypes to compute in and to answer in: no less than float32."""
    result = torch.float32
    for tensor in tensors:
        result = torch.promote_types(result, tensor.dtype)
    integers = any(not tensor.is_floating_point() for tensor in tensors)
    return torch.float64 if integers else result, result


# Rotated boxes -----------------------------------------------------------------------------------


def _rotated_boxes(name: str, value: object) -> None:
    """Refuse what doesn't hold (cx, cy, w, h, theta); look at the values only if checked."""
    real_tensor(name, value)
    if value.shape[-1:] != (5,):
        raise ValueError(f"{name}: expected shape (..., 5), got {tuple(value.shape)}")
    if checks_values():
        sizes = (value[..., 2:4] >= 0).all(-1)
        _refuse(name, value, ~(value.isfinite().all(-1) & sizes), "at least 0")


def _solid_rotated_boxes(name: str, value: object) -> None:
    """Refuse rotated boxes without area, too: their Gaussian has no density."""
    _rotated_boxes(name, value)
    if checks_values():
        _refuse(name, value, ~(value[..., 2:4] > 0).all(-1), "more than 0")


def _refuse(name: str, boxes: Tensor, wrong: Tensor, least: str) -> None:
    """Raise a `ValueError` that shows the first of the wrong rotated boxes, if there are any."""
    if wrong.any():
        index = tuple(wrong.nonzero()[0].tolist())
        place = f"{name}[{', '.join(map(str, index))}]" if index else name
        raise ValueError(
            f"{place} = {tuple(boxes[index].tolist())}: expected (center x, center y, width, "
            f"height, angle in radians), finite and with sizes of {least}"
        )


_ROTATED_HINT = "For every box of one list with every box of another, pass a[:, None] and b."
_two_rotated = (broadcastable("a", "b", hint=_ROTATED_HINT),)


@validated(boxes=_rotated_boxes)
def rotated_corners(boxes: Real[Tensor, "*n 5"]) -> Float[Tensor, "*n 4 2"]:
    """Return the corners of rotated boxes, (-w/2, -h/2) first, then around from x toward y.

    Boxes are (center x, center y, width, height, angle), the angle in radians, from the x axis
    toward the y axis: counterclockwise where y points up, clockwise in an image.

    Shapes: `(..., 5)` to `(..., 4, 2)`.

    Raises:
        ValueError: for a wrong shape or dtype, NaN, infinity, a negative width or height.
    """
    work, result = _dtypes(boxes)
    x, y, width, height, angle = boxes.to(work)[..., None].unbind(-2)
    return torch.stack(_corners(x, y, width, height, angle), dim=-1).to(result)


@validated(*_two_rotated, a=_rotated_boxes, b=_rotated_boxes)
def rotated_iou(a: Real[Tensor, "*#n 5"], b: Real[Tensor, "*#n 5"]) -> Float[Tensor, "*#n"]:
    """Return the intersection over union of rotated boxes (cx, cy, w, h, angle in radians).

    Seen from A, whose sides then lie along the axes, B is cut by one side of A after the other
    (Sutherland and Hodgman, 1974); the area of what is left is that of a polygon (iou-shoelace).
    Boxes equal number for number have an IoU of exactly 1, with gradient 0 up to rounding.

    Shapes: `(..., 5)` and `(..., 5)`, whose leading dimensions broadcast, to `(...)`.
    Differentiable, by autograd. The slope in the angle is as large as the ratio of the sides, and is
    computed in float32 at least, so that the ratio must stay below 1e36 there.

    Raises:
        ValueError: for a wrong shape or dtype, NaN, infinity, a negative width or height.
    """
    work, result = _dtypes(a, b)
    a_width, a_height, b_width, b_height, *place = _seen_from(a.to(work), b.to(work))
    x, y = _corners(*place[:2], b_width, b_height, place[2])
    for half_side in (a_width / 2, a_height / 2) * 2:
        x, y = _cut(x, y, half_side)
        x, y = y, -x  # a quarter turn: the next side of A is now at the right
    intersection = _shoelace(x, y).relu()  # of gradient 0 for boxes that only touch
    union = (a_width * a_height + b_width * b_height)[..., 0] - intersection
    equal = (a == b).all(-1) & (union < _tiny(union))  # 1 for equal boxes without area
    return (_ratio(intersection, union) + equal).to(result)


@validated(*_two_rotated, a=_rotated_boxes, b=_rotated_boxes)
def gwd(a: Real[Tensor, "*#n 5"], b: Real[Tensor, "*#n 5"]) -> Float[Tensor, "*#n"]:
    r"""Return the squared 2-Wasserstein distance of the Gaussians of rotated boxes (iou-gwd).

    A box's Gaussian has its center as mean and $R\,\mathrm{diag}(w^2,h^2)\,R^\top/4$ as covariance.
    With $\delta$ the difference of the angles, $p=w_1w_2+h_1h_2$ and $q=w_1h_2+h_1w_2$, the general
    formula is
    $|\Delta|^2+|\Delta s|^2/4+\frac12\big(p-\sqrt{p^2\cos^2\delta+q^2\sin^2\delta}\big)$.
    So it is 0 for identical boxes, and the angle matters only if neither of them is a square.

    Shapes and errors as for `rotated_iou`. Units: the square of the boxes'.
    Source: Yang et al. (2021), "Rethinking rotated object detection with Gaussian Wasserstein
    distance loss", which maps this distance to a loss in one of several ways.
    """
    work, result = _dtypes(a, b)
    a, b = a.to(work), b.to(work)
    squares = (a - b) ** 2
    center, size = squares[..., :2].sum(-1), squares[..., 2:4].sum(-1) / 4
    (aw, ah, a_angle), (bw, bh, b_angle) = a[..., 2:].unbind(-1), b[..., 2:].unbind(-1)
    angle = a_angle - b_angle
    p, q = aw * bw + ah * bh, aw * bh + ah * bw
    sin = angle.sin()
    root = _hypot(p * angle.cos(), q * sin)
    # p - root, without a difference of nearly equal numbers; the ratio is between -2 and 2
    turned = sin * (aw - ah) * (bw - bh) * _ratio(sin * (aw + ah) * (bw + bh), p + root)
    return (center + size + turned / 2).to(result)


@validated(*_two_rotated, a=_solid_rotated_boxes, b=_solid_rotated_boxes)
def kld(a: Real[Tensor, "*#n 5"], b: Real[Tensor, "*#n 5"]) -> Float[Tensor, "*#n"]:
    r"""Return the Kullback-Leibler divergence of A's Gaussian from B's, KL(A || B) (iou-kld).

    The Gaussians are those of `gwd`. The divergence is 0 for identical boxes, does not change under
    an affine map of both, and is not symmetric.

    Shapes as for `rotated_iou`. Source: Yang et al. (2021), "Learning high-precision bounding box
    for rotated object detection via Kullback-Leibler divergence".

    Raises:
        ValueError: for a wrong shape or dtype, NaN, infinity, a width or height that isn't
            positive.
    """
    work, result = _dtypes(a, b)
    bw, bh, aw, ah, x, y, angle = (c[..., 0] for c in _seen_from(b.to(work), a.to(work)))
    cos, sin = angle.cos(), angle.sin()
    distance = 4 * ((x / bw) ** 2 + (y / bh) ** 2)
    along_w = (aw / bw * cos) ** 2 + (ah / bw * sin) ** 2
    along_h = (aw / bh * sin) ** 2 + (ah / bh * cos) ** 2
    return ((distance + along_w + along_h) / 2 - (aw / bw).log() - (ah / bh).log() - 1).to(result)


def _seen_from(a: Tensor, b: Tensor) -> Coordinates:
    """Return A's and B's sizes, and B's center and angle as seen from A, each of shape (..., 1).

    Only differences of centers and angles count, so nothing is lost far from the origin.
    """
    a_width, a_height, a_angle = a[..., 2:].split(1, dim=-1)
    b_width, b_height, b_angle = b[..., 2:].split(1, dim=-1)
    delta_x, delta_y = (b - a)[..., :2].split(1, dim=-1)
    x = a_angle.cos() * delta_x + a_angle.sin() * delta_y
    y = a_angle.cos() * delta_y - a_angle.sin() * delta_x
    return a_width, a_height, b_width, b_height, x, y, b_angle - a_angle


def _corners(
    x: Tensor, y: Tensor, width: Tensor, height: Tensor, angle: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the x and the y of four corners, each (..., 4), from numbers of shape (..., 1)."""
    u = width / 2 * width.new_tensor([-1, 1, 1, -1])
    v = height / 2 * height.new_tensor([-1, -1, 1, 1])
    cos, sin = angle.cos(), angle.sin()
    return x + u * cos - v * sin, y + u * sin + v * cos


def _cut(x: Tensor, y: Tensor, bound: Tensor) -> tuple[Tensor, Tensor]:
    """Return the part of convex polygons where x <= bound, as corners in order, (..., k + 2).

    A convex polygon gains one corner at most, and another if it is convex but for rounding. What is
    left over repeats the first corner, and if nothing is left of the polygon, all corners are 0.
    """
    room = bound - x
    next_y, next_room = y.roll(-1, -1), room.roll(-1, -1)
    inside = room >= 0
    crosses = inside != (next_room >= 0)
    share = room / (room - next_room).where(crosses, 1)
    # Each corner is followed by the place where the edge that it begins crosses the line.
    new_x = torch.stack([torch.minimum(x, bound), bound.expand_as(x)], -1).flatten(-2)
    new_y = torch.stack([y, y + share * (next_y - y)], -1).flatten(-2)
    kept = torch.stack([inside, crosses], -1).flatten(-2)
    size = x.shape[-1] + 2
    place = torch.where(kept, kept.cumsum(-1) - 1, size).clamp(max=size)  # the last is dropped
    filled = torch.arange(size, device=x.device) < kept.sum(-1, keepdim=True)
    packed = []
    for corner in (new_x, new_y):
        corner = corner.new_zeros(*corner.shape[:-1], size + 1).scatter(-1, place, corner)
        packed.append(corner[..., :-1].where(filled, corner[..., :1]))
    return packed[0], packed[1]


def _shoelace(x: Tensor, y: Tensor) -> Tensor:
    """Return the area of polygons from their corners (iou-shoelace), as seen from the first one."""
    x, y = x - x[..., :1], y - y[..., :1]
    return (x * y.roll(-1, -1) - x.roll(-1, -1) * y).sum(-1) / 2


def _hypot(x: Tensor, y: Tensor) -> Tensor:
    """Return the length of (x, y), whose gradient at the origin is 0."""
    origin = (x == 0) & (y == 0)
    return torch.hypot(x.masked_fill(origin, 1), y).masked_fill(origin, 0)


# Suppression and evaluation ----------------------------------------------------------------------

# As COCO's evaluation computes them: some are one rounding above i/100, and 0.9 is below 0.9.
_RECALLS = torch.from_numpy(numpy.linspace(0, 1, 101))
_THRESHOLDS = torch.from_numpy(numpy.linspace(0.5, 0.95, 10))
_AREAS = {"": (0, 1e10), "s": (0, 32**2), "m": (32**2, 96**2), "l": (96**2, 1e10)}
_MOST = (1, 10, 100)  # detections of a class that count in an image
_MATCH_BLOCK = 2**12  # pairs of image and class at a time
_NMS_BLOCK = 2**9  # boxes at a time


def _scores(name: str, value: object) -> None:
    """Refuse what isn't a list of scores; NaN has no place in an order."""
    real_tensor(name, value)
    if value.ndim != 1:
        raise ValueError(f"{name}: expected shape (number,), got {tuple(value.shape)}")
    if checks_values() and value.isnan().any():
        raise ValueError(f"{name}[{value.isnan().nonzero()[0].item()}] is nan: expected a number")


@validated(
    _same_length("boxes", "scores"),
    boxes=_list_of_boxes,
    scores=_scores,
    threshold=finite_number,
    kind=one_of(_KINDS),
)
def nms(
    boxes: Real[Tensor, "n 4"],
    scores: Real[Tensor, "n"],
    threshold: numbers.Real,
    kind: Kind = "iou",
) -> Int64[Tensor, "kept"]:
    r"""Return which boxes survive non-maximum suppression, by falling score (iou-nms).

    A box is kept if its similarity with every kept box of higher score is at most `threshold`; of
    equal scores, the earlier box counts as the higher. With `kind="diou"` boxes with distant
    centers are spared (iou-diou-nms).

    Any finite threshold is allowed: IoUs lie between 0 and 1, GIoUs and DIoUs between -1 and 1, and
    those that punish shapes, too, fall below -1. At 1 every box stays.

    Shapes: `(N, 4)` and `(N,)` to indices `(K,)`.

    Raises:
        ValueError: for a wrong shape, dtype or kind, different lengths, NaN, infinity (in boxes),
            reversed boxes, a threshold that isn't a finite number.
    """
    order = scores.argsort(descending=True, stable=True)
    kept = order[:0]
    for block in order.split(_NMS_BLOCK):
        suppressed = (pairwise(boxes[kept], boxes[block], kind) > threshold).any(0)
        block = block[~suppressed]
        suppresses = pairwise(boxes[block], boxes[block], kind) > threshold
        suppresses = suppresses.triu(1).numpy(force=True)
        free = numpy.ones(len(block), dtype=bool)
        for i in range(len(block)):
            if free[i]:
                free &= ~suppresses[i]
        kept = torch.cat([kept, block[torch.from_numpy(free).to(block.device)]])
    return kept


def _hits(name: str, value: object) -> None:
    """Refuse what isn't a list of truth values."""
    if not isinstance(value, Tensor) or value.dtype != torch.bool or value.ndim != 1:
        raise ValueError(f"{name}: expected a torch.Tensor of bool, of shape (number,)")


@validated(_same_length("scores", "hits"), scores=_scores, hits=_hits, objects=count)
def average_precision(
    scores: Real[Tensor, "n"], hits: Bool[Tensor, "n"], objects: int
) -> Float[Tensor, ""]:
    r"""Return the average precision of scored detections, read at 101 recalls.

    $\frac1{101}\sum_r\max_{k:\,r_k\ge r}p_k$ (iou-precision-envelope), with the precision $p_k$ and
    the recall $r_k$ of the $k$ detections of highest score.

    Args:
        scores: one a detection; of equal scores, the earlier detection counts as the higher.
        hits: which detections have found an object that none before them had found.
        objects: how many there are to find.

    Raises:
        ValueError: for a wrong shape or dtype, different lengths, NaN, fewer than 1 objects.
    """
    hits = hits[scores.argsort(descending=True, stable=True)]
    return _precision_at_recalls(hits, ~hits, objects).mean()


_KEYS = {  # what each image has, and what it may have
    "detections": (("boxes", "scores", "labels"), ()),
    "targets": (("boxes", "labels"), ("area", "crowd")),
}


def _images(name: str, value: object) -> None:
    """Refuse what isn't a list with a mapping an image, as `coco_map` describes them."""
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name}: expected a list with a dict an image, got {type(value)}")  # noqa: TRY004
    needed, optional = _KEYS[name]
    for i, image in enumerate(value):
        keys = set(image) if isinstance(image, Mapping) else set()
        if not set(needed) <= keys or not keys <= {*needed, *optional}:
            wanted = ", ".join(needed) + (f" and perhaps {', '.join(optional)}" if optional else "")
            got = ", ".join(map(str, image)) if keys else type(image).__name__
            raise ValueError(f"{name}[{i}]: expected a dict of {wanted}; got {got}")
        _list_of_boxes(f'{name}[{i}]["boxes"]', image["boxes"])
        for key in sorted(keys - {"boxes"}):
            _column(f'{name}[{i}]["{key}"]', key, image[key], len(image["boxes"]))


def _column(name: str, key: str, value: object, rows: int) -> None:
    """Refuse what isn't one number, label or truth value a box."""
    if not isinstance(value, Tensor) or value.shape != (rows,):
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"{name}: expected shape ({rows},), got {got}")
    if key == "labels" and (value.is_floating_point() or value.dtype == torch.bool):
        raise ValueError(f"{name}: expected integers, got {value.dtype}")
    if key in ("scores", "area"):
        _scores(name, value)


def _same_number_of_images(arguments: dict[str, Any]) -> None:
    numbers_of_images = len(arguments["detections"]), len(arguments["targets"])
    if numbers_of_images[0] != numbers_of_images[1]:
        raise ValueError(
            "detections and targets: expected as many images, got "
            f"{numbers_of_images[0]} and {numbers_of_images[1]}"
        )


@validated(_same_number_of_images, detections=_images, targets=_images)
@torch.no_grad()
def coco_map(
    detections: Sequence[Mapping[str, Tensor]], targets: Sequence[Mapping[str, Tensor]]
) -> dict[str, float]:
    """Return the figures of merit of the COCO evaluation of boxes (iou-coco-ap).

    Both arguments hold one mapping an image, with tensors of the same number of rows:

    - detections: `boxes` (n, 4), `scores` (n,), `labels` (n,);
    - targets: `boxes` (m, 4), `labels` (m,), and if wanted `area` (m,), by default the boxes', and
      `crowd` (m,), true for regions in which any number of detections is neither right nor wrong.

    Labels are integers. The 100 detections of highest score count in each image and class; of equal
    scores, the earlier image and then the earlier detection comes first.

    Returns:
        AP, AP50, AP75; APs, APm, APl for objects below 32², below 96² and above; AR1, AR10, AR100
        for 1, 10 and 100 detections an image and class; ARs, ARm, ARl. NaN where there are no such
        objects.

    Raises:
        ValueError: for lists of different lengths, a missing or unknown key, a wrong shape or
            dtype, NaN, infinity (in boxes), reversed boxes.

    Source: Lin et al. (2014); the protocol is that of its reference implementation, pycocotools.
    """
    classes = torch.cat([torch.empty(0).long()] + [t["labels"].long().cpu() for t in targets])
    classes = classes.unique()
    found = _in_order(detections, classes, by_score=True)
    objects = _in_order(targets, classes, by_score=False)
    matched, ignored, counted = _match(found, objects, len(classes))

    precision = torch.full((len(classes), len(_AREAS), len(_THRESHOLDS), 101), torch.nan).double()
    recall = torch.full((len(classes), len(_MOST), len(_AREAS), len(_THRESHOLDS)), torch.nan)
    recall = recall.double()
    label, rank = found["group"] % len(classes), found["rank"]
    by_score = found["score"].argsort(descending=True, stable=True)
    for c in range(len(classes)):
        those = by_score[label[by_score] == c]
        true, false = matched[..., those] & ~ignored[..., those], ~(matched | ignored)[..., those]
        some = counted[c] > 0  # of the four ranges of area, those with objects to find
        number = counted[c, some, None, None]
        precision[c, some] = _precision_at_recalls(true[some], false[some], number)
        for m, most in enumerate(_MOST):
            first = true[some][..., rank[those] < most]
            recall[c, m, some] = first.sum(-1) / number[..., 0]

    result = {"AP": precision[:, 0], "AP50": precision[:, 0, 0], "AP75": precision[:, 0, 5]}
    result |= {f"AP{size}": precision[:, a] for a, size in enumerate(_AREAS) if size}
    result |= {f"AR{most}": recall[:, m, 0] for m, most in enumerate(_MOST)}
    result |= {f"AR{size}": recall[:, -1, a] for a, size in enumerate(_AREAS) if size}
    return {name: values.nanmean().item() for name, values in result.items()}


def _in_order(
    images: Sequence[Mapping[str, Tensor]], classes: Tensor, *, by_score: bool
) -> dict[str, Tensor]:
    """Return the boxes of all images by group, a pair of image and class, and by falling score.

    Of each group the first 100 by score, or all. Boxes of other classes are left out.
    """
    rows = [_rows(i, image) for i, image in enumerate(images)]
    rows.append(_rows(0, {"boxes": torch.empty(0, 4), "labels": torch.empty(0)}))
    table = {name: torch.cat([row[name] for row in rows]) for name in rows[-1]}
    label = torch.searchsorted(classes, table["label"])
    known = torch.isin(table["label"], classes)
    table["group"] = table["image"] * len(classes) + label
    order = known.nonzero()[:, 0]
    if by_score:
        order = order[table["score"][order].argsort(descending=True, stable=True)]
    order = order[table["group"][order].argsort(stable=True)]
    group = table["group"][order]
    rank = torch.arange(len(order)) - torch.searchsorted(group, group)
    kept = rank < _MOST[-1] if by_score else torch.ones_like(rank, dtype=torch.bool)
    return {name: column[order[kept]] for name, column in table.items()} | {"rank": rank[kept]}


def _rows(number: int, image: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what counts of an image's boxes, on the CPU and in double precision."""
    boxes = image["boxes"].double().cpu()
    own_area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return {
        "box": boxes,
        "label": image["labels"].long().cpu(),
        "image": torch.full((len(boxes),), number),
        "score": image.get("scores", own_area).double().cpu(),
        "area": image.get("area", own_area).double().cpu(),
        "crowd": image.get("crowd", torch.zeros(len(boxes))).bool().cpu(),
    }


def _match(
    found: dict[str, Tensor], objects: dict[str, Tensor], classes: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return which detections have matched and which don't count, and how many objects do.

    Shapes: two of `(ranges of area, thresholds, detections)`, and `(classes, ranges of area)`.
    """
    least, most = torch.tensor(list(_AREAS.values())).double()[..., None].unbind(1)
    outside = (objects["area"] < least) | (objects["area"] > most)
    passed_over = outside | objects["crowd"]
    counted = torch.zeros(classes, len(_AREAS)).double()
    counted.index_add_(0, objects["group"] % classes, (~passed_over).double().T)

    matched = torch.zeros(len(_AREAS), len(_THRESHOLDS), len(found["box"]), dtype=torch.bool)
    ignored = matched.clone()
    group, width = objects["group"].unique_consecutive(return_counts=True)
    first_object = width.cumsum(0) - width
    first = torch.searchsorted(found["group"], group)
    depth = torch.searchsorted(found["group"], group, right=True) - first
    # Groups of much the same number of objects together, in each block the deepest first.
    for block in (width * 1000 - depth).argsort().split(_MATCH_BLOCK):
        block = block[depth[block].argsort(descending=True)]
        block = block[depth[block] > 0]
        if not len(block):
            continue
        # The last object first, as of equal overlaps the last one wins.
        column = width[block, None] - 1 - torch.arange(int(width[block].max()))
        exists = column >= 0
        column = first_object[block, None] + column.clamp(min=0)
        place = objects["box"][column].unbind(-1)
        crowd, pass_over = objects["crowd"][column], passed_over[:, column][:, None]
        free = exists.expand(len(_AREAS), len(_THRESHOLDS), *exists.shape).clone()
        for step in range(int(depth[block].max())):
            n = int((depth[block] > step).sum())
            which = first[block[:n]] + step
            pair = _pair(found["box"][which, None].unbind(-1), tuple(c[:n] for c in place))
            shared = pair.overlap_x.relu() * pair.overlap_y.relu()
            own = _ratio(shared, pair.a_width * pair.a_height)
            overlap = torch.where(crowd[:n], own, pair.j)
            enough = overlap >= _THRESHOLDS[:, None, None]
            # An object that counts comes before one that doesn't, however little it overlaps.
            value = torch.where(pass_over[:, :, :n], overlap * 2.0**-20, overlap)
            value = value.where(enough & free[:, :, :n], -1)
            best, choice = value.max(-1)
            hit = best > 0
            choice = choice[..., None]
            matched[..., which] = hit
            ignored[..., which] = (
                hit & pass_over[:, :, :n].expand_as(value).gather(-1, choice)[..., 0]
            )
            takes = hit[..., None] & ~crowd[:n].expand_as(value).gather(-1, choice)
            free[:, :, :n].scatter_(-1, choice, free[:, :, :n].gather(-1, choice) & ~takes)
    small_or_large = (found["area"] < least) | (found["area"] > most)
    return matched, ignored | (~matched & small_or_large[:, None]), counted


def _precision_at_recalls(true: Tensor, false: Tensor, objects: Tensor | int) -> Tensor:
    """Return the best precision at each of the 101 recalls or above, 0 where none is reached.

    `true` and `false`, (..., n), say of the detections by falling score which count as right and
    which as wrong.
    """
    right = true.cumsum(-1).double()
    precision = right / (right + false.cumsum(-1)).clamp(min=1)
    best = torch.nn.functional.pad(precision, (0, 1)).flip(-1).cummax(-1).values.flip(-1)
    recalls = _RECALLS.to(right.device).expand(*right.shape[:-1], -1).contiguous()
    return best.gather(-1, torch.searchsorted(right / objects, recalls))
