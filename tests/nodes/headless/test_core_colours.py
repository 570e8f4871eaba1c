"""Transfer Color has the arithmetic of ComfyUI's node, restated here in float64 with scipy's roots of matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from wan_director.nodes.headless.core_nodes import CORE_NODES

from ...media.test_colours import lab_of, rgb_of

SCOPES = {
    "per_frame": {"source_stats": "per_frame"},
    "uniform": {"source_stats": "uniform"},
    "target_frame": {"source_stats": "target_frame", "target_index": 2},
}


def pictures(seed: int, frames: int, low: float, high: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(frames, 12, 14, 3, generator=generator) ** torch.tensor([0.5, 1.0, 2.0])


def moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    flat = values.reshape(-1, 3)
    return flat.mean(0), np.cov(flat.T, bias=True)


def linear(method: str, values: np.ndarray, own: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    (mean, cov), (to_mean, to_cov) = moments(own), moments(wanted)
    if method == "reinhard_lab":
        return (values - mean) * np.sqrt(np.diag(to_cov) / np.diag(cov)) + to_mean
    root = np.real(sqrtm(cov))
    inverse = np.linalg.inv(root)
    return (values - mean) @ (inverse @ np.real(sqrtm(root @ to_cov @ root)) @ inverse) + to_mean


def by_histogram(values: np.ndarray, own: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    changed = np.empty_like(values)
    for channel in range(3):
        shares = []
        for each in (own, wanted):
            bins = (each[..., channel].astype(np.float32) * np.float32(255)).astype(int)
            counts = np.bincount(bins.ravel(), minlength=256)
            shares.append((counts.cumsum() / counts.sum()).astype(np.float32))
        table = np.searchsorted(shares[1], shares[0]).clip(max=255) / 255
        changed[..., channel] = table[(values[..., channel].astype(np.float32) * np.float32(255)).astype(int)]
    return changed


def restated(method: str, scope: str, frames: np.ndarray, reference: np.ndarray, strength: float) -> np.ndarray:
    is_lab = method != "histogram"
    values, wanted = (lab_of(each) if is_lab else each for each in (frames, reference))
    made = []
    for number, frame in enumerate(values):
        own = {"per_frame": frame, "uniform": values, "target_frame": values[2]}[scope]
        target = wanted[min(number, len(wanted) - 1)] if scope == "per_frame" else wanted
        new = linear(method, frame, own, target) if is_lab else by_histogram(frame, own, target)
        mixed = frame + (new - frame) * strength
        made.append(rgb_of(mixed) if is_lab else mixed)
    return np.stack(made).clip(0, 1)


@pytest.mark.parametrize("references", [1, 3])
@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("method", ["reinhard_lab", "mkl_lab", "histogram"])
def test_each_method_is_that_of_its_restatement(tiny_host, method, scope, references):
    frames, reference = pictures(1, 4, 0.2, 0.8), pictures(2, references, 0.05, 0.6)
    for strength in (1.0, 0.4):
        made = CORE_NODES["ColorTransfer"].execute(frames, reference, method, SCOPES[scope], strength).args[0]
        expected = restated(method, scope, frames.double().numpy(), reference.double().numpy(), strength)
        assert np.abs(made.numpy() - expected).max() <= 1e-5  # cubes and roots of float32


def test_no_strength_changes_nothing(tiny_host):
    frames = pictures(1, 2, 0, 1)
    node = CORE_NODES["ColorTransfer"]
    assert node.execute(frames, pictures(2, 1, 0, 1), "mkl_lab", SCOPES["uniform"], 0.0).args[0] is frames
