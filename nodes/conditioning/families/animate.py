"""What native nodes give Wan-Animate: poses, a face, and the reference picture's latent frame before the video.

`pose_video_latent` is the raw latent [1 or B, C, n, h, w] of drawn poses of the video's first n latent frames,
`face_video_pixels` are pictures [1 or B, 3, F, side, side] in -1..1; where the negative prompt has black ones, the
guidance is away from a still face. The reference picture is the first of the given frames (see `keyframes`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ....common.checking import is_finite, tensor_of
from ....common.errors import InvalidInputError, PairingError
from ....dit.branches.animate.face import FaceBranch
from ....dit.branches.animate.pose import REFERENCE_FRAMES, AnimatePoseBranch
from ....dit.branches.branch import Branch
from ....dit.conditioning.characters.animate import AnimatePoseVideo, FaceVideo
from ....dit.config import DiTConfig
from ....dit.inputs import ConditioningItem
from ...sockets.latents import reference_frames
from ...sockets.models import VAE_TAG, WanModel

POSES, FACE = "pose_video_latent", "face_video_pixels"
_KINDS: dict[str, type[Branch[DiTConfig]]] = {POSES: AnimatePoseBranch, FACE: FaceBranch}
_ADVICE = "Make it with Wan Animate."


def animate_keys(config: DiTConfig) -> frozenset[str]:
    """The values that a transformer reads because it is Wan-Animate."""
    return frozenset(key for key, kind in _KINDS.items() if config.branch(kind) is not None)


def animate_steering(config: DiTConfig, values: Mapping[str, Any]) -> dict[type[Branch[DiTConfig]], int | None]:
    """The values as what steers a model, see `check_inputs`; their sizes are left to `check_items`."""
    own = animate_keys(config)
    return {kind: None for key, kind in _KINDS.items() if key in own and values.get(key) is not None}


def animate_items(
    model: WanModel, values: dict[str, Any], latent: dict[str, Any], side: str
) -> tuple[ConditioningItem, ...]:
    """The poses and the face among the values of an entry, for a LATENT; none for another model.

    Raises:
        InvalidInputError: they are none.
        PairingError: what is given is a start image of a plain video.
    """
    own = animate_keys(model.spec.config)
    if own:
        _check_reference(model, values, latent, side)
    poses, face = (values.get(key) if key in own else None for key in (POSES, FACE))
    normalize, channels = model.spec.family.normalize, model.spec.family.latent_channels
    items: list[ConditioningItem] = []
    if poses is not None:
        seen = _checked(poses, f"The pose video of the {side} conditioning")
        items.append(AnimatePoseVideo(normalize(seen) if seen.shape[1] == channels else seen))
    if face is not None:
        items.append(FaceVideo(_checked(face, f"The face video of the {side} conditioning")))
    return tuple(items)


def _check_reference(model: WanModel, values: dict[str, Any], latent: dict[str, Any], side: str) -> None:
    """Refuses given frames of our nodes that begin with no reference picture: the first would be taken for one."""
    is_ours = VAE_TAG in values and values.get("concat_latent_image") is not None
    if is_ours and not reference_frames(latent) and all(values.get(key) is None for key in _KINDS):
        raise PairingError(
            f"{model.file} ({model.spec.title}) is a Wan-Animate model, and the {side} conditioning carries a start "
            "image, which it would take for the picture of a person that stands before the video. Connect Wan Animate "
            "in place of the node that gives it, or choose an image-to-video model such as "
            "wan2.1_i2v_480p_14B_bf16.safetensors."
        )


def animate_references(config: DiTConfig, values: Mapping[str, Any]) -> int:
    """Latent frames before the video that the values speak of."""
    return REFERENCE_FRAMES if animate_steering(config, values) else 0


def _checked(value: Any, name: str) -> Tensor:
    tensor = tensor_of(value, name, "numbers of 5 dimensions", _ADVICE)
    if tensor.ndim != 5 or 0 in tensor.shape or not is_finite(tensor):
        raise InvalidInputError(f"{name} must be finite numbers of 5 dimensions, got {list(tensor.shape)}. {_ADVICE}")
    return tensor.float()
