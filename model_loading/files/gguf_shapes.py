"""The shapes that tensors had before ggml's tools, which know four dimensions, flattened them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import prod

from .gguf_header import GgufTensorInfo

_PATCH = (1, 2, 2)
# Of the video, and of what goes with it: vace_patch_embedding, patch_embedding_pose.
_PATCHES = re.compile(r"(.*patch_embedding(?:_[a-z]+)?)\.weight")
# The VAE's convolutions over time and space; those over space alone, and its attention, have four dimensions.
_VIDEO_CONV = re.compile(r"(?:.*\.)?(?:encoder|decoder)\.(?!.*(?:resample|to_qkv|proj)).+\.weight")
_OUTER_CONV = re.compile(r"(?:.*\.)?(?:conv1|conv2|quant_conv|post_quant_conv)\.weight")


def wan_shape(name: str, tensors: Mapping[str, GgufTensorInfo]) -> tuple[int, ...]:
    """The shape a tensor of a Wan transformer or VAE had before it was flattened; other tensors keep theirs.

    llama-quantize drops leading ones ([1, 6, D] becomes [6, D]); other converters join dimensions of patch
    embeddings [D, C, 1, 2, 2], which its bias [D] and the constant patch restore, and of the VAE's convolutions
    [O, I, T, h, w], see `_video_conv_shape`. The order of the numbers is the same in all of them.
    """
    shape = tensors[name].shape
    if len(shape) == 2 and name.endswith((".modulation", ".emb_pos", "scale_shift_table")):
        return (1, *shape)
    patches = _PATCHES.fullmatch(name)
    bias = None if patches is None else tensors.get(f"{patches[1]}.bias")
    if len(shape) != 5 and bias is not None and bias.elements:
        channels, rest = divmod(tensors[name].elements, bias.elements * prod(_PATCH))
        if channels and not rest:
            return (bias.elements, channels, *_PATCH)
    return _video_conv_shape(name, tensors) or shape


def _video_conv_shape(name: str, tensors: Mapping[str, GgufTensorInfo]) -> tuple[int, ...] | None:
    """The five dimensions of a convolution of the VAE that is stored with four; None for any other tensor.

    Its bias [O] tells which two were joined: [O I, T, h, w], [O, I T, h, w] or [O, I, T, h w]. Kernels are cubes of
    1 or 3, but for those over time alone, 3 x 1 x 1.
    """
    shape, bias = tensors[name].shape, tensors.get(name.removesuffix("weight") + "bias")
    if len(shape) != 4 or bias is None or len(bias.shape) != 1 or not bias.elements or not prod(shape):
        return None
    if not (_VIDEO_CONV.fullmatch(name) or _OUTER_CONV.fullmatch(name)):
        return None
    outputs, space = bias.elements, shape[-1]
    frames = 3 if "time_conv" in name else space
    if shape[0] != outputs:
        return (outputs, shape[0] // outputs, *shape[1:]) if shape[0] % outputs == 0 else None
    if space == 9:
        return (*shape[:3], 3, 3)
    if "time_conv" in name and shape[2:] == (3, 1):
        return (*shape, 1)
    return (outputs, shape[1] // frames, frames, *shape[2:]) if shape[1] % frames == 0 else None
