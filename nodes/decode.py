"""The nodes that turn a latent into frames."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..common.checking import choice_of, has_values
from ..common.errors import PairingError
from ..common.memory.free_ram import require_ram
from ..engine.memory import MemorySettings
from .api import io, one_sentence
from .options.memory import memory_input, with_memory
from .sockets.latents import decodable

MEAN, RED = OPACITIES = ("mean", "red")
"""Of what the VAE for transparency makes: the mean of its colours, as Wan-Alpha's authors take, or its red."""


class WanDirectorDecode(io.ComfyNode):
    """Latent to frames."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorDecode",
            display_name="Wan Decode Video",
            category="Wan Director/latent",
            description="Decodes a latent into frames, one latent frame at a time, so that long videos take little "
            "memory.",
            search_aliases=["vae decode", "VAEDecode", "vae decode tiled", "latent to video", "wanvideo decode"],
            inputs=[
                io.Vae.Input("vae", tooltip="The VAE that belongs to the model."),
                io.Latent.Input("latent", tooltip="The finished latent."),
                memory_input("How much of the GPU to use, and how many strips."),
            ],
            outputs=[
                io.Image.Output(display_name="IMAGE", tooltip="The frames; the videos of a batch follow one another.")
            ],
        )

    @classmethod
    @one_sentence
    def execute(cls, vae: Any, latent: dict, memory: MemorySettings | None = None) -> Any:
        vae = with_memory(vae, memory)
        samples = decodable(vae, latent)
        frames = vae.decode(samples)  # [B, F, H, W, 3]
        return io.NodeOutput(frames.reshape(-1, *frames.shape[-3:]))


class WanDirectorDecodeRGBA(io.ComfyNode):
    """One latent to transparent frames, by two VAEs."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorDecodeRGBA",
            display_name="Wan Decode RGBA",
            category="Wan Director/latent",
            description="Decodes the latent of Wan-Alpha into frames with an alpha channel, by one VAE for the colours "
            "and another VAE for the transparency. Wan Save Video keeps it in webm, ProRes and png files.",
            search_aliases=["wan alpha", "transparent video", "JoinImageWithAlpha", "alpha channel", "rgba", "prores"],
            inputs=[
                io.Vae.Input("vae", tooltip="The VAE for the colours: wan_alpha_2.1_vae_rgb_channel."),
                io.Vae.Input("alpha_vae", tooltip="The VAE for the transparency: wan_alpha_2.1_vae_alpha_channel."),
                io.Latent.Input("latent", tooltip="The finished latent."),
                io.Combo.Input(
                    "opacity",
                    options=list(OPACITIES),
                    default=MEAN,
                    tooltip="What of the second VAE's pictures is the opacity. mean: the mean of their three colours, "
                    "as Wan-Alpha's authors take. red: the red alone, as ComfyUI's template takes.",
                ),
                memory_input("How much of the GPU to use, and how many strips."),
            ],
            outputs=[
                io.Image.Output(display_name="IMAGE", tooltip="The frames with four channels: colours and opacity."),
                io.Mask.Output(
                    display_name="MASK",
                    tooltip="1 where the frames are transparent and 0 where they are opaque, as Load Image gives it.",
                ),
            ],
        )

    @classmethod
    @one_sentence
    def execute(cls, vae: Any, alpha_vae: Any, latent: dict, opacity: str, memory: MemorySettings | None = None) -> Any:
        chosen = choice_of(opacity, OPACITIES, "opacity")
        vae, alpha_vae = with_memory(vae, memory), with_memory(alpha_vae, memory)
        samples = decodable(vae, latent)
        opaque = _opacity(alpha_vae.decode(decodable(alpha_vae, latent)), chosen)
        frames = _with_opacity(vae.decode(samples), opaque)
        return io.NodeOutput(frames.reshape(-1, *frames.shape[-3:]), 1 - opaque.reshape(-1, *opaque.shape[-2:]))


def _opacity(pictures: Tensor, of: str) -> Tensor:
    """Opacity [B, F, H, W] in 0..1 by what the second VAE gives, [B, F, H, W, 3].

    Source: WeChatCV/Wan-Alpha, render_video; ComfyUI's template video_wan2.1_alpha_t2v_14B.
    """
    if of == RED:
        return pictures[..., 0].clone()
    return pictures.mean(-1)


def _with_opacity(colours: Tensor, opacity: Tensor) -> Tensor:
    """[B, F, H, W, 3] and [B, F, H, W] as [B, F, H, W, 4]."""
    if colours.shape[:-1] != opacity.shape:
        sizes = [f"{shape[3]} x {shape[2]}" for shape in (colours.shape, opacity.shape)]
        raise PairingError(
            f"vae decodes pictures of {sizes[0]} pixels and alpha_vae of {sizes[1]}, which do not lie on each other. "
            "Connect the two VAEs of Wan-Alpha."
        )
    if has_values(colours):
        count, (height, width) = colours.shape[0] * colours.shape[1], opacity.shape[2:]
        what = f"The {count} frames of {width} x {height} pixels with their opacity"
        require_ram(colours.nbytes // 3 * 4, what, "Make a shorter or smaller video.")
    return torch.cat([colours, opacity.unsqueeze(-1)], -1)
