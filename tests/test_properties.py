"""What holds for every public helper, whatever it's given: finite values and gradients, the shapes
and dtypes that are documented, and every documented error.

`HELPERS` has one row a helper. A helper without a row fails, and so does a documented error of which
a row says nothing.
"""

import inspect
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import (
    betas,
    box_pairs,
    boxes,
    dtypes,
    examples,
    has_terminal_snr,
    lengths,
    log_decay_values,
    mixtures,
    numbers,
    rotated_boxes,
    schedules,
    sequences,
    shape_pairs,
    shapes,
    sizes,
    tensors,
    times,
)
from torch import nn

from derived import diffusion, initialization, iou, linear_attention
from derived.diffusion import GaussianMixture, Schedule

MODULES = (iou, initialization, linear_attention, diffusion)
NAN, INFINITY = torch.nan, torch.inf

Arguments = dict[str, Any]


@dataclass(frozen=True)
class Helper:
    """One public helper.

    Args:
        call: it.
        arguments: draws its arguments, by name, from its documented domain.
        answer: asserts the shape and the dtype of a result, given the arguments.
        errors: what makes it raise: for the words of its docstring, changed arguments, each with
            how the message begins.
        slopes: names of the arguments by which its result can be differentiated.
        finite: whether a result must be finite, given the arguments; NaN it must never hold.
        documented: whose docstring lists the errors.
    """

    call: Callable
    arguments: st.SearchStrategy[Arguments]
    answer: Callable[[Arguments, Any], None]
    errors: dict[str, list] = field(default_factory=dict)
    slopes: tuple[str, ...] = ()
    finite: Callable[[Arguments], bool] = lambda arguments: True
    documented: Any = None


def wrong(says: str | None = None, **changes) -> tuple[str, Arguments]:
    """Changed arguments, and how the message begins: with the first one's name unless told."""
    return says or next(iter(changes)), changes


def is_like(result, shape, dtype):
    assert (tuple(result.shape), result.dtype) == (tuple(shape), dtype)


def is_number(arguments, result):
    assert type(result) is float


def floats_in(result: Any) -> Iterator[torch.Tensor]:
    """Yield what numbers a result holds, as tensors."""
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, tuple | list):
        for part in result:
            yield from floats_in(part)
    elif isinstance(result, torch.Tensor) and result.is_floating_point():
        yield result
    elif isinstance(result, float):
        yield torch.tensor(result, dtype=torch.float64)


# IoU ---------------------------------------------------------------------------------------------


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
UNKNOWN = {"kind": [wrong(kind="area"), wrong(kind=None)]}


@st.composite
def losses(draw):
    arguments = draw(box_pairs(("pred", "target")))
    kinds = st.sampled_from(get_args(iou.losses.Kind) + get_args(iou.losses.Relative))
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
    found = {"scores": draw(tensors((n,), score))}
    return found | {name: draw(strategy(n)) for name, strategy in more.items()}


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
        lambda given, result: is_like(result, given["boxes"].shape, given["boxes"].dtype),
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
            ]
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
    ),
}

# Initialization ----------------------------------------------------------------------------------

weights = st.tuples(st.sampled_from([(1, 1), (3, 2), (2, 3), (4, 2, 3, 3)]), dtypes).map(
    lambda drawn: torch.empty(drawn[0], dtype=drawn[1])
)
FUNCTIONS = (
    torch.relu,
    torch.tanh,
    torch.sigmoid,
    nn.functional.gelu,
    nn.functional.silu,
    torch.sin,
)
functions = st.sampled_from(FUNCTIONS)
NO_FUNCTION = {
    "something that isn't such a function": [wrong(fn=1.0), wrong(fn=torch.sum), wrong(fn=len)]
}
NOT_POSITIVE = (0, -1.0, NAN, INFINITY, True, "1")
NEGATIVE = (-1.0, NAN, INFINITY, True, "1")
COUNTS = (0, -1, 1.0, True, None)


def fills(**more):
    """A weight to fill, a generator, and more arguments."""
    seed = st.integers(0, 2**31).map(torch.Generator().manual_seed)
    return st.fixed_dictionaries({"w": weights, "generator": seed, **more})


def filled(given, result):
    assert result is given["w"]


def bad_weights(*, dimensions=True):
    errors = {"integers": [wrong(w=torch.zeros(2, 2).long())]}
    if dimensions:
        errors["fewer than two dimensions"] = [wrong("w.shape", w=torch.zeros(2))]
        errors["a size 0"] = [wrong("w.shape", w=torch.zeros(2, 0))]
    return errors


@st.composite
def convolutions(draw):
    groups = draw(st.integers(1, 3))
    kernel = draw(st.lists(st.integers(1, 3), max_size=2))
    return {
        "shape": (groups * draw(st.integers(1, 3)), draw(st.integers(1, 3)), *kernel),
        "groups": groups,
        "transposed": draw(st.booleans()),
    }


def two_counts(given, result):
    assert len(result) == 2 and all(type(number) is int and number >= 1 for number in result)


bounds = st.one_of(
    sizes(1e30, 1e-30).map(lambda a: {"a": a}),
    st.just({"a": INFINITY}),
    st.lists(
        st.one_of(numbers(), st.sampled_from([-INFINITY, INFINITY])),
        min_size=2,
        max_size=2,
        unique=True,
    )
    .map(sorted)
    .map(lambda ends: dict(zip("ab", ends, strict=True))),
)


@st.composite
def probabilities(draw):
    shape = draw(st.sampled_from([(1,), (2,), (5,), (0, 3), (2, 3)]))
    logits = draw(tensors(shape, st.one_of(numbers(1e4, 1e-4), st.just(-1e4))))
    return {"p": logits.softmax(-1).to(draw(st.sampled_from([torch.float32, torch.float64])))}


def network(width=3, *, embedding=False):
    first = nn.Embedding(4, width) if embedding else nn.Linear(2, width)
    return nn.Sequential(first, nn.ReLU(), nn.Linear(width, width), nn.Linear(width, 2))


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)
        self.three.weight = self.two.weight


def three_groups(given, groups):
    assert [group["role"] for group in groups] == ["input", "hidden", "readout"]
    found = [id(weight) for group in groups for weight in group["params"]]
    assert sorted(found) == sorted(map(id, given["model"].parameters()))
    assert all(0 < group["lr"] < math.inf for group in groups)


def make_model(width):
    torch.manual_seed(0)
    model = network(width)
    data = torch.randn(4, 2)
    return (
        model,
        torch.optim.SGD(model.parameters(), lr=0.01),
        lambda net: net(data).square().mean(),
    )


def changes_answer(given, result):
    for values in result.values():
        is_like(values, (len(given["widths"]),), torch.float32)
    assert sorted(result) == ["0", "2", "3"]


def a_table(rows=3):
    return torch.randn(rows, 2, generator=torch.Generator().manual_seed(0)), torch.arange(rows) % 2


widths = st.lists(st.integers(1, 4), min_size=1, max_size=2)
BAD_WIDTHS = (None, [], 3)

