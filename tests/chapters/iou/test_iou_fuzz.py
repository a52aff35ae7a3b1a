"""Helpers against another implementation of the same, on inputs that nobody chose."""

import math

import pytest
import shapely
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import (
    betas,
    boxes,
    examples,
    has_terminal_snr,
    log_decay_values,
    numbers,
    schedules,
    sequences,
    sizes,
    tensors,
    times,
)
from test_iou_evaluation import by_pycocotools, kept_by_definition

from derived.diffusion import Schedule, karras_sigmas
from derived.iou import ciou, coco_map, diou, eiou, giou, iou, nms, rotated_corners, rotated_iou
from derived.linear_attention import chunked, delta_rule, linear_attention, recurrent

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
@examples(150)
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


# Linear attention


@st.composite
def walks(draw):
    """Sequences of any length with a decay or none, in chunks of any size."""
    drawn = draw(sequences(dtypes=st.just(torch.float64), most=4.0, lengths=(0, 1, 2, 3, 5, 8)))
    drawn["scale"] = draw(numbers(4.0, 1e-3))
    return drawn, draw(st.integers(1, 10))


@given(drawn=walks(), data=st.data())
@examples(60)
def test_chunks_of_any_size_give_what_the_recurrence_gives(drawn, data):
    arguments, chunk = drawn
    if data.draw(st.booleans()):
        shape = arguments["k"].shape[:3]
        arguments["log_decay"] = data.draw(tensors(shape, log_decay_values))
    expected, _ = recurrent(**arguments)
    torch.testing.assert_close(chunked(**arguments, chunk=chunk), expected, rtol=1e-9, atol=1e-9)
    if "log_decay" not in arguments:
        plain = {name: arguments[name] for name in "qkv"}
        parallel = linear_attention(**plain, kind="identity", causal=True, normalize=False)
        torch.testing.assert_close(arguments["scale"] * parallel, expected, rtol=1e-9, atol=1e-9)


@given(drawn=walks(), data=st.data())
@examples(40)
def test_the_delta_rule_in_chunks_of_any_size_is_the_recurrence(drawn, data):
    arguments, chunk = drawn
    arguments["k"] = torch.nn.functional.normalize(arguments["k"], dim=-1)
    beta = data.draw(tensors(arguments["k"].shape[:3], st.floats(0, 2)))
    expected, _ = recurrent(**arguments, beta=beta)
    found = delta_rule(**arguments, beta=beta, chunk=chunk)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@given(drawn=walks(), cut=st.integers(0, 8))
@examples(30)
def test_a_recurrence_goes_on_from_its_state(drawn, cut):
    arguments, _ = drawn
    scale = arguments.pop("scale")
    first, last = (
        {name: x[:, :, part] for name, x in arguments.items()}
        for part in (slice(cut), slice(cut, None))
    )
    whole, end = recurrent(**arguments, scale=scale)
    before, state = recurrent(**first, scale=scale)
    after, state = recurrent(**last, scale=scale, state=state)
    torch.testing.assert_close(torch.cat([before, after], 2), whole)
    torch.testing.assert_close(state, end)


# Schedules


@given(schedules())
@examples(60)
def test_the_noise_of_a_schedule_grows_and_its_norm_stays(schedule):
    t = schedule.times(int(min(schedule.end, 20)) if schedule.discrete else 20).flip(0)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    assert alpha[0] == 1 and sigma[0] == 0
    assert (alpha >= 0).all() and (sigma >= 0).all()
    # Where a level hardly changes, the last bit of its root or of its logistic function may.
    bit = torch.finfo(torch.float64).eps
    assert (alpha.diff() <= bit).all() and (sigma.diff() >= -bit).all()
    assert (schedule.log_snr(t).diff() <= 0).all() or schedule.snr(t[1]) == math.inf
    norm = {"vp": torch.hypot(alpha, sigma), "flow": alpha + sigma, "ve": alpha}[schedule.norm]
    torch.testing.assert_close(norm, torch.ones_like(norm), rtol=0, atol=1e-12)
    torch.testing.assert_close(schedule.snr(t), (alpha / sigma) ** 2)
    logarithm = schedule.snr(t).log()
    known = logarithm.isfinite()
    torch.testing.assert_close(schedule.log_snr(t)[known], logarithm[known], rtol=1e-9, atol=1e-9)


@given(betas)
@examples(60)
def test_a_chain_is_the_product_of_its_steps(betas):
    schedule = Schedule.from_betas(betas)
    alpha = (1 - betas).sqrt().cumprod(0)
    t = torch.arange(1, len(betas) + 1)
    torch.testing.assert_close(schedule.alpha(t), alpha, rtol=1e-9, atol=1e-15)
    # The variance after a step is what is left of the one before, and what the step adds.
    variance, steps = 0.0, []
    for beta in betas.tolist():
        variance = (1 - beta) * variance + beta
        steps.append(variance)
    torch.testing.assert_close(
        schedule.sigma(t) ** 2, torch.tensor(steps).double(), rtol=1e-5, atol=0
    )


@given(schedules(discrete=True).filter(has_terminal_snr))
@examples(40)
def test_zero_terminal_snr_takes_all_signal_at_the_end_and_keeps_the_first_step(schedule):
    t = torch.arange(int(schedule.end) + 1)
    before, after = schedule.alpha(t), schedule.with_zero_terminal_snr().alpha(t)
    assert after[-1] == 0
    assert schedule.with_zero_terminal_snr().snr(t)[-1] == 0
    torch.testing.assert_close(after[:2], before[:2], rtol=1e-12, atol=0)
    assert (after.diff() <= 0).all()
    # Affine: the same share of the way from the first step to the last.
    share = (before[1] - before[1:]) / (before[1] - before[-1])
    torch.testing.assert_close((after[1] - after[1:]) / after[1], share, rtol=1e-6, atol=1e-9)


@given(schedules(), sizes(1e3, 1e-3), sizes(1e3, 1e-3), st.data())
@examples(40)
def test_shifts_multiply(schedule, first, second, data):
    t = data.draw(times(schedule))
    twice, once = schedule.shifted(first).shifted(second), schedule.shifted(first * second)
    for level in ("alpha", "sigma"):
        torch.testing.assert_close(
            getattr(twice, level)(t), getattr(once, level)(t), rtol=1e-9, atol=1e-12
        )


@given(st.integers(1, 200), sizes(1.0, 1e-6), sizes(1e6, 2.0), st.floats(1, 20))
@examples(60)
def test_karras_sigmas_fall_from_one_end_to_the_other(n, least, most, rho):
    sigmas = karras_sigmas(n, least, most, rho)
    assert (sigmas.diff() < 0).all()
    assert sigmas[0] == most and sigmas[-1] == 0
    assert n == 1 or sigmas[-2].item() == pytest.approx(least, rel=1e-9)
    roots = sigmas[:-1] ** (1 / rho)
    assert n < 3 or torch.allclose(roots.diff(), roots.diff().mean(), rtol=1e-6, atol=1e-9)
