"""What a causal model knows of the video so far, of each question that a step puts to it."""

from __future__ import annotations

from ...common.errors import InvalidInputError
from ...dit.config import DiTConfig
from ...dit.past import Past
from ..ask import Ask


class NoMemories:
    """Of a model that makes all frames at once."""

    def of(self, ask: Ask) -> None:
        """Nothing."""
        return


NOTHING_BEFORE = NoMemories()


class Memories:
    """The `Past` of each question: a negative prompt sees the same frames, and makes other keys and values of them.

    Args:
        config: of the model.
        most_frames, sink_frames: see `Past`.
    """

    def __init__(self, config: DiTConfig, most_frames: int, sink_frames: int) -> None:
        self._config = config
        self._most = most_frames
        self._sink = sink_frames
        self._part = 0
        self._frames = 0
        self._pasts: dict[Ask, Past] = {}

    def begin(self, frames: int) -> None:
        """A part of so many latent frames comes."""
        self._part = frames
        for past in self._pasts.values():
            past.begin(frames)

    def keep(self) -> None:
        """The part stays as the last pass of each question left it."""
        self._frames += self._part
        for past in self._pasts.values():
            past.keep()

    def of(self, ask: Ask) -> Past:
        """What is known where this question is put.

        Raises:
            InvalidInputError: it comes up for the first time when there are frames already.
        """
        if ask not in self._pasts:
            if self._frames:
                raise InvalidInputError(
                    f"A pass of the {ask.side} prompt comes up in the midst of the video, and has not seen the frames "
                    "before. Use guidance that asks the same in all chunks."
                )
            past = self._pasts[ask] = Past(self._config.layers, self._config.heads, self._most, self._sink)
            past.begin(self._part)
        return self._pasts[ask]

    @property
    def size_bytes(self) -> int:
        """What all of it takes at this moment."""
        return sum(past.size_bytes for past in self._pasts.values())
