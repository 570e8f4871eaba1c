"""The table of weight formats that can be loaded, and names for those that cannot yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from ..safetensors_file import TensorInfo
from .plain import PLAIN
from .stored import StoredWeight

if TYPE_CHECKING:
    from ..checkpoint import Checkpoint


class WeightFormat(Protocol):
    """One way a file stores its weights.

    Attributes:
        name: for people ("plain", "fp8 scaled (e4m3fn)").
        companions: ends of the names of tensors that are no weights but belong to one (".scale_weight"), or whole
            names that only mark the file ("scaled_fp8").
    """

    name: str
    companions: tuple[str, ...]

    def matches(self, tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> bool:
        """Whether a file with this header is in this format."""
        ...

    def read(self, checkpoint: Checkpoint, key: str) -> Tensor | StoredWeight:
        """The weight called `key` in the file: a `StoredWeight` if it is quantised, else a plain tensor.

        Raises:
            CheckpointError: its companions are missing or do not fit it.
        """
        ...


WEIGHT_FORMATS: tuple[WeightFormat, ...] = (PLAIN,)

# Suffixes that published quantised files carry, most specific first.
_QUANTISED_BY_SUFFIX = (
    ("nvfp4 (4 bit)", (".weight_scale_2", ".weight_global_scale")),
    ("GPTQ or AWQ (4 bit)", (".qweight", ".qzeros")),
    ("bitsandbytes (4 or 8 bit)", (".absmax", ".quant_map", ".SCB")),
    ("quanto int8", (".weight._data", ".weight._scale")),
)
_SCALE_SUFFIXES = (".scale_weight", ".weight_scale", "scaled_fp8")
_FP8 = ("F8_E4M3", "F8_E5M2")


def find_weight_format(tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> WeightFormat | None:
    """The format of a file's weights, or None if this version cannot load it."""
    return next((form for form in WEIGHT_FORMATS if form.matches(tensors, metadata)), None)


def name_quantisation(tensors: Mapping[str, TensorInfo]) -> str:
    """What an unsupported weight format is called, for the sentence that refuses it."""
    for name, suffixes in _QUANTISED_BY_SUFFIX:
        if any(key.endswith(suffixes) for key in tensors):
            return name
    dtypes = {info.dtype for info in tensors.values()}
    fp8 = next((dtype for dtype in _FP8 if dtype in dtypes), None)
    if fp8 is not None:
        scaled = any(key.endswith(_SCALE_SUFFIXES) for key in tensors)
        return f"{'scaled ' if scaled else ''}fp8 ({fp8.removeprefix('F8_').lower()})"
    if "I8" in dtypes:
        return "int8"
    return "an unknown number format (" + ", ".join(sorted(dtypes)) + ")"
