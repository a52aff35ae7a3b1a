"""Similarities of two boxes, each with its formula beneath, and the losses made of them."""

import numbers
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, Real
from torch import Tensor

from derived._validation import (
    broadcastable,
    is_number,
    mapped,
    not_negative,
    number,
    one_of,
    validated,
)
from derived.iou._checks import (
    _PAIRWISE_HINT,
    _boxes,
    _list_of_boxes,
    _sized_boxes,
    _two_boxes,
)
from derived.iou._pairs import Coordinates, _coordinates, _dtypes, _Pair, _pair, _ratio, _tiny

Kind = Literal["iou", "giou", "diou", "ciou", "eiou"]
Relative = Literal["focal_eiou", "siou", "alpha_iou", "wiou", "mpdiou", "inner_iou"]
Reduction = Literal["mean", "sum", "none"]
_KINDS, _RELATIVES = get_args(Kind), get_args(Relative)

_CPU_BLOCK = 2**16  # pairs at a time: what is computed on the way then stays in the cache


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


@validated(boxes=_sized_boxes)
def from_cxcywh(boxes: Real[Tensor, "*n 4"]) -> Float[Tensor, "*n 4"]:
    """Return boxes given as (center x, center y, width, height) as (x1, y1, x2, y2).

    Shapes: `(..., 4)` to `(..., 4)`. Integers are answered in float32, half types as well, as a
    corner needs more digits than its center and its size.

    Raises:
        ValueError: for a wrong shape or dtype, NaN, infinity, a negative width or height.
    """
    work, result = _dtypes(boxes)
    center, size = boxes.to(work).split(2, dim=-1)
    half = size / 2
    return torch.cat([center - half, center + half], dim=-1).to(result)


@_two_boxes
def iou(a: Real[Tensor, "*#n 4"], b: Real[Tensor, "*#n 4"]) -> Float[Tensor, "*#n"]:
    r"""Return the intersection over union, $J=|A\cap B|/|A\cup B|$ (iou-definition), in [0, 1].

    Shapes: `(..., 4)` and `(..., 4)`, whose leading dimensions broadcast, to `(...)`.

    Raises:
        ValueError: for a wrong shape or dtype, NaN, infinity, reversed boxes.
    """
    return _elementwise(_iou, a, b)


def _iou(pair: _Pair) -> Tensor:
    return pair.j


@_two_boxes
def giou(a: Real[Tensor, "*#n 4"], b: Real[Tensor, "*#n 4"]) -> Float[Tensor, "*#n"]:
    r"""Return the generalized IoU, $J-(|C|-U)/|C|$ (iou-giou), in (-1, 1].

    $C$ is the smallest box around both, $U$ the area of their union. -1 is reached only by boxes
    without area. Shapes and errors as for `iou`. Source: Rezatofighi et al. (2019).
    """
    return _elementwise(_giou, a, b)


def _giou(pair: _Pair) -> Tensor:
    hull_width, hull_height = pair.hull
    hull = hull_width * hull_height
    return pair.j - _ratio(hull - pair.union, hull)


@_two_boxes
def diou(a: Real[Tensor, "*#n 4"], b: Real[Tensor, "*#n 4"]) -> Float[Tensor, "*#n"]:
    r"""Return the distance IoU, $J-\rho^2/c^2$ (iou-diou), in (-1, 1].

    $\rho$ is the distance of the centers, $c$ the diagonal of the smallest box around both. -1 is
    reached only by points. Shapes and errors as for `iou`. Source: Zheng et al. (2020).
    """
    return _elementwise(_diou, a, b)


def _diou(pair: _Pair) -> Tensor:
    (hull_width, hull_height), (delta_x, delta_y) = pair.hull, pair.offset
    c2 = hull_width**2 + hull_height**2
    return pair.j - _ratio(delta_x**2 + delta_y**2, c2)


