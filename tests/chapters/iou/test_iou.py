"""The equations of the chapter on IoU losses, and the edges of `derived.iou`."""

import itertools
import math
import sys
import threading
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import shapely
import shapely.affinity
import sympy
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples
from support import run, slopes_agree
from torch.autograd import grad

import derived
from derived.iou import (
    _pairs,
    area,
    average_precision,
    box_loss,
    ciou,
    coco_map,
    diou,
    eiou,
    from_cxcywh,
    giou,
    gwd,
    iou,
    kld,
    nms,
    pairwise,
    regression_cases,
    regression_descent,
    regression_slope,
    rotated_iou,
)

SIMILARITIES = {"iou": iou, "giou": giou, "diou": diou, "ciou": ciou, "eiou": eiou}
every_kind = pytest.mark.parametrize("kind", SIMILARITIES)


def boxes(*rows, dtype=torch.float64):
    return torch.tensor(rows, dtype=dtype)


def random_boxes(count, seed, *, extent=10.0, least=0.1, most=6.0, dtype=torch.float64):
    """Boxes in general position: no two coordinates are equal."""
    generator = torch.Generator().manual_seed(seed)
    low, size = torch.rand(2, count, 2, generator=generator, dtype=torch.float64)
    low, size = extent * low, least + (most - least) * size
    return torch.cat([low, low + size], dim=1).to(dtype)


def grid_boxes(side):
    """Every box with integer corners in a square of side x side pixels."""
    intervals = [(low, high) for low in range(side) for high in range(low + 1, side + 1)]
    return boxes(*[(x1, y1, x2, y2) for x1, x2 in intervals for y1, y2 in intervals])


def raster(grid, side):
    """The boxes as sets of pixels: a mask (number, side * side), found by looking at each pixel."""
    pixel = torch.arange(side) + 0.5
    x1, y1, x2, y2 = (column[:, None] for column in grid.unbind(-1))
    columns, rows = (x1 < pixel) & (pixel < x2), (y1 < pixel) & (pixel < y2)
    return (rows[:, :, None] & columns[:, None, :]).flatten(1)


GRID = grid_boxes(3)
PIXELS = raster(GRID, 3).double()
SHARED = PIXELS @ PIXELS.T
JOINT = 9 - (1 - PIXELS) @ (1 - PIXELS).T


def worst_excess(d):
    """The largest d(A,B) - d(A,M) - d(M,B) of all triples; the triangle inequality says <= 0."""
    return max((d - d[:, m, None] - d[None, m, :]).max().item() for m in range(len(d)))


def gradient(function, *inputs):
    """The gradients of a scalar function of some boxes, at float64 or whatever the inputs are."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    gradients = grad(function(*leaves), leaves, materialize_grads=True)
    return gradients if len(inputs) > 1 else gradients[0]


# What IoU measures


@pytest.mark.verifies("iou-intersection", by="enumeration")
def test_the_intersection_is_the_number_of_shared_pixels():
    a, b = GRID[:, None].numpy(), GRID.numpy()
    overlap = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    assert np.array_equal(np.maximum(overlap, 0).prod(-1), SHARED)
    assert torch.equal(pairwise(GRID, GRID), SHARED / JOINT)


@pytest.mark.verifies("iou-definition", by="enumeration")
def test_iou_is_the_share_of_pixels_in_both_among_those_in_either():
    assert torch.equal(area(GRID), PIXELS.sum(1))
    by_formula = SHARED / (area(GRID)[:, None] + area(GRID) - SHARED)
    assert torch.equal(by_formula, SHARED / JOINT)
    assert torch.equal(iou(GRID[:, None], GRID), by_formula)


@pytest.mark.verifies("iou-definition", by="peer")
@pytest.mark.verifies("iou-giou", by="peer")
@pytest.mark.verifies("iou-diou", by="peer")
@pytest.mark.verifies("iou-ciou", by="peer")
@pytest.mark.verifies("iou-ciou-v", by="peer")
def test_each_similarity_against_shapely():
    a, b = random_boxes(300, 1), random_boxes(300, 2)
    values = {kind: similarity(a, b).tolist() for kind, similarity in SIMILARITIES.items()}
    for i, (p, q) in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
        A, B = shapely.box(*p), shapely.box(*q)
        J = A.intersection(B).area / A.union(B).area
        x1, y1, x2, y2 = A.union(B).bounds
        C, c2 = shapely.box(x1, y1, x2, y2).area, math.dist((x1, y1), (x2, y2)) ** 2
        rho2 = A.centroid.distance(B.centroid) ** 2
        w, h, w_, h_ = p[2] - p[0], p[3] - p[1], q[2] - q[0], q[3] - q[1]
        v = 4 / math.pi**2 * (math.atan(w_ / h_) - math.atan(w / h)) ** 2
        alpha = v / ((1 - J) + v)
        assert values["iou"][i] == pytest.approx(J, abs=1e-12)
        assert values["giou"][i] == pytest.approx(J - (C - A.union(B).area) / C, abs=1e-12)
        assert values["diou"][i] == pytest.approx(J - rho2 / c2, abs=1e-12)
        assert values["ciou"][i] == pytest.approx(J - rho2 / c2 - alpha * v, abs=1e-12)


dyadic_boxes = st.tuples(*[st.integers(-64, 64)] * 2, *[st.integers(1, 64)] * 2).map(
    lambda t: boxes((t[0], t[1], t[0] + t[2], t[1] + t[3]))
)
powers_of_two = st.integers(-30, 30).map(lambda e: 2.0**e)


@pytest.mark.verifies("iou-invariance", by="exact")
@given(dyadic_boxes, dyadic_boxes, powers_of_two, powers_of_two, *[st.integers(-99, 99)] * 2)
def test_stretching_and_shifting_both_boxes_changes_no_bit_of_the_iou(a, b, kx, ky, mx, my):
    K, m = boxes((kx, ky, kx, ky)), boxes((mx, my, mx, my))
    moved = (K * (a + m), K * (b + m))  # exact in binary, as all factors are powers of two
    assert torch.equal(iou(*moved), iou(a, b))
    assert torch.equal(giou(*moved), giou(a, b))  # made of areas alone


def test_diou_and_ciou_change_when_only_one_axis_is_stretched():
    a, b = boxes((0, 0, 2, 1)), boxes((1, 2, 3, 3))
    stretched = boxes((4, 1, 4, 1))
    for similarity in (diou, ciou):
        assert abs(similarity(a, b) - similarity(stretched * a, stretched * b)) > 0.01
        assert torch.equal(similarity(a, b), similarity(4 * a, 4 * b))


# IoU is a distance in disguise


@pytest.mark.verifies("iou-minhash", by="enumeration")
def test_the_first_cells_differ_in_one_minus_j_of_all_orders():
    grid = torch.cat([grid_boxes(2), grid_boxes(2) + boxes((1, 0, 1, 0))]).unique(dim=0)
    cells = raster(grid, 3)[:, :6].numpy()  # the boxes within 3 x 2 cells
    rank = np.array(list(itertools.permutations(range(6))))
    first = np.where(cells[:, None, :], rank, 6).argmin(-1)  # (boxes, orders)
    differ = (first[:, None] != first).mean(-1)
    assert len(rank) == 720
    np.testing.assert_allclose(1 - iou(grid[:, None], grid), differ, atol=1e-15)


def distances_of_sets():
    """60 (1 - J) of all pairs of the 31 sets of one to five elements: integers, so exact."""
    sets = [frozenset(s) for n in range(1, 6) for s in itertools.combinations(range(5), n)]
    d = [[60 * (1 - Fraction(len(a & b), len(a | b))) for b in sets] for a in sets]
    assert all(x.denominator == 1 for row in d for x in row)
    return torch.tensor([[int(x) for x in row] for row in d])


@pytest.mark.verifies("iou-triangle", by="enumeration")
def test_all_triples_of_sets_and_of_grid_boxes_keep_the_triangle_inequality():
    assert worst_excess(distances_of_sets()) == 0
    assert worst_excess(1 - pairwise(GRID, GRID)) <= 1e-15
    # No smaller right side would do: two halves and their whole make it an equality.
    halves = boxes((0, 0, 1, 1), (1, 0, 2, 1), (0, 0, 2, 1))
    assert worst_excess_of(halves, "iou") == 0


@pytest.mark.verifies("iou-concave-triangle", by="enumeration")
def test_all_concave_increasing_functions_keep_the_triangle_inequality():
    """On a finite set of distances each such f is a sum of multiples of d and of min(d, c)."""
    d = distances_of_sets()
    for c in range(1, 61):
        detour = d[:, :, None] + d[:, None, :]  # [M, A, B]
        f = d.clamp(max=c)
        assert (f <= detour.clamp(max=c)).all()
        assert (detour.clamp(max=c) <= f[:, :, None] + f[:, None, :]).all()
    d = 1 - pairwise(GRID, GRID)
    detour = d[:, :, None] + d[:, None, :]  # up to 2
    powers = [lambda x: 1 - (1 - x.clamp(max=1)) ** 2, lambda x: 1 - (1 - x.clamp(max=1)) ** 3]
    for f in (torch.sqrt, torch.log1p, torch.tanh, lambda x: x / (1 + x), *powers):
        assert (f(d) <= f(detour) + 1e-15).all()
        assert (f(detour) <= f(d)[:, :, None] + f(d)[:, None, :] + 1e-15).all()
    # Not continued by a constant, the power is no longer monotone, and the first step fails.
    assert (1 - (1 - d) ** 2 > 1 - (1 - detour) ** 2 + 0.5).any()


@pytest.mark.verifies("iou-alpha-triangle", by="enumeration")
@pytest.mark.parametrize("alpha", [1, 1.5, 2, 3])
def test_power_losses_with_alpha_of_at_least_one_keep_the_triangle_inequality(alpha):
    assert worst_excess(1 - pairwise(GRID, GRID) ** alpha) <= 1e-15
    assert worst_excess(1 - (1 - distances_of_sets() / 60) ** alpha) <= 1e-7


@given(st.lists(dyadic_boxes, min_size=3, max_size=6), st.floats(1, 20))
def test_power_losses_of_random_boxes_keep_the_triangle_inequality(some, alpha):
    some = torch.cat(some)
    assert worst_excess(1 - pairwise(some, some) ** alpha) <= 1e-14


@pytest.mark.verifies("iou-alpha-triangle", by="exact")
def test_a_power_below_one_breaks_the_triangle_inequality():
    """Two halves of a box: they are at distance 1, and 1 - sqrt(1/2) = 0.293 from the whole."""
    a, b, m = boxes((0, 0, 1, 1), (1, 0, 2, 1), (0, 0, 2, 1))[:, None]
    excess = (1 - iou(a, b) ** 0.5) - (1 - iou(a, m) ** 0.5) - (1 - iou(m, b) ** 0.5)
    assert excess.item() == pytest.approx(math.sqrt(2) - 1)


@pytest.mark.verifies("iou-dice", by="exact")
def test_dice_is_d_over_two_minus_d_and_breaks_the_triangle_inequality():
    sizes = PIXELS.sum(1)
    d = 1 - pairwise(GRID, GRID)
    torch.testing.assert_close(1 - 2 * SHARED / (sizes[:, None] + sizes), d / (2 - d))

    def dice(a, b):
        d = 1 - Fraction(iou(a, b).item()).limit_denominator(100)
        return d / (2 - d)

    a, b, m = boxes((0, 0, 1, 1), (1, 0, 2, 1), (0, 0, 2, 1))
    assert (dice(a, b), dice(a, m), dice(m, b)) == (1, Fraction(1, 3), Fraction(1, 3))


@pytest.mark.parametrize(
    ("kind", "excess"), [("diou", 9 / 74), ("ciou", 0.12123), ("iou", 0.0), ("giou", 0.0)]
)
def test_two_halves_and_their_whole_break_the_triangle_inequality_of_diou_and_ciou(kind, excess):
    """A = [0,3] x [0,1], B = [3,6] x [0,1], M = [0,6] x [0,1]: for IoU and GIoU an equality."""
    d = 1 - pairwise(*[boxes((0, 0, 3, 1), (3, 0, 6, 1), (0, 0, 6, 1))] * 2, kind)
    assert (d[0, 1] - d[0, 2] - d[2, 1]).item() == pytest.approx(excess, abs=1e-5)


@pytest.mark.verifies("iou-giou-triangle", by="conjecture")
def test_no_triple_is_found_that_breaks_the_triangle_inequality_of_giou():
    assert worst_excess(1 - pairwise(GRID, GRID, "giou")) <= 1e-14
    for seed in range(4):  # of very different sizes and shapes
        sizes = {"least": 1e-3, "most": 10.0 ** (seed - 1)}
        some = random_boxes(150, seed, extent=3, **sizes)
        assert worst_excess(1 - pairwise(some, some, "giou")) <= 1e-14
    assert climb_to_an_excess("giou") <= 1e-12
    # Nearly equal: two tiny boxes far apart, and a box around both.
    near = boxes((0, 0, 1e-3, 1e-3), (9, 9, 9 + 1e-3, 9 + 1e-3), (0, 0, 10, 10))
    assert -1e-5 < worst_excess_of(near, "giou") <= 1e-14


def climb_to_an_excess(kind, starts=400, steps=300):
    """The largest excess that gradient ascent reaches from random triples."""
    generator = torch.Generator().manual_seed(7)
    shape = (3, starts, 4)
    x = torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
    ascent = torch.optim.Adam([x], lr=0.05, maximize=True)
    best = -math.inf
    for _ in range(steps):
        a, b, m = from_cxcywh(torch.cat([x[..., :2], x[..., 2:].exp()], -1))
        pairs = torch.cat([a, a, m]), torch.cat([b, m, b])
        direct, first, second = box_loss(*pairs, kind, reduction="none").chunk(3)
        excess = direct - first - second
        best = max(best, excess.max().item())
        ascent.zero_grad()
        excess.sum().backward()
        ascent.step()
    return best


def test_the_climb_finds_the_excess_where_there_is_one():
    assert climb_to_an_excess("diou", starts=50, steps=100) > 0.05


def worst_excess_of(triple, kind):
    d = 1 - pairwise(triple, triple, kind)
    return (d[0, 1] - d[0, 2] - d[2, 1]).item()


# As a loss, IoU is blind twice


@pytest.mark.verifies("iou-plateau-disjoint", by="gradient")
@pytest.mark.parametrize("gap", [(4, 0), (0, 4), (-4, 1), (1, -4), (5, 5)])
def test_boxes_separated_by_a_gap_have_no_gradient(gap):
    b = random_boxes(50, 3, extent=0, least=1, most=3)
    a = random_boxes(50, 4, extent=0, least=1, most=3) + boxes(gap + gap)
    assert not gradient(lambda a: iou(a, b).sum(), a).any()
    assert not iou(a + 0.5, b).any() and not iou(a - 0.5, b).any()  # a whole neighborhood


@pytest.mark.verifies("iou-plateau-nested", by="gradient")
def test_nested_boxes_have_no_gradient_along_the_center():
    outer = random_boxes(50, 5, least=2)
    x1, y1, x2, y2 = outer.unbind(-1)
    inner = torch.stack([x1 + 0.5, y1 + 0.6, x2 - 0.7, y2 - 0.3], dim=-1)
    shift = torch.zeros(50, 2, dtype=torch.float64)
    for a, b in ((inner, outer), (outer, inner)):
        at_rest = gradient(lambda s, a=a, b=b: iou(a + s.repeat(1, 2), b).sum(), shift)
        assert at_rest.abs().max() < 1e-15
        assert gradient(lambda a, b=b: iou(a, b).sum(), a).abs().min() > 1e-3  # the size has one


# GIoU


@pytest.mark.verifies("iou-giou", by="enumeration")
def test_giou_counts_the_empty_pixels_of_the_hull():
    shape = PIXELS.view(-1, 3, 3)
    either = shape[:, None].maximum(shape)
    hull = filled(either.amax(-1)).sum(-1) * filled(either.amax(-2)).sum(-1)
    expected = SHARED / JOINT - (hull - JOINT) / hull
    torch.testing.assert_close(giou(GRID[:, None], GRID), expected, rtol=0, atol=1e-15)


def filled(line):
    """Fill the pixels between the first and the last one of a row."""
    return line.cummax(-1).values * line.flip(-1).cummax(-1).values.flip(-1)


@pytest.mark.verifies("iou-giou-range", by="enumeration")
def test_giou_lies_above_j_minus_one_and_not_above_j():
    for some in (GRID, random_boxes(200, 6)):
        J, G = pairwise(some, some), pairwise(some, some, "giou")
        assert (J - 1 < G).all() and (G <= J + 1e-15).all()
    far = giou(boxes((0, 0, 1, 1)), boxes((1e5, 1e5, 1e5 + 1, 1e5 + 1)))
    assert 0 < far.item() + 1 < 1e-9  # -1 is approached


@pytest.mark.verifies("iou-giou-disjoint", by="enumeration")
def test_giou_loss_of_disjoint_boxes_is_two_minus_union_over_hull():
    a, b = (x.flatten(0, 1) for x in torch.broadcast_tensors(GRID[:, None], GRID))
    hull = torch.cat([a[:, :2].minimum(b[:, :2]), a[:, 2:].maximum(b[:, 2:])], dim=1)
    disjoint = SHARED.flatten() == 0
    expected = 2 - JOINT.flatten() / area(hull)
    loss = box_loss(a, b, "giou", reduction="none")
    torch.testing.assert_close(loss[disjoint], expected[disjoint])
    assert disjoint.sum() > 100


# DIoU, and what happens far away


@pytest.mark.verifies("iou-diou", by="enumeration")
def test_diou_against_the_mean_pixels_and_the_outermost_pixels():
    y, x = torch.meshgrid(torch.arange(3.0), torch.arange(3.0), indexing="ij")
    place = torch.stack([x.flatten(), y.flatten()]).double()
    center = PIXELS @ place.T / PIXELS.sum(1, keepdim=True)
    rho2 = ((center[:, None] - center) ** 2).sum(-1)
    either = PIXELS[:, None].maximum(PIXELS).bool()
    c2 = 0
    for axis in place:
        inside = axis.expand_as(either)
        last = inside.masked_fill(~either, -1).amax(-1)
        first = inside.masked_fill(~either, 9).amin(-1)
        c2 += (last + 1 - first) ** 2
    expected = SHARED / JOINT - rho2 / c2
    torch.testing.assert_close(pairwise(GRID, GRID, "diou"), expected, rtol=0, atol=1e-15)


@pytest.mark.verifies("iou-diou-range", by="enumeration")
def test_diou_lies_above_j_minus_one_and_not_above_j():
    for some in (GRID, random_boxes(200, 7)):
        J, D = pairwise(some, some), pairwise(some, some, "diou")
        assert (J - 1 < D).all() and (D <= J).all()
    far = diou(boxes((0, 0, 1, 1)), boxes((1e6, 0, 1e6 + 1, 1)))
    assert 0 < far.item() + 1 < 1e-5


def far_slopes(kind, t, s, direction=(1.0, 0.0), **flags):
    """Derivatives of the loss of two squares along their distance and along A's width."""
    t, w = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (t, s))
    x, y = (t * component for component in direction)
    pred = torch.stack([x - w / 2, y - s / 2, x + w / 2, y + s / 2])
    target = boxes((-s / 2, -s / 2, s / 2, s / 2))[0]
    loss = box_loss(pred, target, kind, **flags)
    return [slope.item() for slope in grad(loss, (t, w), materialize_grads=True)]


