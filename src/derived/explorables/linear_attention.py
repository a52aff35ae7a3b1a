"""The interactive figure of the chapter on removing the softmax."""

import math
from typing import Any

import traitlets

from derived.explorables._base import Explorable

__all__ = ["MatrixMemory"]

RULES = ("hebb", "decay", "delta", "softmax")
LETTERS = "ABCDEFGHIJKL"
SMALLEST, LARGEST = 2, 32  # dimension of the keys
SEEDS = 9999
# Largest values of the rules' parameters, as in linear_attention.js.
LIMITS = {"decay": 1.0, "beta": 2.0, "scale": 64.0}


def _place(letter: Any, value: Any) -> tuple[float, float]:
    """Return `value` as a point of the unit disk, or say what is wrong with it."""
    if letter not in tuple(LETTERS):
        raise ValueError(f"places must be those of letters from A to L; got {letter!r}")
    try:
        point = tuple(float(coordinate) for coordinate in value)
    except (TypeError, ValueError):
        point = ()
    # What is on the rim is rounded to four digits, so its length is not always 1.
    if len(point) != 2 or not math.hypot(*point) <= 1.001:
        raise ValueError(f"places[{letter!r}] must be (x, y) in the unit disk; got {value!r}")
    return point


class MatrixMemory(Explorable):
    """Matrix memory: drag keys, change the order of writing, and see what a state still holds.

    Args:
        rule: how pairs are written: "hebb", "decay", "delta", or "softmax", which keeps them all.
        dim: the dimension of the keys, 2 to 32.
        order: the pairs in the order in which they are written, at most 12 letters from A to L.
        places: the keys that were dragged: the letter's first two coordinates, a point of the unit
            disk. The other keys are random.
        seed: of the random keys, an integer from 1 to 9999.
        decay: γ of the rule "decay", 0 to 1.
        beta: β of the rule "delta", 0 to 2.
        scale: what softmax multiplies its logits by, 0 to 64.

    What the reader drags comes back: `figure.order`, `figure.places`, … always hold the present
    state.

    Raises:
        ValueError: for any other value, naming the argument and what came.
    """

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

    rule = traitlets.Any().tag(sync=True, state=True)
    dim = traitlets.Any().tag(sync=True, state=True)
    order = traitlets.Any().tag(sync=True, state=True)
    places = traitlets.Any().tag(sync=True, state=True)
    seed = traitlets.Any().tag(sync=True, state=True)
    decay = traitlets.Any().tag(sync=True, state=True)
    beta = traitlets.Any().tag(sync=True, state=True)
    scale = traitlets.Any().tag(sync=True, state=True)

    def __init__(
        self,
        *,
        rule: Any = "hebb",
        dim: Any = 8,
        order: Any = "ABCDEF",
        places: Any = None,
        seed: Any = 237,
        decay: Any = 0.9,
        beta: Any = 1.0,
        scale: Any = 32.0,
    ) -> None:
        alike = {"A": (0.9397, 0.342), "F": (0.9945, -0.1045)}
        super().__init__(
            rule=rule,
            dim=dim,
            order=order,
            places=alike if places is None else places,
            seed=seed,
            decay=decay,
            beta=beta,
            scale=scale,
        )

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

    @traitlets.validate("rule")
    def _valid_rule(self, proposal: Any) -> str:
        if proposal.value not in RULES:
            raise ValueError(f"rule must be one of {', '.join(RULES)}; got {proposal.value!r}")
        return proposal.value

    @traitlets.validate("dim", "seed")
    def _valid_integer(self, proposal: Any) -> int:
        name, value = proposal.trait.name, proposal.value
        low, high = (SMALLEST, LARGEST) if name == "dim" else (1, SEEDS)
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"{name} must be an integer from {low} to {high}; got {value!r}")
        return value

    @traitlets.validate("order")
    def _valid_order(self, proposal: Any) -> str:
        order = proposal.value
        if (
            not isinstance(order, str)
            or not order
            or len(set(order)) != len(order)
            or not set(order) <= set(LETTERS)
        ):
            raise ValueError(f"order must be different letters from A to L; got {order!r}")
        return order

    @traitlets.validate("places")
    def _valid_places(self, proposal: Any) -> dict[str, tuple[float, float]]:
        try:
            places = dict(proposal.value)
        except (TypeError, ValueError):
            message = f"places must be a dict from letters to (x, y); got {proposal.value!r}"
            raise ValueError(message) from None
        return {letter: _place(letter, point) for letter, point in places.items()}

    @traitlets.validate("decay", "beta", "scale")
    def _valid_parameter(self, proposal: Any) -> float:
        name, value = proposal.trait.name, proposal.value
        high = LIMITS[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= high:
            raise ValueError(f"{name} must be a number from 0 to {high:g}; got {value!r}")
        return float(value)
