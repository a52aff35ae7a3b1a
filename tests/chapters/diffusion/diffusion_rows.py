"""How to try each public helper of `derived.diffusion`: draws, answers, errors."""

import torch
from diffusion_draws import betas, has_terminal_snr, mixtures, schedules, times
from hypothesis import strategies as st
from properties import COUNTS, INFINITY, NAN, NOT_POSITIVE, Helper, is_like, wrong
from strategies import dtypes, lengths, numbers, shapes, sizes, tensors

from derived import diffusion
from derived.diffusion import GaussianMixture, Schedule

PREDICTIONS = ("x0", "eps", "v", "score", "velocity")
predictions = st.sampled_from(PREDICTIONS)


def parts_of(schedule, batch, *, least=0.0, most=None):
    """One time, or one for each sample."""
    one = times(schedule, least, most)
    kind = torch.int64 if schedule.discrete else torch.float64
    return st.one_of(one, tensors((batch,), one, kind))


@st.composite
def batches(draw, *names, most=1e3):
    """Tensors of one shape, each of a dtype of its own."""
    shape = draw(st.sampled_from([(0, 2), (1,), (2, 2), (2, 1, 2)]))
    return {name: draw(tensors(shape, numbers(most), draw(dtypes))) for name in names}


@st.composite
def states(draw):
    drawn = draw(batches("x0", "eps"))
    schedule = draw(schedules())
    return drawn | {"schedule": schedule, "t": draw(parts_of(schedule, len(drawn["x0"])))}


@st.composite
def conversions(draw):
    drawn = draw(batches("pred", "x"))
    schedule = draw(schedules())
    source, target = draw(predictions), draw(predictions)
    t = draw(parts_of(schedule, len(drawn["x"])))
    alpha, sigma = (torch.as_tensor(level(t)) for level in (schedule.alpha, schedule.sigma))
    noise = ("eps", "score")
    if source in noise and target not in noise and (alpha == 0).any():
        target = source
    if (sigma == 0).any() and (source == "x0" or target == "score"):
        target = source
    return drawn | {"t": t, "source": source, "target": target, "schedule": schedule}


def moderate(given):
    """Whether a conversion divides by nothing that makes its result exceed a float16."""
    return given["source"] == given["target"]


def like(name):
    return lambda given, result: is_like(result, given[name].shape, given[name].dtype)


@st.composite
def steps(draw):
    drawn = draw(batches("x", "eps"))
    schedule = draw(schedules())
    least = 1 if schedule.discrete else 0.1 * schedule.end
    most = schedule.end - 1 if schedule.discrete else 0.9 * schedule.end
    if most < least:
        schedule, least, most = Schedule.linear(), 1, 999
    t = draw(times(schedule, least, most))
    s = draw(times(schedule, 0, t - 1 if schedule.discrete else 0.5 * t))
    eta = draw(st.floats(0, 1))
    return drawn | {"t": t, "s": s, "schedule": schedule, "eta": eta}


@st.composite
def trajectories(draw):
    """A start, falling times and a schedule; every solver, with and without guidance."""
    drawn = draw(batches("x", most=100.0))
    schedule = draw(schedules())
    grid = schedule.times(
        draw(st.integers(1, int(min(schedule.end, 4)) if schedule.discrete else 4))
    )
    if not schedule.discrete and draw(st.booleans()):
        grid = grid.tolist()
    return drawn | {"times": grid, "schedule": schedule}


@st.composite
def samplings(draw):
    solver = draw(st.sampled_from(["ddim", "heun", "dpmpp_2m"]))
    guided = draw(st.booleans())
    return draw(trajectories()) | {
        "denoiser": draw(st.sampled_from([no_data, half_way])),
        "solver": solver,
        "guidance": draw(st.floats(-2, 8)) if guided else None,
        "unconditional": no_data if guided else None,
        "clip": draw(st.sampled_from([None, 1.0])),
        "eta": draw(st.floats(0, 1)) if solver == "ddim" else 0.0,
    }


def no_data(x, t):
    return torch.zeros_like(x)


def half_way(x, t):
    """Any answer will do; this one depends on both arguments."""
    return torch.tanh(x) / (1 + t.to(x.dtype).clamp(max=1).view(-1, *[1] * (x.ndim - 1)))


