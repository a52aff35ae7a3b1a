"""What the properties of this chapter's helpers found once, by name."""

import torch

from derived.initialization import softmax_jacobian_norm


def test_the_jacobian_of_a_saturated_softmax_has_no_slope():
    p = torch.tensor([0.0, 1.0, 0.0], requires_grad=True)
    norm = softmax_jacobian_norm(p)
    assert norm == 0 and not torch.autograd.grad(norm, p)[0].any()
