"""Nodes that work on finished frames."""

from .colours import ColorTransfer
from .stitching import ImageStitch
from .upscaling import ImageUpscaleWithModel, UpscaleModelLoader

__all__ = ["ColorTransfer", "ImageStitch", "ImageUpscaleWithModel", "UpscaleModelLoader"]
