r"""Diffusion: schedules, predictions, samplers, and a mixture of Gaussians of which all is known.

A noisy state is $x_t=\alpha_tx_0+\sigma_t\varepsilon$, $\varepsilon\sim\mathcal N(0,I)$; a `Schedule` says what
$\alpha_t$ and $\sigma_t$ are. Labels in parentheses are those of the equations in the chapter that
a function computes; others it says to see.

- A time `t` runs from 0, the data, to `schedule.end`, the noise. For a chain of `T` steps, `t` is an
  integer and `end` is `T`: step `t` is the papers' step `t`, and 0 is before the first, with
  $\alpha_0=1$. (Libraries that count steps from 0 call our step `t` their `t - 1`.) For rectified flow
  `t` is a fraction of 1, for EDM it is $\sigma$ itself.
- A `t` beside an `x` of shape `(batch, ...)` is one number or one a sample, `(batch,)`.
- Coefficients are computed in float64 from closed forms that lose no digits near `t = 0`, and so are
  the sums with them: with float32 or float16 in and out, only the last rounding is theirs.
- A `denoiser(x, t)` returns the prediction of $x_0$, of x's shape. It gets x in the dtype that the
  sampler was given, and t as `(batch,)`: integers for a chain, floats of at least 32 bits otherwise.

schedules.py    how much signal and noise there is at a time
mixture.py      the mixture of Gaussians, of which all is known
predictions.py  what a network may predict, and how one prediction becomes another
samplers.py     the way from noise to data
evaluation.py   how likely a sample is, and how far one distribution is from another
"""

from derived.diffusion.evaluation import energy_distance, frechet_distance, log_likelihood
from derived.diffusion.mixture import GaussianMixture
from derived.diffusion.predictions import add_noise, convert, guide, loss_weight
from derived.diffusion.samplers import ddim_step, karras_sigmas, sample
from derived.diffusion.schedules import Schedule

__all__ = ["GaussianMixture", "Schedule", "add_noise", "convert", "ddim_step", "guide"]
__all__ += ["karras_sigmas", "loss_weight", "sample"]
__all__ += ["energy_distance", "frechet_distance", "log_likelihood"]
