"""The arithmetic of stored codes: every fp8 and int8 number, scales, and the rotation of ConvRot."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from wan_director.weights import arithmetic, int8
from wan_director.weights.fp8 import FP8
from wan_director.weights.layers import Embedding
from wan_director.weights.stored import StoredWeight

E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2
LARGEST = {E4M3: 448.0, E5M2: 57344.0}
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def hadamard(size: int) -> Tensor:
    """The regular Hadamard matrix, written apart from ours: a product over the base-4 digits of row and column."""
    four = torch.tensor([[1, 1, 1, -1], [1, 1, -1, 1], [1, -1, 1, 1], [-1, 1, 1, 1]], dtype=torch.float64) / 2
    index, matrix = torch.arange(size), torch.ones(size, size, dtype=torch.float64)
    for digit in (4**power for power in range((size.bit_length() - 1) // 2)):
        at = index // digit % 4
        matrix *= four[at][:, at]
    return matrix


def chosen(codes: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
    """The codes where `which` holds; torch 2.6 cannot index fp8 on a CPU."""
    return codes.view(torch.uint8)[which].view(codes.dtype)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("way", ["scaled_numbers", "_scaled_at_once"])  # the second is the one of GPUs
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("codes", [E4M3, E5M2, torch.int8])
def test_every_code_times_every_kind_of_scale_is_rounded_once(dtype, codes, way, device) -> None:
    every = torch.arange(256, dtype=torch.uint8).view(codes)
    every = chosen(every, torch.isfinite(every.float())).view(-1, 1)
    rows = torch.rand(len(every), 1, generator=torch.Generator().manual_seed(0))
    for scale in (None, rows[0, 0], rows):
        expected = every.float() if scale is None else every.float() * scale
        given = [None if tensor is None else tensor.to(device) for tensor in (every, scale)]
        assert torch.equal(getattr(arithmetic, way)(*given, dtype).cpu(), expected.to(dtype))


@pytest.mark.parametrize("codes", [E4M3, E5M2])
def test_the_largest_number_of_fp8(codes) -> None:
    every = torch.arange(256, dtype=torch.uint8).view(codes)
    finite = chosen(every, torch.isfinite(every.float()))
    assert arithmetic.largest_number(finite) == LARGEST[codes]
    assert (
        arithmetic.largest_number(chosen(finite, finite.float().abs() < 1)) == finite.float()[finite.float() < 1].max()
    )
    negative = torch.tensor([-3.0, 1.0, 0.0]).to(codes)
    assert arithmetic.largest_number(negative) == 3
    assert not torch.isfinite(torch.tensor(arithmetic.largest_number(every)))
    assert arithmetic.largest_number(every[:0]) == 0


@pytest.mark.parametrize("size", [4, 16, 64, 256])
def test_the_rotation_is_the_regular_hadamard_matrix_and_its_own_inverse(size: int) -> None:
    rotation = int8.rotation_matrix(size, torch.device("cpu"))
    assert torch.equal(rotation @ rotation, torch.eye(size))
    assert torch.equal(rotation.sum(1), torch.ones(size))
    if size <= 64:
        assert torch.equal(rotation.double(), hadamard(size))


class OlderTorch(TorchDispatchMode):
    """Looks up no rows of fp8, as torch 2.6 and older on a GPU."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.index.Tensor and args[0].dtype in LARGEST:
            raise NotImplementedError(f"\"index_cuda\" not implemented for '{args[0].dtype}'")
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("codes", [E4M3, E5M2])
@pytest.mark.parametrize("device", DEVICES)
def test_rows_of_an_fp8_embedding_are_looked_up_by_any_torch(codes, device) -> None:
    table = torch.randn(9, 16, generator=torch.Generator().manual_seed(0)).to(codes)
    embedding = Embedding(9, 16)
    embedding.store(StoredWeight(FP8, {"weight": table, "scale": torch.rand(9, 1)}, (9, 16)))
    ids = torch.tensor([[3, 0, 8], [3, 3, 1]], device=device)
    embedding.to(device)
    with OlderTorch():
        assert torch.equal(embedding(ids), embedding.dense_weight()[ids])
