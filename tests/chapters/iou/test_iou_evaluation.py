"""Rotated boxes, suppression and average precision: the second half of the chapter on IoU."""

import math

import numpy as np
import pytest
import scipy.linalg
import shapely
import shapely.affinity
import torch
from hypothesis import given
from hypothesis import strategies as st
from iou_peers import by_pycocotools, kept_by_definition
from support import slopes_agree
from torch.autograd import grad

from derived.iou import (
    average_precision,
    coco_map,
    diou,
    gwd,
    iou,
    kld,
    nms,
    pairwise,
    rotated,
    rotated_corners,
    rotated_iou,
)


def turned(*rows, dtype=torch.float64):
    return torch.tensor(rows, dtype=dtype)


def random_turned(count, seed, *, extent=3.0):
    """Rotated boxes in general position."""
    u = torch.rand(count, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    scale = turned((extent, extent, 3, 3, 4 * math.pi))[0]
    return u * scale + turned((0, 0, 0.2, 0.2, -2 * math.pi))


def polygon(box):
    """The box as shapely sees it, turned and moved by shapely."""
    x, y, w, h, theta = box.tolist()
    flat = shapely.box(-w / 2, -h / 2, w / 2, h / 2)
    at = shapely.affinity.rotate(flat, theta, origin=(0, 0), use_radians=True)
    return shapely.affinity.translate(at, x, y)


# Rotated boxes


@pytest.mark.verifies("iou-shoelace", by="peer")
def test_the_iou_of_rotated_boxes_against_shapely():
    for extent in (1.0, 3.0, 8.0):
        a, b = random_turned(200, 1, extent=extent), random_turned(200, 2, extent=extent)
        expected = []
        for p, q in zip(a, b, strict=True):
            A, B = polygon(p), polygon(q)
            expected.append(A.intersection(B).area / A.union(B).area)
        assert rotated_iou(a, b).tolist() == pytest.approx(expected, abs=1e-12)
        single = rotated_iou(a.float(), b.float())
        assert single.dtype == torch.float32
        assert single.tolist() == pytest.approx(expected, abs=2e-6)


@pytest.mark.verifies("iou-shoelace", by="exact")
def test_the_shoelace_formula_on_polygons_whose_area_is_known():
    """Triangles by Heron's formula and any box: what the formula gives is what the code gives."""
    box = random_turned(20, 3)
    corner = rotated_corners(box)
    x, y = corner.unbind(-1)
    signed = (x * y.roll(-1, -1) - x.roll(-1, -1) * y).sum(-1)
    torch.testing.assert_close(signed.abs() / 2, box[:, 2] * box[:, 3])
    torch.testing.assert_close(rotated._shoelace(x, y), box[:, 2] * box[:, 3])
    sides = [(corner[:, i] - corner[:, j]).norm(dim=-1) for i, j in ((0, 1), (1, 2), (2, 0))]
    s = sum(sides) / 2
    heron = (s * (s - sides[0]) * (s - sides[1]) * (s - sides[2])).sqrt()
    torch.testing.assert_close(rotated._shoelace(x[:, :3], y[:, :3]), heron)


@pytest.mark.verifies("iou-rotated-square", by="exact")
@given(st.floats(0, math.pi / 2))
def test_a_unit_square_on_a_turned_unit_square(theta):
    shared = 2 / (1 + math.cos(theta) + math.sin(theta))
    a, b = turned((0, 0, 1, 1, 0)), turned((0, 0, 1, 1, theta))
    assert rotated_iou(a, b).item() == pytest.approx(shared / (2 - shared), rel=1e-12)


@pytest.mark.verifies("iou-rotated-square", by="peer")
def test_the_octagon_of_two_squares_has_eight_equal_edges():
    for theta in (0.2, math.pi / 4, 1.4):
        octagon = polygon(turned((0, 0, 1, 1, 0))[0]).intersection(
            polygon(turned((0, 0, 1, 1, theta))[0])
        )
        corner = np.array(octagon.exterior.coords)
        edges = np.linalg.norm(np.diff(corner, axis=0), axis=1)
        assert len(edges) == 8
        assert edges == pytest.approx([1 / (1 + math.cos(theta) + math.sin(theta))] * 8)
        assert octagon.area == pytest.approx(2 / (1 + math.cos(theta) + math.sin(theta)))


def test_boxes_that_do_not_turn_have_the_iou_of_the_chapter():
    box = random_turned(100, 4)
    box[:, 4] = 0
    other = box.roll(1, 0)
    flat = [
        torch.cat([x[:, :2] - x[:, 2:4] / 2, x[:, :2] + x[:, 2:4] / 2], 1) for x in (box, other)
    ]
    torch.testing.assert_close(rotated_iou(box, other), iou(*flat))
    quarter = other + turned((0, 0, 0, 0, math.pi / 2))
    quarter[:, 2:4] = quarter[:, [3, 2]]
    torch.testing.assert_close(rotated_iou(box, quarter), iou(*flat))


HARD = [  # a, b and the right answer: equal, nearly equal, apart, sharing a side, inside
    ((3.5, 2.1, 4.0, 2.0, 0.3), (3.5, 2.1, 4.0, 2.0, 0.3), 1.0),
    ((60.0, 50.0, 7.0, 7.0, 0.78539), (60.0, 50.0, 7.0, 7.0, 0.7854), 1.0),
    ((0.0, 0.0, 2.0, 2.0, 0.0), (2.0, 0.0, 2.0, 2.0, 0.0), 0.0),
    ((1e4, 1e4, 8.0, 4.0, 1.0), (1e4 + 50, 1e4, 8.0, 4.0, 1.0), 0.0),
    ((160.0, 153.0, 230.0, 23.0, 0.6458), (160.0, 153.0, 230.0, 23.0, 0.6458 + math.pi), 1.0),
    ((0.0, 0.0, 4.0, 4.0, 0.5), (0.0, 0.0, 2.0, 2.0, 0.5), 0.25),
]


@pytest.mark.parametrize(("a", "b", "expected"), HARD)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rotated_boxes_whose_corners_lie_on_each_others_sides(a, b, expected, dtype):
    J = rotated_iou(turned(a, dtype=dtype), turned(b, dtype=dtype))
    assert J.item() == pytest.approx(expected, abs=2e-5)
    assert rotated_iou(turned(b, dtype=dtype), turned(a, dtype=dtype)).item() == pytest.approx(
        expected, abs=2e-5
    )


DEGREES = math.pi / 180
PUBLISHED = [  # a, b, what an implementation is reported to answer, and the right answer
    ((0, 0, 180.642227, 136.363373, 0.955964863),) * 2 + (0.3333, 1.0),
    (
        (2563.744629, 1436.790161, 2174.703369, 214.095001, 115.118347 * DEGREES),
        (2563.744629, 1436.790283, 2174.702881, 214.094955, 115.118355 * DEGREES),
        0.5848,
        0.999999,
    ),
    (
        (296.662018, 458.738831, 23.51573, 47.677002, 0.08795166 * DEGREES),
        (296.66201, 458.73882, 23.51573, 47.67702, 0.087951 * DEGREES),
        0.6002,
        0.999999,
    ),
    ((0, 0, 2, 2, 0), (0, 2, 2, 2, 0), 0.3333, 0.0),
    ((4, 5, 8, 10, 0), (3, 4, 6, 8, 0), 0.7, 0.6),  # 56 instead of 48 shared
]


@pytest.mark.parametrize(("a", "b", "reported", "right"), PUBLISHED)
def test_inputs_on_which_other_implementations_are_reported_to_fail(a, b, reported, right):
    a, b = turned(a, b, dtype=torch.float32)
    p, q = polygon(a), polygon(b)
    for J in (rotated_iou(a, b).item(), rotated_iou(b, a).item()):
        assert J == pytest.approx(p.intersection(q).area / p.union(q).area, abs=1e-6)
        assert abs(J - right) < 3e-6 < abs(J - reported)


def test_the_shoelace_formula_loses_nothing_far_from_the_origin():
    triangle = turned((0, 0), (4, 0), (0, 3), dtype=torch.float32)
    for shift in ((2**22, 0), (0, 2**22), (-(2**22), 2**22)):
        x, y = (triangle + torch.tensor(shift)).unbind(-1)
        assert rotated._shoelace(x, y) == 6


def test_a_polygon_that_crosses_a_line_six_times_is_cut_without_an_error():
    """No box gives one, but rounding might; what doesn't fit is left out."""
    x, y = turned((0, 0), (2, 0), (0, 1), (2, 1), (0, 2), (2, 2)).unbind(-1)
    x, y = rotated._cut(x, y, turned((1,))[0])
    assert x.shape == y.shape == (8,) and x.max() <= 1


def test_a_length_has_no_gradient_at_the_origin_only():
    x, y = turned((0, 3, 0, 3), (0, 0, 4, 4)).requires_grad_().unbind()
    length = rotated._hypot(x, y)
    assert length.tolist() == [0, 3, 4, 5]
    along_x, along_y = grad(length.sum(), (x, y))
    assert along_x.tolist() == pytest.approx([0, 1, 0, 0.6])
    assert along_y.tolist() == pytest.approx([0, 0, 1, 0.8])


def test_which_way_the_angle_turns_matters():
    """Disjoint if the angle runs from x toward y; overlapping by a third if it runs back."""
    a = turned((1010.5, 860.000122, 12.206555, 48.826225, 55.00798 * DEGREES))
    b = turned((1022, 870.499939, 10.816651, 43.266609, 56.30993 * DEGREES))
    assert rotated_iou(a, b) == 0
    back = turned((1, 1, 1, 1, -1))
    assert rotated_iou(a * back, b * back).item() == pytest.approx(0.36876, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sides_on_sides_within_rounding_errors(dtype):
    a = random_turned(2000, 31).to(dtype)
    steps = torch.randint(-3, 4, a.shape, generator=torch.Generator().manual_seed(32))
    exchanged = a[:, [0, 1, 3, 2, 4]] + turned((0, 0, 0, 0, math.pi / 2), dtype=dtype)
    few = 500 * torch.finfo(dtype).eps
    for b in (a * (1 + steps * torch.finfo(dtype).eps), exchanged):
        assert (rotated_iou(a, b) - 1).abs().max() < few
    half = a[:, 2:3] / 2 * torch.stack([a[:, 4].cos(), a[:, 4].sin()], 1)
    for shift, expected in ((half, 1 / 3), (2 * half, 0), (-2 * half, 0)):
        b = torch.cat([a[:, :2] + shift, a[:, 2:]], 1)
        assert (rotated_iou(a, b) - expected).abs().max() < few


def test_touching_and_separated_rotated_boxes_have_no_gradient():
    a = turned((0, 0, 2, 2, 0), (0, 0, 2, 2, 0), (0, 0, 2, 1, 0.3)).requires_grad_()
    b = turned((2, 0, 2, 2, 0), (2, 2, 2, 2, 0), (9, 4, 2, 1, 0.9)).requires_grad_()
    J = rotated_iou(a, b)
    assert not J.any()
    assert not any(slope.any() for slope in grad(J.sum(), (a, b)))


def test_the_iou_of_rotated_boxes_is_never_negative():
    """A box far thinner than the rounding error of the other one's corners."""
    thin, line = turned((0, 0, 1e-25, 1e-25, 0)), turned((0, 0, 3, 0, 0.2))
    for a, b in ((thin, line), (line, thin)):
        assert (rotated_iou(a, b) >= 0).all()


@pytest.mark.parametrize("other", [(0, 0, 2, 2, 0.8), (1, 2, 5, 1, 0.8)])
def test_turning_a_square_changes_no_bit_of_the_wasserstein_distance(other):
    square = turned((0, 0, 2, 2, 0.1)).requires_grad_()
    (slope,) = grad(gwd(square, turned(other)).sum(), square)
    assert slope[0, 4] == 0


def test_identical_rotated_boxes_have_iou_one_and_no_gradient():
    for dtype, rounding in ((torch.float32, 1e-5), (torch.float64, 1e-13)):
        a = random_turned(200, 5).to(dtype).requires_grad_()
        J = rotated_iou(a, a.detach())
        assert (J - 1).abs().max() < rounding
        point = turned((1, 2, 0, 0, 1), (1, 2, 0, 3, 1), dtype=dtype)
        assert rotated_iou(point, point).tolist() == [1, 1]
        assert rotated_iou(point, point.flip(0)).tolist() == [0, 0]


def test_the_gradient_of_rotated_boxes_by_finite_differences():
    a, b = (random_turned(12, seed, extent=1).requires_grad_() for seed in (6, 7))
    for function in (rotated_iou, gwd, kld):
        slopes_agree(function, (a, b))


def test_rotated_boxes_broadcast_and_may_be_none():
    a, b = random_turned(3, 8), random_turned(2, 9)
    for function in (rotated_iou, gwd, kld):
        every = function(a[:, None], b)
        assert every.shape == (3, 2)
        torch.testing.assert_close(every[1, 0], function(a[1], b[0]))
        assert function(a[:0], b[:1]).shape == (0,)
    assert rotated_corners(a[:0]).shape == (0, 4, 2)


def test_the_corners_of_a_rotated_box():
    box = turned((1, 2, 4, 2, 0), (1, 2, 4, 2, math.pi / 2))
    corner = rotated_corners(box)
    torch.testing.assert_close(corner[0], turned((-1, 1), (3, 1), (3, 3), (-1, 3)))
    torch.testing.assert_close(corner[1], turned((2, 0), (2, 4), (0, 4), (0, 0)))
    assert rotated_corners(box.float()).dtype == torch.float32


def covariance(box):
    x, y, w, h, theta = box.tolist()
    R = np.array([[math.cos(theta), -math.sin(theta)], [math.sin(theta), math.cos(theta)]])
    return np.array([x, y]), R @ np.diag([w**2, h**2]) @ R.T / 4


@pytest.mark.verifies("iou-gwd", by="peer")
def test_the_wasserstein_distance_by_roots_of_matrices():
    for a, b in zip(random_turned(60, 10), random_turned(60, 11), strict=True):
        (m1, S1), (m2, S2) = covariance(a), covariance(b)
        root = scipy.linalg.sqrtm(S1)
        cross = scipy.linalg.sqrtm(root @ S2 @ root)
        by_roots = ((m1 - m2) ** 2).sum() + np.trace(S1 + S2 - 2 * cross.real)
        det = math.sqrt(np.linalg.det(S1) * np.linalg.det(S2))
        printed = ((m1 - m2) ** 2).sum() + np.trace(S1) + np.trace(S2)
        printed -= 2 * math.sqrt(np.trace(S1 @ S2) + 2 * det)
        assert printed == pytest.approx(by_roots, abs=1e-10)
        assert gwd(a, b).item() == pytest.approx(by_roots, abs=1e-10)


@pytest.mark.verifies("iou-gwd-axis", by="exact")
def test_the_wasserstein_distance_of_boxes_that_do_not_turn():
    a, b = random_turned(50, 12), random_turned(50, 13)
    a[:, 4] = b[:, 4] = 0
    (ax, ay, aw, ah, _), (bx, by, bw, bh, _) = a.unbind(1), b.unbind(1)
    expected = (ax - bx) ** 2 + (ay - by) ** 2 + ((aw - bw) ** 2 + (ah - bh) ** 2) / 4
    torch.testing.assert_close(gwd(a, b), expected, rtol=1e-13, atol=0)
    for p, q in zip(a, b, strict=True):
        (m1, S1), (m2, S2) = covariance(p), covariance(q)
        by_roots = ((m1 - m2) ** 2).sum() + np.trace(S1 + S2 - 2 * np.sqrt(S1 @ S2))
        assert gwd(p, q).item() == pytest.approx(by_roots, rel=1e-9)


def test_the_wasserstein_distance_is_zero_for_equal_boxes_and_does_not_see_a_squares_angle():
    a = random_turned(50, 14)
    assert not gwd(a, a).any()
    half = a + turned((0, 0, 0, 0, math.pi))
    assert gwd(a, half).max() < 1e-12
    square = turned((0, 0, 2, 2, 0.7)).requires_grad_()
    (slope,) = grad(gwd(square, turned((0, 0, 2, 2, 0))).sum(), square)
    assert slope[0, 4].item() == 0
    point = turned((0, 0, 0, 0, 0)).requires_grad_()
    (slope,) = grad(gwd(point, turned((0, 0, 0, 0, 1))).sum(), point)
    assert slope.isfinite().all()


@pytest.mark.verifies("iou-kld", by="peer")
def test_the_divergence_of_gaussians_against_torch():
    for a, b in zip(random_turned(60, 15), random_turned(60, 16), strict=True):
        (m1, S1), (m2, S2) = covariance(a), covariance(b)
        p, q = (
            torch.distributions.MultivariateNormal(torch.tensor(m), torch.tensor(S))
            for m, S in ((m1, S1), (m2, S2))
        )
        expected = torch.distributions.kl_divergence(p, q).item()
        inverse, delta = np.linalg.inv(S2), m1 - m2
        printed = delta @ inverse @ delta + np.trace(inverse @ S1)
        printed = (printed + math.log(np.linalg.det(S2) / np.linalg.det(S1))) / 2 - 1
        assert printed == pytest.approx(expected, abs=1e-10)
        assert kld(a, b).item() == pytest.approx(expected, rel=1e-10, abs=1e-10)
    assert kld(a, b).item() != pytest.approx(kld(b, a).item())


def test_the_divergence_keeps_its_value_when_both_boxes_are_scaled():
    a, b = random_turned(20, 17), random_turned(20, 18)
    scaled = [x * turned((5, 5, 5, 5, 1)) for x in (a, b)]
    torch.testing.assert_close(kld(*scaled), kld(a, b))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: rotated_iou(turned((0, 0, 1, 1)), turned((0, 0, 1, 1, 0))),
            "a: expected shape (..., 5)",
        ),
        (
            lambda: rotated_corners(turned((0, 0, -1, 1, 0))),
            "boxes[0] = (0.0, 0.0, -1.0, 1.0, 0.0)",
        ),
        (lambda: gwd(turned((0, 0, 1, 1, 0)), turned((0, 0, 1, 1, math.nan))), "b[0] = "),
        (
            lambda: rotated_corners(turned((0, 0, 1, 1, math.inf))[0]),
            "boxes = (0.0, 0.0, 1.0, 1.0, inf)",
        ),
        (
            lambda: kld(turned((0, 0, 1, 0, 0)), turned((0, 0, 1, 1, 0))),
            "a[0] = (0.0, 0.0, 1.0, 0.0, 0.0): expected (center x, center y, width, height, angle in "
            + "radians), finite and with sizes of more than 0",
        ),
        (lambda: kld(turned((0, 0, 1, 1, 0)), turned((0, 0, 0, 1, 0))), "b[0] = (0.0, 0.0, 0.0, "),
        (
            lambda: rotated_iou(random_turned(3, 0), random_turned(2, 0)),
            "a and b: expected shapes that",
        ),
    ],
)
def test_wrong_rotated_boxes_are_shown(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value).startswith(message)


