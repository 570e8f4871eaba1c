"""What one forward pass of the transformer takes, and how conditioning adds its part to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..common.errors import PairingError


class Cut(NamedTuple):
    """Some latent frames in a row, `start` to `stop` (without it), of a clip of so many `frames`."""

    start: int
    stop: int
    frames: int

    def of(self, tensor: Tensor, dim: int = 2) -> Tensor:
        """Those frames of `tensor`, [B, C, T, h, w] unless T is another dimension; a view.

        Raises:
            PairingError: it is made for a clip of another length.
        """
        if tensor.shape[dim] != self.frames:
            raise PairingError(
                f"The conditioning is made for {tensor.shape[dim]} latent frames, but the latent has {self.frames}. "
                "Prepare it for a video of the same length."
            )
        return tensor.narrow(dim, self.start, self.stop - self.start)


class VaceInput(NamedTuple):
    """A control video for the VACE blocks.

    `channels` [B, vace_channels, T, h, w]: normalised latents of what to keep and of what to change, and the mask (see
    `conditioning.vace`); `strength` scales what the blocks add, 1 as in training.
    """

    channels: Tensor
    strength: float


@dataclass(frozen=True, slots=True)
class DitInputs:
    """One call of the transformer.

    Attributes:
        latent: [B, C, T, h, w], normalised latent with noise.
        timestep: [B], float, sigma * 1000, so 0..1000; or [B, T] with one for each latent frame.
        text: [B, text_tokens, text_dim], zero rows after the prompt's last token.
        image_channels: [B, 4 + C, T, h, w], mask (1 = given) before image latents; None = nothing given, which
            equals zeros.
        clip_image: [B, tokens, clip_dim] CLIP features; None skips the image branch of the cross-attention.
        vace: control videos; none skips the VACE blocks.
        skipped: numbers of the model's own blocks, 0..layers - 1, that leave the tokens as they are.
    """

    latent: Tensor
    timestep: Tensor
    text: Tensor
    image_channels: Tensor | None = None
    clip_image: Tensor | None = None
    vace: tuple[VaceInput, ...] = ()
    skipped: frozenset[int] = frozenset()


class ConditioningItem(Protocol):
    """One kind of conditioning beside the text, for example a start image."""

    def apply(self, inputs: DitInputs) -> DitInputs:
        """The inputs with this item's part filled in."""
        ...

    def window(self, cut: Cut) -> ConditioningItem:
        """What of this item goes with some of the latent's frames.

        Raises:
            PairingError: it is made for a clip of another length.
        """
        ...

    def to(self, device: torch.device) -> ConditioningItem:
        """This item with its tensors on a device."""
        ...


@dataclass(frozen=True, slots=True)
class Conditioning:
    """A prompt and what goes with it: one side (positive or negative) of the guidance.

    Attributes:
        text: [1 or B, text_tokens, text_dim].
        items: applied in order.
    """

    text: Tensor
    items: tuple[ConditioningItem, ...] = ()

    def inputs(self, latent: Tensor, timestep: Tensor) -> DitInputs:
        """Inputs for `latent` [B, C, T, h, w] at `timestep` [B] or [B, T]; a text or item of batch 1 serves all."""
        text = expand_batch(self.text, latent.shape[0])
        inputs = DitInputs(latent=latent, timestep=timestep, text=text)
        for item in self.items:
            inputs = item.apply(inputs)
        return inputs

    def window(self, cut: Cut) -> Conditioning:
        """The prompt and what of its items goes with some of the latent's frames."""
        return replace(self, items=tuple(item.window(cut) for item in self.items))

    def to(self, device: torch.device) -> Conditioning:
        """The prompt and its items with their tensors on a device."""
        return Conditioning(self.text.to(device), tuple(item.to(device) for item in self.items))


def expand_batch(tensor: Tensor, batch: int) -> Tensor:
    """`tensor` [1 or batch, ...] seen as [batch, ...], without a copy."""
    return tensor if tensor.shape[0] == batch else tensor.expand(batch, *tensor.shape[1:])