@st.composite
def likelihoods(draw):
    drawn = draw(trajectories().filter(lambda drawn: len(drawn["times"]) > 2))
    grid = torch.as_tensor(drawn["times"])[:-1]
    x = drawn["x"].clamp(-10, 10).to(draw(st.sampled_from([torch.float32, torch.float64])))
    probes = draw(st.sampled_from([None, 1, 3]))
    return {"x": x, "times": grid, "schedule": drawn["schedule"], "probes": probes}


@st.composite
def two_samples(draw):
    size = draw(st.sampled_from([(), (1,), (2, 2)]))
    dtype = draw(dtypes)
    most = 200.0 if dtype == torch.float16 else 1e12
    n, m = draw(st.integers(2, 4)), draw(st.integers(2, 4))
    return {
        "a": draw(tensors((n, *size), numbers(most), dtype)),
        "b": draw(tensors((m, *size), numbers(most), dtype)),
    }


@st.composite
def gaussians(draw):
    d = draw(st.integers(1, 3))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    values = numbers(1e9, 1e-9)
    factors = [draw(tensors((d, draw(st.integers(1, 3))), values)) for _ in range(2)]
    covariances = [(factor @ factor.T) for factor in factors]
    means = [draw(tensors((d,), values, dtype)) for _ in range(2)]
    return {
        "mean_a": means[0],
        "cov_a": ((covariances[0] + covariances[0].T) / 2).to(dtype),
        "mean_b": means[1],
        "cov_b": ((covariances[1] + covariances[1].T) / 2).to(dtype),
    }


@st.composite
def noisy_points(draw, *, dense=False):
    """Points of a mixture with noise, and where no component is a point without any, too."""
    mixture = draw(mixtures())
    n = draw(st.sampled_from([0, 1, 3]))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    per_point = draw(st.booleans())
    alpha = draw(tensors((n,), st.floats(0, 1)) if per_point else st.floats(0, 1))
    sigma = draw(tensors((n,), sizes(1e3, 1e-6)) if per_point else sizes(1e3, 1e-6))
    x = draw(tensors((n, mixture.means.shape[1]), numbers(1e6, 1e-6), dtype))
    return {"mixture": mixture, "x": x, "alpha": alpha, "sigma": sigma}


def bad_points():
    """What the methods of a mixture refuse, all of dimension 1 to 2."""
    point = GaussianMixture(torch.ones(1), torch.zeros(1, 1), torch.zeros(1))
    fine = {"mixture": point, "x": torch.zeros(2, 1), "alpha": 1.0, "sigma": 1.0}
    return {
        "an `x` of another shape": [
            wrong("x", **fine | {"x": torch.zeros(2, 5)}),
            wrong("x", **fine | {"x": torch.zeros(2)}),
            wrong("x", **fine | {"x": torch.zeros(2, 1).long()}),
            wrong("alpha", **fine | {"alpha": torch.ones(5)}),
            wrong("alpha", **fine | {"alpha": -1.0}),
            wrong("sigma", **fine | {"sigma": NAN}),
        ],
        "where a point without noise (`sigma = 0`) has no density": [
            wrong("sigma", **fine | {"sigma": 0.0})
        ],
    }


def of_points(dimensions):
    def check(given, result):
        n, d = given["x"].shape
        is_like(result, (n, *[d] * dimensions), given["x"].dtype)

    return check


def method(name):
    return lambda mixture, **given: getattr(mixture, name)(**given)


def bad_mixture(**changes):
    fine = {"weights": torch.ones(1), "means": torch.zeros(1, 1), "stds": torch.ones(1)}
    return fine | changes


def level_of(name):
    return lambda schedule, t: getattr(schedule, name)(t)


@st.composite
def moments(draw):
    schedule = draw(schedules())
    shape = draw(st.sampled_from([(0,), (2,), (1, 2)]))
    one = times(schedule)
    kind = torch.int64 if schedule.discrete else torch.float64
    return {"schedule": schedule, "t": draw(st.one_of(one, tensors(shape, one, kind)))}


def at_times(given, result):
    t = given["t"]
    shape = t.shape if isinstance(t, torch.Tensor) else ()
    is_like(result, shape, torch.float64)


