"""Rotated boxes, suppression and average precision: the second half of `derived.iou`."""

import itertools
import math
import re

import pytest
import shapely
import sympy
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import grad, gradcheck

import derived
from derived.iou import diou, gwd, iou, kld, nms, pairwise, rotated_corners, rotated_iou


def rows(*values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype)


def random_rotated(count, seed, *, extent=4.0, least=0.3, dtype=torch.float64):
    """Rotated boxes in general position."""
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand(count, 5, generator=generator, dtype=torch.float64)
    low, high = rows(0, 0, least, least, -7), rows(extent, extent, 4, 4, 7)
    return (low + (high - low) * draw).to(dtype)


def polygon(box):
    """The rotated box as shapely makes it, and not as `rotated_corners` does."""
    x, y, w, h, angle = box
    upright = shapely.box(-w / 2, -h / 2, w / 2, h / 2)
    turned = shapely.affinity.rotate(upright, angle, origin=(0, 0), use_radians=True)
    return shapely.affinity.translate(turned, x, y)


def gradients(function, *inputs):
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    return grad(function(*leaves).sum(), leaves, materialize_grads=True)


# Rotated boxes


@pytest.mark.verifies("iou-rotated-square", by="exact")
@pytest.mark.parametrize("quarter", [0, 1, -3])
def test_a_unit_square_and_the_same_turned(quarter):
    angle = torch.linspace(0, math.pi / 2, 91, dtype=torch.float64)
    square = rows(3, -2, 1, 1, 0.7)
    turned = square + rows(0, 0, 0, 0, 1) * (angle[:, None] + quarter * math.pi / 2)
    shared = 2 / (1 + angle.cos() + angle.sin())
    expected = shared / (2 - shared)
    torch.testing.assert_close(rotated_iou(square, turned), expected, rtol=0, atol=1e-14)
    octagon = rotated_iou(square, square + rows(0, 0, 0, 0, math.pi / 4))
    assert octagon.item() == pytest.approx(1 / math.sqrt(2), abs=1e-15)


@pytest.mark.verifies("iou-rotated-square", by="symbolic")
def test_the_octagon_is_the_square_without_eight_half_corners():
    """What sticks out of one square is four right triangles with the hypotenuse on the other."""
    angle = sympy.symbols("theta", positive=True)
    cos, sin = sympy.cos(angle), sympy.sin(angle)
    # Each side of length 1 is a leg, a hypotenuse and the other leg: a(cos + 1 + sin) = 1.
    hypotenuse = 1 / (1 + cos + sin)
    triangle = hypotenuse**2 * cos * sin / 2
    assert sympy.simplify(1 - 4 * triangle - 2 / (1 + cos + sin)) == 0


@pytest.mark.verifies("iou-shoelace", by="peer")
def test_rotated_iou_against_shapely():
    a, b = random_rotated(2000, 1), random_rotated(2000, 2)
    expected = []
    for p, q in zip(map(polygon, a.tolist()), map(polygon, b.tolist()), strict=True):
        expected.append(p.intersection(q).area / p.union(q).area)
    expected = rows(*expected)
    assert (expected > 0).sum() > 1000 and (expected == 0).sum() > 100
    torch.testing.assert_close(rotated_iou(a, b), expected, rtol=0, atol=1e-12)
    single = rotated_iou(a.float(), b.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, rtol=0, atol=2e-6)


@pytest.mark.verifies("iou-shoelace", by="enumeration")
def test_the_shoelace_area_of_polygons_with_integer_corners():
    """Pick: twice the area is twice the points inside, plus those on the border, minus 2."""
    corners = torch.tensor([[0, 0], [5, 1], [7, 4], [6, 8], [2, 7], [0, 5]])
    for shift in range(6):  # whichever corner comes first
        ring = corners.roll(shift, 0)
        step = ring.roll(-1, 0) - ring
        grid = torch.cartesian_prod(torch.arange(9), torch.arange(9))
        side = (
            step[:, None, 0] * (grid[:, 1] - ring[:, None, 1])
            - step[:, None, 1] * (grid[:, 0] - ring[:, None, 0])
        ).amin(0)
        twice = 2 * (side > 0).sum() + (side == 0).sum() - 2
        x, y = ring.double().unbind(1)
        assert derived.iou._shoelace(x, y).item() == twice.item() / 2
        assert derived.iou._shoelace(x.flip(0), y.flip(0)).item() == -twice.item() / 2


