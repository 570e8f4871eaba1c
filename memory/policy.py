"""How much of a model is on the device while it runs: the choice, and what each choice takes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import nn

from ..common.errors import InvalidInputError
from ..common.records import record
from ..common.streaming import BlockStream, LentBlocks
from .backend import make_backend
from .block_swap import SLOTS, slab_blocks, spread, swapping
from .budget import FLOPS_PER_BYTE
from .pinned import default_pinned_bytes
from .plain_matrices import plain_matrices
from .slabs import Slabs, lay_out
from .staging import BUFFERS
from .tensors import held_tensors, size_bytes


class Footprint(NamedTuple):
    """Bytes of a model's blocks under a policy.

    `device_bytes`: on the device, slots included. `pinned_bytes`: of host memory for slabs and staging buffers.
    `file_bytes`: the blocks that have no slab, which stay in their file's map or in the memory they were loaded to.
    `copied_bytes`: brought to the device in each pass.
    """

    device_bytes: int
    pinned_bytes: int
    file_bytes: int
    copied_bytes: int


class MemoryPolicy(Protocol):
    """A choice of where the blocks of a model are while it runs."""

    def swapped(self, blocks: int) -> tuple[int, ...]:
        """Which of so many blocks are not kept on the device."""
        ...

    def footprint(self, block_bytes: Sequence[int], device: torch.device) -> Footprint:
        """What blocks of these sizes take."""
        ...

    def streaming(
        self, blocks: Sequence[nn.Module], device: torch.device, slabs: Slabs
    ) -> AbstractContextManager[BlockStream]:
        """The blocks' stream for one run, which its passes are given. Inside, only `swapped` ones are on the CPU."""
        ...

    def lowered(self, blocks: int) -> MemoryPolicy | None:
        """The next policy that takes less of the device, None when there is none."""
        ...


@record
class Resident:
    """All blocks are on the device.

    Attributes:
        plain: of how many of them, the first, stored matrices are kept as plain numbers (see `plain_matrices`).
        plain_bytes: what these take, beside the stored ones.
    """

    plain: int = 0
    plain_bytes: int = 0

    def swapped(self, blocks: int) -> tuple[int, ...]:
        return ()

    def footprint(self, block_bytes: Sequence[int], device: torch.device) -> Footprint:
        return Footprint(sum(block_bytes) + self.plain_bytes, 0, 0, 0)

    @contextlib.contextmanager
    def streaming(self, blocks: Sequence[nn.Module], device: torch.device, slabs: Slabs) -> Iterator[BlockStream]:
        with plain_matrices(blocks[: self.plain]):
            yield iter

    def lowered(self, blocks: int) -> MemoryPolicy | None:
        return RESIDENT if self.plain else BlockSwap(0).lowered(blocks)


