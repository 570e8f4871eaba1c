"""Writing frames to a file, mp4, webm, mov, gif or numbered pictures, whole or not at all."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ..common.errors import InvalidInputError
from ..common.log import logger
from ..common.records import record
from ..media.place import SavePlace
from .encoder import Codec, Encoder, check_codec, check_sound_codec, count_frames
from .faults import writing_to
from .pictures import to_bytes
from .sound.clip import Sound
from .sound.coding import AAC, OPUS, CodedSound, SoundCodec, coded, write_raw
from .whole import files_to_disk, publish, remove_leftovers, replace_file, unfinished_file, unfinished_folder

# Colours are converted and labelled as BT.709; unlabelled files are guessed differently by every player.
_BT709 = [
    "-vf", "scale=out_color_matrix=bt709:out_range=tv,"
    "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv",
]  # fmt: skip
_ONE_PALETTE = ["-filter_complex", "split[a][b];[a]palettegen[palette];[b][palette]paletteuse"]


@record
class Format:
    """How one kind of file is encoded: `parameters` gives ffmpeg's options for a quality of 1..100.

    Attributes:
        container: ffmpeg's options about the file around the pictures.
        metadata: whether the file has room for texts.
        sound: how it is coded; None where the file has no room for it.
        opacity: the pixel format that has room for it, and ffmpeg's options then; None where there is none.
    """

    ending: str
    codec: str
    pixels: str
    parameters: Callable[[int], list[str]]
    container: tuple[str, ...] = ()
    even_sides: bool = True
    metadata: bool = True
    sound: SoundCodec | None = None
    opacity: tuple[str, ...] | None = None

    def coding(self, quality: int) -> Codec:
        return Codec(self.codec, self.pixels, tuple(self.parameters(quality)))

    def coding_with_opacity(self, quality: int) -> Codec:
        """For frames of four channels."""
        assert self.opacity is not None, "asked for where there is room for it"
        pixels, *more = self.opacity
        return Codec(self.codec, pixels, (*self.parameters(quality), *more), channels=4)


class _Coding(NamedTuple):
    """How one file is encoded; `container`: ffmpeg's options about the file, texts included."""

    fps: float
    codec: Codec
    container: list[str]
    sound: Sound | None


_TAGS = ("-movflags", "+faststart+use_metadata_tags")
_WITHOUT_CHANCE = ("-fflags", "+bitexact")
"""Else each webm file has a number of its own, drawn by chance, and the same frames never give the same file."""


def _crf(quality: int, worst: float, best: float) -> list[str]:
    return ["-crf", str(round(worst + (best - worst) * quality / 100))]


def _h264(quality: int) -> list[str]:
    return [*_crf(quality, 45, 10), *_BT709]


def _h265(quality: int) -> list[str]:
    quiet = ["-x265-params", "log-level=error", "-tag:v", "hvc1"]
    return [*_crf(quality, 48, 12), *quiet, *_BT709]


def _vp9(quality: int) -> list[str]:
    return [*_crf(quality, 60, 15), "-b:v", "0", "-row-mt", "1", *_BT709]


def _prores(quality: int) -> list[str]:
    scale = round(32 + (2 - 32) * quality / 100)
    return ["-profile:v", "4444", "-vendor", "apl0", "-qscale:v", str(scale), *_BT709]


def _gif(_quality: int) -> list[str]:
    return _ONE_PALETTE


PNG_FRAMES, GIF, PRORES = "png frames", "gif", "mov-prores"
_ENCODED = {
    "mp4-h264": Format("mp4", "libx264", "yuv420p", _h264, _TAGS, sound=AAC),
    "mp4-h265": Format("mp4", "libx265", "yuv420p", _h265, _TAGS, sound=AAC),
    # libvpx codes opacity as a second stream, for which it must not make frames that are never shown.
    "webm-vp9": Format(
        "webm", "libvpx-vp9", "yuv420p", _vp9, _WITHOUT_CHANCE, sound=OPUS, opacity=("yuva420p", "-auto-alt-ref", "0")
    ),
    GIF: Format("gif", "gif", "pal8", _gif, ("-loop", "0"), even_sides=False, metadata=False),
    PRORES: Format(
        "mov", "prores_ks", "yuv444p10le", _prores, _TAGS, even_sides=False, sound=AAC, opacity=("yuva444p10le",)
    ),
}
FORMATS = (*(name for name in _ENCODED if name != PRORES), PNG_FRAMES, PRORES)
WITH_OPACITY = ("webm-vp9", PNG_FRAMES, PRORES)
"""The formats whose files keep how transparent a picture is."""
_USUAL_QUALITY = 80


