"""`fit` is the plain loop of the chapters, to the last bit, and says clearly what goes wrong."""

import importlib
import io
import itertools
import json
import math
import os
import random
import runpy
import socket
import sys
from fractions import Fraction

import nbformat
import numpy
import pytest
import torch
from nbclient import NotebookClient
from safetensors import safe_open
from safetensors.torch import save_file
from support import run, seconds
from torch import nn
from torch.nn.functional import mse_loss

import derived
from derived.training import (
    OPTIMIZERS,
    SCHEDULES,
    batches,
    fit,
    moving_average,
    seed_everything,
)


def examples(rows=50):
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(rows, 3, generator=generator)
    return inputs, inputs.sin().sum(-1, keepdim=True)


def make_model(seed=0):
    seed_everything(seed)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 1))


def loss(model, inputs, targets):
    return mse_loss(model(inputs), targets)


def weights(model):
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


# What it computes.


def test_fit_equals_the_plain_loop_bit_for_bit():
    data = inputs, targets = examples()
    steps, batch_size, lr = 30, 16, 0.02

    model = make_model()
    generator = torch.Generator().manual_seed(3)
    order = torch.cat([torch.randperm(len(inputs), generator=generator) for _ in range(10)])
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    losses = []
    for step in range(steps):
        rows = order[step * batch_size : (step + 1) * batch_size]
        value = mse_loss(model(inputs[rows]), targets[rows])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
        losses.append(value.item())

    same = make_model()
    got = fit(same, loss, data, steps=steps, batch_size=batch_size, lr=lr, seed=3)
    assert got.tolist() == losses
    assert torch.equal(weights(same), weights(model))


def test_same_seeds_same_weights_and_each_seed_matters():
    first, second, model_seed, order_seed = (make_model(seed) for seed in (0, 0, 1, 0))
    for model, seed in ((first, 0), (second, 0), (model_seed, 0), (order_seed, 1)):
        torch.manual_seed(9)  # of the dropout
        fit(model, loss, examples(), steps=5, batch_size=8, seed=seed)
    assert torch.equal(weights(first), weights(second))
    assert not torch.equal(weights(first), weights(model_seed))
    assert not torch.equal(weights(first), weights(order_seed))


def test_fit_draws_nothing_from_the_global_generator():
    model = nn.Linear(3, 1)
    state = torch.get_rng_state()
    fit(model, loss, examples(), steps=3, batch_size=8)
    assert torch.equal(torch.get_rng_state(), state)


def test_fit_learns_and_returns_the_loss_of_every_step():
    model = nn.Linear(3, 1)
    losses = fit(model, loss, examples(), steps=200, batch_size=50, lr=0.1)
    assert losses.shape == (200,) and not losses.requires_grad
    assert losses[-1] < 0.2 * losses[0]
    assert loss(model, *examples()) < 0.2 * losses[0]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_each_optimizer_is_pytorchs(optimizer):
    model, same = nn.Linear(3, 1), nn.Linear(3, 1)
    same.load_state_dict(model.state_dict())
    data = examples(8)
    arguments = {"steps": 1, "batch_size": 8, "lr": 0.5, "schedule": "constant"}
    fit(model, loss, data, optimizer=optimizer, **arguments)
    rows = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    loss(same, *(column[rows] for column in data)).backward()
    named = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    named[optimizer](same.parameters(), lr=0.5).step()
    assert torch.equal(weights(model), weights(same))


