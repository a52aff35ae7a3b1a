"""Sequences that nobody chose: chunks and parallel forms against the recurrence."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from linear_attention_draws import log_decay_values, sequences
from strategies import examples, numbers, tensors

from derived.linear_attention import (
    chunked,
    delta_rule,
    linear_attention,
    random_feature_variance,
    recurrent,
)


@st.composite
def walks(draw):
    """Sequences of any length with a decay or none, in chunks of any size."""
    drawn = draw(sequences(dtypes=st.just(torch.float64), most=4.0, lengths=(0, 1, 2, 3, 5, 8)))
    drawn["scale"] = draw(numbers(4.0, 1e-3))
    return drawn, draw(st.integers(1, 10))


@given(drawn=walks(), data=st.data())
@examples(30)
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
@examples(25)
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


# What the properties found once, by name.


@pytest.mark.parametrize(
    ("kind", "k", "expected"), [("trigonometric", 15.0, 0), ("positive", -5.0, math.exp(-50))]
)
def test_the_variance_of_random_features_is_no_product_of_infinity_and_zero(kind, k, expected):
    q, k = torch.tensor([15.0], requires_grad=True), torch.tensor([k], requires_grad=True)
    variance = random_feature_variance(q, k, kind)
    assert variance.item() == pytest.approx(expected, rel=1e-4)
    assert all(slope.isfinite() for slope in torch.autograd.grad(variance, (q, k)))
