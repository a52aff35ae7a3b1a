"""How large to make the weights of a network, and how fast to move them.

Names with a trailing underscore fill a tensor in place and return it, as in `torch.nn.init`; with
the same generator they give the same weights. Labels in parentheses are those of the
equations in the chapter that a function computes; others it says to see.

Weights of float16 and bfloat16 are drawn in float32 and then rounded: drawn in 8 or 11 bits, the
tails of a distribution and the orthogonality of a matrix are lost.

weights.py    weights drawn from a distribution
moments.py    what a layer makes of the size of a signal
attention.py  what a softmax makes of logits
depth.py      how much each of many residual branches may add
width.py      learning rates that serve at every width
"""

from derived.initialization.attention import rem_entropy, softmax_jacobian_norm
from derived.initialization.depth import deepnorm_constants, encoder_decoder_deepnorm, fixup_scale
from derived.initialization.moments import gain, gaussian_mean, moment_map
from derived.initialization.weights import (
    fans,
    orthogonal_,
    trunc_normal_,
    truncnorm_gamma,
    variance_scaling_,
)
from derived.initialization.width import coord_check, mup_groups, width_sweep

__all__ = ["coord_check", "deepnorm_constants", "fans", "fixup_scale", "gain", "gaussian_mean"]
__all__ += ["encoder_decoder_deepnorm"]
__all__ += ["moment_map", "mup_groups", "orthogonal_", "rem_entropy", "softmax_jacobian_norm"]
__all__ += ["trunc_normal_", "truncnorm_gamma", "variance_scaling_", "width_sweep"]
