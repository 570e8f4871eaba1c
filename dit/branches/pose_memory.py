"""What a run keeps of a pose video's way through the blocks, so that it is made once and not in every pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ...weights.int8 import RotatedRows


class StreamSize(NamedTuple):
    """Of the tokens of a pose video: their number in all, their width and bytes of a number; blocks they go through."""

    tokens: int
    width: int
    itemsize: int
    blocks: int

    def kept_bytes(self, *, in_8_bit: bool) -> int:
        """What is kept where they enter one block."""
        return self.tokens * (self.width + 4 if in_8_bit else self.width * self.itemsize)

    @property
    def plain_bytes(self) -> int:
        """Of the tokens themselves."""
        return self.kept_bytes(in_8_bit=False)

    @property
    def most_blocks(self) -> int:
        """Blocks before which they are worth keeping: all but the first, which they enter as they are embedded."""
        return self.blocks - 1


class PoseSlot(Protocol):
    """What is kept of one pose video."""

    def has(self, index: int) -> bool:
        """Whether the tokens that enter the block of this number are kept."""
        ...

    def take(self, index: int, device: torch.device) -> Tensor:
        """The tokens [B, L, D] that enter a block; not to be written into."""
        ...

    def put(self, index: int, tokens: Tensor) -> None:
        """Keeps the tokens that enter a block, if there is room."""
        ...


class PoseMemory(Protocol):
    """Keeps, or does not, what enters each block: half of its keys and values, from which these are made again."""

    @property
    def is_exact(self) -> bool:
        """Whether tokens come back as they were."""
        ...

    def as_kept(self, tokens: Tensor) -> Tensor:
        """Tokens as they would come back, for which there is no room."""
        ...

    def slot(self, of: Sequence[Tensor], size: StreamSize) -> PoseSlot:
        """What is kept of the pose video with these inputs: latent, text, features of a picture."""
        ...


class NoPoseMemory:
    """Nothing is kept: every pass makes all of it again."""

    is_exact = True

    def as_kept(self, tokens: Tensor) -> Tensor:
        """The tokens themselves."""
        return tokens

    def slot(self, of: Sequence[Tensor], size: StreamSize) -> NoPoseMemory:
        """Itself."""
        return self

    def has(self, index: int) -> bool:
        """Never."""
        return False

    def take(self, index: int, device: torch.device) -> Tensor:
        """There is nothing to take."""
        raise LookupError(f"nothing is kept of block {index}")

    def put(self, index: int, tokens: Tensor) -> None:
        """Nothing happens."""

    def begin_step(self) -> None:
        """Nothing is let go."""

    def forget(self) -> None:
        """There is nothing."""


NO_POSE_MEMORY = NoPoseMemory()


class KeptPoses:
    """Keeps the tokens of pose videos as long as there is room.

    Of a clip that is seen in windows each window has a pose video of its own, and the first ones are kept. Where there
    is room for some blocks only, the last ones are kept, so that the way to the others is the same in every pass. What
    a whole step did not ask for is let go.

    Args:
        device: of what is kept; None for that of the tokens themselves.
        in_8_bit: whether it is rounded, with a scale for each token.
        most_bytes: of all that is kept.
    """

    def __init__(self, device: torch.device | None, most_bytes: int, *, in_8_bit: bool = False) -> None:
        self._device, self._most_bytes, self._in_8_bit = device, most_bytes, in_8_bit
        self._slots: list[_KeptPose] = []

    @property
    def is_exact(self) -> bool:
        """See `PoseMemory`."""
        return not self._in_8_bit

    def as_kept(self, tokens: Tensor) -> Tensor:
        """See `PoseMemory`: what is seen then does not depend on how much room there is."""
        return RotatedRows.of(tokens).plain() if self._in_8_bit else tokens

    @property
    def size_bytes(self) -> int:
        """Of what is kept at this moment."""
        return sum(slot.size_bytes for slot in self._slots)

    def slot(self, of: Sequence[Tensor], size: StreamSize) -> PoseSlot:
        """See `PoseMemory`."""
        found = next((slot for slot in self._slots if slot.is_of(of)), None)
        if found is None:
            each = size.kept_bytes(in_8_bit=self._in_8_bit)
            room = self._most_bytes - sum(slot.reserved_bytes for slot in self._slots)
            blocks = min(size.most_blocks, max(0, room) // each)
            found = _KeptPose(tuple(of), size.blocks - blocks, blocks * each, self._stored)
            self._slots.append(found)
        found.is_asked_for = True
        return found

    def begin_step(self) -> None:
        """Lets go of what the step before did not ask for."""
        self._slots = [slot for slot in self._slots if slot.is_asked_for]
        for slot in self._slots:
            slot.is_asked_for = False

    def forget(self) -> None:
        """Lets go of everything: the weights are others now."""
        self._slots = []

    def _stored(self, tokens: Tensor) -> RotatedRows | Tensor:
        """The tokens as they are kept, a copy."""
        device = tokens.device if self._device is None else self._device
        return RotatedRows.of(tokens).to(device) if self._in_8_bit else tokens.to(device, copy=True)


class _Store(Protocol):
    def __call__(self, tokens: Tensor, /) -> RotatedRows | Tensor: ...


class _KeptPose:
    """See `PoseSlot`; keeps what enters the blocks from `first` on."""

    def __init__(self, of: tuple[Tensor, ...], first: int, reserved_bytes: int, store: _Store) -> None:
        self._of, self._first, self._store = of, first, store
        self._tokens: dict[int, RotatedRows | Tensor] = {}
        self.reserved_bytes = reserved_bytes
        self.is_asked_for = True

    @property
    def size_bytes(self) -> int:
        return sum(each.nbytes for each in self._tokens.values())

    def is_of(self, of: Sequence[Tensor]) -> bool:
        return len(of) == len(self._of) and all(_is_same(one, other) for one, other in zip(of, self._of))

    def has(self, index: int) -> bool:
        return index in self._tokens

    def take(self, index: int, device: torch.device) -> Tensor:
        kept = self._tokens[index].to(device)
        return kept.plain() if isinstance(kept, RotatedRows) else kept

    def put(self, index: int, tokens: Tensor) -> None:
        if index >= self._first and index not in self._tokens:
            self._tokens[index] = self._store(tokens)


def _is_same(one: Tensor, other: Tensor) -> bool:
    if one is other:
        return True
    is_alike = one.shape == other.shape and one.device == other.device
    return is_alike and one.device.type != "meta" and torch.equal(one, other)