@_two_boxes
def ciou(
    a: Real[Tensor, "*#n 4"], b: Real[Tensor, "*#n 4"], *, detach_alpha: bool = True
) -> Float[Tensor, "*#n"]:
    r"""Return the complete IoU, $J-\rho^2/c^2-\alpha v$ (iou-ciou, iou-ciou-v), in (-3/2, 1].

    $v$ compares the aspect ratios. Its weight $\alpha$ counts as a constant in the gradient unless
    `detach_alpha` is false (iou-ciou-alpha). Shapes and errors as for `iou`.
    Source: Zheng et al. (2020).
    """
    return _elementwise(_ciou, a, b, detach_alpha=detach_alpha)


def _ciou(pair: _Pair, *, detach_alpha: bool = True) -> Tensor:
    angle = _angle(pair.b_width, pair.b_height) - _angle(pair.a_width, pair.a_height)
    v = 4 / torch.pi**2 * angle**2
    alpha = _constant(_ratio(v, 1 - pair.j + v), detach_alpha)
    return _diou(pair) - alpha * v


def _angle(width: Tensor, height: Tensor) -> Tensor:
    """Return arctan(w/h); a point, whose angle could be any, counts as a square."""
    point = width**2 + height**2 < _tiny(width)
    return torch.atan2(width.masked_fill(point, 1), height.masked_fill(point, 1))


@_two_boxes
def eiou(a: Real[Tensor, "*#n 4"], b: Real[Tensor, "*#n 4"]) -> Float[Tensor, "*#n"]:
    r"""Return the efficient IoU, $J-\rho^2/c^2-(\Delta w)^2/c_w^2-(\Delta h)^2/c_h^2$ (iou-eiou).

    $\Delta w,\Delta h$ are the differences of the sizes, $c_w\times c_h$ is the size of the smallest
    box around both; the values lie in (-9/4, 1] (see iou-eiou-range). Shapes and errors as
    for `iou`. Source: Zhang et al. (2022).
    """
    return _elementwise(_eiou, a, b)


def _eiou(pair: _Pair) -> Tensor:
    (hull_width, hull_height), (delta_x, delta_y) = pair.hull, pair.offset
    c2 = hull_width**2 + hull_height**2
    diou = pair.j - _ratio(delta_x**2 + delta_y**2, c2)
    wider, higher = pair.a_width - pair.b_width, pair.a_height - pair.b_height
    return diou - _ratio(wider**2, hull_width**2) - _ratio(higher**2, hull_height**2)


_SIMILARITIES = {"iou": _iou, "giou": _giou, "diou": _diou, "ciou": _ciou, "eiou": _eiou}


