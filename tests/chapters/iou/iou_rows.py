"""How to try each public helper of `derived.iou`: draws of its arguments, its answer, its errors."""

import math
from typing import get_args, get_type_hints

import torch
from hypothesis import strategies as st
from iou_draws import box_pairs, boxes, rotated_boxes
from properties import INFINITY, NAN, UNKNOWN, Helper, is_like, wrong
from strategies import dtypes, lengths, numbers, sizes, tensors

from derived import iou


def answered_in(*given_tensors):
    """The documented dtype of a result on boxes: that of the widest float, at least float32."""
    result = torch.float32
    for tensor in given_tensors:
        result = torch.promote_types(result, tensor.dtype)
    return result


def elementwise(arguments, result):
    a, b = list(arguments.values())[:2]
    shape = torch.broadcast_shapes(a.shape[:-1], b.shape[:-1])
    is_like(result, shape, answered_in(a, b))


def bad_boxes(*names, width=4):
    """What is refused of an argument that holds boxes."""
    box = torch.arange(float(width))
    return {
        "shape": [wrong(**{name: torch.zeros(3)}) for name in names],
        "dtype": [
            wrong(**{name: value})
            for name in names
            for value in (box.bool(), box.to(torch.complex64), [0.0] * width, None)
        ],
        "NaN": [wrong(**{name: box.where(box != 1, NAN)}) for name in names],
        "infinity": [wrong(**{name: box.where(box != 0, -INFINITY)}) for name in names],
        "reversed boxes": [wrong(**{name: box.flip(0)}) for name in names],
    }


def bad_pair(a="a", b="b"):
    errors = bad_boxes(a, b)
    errors["shape"].append(wrong(f"{a} and {b}", **{a: torch.zeros(2, 4), b: torch.zeros(3, 4)}))
    return errors


def bad_rotated(size, *names):
    errors = bad_boxes(*names, width=5)
    del errors["reversed boxes"]
    errors[size] = [
        wrong(**{name: torch.tensor([0.0, 0, *sides, 0])})
        for name in names
        for sides in ([-1, 1], [1, -1])
    ]
    return errors


def lists(errors, *names):
    """The same, for arguments that are one list of boxes each."""
    many = {
        key: [(says, {n: _as_list(v) for n, v in changes.items()}) for says, changes in some]
        for key, some in errors.items()
    }
    many["shape"] += [wrong(**{name: torch.zeros(4)}) for name in names]
    many["shape"] += [wrong(**{name: torch.zeros(1, 1, 4)}) for name in names]
    return many


def _as_list(value):
    return value[None] if isinstance(value, torch.Tensor) else value


pairs = box_pairs()
one_list = st.sampled_from([0, 1, 4]).flatmap(lambda n: boxes((n,)))
similarities = st.sampled_from(["iou", "giou", "diou", "ciou", "eiou"])


@st.composite
def losses(draw):
    arguments = draw(box_pairs(("pred", "target")))
    groups = get_args(get_type_hints(iou.box_loss)["kind"])
    kinds = st.sampled_from([kind for group in groups for kind in get_args(group)])
    return arguments | {
        "kind": draw(kinds),
        "detach_enclosing": draw(st.booleans()),
        "detach_alpha": draw(st.booleans()),
        "detach_focus": draw(st.booleans()),
        "alpha": draw(st.floats(1, 20)),
        "gamma": draw(st.floats(0, 20)),
        "ratio": draw(st.floats(0.01, 2)),
        "image_size": draw(st.sampled_from([(1, 1), (640.0, 480.0), (0.5, 4e3)])),
        "reduction": draw(st.sampled_from(["mean", "sum", "none"])),
    }


def reduced(arguments, result):
    if arguments["reduction"] == "none":
        elementwise(arguments, result)
    else:
        is_like(result, (), answered_in(arguments["pred"], arguments["target"]))


