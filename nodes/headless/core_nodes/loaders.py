"""ComfyUI's loaders of models and LoRAs, with the recipes of ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ....common.errors import InvalidInputError
from ....common.log import logger
from ....engine.models import with_lora
from ....engine.recipe import LoraRecipe, ModelRecipe
from ....model_loading.kinds import CLIP_VISION, TEXT_ENCODER, VAE
from ....model_loading.lora import check_lora
from ....model_loading.precision import Precision
from ... import standin as io
from ...api import answer
from ...files.model_files import check_model, check_video_model, find_lora, find_model
from ...hosts.host import host
from ...sockets.models import clip_vision, text_encoder, video_autoencoder, video_model
from ...sockets.native_model import NativeModel, as_native, native_model
from .dynamic_inputs import Model

MAX_STRENGTH = 100.0
_WEIGHT_TYPES: dict[str, Precision] = {
    "default": "auto", "fp8_e4m3fn": "fp8_e4m3fn", "fp8_e4m3fn_fast": "fp8_compute", "fp8_e5m2": "fp8_e5m2",
}  # fmt: skip
"""ComfyUI's choice -> our precision."""
_DEVICES = {"default": "auto", "cpu": "cpu"}
_CLIP_TYPES = [
    "stable_diffusion", "stable_cascade", "sd3", "stable_audio", "mochi", "ltxv", "pixart", "cosmos", "lumina2", "wan",
    "hidream", "chroma", "ace", "omnigen2", "qwen_image", "hunyuan_image", "flux2", "ovis", "longcat_image",
    "cogvideox", "lens", "pixeldit", "ideogram4", "boogu", "krea2", "joyimage", "mage", "minimax",
]  # fmt: skip


class UNETLoader(io.ComfyNode):
    """A video transformer."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="UNETLoader",
            display_name="Load Diffusion Model",
            category="model/loaders",
            inputs=[
                io.String.Input("unet_name", tooltip="A file in models/diffusion_models."),
                io.Combo.Input(
                    "weight_dtype",
                    options=list(_WEIGHT_TYPES),
                    advanced=True,
                    tooltip="How the weights are kept: default as in the file; fp8_e4m3fn_fast also multiplies in fp8.",
                ),
            ],
            outputs=[Model.Output()],
        )

    @classmethod
    def validate_inputs(cls, unet_name: str | None = None) -> bool | str:
        return answer(check_video_model, unet_name, ())

    @classmethod
    def execute(cls, unet_name: str, weight_dtype: str) -> Any:
        recipe = ModelRecipe(find_model("diffusion_models", unet_name), precision=_WEIGHT_TYPES[weight_dtype])
        return io.NodeOutput(as_native(video_model(recipe, host().runtime)))


class UnetLoaderGGUF(io.ComfyNode):
    """A video transformer in GGUF, the loader of ComfyUI-GGUF."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="UnetLoaderGGUF",
            display_name="Unet Loader (GGUF)",
            category="bootleg",
            inputs=[io.String.Input("unet_name", tooltip="A GGUF file in models/diffusion_models.")],
            outputs=[Model.Output()],
        )

    @classmethod
    def validate_inputs(cls, unet_name: str | None = None) -> bool | str:
        return answer(check_video_model, unet_name, ())

    @classmethod
    def execute(cls, unet_name: str) -> Any:
        return UNETLoader.execute(unet_name, "default")


class CLIPLoader(io.ComfyNode):
    """The text encoder of the Wan models."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="CLIPLoader",
            display_name="Load CLIP",
            category="model/loaders",
            inputs=[
                io.String.Input("clip_name", tooltip="A file in models/text_encoders."),
                io.Combo.Input("type", options=_CLIP_TYPES, tooltip="wan; other kinds of models do not run here."),
                io.Combo.Input(
                    "device",
                    options=list(_DEVICES),
                    optional=True,
                    advanced=True,
                    tooltip="cpu encodes prompts there, which leaves the GPU's memory to the video model.",
                ),
            ],
            outputs=[io.Clip.Output()],
        )

    @classmethod
    def validate_inputs(cls, clip_name: str | None = None, type: str | None = None) -> bool | str:
        return answer(_check_text_encoder, clip_name, type)

    @classmethod
    def execute(cls, clip_name: str, type: str, device: str = "default") -> Any:
        _check_type(type)
        recipe = ModelRecipe(find_model("text_encoders", clip_name), "text_encoder", device=_DEVICES[device])
        return io.NodeOutput(text_encoder(recipe, host().runtime))


class CLIPLoaderGGUF(io.ComfyNode):
    """The text encoder of the Wan models in GGUF, the loader of ComfyUI-GGUF."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="CLIPLoaderGGUF",
            display_name="CLIPLoader (GGUF)",
            category="bootleg",
            inputs=[
                io.String.Input("clip_name", tooltip="A GGUF or safetensors file in models/text_encoders."),
                io.Combo.Input("type", options=_CLIP_TYPES, tooltip="wan; other kinds of models do not run here."),
            ],
            outputs=[io.Clip.Output()],
        )

    @classmethod
    def validate_inputs(cls, clip_name: str | None = None, type: str | None = None) -> bool | str:
        return answer(_check_text_encoder, clip_name, type)

    @classmethod
    def execute(cls, clip_name: str, type: str) -> Any:
        return CLIPLoader.execute(clip_name, type)