class Spring(nn.Module):
    """One weight whose loss has slope -1, so that SGD's steps are the learning rates."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros((), dtype=torch.float64))


@pytest.mark.parametrize(
    ("schedule", "rate"),
    [
        ("constant", lambda part: 1.0),
        ("cosine", lambda part: (1 + math.cos(math.pi * part)) / 2),
    ],
)
def test_each_schedule_has_its_shape(schedule, rate):
    places = -learning_rates(schedule, steps=20, lr=0.25)
    assert torch.allclose(
        places, torch.tensor([0.25 * rate(step / 20) for step in range(20)]).double()
    )


def learning_rates(schedule, *, steps, lr):
    """Return what SGD adds to the weight in each step, with the sign of the slope."""
    model = Spring()
    places = []

    def slope_one(model, _):
        places.append(model.weight.item())
        return -model.weight

    arguments = {"optimizer": "sgd", "schedule": schedule, "batch_size": 1, "lr": lr}
    fit(model, slope_one, (torch.zeros(1),), steps=steps, **arguments)
    return -torch.tensor([*places, model.weight.item()], dtype=torch.float64).diff()


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_every_schedule_runs_for_few_steps(schedule, steps):
    model = nn.Linear(3, 1)
    assert len(fit(model, loss, examples(), steps=steps, schedule=schedule)) == steps


def test_fit_leaves_the_model_training_on_the_device_asked_for():
    model = nn.Linear(3, 1).eval()
    fit(model, loss, examples(), steps=1, device="cpu")
    assert model.training and model.weight.device.type == "cpu"
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        fit(model, loss, examples(), steps=1, device="meta")


# Batches.


def test_batches_are_whole_shuffles_one_after_another():
    column = torch.arange(10)
    drawn = list(batches((column, -column), steps=7, batch_size=4, seed=1))
    assert [len(first) for first, _ in drawn] == [4] * 7
    assert all(torch.equal(first, -second) for first, second in drawn)
    rows = torch.cat([first for first, _ in drawn])
    assert sorted(rows[:10].tolist()) == sorted(rows[10:20].tolist()) == list(range(10))
    assert rows[:10].tolist() != rows[10:20].tolist()


def test_batches_are_made_when_it_is_their_turn():
    """All of them would not fit into any memory."""
    order = batches((torch.arange(10),), steps=10**15, batch_size=4)
    rows = torch.cat([batch for (batch,) in itertools.islice(order, 25)])
    assert all(sorted(some.tolist()) == [*range(10)] for some in rows.split(10))


def test_a_batch_may_be_larger_than_the_data():
    ((column,),) = batches((torch.arange(3),), steps=1, batch_size=7)
    assert column.bincount().tolist() in ([3, 2, 2], [2, 3, 2], [2, 2, 3])


# Seeds.


def test_seed_everything_seeds_all_three_generators():
    def draw():
        return random.random(), numpy.random.random(), torch.rand(()).item()

    seed_everything(1)
    first = draw()
    seed_everything(1)
    assert draw() == first
    seed_everything(2)
    assert not set(draw()) & set(first)


# Longer runs: clipping, averages, precision, checkpoints, several processes.


def test_clipping_shortens_the_gradient_of_all_weights_together():
    model, same, unclipped = nn.Linear(3, 1), nn.Linear(3, 1), nn.Linear(3, 1)
    for each in (same, unclipped):
        each.load_state_dict(model.state_dict())
    start, data = weights(model), examples(8)
    arguments = {"steps": 1, "batch_size": 8, "lr": 1.0, "optimizer": "sgd"}
    arguments["schedule"] = "constant"
    fit(unclipped, loss, data, **arguments)
    gradient = start - weights(unclipped)
    length = gradient.norm().item()
    fit(model, loss, data, clip=length / 3, **arguments)
    assert torch.allclose(start - weights(model), gradient / 3, rtol=1e-5)
    fit(same, loss, data, clip=length * 3, **arguments)
    assert torch.equal(weights(same), weights(unclipped))


def test_the_average_follows_its_formula():
    model, decay = Spring(), 0.6
    average = moving_average(model, decay=decay)
    seen = []

    def slope_one(model, _):
        seen.append(model.weight.item())
        return -(1 + len(seen)) * model.weight

    arguments = {"optimizer": "sgd", "schedule": "constant", "lr": 0.5, "batch_size": 1}
    fit(model, slope_one, (torch.zeros(1),), steps=20, ema=average, **arguments)
    first, *later = [*seen[1:], model.weight.item()]
    expected = first
    for k, weight in enumerate(later, 1):
        d = min(decay, (1 + k) / (10 + k))
        expected = d * expected + (1 - d) * weight
    assert average.module.weight.item() == pytest.approx(expected, rel=1e-12)
    assert not average.training and not average.module.weight.requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_average_of_a_half_type_moves_by_less_than_its_numbers_are_apart(dtype):
    model, exact = nn.Linear(3, 1).to(dtype), nn.Linear(3, 1)
    exact.load_state_dict(model.state_dict())
    average, right = moving_average(model), moving_average(exact)
    for step in range(500):
        with torch.no_grad():
            for parameter, wide in zip(model.parameters(), exact.parameters(), strict=True):
                parameter.fill_(1 + step / 512)
                wide.copy_(parameter)
        average.update_parameters(model)
        right.update_parameters(exact)
        if step == 250:  # what is between the numbers survives a file
            state = average.state_dict()
            average = moving_average(model)
            average.load_state_dict(state)
    assert average.module.weight.dtype == dtype
    assert average(torch.ones(1, 3, dtype=dtype)).dtype == dtype
    nearest = right.module.weight.to(dtype)
    assert torch.equal(average.module.weight, nearest)


def test_parameters_that_are_no_floats_are_copied_to_the_average():
    model = nn.Linear(1, 1)
    model.steps = nn.Parameter(torch.tensor([3]), requires_grad=False)
    model.mask = nn.Parameter(torch.tensor([True]), requires_grad=False)
    model.turn = nn.Parameter(torch.tensor([1 + 2j]))
    average = moving_average(model, decay=0.9)
    average.update_parameters(model)
    model.steps.data, model.mask.data = torch.tensor([5]), torch.tensor([False])
    with torch.no_grad():
        model.turn.fill_(3)
    average.update_parameters(model)
    assert average.module.steps.item() == 5 and not average.module.mask.item()
    share = 1 - 2 / 11
    assert average.module.turn.item() == pytest.approx(1 + 2j + share * (2 - 2j))


def test_the_average_changes_nothing_else():
    with_average, without = make_model(), make_model()
    for model, options in ((with_average, {"ema": moving_average(with_average)}), (without, {})):
        torch.manual_seed(4)
        fit(model, loss, examples(), steps=5, **options)
    assert torch.equal(weights(with_average), weights(without))


def test_bf16_is_close_and_keeps_weights_in_float32():
    low, full = make_model(), make_model()
    seen = []

    def watched(model, inputs, targets):
        seen.append(model(inputs).dtype)
        return loss(model, inputs, targets)

    for model, precision in ((low, "bf16"), (full, "fp32")):
        torch.manual_seed(4)
        fit(model, watched, examples(), steps=10, precision=precision)
    assert seen[0] == torch.bfloat16 and seen[-1] == torch.float32
    assert all(weight.dtype == torch.float32 for weight in low.parameters())
    assert not torch.equal(weights(low), weights(full))
    assert torch.allclose(weights(low), weights(full), atol=0.02)


class Interrupted(Exception):
    """Stands for a machine that is taken away."""


def noisy_loss(model, inputs, targets):
    """Draw from all three global generators, an odd number of normal variates from each."""
    shift = random.gauss(0, 0.1) + numpy.random.normal(0, 0.1)
    return (
        mse_loss(model(inputs + 0.1 * torch.randn_like(inputs)), targets)
        + shift * model[0].bias.sum()
    )


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_run_goes_on_to_the_last_bit(optimizer, schedule, tmp_path):
    path = tmp_path / "run.safetensors"
    arguments = {"steps": 12, "batch_size": 16, "lr": 0.01, "seed": 2, "clip": 1.0}
    arguments |= {"optimizer": optimizer, "schedule": schedule}

    def start(stop=None, **options):
        model = make_model(seed=7)
        average = moving_average(model, decay=0.5)
        calls = []

        def interrupted(model, *batch):
            calls.append(len(batch))
            if len(calls) == stop:
                raise Interrupted
            return noisy_loss(model, *batch)

        losses = fit(model, interrupted, examples(), ema=average, **arguments, **options)
        return losses, weights(model), weights(average), torch.rand(3), len(calls)

    losses, whole, mean, chance, _ = start()
    with pytest.raises(Interrupted):
        start(stop=9, checkpoint=path, save_every=5)  # in step 9, of which 5 are kept
    seed_everything(99)
    *resumed, calls = start(checkpoint=str(path), save_every=5)
    assert calls == 7
    for got, expected in zip(resumed, (losses, whole, mean, chance), strict=True):
        assert torch.equal(got, expected)
    *again, calls = start(checkpoint=path)
    assert calls == 0 and all(
        torch.equal(got, expected) for got, expected in zip(again, resumed, strict=True)
    )
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"lr": 0.2}, "is of a run with lr=0.1, got 0.2; choose another file"),
        ({"steps": 5}, "with steps=3, got 5"),
        ({"clip": 1.0}, "with clip=None, got 1.0"),
        ({"data": examples(20)}, "with rows=50, got 20"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(changed, said, tmp_path):
    path = tmp_path / "run.safetensors"
    arguments = {"data": examples(), "steps": 3, "lr": 0.1, "checkpoint": path}
    fit(nn.Linear(3, 1), loss, **arguments)
    model = nn.Linear(3, 1)
    before = weights(model)
    with pytest.raises(ValueError, match=f"^checkpoint: .*{said}"):
        fit(model, loss, **arguments | changed)
    assert torch.equal(weights(model), before)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_file_that_is_no_checkpoint_is_refused(content, tmp_path):
    path = tmp_path / "run.safetensors"
    if content is None:
        save_file({"weight": torch.zeros(1)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="is no checkpoint of `fit`"):
        fit(nn.Linear(3, 1), loss, examples(), steps=1, checkpoint=path)


class Noted(nn.Linear):
    """A layer that keeps something beside its tensors."""

    def __init__(self, note):
        super().__init__(3, 1)
        self.note = note

    def get_extra_state(self):
        return self.note

    def set_extra_state(self, state):
        self.note = state


def test_a_checkpoint_holds_plain_data_beside_tensors(tmp_path):
    path, note = tmp_path / "run.safetensors", {"version": [1, 0.1], "of": None}
    model = Noted(note)
    options = {"steps": 2, "checkpoint": path}
    fit(model, loss, examples(), ema=moving_average(model), **options)
    later = Noted({})
    average = moving_average(later)
    fit(later, loss, examples(), ema=average, **options)
    assert later.note == average.module.note == note
    assert torch.equal(weights(later), weights(model))


@pytest.mark.parametrize("note", [{1, 2}, {1: "text"}, (1, 2), object()])
def test_what_no_checkpoint_can_hold_is_refused_before_the_first_step(note, tmp_path):
    def never(model, *batch):
        raise AssertionError("a step was taken")

    with pytest.raises(ValueError, match="checkpoint: expected tensors and plain data"):
        fit(Noted(note), never, examples(), steps=2, checkpoint=tmp_path / "run.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_is_there_before_the_first_step(tmp_path):
    path = tmp_path / "run.safetensors"

    def interrupted(model, *batch):
        assert path.exists()
        raise Interrupted

    model, whole = make_model(), make_model()
    options = {"steps": 3, "seed": 4}
    torch.manual_seed(5)  # of the dropout
    with pytest.raises(Interrupted):
        fit(model, interrupted, examples(), checkpoint=path, **options)
    fit(model, loss, examples(), checkpoint=path, **options)
    torch.manual_seed(5)
    fit(whole, loss, examples(), **options)
    assert torch.equal(weights(model), weights(whole))


@pytest.mark.parametrize("lr", [numpy.float32(0.25), numpy.int64(1), Fraction(1, 4)])
def test_settings_are_stored_as_plain_numbers(lr, tmp_path):
    path, images = tmp_path / "run.safetensors", torch.randn(4, 3, 2, 2)
    model = nn.Conv2d(3, 1, 2).to(memory_format=torch.channels_last)
    options = {"steps": numpy.int32(2), "batch_size": numpy.int64(2), "clip": numpy.float64(1)}
    for _ in range(2):  # the second takes up what the first has written
        fit(
            model,
            lambda m, x: m(x).square().mean(),
            (images,),
            lr=lr,
            checkpoint=path,
            **options,
        )
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["settings"])["lr"] == lr


def test_one_step_of_every_schedule_has_the_rate_asked_for():
    for schedule in SCHEDULES:
        model = nn.Linear(1, 1, bias=False)
        before = model.weight.item()
        options = {"steps": 1, "lr": 0.25, "optimizer": "sgd", "schedule": schedule}
        fit(model, lambda m, x: m(x).sum(), (torch.ones(1, 1),), batch_size=1, **options)
        assert before - model.weight.item() == pytest.approx(0.25, rel=1e-5)


def test_a_checkpoint_that_can_not_be_written_is_noticed_before_training(tmp_path):
    with pytest.raises(ValueError, match="checkpoint: expected a file in a folder that exists"):
        fit(nn.Linear(3, 1), loss, examples(), steps=1, checkpoint=tmp_path / "no" / "run.st")


SCRIPT = """
import json, os, sys
from pathlib import Path
import torch
from derived.training import fit, moving_average, seed_everything
from torch.nn.functional import mse_loss
torch.set_num_threads(1)
seed_everything(0)
class Model(torch.nn.Module):
    # With an attribute that the loss reads, a layer that it leaves out, and a mask.
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)
        )
        self.spare = torch.nn.Linear(2, 2)
        self.scale = 2.0
        self.register_buffer("mask", torch.tensor([True, False]))

    def encode(self, x):
        return self.layers[:2](x)

    def forward(self, x):
        return self.layers[2](self.encode(x))


