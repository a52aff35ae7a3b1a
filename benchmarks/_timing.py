"""Interleaved timing: each round runs every candidate once, so that noise hits all alike."""

import datetime
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

__all__ = ["conditions", "interleaved", "ratio", "store"]


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


def conditions(rounds: int) -> dict:
    """Return when, with what and on what was measured, to stand before the results."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, 1 thread",
        "rounds": rounds,
    }


def store(name: str, record: dict) -> None:
    """Write a record with numbers of four digits, which is more than a run repeats."""
    rounded = json.loads(json.dumps(record), parse_float=lambda text: float(f"{float(text):.4g}"))
    path = Path(__file__).parents[1] / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")
