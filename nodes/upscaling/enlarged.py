"""A clip in its new size, as a latent: enlarged and encoded a few frames at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...common.checking import has_values
from ...common.empty_tensors import empty
from ...common.memory.free_ram import require_ram
from ...common.shapes import PictureSize
from ...engine.enlarging import Bicubic, ByPictureModel, Enlarging
from ...engine.runtime import Runtime
from ...engine.vae import encode
from ..sockets.models import WanVAE
from .picture_model import picture_model


def enlarging_of(upscale_model: Any, size: PictureSize, runtime: Runtime) -> Enlarging:
    """What brings frames to a size: an UPSCALE_MODEL, or where that is None, arithmetic alone.

    Raises:
        InvalidInputError: it is no UPSCALE_MODEL.
    """
    if upscale_model is None:
        return Bicubic(size)
    return ByPictureModel(picture_model(upscale_model), size, runtime.check_interrupt)


def encoded(vae: Any, clip: Tensor, enlarging: Enlarging) -> Tensor:
    """The raw latent [1, C, T, h, w] of a clip [F, h, w, 3] in its new size; a native VAE is given all frames at once.

    Raises:
        OutOfMemory: the frames for a native VAE do not fit into RAM.
    """
    if isinstance(vae, WanVAE):
        return encode(vae.placed, clip[None], vae.memory, enlarging)
    shape = (len(clip), enlarging.size.height, enlarging.size.width, 3)
    if not has_values(clip):
        return vae.encode(empty(*shape))
    what = f"The {len(clip)} enlarged frames for the VAE of ComfyUI"
    require_ram(4 * shape[0] * shape[1] * shape[2] * shape[3], what, "Use Load Wan VAE, which takes a few at a time.")
    pictures = torch.empty(shape, dtype=torch.float32)
    for number, frame in enumerate(clip):
        pictures[number] = enlarging(frame.movedim(-1, 0)[None, :, None])[0, :, 0].movedim(0, -1)
    return vae.encode(pictures)
