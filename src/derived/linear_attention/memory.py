"""What a state still knows of the pairs that were written into it."""

from numbers import Real
from typing import Literal, get_args

import torch
from jaxtyping import Float64
from torch import Tensor

from derived._devices import on_the_cpu
from derived._validation import count, finite_number, one_of, share, validated

Rule = Literal["hebb", "delta", "least_squares"]


@validated(pairs=count, dim=count, rule=one_of(get_args(Rule)), decay=share, beta=finite_number)
@on_the_cpu
def recall_error(
    pairs: int, dim: int, rule: Rule = "hebb", *, decay: Real = 1.0, beta: Real = 1.0
) -> Float64[Tensor, "{pairs}"]:
    r"""Return the expected error of reading each pair from a memory, oldest first.

    The error is $\lVert S^\top k_i-v_i\rVert^2$ after all pairs have been written once. Keys are
    independent and uniform on the unit sphere, values have length 1. Exact for any number of pairs
    (linear_attention-hebb-error, linear_attention-delta-age, linear_attention-least-squares).

    Shape: `(pairs,)`; its mean is the error of a pair drawn at random.

    Args:
        rule: hebb writes as `recurrent` does, delta as it does with `beta`, least_squares is the
            state with the least sum of errors, for values that are independent with mean 0.
        decay: $\gamma$, the same for each step; not for least_squares.
        beta: of the delta rule.

    Raises:
        ValueError: for counts below 1, an unknown rule, a decay outside 0 to 1.
    """
    if rule == "least_squares":
        return torch.full((pairs,), max(0, 1 - dim / pairs), dtype=torch.float64)
    write, erase = (beta, beta) if rule == "delta" else (1, 0)
    # The means of |S^T k|^2 and v^T S^T k for each pair, and of |S|^2, written pair by pair.
    square, signal = torch.empty(2, pairs, dtype=torch.float64)
    norm = 0.0
    for t in range(pairs):
        norm *= decay**2
        square[:t] *= decay**2 * (1 - 2 * erase / dim + 2 * erase**2 / (dim * (dim + 2)))
        square[:t] += erase**2 * norm / (dim * (dim + 2)) + write**2 / dim
        signal[:t] *= decay * (1 - erase / dim)
        square[t] = (1 - erase) ** 2 * norm / dim + write**2
        signal[t] = write
        norm = (1 - erase * (2 - erase) / dim) * norm + write**2
    return square - 2 * signal + 1