def test_boxes_along_the_axes_have_the_iou_of_upright_ones():
    a, b = random_rotated(300, 3), random_rotated(300, 4)
    for turn in range(-4, 5):
        boxes = []
        for box in (a, b):
            size = box[:, 2:4] if turn % 2 == 0 else box[:, [3, 2]]
            boxes.append(torch.cat([box[:, :2] - size / 2, box[:, :2] + size / 2], 1))
        angle = torch.tensor([turn * math.pi / 2], dtype=torch.float64).expand(300, 1)
        turned = [torch.cat([box[:, :4], angle], 1) for box in (a, b)]
        torch.testing.assert_close(rotated_iou(*turned), iou(*boxes), rtol=0, atol=1e-14)


def test_rotated_corners_are_those_of_the_polygon():
    a = random_rotated(50, 5)
    assert rotated_corners(a).shape == (50, 4, 2)
    for box, corners in zip(a.tolist(), rotated_corners(a).tolist(), strict=True):
        assert shapely.Polygon(corners).hausdorff_distance(polygon(box)) < 1e-12
    first = rotated_corners(rows(1, 2, 4, 2, 0))
    assert first.tolist() == [[-1, 1], [3, 1], [3, 3], [-1, 3]]
    half_pi = rotated_corners(rows(1, 2, 4, 2, math.pi / 2))
    expected = rows([2, 0], [2, 4], [0, 4], [0, 0])
    torch.testing.assert_close(half_pi, expected, rtol=0, atol=1e-15)


MMCV_2621 = (0, 0, 180.6422271729, 136.3633728027, 0.9559648633)
DEGREES = math.pi / 180
KNOWN_FAILURES = [  # what some implementation made of it, and what shapely makes of it
    (MMCV_2621, MMCV_2621, 0.3333, 1.0),
    (
        (
            2563.74462890625,
            1436.790161132812,
            2174.703369140625,
            214.0950012207,
            115.118347 * DEGREES,
        ),
        (
            2563.74462890625,
            1436.790283203125,
            2174.702880859375,
            214.0949554443,
            115.118355 * DEGREES,
        ),
        0.5848,
        0.999999,
    ),
    (
        (296.6620178222656, 458.738830566, 23.515729904, 47.677001953, 0.08795166 * DEGREES),
        (296.66201, 458.73882, 23.51573, 47.67702, 0.087951 * DEGREES),
        0.600224,
        0.999999,
    ),
    ((0, 0, 2, 2, 0), (0, 2, 2, 2, 0), 0.3333, 0.0),
    ((4, 5, 8, 10, 0), (3, 4, 6, 8, 0), 0.7, 0.6),
]


@pytest.mark.parametrize("case", KNOWN_FAILURES)
def test_inputs_on_which_known_implementations_fail(case):
    *boxes, failure, right = case
    a, b = (rows(box, dtype=torch.float32) for box in boxes)
    p, q = (polygon(box[0].tolist()) for box in (a, b))
    for x, y in ((a, b), (b, a)):
        result = rotated_iou(x, y).item()
        assert result == pytest.approx(p.intersection(q).area / p.union(q).area, abs=1e-6)
        assert result == pytest.approx(right, abs=3e-6) != failure