# Suppression

grids = st.tuples(*[st.integers(0, 8)] * 2, *[st.integers(1, 6)] * 2).map(
    lambda t: [t[0], t[1], t[0] + t[2], t[1] + t[3]]
)
lists_of_boxes = st.lists(grids, max_size=12).map(
    lambda rows: torch.tensor(rows, dtype=torch.float64).view(-1, 4)
)
thresholds = st.sampled_from([0, 0.25, 1 / 3, 0.5, 0.75, 1])


def scores_for(boxes, seed, *, ties):
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(boxes), generator=generator).double()
    return order // 3 if ties else order


@pytest.mark.verifies("iou-nms", by="enumeration")
@pytest.mark.parametrize(("kind", "similarity"), [("iou", iou), ("diou", diou)])
@given(
    boxes=st.lists(grids, max_size=7).map(
        lambda r: torch.tensor(r, dtype=torch.float64).view(-1, 4)
    ),
    threshold=thresholds,
    seed=st.integers(0, 99),
    ties=st.booleans(),
)
def test_suppression_keeps_whom_the_definition_keeps(
    kind, similarity, boxes, threshold, seed, ties
):
    scores = scores_for(boxes, seed, ties=ties)
    expected = kept_by_definition(boxes, scores, threshold, similarity)
    assert nms(boxes, scores, threshold, kind).tolist() == expected