HELPERS |= {
    "initialization.truncnorm_gamma": Helper(
        initialization.truncnorm_gamma,
        bounds,
        is_number,
        {
            "a bound that is no number": [
                wrong(a="1"),
                wrong("a", a=None),
                wrong("a", a=NAN, b=1.0),
                wrong("b", a=0.0, b=NAN),
                wrong("b", a=0.0, b="1"),
            ],
            "a <= 0 without b": [wrong(a=0.0, b=None), wrong(a=-1.0, b=None)],
            "a >= b": [wrong("a and b", a=1.0, b=1.0), wrong("a and b", a=2.0, b=1.0)],
        },
    ),
    "initialization.trunc_normal_": Helper(
        initialization.trunc_normal_,
        fills(
            std=lengths(100.0, 1e-3),
            a=st.one_of(sizes(1e30, 1e-30), st.just(INFINITY)),
            exact_std=st.booleans(),
        ),
        filled,
        bad_weights(dimensions=False)
        | {
            "a negative standard deviation": [wrong(std=value) for value in NEGATIVE],
            "bounds that aren't above 0": [wrong(a=value) for value in (0, -1.0, NAN, "2", True)],
        },
    ),
    "initialization.orthogonal_": Helper(
        initialization.orthogonal_,
        fills(gain=lengths(1e3, 1e-3)),
        filled,
        bad_weights() | {"a negative gain": [wrong(gain=value) for value in NEGATIVE]},
    ),
    "initialization.fans": Helper(
        initialization.fans,
        convolutions(),
        two_counts,
        {
            "fewer than two sizes": [wrong(shape=(3,)), wrong(shape=3)],
            "a size below 1": [wrong(shape=(3, 0)), wrong(shape=(3, -1)), wrong(shape=(3, 1.0))],
            "groups that don't divide the first of them": [wrong("groups", shape=(3, 1), groups=2)]
            + [wrong(groups=value) for value in COUNTS],
        },
    ),
    "initialization.variance_scaling_": Helper(
        initialization.variance_scaling_,
        fills(
            mode=st.sampled_from(["fan_in", "fan_out", "fan_avg"]),
            distribution=st.sampled_from(["normal", "uniform", "truncated_normal"]),
            gain=lengths(1e3, 1e-3),
            transposed=st.booleans(),
        ),
        filled,
        bad_weights()
        | {
            "an unknown mode": [wrong(mode="fan")],
            "distribution": [wrong(distribution="cauchy")],
            "a negative gain": [wrong(gain=value) for value in NEGATIVE],
            "groups that don't divide the first size": [
                wrong("groups", w=torch.zeros(3, 1), groups=2)
            ],
        },
    ),
    "initialization.gaussian_mean": Helper(
        initialization.gaussian_mean,
        st.fixed_dictionaries({"fn": functions, "sigma": lengths()}),
        is_number,
        NO_FUNCTION | {"a negative standard deviation": [wrong(sigma=x) for x in NEGATIVE]},
    ),
    "initialization.gain": Helper(
        initialization.gain,
        st.fixed_dictionaries({"fn": functions, "sigma": sizes()}),
        is_number,
        NO_FUNCTION
        | {
            "one that vanishes where it matters": [wrong(fn=torch.zeros_like)],
            "a standard deviation that isn't above 0": [wrong(sigma=x) for x in NOT_POSITIVE],
        },
    ),
    "initialization.moment_map": Helper(
        initialization.moment_map,
        st.fixed_dictionaries({"fn": functions, "sigma_w2": lengths(), "q": lengths()}),
        lambda given, result: [is_number(given, number) for number in result],
        NO_FUNCTION
        | {"a negative number": [wrong(**{n: x}) for n in ("sigma_w2", "q") for x in NEGATIVE]},
    ),
    "initialization.rem_entropy": Helper(
        initialization.rem_entropy,
        st.fixed_dictionaries({"sigma": lengths(), "n": st.integers(1, 10**30)}),
        is_number,
        {
            "a negative standard deviation": [wrong(sigma=value) for value in NEGATIVE],
            "n below 1": [wrong(n=value) for value in COUNTS],
        },
    ),
    "initialization.softmax_jacobian_norm": Helper(
        initialization.softmax_jacobian_norm,
        probabilities(),
        lambda given, result: is_like(result, given["p"].shape[:-1], given["p"].dtype),
        {
            "what isn't floating point numbers of at least 0 that add up to 1": [
                wrong(p=value)
                for value in (
                    torch.tensor([1]),
                    torch.tensor([0.5, 0.4]),
                    torch.tensor([1.5, -0.5]),
                    torch.tensor([NAN, 1.0]),
                    torch.tensor(1.0),
                    torch.zeros(2, 0),
                    [1.0],
                )
            ]
        },
        ("p",),
    ),
    "initialization.deepnorm_constants": Helper(
        initialization.deepnorm_constants,
        st.fixed_dictionaries(
            {"layers": st.integers(1, 10**9), "optimizer": st.sampled_from(["sgd", "adam"])}
        ),
        lambda given, result: [is_number(given, number) for number in result],
        {
            "layers below 1": [wrong(layers=value) for value in COUNTS],
            "an unknown optimizer": [wrong(optimizer="lion")],
        },
    ),
    "initialization.fixup_scale": Helper(
        initialization.fixup_scale,
        st.fixed_dictionaries(
            {"branches": st.integers(1, 10**9), "layers_per_branch": st.integers(2, 10**9)}
        ),
        is_number,
        {
            "branches below 1": [wrong(branches=value) for value in COUNTS],
            "layers per branch below 2": [wrong(layers_per_branch=value) for value in (1, *COUNTS)],
        },
    ),
    "initialization.mup_groups": Helper(
        initialization.mup_groups,
        st.fixed_dictionaries(
            {
                "model": st.builds(network, st.integers(1, 5), embedding=st.booleans()),
                "base_width": st.integers(1, 99),
                "lr": sizes(),
            }
        ),
        three_groups,
        {
            "a model without an input layer and a readout": [
                wrong(model=nn.Linear(2, 2)),
                wrong(model=nn.ReLU()),
                wrong(model=None),
            ],
            "with matrices elsewhere than in linear and embedding layers": [
                wrong(model=nn.Sequential(network(), nn.Conv1d(1, 1, 1)))
            ],
            "with shared ones": [wrong(model=Shared())],
            "a width": [wrong(base_width=value) for value in COUNTS],
            "a rate that isn't above 0": [wrong(lr=value) for value in NOT_POSITIVE],
        },
    ),
    "initialization.coord_check": Helper(
        initialization.coord_check,
        st.fixed_dictionaries(
            {"make_model": st.just(make_model), "widths": widths, "steps": st.integers(1, 3)}
        ),
        changes_answer,
        {
            "no widths": [wrong(widths=value) for value in BAD_WIDTHS],
            "a width or number of steps below 1": [
                *[wrong("widths", widths=[3, value]) for value in COUNTS],
                *[wrong(steps=value) for value in COUNTS],
            ],
        },
    ),
    "initialization.width_sweep": Helper(
        initialization.width_sweep,
        st.fixed_dictionaries(
            {
                "data": st.integers(1, 3).map(a_table),
                "widths": widths,
                "rates": st.lists(sizes(1e30, 1e-6), min_size=1, max_size=2),
                "steps": st.integers(1, 3),
                "batch_size": st.integers(1, 3),
                "seed": st.integers(0, 99),
            }
        ),
        lambda given, result: is_like(
            result, (2, len(given["widths"]), len(given["rates"])), torch.float32
        ),
        {
            "data of other shapes": [
                wrong(data=value)
                for value in (
                    None,
                    (torch.ones(2), torch.ones(2).long()),
                    (torch.ones(2, 2), torch.ones(3).long()),
                    (torch.ones(0, 2), torch.ones(0).long()),
                )
            ],
            "dtypes": [wrong(data=(torch.ones(2, 2), torch.ones(2)))],
            "no widths": [wrong(widths=value) for value in BAD_WIDTHS],
            "no rates": [wrong(rates=value) for value in BAD_WIDTHS],
            "or such": [wrong(widths=[0]), wrong(rates=[0.0]), wrong(rates=[NAN])],
            "a number of steps": [wrong(steps=value) for value in COUNTS],
            "a batch size that isn't above 0": [wrong(batch_size=value) for value in COUNTS],
        },
        finite=lambda given: False,  # infinity says that training diverged
    ),
}

