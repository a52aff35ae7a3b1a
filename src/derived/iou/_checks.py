"""What a tensor of boxes must be; `ValueError` says what it is instead."""

import torch
from torch import Tensor

from derived._validation import (
    broadcastable,
    checks_values,
    comparable,
    floats,
    real_tensor,
    validated,
)


def _boxes(name: str, value: object) -> None:
    """Refuse a tensor that doesn't hold boxes; look at the values only if they are checked."""
    real_tensor(name, value)
    if value.shape[-1:] != (4,):
        raise ValueError(f"{name}: expected shape (..., 4), got {tuple(value.shape)}")
    if checks_values():
        x1, y1, x2, y2 = comparable(value).unbind(-1)
        valid_x = (-torch.inf < x1) & (x1 <= x2) & (x2 < torch.inf)  # false for NaN, too
        valid_y = (-torch.inf < y1) & (y1 <= y2) & (y2 < torch.inf)
        wrong = ~(valid_x & valid_y)
        if wrong.any():
            raise ValueError(_explain(name, comparable(value), wrong))


def _list_of_boxes(name: str, value: object) -> None:
    """Refuse what isn't one list of boxes."""
    _boxes(name, value)
    if value.ndim != 2:
        raise ValueError(f"{name}: expected shape (number, 4), got {tuple(value.shape)}")


def _sized_boxes(name: str, value: object) -> None:
    """Refuse a tensor that doesn't hold (cx, cy, w, h); look at the values only if checked."""
    real_tensor(name, value)
    if value.shape[-1:] != (4,):
        raise ValueError(f"{name}: expected shape (..., 4), got {tuple(value.shape)}")
    if checks_values():
        value = comparable(value)
        finite, (width, height) = value.isfinite().all(-1), value[..., 2:].unbind(-1)
        wrong = ~(finite & (width >= 0) & (height >= 0))
        if wrong.any():
            index = tuple(wrong.nonzero()[0].tolist())
            raise ValueError(
                f"{name}[{', '.join(map(str, index))}] = {tuple(value[index].tolist())}: expected "
                f"(center x, center y, width, height), finite and with sizes of at least 0"
            )


def _some_sized_boxes(name: str, value: object) -> None:
    """Refuse what isn't one list of (cx, cy, w, h) in floats, with at least one box."""
    _sized_boxes(name, value)
    floats(name, value)
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