def check_format(format: str) -> None:
    """Checks that a format is known and that its encoder works here; asked once per process and format.

    Raises:
        InvalidInputError: there is no such format.
        MissingPackageError: ffmpeg, or the encoder in it, is missing or cannot be started.
    """
    if format not in FORMATS:
        raise InvalidInputError(f"There is no format '{format}'. Choose one of: {', '.join(FORMATS)}.")
    if format != PNG_FRAMES:
        check_codec(_ENCODED[format].coding(_USUAL_QUALITY))


def check_sound(format: str) -> None:
    """Checks that files of a format hold sound, and that its encoder works here; asked once as `check_format` is.

    Raises:
        InvalidInputError: they do not.
        MissingPackageError: the encoder is missing.
    """
    codec = _ENCODED[format].sound if format in _ENCODED else None
    if codec is None:
        able = ", ".join(name for name, kind in _ENCODED.items() if kind.sound)
        raise InvalidInputError(
            f"The format '{format}' has no room for sound, and audio is connected. Choose one of {able}, or remove the "
            "audio."
        )
    check_sound_codec(codec)


def save_video(
    frames: Iterable[Tensor],
    place: SavePlace,
    *,
    format: str,
    fps: float,
    quality: int,
    metadata: Mapping[str, Any],
    check: Callable[[], None] = lambda: None,
    sound: Sound | None = None,
) -> list[Path]:
    """Writes frames and gives the files made: one video, or one picture per frame in a folder of their own.

    Frames are taken one at a time, as the encoder takes them: they may still be in the making. A file is written under
    another name, brought to disk and renamed when it is whole, so that a stopped or failed run leaves nothing and runs
    at the same time do not meet.

    Args:
        frames: each [H, W, 3] in 0..1; for a format of `WITH_OPACITY` also [H, W, 4], where the fourth is opacity. An
            odd side grows by repeating the edge where a format needs even ones.
        format: one of FORMATS.
        quality: 1..100; not used for gif and png.
        metadata: name -> JSON data put into the file (gif has no room for it).
        check: called before each frame, and while the encoder ends; what it raises ends the writing.
        sound: what is heard, as long as the frames (see `Sound.fitted`): AAC in mp4 and mov, Opus in webm.

    Raises:
        InvalidInputError: an unknown format, one without sound or transparency, or fps or quality out of range.
        MissingPackageError: imageio-ffmpeg, its ffmpeg or the encoder is missing.
        OutputError: the folder cannot be written, the disk is full, or the encoder failed.
    """
    check_format(format)
    if sound is not None:
        check_sound(format)
    _check_numbers(fps, quality)
    texts = file_texts(metadata)
    with writing_to(place.folder):
        place.folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(place.folder)
    watched = _watched(frames, check)
    if format == PNG_FRAMES:
        return save_pictures(watched, place, texts)
    kind, first = _ENCODED[format], next(watched)
    codec = _coding_of(first, format, quality)
    container = [*kind.container, *(_metadata_parameters(texts) if kind.metadata else [])]
    coding = _Coding(fps, codec, container, sound)
    named = partial(publish, place=place, ending=kind.ending)
    return [_encode(chain((first,), watched), place.folder, kind, coding, check=check, named=named)]