far_apart = pytest.mark.parametrize(("t", "s"), [(1.5, 1.0), (2.0, 0.5), (10.0, 3.0), (40.0, 1.0)])


@pytest.mark.verifies("iou-far-translation", by="gradient")
@pytest.mark.verifies("iou-far-inflation", by="gradient")
@far_apart
def test_far_slopes_on_the_axis(t, s):
    c2 = (t + s) ** 2 + s**2
    expected = 2 * s / (t + s) ** 2, -t / (t + s) ** 2
    assert far_slopes("giou", t, s) == pytest.approx(expected, rel=1e-12)
    expected = 2 * t * s * (t + 2 * s) / c2**2, -(t**2) * (t + s) / c2**2
    assert 2 * t / c2 - 2 * t**2 * (t + s) / c2**2 == pytest.approx(expected[0], rel=1e-12)
    assert far_slopes("diou", t, s) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("t", "s"), [(3.0, 1.0), (10.0, 2.0)])
def test_on_the_axis_giou_holds_the_height_and_diou_lets_it_grow(t, s):
    def slopes(kind):
        loss = [
            box_loss(
                boxes([-s / 2, -h / 2, s / 2, h / 2]),
                boxes([t - s / 2, -s / 2, t + s / 2, s / 2]),
                kind,
            )
            for h in (s - 1e-6, s, s + 1e-6)
        ]
        return [(loss[1] - loss[0]).item() / 1e-6, (loss[2] - loss[1]).item() / 1e-6]

    c2 = (t + s) ** 2 + s**2
    assert slopes("giou") == pytest.approx([-1 / (t + s), 1 / (t + s)], rel=1e-4)
    assert slopes("diou") == pytest.approx([0, -2 * t**2 * s / c2**2], rel=1e-4, abs=1e-9)


@pytest.mark.verifies("iou-far-detached", by="gradient")
@far_apart
def test_far_slopes_with_a_fixed_diagonal(t, s):
    expected = 2 * t / ((t + s) ** 2 + s**2), 0
    assert far_slopes("diou", t, s, detach_enclosing=True) == pytest.approx(expected, rel=1e-12)
    assert far_slopes("ciou", t, s, detach_enclosing=True) == pytest.approx(expected, rel=1e-12)


@pytest.mark.verifies("iou-far-diagonal", by="gradient")
@far_apart
def test_far_slopes_on_the_diagonal(t, s):
    e, unit = t / math.sqrt(2), (math.sqrt(0.5), math.sqrt(0.5))
    slope, _ = far_slopes("giou", t, s, unit)
    assert slope == pytest.approx(2 * math.sqrt(2) * s**2 / (e + s) ** 3, rel=1e-12)
    slope, _ = far_slopes("diou", t, s, unit)
    assert slope == pytest.approx(math.sqrt(2) * e * s / (e + s) ** 3, rel=1e-12)


