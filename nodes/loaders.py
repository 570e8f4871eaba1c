"""The nodes that load the four models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..common.checking import instance_of
from ..dit.attention import ATTENTION
from ..engine.recipe import ModelRecipe
from ..model_loading.kinds import (
    CLIP_VISION,
    DIT,
    INFINITETALK_MODULE,
    SPEED_MODULE,
    TEXT_ENCODER,
    UNI3C_MODULE,
    VACE_MODULE,
    VAE,
)
from ..model_loading.outline import outline
from ..model_loading.precision import precision_named
from ..sampling.validation import find_choice
from .api import ADVANCED, answer, io, one_sentence
from .files.model_files import ModuleFile, check_model, check_video_model, find_model, fingerprint
from .hosts.host import host
from .sockets.models import clip_vision, text_encoder, video_autoencoder, video_model

CATEGORY = "Wan Director/loaders"
PRECISIONS = ["auto", "bf16", "fp16", "fp32"]
PRECISION_TIP = (
    "Number format of the weights. auto keeps the file's (and avoids fp16 on a CPU, where it is very slow). "
    "bf16 and fp16 halve the memory of fp32."
)
NETWORK_PRECISIONS = [*PRECISIONS, "fp8_e4m3fn", "fp8_e5m2", "fp8_scaled", "fp8_compute"]
NETWORK_PRECISION_TIP = (
    f"{PRECISION_TIP} The fp8 ones cast the big matrices while loading, halving the memory again: fp8_scaled is the "
    "closest to the original; fp8_compute also multiplies in fp8, faster on recent GPUs (RTX 40 and later, H100) at "
    "some loss; fp8_e4m3fn and fp8_e5m2 have no scales. Quantised files stay as they are with auto."
)
ATTENTION_TIP = (
    "auto and sdpa are exact and need nothing. flash, flash3 and xformers are exact, sage, sage3 and comfy_kitchen "
    "approximate; each needs its package and a GPU. sliding_tile and radial need nothing and leave out what is far "
    "away: less to compute where a video is large or long, but another video."
)
WanModelType = io.Custom("WAN_DIRECTOR_MODEL")
WanModuleType = io.Custom("WAN_DIRECTOR_MODULE")
NO_MODULE = "none"
RESIDUALS = ["auto", "fp32"]


def _module_socket() -> Any:
    """The socket module."""
    return WanModuleType.Input(
        "module",
        optional=True,
        tooltip="A part of a model in a file of its own that goes onto this one: from Load Wan Uni3C or Load Wan "
        "InfiniteTalk.",
    )


def _speed_widget() -> Any:
    """Behind the others, as it came later."""
    return io.Combo.Input(
        "speed_module",
        options=[NO_MODULE, *host().model_files("diffusion_models")],
        default=NO_MODULE,
        optional=True,
        tooltip="A speed-control module in a file of its own, such as that for Wan 2.1 T2V 1.3B: the "
        "motion_bucket of Wan Motion then says how much the video moves.",
        **ADVANCED,
    )


class WanDirectorLoadModel(io.ComfyNode):
    """Loads the video transformer."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorLoadModel",
            display_name="Load Wan Model",
            category=CATEGORY,
            description="Loads a Wan video model (the transformer). What it is, text or image to video and its size, "
            "is read from the file itself. The 'tiny demo' file is bundled and needs no download.",
            search_aliases=[
                "wan",
                "unet loader",
                "UNETLoader",
                "diffusion model",
                "load diffusion model",
                "load checkpoint",
                "gguf",
                "wanvideo model loader",
            ],
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=host().model_files("diffusion_models"),
                    tooltip="A file in models/diffusion_models: safetensors (official, ComfyUI or diffusers names), "
                    "GGUF or .pth.",
                ),
                io.Combo.Input("precision", options=NETWORK_PRECISIONS, default="auto", tooltip=NETWORK_PRECISION_TIP),
                io.Combo.Input(
                    "attention",
                    options=list(ATTENTION),
                    default="auto",
                    tooltip=f"The attention kernel. {ATTENTION_TIP}",
                    **ADVANCED,
                ),
                io.Combo.Input(
                    "vace_module",
                    options=[NO_MODULE, *host().model_files("diffusion_models")],
                    default=NO_MODULE,
                    optional=True,
                    tooltip="A VACE module in a file of its own, for a text-to-video model, which Wan VACE then works "
                    "with. Models that are called VACE need none.",
                    **ADVANCED,
                ),
                io.Combo.Input(
                    "residual",
                    options=RESIDUALS,
                    default="auto",
                    optional=True,
                    tooltip="What the blocks add to: auto keeps it in the precision of the model, fp32 in float32 as "
                    "the official code does. That brings bf16 and fp16 nearer to fp32, for memory of one more token "
                    "buffer (0.8 GB for 14B at 1280 x 720, 81 frames) and a little time. No effect at fp32.",
                    **ADVANCED,
                ),
                _speed_widget(),
                _module_socket(),
            ],
            outputs=[WanModelType.Output(display_name="model", tooltip="The video model, for the Wan Sampler.")],
        )

    @classmethod
    def validate_inputs(
        cls,
        model_name: str | None = None,
        vace_module: str | None = NO_MODULE,
        speed_module: str | None = NO_MODULE,
    ) -> bool:
        # Raised, not answered: ComfyUI shows an answer once for each of the widgets, an exception only once.
        modules = {VACE_MODULE: vace_module, SPEED_MODULE: speed_module}
        wanted = [(kind, name) for kind, name in modules.items() if name not in (None, NO_MODULE)]
        one_sentence(check_video_model)(model_name, wanted)
        return True

    @classmethod
    def fingerprint_inputs(
        cls, model_name: str, vace_module: str = NO_MODULE, speed_module: str = NO_MODULE, **_: Any
    ) -> str:
        names = [model_name, *(name for name in (vace_module, speed_module) if name != NO_MODULE)]
        return " ".join(fingerprint("diffusion_models", name) for name in names)

    @classmethod
    @one_sentence
    def execute(
        cls,
        model_name: str,
        precision: str,
        attention: str,
        vace_module: str = NO_MODULE,
        residual: str = "auto",
        speed_module: str = NO_MODULE,
        module: ModuleFile | None = None,
    ) -> Any:
        path = find_model("diffusion_models", model_name)
        vace, speed = (
            None if name == NO_MODULE else find_model("diffusion_models", name) for name in (vace_module, speed_module)
        )
        find_choice(dict.fromkeys(RESIDUALS), residual, "residual")
        more = _of_wire(path, module)
        recipe = ModelRecipe(
            path,
            "dit",
            precision_named(precision),
            attention=attention,
            fp32_residual=residual == "fp32",
            vace_module=vace,
            speed_module=speed,
            **more,
        )
        return io.NodeOutput(video_model(recipe, host().runtime))


