"""Numbers kept in 8 bit with a scale for each row."""

from __future__ import annotations

import pytest
import torch
from wan_director.weights.int8 import RotatedRows


@pytest.mark.parametrize("width", [256, 5120, 96, 20, 6])
def test_rows_come_back_to_within_a_rounding_of_their_largest_number(width):
    numbers = torch.randn(2, 7, width, generator=torch.Generator().manual_seed(1)) * torch.logspace(-3, 3, 7)[:, None]
    kept = RotatedRows.of(numbers)
    back = kept.plain()
    assert back.shape == numbers.shape and back.dtype == numbers.dtype
    assert kept.nbytes == numbers.numel() + 4 * 14
    errors = (back - numbers).norm(dim=-1) / numbers.norm(dim=-1)
    assert errors.max() < 0.02


def test_outliers_of_a_channel_are_spread_by_the_rotation():
    """One channel 125 times as large as others, as in the blocks of a video transformer: plain rounding loses them."""
    numbers = torch.randn(16, 512, generator=torch.Generator().manual_seed(2))
    numbers[:, 17] *= 125
    scale = numbers.abs().amax(dim=1, keepdim=True) / 127
    rounded, rotated = (numbers / scale).round() * scale, RotatedRows.of(numbers).plain()
    others = torch.arange(512) != 17
    plain, kept = ((each - numbers)[:, others].norm() for each in (rounded, rotated))
    assert kept < plain / 2


def test_rows_of_zeros_stay_zeros_and_16_bit_ones_16_bit():
    back = RotatedRows.of(torch.zeros(3, 64, dtype=torch.bfloat16)).plain()
    assert back.dtype == torch.bfloat16 and not back.any()
