"""The data is real, its boxes are tight, and the two splits share no digit."""

import socket
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from derived import data
from derived.data import INK, digits_on_canvas, mnist, text_corpus


def test_mnist_needs_no_network(monkeypatch):
    def refuse(*arguments):
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    data._mnist.cache_clear()  # before any other test has read the digits, which takes seconds
    assert len(mnist()[0]) == 5000


def test_mnist_is_five_hundred_digits_a_class_sorted():
    images, labels = mnist()
    assert images.shape == (5000, 28, 28) and images.dtype == torch.float32
    assert images.min() == 0 and images.max() == 1
    assert torch.equal(labels, torch.arange(10).repeat_interleave(500))


def test_a_caller_can_not_spoil_the_cached_digits():
    images, labels = mnist()
    images.zero_(), labels.zero_()
    assert mnist()[0].max() == 1 and mnist()[1].max() == 9


def columns_and_rows_of_ink(canvas):
    """Return the box of ink of one canvas by looking at each pixel."""
    found = [
        (x, y)
        for y, row in enumerate(canvas.tolist())
        for x, value in enumerate(row)
        if value > INK
    ]
    xs, ys = zip(*found, strict=True)
    return [min(xs), min(ys), max(xs) + 1, max(ys) + 1]


@pytest.mark.parametrize(("size", "digit_size"), [(64, (12, 36)), (40, (8, 40)), (30, (20, 20))])
def test_boxes_are_the_tight_boxes_of_the_ink(size, digit_size):
    images, boxes = digits_on_canvas(60, size=size, digit_size=digit_size, clutter=0)
    assert images.shape == (60, 1, size, size) and images.dtype == torch.float32
    assert boxes.shape == (60, 4) and boxes.dtype == torch.float32
    expected = [columns_and_rows_of_ink(canvas[0]) for canvas in images]
    assert boxes.tolist() == expected


def test_digits_have_the_sizes_asked_for_and_lie_anywhere():
    _, boxes = digits_on_canvas(3000, size=64, digit_size=(12, 36), clutter=0)
    sides = boxes[:, 2:] - boxes[:, :2]
    longer = sides.amax(-1)
    assert longer.max() <= 37 and longer.min() >= 9  # faint ends of strokes are no ink
    assert abs(longer.mean() - 24) < 1
    assert (sides[:, 0] > 1.2 * sides[:, 1]).float().mean() > 0.05  # MNIST has hardly one
    assert boxes.min() == 0 and boxes.max() == 64
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert (abs(centers.mean(0) - 32) < 1).all()


def test_clutter_adds_ink_around_the_same_digit():
    clean, boxes = digits_on_canvas(50, clutter=0)
    busy, same = digits_on_canvas(50, clutter=8)
    assert torch.equal(boxes, same)
    assert (busy >= clean).all() and busy.max() <= 1 + 1e-5
    added = ((busy > INK).sum((1, 2, 3)) - (clean > INK).sum((1, 2, 3))).float()
    assert added.mean() > 100
    inside = torch.zeros_like(clean, dtype=torch.bool)
    for canvas, (x1, y1, x2, y2) in zip(inside, boxes.int().tolist(), strict=True):
        canvas[:, y1:y2, x1:x2] = True
    assert ((busy > INK) & ~inside).any((1, 2, 3)).float().mean() > 0.95


def test_the_splits_share_no_digit(monkeypatch):
    drawn = {"train": set(), "test": set()}
    numbered = torch.arange(5000.0)[:, None, None].expand(-1, 28, 28)
    paste = data._paste

    for split, seen in drawn.items():

        def record(images, source, target, size, seen=seen):
            seen.update(images[:, 0, 0].tolist())
            return paste(images, source, target, size)

        monkeypatch.setattr(data, "_mnist", lambda: (numbered, None))
        monkeypatch.setattr(data, "_paste", record)
        digits_on_canvas(3000, clutter=2, split=split)
    assert len(drawn["train"]) > 3500 and len(drawn["test"]) > 900
    assert not drawn["train"] & drawn["test"]


def test_same_arguments_same_canvases_whatever_the_global_seed():
    torch.manual_seed(1)
    images, boxes = digits_on_canvas(20, seed=3)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    again, same = digits_on_canvas(20, seed=3)
    assert torch.equal(images, again) and torch.equal(boxes, same)
    assert torch.equal(torch.get_rng_state(), state)
    for other in (digits_on_canvas(20, seed=4), digits_on_canvas(20, seed=3, split="test")):
        assert not torch.equal(boxes, other[1])


