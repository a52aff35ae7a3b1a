"""The UNet's shapes, the weights that ship with it, and that they draw digits."""

import json
from itertools import pairwise

import pytest
import torch
from safetensors import safe_open
from sklearn.linear_model import LogisticRegression
from torch import nn

from bookkit.stored import checkpoints
from derived import unet
from derived.training import seed_everything
from derived.unet import UNet, load_checkpoint


def inputs(batch=3, channels=1, side=28):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, channels, side, side, generator=generator)
    return x, torch.linspace(0, 1, batch), torch.arange(batch)


def trained_a_little(**config):
    """Return a UNet whose zero weights are random too, so that nothing is hidden behind them."""
    seed_everything(0)
    model = UNet(**config)
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.1)
    return model.eval()


# The architecture.


@pytest.mark.parametrize("side", [8, 28, 32])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_answer_has_the_shape_of_the_image(channels, side):
    model = UNet(channels=channels, classes=5, width=8, depth=1)
    x, t, labels = inputs(channels=channels, side=side)
    assert model(x, t, labels).shape == x.shape


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_moved_to_another_dtype_runs_and_learns_in_it(dtype):
    model = UNet(width=8, depth=1).to(dtype)
    images, labels = torch.randn(2, 1, 8, 8).to(dtype), torch.tensor([1, 10])
    assert model(images, torch.rand(2).to(dtype), labels).dtype == dtype
    unet.velocity_loss(model, images, labels).backward()
    assert model.leave[2].weight.grad.dtype == dtype


def test_rows_do_not_see_each_other():
    model = trained_a_little(width=8)
    x, t, labels = inputs()
    alone = torch.cat([model(*(each[i : i + 1] for each in (x, t, labels))) for i in range(3)])
    assert torch.allclose(model(x, t, labels), alone, atol=1e-4, rtol=1e-4)


def test_image_time_and_class_all_matter():
    model = trained_a_little(width=8)
    x, t, labels = inputs()
    answer = model(x, t, labels)
    for changed in ((x + 0.1, t, labels), (x, t + 0.01, labels), (x, t, labels + 1)):
        difference = (model(*changed) - answer).flatten(1).abs().amax(1)
        assert (difference > 1e-3 * answer.abs().max()).all()


def test_every_weight_gets_a_gradient():
    model = trained_a_little(width=8)
    model(*inputs()).square().mean().backward()
    assert all(weight.grad.abs().max() > 0 for weight in model.parameters())


def test_a_new_block_is_its_shortcut():
    block = unet.Block(16, 16, 4)
    x = torch.randn(2, 16, 6, 6)
    assert torch.equal(block(x, torch.randn(2, 4)), x)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"width": 12}, "width: expected a multiple of 8, got 12"),
        ({"depth": 0}, "depth: expected an integer of at least 1, got 0"),
        ({"classes": 0}, "classes: "),
        ({"channels": 1.5}, "channels: "),
    ],
)
def test_what_is_no_architecture(config, said):
    with pytest.raises(ValueError, match=said):
        UNet(**config)


@pytest.mark.parametrize("shape", [(3, 1, 28, 27), (3, 1, 30, 28), (3, 2, 28, 28)])
def test_images_that_do_not_fit(shape):
    _, t, labels = inputs()
    with pytest.raises(ValueError, match=r"x: expected shape \(batch, 1, height, width\) with"):
        UNet(width=8)(torch.zeros(shape), t, labels)


def test_times_and_labels_that_do_not_fit():
    model = UNet(width=8)
    x, t, labels = inputs()
    for bad in (t[:2], t[:, None]):
        with pytest.raises(ValueError, match=r"t: expected shape \(3,\), got"):
            model(x, bad, labels)
    with pytest.raises(ValueError, match=r"labels: expected shape \(3,\), got \(\)"):
        model(x, t, torch.tensor(1))
    for bad in (11, -1):
        with pytest.raises(ValueError, match="labels: expected integers from 0 to 10"):
            model(x, t, torch.full((3,), bad))
    model(x, t, torch.full((3,), 10))


# Training.


def test_the_loss_falls():
    model, recipe = checkpoints.diffusion(steps=12)
    assert recipe["options"]["steps"] == 12
    train, _ = unet.held_out()
    before, after = (mean_loss(each, train) for each in (UNet(), model))
    assert after < 0.75 * before
    assert after < recipe["final loss"] < before  # the mean of all, where they are so few


def mean_loss(model, data):
    """Return the loss on 200 digits, of the same times and noise whatever the model."""
    torch.manual_seed(3)
    with torch.no_grad():
        return unet.velocity_loss(model, *(column[:200] for column in data)).item()


