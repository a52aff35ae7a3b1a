"""How large to make the weights of a network, and how fast to move them.

Names with a trailing underscore fill a tensor in place and return it, as in `torch.nn.init`; with
the same generator they give the same weights. Labels in parentheses are those of the
equations in the chapter that a function computes; others it says to see.

Weights of float16 and bfloat16 are drawn in float32 and then rounded: drawn in 8 or 11 bits, the
tails of a distribution and the orthogonality of a matrix are lost.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from numpy.polynomial.legendre import leggauss
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import skip_init
from torch.optim import Adam, Optimizer

from derived._validation import checks_values, count, one_of, real_tensor, validated

__all__ = ["coord_check", "deepnorm_constants", "fans", "fixup_scale", "gain", "gaussian_mean"]
__all__ += ["moment_map", "mup_groups", "orthogonal_", "rem_entropy", "softmax_jacobian_norm"]
__all__ += ["trunc_normal_", "truncnorm_gamma", "variance_scaling_", "width_sweep"]

Distribution = Literal["normal", "uniform", "truncated_normal"]
Function = Callable[[Tensor], Tensor]
Made = tuple[nn.Module, Optimizer, Callable[[nn.Module], Tensor]]
Mode = Literal["fan_in", "fan_out", "fan_avg"]

_REACH = 12.0  # standard deviations; 1e-32 of a normal distribution lies beyond
_X, _WEIGHT = map(torch.from_numpy, leggauss(20))  # on the piece from -1 to 1
_KINKS = torch.arange(-16, 17, dtype=torch.float64) / 2  # where activations are put together


def _floating(name: str, value: Any) -> None:
    """Refuse what is not a tensor of floating point numbers."""
    real_tensor(name, value)
    if not value.is_floating_point():
        raise ValueError(f"{name}: expected a floating point dtype, got {value.dtype}")


def _matrix(name: str, value: Any) -> None:
    """Refuse what is not the weight of a layer, with at least two dimensions."""
    _floating(name, value)
    _weight_shape(f"{name}.shape", value.shape)


def _weight_shape(name: str, value: Any) -> None:
    """Refuse what is not the shape of a layer's weight."""
    shape = tuple(value) if isinstance(value, Sequence) else value
    sizes = shape if isinstance(shape, tuple) and len(shape) >= 2 else [None]
    if any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in sizes):
        raise ValueError(f"{name}: expected at least two sizes, each of at least 1, got {shape}")


def _real(*, zero: bool, infinite: bool = False) -> Callable[[str, Any], None]:
    """Return a check that a number is above 0, or may be 0."""
    expected = f"a {'' if infinite else 'finite '}number {'of at least' if zero else 'above'} 0"

    def check(name: str, value: Any) -> None:
        fine = isinstance(value, Real) and not isinstance(value, bool)
        fine = fine and (value > 0 or value == 0 and zero)  # false for NaN, too
        if not fine or math.isinf(value) and not infinite:
            raise ValueError(f"{name}: expected {expected}, got {value!r}")

    return check


_positive = _real(zero=False)
_not_negative = _real(zero=True)
_bound = _real(zero=False, infinite=True)


def _activation(name: str, value: Any) -> None:
    """Refuse what is not an elementwise function of a tensor."""
    if not callable(value):
        # One kind of error for all that a reader may get wrong, hence no TypeError.
        raise ValueError(f"{name}: expected a function of a tensor, got {value!r}")  # noqa: TRY004
    result = value(_KINKS.clone())  # some change their argument
    if not isinstance(result, Tensor) or result.shape != _KINKS.shape:
        raise ValueError(f"{name}: expected a function that answers each element with a number")


# Sampling


def _bounds(arguments: dict[str, Any]) -> None:
    a, b = arguments["a"], arguments["b"]
    if b is None:
        _bound("a", a)
        return
    for name, bound in (("a", a), ("b", b)):
        if isinstance(bound, bool) or not isinstance(bound, Real) or math.isnan(bound):
            raise ValueError(f"{name}: expected a number, got {bound!r}")
    if not a < b:
        raise ValueError(f"a and b: expected bounds a < b, got a={a!r}, b={b!r}")


