"""ComfyUI's own nodes that workflows use beside ours, for the command line.

Names, inputs, defaults, outputs and arithmetic are those of ComfyUI v0.33.0. Where its canvas offers the files of a
folder, a path may be given too.
"""

from __future__ import annotations

from .batches import (
    BatchImagesNode,
    BatchMasksNode,
    EmptyImage,
    GetImageSize,
    ImageBatch,
    ImageFromBatch,
    ImageInvert,
    RepeatImageBatch,
)
from .latents import LoadLatent
from .masks import ImageToMask, InvertMask, MaskToImage, SolidMask
from .pictures import LoadImage, LoadImageMask, PreviewImage, SaveImage
from .saving import SaveVideo
from .scaling import ImageScale, ImageScaleBy, ImageScaleToTotalPixels, ResizeImageMaskNode
from .values import (
    ComfyAndNode,
    ComfyMathExpression,
    ComfyNotNode,
    ComfyOrNode,
    ComfySwitchNode,
    PreviewAny,
    PrimitiveBoolean,
    PrimitiveFloat,
    PrimitiveInt,
    PrimitiveString,
    PrimitiveStringMultiline,
    StringConcatenate,
    StringReplace,
)
from .videos import CreateVideo, GetVideoComponents, LoadVideo, VideoSlice

_NODES = (
    LoadLatent, LoadImage, LoadImageMask, SaveImage, PreviewImage,
    ImageFromBatch, ImageBatch, BatchImagesNode, BatchMasksNode, RepeatImageBatch, EmptyImage, GetImageSize,
    ImageInvert, ImageScale, ImageScaleBy, ImageScaleToTotalPixels, ResizeImageMaskNode,
    MaskToImage, ImageToMask, SolidMask, InvertMask,
    LoadVideo, VideoSlice, GetVideoComponents, CreateVideo, SaveVideo,
    PrimitiveInt, PrimitiveFloat, PrimitiveBoolean, PrimitiveString, PrimitiveStringMultiline,
    StringConcatenate, StringReplace, PreviewAny, ComfySwitchNode, ComfyNotNode, ComfyAndNode, ComfyOrNode,
    ComfyMathExpression,
)  # fmt: skip

CORE_NODES = {node.define_schema().node_id: node for node in _NODES}
"""Name in a workflow -> class."""