def test_which_way_the_angle_turns_matters():
    """Disjoint if the angle runs from x toward y; overlapping by a third if it runs back."""
    a = rows(1010.5, 860.00012207, 12.20655537, 48.82622528, 55.00798035 * DEGREES)
    b = rows(1022, 870.49993896, 10.81665134, 43.26660919, 56.30992889 * DEGREES)
    assert rotated_iou(a, b) == 0
    back = rows(1, 1, 1, 1, -1)
    assert rotated_iou(a * back, b * back).item() == pytest.approx(0.36876, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nearly_equal_boxes_in_every_way(dtype):
    """Corners on sides, sides on sides, within a rounding error of each other."""
    generator = torch.Generator().manual_seed(6)
    a = random_rotated(4000, 7, dtype=dtype)
    ulps = torch.randint(-3, 4, a.shape, generator=generator) * torch.finfo(dtype).eps
    exchanged = a[:, [0, 1, 3, 2, 4]] + rows(0, 0, 0, 0, math.pi / 2, dtype=dtype)
    for b in (a, a * (1 + ulps), exchanged):
        similarity = rotated_iou(a, b)
        assert (similarity - 1).abs().max() < 200 * torch.finfo(dtype).eps
        assert torch.equal(rotated_iou(a, a), torch.ones(len(a), dtype=dtype))
    along = a[:, 4].cos(), a[:, 4].sin()
    shift = torch.stack([a[:, 2] / 2 * part for part in along], 1)
    for steps, expected in ((1, 1 / 3), (2, 0), (-2, 0)):  # half of it, or only a side, is shared
        b = torch.cat([a[:, :2] + steps * shift, a[:, 2:]], 1)
        assert (rotated_iou(a, b) - expected).abs().max() < 200 * torch.finfo(dtype).eps


def test_far_from_the_origin_only_differences_count():
    a, b = rows((0, 0, 32, 16, 0.3), (8, 8, 32, 16, 1.1))
    shift = rows(1e8, -1e8, 0, 0, 0)  # where float32 counts in steps of 8
    there = rotated_iou((a + shift).float(), (b + shift).float())
    assert there.item() == pytest.approx(rotated_iou(a, b).item(), rel=1e-6)


@pytest.mark.parametrize("k", [1e-6, 1e-3, 7.0, 1e6])
def test_the_unit_of_rotated_boxes_does_not_matter(k):
    a, b = (random_rotated(100, seed, dtype=torch.float32) for seed in (8, 9))
    scale = rows(k, k, k, k, 1, dtype=torch.float32)
    torch.testing.assert_close(rotated_iou(scale * a, scale * b), rotated_iou(a, b))
    torch.testing.assert_close(gwd(scale * a, scale * b), k**2 * gwd(a, b))
    torch.testing.assert_close(kld(scale * a, scale * b), kld(a, b), rtol=1e-5, atol=1e-5)


ROTATED = {"rotated_iou": rotated_iou, "gwd": gwd, "kld": kld}
every_rotated = pytest.mark.parametrize("function", ROTATED.values(), ids=ROTATED)


@every_rotated
def test_gradients_of_rotated_boxes_in_general_position(function):
    a, b = random_rotated(15, 10, extent=2), random_rotated(15, 11, extent=2)
    assert (rotated_iou(a, b) > 0.01).sum() > 10
    assert gradcheck(function, [a.requires_grad_(), b.requires_grad_()])


@every_rotated
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_identical_rotated_boxes(function, dtype):
    a = random_rotated(200, 12, dtype=dtype)
    expected = torch.ones if function is rotated_iou else torch.zeros
    assert torch.equal(function(a, a), expected(200, dtype=dtype))
    for slope in gradients(function, a, a):
        assert slope.abs().max() < 100 * torch.finfo(dtype).eps


def test_disjoint_and_touching_rotated_boxes_have_no_gradient():
    a = rows((0, 0, 2, 2, 0), (0, 0, 2, 2, 0), (0, 0, 2, 1, 0.3))
    b = rows((2, 0, 2, 2, 0), (2, 2, 2, 2, 0), (9, 4, 2, 1, 0.9))
    assert not rotated_iou(a, b).any()
    assert not any(slope.any() for slope in gradients(rotated_iou, a, b))


@every_rotated
def test_rotated_boxes_broadcast_and_may_be_none(function):
    a, b = random_rotated(3, 13), random_rotated(5, 14)
    matrix = function(a[:, None], b)
    assert matrix.shape == (3, 5)
    for i, j in itertools.product(range(3), range(5)):
        assert matrix[i, j].item() == pytest.approx(function(a[i], b[j]).item(), rel=1e-14)
    assert function(a[:0], b[:0]).shape == (0,)
    assert function(a[:0, None], b).shape == (0, 5)
    whole = torch.tensor([[0, 0, 4, 2, 1], [1, 0, 4, 2, 2]])
    result = function(whole[0], whole[1])
    assert result.dtype == torch.float32
    assert result.item() == pytest.approx(function(*whole.double()).item(), rel=1e-6)
    with pytest.raises(ValueError, match=r"got \(3, 5\) and \(4, 5\).* pass a\[:, None\] and b"):
        function(a, random_rotated(4, 15))


LINE, POINT, SOLID = (0, 0, 0, 3, 0.2), (1, 1, 0, 0, 0), (0, 0, 4, 3, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rotated_boxes_without_area(dtype):
    every = rows(LINE, POINT, SOLID, (0, 0, 3, 0, 0.2), (0, 0, 1e-25, 1e-25, 0), dtype=dtype)
    a, b = (x.contiguous() for x in torch.broadcast_tensors(every[:, None], every))
    assert torch.equal(rotated_iou(a, b)[:4, :4], torch.eye(4, dtype=dtype))
    for function in (rotated_iou, gwd):
        values = function(a, b)
        assert not values.isnan().any() and (values >= 0).all()
        assert all(slope.isfinite().all() for slope in gradients(function, a, b))
    assert gwd(rows(POINT), rows(LINE)).item() == pytest.approx(2 + 9 / 4)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((0, 0, -1, 1, 0), r"[0] = (0.0, 0.0, -1.0, 1.0, 0.0): expected (center x, "),
        ((0, 0, 1, -1, 0), "angle in radians), finite and with sizes of at least 0"),
        ((0, 0, 1, 1, math.nan), "finite and with sizes of at least 0"),
        ((math.inf, 0, 1, 1, 0), "finite and with sizes of at least 0"),
        ((0, 0, 1, 1), ": expected shape (..., 5), got (1, 4)"),
    ],
)
def test_what_is_no_rotated_box_is_refused(box, message):
    wrong, solid = rows(box), rows(SOLID)
    for function in ROTATED.values():
        for arguments, name in (((wrong, solid), "a"), ((solid, wrong), "b")):
            with pytest.raises(ValueError, match=re.escape(message)) as error:
                function(*arguments)
            assert str(error.value).startswith(name)
    with pytest.raises(ValueError, match=f"boxes.*{re.escape(message)}"):
        rotated_corners(wrong)
    with pytest.raises(ValueError, match=r"b: expected a torch\.Tensor, got a list"):
        rotated_iou(solid, [SOLID])