@validated(_bounds)
def truncnorm_gamma(a: Real, b: Real | None = None) -> float:
    r"""Return the variance of a standard normal variable, given that it lies within bounds.

    $\gamma(a,b)=\operatorname{Var}[z\mid a\le z\le b]$ (initialization-truncnorm-general), and
    $\gamma(a)=\gamma(-a,a)=1-2a\varphi(a)/(2\Phi(a)-1)$ (initialization-truncnorm).

    The moments are integrated, to 13 digits, as the closed forms lose theirs where the bounds are
    near each other or far from 0. Bounds may be infinite. Units: the bounds are in standard
    deviations.

    Raises:
        ValueError: for a bound that is no number, a <= 0 without b, or a >= b.
    """
    low, high = (-a, a) if b is None else (a, b)
    peak = min(max(low, 0.0), high)  # where the density is highest
    reach = 80 / (abs(peak) + math.hypot(peak, math.sqrt(80)))  # beyond: below e^-40 of that
    edges = torch.linspace(max(low - peak, -reach), min(high - peak, reach), 9, dtype=torch.float64)
    t, weight = _gauss_legendre(edges)
    density = weight * torch.exp(-t * (peak + t / 2))  # of z = peak + t, relative to that of peak
    mean = density @ t / density.sum()
    return (density @ (t - mean) ** 2 / density.sum()).item()


