"""Running a causal network on horizontal strips of its frames, exactly: the rows of the strips fit without seams.

A strip is cut with a halo: the rows around it that its result depends on. Each step spoils the outermost rows at a cut
(see `Step`), and these are cut off behind it, so that the halo melts on the way and little is computed twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..common.errors import OutOfMemory
from ..common.log import logger
from ..common.out_of_memory import free_unused, is_out_of_memory
from .stream import FrameStream, Passage, Step

THINNEST_STRIP = 2
"""Rows, where rows are fewest. Of a thinner strip almost all is halo."""


class Shelf:
    """Where all that waits for a strip's turn lies meanwhile: in RAM, if the network is on another device."""

    def put(self, frame: Tensor) -> Tensor:
        return frame if frame.device.type in ("cpu", "meta") else frame.cpu()

    def take(self, frame: Tensor, device: torch.device) -> Tensor:
        return frame.to(device)


class Rows(NamedTuple):
    """From `start` to before `end`."""

    start: int
    end: int


class Geometry:
    """Which rows of the frames before each step a strip needs.

    Strips are counted in units: the rows of the place where the frames have fewest.

    Attributes:
        scales: rows per unit before each step, and after the last.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        scales = [Fraction(1)]
        for step in steps:
            scales.append(scales[-1] * step.up / step.down)
        self.scales = [int(scale / min(scales)) for scale in scales]
        halo: tuple[int, ...] = (0, 0)
        halos: list[tuple[int, ...]] = [halo]
        for step in reversed(steps):
            halo = tuple(
                -(-(rows + spoiled) * step.down // step.up)
                for rows, spoiled in zip(halo, (step.above, step.below), strict=True)
            )
            halos.append(halo)
        self._halos = halos[::-1]

    def rows(self, place: int, strip: Rows, units: int) -> Rows:
        """What of the frames before step `place` belongs to a strip and its halo; frames are `units` units high."""
        scale, (above, below) = self.scales[place], self._halos[place]
        return Rows(max(0, scale * strip.start - above), min(scale * units, scale * strip.end + below))

    @property
    def halo_units(self) -> int:
        """The largest halo of one side, in units."""
        return max(-(-max(halo) // scale) for halo, scale in zip(self._halos, self.scales, strict=True))


@dataclass(frozen=True, slots=True)
class Band:
    """The past of all steps for some rows (`where`, in units) of the frames."""

    where: Rows
    streams: list[FrameStream]


class Strips:
    """The part of a network whose steps are run strip by strip.

    The past of a strip is taken from the shelf before it computes and put back after it, its rows of a frame when the
    frame before is done: on the device there is never more than the past and the frame of one strip.

    Attributes:
        strips: how many the frames are cut into; doubled when memory runs out.
    """

    def __init__(
        self, steps: Sequence[Step], strips: int, *, shelf: Shelf, check: Callable[[], None] | None = None
    ) -> None:
        self.strips = strips
        self._steps, self._shelf, self._check = steps, shelf, check
        self._geometry = Geometry(steps)
        self._bands: list[Band] = []
        self._beginning = [FrameStream() for _ in steps]  # without a past; all strips have the kernels of these

    def adopt(self, streams: Sequence[FrameStream], rows: int) -> None:
        """Takes over the past of whole frames, which are `rows` rows high before the first step."""
        where = Rows(0, rows // self._geometry.scales[0])
        self._bands = [Band(where, [stream.mapped(self._put_aside) for stream in streams])]

    def run(self, waiting: Sequence[tuple[int, Tensor]], *, device: torch.device, is_last: bool) -> list[Tensor]:
        """Takes whole frames to the end of the steps, from the shelf to the shelf.

        When memory runs out, the rows that are not done yet are cut into strips half as high.

        Args:
            waiting: (number of the next step, frame [B, C, 1, H, W]), the last one first as in `Passage`.
            device: where the steps compute.
            is_last: nothing comes after these frames: their past is not kept.

        Raises:
            OutOfMemory: even the thinnest strips need more than there is.
        """
        if not waiting:
            return []
        place, frame = waiting[-1]
        units = frame.shape[3] // self._geometry.scales[place]
        done: list[list[Tensor]] = []
        bands: list[Band] = []
        start = 0
        while start < units:
            strip = Rows(start, min(units, start + -(-units // self.strips)))
            result = self._attempt(strip, units, waiting, device)
            if result is None:
                self._cut_finer(strip)
                continue
            frames, streams = result
            done.append(frames)
            bands += [] if is_last else [self._band(strip, units, streams)]
            start = strip.end
            self._bands = [old for old in self._bands if old.where.end > start - self._geometry.halo_units]
            del result, frames, streams
        self._bands = bands
        return [torch.cat([strip.pop(0) for strip in done], dim=3) for _ in range(len(done[0]))]

    def _attempt(
        self, strip: Rows, units: int, waiting: Sequence[tuple[int, Tensor]], device: torch.device
    ) -> tuple[list[Tensor], list[FrameStream]] | None:
        """The finished rows of a strip and its new past; None when memory ran out."""
        try:
            return self._run_strip(strip, units, waiting, device)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        return None

    def _run_strip(
        self, strip: Rows, units: int, waiting: Sequence[tuple[int, Tensor]], device: torch.device
    ) -> tuple[list[Tensor], list[FrameStream]]:
        rows = [self._geometry.rows(place, strip, units) for place in range(len(self._steps) + 1)]
        passage = Passage(
            [_trimmed(step, *pair) for step, pair in zip(self._steps, zip(rows, rows[1:]), strict=False)],
            [self._past(place, rows[place], device) for place in range(len(self._steps))],
            check=self._check,
        )
        done = []
        for place, frame in reversed(waiting):
            cut = frame[..., rows[place].start : rows[place].end, :]
            passage.waiting = [(place, self._shelf.take(cut, device))]
            done += [self._shelf.put(result) for result in passage.frames()]
        return done, passage.streams

    def _past(self, place: int, rows: Rows, device: torch.device) -> FrameStream:
        """The past of a step for some rows of its frames, from the bands that have them."""
        scale = self._geometry.scales[place]
        parts = []
        for band in self._bands:
            first, last = scale * band.where.start, scale * band.where.end
            if max(first, rows.start) < min(last, rows.end):
                cut = Rows(max(first, rows.start) - first, min(last, rows.end) - first)
                parts.append((band.streams[place], cut, last - first))
        if not parts:
            return self._beginning[place].copy()

        def joined(layer: nn.Module, number: int, _frame: Tensor) -> Tensor:
            pieces = [_cut(stream.past(layer)[number], cut, height) for stream, cut, height in parts]
            pieces = [self._shelf.take(piece, device) for piece in pieces]
            return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=3)

        return parts[0][0].mapped(joined)

    def _band(self, strip: Rows, units: int, streams: Sequence[FrameStream]) -> Band:
        """The past of a strip without its halo, on the shelf."""
        kept = []
        for place, stream in enumerate(streams):
            scale, rows = self._geometry.scales[place], self._geometry.rows(place, strip, units)
            core = Rows(scale * strip.start - rows.start, scale * strip.end - rows.start)
            kept.append(self._core_of(stream, core, rows.end - rows.start))
        return Band(strip, kept)

    def _core_of(self, stream: FrameStream, core: Rows, height: int) -> FrameStream:
        return stream.mapped(lambda _layer, _number, frame: self._shelf.put(_cut(frame, core, height)))

    def _put_aside(self, _layer: nn.Module, _number: int, frame: Tensor) -> Tensor:
        return self._shelf.put(frame)

    def _cut_finer(self, strip: Rows) -> None:
        free_unused()
        if strip.end - strip.start <= THINNEST_STRIP:
            raise OutOfMemory(
                f"The VAE needs more memory than is free, even in {self.strips} strips. Make a smaller video, or close "
                "other programs."
            )
        self.strips *= 2
        logger.warning("Memory ran out in the VAE; it goes on in %d strips.", self.strips)


def _trimmed(step: Step, before: Rows, after: Rows) -> Step:
    """The step on the rows `before`, giving the rows `after` alone."""
    first = before.start * step.up // step.down

    def run(frames: Tensor, stream: FrameStream) -> Tensor:
        return step(frames, stream)[..., after.start - first : after.end - first, :]

    return Step(run)


def _cut(frame: Tensor, rows: Rows, height: int) -> Tensor:
    """Some of `height` rows; a frame of another height, kept inside a step that changes it, is cut in proportion."""
    return frame[..., rows.start * frame.shape[3] // height : rows.end * frame.shape[3] // height, :]
