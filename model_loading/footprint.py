"""How much memory a model takes once it is loaded, from its header alone, or from its size before it is downloaded."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import torch

from ..dit.config import DiTConfig
from ..dit.footprint import BLOCKWISE, FP8, PLAIN, Unpacking, block_weights, other_weights
from ..weights.casting import Casting, is_cast
from .files.checkpoint import TORCH_DTYPES, Checkpoint, TensorInfo
from .formats.packing import stored_bytes, unpacked
from .formats.plain import FLOATS
from .precision import Precision, choose_casting, choose_dtype
from .spec import ModelSpec

_SCALE_BYTES = 4
# Of the trunk, and of its branches.
_BLOCK = re.compile(
    r"(\w*blocks|face_adapter\.fuser_blocks|audio_injector\.injector(?:_adain_layers)?|music_injector\.injector)"
    r"\.(\d+)\..+"
)
_WHOLE_CODES = frozenset({"F8_E4M3", "F8_E5M2", "I8"})


class ModelBytes(NamedTuple):
    """Bytes of a loaded model's weights.

    `fixed`: outside the blocks; `blocks`: of each block, in the order they run; `itemsize`: of a number of the dtype of
    computation; `unpacking`: what its quantised matrices take while they are used; `anonymous`: bytes that are memory
    of their own, because they were converted, instead of windows into the file; `fp32_residual`: see `WanDiT`.
    """

    fixed: int
    blocks: tuple[int, ...]
    itemsize: int
    unpacking: Unpacking
    anonymous: int
    fp32_residual: bool = False

    @property
    def total(self) -> int:
        """All bytes."""
        return self.fixed + sum(self.blocks)

    @property
    def token_itemsize(self) -> int:
        """Bytes of a number of the tokens between the matrices."""
        return 4 if self.fp32_residual else self.itemsize


class Outline(NamedTuple):
    """What a model file holds, the dtype to compute in, and what its weights take."""

    spec: ModelSpec[Any]
    dtype: torch.dtype
    weights: ModelBytes


def model_bytes(
    checkpoint: Checkpoint,
    spec: ModelSpec,
    precision: Precision = "auto",
    device: torch.device | str | None = None,
) -> ModelBytes:
    """The weights of a model as `build` loads it with this precision.

    Quantised matrices count as they are stored, those that are cast as fp8 with their scales, all others in the dtype
    of computation.

    Raises:
        InvalidInputError: see `precision.choose_dtype`.
    """
    casting, dtype = choose_casting(spec, precision), choose_dtype(spec, precision, device).dtype
    fixed = 0
    blocks: dict[tuple[str, int], int] = defaultdict(int)
    anonymous, unpacking = 0, PLAIN if casting is None else FP8
    tensors = unpacked(checkpoint)
    for key, source in spec.sources.items():
        parts = [part for part in source.keys if part in tensors]
        infos = [tensors[part] for part in parts]
        elements = sum(info.elements for info in infos)
        is_stored = all(len(info.shape) == 2 and info.dtype not in FLOATS for info in infos)
        if casting is not None and is_cast(key):
            size = elements + _SCALE_BYTES * _scales(casting, infos)
        elif is_stored:
            size = sum(stored_bytes(checkpoint.tensors, part) for part in parts)
            is_whole = all(tensors[part] == checkpoint.tensors[part] for part in parts)
            by_number = is_whole and all(info.dtype in _WHOLE_CODES for info in infos)
            unpacking = max(unpacking, FP8 if by_number else BLOCKWISE)
        else:
            size = elements * dtype.itemsize
        match = _BLOCK.fullmatch(key)
        if match:
            blocks[match[1], int(match[2])] += size
        else:
            fixed += size
        is_window = is_stored or all(TORCH_DTYPES.get(info.dtype) == dtype for info in infos)
        anonymous += 0 if is_window and not (casting is not None and is_cast(key)) else size
    return ModelBytes(fixed, _in_order(spec, blocks), dtype.itemsize, unpacking, anonymous)


def loaded_bytes(
    checkpoint: Checkpoint,
    spec: ModelSpec,
    precision: Precision = "auto",
    device: torch.device | str | None = None,
) -> int:
    """All bytes of `model_bytes`."""
    return model_bytes(checkpoint, spec, precision, device).total


class _Storage(NamedTuple):
    """Bytes per number of a block's matrices, per row of them beside, and what their use takes."""

    per_number: float
    per_row: int
    unpacking: Unpacking


STORAGES: Mapping[str, _Storage] = MappingProxyType({
    "bf16": _Storage(2, 0, PLAIN),
    "fp8": _Storage(1, _SCALE_BYTES, FP8),
    "Q8_0": _Storage(34 / 32, 0, BLOCKWISE),
    # A mixture of Q4_K, Q5_K and Q6_K: what the published 14B files have.
    "Q4_K_M": _Storage(0.685, 0, BLOCKWISE),
})  # fmt: skip
"""How published files of a transformer are stored; what is not in a matrix of a block has 16 bits in all of them."""


def bytes_before_download(config: DiTConfig, storage: str) -> ModelBytes:
    """The weights of a transformer as it will be loaded from a file stored in one of `STORAGES`."""
    per_number, per_row, unpacking = STORAGES[storage]
    blocks = tuple(
        round(weights.matrix * per_number) + weights.rows * per_row + weights.other * 2
        for weights in block_weights(config)
    )
    return ModelBytes(other_weights(config) * 2, blocks, 2, unpacking, 0)


def _scales(casting: Casting, infos: Sequence[TensorInfo]) -> int:
    """How many scales a cast matrix gets."""
    return {"none": 0, "tensor": 1, "row": sum(info.shape[0] for info in infos if info.shape)}[casting.scale]


def _in_order(spec: ModelSpec[Any], sizes: Mapping[tuple[str, int], int]) -> tuple[int, ...]:
    """Sizes of the blocks as they run: each own block of a branch after the one of the trunk that it follows."""
    places: dict[str, int] = {}
    if spec.kind.is_transformer:
        places = {place.name: index for index, place in enumerate(spec.config.block_order())}

    def place(block: tuple[str, int]) -> tuple[int, int]:
        name, number = block
        return places.get(f"{name}.{number}", len(places)), number

    return tuple(sizes[block] for block in sorted(sizes, key=place))