@pytest.mark.verifies("iou-nms-properties", by="enumeration")
@given(lists_of_boxes, thresholds, st.integers(0, 99))
def test_kept_boxes_overlap_little_and_dropped_ones_have_a_reason(boxes, threshold, seed):
    scores = scores_for(boxes, seed, ties=False)
    kept = nms(boxes, scores, threshold)
    J = pairwise(boxes, boxes)
    among = J[kept][:, kept] - torch.eye(len(kept)).double()
    assert (among <= threshold).all()
    for i in set(range(len(boxes))) - set(kept.tolist()):
        reasons = kept[(scores[kept] > scores[i]) & (J[i, kept] > threshold)]
        assert len(reasons)
    again = nms(boxes[kept], scores[kept], threshold)
    assert again.tolist() == list(range(len(kept)))
    shuffle = torch.randperm(len(boxes), generator=torch.Generator().manual_seed(seed))
    assert torch.equal(shuffle[nms(boxes[shuffle], scores[shuffle], threshold)], kept)


@pytest.mark.parametrize("block", [1, 7, 512])
@pytest.mark.parametrize("ties", [False, True])
def test_suppression_in_blocks_keeps_the_same_boxes(block, ties, monkeypatch):
    monkeypatch.setattr("derived.iou.evaluation._NMS_BLOCK", block)
    generator = torch.Generator().manual_seed(33)
    low = torch.randint(0, 8, (60, 2), generator=generator)
    boxes = torch.cat([low, low + torch.randint(1, 8, (60, 2), generator=generator)], 1).double()
    scores = scores_for(boxes, 34, ties=ties)
    above, kept = (iou(boxes[:, None], boxes) > 0.3).tolist(), []
    for i in sorted(range(60), key=lambda i: (-scores[i].item(), i)):
        if not any(above[i][j] for j in kept):
            kept.append(i)
    assert nms(boxes, scores, 0.3).tolist() == kept


