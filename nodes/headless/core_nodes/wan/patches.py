"""ComfyUI's nodes for parts of a model in files of their own: their loader, and Uni3C on a model.

The rendered video is cut in the middle and resized without antialiasing, as ComfyUI does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from .....common.checking import instance_of
from .....common.errors import InvalidInputError
from .....dit.conditioning.rendered import MOST_STRENGTH, RenderedVideo, as_long, check_following
from .....engine.models import with_policies
from .....model_loading.kinds import DIT, UNI3C_MODULE
from .....model_loading.outline import outline
from .... import standin as io
from ....api import answer
from ....files.model_files import ModuleFile, check_model, find_model
from ....hosts.host import host
from ....sockets.latents import family_of
from ....sockets.models import video_model
from ....sockets.native_model import NativeModel, native_model
from ..dynamic_inputs import Model
from ..wan_videos import fitted

ModelPatch = io.Custom("MODEL_PATCH")


class ModelPatchLoader(io.ComfyNode):
    """A part of a model in a file of its own; of Wan, Uni3C."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="ModelPatchLoader",
            category="model/loaders",
            inputs=[io.String.Input("name", tooltip="A file in models/model_patches.")],
            outputs=[ModelPatch.Output()],
        )

    @classmethod
    def validate_inputs(cls, name: str | None = None) -> bool | str:
        return answer(check_model, UNI3C_MODULE, name)

    @classmethod
    def execute(cls, name: str) -> Any:
        find_model(UNI3C_MODULE.folder_name, name)
        return io.NodeOutput(ModuleFile(UNI3C_MODULE, name))


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
        instance_of(model_patch, ModuleFile, "model_patch", "the part of ModelPatchLoader")
        check_following(strength, start_percent, end_percent)
        if native.follows:
            raise InvalidInputError(
                "The model follows a rendered video already, and Uni3C follows one. Remove one of the two nodes."
            )
        recipe = replace(native.model.recipe, uni3c_module=model_patch.path)
        outline(recipe.path, DIT, modules=[("uni3c_module", model_patch.path)])
        loaded = video_model(recipe, host().runtime)
        with_module = with_policies(loaded, lambda _: native.model.policies)
        render = ShownRender(vae, render_video[..., :3], strength, start_percent, end_percent)
        return io.NodeOutput(replace(native, model=with_module, follows=(render,)))


@dataclass(frozen=True, slots=True, eq=False)
class ShownRender:
    """A rendered video [F, H, W, 3] before it is known which latent it comes to; see `RenderedVideo`."""

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
