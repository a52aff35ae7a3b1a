"""Features whose inner products stand for the weights of attention."""

import math
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from derived._validation import broadcastable, one_of, validated
from derived.linear_attention._checks import _directions, _has_positions, _same_dim, _vectors
from derived.linear_attention._precision import _wide

FeatureMap = Literal["elu", "relu", "sphere", "taylor", "cosformer", "identity"]
RandomFeatures = Literal["positive", "trigonometric"]


@validated(_has_positions, x=_vectors, kind=one_of(get_args(FeatureMap)))
def feature_map(x: Float[Tensor, "*n d"], kind: FeatureMap = "elu") -> Float[Tensor, "*n r"]:
    r"""Return features whose inner products stand for the weights of attention.

    | kind        | $\phi(x)$                                     | number     |
    |-------------|-----------------------------------------------|------------|
    | `elu`       | $\operatorname{elu}(x)+1=e^{\min(x,0)}+[x]_+$ | d          |
    | `relu`      | $[x]_+$                                       | d          |
    | `sphere`    | $(1,\hat x)$, with $\hat x=x/\lVert x\rVert$  | 1 + d      |
    | `taylor`    | $(1,x,x\otimes x/\sqrt2)$                     | 1 + d + d² |
    | `cosformer` | $([x]_+\cos\theta_i,[x]_+\sin\theta_i)$       | 2 d        |
    | `identity`  | $x$                                           | d          |

    The products are $1+\cos$ of the angle for `sphere`, $1+s+s^2/2$ with $s=q^\top k$ for `taylor`
    (linear_attention-taylor), and $[q]_+^\top[k]_+\cos\frac{\pi(i-j)}{2m}$ for `cosformer`
    (linear_attention-cosformer), whose angle $\theta_i=\pi i/2m$ depends on the position
    $i=0,1,\dots$ along the length $m$ of x, its second to last dimension. The direction of a zero
    vector is 0, that of any other has length 1, however long it is.

    Shapes: `(..., d)` to `(..., r)`; cosformer needs `(..., length, d)`.
    Sources: Katharopoulos et al. (2020) for elu, Arora et al. (2024) for taylor, Qin et al. (2022),
    "cosFormer", for cosformer.

    Raises:
        ValueError: for a wrong shape, dtype or kind, NaN, infinity.
    """
    return _feature_map(_wide(x), kind).to(x.dtype)


def _feature_map(x: Tensor, kind: FeatureMap) -> Tensor:
    if kind == "elu":
        return x.clamp(max=0).exp() + x.relu()
    if kind == "relu":
        return x.relu()
    one = x.new_ones(*x.shape[:-1], 1)  # also for vectors of no dimension
    if kind == "sphere":
        x = x * _scale(x)  # or the squares of the norm are 0 or infinite
        direction = _ratio(x, torch.linalg.vector_norm(x, dim=-1, keepdim=True))
        return torch.cat([one, direction], -1)
    if kind == "taylor":
        products = (x[..., :, None] * x[..., None, :]).flatten(-2) / math.sqrt(2)
        return torch.cat([one, x, products], -1)
    if kind == "cosformer":
        n = x.shape[-2]
        angle = torch.pi / 2 * torch.arange(n, device=x.device, dtype=x.dtype)[:, None] / n
        return torch.cat([x.relu() * angle.cos(), x.relu() * angle.sin()], -1)
    return x


@torch.no_grad()
def _scale(x: Tensor) -> Tensor:
    """Return the power of 2 by which each vector's largest number comes between 1/2 and 1.

    As far as it is a normal number; 1 for a vector of zeros. A power of 2 rounds nothing.
    """
    largest = torch.nn.functional.pad(x.abs(), (0, 1)).amax(-1, keepdim=True)  # also of no numbers
    most = -math.frexp(torch.finfo(x.dtype).tiny)[1]
    return torch.ldexp(torch.ones_like(largest), -largest.frexp().exponent.clamp(-most, most))


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """Return part / whole, and 0 where that is 0: over infinity, so that the gradient is 0 too."""
    tiny = torch.finfo(whole.dtype).tiny
    return part / torch.nn.functional.threshold(whole, tiny, torch.inf)


@validated(
    _same_dim("x", "directions"),
    x=_vectors,
    directions=_directions,
    kind=one_of(get_args(RandomFeatures)),
)
def random_features(
    x: Float[Tensor, "*n d"],
    directions: Float[Tensor, "m d"],
    kind: RandomFeatures = "positive",
) -> Float[Tensor, "*n r"]:
    r"""Return random features, whose inner products are $e^{q^\top k}$ in the mean
    (linear_attention-random-features).

    For directions $w_1,\dots,w_m$ drawn from $\mathcal N(0,I)$: positive features are
    $m^{-1/2}e^{w^\top x-\lVert x\rVert^2/2}$, trigonometric ones
    $m^{-1/2}e^{\lVert x\rVert^2/2}(\cos w^\top x,\sin w^\top x)$.

    Shapes: `(..., d)` and `(m, d)` to `(..., m)`, trigonometric to `(..., 2 m)`, in the dtype of x.
    Source: Choromanski et al. (2021).

    Raises:
        ValueError: for a wrong shape, dtype or kind, NaN, infinity.
    """
    dtype, x, directions = x.dtype, _wide(x), _wide(directions)
    projection, half_square = x @ directions.mT, x.square().sum(-1, keepdim=True) / 2
    if kind == "positive":
        features = (projection - half_square).exp()
    else:
        features = half_square.exp() * torch.cat([projection.cos(), projection.sin()], -1)
    return (features / math.sqrt(len(directions))).to(dtype)


@validated(
    _same_dim("q", "k"),
    broadcastable("q", "k", hint="For every query with every key, pass q[..., :, None, :]."),
    q=_vectors,
    k=_vectors,
    kind=one_of(get_args(RandomFeatures)),
)
def random_feature_variance(
    q: Float[Tensor, "*#n d"], k: Float[Tensor, "*#n d"], kind: RandomFeatures = "positive"
) -> Float[Tensor, "*#n"]:
    r"""Return the variance of one random direction's estimate of $e^{q^\top k}$.

    Of the mean of m it is the m-th part. For positive features it is
    $e^{2q^\top k}(e^{\lVert q+k\rVert^2}-1)$, for trigonometric ones
    $\frac12e^{\lVert q\rVert^2+\lVert k\rVert^2}(1-e^{-\lVert q-k\rVert^2})^2$
    (linear_attention-random-variance).

    Shapes: `(..., d)` and `(..., d)`, whose leading dimensions broadcast, to `(...)`.

    Raises:
        ValueError: for a wrong shape, dtype or kind, NaN, infinity.
    """
    dtype, q, k = torch.promote_types(q.dtype, k.dtype), _wide(q), _wide(k)
    # In each the exponents are added first: their powers could be infinite and 0.
    if kind == "positive":
        squared = (q + k).square().sum(-1)
        return ((2 * (q * k).sum(-1) + squared).exp() * -(-squared).expm1()).to(dtype)
    missing = -(-(q - k).square().sum(-1)).expm1()
    same = missing < torch.finfo(missing.dtype).tiny
    exponent = q.square().sum(-1) + k.square().sum(-1) + 2 * missing.masked_fill(same, 1).log()
    return exponent.masked_fill(same, -torch.inf).exp().div(2).to(dtype)
