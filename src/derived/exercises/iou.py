"""Exercises of the chapter on IoU losses."""

import math
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from derived.exercises._exercise import Exercise, Hint, NotYet, agree, number, recognize
from derived.iou import box_loss, from_cxcywh, nms, pairwise

__all__ = ["EXERCISES"]


# iou-1: dice_intervals() returns intervals A, B, M with d(A, B) > d(A, M) + d(M, B).

DICE_HINTS = {
    "shape": Hint(
        "Return three intervals, each of them a pair of numbers: ((a1, a2), (b1, b2), (m1, m2)).",
        lambda: ((0, 1), (1, 2)),
        lambda: (0, 1, 1, 2, 0, 2),
        lambda: ((0, 1), (1, 2), (0, 1, 2)),
        lambda: 1.0,
    ),
    "numbers": Hint(
        "The ends of the intervals must be finite numbers; {what} is none.",
        lambda: (("0", "1"), ("1", "2"), ("0", "2")),
        lambda: ((0, 1), (1, 2), (0, math.inf)),
        lambda: ((0, 1), (1, 2), (0, math.nan)),
        lambda: ((0, 1), (1, 2), (0, 2j)),
    ),
    "reversed": Hint(
        "{name} runs backward: an interval's left end comes first.",
        lambda: ((1, 0), (1, 2), (0, 2)),
        lambda: ((0, 1), (1, 2), (2, 0)),
    ),
    "empty": Hint(
        "{name} has length 0. Take intervals with some length: for two empty ones the Dice "
        "distance is 0/0.",
        lambda: ((0, 0), (1, 2), (0, 2)),
        lambda: ((0, 1), (1, 2), (1, 1)),
    ),
    "same": Hint(
        "A and B are the same interval, so d(A, B) = 0, and no sum of distances is below that.",
        lambda: ((0, 1), (0, 1), (0, 2)),
    ),
    "middle is an end": Hint(
        "M is the same interval as {name}, so one of the two steps has length 0 and the other is "
        "d(A, B) itself: equality. M must differ from both.",
        lambda: ((0, 1), (1, 2), (0, 1)),
        lambda: ((0, 1), (1, 2), (1, 2)),
    ),
    "apart": Hint(
        "M doesn't overlap {name}. That step alone has length 1, the largest Dice distance there "
        "is. M must overlap both.",
        lambda: ((0, 1), (2, 3), (4, 5)),
        lambda: ((0, 1), (1, 2), (1, 3)),
    ),
    "order": Hint(
        "Nearly: these three do break the inequality, but with {name} in the middle. Return the "
        "middle one last.",
        lambda: ((0, 2), (0, 1), (1, 2)),
        lambda: ((0, 1), (0, 2), (1, 2)),
    ),
    "holds": Hint(
        "The inequality holds for these: d(A, B) = {direct:.4g} is not above d(A, M) + d(M, B) = "
        "{first:.4g} + {second:.4g}. Put A and B far from each other in Dice's sense, and choose "
        "an M that shares as much as it can with both.",
        lambda: ((0, 2), (1, 3), (1, 2)),
        lambda: ((0, 1), (1, 2), (0, 10)),
        lambda: ((0, 3), (1, 4), (2, 5)),
    ),
}


def _judge_dice(results: list) -> str:
    intervals = dict(zip("ABM", _intervals(results[0]), strict=True))
    for name, (left, right) in intervals.items():
        if left >= right:
            raise NotYet("reversed" if left > right else "empty", name=name)
    a, b, m = intervals.values()
    if a == b:
        raise NotYet("same")
    direct, first, second = _dice(a, b), _dice(a, m), _dice(m, b)
    if direct > first + second:
        return (
            f"three intervals with d(A, B) = {float(direct):.4g} above d(A, M) + d(M, B) = "
            f"{float(first):.4g} + {float(second):.4g}."
        )
    for name, step in (("A", first), ("B", second)):
        if step == 0:
            raise NotYet("middle is an end", name=name)
    for name, others in (("A", (second, direct, first)), ("B", (first, direct, second))):
        if others[0] > others[1] + others[2]:
            raise NotYet("order", name=name)
    for name, step in (("A", first), ("B", second)):
        if step == 1:
            raise NotYet("apart", name=name)
    raise NotYet("holds", direct=float(direct), first=float(first), second=float(second))


