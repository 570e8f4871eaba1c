"""The node that reads frames of a video file: only those that are wanted, at the size and rate that they are wanted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from torch import Tensor

from ..common.errors import InvalidInputError, MissingFileError
from ..common.log import logger
from ..engine.progress import Counted
from ..engine.runtime import counting
from ..media.pictures import FITS, Fit, fit_pictures
from ..media.sound.reading import SoundSpan
from ..media.video_reading import Cut, Fitting, VideoFile, outlined_video
from .api import answer, io, one_sentence
from .hosts.host import host
from .image import MAX_FRAMES, MAX_SIDE
from .sockets.sounds import native_audio

VIDEO_ENDINGS = frozenset({
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".gif",
})  # fmt: skip
SEARCH_ALIASES = [
    "video to images", "video frames", "load mp4", "load gif", "frame load cap", "force rate", "VHS_LoadVideo",
    "GetVideoComponents",
]  # fmt: skip
SIDE_STEP = 16
"""A side that follows from the other one is a multiple of this, as Wan needs it."""


class WanDirectorLoadVideo(io.ComfyNode):
    """Frames of a video file."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorLoadVideo",
            display_name="Wan Load Video",
            category="Wan Director/video",
            description="Reads frames of a video file and the sound that goes with them, and only those: at another "
            "rate and size where wanted, so that a long or large video needs no more memory than what is used.",
            search_aliases=SEARCH_ALIASES,
            inputs=[
                io.Combo.Input(
                    "file",
                    options=host().input_files(VIDEO_ENDINGS),
                    upload=io.UploadType.video,
                    tooltip="The video; on the command line a path, or a name in an input folder.",
                ),
                io.Int.Input(
                    "start_frame",
                    default=0,
                    min=0,
                    max=1_000_000,
                    tooltip="The first frame taken, from 0, counted at the rate chosen in fps.",
                ),
                io.Int.Input(
                    "frames",
                    default=81,
                    min=0,
                    max=MAX_FRAMES,
                    tooltip="How many frames are taken; 0: all. Wan takes 1 + 4k frames (1, 5, 9, ... 81).",
                ),
                io.Float.Input(
                    "fps",
                    default=16.0,
                    min=0.0,
                    max=240.0,
                    step=1.0,
                    round=0.001,
                    tooltip="Frames per second: frames are left out or repeated, so that the motion keeps its speed. "
                    "16 for Wan, 24 for TI2V-5B; 0: each frame of the file once.",
                ),
                io.Int.Input("width", default=832, min=0, max=MAX_SIDE, step=16, tooltip=_side("Width", "height")),
                io.Int.Input("height", default=480, min=0, max=MAX_SIDE, step=16, tooltip=_side("Height", "width")),
                io.Combo.Input(
                    "fit",
                    options=list(FITS),
                    default="crop",
                    tooltip="How a video of another shape comes to the size: crop cuts off what stands over (centred), "
                    "pad adds black bars, stretch distorts. Resizing is antialiased bicubic.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The frames."),
                io.Float.Output(display_name="fps", tooltip="How many of them there are per second."),
                io.Int.Output(display_name="frame_count", tooltip="How many frames there are."),
                io.Audio.Output(
                    display_name="audio",
                    tooltip="The sound that goes with these frames, as long as they are; nothing where the file has "
                    "none. For the audio of Wan Save Video, Wan Decode To Video or Create Video.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        return True if file is None else answer(_found, file)

    @classmethod
    def fingerprint_inputs(cls, file: str | None = None, **_: Any) -> Any:
        path = None if file is None else host().input_file(file)  # None: it comes over a wire
        return (path.stat().st_mtime_ns, path.stat().st_size) if path and os.path.isfile(path) else None

    @classmethod
    @one_sentence
    def execute(cls, file: str, start_frame: int, frames: int, fps: float, width: int, height: int, fit: str) -> Any:
        video = _found(file)
        cut = Cut(fps=fps, first=start_frame, count=frames)
        fitting = _fitting(video, width, height, fit)
        counted = Counted("Reading", "frame", outlined_video(video, cut, fitting).frames)
        with host().runtime.progress(counted) as progress:
            each = counting(progress, host().runtime.check_interrupt)
            images, rate = host().files.video(video.path, cut, fitting=fitting, each=each)
        if len(images) < frames:
            logger.info("%s gives %d of the %d frames.", video.path.name, len(images), frames)
        return io.NodeOutput(images, rate, len(images), _audio(video, cut, len(images) / rate))


def _side(own: str, other: str) -> str:
    return f"{own} of the frames in pixels; 0: follows from the {other}, in multiples of 16. Both 0: as in the file."


def _audio(video: VideoFile, cut: Cut, duration_s: float) -> dict[str, Any] | None:
    """What is heard while the frames of a cut are shown."""
    span = SoundSpan(video.begin_s(cut), duration_s)
    sound = host().files.sound(video.path, span, each=host().runtime.check_interrupt)
    return None if sound is None else native_audio(sound)


def _found(name: str) -> VideoFile:
    path: Path = host().input_file(name)
    if not host().files.is_there(path):
        raise MissingFileError(
            f"There is no video file {name}. Give a path, or put the file beside the workflow or into ComfyUI's input "
            "folder."
        )
    return host().files.probe(path)


def _fitting(video: VideoFile, width: int, height: int, fit: Fit) -> Fitting | None:
    """Brings frames to a size; None where they keep their own."""
    if not width and not height:
        return None

    def apply(picture: Tensor) -> Tensor:
        size = _size(picture.shape[2], picture.shape[1], width, height)
        return fit_pictures(picture, *size, fit)

    return Fitting(*_size(video.width, video.height, width, height), apply)


def _size(have_width: int, have_height: int, width: int, height: int) -> tuple[int, int]:
    """The size wanted, with a side of 0 following from the other one.

    Raises:
        InvalidInputError: it would be far beyond what a video has.
    """
    width = width or max(SIDE_STEP, round(have_width * height / have_height / SIDE_STEP) * SIDE_STEP)
    height = height or max(SIDE_STEP, round(have_height * width / have_width / SIDE_STEP) * SIDE_STEP)
    if max(width, height) > MAX_SIDE:
        raise InvalidInputError(
            f"Frames of {have_width}x{have_height} would become {width}x{height}, where a side has at most {MAX_SIDE} "
            "pixels. Give both width and height."
        )
    return width, height