seed_everything(int(os.environ.get("RANK", 0)))  # all start with the weights of the first
model = Model()
seed_everything(0)
average = moving_average(model, decay=0.5)
inputs = torch.randn(50, 3, generator=torch.Generator().manual_seed(5))
data = inputs, inputs.sin().sum(-1, keepdim=True)
folder, rank = Path(sys.argv[1]), os.environ.get("RANK", "alone")
options = {"batch_size": 16, "lr": 0.1, "clip": 0.5, "ema": average}
losses = fit(model, lambda m, x, y: mse_loss(m.scale * m.layers[2](m.encode(x)), y), data, steps=20, **options)
noise = []
def with_noise(m, x, y):
    noise.append(torch.randn(()).item())
    return mse_loss(m(x) + noise[-1], y)
options |= {"ema": None, "checkpoint": folder / "run.safetensors", "save_every": 2}
def stop(m, x, y):
    if len(noise) == 2:
        raise KeyboardInterrupt
    return with_noise(m, x, y)
try:
    fit(model, stop, data, steps=4, **options)
except KeyboardInterrupt:
    torch.rand(rank == "1" and 3 or 5)  # what must not matter
    fit(model, with_noise, data, steps=4, **options)
try:
    fit(model, with_noise, data, steps=1, batch_size=15)
