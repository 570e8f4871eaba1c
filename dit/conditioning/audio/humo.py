"""What HuMo is given: a sound, and a picture of who is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ....common.checking import has_values
from ....common.empty_tensors import empty
from ....common.records import record
from ...branches.audio.humo import GROUPS, MASK_CHANNELS, WINDOW, HumoBranch, HumoInput
from ...inputs import DitInputs
from ..cut import Cut

ENCODER_LAYERS = 33
"""Of whisper large: what enters each layer and what leaves the last one."""
_OF_GROUP = 8
SAMPLES_PER_MOMENT = 640
"""Of a sound of 16,000 a second, 25 moments a second."""
_AROUND = 2
"""Moments before and behind those of a latent frame that are heard with it."""

# The normalised latent of a black video, as the model was trained: of its first frame, the second, and all others.
_BLACK = (
    (0.8660, -0.4326, -0.0017, -0.4884, -0.5283, 0.9207, -0.9896, 0.4433,
     -0.5543, -0.0113, 0.5753, -0.6000, -0.8346, -0.3497, -0.1926, -0.6938),
    (1.0869, -1.2370, 0.0206, -0.4357, -0.6411, 2.0307, -1.5972, 1.2659,
     -0.8595, -0.4654, 0.9638, -1.6330, -1.4310, -0.1098, -0.3856, -1.4583),
    (0.8642, -1.8583, 0.1577, 0.1350, -0.3641, 2.5863, -1.9670, 1.6065,
     -1.0475, -0.8678, 1.1734, -1.8138, -1.5933, -0.7721, -0.3289, -1.3745),
)  # fmt: skip


@record
class HumoScene:
    """A conditioning item: what is heard, and who is seen.

    `features` [1 or B, T, moments, groups, width] of `moment_features`; `picture` [1 or B, C, 1, h, w], normalised, or
    None; `has_mask` as that of the model's branch; `first`: the latent frame of the whole video that it begins with.
    """

    features: Tensor
    picture: Tensor | None = None
    has_mask: bool = True
    first: int = 0

    @property
    def branch(self) -> type[HumoBranch]:
        """See `ConditioningItem.branch`."""
        return HumoBranch

    def apply(self, inputs: DitInputs) -> DitInputs:
        """Adds both to what steers the model, and what stands beside the latent where no frame is given."""
        latent = inputs.latent
        picture = None if self.picture is None else self.picture.to(latent)
        steering = (*inputs.steering, HumoInput(self.features.to(latent), picture))
        channels = nothing_given(latent, self.first) if self.has_mask else inputs.image_channels
        return replace(inputs, steering=steering, image_channels=channels)

    def window(self, cut: Cut) -> HumoScene:
        """What is heard in some of the latent's frames, with the picture, which is for all."""
        picture = None if self.picture is None else cut.of_picture(self.picture)
        first = self.first + cut.start
        return replace(self, features=cut.of_times(self.features, dim=1), picture=picture, first=first)

    def to(self, device: torch.device) -> HumoScene:
        """This item on a device."""
        picture = None if self.picture is None else self.picture.to(device)
        return replace(self, features=self.features.to(device), picture=picture)


def nothing_given(latent: Tensor, first: int = 0) -> Tensor:
    """What the channels beside a latent [B, C, T, h, w] hold where none of its frames is given: [B, 20, T, h, w].

    `first`: the latent frame of the whole video that it begins with.

    Source: ComfyUI v0.33.0 comfy/model_base.py, WAN21_HuMo.extra_conds.
    """
    batch, _, frames, height, width = latent.shape
    kinds = torch.arange(first, first + frames).clamp(max=len(_BLACK) - 1)
    black = torch.tensor(_BLACK)[kinds].T.to(latent)[None, :, :, None, None]  # [1, C, T, 1, 1]
    mask = latent.new_zeros(batch, MASK_CHANNELS, frames, height, width)
    return torch.cat([mask, black.expand(batch, -1, -1, height, width)], dim=1)


def moment_features(layers: Sequence[Tensor], samples: int, latent_frames: int) -> Tensor:
    """The features of a sound, as HuMo hears it.

    The encoder's layers are averaged in groups and brought to 25 moments a second, of which those around each latent
    frame are taken; where the sound has ended, and before it begins, there are zeros.

    Args:
        layers: of the encoder, `ENCODER_LAYERS` times [1, steps, width], 50 steps a second.
        samples: of the sound, 16,000 a second; what the encoder makes of silence behind it does not count.
        latent_frames: of the video.

    Returns:
        [1, latent_frames, 8, 5, width], float32.

    Source: Phantom-video/HuMo humo/models/audio/audio_proj.py and humo/generate.py (get_audio_emb_window); ComfyUI
        v0.33.0 comfy_extras/nodes_wan.py, WanHuMoImageToVideo.
    """
    width = layers[0].shape[-1]
    if not has_values(layers[0]):
        return empty(1, latent_frames, WINDOW, GROUPS, width)
    stacked = torch.cat([layer[:, : samples // SAMPLES_PER_MOMENT * 2] for layer in layers])  # [layers, steps, width]
    groups = [each.mean(dim=0) for each in stacked.split(_OF_GROUP)]
    moments = stacked.shape[1] // 2
    needed = 1 + 4 * (latent_frames - 1) + _AROUND
    heard = torch.zeros(needed, GROUPS, width)
    if moments:
        even = F.interpolate(torch.stack(groups).transpose(1, 2), size=moments, mode="linear", align_corners=True)
        heard[:moments] = even.permute(2, 0, 1)[:needed]
    # The first latent frame is one video frame: three of its moments are never heard, and two lie before the sound.
    padded = F.pad(heard, (0, 0, 0, 0, WINDOW - 1 - _AROUND, 0))
    return padded.unfold(0, WINDOW, 4).permute(0, 3, 1, 2)[None].contiguous()
