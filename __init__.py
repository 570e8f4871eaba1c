"""Wan Director: text and images to video with the open Wan models, in ComfyUI and headless."""

if not __package__:  # pytest imports the root of a package a second time, under the bare name `__init__`
    __package__ = "wan_director"

from .common import threads  # noqa: F401  (first: before anything imports torch)
from .nodes.api import HOSTED
from .nodes.decode import WanDirectorDecode
from .nodes.experts import WanDirectorExperts
from .nodes.image import (
    WanDirectorEmptyLatent,
    WanDirectorEncode,
    WanDirectorImageToVideo,
    WanDirectorKeyframe,
)
from .nodes.load_video import WanDirectorLoadVideo
from .nodes.loaders import (
    WanDirectorLoadClipVision,
    WanDirectorLoadModel,
    WanDirectorLoadTextEncoder,
    WanDirectorLoadVAE,
)
from .nodes.lora import WanDirectorLora
from .nodes.memory import WanDirectorMemory
from .nodes.sampler import WanDirectorSampler
from .nodes.text import WanDirectorClipVisionEncode, WanDirectorTextEncode
from .nodes.vace import WanDirectorVace
from .nodes.video import WanDirectorDecodeToVideo, WanDirectorSaveVideo

if HOSTED:
    from .nodes.comfy_host import register_bundled_models

    register_bundled_models()

NODE_CLASS_MAPPINGS = {
    "WanDirectorLoadModel": WanDirectorLoadModel,
    "WanDirectorLora": WanDirectorLora,
    "WanDirectorExperts": WanDirectorExperts,
    "WanDirectorLoadVAE": WanDirectorLoadVAE,
    "WanDirectorLoadTextEncoder": WanDirectorLoadTextEncoder,
    "WanDirectorLoadClipVision": WanDirectorLoadClipVision,
    "WanDirectorTextEncode": WanDirectorTextEncode,
    "WanDirectorClipVisionEncode": WanDirectorClipVisionEncode,
    "WanDirectorEmptyLatent": WanDirectorEmptyLatent,
    "WanDirectorImageToVideo": WanDirectorImageToVideo,
    "WanDirectorKeyframe": WanDirectorKeyframe,
    "WanDirectorVace": WanDirectorVace,
    "WanDirectorLoadVideo": WanDirectorLoadVideo,
    "WanDirectorEncode": WanDirectorEncode,
    "WanDirectorMemory": WanDirectorMemory,
    "WanDirectorSampler": WanDirectorSampler,
    "WanDirectorDecode": WanDirectorDecode,
    "WanDirectorSaveVideo": WanDirectorSaveVideo,
    "WanDirectorDecodeToVideo": WanDirectorDecodeToVideo,
}

NODE_DISPLAY_NAME_MAPPINGS = {
    "WanDirectorLoadModel": "Load Wan Model",
    "WanDirectorLora": "Wan LoRA",
    "WanDirectorExperts": "Wan Two Experts",
    "WanDirectorLoadVAE": "Load Wan VAE",
    "WanDirectorLoadTextEncoder": "Load Wan Text Encoder",
    "WanDirectorLoadClipVision": "Load Wan CLIP Vision",
    "WanDirectorTextEncode": "Wan Text Encode",
    "WanDirectorClipVisionEncode": "Wan CLIP Vision Encode",
    "WanDirectorEmptyLatent": "Wan Empty Latent",
    "WanDirectorImageToVideo": "Wan Image To Video",
    "WanDirectorKeyframe": "Wan Keyframe",
    "WanDirectorVace": "Wan VACE",
    "WanDirectorLoadVideo": "Wan Load Video",
    "WanDirectorEncode": "Wan Encode Video",
    "WanDirectorMemory": "Wan Memory",
    "WanDirectorSampler": "Wan Sampler",
    "WanDirectorDecode": "Wan Decode Video",
    "WanDirectorSaveVideo": "Wan Save Video",
    "WanDirectorDecodeToVideo": "Wan Decode To Video",
}

WEB_DIRECTORY = "./web"

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "WEB_DIRECTORY"]
