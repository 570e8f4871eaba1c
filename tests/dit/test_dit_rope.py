"""Rotary position embedding against the definition: a complex product in float64."""

from __future__ import annotations

import pytest
import torch
from wan_director.dit.rope import axis_dims, make_rope, rotate


def complex_reference(x, grid):
    head_dim = x.shape[-1]
    side = 2 * (head_dim // 6)
    angles = []
    for axis, dim in enumerate((head_dim - 2 * side, side, side)):
        frequencies = 1.0 / torch.pow(10000.0, torch.arange(0, dim, 2, dtype=torch.float64) / dim)
        positions = torch.cartesian_prod(*(torch.arange(length, dtype=torch.float64) for length in grid))
        angles.append(positions.view(-1, 3)[:, axis, None] * frequencies)
    turns = torch.polar(torch.ones(()).double(), torch.cat(angles, dim=1))[:, None]
    pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * turns).flatten(-2)


@pytest.mark.parametrize("head_dim", [128, 64, 48, 12])
@pytest.mark.parametrize("grid", [(3, 4, 5), (1, 2, 1), (1020, 1, 2)], ids=str)
def test_rotation_equals_complex_product(grid, head_dim):
    x = torch.randn(2, grid[0] * grid[1] * grid[2], 3, head_dim)
    torch.testing.assert_close(
        rotate(x, make_rope(head_dim, grid)).double(), complex_reference(x, grid), rtol=0, atol=2e-6
    )


def test_split_of_a_published_head():
    assert axis_dims(128) == (44, 42, 42)


def test_tables_made_in_inference_mode_serve_training():
    with torch.inference_mode():
        make_rope(12, (2, 2, 2))
    x = torch.randn(1, 8, 1, 12, requires_grad=True)
    rotate(x, make_rope(12, (2, 2, 2))).square().sum().backward()
    torch.testing.assert_close(x.grad, 2 * x.detach(), rtol=1e-5, atol=1e-5)  # a rotation keeps the norm