# Linear attention --------------------------------------------------------------------------------

feature_maps = st.sampled_from(["elu", "relu", "sphere", "taylor", "cosformer", "identity"])
random_kinds = st.sampled_from(["positive", "trigonometric"])
QKV = ("q", "k", "v")


@st.composite
def vectors(draw, most, least, **more):
    """Vectors whose squares are numbers of their dtype."""
    dtype = draw(dtypes)
    shape = draw(st.sampled_from([(0, 3), (2, 0), (1, 1), (2, 3), (2, 2, 2)]))
    half = dtype == torch.float16
    x = draw(tensors(shape, numbers(200.0 if half else most, 1e-2 if half else least), dtype))
    return {"x": x} | {name: draw(strategy(shape[-1], dtype)) for name, strategy in more.items()}


def features(given, result):
    d = given["x"].shape[-1]
    number = {"sphere": 1 + d, "taylor": 1 + d + d * d, "cosformer": 2 * d}.get(given["kind"], d)
    is_like(result, (*given["x"].shape[:-1], number), given["x"].dtype)


def random_answer(given, result):
    number = len(given["directions"]) * (1 if given["kind"] == "positive" else 2)
    is_like(result, (*given["x"].shape[:-1], number), given["x"].dtype)


@st.composite
def two_vectors(draw):
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    first, second = draw(shape_pairs)
    d = draw(st.sampled_from([1, 3]))
    values = numbers(15.0, 1e-30)
    q = draw(tensors((*first, d), values, dtype))
    k = q.clone() if first == second and draw(st.booleans()) else None
    k = draw(tensors((*second, d), values, dtype)) if k is None else k
    return {"q": q, "k": -k if draw(st.booleans()) else k, "kind": draw(random_kinds)}


def variance_answer(given, result):
    shape = torch.broadcast_shapes(given["q"].shape[:-1], given["k"].shape[:-1])
    is_like(result, shape, given["q"].dtype)
    assert (result >= 0).all()


def small_exponent(given):
    """Whether the variance is a number of its dtype, however the vectors lie to each other."""
    exponent = 2 * (_largest(given["q"]) + _largest(given["k"])) ** 2
    return exponent < math.log(torch.finfo(given["q"].dtype).max)


def _largest(x):
    return x.double().norm(dim=-1).max().item() if x.numel() else 0.0


@st.composite
def attentions(draw):
    causal = draw(st.booleans())
    kind = draw(st.one_of(feature_maps, st.just("softmax")))
    if causal and kind == "softmax":
        kind = "elu"
    arguments = draw(
        sequences(most=8.0, lengths=(1, 2, 5), same_length=causal or kind == "cosformer")
    )
    normalize = kind != "identity" and draw(st.booleans())
    return arguments | {"kind": kind, "causal": causal, "normalize": normalize}


def outputs_like_values(given, result):
    q, v = given["q"], given["v"]
    is_like(result, (*q.shape[:3], v.shape[3]), v.dtype)


def outputs_and_state(given, result):
    outputs_like_values(given, result[0])
    k, v = given["k"], given["v"]
    shape = (*k.shape[:2], k.shape[3], v.shape[3])
    is_like(result[1], shape, torch.promote_types(v.dtype, torch.float32))


@st.composite
def memories(draw, *, decay=True, beta=False, state=False, chunk=True):
    """Sequences to walk through, with stable steps of the delta rule: unit keys, beta up to 2."""
    drawn = draw(sequences(most=4.0))
    batch, heads, n, d = drawn["k"].shape
    dtype = drawn["k"].dtype
    if decay and draw(st.booleans()):
        channels = draw(st.booleans()) and not chunk
        shape = drawn["k"].shape if channels else (batch, heads, n)
        drawn["log_decay"] = draw(tensors(shape, log_decay_values, dtype))
    if beta or beta is None and draw(st.booleans()):
        drawn["k"] = nn.functional.normalize(drawn["k"].double(), dim=-1).to(dtype)
        drawn["beta"] = draw(tensors((batch, heads, n), st.floats(0, 1.9), dtype))
    if state and draw(st.booleans()):
        drawn["state"] = draw(tensors((batch, heads, d, drawn["v"].shape[3]), numbers(4.0), dtype))
    if chunk:
        drawn["chunk"] = draw(st.integers(1, 7))
    return drawn | {"scale": draw(numbers(4.0))}


def a_sequence(n=2, d=2, **more):
    return {name: torch.ones(1, 1, n, d) for name in QKV} | more


def bad_sequences(*, side_by_side=True):
    """What is refused of queries, keys and values."""
    x = torch.ones(1, 1, 2, 2)
    relations = [
        wrong("q and k", **a_sequence(q=torch.ones(1, 1, 2, 3))),
        wrong("k and v", **a_sequence(v=torch.ones(1, 1, 3, 2))),
    ]
    if side_by_side:
        relations.append(wrong("q and k", **a_sequence(q=torch.ones(1, 1, 3, 2))))
    return {
        "shape": [wrong(**{name: torch.ones(2, 2)}) for name in QKV] + relations,
        "dtype": [wrong(**{name: value}) for name in QKV for value in (x.long(), x.bool(), None)]
        + [wrong("q, k and v", **a_sequence(q=x.double()))],
        "NaN": [wrong(**{name: x * NAN}) for name in QKV],
        "infinity": [wrong(**{name: x * INFINITY}) for name in QKV],
    }


def also(errors, **more):
    """Errors, with more of those that have a name already."""
    return {key: some + more.get(key, []) for key, some in errors.items()}


def token(**changes):
    """A sequence, and one number a token that is refused."""
    ((name, _),) = changes.items()
    return wrong(name, **a_sequence(**changes))


def without_others(errors):
    """Errors, raised whatever else of a recurrence was drawn for sequences of another length."""
    optional = {"log_decay": None, "beta": None, "state": None}
    return {
        key: [(says, optional | changes) for says, changes in cases]
        for key, cases in errors.items()
    }


