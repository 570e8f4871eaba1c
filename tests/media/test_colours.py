"""Colours are matched as independent restatements match them, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from wan_director.common.errors import InvalidInputError
from wan_director.media.colours import COLOUR_METHODS, check_strength, colour_map, lab_to_rgb, rgb_to_lab

M = np.array([
    [0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227],
])  # fmt: skip
WHITE = np.array([0.95047, 1.0, 1.08883])
EXACT = 1e-5
"""In 0..1: the cubes and roots of float32, the largest of which are those of dark colours."""


def clip(seed: int, *shape: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
    """Levels of 8 bits [F, H, W, 3]."""
    values = torch.rand(*shape, 3, generator=torch.Generator().manual_seed(seed)) ** torch.tensor([0.5, 1.0, 2.0])
    return ((low + values * (high - low)) * 255).round() / 255


def lab_of(rgb: np.ndarray) -> np.ndarray:
    """CIE 15 and IEC 61966-2-1."""
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = np.einsum("ij,...j->...i", M, linear) / WHITE
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


def rgb_of(lab: np.ndarray) -> np.ndarray:
    y = (lab[..., 0] + 16) / 116
    f = np.stack([y + lab[..., 1] / 500, y, np.maximum(y - lab[..., 2] / 200, 0)], axis=-1)
    xyz = np.where(f > 0.2068966, f**3, (f - 16 / 116) / 7.787) * WHITE
    linear = np.einsum("ij,...j->...i", np.linalg.inv(M), xyz)
    return np.where(linear > 0.0031308, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055, 12.92 * linear)


def moved(values: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Mean and deviation of each channel become those of the target."""
    own, wanted = values.reshape(-1, 3), target.reshape(-1, 3)
    return (values - own.mean(0)) / own.std(0) * wanted.std(0) + wanted.mean(0)


def histogram_matched(values: np.ndarray, target: np.ndarray) -> np.ndarray:
    """By the sorted values of both, without any levels."""
    matched = np.empty_like(values)
    for channel in range(3):
        own, wanted = values[..., channel].ravel(), target[..., channel].ravel()
        _, place, counts = np.unique(own, return_inverse=True, return_counts=True)
        levels, wanted_counts = np.unique(wanted, return_counts=True)
        become = np.interp(np.cumsum(counts) / own.size, np.cumsum(wanted_counts) / wanted.size, levels)
        matched[..., channel] = become[place].reshape(values.shape[:-1])
    return matched


def restated(method: str, frames: np.ndarray, reference: np.ndarray) -> np.ndarray:
    if method == "reinhard_lab":
        return rgb_of(moved(lab_of(frames), lab_of(reference))).clip(0, 1)
    return (moved if method == "mean_std_rgb" else histogram_matched)(frames, reference).clip(0, 1)


def matched(method: str, frames: torch.Tensor, reference: torch.Tensor, strength: float = 1.0) -> torch.Tensor:
    found = colour_map(method, reference, strength)(frames)
    return torch.stack([found.of(frame) for frame in frames])


@pytest.mark.parametrize("method", COLOUR_METHODS)
@pytest.mark.parametrize("shape", [(1, 30, 40), (5, 8, 9)])
def test_each_method_is_that_of_its_restatement(method, shape):
    frames, reference = clip(1, *shape, low=0.2, high=0.7), clip(2, 3, 17, 21, low=0.1)
    expected = restated(method, frames.double().numpy(), reference.double().numpy())
    assert np.abs(matched(method, frames, reference).numpy() - expected).max() <= EXACT


def test_lab_is_that_of_its_restatement_and_comes_back():
    colours = torch.cartesian_prod(*[torch.linspace(0, 1, 18)] * 3)
    lab = rgb_to_lab(colours)
    assert np.abs(lab.numpy() - lab_of(colours.double().numpy())).max() <= 100 * EXACT  # L goes to 100
    assert (lab_to_rgb(lab) - colours).abs().max() <= EXACT
    white, grey = rgb_to_lab(torch.ones(3)), rgb_to_lab(torch.full((3,), 0.5))
    assert white.tolist() == pytest.approx([100, 0, 0], abs=1e-2) and grey[0] == pytest.approx(53.39, abs=1e-2)


@pytest.mark.parametrize("method", COLOUR_METHODS)
def test_strength_goes_a_part_of_the_way(method):
    frames, reference = clip(1, 2, 16, 16, low=0.3, high=0.6), clip(2, 1, 16, 16)
    half, none = (matched(method, frames, reference, strength) for strength in (0.5, 0.0))
    a, b = frames.double().numpy(), reference.double().numpy()
    if method == "reinhard_lab":
        expected = rgb_of((lab_of(a) + moved(lab_of(a), lab_of(b))) / 2).clip(0, 1)
    else:
        whole = moved(a, b) if method == "mean_std_rgb" else restated(method, a, b)
        expected = ((a + whole) / 2).clip(0, 1)
    assert np.abs(half.numpy() - expected).max() <= EXACT
    assert (none - frames).abs().max() <= EXACT


@pytest.mark.parametrize("method", COLOUR_METHODS)
def test_a_clip_in_its_own_colours_stays(method):
    frames = clip(1, 3, 16, 16)
    assert (matched(method, frames, frames.clone()) - frames).abs().max() <= EXACT


@pytest.mark.parametrize("method", COLOUR_METHODS)
def test_flat_pictures_get_the_colour_and_no_noise(method):
    flat, reference = torch.full((2, 8, 8, 3), 0.25), clip(2, 1, 32, 32)
    changed = matched(method, flat, reference)
    assert torch.isfinite(changed).all() and float(changed.flatten(0, 2).std(0).max()) < 1e-6
    if method != "reinhard_lab":  # whose mean is that of L*a*b*
        assert (changed[0, 0, 0] - reference.flatten(0, 2).mean(0)).abs().max() < 3e-3  # of 8 bits
    onto_flat = matched(method, reference, flat)
    assert (onto_flat - 0.25).abs().max() < 3e-3  # of 8 bits


def test_values_between_levels_become_values_between():
    frames, reference = torch.linspace(0.2, 0.8, 3000).view(1, 30, 100, 1).repeat(1, 1, 1, 3), clip(3, 1, 64, 64)
    changed = matched("histogram", frames, reference)[0, ..., 1].flatten()
    assert bool((changed.diff() >= 0).all()) and len(changed.unique()) > 1000


@pytest.mark.parametrize("strength", [-0.1, 1.5, float("nan")])
def test_a_strength_that_is_no_part_is_refused(strength):
    with pytest.raises(InvalidInputError, match=r"strength must be from 0 \(no change\) to 1"):
        check_strength(strength)