@record
class BlockSwap:
    """Some blocks, evenly between those that stay, come to the device only for their turn (see `block_swap.Ring`).

    Attributes:
        blocks: how many; more than the model has means all of it. The device then holds the others and two slots of one
            block each, so 1 and 2 save nothing.
        pinned_bytes: cap on the pinned memory for slabs, other models' included, which let go of theirs where there is
            too little for both; None for 45 % of the machine's. Blocks beyond it are read from where they were loaded
            (the file's map) through two pinned buffers of one block each.

    Raises:
        InvalidInputError: a negative number.
    """

    blocks: int
    pinned_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.blocks < 0 or (self.pinned_bytes or 0) < 0:
            raise InvalidInputError(
                f"Blocks to swap and the cap on pinned memory cannot be negative, got {self.blocks} blocks and "
                f"{self.pinned_bytes} bytes. Use 0 blocks to keep the whole model on the device."
            )

    def swapped(self, blocks: int) -> tuple[int, ...]:
        return spread(min(self.blocks, blocks), blocks)

    def footprint(self, block_bytes: Sequence[int], device: torch.device) -> Footprint:
        swapped = self.swapped(len(block_bytes))
        sizes = [block_bytes[index] for index in swapped]
        if not sizes:
            return Resident().footprint(block_bytes, device)
        largest = max(sizes)
        with_slab = sum(sizes[index] for index in slab_blocks(sizes, self._cap(device)))
        staged = sum(sizes) - with_slab
        return Footprint(
            device_bytes=sum(block_bytes) - sum(sizes) + min(SLOTS, len(sizes)) * largest,
            pinned_bytes=with_slab + (BUFFERS * largest if staged else 0),
            file_bytes=staged,
            copied_bytes=sum(sizes) if len(sizes) > SLOTS else 0,
        )

    @contextlib.contextmanager
    def streaming(self, blocks: Sequence[nn.Module], device: torch.device, slabs: Slabs) -> Iterator[BlockStream]:
        chosen = [blocks[index] for index in self.swapped(len(blocks))]
        if not chosen:
            yield iter
            return
        with swapping(chosen, make_backend(device), slabs, self._cap(device)) as ring:
            yield LentBlocks(ring.stream)

    def lowered(self, blocks: int) -> MemoryPolicy | None:
        """A quarter of the blocks more; below three, swapping saves nothing."""
        if self.blocks >= blocks:
            return None
        quarter = max(-(-blocks // 4), SLOTS + 1)
        return replace(self, blocks=min(self.blocks + quarter, blocks))

    def _cap(self, device: torch.device) -> int:
        return default_pinned_bytes(device) if self.pinned_bytes is None else self.pinned_bytes


RESIDENT = Resident()


@runtime_checkable
class Streamed(Protocol):
    """A model that runs block by block."""

    @property
    def streamed_blocks(self) -> Sequence[nn.Module]:
        """The blocks that may be swapped, in the order they run."""
        ...


def streamed_blocks(module: nn.Module) -> Sequence[nn.Module]:
    """The blocks of a model that may be swapped, in the order they run; none of one that is not `Streamed`."""
    return module.streamed_blocks if isinstance(module, Streamed) else ()


def swapped_blocks(policy: MemoryPolicy, module: nn.Module) -> list[nn.Module]:
    """The blocks of a model that a policy swaps."""
    blocks = streamed_blocks(module)
    return [blocks[index] for index in policy.swapped(len(blocks))]


def slot_bytes(policy: MemoryPolicy, module: nn.Module, device: torch.device) -> int:
    """Device memory that the swapped blocks of a model take in slots."""
    sizes = block_bytes(streamed_blocks(module))
    swapped = sum(sizes[index] for index in policy.swapped(len(sizes)))
    return policy.footprint(sizes, device).device_bytes - (sum(sizes) - swapped)


def fewest_swapped(module: nn.Module, device: torch.device, limit_bytes: float) -> BlockSwap:
    """As few swapped blocks as leave a model's weights, slots included, within so many bytes; all where none do."""
    blocks = streamed_blocks(module)
    sizes = block_bytes(blocks)
    rest = size_bytes(held_tensors(module, blocks))
    policies = (BlockSwap(count) for count in range(len(sizes)))
    fitting = (policy for policy in policies if rest + policy.footprint(sizes, device).device_bytes <= limit_bytes)
    return next(fitting, BlockSwap(len(sizes)))


def block_bytes(blocks: Iterable[nn.Module]) -> list[int]:
    """Bytes of each block as the ring lays it out."""
    return [lay_out(block).size_bytes for block in blocks]


def copies_dominate(
    memory: MemoryPolicy, blocks: Sequence[nn.Module], device: torch.device, flops_of_block: float
) -> bool:
    """Whether copying swapped blocks to a device takes longer than computing with all blocks."""
    sizes = block_bytes(blocks)
    return memory.footprint(sizes, device).copied_bytes * FLOPS_PER_BYTE > len(sizes) * flops_of_block
