"""Queries, keys, values and decays, as the properties of this chapter draw them."""

import math

from hypothesis import strategies as st
from strategies import dtypes, numbers, sizes, tensors


@st.composite
def sequences(draw, *, dtypes=dtypes, most=100.0, lengths=(0, 1, 2, 5), same_length=True):
    """q, k and v, (batch, heads, length, dim), of one dtype."""
    dtype = draw(dtypes)
    batch, heads = draw(st.sampled_from([(1, 1), (2, 1), (1, 2), (0, 1)]))
    d, e = draw(st.sampled_from([1, 2, 3])), draw(st.sampled_from([1, 2]))
    n = draw(st.sampled_from(lengths))
    m = n if same_length else draw(st.sampled_from(lengths))
    values = numbers(most, 1e-6)
    layout = {"q": (n, d), "k": (m, d), "v": (m, e)}
    return {
        name: draw(tensors((batch, heads, *size), values, dtype)) for name, size in layout.items()
    }


log_decay_values = st.one_of(st.sampled_from([0.0, -math.inf]), sizes(1e3, 1e-9).map(lambda x: -x))
