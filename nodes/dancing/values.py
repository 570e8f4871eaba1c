"""What native nodes give Wan-Dancer, inside a CONDITIONING and as features of music.

An AUDIO_ENCODER_OUTPUT of music has `audio_feature` [1, moments, 35], `fps` of the video and `audio_inject_scale`; a
CONDITIONING has the same as `audio_embed`, `fps` and `audio_inject_scale`, and `clip_vision_output_ref` of who dances.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...common.checking import is_finite, kind_of, tensor_of
from ...common.errors import InvalidInputError
from ...common.shapes import TEMPORAL_STRIDE
from ...dit.branches.audio.dance import MUSIC_FEATURES, DanceBranch
from ...dit.branches.branch import Branch
from ...dit.conditioning.audio.dance import DancedMusic
from ...dit.config import DiTConfig
from ...dit.inputs import ConditioningItem
from ..conditioning.clip_image import clip_features
from ..sockets.latents import made_by
from ..sockets.models import WanModel

MUSIC, RATE, STRENGTH, REFERENCE = "audio_embed", "fps", "audio_inject_scale", "clip_vision_output_ref"
DANCE_KEYS = frozenset({MUSIC, RATE, STRENGTH, REFERENCE})
"""The values that Wan-Dancer reads beside those of image to video."""
_ADVICE = "Make it with Wan Dance Music or WanDancerEncodeAudio."


class Music(NamedTuple):
    """Features of music [1 or B, moments, 35], frames a second of its video, and how strongly it is heard."""

    features: Tensor
    fps: float
    strength: float


def native_music(music: Music) -> dict[str, Any]:
    """As ComfyUI's nodes have it, an AUDIO_ENCODER_OUTPUT."""
    return {"audio_feature": music.features, "fps": music.fps, "audio_inject_scale": music.strength}


def music_of(output: Any, name: str) -> Music:
    """What came over a socket of the type AUDIO_ENCODER_OUTPUT as music.

    Raises:
        InvalidInputError: it is none.
    """
    if not isinstance(output, Mapping) or "audio_feature" not in output:
        got = "the features of speech" if isinstance(output, Mapping) else kind_of(output)
        raise InvalidInputError(f"{name} must be the features of music, got {got}. {_ADVICE}")
    return _music(output["audio_feature"], output.get("fps"), output.get("audio_inject_scale"), name)


def _music(features: Any, fps: Any, strength: Any, name: str) -> Music:
    features = tensor_of(features, name, f"numbers [1, moments, {MUSIC_FEATURES}]", _ADVICE)
    if features.ndim != 3 or features.shape[-1] != MUSIC_FEATURES or 0 in features.shape or not is_finite(features):
        raise InvalidInputError(
            f"{name} must be finite numbers [1, moments, {MUSIC_FEATURES}], got {list(features.shape)}. {_ADVICE}"
        )
    rate, heard = (30.0 if fps is None else fps), (1.0 if strength is None else strength)
    for value, what in ((rate, "rate"), (heard, "strength")):
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not is_number or value < 0 or (what == "rate" and not value):
            least = "above 0" if what == "rate" else "from 0 on"
            raise InvalidInputError(f"The {what} of {name} must be a number {least}, got {value!r}. {_ADVICE}")
    return Music(features.float(), float(rate), float(heard))


def dance_values(music: Music | None, start: Any, reference: Any) -> dict[str, Any]:
    """The conditioning values of music, and of CLIP features of the first frame and of who dances, if there are any."""
    heard = {} if music is None else {MUSIC: music.features, RATE: music.fps, STRENGTH: music.strength}
    seen = {"clip_vision_output": start, REFERENCE: reference}
    return heard | {key: value for key, value in seen.items() if value is not None}


def given_values(vae: Any, video: Tensor, mask: Tensor) -> dict[str, Any]:
    """The conditioning values of given frames [F, H, W, 3]; `mask`: see `latent_mask_of`."""
    return {"concat_latent_image": vae.encode(video), "concat_mask": mask} | made_by(vae)


def latent_mask_of(kept: Tensor, rows: int, columns: int) -> Tensor:
    """Which parts of frames are kept, as native nodes write it: [1, 4, T, rows, columns], 0 = kept.

    Args:
        kept: [F, H, W] of 1 + 4k frames, 1 = kept.

    Source: ComfyUI v0.33.0 comfy_extras/nodes_wandancer.py, WanDancerVideo.
    """
    small = F.interpolate(1 - kept[None], size=(rows, columns), mode="nearest-exact")
    first = small[:, :1].expand(-1, TEMPORAL_STRIDE, -1, -1)
    return torch.cat([first, small[:, 1:]], dim=1).unflatten(1, (-1, TEMPORAL_STRIDE)).transpose(1, 2)


def dance_keys(config: DiTConfig) -> frozenset[str]:
    """The values that a transformer reads if it is Wan-Dancer; none if it is not."""
    return DANCE_KEYS if config.branch(DanceBranch) is not None else frozenset()


def dance_steering(config: DiTConfig, values: Mapping[str, Any]) -> dict[type[Branch[DiTConfig]], int | None]:
    """The values as what steers Wan-Dancer, see `check_inputs`; their sizes are left to `check_items`."""
    return {DanceBranch: None} if dance_keys(config) and values.get(MUSIC) is not None else {}


def dance_items(model: WanModel, values: dict[str, Any], samples: Tensor, side: str) -> tuple[ConditioningItem, ...]:
    """What Wan-Dancer is given by the values of an entry; `samples`: of the latent to make, [B, C, T, h, w].

    Raises:
        InvalidInputError: a value is not what its key says.
    """
    if not dance_steering(model.spec.config, values):
        return ()
    music = _music(values[MUSIC], values.get(RATE), values.get(STRENGTH), f"The music of the {side} conditioning")
    seen, frames = clip_features(values, side, REFERENCE), samples.shape[2]
    picture = None if seen is None else seen.float()
    return (DancedMusic(music.features, music.fps, frames, 0, frames, music.strength, picture),)
