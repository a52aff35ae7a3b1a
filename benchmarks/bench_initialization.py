"""How fast does `derived.initialization` fill weights, beside `torch.nn.init`?

    python benchmarks/bench_initialization.py [--rounds 20]

Both draw from the same distribution: that is checked in the same run, for truncated normal weights
by a Kolmogorov-Smirnov test of either, for orthogonal ones by their error. One thread; checks of
values are on, as by default. Writes benchmarks/results/initialization.json.
"""

import argparse
import statistics

import torch
from _timing import conditions, interleaved, ratio, store
from scipy.stats import kstest, truncnorm
from torch import Tensor, nn

from derived.initialization import orthogonal_, trunc_normal_

STD = 0.02
BOUNDS = (2.0, 1.0, 0.3)  # standard deviations
SHAPES = {  # of truncated normal weights, of orthogonal ones
    "truncated": [(1024, 1024), (64, 64)],
    "orthogonal": [(1024, 1024), (2048, 512), (256, 256, 3, 3), (64, 64)],
}


def cut_by_torch(w: Tensor, a: float) -> Tensor:
    return nn.init.trunc_normal_(w, 0.0, STD, -a * STD, a * STD)


def cut_by_us(w: Tensor, a: float) -> Tensor:
    return trunc_normal_(w, STD, a, exact_std=False)


def law(w: Tensor, a: float) -> dict[str, float]:
    """How far a sample is from the truncated normal distribution: statistic and p-value."""
    test = kstest(w.flatten().double().numpy() / STD, truncnorm(-a, a).cdf)
    return {"distance": float(test.statistic), "p": float(test.pvalue)}


def error(w: Tensor) -> float:
    """The largest entry of the Gram matrix of the shorter side, less the identity."""
    matrix = w.flatten(1).double()
    short = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    return (short @ short.T - torch.eye(len(short), dtype=torch.float64)).abs().max().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)

    cases = {}
    for shape in SHAPES["truncated"]:
        w, size = torch.empty(shape), " x ".join(map(str, shape))
        for a in BOUNDS:
            cases[f"truncated at ±{a:g} std, {size}"] = (
                lambda w=w, a=a: cut_by_torch(w, a),
                lambda w=w, a=a: cut_by_us(w, a),
                lambda w, a=a: law(w, a),
            )
    for shape in SHAPES["orthogonal"]:
        w, size = torch.empty(shape), " x ".join(map(str, shape))
        cases[f"orthogonal, {size}"] = (
            lambda w=w: nn.init.orthogonal_(w),
            lambda w=w: orthogonal_(w),
            lambda w: {"error": error(w)},
        )

    print(f"{'':36} torch (ms)   derived (ms)   times faster (quartiles)")
    results = {}
    for name, (torchs, own, quality) in cases.items():
        times = interleaved({"torch": torchs, "derived": own}, rounds=rounds)
        medians = {who: statistics.median(values) for who, values in times.items()}
        faster, low, high = ratio(times["torch"], times["derived"])
        found = {"torch": quality(torchs()), "derived": quality(own())}
        results[name] = {
            "ms": medians,
            "times_faster": faster,
            "quartiles": [low, high],
            "quality": found,
        }
        said = ", ".join(f"{key} {value:.2g}" for key, value in found["derived"].items())
        print(
            f"{name:36} {medians['torch']:10.3f} {medians['derived']:14.3f}"
            f"   {faster:6.2f} ({low:.2f} to {high:.2f})   {said}"
        )
    spread = trunc_normal_(torch.empty(2**22), STD).double().std().item() / STD - 1
    print(f"std of 4 M weights over the std asked for, less 1: {spread:.1e}")
    record = conditions(rounds) | {"std_error_of_4M": spread, "results": results}
    store("benchmarks/results/initialization.json", record)


if __name__ == "__main__":
    main()