except ValueError as error:
    refused = str(error)
else:
    refused = ""
flat = [torch.cat([w.flatten() for w in m.parameters()]).tolist() for m in (model, average)]
(folder / rank).write_text(json.dumps([losses.tolist(), *flat, noise, refused]))
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return what one process, and each of two that share every batch, came to."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "script.py").write_text(SCRIPT)
    for name in ("one", "two"):
        (folder / name).mkdir()
    # One process is this one, which has read PyTorch; the other two are launched as a reader would.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["script.py", str(folder / "one")])
        patch.delenv("RANK", raising=False)
        runpy.run_path(str(folder / "script.py"))
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "DERIVED_PROGRESS": "1"}
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    launch += ["--num_processes=2", "--num_machines=1", "--mixed_precision=no"]
    launch += ["--dynamo_backend=no", f"--main_process_port={free_port()}", "script.py", "two"]
    run(launch, cwd=folder, env=environment)
    files = ("one/alone", "two/0", "two/1")
    return [json.loads((folder / file).read_text()) for file in files]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_two_processes_get_the_losses_of_one(runs):
    one, *two = runs
    for each in two:
        assert each[0] == pytest.approx(one[0], rel=1e-5)
    assert two[0][:3] == two[1][:3]
    assert sum(one[0][-5:]) < 0.8 * sum(one[0][:5])  # so that there were steps to agree on


