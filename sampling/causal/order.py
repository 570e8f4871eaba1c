"""In which order the latent frames of a video are made."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from ...common.errors import InvalidInputError
from ...common.places import Place
from ...common.records import record
from ...dit.conditioning.cut import Cut

CAUSAL = Place("causal", "what lets it make chunk after chunk")


@record
class AtOnce:
    """All frames together, as most models do."""

    def rounds(self, frames: int) -> int:
        """How often the steps of a run are made for so many latent frames: once."""
        return 1

    def frames_at_once(self, frames: int) -> int:
        """Of so many latent frames, those that a pass makes: all."""
        return frames

    def frames_kept(self, frames: int) -> int:
        """Of so many latent frames, those that the model remembers: none."""
        return 0


@record
class ChunkByChunk:
    """A chunk of frames is finished before the next one begins, which sees the ones before.

    Attributes:
        chunk_frames: latent frames of a chunk; as the model was trained, 1 (framewise) or 3 (chunkwise).
        window_frames: latent frames that a chunk sees at most, its own and the sink's among them; 0 for all.
        sink_frames: the first latent frames of the video, which every chunk sees.
        context_noise: the noise level that the model is told when it looks at a finished chunk, 0..1; 0 is clean.
        step_seed: beside the run's seed, which the noise of steps is drawn from.

    Raises:
        InvalidInputError: numbers that cannot work together.
    """

    chunk_frames: int = 1
    window_frames: int = 0
    sink_frames: int = 0
    context_noise: float = 0.0
    step_seed: int = 1

    def __post_init__(self) -> None:
        if self.chunk_frames < 1 or self.window_frames < 0 or self.sink_frames < 0:
            raise InvalidInputError(
                f"A chunk has 1 latent frame or more, a window and a sink 0 or more, got {self.chunk_frames}, "
                f"{self.window_frames} and {self.sink_frames}. Usual are 1 or 3, 0 (all) and 0."
            )
        needed = self.sink_frames + self.chunk_frames
        if self.window_frames and self.window_frames < needed:
            raise InvalidInputError(
                f"A window of {self.window_frames} latent frames has no room for a chunk of {self.chunk_frames} and a "
                f"sink of {self.sink_frames}. Make it {needed} or more, or 0 for all frames."
            )
        if not 0.0 <= self.context_noise <= 1.0:
            raise InvalidInputError(
                f"The context noise is a noise level from 0 (clean) to 1, got {self.context_noise:g}. Usual is 0."
            )

    def rounds(self, frames: int) -> int:
        """How often the steps of a run are made for so many latent frames: once for each chunk."""
        return -(-frames // self.chunk_frames)

    def frames_at_once(self, frames: int) -> int:
        """Of so many latent frames, those that a pass makes."""
        return min(self.chunk_frames, frames)

    def frames_kept(self, frames: int) -> int:
        """Of so many latent frames, those that the model remembers, with those that it makes."""
        return min(self.window_frames or frames, max(frames, self.sink_frames + self.chunk_frames))

    def given(self, frames: int, given: int) -> tuple[Cut, ...]:
        """The chunks of the first `given` of so many latent frames, which are there already; a shorter one comes first.

        Source: guandeh17/Self-Forcing pipeline/causal_inference.py, for a first frame by itself.
        """
        rest = given % self.chunk_frames
        sizes = [rest] * bool(rest) + [self.chunk_frames] * (given // self.chunk_frames)
        return _cuts(sizes, 0, frames)

    def made(self, frames: int, given: int) -> tuple[Cut, ...]:
        """The chunks of the others; a shorter one comes last."""
        whole, rest = divmod(frames - given, self.chunk_frames)
        return _cuts([self.chunk_frames] * whole + [rest] * bool(rest), given, frames)


def _cuts(sizes: Sequence[int], start: int, frames: int) -> tuple[Cut, ...]:
    bounds = list(accumulate(sizes, initial=start))
    return tuple(Cut(first, last, frames) for first, last in zip(bounds, bounds[1:]))


Order = AtOnce | ChunkByChunk

AT_ONCE = AtOnce()
