"""Sound on its way into a video file: how each container codes it, and what the encoder reads it from."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from .clip import LAYOUTS, Sound

PART_SAMPLES = 1 << 20
"""So many are brought into the order of a file at a time."""


class SoundCodec(NamedTuple):
    """How a container codes sound.

    Attributes:
        name: ffmpeg's encoder.
        rates: samples per second that it takes.
        usual: what others become.
        bits: per second and channel.
        bits_per_sample: at most.
    """

    name: str
    rates: frozenset[int]
    usual: int
    bits: int
    bits_per_sample: float


AAC = SoundCodec(
    "aac",
    frozenset({96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000}),
    usual=48000,
    bits=128_000,
    bits_per_sample=6,  # 6144 in a frame of 1024
)
OPUS = SoundCodec("libopus", frozenset({48000}), usual=48000, bits=96_000, bits_per_sample=6)


class CodedSound(NamedTuple):
    """What ffmpeg is told of a sound: `source` of the file that it comes from, `target` of the one that it goes to."""

    source: tuple[str, ...]
    target: tuple[str, ...]


def coded(codec: SoundCodec, sound: Sound, raw: Path | str) -> CodedSound:
    """How a sound is coded that lies in a raw file, see `write_raw`; "-" is a pipe."""
    rate = sound.sample_rate if sound.sample_rate in codec.rates else codec.usual
    bits = round(min(codec.bits, codec.bits_per_sample * rate)) * sound.channels
    file = raw if isinstance(raw, str) else str(raw.absolute())
    layout = ("-ac", str(sound.channels), "-channel_layout", LAYOUTS[sound.channels - 1])
    return CodedSound(
        ("-f", "f32le", "-ar", str(sound.sample_rate), *layout, "-i", file),
        ("-c:a", codec.name, "-ar", str(rate), "-b:a", str(bits)),
    )


def write_raw(sound: Sound, file: Path) -> None:
    """Writes a sound as float32 samples, channel beside channel, without a header.

    Raises:
        OSError: it could not.
    """
    with open(file, "wb") as handle:
        for part in sound.waveform.split(PART_SAMPLES, dim=1):
            handle.write(part.T.contiguous().numpy().astype("<f4", copy=False).tobytes())
