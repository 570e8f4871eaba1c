"""Nodes that work on finished frames."""

from .colours import ColorTransfer
from .upscaling import ImageUpscaleWithModel, UpscaleModelLoader

__all__ = ["ColorTransfer", "ImageUpscaleWithModel", "UpscaleModelLoader"]
