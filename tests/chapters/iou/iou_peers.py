"""Other implementations of the evaluation and of suppression."""

import contextlib
import functools
import io
import math

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

__all__ = ["by_pycocotools", "kept_by_definition"]


def kept_by_definition(boxes, scores, threshold, similarity):
    """The printed rule, decided one box after the other by recursion."""

    def higher(j, i):
        return scores[j] > scores[i] or (scores[j] == scores[i] and j < i)

    @functools.cache
    def kept(i):
        rivals = [j for j in range(len(boxes)) if higher(j, i) and kept(j)]
        return all(similarity(boxes[i], boxes[j]).item() <= threshold for j in rivals)

    survivors = [i for i in range(len(boxes)) if kept(i)]
    return sorted(survivors, key=lambda i: (-scores[i].item(), i))


def by_pycocotools(detections, targets, classes=9):
    """COCO's twelve figures, as its own tools compute them; NaN where there is nothing to tell."""

    def rows(images, **columns):
        for i, image in enumerate(images):
            x1, y1, x2, y2 = image["boxes"].T.tolist() if len(image["boxes"]) else [[]] * 4
            for n in range(len(image["boxes"])):
                own = {name: image[key][n].item() for name, key in columns.items()}
                box = [x1[n], y1[n], x2[n] - x1[n], y2[n] - y1[n]]
                yield {"image_id": i, "bbox": box, **own}

    truth = COCO()
    annotations = list(rows(targets, category_id="labels", area="area", iscrowd="crowd"))
    truth.dataset = {
        "images": [{"id": i} for i in range(len(targets))],
        "categories": [{"id": c} for c in range(classes)],
        "annotations": [{**row, "id": n} for n, row in enumerate(annotations, 1)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        detected = truth.loadRes(list(rows(detections, category_id="labels", score="scores")))
        evaluation = COCOeval(truth, detected, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [math.nan if value == -1 else value for value in evaluation.stats]
