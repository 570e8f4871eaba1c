"""What ComfyUI's nodes for Wan videos have in common: their sizes, and how pictures and latents come to them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .....common.log import logger
from .....common.shapes import check_bounds, video_frames
from .... import standin as io
from ....sockets.latents import check_video_size, family_of, tagged_latent
from ..scaling import MAX_SIDE, scaled

MOST_VIDEOS = 4096


def video_schema(name: str, inputs: list[Any], *more: Any, folder: str = "") -> Any:
    return io.Schema(
        node_id=name,
        category=f"model/conditioning/wan{folder}",
        inputs=[
            io.Conditioning.Input("positive"),
            io.Conditioning.Input("negative"),
            io.Vae.Input("vae"),
            *size_inputs(832, 480, 81),
            *inputs,
        ],
        outputs=[
            io.Conditioning.Output(display_name="positive"),
            io.Conditioning.Output(display_name="negative"),
            io.Latent.Output(display_name="latent"),
            *more,
        ],
    )


def size_inputs(width: int, height: int, length: int, step: int = 16) -> list[Any]:
    return [
        io.Int.Input("width", default=width, min=step, max=MAX_SIDE, step=step),
        io.Int.Input("height", default=height, min=step, max=MAX_SIDE, step=step),
        io.Int.Input("length", default=length, min=1, max=MAX_SIDE, step=4, tooltip="Frames: 1 + 4k."),
        io.Int.Input("batch_size", default=1, min=1, max=MOST_VIDEOS),
    ]


def latent_frames_of(length: int) -> int:
    """Of a video of so many frames; one of another length than 1 + 4k gets fewer, as in ComfyUI."""
    frames = (length - 1) // 4 + 1
    if video_frames(frames) != length:
        logger.warning("A video has 1 + 4k frames: with length %d it gets %d.", length, video_frames(frames))
    return frames


def blank_video(vae: Any, width: int, height: int, length: int, batch_size: int, *, more: int = 0) -> dict[str, Any]:
    """A native LATENT of zeros, with `more` latent frames of references before the video."""
    check_video_size(width, height, None, family_of(vae))
    check_bounds(width, height, length, batch_size)
    stride = vae.spacial_compression_encode()
    shape = (batch_size, vae.latent_channels, more + latent_frames_of(length), height // stride, width // stride)
    return tagged_latent(torch.zeros(shape), vae)


def fitted(pictures: Tensor, width: int, height: int) -> Tensor:
    """Pictures [F, H, W, C] as [F, height, width, 3], float32."""
    return scaled(pictures[..., :3].float(), width, height, "bilinear", "center")
