"""Exercises of this chapter: other right answers pass, and what is wrong is shown."""

import math

import torch
from support import judgment

from derived.iou import box_loss


def test_other_right_answers_pass():
    shifted = ((-2, 0.0), torch.tensor([1, 3]), [-2, 3])
    assert judgment("iou-1", lambda: shifted) == (
        "iou-1: correct. Passed: three intervals with d(A, B) = 1 above d(A, M) + d(M, B) = "
        "0.4286 + 0.4286."
    )

    def by_differences(t, s, h=1e-6):
        def loss(x):
            square = torch.tensor([0, 0, s, s], dtype=torch.float64)
            shift = torch.tensor([x, 0, x, 0], dtype=torch.float64)
            return box_loss(square + shift, square, "diou")

        return (loss(t + h) - loss(t - h)) / (2 * h)

    assert judgment("iou-2", by_differences).startswith("iou-2: correct. Passed: ")


def test_equality_is_no_violation():
    answer = judgment("iou-1", lambda: ((0, 2), (2, 4), (1, 3)))
    assert "d(A, B) = 1 is not above d(A, M) + d(M, B) = 0.5 + 0.5" in answer


def test_an_unknown_mistake_is_shown_with_its_input():
    assert judgment("iou-2", lambda t, s: t) == (
        "iou-2: not yet. For t = 2 and s = 1, expected 0.16, got 2."
    )
    assert "got no finite number (NoneType)." in judgment(
        "iou-2", lambda t, s: None if t == 2 else 0.0
    )
    assert "got no finite number (float)." in judgment("iou-2", lambda t, s: math.nan)
    assert "got 0." in judgment("iou-2", lambda t, s: 0)


def test_right_for_some_inputs_only_is_not_right():
    right = lambda t, s: 2 * t * s * (t + 2 * s) / ((t + s) ** 2 + s**2) ** 2
    for spoiled in (2, 5, 3, 7, 40):
        answer = judgment(
            "iou-2", lambda t, s, spoiled=spoiled: right(t, s) + 0.01 * (t == spoiled)
        )
        assert answer.startswith(f"iou-2: not yet. For t = {spoiled} and s = ")