def _of_wire(path: Path, module: Any) -> dict[str, Any]:
    """What came over the socket for a module, as the recipe has it, checked against the model by both headers.

    Raises:
        InvalidInputError: it is none.
        MissingFileError, CheckpointError, PairingError: see `outline`.
    """
    if module is None:
        return {}
    instance_of(module, ModuleFile, "module", "the module of Load Wan Uni3C or of Load Wan InfiniteTalk")
    outline(path, DIT, modules=[(module.kind.name, module.path)])
    return {module.kind.name: module.path}


class WanDirectorLoadVAE(io.ComfyNode):
    """Loads the video autoencoder."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorLoadVAE",
            display_name="Load Wan VAE",
            category=CATEGORY,
            description="Loads the Wan video VAE, which turns frames into latents and back. Wan 2.1 and the 14B models "
            "of Wan 2.2 use wan_2.1_vae, TI2V-5B uses wan2.2_vae; the tiny demo model has its own.",
            search_aliases=["vae loader", "VAELoader", "load vae", "wanvideo vae loader"],
            inputs=[
                io.Combo.Input(
                    "vae_name", options=host().model_files("vae"), tooltip="A file in models/vae that holds a Wan VAE."
                ),
                io.Combo.Input("precision", options=PRECISIONS, default="auto", tooltip=PRECISION_TIP),
            ],
            outputs=[io.Vae.Output(display_name="VAE", tooltip="The VAE; ComfyUI's own VAE nodes take it too.")],
        )

    @classmethod
    def validate_inputs(cls, vae_name: str | None = None) -> bool | str:
        return answer(check_model, VAE, vae_name)

    @classmethod
    def fingerprint_inputs(cls, vae_name: str, **_: Any) -> str:
        return fingerprint("vae", vae_name)

    @classmethod
    @one_sentence
    def execute(cls, vae_name: str, precision: str) -> Any:
        recipe = ModelRecipe(find_model("vae", vae_name), "vae", precision_named(precision))
        return io.NodeOutput(video_autoencoder(recipe, host().runtime))


class WanDirectorLoadTextEncoder(io.ComfyNode):
    """Loads the UMT5 text encoder with its tokenizer."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorLoadTextEncoder",
            display_name="Load Wan Text Encoder",
            category=CATEGORY,
            description="Loads the UMT5 text encoder of the Wan models, with the tokenizer that is inside the file or "
            "beside it. The tiny demo model has its own text encoder.",
            search_aliases=["clip loader", "CLIPLoader", "load clip", "umt5", "t5", "wanvideo t5 loader"],
            inputs=[
                io.Combo.Input(
                    "text_encoder_name",
                    options=host().model_files("text_encoders"),
                    tooltip="A file in models/text_encoders that holds a UMT5 encoder.",
                ),
                io.Combo.Input("precision", options=NETWORK_PRECISIONS, default="auto", tooltip=NETWORK_PRECISION_TIP),
                io.Combo.Input(
                    "device",
                    options=["auto", "cpu", "gpu"],
                    default="auto",
                    tooltip="Where prompts are encoded. cpu leaves the GPU's memory to the video model and takes some "
                    "seconds per prompt; auto lets ComfyUI decide.",
                ),
            ],
            outputs=[io.Clip.Output(display_name="CLIP", tooltip="The text encoder; CLIP Text Encode takes it too.")],
        )

    @classmethod
    def validate_inputs(cls, text_encoder_name: str | None = None) -> bool | str:
        return answer(check_model, TEXT_ENCODER, text_encoder_name)

    @classmethod
    def fingerprint_inputs(cls, text_encoder_name: str, **_: Any) -> str:
        return fingerprint("text_encoders", text_encoder_name)

    @classmethod
    @one_sentence
    def execute(cls, text_encoder_name: str, precision: str, device: str) -> Any:
        path = find_model("text_encoders", text_encoder_name)
        recipe = ModelRecipe(path, "text_encoder", precision_named(precision), device)
        return io.NodeOutput(text_encoder(recipe, host().runtime))


