"""Schedules, times and mixtures, as the properties of this chapter draw them."""

import math

import torch
from hypothesis import strategies as st
from strategies import lengths, numbers, sizes, tensors

from derived.diffusion import GaussianMixture, Schedule

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