def _elementwise(
    similarity: Callable[..., Tensor], a: Tensor, b: Tensor, **options: bool
) -> Tensor:
    work, result = _dtypes(a, b)
    pair = _pair(_coordinates(a, work), _coordinates(b, work))
    return similarity(pair, **options).to(result)


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
    similarity = _SIMILARITIES[kind]
    work, result = _dtypes(a, b)
    columns = _coordinates(b, work)
    differentiated = torch.is_grad_enabled() and (a.requires_grad or b.requires_grad)
    if differentiated or a.device.type != "cpu" or mapped():
        return similarity(_pair(_coordinates(a[:, None], work), columns)).to(result)
    matrix = a.new_empty(len(a), len(b), dtype=result)
    rows = max(1, _CPU_BLOCK // max(1, len(b)))
    for block, boxes in zip(matrix.split(rows), a[:, None].split(rows), strict=True):
        block.copy_(similarity(_pair(_coordinates(boxes, work), columns)))
    return matrix


def _image_size(arguments: dict[str, Any]) -> None:
    """Refuse MPDIoU without the size of an image."""
    size = arguments["image_size"]
    if arguments["kind"] == "mpdiou":
        pair = isinstance(size, tuple | list) and len(size) == 2
        if not pair or not all(map(is_number, size)):
            raise ValueError(f"image_size: expected (width, height) for mpdiou, got {size!r}")
        if not all(0 < side < torch.inf for side in size):
            raise ValueError(f"image_size: expected positive finite sides, got {size!r}")


@validated(
    broadcastable("pred", "target", hint=_PAIRWISE_HINT),
    _image_size,
    pred=_boxes,
    target=_boxes,
    kind=one_of(_KINDS + _RELATIVES),
    alpha=number(least=1, why=", below which the slope at J = 0 is infinite"),
    gamma=not_negative,
    ratio=number(least=0.01),
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
            the others) count as a constant in the gradient (see iou-far-detached). In WIoU it
            always does, by definition.
        detach_alpha: let CIoU's weight count as a constant in the gradient (see iou-ciou-alpha).
        detach_focus: let Focal-EIoU's weight $J^\gamma$ count as one (see iou-focal-slope).
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
    if kind == "inner_iou":
        a, b = _scaled(a, ratio), _scaled(b, ratio)
    pair = _pair(a, b, detach_enclosing=detach_enclosing)
    match kind:
        case "focal_eiou":
            loss = _focal_eiou(pair, gamma, detach_focus)
        case "siou":
            loss = _siou(pair)
        case "alpha_iou":
            loss = _alpha_iou(pair, alpha)
        case "wiou":
            loss = _wiou(pair)
        case "mpdiou":
            loss = _mpdiou(pair, image_size)
        case "ciou":
            loss = 1 - _ciou(pair, detach_alpha=detach_alpha)
        case "iou" | "inner_iou":
            loss = 1 - pair.j
        case _:
            loss = 1 - _SIMILARITIES[kind](pair)
    loss = loss.to(result)
    if reduction == "none":
        return loss
    return loss.sum() if reduction == "sum" else loss.sum() / max(1, loss.numel())


def _focal_eiou(pair: _Pair, gamma: numbers.Real, detach_focus: bool) -> Tensor:
    j, eiou_loss = pair.j, 1 - _eiou(pair)
    # where J = 0 the power's slope is infinite, but J's is 0
    focus = _constant(j.where(j > 0, 1) ** gamma * (j > 0), detach_focus)
    return focus * eiou_loss


def _siou(pair: _Pair) -> Tensor:
    (delta_x, delta_y), (hull_width, hull_height) = pair.offset, pair.hull
    rho2 = delta_x**2 + delta_y**2
    weight = 2 - _ratio(2 * (delta_x * delta_y).abs(), rho2)
    distance, shape = 0.0, 0.0
    for delta, hull in ((delta_x, hull_width), (delta_y, hull_height)):
        part = _ratio(delta**2, hull**2)
        distance = distance + 1 - torch.exp(-weight * part)
    for own, wanted in ((pair.a_width, pair.b_width), (pair.a_height, pair.b_height)):
        difference = _ratio((own - wanted).abs(), torch.maximum(own, wanted))
        shape = shape + (1 - torch.exp(-difference)) ** 4
    return 1 - pair.j + (distance + shape) / 2


def _alpha_iou(pair: _Pair, alpha: numbers.Real) -> Tensor:
    return 1 - pair.j**alpha


def _wiou(pair: _Pair) -> Tensor:
    (delta_x, delta_y), (hull_width, hull_height) = pair.offset, pair.hull
    c2 = (hull_width**2 + hull_height**2).detach()  # constant by definition
    return torch.exp(_ratio(delta_x**2 + delta_y**2, c2)) * (1 - pair.j)


def _mpdiou(pair: _Pair, image_size: Sequence[numbers.Real]) -> Tensor:
    width, height = map(float, image_size)
    corners2 = sum((p - q) ** 2 for p, q in zip(pair.a, pair.b, strict=True))
    return 1 - pair.j + corners2 / (width**2 + height**2)


def _scaled(box: Coordinates, ratio: numbers.Real) -> Coordinates:
    """Return boxes scaled about their centers."""
    x1, y1, x2, y2 = box
    dx, dy = (1 - ratio) / 2 * (x2 - x1), (1 - ratio) / 2 * (y2 - y1)
    return x1 + dx, y1 + dy, x2 - dx, y2 - dy


def _constant(quantity: Tensor, detach: bool) -> Tensor:
    return quantity.detach() if detach else quantity