@validated(w=_floating, std=_not_negative, a=_bound)
@torch.no_grad()
def trunc_normal_(
    w: Float[Tensor, "*shape"],
    std: Real,
    a: Real = 2.0,
    *,
    exact_std: bool = True,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*shape"]:
    r"""Fill a tensor from a normal distribution of mean 0 that is cut at ±a standard deviations.

    The normal distribution has the standard deviation $\sigma$ before it is cut at $\pm a\sigma$,
    and $\sigma\sqrt{\gamma(a)}$ after (see initialization-truncnorm). So
    $\sigma=\mathrm{std}/\sqrt{\gamma(a)}$, unless `exact_std` is false: then
    $\sigma=\mathrm{std}$, and the weights get a smaller standard deviation than asked for.

    Args:
        w: the tensor, of any shape.
        std: standard deviation of the weights (of the uncut ones, if not `exact_std`).
        a: the bounds, in units of $\sigma$; infinite ones cut nothing.
        exact_std: correct for what is cut.
        generator: where to draw from.

    Raises:
        ValueError: for integers, a negative standard deviation, or bounds that aren't above 0.
    """
    sigma = std / math.sqrt(truncnorm_gamma(a)) if exact_std else std
    dtype = torch.promote_types(w.dtype, torch.float32)

    def propose(number: int) -> tuple[Tensor, Tensor]:
        """Draw, and say what is to be drawn again; at least 79 % are kept, whatever the bounds."""
        z = torch.empty(number, dtype=dtype, device=w.device)
        if a * a > math.pi / 2:
            return z.normal_(generator=generator), z.abs() > a
        height = torch.empty_like(z).uniform_(generator=generator)
        return z.uniform_(-a, a, generator=generator), height > torch.exp(-z * z / 2)

    z, again = propose(w.numel())
    again = again.nonzero().squeeze(1)
    while len(again):
        fresh, rejected = propose(len(again))
        z[again] = fresh
        again = again[rejected]
    return w.copy_(z.mul_(sigma).view(w.shape))


@validated(w=_matrix, gain=_not_negative)
@torch.no_grad()
def orthogonal_(
    w: Float[Tensor, "out *rest"],
    gain: Real = 1.0,
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "out *rest"]:
    r"""Fill a matrix with orthonormal columns or rows, evenly distributed, times a gain.

    $W=Q\operatorname{sign}(\operatorname{diag}R)$ for the QR decomposition of a standard normal
    matrix (initialization-haar). What remains of that matrix after each Householder reflection is
    normal and independent of it, so the reflections are drawn directly, and nothing is decomposed.

    Shapes: `(out, …)`, taken as a matrix of `out` rows. The shorter of its sides is orthonormal.

    Raises:
        ValueError: for fewer than two dimensions, a size 0, integers, or a negative gain.

    Source: Stewart (1980), theorem 3.3, for the reflections; Mezzadri (2007) for the signs.
    """
    matrix = w.flatten(1)
    long, short = max(matrix.shape), min(matrix.shape)
    dtype = torch.promote_types(w.dtype, torch.float32)
    x = torch.empty(long, short, dtype=dtype, device=w.device).normal_(generator=generator).tril_()
    first = x.diagonal().add_(1e-18)  # in float32 a draw is 0 now and then, and 0/0 to be avoided
    r = torch.linalg.vector_norm(x, dim=0).copysign_(-first)  # the diagonal of R
    tau = 1 - first / r
    q = torch.linalg.householder_product(x.div_(first - r), tau).mul_(gain * r.sign())
    return w.copy_((q if matrix.shape == q.shape else q.mT).view(w.shape))


def _groups_divide(arguments: dict[str, Any]) -> None:
    groups, size = arguments["groups"], arguments["shape"][0]
    if size % groups:
        raise ValueError(f"groups: expected a divisor of shape[0] = {size}, got {groups}")


@validated(_groups_divide, shape=_weight_shape, groups=count)
def fans(shape: Sequence[int], *, groups: int = 1, transposed: bool = False) -> tuple[int, int]:
    """Return how many inputs an output adds up, and how many outputs an input goes to.

    Shapes: a linear layer's `(out, in)`, a convolution's `(out, in / groups, …)` or a transposed
    one's `(in, out / groups, …)`, where … is the size of its kernel. The counts are those away
    from borders, at stride 1: with a stride, fan-out (of a transposed one fan-in) is, on average,
    smaller by the product of the strides.

    Raises:
        ValueError: for fewer than two sizes, a size below 1, or groups that don't divide the
            first of them.
    """
    first, second = shape[0] // groups, shape[1]
    kernel = math.prod(shape[2:])
    return (first * kernel, second * kernel) if transposed else (second * kernel, first * kernel)


@validated(
    w=_matrix,
    mode=one_of(get_args(Mode)),
    distribution=one_of(get_args(Distribution)),
    gain=_not_negative,
)
@torch.no_grad()
def variance_scaling_(
    w: Float[Tensor, "out *rest"],
    mode: Mode = "fan_in",
    distribution: Distribution = "normal",
    gain: Real = 1.0,
    *,
    groups: int = 1,
    transposed: bool = False,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "out *rest"]:
    r"""Fill a weight with the variance $g^2/\text{fan}$, whatever the distribution.

    $\sigma_w^2=g^2/d_\mathrm{in}$ (initialization-gain) holds the forward pass, with the fan-out
    the backward pass (see initialization-backward), with their mean neither (see
    initialization-xavier).

    Args:
        w: the weight of a layer, see `fans`.
        mode: which fan; "fan_avg" is the mean of both.
        distribution: of mean 0; a uniform one lies within $\pm\sqrt3\,\sigma_w$
            (initialization-uniform), a truncated normal one is cut at two standard deviations and
            corrected for it.
        gain: see the function `gain`.
        groups, transposed: of a convolution, see `fans`.
        generator: where to draw from.

    Raises:
        ValueError: for fewer than two dimensions, a size 0, integers, an unknown mode or
            distribution, a negative gain, or groups that don't divide the first size.

    Source: He et al. (2015); for the mean of both fans Glorot and Bengio (2010).
    """
    fan_in, fan_out = fans(w.shape, groups=groups, transposed=transposed)
    fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]
    std = gain / math.sqrt(fan)
    if distribution == "normal":
        return w.normal_(0, std, generator=generator)
    if distribution == "uniform":
        return w.uniform_(-math.sqrt(3) * std, math.sqrt(3) * std, generator=generator)
    return trunc_normal_(w, std, generator=generator)


# Moments


@validated(fn=_activation, sigma=_not_negative)
def gaussian_mean(fn: Function, sigma: Real = 1.0) -> float:
    r"""Return $\mathbb E[f(\sigma z)]$ for a standard normal $z$.

    A quadrature of Gauss and Legendre, in float64, on pieces that meet at multiples of 1/2, where
    the common activations have their kinks: 11 digits for these, up to $\sigma=30$. A jump or a
    kink elsewhere costs digits.

    Args:
        fn: a function that maps each element of a float64 tensor.
        sigma: standard deviation of the argument.

    Raises:
        ValueError: for something that isn't such a function, or a negative standard deviation.
    """
    y, weight = _normal_nodes(sigma)
    return (weight @ fn(y)).item()


