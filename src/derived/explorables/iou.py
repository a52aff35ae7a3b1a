"""The interactive figure of the chapter on IoU losses."""

from typing import Any

from derived.explorables._base import Explorable
from derived.explorables._state import Choice, Flag, Integer, State, floats

__all__ = ["PushABox"]

KINDS = ("iou", "giou", "diou", "ciou", "eiou")
KINDS += ("focal_eiou", "siou", "alpha_iou", "wiou", "mpdiou", "inner_iou")
COORDINATES = ("xyxy", "cxcywh")
WIDTH, HEIGHT, STEPS = 7.0, 5.0, 200  # of the stage, and of a run, as in iou.js


class Box(State):
    """A box (x1, y1, x2, y2) of positive size on a stage of `width` × `height` units."""

    def __init__(self, default: tuple[float, ...], width: float, height: float, help: str) -> None:
        super().__init__(default, help)
        self.width, self.height = width, height

    def checked(self, value: Any) -> tuple[float, ...]:
        box = floats(value)
        if len(box) != 4:
            self.refuse(value, "four finite numbers (x1, y1, x2, y2)")
        x1, y1, x2, y2 = box
        if not (0 <= x1 < x2 <= self.width and 0 <= y1 < y2 <= self.height):
            raise ValueError(
                f"{self.name} must have x1 < x2 in [0, {self.width:g}] and y1 < y2 in "
                f"[0, {self.height:g}]; got {box}"
            )
        return box


class PushABox(Explorable):
    """Push a box: drag A and B, and see what each IoU loss does to the edges of A."""

    name = "push_a_box"
    script = "iou.js"
    caption = (
        "Push a box. Drag the prediction A or the target B, or move them with the arrow keys. "
        "The arrows show how gradient descent on the chosen loss pushes each edge of A; the "
        "shading is the loss with A centered at each place. Far from the target, GIoU pushes both "
        "the near and the far edge outward, so A grows before it travels; so does DIoU, until its "
        "c² is detached. Under “center and size”, arrows and run follow these instead of the edges."
    )
    alt = (
        "Two unit squares three units apart: the prediction A on the left, the target B on the "
        "right. Under the GIoU loss, an arrow of 0.25 pulls A's right edge toward B and an arrow "
        "of 0.125 pushes A's left edge away from B; its top and bottom edges feel nothing. The loss "
        "rises with distance from B in every direction. Bars give the losses: IoU 1.000; GIoU "
        "1.500; DIoU, CIoU and EIoU 1.529; Focal-EIoU 0.000; SIoU 1.338; α-IoU 1.000; WIoU 1.698; "
        "MPDIoU 1.243; Inner-IoU 1.000."
    )
    reserve = (
        "calc(max(71.43cqw + 857px, 1102px) + 0.9 * var(--xp-touch))",
        "calc(max(41.04cqw + 323px, 667px) + 1.38 * var(--xp-touch))",
    )

    a = Box(
        (1.5, 2.0, 2.5, 3.0),
        WIDTH,
        HEIGHT,
        "the prediction (x1, y1, x2, y2), within the stage of 7 × 5 units; y points down.",
    )
    b = Box((4.5, 2.0, 5.5, 3.0), WIDTH, HEIGHT, "the target, likewise.")
    kind = Choice(
        "giou",
        KINDS,
        "the loss shown, one of those of `derived.iou.box_loss`; MPDIoU's image is the stage.",
    )
    detach_enclosing = Flag(
        False,
        "hold the hull's quantity fixed (|C| in GIoU, the squared sides and diagonal of the others; "
        "WIoU's is always fixed).",
    )
    detach_alpha = Flag(True, "hold CIoU's α fixed.")
    detach_focus = Flag(True, "hold Focal-EIoU's weight fixed.")
    coordinates = Choice(
        "xyxy",
        COORDINATES,
        'what the arrows show the gradient of, and what a run descends in: "xyxy", the edges, or '
        '"cxcywh", center and size.',
    )
    step = Integer(0, 0, STEPS, "how many of the 200 steps of gradient descent are shown.")

    @property
    def loss(self) -> float:
        """The chosen loss of A against B, from `derived.iou`."""
        # Imported here: the website's build needs this class and not torch.
        import torch

        from derived.iou import box_loss

        a, b = torch.tensor([self.a, self.b], dtype=torch.float64)
        image = {"image_size": (WIDTH, HEIGHT)} if self.kind == "mpdiou" else {}
        return box_loss(a, b, kind=self.kind, **image).item()