def test_a_larger_threshold_may_drop_a_box_that_a_smaller_one_keeps():
    boxes = torch.tensor([[0.0, 0, 10, 10], [3.0, 0, 13, 10], [5.0, 0, 15, 10]])
    scores = torch.tensor([0.9, 0.8, 0.7])
    assert nms(boxes, scores, 0.5).tolist() == [0, 2]
    assert nms(boxes, scores, 0.6).tolist() == [0, 1]


@pytest.mark.verifies("iou-diou-nms", by="enumeration")
@given(lists_of_boxes, thresholds)
def test_diou_suppresses_a_part_of_the_pairs(boxes, threshold):
    by_diou = pairwise(boxes, boxes, "diou") > threshold
    by_iou = pairwise(boxes, boxes) > threshold
    assert (by_iou | ~by_diou).all()


def test_diou_spares_boxes_whose_centers_are_apart():
    boxes = torch.tensor([[0.0, 0, 10, 10], [3.0, 0, 13, 10]])
    scores = torch.tensor([1, 2])
    assert nms(boxes, scores, 0.5).tolist() == [1]
    assert nms(boxes, scores, 0.51, "diou").tolist() == [1, 0]


def test_an_overlap_equal_to_the_threshold_does_not_suppress():
    boxes = torch.tensor([[0, 0, 2, 1], [0, 0, 1, 1], [0, 0, 2, 1]])
    scores = torch.tensor([3.0, 2, 1])
    kept = nms(boxes, scores, 0.5)
    assert kept.tolist() == [0, 1] and kept.dtype == torch.int64
    assert nms(boxes, scores, 1).tolist() == [0, 1, 2]
    assert nms(boxes[:0], scores[:0], 0.5).tolist() == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda b, s: nms(b, s[:2], 0.5),
            "boxes and scores: expected the same length, got 3 and 2",
        ),
        (lambda b, s: nms(b, s[None], 0.5), "scores: expected shape (number,), got (1, 3)"),
        (lambda b, s: nms(b, s / 0 * 0, 0.5), "scores[0] is nan: expected a number"),
        (lambda b, s: nms(b[0], s, 0.5), "boxes: expected shape (number, 4), got (4,)"),
        (lambda b, s: nms(b, s, 0.5, "siou"), "kind: expected one of iou, giou, diou, ciou, eiou"),
        (
            lambda b, s: nms(b, s, math.nan),
            "threshold: expected a finite number, got nan",
        ),
        (lambda b, s: nms(b, s, "0.5"), "threshold: expected a finite number, got '0.5'"),
        (lambda b, s: average_precision(s, s, 3), "hits: expected a torch.Tensor of bool"),
        (
            lambda b, s: average_precision(s, s[:2] > 1, 3),
            "scores and hits: expected the same length",
        ),
        (lambda b, s: average_precision(s, s > 1, 0), "objects: expected an integer of at least 1"),
    ],
)
def test_wrong_arguments_of_suppression_and_precision_are_named(call, message):
    boxes = torch.tensor([[0.0, 0, 2, 1], [0, 0, 1, 1], [0, 0, 2, 1]])
    with pytest.raises(ValueError) as error:
        call(boxes, torch.tensor([1.0, 2, 3]))
    assert str(error.value).startswith(message)


