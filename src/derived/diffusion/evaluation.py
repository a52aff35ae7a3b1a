"""How likely a sample is, and how far one distribution is from another."""

import math
import numbers
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Real
from torch import Tensor

from derived._validation import (
    checks_values,
    count,
    floats,
    optional,
    validated,
)
from derived.diffusion._common import Denoiser, _batch
from derived.diffusion.samplers import _grid
from derived.diffusion.schedules import Schedule, _levels, _schedule

_EXACT = 64  # the largest dimension whose trace is taken exactly
_ROWS = 1024  # how many points' distances are computed at a time


def _noise_left(arguments: dict[str, Any]) -> None:
    """Refuse a last time without noise, where the ODE has a singular end."""
    last = torch.as_tensor(arguments["times"], dtype=torch.float64)[-1]
    if arguments["schedule"].sigma(last) == 0:
        raise ValueError(
            "times[-1]: expected some noise; without any, x says all of x0 and the denoiser nothing "
            "of the density. End at a small sigma, and the density is that of data so noised"
        )


@validated(_grid, _noise_left, x=_batch, schedule=_schedule, probes=optional(count))
def log_likelihood(
    denoiser: Denoiser,
    x: Float[Tensor, "batch *size"],
    times: Real[Tensor, "n"] | Sequence[numbers.Real],
    schedule: Schedule,
    *,
    probes: int | None = None,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch"]:
    r"""Return the log density of the states `x` at `times[-1]`, in nats, by the ODE (diffusion-likelihood).

    The ODE of `sample` is followed backward to `times[0]`, where the density is taken for that of
    the noise, $\mathcal N(0,\sigma^2I)$; how volumes change on the way is the integral of a trace. It's
    followed by Heun's method, of order 2, as $x/r$ with $r=\sqrt{\alpha^2+\sigma^2}$ against the angle
    $\varphi=\arctan(\sigma/\alpha)$, with a derivative $v/r$ that is finite at SNR 0, too.

    Args:
        denoiser: as for `sample`; torch must be able to differentiate it, sample by sample.
        x: noised data, `(batch, ...)`.
        times: falling, as for `sample`, but with noise left at the last one.
        probes: how many random signs a sample estimate the trace (Hutchinson), without bias. By
            default the trace is exact for up to 64 dimensions, and has one probe above.
        generator: of the probes.

    Shapes: `(batch, ...)` to `(batch,)`, in the dtype of `x`.

    Raises:
        ValueError: for times as in `sample`, or without noise at the end; a denoiser that returns
            another shape, or what can't be differentiated.

    Source: Song, Sohl-Dickstein et al. (2021), section 4.3; angle: Salimans and Ho (2022).
    """
    times = torch.as_tensor(times, dtype=torch.float64)
    levels = [_levels(schedule, t, x) for t in times]
    kind = torch.int64 if schedule.discrete else torch.promote_types(x.dtype, torch.float32)
    dim = math.prod(x.shape[1:])
    if probes is None and dim <= _EXACT:
        axes = torch.eye(dim, dtype=x.dtype, device=x.device).view(dim, 1, *x.shape[1:])
        directions, weight = axes.expand(dim, *x.shape), 1
    else:
        signs = torch.randint(2, (probes or 1, *x.shape), generator=generator, device=x.device)
        directions, weight = (2 * signs - 1).to(x.dtype), 1 / (probes or 1)

    def slope(z: Tensor, i: int) -> tuple[Tensor, Tensor]:
        """Return the derivative of z = x/r by the angle, and the trace of its derivative by z."""
        alpha, sigma = levels[i]
        r, t = torch.hypot(alpha, sigma), times[i].to(x.device, kind).expand(len(x))
        with torch.enable_grad():
            state = (r * z).to(x.dtype).requires_grad_()
            x0 = denoiser(state, t)
            trace = weight * _trace(x0, state, directions)
        x0 = x0.detach().double()
        v = alpha * (r * z - alpha * x0) / sigma - sigma * x0
        return v / r, (dim * alpha / sigma).flatten() - (r**2 / sigma).flatten() * trace

    size = [torch.hypot(*level) for level in levels]
    angle = [torch.atan2(sigma, alpha) for alpha, sigma in levels]
    z, change = x.detach().double() / size[-1], 0
    for i in range(len(times) - 1, 0, -1):
        h = angle[i - 1] - angle[i]
        now, trace = slope(z, i)
        then, trace_then = slope(z + h * now, i - 1)
        z = z + h * (now + then) / 2
        change = change + h.flatten() * (trace + trace_then) / 2
    sigma = levels[0][1]
    noise = -((size[0] * z / sigma) ** 2)[..., None].flatten(1).sum(1) / 2
    noise = noise - dim * (sigma * math.sqrt(2 * math.pi)).log().flatten()
    scale = dim * (size[0] / size[-1]).log().flatten()
    return (noise + scale + change).to(x.dtype)


def _trace(y: Tensor, x: Tensor, directions: Tensor) -> Tensor:
    """Return the sum of u·(dy/dx)u over some directions u, for each sample."""
    if y.shape != x.shape or not y.requires_grad:
        got = tuple(y.shape) if y.requires_grad else "a result without gradient"
        raise ValueError(
            f"denoiser: expected the shape of x, {tuple(x.shape)}, differentiable, got {got}"
        )
    pulled = [torch.autograd.grad(y, x, u, retain_graph=True)[0] for u in directions]
    products = (g.double() * u for g, u in zip(pulled, directions, strict=True))
    return sum(product[..., None].flatten(1).sum(1) for product in products)


def _sample_of_two(name: str, value: Any) -> None:
    """Refuse what isn't a sample of at least two finite points."""
    _batch(name, value)
    if len(value) < 2:
        raise ValueError(f"{name}: expected at least 2 samples, got {len(value)}")
    if checks_values() and not value.isfinite().all():
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")


def _same_size(arguments: dict[str, Any]) -> None:
    """Refuse samples of different spaces."""
    a, b = (tuple(arguments[name].shape[1:]) for name in ("a", "b"))
    if a != b:
        raise ValueError(f"a and b: expected samples of one shape, got {a} and {b}")


@validated(_same_size, a=_sample_of_two, b=_sample_of_two)
def energy_distance(a: Float[Tensor, "n *size"], b: Float[Tensor, "m *size"]) -> Float[Tensor, ""]:
    r"""Return how far apart two distributions are, from a sample of each (diffusion-energy-distance).

    $2\,\mathbb E|X-Y|-\mathbb E|X-X'|-\mathbb E|Y-Y'|$ is 0 for equal distributions and positive for
    others. Pairs of different samples alone count as $X,X'$, so the estimate has no bias, and lies
    on either side of 0 if the distributions are equal. It's below 0 for a sample beside itself, as
    there the first mean does count pairs of equals. Unit: that of the samples.

    Shapes: `(n, ...)` and `(m, ...)` to `()`, in their dtype; computed in float64.

    Raises:
        ValueError: for fewer than 2 samples, samples of different shapes, NaN or infinity.

    Source: Székely and Rizzo (2013).
    """
    center = b.double().mean(0)
    x, y = ((points.double() - center)[..., None].flatten(1) for points in (a, b))
    n, m = len(x), len(y)
    within = _distances(x, x) / (n * (n - 1)) + _distances(y, y) / (m * (m - 1))
    return (2 * _distances(x, y) / (n * m) - within).to(a.dtype)


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """Return the sum of the distances between each of one sample and each of another."""
    return sum(torch.cdist(rows, y).sum() for rows in x.split(_ROWS))


def _mean(name: str, value: Any) -> None:
    """Refuse what isn't a finite vector."""
    floats(name, value)
    if value.ndim != 1 or not len(value) or not _finite(value):
        raise ValueError(
            f"{name}: expected a finite vector of at least one number, got shape "
            f"{tuple(value.shape)}"
        )


def _finite(value: Tensor) -> bool:
    return not checks_values() or bool(value.isfinite().all())


def _covariance(name: str, value: Any) -> None:
    """Refuse what isn't a symmetric positive semidefinite matrix, up to rounding."""
    floats(name, value)
    square = value.ndim == 2 and value.shape[0] == value.shape[1] > 0
    if not square or not _finite(value):
        raise ValueError(f"{name}: expected a finite square matrix, got {tuple(value.shape)}")
    if not checks_values():
        return
    exact = value.double()  # in float16 a sum is soon infinite
    rounding = 100 * torch.finfo(value.dtype).eps * exact.abs().sum()
    if (exact - exact.T).abs().max() > rounding:
        raise ValueError(f"{name}: expected a symmetric matrix")
    least = torch.linalg.eigvalsh(exact)[0]
    if least < -rounding:
        raise ValueError(f"{name}: expected no negative eigenvalue, got {least:.3g}")


def _one_dimension(arguments: dict[str, Any]) -> None:
    """Refuse means and covariances of different dimensions."""
    sizes = [len(arguments[name]) for name in ("mean_a", "cov_a", "mean_b", "cov_b")]
    if len(set(sizes)) > 1:
        raise ValueError(f"mean_a, cov_a, mean_b, cov_b: expected one dimension, got {sizes}")


@validated(_one_dimension, mean_a=_mean, cov_a=_covariance, mean_b=_mean, cov_b=_covariance)
def frechet_distance(
    mean_a: Float[Tensor, "d"],
    cov_a: Float[Tensor, "d d"],
    mean_b: Float[Tensor, "d"],
    cov_b: Float[Tensor, "d d"],
) -> Float[Tensor, ""]:
    r"""Return the squared Fréchet (2-Wasserstein) distance of two Gaussians (diffusion-frechet).

    The roots of the eigenvalues of $\Sigma_1^{1/2}\Sigma_2\Sigma_1^{1/2}$ are the singular values of
    $L_1^\top L_2$ for any $L_iL_i^\top=\Sigma_i$, which are real and keep their digits where a
    covariance is singular, as it is for fewer samples than dimensions; an eigenvalue of the size of
    a rounding error counts as 0. (FID is this distance for features of images. From samples it's
    biased, by an amount that depends on the distribution.)

    Shapes: `(d,)` and `(d, d)` to `()`, in the dtype of `mean_a`. Unit: the square of the means'.

    Raises:
        ValueError: for shapes that don't belong together, NaN, infinity, a covariance that isn't
            symmetric or has a negative eigenvalue.

    Source: Dowson and Landau (1982); Heusel et al. (2017) for features of images.
    """
    roots = []
    for cov in (cov_a, cov_b):
        values, vectors = torch.linalg.eigh(cov.double())
        rounding = len(values) * torch.finfo(torch.float64).eps * values.max()
        roots.append(vectors * torch.where(values > rounding, values, 0).sqrt())
    shared = torch.linalg.svdvals(roots[0].T @ roots[1]).sum()
    apart = (mean_a.double() - mean_b.double()).square().sum()
    distance = apart + cov_a.double().trace() + cov_b.double().trace() - 2 * shared
    return distance.clamp(min=0).to(mean_a.dtype)
