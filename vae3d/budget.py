"""How much memory a pass of the autoencoder needs beside its weights, by arithmetic alone.

Most of it is the past: two frames for each convolution over time. The rest is what the largest step works on. The
figures agree within a tenth with those counted on the meta device (`benchmarks.peak_memory`), for both autoencoders, in
strips and without; on a GPU the convolution library adds a workspace of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import accumulate

from torch import Tensor

from ..common.records import record
from .config import VAEConfig
from .layers import ELEMENTS_AT_ONCE
from .stream import FrameStream, Step, as_one
from .strips import Geometry, Rows

_PAST_FRAMES = 2


@record
class _Station:
    """What one step costs.

    Attributes:
        step: how it changes the rows.
        kept: channels before each of its convolutions over time, added up.
        given, made: channels before and after it.
        frames_given, frames_made: frames before and after it per latent frame.
        copied: channels, of the frames before it, of the largest copy it makes: times three for a convolution.
        inside: channels, of the frames before it, of what its own parts are given.
    """

    step: Step
    kept: int
    given: int
    made: int
    frames_given: int
    frames_made: int
    copied: int = 0
    inside: int = 0


def decode_bytes(config: VAEConfig, height: int, width: int, *, strips: int = 1, itemsize: int = 2) -> int:
    """Peak bytes of decoding a long clip to `height` x `width` pixels; `itemsize`: bytes of one number."""
    stations = _decoder(config)
    striped = next(number for number, station in enumerate(stations) if station.step.up > 1) + 1
    stride = config.decoded_stride
    return itemsize * _elements(stations, range(striped, len(stations)), (height // stride, width // stride), strips)


def encode_bytes(config: VAEConfig, height: int, width: int, *, strips: int = 1, itemsize: int = 2) -> int:
    """Peak bytes of encoding a long clip; see `decode_bytes`."""
    stations = _encoder(config)
    shrinking = [number for number, station in enumerate(stations) if station.step.down > 1]
    return itemsize * _elements(stations, range(shrinking[-2:][0] + 1), (height, width), strips)


def _elements(stations: Sequence[_Station], striped: range, size: tuple[int, int], strips: int) -> int:
    sizes = list(accumulate(stations, _next_size, initial=size))
    if strips == 1:
        return _past(stations, sizes) + _work(stations, sizes)
    outer = [number for number in range(len(stations)) if number not in striped]
    past = sum(_past([stations[number]], [sizes[number]]) for number in outer)
    return past + max(_in_strips(stations[striped.start : striped.stop], sizes[striped.start :], strips))


def _in_strips(steps: Sequence[_Station], sizes: Sequence[tuple[int, int]], strips: int) -> Iterator[int]:
    """What each of the strips needs: what waits before and behind them is on the shelf."""
    geometry = Geometry([station.step for station in steps])
    units = sizes[0][0] // geometry.scales[0]
    for start in range(0, units, -(-units // strips)):
        strip = Rows(start, min(units, start - (-units // strips)))
        rows = [geometry.rows(place, strip, units) for place in range(len(steps) + 1)]
        cut = [(rows.end - rows.start, columns) for rows, (_, columns) in zip(rows, sizes, strict=False)]
        yield _past(steps, cut) + _work(steps, cut)


def _past(stations: Sequence[_Station], sizes: Sequence[tuple[int, int]]) -> int:
    return sum(
        _PAST_FRAMES * station.kept * rows * columns for station, (rows, columns) in zip(stations, sizes, strict=False)
    )


def _work(stations: Sequence[_Station], sizes: Sequence[tuple[int, int]]) -> int:
    """Of the largest step: its frames, the oldest of its past (kept in case it has to be repeated), and its copies."""
    largest = 0
    for number, station in enumerate(stations):
        area, area_after = (rows * columns for rows, columns in sizes[number : number + 2])
        copies = station.copied * area
        made = max(1, station.frames_made // station.frames_given) * station.made
        frames = (station.given + station.inside + station.kept) * area + made * area_after
        largest = max(largest, frames + min(copies, ELEMENTS_AT_ONCE + copies // 4))
    return largest


def _next_size(size: tuple[int, int], station: _Station) -> tuple[int, int]:
    step = station.step
    return size[0] * step.up // step.down, size[1] * step.up // step.down


def _residual(given: int, made: int, frames: int) -> _Station:
    step, copied = Step(_identity, above=2, below=2), 3 * max(given, made)
    return _Station(step, given + made, given, made, frames, frames, copied=copied)


def _decoder(config: VAEConfig) -> list[_Station]:
    first, last = config.decoder_widths[0], config.decoder_widths[-1]
    latent, scale = config.latent_channels, config.patch_size * config.enlargement
    stations = [_Station(_conv_step(), latent, latent, first, 1, 1), *[_residual(first, first, 1)] * 2]
    channels, frames = first, 1
    doubles = (*reversed(config.temporal_downsample), None)
    for width, doubled in zip(config.decoder_widths, doubles, strict=True):
        level = [_residual(channels, width, frames)]
        level += [_residual(width, width, frames)] * config.residual_blocks
        channels = width
        if doubled is not None:
            made = width if config.level_shortcuts else width // 2
            level += _enlargement(width, made, frames, doubled)
            channels, frames = made, frames * (1 + doubled)
        stations += [_joined(level)] if config.level_shortcuts and doubled is not None else level
    leave = Step(_identity, above=scale, below=scale, up=scale)
    # It keeps sums, in float32: two numbers of 16 bits each.
    return [*stations, _Station(leave, 2 * config.decoded_channels, last, 3, frames, frames, copied=4 * last)]


def _enlargement(width: int, made: int, frames: int, doubled: bool) -> list[_Station]:
    # Each pixel becomes four, first as channels.
    after = frames * (1 + doubled)
    enlarge = _Station(Step(_identity, above=1, below=1, up=2), 0, width, made, after, after, copied=4 * made)
    if not doubled:
        return [enlarge]
    return [_Station(Step(_identity), width, width, width, frames, after, copied=3 * width), enlarge]


def _encoder(config: VAEConfig) -> list[_Station]:
    patch, frames = config.patch_size, 4
    enter = Step(_identity, above=1, below=1, down=patch)
    stations = [_Station(enter, 3, 3, config.base_channels, frames, frames, copied=9)]
    channels = config.base_channels
    halves = (*config.temporal_downsample, None)
    for width, halved in zip(config.encoder_widths, halves, strict=True):
        level = [_residual(channels, width, frames)]
        level += [_residual(width, width, frames)] * (config.residual_blocks - 1)
        channels = width
        if halved is not None:
            level.append(_shrinking(width, frames, halved))
            frames = level[-1].frames_made
        stations += [_joined(level)] if config.level_shortcuts else level
    last = config.encoder_widths[-1]
    stations += [_residual(last, last, frames)] * 2
    return [*stations, _Station(_conv_step(), last, last, 2 * config.latent_channels, 1, 1, copied=3 * last)]


def _shrinking(width: int, frames: int, halved: bool) -> _Station:
    shrink = _Station(Step(_identity, below=1, down=2), 0, width, width, frames, frames, copied=width)
    if not halved:
        return shrink
    return _joined([shrink, _Station(Step(_identity), width, width, width, frames, frames // 2, copied=3 * width)])


def _conv_step() -> Step:
    return Step(_identity, above=1, below=1)


def _joined(level: Sequence[_Station]) -> _Station:
    """Stations that are one step: what each keeps and copies counts as channels of the frames before the first."""
    steps = [station.step for station in level]
    ways = [as_one(_identity, steps[:number]) for number in range(len(level))]
    parts = [(Fraction(way.up, way.down) ** 2, station) for way, station in zip(ways, level, strict=True)]
    return _Station(
        as_one(_identity, steps),
        int(sum(area * station.kept for area, station in parts)),
        level[0].given,
        level[-1].made,
        level[0].frames_given,
        level[-1].frames_made,
        copied=int(max(area * station.copied for area, station in parts)),
        inside=int(max((area * station.given for area, station in parts[1:]), default=0)),
    )


def _identity(frames: Tensor, stream: FrameStream) -> Tensor:
    """Stands in for the network where only the rows of its steps are asked for."""
    return frames