class WanDirectorLoadClipVision(io.ComfyNode):
    """Loads the CLIP vision encoder of the Wan 2.1 image-to-video models."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorLoadClipVision",
            display_name="Load Wan CLIP Vision",
            category=CATEGORY,
            description="Loads the picture encoder (CLIP ViT-H) that the Wan 2.1 image-to-video models also look "
            "through. Wan 2.2 needs none.",
            search_aliases=["clip vision loader", "CLIPVisionLoader", "load clip vision", "wanvideo clip vision"],
            inputs=[
                io.Combo.Input(
                    "clip_vision_name",
                    options=host().model_files("clip_vision"),
                    tooltip="A file in models/clip_vision, usually clip_vision_h.safetensors.",
                ),
            ],
            outputs=[
                io.ClipVision.Output(
                    display_name="CLIP_VISION", tooltip="The encoder; CLIP Vision Encode takes it too."
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, clip_vision_name: str | None = None) -> bool | str:
        return answer(check_model, CLIP_VISION, clip_vision_name)

    @classmethod
    def fingerprint_inputs(cls, clip_vision_name: str) -> str:
        return fingerprint("clip_vision", clip_vision_name)

    @classmethod
    @one_sentence
    def execute(cls, clip_vision_name: str) -> Any:
        recipe = ModelRecipe(find_model("clip_vision", clip_vision_name), "clip_vision")
        return io.NodeOutput(clip_vision(recipe, host().runtime))


class WanDirectorLoadUni3C(io.ComfyNode):
    """The control net, for Load Wan Model."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorLoadUni3C",
            display_name="Load Wan Uni3C",
            category="Wan Director/loaders",
            description="Chooses the Uni3C control net, which Load Wan Model puts onto a 14B model. Wan Uni3C then "
            "gives the video that it follows.",
            search_aliases=["uni3c", "ModelPatchLoader", "model patch", "load controlnet", "load wan uni3c"],
            inputs=[
                io.Combo.Input(
                    "uni3c_name",
                    options=host().model_files(UNI3C_MODULE.folder_name),
                    tooltip="A file in models/model_patches that holds Uni3C for Wan, such as "
                    "Wan21_Uni3C_controlnet_fp16.",
                )
            ],
            outputs=[WanModuleType.Output(display_name="module", tooltip="The control net, for Load Wan Model.")],
        )

    @classmethod
    def validate_inputs(cls, uni3c_name: str | None = None) -> bool | str:
        return answer(check_model, UNI3C_MODULE, uni3c_name)

    @classmethod
    def fingerprint_inputs(cls, uni3c_name: str) -> str:
        return fingerprint(UNI3C_MODULE.folder_name, uni3c_name)

    @classmethod
    @one_sentence
    def execute(cls, uni3c_name: str) -> Any:
        find_model(UNI3C_MODULE.folder_name, uni3c_name)
        return io.NodeOutput(ModuleFile(UNI3C_MODULE, uni3c_name))


