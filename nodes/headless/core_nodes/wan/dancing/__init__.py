"""ComfyUI's nodes for Wan-Dancer."""

from .dancer import WanDancerVideo
from .parts import WanDancerEncodeAudio, WanDancerPadKeyframes, WanDancerPadKeyframesList

__all__ = ["WanDancerEncodeAudio", "WanDancerPadKeyframes", "WanDancerPadKeyframesList", "WanDancerVideo"]
