"""How to try each public helper of `derived.initialization`: draws, answers, errors."""

import math

import torch
from hypothesis import strategies as st
from properties import (
    COUNTS,
    INFINITY,
    NAN,
    NEGATIVE,
    NOT_POSITIVE,
    Helper,
    is_like,
    is_number,
    wrong,
)
from strategies import dtypes, lengths, numbers, sizes, tensors
from torch import nn

from derived import initialization

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
    grouped = [id(weight) for group in groups for weight in group["params"]]
    assert sorted(grouped) == sorted(map(id, given["model"].parameters()))
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


def pair_answer(pair):
    skip, scale = pair
    assert isinstance(skip, float) and skip > 0.8
    assert isinstance(scale, float) and 0 < scale < 1


def deeper_if_wider(width):
    deeper = [nn.Linear(width, width)] * (width - 3)
    model = nn.Sequential(nn.Linear(2, width), *deeper)
    return model, torch.optim.SGD(model.parameters(), lr=0.01), lambda net: net(torch.ones(2)).sum()


def changes_answer(given, result):
    for values in result.values():
        is_like(values, (len(given["widths"]),), torch.float32)
    assert sorted(result) == ["0", "2", "3"]


def a_table(rows=3):
    return torch.randn(rows, 2, generator=torch.Generator().manual_seed(0)), torch.arange(rows) % 2


widths = st.lists(st.integers(1, 4), min_size=1, max_size=2)
BAD_WIDTHS = (None, [], 3)

HELPERS = {
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
    "initialization.encoder_decoder_deepnorm": Helper(
        initialization.encoder_decoder_deepnorm,
        st.fixed_dictionaries(
            {"encoder_layers": st.integers(1, 999), "decoder_layers": st.integers(1, 999)}
        ),
        lambda given, result: [pair_answer(pair) for pair in result],
        {
            "layers below 1": [
                wrong(**{name: value})
                for name in ("encoder_layers", "decoder_layers")
                for value in COUNTS
            ]
        },
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
            "a model that has other linear layers at one width than at another": [
                wrong(make_model=deeper_if_wider, widths=[3, 4])
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
            "a seed that isn't an integer of at least 0": [
                wrong(seed=value) for value in (-1, 0.5, True, None)
            ],
        },
        finite=lambda given: False,  # infinity says that training diverged
    ),
}
