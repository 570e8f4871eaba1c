"""ComfyUI's node for Uni3C on a model. The rendered video is cut in the middle and resized without antialiasing."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ......common.errors import InvalidInputError
from ......common.records import record
from ......dit.conditioning.rendered import MOST_STRENGTH, RenderedVideo, as_long, check_following
from ......model_loading.kinds import UNI3C_MODULE
from ..... import standin as io
from .....files.model_files import ModuleFile
from .....sockets.latents import family_of
from .....sockets.native_model import NativeModel, native_model
from ...dynamic_inputs import Model
from ...wan_videos import fitted
from .loader import ModelPatch, patched


class WanUni3CControlnetApply(io.ComfyNode):
    """A model that follows a rendered video."""

    @classmethod
    def define_schema(cls) -> Any:
        part = {"min": 0.0, "max": 1.0, "step": 0.001}
        return io.Schema(
            node_id="WanUni3CControlnetApply",
            display_name="Apply Wan Uni3C ControlNet",
            category="model/patch/wan",
            inputs=[
                Model.Input("model"),
                ModelPatch.Input("model_patch", tooltip="Uni3C, from ModelPatchLoader."),
                io.Vae.Input("vae"),
                io.Image.Input("render_video", tooltip="The video to follow, rendered along a camera's path."),
                io.Float.Input("strength", default=1.0, min=-MOST_STRENGTH, max=MOST_STRENGTH, step=0.01),
                io.Float.Input("start_percent", default=0.0, **part),
                io.Float.Input("end_percent", default=1.0, **part),
            ],
            outputs=[Model.Output()],
        )

    @classmethod
    def execute(
        cls,
        model: NativeModel,
        model_patch: ModuleFile,
        vae: Any,
        render_video: Tensor,
        strength: float,
        start_percent: float,
        end_percent: float,
    ) -> Any:
        native = native_model(model)
        check_following(strength, start_percent, end_percent)
        if any(isinstance(each, ShownRender) for each in native.follows):
            raise InvalidInputError(
                "The model follows a rendered video already, and Uni3C follows one. Remove one of the two nodes."
            )
        render = ShownRender(vae, render_video[..., :3], strength, start_percent, end_percent)
        return io.NodeOutput(patched(native, model_patch, UNI3C_MODULE).following(render))


@record(eq=False)
class ShownRender:
    """A rendered video [F, H, W, 3] before it is known which latent it comes to; see `RenderedVideo`."""

    does = "follows a rendered video by WanUni3CControlnetApply"
    instead = "Put Wan Uni3C between the prompts and Wan Sampler, with Load Wan Uni3C at Load Wan Model."

    vae: Any
    video: Tensor
    strength: float
    start: float
    end: float

    def item(self, samples: Tensor) -> RenderedVideo:
        """It for a latent [B, C, T, h, w]."""
        stride = family_of(self.vae).spatial_stride
        height, width = (side * stride for side in samples.shape[-2:])
        clip = as_long(self.video, samples.shape[2])
        latent = family_of(self.vae).normalize(self.vae.encode(fitted(clip, width, height)).float())
        return RenderedVideo(latent, float(self.strength), start=float(self.start), end=float(self.end))