class WanDirectorLoadInfiniteTalk(io.ComfyNode):
    """The layers that hear who speaks, for Load Wan Model."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorLoadInfiniteTalk",
            display_name="Load Wan InfiniteTalk",
            category="Wan Director/loaders",
            description="Chooses the layers of InfiniteTalk or MultiTalk, which Load Wan Model puts onto a 14B model "
            "of image to video. Wan InfiniteTalk then gives what is said.",
            search_aliases=[
                "infinitetalk", "multitalk", "ModelPatchLoader", "model patch", "load infinitetalk",
                "multi/infinitetalk model loader",
            ],
            inputs=[
                io.Combo.Input(
                    "infinitetalk_name",
                    options=host().model_files(INFINITETALK_MODULE.folder_name),
                    tooltip="A file in models/model_patches that holds InfiniteTalk: wan2.1_infiniteTalk_single_fp16 "
                    "for one person, wan2.1_infiniteTalk_multi_fp16 for two.",
                )
            ],
            outputs=[WanModuleType.Output(display_name="module", tooltip="The layers, for Load Wan Model.")],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, infinitetalk_name: str | None = None) -> bool | str:
        return answer(check_model, INFINITETALK_MODULE, infinitetalk_name)

    @classmethod
    def fingerprint_inputs(cls, infinitetalk_name: str) -> str:
        return fingerprint(INFINITETALK_MODULE.folder_name, infinitetalk_name)

    @classmethod
    @one_sentence
    def execute(cls, infinitetalk_name: str) -> Any:
        find_model(INFINITETALK_MODULE.folder_name, infinitetalk_name)
        return io.NodeOutput(ModuleFile(INFINITETALK_MODULE, infinitetalk_name))
