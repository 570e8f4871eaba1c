"""How much each latent frame of a window counts beside the windows that show it, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor


class Edges(NamedTuple):
    """A window of `size` latent frames; whether the clip begins and ends with it; frames it shares with the next."""

    size: int
    is_first: bool
    is_last: bool
    overlap: int


def pyramid(edges: Edges) -> Tensor:
    """1, 2 ... in the middle ... 2, 1.

    Source: Qiu et al., "FreeNoise", arXiv 2310.15169, section 4.2; ComfyUI v0.33.0, create_weights_pyramid.
    """
    places = torch.arange(1, edges.size + 1, dtype=torch.float32)
    return torch.minimum(places, places.flip(0))


def linear(edges: Edges) -> Tensor:
    """1, with a ramp over the frames that are shared.

    Source: modelscope/DiffSynth-Studio 2.1.12, diffsynth/pipelines/wan_video.py, TemporalTiler_BCTHW.
    """
    ramp = (torch.arange(edges.overlap, dtype=torch.float32) + 0.5) / max(edges.overlap, 1)
    return _with_ramps(edges, ramp)


def linear_from_zero(edges: Edges) -> Tensor:
    """As `linear`, with a ramp that begins just above 0 and ends with 1.

    Source: ComfyUI v0.33.0, create_weights_overlap_linear.
    """
    return _with_ramps(edges, torch.linspace(1e-37, 1, edges.overlap))


def flat(edges: Edges) -> Tensor:
    """All the same."""
    return torch.ones(edges.size, dtype=torch.float32)


def from_middle(edges: Edges) -> Tensor:
    """1 in the middle, down to nearly 0 at both ends.

    Source: ComfyUI v0.33.0, combine_context_window_results with the method "relative".
    """
    places = torch.arange(edges.size, dtype=torch.float32) - (edges.size - 1) / 2
    return (1 - places.abs() / ((edges.size - 1 + 1e-2) / 2)).clamp(min=1e-2)


Blend = Callable[[Edges], Tensor]
"""Weights [size], float32, above 0."""

BLENDS: Mapping[str, Blend] = MappingProxyType({"pyramid": pyramid, "linear": linear})


def _with_ramps(edges: Edges, ramp: Tensor) -> Tensor:
    weights, overlap = flat(edges), edges.overlap
    if overlap and not edges.is_first:
        weights[:overlap] = ramp
    if overlap and not edges.is_last:
        weights[-overlap:] = ramp.flip(0)
    return weights