def test_two_processes_draw_different_noise_and_go_on_with_their_own(runs):
    _, first, second = runs
    assert len(first[3]) == len(second[3]) == 4
    assert len({*first[3], *second[3]}) == 8
    assert first[1] == second[1]


def test_a_batch_must_divide_among_the_processes(runs):
    one, *two = runs
    assert one[4] == ""
    assert {each[4] for each in two} == {"batch_size: expected a multiple of 2 processes, got 15"}


def test_training_alone_needs_no_accelerate(monkeypatch):
    absent = {"accelerate", "safetensors"}
    for name in [*absent, *sys.modules]:
        if name.partition(".")[0] in absent:
            monkeypatch.setitem(sys.modules, name, None)  # importing it fails
    monkeypatch.setattr(derived, "training", sys.modules["derived.training"])  # put back later
    monkeypatch.delitem(sys.modules, "derived.training")
    alone = importlib.import_module("derived.training")
    assert alone.fit is not fit
    with pytest.raises(ImportError):
        importlib.import_module("accelerate.utils")
    model = nn.Linear(2, 1)
    average, data = alone.moving_average(model), (torch.ones(8, 2),)
    alone.fit(model, lambda m, x: m(x).square().mean(), data, steps=3, ema=average, clip=1.0)


# What goes wrong.


