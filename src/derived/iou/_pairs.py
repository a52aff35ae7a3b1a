"""Two boxes beside each other: what every formula needs of them, and its arithmetic."""

from typing import NamedTuple

import torch
from torch import Tensor

Coordinates = tuple[Tensor, ...]  # x1, y1, x2, y2, each of a shape that broadcasts with the other's


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
    detach_enclosing: bool

    @property
    def hull(self) -> tuple[Tensor, Tensor]:
        """Width and height: |A| + |B| = |A and B| + |hull|, also on a line."""
        width = self.a_width + self.b_width - self.overlap_x
        height = self.a_height + self.b_height - self.overlap_y
        return (width.detach(), height.detach()) if self.detach_enclosing else (width, height)

    @property
    def offset(self) -> tuple[Tensor, Tensor]:
        """The center of A minus that of B: differences first, which are exact for near boxes."""
        (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = self.a, self.b
        return ((ax1 - bx1) + (ax2 - bx2)) / 2, ((ay1 - by1) + (ay2 - by2)) / 2


def _pair(a: Coordinates, b: Coordinates, *, detach_enclosing: bool = False) -> _Pair:
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
    sizes = a_width, a_height, b_width, b_height
    return _Pair(a, b, *sizes, overlap_x, overlap_y, union, j, detach_enclosing)


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


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """Return part / whole, and 0 where both are 0: over infinity, so that the gradient is 0 too."""
    return part / torch.nn.functional.threshold(whole, _tiny(whole), torch.inf)


def _tiny(quantity: Tensor) -> float:
    """Return the least normal number, below which a quantity can't be divided by."""
    return torch.finfo(quantity.dtype).tiny


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
