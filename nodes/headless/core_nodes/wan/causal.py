"""ComfyUI's nodes for causal models: the latent, and the picture that it begins with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .....common.shapes import check_bounds
from .... import standin as io
from ....sockets.latents import begun_latent
from ....sockets.native_model import NativeModel, native_model
from ..dynamic_inputs import Model
from ..wan_videos import blank, fitted, latent_frames_of

LONGEST, WIDEST, MOST_AT_ONCE = 1024, 8192, 64


def _size_inputs() -> list[Any]:
    sides = (("width", 832), ("height", 480))
    return [
        *(io.Int.Input(name, default=side, min=16, max=WIDEST, step=16) for name, side in sides),
        io.Int.Input("length", default=81, min=1, max=LONGEST, step=4, tooltip="Frames: 1 + 4k."),
        io.Int.Input("batch_size", default=1, min=1, max=MOST_AT_ONCE),
    ]


class EmptyARVideoLatent(io.ComfyNode):
    """The blank latent of a causal model."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="EmptyARVideoLatent",
            category="model/latent/autoregressive",
            inputs=_size_inputs(),
            outputs=[io.Latent.Output(display_name="LATENT")],
        )

    @classmethod
    def execute(cls, width: int, height: int, length: int, batch_size: int) -> Any:
        check_bounds(width, height, length, batch_size)
        shape = (batch_size, 16, latent_frames_of(length), height // 8, width // 8)
        return io.NodeOutput({"samples": torch.zeros(shape)})


class ARVideoI2V(io.ComfyNode):
    """A causal model begins with a picture."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="ARVideoI2V",
            category="model/conditioning/autoregressive",
            inputs=[
                Model.Input("model"),
                io.Vae.Input("vae"),
                io.Image.Input("start_image", tooltip="The first frame."),
                *_size_inputs(),
            ],
            outputs=[io.Model.Output(display_name="MODEL"), io.Latent.Output(display_name="LATENT")],
        )

    @classmethod
    def execute(
        cls,
        model: NativeModel,
        vae: Any,
        start_image: Tensor,
        width: int,
        height: int,
        length: int,
        batch_size: int,
    ) -> Any:
        picture = fitted(start_image[:1], width, height)
        latent = begun_latent(blank(vae, width, height, length, batch_size), vae.encode(picture))
        return io.NodeOutput(native_model(model), latent)