@pytest.mark.parametrize(
    ("bad", "step"), [(math.nan, 3), (math.inf, 1), (-math.inf, 2), (math.nan, 1)]
)
def test_a_loss_that_is_no_finite_number_stops_before_it_does_harm(bad, step):
    model = nn.Linear(3, 1)
    seen = []

    def spoiled(model, *batch):
        seen.append(weights(model))
        return loss(model, *batch) * (bad if len(seen) == step else 1)

    with pytest.raises(ValueError, match=rf"^loss: expected one finite number, .* step {step}$"):
        fit(model, spoiled, examples(), steps=5)
    assert len(seen) == step and torch.equal(weights(model), seen[-1])
    assert weights(model).isfinite().all()


def test_a_loss_of_several_numbers_is_refused():
    def unreduced(model, inputs, targets):
        return mse_loss(model(inputs), targets, reduction="none")

    with pytest.raises(ValueError, match=r"got shape \(64, 1\) at step 1"):
        fit(nn.Linear(3, 1), unreduced, examples(), steps=5)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"steps": 0}, "steps: expected an integer of at least 1, got 0"),
        ({"steps": -3}, "steps: "),
        ({"batch_size": 0}, "batch_size: expected an integer of at least 1, got 0"),
        ({"data": ()}, "data: "),
        ({"data": (torch.zeros(0, 3), torch.zeros(0, 1))}, r"data: .* got \[0, 0\]"),
        ({"data": (torch.zeros(4, 3), torch.zeros(5, 1))}, r"data: .* got \[4, 5\]"),
        ({"data": (torch.tensor(1.0),)}, "data: "),
        ({"optimizer": "lion"}, "optimizer: expected one of adam, adamw, sgd; got 'lion'"),
        ({"schedule": "linear"}, "schedule: expected one of .*onecycle; got 'linear'"),
        ({"precision": "fp16"}, "precision: expected one of fp32, bf16; got 'fp16'"),
        ({"clip": 0}, "clip: expected a number above 0, got 0"),
        ({"clip": math.nan}, "clip: "),
        ({"ema": 0.99}, r"ema: expected None or what moving_average\(model\) returns"),
        ({"save_every": 0}, "save_every: expected an integer of at least 1, got 0"),
    ],
)
def test_what_can_not_be_trained(changed, said):
    model = nn.Linear(3, 1)
    before = weights(model)
    with pytest.raises(ValueError, match=said):
        fit(model, loss, **{"data": examples(), "steps": 2} | changed)
    assert torch.equal(weights(model), before)