# Average precision


@pytest.mark.verifies("iou-precision-envelope", by="enumeration")
@given(st.lists(st.booleans(), max_size=30), st.integers(0, 20))
def test_average_precision_by_its_definition(hits, more):
    objects = max(1, sum(hits) + more)
    scores = torch.arange(len(hits)).flip(0).float()
    own = average_precision(scores, torch.tensor(hits, dtype=torch.bool), objects)
    curve = [(sum(hits[:k]) / objects, sum(hits[:k]) / k) for k in range(1, len(hits) + 1)]
    recalls = np.linspace(0, 1, 101)
    best = [max((p for r_k, p in curve if r_k >= r), default=0) for r in recalls]
    assert own.item() == pytest.approx(sum(best) / 101, abs=1e-14)


@pytest.mark.verifies("iou-precision-envelope", by="exact")
def test_average_precision_of_short_lists():
    def ap(hits, objects):
        scores = torch.arange(len(hits), 0, -1)
        return average_precision(scores, torch.tensor(hits, dtype=torch.bool), objects).item()

    assert ap([True], 1) == 1 and ap([], 1) == 0 and ap([False], 1) == 0
    assert ap([True], 2) == pytest.approx(51 / 101)  # recalls 0 to 0.5
    assert ap([False, True], 1) == pytest.approx(0.5)
    assert ap([True, False, True], 2) == pytest.approx((51 + 50 * 2 / 3) / 101)
    tied = torch.ones(2), torch.tensor([True, False])
    assert average_precision(*tied, 1).item() == 1
    assert average_precision(tied[0], tied[1].flip(0), 1).item() == 0.5


