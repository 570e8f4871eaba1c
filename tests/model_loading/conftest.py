"""Files to load: whole ones with random weights, and sparse ones that have a true header over zero bytes of data."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from wan_director.model_loading.files.checkpoint import DTYPE_BITS

Shapes = Mapping[str, tuple[str, tuple[int, ...]]]


def write_header(path: Path, tensors: Shapes, metadata: Mapping[str, str] | None = None) -> Path:
    """A complete safetensors file whose data is a hole: true sizes without taking disk space."""
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, (dtype, shape) in tensors.items():
        start, end = end, end + torch.Size(shape).numel() * DTYPE_BITS[dtype] // 8
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    os.truncate(path, 8 + len(text) + end)
    return path


@pytest.fixture
def header_file(tmp_path: Path) -> Callable[..., Path]:
    """header_file(tensors, metadata=None, name="model.safetensors"): a sparse file with these tensors."""

    def make(tensors: Shapes, metadata: Mapping[str, str] | None = None, name: str = "model.safetensors") -> Path:
        return write_header(tmp_path / name, tensors, metadata)

    return make


def shapes_of(state: Mapping[str, Tensor], dtype: str = "BF16", prefix: str = "") -> dict[str, tuple[str, tuple]]:
    """The header entries of a state dict."""
    return {prefix + name: (dtype, tuple(value.shape)) for name, value in state.items()}


def random_weights(module: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """A state dict for `module` of small random float32 numbers, whatever device it is on."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(value.shape, generator=generator) / 8 for name, value in module.state_dict().items()}


@pytest.fixture
def build_on_meta() -> Callable[..., nn.Module]:
    """build_on_meta(cls, *args): a module without memory, for its names and shapes."""

    def build(cls: Callable[..., nn.Module], *args: object, **options: object) -> nn.Module:
        with torch.device("meta"):
            return cls(*args, **options)

    return build


@pytest.fixture
def write_gguf(tmp_path: Path) -> Callable[..., Path]:
    """write_gguf(tensors, metadata=None, arch="wan", name="model.gguf"): a file by the gguf package's own writer.

    `tensors` are arrays, or (uint8 array of blocks, name of the ggml type). Metadata are texts, numbers and lists.
    """
    import gguf
    import numpy as np

    def write(tensors: Mapping, metadata: Mapping | None = None, arch: str = "wan", name: str = "model.gguf") -> Path:
        writer = gguf.GGUFWriter(tmp_path / name, arch)
        for key, value in (metadata or {}).items():
            kinds = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
            kinds.get(type(value), writer.add_array)(key, value)
        for key, value in tensors.items():
            packed, kind = value if isinstance(value, tuple) else (value, None)
            raw_dtype = gguf.GGMLQuantizationType[kind] if kind else None
            writer.add_tensor(key, np.ascontiguousarray(packed), raw_dtype=raw_dtype)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return tmp_path / name

    return write