RISING = {"logarithms above 0": [token(log_decay=torch.full((1, 1, 2), 0.1))]}
BAD_DECAYS = {
    "shape": [token(log_decay=torch.zeros(2)), token(log_decay=torch.tensor(0.0))],
    "dtype": [token(log_decay=torch.zeros(1, 1, 2).long())],
    "NaN": [token(log_decay=torch.full((1, 1, 2), NAN))],
}
BAD_BETAS = {
    "shape": [token(beta=torch.zeros(2))],
    "dtype": [token(beta=torch.zeros(1, 1, 2).long())],
    "NaN": [token(beta=torch.full((1, 1, 2), NAN))],
    "infinity": [token(beta=torch.full((1, 1, 2), INFINITY))],
}
BAD_VECTORS = {
    "shape": [wrong(x=torch.tensor(1.0))],
    "dtype": [wrong(x=torch.ones(2, 2).long()), wrong(x=[1.0])],
    "NaN": [wrong(x=torch.tensor([[NAN]]))],
    "infinity": [wrong(x=torch.tensor([[INFINITY, -INFINITY]]))],
}

HELPERS |= {
    "linear_attention.feature_map": Helper(
        linear_attention.feature_map,
        st.tuples(vectors(1e18, 1e-15), feature_maps).map(
            lambda drawn: drawn[0] | {"kind": drawn[1]}
        ),
        features,
        also(BAD_VECTORS, shape=[wrong("x", x=torch.ones(2), kind="cosformer")]) | UNKNOWN,
        ("x",),
    ),
    "linear_attention.random_features": Helper(
        linear_attention.random_features,
        vectors(
            3.0,
            1e-30,
            directions=lambda d, dtype: tensors((2, d), numbers(3.0), dtype),
            kind=lambda d, dtype: random_kinds if dtype != torch.float16 else st.just("positive"),
        ).map(lambda drawn: drawn | {"x": drawn["x"].clamp(-3, 3)}),
        random_answer,
        also(
            BAD_VECTORS,
            shape=[
                wrong(directions=torch.ones(2)),
                wrong(directions=torch.ones(0, 2)),
                wrong("x and directions", x=torch.ones(2), directions=torch.ones(2, 3)),
            ],
            NaN=[wrong(directions=torch.tensor([[NAN]]))],
        )
        | UNKNOWN,
        ("x", "directions"),
    ),
    "linear_attention.random_feature_variance": Helper(
        linear_attention.random_feature_variance,
        two_vectors(),
        variance_answer,
        {
            "shape": [
                wrong("q and k", q=torch.ones(2), k=torch.ones(3)),
                wrong("q and k", q=torch.ones(2, 3), k=torch.ones(4, 3)),
                wrong(q=torch.tensor(1.0)),
            ],
            "dtype": [wrong(**{name: torch.ones(2).long()}) for name in "qk"],
            "NaN": [wrong(**{name: torch.tensor([NAN])}) for name in "qk"],
            "infinity": [wrong(**{name: torch.tensor([INFINITY])}) for name in "qk"],
        }
        | UNKNOWN,
        ("q", "k"),
        finite=small_exponent,
    ),
    "linear_attention.linear_attention": Helper(
        linear_attention.linear_attention,
        attentions(),
        outputs_like_values,
        bad_sequences(side_by_side=False)
        | UNKNOWN
        | {
            "weights that can be negative with `normalize`": [
                wrong("kind and normalize", **a_sequence(kind="identity", normalize=True))
            ],
            "a kind that looks ahead with `causal`": [
                wrong("kind and causal", **a_sequence(kind="softmax", causal=True))
            ],
            "length": [
                wrong("q and k", **a_sequence(q=torch.ones(1, 1, 3, 2), causal=True)),
                wrong("q and k", **a_sequence(q=torch.ones(1, 1, 3, 2), kind="cosformer")),
            ],
        },
        QKV,
    ),
    "linear_attention.segsum": Helper(
        linear_attention.segsum,
        st.tuples(st.sampled_from([(0,), (1,), (4,), (2, 3), (0, 2)]), dtypes).flatmap(
            lambda drawn: st.fixed_dictionaries(
                {"log_decay": tensors(drawn[0], log_decay_values, drawn[1])}
            )
        ),
        lambda given, result: is_like(
            result,
            (*given["log_decay"].shape, given["log_decay"].shape[-1]),
            given["log_decay"].dtype,
        ),
        {
            "shape": [wrong(log_decay=torch.tensor(0.0))],
            "dtype": [wrong(log_decay=torch.zeros(2).long()), wrong(log_decay=[0.0])],
            "NaN": [wrong(log_decay=torch.tensor([NAN]))],
            "logarithms above 0": [wrong(log_decay=torch.tensor([0.1]))],
        },
        finite=lambda given: False,  # minus infinity is the logarithm of 0
    ),
    "linear_attention.recurrent": Helper(
        linear_attention.recurrent,
        memories(beta=None, state=True, chunk=False),
        outputs_and_state,
        without_others(
            also(
                bad_sequences(),
                shape=BAD_DECAYS["shape"] + BAD_BETAS["shape"] + [token(state=torch.zeros(2, 2))],
                dtype=BAD_DECAYS["dtype"] + BAD_BETAS["dtype"],
                NaN=BAD_DECAYS["NaN"] + BAD_BETAS["NaN"] + [token(state=torch.tensor([NAN]))],
                infinity=BAD_BETAS["infinity"] + [token(scale=INFINITY)],
            )
            | RISING
        ),
        (*QKV, "log_decay", "beta", "state"),
    ),
    "linear_attention.chunked": Helper(
        linear_attention.chunked,
        memories(),
        outputs_like_values,
        also(bad_sequences(), **BAD_DECAYS, infinity=[token(scale=INFINITY), token(chunk=0)])
        | RISING,
        (*QKV, "log_decay"),
    ),
    "linear_attention.delta_rule": Helper(
        linear_attention.delta_rule,
        memories(decay=False, beta=True),
        outputs_like_values,
        also(bad_sequences(), **BAD_BETAS),
        (*QKV, "beta"),
    ),
    "linear_attention.recall_error": Helper(
        linear_attention.recall_error,
        st.fixed_dictionaries(
            {
                "pairs": st.integers(1, 30),
                "dim": st.integers(1, 30),
                "rule": st.sampled_from(["hebb", "delta", "least_squares"]),
                "decay": st.floats(0, 1),
                "beta": numbers(100.0),
            }
        ),
        lambda given, result: is_like(result, (given["pairs"],), torch.float64),
        {
            "counts below 1": [wrong(**{n: value}) for n in ("pairs", "dim") for value in COUNTS],
            "an unknown rule": [wrong(rule="ridge")],
            "a decay outside 0 to 1": [wrong(decay=value) for value in (-0.1, 1.1, NAN, "1")],
            "beta": [wrong(beta=value) for value in (NAN, INFINITY, None)],
        },
    ),
}

# Diffusion ---------------------------------------------------------------------------------------

PREDICTIONS = ("x0", "eps", "v", "score", "velocity")
predictions = st.sampled_from(PREDICTIONS)


def parts_of(schedule, batch, *, least=0.0, most=None):
    """One time, or one for each sample."""
    one = times(schedule, least, most)
    kind = torch.int64 if schedule.discrete else torch.float64
    return st.one_of(one, tensors((batch,), one, kind))


@st.composite
def batches(draw, *names, most=1e3):
    """Tensors of one shape, each of a dtype of its own."""
    shape = draw(st.sampled_from([(0, 2), (1,), (2, 2), (2, 1, 2)]))
    return {name: draw(tensors(shape, numbers(most), draw(dtypes))) for name in names}


