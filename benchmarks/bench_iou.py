"""How fast is `derived.iou`, beside the same formulas on corner tensors of shape (..., 2)?

    python benchmarks/bench_iou.py [--rounds 40]

The reference is written from the formulas, in the way common libraries lay them out: corners are
kept as pairs, an (N, M, 2) tensor for all pairs, and small constants keep the quotients finite.
One thread; checks of values are on, as by default. Writes benchmarks/results/iou.json.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
from pathlib import Path

import torch
from _timing import interleaved, ratio

from derived.iou import box_loss, pairwise

KINDS = ("iou", "giou", "diou", "ciou", "eiou")
EPS = 1e-7


def on_corners(kind: str, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The similarities of boxes whose leading dimensions broadcast, with corners as pairs."""
    a_low, a_high, b_low, b_high = a[..., :2], a[..., 2:], b[..., :2], b[..., 2:]
    a_size, b_size = a_high - a_low, b_high - b_low
    overlap = (torch.minimum(a_high, b_high) - torch.maximum(a_low, b_low)).clamp(min=0)
    intersection = overlap[..., 0] * overlap[..., 1]
    union = a_size[..., 0] * a_size[..., 1] + b_size[..., 0] * b_size[..., 1] - intersection
    j = intersection / (union + EPS)
    if kind == "iou":
        return j
    hull = torch.maximum(a_high, b_high) - torch.minimum(a_low, b_low)
    if kind == "giou":
        area = hull[..., 0] * hull[..., 1]
        return j - (area - union) / (area + EPS)
    delta = (a_low + a_high) / 2 - (b_low + b_high) / 2
    diou = j - (delta**2).sum(-1) / ((hull**2).sum(-1) + EPS)
    if kind == "diou":
        return diou
    if kind == "eiou":
        return diou - ((a_size - b_size) ** 2 / (hull**2 + EPS)).sum(-1)
    a_angle = torch.atan(a_size[..., 0] / (a_size[..., 1] + EPS))
    b_angle = torch.atan(b_size[..., 0] / (b_size[..., 1] + EPS))
    v = 4 / torch.pi**2 * (b_angle - a_angle) ** 2
    with torch.no_grad():
        alpha = v / (1 - j + v + EPS)
    return diou - alpha * v


def boxes(count: int, generator: torch.Generator) -> torch.Tensor:
    low = 600 * torch.rand(count, 2, generator=generator)
    return torch.cat([low, low + 8 + 200 * torch.rand(count, 2, generator=generator)], dim=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)

    cases = {}
    a, b = boxes(1000, generator), boxes(1000, generator)
    for kind in KINDS:
        cases[f"pairwise {kind}, 1000 x 1000"] = (
            lambda kind=kind: on_corners(kind, a[:, None], b),
            lambda kind=kind: pairwise(a, b, kind),
        )
    pred, target = boxes(100_000, generator).requires_grad_(), boxes(100_000, generator)
    for kind in KINDS:
        cases[f"{kind} loss, forward and backward, N = 1e5"] = (
            lambda kind=kind: torch.autograd.grad(1 - on_corners(kind, pred, target).mean(), pred),
            lambda kind=kind: torch.autograd.grad(box_loss(pred, target, kind), pred),
        )
    compiled = torch.compile(box_loss, fullgraph=True)
    cases["giou loss, compiled, N = 1e5"] = (
        lambda: torch.autograd.grad(1 - on_corners("giou", pred, target).mean(), pred),
        lambda: torch.autograd.grad(compiled(pred, target, "giou"), pred),
    )

    print(f"{'':40} corners (ms)   derived (ms)   times faster (quartiles)")
    results = {}
    for name, (reference, own) in cases.items():
        times = interleaved({"corners": reference, "derived": own}, rounds=rounds)
        medians = {who: statistics.median(values) for who, values in times.items()}
        faster, low, high = ratio(times["corners"], times["derived"])
        results[name] = {"ms": medians, "times_faster": faster, "quartiles": [low, high]}
        print(
            f"{name:40} {medians['corners']:12.2f} {medians['derived']:14.2f}"
            f"   {faster:6.2f} ({low:.2f} to {high:.2f})"
        )
    record = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, 1 thread",
        "rounds": rounds,
        "results": results,
    }
    path = Path(__file__).parent / "results" / "iou.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
