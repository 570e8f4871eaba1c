"""fp8 weights: plain, or with a scale per matrix or per row, in every spelling of published files."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from ...common.records import record
from ...weights.arithmetic import FP8_DTYPES, largest_number
from ...weights.fp8 import FP8, FP8_STORED, Fp8Codec
from ...weights.stored import StoredWeight
from ..files.checkpoint import Checkpoint, TensorInfo
from .plain import FLOATS
from .scales import SCALE_COMPANIONS, WEIGHT_SCALES, lost_scale, read_scale

_FP8 = frozenset({"F8_E4M3", "F8_E5M2"})
_MARKER = "scaled_fp8"
# The largest number of a scaled matrix is near the end of the fp8 range (448 or 57,344), that of a true one near 1.
_MAX_UNSCALED = 64.0
# Tables of a text encoder: their numbers may be large, and published files never scale them.
_EMBEDDING = re.compile(r"(token_embedding|embed_tokens|(^|\.)shared)\.weight")


@record
class Fp8Format:
    """Files whose matrices, or some of them, are fp8.

    Scales stand under `.scale_weight` (ComfyUI before 2025-11, the wrapper's files) or `.weight_scale` (LightX2V, one
    per row). Scales of inputs are left alone: they only serve to multiply in fp8 with a fixed range, where we measure
    the range of every token. ComfyUI's marker `scaled_fp8` says by its dtype what the weights say themselves, and by
    two elements that matrices should be multiplied in 16 bit.

    Source: comfy/model_detection.py and comfy/ops.py of ComfyUI v0.3.64; comfy/utils.py convert_old_quants of newer.
    """

    name: str
    companions: tuple[str, ...]
    scaled: bool

    def matches(self, tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> bool:
        """All tensors are fp8 or wider numbers; with scales if it is the scaled format."""
        if any(info.dtype not in FLOATS | _FP8 for info in tensors.values()):
            return False
        if self.scaled:
            return any(key.endswith(WEIGHT_SCALES) for key in tensors)
        return any(info.dtype in _FP8 for info in tensors.values())

    def read(self, checkpoint: Checkpoint, key: str) -> Tensor | StoredWeight:
        """See `WeightFormat.read`."""
        codec = FP8_STORED if self.scaled and _wants_16_bit(checkpoint) else FP8
        return read_fp8(checkpoint, key, codec)


PLAIN_FP8 = Fp8Format("plain fp8", companions=(), scaled=False)
SCALED_FP8 = Fp8Format("scaled fp8", companions=SCALE_COMPANIONS, scaled=True)


def read_fp8(checkpoint: Checkpoint, key: str, codec: Fp8Codec) -> Tensor | StoredWeight:
    """The weight called `key`, stored if it is an fp8 matrix; norms, biases and convolutions become plain numbers.

    Raises:
        FileFault: its scale is missing, of the wrong size or not finite.
    """
    weight, scale = checkpoint.read(key), read_scale(checkpoint, key)
    if weight.ndim != 2 or weight.dtype not in FP8_DTYPES:
        return _plain(weight, scale)
    if scale is None and not _EMBEDDING.search(key) and largest_number(weight) > _MAX_UNSCALED:
        raise lost_scale(key)
    parts = {"weight": weight} if scale is None else {"weight": weight, "scale": scale}
    return StoredWeight(codec, parts, tuple(weight.shape))


def _plain(weight: Tensor, scale: Tensor | None) -> Tensor:
    """The numbers of a norm, bias or convolution, or of a matrix of 16 bits or more that has a scale."""
    if scale is None:
        return weight.bfloat16() if weight.dtype in FP8_DTYPES else weight  # bf16 holds every fp8 number
    return weight.float() * (scale if scale.ndim == 0 else scale.view(-1, *[1] * (weight.ndim - 1)))


def _wants_16_bit(checkpoint: Checkpoint) -> bool:
    marker = next((key for key in checkpoint.tensors if key.endswith(_MARKER)), None)
    return marker is not None and checkpoint.tensors[marker].elements == 2
