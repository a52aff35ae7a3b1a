"""Interleaved timing: each round runs every candidate once, so that noise hits all alike."""

import statistics
import time
from collections.abc import Callable

__all__ = ["interleaved", "ratio"]


def interleaved(candidates: dict[str, Callable[[], object]], *, rounds: int) -> dict[str, list]:
    """Return each candidate's CPU time in each round, in milliseconds, after one to warm up."""
    times = {name: [] for name in candidates}
    for number in range(rounds + 1):
        for name, run in candidates.items():
            start = time.process_time()
            run()
            if number:
                times[name].append(1000 * (time.process_time() - start))
    return times


def ratio(reference: list[float], candidate: list[float]) -> tuple[float, float, float]:
    """Return how many times faster the candidate is: the median of the rounds' ratios, and the
    quarter below and above it."""
    ratios = [slow / fast for slow, fast in zip(reference, candidate, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4)
    return median, low, high
