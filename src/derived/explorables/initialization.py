"""The interactive figures of the chapter on initialization."""

from derived.explorables._base import Explorable
from derived.explorables._state import Choice, Integer, Level, Number, PowerOfTwo

__all__ = ["AttentionTemperature", "SignalThroughDepth"]

SCALES = (0.0, 0.5, 1.0)
DRAWS, KEYS, LIFT = 200, 1024, 1000.0  # as in initialization_temperature.js
ACTIVATIONS = ("relu", "gelu", "tanh", "selu")
DEEPEST, WIDEST, SEEDS = 50, 256, 100  # as in initialization_depth.js


class AttentionTemperature(Explorable):
    """Temperature of attention: what the scale of the logits does to a softmax over n keys."""

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

    d = PowerOfTwo(64, 16, 1024, "the head size, a power of two from 16 to 1024.")
    n = PowerOfTwo(512, 8, KEYS, "the number of keys, a power of two from 8 to 1024.")
    exponent = Level(
        0.0,
        SCALES,
        "c in the scale d^(−c) of the logits: 0 (none), 0.5 (1/√d) or 1 (1/d).",
    )
    sigma_q = Number(
        1.0, 0.5, 2.0, "the queries' standard deviation, from 0.5 to 2; the keys' is 1."
    )
    draw = Integer(0, 0, DRAWS - 1, "which of the 200 random queries is shown, from 0.")
    key = Integer(
        413,
        0,
        KEYS - 1,
        "the key that can be dragged, from 0 to 1023; where there are fewer, the last one.",
    )
    lift = Number(0.0, -LIFT, LIFT, "what is added to that key's logit, at most 1000 either way.")

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


class SignalThroughDepth(Explorable):
    """Signal through depth: how large signal and gradient are in each layer of random deep networks."""

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

    activation = Choice("relu", ACTIVATIONS, '"relu", "gelu", "tanh" or "selu".')
    gain = Number(2**0.5, 0.5, 2.5, "g, the weights being N(0, g²/d), from 0.5 to 2.5.")
    depth = Integer(50, 2, DEEPEST, "the number of layers, from 2 to 50.")
    width = PowerOfTwo(64, 8, WIDEST, "d, a power of two from 8 to 256.")
    layer = Integer(
        30,
        1,
        DEEPEST,
        "the layer whose pre-activations are shown, from 1; beyond the depth the last one.",
    )
    # Near what is expected: a mean of 1, a median of exp(−5L/2d).
    seed = Integer(50, 0, SEEDS - 1, "which 40 random networks are shown, from 0 to 99.")
