"""ggml's blocks become exactly the numbers that the gguf package makes of them, whole or by rows, in any dtype."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Ggml
from wan_director.weights.ggml_types import BLOCK_TYPES, GGML_TYPES
from wan_director.weights.gguf import CODECS
from wan_director.weights.gguf_blocks import SCALES

KINDS = sorted(CODECS)


def _random_bytes(kind: str, rows: int, blocks: int, seed: int = 0) -> np.ndarray:
    size = (rows, blocks * BLOCK_TYPES[kind].size_bytes)
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def _ours(packed: np.ndarray, kind: str, dtype: torch.dtype = torch.float32, device: str = "cpu") -> torch.Tensor:
    block = BLOCK_TYPES[kind]
    shape = (len(packed), packed.shape[1] // block.size_bytes * block.elements)
    return CODECS[kind].dequantize({"weight": torch.from_numpy(packed).to(device)}, shape, dtype)


def _theirs(packed: np.ndarray, kind: str) -> np.ndarray:
    with np.errstate(all="ignore"):  # random scales overflow
        return gguf.dequantize(packed, Ggml[kind])


def _same(ours: torch.Tensor, theirs: np.ndarray) -> bool:
    """Bit for bit, but for the unused bits of NaN."""
    got = ours.cpu().numpy()
    return bool(np.all((got.view(np.uint32) == theirs.view(np.uint32)) | (np.isnan(got) & np.isnan(theirs))))


def test_the_table_of_types_is_that_of_the_gguf_package() -> None:
    theirs = {kind.value: (kind.name, *gguf.GGML_QUANT_SIZES[kind]) for kind in Ggml}
    assert {number: tuple(kind) for number, kind in GGML_TYPES.items()} == theirs


@pytest.mark.parametrize("kind", KINDS)
def test_random_blocks_are_dequantised_bit_for_bit(kind: str) -> None:
    packed = _random_bytes(kind, rows=40, blocks=9)  # every kind of scale: zero, tiny, huge, infinite, NaN
    assert _same(_ours(packed, kind), _theirs(packed, kind))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("byte", [0x00, 0xFF, 0x80, 0x7F, 0x01, 0x0F, 0xF0])
def test_extreme_blocks_are_dequantised_bit_for_bit(kind: str, byte: int) -> None:
    packed = np.full((2, BLOCK_TYPES[kind].size_bytes), byte, dtype=np.uint8)
    packed[1, SCALES[kind][0] : sum(SCALES[kind])] = 0x3C  # a usual scale
    assert _same(_ours(packed, kind), _theirs(packed, kind))


@pytest.mark.parametrize("kind", KINDS)
def test_a_matrix_of_several_chunks_and_a_rest_is_whole(kind: str) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        blocks = (1 << 19) // BLOCK_TYPES[kind].elements
        packed = _random_bytes(kind, rows=2, blocks=blocks + 3)
        assert _same(_ours(packed, kind), _theirs(packed, kind))
        rounded = torch.from_numpy(_theirs(packed, kind)).bfloat16()
        torch.testing.assert_close(_ours(packed, kind, torch.bfloat16), rounded, rtol=0, atol=0, equal_nan=True)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("kind", KINDS)
def test_any_rows_are_the_rows_of_the_whole(kind: str) -> None:
    packed = torch.from_numpy(_random_bytes(kind, rows=12, blocks=2))
    columns = 2 * BLOCK_TYPES[kind].elements
    whole = CODECS[kind].dequantize({"weight": packed}, (12, columns), torch.float32)
    rows = torch.tensor([11, 0, 0, 7])
    some = CODECS[kind].dequantize({"weight": packed[rows]}, (4, columns), torch.float32)
    torch.testing.assert_close(some, whole[rows], rtol=0, atol=0, equal_nan=True)
    none = CODECS[kind].dequantize({"weight": packed[:0]}, (0, columns), torch.float32)
    assert none.shape == (0, columns)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_gives_the_same_bits(kind: str) -> None:
    packed = _random_bytes(kind, rows=64, blocks=40)
    assert _same(_ours(packed, kind, device="cuda"), _theirs(packed, kind))
