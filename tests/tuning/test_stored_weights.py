"""Training beside weights that stay as they are stored: right gradients, and nothing plain waits for them."""

from __future__ import annotations

import pytest
import torch
from wan_director.weights import layers

from ..dit.trainable_models import packed_in

FORMS = ["fp8", "gguf", "int8", "int8, rotated"]


def stored_layer(form: str) -> layers.Linear:
    torch.manual_seed(0)
    layer = layers.Linear(64, 48).requires_grad_(False)
    layer.store(packed_in(form)(torch.randn(48, 64)))
    return layer


@pytest.mark.parametrize("rows", [slice(None), slice(8, 40)], ids=["whole", "rows"])
@pytest.mark.parametrize("form", FORMS)
def test_the_gradient_is_that_of_plain_float32_numbers(form, rows):
    layer, generator = stored_layer(form), torch.Generator().manual_seed(1)
    dense = layer.dense_weight()[rows]
    x = torch.randn(2, 5, 64, generator=generator).requires_grad_()
    out = layer.opened(x, rows=rows)(x)
    gradient = torch.randn(out.shape, generator=generator)
    out.backward(gradient)
    plain = x.detach().requires_grad_()
    expected = torch.nn.functional.linear(plain, dense, layer.bias[rows])
    expected.backward(gradient)
    assert torch.equal(out, expected)
    assert x.grad is not None and plain.grad is not None
    assert (x.grad - plain.grad).abs().max() <= 1e-5 * plain.grad.abs().max()


@pytest.mark.parametrize("form", FORMS)
def test_no_plain_matrix_waits_for_the_backward_pass(form):
    layer, saved = stored_layer(form), []
    x = torch.randn(3, 64, requires_grad=True)

    def packed(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(packed, lambda tensor: tensor):
        out = layer(x)
    assert out.requires_grad and saved == []


@pytest.mark.parametrize("form", FORMS)
def test_without_a_gradient_the_bits_are_those_of_a_plain_product(form):
    layer, x = stored_layer(form), torch.randn(3, 64)
    assert torch.equal(layer(x), torch.nn.functional.linear(x, layer.dense_weight(), layer.bias))
