"""Adaptive low-pass guidance: in the first steps, the model sees given frames without their fine detail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor

from ...common.errors import InvalidInputError
from ...common.records import record
from ...dit.inputs import DitInputs
from ..ask import NEGATIVE, Ask, Side, TextOf
from ..step import NoiseLevel
from .guidance import Guidance, Memory, OfScale
from .parts import Part


@record
class BlurredFrames:
    """What is given in the model's own channels, masks included, made smaller and larger again.

    Attributes:
        size: above 0 and below 1, the part of a side that is left in between.

    Raises:
        InvalidInputError: `size` is not.
    """

    size: float

    def __post_init__(self) -> None:
        if not 0.0 < self.size < 1.0:
            raise InvalidInputError(
                f"The low-pass of given frames makes them smaller by a part of their sides above 0 and below 1, got "
                f"{self.size:g}. Usual is 0.4; 1 is off."
            )

    @property
    def reads(self) -> frozenset[Side]:
        """None."""
        return frozenset()

    def apply(self, inputs: DitInputs, text: TextOf) -> DitInputs:
        """Blurs them; where none are given, nothing changes."""
        if inputs.image_channels is None:
            return inputs
        return replace(inputs, image_channels=blurred(inputs.image_channels, self.size))


def blurred(channels: Tensor, size: float) -> Tensor:
    """Channels [B, C, T, h, w], each frame scaled to `size` of its sides and back, bilinear with antialiasing."""
    frames = channels.transpose(1, 2).flatten(0, 1).float()  # [B * T, C, h, w]
    sides = frames.shape[-2:]
    small = [max(1, round(side * size)) for side in sides]
    for target in (small, list(sides)):
        frames = F.interpolate(frames, size=target, mode="bilinear", align_corners=False, antialias=True)
    return frames.unflatten(0, (channels.shape[0], channels.shape[2])).transpose(1, 2).to(channels)


@record
class LowPass:
    """Another guidance whose questions see blurred frames, in some of the steps.

    What both prompts differ in comes from blurred frames, and what they have in common, if the negative one is asked,
    from the sharp ones: one pass more in such a step.

    Attributes:
        guided: the other guidance.
        frames: how far they are blurred.
        part: the steps in which they are.

    Source: Choi et al., "Enhancing Motion Dynamics of Image-to-Video Models via Adaptive Low-Pass Guidance", arXiv
    2506.08456; choi403/ALG pipeline_wan_image2video_lowpass.py and configs/wan_alg.yaml at commit f2a4205.
    """

    guided: Guidance
    frames: BlurredFrames
    part: Part

    def asks(self, level: NoiseLevel) -> tuple[Ask, ...]:
        """See `Guidance.asks`."""
        asks = self.guided.asks(level)
        if not self.part.holds(level):
            return asks
        blurred_asks = tuple(replace(ask, perturbations=(*ask.perturbations, self.frames)) for ask in asks)
        return (*blurred_asks, NEGATIVE) if NEGATIVE in asks else blurred_asks

    def velocity(self, answers: Sequence[Tensor], level: NoiseLevel, latent: Tensor, memory: Memory) -> Tensor:
        """See `Guidance.velocity`."""
        asks = self.guided.asks(level)
        guided = self.guided.velocity(answers[: len(asks)], level, latent, memory)
        if len(answers) == len(asks):
            return guided
        return guided + (answers[-1] - answers[asks.index(NEGATIVE)])


@record
class LowPassSettings:
    """From a scale to the guidance of `before` with blurred frames, see `LowPass`."""

    frames: BlurredFrames
    part: Part
    before: OfScale

    def __call__(self, scale: float) -> Guidance:
        """The guidance at a scale."""
        return LowPass(self.before(scale), self.frames, self.part)
