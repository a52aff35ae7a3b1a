"""What the rooms share: the kinds of arguments, and what a batch is."""

import numbers
from collections.abc import Callable
from typing import Any, Literal

from jaxtyping import Real
from torch import Tensor

from derived._validation import floats

Prediction = Literal["x0", "eps", "v", "score", "velocity"]
Solver = Literal["ddim", "heun", "dpmpp_2m"]
Weighted = Literal["x0", "eps", "v", "velocity"]
Denoiser = Callable[[Tensor, Tensor], Tensor]
Time = numbers.Real | Real[Tensor, ""] | Real[Tensor, "batch"]


def _batch(name: str, value: Any) -> None:
    """Refuse what is not a batch of float samples."""
    floats(name, value)
    if value.ndim == 0:
        raise ValueError(f"{name}: expected shape (batch, ...), got ()")
