"""The table of weight formats that can be loaded, and names for those that cannot yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from ...weights.stored import StoredWeight
from ..files.checkpoint import Checkpoint, TensorInfo
from .comfy_quant import COMFY_QUANT
from .fp8 import PLAIN_FP8, SCALED_FP8
from .gguf import GGUF
from .int8 import INT8_FORMAT
from .libraries import LIBRARY_FORMATS
from .plain import PLAIN


class WeightFormat(Protocol):
    """One way a file stores its weights."""

    @property
    def name(self) -> str:
        """For people ("plain", "scaled fp8")."""
        ...

    @property
    def companions(self) -> tuple[str, ...]:
        """Ends of the names of tensors that are no weights but belong to one (".scale_weight"), or whole names that
        only mark the file ("scaled_fp8")."""
        ...

    def matches(self, tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> bool:
        """Whether a file with this header is in this format."""
        ...

    def read(self, checkpoint: Checkpoint, key: str) -> Tensor | StoredWeight:
        """The weight called `key` in the file: a `StoredWeight` if it is quantised, else a plain tensor.

        Raises:
            FileFault: its companions are missing or do not fit it.
        """
        ...


WEIGHT_FORMATS: tuple[WeightFormat, ...] = (
    *LIBRARY_FORMATS, COMFY_QUANT, INT8_FORMAT, SCALED_FP8, PLAIN_FP8, GGUF, PLAIN,
)  # fmt: skip

# Suffixes by which files in formats this version cannot load are known, most specific first. Source: the packages
# named, as they write files: optimum-quanto 0.2.7, torchao 0.18, sdnq 0.2.8, dfloat11 0.5.0; GPTQ and AWQ of AutoGPTQ
# and AutoAWQ, SVDQuant of nunchaku, bitsandbytes of diffusers.
_UNSUPPORTED_BY_SUFFIX = (
    ("SVDQuant (4 bit, nunchaku)", (".wscales", ".wtscale", ".wcscales", ".smooth_factor")),
    ("nvfp4 of LightX2V (4 bit)", (".weight_global_scale",)),
    ("DFloat11 (compressed bf16)", (".encoded_exponent", ".sign_mantissa")),
    ("GPTQ or AWQ (4 bit)", (".qweight", ".qzeros")),
    ("bitsandbytes (4 or 8 bit)", (".absmax", ".quant_map", ".SCB")),
    ("compressed-tensors (4 or 8 bit, vLLM)", (".weight_packed",)),
    ("HQQ (1 to 8 bit)", (".W_q",)),
    ("quanto int4 or int2", (".weight._data._data", ".weight._shift")),
    ("quanto int8", (".weight._data", ".weight._scale")),
    ("torchao (int4, or int8 of another kind)", ("._weight_qdata", "._weight_scale")),
    ("SDNQ with low-rank parts or zero points", (".svd_up", ".svd_down", ".zero_point")),
)


def find_weight_format(tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> WeightFormat | None:
    """The format of a file's weights, or None if this version cannot load it."""
    if known_quantisation(tensors) is not None:
        return None
    return next((form for form in WEIGHT_FORMATS if form.matches(tensors, metadata)), None)


def name_quantisation(tensors: Mapping[str, TensorInfo]) -> str:
    """What an unsupported weight format is called, for the sentence that refuses it."""
    dtypes = {info.dtype for info in tensors.values()}
    return (
        known_quantisation(tensors)
        or _packed(tensors)
        or "an unknown number format (" + ", ".join(sorted(dtypes)) + ")"
    )


def known_quantisation(tensors: Mapping[str, TensorInfo]) -> str | None:
    """The name of the format, among those that cannot be loaded, that has these tensors."""
    names = (name for name, ends in _UNSUPPORTED_BY_SUFFIX if any(key.endswith(ends) for key in tensors))
    return next(names, None)


def _packed(tensors: Mapping[str, TensorInfo]) -> str | None:
    """Formats whose bytes hold several numbers, known by the scales beside them."""
    for key, info in tensors.items():
        layer = key.removesuffix(".weight")
        if info.dtype == "U8" and layer + ".scale" in tensors:
            return "SDNQ (2 to 8 bit)"
        if info.dtype == "U8" and layer + ".weight_scale_2" in tensors:
            return "nvfp4 of ModelOpt (4 bit)"
    return None
