"""ComfyUI's node for Phantom: a video of subjects that pictures show."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .... import standin as io
from ....conditioning.families.subjects import with_blank_pictures, with_pictures
from ..wan_videos import blank, fitted, size_inputs


class WanPhantomSubjectToVideo(io.ComfyNode):
    """A video with pictures of subjects, and the negative prompt with blank ones."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanPhantomSubjectToVideo",
            category="model/conditioning/wan/phantom subject",
            inputs=[
                io.Conditioning.Input("positive"),
                io.Conditioning.Input("negative"),
                io.Vae.Input("vae"),
                *size_inputs(832, 480, 81),
                io.Image.Input("images", optional=True, tooltip="A picture of each subject."),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive"),
                io.Conditioning.Output(display_name="negative_text"),
                io.Conditioning.Output(display_name="negative_img_text"),
                io.Latent.Output(display_name="latent"),
            ],
        )

    @classmethod
    def execute(
        cls,
        positive: list,
        negative: list,
        vae: Any,
        width: int,
        height: int,
        length: int,
        batch_size: int,
        images: Tensor | None = None,
    ) -> Any:
        latent = blank(vae, width, height, length, batch_size)
        if images is None:
            return io.NodeOutput(positive, negative, negative, latent)
        shown = torch.cat([vae.encode(each[None]) for each in fitted(images[:length], width, height)], dim=2)
        sides = [with_pictures(vae, side, shown) for side in (positive, negative)]
        return io.NodeOutput(*sides, with_blank_pictures(vae, negative, shown), latent)
