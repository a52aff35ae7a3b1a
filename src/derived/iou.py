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
- For identical boxes each loss is exactly 0 and its gradient is 0 up to rounding: `minimum` and
  `maximum` split the gradient of a tie in half, which at this kink is the mean of both sides. (With
  `detach_enclosing`, GIoU keeps half the slope of the union there, and inflates a perfect box.)
- Boxes that only touch, and boxes without area, overlap as little as separated ones: the gradient
  of the intersection is 0.
"""

from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int64, Real
from torch import Tensor

from derived._validation import broadcastable, checks_values, count, one_of, real_tensor, validated

__all__ = ["area", "box_loss", "ciou", "diou", "from_cxcywh", "giou", "iou", "pairwise"]
__all__ += ["regression_cases", "regression_descent"]
__all__ += ["gwd", "kld", "nms", "rotated_corners", "rotated_iou"]

Kind = Literal["iou", "giou", "diou", "ciou"]
Reduction = Literal["mean", "sum", "none"]
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
        finite, (width, height) = value.isfinite().all(-1), value.detach()[..., 2:].unbind(-1)
        wrong = ~(finite & (width >= 0) & (height >= 0))
        if wrong.any():
            index = tuple(wrong.nonzero()[0].tolist())
            raise ValueError(
                f"{name}[{', '.join(map(str, index))}] = {tuple(value[index].tolist())}: expected "
                f"(center x, center y, width, height), finite and with sizes of at least 0"
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


@validated(a=_list_of_boxes, b=_list_of_boxes, kind=one_of(get_args(Kind)))
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
        return _similarity(kind, _coordinates(a[:, None], work), columns).to(result)
    matrix = a.new_empty(len(a), len(b), dtype=result)
    rows = max(1, _CPU_BLOCK // max(1, len(b)))
    for block, boxes in zip(matrix.split(rows), a[:, None].split(rows), strict=True):
        block.copy_(_similarity(kind, _coordinates(boxes, work), columns))
    return matrix


@validated(
    broadcastable("pred", "target", hint=_PAIRWISE_HINT),
    pred=_boxes,
    target=_boxes,
    kind=one_of(get_args(Kind)),
    reduction=one_of(get_args(Reduction)),
)
def box_loss(
    pred: Real[Tensor, "*#n 4"],
    target: Real[Tensor, "*#n 4"],
    kind: Kind = "giou",
    *,
    detach_enclosing: bool = False,
    detach_alpha: bool = True,
    reduction: Reduction = "mean",
) -> Float[Tensor, "*#n"] | Float[Tensor, ""]:
    """Return 1 - similarity of predicted and target boxes, 0 for identical ones.

    Shapes: `(..., 4)` and `(..., 4)`, whose leading dimensions broadcast, to a scalar, or to
    `(...)` without reduction. The mean over no boxes is 0, with gradient 0.

    Args:
        kind: the name of the similarity, a function of this module.
        detach_enclosing: let the size of the hull (GIoU's area, DIoU's and CIoU's diagonal) count
            as a constant in the gradient (iou-far-detached).
        detach_alpha: let CIoU's weight count as a constant in the gradient (iou-ciou-alpha).
        reduction: what to do with the losses of the pairs.

    Raises:
        ValueError: for a wrong shape, dtype, kind or reduction, NaN, infinity, reversed boxes.
    """
    flags = {"detach_enclosing": detach_enclosing, "detach_alpha": detach_alpha}
    loss = 1 - _elementwise(kind, pred, target, **flags)
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


def regression_descent(
    start: Float[Tensor, "n 4"], goal: Float[Tensor, "n 4"], kind: Kind, **flags: bool
) -> Float[Tensor, "n 4"]:
    r"""Return where 200 steps of the regression simulation take boxes given as (cx, cy, w, h).

    $x\leftarrow x-\eta\,(2-J)\,\nabla_xL$ with the rate 0.1, from step 160 on 0.01, from step 180
    on 0.001; sizes stay at least 0.01.

    Shapes: `(N, 4)` and `(N, 4)` to `(N, 4)`. `flags` go to `box_loss`, as do errors.
    Source: Zheng et al. (2020), section "Simulation experiment".
    """
    x, target = start, from_cxcywh(goal)
    for rate in 160 * [0.1] + 20 * [0.01] + 20 * [0.001]:
        x = x.detach().requires_grad_()
        boxes = from_cxcywh(x)
        (slope,) = torch.autograd.grad(box_loss(boxes, target, kind, reduction="sum", **flags), x)
        x = x.detach() - rate * (2 - iou(boxes.detach(), target))[:, None] * slope
        x[:, 2:].clamp_(min=0.01)
    return x


def _similarity(
    kind: Kind,
    a: Coordinates,
    b: Coordinates,
    *,
    detach_enclosing: bool = False,
    detach_alpha: bool = True,
) -> Tensor:
    """Return the similarity of boxes given by their coordinates: all formulas, in one place."""
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = a, b
    a_width, a_height, b_width, b_height = ax2 - ax1, ay2 - ay1, bx2 - bx1, by2 - by1

    # iou-intersection, iou-definition; a negative overlap is a gap
    overlap_x = torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1)
    overlap_y = torch.minimum(ay2, by2) - torch.maximum(ay1, by1)
    intersection = overlap_x.relu() * overlap_y.relu()
    union = a_width * a_height + b_width * b_height - intersection
    # On a line, too: |A| + |B| = |A and B| + |hull|, if a gap counts as a negative overlap.
    hull_width = a_width + b_width - overlap_x
    hull_height = a_height + b_height - overlap_y
    # 1 for equal boxes without area; in place, as PyTorch is far faster with floats than with bools
    difference = (hull_width - overlap_x) + (hull_height - overlap_y)
    equal = (union + difference).detach().lt_(_tiny(union))
    j = _ratio(intersection, union) + equal
    if kind == "iou":
        return j

    # iou-giou
    if kind == "giou":
        hull = _constant(hull_width * hull_height, detach_enclosing)
        return j - _ratio(hull - union, hull)

    # iou-diou; differences first, which are exact for boxes near each other far from the origin
    twice_delta_x = (ax1 - bx1) + (ax2 - bx2)
    twice_delta_y = (ay1 - by1) + (ay2 - by2)
    rho2 = (twice_delta_x**2 + twice_delta_y**2) / 4
    c2 = _constant(hull_width**2 + hull_height**2, detach_enclosing)
    diou = j - _ratio(rho2, c2)
    if kind == "diou":
        return diou

    # iou-ciou, iou-ciou-v
    v = 4 / torch.pi**2 * (_angle(b_width, b_height) - _angle(a_width, a_height)) ** 2
    alpha = _constant(_ratio(v, 1 - j + v), detach_alpha)
    return diou - alpha * v


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
    return _similarity(kind, _coordinates(a, work), _coordinates(b, work), **flags).to(result)


def _coordinates(boxes: Tensor, dtype: torch.dtype) -> Coordinates:
    """Return x1, y1, x2, y2, each contiguous, which makes what follows several times faster."""
    return boxes.to(dtype).movedim(-1, 0).contiguous().unbind()


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
        size = value.detach()[..., 2:4]
        _refuse(name, value, ~(value.isfinite().all(-1) & (size >= 0).all(-1)), "at least 0")


def _solid_rotated_boxes(name: str, value: object) -> None:
    """Refuse rotated boxes without area, too: their Gaussian has no density."""
    _rotated_boxes(name, value)
    if checks_values():
        _refuse(name, value, ~(value.detach()[..., 2:4] > 0).all(-1), "more than 0")


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
    Differentiable, by autograd.

    Raises:
        ValueError: for a wrong shape or dtype, NaN, infinity, a negative width or height.
    """
    work, result = _dtypes(a, b)
    a_width, a_height, b_width, b_height, *place = _seen_from(a.to(work), b.to(work))
    x, y = _corners(*place[:2], b_width, b_height, place[2])
    for half_side in (a_width / 2, a_height / 2) * 2:
        x, y = _cut(x, y, half_side)
        x, y = y, -x  # a quarter turn: the next side of A is now at the right
    intersection = _shoelace(x, y).relu()  # whose gradient is 0 for boxes that only touch
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
    root = _hypot(p * angle.cos(), q * angle.sin())
    # p - root, without a difference of nearly equal numbers
    turned = angle.sin() ** 2 * (aw - ah) * (bw - bh) * _ratio((aw + ah) * (bw + bh), p + root)
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
    cos2, sin2 = angle.cos() ** 2, angle.sin() ** 2
    distance = 4 * ((x / bw) ** 2 + (y / bh) ** 2)
    along_w = (aw / bw) ** 2 * cos2 + (ah / bw) ** 2 * sin2
    along_h = (aw / bh) ** 2 * sin2 + (ah / bh) ** 2 * cos2
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


# Suppression -------------------------------------------------------------------------------------

_NMS_BLOCK = 512  # boxes at a time: bounds the memory, whatever their number


def _scores(name: str, value: object) -> None:
    """Refuse what isn't a list of numbers that can be put into order."""
    real_tensor(name, value)
    if value.ndim != 1:
        raise ValueError(f"{name}: expected shape (number,), got {tuple(value.shape)}")
    if checks_values() and value.isnan().any():
        index = value.isnan().nonzero()[0].item()
        raise ValueError(f"{name}[{index}] = nan: expected numbers that can be put into order")


def _fraction(name: str, value: object) -> None:
    """Refuse what is no number in [0, 1]."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{name}: expected a number in [0, 1], got {value!r}")


def _as_many(first: str, second: str) -> Callable[[dict[str, Any]], None]:
    """Return a check that two lists have the same length."""

    def check(arguments: dict[str, Any]) -> None:
        lengths = [len(arguments[name]) for name in (first, second)]
        if lengths[0] != lengths[1]:
            raise ValueError(
                f"{first} and {second}: expected lists of the same length, got {lengths[0]} and "
                f"{lengths[1]}"
            )

    return check


@validated(
    _as_many("boxes", "scores"),
    boxes=_list_of_boxes,
    scores=_scores,
    threshold=_fraction,
    kind=one_of(get_args(Kind)),
)
def nms(
    boxes: Real[Tensor, "n 4"],
    scores: Real[Tensor, "n"],
    threshold: float,
    kind: Kind = "iou",
) -> Int64[Tensor, "k"]:
    """Return the indices of the boxes that greedy non-maximum suppression keeps, best first.

    From the highest score down, a box is kept unless its similarity with a box already kept is
    above the threshold (iou-nms). At the threshold itself it is kept. Of equal scores, the first
    counts as the highest.

    Shapes: `(N, 4)` and `(N,)` to `(K,)`; there may be no boxes. `kind` is that of `pairwise`:
    "iou", or "diou" for DIoU-NMS (iou-diou-nms; Zheng et al., 2020).

    Raises:
        ValueError: for a wrong shape, dtype or kind, lists of different lengths, NaN, infinity,
            reversed boxes, a threshold outside [0, 1].
    """
    boxes, scores = boxes.detach(), scores.detach()
    order = scores.argsort(descending=True, stable=True)
    kept = order[:0]
    for block in order.split(_NMS_BLOCK):
        suppressed = (pairwise(boxes[kept], boxes[block], kind) > threshold).any(0)
        block = block[~suppressed]
        above = (pairwise(boxes[block], boxes[block], kind) > threshold).cpu().numpy()
        free = np.ones(len(block), dtype=bool)
        for i in range(len(block)):
            if free[i]:
                free[i + 1 :] &= ~above[i, i + 1 :]
        kept = torch.cat([kept, block[torch.from_numpy(free).to(block.device)]])
    return kept