@validated(fn=_activation, sigma=_positive)
def gain(fn: Function, sigma: Real = 1.0) -> float:
    r"""Return the gain with which pre-activations keep the standard deviation that they have.

    $g=\sigma\big/\sqrt{\mathbb E[\phi(\sigma z)^2]}$; at $\sigma=1$,
    $g^{-2}=\mathbb E[\phi(z)^2]$ (initialization-gain). If $\phi$ is homogeneous, as ReLU is,
    $\sigma$ doesn't matter.

    Args:
        fn: the activation, see `gaussian_mean`.
        sigma: standard deviation of the pre-activations.

    Raises:
        ValueError: for something that isn't such a function, one that vanishes where it matters,
            or a standard deviation that isn't above 0.
    """
    second_moment = gaussian_mean(lambda y: fn(y) ** 2, sigma)
    if not 0 < second_moment < math.inf:
        raise ValueError(f"fn: expected a finite second moment above 0, got {second_moment:g}")
    return sigma / math.sqrt(second_moment)


@validated(fn=_activation, sigma_w2=_not_negative, q=_not_negative)
def moment_map(fn: Function, sigma_w2: Real, q: Real) -> tuple[float, float]:
    r"""Return what one wide layer makes of a signal's size, and of a gradient's.

    $q'=\sigma_w^2\,\mathbb E[\phi(\sqrt q\,z)^2]$ and
    $\chi=\sigma_w^2\,\mathbb E[\phi'(\sqrt q\,z)^2]$ (initialization-mean-field): the mean square
    of the next layer's pre-activations, and the factor on the mean square of the gradient.

    Args:
        fn: the activation, see `gaussian_mean`, differentiable but for kinks.
        sigma_w2: variance of a weight times the fan-in.
        q: mean square of the pre-activations.

    Raises:
        ValueError: for something that isn't such a function, or a negative number.

    Source: Poole et al. (2016) for q', Schoenholz et al. (2017) for chi.
    """
    y, weight = _normal_nodes(math.sqrt(q))
    slope = torch.func.grad(lambda y: fn(y).sum())(y)
    return sigma_w2 * (weight @ fn(y) ** 2).item(), sigma_w2 * (weight @ slope**2).item()


def _normal_nodes(sigma: Real) -> tuple[Tensor, Tensor]:
    """Return where to evaluate a function of N(0, sigma²), and the weights, which add up to 1."""
    even = torch.linspace(-_REACH, _REACH, 49, dtype=torch.float64)
    kinks = (_KINKS / max(sigma, 1e-300)).clamp(-_REACH, _REACH)
    z, weight = _gauss_legendre(torch.cat([even, kinks]).unique())
    return sigma * z, weight * torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def _gauss_legendre(edges: Tensor) -> tuple[Tensor, Tensor]:
    """Return nodes and weights of an integral over the pieces between sorted edges."""
    middle, half = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
    return (middle[:, None] + half[:, None] * _X).flatten(), (half[:, None] * _WEIGHT).flatten()


# Attention


@validated(sigma=_not_negative, n=count)
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
    _floating(name, value)
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


# Depth


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


# Width


def _plain(name: str, value: Any) -> None:
    """Refuse a model with weights whose role in it is unknown."""
    if not isinstance(value, nn.Module):
        raise ValueError(f"{name}: expected a torch.nn.Module, got {value!r}")  # noqa: TRY004
    inputs, inner = _layers(value)
    if not inputs or not inner:
        raise ValueError(f"{name}: expected an input layer and a readout, each of its own")
    known = {id(layer.weight) for layer in [*inputs, *inner]}
    if len(known) < len(inputs) + len(inner):
        raise ValueError(f"{name}: expected weights that aren't shared, as each has its own rate")
    for parameter, weight in value.named_parameters():
        if weight.ndim > 1 and id(weight) not in known:
            raise ValueError(
                f"{name}: expected matrices in Linear and Embedding layers alone, got {parameter}"
            )