def test_held_out_digits_are_no_training_digits():
    (train, train_labels), (test, test_labels) = unet.held_out()
    assert train.shape == (4500, 1, 28, 28) and test.shape == (500, 1, 28, 28)
    assert train.min() == -1 and train.max() == 1
    counts = train_labels.bincount() + test_labels.bincount()
    assert counts.tolist() == [500] * 10
    seen = {image.numpy().tobytes() for image in train}
    assert sum(image.numpy().tobytes() in seen for image in test) == 0


def test_the_command_stores_weights_with_their_recipe(tmp_path, capsys):
    assert checkpoints.main(["diffusion", "--steps", "1", "--folder", str(tmp_path)]) == 0
    assert "diffusion.safetensors: loss " in capsys.readouterr().out
    with safe_open(tmp_path / "diffusion.safetensors", framework="pt") as file:
        recipe = {key: json.loads(text) for key, text in file.metadata().items()}
    assert recipe["options"]["steps"] == 1
    assert recipe["torch"] == torch.__version__


# Drawing.


def test_the_denoiser_undoes_the_velocity():
    x0, eps = torch.randn(2, 3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0.1, 0.5, 1.0])
    x = torch.lerp(x0, eps, t[:, None, None, None])

    def exact(x, t, labels):
        assert labels.tolist() == [3, 1, 2]
        return eps - x0

    denoiser = unet.velocity_denoiser(exact, torch.tensor([3, 1, 2]))
    assert torch.allclose(denoiser(x, t), x0, atol=1e-6)


def test_the_race_compares_solvers_at_equal_calls(monkeypatch):
    monkeypatch.setattr(unet, "_HELD_OUT", 30)  # of which as many are drawn
    rows = list(unet.race(UNet(width=8, depth=1), steps=2, batch_size=8, calls=(1, 3)))
    assert [(row["solver"], row["calls"]) for row in rows] == [
        (solver, calls) for solver in ("ddim", "heun", "dpmpp_2m") for calls in (1, 3)
    ]
    assert len({row["energy distance"] for row in rows[::2]}) == 1  # one step is Euler's for all
    assert all(row["sampling: images/s"] > 0 < row["training: images/s"] for row in rows)


# The weights that ship.


@pytest.fixture(scope="module")
def shipped():
    return load_checkpoint("diffusion")


def test_the_checkpoint_is_small_and_says_where_it_came_from(shipped):
    model, recipe = shipped
    path = checkpoints.FOLDER / "diffusion.safetensors"
    assert (unet._folders()[1] / path.name).stat().st_size < 2e6
    assert recipe["command"] == "make checkpoints CHAPTERS=diffusion"
    assert recipe["config"] == model.config == UNet().config
    assert recipe["weights"] == checkpoints.digest(model)
    assert not model.training
    assert all(weight.dtype == torch.float32 for weight in model.parameters())


def test_the_recipe_is_the_one_that_the_command_follows(shipped):
    options = shipped[1]["options"]
    defaults = checkpoints.diffusion.__kwdefaults__
    assert {key: options[key] for key in defaults} == defaults


def test_the_checkpoint_knows_digits_it_has_not_seen(shipped):
    model, recipe = shipped
    train, test = unet.held_out()
    fresh = mean_loss(UNet(), test)
    assert mean_loss(model, test) < 0.3 * fresh
    assert mean_loss(model, test) < 1.3 * mean_loss(model, train)
    assert recipe["final loss"] < 0.3 * fresh


def test_the_checkpoint_draws_the_digit_asked_for(shipped):
    """A linear classifier, right on most real digits, names most drawn ones as they were asked."""
    model, _ = shipped
    (images, names), (test, test_names) = unet.held_out()
    some = slice(None, None, 3)
    judge = LogisticRegression(max_iter=200, C=0.1)
    judge.fit(images[some].flatten(1).numpy(), names[some].numpy())
    assert judge.score(test.flatten(1).numpy(), test_names.numpy()) > 0.85
    labels = torch.arange(10).repeat_interleave(5)
    x = torch.randn(50, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    times = torch.linspace(1, 0, 21)
    with torch.no_grad():
        for t, s in pairwise(times):
            known, unknown = (
                model(x, t.expand(50), each) for each in (labels, torch.full_like(labels, 10))
            )
            x = x + (s - t) * (unknown + 2 * (known - unknown))
    assert judge.score(x.flatten(1).numpy(), labels.numpy()) > 0.75
    assert x.abs().max() < 2 and x.flatten(1).std(0).mean() > 0.2  # not one digit ten times


@pytest.mark.parametrize("name", ["vae", "", None, "../diffusion"])
def test_a_checkpoint_that_does_not_ship(name):
    with pytest.raises(ValueError, match=r"name: expected one of .*diffusion.*; got"):
        load_checkpoint(name)
