"""The node that writes a VIDEO to a file, with our writer."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from itertools import chain
from typing import Any

from torch import Tensor

from ....common.errors import InvalidInputError
from ....common.log import logger
from ... import standin as io
from ...saving.rescue import keep_frames
from ...saving.result import FileOptions, check_file, saved_result
from .dynamic_inputs import Choice, Choosing, Video
from .videos import ClipOfFile, VideoSource

MP4, WEBM = "mp4-h264", "webm-vp9"
"""What the writer makes here."""
DEFAULT_CRF = 23.0
"""What ComfyUI's encoder takes where nothing is chosen."""
BEST_CRF, WORST_CRF = 10.0, 45.0
"""Of the writer's qualities 100 and 0."""


class SaveVideo(io.ComfyNode):
    """A video to a file in the output folder."""

    @classmethod
    def define_schema(cls) -> Any:
        # Optional, unlike ComfyUI's: in graphs of before 2026 the codec is an input of its own.
        codecs = _codecs("auto", "h264", "av1", optional=True)
        return io.Schema(
            node_id="SaveVideo",
            display_name="Save Video",
            category="video",
            inputs=[
                Video.Input("video"),
                io.String.Input("filename_prefix", default="video/ComfyUI"),
                Choosing(
                    "format",
                    [*(Choice(name, [codecs]) for name in ("auto", "mp4", "mkv")),
                     Choice("webm", [_codecs("auto", "av1", optional=True)])],
                ),
                codecs,
            ],
            outputs=[Video.Output(display_name="video")],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, filename_prefix: str | None = None, format: Any = None, codec: Any = None) -> bool:
        # None and {}: what comes over a wire.
        check_file(filename_prefix, _format_and_quality(format, codec)[0] if format else None)
        return True

    @classmethod
    def execute(cls, video: VideoSource, filename_prefix: str, format: Any, codec: Any = None) -> Any:
        name, quality = _format_and_quality(format, codec)
        if name == WEBM:
            logger.info("Save Video: webm is coded with VP9 from the command line.")
        frames, fps = video.frames()
        first = next(frames, None)
        if first is None:
            raise InvalidInputError("The video has no frames. Check where it comes from.")
        height, width = first.shape[:2]
        rgb = (_rgb(frame) for frame in chain((first,), frames))
        options = FileOptions(fps, filename_prefix, name, quality).with_sound(video.audio(), video.count())
        keep = functools.partial(_keep, video)
        return io.NodeOutput(video, ui=saved_result(rgb, (height, width), options, cls.hidden, keep))


def _codecs(*names: str, optional: bool = False) -> Choosing:
    space = io.Combo.Input("color_space", options=["auto", "sRGB", "HDR", "HDR PQ"], default="auto")
    ranges = {"h264": (23.0, 51.0), "av1": (30.0, 63.0)}
    choices = []
    for name in names:
        inputs: list[io.Input] = []
        if name in ranges:
            default, largest = ranges[name]
            crf = io.Float.Input("crf", default=default, min=0.0, max=largest, step=1.0)
            inputs = [Choosing("encoding", [Choice("auto", []), Choice("re-encode", [crf, space])], optional=True)]
        choices.append(Choice(name, inputs))
    return Choosing("codec", choices, optional=optional)


def _format_and_quality(format: Any, codec: Any) -> tuple[str, int]:
    """The writer's format and quality for the choices of the node, which are names in its older form.

    Raises:
        InvalidInputError: a choice that is not written from the command line.
    """
    format = format if isinstance(format, dict) else {"format": format}
    codec = format.get("codec") or codec or "auto"
    codec = codec if isinstance(codec, dict) else {"codec": codec}
    encoding = codec.get("encoding") or {}
    encoding = encoding if isinstance(encoding, dict) else {}
    kind, coder = format.get("format", "auto"), codec.get("codec", "auto")
    if kind not in ("auto", "mp4", "webm"):
        raise InvalidInputError(f"Save Video: '{kind}' is not written from the command line. Choose auto, mp4 or webm.")
    if coder not in ("auto", "h264") or (kind == "webm" and coder != "auto"):
        raise InvalidInputError(
            f"Save Video: {kind} with '{coder}' is not written from the command line. Choose auto, or h264 with mp4."
        )
    space = encoding.get("color_space", "auto")
    if space not in ("auto", "sRGB"):
        raise InvalidInputError(f"Save Video: '{space}' is not written from the command line. Choose auto or sRGB.")
    return (WEBM if kind == "webm" else MP4), _quality(float(encoding.get("crf", DEFAULT_CRF)))


def _keep(video: VideoSource, metadata: Mapping[str, Any]) -> str:
    """Keeps frames that are nowhere but in memory, and says where; those of a file are safe in it."""
    if isinstance(video, ClipOfFile):
        return f"Nothing is lost: the video is still in {video.path}."
    return keep_frames(_rgb(video.components()[0]), metadata)


def _quality(crf: float) -> int:
    """The writer's quality for an encoder's constant rate factor."""
    if not BEST_CRF <= crf < WORST_CRF:
        raise InvalidInputError(
            f"Save Video: a crf of {crf:g} is not written from the command line, only those from {BEST_CRF:g} to "
            f"{WORST_CRF - 1:g}. Choose one of them; usual is {DEFAULT_CRF:g}."
        )
    return max(1, round((WORST_CRF - crf) / (WORST_CRF - BEST_CRF) * 100))


def _rgb(frame: Tensor) -> Tensor:
    """Frames [..., H, W, C] in 0..1 as [..., H, W, 3]: grey is expanded, opacity left out, as ComfyUI does."""
    frame = frame.float().clamp(0, 1)
    return frame[..., :3] if frame.shape[-1] >= 3 else frame[..., :1].expand(*frame.shape[:-1], 3)
