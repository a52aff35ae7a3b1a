"""What the properties of every chapter draw: numbers of any size, shapes, dtypes, tensors.

What only one chapter draws stands beside its tests, in `<chapter>_draws.py`.

Values come from a few that are likely to meet (zeros, equal numbers, bounds) and from everything in
between, on a linear and on a logarithmic scale. Limits are those of each helper's documented domain.
"""

import math

import torch
from hypothesis import settings
from hypothesis import strategies as st

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
LARGE = {torch.float16: 6e4, torch.bfloat16: 4e18, torch.float32: 4e18, torch.float64: 1e30}

shapes = st.sampled_from([(), (0,), (1,), (3,), (2, 0), (2, 2)])
shape_pairs = st.sampled_from(
    [
        ((3,), (3,)),
        ((), ()),
        ((), (2,)),
        ((2, 1), (1, 3)),
        ((0,), (1,)),
        ((0,), (0,)),
        ((2, 2), (2,)),
    ]
)
dtypes = st.sampled_from(FLOATS)


def examples(number):
    """Settings with so many examples in the profile `ci`; another profile says how many itself."""
    ci = settings.get_profile("ci")
    return settings(max_examples=number) if settings.default is ci else settings()


def numbers(most=1e30, least=1e-30):
    """Zero, and numbers whose size is from `least` to `most`, of both signs."""
    nice = [x for x in (0.5, 1.0, 2.0, 3.0, least, most) if least <= x <= most]
    return st.one_of(
        st.sampled_from([0.0, *nice, *(-x for x in nice)]),
        st.floats(-most, most).map(lambda x: x if abs(x) >= least else 0.0),
        st.tuples(st.sampled_from([-1, 1]), sizes(most, least)).map(math.prod),
    )


def sizes(most=1e30, least=1e-30):
    """Positive numbers from `least` to `most`."""
    low, high = math.log(least), math.log(most)
    return st.one_of(
        st.sampled_from([least, most]),
        st.floats(low, high).map(lambda x: min(max(math.exp(x), least), most)),
        st.floats(least, min(most, max(10.0, least))),
    )


def lengths(most=1e30, least=1e-30):
    """Numbers of at least 0, zero included."""
    return st.one_of(st.just(0.0), sizes(most, least))


@st.composite
def tensors(draw, shape, values, dtype=torch.float64):
    """A tensor whose entries are drawn one by one."""
    n = math.prod(shape)
    return torch.tensor(draw(st.lists(values, min_size=n, max_size=n)), dtype=dtype).view(shape)
