"""Which of our nodes does the work of another that does not run here: of ComfyUI, or of a pack that people use."""

from __future__ import annotations

_BY_OURS = {
    "Load Wan Model": (
        "UnetLoaderGGUFAdvanced", "UnetLoaderGGUFDisTorchMultiGPU",
        "UNETLoaderMultiGPU", "DiffusionModelLoaderKJ", "WanVideoModelLoader",
    ),
    "Load Wan Model (vace_module)": ("WanVideoVACEModelSelect", "WanVideoExtraModelSelect"),
    "Load Wan Text Encoder": ("CLIPLoaderMultiGPU", "LoadWanVideoT5TextEncoder"),
    "Load Wan VAE": ("VAELoaderMultiGPU", "VAELoaderKJ", "WanVideoVAELoader"),
    "Load Wan CLIP Vision": ("LoadWanVideoClipTextEncoder",),
    "Wan LoRA": (
        "Power Lora Loader (rgthree)", "WanVideoLoraSelect",
        "WanVideoLoraSelectMulti", "WanVideoLoraSelectByName", "WanVideoSetLoRAs",
    ),
    "Wan Text Encode": ("WanVideoTextEncode", "WanVideoTextEncodeCached", "WanVideoTextEncodeSingle"),
    "Wan CLIP Vision Encode": ("WanVideoClipVisionEncode",),
    "Wan Empty Latent": ("EmptyLatentImage", "WanVideoEmptyEmbeds"),
    "Wan Image To Video": ("WanVideoImageToVideoEncode", "WanVideoImageClipEncode"),
    "Wan Fit Size": ("WanVideoImageResizeToClosest",),
    "Wan SVI Conditioning": ("WanVideoSVIProEmbeds",),
    "Wan Join Clips": ("ImageBatchExtendWithOverlap", "CrossFadeImages"),
    "Wan Match Colour": ("ColorMatch",),
    "Wan VACE": ("WanVideoVACEEncode", "WanVideoVACEStartToEndFrame"),
    "Wan SCAIL": ("WanVideoAddSCAILPoseEmbeds", "WanVideoAddSCAILReferenceEmbeds"),
    "masks made before, in Wan Coloured Masks": ("SAM3_VideoTrack",),
    "Wan Encode Video": ("WanVideoEncode",),
    "Wan Memory": (
        "WanVideoBlockSwap", "WanVideoSetBlockSwap", "WanVideoVRAMManagement", "wanBlockSwap",
    ),
    "Wan Sampler": ("WanVideoSampler", "WanVideoSamplerv2"),
    "Wan Two Experts and one Wan Sampler": ("WanMoeKSampler", "WanMoeKSamplerAdvanced"),
    "Wan Decode Video": ("WanVideoDecode",),
    "Wan Save Video, and interpolate its file in ComfyUI": ("FrameInterpolationModelLoader", "FrameInterpolate"),
    "Wan Save Video": ("VHS_VideoCombine", "SaveAnimatedPNG", "SaveWEBM"),
    "Wan Load Video": (
        "VHS_LoadVideo", "VHS_LoadVideoPath", "VHS_LoadVideoFFmpeg", "VHS_LoadVideoFFmpegPath",
    ),
}  # fmt: skip
COUNTERPARTS = {theirs: ours for ours, each in _BY_OURS.items() for theirs in each}
"""Class of another's node -> the title of ours, or what else takes its place."""
