"""Boxes, upright and turned, as the properties of this chapter draw them."""

import math

import torch
from hypothesis import strategies as st
from strategies import FLOATS, LARGE, dtypes, lengths, numbers, shape_pairs, shapes, sizes, tensors


@st.composite
def boxes(draw, shape=None, dtype=None):
    """Boxes (x1, y1, x2, y2), integers included; many have no width or meet another."""
    shape = draw(shapes) if shape is None else shape
    dtype = dtype or draw(st.sampled_from([*FLOATS, torch.int64, torch.uint8]))
    if dtype.is_floating_point:
        values = numbers(LARGE[dtype])
    else:
        values = st.integers(0, 255) if dtype == torch.uint8 else st.integers(-(10**9), 10**9)
    ends = draw(tensors((*shape, 2, 2), values, dtype)).sort(-2).values
    return ends.flatten(-2)


@st.composite
def box_pairs(draw, names=("a", "b"), one=boxes, pair=shape_pairs):
    """Two tensors of boxes whose shapes broadcast; equal ones too."""
    first, second = draw(pair)
    a = draw(one(first))
    b = a.clone() if first == second and draw(st.booleans()) else draw(one(second))
    return dict(zip(names, (a, b), strict=True))


@st.composite
def rotated_boxes(draw, shape=None, dtype=None, *, least=0.0, thinnest=1e-30, most=None):
    """Boxes (cx, cy, w, h, angle); angles near multiples of a quarter turn are likely.

    Sides are at least `least`, or 0 where that is 0, and then at least `thinnest` if they are not.
    """
    shape = draw(shapes) if shape is None else shape
    dtype = dtype or draw(dtypes)
    most = most or LARGE[dtype] / 4
    side = sizes(most, least) if least else lengths(most, thinnest)
    angle = st.one_of(
        st.sampled_from([0.0, math.pi / 2, -math.pi, 1e-9, math.pi / 4]), st.floats(-10, 10)
    )
    columns = [
        draw(tensors(shape, values)) for values in (numbers(most), numbers(most), side, side, angle)
    ]
    return torch.stack(columns, -1).to(dtype)