def _layers(model: nn.Module) -> tuple[list[nn.Module], list[nn.Module]]:
    """Return the layers that read the input, and the others, of which the last is the readout."""
    linear = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    embeddings = [layer for layer in model.modules() if isinstance(layer, nn.Embedding)]
    return (embeddings, linear) if embeddings else (linear[:1], linear[1:])


@validated(model=_plain, base_width=count, lr=_positive)
def mup_groups(model: nn.Module, base_width: int, lr: Real) -> list[dict[str, Any]]:
    r"""Return the parameters in groups, with the learning rates that Adam needs at this width.

    With $r$ the width over the base width: $\eta$ for input layers, biases and the gains of norms,
    $\eta/r$ for hidden matrices and for the readout (initialization-mup). Give them to
    `torch.optim.Adam`; AdamW multiplies its decay by each group's rate. The weights themselves are
    left alone: the readout's standard deviation has to fall as one over the width.

    The input layers are the embeddings or, without any, the first `nn.Linear`; their output is the
    width. The readout is the last `nn.Linear`. First and last are in the order in which the
    modules were assigned.

    Returns:
        Three groups, "input", "hidden" and "readout" by their key "role". A model without hidden
        matrices has an empty one.

    Raises:
        ValueError: for a model without an input layer and a readout, with matrices elsewhere than
            in linear and embedding layers, or with shared ones; a width or a rate that isn't
            above 0.

    Source: Yang et al. (2022), for Adam.
    """
    inputs, inner = _layers(model)
    first = inputs[0]
    width = first.embedding_dim if isinstance(first, nn.Embedding) else first.out_features
    r = width / base_width
    hidden, readout = [layer.weight for layer in inner[:-1]], [inner[-1].weight]
    scaled = {id(weight) for weight in hidden + readout}
    others = [weight for weight in model.parameters() if id(weight) not in scaled]
    return [
        {"role": "input", "params": others, "lr": lr},
        {"role": "hidden", "params": hidden, "lr": lr / r},
        {"role": "readout", "params": readout, "lr": lr / r},
    ]


def _widths(name: str, value: Any) -> None:
    if not isinstance(value, Sequence) or len(value) == 0:
        raise ValueError(f"{name}: expected a sequence of widths, got {value!r}")
    for width in value:
        count(name, width)


@validated(widths=_widths, steps=count)
def coord_check(
    make_model: Callable[[int], Made], widths: Sequence[int], steps: int = 5
) -> dict[str, Float[Tensor, "{len(widths)}"]]:
    """Return how far training moves the outputs of each layer, at several widths.

    A parametrization is right if no layer's change grows or vanishes with the width
    (see initialization-mup): look at its slope on logarithmic scales.

    Args:
        make_model: a function of the width that returns a model, its optimizer, and a function of
            the model that computes the loss of one fixed batch. It also sets the seed.
        widths: which to try.
        steps: number of updates.

    Returns:
        For each `nn.Linear` that takes part, by its name: the root mean square change of its
        output on the batch, from before the first update to after the last, for each width.

    Raises:
        ValueError: for no widths, or a width or number of steps below 1.
    """
    changes: dict[str, list[Tensor]] = {}
    for width in widths:
        model, optimizer, loss = make_model(width)
        before = _linear_outputs(model, loss)
        for _ in range(steps):
            optimizer.zero_grad()
            loss(model).backward()
            optimizer.step()
        for name, output in _linear_outputs(model, loss).items():
            change = (output - before[name]).square().mean().sqrt()
            changes.setdefault(name, []).append(change)
    return {name: torch.stack(values) for name, values in changes.items()}


