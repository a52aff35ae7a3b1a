"""What a softmax makes of logits: its entropy and its Jacobian."""

import math
from numbers import Real
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from derived._validation import checks_values, count, floats, not_negative, validated


@validated(sigma=not_negative, n=count)
def rem_entropy(sigma: Real, n: int) -> float:
    r"""Return the entropy, in nats, of the softmax of n independent logits from N(0, sigma²).

    $[\ln n-\sigma^2/2]_+$ (initialization-rem): to leading order in $\ln n$, at a fixed ratio of
    $\sigma$ to $\sigma_c=\sqrt{2\ln n}$. Above $\sigma_c$ the entropy is frozen: it stays bounded
    as n grows.

    Raises:
        ValueError: for a negative standard deviation, or n below 1.

    Source: Derrida (1981), the random-energy model.
    """
    return max(0.0, math.log(n) - sigma**2 / 2)


def _probabilities(name: str, value: Any) -> None:
    """Refuse what does not hold probabilities in its last dimension."""
    floats(name, value)
    if value.ndim == 0 or value.shape[-1] == 0:
        raise ValueError(f"{name}: expected shape (..., n) with n > 0, got {tuple(value.shape)}")
    if checks_values():
        total = value.sum(-1, dtype=torch.float64)
        slack = 4 * torch.finfo(value.dtype).eps + 1e-6
        if not ((value >= 0).all() and ((total - 1).abs() <= slack).all()):
            raise ValueError(f"{name}: expected probabilities, at least 0 and adding up to 1")


@validated(p=_probabilities)
def softmax_jacobian_norm(p: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    r"""Return the Frobenius norm of the Jacobian of a softmax, from the probabilities it gives.

    $\|J\|_F^2=\sum_ip_i^2-2\sum_ip_i^3+\big(\sum_ip_i^2\big)^2$
    (initialization-softmax-jacobian), where $J_{ij}=p_i(\delta_{ij}-p_j)$.

    Shapes: `(..., n)` to `(...)`. It is computed in float64, and in such an order that a norm
    near 0, of a p that is nearly one-hot, keeps its digits. At 0 its gradient is 0.

    Raises:
        ValueError: for what isn't floating point numbers of at least 0 that add up to 1.
    """
    m, place = p.double().max(-1, keepdim=True)
    others = p.double().scatter(-1, place, 0)  # then 1 - m is their sum, and nothing cancels
    s1, s2, s3 = (others.pow(k).sum(-1) for k in (1, 2, 3))
    m2 = m.squeeze(-1) ** 2
    squared = m2 * s1**2 + (1 + 2 * m2) * s2 - 2 * s3 + s2**2
    flat = squared <= 0  # the square root has no slope there
    norm = squared.masked_fill(flat, 1).sqrt().masked_fill(flat, 0)
    return norm.to(torch.promote_types(p.dtype, torch.float32))