def _intervals(result: Any) -> list[tuple[Fraction, Fraction]]:
    """Return a reader's three intervals, exactly."""
    try:
        pairs = [tuple(pair) for pair in result]
    except TypeError:
        raise NotYet("shape") from None
    if [len(pair) for pair in pairs] != [2, 2, 2]:
        raise NotYet("shape")
    for end in (end for pair in pairs for end in pair):
        if number(end) is None:
            simple = isinstance(end, str | float | complex)
            raise NotYet("numbers", what=repr(end) if simple else f"a {type(end).__name__}")
    return [(Fraction(number(left)), Fraction(number(right))) for left, right in pairs]


def _dice(a: tuple[Fraction, Fraction], b: tuple[Fraction, Fraction]) -> Fraction:
    """Return the Dice distance 1 - 2|A and B|/(|A| + |B|) of two intervals."""
    overlap = max(min(a[1], b[1]) - max(a[0], b[0]), 0)
    return 1 - 2 * overlap / ((a[1] - a[0]) + (b[1] - b[0]))


# iou-2: diou_slope(t, s) returns the derivative by t of 1 - DIoU for two s x s squares, aligned
# on the x axis, at the distance t of their centers.

SLOPE_INPUTS = [(2.0, 1.0), (5.0, 1.0), (3.0, 2.0), (7.0, 0.5), (40.0, 3.0)]

SLOPE_HINTS = {
    "hull held fixed": Hint(
        "That is the slope with the hull's diagonal held fixed. It grows with t as well, so "
        "differentiate the quotient t²/c².",
        lambda t, s: 2 * t / ((t + s) ** 2 + s**2),
    ),
    "hull without height": Hint(
        "The hull is t + s wide and also s high: its squared diagonal is (t + s)² + s².",
        lambda t, s: 2 * t * s / (t + s) ** 3,
        lambda t, s: 2 * t / (t + s) ** 2,
    ),
    "hull too narrow": Hint(
        "The hull reaches from the far side of one square to the far side of the other, so it is "
        "wider than the distance t of the centers.",
        lambda t, s: 2 * t * s**2 / (t**2 + s**2) ** 2,
    ),
    "diagonal not squared": Hint(
        "That is the slope of t²/c. The penalty divides by the square of the hull's diagonal c.",
        lambda t, s: t * (2 * ((t + s) ** 2 + s**2) - t * (t + s)) / math.hypot(t + s, s) ** 3,
    ),
    "distance not squared": Hint(
        "That is the slope of t/c. The penalty is its square, t²/c².",
        lambda t, s: s * (t + 2 * s) / math.hypot(t + s, s) ** 3,
    ),
    "giou": Hint(
        "That is the slope of 1 - GIoU. DIoU's penalty is the squared distance of the centers "
        "over the squared diagonal of the hull.",
        lambda t, s: 2 * s / (t + s) ** 2,
    ),
    "sign": Hint(
        "The sign is wrong: 1 - DIoU grows when the squares move apart. (Is this the slope of "
        "DIoU itself?)",
        lambda t, s: -_slope(t, s),
    ),
    "factor": Hint(
        "This is {factor:.4g} times the slope everywhere: a constant factor went astray.",
        lambda t, s: 2 * _slope(t, s),
        lambda t, s: _slope(t, s) / 2,
        lambda t, s: -2 * _slope(t, s),
    ),
    "unit squares": Hint(
        "Right for s = 1, but not for other sides. Keep s in the derivation, or put it back: the "
        "loss has no unit, so its slope has that of 1/length.",
        lambda t, s: 2 * t * (t + 2) / ((t + 1) ** 2 + 1) ** 2,
    ),
}


def _judge_slope(results: list) -> str:
    expected = [_slope(t, s) for t, s in SLOPE_INPUTS]
    got = [number(result) for result in results]
    right = [
        value is not None and agree([value], [slope])
        for value, slope in zip(got, expected, strict=True)
    ]
    if all(right):
        return f"automatic differentiation agrees at {len(right)} pairs of t and s."
    if None not in got:
        recognize(got, expected, SLOPE_INPUTS, SLOPE_HINTS)
        if right == [s == 1 for _, s in SLOPE_INPUTS]:
            raise NotYet("unit squares")
    t, s = SLOPE_INPUTS[right.index(False)]
    slope, result = expected[right.index(False)], results[right.index(False)]
    value = number(result)
    said = f"no finite number ({type(result).__name__})" if value is None else f"{value:.6g}"
    raise NotYet(f"For t = {t:g} and s = {s:g}, expected {slope:.6g}, got {said}.")


