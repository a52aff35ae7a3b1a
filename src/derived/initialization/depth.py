"""How much each of many residual branches may add."""

from typing import Any

from derived._validation import count, one_of, validated


@validated(layers=count, optimizer=one_of(["sgd", "adam"]))
def deepnorm_constants(layers: int, optimizer: str = "sgd") -> tuple[float, float]:
    r"""Return the weight of the skip connection and the scale of the branches' weights.

    $x\leftarrow\operatorname{LN}(\alpha x+F(x))$ in N layers of two branches each;
    $\alpha=(2N)^p$ and $\beta=(8N)^{-p}$ (initialization-deepnorm). $\beta$ multiplies the
    standard deviation of the value, output and feed-forward matrices.

    Args:
        layers: N, of attention and feed-forward together.
        optimizer: "sgd" with $p=1/4$, as published, or "adam" with $p=1/2$, where the steps don't
            shrink with the gradient.

    Raises:
        ValueError: for layers below 1, or an unknown optimizer.

    Source: Wang et al. (2022); Su (2022) for the exponent of each optimizer.
    """
    p = {"sgd": 1 / 4, "adam": 1 / 2}[optimizer]
    return (2 * layers) ** p, (8 * layers) ** -p


@validated(encoder_layers=count, decoder_layers=count)
def encoder_decoder_deepnorm(
    encoder_layers: int, decoder_layers: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    r"""Return DeepNorm's two constants for an encoder, and those for the decoder that reads it.

    Each pair is $\alpha,\beta$ as of `deepnorm_constants`. With N layers of the encoder and M of the
    decoder, whose layers have three branches each, $\alpha=0.81\,(N^4M)^{1/16}$ and
    $\beta=0.87\,(N^4M)^{-1/16}$ for the encoder, $\alpha=(3M)^{1/4}$ and $\beta=(12M)^{-1/4}$ for
    the decoder.

    Raises:
        ValueError: for layers below 1.

    Source: Wang et al. (2022), figure 2.
    """
    size = (encoder_layers**4 * decoder_layers) ** (1 / 16)
    encoder = 0.81 * size, 0.87 / size
    return encoder, ((3 * decoder_layers) ** 0.25, (12 * decoder_layers) ** -0.25)


def _at_least_two(name: str, value: Any) -> None:
    count(name, value)
    if value < 2:
        raise ValueError(f"{name}: expected at least 2, as the last layer starts at 0, got {value}")


@validated(branches=count, layers_per_branch=_at_least_two)
def fixup_scale(branches: int, layers_per_branch: int) -> float:
    r"""Return the factor on the weights of residual branches without norms.

    $a=L^{-1/(2m-2)}$ (initialization-fixup) for L branches of m layers, whose last one is 0.

    Raises:
        ValueError: for branches below 1, or layers per branch below 2.

    Source: Zhang, Dauphin and Ma (2019).
    """
    return branches ** (-1 / (2 * layers_per_branch - 2))
