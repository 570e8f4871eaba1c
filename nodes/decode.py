"""The node that turns a latent into frames."""

from __future__ import annotations

from typing import Any

from ..engine.memory import MemorySettings
from .api import io, one_sentence
from .options.memory import memory_input, with_memory
from .sockets.latents import decodable


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
