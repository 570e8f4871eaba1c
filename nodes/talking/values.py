"""What native nodes give Wan S2V, inside a CONDITIONING.

`audio_embed` has the features of a sound [1 or B, layers, width, 4 T] (see `dit.conditioning.audio.speech`),
`reference_latents` a list with the raw latent [1 or B, C, 1, h, w] of who speaks, `control_video` the raw latent
[1 or B, C, T, h, w] of poses, and `reference_motion` that of the frames before, of which the last 19 count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from ...common.checking import has_values, is_finite, kind_of, tensor_of
from ...common.errors import InvalidInputError
from ...dit.branches.audio.heard import FRAMES_PER_LATENT
from ...dit.branches.audio.past import PastBranch
from ...dit.branches.audio.pose import SpeechPoseBranch
from ...dit.branches.audio.speech import SpeechBranch
from ...dit.branches.audio.still import StillBranch
from ...dit.branches.branch import Branch
from ...dit.conditioning.audio.speech import PastFrames, Poses, SpeakersPicture, SpokenSound
from ...dit.config import DiTConfig
from ...dit.inputs import ConditioningItem
from ..sockets.models import WanModel

_KINDS: dict[str, type[Branch[DiTConfig]]] = {
    "control_video": SpeechPoseBranch,
    "audio_embed": SpeechBranch,
    "reference_latents": StillBranch,
    "reference_motion": PastBranch,
}
SPEECH_KEYS = frozenset(_KINDS)
"""The values that a speech-to-video model reads."""
_ADVICE = "Make it with Wan Speech To Video."


def speech_steering(values: Mapping[str, Any]) -> dict[type[Branch[DiTConfig]], int | None]:
    """The values as what steers a model, see `check_inputs`; their sizes are left to `check_items`."""
    return {kind: None for key, kind in _KINDS.items() if values.get(key) is not None}


def speech_items(model: WanModel, values: dict[str, Any], samples: Tensor, side: str) -> tuple[ConditioningItem, ...]:
    """What a speech-to-video model is given by the values of an entry.

    Args:
        samples: of the latent to make, [B, C, T, h, w].

    Raises:
        InvalidInputError: a value is not what its key says.
    """
    normalize, frames, items = model.spec.family.normalize, samples.shape[2], []
    if values.get("control_video") is not None:
        items.append(_poses(normalize(_latent(values["control_video"], f"The pose video of the {side} conditioning"))))
    if values.get("audio_embed") is not None:
        features = _numbers(values["audio_embed"], f"The sound of the {side} conditioning", 4)
        missing = max(0, FRAMES_PER_LATENT * frames - features.shape[-1])
        items.append(SpokenSound(F.pad(features, (0, missing))[..., : FRAMES_PER_LATENT * frames], 0, frames))
    pictures = values.get("reference_latents")
    if pictures is not None:
        name = f"The picture of who speaks in the {side} conditioning"
        if not isinstance(pictures, list | tuple) or not pictures:
            raise InvalidInputError(f"{name} must be a list of latents, got {kind_of(pictures)}. {_ADVICE}")
        items.append(SpeakersPicture(normalize(_latent(pictures[-1], name))))
    if values.get("reference_motion") is not None:
        name = f"The frames before in the {side} conditioning"
        items.append(PastFrames(normalize(_latent(values["reference_motion"], name))))
    return tuple(items)


def _poses(latent: Tensor) -> Poses:
    """None where native nodes write the latent that is zero for the model, which is the same and takes less."""
    is_nothing = has_values(latent) and bool((latent.abs() < 1e-5).all())
    return Poses(None if is_nothing else latent)


def _latent(value: Any, name: str) -> Tensor:
    return _numbers(value, name, 5)


def _numbers(value: Any, name: str, dimensions: int) -> Tensor:
    tensor = tensor_of(value, name, f"numbers of {dimensions} dimensions", _ADVICE)
    if tensor.ndim != dimensions or 0 in tensor.shape or not is_finite(tensor):
        raise InvalidInputError(
            f"{name} must be finite numbers of {dimensions} dimensions, got {list(tensor.shape)}. {_ADVICE}"
        )
    return tensor.float()