def a_schedule(**kinds):
    def check(given, schedule):
        assert isinstance(schedule, Schedule)
        for name, value in kinds.items():
            assert getattr(schedule, name) == value
        ends = torch.tensor([0, schedule.end], dtype=torch.float32)
        # Shifted twice, a level of noise may be more than float32 holds.
        assert schedule.alpha(ends).isfinite().all() and not schedule.sigma(ends).isnan().any()
        exact = torch.tensor([0, schedule.end], dtype=torch.float64)
        assert schedule.alpha(exact).isfinite().all() and schedule.sigma(exact).isfinite().all()

    return check


CHAIN = Schedule.linear(10)
BAD_TIMES = {
    "times outside [0, `end`]": [
        wrong("t", schedule=CHAIN, t=value) for value in (-1, 11, torch.tensor([3, 11]))
    ],
    "NaN": [wrong("t", schedule=CHAIN, t=NAN), wrong("t", schedule=CHAIN, t=torch.tensor(NAN))],
    "a fraction of a chain's step": [wrong("t", schedule=CHAIN, t=0.5)],
}
X = torch.ones(2, 2)


def outside(*names):
    """Times that aren't the schedule's, or not one a sample."""
    return [
        wrong(
            name, **{"schedule": CHAIN} | {n: 1 for n in ("t", "s") if n in names} | {name: value}
        )
        for name in names
        for value in (-1, 11, 0.5, NAN, torch.tensor([1, 1, 1, 1, 1]))
    ]


def solving(**changes):
    return {"x": X, "times": [3, 1], "schedule": CHAIN, "denoiser": no_data} | changes


GRIDS = {
    "times that don't fall (duplicates included)": [
        wrong("times", **solving(times=value)) for value in ([1, 3], [3, 3, 1])
    ],
    "are outside the schedule": [
        wrong("times", **solving(times=value)) for value in ([99, 1], [3, NAN])
    ],
    "fewer than 2 of them": [wrong("times", **solving(times=value)) for value in ([3], [])],
}
OTHER_SHAPE = [wrong("denoiser", **solving(denoiser=lambda x, t: x[:, :1]))]

