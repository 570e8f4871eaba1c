"""The difference of two checkpoints of one model as a LoRA, one layer of both in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ...common.errors import InvalidInputError, PairingError
from ...common.memory.out_of_memory import is_out_of_memory
from ...common.records import record
from ...dit.adapters import Adapter, Change, Full, LowRank
from ...dit.config import DiTConfig
from ..files.checkpoint import Checkpoint
from ..filling import check_names, plain_weight
from ..kinds import DIT
from ..meter import Meter, OnBytes, untold
from ..opening import open_checkpoint
from ..recognition.detect import inspect_as
from ..spec import ModelSpec
from .writing import lora_tensors

_OVERSAMPLING, _ROUNDS = 16, 4
"""Of the quick way: directions beside those wanted, and how often the sample is led towards the largest."""


@record
class Extraction:
    """How a difference is written down.

    Attributes:
        rank: of each matrix at most.
        dtype: of the file's tensors.
        device: where is computed.
        blocks_only: leave out everything but the matrices inside the blocks, for programs that read nothing else.
        quick: find the largest singular values by a random sample of the matrix's image instead of all of them.
    """

    rank: int
    dtype: torch.dtype = torch.float16
    device: torch.device = torch.device("cpu")
    quick: bool = False
    blocks_only: bool = False

    def takes(self, parameter: str, shape: tuple[int, ...]) -> bool:
        """Whether a parameter's difference is wanted."""
        return not self.blocks_only or (parameter.startswith("blocks.") and _is_matrix(parameter, shape))

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise InvalidInputError(f"The rank of a LoRA is 1 or more, got {self.rank}. Usual ones are 16 to 128.")


class Extracted(NamedTuple):
    """What became of one parameter.

    Attributes:
        parameter: its official name.
        tensors: those of the LoRA file, by name.
        energy: the sum of the squares of the difference.
        kept: that of what the tensors hold of it, before it is rounded to the file's numbers.
    """

    parameter: str
    tensors: Mapping[str, Tensor]
    energy: float
    kept: float


class _Opened(NamedTuple):
    checkpoint: Checkpoint
    spec: ModelSpec[DiTConfig]
    shapes: Mapping[str, tuple[int, ...]]


class TunedPair:
    """A model and what became of it by tuning, in files of any form.

    Args:
        base: the file or folder of the model.
        tuned: that of the tuned one.

    Raises:
        MissingFileError: there is no such file.
        CheckpointError: one is damaged, or no diffusion model.
        PairingError: their tensors have not the same names and shapes.
    """

    def __init__(self, base: str | Path, tuned: str | Path) -> None:
        self._base, self._tuned = _opened(base), _opened(tuned)
        self.shapes = self._base.shapes
        self._check()

    @property
    def title(self) -> str:
        """What the base is, for people."""
        return self._base.spec.title

    def most_bytes(self, how: Extraction) -> int:
        """Bytes of a file in which every parameter has changed, its header included."""
        wanted = [(name, shape) for name, shape in self.shapes.items() if how.takes(name, shape)]
        values = sum(_values(name, shape, how.rank) for name, shape in wanted)
        return values * how.dtype.itemsize + header_room(self.shapes)

    def extract(self, how: Extraction, on_bytes: OnBytes = untold) -> Iterator[Extracted]:
        """What has changed, parameter by parameter; what is equal in both is left out.

        A matrix, or a convolution seen as one, becomes the product of two factors that is nearest to the difference
        among all of the rank (Eckart and Young, 1936), both with the root of the singular values; everything else is
        kept whole.

        Args:
            how: see there.
            on_bytes: told of how much of the tuned file has been compared; it may raise to stop.

        Raises:
            CheckpointError: values are not finite.
            InvalidInputError: a difference is too large for the dtype.
        """
        meter = Meter([prod(shape) for shape in self.shapes.values()], on_bytes)
        for parameter, shape in self.shapes.items():
            if how.takes(parameter, shape):
                difference = self._difference(parameter, shape, how.device)
                if bool(difference.any()):
                    yield _extracted(parameter, difference, how)
            meter.next()

    def _difference(self, parameter: str, shape: tuple[int, ...], device: torch.device) -> Tensor:
        base, tuned = (
            plain_weight(each.checkpoint, each.spec, parameter, shape).to(device) for each in (self._base, self._tuned)
        )
        difference = tuned - base
        for each in (self._base, self._tuned):
            for key in each.spec.sources[parameter].keys:
                each.checkpoint.release(key)
        return difference

    def _check(self) -> None:
        """Refuses two models whose tensors do not pair."""
        base, tuned = self._base, self._tuned
        names = f"{base.spec.path.name} ({base.spec.title}) and {tuned.spec.path.name} ({tuned.spec.title})"
        advice = "Choose a model and what was tuned from this very model."
        for one, other in ((base, tuned), (tuned, base)):
            only = [key for key in one.shapes if key not in other.shapes]
            if only:
                raise PairingError(
                    f"{names} are not one model: {len(only)} tensors are in {one.spec.path.name} alone (first: "
                    f"{only[0]}). {advice}"
                )
        for key, shape in base.shapes.items():
            if shape != tuned.shapes[key]:
                first, second = (" x ".join(map(str, size)) for size in (shape, tuned.shapes[key]))
                raise PairingError(f"{names} differ in shape: {key} is {first} and {second}. {advice}")