@st.composite
def centered_boxes(draw, shape=None, dtype=None):
    """Boxes (cx, cy, w, h) of floats."""
    box = draw(boxes(shape, dtype or draw(dtypes))) / 4
    return torch.cat([box[..., :2], box[..., 2:] - box[..., :2]], -1)


@st.composite
def regressions(draw, most=50.0):
    n = draw(st.sampled_from([1, 3]))
    values, side = numbers(most, 1e-3), sizes(most, 0.01)
    both = [
        torch.cat([draw(tensors((n, 2), values)), draw(tensors((n, 2), side))], 1) for _ in range(2)
    ]
    return dict(zip(("boxes", "goal"), both, strict=True))


def descent_answer(arguments, result):
    is_like(result[0], arguments["start"].shape, torch.float64)
    is_like(result[1], (200,), torch.float64)


@st.composite
def scored(draw, **more):
    n = draw(st.sampled_from([0, 1, 5]))
    score = st.one_of(st.sampled_from([-INFINITY, 0.0, 0.5, INFINITY]), numbers())
    scores = {"scores": draw(tensors((n,), score))}
    return scores | {name: draw(strategy(n)) for name, strategy in more.items()}


def nms_answer(arguments, kept):
    n = len(arguments["scores"])
    assert kept.dtype == torch.int64 and kept.ndim == 1
    assert len(kept.unique()) == len(kept) <= n and (n == 0) == (len(kept) == 0)
    assert kept.tolist() == [i for i in kept.tolist() if 0 <= i < n]


@st.composite
def evaluations(draw):
    def image(names):
        n = draw(st.sampled_from([0, 1, 3]))
        columns = {
            "boxes": boxes((n,)),
            "labels": tensors((n,), st.integers(0, 2), torch.int64),
            "scores": tensors((n,), st.floats(0, 1)),
            "area": tensors((n,), lengths(1e6, 1e-3)),
            "crowd": tensors((n,), st.booleans(), torch.bool),
        }
        return {name: draw(columns[name]) for name in names}

    target = st.sampled_from(
        [("boxes", "labels"), ("boxes", "labels", "area"), ("boxes", "labels", "crowd")]
    )
    images = range(draw(st.sampled_from([0, 1, 2])))
    return {
        "detections": [image(("boxes", "scores", "labels")) for _ in images],
        "targets": [image(draw(target)) for _ in images],
    }


def map_answer(arguments, result):
    assert len(result) == 12
    for value in result.values():  # NaN says that there are no such objects
        assert math.isnan(value) or -1e-9 <= value <= 1 + 1e-9


def an_image(**changes):
    label = torch.tensor([1])
    return [{"boxes": torch.tensor([[0.0, 0, 1, 1]]), "labels": label} | changes]


def a_detection(**changes):
    return an_image(**{"scores": torch.ones(1)} | changes)


def bad_image(**changes):
    ((key, _),) = changes.items()
    says = f'targets[0]["{key}"]'
    return wrong(says, detections=a_detection(), targets=an_image(**changes))


BOX_SLOPES = ("a", "b")