# CIoU


def sides(box):
    x1, y1, x2, y2 = box.unbind(-1)
    return x2 - x1, y2 - y1


def shape_terms(a, b):
    """v, alpha and the difference of angles, from the chapter's formulas."""
    (w, h), (w_, h_) = sides(a), sides(b)
    delta = torch.atan(w_ / h_) - torch.atan(w / h)
    v = 4 / math.pi**2 * delta**2
    return v, v / (1 - iou(a, b) + v), delta


def shape_slopes(a, b, **flags):
    """Derivatives of alpha v, taken from the code, along A's width and height at fixed center."""
    w, h = (side.clone().requires_grad_() for side in sides(a))
    x, y = (a[:, 0] + a[:, 2]) / 2, (a[:, 1] + a[:, 3]) / 2
    resized = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], dim=-1)
    alpha_v = diou(resized, b) - ciou(resized, b, **flags)
    return grad(alpha_v.sum(), (w, h), retain_graph=True), grad(iou(resized, b).sum(), (w, h))


@pytest.mark.verifies("iou-ciou", by="exact")
@pytest.mark.verifies("iou-ciou-v", by="exact")
def test_ciou_of_nested_boxes_whose_angles_are_known():
    """A square in a box with sides in the ratio sqrt(3): the angles differ by 15 degrees."""
    a, b = boxes((-0.5, -1, 1.5, 1)), boxes((-math.sqrt(3), -1, math.sqrt(3), 1))
    v, J, penalty = 4 * (1 / 12) ** 2, 1 / math.sqrt(3), 0.5**2 / (12 + 4)
    assert ciou(a, b).item() == pytest.approx(J - penalty - v * v / (1 - J + v), abs=1e-15)
    assert ciou(b, a).item() == pytest.approx(ciou(a, b).item(), abs=1e-15)


@pytest.mark.verifies("iou-ciou-v-gradient", by="gradient")
def test_the_slopes_of_v_along_width_and_height():
    a, b = random_boxes(50, 8), random_boxes(50, 9)
    w, h = sides(a)
    _, alpha, delta = shape_terms(a, b)
    (along_w, along_h), _ = shape_slopes(a, b)
    expected_w = -8 / math.pi**2 * delta * h / (w**2 + h**2)
    expected_h = +8 / math.pi**2 * delta * w / (w**2 + h**2)
    torch.testing.assert_close(along_w, alpha * expected_w, rtol=1e-11, atol=1e-15)
    torch.testing.assert_close(along_h, alpha * expected_h, rtol=1e-11, atol=1e-15)


@pytest.mark.verifies("iou-ciou-v-gradient", by="symbolic")
@pytest.mark.verifies("iou-ciou-euler", by="symbolic")
def test_the_slopes_of_v_by_computer_algebra():
    w, h, w_, h_ = sympy.symbols("w h w' h'", positive=True)
    delta = sympy.atan(w_ / h_) - sympy.atan(w / h)
    v = 4 / sympy.pi**2 * delta**2
    along_w, along_h = sympy.diff(v, w), sympy.diff(v, h)
    assert sympy.simplify(along_w + 8 / sympy.pi**2 * delta * h / (w**2 + h**2)) == 0
    assert sympy.simplify(along_h - 8 / sympy.pi**2 * delta * w / (w**2 + h**2)) == 0
    assert sympy.simplify(w * along_w + h * along_h) == 0


@pytest.mark.verifies("iou-ciou-euler", by="gradient")
def test_the_shape_term_never_pushes_both_sides_the_same_way():
    a, b = random_boxes(50, 10), random_boxes(50, 11)
    (along_w, along_h), _ = shape_slopes(a, b)
    w, h = sides(a)
    assert along_w.abs().max() > 0.01
    torch.testing.assert_close(w * along_w, -h * along_h, rtol=1e-12, atol=1e-15)


@pytest.mark.verifies("iou-ciou-alpha", by="symbolic")
def test_the_slopes_of_alpha_v_by_computer_algebra():
    J, v = sympy.symbols("J v", positive=True)
    alpha = v / ((1 - J) + v)
    assert sympy.simplify(sympy.diff(alpha * v, v) - alpha * (2 - alpha)) == 0
    assert sympy.simplify(sympy.diff(alpha * v, J) - alpha**2) == 0


@pytest.mark.verifies("iou-ciou-alpha", by="gradient")
def test_the_slopes_of_alpha_v_when_alpha_is_not_held_constant():
    a, b = random_boxes(50, 12, extent=2), random_boxes(50, 13, extent=2)
    w, h = sides(a)
    _, alpha, delta = shape_terms(a, b)
    assert (iou(a, b) > 0).sum() > 20
    slopes, overlap = shape_slopes(a, b, detach_alpha=False)
    sign_and_other_side = zip((-1, +1), (h, w), strict=True)
    v_slopes = [s * 8 / math.pi**2 * delta * o / (w**2 + h**2) for s, o in sign_and_other_side]
    for slope, v_slope, j_slope in zip(slopes, v_slopes, overlap, strict=True):
        expected = alpha * (2 - alpha) * v_slope + alpha**2 * j_slope
        torch.testing.assert_close(slope, expected, rtol=1e-10, atol=1e-14)


@pytest.mark.verifies("iou-ciou-range", by="enumeration")
def test_ciou_lies_between_minus_three_halves_and_one():
    flat = random_boxes(200, 14, extent=1e4, least=1e-3, most=1) * boxes((1, 1e-3, 1, 1e-3))
    tall = random_boxes(200, 15, extent=1e4, least=1e-3, most=1) * boxes((1e-3, 1, 1e-3, 1))
    for a, b in ((GRID, GRID), (flat, tall), (tall, flat), (flat, flat)):
        similarity = pairwise(a, b, "ciou")
        assert (-1.5 < similarity).all() and (similarity <= 1).all()
    assert pairwise(GRID, GRID, "ciou").diagonal().eq(1).all()
    far = ciou(boxes((1e6, 0, 1e6 + 1e3, 1)), boxes((0, 0, 1, 1e3)))
    assert -1.5 < far.item() < -1.49  # -3/2 is approached


@pytest.mark.verifies("iou-ciou-range", by="symbolic")
def test_why_ciou_stays_above_minus_three_halves():
    """1 - J + alpha v falls with J, so it is largest at J = 0; there it rises with v, up to 3/2."""
    J, v = sympy.symbols("J v", positive=True)
    loss = 1 - J + v**2 / (1 - J + v)
    alpha = v / (1 - J + v)
    assert sympy.simplify(sympy.diff(loss, J) - (alpha**2 - 1)) == 0
    at_zero = loss.subs(J, 0)
    assert sympy.simplify(sympy.diff(at_zero, v) - v * (v + 2) / (1 + v) ** 2) == 0
    assert at_zero.subs(v, 1) == sympy.Rational(3, 2)
    # What the argument uses: alpha < 1 while J < 1, and v < 1, the square of a share of 90 degrees.
    assert sympy.simplify(1 - alpha - (1 - J) / (1 - J + v)) == 0
    thin, wide = sympy.atan(sympy.Rational(1, 10**6)), sympy.atan(10**6)
    assert 0.99999 < float(4 / sympy.pi**2 * (wide - thin) ** 2) < 1


# EIoU and the relatives

RELATIVES = {
    "focal_eiou": {"gamma": 0.7, "detach_focus": False},
    "siou": {},
    "alpha_iou": {"alpha": 2.5},
    "wiou": {},
    "mpdiou": {"image_size": (20, 15)},
    "inner_iou": {"ratio": 0.6},
}
every_relative = pytest.mark.parametrize("kind", RELATIVES)


def by_hand(kind, a, b, *, c2=None, gamma=0.7):
    """A relative's loss from its published definition, one pair at a time, in Python's floats."""
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = a, b
    A, B = shapely.box(*a), shapely.box(*b)
    J = A.intersection(B).area / A.union(B).area
    cw, ch = max(ax2, bx2) - min(ax1, bx1), max(ay2, by2) - min(ay1, by1)
    dx, dy = (A.centroid.x - B.centroid.x), (A.centroid.y - B.centroid.y)
    w, h, w_, h_ = ax2 - ax1, ay2 - ay1, bx2 - bx1, by2 - by1
    rho2, c2 = dx**2 + dy**2, c2 or cw**2 + ch**2
    eiou_loss = 1 - J + rho2 / c2 + (w - w_) ** 2 / cw**2 + (h - h_) ** 2 / ch**2
    if kind == "eiou":
        return eiou_loss
    if kind == "focal_eiou":
        return J**gamma * eiou_loss
    if kind == "alpha_iou":
        return 1 - J**2.5
    if kind == "wiou":
        return math.exp(rho2 / c2) * (1 - J)
    if kind == "mpdiou":
        d1, d2 = math.dist((ax1, ay1), (bx1, by1)), math.dist((ax2, ay2), (bx2, by2))
        return 1 - J + (d1**2 + d2**2) / (20**2 + 15**2)
    if kind == "inner_iou":
        small = [shapely.affinity.scale(box, 0.6, 0.6) for box in (A, B)]
        return 1 - small[0].intersection(small[1]).area / small[0].union(small[1]).area
    angle_cost = 1 - 2 * math.sin(math.asin(abs(dy) / math.sqrt(rho2)) - math.pi / 4) ** 2
    distance_cost = sum(
        1 - math.exp(-(2 - angle_cost) * r) for r in ((dx / cw) ** 2, (dy / ch) ** 2)
    )
    omegas = abs(w - w_) / max(w, w_), abs(h - h_) / max(h, h_)
    return 1 - J + (distance_cost + sum((1 - math.exp(-omega)) ** 4 for omega in omegas)) / 2


@pytest.mark.verifies("iou-eiou", by="peer")
@pytest.mark.verifies("iou-focal-eiou", by="peer")
@pytest.mark.verifies("iou-alpha", by="peer")
@pytest.mark.verifies("iou-wiou", by="peer")
@pytest.mark.verifies("iou-mpdiou", by="peer")
@pytest.mark.verifies("iou-siou", by="peer")
@pytest.mark.parametrize("kind", ["eiou", *RELATIVES])
def test_each_relative_against_its_definition_with_shapely(kind):
    for extent in (1.0, 10.0):  # mostly overlapping, mostly apart
        a, b = random_boxes(100, 40, extent=extent), random_boxes(100, 41, extent=extent)
        loss = box_loss(a, b, kind, reduction="none", **RELATIVES.get(kind, {}))
        expected = [by_hand(kind, *pair) for pair in zip(a.tolist(), b.tolist(), strict=True)]
        assert loss.tolist() == pytest.approx(expected, abs=1e-12)
        if kind == "eiou":
            assert (1 - eiou(a, b)).tolist() == pytest.approx(expected, abs=1e-12)


