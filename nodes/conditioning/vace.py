"""Control videos for VACE, as native conditioning values and for the model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...common.errors import PairingError
from ...dit.conditioning.vace import VaceControl
from ..models import WanModel
from ..sockets import made_by, size_text


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
    frames = values.get("vace_frames", ())
    masks, strengths = values.get("vace_mask"), values.get("vace_strength") or [1.0] * len(frames)
    channels = model.spec.family.latent_channels
    items = []
    for index, control in enumerate(frames):
        if control.shape[2:] != samples.shape[2:] or control.shape[1] != 2 * channels:
            raise PairingError(
                f"The control video was prepared for a latent of {size_text(control)}, but the latent to sample has "
                f"{size_text(samples)}. Connect the LATENT of the same Wan VACE, and give chained ones the same size "
                "and number of references."
            )
        parts = [model.spec.family.normalize(part) for part in control.float().split(channels, dim=1)]
        rest = model.spec.config.vace_channels - 2 * channels
        mask = masks[index] if masks else control.new_ones(1, rest, *control.shape[2:])
        items.append(VaceControl(torch.cat([*parts, mask.float()], dim=1), float(strengths[index])))
    return tuple(items)
