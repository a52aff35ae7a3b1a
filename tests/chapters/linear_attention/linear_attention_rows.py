"""How to try each public helper of `derived.linear_attention`: draws, answers, errors."""

import math

import torch
from hypothesis import strategies as st
from linear_attention_draws import log_decay_values, sequences
from properties import COUNTS, INFINITY, NAN, UNKNOWN, Helper, is_like, wrong
from strategies import dtypes, numbers, shape_pairs, tensors
from torch import nn

from derived import linear_attention

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

HELPERS = {
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