@every_relative
def test_the_gradient_of_each_relative(kind):
    """By finite differences; WIoU's, in which c2 counts as a constant, with c2 computed before."""
    for extent in (1.0, 10.0):
        a, b = random_boxes(8, 42, extent=extent), random_boxes(8, 43, extent=extent)
        flags = RELATIVES[kind]
        leaves = [x.clone().requires_grad_() for x in (a, b)]
        if kind != "wiou":
            slopes_agree(partial(box_loss, kind=kind, **flags), leaves)
            continue
        c2 = ((a[:, 2:].maximum(b[:, 2:]) - a[:, :2].minimum(b[:, :2])) ** 2).sum(1).tolist()
        slope = gradient(lambda a, b=b: box_loss(a, b, "wiou", reduction="sum"), a)
        for i, j in itertools.product(range(8), range(4)):
            nudge = [1e-6 * (k == j) for k in range(4)]
            up, down = (
                [x + s * d for x, d in zip(a[i].tolist(), nudge, strict=True)] for s in (1, -1)
            )
            ends = [by_hand("wiou", end, b[i].tolist(), c2=c2[i]) for end in (up, down)]
            assert slope[i, j].item() == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-7)


@every_relative
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_relative_is_finite_for_every_degenerate_pair_and_zero_for_equal_boxes(kind, dtype):
    ends = [(0, 0), (1, 1), (0, 1), (1, 2), (0, 1e-6), (0, 1e-20), (0, 1e8), (1e8, 1e8)]
    every = boxes(*[(x1, y1, x2, y2) for x1, x2 in ends for y1, y2 in ends], dtype=dtype)
    a, b = (x.contiguous() for x in torch.broadcast_tensors(every[:, None], every))
    loss = box_loss(a, b, kind, reduction="none", **RELATIVES[kind])
    assert loss.isfinite().all() and (loss >= 0).all()
    assert not loss.diagonal().any()
    for g in gradient(lambda a, b: box_loss(a, b, kind, **RELATIVES[kind]), a, b):
        assert g.isfinite().all()
    assert loss.dtype == dtype


def test_the_default_parameters_of_the_relatives():
    a, b = random_boxes(9, 44, extent=2), random_boxes(9, 45, extent=2)
    defaults = {
        "alpha_iou": {"alpha": 3},
        "focal_eiou": {"gamma": 0.5},
        "inner_iou": {"ratio": 0.75},
    }
    for kind, parameter in defaults.items():
        assert torch.equal(box_loss(a, b, kind), box_loss(a, b, kind, **parameter))
        other = {name: value * 1.1 for name, value in parameter.items()}
        assert not torch.isclose(box_loss(a, b, kind), box_loss(a, b, kind, **other))
    slope = [
        gradient(lambda a, f=flags: box_loss(a, b, "focal_eiou", **f), a)
        for flags in ({}, {"detach_focus": True}, {"detach_focus": False})
    ]
    assert torch.equal(slope[0], slope[1]) and not torch.allclose(slope[0], slope[2])


def test_the_least_parameters_that_are_allowed():
    a, b = random_boxes(9, 44, extent=2), random_boxes(9, 45, extent=2)
    assert torch.equal(box_loss(a, b, "alpha_iou", alpha=1), box_loss(a, b, "iou"))
    apart = iou(a, b) == 0
    weighed = box_loss(a, b, "focal_eiou", gamma=0, reduction="none")
    plain = box_loss(a, b, "eiou", reduction="none")
    torch.testing.assert_close(weighed, plain.masked_fill(apart, 0))
    assert box_loss(a, a, "inner_iou", ratio=0.01) == 0
    share = box_loss(a / 100, b / 100, "mpdiou", image_size=(0.2, 0.15))
    assert share.item() == pytest.approx(box_loss(a, b, "mpdiou", image_size=(20, 15)).item())


def test_integer_boxes_and_integer_parameters():
    a, b = torch.tensor([[0, 0, 4, 2]]), torch.tensor([[1, 0, 5, 3]])
    for kind in RELATIVES:
        flags = {"alpha": 3, "gamma": 1, "ratio": 1, "image_size": (64, 48)}
        loss = box_loss(a, b, kind, **flags)
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(box_loss(a.double(), b.double(), kind, **flags).item())


def test_the_loss_compiles_into_one_graph():
    """In a process of its own: the type checker that watches the tests can't be compiled."""
    code = """
import torch
from derived.iou import box_loss

KINDS = ("giou", "ciou", "focal_eiou", "siou", "mpdiou")
low, size = torch.rand(2, 2, 9, 2, generator=torch.Generator().manual_seed(0)).double()
a, b = torch.cat([low, low + size], -1)

def losses(a):
    return torch.stack([box_loss(a, b, kind, image_size=(2, 2)) for kind in KINDS])

results = []
for function in (losses, torch.compile(losses, fullgraph=True, backend="aot_eager")):
    x = a.clone().requires_grad_()
    value = function(x)
    slope = torch.autograd.grad(value @ torch.arange(1.0, 6.0, dtype=value.dtype), x)
    results.append([value, *slope])
torch.testing.assert_close(results[1], results[0])
print(*KINDS)
"""
    said = run([sys.executable, "-c", code]).stdout
    assert said.split() == ["giou", "ciou", "focal_eiou", "siou", "mpdiou"]


@pytest.mark.verifies("iou-eiou-range", by="enumeration")
def test_eiou_lies_between_minus_nine_quarters_and_one():
    flat = random_boxes(200, 46, extent=1, least=0.01, most=1) * boxes((1, 1e-3, 1, 1e-3))
    tall = random_boxes(200, 47, extent=1, least=0.01, most=1) * boxes((1e-3, 1, 1e-3, 1))
    for a, b in ((GRID, GRID), (flat, tall), (tall, flat), (flat, flat)):
        similarity = pairwise(a, b, "eiou")
        assert (-2.25 < similarity).all() and (similarity <= 1).all()
    thin = 1e-5  # a flat box across the corner of a tall one
    corner = eiou(boxes((0, 0, 1, thin)), boxes((0, 0, thin, 1)))
    assert -2.25 < corner.item() < -2.2499


@pytest.mark.verifies("iou-eiou-range", by="symbolic")
def test_why_eiou_stays_above_minus_nine_quarters():
    p, q, weight = sympy.symbols("p q lambda", nonnegative=True)
    bound = weight * (1 - q / 2) ** 2 + q**2
    assert sympy.simplify(sympy.diff(bound, q, 2) - (weight / 2 + 2)) == 0  # convex in q
    assert bound.subs(q, 0) == weight and sympy.expand(bound.subs(q, 1)) == weight / 4 + 1
    a, b = random_boxes(500, 48, extent=3), random_boxes(500, 49, extent=3)
    hull = a[:, 2:].maximum(b[:, 2:]) - a[:, :2].minimum(b[:, :2])
    size = [x[:, 2:] - x[:, :2] for x in (a, b)]
    p = ((a[:, :2] + a[:, 2:] - b[:, :2] - b[:, 2:]) / 2).abs() / hull
    q = (size[0] - size[1]).abs() / hull
    assert (p <= 1 - q / 2 + 1e-12).all()
    # Sharp: a line at the end of a box has q = 1 and p = 1/2.
    assert eiou(boxes((0, 0, 1, 1)), boxes((0, 0, 0, 1))).item() == 0 - 0.25 / 2 - 1


@pytest.mark.verifies("iou-focal-slope", by="symbolic")
def test_the_slope_of_root_j_times_one_minus_j():
    J = sympy.Symbol("J", positive=True)
    slope = sympy.diff(sympy.sqrt(J) * (1 - J), J)
    assert sympy.simplify(slope - (1 - 3 * J) / (2 * sympy.sqrt(J))) == 0
    assert sympy.solve(slope, J) == [sympy.Rational(1, 3)]


@pytest.mark.verifies("iou-focal-slope", by="gradient")
@pytest.mark.parametrize("j", [0.05, 0.3, 0.36, 0.9])
def test_focal_eiou_pushes_poor_boxes_away_unless_its_weight_is_constant(j):
    """Boxes that share their center and their width: J is the height, and one side term is left."""
    outer = boxes((0, -0.5, 1, 0.5))[0]
    for detach in (False, True):
        h = torch.tensor(j, dtype=torch.float64, requires_grad=True)
        inner = from_cxcywh(torch.stack([torch.tensor(x).double() for x in (0.5, 0, 1)] + [h]))
        loss = box_loss(inner, outer, "focal_eiou", detach_focus=detach)
        (slope,) = grad(loss, h)
        side_term = (1 - j) ** 2  # in a hull of height 1
        through_weight = (1 - j + side_term) / (2 * math.sqrt(j))
        through_loss = math.sqrt(j) * (-1 - 2 * (1 - j))
        expected = through_loss + (0 if detach else through_weight)
        assert slope.item() == pytest.approx(expected, rel=1e-9)
    alone = 1 / (2 * math.sqrt(j)) * (1 - j) - math.sqrt(j)
    assert alone == pytest.approx((1 - 3 * j) / (2 * math.sqrt(j)), rel=1e-12)


@pytest.mark.verifies("iou-alpha", by="symbolic")
def test_where_the_power_loss_pulls_harder_than_iou():
    J, alpha = sympy.symbols("J alpha", positive=True)
    slope = sympy.diff(1 - J**alpha, J)
    assert sympy.simplify(slope + alpha * J ** (alpha - 1)) == 0
    crossing = alpha ** (-1 / (alpha - 1))
    for power in (sympy.Rational(3, 2), 2, 3, 10):
        at = crossing.subs(alpha, power)
        assert sympy.simplify(-slope.subs({J: at, alpha: power})) == 1
        assert (
            -slope.subs({J: at * 1.01, alpha: power})
            > 1
            > -slope.subs({J: at * 0.99, alpha: power})
        )
    assert float(crossing.subs(alpha, 3)) == pytest.approx(1 / math.sqrt(3))


@pytest.mark.verifies("iou-wiou", by="gradient")
def test_apart_wiou_moves_the_center_and_leaves_the_size():
    b = from_cxcywh(boxes((0, 0, 1, 1)))
    x = boxes((5, 3, 2, 1)).requires_grad_()
    loss = box_loss(from_cxcywh(x), b, "wiou")
    rho2, c2 = 5**2 + 3**2, (5 + 1 + 0.5) ** 2 + (3 + 0.5 + 0.5) ** 2
    factor = math.exp(rho2 / c2)
    assert 1 <= loss.item() < math.e and loss.item() == pytest.approx(factor)
    (slope,) = grad(loss, x)
    expected = [2 * 5 / c2 * factor, 2 * 3 / c2 * factor, 0, 0]
    assert slope[0].tolist() == pytest.approx(expected, abs=1e-14)


@pytest.mark.verifies("iou-mpdiou", by="exact")
@given(dyadic_boxes, dyadic_boxes)
def test_the_distances_of_the_corners_are_those_of_centers_and_sizes(a, b):
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = a[0].tolist(), b[0].tolist()
    corners = (ax1 - bx1) ** 2 + (ay1 - by1) ** 2 + (ax2 - bx2) ** 2 + (ay2 - by2) ** 2
    rho2 = ((ax1 + ax2 - bx1 - bx2) / 2) ** 2 + ((ay1 + ay2 - by1 - by2) / 2) ** 2
    wider, higher = (ax2 - ax1) - (bx2 - bx1), (ay2 - ay1) - (by2 - by1)
    assert corners == 2 * rho2 + wider**2 / 2 + higher**2 / 2
    own = box_loss(a, b, "mpdiou", image_size=(128, 96)) - box_loss(a, b, "iou")
    assert own.item() == pytest.approx(corners / (128**2 + 96**2), abs=1e-15)


