"""A control video in the model's own channels (Wan Fun-Control), with what is given of the video to make."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ...common.records import record
from ..inputs import DitInputs
from .cut import Cut
from .start_image import KeyframeImages, beside


@record
class ControlVideo:
    """A conditioning item: the model follows a control video and keeps given frames.

    Attributes:
        latent: [1 or B, C, T, h, w], normalised latent of the control video; zeros where there is none.
        keyframes: the given frames; their latent is zero where nothing is given.

    Source: aigc-apps/VideoX-Fun videox_fun/pipeline/pipeline_wan2_2_fun_control.py; comfyanonymous/ComfyUI
        comfy/model_base.py, WAN21.concat_cond.
    """

    latent: Tensor
    keyframes: KeyframeImages

    @property
    def branch(self) -> None:
        """See `ConditioningItem.branch`."""
        return None

    def apply(self, inputs: DitInputs) -> DitInputs:
        """Fills `image_channels` with the control video, followed by the given frames."""
        return replace(inputs, image_channels=beside(inputs.latent, (self.latent, *self.keyframes.parts)))

    def window(self, cut: Cut) -> ControlVideo:
        """What of both goes with some of the latent's frames."""
        return ControlVideo(cut.of(self.latent), self.keyframes.window(cut))

    def to(self, device: torch.device) -> ControlVideo:
        """This item on a device."""
        return ControlVideo(self.latent.to(device), self.keyframes.to(device))