@st.composite
def states(draw):
    drawn = draw(batches("x0", "eps"))
    schedule = draw(schedules())
    return drawn | {"schedule": schedule, "t": draw(parts_of(schedule, len(drawn["x0"])))}


@st.composite
def conversions(draw):
    drawn = draw(batches("pred", "x"))
    schedule = draw(schedules())
    source, target = draw(predictions), draw(predictions)
    t = draw(parts_of(schedule, len(drawn["x"])))
    alpha, sigma = (torch.as_tensor(level(t)) for level in (schedule.alpha, schedule.sigma))
    noise = ("eps", "score")
    if source in noise and target not in noise and (alpha == 0).any():
        target = source
    if (sigma == 0).any() and (source == "x0" or target == "score"):
        target = source
    return drawn | {"t": t, "source": source, "target": target, "schedule": schedule}


def moderate(given):
    """Whether a conversion divides by nothing that makes its result exceed a float16."""
    return given["source"] == given["target"]


def like(name):
    return lambda given, result: is_like(result, given[name].shape, given[name].dtype)


@st.composite
def steps(draw):
    drawn = draw(batches("x", "eps"))
    schedule = draw(schedules())
    least = 1 if schedule.discrete else 0.1 * schedule.end
    most = schedule.end - 1 if schedule.discrete else 0.9 * schedule.end
    if most < least:
        schedule, least, most = Schedule.linear(), 1, 999
    t = draw(times(schedule, least, most))
    s = draw(times(schedule, 0, t - 1 if schedule.discrete else 0.5 * t))
    eta = draw(st.floats(0, 1))
    return drawn | {"t": t, "s": s, "schedule": schedule, "eta": eta}


@st.composite
def trajectories(draw):
    """A start, falling times and a schedule; every solver, with and without guidance."""
    drawn = draw(batches("x", most=100.0))
    schedule = draw(schedules())
    grid = schedule.times(
        draw(st.integers(1, int(min(schedule.end, 4)) if schedule.discrete else 4))
    )
    if not schedule.discrete and draw(st.booleans()):
        grid = grid.tolist()
    return drawn | {"times": grid, "schedule": schedule}


@st.composite
def samplings(draw):
    solver = draw(st.sampled_from(["ddim", "heun", "dpmpp_2m"]))
    guided = draw(st.booleans())
    return draw(trajectories()) | {
        "denoiser": draw(st.sampled_from([no_data, half_way])),
        "solver": solver,
        "guidance": draw(st.floats(-2, 8)) if guided else None,
        "unconditional": no_data if guided else None,
        "clip": draw(st.sampled_from([None, 1.0])),
        "eta": draw(st.floats(0, 1)) if solver == "ddim" else 0.0,
    }


def no_data(x, t):
    return torch.zeros_like(x)


def half_way(x, t):
    """Any answer will do; this one depends on both arguments."""
    return torch.tanh(x) / (1 + t.to(x.dtype).clamp(max=1).view(-1, *[1] * (x.ndim - 1)))


@st.composite
def likelihoods(draw):
    drawn = draw(trajectories().filter(lambda drawn: len(drawn["times"]) > 2))
    grid = torch.as_tensor(drawn["times"])[:-1]
    x = drawn["x"].clamp(-10, 10).to(draw(st.sampled_from([torch.float32, torch.float64])))
    probes = draw(st.sampled_from([None, 1, 3]))
    return {"x": x, "times": grid, "schedule": drawn["schedule"], "probes": probes}


@st.composite
def two_samples(draw):
    size = draw(st.sampled_from([(), (1,), (2, 2)]))
    dtype = draw(dtypes)
    most = 200.0 if dtype == torch.float16 else 1e12
    n, m = draw(st.integers(2, 4)), draw(st.integers(2, 4))
    return {
        "a": draw(tensors((n, *size), numbers(most), dtype)),
        "b": draw(tensors((m, *size), numbers(most), dtype)),
    }


@st.composite
def gaussians(draw):
    d = draw(st.integers(1, 3))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    values = numbers(1e9, 1e-9)
    factors = [draw(tensors((d, draw(st.integers(1, 3))), values)) for _ in range(2)]
    covariances = [(factor @ factor.T) for factor in factors]
    means = [draw(tensors((d,), values, dtype)) for _ in range(2)]
    return {
        "mean_a": means[0],
        "cov_a": ((covariances[0] + covariances[0].T) / 2).to(dtype),
        "mean_b": means[1],
        "cov_b": ((covariances[1] + covariances[1].T) / 2).to(dtype),
    }


@st.composite
def noisy_points(draw, *, dense=False):
    """Points of a mixture with noise, and where no component is a point without any, too."""
    mixture = draw(mixtures())
    n = draw(st.sampled_from([0, 1, 3]))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    per_point = draw(st.booleans())
    alpha = draw(tensors((n,), st.floats(0, 1)) if per_point else st.floats(0, 1))
    sigma = draw(tensors((n,), sizes(1e3, 1e-6)) if per_point else sizes(1e3, 1e-6))
    x = draw(tensors((n, mixture.means.shape[1]), numbers(1e6, 1e-6), dtype))
    return {"mixture": mixture, "x": x, "alpha": alpha, "sigma": sigma}


def bad_points():
    """What the methods of a mixture refuse, all of dimension 1 to 2."""
    point = GaussianMixture(torch.ones(1), torch.zeros(1, 1), torch.zeros(1))
    fine = {"mixture": point, "x": torch.zeros(2, 1), "alpha": 1.0, "sigma": 1.0}
    return {
        "an `x` of another shape": [
            wrong("x", **fine | {"x": torch.zeros(2, 5)}),
            wrong("x", **fine | {"x": torch.zeros(2)}),
            wrong("x", **fine | {"x": torch.zeros(2, 1).long()}),
            wrong("alpha", **fine | {"alpha": torch.ones(5)}),
            wrong("alpha", **fine | {"alpha": -1.0}),
            wrong("sigma", **fine | {"sigma": NAN}),
        ],
        "where a point without noise (`sigma = 0`) has no density": [
            wrong("sigma", **fine | {"sigma": 0.0})
        ],
    }


def of_points(dimensions):
    def check(given, result):
        n, d = given["x"].shape
        is_like(result, (n, *[d] * dimensions), given["x"].dtype)

    return check


def method(name):
    return lambda mixture, **given: getattr(mixture, name)(**given)


def bad_mixture(**changes):
    fine = {"weights": torch.ones(1), "means": torch.zeros(1, 1), "stds": torch.ones(1)}
    return fine | changes


def level_of(name):
    return lambda schedule, t: getattr(schedule, name)(t)


@st.composite
def moments(draw):
    schedule = draw(schedules())
    shape = draw(st.sampled_from([(0,), (2,), (1, 2)]))
    one = times(schedule)
    kind = torch.int64 if schedule.discrete else torch.float64
    return {"schedule": schedule, "t": draw(st.one_of(one, tensors(shape, one, kind)))}


def at_times(given, result):
    t = given["t"]
    shape = t.shape if isinstance(t, torch.Tensor) else ()
    is_like(result, shape, torch.float64)