def _slope(t: float, s: float) -> float:
    """Return the slope by automatic differentiation."""
    x = torch.tensor(t, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 0, s, s], dtype=torch.float64)
    moved = target + x * torch.tensor([1, 0, 1, 0], dtype=torch.float64)
    box_loss(moved, target, "diou").backward()
    return x.grad.item()


# iou-3: shape_term(j, v, detach) returns alpha v, whose alpha carries a gradient or not.

_J, _V = torch.tensor([[0.2, 0.5, 0.9], [0.3, 0.05, 0.6]], dtype=torch.float64).requires_grad_()
SHAPE_INPUTS = [(_J, _V, True), (_J, _V, False)]


def _alpha_v(j: Tensor, v: Tensor, detach: bool) -> Tensor:
    alpha = v / (1 - j + v)
    return (alpha.detach() if detach else alpha) * v


def _frozen(j: Tensor, v: Tensor, detach: bool) -> Tensor:
    with torch.no_grad():
        return _alpha_v(j, v, detach)


SHAPE_HINTS = {
    "no tensor": Hint(
        "With detach={detach} this returns {what}. Return a tensor of the shape of j, computed "
        "from j and v with tensor operations.",
        lambda j, v, detach: 0.5,
        lambda j, v, detach: _alpha_v(j, v, detach).sum(),
        lambda j, v, detach: _alpha_v(j, v, detach).tolist(),
    ),
    "cut off": Hint(
        "With detach={detach} the result carries no gradient at all. Only α may be cut off from "
        "the graph; v still has to learn.",
        lambda j, v, detach: _alpha_v(j, v, detach).detach(),
        _frozen,
        lambda j, v, detach: _alpha_v(j, v, detach).detach() if detach else _alpha_v(j, v, detach),
    ),
    "value": Hint(
        "With detach={detach}, J = {j:g} and v = {v:g} the value is {got:.4g}, expected "
        "{expected:.4g}: α = v / ((1 − J) + v).",
        lambda j, v, detach: v**2 / (1 + j + v),
        lambda j, v, detach: v / (1 - j + v) + 0 * v,
        lambda j, v, detach: v**2 / (1 - j),
    ),
    "flag reversed": Hint(
        "The flag works the wrong way round: α is held constant if detach is false.",
        lambda j, v, detach: _alpha_v(j, v, not detach),
    ),
    "never detached": Hint(
        "The values are right, but α carries a gradient also if detach is true. "
        "tensor.detach() returns the same values as a constant.",
        lambda j, v, detach: _alpha_v(j, v, False),
    ),
    "always detached": Hint(
        "The values are right, but α carries no gradient even if detach is false.",
        lambda j, v, detach: _alpha_v(j, v, True),
    ),
    "half detached": Hint(
        "The values are right, but with detach=True the slope along {name} is {got:.4g}, expected "
        "{expected:.4g}. Detach the whole of α, not only a part of it, and nothing else.",
        lambda j, v, detach: v**2 / (1 - j + v.detach()) if detach else _alpha_v(j, v, False),
        lambda j, v, detach: v**2 / (1 - j.detach() + v) if detach else _alpha_v(j, v, False),
        lambda j, v, detach: (
            _alpha_v(j, v, False).detach() + 0 * v if detach else _alpha_v(j, v, False)
        ),
    ),
}