@pytest.mark.parametrize("decay", [1, 1.5, -0.1, math.nan, "0.9", True])
def test_what_is_no_decay(decay):
    with pytest.raises(ValueError, match=r"decay: expected a number in \[0, 1\), got "):
        moving_average(nn.Linear(3, 1), decay=decay)


@pytest.mark.parametrize("data", [torch.zeros(4, 3), ([1.0], [2.0]), None])
def test_batches_of_what_is_no_tuple_of_tensors(data):
    with pytest.raises(ValueError, match="data: expected a tuple of tensors"):
        batches(data, steps=1, batch_size=1)


# Progress.


class Terminal(io.StringIO):
    def isatty(self):
        return True


def screen(text):
    """Return the line that a terminal shows after a text."""
    line = ""
    for part in text.split("\r"):
        line = part + line[len(part) :]
    return line


def test_progress_shows_in_a_terminal_and_is_erased(monkeypatch):
    monkeypatch.delenv("DERIVED_PROGRESS", raising=False)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    states = []
    monkeypatch.setattr("derived.training._REDRAW", 0)

    def watched(model, *batch):
        states.append(screen(terminal.getvalue()))
        return loss(model, *batch)

    fit(nn.Linear(3, 1), watched, examples(), steps=4)
    assert states[0] == ""
    assert states[2].startswith(f"[{'=' * 15}{' ' * 15}] 2/4, loss ")
    assert screen(terminal.getvalue()).strip() == ""
    assert "\n" not in terminal.getvalue()


def test_progress_is_erased_when_training_fails(monkeypatch):
    monkeypatch.delenv("DERIVED_PROGRESS", raising=False)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    values = iter([1.0, math.nan])
    with pytest.raises(ValueError, match="step 2"):
        fit(nn.Linear(3, 1), lambda m, *b: loss(m, *b) * next(values), examples(), steps=2)
    assert "1/2" in terminal.getvalue() and screen(terminal.getvalue()).strip() == ""


def test_progress_writes_nothing_when_it_is_off(monkeypatch, capfd):
    monkeypatch.setenv("DERIVED_PROGRESS", "0")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    fit(nn.Linear(3, 1), loss, examples(), steps=3)
    assert terminal.getvalue() == "" and capfd.readouterr() == ("", "")


def test_progress_writes_nothing_to_a_file(monkeypatch, capfd):
    monkeypatch.delenv("DERIVED_PROGRESS", raising=False)
    fit(nn.Linear(3, 1), loss, examples(), steps=3)
    assert capfd.readouterr() == ("", "")


def test_progress_in_a_notebook(monkeypatch):
    monkeypatch.setenv("DERIVED_PROGRESS", "0")
    source = """
        import os, torch
        from derived.training import fit
        model = torch.nn.Linear(1, 1)
        fit(model, lambda model, x: model(x).mean() ** 2, (torch.ones(4, 1),), steps=3);
    """
    code = "\n".join(line.strip() for line in source.splitlines())
    sources = code, f"os.environ['DERIVED_PROGRESS'] = '1'\n{code}"
    off, on = cells = [nbformat.v4.new_code_cell(source) for source in sources]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, kernel_name="python3", timeout=seconds(60)).execute()
    assert off.outputs == []
    text = "".join(output["text"] for output in on.outputs if output.output_type == "stream")
    assert "3, loss " in text and screen(text).strip() == ""
    assert [output for output in on.outputs if output.get("name") != "stdout"] == []