@pytest.mark.verifies("iou-inner", by="gradient")
@pytest.mark.parametrize("r", [0.5, 0.75, 1.0, 1.25])
@pytest.mark.parametrize("w", [1.0, 3.0])
def test_the_inner_iou_of_equal_boxes_shifted_along_one_axis(r, w):
    target = boxes((0, 0, w, 2))
    for t in (0.0, 0.3 * r * w, 0.9 * r * w):
        moved = target + boxes((t, 0, t, 0))
        j = 1 - box_loss(moved, target, "inner_iou", ratio=r)
        assert j.item() == pytest.approx((r * w - t) / (r * w + t), rel=1e-12)
    x = torch.tensor(1e-9, dtype=torch.float64, requires_grad=True)
    (slope,) = grad(1 - box_loss(target + x * boxes((1, 0, 1, 0)), target, "inner_iou", ratio=r), x)
    assert slope.item() == pytest.approx(-2 / (r * w), rel=1e-6)
    blind = target + boxes((1.01 * r * w, 0, 1.01 * r * w, 0))
    assert not gradient(lambda a: box_loss(a, target, "inner_iou", ratio=r), blind).any()


@pytest.mark.verifies("iou-siou-angle", by="symbolic")
def test_the_angle_term_is_the_sine_of_twice_the_angle():
    dx, dy = sympy.symbols("dx dy", real=True)
    rho = sympy.sqrt(dx**2 + dy**2)
    published = 1 - 2 * sympy.sin(sympy.asin(abs(dy) / rho) - sympy.pi / 4) ** 2
    theta = sympy.atan(abs(dy / dx))
    for point in ((1, 2), (-3, 1), (2, -7), (-5, -5), (5, -5)):
        at = dict(zip((dx, dy), point, strict=True))
        value = sympy.N(published.subs(at), 40)
        assert abs(value - sympy.N((2 * abs(dx * dy) / rho**2).subs(at), 40)) < 1e-35
        assert abs(value - sympy.N(sympy.sin(2 * theta).subs(at), 40)) < 1e-35


@pytest.mark.verifies("iou-siou-angle", by="exact")
def test_siou_charges_the_axis_twice_as_much_as_the_diagonal():
    """Boxes of one size in a hull held at 10 x 10 by a third: only the distance term is left."""
    hull = boxes((-5, -5, 5, 5))

    def price(x, y):
        inside = from_cxcywh(boxes((x, y, 1, 1)))
        shape = (1 - math.exp(-0.9)) ** 4
        return (box_loss(inside, hull, "siou") - box_loss(inside, hull, "iou")).item() - shape

    e = 0.01
    for x, y in itertools.product((e, -e), repeat=2):
        axis, diagonal = price(x, 0), price(x / math.sqrt(2), y / math.sqrt(2))
        assert axis == pytest.approx((1 - math.exp(-2 * (e / 10) ** 2)) / 2, rel=1e-9)
        assert axis / diagonal == pytest.approx(2, rel=1e-3)


# Values at the edges