HELPERS = {
    "diffusion.GaussianMixture": Helper(
        GaussianMixture,
        mixtures().map(lambda m: {"weights": m.weights, "means": m.means, "stds": m.stds}),
        lambda given, result: is_like(result.means, given["means"].shape, torch.float64),
        {
            "shapes that don't belong together": [
                wrong("weights, means and stds", **bad_mixture(means=torch.zeros(2, 1)))
            ],
            "NaN": [
                wrong(n, **bad_mixture(**{n: torch.tensor([NAN])})) for n in ("weights", "stds")
            ],
            "infinity": [wrong("means", **bad_mixture(means=torch.tensor([[INFINITY]])))],
            "weights that aren't positive": [
                wrong("weights", weights=torch.tensor([0.0, 1]), means=X, stds=torch.ones(2))
            ],
            "don't sum to 1": [wrong("weights", **bad_mixture(weights=torch.tensor([0.5])))],
            "negative `stds`": [wrong("stds", **bad_mixture(stds=-torch.ones(1)))],
            "from the methods": [],
            **{key: [] for key in bad_points()},  # of the methods, see their rows
        },
    ),
    "diffusion.GaussianMixture.sample": Helper(
        method("sample"),
        st.fixed_dictionaries({"mixture": mixtures(), "n": st.integers(1, 5), "dtype": dtypes}).map(
            lambda given: given | {"dtype": torch.float64}
        ),
        lambda given, result: is_like(
            result, (given["n"], given["mixture"].means.shape[1]), given["dtype"]
        ),
        {"n": [wrong(n=value) for value in COUNTS]},
    ),
    "diffusion.GaussianMixture.noised": Helper(
        method("noised"),
        st.fixed_dictionaries(
            {"mixture": mixtures(), "alpha": lengths(1e3, 1e-3), "sigma": lengths(1e3, 1e-3)}
        ),
        lambda given, result: is_like(result.means, given["mixture"].means.shape, torch.float64),
        {"level": [wrong(**{n: x}) for n in ("alpha", "sigma") for x in (-1.0, NAN, INFINITY)]},
    ),
    **{
        f"diffusion.GaussianMixture.{name}": Helper(
            method(name), noisy_points(), of_points(dimensions), bad_points(), ("x",)
        )
        for name, dimensions in (
            ("log_prob", 0),
            ("score", 1),
            ("denoise", 1),
            ("covariance", 2),
            ("jacobian", 2),
        )
    },
    "diffusion.GaussianMixture.denoiser": Helper(
        lambda mixture, schedule, x: mixture.denoiser(schedule)(x, schedule.end),
        st.fixed_dictionaries({"mixture": mixtures(), "schedule": schedules()}).map(
            lambda given: given | {"x": given["mixture"].means}
        ),
        lambda given, result: is_like(result, given["x"].shape, torch.float64),
    ),
    "diffusion.Schedule": Helper(
        lambda schedule: schedule, st.fixed_dictionaries({"schedule": schedules()}), a_schedule()
    ),
    "diffusion.Schedule.linear": Helper(
        Schedule.linear,
        st.fixed_dictionaries(
            {
                "steps": st.integers(1, 50),
                "beta_min": sizes(0.99, 1e-9),
                "beta_max": sizes(0.99, 1e-9),
            }
        ),
        a_schedule(discrete=True, norm="vp"),
        {
            "betas outside (0, 1)": [
                wrong("betas[0]", steps=2, beta_min=0.0),
                wrong("betas[1]", steps=2, beta_max=1.0),
            ],
            "steps": [wrong(steps=value) for value in COUNTS],
        },
    ),
    "diffusion.Schedule.cosine": Helper(
        Schedule.cosine,
        st.fixed_dictionaries(
            {
                "steps": st.integers(1, 50),
                "offset": st.floats(0, 1),
                "beta_max": st.floats(0.01, 0.999),
            }
        ),
        a_schedule(discrete=True, norm="vp"),
        {
            "steps": [wrong(steps=value) for value in COUNTS],
            "offset": [wrong(offset=value) for value in (-0.1, 1.1, NAN)],
            "beta_max": [wrong(beta_max=value) for value in (0, NAN, -1.0)],
        },
    ),
    "diffusion.Schedule.from_betas": Helper(
        Schedule.from_betas,
        st.fixed_dictionaries({"betas": betas}),
        a_schedule(discrete=True, norm="vp"),
        {
            "betas that aren't a list of numbers strictly between 0 and 1": [
                wrong(betas=value)
                for value in (
                    torch.tensor([0.0]),
                    torch.tensor([1.0]),
                    torch.tensor([NAN]),
                    torch.tensor([1]),
                    torch.tensor(0.5),
                    torch.ones(0),
                    [0.5],
                )
            ]
        },
    ),
    "diffusion.Schedule.edm": Helper(
        Schedule.edm,
        st.fixed_dictionaries({"sigma_max": sizes()}),
        a_schedule(discrete=False, norm="ve"),
        {"sigma_max": [wrong(sigma_max=value) for value in NOT_POSITIVE]},
    ),
    "diffusion.Schedule.rectified_flow": Helper(
        Schedule.rectified_flow, st.just({}), a_schedule(discrete=False, norm="flow", end=1.0)
    ),
    **{
        f"diffusion.Schedule.{name}": Helper(
            level_of(name),
            moments(),
            at_times,
            BAD_TIMES,
            finite=lambda given, infinite=infinite: not infinite,
            documented=Schedule.alpha,
        )
        for name, infinite in (("alpha", 0), ("sigma", 0), ("snr", 1), ("log_snr", 1))
    },
    "diffusion.Schedule.times": Helper(
        lambda schedule, steps: schedule.times(steps),
        st.tuples(schedules(), st.floats(0, 1)).map(
            lambda drawn: {
                "schedule": drawn[0],
                "steps": 1 + int(drawn[1] * (min(drawn[0].end, 50) - 1))
                if drawn[0].discrete
                else 7,
            }
        ),
        lambda given, result: is_like(
            result,
            (given["steps"] + 1,),
            torch.int64 if given["schedule"].discrete else torch.float64,
        ),
        {
            "more steps than a chain has": [wrong("steps", schedule=CHAIN, steps=11)],
            "steps": [wrong(steps=value) for value in COUNTS],
        },
    ),
    "diffusion.Schedule.with_zero_terminal_snr": Helper(
        lambda schedule: schedule.with_zero_terminal_snr(),
        st.fixed_dictionaries({"schedule": schedules(discrete=True).filter(has_terminal_snr)}),
        a_schedule(discrete=True, norm="vp"),
        {
            "a schedule that isn't a chain of at least 2 steps": [
                wrong("with_zero_terminal_snr", schedule=Schedule.edm()),
                wrong("with_zero_terminal_snr", schedule=Schedule.linear(1)),
            ],
            "one that loses no signal after its first step": [
                wrong("with_zero_terminal_snr", schedule=Schedule.from_betas(tiny))
                for tiny in (torch.tensor([0.5, 1e-20]), torch.full((3,), 1e-30))
            ],
        },
    ),
    "diffusion.Schedule.shifted": Helper(
        lambda schedule, factor: schedule.shifted(factor),
        st.fixed_dictionaries({"schedule": schedules(), "factor": sizes()}),
        a_schedule(),
        {"factor": [wrong(factor=value) for value in NOT_POSITIVE]},
    ),
    "diffusion.convert": Helper(
        diffusion.convert,
        conversions(),
        like("pred"),
        {
            "different shapes": [wrong("pred and x", pred=torch.ones(7), x=torch.ones(8))],
            "a time outside the schedule": outside("t"),
            "an unknown prediction": [wrong(source="noise"), wrong(target=None)],
            "at SNR 0 for `eps` or `score` as the source of another": [
                wrong(
                    "source",
                    schedule=Schedule.rectified_flow(),
                    t=1.0,
                    pred=X,
                    x=X,
                    source=source,
                    target="x0",
                )
                for source in ("eps", "score")
            ],
            "at sigma 0 for `score` as the target": [
                wrong("target", schedule=CHAIN, t=0, pred=X, x=X, source="eps", target="score")
            ],
            "for `x0` as the source of another": [
                wrong("source", schedule=CHAIN, t=0, pred=X, x=X, source="x0", target="eps")
            ],
        },
        ("pred", "x"),
        moderate,
    ),
    "diffusion.add_noise": Helper(
        diffusion.add_noise,
        states(),
        like("x0"),
        {
            "different shapes": [wrong("x0 and eps", x0=torch.ones(7), eps=torch.ones(8))],
            "a time outside the schedule": outside("t"),
        },
        ("x0", "eps"),
        lambda given: given["x0"].dtype != torch.float16,
    ),
    "diffusion.loss_weight": Helper(
        diffusion.loss_weight,
        st.tuples(shapes, st.sampled_from([torch.float32, torch.float64])).flatmap(
            lambda drawn: st.fixed_dictionaries(
                {
                    "kind": st.sampled_from(["x0", "eps", "v", "velocity"]),
                    "snr": tensors(
                        drawn[0], st.one_of(st.sampled_from([0.0, INFINITY]), sizes()), drawn[1]
                    ),
                    "gamma": st.one_of(sizes(), st.just(INFINITY)),
                }
            )
        ),
        like("snr"),
        {
            "a negative SNR": [wrong(snr=torch.tensor([-1.0]))],
            "NaN": [wrong(snr=torch.tensor([NAN]))],
            "a `gamma` that isn't positive": [wrong(gamma=value) for value in (0, -1, NAN, "5")],
            "an unknown `kind`": [wrong(kind="score")],
        },
        finite=lambda given: not (given["kind"] == "x0" and given["gamma"] == INFINITY),
    ),
    "diffusion.guide": Helper(
        diffusion.guide,
        st.tuples(batches("cond", "uncond"), numbers(10.0)).map(
            lambda drawn: drawn[0] | {"w": drawn[1]}
        ),
        like("cond"),
        {
            "different shapes": [
                wrong("cond and uncond", cond=torch.ones(7), uncond=torch.ones(8))
            ],
            "a weight that isn't a finite number": [
                wrong(w=value) for value in (NAN, INFINITY, "1")
            ],
        },
        ("cond", "uncond"),
    ),
    "diffusion.ddim_step": Helper(
        diffusion.ddim_step,
        steps(),
        like("x"),
        {
            "different shapes": [wrong("x and eps", x=torch.ones(7), eps=torch.ones(8))],
            "a time outside the schedule": outside("t", "s"),
            "`s` not before `t`": [wrong("s", schedule=CHAIN, t=3, s=value) for value in (3, 4)],
            "SNR 0 at `t`": [wrong("eps", schedule=Schedule.rectified_flow(), t=1.0, s=0.5)],
            "an `eta` outside [0, 1]": [wrong(eta=value) for value in (-0.1, 1.1, NAN)],
        },
        ("x", "eps"),
        lambda given: given["x"].dtype == torch.float64,
    ),
    "diffusion.sample": Helper(
        diffusion.sample,
        samplings(),
        like("x"),
        GRIDS
        | {
            "guidance without an unconditional denoiser or the reverse": [
                wrong("guidance and unconditional", guidance=1.0, unconditional=None),
                wrong("guidance and unconditional", guidance=None, unconditional=no_data),
            ],
            "`eta` with a solver of the ODE": [
                wrong("eta", **solving(solver="heun", eta=0.5, guidance=None, unconditional=None))
            ],
            "a denoiser that returns another shape": OTHER_SHAPE,
        },
    ),
    "diffusion.karras_sigmas": Helper(
        diffusion.karras_sigmas,
        st.fixed_dictionaries(
            {
                "n": st.integers(1, 50),
                "sigma_min": sizes(1.0, 1e-9),
                "sigma_max": sizes(1e9, 2.0),
                "rho": st.floats(1, 100),
            }
        ),
        lambda given, result: is_like(result, (given["n"] + 1,), torch.float64),
        {
            "no steps": [wrong(n=value) for value in COUNTS],
            "numbers that aren't positive": [
                wrong(**{name: value})
                for name in ("sigma_min", "sigma_max", "rho")
                for value in NOT_POSITIVE
            ],
            "`sigma_min` not below `sigma_max`": [wrong(sigma_min=3.0, sigma_max=3.0)],
            "a `rho` so small that a power exceeds float64": [
                wrong("rho", sigma_min=0.1, sigma_max=80.0, rho=1e-3)
            ],
        },
    ),
    "diffusion.log_likelihood": Helper(
        lambda **given: diffusion.log_likelihood(**{"denoiser": half_way} | given),
        likelihoods(),
        lambda given, result: is_like(result, (len(given["x"]),), given["x"].dtype),
        {
            "times as in `sample`": [case for some in GRIDS.values() for case in some],
            "without noise at the end": [wrong("times[-1]", **solving(times=[3, 0]))],
            "a denoiser that returns another shape": OTHER_SHAPE,
            "what can't be differentiated": [
                wrong("denoiser", **solving(denoiser=lambda x, t: x.detach()))
            ],
        },
    ),
    "diffusion.energy_distance": Helper(
        diffusion.energy_distance,
        two_samples(),
        lambda given, result: is_like(result, (), given["a"].dtype),
        {
            "fewer than 2 samples": [wrong(a=torch.ones(1, 2)), wrong(b=torch.ones(0, 2))],
            "samples of different shapes": [
                wrong("a and b", a=torch.ones(2, 3), b=torch.ones(2, 4))
            ],
            "NaN": [wrong(a=torch.full((2, 2), NAN)), wrong(b=torch.full((2, 2), NAN))],
            "infinity": [wrong(a=torch.full((2, 2), INFINITY))],
        },
        ("a", "b"),
    ),
    "diffusion.frechet_distance": Helper(
        diffusion.frechet_distance,
        gaussians(),
        lambda given, result: is_like(result, (), given["mean_a"].dtype),
        {
            "shapes that don't belong together": [
                wrong("mean_a, cov_a, mean_b, cov_b", mean_a=torch.zeros(5)),
                wrong(cov_a=torch.zeros(2, 3)),
                wrong(mean_b=torch.zeros(2, 2)),
            ],
            "NaN": [wrong(mean_a=torch.tensor([NAN])), wrong(cov_b=torch.tensor([[NAN]]))],
            "infinity": [
                wrong(mean_b=torch.tensor([INFINITY])),
                wrong(cov_a=torch.tensor([[INFINITY]])),
            ],
            "a covariance that isn't symmetric": [wrong(cov_a=torch.tensor([[1.0, 1], [0, 1]]))],
            "has a negative eigenvalue": [wrong(cov_b=torch.tensor([[-1.0]]))],
        },
    ),
}
