"""Does the figure of this chapter, on a page, show Python's numbers?"""

import json

import pytest
import torch

from derived.explorables.iou import KINDS
from derived.iou import box_loss

__all__ = ["CHECKS"]


def check_push_a_box(figure) -> None:
    """The losses shown are those of the boxes shown."""
    state = json.loads(figure.get_attribute("data-now"))
    a, b = (torch.tensor(state[name], dtype=torch.float64) for name in "ab")
    for kind in KINDS:
        image = {"image_size": (7, 5)} if kind == "mpdiou" else {}
        row = figure.locator(f"tr[data-kind={kind}][data-value]")
        shown = float(row.get_attribute("data-value"))
        assert shown == pytest.approx(box_loss(a, b, kind, **image).item(), abs=1e-9)
        assert row.locator("td").first.text_content() == f"{shown:.3f}".replace("-", "−")


CHECKS = {"push_a_box": check_push_a_box}