def header_room(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Bytes that the header of a file takes at most in which each of these parameters has three tensors."""
    return 4096 + sum(3 * (len(name) + 160) for name in shapes)


def _opened(path: str | Path) -> _Opened:
    checkpoint = open_checkpoint(path)
    spec = inspect_as(checkpoint, DIT)
    with torch.device("meta"):
        expected = DIT.build(spec.config).state_dict()
    check_names(expected, spec)
    return _Opened(checkpoint, spec, {name: tuple(value.shape) for name, value in expected.items()})


def _is_matrix(parameter: str, shape: tuple[int, ...]) -> bool:
    """Whether it is one of a layer, or a convolution, which is seen as one."""
    return len(shape) in (2, 5) and parameter.endswith(".weight")


def _values(parameter: str, shape: tuple[int, ...], rank: int) -> int:
    """Numbers that a change takes at most, two for alpha."""
    if not _is_matrix(parameter, shape):
        return prod(shape) + 2
    out, inner = shape[0], prod(shape[1:])
    return min(rank, out, inner) * (out + inner) + 2


def _extracted(parameter: str, difference: Tensor, how: Extraction) -> Extracted:
    energy = _energy(difference)
    if not _is_matrix(parameter, tuple(difference.shape)):
        change, kept = Change(Full(difference)), energy
    else:
        up, values, down = _largest(difference.flatten(1), how)
        root = values.sqrt()
        change, kept = Change(LowRank(root[:, None] * down, up * root)), _energy(values)
    tensors = lora_tensors(Adapter("the difference", {parameter: (change,)}))
    stored = {name: _stored(name, tensor, tuple(difference.shape), how) for name, tensor in tensors.items()}
    return Extracted(parameter, stored, energy, kept)


def _stored(name: str, tensor: Tensor, shape: tuple[int, ...], how: Extraction) -> Tensor:
    """A tensor in the file's dtype; the factors of a convolution in its shape, as trainers write them."""
    if name.endswith(".alpha"):
        return tensor
    if len(shape) > 2 and name.endswith(".lora_down.weight"):
        tensor = tensor.reshape(-1, *shape[1:])
    elif len(shape) > 2 and name.endswith(".lora_up.weight"):
        tensor = tensor.reshape(*tensor.shape, *(1 for _ in shape[2:]))
    stored = tensor.to(how.dtype)
    if not bool(torch.isfinite(stored).all()):
        dtype = str(how.dtype).removeprefix("torch.")
        raise InvalidInputError(f"The difference in {name} is too large for {dtype}. Use --dtype bf16 or fp32.")
    return stored


def _energy(values: Tensor) -> float:
    return float(values.double().square().sum())


def _largest(matrix: Tensor, how: Extraction) -> tuple[Tensor, Tensor, Tensor]:
    """(U [out, rank], singular values [rank], V transposed [rank, in]) of the largest singular values, float32."""
    rank, smaller = how.rank, min(matrix.shape)
    if not how.quick or rank + _OVERSAMPLING >= smaller:
        up, values, down = _decomposed(matrix)
        return up[:, :rank], values[:rank], down[:rank]
    # Source: Halko, Martinsson and Tropp, "Finding structure with randomness", arXiv 0909.4061, algorithms 4.4 and 5.1.
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn(matrix.shape[1], rank + _OVERSAMPLING, generator=generator).to(matrix.device)
    image = torch.linalg.qr(matrix @ sample).Q
    for _ in range(_ROUNDS):
        image = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.T @ image).Q).Q
    up, values, down = _decomposed(image.T @ matrix)
    return image @ up[:, :rank], values[:rank], down[:rank]


def _decomposed(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    try:
        return torch.linalg.svd(matrix, full_matrices=False)
    except RuntimeError as error:  # a library's fast method may not end; in double precision it does
        if is_out_of_memory(error):
            raise
        up, values, down = torch.linalg.svd(matrix.double().cpu(), full_matrices=False)
        return up.to(matrix), values.to(matrix), down.to(matrix)
