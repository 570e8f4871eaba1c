"""Where the blocks of a model that is trained, and what they need to be run again, are during a step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import NamedTuple

import torch
from torch import nn

from ..common.streaming import BlockStream
from .backend import make_backend
from .inputs_in_ram import InputsInRam
from .pinned import default_pinned_bytes
from .policy import BlockSwap
from .round_trip import swapping_both_ways
from .slabs import Slabs


class BlockPlaces(NamedTuple):
    """How much of a model that is trained leaves the device.

    `swap`: blocks that come for their turns, forward and backward. `inputs_in_ram`: how many blocks, the first, have
    their inputs in RAM between those; `input_bytes`: of the largest one.
    """

    swap: BlockSwap = BlockSwap(0)
    inputs_in_ram: int = 0
    input_bytes: int = 0


class Returning:
    """See `common.streaming.WayBack`: brings blocks and inputs back to where they are needed."""

    def __init__(self, come_back: Callable[[nn.Module], None], inputs: InputsInRam) -> None:
        self._come_back = come_back
        self._inputs = inputs

    def keeping(self, block: nn.Module) -> AbstractContextManager[object]:
        return self._inputs.keeping(block)

    def contexts(self, block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), self._again(block)

    @contextmanager
    def _again(self, block: nn.Module) -> Iterator[None]:
        self._come_back(block)
        yield


@contextmanager
def streaming_both_ways(
    blocks: Sequence[nn.Module], places: BlockPlaces, device: torch.device, slabs: Slabs
) -> Iterator[tuple[BlockStream, Returning]]:
    """The stream of the blocks for forward passes, and what brings them back for backward ones.

    Inside, only the swapped blocks of `places` are on the CPU. Go back through a pass before the next one is made.
    """
    with ExitStack() as stack:
        inputs = InputsInRam(blocks[: places.inputs_in_ram], make_backend(device), places.input_bytes)
        stack.callback(inputs.close)
        chosen = [blocks[index] for index in places.swap.swapped(len(blocks))]
        if not chosen:
            yield iter, Returning(lambda _block: None, inputs)
            return
        cap = places.swap.pinned_bytes
        cap = default_pinned_bytes(device) if cap is None else cap
        ring = stack.enter_context(swapping_both_ways(chosen, make_backend(device), slabs, cap))
        yield ring.stream, Returning(ring.come_back, inputs)