def _judge_shape(results: list) -> str:
    slopes = []
    for (j, v, detach), result in zip(SHAPE_INPUTS, results, strict=True):
        if not isinstance(result, Tensor) or result.shape != j.shape:
            what = f"shape {tuple(result.shape)}" if isinstance(result, Tensor) else type(result)
            raise NotYet("no tensor", detach=detach, what=getattr(what, "__name__", what))
        for i, expected in enumerate(_alpha_v(j, v, detach).tolist()):
            if not math.isclose(result[i].item(), expected, rel_tol=1e-6):
                facts = {"j": j[i].item(), "v": v[i].item(), "got": result[i].item()}
                raise NotYet("value", detach=detach, expected=expected, **facts)
        if not result.requires_grad:
            raise NotYet("cut off", detach=detach)
        slopes.append(_slopes(result, j, v))
    expected = [_slopes(_alpha_v(*arguments), *arguments[:2]) for arguments in SHAPE_INPUTS]
    right = [torch.allclose(p, q, rtol=1e-6) for p, q in zip(slopes, expected, strict=True)]
    if all(right):
        return "the slopes are α and 0 with a constant α, and α(2 − α) and α² without."
    for name, pair in {
        "never detached": (1, 1),
        "always detached": (0, 0),
        "flag reversed": (1, 0),
    }.items():
        if all(torch.allclose(slopes[k], expected[pair[k]], rtol=1e-6) for k in range(2)):
            raise NotYet(name)
    which = right.index(False)
    row, i = (slopes[which] - expected[which]).abs().argmax().item() // 3, 0
    facts = {"got": slopes[which][row, i].item(), "expected": expected[which][row, i].item()}
    if which == 0:
        raise NotYet("half detached", name="Jv"[row], **facts)
    raise NotYet(
        f"The values are right, but with detach=False the slope along {'Jv'[row]} is "
        f"{facts['got']:.4g}, expected {facts['expected']:.4g}."
    )


def _slopes(result: Tensor, j: Tensor, v: Tensor) -> Tensor:
    """Return the slopes along j and v, 0 where the graph has none."""
    slopes = torch.autograd.grad(result.sum(), (j, v), retain_graph=True, materialize_grads=True)
    return torch.stack(slopes)


# iou-4: mpdiou_penalty(a, b, image) returns 2 W²/(W² + H²) for boxes (cx, cy, w, h).

PENALTY_INPUTS = [
    ((4.0, 3.0, 2.0, 1.0), (5.0, 5.0, 3.0, 4.0), (8.0, 6.0)),
    ((1.0, 1.0, 2.0, 2.0), (1.0, 1.0, 2.0, 2.0), (4.0, 3.0)),
    ((2.0, 2.0, 1.0, 3.0), (2.0, 2.0, 2.5, 1.0), (9.0, 12.0)),
    ((320.0, 200.0, 10.0, 10.0), (330.0, 200.0, 10.0, 10.0), (640.0, 480.0)),
]


def _penalty(a: tuple, b: tuple, image: tuple, *, factor=2, spread=1 / 4, root=False) -> float:
    distance = sum((p - q) ** 2 for p, q in zip(a[:2], b[:2], strict=True))
    distance += spread * sum((p - q) ** 2 for p, q in zip(a[2:], b[2:], strict=True))
    distance = math.sqrt(distance) if root else distance
    return factor * distance / (image[0] ** 2 + image[1] ** 2)


PENALTY_HINTS = {
    "one corner": Hint(
        "That is the Wasserstein distance over the squared diagonal. The two corners together "
        "make twice that: the sum of d₁² and d₂² is 2 W².",
        lambda a, b, image: _penalty(a, b, image, factor=1),
    ),
    "root": Hint(
        "The distance must stay squared: no square root.",
        lambda a, b, image: _penalty(a, b, image, root=True),
        lambda a, b, image: _penalty(a, b, image, root=True, factor=1),
    ),
    "covariance": Hint(
        "The sizes count with the wrong weight. The covariance is diag(w², h²)/4, so the standard "
        "deviations are w/2 and h/2, and their squared difference carries 1/4.",
        lambda a, b, image: _penalty(a, b, image, spread=1),
        lambda a, b, image: _penalty(a, b, image, spread=1 / 2),
        lambda a, b, image: _penalty(a, b, image, spread=1 / 12),
        lambda a, b, image: _penalty(a, b, image, spread=1 / 16),
    ),
    "centers only": Hint(
        "The sizes don't count yet: two boxes with one center and different sizes are at a "
        "distance, too.",
        lambda a, b, image: _penalty(a, b, image, spread=0),
    ),
    "diagonal": Hint(
        "The distance is right, but not its unit: divide by the square of the image's diagonal, "
        "W² + H².",
        lambda a, b, image: _penalty(a, b, image) * math.hypot(*image),
        lambda a, b, image: _penalty(a, b, image) * math.hypot(*image) ** 2,
        lambda a, b, image: _penalty(a, b, image) * math.hypot(*image) ** 2 / (image[0] * image[1]),
    ),
    "whole loss": Hint(
        "That is the whole loss. Return its penalty alone, without 1 − J.",
        lambda a, b, image: _mpdiou(a, b, image),
    ),
}


