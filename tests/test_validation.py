"""What helpers accept as a number, a count, a choice, a tensor, and how they refuse the rest."""

import math
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import derived
from derived import _validation as edge
from derived.diffusion import GaussianMixture, Schedule, ddim_step, guide, karras_sigmas, sample
from derived.initialization import (
    deepnorm_constants,
    fans,
    gain,
    mup_groups,
    trunc_normal_,
    truncnorm_gamma,
    width_sweep,
)
from derived.iou import box_loss, nms, regression_cases
from derived.linear_attention import chunked, recall_error
from derived.training import batches, fit, moving_average, seed_everything
from derived.unet import UNet

CHECKS = {
    "finite_number": (edge.finite_number, "a finite number"),
    "positive": (edge.positive, "a finite number above 0"),
    "positive_or_infinite": (edge.positive_or_infinite, "a number above 0"),
    "not_negative": (edge.not_negative, "a finite number of at least 0"),
    "share": (edge.share, "a number from 0 to 1"),
    "decay": (edge.number(least=0, below=1), "a number in [0, 1)"),
    "why": (edge.number(least=2, why=", as told"), "a finite number of at least 2, as told"),
    "any": (edge.number(infinite=True), "a number"),
    "count": (edge.count, "an integer of at least 1"),
    "seed": (edge.seed, "an integer from 0 to 18446744073709551615"),
    "few": (edge.integer(least=-1, most=2), "an integer from -1 to 2"),
}
ACCEPTED = {
    "finite_number": [-1e300, 0, 2, Fraction(1, 3), 10**400],
    "positive": [1e-300, 1, 10**400],
    "positive_or_infinite": [0.5, math.inf],
    "not_negative": [0, 0.0, 7],
    "share": [0, 0.5, 1],
    "decay": [0, 0.999],
    "why": [2, 2.5],
    "any": [-math.inf, 0, math.inf],
    "count": [1, 10**6],
    "seed": [0, 2**63, 2**64 - 1],
    "few": [-1, 0, 2],
}
REFUSED = {
    "finite_number": [math.inf, -math.inf],
    "positive": [0, -0.0, -1, math.inf],
    "positive_or_infinite": [0, -math.inf],
    "not_negative": [-1e-9, math.inf],
    "share": [-0.1, 1.1, math.inf],
    "decay": [1, -0.1],
    "why": [1.9, math.inf],
    "any": [],
    "count": [0, -3, 1.0, Fraction(2)],
    "seed": [-1, 2**64, 1.0],
    "few": [-2, 3],
}
NO_NUMBER = [True, False, np.True_, math.nan, None, "1", 1j, [1], torch.tensor(1.0)]


@pytest.mark.parametrize("name", CHECKS)
def test_what_is_a_number_within_bounds(name):
    check, expected = CHECKS[name]
    for value in ACCEPTED[name]:
        assert check("x", value) is None
    for value in [*REFUSED[name], *NO_NUMBER]:
        with pytest.raises(ValueError) as error:
            check("x", value)
        assert str(error.value) == f"x: expected {expected}, got {value!r}"


integers = st.integers(-3, 3)
floats = st.floats(width=16) | integers.map(float) | st.floats(-2, 2, width=16)
integer_types = st.sampled_from([np.int8, np.int16, np.int32, np.int64])
float_types = st.sampled_from([np.float16, np.float32, np.float64])


def refusal(check, value):
    try:
        check("x", value)
    except ValueError as error:
        return str(error).partition(", got")[0]


@pytest.mark.parametrize("name", CHECKS)
@given(
    st.tuples(integers, integer_types) | st.tuples(floats, float_types), st.sampled_from([1, -1])
)
def test_numpys_numbers_are_numbers_as_pythons_are(name, drawn, sign):
    value, kind = drawn
    assert refusal(CHECKS[name][0], kind(sign * value)) == refusal(CHECKS[name][0], sign * value)


@edge.validated(number=edge.finite_number)
def kinds(number, *others, **more):
    return [type(each) for each in (number, *others, *more.values())]


def test_a_helper_gets_pythons_numbers():
    assert kinds(np.float32(0.5), np.int64(2), flag=np.True_) == [float, int, np.bool_]
    sizes, pair, names, array = [np.int64(2), 3], (1.0, np.float64(2)), ["a"], np.zeros(2)
    received = edge.validated()(lambda *values: values)(sizes, pair, names, array)
    assert received[:2] == ([2, 3], (1.0, 2.0))
    assert [type(each) for part in received[:2] for each in part] == [int, int, float, float]
    assert received[2] is names and received[3] is array
    assert type(sizes[0]) is np.int64


