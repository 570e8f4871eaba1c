"""Every node of the pack, as ComfyUI reads them."""

from .decode import WanDirectorDecode
from .experts import WanDirectorExperts
from .image import (
    WanDirectorEmptyLatent,
    WanDirectorEncode,
    WanDirectorImageToVideo,
    WanDirectorKeyframe,
)
from .loaders import (
    WanDirectorLoadClipVision,
    WanDirectorLoadModel,
    WanDirectorLoadTextEncoder,
    WanDirectorLoadVAE,
)
from .lora import WanDirectorLora
from .memory import WanDirectorMemory
from .sampler import WanDirectorSampler
from .text import WanDirectorClipVisionEncode, WanDirectorTextEncode
from .vace import WanDirectorVace
from .video import WanDirectorDecodeToVideo, WanDirectorSaveVideo

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
    "WanDirectorEncode": "Wan Encode Video",
    "WanDirectorMemory": "Wan Memory",
    "WanDirectorSampler": "Wan Sampler",
    "WanDirectorDecode": "Wan Decode Video",
    "WanDirectorSaveVideo": "Wan Save Video",
    "WanDirectorDecodeToVideo": "Wan Decode To Video",
}
