"""Running a causal network on horizontal strips of its frames, exactly: the rows of the strips fit without seams.

A strip is cut with a halo: the rows around it that its result depends on. Each step spoils the outermost rows at a cut
(see `Step`), and these are cut off behind it, so that the halo melts on the way and little is computed twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..common.errors import OutOfMemory
from ..common.log import logger
from ..common.memory.out_of_memory import free_unused, is_out_of_memory
from ..common.ranks import ALONE, Ranks
from ..common.records import record
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


@record
class Band:
    """The past of all steps for some rows (`where`, in units) of the frames."""

    where: Rows
    streams: list[FrameStream]


class Strips:
    """The part of a network whose steps are run strip by strip.

    The past of a strip is taken from the shelf before it computes and put back after it, its rows of a frame when the
    frame before is done: on the device there is never more than the past and the frame of one strip.

    Several ranks share the strips: each has those of its rows, is handed the past of the rows next to them, and gets
    the finished frames whole.

    Args:
        ranks: that share them.

    Attributes:
        strips: how many the frames are cut into, on all ranks together; doubled when memory runs out.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        strips: int,
        *,
        shelf: Shelf,
        check: Callable[[], None] | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.strips = strips
        self._ranks = ranks
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
        shares = shared_rows(units, self._ranks.size)
        start, end = shares[self._ranks.rank]
        done: list[list[Tensor]] = []
        bands: list[Band] = []
        while start < end:
            strip = Rows(start, min(end, start + -(-shares[0].end // -(-self.strips // self._ranks.size))))
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
        self._bands = bands if is_last else self._with_edges(bands, shares)
        frames = [torch.cat([strip.pop(0) for strip in done], dim=3) for _ in range(len(done[0]))]
        return frames if self._ranks.size == 1 else gathered_rows(frames, shares, self._ranks)

    def _with_edges(self, bands: list[Band], shares: Sequence[Rows]) -> list[Band]:
        """The past of the own rows, and that of the rows next to them, of those who have it."""
        ranks = self._ranks
        if ranks.size == 1:
            return bands
        halo = self._geometry.halo_units
        self._bands = bands
        sent = [torch.cat([*self._past_of(edges(shares, ranks.rank, rank, halo))]) for rank in range(ranks.size)]
        wanted = [edges(shares, rank, ranks.rank, halo) for rank in range(ranks.size)]
        sizes = [(sum(self._size(rows, bands[0]) for rows in each),) for each in wanted]
        received = ranks.swap(sent, sizes)
        for each, values in zip(wanted, received):
            bands = [*bands, *self._edge_bands(each, bands[0], values)]
        return sorted(bands, key=lambda band: band.where.start)

    def _past_of(self, parts: Sequence[Rows]) -> Iterator[Tensor]:
        """The numbers of all steps' past for some units of rows, one behind the other; at least an empty tensor."""
        like = self._bands[0].streams[-1]
        kept = [*self._bands[0].streams, like]
        first = next((frame for stream in kept for frame in stream.all_past()), torch.empty(0))
        yield first.reshape(-1)[:0]
        for rows in parts:
            for place, scale in enumerate(self._geometry.scales[:-1]):
                own = Rows(scale * rows.start, scale * rows.end)
                for frame in self._past(place, own, first.device).all_past():
                    yield frame.reshape(-1)

    def _size(self, rows: Rows, like: Band) -> int:
        """Numbers of `_past_of` for these units, by a band of other rows."""
        units, count = like.where.end - like.where.start, rows.end - rows.start
        return sum(frame.numel() // units * count for stream in like.streams for frame in stream.all_past())

    def _edge_bands(self, parts: Sequence[Rows], like: Band, values: Tensor) -> Iterator[Band]:
        """Bands of what `_past_of` another rank has given."""
        units, done = like.where.end - like.where.start, 0

        def piece(_layer: nn.Module, _number: int, frame: Tensor) -> Tensor:
            nonlocal done
            shape = (*frame.shape[:3], frame.shape[3] // units * count, frame.shape[4])
            begun, done = done, done + prod(shape)
            return _laid_as(frame, values[begun:done].view(shape))

        for rows in parts:
            count = rows.end - rows.start
            yield Band(rows, [stream.mapped(piece) for stream in like.streams])

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


def shared_rows(units: int, ranks: int) -> list[Rows]:
    """Which rows of so many each rank has: equal strips where that leaves some for the last one, as of one process."""
    height = -(-units // ranks)
    if height * (ranks - 1) < units:
        return [Rows(rank * height, min(units, (rank + 1) * height)) for rank in range(ranks)]
    ends = [units * rank // ranks for rank in range(ranks + 1)]
    return [Rows(*pair) for pair in zip(ends, ends[1:])]


def edges(shares: Sequence[Rows], of: int, beside: int, halo: int) -> list[Rows]:
    """Rows of one rank that lie within `halo` rows above or below those of another."""
    if of == beside:
        return []
    own, other = shares[of], shares[beside]
    around = (Rows(other.start - halo, other.start), Rows(other.end, other.end + halo))
    found = (Rows(max(own.start, rows.start), min(own.end, rows.end)) for rows in around)
    return [rows for rows in found if rows.start < rows.end]


def gathered_rows(frames: Sequence[Tensor], shares: Sequence[Rows], ranks: Ranks) -> list[Tensor]:
    """Whole frames [B, C, 1, H, W] on all ranks, of the rows that each of them has.

    Args:
        frames: the own rows of each.
        shares: the rows of each rank, in units.
    """
    own = shares[ranks.rank]
    each = sum(frame.numel() for frame in frames) // (own.end - own.start)
    values = ranks.gather(torch.cat([frame.reshape(-1) for frame in frames]), [each * (e - s) for s, e in shares])
    parts = values.split([each * (end - start) for start, end in shares])
    whole: list[list[Tensor]] = [[] for _ in frames]
    for (start, end), part in zip(shares, parts):
        done = 0
        for number, frame in enumerate(frames):
            shape = (*frame.shape[:3], frame.shape[3] // (own.end - own.start) * (end - start), frame.shape[4])
            begun, done = done, done + prod(shape)
            whole[number].append(_laid_as(frame, part[begun:done].view(shape)))
    return [torch.cat(pieces, dim=3) for pieces in whole]


def _laid_as(frame: Tensor, values: Tensor) -> Tensor:
    """Numbers in the order in memory that those of a frame have, by which convolutions choose how they add up."""
    last = torch.channels_last_3d
    return values.contiguous(memory_format=last) if frame.is_contiguous(memory_format=last) else values


def _trimmed(step: Step, before: Rows, after: Rows) -> Step:
    """The step on the rows `before`, giving the rows `after` alone."""
    first = before.start * step.up // step.down

    def run(frames: Tensor, stream: FrameStream) -> Tensor:
        return step(frames, stream)[..., after.start - first : after.end - first, :]

    return Step(run)


def _cut(frame: Tensor, rows: Rows, height: int) -> Tensor:
    """Some of `height` rows; a frame of another height, kept inside a step that changes it, is cut in proportion."""
    return frame[..., rows.start * frame.shape[3] // height : rows.end * frame.shape[3] // height, :]
