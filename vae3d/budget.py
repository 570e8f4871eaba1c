"""How much memory a pass of the autoencoder needs beside its weights, by arithmetic alone.

Most of it is the past: two frames for each convolution over time. The rest is what the largest step works on. The
figures agree within a tenth with those counted on the meta device (`benchmarks.peak_memory`), for both autoencoders, in
strips and without; on a GPU the convolution library adds a workspace of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from torch import Tensor

from .config import VAEConfig
from .layers import ELEMENTS_AT_ONCE
from .passes import LATENT_FRAMES_AT_ONCE
from .stream import FrameStream, Step, as_one
from .strips import Geometry, Rows

_PAST_FRAMES = 2


@dataclass(frozen=True, slots=True)
class _Station:
    """What one step costs.

    Attributes:
        step: how it changes the rows.
        kept: channels before each of its convolutions over time, added up.
        given, made: channels before and after it.
        frames_given: frames before it per latent frame.
        frames_made: frames after it for one before it.
        copied: channels, of the frames before it, of the largest copy it makes: times three for a convolution.
    """

    step: Step
    kept: int
    given: int
    made: int
    frames_given: int
    frames_made: int = 1
    copied: int = 0


def decode_bytes(config: VAEConfig, height: int, width: int, *, strips: int = 1, itemsize: int = 2) -> int:
    """Peak bytes of decoding a long clip of `height` x `width` pixels; `itemsize`: bytes of one number."""
    stations = _decoder(config)
    striped = next(number for number, station in enumerate(stations) if station.step.up > 1) + 1
    stride = config.spatial_stride
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
    steps = stations[striped.start : striped.stop]
    geometry = Geometry([station.step for station in steps])
    units = sizes[striped.start][0] // geometry.scales[0]
    length = -(-units // strips)
    start = length * ((strips - 1) // 2)
    strip = Rows(start, min(units, start + length))
    rows = [geometry.rows(place, strip, units) for place in range(len(steps) + 1)]
    cut = [(rows.end - rows.start, columns) for rows, (_, columns) in zip(rows, sizes[striped.start :], strict=False)]
    outer = [number for number in range(len(stations)) if number not in striped]
    past = sum(_past([stations[number]], [sizes[number]]) for number in outer) + _past(steps, cut)
    return past + _work(steps, cut) + _waiting(stations, striped, sizes, strips)


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
        frames = (station.given + station.kept) * area + station.made * station.frames_made * area_after
        largest = max(largest, frames + min(copies, ELEMENTS_AT_ONCE + copies // 4))
    return largest


def _waiting(stations: Sequence[_Station], striped: range, sizes: Sequence[tuple[int, int]], strips: int) -> int:
    """Whole frames before the strips, and of those that are done about a quarter: memory peaks midway."""
    first, last = stations[striped.start], stations[striped.stop - 1]
    before, after = (rows * columns for rows, columns in (sizes[striped.start], sizes[striped.stop]))
    done = last.made * last.frames_given * last.frames_made * after * (strips - 1) // (4 * strips)
    return LATENT_FRAMES_AT_ONCE * (first.given * first.frames_given * before + done)


def _next_size(size: tuple[int, int], station: _Station) -> tuple[int, int]:
    step = station.step
    return size[0] * step.up // step.down, size[1] * step.up // step.down


def _residual(given: int, made: int, frames: int) -> _Station:
    return _Station(Step(_identity, above=2, below=2), given + made, given, made, frames, copied=3 * max(given, made))


def _decoder(config: VAEConfig) -> list[_Station]:
    first, last = config.decoder_widths[0], config.decoder_widths[-1]
    latent, patch = config.latent_channels, config.patch_size
    stations = [_Station(_conv_step(), latent, latent, first, 1), *[_residual(first, first, 1)] * 2]
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
    leave = Step(_identity, above=patch, below=patch, up=patch)
    return [*stations, _Station(leave, last, last, 3, frames, copied=3 * last)]


def _enlargement(width: int, made: int, frames: int, doubled: bool) -> list[_Station]:
    # Each pixel becomes four, first as channels.
    enlarge = _Station(Step(_identity, above=1, below=1, up=2), 0, width, made, frames * (1 + doubled), copied=4 * made)
    if not doubled:
        return [enlarge]
    return [_Station(Step(_identity), width, width, width, frames, 2, copied=3 * width), enlarge]


def _encoder(config: VAEConfig) -> list[_Station]:
    patch, frames = config.patch_size, 4
    stations = [_Station(Step(_identity, above=1, below=1, down=patch), 3, 3, config.base_channels, frames, copied=9)]
    channels = config.base_channels
    halves = (*config.temporal_downsample, None)
    for width, halved in zip(config.encoder_widths, halves, strict=True):
        level = [_residual(channels, width, frames)]
        level += [_residual(width, width, frames)] * (config.residual_blocks - 1)
        channels = width
        if halved is not None:
            level.append(_Station(Step(_identity, below=1, down=2), 0, width, width, frames, copied=width))
        if halved:
            level.append(_Station(Step(_identity), width, width, width, frames, copied=3 * width))
            frames //= 2
        stations += [_joined(level)] if config.level_shortcuts else level
    last = config.encoder_widths[-1]
    stations += [_residual(last, last, frames)] * 2
    return [*stations, _Station(_conv_step(), last, last, 2 * config.latent_channels, frames, copied=3 * last)]


def _conv_step() -> Step:
    return Step(_identity, above=1, below=1)


def _joined(level: Sequence[_Station]) -> _Station:
    """A level that is one step: what its parts keep adds up."""
    frames_made = max(station.frames_made for station in level)
    last = level[-1]
    return _Station(
        as_one(_identity, [station.step for station in level]),
        sum(station.kept for station in level),
        level[0].given,
        last.made,
        level[0].frames_given,
        frames_made,
        copied=max(station.copied for station in level),
    )


def _identity(frames: Tensor, stream: FrameStream) -> Tensor:
    """Stands in for the network where only the rows of its steps are asked for."""
    return frames