@every_kind
@pytest.mark.parametrize("k", [1e-6, 1e-3, 7.0, 1e6])
def test_the_unit_does_not_matter(kind, k):
    a, b = (random_boxes(100, seed, dtype=torch.float32) for seed in (16, 17))
    loss = box_loss(a, b, kind, reduction="none")
    torch.testing.assert_close(box_loss(k * a, k * b, kind, reduction="none"), loss)
    here = gradient(lambda a: box_loss(a, b, kind), a)
    there = gradient(lambda a: box_loss(a, k * b, kind), k * a)
    torch.testing.assert_close(k * there, here, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("side", [1e-15, 1e-6, 1e-4, 1.0, 1e6, 1e15])
def test_tiny_and_huge_boxes(side):
    a, b = boxes((0, 0, 2, 1), (0, 0, 1, 1), dtype=torch.float32)[:, None] * side
    expected = {"iou": 0.5, "giou": 0.5, "diou": 0.5 - 0.25 / 5}
    for kind, similarity in expected.items():
        assert SIMILARITIES[kind](a, b).item() == pytest.approx(similarity, rel=1e-6)


def test_boxes_far_from_the_origin():
    a, b = boxes((0, 0, 32, 16), (8, 0, 40, 16))[:, None]
    for shift in (1e8, -1e8):  # where float32 counts in steps of 8
        for similarity in SIMILARITIES.values():
            there = similarity((a + shift).float(), (b + shift).float())
            assert there.item() == pytest.approx(similarity(a, b).item(), rel=1e-6)


@pytest.mark.parametrize(
    ("dtype", "answer"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
        (torch.uint8, torch.float32),
        (torch.int16, torch.float32),
        (torch.int32, torch.float32),
        (torch.int64, torch.float32),
    ],
)
def test_every_dtype_gives_the_exact_answer(dtype, answer):
    a, b = boxes((0, 0, 240, 250), (200, 100, 224, 101)), boxes((120, 0, 254, 250), (0, 2, 3, 4))
    lists = [x.to(dtype) for x in (a, b)]
    assert area(lists[0]).dtype == answer
    assert area(lists[0]).tolist() == area(a.to(dtype).double()).tolist()
    exact = [x.double() for x in lists]
    for kind, similarity in SIMILARITIES.items():
        expected = similarity(*exact).to(answer)
        for result in (similarity(*lists), pairwise(*lists, kind).diagonal()):
            assert result.dtype == answer
            torch.testing.assert_close(result, expected, rtol=1e-6, atol=1e-7)


def test_large_integers_do_not_overflow():
    a = torch.tensor([[0, 0, 100_000, 100_000]], dtype=torch.int32)
    b = torch.tensor([[0, 0, 50_000, 50_000]], dtype=torch.int32)
    assert iou(a, b).item() == pairwise(a, b).item() == 0.25
    assert area(a).item() == 1e10
    near = torch.tensor([[2**30, 0, 2**30 + 3, 1]]), torch.tensor([[2**30, 0, 2**30 + 1, 1]])
    assert iou(*near).item() == torch.tensor(1 / 3).item()  # float32 can't hold 2^30 + 3


def test_integers_beside_floats_are_computed_with_in_double_precision():
    a = torch.tensor([[2**30, 0, 2**30 + 64, 1]])  # float32 knows only multiples of 128 here
    b = boxes((2**30, 0, 2**30 + 128, 1), dtype=torch.float32)
    assert iou(a, b).item() == iou(b, a).item() == 0.5


def test_of_two_dtypes_the_answer_has_the_wider():
    a, b = GRID[:4], GRID[4:8]
    for dtypes, answer in {
        (torch.float64, torch.float16): torch.float64,
        (torch.float16, torch.bfloat16): torch.float32,
        (torch.int32, torch.float64): torch.float64,
        (torch.float32, torch.int64): torch.float32,
        (torch.uint8, torch.int64): torch.float32,
    }.items():
        for pair in (dtypes, dtypes[::-1]):
            result = giou(a.to(pair[0]), b.to(pair[1]))
            assert result.dtype == answer
            torch.testing.assert_close(result, giou(a, b).to(answer))


def test_half_precision_predictions_get_their_gradient():
    a, b = random_boxes(20, 18, dtype=torch.float16), random_boxes(20, 19, dtype=torch.float16)
    result = gradient(lambda a: box_loss(a, b), a)
    assert result.dtype == torch.float16
    expected = gradient(lambda a: box_loss(a, b), a.double())
    torch.testing.assert_close(result.double(), expected, rtol=1e-3, atol=1e-4)


POINT, ELSEWHERE = (1, 1, 1, 1), (5, 4, 5, 4)
UPRIGHT, LYING, LONGER, SOLID = (0, 0, 0, 3), (0, 0, 4, 0), (0, 0, 8, 0), (0, 0, 4, 3)


@pytest.mark.parametrize(
    ("a", "b", "values"),
    [  # iou, giou, diou, ciou, eiou
        (POINT, POINT, (1, 1, 1, 1, 1)),
        (LYING, LYING, (1, 1, 1, 1, 1)),
        (UPRIGHT, UPRIGHT, (1, 1, 1, 1, 1)),
        (POINT, ELSEWHERE, (0, -1, -1, -1, -1)),
        # no area at all: the hull has no empty part
        (LYING, LONGER, (0, 0, -4 / 64, -4 / 64, -4 / 64 - 16 / 64)),
        # v = 1, alpha = 1/2
        (UPRIGHT, LYING, (0, -1, -6.25 / 25, -6.25 / 25 - 0.5, -6.25 / 25 - 2)),
        (SOLID, LYING, (0, 0, -2.25 / 25, None, -2.25 / 25 - 1)),
        (SOLID, POINT, (0, 0, -1.25 / 25, None, -1.25 / 25 - 2)),
        (
            SOLID,
            ELSEWHERE,
            (0, 12 / 20 - 1, -(9 + 6.25) / 41, None, -(9 + 6.25) / 41 - 16 / 25 - 9 / 16),
        ),
    ],
)
def test_boxes_without_area(a, b, values):
    for dtype in (torch.float32, torch.float64):
        pair = boxes(a, dtype=dtype), boxes(b, dtype=dtype)
        for similarity, value in zip(SIMILARITIES.values(), values, strict=True):
            if value is not None:
                assert similarity(*pair).item() == pytest.approx(value, rel=1e-6)
                assert similarity(*pair[::-1]).item() == pytest.approx(value, rel=1e-6)


def test_a_point_has_the_aspect_ratio_of_a_square():
    a, square = boxes((0, 0, 4, 1)), boxes((6, 5, 8, 7))
    point = boxes((7, 6, 7, 6))
    of_point = (diou(a, point) - ciou(a, point)).item()
    assert of_point == pytest.approx((diou(a, square) - ciou(a, square)).item(), rel=1e-12)


def test_lines_have_an_angle_however_short():
    crossed = boxes((0, 0, 0, 1), (0, 0, 1, 0), dtype=torch.float32)[:, None]
    for length in (1.0, 1e-14, 2.0**-63):  # the square of the last is the least normal number
        assert ciou(*length * crossed).item() == pytest.approx(-0.75)  # -1/4 - 1/2 * 1


def test_an_area_too_small_to_divide_by_is_none():
    for dtype, side in ((torch.float32, 1e-20), (torch.float64, 1e-155)):
        a = boxes((0, 0, 1, 1), (0, 0, 2, 1), dtype=dtype) * side
        for kind in SIMILARITIES:
            assert pairwise(a, a, kind).diagonal().tolist() == [1, 1]
        assert pairwise(a, a).tolist() == [[1, 0], [0, 1]]
        small = 1e-18 * boxes((0, 0, 1, 1), (0, 0, 2, 1))  # but this one is not
        assert iou(*small.to(dtype)).item() == pytest.approx(0.5)


# Gradients


@every_kind
@pytest.mark.parametrize("detach_enclosing", [False, True])
@pytest.mark.parametrize("detach_alpha", [False, True])
def test_gradients_with_each_part_held_constant(kind, detach_enclosing, detach_alpha):
    """Against the formulas, with the constants computed beforehand, and by finite differences."""
    a, b = random_boxes(12, 20, extent=3), random_boxes(12, 21, extent=3)

    def enclosing(a, b):
        low, high = a[:, :2].minimum(b[:, :2]), a[:, 2:].maximum(b[:, 2:])
        size = high - low
        if kind == "eiou":
            return size**2
        return size.prod(1) if kind == "giou" else (size**2).sum(1)

    fixed_hull = enclosing(a, b)
    fixed_alpha = shape_terms(a, b)[1]

    def loss(a, b):
        J = iou(a, b)
        if kind == "iou":
            return 1 - J
        hull = fixed_hull if detach_enclosing else enclosing(a, b)
        if kind == "giou":
            shared = (a[:, 2:].minimum(b[:, 2:]) - a[:, :2].maximum(b[:, :2])).relu().prod(1)
            return 1 - J + (hull - (area(a) + area(b) - shared)) / hull
        offset = (a[:, :2] + a[:, 2:] - b[:, :2] - b[:, 2:]) / 2
        diou_loss = 1 - J + (offset**2).sum(1) / (hull.sum(1) if kind == "eiou" else hull)
        if kind == "eiou":
            change = a[:, 2:] - a[:, :2] - b[:, 2:] + b[:, :2]
            return diou_loss + (change**2 / hull).sum(1)
        if kind == "diou":
            return diou_loss
        v, alpha, _ = shape_terms(a, b)
        return diou_loss + (fixed_alpha if detach_alpha else alpha) * v

    flags = {"detach_enclosing": detach_enclosing, "detach_alpha": detach_alpha}
    own = [box_loss(a, b, kind, reduction="none", **flags)]
    own += gradient(lambda a, b: box_loss(a, b, kind, reduction="sum", **flags), a, b)
    torch.testing.assert_close(own, [loss(a, b), *gradient(lambda a, b: loss(a, b).sum(), a, b)])
    leaves = [x.clone().requires_grad_() for x in (a, b)]
    slopes_agree(loss, leaves)
    if not detach_enclosing and not (detach_alpha and kind == "ciou"):
        slopes_agree(lambda a, b: box_loss(a, b, kind, **flags), leaves)


def test_the_flags_of_the_loss_are_off_and_on_by_default():
    a, b = random_boxes(9, 22, extent=3), random_boxes(9, 23, extent=3)
    by_default = gradient(lambda a: box_loss(a, b, "ciou"), a)
    for enclosing, alpha in itertools.product((False, True), repeat=2):
        flags = {"detach_enclosing": enclosing, "detach_alpha": alpha}
        result = gradient(lambda a, flags=flags: box_loss(a, b, "ciou", **flags), a)
        assert torch.equal(result, by_default) == (flags["detach_alpha"] and not enclosing)
    for kind, similarity in SIMILARITIES.items():
        by_default = gradient(lambda a, k=kind: box_loss(a, b, k, reduction="sum"), a)
        assert torch.equal(gradient(lambda a, s=similarity: s(a, b).sum(), a), -by_default)
    through = gradient(lambda a: ciou(a, b).sum(), a)
    assert not torch.equal(through, gradient(lambda a: ciou(a, b, detach_alpha=False).sum(), a))


@every_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_identical_boxes_have_no_loss_and_no_gradient(kind, dtype):
    a = torch.cat([random_boxes(50, 24), boxes(POINT, UPRIGHT, LYING)]).to(dtype)
    for k in (1.0, 1e-6, 1e6):
        for alpha in (False, True):
            loss = box_loss(k * a, k * a, kind, detach_alpha=alpha, reduction="none")
            assert not loss.any()
            both = gradient(
                lambda a, b, alpha=alpha: box_loss(a, b, kind, detach_alpha=alpha), k * a, k * a
            )
            assert all(k * g.abs().max() < 8 * torch.finfo(dtype).eps for g in both)


def test_giou_with_a_fixed_hull_still_inflates_a_perfect_box():
    """What is left is half the union's slope over a constant: 1/2w outward, on each edge."""
    a = boxes((0, 0, 4, 5))
    result = gradient(lambda a: box_loss(a, a.detach(), "giou", detach_enclosing=True), a)
    torch.testing.assert_close(result, boxes((1 / 8, 1 / 10, -1 / 8, -1 / 10)))


def test_boxes_that_only_touch_have_the_gradient_of_separated_ones():
    a, b = boxes((0, 0, 2, 2)), boxes((2, 1, 4, 3))
    assert not gradient(lambda a: iou(a, b).sum(), a).any()
    apart = gradient(lambda a: giou(a, b).sum(), a - boxes((1e-9, 0, 1e-9, 0)))
    torch.testing.assert_close(gradient(lambda a: giou(a, b).sum(), a), apart)


@every_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_degenerate_pair_has_a_finite_loss_and_gradient(kind, dtype):
    ends = [(0, 0), (1, 1), (0, 1), (1, 2), (0, 1e-6), (0, 1e-20), (0, 1e-38), (0, 1e8), (1e8, 1e8)]
    every = boxes(*[(x1, y1, x2, y2) for x1, x2 in ends for y1, y2 in ends], dtype=dtype)
    a, b = (x.contiguous() for x in torch.broadcast_tensors(every[:, None], every))
    for enclosing, alpha in itertools.product((False, True), repeat=2):
        flags = {"detach_enclosing": enclosing, "detach_alpha": alpha}
        loss = box_loss(a, b, kind, reduction="none", **flags)
        assert (loss >= 0).all() and (loss <= (3.25 if kind == "eiou" else 2.5) + 1e-6).all()
        assert not loss.diagonal().any()
        for g in gradient(lambda a, b, flags=flags: box_loss(a, b, kind, **flags), a, b):
            assert g.isfinite().all()


def test_pairs_without_union_or_hull_have_no_gradient_there():
    """0/0 is a constant, of gradient 0, and not a large number or one in the boxes' unit."""
    a, b = boxes(LYING, POINT, UPRIGHT), boxes(LONGER, POINT, (0, 2, 0, 9))
    for kind in ("iou", "giou"):
        assert not any(g.any() for g in gradient(lambda a, b, k=kind: box_loss(a, b, k), a, b))
    point = gradient(lambda a: ciou(a, boxes(SOLID)) - diou(a, boxes(SOLID)), boxes(POINT))
    assert not point.any()


ends = st.floats(-(2.0**99), 2.0**99, width=32) | st.integers(-3, 3).map(float)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(st.lists(st.tuples(*[ends] * 4), min_size=1, max_size=9))
def test_with_a_gradient_the_overlap_has_the_same_bits(dtype, rows):
    """And its gradient is that of `minimum` and `maximum`, also where ends are equal."""
    interval = torch.tensor(rows, dtype=dtype).view(-1, 2, 2).sort(-1).values.flatten(1)
    a1, a2, b1, b2 = interval.unbind(-1)

    def plain(a1, a2, b1, b2):
        return torch.minimum(a2, b2) - torch.maximum(a1, b1)

    leaves = [end.clone().requires_grad_() for end in (a1, a2, b1, b2)]
    assert torch.equal(_pairs._overlap(*leaves), plain(a1, a2, b1, b2))
    assert torch.equal(_pairs._overlap(a1, a2, b1, b2), plain(a1, a2, b1, b2))
    own, expected = (grad(f(*leaves).sum(), leaves) for f in (_pairs._overlap, plain))
    assert all(map(torch.equal, own, expected))


# Shapes, empty lists, reductions


@every_kind
def test_leading_dimensions_broadcast(kind):
    a, b = random_boxes(6, 25).view(2, 3, 4), random_boxes(3, 26)
    similarity = SIMILARITIES[kind]
    assert similarity(a[0, 0], b[0]).shape == ()
    assert similarity(a, b).shape == (2, 3)
    assert torch.equal(similarity(a, b)[1], similarity(a[1], b))
    assert torch.equal(similarity(b[:, None, None], a)[2], similarity(b[2], a))
    assert torch.equal(box_loss(a, b, kind, reduction="none"), 1 - similarity(a, b))
    assert area(a).shape == (2, 3)


@every_kind
@pytest.mark.parametrize(("n", "m"), [(3, 5), (300, 301), (1, 70_000), (3, 40_000)])
def test_pairwise_is_elementwise_for_every_pair(kind, n, m):
    """Also where the pairs are computed in blocks of rows."""
    a = random_boxes(n, 27, dtype=torch.float32)
    b = random_boxes(m, 28, dtype=torch.float32)
    torch.testing.assert_close(pairwise(a, b, kind), SIMILARITIES[kind](a[:, None], b))


def test_pairwise_gives_iou_by_default_and_keeps_the_gradient():
    a, b = random_boxes(4, 29), random_boxes(5, 30)
    assert torch.equal(pairwise(a, b), pairwise(a, b, "iou"))
    weights = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for kind, similarity in SIMILARITIES.items():
        own = gradient(lambda a, b, k=kind: (weights * pairwise(a, b, k)).sum(), a, b)
        expected = gradient(lambda a, b, s=similarity: (weights * s(a[:, None], b)).sum(), a, b)
        torch.testing.assert_close(own, expected)
    for one in (a.clone().requires_grad_(), b):  # a gradient for only one of the two lists
        other = b.clone().requires_grad_() if one is b else a
        assert pairwise(one, other).requires_grad and pairwise(other, one).requires_grad
    with torch.no_grad():
        assert torch.equal(pairwise(a.requires_grad_(), b), pairwise(a.detach(), b))


@every_kind
def test_empty_lists_keep_their_shapes(kind):
    some, none = random_boxes(3, 31), torch.empty(0, 4)
    assert pairwise(some, none.double(), kind).shape == (3, 0)
    assert pairwise(none, some, kind).shape == (0, 3)
    assert pairwise(none, none, kind).shape == (0, 0)
    assert pairwise(none.requires_grad_(), some, kind).shape == (0, 3)
    assert SIMILARITIES[kind](none, none).shape == (0,)
    assert SIMILARITIES[kind](none, some[0]).shape == (0,)
    assert area(none).shape == (0,)


def test_the_mean_over_no_boxes_is_zero_with_gradient_zero():
    pred = torch.empty(0, 4, requires_grad=True)
    for reduction in ("mean", "sum"):
        loss = box_loss(pred, torch.empty(0, 4), reduction=reduction)
        assert loss.item() == 0 and loss.shape == ()
        assert grad(loss, pred)[0].shape == (0, 4)
    assert box_loss(pred, torch.empty(0, 4), reduction="none").shape == (0,)


def test_reductions_and_defaults():
    a, b = random_boxes(6, 32).view(2, 3, 4), random_boxes(6, 33).view(2, 3, 4)
    losses = 1 - giou(a, b)
    torch.testing.assert_close(box_loss(a, b), losses.mean())
    torch.testing.assert_close(box_loss(a, b, "giou", reduction="mean"), losses.mean())
    torch.testing.assert_close(box_loss(a, b, reduction="sum"), losses.sum())
    assert torch.equal(box_loss(a, b, reduction="none"), losses)


@every_kind
@given(dyadic_boxes, dyadic_boxes)
@examples(40)
def test_similarities_are_symmetric_and_one_for_equal_boxes_only(kind, a, b):
    similarity = SIMILARITIES[kind]
    torch.testing.assert_close(similarity(a, b), similarity(b, a), rtol=0, atol=1e-15)
    assert similarity(a, a).item() == 1
    assert (similarity(a, b).item() == 1) == torch.equal(a, b)


# Bad input

A, B = GRID[:3], GRID[3:6]
NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: iou(boxes(POINT, SOLID, SOLID, (2, 2, 0, 0)), A[0]),
            "a[3] = (2, 2, 0, 0): x2 < x1",
        ),
        (lambda: box_loss(A, boxes((0, 2.5, 0, 2))), "target[0] = (0, 2.5, 0, 2): y2 < y1"),
        (lambda: box_loss(boxes((2, 0, 1, 5))[0], A), "pred = (2, 0, 1, 5): x2 < x1"),
        (lambda: area(-GRID[:2].view(1, 2, 4) - 1), "boxes[0, 0] = (-1, -1, -2, -2): x2 < x1"),
        (
            lambda: pairwise(A, torch.tensor([[1, 1, 2, 2], [3, 0, 1, 1]])),
            "b[1] = (3, 0, 1, 1): x2 < x1",
        ),
        (lambda: giou(A, boxes((0, NAN, 1, 1))), "b[0] = (0, nan, 1, 1): expected finite numbers"),
        (lambda: giou(A, boxes((NAN, 0, 1, 1))), "b[0] = (nan, 0, 1, 1): expected finite numbers"),
        (lambda: area(boxes((0, 0, NAN, 1))), "boxes[0] = (0, 0, nan, 1): expected finite numbers"),
        (lambda: area(boxes((0, 0, 1, NAN))), "boxes[0] = (0, 0, 1, nan): expected finite numbers"),
        (
            lambda: diou(boxes((-INF, 0, 1, 1)), A),
            "a[0] = (-inf, 0, 1, 1): expected finite numbers",
        ),
        (
            lambda: diou(boxes((0, -INF, 1, 1)), A),
            "a[0] = (0, -inf, 1, 1): expected finite numbers",
        ),
        (lambda: ciou(A, boxes((0, 0, INF, 1))), "b[0] = (0, 0, inf, 1): expected finite numbers"),
        (lambda: ciou(A, boxes((0, 0, 1, INF))), "b[0] = (0, 0, 1, inf): expected finite numbers"),
    ],
)
def test_wrong_boxes_are_shown(call, message):
    with pytest.raises(ValueError) as error:
        call()
    rule = "boxes are (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2, not (x, y, width, height)"
    more = "; 1 more like it" if "boxes[0, 0]" in message else ""
    assert str(error.value) == f"{message}; {rule}{more}"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: iou(A, B[:, :3]), "b: expected shape (..., 4), got (3, 3)"),
        (lambda: area(torch.tensor(1.0)), "boxes: expected shape (..., 4), got ()"),
        (lambda: pairwise(A, B[0]), "b: expected shape (number, 4), got (4,)"),
        (lambda: pairwise(A[None], B), "a: expected shape (number, 4), got (1, 3, 4)"),
        (
            lambda: iou(A, B[:2]),
            "a and b: expected shapes that broadcast, got (3, 4) and (2, 4). For every box of one "
            + "list with every box of another, call pairwise(a, b).",
        ),
        (
            lambda: box_loss(A[:, None], B[:2].expand(5, 2, 2, 4)),
            "pred and target: expected shapes that broadcast, got (3, 1, 4) and (5, 2, 2, 4). For "
            + "every box of one list with every box of another, call pairwise(a, b).",
        ),
        (
            lambda: giou(A.bool(), B),
            "a: expected real numbers (float or integer), got torch.bool",
        ),
        (
            lambda: diou(A, B + 0j),
            "b: expected real numbers (float or integer), got torch.complex128",
        ),
        (lambda: iou(A.numpy(), B), "a: expected a torch.Tensor, got a ndarray"),
        (lambda: iou(A, None), "b: expected a torch.Tensor, got None"),
        (
            lambda: pairwise(A, B, "siou"),
            "kind: expected one of iou, giou, diou, ciou, eiou; got 'siou'",
        ),
        (
            lambda: box_loss(A, B, "GIoU"),
            "kind: expected one of iou, giou, diou, ciou, eiou, focal_eiou, siou, alpha_iou, wiou, "
            + "mpdiou, inner_iou; got 'GIoU'",
        ),
        (
            lambda: box_loss(A, B, "alpha_iou", alpha=0.5),
            "alpha: expected a finite number of at least 1, below which the slope at J = 0 is infinite, "
            + "got 0.5",
        ),
        (
            lambda: box_loss(A, B, "focal_eiou", gamma=-1),
            "gamma: expected a finite number of at least 0, got -1",
        ),
        (
            lambda: box_loss(A, B, "focal_eiou", gamma=True),
            "gamma: expected a finite number of at least 0, got True",
        ),
        (
            lambda: box_loss(A, B, "focal_eiou", gamma=INF),
            "gamma: expected a finite number of at least 0, got inf",
        ),
        (
            lambda: box_loss(A, B, "inner_iou", ratio=0.0),
            "ratio: expected a finite number of at least 0.01, got 0.0",
        ),
        (
            lambda: box_loss(A, B, "inner_iou", ratio="1"),
            "ratio: expected a finite number of at least 0.01, got '1'",
        ),
        (
            lambda: box_loss(A, B, "mpdiou"),
            "image_size: expected (width, height) for mpdiou, got None",
        ),
        (
            lambda: box_loss(A, B, "mpdiou", image_size=(640,)),
            "image_size: expected (width, height) for mpdiou, got (640,)",
        ),
        (
            lambda: box_loss(A, B, "mpdiou", image_size=[640, "480"]),
            "image_size: expected (width, height) for mpdiou, got [640, '480']",
        ),
        (
            lambda: box_loss(A, B, "mpdiou", image_size=(640, 0)),
            "image_size: expected positive finite sides, got (640, 0)",
        ),
        (
            lambda: box_loss(A, B, "mpdiou", image_size=(INF, 480)),
            "image_size: expected positive finite sides, got (inf, 480)",
        ),
        (
            lambda: box_loss(A, B, reduction="avg"),
            "reduction: expected one of mean, sum, none; got 'avg'",
        ),
    ],
)
def test_wrong_arguments_are_named_with_what_was_expected(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value) == message


