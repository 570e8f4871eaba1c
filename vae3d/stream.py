"""The memory of a causal network that sees a clip piece by piece."""

from __future__ import annotations

from torch import Tensor, nn


class FrameStream:
    """The past frames that each layer still needs; one stream lives for one pass over one clip.

    A layer is asked for the frames of a chunk, in order, and finds here what it kept of the chunks before. Any way of
    cutting a clip into chunks gives the same result; a fresh stream given the whole clip as one chunk computes the
    plain full-sequence network.
    """

    def __init__(self) -> None:
        self._past: dict[nn.Module, Tensor] = {}

    def has_begun(self, layer: nn.Module) -> bool:
        """True once `layer` has kept something, that is, from its second chunk on."""
        return layer in self._past

    def past(self, layer: nn.Module) -> Tensor:
        """What `layer` kept: [B, C, n, H, W]."""
        return self._past[layer]

    def keep(self, layer: nn.Module, frames: Tensor) -> None:
        """Remembers `frames` [B, C, n, H, W] for the next chunk of `layer`, in place of what it kept before."""
        self._past[layer] = frames
