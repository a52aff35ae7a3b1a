"""The interactive figures of the chapter on initialization."""

from typing import Any

import traitlets

from derived.explorables._base import Explorable

__all__ = ["AttentionTemperature", "SignalThroughDepth"]

SCALES = (0.0, 0.5, 1.0)
DRAWS, KEYS, LIFT = 200, 1024, 1000.0  # as in initialization_temperature.js
ACTIVATIONS = ("relu", "gelu", "tanh", "selu")
DEEPEST, WIDEST, SEEDS = 50, 256, 100  # as in initialization_depth.js


def _number(name: str, value: Any, low: float, high: float) -> float:
    """Return `value` as a float between `low` and `high`, or say what is wrong with it."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{name} must be a number from {low:g} to {high:g}; got {value!r}")
    return float(value)


def _integer(name: str, value: Any, low: int, high: int) -> int:
    """Return `value` if it is an integer between `low` and `high`, or say what is wrong with it."""
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{name} must be an integer from {low} to {high}; got {value!r}")
    return value


def _power(name: str, value: Any, low: int, high: int) -> int:
    """Return `value` if it is a power of two between `low` and `high`, or say what is wrong with it."""
    if type(value) is not int or not low <= value <= high or value.bit_count() != 1:
        raise ValueError(f"{name} must be a power of two from {low} to {high}; got {value!r}")
    return value


class AttentionTemperature(Explorable):
    """Temperature of attention: what the scale of the logits does to a softmax over n keys.

    Args:
        d: the head size, a power of two from 16 to 1024.
        n: the number of keys, a power of two from 8 to 1024.
        exponent: c in the scale d^(−c) of the logits: 0 (none), 0.5 (1/√d) or 1 (1/d).
        sigma_q: the queries' standard deviation, from 0.5 to 2; the keys' is 1.
        draw: which of the 200 random queries is shown, from 0.
        key: the key that can be dragged, from 0 to 1023; where there are fewer, the last one.
        lift: what is added to that key's logit, at most 1000 either way.

    What the reader drags comes back: `figure.d`, `figure.lift`, … always hold the present state.

    Raises:
        ValueError: for any other value, naming the argument and what came.
    """

    name = "attention_temperature"
    script = "initialization_temperature.js"
    caption = (
        "Temperature of attention. Without a scale, logits of head size 64 have the standard "
        "deviation 8, and a query sees two of 512 keys; with 1/√d it sees 312, with 1/d nearly all. "
        "The entropy follows the random-energy model up to a critical σ of 3.5, where attention "
        "freezes. There the gradient does not vanish: its mean goes on growing with σ, while its median, "
        "what a typical query gets, collapses beyond σ = 8. Drag a key to see what it takes to be heard."
    )
    alt = (
        "Without a scale, one query over 512 keys gives 0.82 of its weight to one key and 0.11 to "
        "another; most get less than a millionth. A table compares three scales over 200 "
        "queries: none sees 2.3 effective keys, with a gradient of 1.8 in the mean and 2.0 in the "
        "median; 1/√d sees 312, with 0.071 and 0.070; 1/d sees 508, with 0.0056 and 0.0056. A chart of "
        "effective keys against σ stays at 512, falls steeply around σ = 2 to 4 and levels off near 1; "
        "the theory reaches 1 at σc = 3.53. A second chart shows mean and median gradient growing "
        "together until σ is about 8; then the mean goes on growing and the median drops below 0.0001."
    )
    reserve = ("max(1382px, 1560px - 32cqw)", "756px")

    d = traitlets.Any().tag(sync=True, state=True)
    n = traitlets.Any().tag(sync=True, state=True)
    exponent = traitlets.Any().tag(sync=True, state=True)
    sigma_q = traitlets.Any().tag(sync=True, state=True)
    draw = traitlets.Any().tag(sync=True, state=True)
    key = traitlets.Any().tag(sync=True, state=True)
    lift = traitlets.Any().tag(sync=True, state=True)

    def __init__(
        self,
        *,
        d: Any = 64,
        n: Any = 512,
        exponent: Any = 0.0,
        sigma_q: Any = 1.0,
        draw: Any = 0,
        key: Any = 413,
        lift: Any = 0.0,
    ) -> None:
        super().__init__(
            d=d, n=n, exponent=exponent, sigma_q=sigma_q, draw=draw, key=key, lift=lift
        )

    @property
    def sigma(self) -> float:
        """The standard deviation of the logits, σ_q d^(1/2 − c)."""
        return self.sigma_q * self.d ** (0.5 - self.exponent)

    @property
    def theory(self) -> float:
        """The entropy in nats that the random-energy model gives, from `derived.initialization`."""
        # Imported here: the website's build needs this class and not torch.
        from derived.initialization import rem_entropy

        return rem_entropy(self.sigma, self.n)

    @traitlets.validate("d")
    def _valid_d(self, proposal: Any) -> int:
        return _power("d", proposal.value, 16, 1024)

    @traitlets.validate("n")
    def _valid_n(self, proposal: Any) -> int:
        return _power("n", proposal.value, 8, KEYS)

    @traitlets.validate("exponent")
    def _valid_exponent(self, proposal: Any) -> float:
        if type(proposal.value) is bool or proposal.value not in SCALES:
            raise ValueError(f"exponent must be 0, 0.5 or 1; got {proposal.value!r}")
        return float(proposal.value)

    @traitlets.validate("sigma_q")
    def _valid_sigma_q(self, proposal: Any) -> float:
        return _number("sigma_q", proposal.value, 0.5, 2.0)

    @traitlets.validate("draw")
    def _valid_draw(self, proposal: Any) -> int:
        return _integer("draw", proposal.value, 0, DRAWS - 1)

    @traitlets.validate("key")
    def _valid_key(self, proposal: Any) -> int:
        return _integer("key", proposal.value, 0, KEYS - 1)

    @traitlets.validate("lift")
    def _valid_lift(self, proposal: Any) -> float:
        return _number("lift", proposal.value, -LIFT, LIFT)


class SignalThroughDepth(Explorable):
    """Signal through depth: how large signal and gradient are in each layer of random deep networks.

    Args:
        activation: "relu", "gelu", "tanh" or "selu".
        gain: g, the weights being N(0, g²/d), from 0.5 to 2.5.
        depth: the number of layers, from 2 to 50.
        width: d, a power of two from 8 to 256.
        layer: the layer whose pre-activations are shown, from 1; beyond the depth the last one.
        seed: which 40 random networks are shown, from 0 to 99.

    What the reader moves comes back: `figure.gain`, `figure.depth`, … always hold the present state.

    Raises:
        ValueError: for any other value, naming the argument and what came.
    """

    name = "signal_through_depth"
    script = "initialization_depth.js"
    caption = (
        "Signal through depth. With He’s gain √2, a ReLU network of infinite width keeps q at 1, and so does "
        "the mean over networks of width 64, but the typical one shrinks: after 50 layers the median "
        "is 0.14. Choose GELU: q = 1 is a fixed point that repels, so networks of finite "
        "width drift away from it. Choose tanh: the signal holds, and the gradient grows a "
        "thousandfold. Move the orange layer to see its pre-activations."
    )
    alt = (
        "Forty random ReLU networks of width 64 and 50 layers with gain √2. The line of infinite width "
        "stays at q = 1. The networks fan out around a falling median, from 1 at the input to 0.14 after "
        "50 layers, single ones to anything from 0.0005 to 2. Squared gradients fan out in the same way from "
        "the last layer back to the first. A heat map of the pre-activations narrows with depth. At "
        "layer 30 their histogram has a sharper peak and longer tails than the normal curve. A table "
        "gives, for ReLU, GELU, tanh and SELU, the gains 1.41, 1.53, 1.59 and 1.00, the factors χ 1.00, "
        "1.07, 1.18 and 1.07, and dq′/dq 1.00, 1.14, 0.46 and 0.78."
    )
    reserve = ("max(1492px, 1690px - 32.5cqw)", "811px")

    activation = traitlets.Any().tag(sync=True, state=True)
    gain = traitlets.Any().tag(sync=True, state=True)
    depth = traitlets.Any().tag(sync=True, state=True)
    width = traitlets.Any().tag(sync=True, state=True)
    layer = traitlets.Any().tag(sync=True, state=True)
    seed = traitlets.Any().tag(sync=True, state=True)

    def __init__(
        self,
        *,
        activation: Any = "relu",
        gain: Any = 2**0.5,
        depth: Any = 50,
        width: Any = 64,
        layer: Any = 30,
        seed: Any = 50,  # near what is expected: a mean of 1, a median of exp(−5L/2d)
    ) -> None:
        super().__init__(
            activation=activation, gain=gain, depth=depth, width=width, layer=layer, seed=seed
        )

    @traitlets.validate("activation")
    def _valid_activation(self, proposal: Any) -> str:
        if proposal.value not in ACTIVATIONS:
            raise ValueError(
                f"activation must be one of {', '.join(ACTIVATIONS)}; got {proposal.value!r}"
            )
        return proposal.value

    @traitlets.validate("gain")
    def _valid_gain(self, proposal: Any) -> float:
        return _number("gain", proposal.value, 0.5, 2.5)

    @traitlets.validate("depth")
    def _valid_depth(self, proposal: Any) -> int:
        return _integer("depth", proposal.value, 2, DEEPEST)

    @traitlets.validate("width")
    def _valid_width(self, proposal: Any) -> int:
        return _power("width", proposal.value, 8, WIDEST)

    @traitlets.validate("layer")
    def _valid_layer(self, proposal: Any) -> int:
        return _integer("layer", proposal.value, 1, DEEPEST)

    @traitlets.validate("seed")
    def _valid_seed(self, proposal: Any) -> int:
        return _integer("seed", proposal.value, 0, SEEDS - 1)
