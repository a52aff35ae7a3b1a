"""How fast is `derived.iou`, beside the same formulas on corner tensors of shape (..., 2)?

    python benchmarks/bench_iou.py [--rounds 40]

The reference of the losses is written from the formulas, in the way common libraries lay them out:
corners are kept as pairs, an (N, M, 2) tensor for all pairs, and small constants keep the quotients
finite. Those of suppression, rotated boxes and the COCO evaluation are a loop over the boxes left,
shapely, and pycocotools. One thread; checks of values are on, as by default. Writes benchmarks/results/iou.json.
"""

import argparse
import contextlib
import io
import statistics
from collections.abc import Iterator
from itertools import chain

import numpy
import shapely
import torch
from _timing import conditions, interleaved, ratio, store
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from derived.iou import box_loss, coco_map, nms, pairwise, rotated_corners, rotated_iou

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


def detection_cases(generator: torch.Generator) -> dict[str, tuple]:
    """Suppression, rotated boxes and the COCO evaluation, beside what is commonly used for each."""
    crowded, scores = boxes(2000, generator), torch.rand(2000, generator=generator)
    turned = torch.cat([boxes(2000, generator) / 60, torch.rand(2000, 1, generator=generator)], 1)
    turned, other = turned.double(), turned.roll(1, 0).double()
    detections, targets = images(2000, 80)
    truth, found = as_coco(detections, targets)
    return {
        "nms, N = 2000": (
            lambda: one_at_a_time(crowded, scores, 0.5),
            lambda: nms(crowded, scores, 0.5),
        ),
        "rotated iou, N = 2000, beside shapely": (
            lambda: with_shapely(turned, other),
            lambda: rotated_iou(turned, other),
        ),
        "coco_map, 2,000 images x 80 classes": (
            lambda: by_pycocotools(truth, found),
            lambda: coco_map(detections, targets),
        ),
    }


def one_at_a_time(a: torch.Tensor, scores: torch.Tensor, threshold: float) -> list[int]:
    """Suppression that compares the best box left with all others, as many tutorials write it."""
    order, kept = scores.argsort(descending=True), []
    while len(order):
        kept.append(int(order[0]))
        order = order[1:][on_corners("iou", a[order[0]], a[order[1:]]) <= threshold]
    return kept


def with_shapely(a: torch.Tensor, b: torch.Tensor) -> list[float]:
    polygons = [[shapely.Polygon(p) for p in rotated_corners(x).tolist()] for x in (a, b)]
    shared = [p.intersection(q).area for p, q in zip(*polygons, strict=True)]
    areas = [(x[:, 2] * x[:, 3]).tolist() for x in (a, b)]
    return [i / (p + q - i) for i, p, q in zip(shared, *areas, strict=True)]


def images(number: int, classes: int) -> tuple[list[dict], list[dict]]:
    """About 7 objects and 15 detections an image, two thirds of them near an object."""
    random, detections, targets = numpy.random.default_rng(0), [], []
    for _ in range(number):
        n, m = random.integers(1, 15), random.integers(1, 30)
        low = random.uniform(0, 400, (n + m, 2))
        every = numpy.concatenate([low, low + random.uniform(5, 200, (n + m, 2))], 1)
        objects, found = every[:n], every[n:]
        labels, near = random.integers(0, classes, n), random.integers(0, n, m)
        close = random.random((m, 1)) < 2 / 3
        found = numpy.where(close, objects[near] + random.uniform(-4, 4, (m, 4)), found)
        found[:, 2:] = numpy.maximum(found[:, 2:], found[:, :2] + 1)
        own = numpy.where(close[:, 0], labels[near], random.integers(0, classes, m))
        targets.append({"boxes": torch.tensor(objects), "labels": torch.tensor(labels)})
        one = {"boxes": torch.tensor(found), "labels": torch.tensor(own)}
        detections.append(one | {"scores": torch.tensor(random.random(m))})
    return detections, targets


def as_coco(detections: list[dict], targets: list[dict]) -> tuple[COCO, list[dict]]:
    """The same for pycocotools, its index of the objects already built."""

    def rows(images: list[dict]) -> list[dict]:
        return [
            {"image_id": i, "category_id": c, "bbox": [x1, y1, x2 - x1, y2 - y1]}
            for i, image in enumerate(images)
            for (x1, y1, x2, y2), c in zip(
                image["boxes"].tolist(), image["labels"].tolist(), strict=True
            )
        ]

    truth, objects, found = COCO(), rows(targets), rows(detections)
    for number, row in enumerate(objects, 1):
        row |= {"id": number, "area": row["bbox"][2] * row["bbox"][3], "iscrowd": 0}
    scores = [score for image in detections for score in image["scores"].tolist()]
    for row, score in zip(found, scores, strict=True):
        row["score"] = score
    categories = sorted({row["category_id"] for row in objects + found})
    truth.dataset = {
        "images": [{"id": i} for i in range(len(targets))],
        "categories": [{"id": c} for c in categories],
        "annotations": objects,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
    return truth, found


def by_pycocotools(truth: COCO, found: list[dict]) -> list[float]:
    """Without building the index of the detections, which has to be done but once."""
    with contextlib.redirect_stdout(io.StringIO()):
        if not hasattr(truth, "found"):
            truth.found = truth.loadRes(found)
        evaluation = COCOeval(truth, truth.found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


def late(
    generator: torch.Generator, pred: torch.Tensor, target: torch.Tensor
) -> Iterator[tuple[str, tuple]]:
    """Cases that make much: once so much memory has been freed, the allocator hands it out again
    without clearing it, which flatters whoever allocates most in the cases above."""
    compiled = torch.compile(box_loss, fullgraph=True)
    yield (
        "giou loss, compiled, N = 1e5",
        (
            lambda: torch.autograd.grad(1 - on_corners("giou", pred, target).mean(), pred),
            lambda: torch.autograd.grad(compiled(pred, target, "giou"), pred),
        ),
    )
    yield from detection_cases(generator).items()


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

    print(f"{'':40} others (ms)    derived (ms)   times faster (quartiles)")
    results = {}
    for name, (reference, own) in chain(cases.items(), late(generator, pred, target)):
        slow = name.startswith("coco_map")
        times = interleaved(
            {"others": reference, "derived": own}, rounds=max(3, rounds // 8) if slow else rounds
        )
        medians = {who: statistics.median(values) for who, values in times.items()}
        faster, low, high = ratio(times["others"], times["derived"])
        results[name] = {"ms": medians, "times_faster": faster, "quartiles": [low, high]}
        print(
            f"{name:40} {medians['others']:12.2f} {medians['derived']:14.2f}"
            f"   {faster:6.2f} ({low:.2f} to {high:.2f})"
        )
    record = conditions(rounds) | {"results": results}
    store("benchmarks/results/iou.json", record)


if __name__ == "__main__":
    main()
