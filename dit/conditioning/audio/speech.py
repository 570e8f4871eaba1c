"""What Wan S2V is given: a sound, a picture of who speaks, poses, and the frames before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ....common.checking import has_values
from ....common.empty_tensors import empty
from ....common.records import record
from ...branches.audio.heard import FRAMES_PER_LATENT
from ...branches.audio.past import PastBranch, PastInput
from ...branches.audio.pose import SpeechPoseBranch, SpeechPoseInput
from ...branches.audio.speech import SpeechBranch, SpeechInput
from ...branches.audio.still import StillBranch, StillInput
from ...inputs import DitInputs
from ..cut import Cut

_ENCODED, _RATE, _VIDEO = 50, 30, 16
"""Steps a second of an encoder, of what is taken from it, and of the videos that the model was trained with."""


@record
class SpokenSound:
    """A conditioning item: what is said in the video.

    `features` [1 or B, layers, width, 4 T] of `speech_features`; those of the latent frames from `start` to `stop` are
    the video's, what lies before is heard at its beginning.
    """

    features: Tensor
    start: int
    stop: int

    @property
    def branch(self) -> type[SpeechBranch]:
        """See `ConditioningItem.branch`."""
        return SpeechBranch

    def apply(self, inputs: DitInputs) -> DitInputs:
        """Adds the sound to what steers the model."""
        sound = SpeechInput(self.features.to(inputs.latent), self.start, self.stop)
        return replace(inputs, steering=(*inputs.steering, sound))

    def window(self, cut: Cut) -> SpokenSound:
        """What is said in some of the latent's frames."""
        frames = cut.of_times(torch.arange(self.start, self.stop), dim=0)
        return replace(self, start=int(frames[0]), stop=int(frames[-1]) + 1)

    def to(self, device: torch.device) -> SpokenSound:
        """This item on a device."""
        return replace(self, features=self.features.to(device))


@record
class SpeakersPicture:
    """A conditioning item: who speaks, `latent` [1 or B, C, 1, h, w], normalised, of a picture of the video's size."""

    latent: Tensor

    @property
    def branch(self) -> type[StillBranch]:
        """See `ConditioningItem.branch`."""
        return StillBranch

    def apply(self, inputs: DitInputs) -> DitInputs:
        """Adds the picture to what steers the model."""
        picture = StillInput(self.latent.to(inputs.latent), inputs.latent.shape[2])
        return replace(inputs, steering=(*inputs.steering, picture))

    def window(self, cut: Cut) -> SpeakersPicture:
        """What of the picture goes with a rectangle of the clip; it is for all frames."""
        return SpeakersPicture(cut.of_picture(self.latent))

    def to(self, device: torch.device) -> SpeakersPicture:
        """This item on a device."""
        return SpeakersPicture(self.latent.to(device))


@record
class Poses:
    """A conditioning item: what the body does, `latent` [1 or B, C, T, h, w], normalised, of a pose video.

    None where it is left to the model, which then has to be told so.
    """

    latent: Tensor | None = None

    @property
    def branch(self) -> type[SpeechPoseBranch]:
        """See `ConditioningItem.branch`."""
        return SpeechPoseBranch

    def apply(self, inputs: DitInputs) -> DitInputs:
        """Adds the poses to what steers the model."""
        poses = SpeechPoseInput(None if self.latent is None else self.latent.to(inputs.latent))
        return replace(inputs, steering=(*inputs.steering, poses))

    def window(self, cut: Cut) -> Poses:
        """The poses in some of the latent's frames."""
        return self if self.latent is None else Poses(cut.of(self.latent))

    def to(self, device: torch.device) -> Poses:
        """This item on a device."""
        return self if self.latent is None else Poses(self.latent.to(device))


@record
class PastFrames:
    """A conditioning item: what came before the video, `latent` [1 or B, C, T, h, w], normalised; the last 19 count.

    `begins` is whether a part of the clip is its beginning: nothing is said of what came before other parts.
    """

    latent: Tensor
    begins: bool = True

    @property
    def branch(self) -> type[PastBranch]:
        """See `ConditioningItem.branch`."""
        return PastBranch

    def apply(self, inputs: DitInputs) -> DitInputs:
        """Adds the frames to what steers the model."""
        if not self.begins:
            return inputs
        return replace(inputs, steering=(*inputs.steering, PastInput(self.latent.to(inputs.latent))))

    def window(self, cut: Cut) -> PastFrames:
        """What of them goes with a part of the clip."""
        return PastFrames(cut.of_picture(self.latent), self.begins and cut.start == cut.references)

    def to(self, device: torch.device) -> PastFrames:
        """This item on a device."""
        return replace(self, latent=self.latent.to(device))


def speech_features(layers: Sequence[Tensor], latent_frames: int, first: int = 0) -> Tensor:
    """The features of a sound, as a part of a video is made with them.

    They are brought to 30 a second, and of these the nearest ones are taken at 16 frames a second. Where the sound has
    ended there are zeros.

    Args:
        layers: of every layer of the encoder [1, steps, width], 50 steps a second.
        latent_frames: of the part.
        first: the latent frame of the whole video that it begins with.

    Returns:
        [1, layers, width, 4 * latent_frames], float32. A latent frame is one of 4 frames, up to the one that a decoded
        video ends with there; the first ends with frame 0.

    Source: Wan-Video/Wan2.2 wan/modules/s2v/audio_encoder.py, linear_interpolation and get_audio_embed_bucket_fps;
        ComfyUI v0.33.0 comfy_extras/nodes_wan.py, wan_sound_to_video.
    """
    frames = FRAMES_PER_LATENT * latent_frames
    _, steps, width = layers[0].shape
    if not has_values(layers[0]):
        return empty(1, len(layers), width, frames)
    length = int(steps / float(_ENCODED) * _RATE)
    at = (torch.arange(frames, dtype=torch.float64) + FRAMES_PER_LATENT * first) * (_RATE / _VIDEO)
    taken = at.round().long()
    heard = int((taken < length).sum())
    result = torch.zeros(len(layers), width, frames)
    if heard:
        stacked = torch.cat(list(layers)).transpose(1, 2)  # [layers, width, steps]
        even = F.interpolate(stacked, size=length, mode="linear", align_corners=True)
        result[..., :heard] = even[..., taken[:heard]]
    return result[None]


def speech_latent_frames(steps: int) -> int:
    """Latent frames of a video that is as long as a sound of so many steps of its encoder."""
    return max(1, math.ceil(steps / _ENCODED * _VIDEO / FRAMES_PER_LATENT))