def write_video(frames: Iterable[Tensor], target: Path, *, format: str, fps: float, quality: int) -> None:
    """Writes frames to one file of the very name, in place of the one that has it; whole or not at all.

    Args:
        frames: each [H, W, 3], float in 0..1.
        format: one of FORMATS that is one file.

    Raises:
        InvalidInputError, MissingPackageError, OutputError: as `save_video`.
    """
    check_format(format)
    _check_numbers(fps, quality)
    kind, given = _ENCODED[format], iter(frames)
    first = next(given)
    coding = _Coding(fps, _coding_of(first, format, quality), list(kind.container), None)

    def named(unfinished: Path) -> Path:
        replace_file(unfinished, target)
        return target

    with writing_to(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
    _encode(chain((first,), given), target.parent, kind, coding, check=lambda: None, named=named)


def _check_numbers(fps: float, quality: int) -> None:
    if not 0 < fps <= 1000:
        raise InvalidInputError(f"fps must be above 0 and at most 1000, got {fps}. Usual is 16 for Wan.")
    if not 1 <= quality <= 100:
        raise InvalidInputError(f"quality must be from 1 to 100, got {quality}. Usual is 80.")


def _coding_of(frame: Tensor, format: str, quality: int) -> Codec:
    """How frames such as this one are coded; with opacity also that is tried before the file is begun."""
    kind = _ENCODED[format]
    if frame.shape[-1] != 4:
        return kind.coding(quality)
    if kind.opacity is None:
        raise InvalidInputError(
            f"The format '{format}' has no room for transparency, and the frames have some. Choose one of "
            f"{', '.join(WITH_OPACITY)}, or leave their fourth channel out."
        )
    codec = kind.coding_with_opacity(quality)
    check_codec(codec)
    return codec


def _watched(frames: Iterable[Tensor], check: Callable[[], None]) -> Iterator[Tensor]:
    for frame in frames:
        check()
        yield frame


def _encode(
    frames: Iterator[Tensor],
    folder: Path,
    kind: Format,
    coding: _Coding,
    *,
    check: Callable[[], None],
    named: Callable[[Path], Path],
) -> Path:
    """Writes a file that gets its name by `named` when it is whole."""
    first = next(frames)
    height, width = (side + side % 2 if kind.even_sides else side for side in first.shape[:2])
    # Only writing is inside of `writing_to`: what goes wrong in the making of a frame is no matter of the folder.
    with contextlib.ExitStack() as ended:
        with writing_to(folder):
            unfinished = ended.enter_context(unfinished_file(folder, kind.ending))
            heard = _heard(coding.sound, kind, folder, ended)
            encoder = Encoder(unfinished, (width, height), float(coding.fps), coding.codec, coding.container, heard)
        ended.callback(encoder.stop)
        sent = 0
        for frame in chain((first,), frames):
            pixels = to_bytes(_even(frame) if kind.even_sides else frame)
            with writing_to(folder):
                encoder.write(pixels)
            sent += 1
        with writing_to(folder):
            encoder.finish(check)
            _check_whole(unfinished, sent)
            return named(unfinished)


def _heard(sound: Sound | None, kind: Format, folder: Path, ended: contextlib.ExitStack) -> CodedSound | None:
    """A sound as the encoder takes it: ffmpeg has one standard input, and the frames come there."""
    if sound is None or kind.sound is None:
        return None
    raw = ended.enter_context(unfinished_file(folder, "f32"))
    write_raw(sound, raw)
    return coded(kind.sound, sound, raw)


def _check_whole(file: Path, sent: int) -> None:
    written = count_frames(file)
    if written != sent:
        raise OSError(f"the encoder wrote {written} of {sent} frames")


def save_pictures(frames: Iterable[Tensor], place: SavePlace, texts: Mapping[str, str]) -> list[Path]:
    """Writes numbered PNG files into a new folder; the first carries the texts.

    Raises:
        OutputError: as `save_video`.
    """
    from PIL import Image

    info = png_texts(texts)
    with contextlib.ExitStack() as ended:
        with writing_to(place.folder):
            unfinished = ended.enter_context(unfinished_folder(place.folder))
        for number, frame in enumerate(frames):
            picture = Image.fromarray(to_bytes(frame))
            with writing_to(place.folder):
                picture.save(unfinished / f"{number:05}.png", pnginfo=info if number == 0 else None, compress_level=4)
        with writing_to(place.folder):
            files_to_disk(unfinished)
            return sorted(publish(unfinished, place, "").iterdir())


def png_texts(texts: Mapping[str, str]) -> Any:
    """What PIL puts into a PNG file for these texts."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    return info


def file_texts(metadata: Mapping[str, Any]) -> dict[str, str]:
    """What can be put into a file: PNG names a text with 1 to 79 Latin letters, ffmpeg ends the name at `=`."""
    texts = {}
    for name, value in metadata.items():
        if not (0 < len(name) < 80 and name.isascii() and name.isprintable() and "=" not in name):
            logger.info("The text called '%s' cannot be put into the file and is left out.", name[:80])
        elif value is not None:
            texts[name] = json.dumps(value)
    return texts


def _metadata_parameters(texts: Mapping[str, str]) -> list[str]:
    """ffmpeg takes metadata on its command line, whose length systems limit; what does not fit is left out."""
    limit = 28_000 if sys.platform == "win32" else 100_000
    parameters: list[str] = []
    for name, text in texts.items():
        if sum(map(len, parameters)) + 2 * len(text.encode()) > limit * 2 or len(text.encode()) > limit:
            logger.info("The %s is too long to be put into the video file (%d characters).", name, len(text))
            continue
        parameters += ["-metadata", f"{name}={text}"]
    return parameters


def _even(frame: Tensor) -> Tensor:
    """The frame with one more row or column, like the last, where a side is odd."""
    height, width = frame.shape[:2]
    if height % 2:
        frame = frame[[*range(height), height - 1]]
    if width % 2:
        frame = frame[:, [*range(width), width - 1]]
    return frame
