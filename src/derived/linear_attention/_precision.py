"""What half types are computed in, since their own sums stop growing and their squares overflow."""

import torch
from torch import Tensor


def _wide(x: Tensor) -> Tensor:
    """Return x in float32 at least."""
    return x.to(_at_least_float32(x.dtype))


def _at_least_float32(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)