class VAELoader(io.ComfyNode):
    """A video autoencoder."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="VAELoader",
            display_name="Load VAE",
            category="model/loaders",
            inputs=[io.String.Input("vae_name", tooltip="A file in models/vae.")],
            outputs=[io.Vae.Output()],
        )

    @classmethod
    def validate_inputs(cls, vae_name: str | None = None) -> bool | str:
        return answer(check_model, VAE, vae_name)

    @classmethod
    def execute(cls, vae_name: str) -> Any:
        return io.NodeOutput(video_autoencoder(ModelRecipe(find_model("vae", vae_name), "vae"), host().runtime))


class CLIPVisionLoader(io.ComfyNode):
    """The picture encoder of the Wan 2.1 image-to-video models."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="CLIPVisionLoader",
            display_name="Load CLIP Vision",
            category="model/loaders",
            inputs=[io.String.Input("clip_name", tooltip="A file in models/clip_vision.")],
            outputs=[io.ClipVision.Output()],
        )

    @classmethod
    def validate_inputs(cls, clip_name: str | None = None) -> bool | str:
        return answer(check_model, CLIP_VISION, clip_name)

    @classmethod
    def execute(cls, clip_name: str) -> Any:
        recipe = ModelRecipe(find_model("clip_vision", clip_name), "clip_vision")
        return io.NodeOutput(clip_vision(recipe, host().runtime))


class LoraLoaderModelOnly(io.ComfyNode):
    """A LoRA on a video model."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="LoraLoaderModelOnly",
            display_name="Load LoRA",
            category="model/loaders",
            inputs=[Model.Input("model"), _lora_name(), _strength("strength_model")],
            outputs=[Model.Output()],
        )

    @classmethod
    def validate_inputs(cls, lora_name: str | None = None) -> bool | str:
        return answer(_check_lora, lora_name)

    @classmethod
    def execute(cls, model: NativeModel, lora_name: str, strength_model: float) -> Any:
        return io.NodeOutput(_with_lora(model, lora_name, strength_model))


class LoraLoader(io.ComfyNode):
    """A LoRA on a video model; the text encoder comes out as it went in."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="LoraLoader",
            display_name="Load LoRA (Model and CLIP)",
            category="model/loaders",
            inputs=[
                Model.Input("model"),
                io.Clip.Input("clip"),
                _lora_name(),
                _strength("strength_model"),
                _strength("strength_clip"),
            ],
            outputs=[Model.Output(), io.Clip.Output()],
        )

    @classmethod
    def validate_inputs(cls, lora_name: str | None = None) -> bool | str:
        return answer(_check_lora, lora_name)

    @classmethod
    def execute(cls, model: NativeModel, clip: Any, lora_name: str, strength_model: float, strength_clip: float) -> Any:
        if strength_clip:
            logger.info(
                "%s goes onto the video model alone: strength_clip %g has no effect, as no text encoder of Wan takes a "
                "LoRA here.", Path(lora_name).name, strength_clip,
            )  # fmt: skip
        return io.NodeOutput(_with_lora(model, lora_name, strength_model), clip)


def _lora_name() -> Any:
    return io.String.Input("lora_name", tooltip="A file in models/loras.")


def _strength(name: str) -> Any:
    return io.Float.Input(name, default=1.0, min=-MAX_STRENGTH, max=MAX_STRENGTH, step=0.01)


def _with_lora(model: NativeModel, name: str, strength: float) -> NativeModel:
    """The model with a LoRA; at strength 0 the model as it is, as there."""
    model = native_model(model)
    if strength == 0:
        return model
    return replace(model, model=with_lora(model.model, LoraRecipe(find_lora(name), strength)))


def _check_lora(name: str | None) -> None:
    if name is not None:
        check_lora(find_lora(name))


def _check_text_encoder(name: str | None, kind: str | None) -> None:
    if kind is not None:
        _check_type(kind)
    check_model(TEXT_ENCODER, name)


def _check_type(kind: str) -> None:
    if kind != "wan":
        raise InvalidInputError(
            f"The type '{kind}' is that of another kind of model, and only Wan's text encoder runs here. Choose the "
            "type wan."
        )
