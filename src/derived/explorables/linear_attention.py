"""The interactive figure of the chapter on removing the softmax."""

import math
from collections.abc import Mapping
from typing import Any

from derived.explorables._base import Explorable
from derived.explorables._state import Choice, Integer, Letters, Number, State, floats

__all__ = ["MatrixMemory"]

RULES = ("hebb", "decay", "delta", "softmax")
LETTERS = "ABCDEFGHIJKL"
SMALLEST, LARGEST = 2, 32  # dimension of the keys
SEEDS = 9999
ALIKE = {"A": (0.9397, 0.342), "F": (0.9945, -0.1045)}  # at 20° and −6°


class Places(State):
    """Points of the unit disk by letters."""

    expected = "a dict from letters to (x, y)"

    def checked(self, value: Any) -> dict[str, tuple[float, ...]]:
        if not isinstance(value, Mapping):
            self.refuse(value)
        for letter in value:
            if letter not in tuple(LETTERS):
                message = f"{self.name} must be those of letters from A to L; got {letter!r}"
                raise ValueError(message)
        points = {letter: floats(point) for letter, point in value.items()}
        for letter, point in points.items():
            # What is on the rim is rounded to four digits, so its length is not always 1.
            if len(point) != 2 or math.hypot(*point) > 1.001:
                name, got = f"{self.name}[{letter!r}]", value[letter]
                raise ValueError(f"{name} must be (x, y) in the unit disk; got {got!r}")
        return points


class MatrixMemory(Explorable):
    """Matrix memory: drag keys, change the order of writing, and see what a state still holds."""

    name = "matrix_memory"
    script = "linear_attention.js"
    caption = (
        "Matrix memory. Pairs of a key and a letter are written one after the other into a matrix S; "
        "then each key is asked for. The keys A and F are nearly alike. Hebb’s rule answers each with "
        "a blend of both letters. Choose delta: it answers F exactly, and F for A as well, which it "
        "has overwritten. Choose softmax, which keeps every pair: it tells them apart. Drag keys on "
        "the disk and bars in the chart, or use the arrow keys and the buttons."
    )
    alt = (
        "A disk shows six unit keys of dimension 8 as points; the keys A and F lie on its rim, 26 "
        "degrees apart. Asked for A, Hebb’s rule answers 1.00 A plus 0.90 F plus smaller parts. A bar "
        "chart of squared read errors has A at 1.08 and F at 1.15, above the 0.63 that random keys "
        "would have on average, and the four others below 0.51. A table compares the rules: Hebb has "
        "the mean error 0.60, decay 0.47, delta 0.46, each keeping 96 numbers, and softmax 0.00, "
        "keeping 120. Heat maps show the state and the answers, whose entries for A and F are large in "
        "both rows."
    )
    reserve = (
        "max(1602px, 74cqw + 1318px)",
        "max(min(874px, 2000px - 161cqw), 640px + 24.5cqw)",
    )

    rule = Choice(
        "hebb",
        RULES,
        'how pairs are written: "hebb", "decay", "delta", or "softmax", which keeps them all.',
    )
    dim = Integer(8, SMALLEST, LARGEST, "the dimension of the keys, 2 to 32.")
    order = Letters(
        "ABCDEF",
        LETTERS,
        "the pairs in the order in which they are written, at most 12 letters from A to L.",
        said="from A to L",
    )
    places = Places(
        ALIKE,
        "the keys that were dragged: the letter's first two coordinates, a point of the unit disk. "
        "The other keys are random.",
    )
    seed = Integer(237, 1, SEEDS, "of the random keys, an integer from 1 to 9999.")
    decay = Number(0.9, 0.0, 1.0, 'γ of the rule "decay", 0 to 1.')
    beta = Number(1.0, 0.0, 2.0, 'β of the rule "delta", 0 to 2.')
    scale = Number(32.0, 0.0, 64.0, "what softmax multiplies its logits by, 0 to 64.")

    @property
    def expected_errors(self) -> list[float]:
        """The mean read errors for random keys, oldest pair first, from `derived.linear_attention`.

        Raises:
            ValueError: for softmax, for which there is no such formula.
        """
        # Imported here: the website's build needs this class and not torch.
        from derived.linear_attention import recall_error

        if self.rule == "softmax":
            raise ValueError("rule must be hebb, decay or delta for expected_errors; got 'softmax'")
        pairs, dim = len(self.order), self.dim
        if self.rule == "delta":
            return recall_error(pairs, dim, "delta", beta=self.beta).tolist()
        return recall_error(
            pairs, dim, "hebb", decay=self.decay if self.rule == "decay" else 1.0
        ).tolist()