def a_schedule(**kinds):
    def check(given, schedule):
        assert isinstance(schedule, Schedule)
        for name, value in kinds.items():
            assert getattr(schedule, name) == value
        ends = torch.tensor([0, schedule.end], dtype=torch.float32)
        # Shifted twice, a level of noise may be more than float32 holds.
        assert schedule.alpha(ends).isfinite().all() and not schedule.sigma(ends).isnan().any()
        exact = torch.tensor([0, schedule.end], dtype=torch.float64)
        assert schedule.alpha(exact).isfinite().all() and schedule.sigma(exact).isfinite().all()

    return check


CHAIN = Schedule.linear(10)
BAD_TIMES = {
    "times outside [0, `end`]": [
        wrong("t", schedule=CHAIN, t=value) for value in (-1, 11, torch.tensor([3, 11]))
    ],
    "NaN": [wrong("t", schedule=CHAIN, t=NAN), wrong("t", schedule=CHAIN, t=torch.tensor(NAN))],
    "a fraction of a chain's step": [wrong("t", schedule=CHAIN, t=0.5)],
}
X = torch.ones(2, 2)


def outside(*names):
    """Times that aren't the schedule's, or not one a sample."""
    return [
        wrong(
            name, **{"schedule": CHAIN} | {n: 1 for n in ("t", "s") if n in names} | {name: value}
        )
        for name in names
        for value in (-1, 11, 0.5, NAN, torch.tensor([1, 1, 1, 1, 1]))
    ]


def solving(**changes):
    return {"x": X, "times": [3, 1], "schedule": CHAIN, "denoiser": no_data} | changes


GRIDS = {
    "times that don't fall (duplicates included)": [
        wrong("times", **solving(times=value)) for value in ([1, 3], [3, 3, 1])
    ],
    "are outside the schedule": [
        wrong("times", **solving(times=value)) for value in ([99, 1], [3, NAN])
    ],
    "fewer than 2 of them": [wrong("times", **solving(times=value)) for value in ([3], [])],
}
OTHER_SHAPE = [wrong("denoiser", **solving(denoiser=lambda x, t: x[:, :1]))]