HELPERS = {
    "iou.area": Helper(
        iou.area,
        st.fixed_dictionaries({"boxes": boxes()}),
        lambda given, result: is_like(
            result, given["boxes"].shape[:-1], answered_in(given["boxes"])
        ),
        bad_boxes("boxes"),
        ("boxes",),
    ),
    **{
        f"iou.{name}": Helper(
            getattr(iou, name), pairs, elementwise, bad_pair(), BOX_SLOPES, documented=iou.iou
        )
        for name in ("iou", "giou", "diou", "eiou")
    },
    "iou.ciou": Helper(
        iou.ciou,
        st.tuples(pairs, st.booleans()).map(lambda drawn: drawn[0] | {"detach_alpha": drawn[1]}),
        elementwise,
        bad_pair(),
        BOX_SLOPES,
        documented=iou.iou,
    ),
    "iou.pairwise": Helper(
        iou.pairwise,
        st.fixed_dictionaries({"a": one_list, "b": one_list, "kind": similarities}),
        lambda given, result: is_like(
            result, (len(given["a"]), len(given["b"])), answered_in(given["a"], given["b"])
        ),
        lists(bad_boxes("a", "b"), "a", "b") | UNKNOWN,
        BOX_SLOPES,
    ),
    "iou.box_loss": Helper(
        iou.box_loss,
        losses(),
        reduced,
        bad_pair("pred", "target")
        | UNKNOWN
        | {
            "power": [wrong(alpha=0.5), wrong(alpha=NAN), wrong(gamma=-1), wrong(gamma=INFINITY)],
            "ratio": [wrong(ratio=0), wrong(ratio="1")],
            "size": [
                wrong("image_size", kind="mpdiou", image_size=size)
                for size in (None, (1,), (0, 1), (1, INFINITY), (1, "2"))
            ],
            "reduction": [wrong(reduction="median")],
        },
        ("pred", "target"),
    ),
    "iou.from_cxcywh": Helper(
        iou.from_cxcywh,
        st.fixed_dictionaries({"boxes": centered_boxes()}),
        lambda given, result: is_like(
            result,
            given["boxes"].shape,
            torch.promote_types(given["boxes"].dtype, torch.float32),
        ),
        {key: value for key, value in bad_boxes("boxes").items() if key != "reversed boxes"}
        | {
            "a negative width or height": [
                wrong(boxes=torch.tensor([0.0, 0, -1, 1])),
                wrong(boxes=torch.tensor([0.0, 0, 1, -1])),
            ]
        },
        ("boxes",),
    ),
    "iou.regression_cases": Helper(
        iou.regression_cases,
        st.fixed_dictionaries({"points": st.integers(1, 3), "seed": st.integers(0, 2**63 - 1)}),
        lambda given, result: [
            is_like(part, (343 * given["points"], 4), torch.float32) for part in result
        ],
        {
            "a number of points that isn't an integer of at least 1": [
                wrong(points=value) for value in (0, 1.0, True, "1")
            ],
            "a seed that isn't one of at least 0": [
                wrong(seed=value) for value in (-1, 1.0, True, "1")
            ],
        },
    ),
    "iou.regression_slope": Helper(
        iou.regression_slope,
        st.tuples(regressions(), similarities).map(lambda drawn: drawn[0] | {"kind": drawn[1]}),
        lambda given, result: is_like(result, given["boxes"].shape, torch.float64),
        {"power": [wrong("alpha", kind="alpha_iou", alpha=0)]},
    ),
    "iou.regression_descent": Helper(
        lambda **given: iou.regression_descent(
            **given, slope=lambda x, goal: iou.regression_slope(x, goal, "diou")
        ),
        regressions().map(lambda drawn: {"start": drawn["boxes"], "goal": drawn["goal"]}),
        descent_answer,
        {
            "shape": [wrong(start=torch.zeros(4)), wrong(goal=torch.zeros(1, 5))],
            "dtype": [wrong(start=torch.ones(1, 4).long()), wrong(goal=[[0.0] * 4])],
            "no boxes": [wrong(**{name: torch.zeros(0, 4)}) for name in ("start", "goal")],
            "different lengths": [wrong("start and goal", goal=torch.ones(9, 4))],
            "NaN": [wrong(start=torch.tensor([[NAN, 0, 1, 1]]))],
            "infinity": [wrong(goal=torch.tensor([[0, -INFINITY, 1, 1]]))],
            "a negative width or height": [wrong(goal=torch.tensor([[0.0, 0, 1, -1]]))],
        },
        documented=iou.regression_descent,
        slow=True,  # 200 steps a call
    ),
    "iou.rotated_corners": Helper(
        iou.rotated_corners,
        st.fixed_dictionaries({"boxes": rotated_boxes()}),
        lambda given, result: is_like(
            result, (*given["boxes"].shape[:-1], 4, 2), answered_in(given["boxes"])
        ),
        bad_rotated("a negative width or height", "boxes"),
        ("boxes",),
    ),
    **{
        f"iou.{name}": Helper(
            getattr(iou, name),
            box_pairs(one=lambda shape, thinnest=thinnest: rotated_boxes(shape, thinnest=thinnest)),
            elementwise,
            bad_rotated("a negative width or height", "a", "b"),
            BOX_SLOPES,
            documented=iou.rotated_iou,
        )
        # The slope of an overlap in the angle is as large as the ratio of the sides.
        for name, thinnest in (("rotated_iou", 1e-18), ("gwd", 1e-30))
    },
    "iou.kld": Helper(
        iou.kld,
        box_pairs(one=lambda shape: rotated_boxes(shape, torch.float64, least=1e-30)),
        elementwise,
        bad_rotated("a width or height that isn't positive", "a", "b"),
        BOX_SLOPES,
    ),
    "iou.nms": Helper(
        iou.nms,
        st.tuples(scored(boxes=lambda n: boxes((n,))), st.floats(-2, 2), similarities).map(
            lambda drawn: drawn[0] | {"threshold": drawn[1], "kind": drawn[2]}
        ),
        nms_answer,
        {
            key.replace("infinity", "infinity (in boxes)"): some
            for key, some in lists(bad_boxes("boxes"), "boxes").items()
        }
        | UNKNOWN
        | {"different lengths": [wrong("boxes and scores", boxes=torch.zeros(9, 4))]}
        | {"scores": [wrong(scores=torch.zeros(1, 1)), wrong(scores=torch.tensor([NAN]))]}
        | {"groups": [wrong(groups=torch.zeros(1)), wrong(groups=torch.tensor(1))]}
        | {
            "a threshold that isn't a finite number": [
                wrong(threshold=value) for value in (NAN, INFINITY, True, "0.5", None)
            ]
        },
    ),
    "iou.average_precision": Helper(
        iou.average_precision,
        scored(
            hits=lambda n: tensors((n,), st.booleans(), torch.bool),
            objects=lambda n: st.integers(max(1, n), 9),
        ),
        lambda given, result: is_like(result, (), torch.float64),
        {
            "shape": [wrong(scores=torch.zeros(1, 1)), wrong(hits=torch.ones(1, 1).bool())],
            "dtype": [wrong(hits=torch.ones(1)), wrong(scores=[1.0])],
            "different lengths": [wrong("scores and hits", hits=torch.ones(9).bool())],
            "NaN": [wrong(scores=torch.tensor([NAN]))],
            "fewer than 1 objects": [wrong(objects=0)],
            "more hits than objects": [
                wrong(
                    "hits and objects", scores=torch.ones(2), hits=torch.ones(2).bool(), objects=1
                )
            ],
        },
    ),
    "iou.coco_map": Helper(
        iou.coco_map,
        evaluations(),
        map_answer,
        {
            "lists of different lengths": [
                wrong("detections and targets", detections=a_detection(), targets=[])
            ],
            "a missing or unknown key": [
                wrong("targets[0]", detections=a_detection(), targets=[{}]),
                wrong("targets[0]", detections=a_detection(), targets=an_image(score=1)),
                wrong("detections[0]", detections=an_image(), targets=an_image()),
            ],
            "shape": [bad_image(labels=torch.tensor(1)), bad_image(boxes=torch.zeros(4))],
            "dtype": [bad_image(labels=torch.ones(1)), bad_image(boxes=[[0, 0, 1, 1]])],
            "NaN": [bad_image(area=torch.tensor([NAN])), bad_image(boxes=torch.full((1, 4), NAN))],
            "infinity (in boxes)": [bad_image(boxes=torch.full((1, 4), INFINITY))],
            "reversed boxes": [bad_image(boxes=torch.tensor([[1.0, 1, 0, 0]]))],
        },
        finite=lambda given: False,
        without=True,
    ),
}
