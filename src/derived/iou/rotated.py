"""Boxes with an angle: their corners, their overlap, and the distances of their Gaussians."""

import torch
from jaxtyping import Float, Real
from torch import Tensor

from derived._validation import broadcastable, checks_values, comparable, real_tensor, validated
from derived.iou._pairs import Coordinates, _dtypes, _ratio, _tiny


def _rotated_boxes(name: str, value: object) -> None:
    """Refuse what doesn't hold (cx, cy, w, h, theta); look at the values only if checked."""
    real_tensor(name, value)
    if value.shape[-1:] != (5,):
        raise ValueError(f"{name}: expected shape (..., 5), got {tuple(value.shape)}")
    if checks_values():
        value = comparable(value)
        sizes = (value[..., 2:4] >= 0).all(-1)
        _refuse(name, value, ~(value.isfinite().all(-1) & sizes), "at least 0")


def _solid_rotated_boxes(name: str, value: object) -> None:
    """Refuse rotated boxes without area, too: their Gaussian has no density."""
    _rotated_boxes(name, value)
    if checks_values():
        value = comparable(value)
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
    flat = union < _tiny(union)
    equal = (comparable(a) == comparable(b)).all(-1) & flat  # 1 for equal boxes without area
    return (_ratio(intersection, union) + equal).clamp(max=1).to(result)  # 1 + 2e-7 is rounding


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
    return (center + size + turned / 2).clamp(min=0).to(result)  # below is rounding


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
    divergence = (distance + along_w + along_h) / 2 - (aw / bw).log() - (ah / bh).log() - 1
    return divergence.clamp(min=0).to(result)  # below is rounding


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
