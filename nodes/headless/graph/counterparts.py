"""Which of our nodes does the work of another's: ComfyUI's own and those of the packs that Wan workflows use most."""

from __future__ import annotations

_BY_OURS = {
    "Load Wan Model": (
        "UNETLoader", "UnetLoaderGGUF", "UnetLoaderGGUFAdvanced", "UnetLoaderGGUFDisTorchMultiGPU",
        "UNETLoaderMultiGPU", "DiffusionModelLoaderKJ", "WanVideoModelLoader",
    ),
    "Load Wan Model (vace_module)": ("WanVideoVACEModelSelect", "WanVideoExtraModelSelect"),
    "Load Wan Text Encoder": (
        "CLIPLoader", "CLIPLoaderGGUF", "CLIPLoaderMultiGPU", "LoadWanVideoT5TextEncoder",
    ),
    "Load Wan VAE": ("VAELoader", "VAELoaderMultiGPU", "VAELoaderKJ", "WanVideoVAELoader"),
    "Load Wan CLIP Vision": ("CLIPVisionLoader", "LoadWanVideoClipTextEncoder"),
    "Wan LoRA": (
        "LoraLoader", "LoraLoaderModelOnly", "Power Lora Loader (rgthree)", "WanVideoLoraSelect",
        "WanVideoLoraSelectMulti", "WanVideoLoraSelectByName", "WanVideoSetLoRAs",
    ),
    "Wan Text Encode": (
        "CLIPTextEncode", "WanVideoTextEncode", "WanVideoTextEncodeCached", "WanVideoTextEncodeSingle",
    ),
    "Wan CLIP Vision Encode": ("CLIPVisionEncode", "WanVideoClipVisionEncode"),
    "Wan Empty Latent": ("EmptyHunyuanLatentVideo", "EmptyLatentImage", "WanVideoEmptyEmbeds"),
    "Wan Image To Video": (
        "WanImageToVideo", "WanFirstLastFrameToVideo", "WanFunInpaintToVideo", "Wan22ImageToVideoLatent",
        "WanVideoImageToVideoEncode", "WanVideoImageClipEncode",
    ),
    "Wan VACE": ("WanVaceToVideo", "WanVideoVACEEncode", "WanVideoVACEStartToEndFrame"),
    "Wan Encode Video": ("VAEEncode", "VAEEncodeTiled", "WanVideoEncode"),
    "Wan Memory": (
        "WanVideoBlockSwap", "WanVideoSetBlockSwap", "WanVideoVRAMManagement", "wanBlockSwap",
    ),
    "the shift of Wan Sampler": ("ModelSamplingSD3",),
    "Wan Sampler": ("KSampler", "SamplerCustom", "SamplerCustomAdvanced", "WanVideoSampler", "WanVideoSamplerv2"),
    "Wan Two Experts and one Wan Sampler": ("KSamplerAdvanced", "WanMoeKSampler", "WanMoeKSamplerAdvanced"),
    "Wan Decode Video": ("VAEDecode", "VAEDecodeTiled", "WanVideoDecode"),
    "Wan Save Video": (
        "SaveVideo", "CreateVideo", "VHS_VideoCombine", "SaveAnimatedWEBP", "SaveAnimatedPNG", "SaveWEBM", "SaveImage",
    ),
    "Load Video": ("VHS_LoadVideo", "VHS_LoadVideoPath", "VHS_LoadVideoFFmpeg"),
}  # fmt: skip
COUNTERPARTS = {theirs: ours for ours, each in _BY_OURS.items() for theirs in each}
"""Class of another's node -> the title of ours, or what else takes its place."""
