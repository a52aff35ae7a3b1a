"""Intersection over union of boxes and the losses that grew out of it.

Boxes are `(x1, y1, x2, y2)` with `x1 <= x2` and `y1 <= y2`, in any unit. Labels in parentheses are
those of the equations in the chapter that a function computes; others it says to see.

At the edges, what the mathematics says, with a finite gradient:

- Integers are computed with in double precision and answered in float32; float16 and bfloat16 are
  computed with and answered in float32; float64 stays float64.
- There is no additive epsilon, so the unit doesn't matter, as long as areas are normal numbers of
  the dtype (in float32, sides between 1e-19 and 1e19). An area below is none.
- If the union has no area, the IoU is 1 for equal boxes and 0 for others, and its gradient is 0. A
  hull without area has no empty part, boxes at one point have no distance, and a point has the
  aspect ratio of a square.
- For identical boxes each loss is exactly 0 and its gradient is 0 up to rounding: minimum and
  maximum split the gradient of a tie in half, which at this kink is the mean of both sides. (With
  `detach_enclosing`, GIoU keeps half the slope of the union there, and inflates a perfect box.)
- Where SIoU's centers coincide, the angle of the line between them is that of an axis.
- Boxes that only touch, and boxes without area, overlap as little as separated ones: the gradient
  of the intersection is 0.

losses.py      similarities of two boxes, and the losses made of them
regression.py  the simulation in which boxes descend a loss
rotated.py     boxes with an angle: their overlap and their Gaussians
evaluation.py  non-maximum suppression, average precision, COCO's figures of merit
"""

from derived.iou.evaluation import average_precision, coco_map, nms
from derived.iou.losses import (
    area,
    box_loss,
    ciou,
    diou,
    eiou,
    from_cxcywh,
    giou,
    iou,
    pairwise,
)
from derived.iou.regression import regression_cases, regression_descent, regression_slope
from derived.iou.rotated import gwd, kld, rotated_corners, rotated_iou

__all__ = ["area", "box_loss", "ciou", "diou", "eiou", "from_cxcywh", "giou", "iou", "pairwise"]
__all__ += ["regression_cases", "regression_descent", "regression_slope"]
__all__ += ["gwd", "kld", "rotated_corners", "rotated_iou"]
__all__ += ["average_precision", "coco_map", "nms"]