def test_a_forgotten_argument_is_an_ordinary_type_error():
    with pytest.raises(TypeError, match="missing a required argument: 'b'"):
        iou(A)


@every_kind
@pytest.mark.parametrize("place", range(4))
def test_without_validation_nan_stays_nan(kind, place):
    a, b = random_boxes(3, 34), random_boxes(3, 35)
    a[1, place] = NAN
    similarity = SIMILARITIES[kind]
    with derived.validation(False):
        for some in (b, a.nan_to_num(0.0), b + 99):  # overlapping, nearly equal, and far away
            expected = [False, True, False]
            assert similarity(a, some).isnan().tolist() == expected
            assert similarity(some, a).isnan().tolist() == expected
            assert pairwise(a, some, kind).isnan().all(1).tolist() == expected
            assert pairwise(a, some, kind).isnan().any(1).tolist() == expected
            assert box_loss(a, some, kind).isnan()
        everything = torch.full((1, 4), NAN)
        assert similarity(everything, everything).isnan().all()


def test_validation_is_restored_and_local_to_its_thread():
    wrong = boxes((2, 2, 0, 0))
    refused = []

    def in_a_thread():
        with pytest.raises(ValueError):
            area(wrong)
        refused.append(True)

    with derived.validation(False):
        area(wrong)
        with derived.validation(True), pytest.raises(ValueError):
            area(wrong)
        thread = threading.Thread(target=in_a_thread)
        thread.start()
        thread.join()
        area(wrong)
        with pytest.raises(ValueError, match="expected shape"):  # shapes are always checked
            area(wrong[:, :3])
    assert refused
    with pytest.raises(RuntimeError), derived.validation(False):
        raise RuntimeError
    with pytest.raises(ValueError):
        area(wrong)


def test_importing_derived_brings_no_notebook_or_plotting_library():
    code = "import sys, derived, derived.iou; print(*sys.modules)"
    loaded = run([sys.executable, "-c", code]).stdout.split()
    assert not {"matplotlib", "anywidget", "IPython", "sklearn"} & set(loaded)


def test_center_and_size_become_corners():
    boxes = torch.tensor([[1.0, 2.0, 4.0, 6.0], [0.0, 0.0, 0.0, 0.0]])
    corners = from_cxcywh(boxes)
    assert corners.tolist() == [[-1.0, -1.0, 3.0, 5.0], [0.0, 0.0, 0.0, 0.0]]
    assert from_cxcywh(torch.zeros(2, 0, 4)).shape == (2, 0, 4)


@pytest.mark.parametrize(
    ("row", "dtype", "corners", "answer"),
    [
        ((300, 300, 1, 1), torch.bfloat16, (299.5, 299.5, 300.5, 300.5), torch.float32),
        ((10240, 0, 64, 1), torch.bfloat16, (10208, -0.5, 10272, 0.5), torch.float32),
        ((60000, 1, 40000, 2), torch.float16, (40000, 0, 80000, 2), torch.float32),
        ((5, 4, 3, 1), torch.uint8, (3.5, 3.5, 6.5, 4.5), torch.float32),
        ((1, 0, 4, 3), torch.uint16, (-1, -1.5, 3, 1.5), torch.float32),
        ((-5, 4, 3, 1), torch.int64, (-6.5, 3.5, -3.5, 4.5), torch.float32),
        ((0.1, 0, 2, 2), torch.float64, (-0.9, -1, 1.1, 1), torch.float64),
    ],
)
def test_corners_have_the_digits_that_center_and_size_lack(row, dtype, corners, answer):
    result = from_cxcywh(torch.tensor(row, dtype=torch.float64).to(dtype))
    assert result.dtype == answer and result.tolist() == list(corners)