HELPERS |= {
    "diffusion.GaussianMixture": Helper(
        GaussianMixture,
        mixtures().map(lambda m: {"weights": m.weights, "means": m.means, "stds": m.stds}),
        lambda given, result: is_like(result.means, given["means"].shape, torch.float64),
        {
            "shapes that don't belong together": [
                wrong("weights, means and stds", **bad_mixture(means=torch.zeros(2, 1)))
            ],
            "NaN": [
                wrong(n, **bad_mixture(**{n: torch.tensor([NAN])})) for n in ("weights", "stds")
            ],
            "infinity": [wrong("means", **bad_mixture(means=torch.tensor([[INFINITY]])))],
            "weights that aren't positive": [
                wrong("weights", weights=torch.tensor([0.0, 1]), means=X, stds=torch.ones(2))
            ],
            "don't sum to 1": [wrong("weights", **bad_mixture(weights=torch.tensor([0.5])))],
            "negative `stds`": [wrong("stds", **bad_mixture(stds=-torch.ones(1)))],
            "from the methods": [],
            **{key: [] for key in bad_points()},  # of the methods, see their rows
        },
    ),
    "diffusion.GaussianMixture.sample": Helper(
        method("sample"),
        st.fixed_dictionaries({"mixture": mixtures(), "n": st.integers(1, 5), "dtype": dtypes}).map(
            lambda given: given | {"dtype": torch.float64}
        ),
        lambda given, result: is_like(
            result, (given["n"], given["mixture"].means.shape[1]), given["dtype"]
        ),
        {"n": [wrong(n=value) for value in COUNTS]},
    ),
    "diffusion.GaussianMixture.noised": Helper(
        method("noised"),
        st.fixed_dictionaries(
            {"mixture": mixtures(), "alpha": lengths(1e3, 1e-3), "sigma": lengths(1e3, 1e-3)}
        ),
        lambda given, result: is_like(result.means, given["mixture"].means.shape, torch.float64),
        {"level": [wrong(**{n: x}) for n in ("alpha", "sigma") for x in (-1.0, NAN, INFINITY)]},
    ),
    **{
        f"diffusion.GaussianMixture.{name}": Helper(
            method(name), noisy_points(), of_points(dimensions), bad_points(), ("x",)
        )
        for name, dimensions in (
            ("log_prob", 0),
            ("score", 1),
            ("denoise", 1),
            ("covariance", 2),
            ("jacobian", 2),
        )
    },
    "diffusion.GaussianMixture.denoiser": Helper(
        lambda mixture, schedule, x: mixture.denoiser(schedule)(x, schedule.end),
        st.fixed_dictionaries({"mixture": mixtures(), "schedule": schedules()}).map(
            lambda given: given | {"x": given["mixture"].means}
        ),
        lambda given, result: is_like(result, given["x"].shape, torch.float64),
    ),
    "diffusion.Schedule": Helper(
        lambda schedule: schedule, st.fixed_dictionaries({"schedule": schedules()}), a_schedule()
    ),
    "diffusion.Schedule.linear": Helper(
        Schedule.linear,
        st.fixed_dictionaries(
            {
                "steps": st.integers(1, 50),
                "beta_min": sizes(0.99, 1e-9),
                "beta_max": sizes(0.99, 1e-9),
            }
        ),
        a_schedule(discrete=True, norm="vp"),
        {
            "betas outside (0, 1)": [
                wrong("betas[0]", steps=2, beta_min=0.0),
                wrong("betas[1]", steps=2, beta_max=1.0),
            ],
            "steps": [wrong(steps=value) for value in COUNTS],
        },
    ),
    "diffusion.Schedule.cosine": Helper(
        Schedule.cosine,
        st.fixed_dictionaries(
            {
                "steps": st.integers(1, 50),
                "offset": st.floats(0, 1),
                "beta_max": st.floats(0.01, 0.999),
            }
        ),
        a_schedule(discrete=True, norm="vp"),
        {
            "steps": [wrong(steps=value) for value in COUNTS],
            "offset": [wrong(offset=value) for value in (-0.1, 1.1, NAN)],
            "beta_max": [wrong(beta_max=value) for value in (0, NAN, -1.0)],
        },
    ),
    "diffusion.Schedule.from_betas": Helper(
        Schedule.from_betas,
        st.fixed_dictionaries({"betas": betas}),
        a_schedule(discrete=True, norm="vp"),
        {
            "betas that aren't a list of numbers strictly between 0 and 1": [
                wrong(betas=value)
                for value in (
                    torch.tensor([0.0]),
                    torch.tensor([1.0]),
                    torch.tensor([NAN]),
                    torch.tensor([1]),
                    torch.tensor(0.5),
                    torch.ones(0),
                    [0.5],
                )
            ]
        },
    ),
    "diffusion.Schedule.edm": Helper(
        Schedule.edm,
        st.fixed_dictionaries({"sigma_max": sizes()}),
        a_schedule(discrete=False, norm="ve"),
        {"sigma_max": [wrong(sigma_max=value) for value in NOT_POSITIVE]},
    ),
    "diffusion.Schedule.rectified_flow": Helper(
        Schedule.rectified_flow, st.just({}), a_schedule(discrete=False, norm="flow", end=1.0)
    ),
    **{
        f"diffusion.Schedule.{name}": Helper(
            level_of(name),
            moments(),
            at_times,
            BAD_TIMES,
            finite=lambda given, infinite=infinite: not infinite,
            documented=Schedule.alpha,
        )
        for name, infinite in (("alpha", 0), ("sigma", 0), ("snr", 1), ("log_snr", 1))
    },
    "diffusion.Schedule.times": Helper(
        lambda schedule, steps: schedule.times(steps),
        st.tuples(schedules(), st.floats(0, 1)).map(
            lambda drawn: {
                "schedule": drawn[0],
                "steps": 1 + int(drawn[1] * (min(drawn[0].end, 50) - 1))
                if drawn[0].discrete
                else 7,
            }
        ),
        lambda given, result: is_like(
            result,
            (given["steps"] + 1,),
            torch.int64 if given["schedule"].discrete else torch.float64,
        ),
        {
            "more steps than a chain has": [wrong("steps", schedule=CHAIN, steps=11)],
            "steps": [wrong(steps=value) for value in COUNTS],
        },
    ),
    "diffusion.Schedule.with_zero_terminal_snr": Helper(
        lambda schedule: schedule.with_zero_terminal_snr(),
        st.fixed_dictionaries({"schedule": schedules(discrete=True).filter(has_terminal_snr)}),
        a_schedule(discrete=True, norm="vp"),
        {
            "a schedule that isn't a chain of at least 2 steps": [
                wrong("with_zero_terminal_snr", schedule=Schedule.edm()),
                wrong("with_zero_terminal_snr", schedule=Schedule.linear(1)),
            ],
            "one that loses no signal after its first step": [
                wrong("with_zero_terminal_snr", schedule=Schedule.from_betas(tiny))
                for tiny in (torch.tensor([0.5, 1e-20]), torch.full((3,), 1e-30))
            ],
        },
    ),
    "diffusion.Schedule.shifted": Helper(
        lambda schedule, factor: schedule.shifted(factor),
        st.fixed_dictionaries({"schedule": schedules(), "factor": sizes()}),
        a_schedule(),
        {"factor": [wrong(factor=value) for value in NOT_POSITIVE]},
    ),
    "diffusion.convert": Helper(
        diffusion.convert,
        conversions(),
        like("pred"),
        {
            "different shapes": [wrong("pred and x", pred=torch.ones(7), x=torch.ones(8))],
            "a time outside the schedule": outside("t"),
            "an unknown prediction": [wrong(source="noise"), wrong(target=None)],
            "at SNR 0 for `eps` or `score` as the source of another": [
                wrong(
                    "source",
                    schedule=Schedule.rectified_flow(),
                    t=1.0,
                    pred=X,
                    x=X,
                    source=source,
                    target="x0",
                )
                for source in ("eps", "score")
            ],
            "at sigma 0 for `score` as the target": [
                wrong("target", schedule=CHAIN, t=0, pred=X, x=X, source="eps", target="score")
            ],
            "for `x0` as the source of another": [
                wrong("source", schedule=CHAIN, t=0, pred=X, x=X, source="x0", target="eps")
            ],
        },
        ("pred", "x"),
        moderate,
    ),
    "diffusion.add_noise": Helper(
        diffusion.add_noise,
        states(),
        like("x0"),
        {
            "different shapes": [wrong("x0 and eps", x0=torch.ones(7), eps=torch.ones(8))],
            "a time outside the schedule": outside("t"),
        },
        ("x0", "eps"),
        lambda given: given["x0"].dtype != torch.float16,
    ),
    "diffusion.loss_weight": Helper(
        diffusion.loss_weight,
        st.tuples(shapes, st.sampled_from([torch.float32, torch.float64])).flatmap(
            lambda drawn: st.fixed_dictionaries(
                {
                    "kind": st.sampled_from(["x0", "eps", "v", "velocity"]),
                    "snr": tensors(
                        drawn[0], st.one_of(st.sampled_from([0.0, INFINITY]), sizes()), drawn[1]
                    ),
                    "gamma": st.one_of(sizes(), st.just(INFINITY)),
                }
            )
        ),
        like("snr"),
        {
            "a negative SNR": [wrong(snr=torch.tensor([-1.0]))],
            "NaN": [wrong(snr=torch.tensor([NAN]))],
            "a `gamma` that isn't positive": [wrong(gamma=value) for value in (0, -1, NAN, "5")],
            "an unknown `kind`": [wrong(kind="score")],
        },
        finite=lambda given: not (given["kind"] == "x0" and given["gamma"] == INFINITY),
    ),
    "diffusion.guide": Helper(
        diffusion.guide,
        st.tuples(batches("cond", "uncond"), numbers(10.0)).map(
            lambda drawn: drawn[0] | {"w": drawn[1]}
        ),
        like("cond"),
        {
            "different shapes": [
                wrong("cond and uncond", cond=torch.ones(7), uncond=torch.ones(8))
            ],
            "a weight that isn't a finite number": [
                wrong(w=value) for value in (NAN, INFINITY, "1")
            ],
        },
        ("cond", "uncond"),
    ),
    "diffusion.ddim_step": Helper(
        diffusion.ddim_step,
        steps(),
        like("x"),
        {
            "different shapes": [wrong("x and eps", x=torch.ones(7), eps=torch.ones(8))],
            "a time outside the schedule": outside("t", "s"),
            "`s` not before `t`": [wrong("s", schedule=CHAIN, t=3, s=value) for value in (3, 4)],
            "SNR 0 at `t`": [wrong("eps", schedule=Schedule.rectified_flow(), t=1.0, s=0.5)],
            "an `eta` outside [0, 1]": [wrong(eta=value) for value in (-0.1, 1.1, NAN)],
        },
        ("x", "eps"),
        lambda given: given["x"].dtype == torch.float64,
    ),
    "diffusion.sample": Helper(
        diffusion.sample,
        samplings(),
        like("x"),
        GRIDS
        | {
            "guidance without an unconditional denoiser or the reverse": [
                wrong("guidance and unconditional", guidance=1.0, unconditional=None),
                wrong("guidance and unconditional", guidance=None, unconditional=no_data),
            ],
            "`eta` with a solver of the ODE": [
                wrong("eta", **solving(solver="heun", eta=0.5, guidance=None, unconditional=None))
            ],
            "a denoiser that returns another shape": OTHER_SHAPE,
        },
    ),
    "diffusion.karras_sigmas": Helper(
        diffusion.karras_sigmas,
        st.fixed_dictionaries(
            {
                "n": st.integers(1, 50),
                "sigma_min": sizes(1.0, 1e-9),
                "sigma_max": sizes(1e9, 2.0),
                "rho": st.floats(1, 100),
            }
        ),
        lambda given, result: is_like(result, (given["n"] + 1,), torch.float64),
        {
            "no steps": [wrong(n=value) for value in COUNTS],
            "numbers that aren't positive": [
                wrong(**{name: value})
                for name in ("sigma_min", "sigma_max", "rho")
                for value in NOT_POSITIVE
            ],
            "`sigma_min` not below `sigma_max`": [wrong(sigma_min=3.0, sigma_max=3.0)],
        },
    ),
    "diffusion.log_likelihood": Helper(
        lambda **given: diffusion.log_likelihood(**{"denoiser": half_way} | given),
        likelihoods(),
        lambda given, result: is_like(result, (len(given["x"]),), given["x"].dtype),
        {
            "times as in `sample`": [case for some in GRIDS.values() for case in some],
            "without noise at the end": [wrong("times[-1]", **solving(times=[3, 0]))],
            "a denoiser that returns another shape": OTHER_SHAPE,
            "what can't be differentiated": [
                wrong("denoiser", **solving(denoiser=lambda x, t: x.detach()))
            ],
        },
    ),
    "diffusion.energy_distance": Helper(
        diffusion.energy_distance,
        two_samples(),
        lambda given, result: is_like(result, (), given["a"].dtype),
        {
            "fewer than 2 samples": [wrong(a=torch.ones(1, 2)), wrong(b=torch.ones(0, 2))],
            "samples of different shapes": [
                wrong("a and b", a=torch.ones(2, 3), b=torch.ones(2, 4))
            ],
            "NaN": [wrong(a=torch.full((2, 2), NAN)), wrong(b=torch.full((2, 2), NAN))],
            "infinity": [wrong(a=torch.full((2, 2), INFINITY))],
        },
        ("a", "b"),
    ),
    "diffusion.frechet_distance": Helper(
        diffusion.frechet_distance,
        gaussians(),
        lambda given, result: is_like(result, (), given["mean_a"].dtype),
        {
            "shapes that don't belong together": [
                wrong("mean_a, cov_a, mean_b, cov_b", mean_a=torch.zeros(5)),
                wrong(cov_a=torch.zeros(2, 3)),
                wrong(mean_b=torch.zeros(2, 2)),
            ],
            "NaN": [wrong(mean_a=torch.tensor([NAN])), wrong(cov_b=torch.tensor([[NAN]]))],
            "infinity": [
                wrong(mean_b=torch.tensor([INFINITY])),
                wrong(cov_a=torch.tensor([[INFINITY]])),
            ],
            "a covariance that isn't symmetric": [wrong(cov_a=torch.tensor([[1.0, 1], [0, 1]]))],
            "has a negative eigenvalue": [wrong(cov_b=torch.tensor([[-1.0]]))],
        },
    ),
}

