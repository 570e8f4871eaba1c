"""What native nodes give models of the Fun family: a reference picture and a camera's path.

`reference_latents` is a list with the raw latent [1 or B, C, 1, h, w] of a picture, `camera_conditions` has the rays of
a path [1 or B, 24, T, H, W] (see `dit.conditioning.camera`). `concat_mask_index` says where among the channels beside
the latent the mask stands; a model knows it by itself, so that it is only checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...common.checking import is_finite, kind_of, tensor_of
from ...common.errors import InvalidInputError
from ...dit.branches.branch import Branch
from ...dit.branches.camera import CameraBranch
from ...dit.branches.reference import ReferenceBranch
from ...dit.conditioning.camera import CameraPath
from ...dit.conditioning.reference import ReferencePicture
from ...dit.config import DiTConfig
from ...dit.inputs import ConditioningItem
from ..sockets.models import WanModel


def with_reference(conditioning: list, latent: Tensor) -> list:
    """A native CONDITIONING with the raw latent [1, C, 1, h, w] of one more reference picture in each entry."""
    return [
        [embedding, {**values, "reference_latents": [*values.get("reference_latents", ()), latent]}]
        for embedding, values in conditioning
    ]


def fun_keys(config: DiTConfig) -> frozenset[str]:
    """The values that a transformer reads because of its family."""
    keys = {
        "reference_latents": config.branch(ReferenceBranch) is not None,
        "camera_conditions": config.branch(CameraBranch) is not None,
        "concat_mask_index": bool(config.control_channels),
    }
    return frozenset(key for key, is_read in keys.items() if is_read)


def fun_steering(config: DiTConfig, values: Mapping[str, Any]) -> dict[type[Branch[DiTConfig]], int | None]:
    """The values as what steers a model, see `check_inputs`; their sizes are left to `check_items`."""
    kinds, own = {"reference_latents": ReferenceBranch, "camera_conditions": CameraBranch}, fun_keys(config)
    return {kind: None for key, kind in kinds.items() if key in own and values.get(key) is not None}


def fun_items(model: WanModel, values: dict[str, Any], side: str) -> tuple[ConditioningItem, ...]:
    """The reference picture and the camera's path among the values of an entry.

    Raises:
        InvalidInputError: they are none.
    """
    own = fun_keys(model.spec.config)
    references, rays = (values.get(key) if key in own else None for key in ("reference_latents", "camera_conditions"))
    items: list[ConditioningItem] = []
    if references is not None:
        name, advice = f"The reference picture of the {side} conditioning", "Make it with Wan Fun Control."
        if not isinstance(references, list | tuple):
            raise InvalidInputError(f"{name} must be a list of latents, got {kind_of(references)}. {advice}")
        normalize = model.spec.family.normalize
        items += [ReferencePicture(normalize(_checked(each, name, advice).float())) for each in references]
    if rays is not None:
        name, advice = f"The camera's path of the {side} conditioning", "Make it with Wan Camera Path."
        items.append(CameraPath(_checked(rays, name, advice).float()))
    return tuple(items)


def _checked(value: Any, name: str, advice: str) -> Tensor:
    tensor = tensor_of(value, name, "numbers of 5 dimensions", advice)
    if tensor.ndim != 5 or 0 in tensor.shape or not is_finite(tensor):
        raise InvalidInputError(f"{name} must be finite numbers of 5 dimensions, got {list(tensor.shape)}. {advice}")
    return tensor
