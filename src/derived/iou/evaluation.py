"""Non-maximum suppression, average precision, and COCO's figures of merit."""

import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy
import torch
from jaxtyping import Bool, Float, Int64, Integer, Real
from torch import Tensor

from derived._devices import on_the_cpu
from derived._validation import (
    checks_values,
    comparable,
    count,
    finite_number,
    one_of,
    optional,
    real_tensor,
    same_length,
    validated,
)
from derived.iou._checks import _list_of_boxes
from derived.iou._pairs import _pair, _ratio
from derived.iou.losses import _KINDS, Kind, pairwise

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
    if checks_values() and comparable(value).isnan().any():
        raise ValueError(f"{name}[{value.isnan().nonzero()[0].item()}] is nan: expected a number")


def _groups(name: str, value: object) -> None:
    """Refuse what isn't one integer, or a row of integers, a box."""
    real_tensor(name, value)
    if value.is_floating_point() or value.ndim not in (1, 2):
        raise ValueError(
            f"{name}: expected integers of shape (number,) or (number, kinds), got {value.dtype}, "
            f"{tuple(value.shape)}"
        )


def _a_group_a_box(arguments: dict[str, Any]) -> None:
    """Refuse groups of another number of boxes."""
    if arguments["groups"] is not None:
        same_length("boxes", "groups")(arguments)


@validated(
    same_length("boxes", "scores"),
    _a_group_a_box,
    boxes=_list_of_boxes,
    scores=_scores,
    threshold=finite_number,
    kind=one_of(_KINDS),
    groups=optional(_groups),
)
def nms(
    boxes: Real[Tensor, "n 4"],
    scores: Real[Tensor, "n"],
    threshold: numbers.Real,
    kind: Kind = "iou",
    *,
    groups: Integer[Tensor, "n"] | Integer[Tensor, "n kinds"] | None = None,
) -> Int64[Tensor, "kept"]:
    r"""Return which boxes survive non-maximum suppression, by falling score (iou-nms).

    A box is kept if its similarity with every kept box of higher score is at most `threshold`; of
    equal scores, the earlier box counts as the higher. With `kind="diou"` boxes with distant
    centers are spared (see iou-diou-nms).

    Any finite threshold is allowed: IoUs lie between 0 and 1, GIoUs and DIoUs between -1 and 1, and
    those that punish shapes, too, fall below -1. At 1 every box stays.

    Shapes: `(N, 4)` and `(N,)` to indices `(K,)`.

    Args:
        boxes: any number of them.
        scores: one a box.
        threshold: the similarity above which a box is suppressed.
        kind: which similarity.
        groups: integers `(N,)`, or rows of them `(N, kinds)`; boxes of different groups suppress
            none of each other. By class they are the labels, by image and class
            `torch.stack([image, label], 1)`.

    Raises:
        ValueError: for a wrong shape, dtype or kind, different lengths, NaN, infinity (in boxes),
            reversed boxes, a threshold that isn't a finite number.
    """
    order = comparable(scores).argsort(descending=True, stable=True)
    kept = order[:0]
    group = groups if groups is None else groups.long().unique(dim=0, return_inverse=True)[1]

    def suppress(higher: Tensor, lower: Tensor) -> Tensor:
        similar = pairwise(boxes[higher], boxes[lower], kind) > threshold
        return similar if group is None else similar & (group[higher, None] == group[lower])

    for block in order.split(_NMS_BLOCK):
        block = block[~suppress(kept, block).any(0)]
        suppresses = suppress(block, block)
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


def _enough_objects(arguments: dict[str, Any]) -> None:
    """Refuse more hits than there are objects: one object can't be found twice."""
    if checks_values() and arguments["hits"].sum() > arguments["objects"]:
        raise ValueError(
            f"hits and objects: expected at most one hit an object, got {arguments['hits'].sum()} "
            f"hits of {arguments['objects']} objects"
        )


@validated(
    same_length("scores", "hits"), _enough_objects, scores=_scores, hits=_hits, objects=count
)
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
        ValueError: for a wrong shape or dtype, different lengths, NaN, fewer than 1 objects, more hits
            than objects.
    """
    hits = hits[comparable(scores).argsort(descending=True, stable=True)]
    return _precision_at_recalls(hits, ~hits, objects).mean()


_KEYS = {  # what each image has, and what it may have
    "detections": (("boxes", "scores", "labels"), ()),
    "targets": (("boxes", "labels"), ("area", "crowd")),
}


def _images(name: str, value: object) -> None:
    """Refuse what isn't a list with a mapping an image, as `coco_map` describes them."""
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name}: expected a list with a dict an image, got {type(value)}")  # noqa: TRY004
    needed, possible = _KEYS[name]
    for i, image in enumerate(value):
        keys = set(image) if isinstance(image, Mapping) else set()
        if not set(needed) <= keys or not keys <= {*needed, *possible}:
            wanted = ", ".join(needed) + (f" and perhaps {', '.join(possible)}" if possible else "")
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
@on_the_cpu
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
    detected = _in_order(detections, classes, by_score=True)
    objects = _in_order(targets, classes, by_score=False)
    matched, ignored, counted = _match(detected, objects, len(classes))

    precision = torch.full((len(classes), len(_AREAS), len(_THRESHOLDS), 101), torch.nan).double()
    recall = torch.full((len(classes), len(_MOST), len(_AREAS), len(_THRESHOLDS)), torch.nan)
    recall = recall.double()
    label, rank = detected["group"] % len(classes), detected["rank"]
    by_score = detected["score"].argsort(descending=True, stable=True)
    for c in range(len(classes)):
        own = by_score[label[by_score] == c]
        true, false = matched[..., own] & ~ignored[..., own], ~(matched | ignored)[..., own]
        some = counted[c] > 0  # of the four ranges of area, those with objects to find
        number = counted[c, some, None, None]
        precision[c, some] = _precision_at_recalls(true[some], false[some], number)
        for m, most in enumerate(_MOST):
            first = true[some][..., rank[own] < most]
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
    detected: dict[str, Tensor], objects: dict[str, Tensor], classes: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return which detections have matched and which don't count, and how many objects do.

    Shapes: two of `(ranges of area, thresholds, detections)`, and `(classes, ranges of area)`.
    """
    least, most = torch.tensor(list(_AREAS.values())).double()[..., None].unbind(1)
    outside = (objects["area"] < least) | (objects["area"] > most)
    passed_over = outside | objects["crowd"]
    counted = torch.zeros(classes, len(_AREAS)).double()
    counted.index_add_(0, objects["group"] % classes, (~passed_over).double().T)

    matched = torch.zeros(len(_AREAS), len(_THRESHOLDS), len(detected["box"]), dtype=torch.bool)
    ignored = matched.clone()
    group, width = objects["group"].unique_consecutive(return_counts=True)
    first_object = width.cumsum(0) - width
    first = torch.searchsorted(detected["group"], group)
    depth = torch.searchsorted(detected["group"], group, right=True) - first
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
            pair = _pair(detected["box"][which, None].unbind(-1), tuple(c[:n] for c in place))
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
    small_or_large = (detected["area"] < least) | (detected["area"] > most)
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
