"""ComfyUI's files of 2025-11 and later: every quantised layer says its own format."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from torch import Tensor

from ...common.errors import FileFault
from ...common.records import record
from ...weights.fp8 import FP8, FP8_STORED
from ...weights.int8 import Int8Codec
from ...weights.stored import StoredWeight
from ..files.checkpoint import Checkpoint, TensorInfo
from ..files.faults import damaged
from .block_scales import read_block_scaled
from .blockwise import PRE_QUANT_SCALE, read_mxfp8, read_nvfp4
from .four_bit import COLUMNS, ENDS, read_grid, read_offset, read_rotated_int4
from .fp8 import read_fp8
from .int8 import read_int8
from .scales import SCALE_COMPANIONS, find_scale, lost_scale

_MARKER = ".comfy_quant"
_HEADER_KEY = "_quantization_metadata"
_MAX_MARKER_BYTES = 65_536
_DEFAULT_GROUP = 256
_QUANTISED = frozenset({"I8", "U8"})

LayerConfig = Mapping[str, Any]


@record
class ComfyQuantFormat:
    """A tensor `X.comfy_quant` (bytes of JSON), or the file's header, gives the format of each layer X.

    Layers without one are plain, or fp8 without more words.

    Source: comfy/quant_ops.py, comfy/ops.py and comfy/utils.py convert_old_quants of ComfyUI (cd9452e, 0.33.0).
    """

    name: str = "a format per layer"
    companions: tuple[str, ...] = (
        *SCALE_COMPANIONS, _MARKER, ".weight_scale_2", ".weight_scalar", PRE_QUANT_SCALE,
        *(".weight" + end for end in ENDS),
    )  # fmt: skip

    def matches(self, tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> bool:
        """There is a marker tensor, or the header tells of quantised layers and there are some."""
        if any(key.endswith(_MARKER) for key in tensors):
            return True
        return _HEADER_KEY in metadata and any(
            info.dtype in _QUANTISED | {"F8_E4M3", "F8_E5M2"} for info in tensors.values()
        )

    def read(self, checkpoint: Checkpoint, key: str) -> Tensor | StoredWeight:
        """See `WeightFormat.read`."""
        config = layer_config(checkpoint, key)
        if config is None and checkpoint.tensors[key].dtype in _QUANTISED:
            raise FileFault(
                f"is quantised, but neither a {_MARKER!r} tensor nor the header says how",
                "The file is incomplete: download it again",
                repr(key),
            )
        if config is None:
            return read_fp8(checkpoint, key, FP8)
        form = str(config.get("format"))
        if form != "nvfp4" and key.removesuffix(".weight") + PRE_QUANT_SCALE in checkpoint.tensors:
            raise _unsupported(key, f"a scale of its inputs (pre_quant_scale) beside {form[:40]!r}")
        read = _READERS.get(form)
        if read is None:
            raise _unsupported(key, f"the format {form[:40]!r}")
        return read(checkpoint, key, config)


COMFY_QUANT = ComfyQuantFormat()


def layer_config(checkpoint: Checkpoint, key: str) -> LayerConfig | None:
    """What the file says of the layer whose weight is called `key`; None for plain layers and other tensors.

    Raises:
        FileFault: it is no readable JSON.
    """
    if not key.endswith(".weight"):
        return None
    layer = key.removesuffix(".weight")
    if layer + _MARKER in checkpoint.tensors:
        return _read_marker(checkpoint, layer + _MARKER)
    text = checkpoint.metadata.get(_HEADER_KEY)
    layers = _header_layers(text) if text is not None else {}
    if layers is None:
        raise _unreadable(_HEADER_KEY)
    # Some converters leave the prefix of the tensors' names ("model.diffusion_model.") out of the header.
    pieces = layer.split(".")
    names = (".".join(pieces[first:]) for first in range(len(pieces)))
    return next((layers[name] for name in names if name in layers), None)


def _read_marker(checkpoint: Checkpoint, name: str) -> LayerConfig:
    if checkpoint.tensors[name].size_bytes > _MAX_MARKER_BYTES:
        raise _unreadable(name)
    try:
        config = json.loads(checkpoint.read(name).numpy().tobytes())
    except (ValueError, RecursionError, TypeError):
        raise _unreadable(name) from None
    config = _as_table(config)
    if config is None:
        raise _unreadable(name)
    return config


@lru_cache(maxsize=4)
def _header_layers(text: str) -> Mapping[str, LayerConfig] | None:
    """Layer -> its config; None if the text is not readable. One file asks for the same text for each of its layers."""
    try:
        layers = json.loads(text)["layers"]
        tables = {str(name): _as_table(config) for name, config in layers.items()}
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None
    known = {name: table for name, table in tables.items() if table is not None}
    return known if len(known) == len(tables) else None


def _as_table(config: object) -> LayerConfig | None:
    """Some converters write only the name of the format."""
    if isinstance(config, str):
        return {"format": config}
    return config if isinstance(config, dict) else None


def _read_fp8(checkpoint: Checkpoint, key: str, config: LayerConfig) -> Tensor | StoredWeight:
    return read_fp8(checkpoint, key, FP8_STORED if config.get("full_precision_matrix_mult") else FP8)


def setting(config: LayerConfig, name: str, usual: int) -> object:
    """What a layer says of itself, or in the table "params" of it; `usual` where it says nothing."""
    params = config.get("params")
    return config.get(name, params.get(name, usual) if isinstance(params, dict) else usual)


def _read_int8(checkpoint: Checkpoint, key: str, config: LayerConfig) -> StoredWeight:
    if not setting(config, "convrot", 0):
        return read_int8(checkpoint, key, Int8Codec())
    return read_int8(checkpoint, key, Int8Codec(_rotation(key, config)))


def _rotation(key: str, config: LayerConfig) -> int:
    group = setting(config, "convrot_groupsize", _DEFAULT_GROUP)
    if type(group) is not int:
        raise _unsupported(key, f"the group size {str(group)[:40]!r}")
    return group


def _group(config: LayerConfig) -> object:
    return setting(config, "group_size", COLUMNS[str(config["format"])][0])


def _read_blocks(checkpoint: Checkpoint, key: str, config: LayerConfig) -> StoredWeight:
    """A scale per row or per block; the shape of the scales says which."""
    scale = find_scale(checkpoint, key)
    if scale is None:
        raise lost_scale(key)
    return read_block_scaled(checkpoint, key, scale)


# The hybrid, rowwise, blockwise and block3d ones are convert-to-quant's (1.3.4), which ComfyUI itself does not read.
_READERS: Mapping[str, Callable[[Checkpoint, str, LayerConfig], Tensor | StoredWeight]] = {
    "float8_e4m3fn": _read_fp8,
    "float8_e5m2": _read_fp8,
    "int8_tensorwise": _read_int8,
    "convrot_w4a4": lambda file, key, config: read_rotated_int4(file, key, _rotation(key, config)),
    "asym_w4a8_int8": lambda file, key, config: read_grid(file, key, _rotation(key, config), _group(config)),
    "awq_w4a16": lambda file, key, config: read_offset(file, key, _group(config)),
    "nvfp4": lambda checkpoint, key, config: read_nvfp4(checkpoint, key),
    "mxfp8": lambda checkpoint, key, config: read_mxfp8(checkpoint, key),
    # With a coarser scale beside it (weight_scalar) for cards that cannot multiply mxfp8; the fine ones are exact.
    "hybrid_mxfp8": lambda checkpoint, key, config: read_mxfp8(checkpoint, key),
    "float8_e4m3fn_rowwise": _read_blocks,
    "float8_e4m3fn_blockwise": _read_blocks,
    "float8_e4m3fn_block3d": _read_blocks,
    "int8_blockwise": _read_blocks,
}


def _unsupported(key: str, what: str) -> FileFault:
    return FileFault(
        f"has {what}, which this version cannot read; it reads {', '.join(_READERS)}",
        "Use the fp8 or bf16 file of the same model",
        f"the layer of {key!r}",
    )


def _unreadable(name: str) -> FileFault:
    return damaged(f"{name!r}, which tells how its layers are stored, is not readable")