# The properties ----------------------------------------------------------------------------------

each_helper = pytest.mark.parametrize("name", HELPERS)


def public() -> Iterator[tuple[str, Any]]:
    """Yield every public helper, methods included, with its name."""
    for module in MODULES:
        chapter = module.__name__.rpartition(".")[2]
        for name in module.__all__:
            thing = getattr(module, name)
            yield f"{chapter}.{name}", thing
            if inspect.isclass(thing):
                for part in vars(thing):
                    if not part.startswith("_") and callable(getattr(thing, part)):
                        yield f"{chapter}.{name}.{part}", getattr(thing, part)


def test_every_public_helper_has_its_row():
    assert sorted(HELPERS) == sorted(name for name, _ in public())


CONNECTIVES = {"for", "from", "of", "in", "or", "and", "a", "an", "wrong", "at", "that", "which"}


@each_helper
def test_every_documented_error_has_its_case(name):
    """Taking away the words of a row's errors leaves of the docstring's list what joins them."""
    helper = HELPERS[name]
    source = helper.documented or dict(public())[name]
    raises = re.search(
        r"Raises:\s+ValueError: (.*?)(\n\n|$)", inspect.getdoc(source) or "", re.DOTALL
    )
    left = " ".join(raises[1].split()) if raises else ""
    for words in sorted(helper.errors, key=len, reverse=True):
        left = left.replace(words, " ")
    assert set(re.findall(r"[\w'`]+", left)) <= CONNECTIVES


SLOW = ["iou.regression_descent"]  # 200 steps an example


@pytest.mark.parametrize("name", [name for name in HELPERS if name not in SLOW])
@given(data=st.data())
@examples(15)
def test_results_and_gradients_are_finite_and_of_the_documented_shape(name, data):
    answers_finitely_in_the_documented_shape(HELPERS[name], data)


@pytest.mark.parametrize("name", SLOW)
@given(data=st.data())
@examples(5)
def test_results_of_slow_helpers_are_finite_and_of_the_documented_shape(name, data):
    answers_finitely_in_the_documented_shape(HELPERS[name], data)


def answers_finitely_in_the_documented_shape(helper, data):
    drawn = data.draw(helper.arguments)
    leaves = {
        name: drawn[name].detach().clone().requires_grad_()
        for name in helper.slopes
        if name in drawn and drawn[name].is_floating_point()
    }
    result = helper.call(**drawn | leaves)
    helper.answer(drawn, result)
    found = list(floats_in(result))
    if helper.answer is not map_answer:
        assert not any(part.isnan().any() for part in found)
    finite = all(part.isfinite().all() for part in found)
    assert finite or not helper.finite(drawn)
    if not leaves or not finite:
        return
    total = sum(part.double().sum() for part in found)
    for slope in torch.autograd.grad(total, list(leaves.values()), allow_unused=True):
        if slope is None:
            continue
        # Infinity times 0 stands only beside a slope that its dtype is too small for.
        assert not slope.isnan().any() or slope.isinf().any() and not helper.finite(drawn)
        if helper.finite(drawn):
            # The slope of an answer need not fit into an argument's smaller dtype.
            smaller = any(slope.dtype.itemsize < part.dtype.itemsize for part in found)
            assert smaller or slope.isfinite().all()


@each_helper
@given(data=st.data())
@examples(2)
def test_documented_errors_are_raised_and_name_the_argument(name, data):
    helper = HELPERS[name]
    drawn = data.draw(helper.arguments)
    for cases in helper.errors.values():
        for says, changes in cases:
            with pytest.raises(ValueError) as error:
                helper.call(**drawn | changes)
            assert re.match(rf"{re.escape(says)}(?!\w)", str(error.value)), str(error.value)


# What the properties found once, by name.


def slopes_of(result, *leaves):
    return torch.autograd.grad(result.sum(), leaves)


@pytest.mark.parametrize(
    ("kind", "k", "expected"), [("trigonometric", 15.0, 0), ("positive", -5.0, math.exp(-50))]
)
def test_the_variance_of_random_features_is_no_product_of_infinity_and_zero(kind, k, expected):
    q, k = torch.tensor([15.0], requires_grad=True), torch.tensor([k], requires_grad=True)
    variance = linear_attention.random_feature_variance(q, k, kind)
    assert variance.item() == pytest.approx(expected, rel=1e-4)
    assert all(slope.isfinite() for slope in slopes_of(variance, q, k))


def test_the_jacobian_of_a_saturated_softmax_has_no_slope():
    p = torch.tensor([0.0, 1.0, 0.0], requires_grad=True)
    norm = initialization.softmax_jacobian_norm(p)
    assert norm == 0 and not slopes_of(norm, p)[0].any()


def test_distances_of_rotated_lines_at_extremes_are_numbers():
    a = torch.tensor([0.0, 0, 0, 1, 0], requires_grad=True)
    b = torch.tensor([0, 0, 1e18, 0, 1e-38], requires_grad=True)
    assert all(slope.isfinite().all() for slope in slopes_of(iou.gwd(a, b), a, b))
    thin, wide = torch.tensor([0, 0, 1e10, 1e-10, 0]), torch.tensor([0, 0, 1e10, 1e10, 0])
    assert not iou.kld(wide, thin).isnan()