def test_shapes_are_checked_in_every_module_of_derived():
    """Also where another module imports it: what is loaded before the hook is set escapes it."""
    modules = {name: each for name, each in sys.modules.items() if name.startswith("derived")}
    # Folders without code, of checkpoints and recordings, have no file.
    loaded = {name: module for name, module in modules.items() if module.__spec__.has_location}
    assert loaded.keys() >= {"derived._validation", "derived.iou.losses", "derived.training"}
    checked = {name: type(module.__spec__.loader).__name__ for name, module in loaded.items()}
    assert set(checked.values()) == {"_JaxtypingLoader"}, checked


BOXES = torch.tensor([[0.0, 0.0, 2.0, 2.0], [1.0, 1.0, 3.0, 4.0]])
X = torch.linspace(-1, 1, 6).view(3, 2)
QKV = torch.linspace(-1, 1, 24).view(1, 2, 4, 3)
MIXTURE = GaussianMixture(torch.ones(1), torch.zeros(1, 2), torch.ones(1))
FLOW = Schedule.rectified_flow()
DATA = X, X.sum(1, keepdim=True)


def trained(**options):
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    fit(model, lambda model, x, y: (model(x) - y).square().mean(), DATA, **options)
    return model.weight.detach()


def generator():
    return torch.Generator().manual_seed(0)


# Of each helper that takes numbers: the call, and numbers that it accepts.
NUMBERS = {
    "box_loss": (
        lambda **n: box_loss(BOXES, BOXES.flip(0), "focal_eiou", **n),
        {"alpha": 2, "gamma": 0.25, "ratio": 0.5},
    ),
    "mpdiou": (
        lambda width, height: box_loss(BOXES, BOXES.flip(0), "mpdiou", image_size=(width, height)),
        {"width": 64000, "height": 48000.5},
    ),
    "nms": (lambda **n: nms(BOXES, BOXES[:, 0], **n), {"threshold": 0.25}),
    "regression_cases": (lambda **n: regression_cases(**n)[0], {"points": 2, "seed": 3}),
    "linear": (
        lambda **n: Schedule.linear(**n).alpha(torch.arange(3)),
        {"steps": 3, "beta_min": 0.25, "beta_max": 0.5},
    ),
    "cosine": (
        lambda **n: Schedule.cosine(**n).alpha(torch.arange(3)),
        {"steps": 3, "offset": 0.25, "beta_max": 0.5},
    ),
    "edm": (lambda **n: Schedule.edm(**n).times(2), {"sigma_max": 4}),
    "shifted": (lambda **n: FLOW.shifted(**n).sigma(0.5), {"factor": 2}),
    "alpha": (FLOW.alpha, {"t": 0.25}),
    "times": (FLOW.times, {"steps": 3}),
    "draws": (lambda **n: MIXTURE.sample(generator=generator(), **n), {"n": 3}),
    "noised": (lambda **n: MIXTURE.noised(**n).means, {"alpha": 0.5, "sigma": 1}),
    "denoise": (lambda **n: MIXTURE.denoise(X, **n), {"alpha": 0.5, "sigma": 1}),
    "guide": (lambda **n: guide(X, -X, **n), {"w": 3}),
    "karras_sigmas": (karras_sigmas, {"n": 3, "sigma_min": 0.25, "sigma_max": 4, "rho": 5}),
    "ddim_step": (
        lambda **n: ddim_step(X, X, schedule=FLOW, generator=generator(), **n),
        {"t": 0.5, "s": 0.25, "eta": 0.5},
    ),
    "sample": (
        lambda start, end, **n: sample(
            lambda x, t: x / 2, X, [start, end], FLOW, unconditional=lambda x, t: x, **n
        ),
        {"start": 0.75, "end": 0.25, "guidance": 2, "clip": 0.5},
    ),
    "fans": (lambda first, second, **n: fans((first, second), **n), {"first": 4, "second": 3}),
    "truncnorm_gamma": (truncnorm_gamma, {"a": -1, "b": 0.5}),
    "trunc_normal_": (
        lambda **n: trunc_normal_(torch.empty(4), generator=generator(), **n),
        {"std": 0.5, "a": 2},
    ),
    "gain": (lambda **n: gain(torch.tanh, **n), {"sigma": 2}),
    "deepnorm_constants": (deepnorm_constants, {"layers": 6}),
    "mup_groups": (
        lambda **n: [
            group["lr"]
            for group in mup_groups(nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 1)), **n)
        ],
        {"base_width": 2, "lr": 0.5},
    ),
    "width_sweep": (
        lambda width, rate, **n: width_sweep((X, torch.tensor([0, 1, 0])), [width], [rate], **n),
        {"width": 4, "rate": 0.25, "steps": 2, "batch_size": 2, "seed": 1},
    ),
    "chunked": (lambda **n: chunked(QKV, QKV, QKV, **n), {"chunk": 2, "scale": 0.5}),
    "recall_error": (recall_error, {"pairs": 3, "dim": 4, "decay": 0.5, "beta": 0.25}),
    "batches": (
        lambda **n: torch.cat([x for x, _ in batches(DATA, **n)]),
        {"steps": 2, "batch_size": 2, "seed": 1},
    ),
    "fit": (
        trained,
        {"steps": 2, "batch_size": 2, "lr": 0.25, "seed": 1, "clip": 0.5, "save_every": 2},
    ),
    "moving_average": (
        lambda **n: moving_average(nn.Identity(), **n).n_averaged,
        {"decay": 0.5},
    ),
    "seed_everything": (
        lambda **n: (seed_everything(**n), torch.rand(2))[1],
        {"seed": 5},
    ),
    "UNet": (
        lambda **n: list(UNet(**n).config.values()),
        {"channels": 1, "classes": 2, "width": 8, "depth": 1},
    ),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_helpers_accept_numpys_numbers(name):
    call, numbers = NUMBERS[name]
    kinds = {int: np.int32, float: np.float64}
    expected = call(**numbers)
    result = call(**{key: kinds[type(value)](value) for key, value in numbers.items()})
    assert torch.equal(torch.as_tensor(result), torch.as_tensor(expected))