def test_of_many_equal_scores_the_earlier_detections_come_first():
    hits = torch.rand(200, generator=torch.Generator().manual_seed(0)) < 0.5
    in_order = average_precision(torch.arange(200).flip(0), hits, 150)
    assert average_precision(torch.ones(200), hits, 150) == in_order


FIGURES = ["AP", "AP50", "AP75", "APs", "APm", "APl"]
FIGURES += ["AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]


def random_images(seed, *, images=15, classes=3, most=12, crowd=0.1, ties=True):
    """Detections that are mostly near objects, with tied scores and areas that aren't the boxes'."""
    g = np.random.default_rng(seed)

    def some_boxes(n):
        low = g.integers(0, 200, (n, 2))
        return np.concatenate([low, low + g.integers(1, 150, (n, 2))], 1)

    detections, targets = [], []
    for _ in range(images):
        objects, found = g.integers(0, 6), g.integers(0, most + 1)
        boxes, wild = some_boxes(objects), some_boxes(found)
        if objects:
            near = boxes[g.integers(0, objects, found)] + g.integers(-6, 7, (found, 4))
            near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
            wild = np.where(g.random((found, 1)) < 0.7, near, wild)
        area = (boxes[:, 2:] - boxes[:, :2]).prod(1) * g.choice([0.5, 1], objects)
        targets.append(
            {
                "boxes": torch.tensor(boxes).view(-1, 4),
                "labels": torch.tensor(g.integers(0, classes, objects)),
                "area": torch.tensor(area),
                "crowd": torch.tensor(g.random(objects) < crowd),
            }
        )
        scores = g.integers(0, 10, found) / 10 if ties else g.random(found)
        labels = g.integers(0, classes + 1, found)  # one class has no objects
        found_boxes = torch.tensor(wild).view(-1, 4)
        detections.append(
            {"boxes": found_boxes, "scores": torch.tensor(scores), "labels": torch.tensor(labels)}
        )
    return detections, targets


@pytest.mark.verifies("iou-coco-ap", by="peer")
@pytest.mark.verifies("iou-precision-envelope", by="peer")
@pytest.mark.parametrize("seed", range(8))
def test_the_evaluation_against_pycocotools(seed):
    many = {"images": 2, "most": 150, "classes": 1} if seed == 7 else {}
    detections, targets = random_images(seed, ties=seed % 2 == 0, crowd=0.3 * (seed % 3), **many)
    own = coco_map(detections, targets)
    assert list(own) == FIGURES
    peer = by_pycocotools(detections, targets)
    assert list(own.values()) == pytest.approx(peer, abs=1e-9, nan_ok=True)
    assert 0.01 < own["AP"] < own["AP50"] < 0.95


def assert_agrees(detections, targets):
    own = coco_map(detections, targets)
    peer = by_pycocotools(detections, targets)
    assert list(own.values()) == pytest.approx(peer, abs=1e-9, nan_ok=True)
    return own


def test_the_evaluation_in_several_blocks(monkeypatch):
    monkeypatch.setattr("derived.iou.evaluation._MATCH_BLOCK", 4)
    assert_agrees(*random_images(8, crowd=0.2))


def test_more_than_a_hundred_objects_and_detections_of_a_class():
    """All count as objects, but only 100 detections; the 101st would find one more."""
    corner = 20.0 * torch.cartesian_prod(torch.arange(12), torch.arange(10)).double()
    boxes = torch.cat([corner, corner + 10], 1)
    none = torch.zeros(120, dtype=torch.long)
    target = {"boxes": boxes, "labels": none, "area": none + 100.0, "crowd": none > 0}
    found = {"boxes": boxes[:101], "labels": none[:101], "scores": torch.arange(101, 0, -1) / 128}
    own = assert_agrees([found], [target])
    assert own["AR100"] == pytest.approx(100 / 120) and own["AP"] == pytest.approx(84 / 101)


def test_objects_and_detections_on_the_bounds_of_the_ranges_of_area():
    sides = turned((0, 5), (0.5, 1), (32, 32), (96, 96), (1e5, 1e5), (1e5, 1e5 + 1))
    areas = turned((0, 0.5, 32**2, 96**2, 1e10, 1e10 + 0.5))[0]
    low = turned(*[(3e5 * i, 0) for i in range(6)])
    boxes = torch.cat([low, low + sides.clamp(min=0.5)], 1)
    labels = torch.arange(6)
    target = {"boxes": boxes, "labels": labels, "area": areas, "crowd": labels < 0}
    hit = {"boxes": boxes, "labels": labels, "scores": torch.full((6,), 0.5)}
    missed = torch.cat([low, low + sides], 1) + 2e5
    miss = {"boxes": missed, "labels": labels, "scores": torch.full((6,), 0.75)}
    both = {name: torch.cat([miss[name], hit[name]]) for name in hit}
    assert_agrees([both], [target])
    for i in range(6):  # one class at a time: its objects count, or there are none
        one = labels == i
        single = [
            {name: column[one] for name, column in image.items()} for image in (miss, hit, target)
        ]
        both = {name: torch.cat([single[0][name], single[1][name]]) for name in hit}
        assert_agrees([both], [single[2]])


@pytest.mark.parametrize("crowd", [True, False])
def test_an_object_that_counts_comes_before_a_better_one_that_does_not(crowd):
    """The box has J = 0.6 with the one; all of it is in the other, a crowd or of another size."""
    boxes = turned((0, 0, 60, 10), (0, 0, 100, 10), (0, 0, 100, 10.5))
    target = {
        "boxes": boxes[[0, 2]],
        "labels": torch.tensor([0, 0]),
        "area": turned((600, 600 if crowd else 2e10))[0],
        "crowd": torch.tensor([False, crowd]),
    }
    found = {"boxes": boxes[[1]], "labels": torch.tensor([0]), "scores": torch.ones(1)}
    own = assert_agrees([found], [target])
    assert own["AP"] == pytest.approx(0.3)  # at 0.50, 0.55 and 0.60; above, it doesn't count
    assert_agrees([found], [{name: column.flip(0) for name, column in target.items()}])


@pytest.mark.verifies("iou-coco-ap", by="exact")
def test_the_mean_is_over_thresholds_and_over_classes_with_objects():
    """One object is met with J = 0.8, of a second class one is missed; a third class has none."""
    target = {"boxes": turned((0, 0, 100, 10), (200, 0, 300, 10)), "labels": torch.tensor([0, 1])}
    found = {
        "boxes": turned((0, 0, 80, 10), (500, 0, 600, 10)),
        "labels": torch.tensor([0, 2]),
        "scores": turned((0.9, 0.8))[0],
    }
    result = coco_map([found], [target])
    assert result["AP"] == pytest.approx((7 / 10 + 0) / 2)  # 0.50 to 0.80 are seven thresholds
    assert (result["AP50"], result["AP75"]) == (0.5, 0.5)
    assert result["APs"] == pytest.approx(0.35)  # 1,000 is below 32 squared
    assert math.isnan(result["APl"]) and math.isnan(result["APm"])
    assert result["AR1"] == pytest.approx(0.35)


def test_the_order_of_images_decides_between_equal_scores():
    target = {"boxes": turned((0, 0, 10, 10)), "labels": torch.tensor([1])}
    hit = {"boxes": turned((0, 0, 10, 10)), "labels": torch.tensor([1]), "scores": torch.ones(1)}
    miss = {**hit, "boxes": turned((50, 50, 60, 60))}
    nothing = {"boxes": turned((0, 0, 1, 1))[:0], "labels": torch.tensor([], dtype=torch.long)}
    first = coco_map([hit, miss], [target, nothing])
    last = coco_map([miss, hit], [nothing, target])
    assert first["AP"] == 1 and last["AP"] == 0.5


def test_areas_and_crowds_have_defaults_and_integers_will_do():
    detections, targets = random_images(3, crowd=0)
    own = coco_map(
        detections,
        [{**t, "area": (t["boxes"][:, 2:] - t["boxes"][:, :2]).prod(1)} for t in targets],
    )
    plain = [{key: t[key] for key in ("boxes", "labels")} for t in targets]
    assert coco_map(detections, plain) == pytest.approx(own, nan_ok=True)
    shifted = [{**d, "labels": d["labels"] * 1000 - 7} for d in detections]
    renamed = [{**t, "labels": t["labels"] * 1000 - 7} for t in plain]
    assert coco_map(shifted, renamed) == pytest.approx(own, nan_ok=True)


def test_without_objects_there_is_nothing_to_average():
    none = {"boxes": turned((0, 0, 1, 1))[:0], "labels": torch.tensor([], dtype=torch.long)}
    hit = {"boxes": turned((0, 0, 1, 1)), "labels": torch.tensor([1]), "scores": torch.ones(1)}
    for result in (coco_map([], []), coco_map([hit], [none])):
        assert list(result) == FIGURES and all(math.isnan(value) for value in result.values())
    blind = coco_map(
        [{**none, "scores": torch.ones(0)}], [{k: hit[k] for k in ("boxes", "labels")}]
    )
    assert blind["AP"] == blind["AR100"] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d, t: (d[:1], t), "detections and targets: expected as many images, got 1 and 2"),
        (lambda d, t: (d[0], t), "detections: expected a list with a dict an image"),
        (
            lambda d, t: ([{"boxes": d[0]["boxes"]}, d[1]], t),
            "detections[0]: expected a dict of boxes, scores, labels; got boxes",
        ),
        (
            lambda d, t: (d, [t[0], {**t[1], "iscrowd": t[1]["crowd"]}]),
            "targets[1]: expected a dict of boxes, labels and perhaps area, crowd; got boxes, labels,",
        ),
        (lambda d, t: (d, [t[0], 5]), "targets[1]: expected a dict of boxes, labels and perhaps"),
        (
            lambda d, t: ([{**d[0], "scores": d[0]["scores"][:1]}, d[1]], t),
            'detections[0]["scores"]: expected shape (2,), got (1,)',
        ),
        (
            lambda d, t: ([{**d[0], "scores": [1, 2]}, d[1]], t),
            'detections[0]["scores"]: expected shape (2,), got list',
        ),
        (
            lambda d, t: ([{**d[0], "scores": d[0]["scores"] * math.nan}, d[1]], t),
            'detections[0]["scores"][0] is nan',
        ),
        (
            lambda d, t: (d, [{**t[0], "labels": t[0]["labels"].double()}, t[1]]),
            'targets[0]["labels"]: expected integers, got torch.float64',
        ),
        (
            lambda d, t: (d, [{**t[0], "labels": t[0]["labels"] > 0}, t[1]]),
            'targets[0]["labels"]: expected integers, got torch.bool',
        ),
        (
            lambda d, t: (d, [{**t[0], "area": t[0]["boxes"][:, 0] * math.nan}, t[1]]),
            'targets[0]["area"][0] is nan',
        ),
        (
            lambda d, t: ([{**d[0], "boxes": -d[0]["boxes"]}, d[1]], t),
            'detections[0]["boxes"][0] = (-0, -0, -5, -5): x2 < x1',
        ),
    ],
)
def test_wrong_images_are_named(change, message):
    boxes = turned((0, 0, 5, 5), (1, 1, 4, 4))
    labels, crowd = torch.tensor([0, 1]), torch.tensor([False, False])
    detections = [{"boxes": boxes, "labels": labels, "scores": turned((0.5, 0.6))[0]}] * 2
    targets = [{"boxes": boxes, "labels": labels, "crowd": crowd}] * 2
    with pytest.raises(ValueError) as error:
        coco_map(*change(detections, targets))
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("kind", ["iou", "diou"])
def test_boxes_of_other_classes_and_images_suppress_nothing(kind):
    generator = torch.Generator().manual_seed(4)
    n = 700  # more than a block
    low, size = torch.rand(2, n, 2, generator=generator)
    boxes, scores = torch.cat([low, low + size], 1), torch.rand(n, generator=generator)
    image, label = torch.randint(-2, 2, (2, n), generator=generator)
    for groups, same in (
        (label, label),
        (torch.stack([image, label], 1), 10 * image + label),
        (label.int(), label),
    ):
        kept = nms(boxes, scores, 0.4, kind, groups=groups)
        alone = [(same == group).nonzero()[:, 0] for group in same.unique()]
        each = torch.cat([own[nms(boxes[own], scores[own], 0.4, kind)] for own in alone])
        assert kept.tolist() == each[scores[each].argsort(descending=True)].tolist()
    assert len(nms(boxes, scores, 0.4, kind)) < len(kept)
    assert nms(boxes[:0], scores[:0], 0.4, groups=label[:0]).shape == (0,)
    for wrong, said in ((label.float(), "expected integers"), (label[:9], "same length")):
        with pytest.raises(ValueError, match=f"groups: .*{said}"):
            nms(boxes, scores, 0.4, groups=wrong)
