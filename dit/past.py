"""Keys and values of the frames that were made before, at which the next ones of a causal model look back."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from ..common.errors import InvalidInputError
from .execution import ALL_HEADS, LookBack
from .tokens import copy_forward


class Past:
    """What a causal model knows of the video so far: keys and values of each of its own blocks, whoever holds it.

    A pass writes those of its own frames behind the ones that are kept, and looks at both. The same frames may be gone
    over again and again, as in the steps of a solver; `keep` then makes what the last pass wrote part of what is kept.

    Args:
        layers, heads: of the model.
        most_frames: latent frames that are held at most, those of a pass among them.
        sink_frames: the first so many are never forgotten.

    Attributes:
        frames: latent frames before the next part, forgotten ones included: where that begins in time.

    Source: Huang et al., "Self Forcing", arXiv 2506.08009, algorithm 2; the sink is that of Yang et al., "LongLive",
    arXiv 2509.22622.
    """

    def __init__(self, layers: int, heads: int, most_frames: int, sink_frames: int = 0) -> None:
        self.frames = 0
        self._heads = heads
        self._most = most_frames
        self._sink = sink_frames
        self._held = 0
        self._part = 0
        self._blocks: list[tuple[Tensor, Tensor] | None] = [None] * layers

    def begin(self, frames: int) -> None:
        """Makes room for a part of so many latent frames: the oldest but for the sink are forgotten.

        Raises:
            InvalidInputError: there is not as much room in all.
        """
        if self._sink + frames > self._most:
            raise InvalidInputError(
                f"A part of {frames} latent frames and {self._sink} that are never forgotten are more than the "
                f"{self._most} that are held. Hold more."
            )
        over = self._held + frames - self._most
        if over > 0:
            for kept in self._blocks:
                for tensor in kept or ():
                    size = tensor.shape[1] // self._most
                    copy_forward(tensor[:, self._sink * size : self._held * size], over * size)
            self._held -= over
        self._part = frames

    def keep(self) -> None:
        """What the last pass of every block wrote stays."""
        self._held += self._part
        self.frames += self._part

    def of(self, index: int) -> LookBack:
        """Of the block of this number."""
        return partial(self._extended, index)

    @property
    def size_bytes(self) -> int:
        """What it takes at this moment."""
        return sum(tensor.nbytes for kept in self._blocks for tensor in kept or ())

    def _extended(self, index: int, keys: Tensor, values: Tensor, heads: slice = ALL_HEADS) -> tuple[Tensor, Tensor]:
        """Keys and values [B, L, some heads, D] of a pass, behind those that are kept."""
        size = keys.shape[1] // self._part
        kept = self._blocks[index]
        if kept is None:
            shape = (len(keys), self._most * size, self._heads, keys.shape[-1])
            kept = self._blocks[index] = keys.new_empty(shape), values.new_empty(shape)
        start, stop = self._held * size, (self._held + self._part) * size
        for tensor, own in zip(kept, (keys, values)):
            tensor[:, start:stop, heads] = own
        first, second = (tensor[:, :stop, heads] for tensor in kept)
        return first, second
