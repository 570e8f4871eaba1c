"""Poses for Wan-Animate-2, as native conditioning values.

`pose_video_latent` (raw latent [1 or B, C, T, h, w], a frame less than the latent to sample has), `cross_attn_pose` (a
text embedding), `clip_vision_output_pose`, `pose_strength` and `reference_strength`. What native nodes have no value
for is in `wan_director_pose`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from ....common.checking import is_finite, tensor_of
from ....common.errors import InvalidInputError
from ....dit.attention import resolve_pattern
from ....dit.branches.pose import PoseBranch, check_pattern
from ....dit.conditioning.characters.pose import WEAK_BLOCK, PoseVideo
from ....dit.config import DiTConfig
from ...sockets.models import WanModel
from ..clip_image import clip_features
from ..keys import OWN
from ..reading import text_of

LATENT, TEXT, PICTURE = "pose_video_latent", "cross_attn_pose", "clip_vision_output_pose"
STRENGTH, REFERENCE = "pose_strength", "reference_strength"
POSE_KEYS = frozenset({LATENT, TEXT, PICTURE, STRENGTH, REFERENCE})
OPTIONS_KEY = f"{OWN}pose"
MOST_STRENGTH = 10.0
_ADVICE = "Make it with Wan Animate 2 or WanAnimate2ToVideo."


class PoseOptions(NamedTuple):
    """What native nodes have no value for.

    `first_frame_bias`: see `PoseVideo`. `is_weak`: whether the side leaves out the block that the original code does.
    """

    first_frame_bias: float = 0.0
    is_weak: bool = False


def pose_keys(config: DiTConfig) -> frozenset[str]:
    """The values that a transformer reads because it is Wan-Animate-2."""
    return POSE_KEYS if config.branch(PoseBranch) is not None else frozenset()


def pictures_before(config: DiTConfig, references: int) -> int:
    """How many latent frames stand before the video, where a LATENT says `references`: native ones say nothing."""
    return max(references, 1) if config.branch(PoseBranch) is not None else references


def pose_items(model: WanModel, values: dict[str, Any], side: Any) -> tuple[PoseVideo, ...]:
    """The poses among the values of an entry, and how strongly they are followed; nothing where all is usual.

    Raises:
        InvalidInputError: a value cannot be, or attention is sparse.
    """
    config = model.spec.config
    if config.branch(PoseBranch) is None:
        return ()
    options = values.get(OPTIONS_KEY) or PoseOptions()
    strengths = _number(values, STRENGTH, side), _number(values, REFERENCE, side)
    if values.get(LATENT) is None and strengths[1] == 1.0 and options == PoseOptions():
        return ()
    latent, text = values.get(LATENT), values.get(TEXT)
    if latent is not None:
        check_pattern(resolve_pattern(model.recipe.attention))
        name = f"The pose video of the {side} conditioning"
        latent = model.spec.family.normalize(_checked(latent, name, 5, "a latent").float())
    if text is not None:
        text = text_of(model, _checked(text, f"The text of the poses of the {side} conditioning", 3, "a text"), side)
    features = clip_features(values, side, PICTURE)
    if features is None:
        features = clip_features(values, side)
    if features is not None:
        features = features[:1]  # of a whole pose video its first picture, as in ComfyUI
    left_out = _weak_block(config) if options.is_weak else frozenset[int]()
    bias = float(options.first_frame_bias)
    item = PoseVideo(latent, text, None if features is None else features.float(), *strengths, bias, left_out)
    return (item,)


def _weak_block(config: DiTConfig) -> frozenset[int]:
    if config.layers <= WEAK_BLOCK + 1:
        raise InvalidInputError(
            f"weak_negative leaves block {WEAK_BLOCK} out of negative passes, and the model has blocks 0 to "
            f"{config.layers - 1}. Switch it off."
        )
    return frozenset({WEAK_BLOCK})


def _number(values: dict[str, Any], key: str, side: str) -> float:
    value = values.get(key, 1.0)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0.0 <= value <= MOST_STRENGTH:
        raise InvalidInputError(
            f"'{key}' of the {side} conditioning must be a number from 0 to {MOST_STRENGTH:g}, got {value!r}. 1 is as "
            "trained."
        )
    return float(value)


def _checked(value: Any, name: str, dimensions: int, what: str) -> Tensor:
    tensor = tensor_of(value, name, f"{what} of {dimensions} dimensions", _ADVICE)
    if tensor.ndim != dimensions or 0 in tensor.shape or not is_finite(tensor):
        raise InvalidInputError(
            f"{name} must be {what} of {dimensions} dimensions and finite numbers, got {list(tensor.shape)}. {_ADVICE}"
        )
    return tensor
