"""Blocks that come one after the other, each with its weights in place for its turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn

from .errors import InvalidInputError

BlockStream = Callable[[Iterable[nn.Module]], Iterable[nn.Module]]
"""Gives a model's blocks in order, each ready to run until the next one is asked for. `iter` where all are in place."""


class WayBack(Protocol):
    """Who has the weights and the inputs of blocks that are run again for the backward pass."""

    def keeping(self, block: nn.Module) -> AbstractContextManager[object]:
        """Inside, autograd saves the input of a block, for when it is run again."""
        ...

    def contexts(self, block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """Around a block that is run, and around one that is run again: from then on, until another block is, its
        weights are in place. See `context_fn` of `torch.utils.checkpoint.checkpoint`."""
        ...


class InPlace:
    """The `WayBack` of blocks whose weights and inputs stay where they are."""

    def keeping(self, block: nn.Module) -> AbstractContextManager[object]:
        return nullcontext()

    def contexts(self, block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), nullcontext()


IN_PLACE = InPlace()


class LentBlocks:
    """A stream that takes the weights of some blocks away after their turn, so that no gradient comes back to them."""

    def __init__(self, stream: BlockStream) -> None:
        self._stream = stream

    def __call__(self, blocks: Iterable[nn.Module]) -> Iterable[nn.Module]:
        """See `BlockStream`.

        Raises:
            InvalidInputError: gradients of the blocks are wanted.
        """
        blocks = list(blocks)
        if torch.is_grad_enabled() and any(weight.requires_grad for block in blocks for weight in block.parameters()):
            raise _no_way_back()
        return self._stream(blocks)


def check_backward(stream: BlockStream, tokens: Iterable[Tensor]) -> None:
    """Refuses to record what cannot be gone back through.

    Args:
        tokens: what the blocks have made so far.

    Raises:
        InvalidInputError: gradients are wanted of it, and the stream only lends the blocks.
    """
    if isinstance(stream, LentBlocks) and any(each.requires_grad for each in tokens):
        raise _no_way_back()


def _no_way_back() -> InvalidInputError:
    return InvalidInputError(
        "Gradients are recorded while blocks are swapped, whose weights are gone when the backward pass needs them. "
        "Keep all blocks on the device to train, or run under torch.no_grad()."
    )
