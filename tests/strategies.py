"""What the properties draw: numbers of any size, boxes, sequences, schedules.

Values come from a few that are likely to meet (zeros, equal numbers, bounds) and from everything in
between, on a linear and on a logarithmic scale. Limits are those of each helper's documented domain.
"""

import math

import torch
from hypothesis import settings
from hypothesis import strategies as st

from derived.diffusion import GaussianMixture, Schedule

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

betas = st.lists(
    st.one_of(st.floats(1e-6, 1 - 1e-6), sizes(0.999, 1e-12), st.just(0.5)), min_size=1, max_size=6
).map(lambda values: torch.tensor(values, dtype=torch.float64))


def has_terminal_snr(schedule):
    """Whether a chain still loses signal after its first step, so that its last can be set to 0."""
    if not schedule.discrete or schedule.end < 2:
        return False
    return bool(schedule.alpha(1) > schedule.alpha(schedule.end))


@st.composite
def schedules(draw, *, discrete=None):
    """Any schedule, shifted or with zero terminal SNR at times."""
    chains = [Schedule.linear, Schedule.cosine, lambda: Schedule.from_betas(draw(betas))]
    others = [Schedule.rectified_flow, lambda: Schedule.edm(draw(sizes(1e6, 1e-3)))]
    made = {None: chains + others, True: chains, False: others}[discrete]
    schedule = draw(st.sampled_from(made))()
    if has_terminal_snr(schedule) and draw(st.booleans()):
        schedule = schedule.with_zero_terminal_snr()
    return schedule.shifted(draw(sizes(1e3, 1e-3))) if draw(st.booleans()) else schedule


def times(schedule, least=0.0, most=None):
    """A time of a schedule, its ends included."""
    most = schedule.end if most is None else most
    if schedule.discrete:
        return st.integers(math.ceil(least), int(most))
    return st.one_of(st.sampled_from([least, most]), st.floats(least, most))


@st.composite
def mixtures(draw):
    """Mixtures of Gaussians, of which some components are points."""
    k, dim = draw(st.sampled_from([(1, 1), (2, 1), (3, 2)]))
    weights = torch.tensor(draw(st.lists(sizes(1.0, 1e-6), min_size=k, max_size=k))).double()
    return GaussianMixture(
        weights / weights.sum(),
        draw(tensors((k, dim), numbers(1e6, 1e-6))),
        draw(tensors((k,), lengths(1e6, 1e-6))),
    )
