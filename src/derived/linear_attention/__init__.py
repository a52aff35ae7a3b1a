"""Attention without the softmax: feature maps, recurrences, their parallel forms, their memory.

All sequences are laid out as `(batch, heads, length, dim)`. A state is a matrix
`(batch, heads, d_k, d_v)`, the sum of outer products of keys and values. Labels in parentheses are
those of the equations in the chapter that a function computes; others it says to see.

- `recurrent`, `chunked` and `delta_rule` compute the bare sums: they divide by nothing and scale by
  nothing unless asked. For attention weights that add up to 1, call `linear_attention`.
- Any length will do, 0 and 1 included, and any size of chunk.
- Outputs have the dtype of the values (those of features that of the vectors). Everything is
  computed and states are kept in float32 at least, since a state in bfloat16 stops growing when its
  sum is 256 times what is added.
- A decay of 0 (a logarithm of -inf) forgets exactly what came before, with finite gradients. So
  several sequences may stand one behind the other: put a decay of 0 at the first token of each.

features.py     features whose inner products stand for the weights of attention
attention.py    attention whose weights they are, in linear time
recurrences.py  one token after the other, or in chunks: decay and the delta rule
memory.py       what a state still knows of the pairs that were written into it
"""

from derived.linear_attention.attention import linear_attention
from derived.linear_attention.features import (
    feature_map,
    random_feature_variance,
    random_features,
)
from derived.linear_attention.memory import recall_error
from derived.linear_attention.recurrences import chunked, delta_rule, recurrent, segsum

__all__ = ["chunked", "delta_rule", "feature_map", "linear_attention", "random_feature_variance"]
__all__ += ["random_features", "recall_error", "recurrent", "segsum"]