def test_the_regression_runs_in_float32_at_least():
    start, goal = (x[:2].bfloat16() for x in regression_cases(1))
    slope = partial(regression_slope, kind="giou")
    (low, _), (exact, _) = (
        regression_descent(convert(start), convert(goal), slope)
        for convert in (torch.Tensor.bfloat16, torch.Tensor.float)
    )
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, exact, rtol=0, atol=0.02)  # one first slope is rounded


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64])
def test_unsigned_integers_of_every_width(dtype):
    """PyTorch can hold them, but not compare them."""
    a, b = torch.tensor([[0, 0, 50000, 50000]]), torch.tensor([[0, 0, 50000, 25000]])
    assert area(a.to(dtype)).item() == 2.5e9
    assert iou(a.to(dtype), b.to(dtype)).item() == pairwise(a.to(dtype), b).item() == 0.5
    turned = torch.tensor([[9, 9, 4, 2, 0]]).to(dtype)
    assert rotated_iou(turned, turned).item() == 1
    assert nms(torch.cat([a, b, a]).to(dtype), torch.tensor([1, 3, 2]).to(dtype), 0.4).tolist() == [
        1
    ]
    assert average_precision(torch.tensor([2, 1]).to(dtype), torch.tensor([True, False]), 1) == 1
    with pytest.raises(ValueError, match=r"a\[0\] = \(9, 0, 1, 1\): x2 < x1"):
        iou(torch.tensor([[9, 0, 1, 1]]).to(dtype), b)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        (torch.zeros(2, 5), r"boxes: expected shape \(..., 4\), got \(2, 5\)"),
        (torch.zeros(2, 4, dtype=torch.bool), "boxes: expected real numbers"),
        (torch.tensor([[0.0, 0, 1, 1], [0, 0, -1, 1]]), r"boxes\[1\] = \(0.0, 0.0, -1.0, 1.0\)"),
        (torch.tensor([[0.0, 0, 1, -1]]), r"boxes\[0\] = \(0.0, 0.0, 1.0, -1.0\)"),
        (torch.tensor([[0.0, torch.nan, 1, 1]]), r"boxes\[0\] = \(0.0, nan"),
        (torch.tensor([[0.0, 0, torch.inf, 1]]), r"boxes\[0\] = \(0.0, 0.0, inf"),
    ],
)
def test_wrong_centers_and_sizes_are_shown(boxes, message):
    with pytest.raises(ValueError, match=message):
        from_cxcywh(boxes)


def test_the_regression_cases_are_every_anchor_with_every_target():
    start, goal = regression_cases(50)
    assert start.shape == goal.shape == (50 * 343, 4)
    assert regression_cases(1)[0].shape == (343, 4)
    assert len(torch.cat([start, goal], 1).unique(dim=0)) == 50 * 343
    ratios = [1 / 4, 1 / 3, 1 / 2, 1, 2, 3, 4]
    areas = [0.5, 0.67, 0.75, 1, 1.33, 1.5, 2]
    assert goal[:, :2].unique().tolist() == [10.0]
    assert (goal[:, 2] * goal[:, 3]).sub(1).abs().max() < 1e-6
    for boxes in (start, goal):
        shapes = (boxes[:, 2] / boxes[:, 3]).mul(1e4).round().unique().div(1e4)
        assert shapes.tolist() == pytest.approx(ratios, abs=1e-3)
    sizes = (start[:, 2] * start[:, 3]).mul(1e4).round().unique().div(1e4)
    assert sizes.tolist() == pytest.approx(areas, abs=1e-3)


def test_the_anchors_fill_a_disk_of_radius_three_evenly():
    start, _ = regression_cases(2000)
    offset = start[::343, :2] - 10
    radius = offset.norm(dim=1)
    assert radius.max() <= 3
    # The share within r is (r / 3)^2: five standard errors of a share of 2,000 points.
    for r in (1.0, 2.0):
        share = (r / 3) ** 2
        assert abs((radius < r).float().mean() - share) < 5 * (share * (1 - share) / 2000) ** 0.5
    assert offset.mean(0).abs().max() < 5 * 1.5 / 2000**0.5
    assert torch.equal(start, regression_cases(2000)[0])
    assert not torch.equal(start, regression_cases(2000, seed=1)[0])


@pytest.mark.parametrize("points", [0, -1, 2.5, True])
def test_the_number_of_points_is_a_count(points):
    with pytest.raises(ValueError, match="points: expected an integer of at least 1"):
        regression_cases(points)


def descents_one_step_at_a_time(x, goal, kind, steps):
    """The boxes after each step of the update rule of the simulation as printed, with the slope by central differences."""

    def corners(box):
        x, y, w, h = box.unbind(-1)
        return torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], -1)

    def loss(box):
        return 1 - SIMILARITIES[kind](corners(box), corners(goal))

    nudge = 1e-6 * torch.eye(4, dtype=torch.float64)[:, None]
    states = []
    for step in range(steps):
        slope = (loss(x + nudge) - loss(x - nudge)).T / 2e-6
        rate = 0.1 * 0.1 ** ((step >= 160) + (step >= 180))
        j = iou(corners(x), corners(goal))
        x = x - rate * (2 - j)[:, None] * slope
        x = torch.cat([x[:, :2], x[:, 2:].clamp(min=0.01)], 1)
        states.append(x)
    return states


def descend(start, goal, kind, **flags):
    return regression_descent(start, goal, partial(regression_slope, kind=kind, **flags))


@pytest.mark.parametrize("kind", ["giou", "diou"])
def test_the_regression_descent_follows_the_printed_rule(kind):
    goal = boxes([10, 10, 1, 1], [10, 10, 2, 0.5])
    start = boxes([10.4, 9.7, 1.2, 0.8], [12.3, 11.9, 0.7, 1.4])
    end, errors = descend(start, goal, kind)
    by_hand = torch.stack(descents_one_step_at_a_time(start, goal, kind, 200))
    assert torch.allclose(end, by_hand[-1], atol=1e-4)
    assert torch.allclose(errors, (by_hand - goal).abs().sum((1, 2)) / 2, atol=1e-4)
    assert errors.shape == (200,) and not start.requires_grad and not end.requires_grad


def test_the_regression_slope_passes_the_flags_on():
    start, goal = boxes([30, 10, 1, 1]), boxes([10, 10, 1, 1])
    fixed, _ = descend(start, goal, "diou", detach_enclosing=True)
    assert fixed[0, 2:].tolist() == [1, 1] and fixed[0, 0] < 28
    assert descend(start, goal, "diou")[0][0, 2] > 1.1


def test_the_regression_slope_is_each_boxes_own():
    start, goal = boxes([12, 10, 1, 2], [10.5, 10, 1, 1]), boxes([10, 10, 1, 1], [10, 10, 2, 0.5])
    together = regression_slope(start, goal, "giou")
    for i in range(2):
        alone = regression_slope(start[i : i + 1], goal[i : i + 1], "giou")
        assert torch.equal(together[i : i + 1], alone)


def test_the_regression_descent_keeps_sizes_positive():
    # The first step would take the sides from 0.05 to about -0.5.
    end, _ = descend(boxes([10, 10, 0.05, 0.05]), boxes([10, 10, 0.02, 0.02]), "iou")
    assert end[0, 2:].min() >= 0.01


def test_the_regression_descent_of_no_boxes_has_no_mean_error():
    for start, goal in ((0, 0), (0, 1), (1, 0)):
        with pytest.raises(ValueError, match="expected shape .* with at least one box"):
            descend(torch.ones(start, 4), torch.ones(goal, 4), "iou")


@pytest.mark.verifies("iou-far-shrink", by="gradient")
@pytest.mark.parametrize("center", [(7, 9), (-7, 9), (7, -9), (7, 0), (-9, 0.5)])
@pytest.mark.parametrize(
    ("size", "sign"), [((1.0, 1.0), -1), ((0.4, 0.05), +1), ((3.0, 2.0), -1), ((0.05, 0.02), +1)]
)
def test_giou_narrows_boxes_much_smaller_than_their_target(center, size, sign):
    sides = [torch.tensor(side, dtype=torch.float64, requires_grad=True) for side in size]
    pred = from_cxcywh(torch.stack([torch.tensor(c, dtype=torch.float64) for c in center] + sides))
    target = boxes([-1, -1.25, 1, 1.25])[0]  # 2 wide, 2.5 high
    slopes = torch.autograd.grad(box_loss(pred, target, "giou"), sides)
    union = size[0] * size[1] + 2 * 2.5
    hull_w = abs(center[0]) + size[0] / 2 + 1
    top, bottom = (center[1] + side * size[1] / 2 for side in (1, -1))
    hull_h = max(top, 1.25) - min(bottom, -1.25)
    printed = (union / (2 * hull_w) - size[1]) / (hull_w * hull_h)
    assert slopes[0].item() == pytest.approx(printed, rel=1e-12)
    assert slopes[0].sign() == sign
    if abs(center[1]) > 5:  # separated along y, too: the same with the axes exchanged
        printed = (union / (2 * hull_h) - size[0]) / (hull_w * hull_h)
        assert slopes[1].item() == pytest.approx(printed, rel=1e-12)


@pytest.mark.verifies("iou-diou-nested", by="gradient")
@pytest.mark.parametrize("center", [(1.0, 2.0), (4.0, 1.5), (3.0, 2.0)])
def test_inside_its_target_dious_slope_points_away_from_its_center(center):
    x = torch.tensor([*center, 1.0, 0.5], dtype=torch.float64, requires_grad=True)
    target = boxes([0, 0, 6, 4])[0]
    (slope,) = torch.autograd.grad(box_loss(from_cxcywh(x), target, "diou"), x)
    delta = [center[0] - 3, center[1] - 2]
    assert slope[:2].tolist() == pytest.approx([2 * d / 52 for d in delta], abs=1e-14)


def turned(count):
    generator = torch.Generator().manual_seed(7)
    box = torch.rand(count, 5, generator=generator) * torch.tensor([90, 90, 40, 40, 6.0]) + 0.1
    around, across = box.clone(), box[:, [0, 1, 3, 2, 4]]
    around[:, 4] += torch.pi
    across[:, 4] += torch.pi / 2
    return box, (around, across)  # the same rectangles, but for rounding


def test_rounding_does_not_break_a_range():
    box, again = turned(20_000)
    for same in again:
        overlap = rotated_iou(box, same)
        assert ((overlap > 0.999) & (overlap <= 1)).all()
        for distance in (gwd(box, same), kld(box, same)):
            assert ((distance >= 0) & (distance < 1e-2)).all()


def test_similarities_may_be_mapped_over():
    a, b = random_boxes(3, 60), random_boxes(4, 61)
    for kind, similarity in SIMILARITIES.items():
        for function in (similarity, partial(box_loss, kind=kind, reduction="none")):
            mapped = torch.func.vmap(lambda box, f=function: f(box, b))(a)
            torch.testing.assert_close(mapped, torch.stack([function(x, b) for x in a]))
        shared = torch.func.vmap(lambda boxes, kind=kind: pairwise(a, boxes, kind))(b[:, None])
        torch.testing.assert_close(shared[..., 0].T, pairwise(a, b, kind))
    rotated, (other, _) = turned(4)
    for function in (rotated_iou, gwd, kld):
        mapped = torch.func.vmap(function, in_dims=(0, None))(rotated, other)
        torch.testing.assert_close(mapped, function(rotated[:, None], other))


def test_one_object_is_not_found_twice():
    scores, hits = torch.tensor([0.9, 0.8, 0.7]), torch.tensor([True, False, True])
    with pytest.raises(ValueError, match="hits and objects: .* got 2 hits of 1 objects"):
        average_precision(scores, hits, 1)
    assert average_precision(scores, hits, 2) > 0.8


def test_what_is_computed_on_the_cpu_ignores_the_default_device():
    image = {"boxes": torch.tensor([[0.0, 0, 9, 9]]), "labels": torch.tensor([1])}
    found = image | {"scores": torch.tensor([0.5])}
    start = regression_cases(1)[0]
    with torch.device("meta"):
        assert coco_map([found], [image])["AP"] == 1
        assert torch.equal(regression_cases(1)[0], start)