def _mpdiou(a: tuple, b: tuple, image: tuple) -> float:
    boxes = from_cxcywh(torch.tensor([a, b], dtype=torch.float64))
    return box_loss(boxes[0], boxes[1], "mpdiou", image_size=image).item()


def _judge_penalty(results: list) -> str:
    expected = []
    for a, b, image in PENALTY_INPUTS:
        boxes = from_cxcywh(torch.tensor([a, b], dtype=torch.float64))
        expected.append(_mpdiou(a, b, image) - box_loss(boxes[0], boxes[1], "iou").item())
    got = [number(result) for result in results]
    if None in got:
        raise NotYet(
            f"Return one finite number; this returns a {type(results[got.index(None)]).__name__}."
        )
    if agree(got, expected, absolute=1e-9):
        return f"MPDIoU's loss less IoU's agrees for {len(got)} pairs of boxes."
    recognize(got, expected, PENALTY_INPUTS, PENALTY_HINTS, absolute=1e-9)
    pairs = zip(got, expected, strict=True)
    i = next(i for i, (p, q) in enumerate(pairs) if not agree([p], [q], absolute=1e-9))
    a, b, image = PENALTY_INPUTS[i]
    raise NotYet(
        f"For a = {a}, b = {b} and the image {image}, expected {expected[i]:.6g}, got {got[i]:.6g}."
    )


# iou-5: my_nms(boxes, scores, threshold) returns the indices of the boxes that survive.

_STAIRS = torch.tensor([[0.0, 0, 10, 10], [3, 0, 13, 10], [5, 0, 15, 10], [30, 0, 40, 10]])
_HALVES = torch.tensor([[0.0, 0, 2, 1], [0, 0, 1, 1], [5, 5, 6, 6]])
NMS_INPUTS = [
    (_STAIRS, torch.tensor([0.9, 0.8, 0.7, 0.6]), 0.5),
    (_STAIRS, torch.tensor([0.6, 0.9, 0.8, 0.95]), 0.5),
    (_STAIRS, torch.tensor([0.7, 0.8, 0.9, 0.1]), 0.6),
    (_STAIRS, torch.tensor([0.5, 0.5, 0.5, 0.5]), 0.3),
    (_HALVES, torch.tensor([0.3, 0.2, 0.1]), 0.5),  # an overlap equal to the threshold
    (_STAIRS[:0], torch.empty(0), 0.5),
]


def _suppress(boxes: Tensor, scores: Tensor, over: Tensor, order: Tensor) -> list[int]:
    kept = []
    for i in order.tolist():
        if not over[i, kept].any():
            kept.append(i)
    return kept


def _falling(scores: Tensor) -> Tensor:
    return scores.argsort(descending=True, stable=True)


def _against_all(boxes: Tensor, scores: Tensor, threshold: float) -> list[int]:
    """Keep who is overlapped by no box of higher score, kept or not."""
    order = _falling(scores)
    over = pairwise(boxes[order], boxes[order]) > threshold
    return order[~over.tril(-1).any(1)].tolist()


