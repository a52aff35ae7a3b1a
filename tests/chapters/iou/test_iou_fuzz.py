"""Boxes that nobody chose: suppression, evaluation and rotated boxes against other implementations."""

import math

import pytest
import shapely
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from iou_draws import boxes
from iou_peers import by_pycocotools, kept_by_definition
from strategies import examples, numbers, sizes, tensors

from derived.iou import (
    ciou,
    coco_map,
    diou,
    eiou,
    giou,
    gwd,
    iou,
    kld,
    nms,
    rotated_corners,
    rotated_iou,
)

# Evaluation and suppression

corners = st.one_of(st.integers(0, 12), st.integers(0, 300))


@st.composite
def images(draw):
    """One image's detections and objects: few places, scores and classes, so that they meet."""

    def some(number):
        ends = draw(tensors((number, 2, 2), corners)).sort(1).values
        ends[:, 1] += 1
        return ends.flatten(1), draw(tensors((number,), st.integers(0, 2), torch.int64))

    n, m = draw(st.integers(0, 5)), draw(st.integers(0, 4))
    found, labels = some(n)
    objects, classes = some(m)
    for i in range(min(n, m)):
        if draw(st.booleans()):
            found[i], labels[i] = objects[i], classes[i]
            found[i, 2:] += draw(st.integers(0, 3))
    own = (objects[:, 2:] - objects[:, :2]).prod(1)
    crowd = draw(tensors((m,), st.integers(0, 3).map(lambda x: x == 3), torch.bool))
    scores = draw(tensors((n,), st.sampled_from([0.1, 0.5, 0.5, 0.9])))
    area = own * draw(tensors((m,), st.sampled_from([0.5, 1.0, 1.0])))
    return (
        {"boxes": found, "scores": scores, "labels": labels},
        {"boxes": objects, "labels": classes, "area": area, "crowd": crowd},
    )


@given(st.lists(images(), min_size=1, max_size=4))
@examples(15)
def test_the_evaluation_is_that_of_pycocotools(some):
    detections, targets = map(list, zip(*some, strict=True))
    assume(any(len(image["boxes"]) for image in detections))  # pycocotools loads no empty list
    peer = by_pycocotools(detections, targets, classes=3)
    own = list(coco_map(detections, targets).values())
    assert own == pytest.approx(peer, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize(
    ("kind", "similarity"),
    [("iou", iou), ("giou", giou), ("diou", diou), ("ciou", ciou), ("eiou", eiou)],
)
@given(
    found=st.integers(0, 7).flatmap(
        lambda n: st.tuples(
            boxes((n,)), tensors((n,), st.sampled_from([-math.inf, 0.0, 0.5, math.inf]))
        )
    ),
    threshold=st.one_of(st.sampled_from([-1.0, 0.0, 0.5, 1.0]), st.floats(-1, 1, width=32)),
)
@examples(20)
def test_suppression_of_any_boxes_keeps_whom_the_definition_keeps(
    kind, similarity, found, threshold
):
    expected = kept_by_definition(*found, threshold, similarity)
    assert nms(*found, threshold, kind).tolist() == expected


# Rotated boxes


@st.composite
def near_boxes(draw):
    """Two rotated boxes near each other, at any place and of any unit.

    Of some the sides lie on each other, are parallel up to a rounding, or touch.
    """
    sides = st.one_of(st.sampled_from([0.5, 1.0, 2.0]), sizes(1e3, 1e-2))
    turn = st.one_of(
        st.sampled_from([0.0, math.pi / 2, math.pi / 4, 1e-9, 1e-15]), st.floats(-7, 7)
    )
    a = [0.0, 0.0, draw(sides), draw(sides), draw(turn)]
    b = [draw(numbers(3.0, 1e-6)), draw(numbers(3.0, 1e-6)), draw(sides), draw(sides), draw(turn)]
    how = draw(st.sampled_from(["free", "parallel", "same", "touching"]))
    if how != "free":
        b[4] = a[4] + draw(st.sampled_from([0.0, 1e-12, -math.pi / 2, math.pi]))
    if how == "same":
        b = [*a[:4], b[4]]
    if how == "touching":
        b[0], b[1] = (a[2] + b[2]) / 2 * math.cos(a[4]), (a[2] + b[2]) / 2 * math.sin(a[4])
    both = torch.tensor([a, b], dtype=torch.float64)
    place = torch.tensor([draw(numbers(1e6, 1e-6)), draw(numbers(1e6, 1e-6))], dtype=torch.float64)
    unit = draw(st.one_of(st.just(1.0), sizes(1e12, 1e-12)))
    both[:, :4] *= unit
    return both, place * unit


@given(near_boxes())
@examples(40)
def test_the_iou_of_rotated_boxes_is_shapelys(drawn):
    both, place = drawn
    unit = both[:, 2:4].max()
    shown = both.clone()
    shown[:, :4] /= unit  # shapely tells near points apart by a distance of its own
    a, b = (shapely.Polygon(corners.numpy()) for corners in rotated_corners(shown))
    shared = a.intersection(b).area
    expected = shared / (a.area + b.area - shared)
    assert rotated_iou(*both).item() == pytest.approx(expected, abs=1e-9)
    assert rotated_iou(*both.flip(0)).item() == pytest.approx(expected, abs=1e-9)
    # Far away what is left of an offset is a difference of two rounded centers.
    far = both.clone()
    far[:, :2] += place
    lost = 1e-15 * place.abs().max() / both[:, 2:4].min()
    assert rotated_iou(*far).item() == pytest.approx(expected, abs=1e-9 + 9 * lost.item())


# What the properties found once, by name.


def test_distances_of_rotated_lines_at_extremes_are_numbers():
    a = torch.tensor([0.0, 0, 0, 1, 0], requires_grad=True)
    b = torch.tensor([0, 0, 1e18, 0, 1e-38], requires_grad=True)
    assert all(slope.isfinite().all() for slope in torch.autograd.grad(gwd(a, b), (a, b)))
    thin, wide = torch.tensor([0, 0, 1e10, 1e-10, 0]), torch.tensor([0, 0, 1e10, 1e10, 0])
    assert not kld(wide, thin).isnan()