@torch.no_grad()
def _linear_outputs(model: nn.Module, loss: Callable[[nn.Module], Tensor]) -> dict[str, Tensor]:
    """Return what each linear layer puts out while the loss is computed."""
    outputs = {}

    def keep(name: str) -> Callable:
        return lambda layer, inputs, output: outputs.update({name: output.clone()})

    linear = [(n, layer) for n, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    hooks = [layer.register_forward_hook(keep(name)) for name, layer in linear]
    loss(model)
    for hook in hooks:
        hook.remove()
    return outputs


def _examples(name: str, value: Any) -> None:
    """Refuse what is not a pair of a table of numbers and a column of classes."""
    pair = value if isinstance(value, tuple | list) and len(value) == 2 else (None, None)
    inputs, classes = pair
    if not (isinstance(inputs, Tensor) and isinstance(classes, Tensor)):
        raise ValueError(f"{name}: expected two tensors, (inputs, classes)")  # noqa: TRY004
    if inputs.ndim != 2 or classes.shape != inputs.shape[:1] or not inputs.numel():
        raise ValueError(
            f"{name}: expected shapes (rows, features) and (rows,), not empty, got "
            f"{tuple(inputs.shape)} and {tuple(classes.shape)}"
        )
    if classes.dtype != torch.int64:
        raise ValueError(f"{name}: expected classes of dtype torch.int64, got {classes.dtype}")


def _rates(name: str, value: Any) -> None:
    if not isinstance(value, Sequence) or len(value) == 0:
        raise ValueError(f"{name}: expected a sequence of learning rates, got {value!r}")
    for rate in value:
        _positive(name, rate)


@validated(data=_examples, widths=_widths, rates=_rates, steps=count, batch_size=count)
def width_sweep(
    data: Sequence[Tensor],
    widths: Sequence[int],
    rates: Sequence[Real],
    *,
    steps: int,
    batch_size: int = 256,
    seed: int = 0,
) -> Float[Tensor, "2 {len(widths)} {len(rates)}"]:
    """Return the losses that Adam reaches at several widths and rates, without and with μP.

    A ReLU network features → width → width → classes starts from normal weights of He's variance,
    a readout of gain 1, and biases of 0. With μP (see initialization-mup), whose base is the
    first width, it has the rates of `mup_groups`, and the readout's standard deviation falls as one over
    the width. At the first width both are the same. Everything happens on the device of the data.

    Shapes: inputs `(rows, features)`, of any real dtype, and classes `(rows,)`, of int64; to
    `(2, widths, rates)`, first without μP.

    Args:
        data: inputs and classes.
        widths: which to try; the first is μP's base width.
        rates: which learning rates to try.
        steps: number of updates.
        batch_size: rows in each, drawn with replacement.
        seed: of the weights and the batches; the batches are the same for all.

    Returns:
        The mean loss of the last tenth of the steps, infinity where training diverged.

    Raises:
        ValueError: for data of other shapes or dtypes, no widths or no rates, or such, a number of
            steps or a batch size that isn't above 0.
    """
    run = {"steps": steps, "batch_size": batch_size, "seed": seed}
    losses = [
        _last_losses(data, width, rate, base_width, **run)
        for base_width, width, rate in itertools.product((None, widths[0]), widths, rates)
    ]
    return (
        torch.stack(losses)
        .nan_to_num(nan=torch.inf, posinf=torch.inf)
        .view(2, len(widths), len(rates))
        .cpu()
    )


def _last_losses(
    data: Sequence[Tensor],
    width: int,
    lr: Real,
    base_width: int | None,
    *,
    steps: int,
    batch_size: int,
    seed: int,
) -> Tensor:
    """Train one network of the sweep, with μP if there is a base width."""
    inputs, classes = data
    device = inputs.device
    generator = torch.Generator(device).manual_seed(seed)

    def layer(fan_in: int, fan_out: int, gain: float) -> nn.Linear:
        linear = skip_init(nn.Linear, fan_in, fan_out, device=device)
        variance_scaling_(linear.weight, gain=gain, generator=generator)
        nn.init.zeros_(linear.bias)
        return linear

    order = torch.randint(len(classes), (steps, batch_size), generator=generator, device=device)
    readout = 1.0 if base_width is None else math.sqrt(base_width / width)
    hidden = [layer(before, width, math.sqrt(2)) for before in (inputs.shape[1], width)]
    relu, last = nn.ReLU(), layer(width, classes.max().item() + 1, readout)
    model = nn.Sequential(hidden[0], relu, hidden[1], relu, last)
    weights = mup_groups(model, base_width, lr) if base_width else model.parameters()
    descent = Adam(weights, lr=lr)
    losses = []
    for rows in order:
        loss = cross_entropy(model(inputs[rows].float()), classes[rows])
        descent.zero_grad()
        loss.backward()
        descent.step()
        losses.append(loss.detach())
    return torch.stack(losses[-max(1, steps // 10) :]).mean()