def _by_mask(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    mask = torch.zeros(len(boxes), dtype=torch.bool)
    mask[nms(boxes, scores, threshold)] = True
    return mask


NMS_HINTS = {
    "not a list": Hint(
        "Return the indices of the kept boxes, as a tensor of integers or a list; this returns "
        "{what}.",
        lambda boxes, scores, threshold: 3,
        lambda boxes, scores, threshold: boxes[nms(boxes, scores, threshold)],
        lambda boxes, scores, threshold: scores[nms(boxes, scores, threshold)] + 0.5,
        _by_mask,
    ),
    "nothing for no boxes": Hint(
        "Without boxes, return no indices: an empty tensor or list.",
        lambda boxes, scores, threshold: nms(boxes, scores, threshold) if len(boxes) else None,
    ),
    "places": Hint(
        "These are places in the sorted list. Translate them back: order[place] is the index of "
        "the box that the caller knows.",
        lambda boxes, scores, threshold: nms(
            boxes[_falling(scores)], scores[_falling(scores)], threshold
        ),
    ),
    "unsorted": Hint(
        "The boxes are visited in the order in which they came. The one of highest score goes first.",
        lambda boxes, scores, threshold: _suppress(
            boxes, scores, pairwise(boxes, boxes) > threshold, torch.arange(len(boxes))
        ),
    ),
    "ascending": Hint(
        "The boxes are visited by rising score, so the worst box of each pile survives. argsort "
        "has descending=True.",
        lambda boxes, scores, threshold: _suppress(
            boxes, scores, pairwise(boxes, boxes) > threshold, scores.argsort(stable=True)
        ),
    ),
    "order of the answer": Hint(
        "The right boxes, in the wrong order: return them by falling score.",
        lambda boxes, scores, threshold: nms(boxes, scores, threshold).sort().values,
    ),
    "ties": Hint(
        "Of boxes of equal score, the first must count as the higher: argsort with stable=True "
        "keeps their order.",
        lambda boxes, scores, threshold: _suppress(
            boxes,
            scores,
            pairwise(boxes, boxes) > threshold,
            scores.flip(0).argsort(descending=True, stable=True).mul(-1) + len(boxes) - 1,
        ),
    ),
    "equal": Hint(
        "A box is suppressed here that overlaps a kept one by exactly the threshold. Only more "
        "than the threshold suppresses: > and not >=.",
        lambda boxes, scores, threshold: _suppress(
            boxes, scores, pairwise(boxes, boxes) >= threshold, _falling(scores)
        ),
    ),
    "suppressed by the dropped": Hint(
        "A box is dropped here because of one that was dropped itself. Only kept boxes suppress.",
        _against_all,
    ),
    "nothing suppressed": Hint(
        "All boxes are kept. Compare each with those that are kept already.",
        lambda boxes, scores, threshold: _falling(scores),
    ),
}


def _judge_nms(results: list) -> str:
    got = []
    for (boxes, _, _), result in zip(NMS_INPUTS, results, strict=True):
        if result is None and not len(boxes):
            raise NotYet("nothing for no boxes")
        got.append(_indices(result, len(boxes)))
    expected = [nms(*arguments).tolist() for arguments in NMS_INPUTS]
    if got == expected:
        return f"the {len(got)} lists of boxes, with ties, equality and none at all, are right."
    for name, hint in NMS_HINTS.items():
        for wrong in hint.wrong:
            answers = [wrong(*arguments) for arguments in NMS_INPUTS]
            if name not in ("not a list", "nothing for no boxes") and got == [
                list(map(int, answer)) for answer in answers
            ]:
                raise NotYet(name)
    i = [p == q for p, q in zip(got, expected, strict=True)].index(False)
    boxes, scores, threshold = NMS_INPUTS[i]
    raise NotYet(
        f"For boxes {boxes.tolist()} with scores {[round(s, 2) for s in scores.tolist()]} and the "
        f"threshold {threshold}, expected {expected[i]}, got {got[i]}."
    )


def _indices(result: Any, boxes: int) -> list[int]:
    """Return a reader's indices, which must be whole numbers, one dimension of them."""
    if isinstance(result, Tensor):
        whole = not result.is_floating_point() and result.dtype != torch.bool
        if result.ndim != 1 or not (whole or result.numel() == 0):
            raise NotYet("not a list", what=f"{result.dtype} of shape {tuple(result.shape)}")
        return result.tolist()
    numbers = list(result) if isinstance(result, list | tuple) else None
    if numbers is None or not all(isinstance(n, int | Tensor) for n in numbers):
        what = type(result).__name__ if numbers is None else "a list of other things"
        raise NotYet("not a list", what=what)
    return [int(n) for n in numbers]


EXERCISES = {
    "iou-1": Exercise([()], _judge_dice, DICE_HINTS),
    "iou-2": Exercise(SLOPE_INPUTS, _judge_slope, SLOPE_HINTS),
    "iou-3": Exercise(SHAPE_INPUTS, _judge_shape, SHAPE_HINTS),
    "iou-4": Exercise(PENALTY_INPUTS, _judge_penalty, PENALTY_HINTS),
    "iou-5": Exercise(NMS_INPUTS, _judge_nms, NMS_HINTS),
}