def test_no_canvas():
    images, boxes = digits_on_canvas(0, size=32, digit_size=(8, 16))
    assert images.shape == (0, 1, 32, 32) and boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"n": -1}, "n"),
        ({"n": 2, "clutter": -1}, "clutter"),
        ({"n": 2, "digit_size": (4, 20)}, "digit_size"),
        ({"n": 2, "digit_size": (30, 20)}, "digit_size"),
        ({"n": 2, "digit_size": (20, 65)}, "digit_size"),
        ({"n": 2, "split": "validation"}, "split"),
    ],
)
def test_what_can_not_be_drawn(arguments, said):
    with pytest.raises(ValueError, match=said):
        digits_on_canvas(**arguments)


def test_paste_interpolates_as_grid_sample_does():
    images, size = mnist()[0][::500], 50
    source = torch.tensor([4.0, 5, 20, 22]).expand(10, 4)
    target = torch.tensor([10.3, 7.2, 40.1, 39.0]).expand(10, 4)
    x, y = torch.meshgrid(*2 * [torch.arange(size) + 0.5], indexing="xy")
    at_x = 4 + (x - 10.3) * 16 / 29.8
    at_y = 5 + (y - 7.2) * 17 / 31.8
    grid = torch.stack([at_x, at_y], dim=-1) / 14 - 1
    sampled = F.grid_sample(images[:, None], grid.expand(10, -1, -1, -1), align_corners=False)
    inside = (x > 10.3) & (x < 40.1) & (y > 7.2) & (y < 39.0)
    pasted = data._paste(images, source, target, size)
    assert torch.allclose(pasted, sampled[:, 0] * inside, atol=1e-5)


def test_paste_averages_what_it_shrinks():
    stripes = (torch.arange(28) % 2).float().expand(1, 28, 28)  # finer than the result's pixels
    whole = torch.tensor([[0.0, 0, 28, 28]])
    pasted = data._paste(stripes, whole, whole / 2, 14)
    assert torch.allclose(pasted[0, 2:-2, 2:-2], torch.tensor(0.5))


def test_two_thousand_canvases_take_less_than_two_seconds():
    mnist()
    start = time.process_time()
    digits_on_canvas(2000)
    assert time.process_time() - start < 2


def test_the_text_is_the_file_of_the_locked_torch():
    train, alphabet = text_corpus()
    test, same = text_corpus(split="test")
    assert alphabet == same == "".join(sorted(alphabet)) and len(set(alphabet)) == 94
    assert train.dtype == test.dtype == torch.int64
    assert (len(train), len(test)) == (395_388, 43_932)
    assert torch.cat([train, test]).unique().tolist() == list(range(94))
    text = "".join(alphabet[i] for i in torch.cat([train, test]).tolist())
    path = Path(torch.__file__).parent / "_torch_docs.py"
    assert text == path.read_bytes().decode().replace("\r\n", "\n")


def test_another_text_is_refused(monkeypatch, tmp_path):
    data._text.cache_clear()
    monkeypatch.setattr(torch, "__file__", str(tmp_path / "__init__.py"))
    (tmp_path / "_torch_docs.py").write_text("another text", encoding="utf-8")
    with pytest.raises(RuntimeError, match=r"_torch_docs.py: expected the file of torch 2.13.0"):
        text_corpus()


def test_line_ends_of_another_platform_change_nothing(monkeypatch, tmp_path):
    ids, alphabet = text_corpus()
    path = Path(torch.__file__).parent / "_torch_docs.py"
    (tmp_path / "_torch_docs.py").write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    data._text.cache_clear()
    monkeypatch.setattr(torch, "__file__", str(tmp_path / "__init__.py"))
    again, same = text_corpus()
    assert torch.equal(ids, again) and alphabet == same


def test_a_caller_can_not_spoil_the_cached_text():
    text_corpus()[0].zero_()
    assert text_corpus()[0].any()


def test_an_unknown_part_of_the_text_is_refused():
    with pytest.raises(ValueError, match='split: expected "train" or "test", got \'validation\''):
        text_corpus(split="validation")
