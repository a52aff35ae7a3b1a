"""The interactive figure of the chapter on IoU losses."""

import math
from typing import Any

import traitlets

from derived.explorables._base import Explorable

__all__ = ["PushABox"]

KINDS = ("iou", "giou", "diou", "ciou", "eiou")
KINDS += ("focal_eiou", "siou", "alpha_iou", "wiou", "mpdiou", "inner_iou")
COORDINATES = ("xyxy", "cxcywh")
WIDTH, HEIGHT, STEPS = 7.0, 5.0, 200  # of the stage, and of a run, as in iou.js


def _box(name: str, value: Any) -> tuple[float, ...]:
    """Return `value` as four floats, or say what is wrong with it."""
    try:
        box = tuple(float(edge) for edge in value)
    except (TypeError, ValueError):
        box = ()
    if len(box) != 4 or not all(map(math.isfinite, box)):
        raise ValueError(f"{name} must be four finite numbers (x1, y1, x2, y2); got {value!r}")
    x1, y1, x2, y2 = box
    if not (0 <= x1 < x2 <= WIDTH and 0 <= y1 < y2 <= HEIGHT):
        raise ValueError(
            f"{name} must have x1 < x2 in [0, {WIDTH:g}] and y1 < y2 in [0, {HEIGHT:g}]; got {box}"
        )
    return box


class PushABox(Explorable):
    """Push a box: drag A and B, and see what each IoU loss does to the edges of A.

    Args:
        a: the prediction (x1, y1, x2, y2), within the stage of 7 × 5 units; y points down.
        b: the target, likewise.
        kind: the loss shown, one of those of `derived.iou.box_loss`; MPDIoU's image is the stage.
        detach_enclosing: hold the hull's quantity fixed (|C| in GIoU, the squared sides and
            diagonal of the others; WIoU's is always fixed).
        detach_alpha: hold CIoU's α fixed.
        detach_focus: hold Focal-EIoU's weight fixed.
        coordinates: what the arrows show the gradient of, and what a run descends in: "xyxy", the
            edges, or "cxcywh", center and size.
        step: how many of the 200 steps of gradient descent are shown.

    What the reader drags comes back: `figure.a`, `figure.kind`, … always hold the present state.

    Raises:
        ValueError: for any other value, naming the argument and what came.
    """

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

    a = traitlets.Any().tag(sync=True, state=True)
    b = traitlets.Any().tag(sync=True, state=True)
    kind = traitlets.Any().tag(sync=True, state=True)
    detach_enclosing = traitlets.Any().tag(sync=True, state=True)
    detach_alpha = traitlets.Any().tag(sync=True, state=True)
    detach_focus = traitlets.Any().tag(sync=True, state=True)
    coordinates = traitlets.Any().tag(sync=True, state=True)
    step = traitlets.Any().tag(sync=True, state=True)

    def __init__(
        self,
        *,
        a: Any = (1.5, 2.0, 2.5, 3.0),
        b: Any = (4.5, 2.0, 5.5, 3.0),
        kind: Any = "giou",
        detach_enclosing: Any = False,
        detach_alpha: Any = True,
        detach_focus: Any = True,
        coordinates: Any = "xyxy",
        step: Any = 0,
    ) -> None:
        super().__init__(
            a=a,
            b=b,
            kind=kind,
            detach_enclosing=detach_enclosing,
            detach_alpha=detach_alpha,
            detach_focus=detach_focus,
            coordinates=coordinates,
            step=step,
        )

    @property
    def loss(self) -> float:
        """The chosen loss of A against B, from `derived.iou`."""
        # Imported here: the website's build needs this class and not torch.
        import torch

        from derived.iou import box_loss

        a, b = torch.tensor([self.a, self.b], dtype=torch.float64)
        image = {"image_size": (WIDTH, HEIGHT)} if self.kind == "mpdiou" else {}
        return box_loss(a, b, kind=self.kind, **image).item()

    @traitlets.validate("a", "b")
    def _valid_box(self, proposal: Any) -> tuple[float, ...]:
        return _box(proposal.trait.name, proposal.value)

    @traitlets.validate("kind", "coordinates")
    def _valid_name(self, proposal: Any) -> str:
        name = proposal.trait.name
        known = KINDS if name == "kind" else COORDINATES
        if proposal.value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}; got {proposal.value!r}")
        return proposal.value

    @traitlets.validate("detach_enclosing", "detach_alpha", "detach_focus")
    def _valid_flag(self, proposal: Any) -> bool:
        if type(proposal.value) is not bool:
            raise ValueError(f"{proposal.trait.name} must be True or False; got {proposal.value!r}")
        return proposal.value

    @traitlets.validate("step")
    def _valid_step(self, proposal: Any) -> int:
        if type(proposal.value) is not int or not 0 <= proposal.value <= STEPS:
            raise ValueError(f"step must be an integer from 0 to {STEPS}; got {proposal.value!r}")
        return proposal.value
