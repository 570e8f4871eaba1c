"""What InfiniteTalk is given: the sounds of one or two people, where they are, and the frames before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ....common.checking import has_values
from ....common.empty_tensors import empty
from ....common.records import record
from ....common.shapes import TEMPORAL_STRIDE, video_frames
from ...branches.audio.talk import LAYERS, WINDOW, TalkBranch, TalkInput
from ...inputs import DitInputs
from ..cut import Cut

ENCODER_LAYERS = LAYERS + 1
"""Of wav2vec2 base: what enters the first layer, which is not heard, and what leaves each."""
Together = Literal["one after the other", "at the same time"]
TOGETHER: tuple[Together, ...] = ("one after the other", "at the same time")
"""How two sounds go together: the second begins where the first has ended, or both begin with the video."""
_BEFORE = WINDOW - TEMPORAL_STRIDE + 1
"""Video frames before the last one of a latent frame whose sound is heard with it; two are behind it."""


@record(eq=False)
class TalkScene:
    """A conditioning item: what one or two people say.

    Attributes:
        features: [1 or B, people, T, 8, 12, width] of `spoken_frames`.
        masks: [people, h, w], bool, where each of two is; None of one.
        scale: how much what is heard counts, 1 as trained.
        shown: [1 or B, C, n, h, w], normalised: the first latent frames of the video without noise, which the model
            sees in their places in every step.
        is_kept: whether the result has these, as that of a chunk has the frames of the one before; else what the model
            makes of them.
        begins: whether the first latent frame is the first one of the whole clip, a picture.
    """

    features: Tensor
    masks: Tensor | None = None
    scale: float = 1.0
    shown: Tensor | None = None
    is_kept: bool = False
    begins: bool = True

    @property
    def branch(self) -> type[TalkBranch]:
        """See `ConditioningItem.branch`."""
        return TalkBranch

    def apply(self, inputs: DitInputs) -> DitInputs:
        """Adds the sounds to what steers the model; the frames are shown by who samples, see `sampling.given`."""
        features = self.features.to(inputs.latent)
        return replace(inputs, steering=(*inputs.steering, TalkInput(features, self.masks, self.scale, self.begins)))

    def window(self, cut: Cut) -> TalkScene:
        """What is said in some of the latent's frames, by who of both is in a rectangle."""
        return replace(
            self,
            features=cut.of_times(self.features, dim=2),
            masks=None if self.masks is None else cut.of_picture(self.masks),
            shown=None,
            begins=self.begins and cut.start == 0,
        )

    def to(self, device: torch.device) -> TalkScene:
        """This item on a device."""
        masks, shown = (None if each is None else each.to(device) for each in (self.masks, self.shown))
        return replace(self, features=self.features.to(device), masks=masks, shown=shown)


def video_features(layers: Sequence[Tensor]) -> Tensor:
    """The features of a sound at 25 video frames a second.

    Args:
        layers: of the encoder, `ENCODER_LAYERS` times [1, steps, width], 50 steps a second.

    Returns:
        [frames, 12, width], float32.

    Source: ComfyUI v0.33.0 comfy_extras/nodes_wan.py, linear_interpolation.
    """
    frames, width = layers[0].shape[1] // 2, layers[0].shape[2]
    if not frames or not has_values(layers[0]):
        return empty(frames, LAYERS, width) if frames else torch.zeros(0, LAYERS, width)
    heard = torch.cat([layer.float() for layer in layers[1:]]).transpose(1, 2)  # [12, width, steps]
    return F.interpolate(heard, size=frames, mode="linear", align_corners=True).permute(2, 0, 1)


def joined_voices(voices: Sequence[Tensor], together: Together) -> Tensor:
    """The features of several sounds [frames, 12, width] as of one time: [people, frames, 12, width].

    Where somebody is silent, all of theirs are zero.

    Source: ComfyUI v0.33.0 comfy_extras/nodes_wan.py, multi_audio_type ("add", "para") of its node for InfiniteTalk.
    """
    if together == "at the same time":
        length = max(len(voice) for voice in voices)
        return torch.stack([F.pad(voice, (0, 0, 0, 0, 0, length - len(voice))) for voice in voices])
    length, start, joined = sum(len(voice) for voice in voices), 0, []
    for voice in voices:
        joined.append(F.pad(voice, (0, 0, 0, 0, start, length - start - len(voice))))
        start += len(voice)
    return torch.stack(joined)


def spoken_frames(voices: Tensor, latent_frames: int, first: int = 0) -> Tensor:
    """What is heard around each latent frame: its video frames' sound with that of two before and two behind.

    Behind the end of the sounds, their first frame stands, which is most often silent.

    Args:
        voices: [people, frames, 12, width], see `joined_voices`.
        latent_frames: of the chunk.
        first: the video frame that it begins with.

    Returns:
        [1, people, latent_frames, 8, 12, width]; of the first latent frame, which is one video frame, the last five
        of the eight count.

    Source: MeiGen-AI/MultiTalk wan/modules/multitalk_model.py; ComfyUI v0.33.0 comfy/ldm/wan/model_multitalk.py,
        get_audio_embeds and project_audio_features.
    """
    people, frames, *size = voices.shape
    if not has_values(voices):
        return empty(1, people, latent_frames, WINDOW, *size)
    last = max(frames, first + video_frames(latent_frames)) - 1
    around = torch.arange(WINDOW) - _BEFORE
    moments = first + TEMPORAL_STRIDE * torch.arange(latent_frames)[:, None] + around  # [T, 8]
    moments = moments.clamp(0, last)
    return voices[:, torch.where(moments < frames, moments, 0)][None]
