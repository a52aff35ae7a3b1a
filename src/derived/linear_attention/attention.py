"""Attention in linear time: sums of weights that are products of features."""

from collections.abc import Iterable
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from derived._validation import one_of, validated
from derived.linear_attention._checks import _LENGTH, _meaningful, _sequences
from derived.linear_attention._precision import _wide
from derived.linear_attention.features import FeatureMap, _feature_map, _ratio, _scale
from derived.linear_attention.recurrences import _chunks, _joined

Kind = Literal[FeatureMap, "softmax"]
_CHUNK = 64  # tokens at a time: a speed, not a value


@validated(_meaningful, q=_sequences, k=_sequences, v=_sequences, kind=one_of(get_args(Kind)))
def linear_attention(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b h m d"],
    v: Float[Tensor, "b h m e"],
    *,
    kind: Kind = "elu",
    causal: bool = False,
    normalize: bool = True,
) -> Float[Tensor, "b h n e"]:
    r"""Return attention whose weights are inner products of features, in linear time.

    $$o_i=\frac{\sum_j\phi(q_i)^\top\phi(k_j)\,v_j}{\sum_j\phi(q_i)^\top\phi(k_j)}$$

    The sums run over all j (linear_attention-factored), or over j <= i if `causal`
    (linear_attention-recurrence). Where all weights of a query are 0, so is
    its output, and the gradient. Kind softmax takes the softmax of q over the dimension and of k
    over the length (linear_attention-total-probability).

    Shapes: `(b, h, n, d)`, `(b, h, m, d)`, `(b, h, m, e)` to `(b, h, n, e)`; n = m if causal.

    Args:
        kind: of features, see `feature_map`.
        causal: let a query see only keys up to its own position.
        normalize: divide by the sum of the weights.

    Raises:
        ValueError: for a wrong shape, dtype or kind, NaN, infinity, weights that can be negative
            with `normalize`, a kind that looks ahead with `causal`.
    """
    if causal:
        Q, K = (_feature_chunks(x, kind) for x in (q, k))
        features = (_balanced(part, normalize) for part in Q), K
        values = (_with_one(_wide(V), normalize) for V in v.split(_CHUNK, _LENGTH))
        outputs = _chunks(zip(*features, values, strict=True))
        return _joined((_normalized(out, normalize) for out in outputs), v)
    q, k = _wide(q), _wide(k)
    if kind == "softmax":
        q, k = q.softmax(-1), k.softmax(_LENGTH)
    else:
        q, k = _balanced(_feature_map(q, kind), normalize), _feature_map(k, kind)
    return _normalized(q @ (k.mT @ _with_one(_wide(v), normalize)), normalize).to(v.dtype)


def _feature_chunks(x: Tensor, kind: FeatureMap) -> Iterable[Tensor]:
    """Return the features of each chunk, made when it is its turn, so that they stay in the cache.

    Only those that depend on the position are made all at once.
    """
    if kind == "cosformer":
        return _feature_map(_wide(x), kind).split(_CHUNK, _LENGTH)
    return (_feature_map(_wide(part), kind) for part in x.split(_CHUNK, _LENGTH))


def _balanced(features: Tensor, normalize: bool) -> Tensor:
    """Return the features of queries times what the normalizer divides out again.

    So the products of small features are normal numbers as long as those of the keys are.
    """
    return features * _scale(features) if normalize else features


def _with_one(v: Tensor, normalize: bool) -> Tensor:
    """Append a value of 1, which comes out as the sum of the weights."""
    return torch.nn.functional.pad(v, (0, 1), value=1) if normalize else v


def _normalized(out: Tensor, normalize: bool) -> Tensor:
    return _ratio(out[..., :-1], out[..., -1:]) if normalize else out