def test_the_divergence_needs_boxes_with_area():
    message = r"= \(1.0, 1.0, 0.0, 0.0, 0.0\): expected .* sizes of more than 0"
    with pytest.raises(ValueError, match=rf"^b\[1\] {message}"):
        kld(rows(SOLID, SOLID), rows(SOLID, POINT))
    with pytest.raises(ValueError, match=rf"^a {message}"):
        kld(rows(POINT)[0], rows(SOLID))
    with derived.validation(False):
        assert not kld(rows(SOLID), rows(POINT)).isfinite().any()
        assert rotated_iou(rows(SOLID), rows(SOLID) * math.nan).isnan().all()


# Boxes as Gaussians


def covariance(boxes):
    cos, sin = boxes[:, 4].cos(), boxes[:, 4].sin()
    turn = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    return turn @ torch.diag_embed(boxes[:, 2:4] ** 2 / 4) @ turn.mT


def root(matrix):
    """The square root of symmetric positive semidefinite matrices."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag_embed(values.clamp(min=0).sqrt()) @ vectors.mT


def trace(matrix):
    return matrix.diagonal(dim1=-2, dim2=-1).sum(-1)


@pytest.mark.verifies("iou-gwd", by="exact")
def test_gwd_is_the_distance_of_two_gaussians():
    a, b = random_rotated(500, 16), random_rotated(500, 17)
    A, B = covariance(a), covariance(b)
    delta = ((a - b)[:, :2] ** 2).sum(1)
    # as printed, for matrices of 2 x 2
    inner = trace(A @ B) + 2 * (torch.linalg.det(A) * torch.linalg.det(B)).sqrt()
    printed = delta + trace(A) + trace(B) - 2 * inner.sqrt()
    torch.testing.assert_close(gwd(a, b), printed, rtol=1e-12, atol=1e-12)
    # as defined for any dimension
    defined = delta + trace(A + B - 2 * root(root(A) @ B @ root(A)))
    torch.testing.assert_close(gwd(a, b), defined, rtol=1e-12, atol=1e-12)


@pytest.mark.verifies("iou-gwd", by="sampling")
def test_gwd_is_what_moving_points_at_the_least_cost_takes():
    """The linear map from one Gaussian to the other is optimal; its mean squared step is W2^2."""
    a, b = random_rotated(1, 18), random_rotated(1, 19)
    A, B = covariance(a)[0], covariance(b)[0]
    back = torch.linalg.inv(root(A))
    carry = back @ root(root(A) @ B @ root(A)) @ back
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(100_000, 2, generator=generator, dtype=torch.float64) @ root(A)
    moved = points @ carry
    torch.testing.assert_close(moved.T.cov(), B, rtol=0.02, atol=0.02)
    cost = ((points + a[:, :2] - moved - b[:, :2]) ** 2).sum(1)
    error = cost.std() / math.sqrt(len(cost))
    assert abs(cost.mean() - gwd(a, b)) < 5 * error


@pytest.mark.verifies("iou-gwd-axis", by="exact")
def test_gwd_of_boxes_that_turn_alike_is_the_distance_of_centers_and_half_sizes():
    a, b = random_rotated(200, 20), random_rotated(200, 21)
    b[:, 4] = a[:, 4]
    center, size = ((a - b)[:, part] ** 2 for part in (slice(0, 2), slice(2, 4)))
    torch.testing.assert_close(gwd(a, b), center.sum(1) + size.sum(1) / 4, rtol=1e-13, atol=0)


@pytest.mark.verifies("iou-gwd-axis", by="symbolic")
def test_gwd_of_upright_boxes_by_computer_algebra():
    w, h, w_, h_ = sympy.symbols("w h w' h'", positive=True)
    A, B = sympy.diag(w**2, h**2) / 4, sympy.diag(w_**2, h_**2) / 4
    inner = (A * B).trace() + 2 * sympy.sqrt(A.det() * B.det())
    printed = A.trace() + B.trace() - 2 * sympy.sqrt(sympy.factor(sympy.simplify(inner)))
    assert sympy.simplify(printed - ((w - w_) ** 2 + (h - h_) ** 2) / 4) == 0


def test_turning_a_square_does_not_change_its_gaussian():
    square = rows(0, 0, 2, 2, 0.1)
    for other in (rows(0, 0, 2, 2, 0.8), rows(1, 2, 5, 1, 0.8)):
        for slope in gradients(gwd, square, other):
            assert slope[4] == 0
    assert rotated_iou(square, square + rows(0, 0, 0, 0, math.pi / 4)).item() < 0.708
    oblong = gradients(gwd, rows(0, 0, 2, 1, 0.1), rows(1, 2, 5, 1, 0.8))
    assert all(slope[4].abs() > 0.1 for slope in oblong)


@pytest.mark.verifies("iou-kld", by="peer")
def test_kld_against_the_divergence_of_torch_distributions():
    a, b = random_rotated(300, 22), random_rotated(300, 23)
    of_a, of_b = (
        torch.distributions.MultivariateNormal(box[:, :2], covariance(box)) for box in (a, b)
    )
    expected = torch.distributions.kl_divergence(of_a, of_b)
    torch.testing.assert_close(kld(a, b), expected, rtol=1e-11, atol=1e-11)
    assert (kld(a, b) - kld(b, a)).abs().max() > 1


@pytest.mark.verifies("iou-kld", by="exact")
def test_kld_as_printed():
    a, b = random_rotated(300, 24), random_rotated(300, 25)
    A, B, delta = covariance(a), covariance(b), (a - b)[:, :2]
    distance = (delta[:, None] @ torch.linalg.inv(B) @ delta[:, :, None])[:, 0, 0]
    spread = trace(torch.linalg.inv(B) @ A)
    printed = (distance + spread + (torch.linalg.det(B) / torch.linalg.det(A)).log()) / 2 - 1
    torch.testing.assert_close(kld(a, b), printed, rtol=1e-11, atol=1e-11)


@given(st.floats(-1, 1), st.floats(-1, 1), st.integers(0, 50))
def test_stretching_both_boxes_along_their_sides_keeps_kld(k, m, seed):
    a, b = random_rotated(5, seed), random_rotated(5, seed + 100)
    a[:, 4], b[:, 4] = 0, math.pi
    stretch = rows(math.exp(k), math.exp(m), math.exp(k), math.exp(m), 1)
    torch.testing.assert_close(kld(stretch * a, stretch * b), kld(a, b), rtol=1e-11, atol=1e-11)


# Suppression


def crowd(count, seed, *, levels=1000, cells=8):
    """Boxes on a grid of integers, so that many pairs have the same IoU, and scores with ties."""
    generator = torch.Generator().manual_seed(seed)
    low = torch.randint(0, cells, (count, 2), generator=generator)
    size = torch.randint(1, cells, (count, 2), generator=generator)
    scores = torch.randint(0, levels, (count,), generator=generator) / levels
    return torch.cat([low, low + size], 1).double(), scores


def greedy(boxes, scores, threshold, similarity=iou):
    """The definition, one box and one comparison at a time."""
    above, kept = (similarity(boxes[:, None], boxes) > threshold).tolist(), []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i].item(), i)):
        if not any(above[i][j] for j in kept):
            kept.append(i)
    return kept


CROWDS = [(0, 30, 1000), (1, 60, 5), (2, 60, 1), (3, 120, 1000), (4, 1, 1), (5, 0, 1)]
every_crowd = pytest.mark.parametrize(("seed", "count", "levels"), CROWDS)
every_threshold = pytest.mark.parametrize("threshold", [0.0, 0.25, 0.5, 0.7, 1.0])


@pytest.mark.verifies("iou-nms", by="enumeration")
@every_crowd
@every_threshold
@pytest.mark.parametrize("block", [512, 7, 1])
def test_nms_keeps_what_the_greedy_rule_keeps(seed, count, levels, threshold, block, monkeypatch):
    monkeypatch.setattr("derived.iou._NMS_BLOCK", block)
    boxes, scores = crowd(count, seed, levels=levels)
    assert nms(boxes, scores, threshold).tolist() == greedy(boxes, scores, threshold)
    by_diou = nms(boxes, scores, threshold, "diou")
    assert by_diou.tolist() == greedy(boxes, scores, threshold, diou)


@pytest.mark.verifies("iou-nms-properties", by="enumeration")
@every_crowd
@every_threshold
def test_what_is_kept_and_what_is_dropped(seed, count, levels, threshold):
    boxes, scores = crowd(count, seed, levels=levels)
    kept = nms(boxes, scores, threshold)
    similarity = pairwise(boxes[kept], boxes)
    assert (similarity[:, kept].fill_diagonal_(0) <= threshold).all()
    for i in set(range(count)) - set(kept.tolist()):
        before = (scores[kept] > scores[i]) | ((scores[kept] == scores[i]) & (kept < i))
        assert (before & (similarity[:, i] > threshold)).any()
    assert kept.tolist() == sorted(kept.tolist(), key=lambda i: (-scores[i].item(), i))
    again = nms(boxes[kept], scores[kept], threshold)
    assert again.tolist() == list(range(len(kept)))


@given(st.integers(0, 1000), st.sampled_from([0.1, 0.3, 0.5, 0.9]))
def test_the_order_of_boxes_with_different_scores_does_not_matter(seed, threshold):
    boxes, _ = crowd(25, seed)
    generator = torch.Generator().manual_seed(seed)
    scores, order = (torch.randperm(25, generator=generator) for _ in range(2))
    shuffled = nms(boxes[order], scores[order], threshold)
    assert order[shuffled].tolist() == nms(boxes, scores, threshold).tolist()


@pytest.mark.verifies("iou-diou-nms", by="enumeration")
@every_crowd
@every_threshold
def test_diou_nms_suppresses_a_subset_of_the_pairs(seed, count, levels, threshold):
    boxes, scores = crowd(count, seed, levels=levels)
    by_iou, by_diou = (pairwise(boxes, boxes, kind) > threshold for kind in ("iou", "diou"))
    assert not (by_diou & ~by_iou).any()
    pairs = list(itertools.combinations(range(min(count, 9)), 2))
    for pair in map(list, pairs):  # alone, without a third box
        assert len(nms(boxes[pair], scores[pair], threshold, "diou")) >= len(
            nms(boxes[pair], scores[pair], threshold)
        )
    if 0 < threshold < 1 and count > 100:
        assert by_diou.sum() < by_iou.sum()


def test_at_the_threshold_both_boxes_stay():
    for share, dtype in itertools.product((1, 3, 5, 6, 7, 9), (torch.float32, torch.float64)):
        pair = rows((0, 0, 10, 1), (0, 0, share, 1), dtype=dtype)
        scores = torch.tensor([0.9, 0.8])
        assert nms(pair, scores, share / 10).tolist() == [0, 1]
        assert nms(pair, scores, share / 10 - 1e-6).tolist() == [0]


def test_nms_at_the_edges():
    none = nms(torch.zeros(0, 4), torch.zeros(0), 0.5)
    assert (none.shape, none.dtype) == ((0,), torch.int64)
    same = rows(*3 * [(0, 0, 4, 2)])
    assert nms(same, torch.tensor([1, 1, 1]), 0.5).tolist() == [0]
    assert nms(same, torch.tensor([1, 3, 3]), 0.5).tolist() == [1]
    assert nms(same, torch.tensor([1, 3, -math.inf]), 1.0).tolist() == [1, 0, 2]
    boxes, scores = crowd(40, 6)
    expected = nms(boxes, scores, 0.4)
    tracked = nms(boxes.clone().requires_grad_(), scores.clone().requires_grad_(), 0.4)
    assert torch.equal(tracked, expected) and not tracked.requires_grad
    assert torch.equal(
        nms(boxes.long(), scores.half().double(), 0.4), nms(boxes, scores.half(), 0.4)
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"boxes": torch.zeros(4)}, r"boxes: expected shape \(number, 4\), got \(4,\)"),
        ({"scores": torch.zeros(2)}, "boxes and scores: expected lists of the same length, got 3 "),
        ({"scores": torch.zeros(3, 1)}, r"scores: expected shape \(number,\), got \(3, 1\)"),
        ({"scores": torch.tensor([0, math.nan, 0])}, r"scores\[1\] = nan: expected numbers"),
        ({"scores": [0.1, 0.2, 0.3]}, "scores: expected a torch.Tensor, got a list"),
        ({"threshold": 50}, r"threshold: expected a number in \[0, 1\], got 50"),
        ({"threshold": -0.1}, r"threshold: expected a number in \[0, 1\], got -0.1"),
        ({"threshold": math.nan}, "threshold: expected a number"),
        ({"threshold": True}, "threshold: expected a number"),
        ({"threshold": "0.5"}, "threshold: expected a number"),
        ({"kind": "soft"}, "kind: expected one of iou, "),
    ],
)
def test_what_nms_refuses(changed, message):
    arguments = {"boxes": torch.zeros(3, 4), "scores": torch.zeros(3), "threshold": 0.5}
    with pytest.raises(ValueError, match=message):
        nms(**arguments | changed)
    with derived.validation(False):
        assert nms(torch.full((3, 4), math.nan), torch.zeros(3), 0.5).tolist() == [0, 1, 2]
