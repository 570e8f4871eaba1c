"""Writing frames to a file, mp4, webm, gif or numbered pictures, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..common.errors import InvalidInputError, MissingPackageError, OutputError
from ..common.log import logger
from .host import SavePlace, host

# Colours are converted and labelled as BT.709; unlabelled files are guessed differently by every player.
_BT709 = [
    "-vf", "scale=out_color_matrix=bt709:out_range=tv,"
    "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv",
]  # fmt: skip
_ONE_PALETTE = ["-filter_complex", "split[a][b];[a]palettegen[palette];[b][palette]paletteuse"]


@dataclass(frozen=True, slots=True)
class Format:
    """How one kind of file is encoded: `parameters` gives ffmpeg's options for a quality of 1..100."""

    ending: str
    codec: str
    pixels: str
    parameters: Callable[[int], list[str]]
    even_sides: bool = True
    metadata: bool = True


def _crf(quality: int, worst: float, best: float) -> list[str]:
    return ["-crf", str(round(worst + (best - worst) * quality / 100))]


def _h264(quality: int) -> list[str]:
    return [*_crf(quality, 45, 10), *_BT709, "-movflags", "+faststart+use_metadata_tags"]


def _h265(quality: int) -> list[str]:
    quiet = ["-x265-params", "log-level=error", "-tag:v", "hvc1"]
    return [*_crf(quality, 48, 12), *quiet, *_BT709, "-movflags", "+faststart+use_metadata_tags"]


def _vp9(quality: int) -> list[str]:
    return [*_crf(quality, 60, 15), "-b:v", "0", "-row-mt", "1", *_BT709]


def _gif(_quality: int) -> list[str]:
    return [*_ONE_PALETTE, "-loop", "0"]


PNG_FRAMES = "png frames"
_ENCODED = {
    "mp4-h264": Format("mp4", "libx264", "yuv420p", _h264),
    "mp4-h265": Format("mp4", "libx265", "yuv420p", _h265),
    "webm-vp9": Format("webm", "libvpx-vp9", "yuv420p", _vp9),
    "gif": Format("gif", "gif", "pal8", _gif, even_sides=False, metadata=False),
}
FORMATS = (*_ENCODED, PNG_FRAMES)


def save_video(
    frames: Iterable[Tensor],
    place: SavePlace,
    *,
    format: str,
    fps: float,
    quality: int,
    metadata: Mapping[str, Any],
) -> list[Path]:
    """Writes frames and gives the files made: one video, or one picture per frame in a folder of their own.

    Frames are taken one at a time, as the encoder takes them: they may still be in the making. A file is written under
    another name and renamed when it is whole, so that a stopped or failed run leaves nothing.

    Args:
        frames: each [H, W, 3] in 0..1. Where a format needs even sides, an odd one grows by repeating the edge.
        format: one of FORMATS.
        quality: 1..100; not used for gif and png.
        metadata: name -> JSON data put into the file (gif has no room for it).

    Raises:
        InvalidInputError: an unknown format, or fps or quality out of range.
        MissingPackageError: imageio-ffmpeg is not installed.
        OutputError: the folder cannot be written, the disk is full, or the encoder failed.
    """
    if format not in FORMATS:
        raise InvalidInputError(f"There is no format '{format}'. Choose one of: {', '.join(FORMATS)}.")
    if not 0 < fps <= 1000:
        raise InvalidInputError(f"fps must be above 0 and at most 1000, got {fps}. Usual is 16 for Wan.")
    if not 1 <= quality <= 100:
        raise InvalidInputError(f"quality must be from 1 to 100, got {quality}. Usual is 80.")
    texts = {name: json.dumps(value) for name, value in metadata.items() if value is not None}
    with _writing_to(place.folder):
        place.folder.mkdir(parents=True, exist_ok=True)
        if format == PNG_FRAMES:
            return _save_pictures(frames, place, texts)
        kind = _ENCODED[format]
        parameters = kind.parameters(quality) + (_metadata_parameters(texts) if kind.metadata else [])
        return [_encode(iter(frames), place, kind, fps, parameters)]


def _encode(frames: Iterator[Tensor], place: SavePlace, kind: Format, fps: float, parameters: list[str]) -> Path:
    writer = _imageio_ffmpeg()
    first = next(frames)
    height, width = (side + side % 2 if kind.even_sides else side for side in first.shape[:2])
    target = place.folder / f"{place.name}_{place.counter:05}_.{kind.ending}"
    with _made_whole(target) as unfinished:
        stream = writer.write_frames(
            str(unfinished),
            (width, height),
            fps=float(fps),
            codec=kind.codec,
            pix_fmt_out=kind.pixels,
            quality=None,
            macro_block_size=1,
            ffmpeg_log_level="error",
            output_params=parameters,
        )
        stream.send(None)
        sent = 0
        try:
            for frame in chain((first,), frames):
                host().check_interrupt()
                stream.send(_bytes(_even(frame) if kind.even_sides else frame))
                sent += 1
        finally:
            stream.close()
        written = _frames_in(unfinished)
        if written != sent:
            raise OSError(f"the encoder wrote {written} of {sent} frames")
    return target


def _save_pictures(frames: Iterable[Tensor], place: SavePlace, texts: Mapping[str, str]) -> list[Path]:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    with _made_whole(place.folder / f"{place.name}_{place.counter:05}_") as unfinished:
        unfinished.mkdir()
        for number, frame in enumerate(frames):
            host().check_interrupt()
            picture = Image.fromarray(_bytes(frame))
            picture.save(unfinished / f"{number:05}.png", pnginfo=info if number == 0 else None, compress_level=4)
    return sorted((place.folder / f"{place.name}_{place.counter:05}_").iterdir())


@contextmanager
def _made_whole(target: Path) -> Iterator[Path]:
    """A name to write to that becomes `target` at the end, or disappears."""
    unfinished = target.with_name(f".{target.stem}.part{target.suffix}")
    try:
        yield unfinished
        os.replace(unfinished, target)
    finally:
        if unfinished.is_dir():
            shutil.rmtree(unfinished, ignore_errors=True)
        else:
            unfinished.unlink(missing_ok=True)


@contextmanager
def _writing_to(folder: Path) -> Iterator[None]:
    """Turns the system's complaints into a sentence about the folder."""
    try:
        yield
    except OSError as error:
        reason = str(error.strerror or error).splitlines()[0]
    else:
        return
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free_mb = shutil.disk_usage(place).free / 1e6
    raise OutputError(
        f"The result could not be written to {folder}: {reason} ({free_mb:,.0f} MB free). Free some room there, allow "
        "writing, or choose another output folder."
    )


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


def _frames_in(path: Path) -> int:
    try:
        return _imageio_ffmpeg().count_frames_and_secs(str(path))[0]
    except (RuntimeError, OSError) as error:
        raise OSError("the encoder did not finish the file") from error


def _even(frame: Tensor) -> Tensor:
    """The frame with one more row or column, like the last, where a side is odd."""
    height, width = frame.shape[:2]
    if height % 2:
        frame = frame[[*range(height), height - 1]]
    if width % 2:
        frame = frame[:, [*range(width), width - 1]]
    return frame


def _bytes(frame: Tensor) -> np.ndarray:
    return np.ascontiguousarray((frame.numpy() * 255).round().astype(np.uint8))


def _imageio_ffmpeg() -> Any:
    try:
        import imageio_ffmpeg
    except ImportError:
        raise MissingPackageError(
            "imageio-ffmpeg is not installed, which videos are written with. Install it with `pip install "
            "imageio-ffmpeg`, or choose the format 'png frames'."
        ) from None
    return imageio_ffmpeg
