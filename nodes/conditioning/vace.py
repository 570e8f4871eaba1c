"""Control videos for VACE, as native conditioning values and for the model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...common.checking import is_finite, kind_of, tensor_of
from ...common.errors import InvalidInputError, PairingError
from ...dit.branches.branch import Branch
from ...dit.branches.vace import VaceBranch, check_control
from ...dit.conditioning.vace import VaceControl
from ...dit.config import DiTConfig
from ..sockets.latents import made_by
from ..sockets.models import WanModel

_ADVICE = "Connect the LATENT of the same Wan VACE, and give chained ones the same size and number of references."


def with_vace(vae: Any, conditioning: list, frames: Tensor, mask: Tensor, strength: float) -> list:
    """A native CONDITIONING with one more control video for VACE; see `entries` for the shapes."""
    added = {"vace_frames": frames, "vace_mask": mask, "vace_strength": strength}
    return [
        [embedding, {**entry, **made_by(vae), **{key: [*entry.get(key, []), value] for key, value in added.items()}}]
        for embedding, entry in conditioning
    ]


def vace_items(model: WanModel, values: dict[str, Any], samples: Tensor) -> tuple[VaceControl, ...]:
    """The control videos among the values of an entry, for a latent of the size of `samples` [B, C, T, h, w].

    Raises:
        PairingError: they were prepared for another size.
    """
    frames = control_frames(values)
    masks = _tensors(values.get("vace_mask"), "masks")
    strengths = values.get("vace_strength") or [1.0] * len(frames)
    if (masks and len(masks) != len(frames)) or len(strengths) != len(frames):
        raise PairingError(
            f"There are {len(frames)} control videos with {len(masks)} masks and {len(strengths)} strengths, where "
            "each has one. Make them with Wan VACE or WanVaceToVideo."
        )
    channels, size = model.spec.family.latent_channels, samples.shape[2:]
    branch = model.spec.config.branch(VaceBranch)
    if branch is None:
        return ()  # `check_inputs` has asked
    rest = branch.channels - 2 * channels
    items = []
    for index, control in enumerate(frames):
        check_control(control, samples, 2 * channels, _ADVICE)
        parts = [model.spec.family.normalize(part) for part in control.float().split(channels, dim=1)]
        mask = masks[index].float() if masks else control.new_ones(1, rest, *size, dtype=torch.float32)
        if mask.shape[1:] != (rest, *size) or len(mask) not in (1, len(control)):
            raise PairingError(
                f"The mask of a control video has the shape {list(mask.shape)}, expected is "
                f"{[len(control), rest, *size]}. Make both with the same node."
            )
        mask = mask.expand(len(control), -1, -1, -1, -1)
        items.append(VaceControl(torch.cat([*parts, mask], dim=1), float(strengths[index])))
    return tuple(items)


def control_width(values: dict[str, Any]) -> dict[type[Branch[DiTConfig]], int | None]:
    """The control videos among the values of an entry as what steers a model, see `check_inputs`; errors as below."""
    return {VaceBranch: None} if control_frames(values) else {}


def control_frames(values: dict[str, Any]) -> list[Tensor]:
    """The raw latents [1 or B, 32, T, h, w] of the control videos among the values of an entry.

    Raises:
        InvalidInputError: they are none.
    """
    return _tensors(values.get("vace_frames"), "frames")


def _tensors(values: Any, what: str) -> list[Tensor]:
    """A list of tensors [1 or B, C, T, h, w]; none for None."""
    advice = "Make it with Wan VACE or WanVaceToVideo."
    if values is not None and not isinstance(values, list | tuple):
        raise InvalidInputError(f"The {what} of control videos must be a list, got {kind_of(values)}. {advice}")
    for value in values or ():
        tensor = tensor_of(value, f"The {what} of a control video", "a latent of 5 dimensions", advice)
        if tensor.ndim != 5 or not is_finite(tensor):
            raise InvalidInputError(
                f"The {what} of a control video must be a latent of 5 dimensions and finite numbers, got "
                f"{list(tensor.shape)}. {advice}"
            )
    return list(values or ())
