"""What well-known implementations of IoU losses do at the edges, run and recorded.

    pip install --no-deps --target PEERS torchvision==0.28.0 pillow monai==1.6.1 \\
        ultralytics==8.4.190 opencv-python-headless
    python benchmarks/peers_iou.py PEERS

They are installed apart from the book's environment and are no dependency of it: the folders given
on the command line come after everything else on the path. All get the same boxes, in their own
loss where they have one. Writes chapters/recorded/iou_peers.json.
"""

import argparse
import datetime
import importlib
import json
import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

import derived.iou

REVERSED = "an error"
Loss = Callable[[Tensor, Tensor], Tensor]

# what is asked, kind of loss, dtype, prediction, target, the right answer
CASES = [
    (
        "boxes of side 1e-4, half of one covered",
        *("giou", torch.float32, [[0, 0, 1e-4, 1e-4]], [[0, 0, 1e-4, 5e-5]], 0.5),
    ),
    (
        "identical boxes of side 2e-4",
        *("giou", torch.float32, [[0, 0, 2e-4, 2e-4]], [[0, 0, 2e-4, 2e-4]], 0.0),
    ),
    (
        "boxes of side 32 at 1e8, 8 apart",
        *("diou", torch.float32, [[1e8, 0, 1e8 + 32, 32]], [[1e8 + 8, 0, 1e8 + 40, 32]]),
        0.4 + 8**2 / (40**2 + 32**2),
    ),
    (
        "reversed prediction (2, 2, 0, 0)",
        *("giou", torch.float32, [[2, 2, 0, 0]], [[0, 0, 2, 2]], REVERSED),
    ),
    (
        "100,000-pixel boxes in int32",
        *("iou", torch.int32, [[0, 0, 100_000, 100_000]], [[0, 0, 50_000, 50_000]], 0.75),
    ),
    (
        "300-pixel boxes in float16",
        *("iou", torch.float16, [[0, 0, 300, 300]], [[0, 0, 300, 200]], 1 / 3),
    ),
    (
        "prediction without height",
        # v = 1/4, as the angles differ by 45 degrees, and alpha = 1/5
        *("ciou", torch.float32, [[1, 1, 3, 1]], [[0, 0, 4, 4]], 1 + 1 / 32 + 1 / 20),
    ),
    (
        "equal boxes without height",
        *("ciou", torch.float32, [[0, 1, 3, 1]], [[0, 1, 3, 1]], 0.0),
    ),
    (
        "crossed boxes without area",
        *("giou", torch.float32, [[0, 0, 0, 3]], [[0, 0, 4, 0]], 2.0),
    ),
    ("mean over no boxes", "giou", torch.float32, [], [], 0.0),
]


def own() -> dict[str, Loss]:
    return {
        kind: lambda pred, target, kind=kind: derived.iou.box_loss(pred, target, kind)
        for kind in ("iou", "giou", "diou", "ciou")
    }


def torchvision() -> dict[str, Loss]:
    # Built for another torch, it fails to load unless its compiled operators are declared. The
    # functions used here are Python and call none of them.
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    ops = importlib.import_module("torchvision.ops")
    ops.library = library  # declared as long as it lives
    return {
        "iou": lambda pred, target: 1 - ops.box_iou(pred, target).diagonal().mean(),
        "giou": lambda pred, target: ops.generalized_box_iou_loss(pred, target, "mean"),
        "diou": lambda pred, target: ops.distance_box_iou_loss(pred, target, "mean"),
        "ciou": lambda pred, target: ops.complete_box_iou_loss(pred, target, "mean"),
    }


def monai() -> dict[str, Loss]:
    box_iou = importlib.import_module("monai.data.box_utils").box_iou
    giou_loss = importlib.import_module("monai.losses.giou_loss").BoxGIoULoss()
    return {
        "iou": lambda pred, target: 1 - box_iou(pred, target).diagonal().mean(),
        "giou": giou_loss,
    }


def ultralytics() -> dict[str, Loss]:
    # It has no reduction of its own, so one pair at a time and no empty batch.
    os.environ |= {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
    bbox_iou = importlib.import_module("ultralytics.utils.metrics").bbox_iou
    flags = {"iou": {}, "giou": {"GIoU": True}, "diou": {"DIoU": True}, "ciou": {"CIoU": True}}
    return {
        kind: lambda pred, target, flag=flag: (
            1 - bbox_iou(pred.squeeze(0), target.squeeze(0), xywh=False, **flag).squeeze()
        )
        for kind, flag in flags.items()
    }


PEERS = {"torchvision": torchvision, "monai": monai, "ultralytics": ultralytics, "derived": own}


def ask(loss: Loss, pred: Tensor, target: Tensor) -> dict:
    """Return the loss and its largest gradient, or the error."""
    if pred.is_floating_point():
        pred.requires_grad_()
    try:
        value = loss(pred, target)
    except Exception as error:  # noqa: BLE001 (whatever a peer says is what is recorded)
        return {"error": f"{type(error).__name__}: {error}"}
    result = {"loss": plain(value)}
    if value.requires_grad:
        (gradient,) = torch.autograd.grad(value, pred)
        largest = gradient.abs().max() if gradient.numel() else torch.zeros(())
        result["grad"] = plain(largest)
    return result


def plain(value: Tensor) -> float | str:
    """Return six digits, or the name of what JSON has no number for."""
    number = float(f"{value.item():.6g}")
    return number if torch.isfinite(value) else str(number)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", help="where the peers are installed")
    sys.path += parser.parse_args().folders
    torch.set_num_threads(1)
    peers = {name: load() for name, load in PEERS.items()}
    cases = []
    for case, kind, dtype, pred, target, right in CASES:
        results = {}
        for name, losses in peers.items():
            if kind not in losses or (not pred and name == "ultralytics"):
                continue
            boxes = [torch.tensor(rows, dtype=dtype).reshape(-1, 4) for rows in (pred, target)]
            results[name] = ask(losses[kind], *boxes)
        cases.append({"case": case, "kind": kind, "right": right, "results": results})
        print(f"{case} ({kind} loss): right is {right}")
        for name, result in results.items():
            print(f"    {name:12} {result}")
    packages = {name: name for name in ("torch", *PEERS)} | {"derived": "deep-learning-derived"}
    record = {
        "versions": {name: version(package) for name, package in packages.items()},
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cases": cases,
    }
    path = Path(__file__).parents[1] / "chapters" / "recorded" / "iou_peers.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