@pytest.mark.parametrize(
    ("name", "changed"), [(name, key) for name in NUMBERS for key in NUMBERS[name][1]]
)
def test_helpers_refuse_true_as_a_number(name, changed):
    call, numbers = NUMBERS[name]
    with pytest.raises(ValueError, match="expected .*(True|a bool)"):
        call(**numbers | {changed: True})


@pytest.mark.parametrize("value", ["sgdd", None, 3, ["sgd"], torch.tensor(1)])
def test_what_is_no_choice(value):
    with pytest.raises(ValueError, match="^x: expected one of sgd, adam; got "):
        edge.one_of(["sgd", "adam"])("x", value)
    edge.one_of(["sgd", "adam"])("x", "adam")


def test_what_is_a_tensor_of_floats():
    for value, said in [
        (torch.ones(2).long(), "x: expected floats, got torch.int64"),
        (np.ones(2), "x: expected a torch.Tensor, got a ndarray"),
        (None, "x: expected a torch.Tensor, got None"),
    ]:
        for check in (edge.floats, edge.finite_floats):
            with pytest.raises(ValueError) as error:
                check("x", value)
            assert str(error.value) == said
    wrong = torch.tensor([[1.0, -math.inf], [math.nan, 0.0]])
    edge.floats("x", wrong)
    with pytest.raises(ValueError, match=r"^x: expected finite numbers, got -inf at \[0, 1\]$"):
        edge.finite_floats("x", wrong)
    with derived.validation(False):
        edge.finite_floats("x", wrong)
    # A sum too large for the dtype is no reason to refuse its terms.
    edge.finite_floats("x", torch.full((2,), 3e38))


def test_optional_lets_none_pass_alone():
    check = edge.optional(edge.count)
    assert check("x", None) is None and check("x", 1) is None
    with pytest.raises(ValueError, match="^x: expected an integer of at least 1, got 0$"):
        check("x", 0)


def test_two_tensors_have_one_shape_or_one_length():
    given_tensors = {"a": torch.ones(2, 3), "b": torch.ones(2, 1), "c": torch.ones(3, 3)}
    edge.same_length("a", "b")(given_tensors)
    with pytest.raises(
        ValueError, match=r"^a and b: expected one shape, got \(2, 3\) and \(2, 1\)"
    ):
        edge.same_shape("a", "b")(given_tensors)
    with pytest.raises(ValueError, match=r"^a and c: expected the same length, got 2 and 3$"):
        edge.same_length("a", "c")(given_tensors)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"lr": 0}, "lr: expected a finite number above 0, got 0"),
        ({"lr": math.nan}, "lr: expected a finite number above 0, got nan"),
        ({"lr": "0.1"}, "lr: expected a finite number above 0, got '0.1'"),
        ({"seed": -1}, "seed: expected an integer from 0 to "),
        ({"seed": 0.5}, "seed: expected an integer from 0 to "),
        ({"clip": "1"}, "clip: expected a number above 0, got '1'"),
        ({"model": None}, "model: expected a torch.nn.Module, got None"),
        ({"model": nn.ReLU()}, "model: expected weights to train, got none"),
        ({"model": nn.Linear(2, 1).requires_grad_(False)}, "model: expected weights to train"),
        ({"checkpoint": "no/such/folder/run"}, "checkpoint: expected a file in a folder that"),
    ],
)
def test_training_looks_at_its_options_before_the_first_step(changed, said):
    calls = []
    options = {"model": nn.Linear(2, 1), "data": DATA, "steps": 2, "lr": 0.1} | changed
    with pytest.raises(ValueError, match=f"^{said}"):
        fit(loss=lambda *_: calls.append(1), **options)
    assert not calls


@pytest.mark.parametrize("seed", [-1, 2**32, 1.0, True, "7"])
def test_what_numpys_generator_takes_for_no_seed(seed):
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match="^seed: expected an integer from 0 to 4294967295, got "):
        seed_everything(seed)
    assert torch.equal(torch.get_rng_state(), state)
