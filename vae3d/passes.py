"""One pass of a clip through an encoder or decoder: whole frames as long as they fit, strips from then on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ..common.errors import GivenUp, OutOfMemory
from ..common.log import logger
from ..common.memory.out_of_memory import free_unused, is_out_of_memory
from ..common.ranks import ALONE, Ranks
from .stream import FrameStream, Passage, Step
from .strips import Shelf, Strips

LATENT_FRAMES_AT_ONCE = 8
"""Taken through the strips together. The past of each strip is fetched and put away once for them: the more, the less
is copied, and the more frames wait on the shelf before and behind the strips."""


def grouped(frames: Iterator[Tensor], size: int) -> Iterator[Tensor]:
    """Single frames [B, C, 1, H, W] -> the first alone, then always `size` together."""
    group = []
    wanted = 1
    for frame in frames:
        group.append(frame)
        if len(group) == wanted:
            yield torch.cat(group, dim=2)
            group, wanted = [], size


class ClipPass:
    """Takes the frames of a clip in order and gives those of the result.

    Where memory peaks (the steps in `striped`) frames can be cut into strips; what is before and after, where an
    attention sees the whole frame, is small. Without strips all steps are one passage. When that runs out of memory,
    it is taken apart and goes on in two strips, from the step that failed.

    Args:
        steps: the network.
        striped: the steps that may be run in strips.
        strips: how many; 1 for whole frames.
        check: called before each step; may raise to stop.
        ranks: that share the strips, of which there are as many at least.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        striped: range,
        strips: int,
        *,
        check: Callable[[], None] | None = None,
        shelf: Shelf | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        strips, self._ranks = max(strips, ranks.size), ranks
        self._steps, self._striped, self._check, self._shelf = steps, striped, check, shelf or Shelf()
        self._rows = 0  # of the frames before the first step
        self._device = torch.device("cpu")  # of the same
        self._whole: Passage | None = None
        self._begun: list[tuple[int, Tensor]] = []  # frames on their way in the strips, on the shelf
        if strips == 1:
            self._whole = Passage(steps, check=check)
        else:
            self._before = self._passage(slice(0, striped.start))
            self._strips = self._make_strips(strips)
            self._after = self._passage(slice(striped.stop, None))

    @property
    def _latents_at_once(self) -> int:
        return LATENT_FRAMES_AT_ONCE if self._whole is None else 1

    def run(self, clip: Tensor, prepare: Callable[[Tensor], Tensor], *, inputs_per_latent: int) -> Iterator[Tensor]:
        """The frames [B, C', 1, H', W'] that the network makes of a clip.

        Args:
            clip: [B, C, T, H, W], on any device.
            prepare: brings a piece of the clip to the network's entrance.
            inputs_per_latent: frames of the clip per latent frame; the first has one.

        Raises:
            OutOfMemory: the thinnest strips need more memory than there is.
        """
        done, total = 0, clip.shape[2]
        try:
            while done < total:
                begun, missing = done, 0 if done else inputs_per_latent - 1
                done = min(total, begun + inputs_per_latent * self._latents_at_once - missing)
                yield from self._feed(prepare(clip[:, :, begun:done]), is_last=done == total)
            return
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or isinstance(error, GivenUp):
                raise
        raise OutOfMemory(
            "The VAE needs more memory than is free, even in thin strips. Make a smaller video, or free memory."
        )

    def _feed(self, frames: Tensor, *, is_last: bool) -> Iterator[Tensor]:
        """The frames [B, C', 1, H', W'] that the next ones [B, C, T, H, W] complete; `is_last`: no more will come."""
        self._rows, self._device = frames.shape[3], frames.device
        (self._before if self._whole is None else self._whole).enter(frames)
        del frames  # the strips take theirs from the shelf
        if self._whole is not None:
            yield from self._run_whole()
        if self._whole is None:
            yield from self._run_apart(is_last)

    def _run_whole(self) -> Iterator[Tensor]:
        assert self._whole is not None  # no local name for it: when it fails, its memory must go
        try:
            yield from self._whole.frames()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        else:
            return
        self._take_apart()
        free_unused()
        logger.warning("Memory ran out in the VAE; it goes on in %d strips.", self._strips.strips)

    def _run_apart(self, is_last: bool) -> Iterator[Tensor]:
        yield from self._after.frames()
        shelved = [(0, self._shelf.put(frame)) for frame in self._before.frames()]
        waiting, self._begun = shelved[::-1] + self._begun, []
        for frame in self._strips.run(waiting, device=self._device, is_last=is_last):
            self._after.enter(self._shelf.take(frame, self._device))
            yield from self._after.frames()

    def _take_apart(self) -> None:
        """From whole frames to strips, with the past of every step and the frames on their way."""
        first, end = self._striped.start, self._striped.stop
        assert self._whole is not None
        streams, waiting = self._whole.streams, self._whole.waiting
        self._whole = None
        groups = ([], [], [])  # before, in and after the strips
        for place, frame in waiting:
            group = (place >= first) + (place >= end)
            groups[group].append((place - (0, first, end)[group], frame))
        self._before = self._passage(slice(0, first), streams, groups[0])
        self._begun = [(place, self._shelf.put(frame)) for place, frame in groups[1]]
        self._after = self._passage(slice(end, None), streams, groups[2])
        self._strips = self._make_strips(2)
        rows = self._rows
        for step in self._steps[:first]:
            rows = rows * step.up // step.down
        self._strips.adopt(streams[first:end], rows)

    def _passage(self, part: slice, streams: Sequence[FrameStream] = (), waiting: Sequence = ()) -> Passage:
        return Passage(self._steps[part], streams[part], waiting, check=self._check)

    def _make_strips(self, strips: int) -> Strips:
        part = self._steps[self._striped.start : self._striped.stop]
        return Strips(part, strips, shelf=self._shelf, check=self._check, ranks=self._ranks)
