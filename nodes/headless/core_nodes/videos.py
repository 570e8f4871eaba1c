"""Nodes that read, cut, make and write videos. A VIDEO is a file, or a part of one, or frames: see `VideoSource`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from ....common.errors import InvalidInputError
from ....common.log import logger
from ....common.records import record
from ....media.sound.reading import SoundSpan
from ....media.video_reading import Cut, probe_video
from ... import standin as io
from ...api import answer
from ...hosts.host import host
from ...sockets.sounds import native_audio, sound_of
from .dynamic_inputs import Audio, ChoiceOrNumber, Video
from .pictures import is_there


class VideoSource(Protocol):
    """What travels as VIDEO."""

    def components(self) -> tuple[Tensor, float]:
        """All frames [F, H, W, 3], float, in 0..1, and how many there are per second."""
        ...

    def audio(self) -> dict[str, Any] | None:
        """Its sound, as a native AUDIO; None where it has none."""
        ...

    def frames(self) -> tuple[Iterator[Tensor], float]:
        """As `components`, one [H, W, 3] after another."""
        ...

    def count(self) -> int:
        """How many frames it has, as far as is known without reading them."""
        ...

    def trimmed(self, start_s: float, duration_s: float) -> VideoSource:
        """The part from a second on, of so many seconds; 0: to the end."""
        ...

    def duration_s(self) -> float:
        """Its length."""
        ...


@record
class ClipOfFile:
    """A video file, or the part from `start_s` to `end_s`; nothing is read before it is used."""

    path: Path
    start_s: float = 0.0
    end_s: float | None = None

    def components(self) -> tuple[Tensor, float]:
        return host().files.video(self.path, self._cut, each=host().runtime.check_interrupt)

    def audio(self) -> dict[str, Any] | None:
        span = SoundSpan(host().files.probe(self.path).begin_s(self._cut), self.count() / self._rate())
        sound = host().files.sound(self.path, span, each=host().runtime.check_interrupt)
        return None if sound is None else native_audio(sound)

    def frames(self) -> tuple[Iterator[Tensor], float]:
        frames = host().files.frames(self.path, self._cut)
        return (frame.float() / 255 for frame in frames), self._rate()

    def count(self) -> int:
        times = host().files.probe(self.path).times
        return sum(self.start_s <= time and (self.end_s is None or time < self.end_s) for time in times)

    def trimmed(self, start_s: float, duration_s: float) -> VideoSource:
        start_s = max(0.0, self.duration_s() + start_s) if start_s < 0 else start_s
        first = self.start_s + start_s
        ends = [end for end in (self.end_s, first + duration_s if duration_s else None) if end is not None]
        return replace(self, start_s=first, end_s=min(ends, default=None))

    def duration_s(self) -> float:
        end = float(host().files.probe(self.path).end)
        return max(0.0, (end if self.end_s is None else min(end, self.end_s)) - self.start_s)

    def _rate(self) -> float:
        video = host().files.probe(self.path)
        return video.rate(sum(time < self.start_s for time in video.times), max(1, self.count()))

    @property
    def _cut(self) -> Cut:
        return Cut(start_s=self.start_s, end_s=self.end_s)


@record
class ClipOfFrames:
    """Frames [F, H, W, C] that are there already, and their sound, a native AUDIO, if there is one."""

    images: Tensor
    fps: float
    heard: Mapping[str, Any] | None = None

    def components(self) -> tuple[Tensor, float]:
        return self.images, self.fps

    def audio(self) -> dict[str, Any] | None:
        return None if self.heard is None else dict(self.heard)

    def frames(self) -> tuple[Iterator[Tensor], float]:
        return iter(self.images), self.fps

    def count(self) -> int:
        return len(self.images)

    def trimmed(self, start_s: float, duration_s: float) -> VideoSource:
        start_s = max(0.0, self.duration_s() + start_s) if start_s < 0 else start_s
        first = round(start_s * self.fps)
        last = first + round(duration_s * self.fps) if duration_s else len(self.images)
        return replace(self, images=self.images[first:last], heard=self._heard(first / self.fps, last / self.fps))

    def _heard(self, start_s: float, end_s: float) -> Mapping[str, Any] | None:
        if self.heard is None:
            return None
        rate = self.heard["sample_rate"]
        part = self.heard["waveform"][..., round(start_s * rate) : round(end_s * rate)]
        # A sound that has ended before leaves a silence, which a sound without samples could not be.
        part = part if part.shape[-1] else part.new_zeros(*part.shape[:-1], 1)
        return {"waveform": part, "sample_rate": rate}

    def duration_s(self) -> float:
        return len(self.images) / self.fps


class LoadVideo(io.ComfyNode):
    """A video file; what travels on the wire is its path."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="LoadVideo",
            display_name="Load Video",
            category="image/video",
            inputs=[io.String.Input("file", tooltip="Path of a video, or its name in the input folder.")],
            outputs=[Video.Output()],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        there = is_there(file, "video")
        return answer(probe_video, host().input_file(file)) if there is True and file is not None else there

    @classmethod
    def execute(cls, file: str) -> Any:
        return io.NodeOutput(ClipOfFile(host().input_file(file)))


class VideoSlice(io.ComfyNode):
    """A part of a video."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="Video Slice",
            display_name="Trim Video",
            category="video",
            inputs=[
                Video.Input("video"),
                io.Float.Input("start_time", default=0.0, min=-1e5, max=1e5, step=0.001),
                io.Float.Input("duration", default=0.0, min=0.0, step=0.001),
                io.Boolean.Input("strict_duration", default=False),
            ],
            outputs=[Video.Output()],
        )

    @classmethod
    def execute(cls, video: VideoSource, start_time: float, duration: float, strict_duration: bool) -> Any:
        part = video.trimmed(start_time, duration)
        length = part.duration_s()
        if length <= 0 or (strict_duration and length < duration - 1e-6):
            raise InvalidInputError(
                f"The video has {video.duration_s():.2f} seconds, too few for a part of {duration:g} from second "
                f"{start_time:g} on. Start earlier, or take a shorter part."
            )
        return io.NodeOutput(part)


class GetVideoComponents(io.ComfyNode):
    """The frames of a video, its sound, and how many frames there are per second."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="GetVideoComponents",
            display_name="Get Video Components",
            category="image/video",
            inputs=[Video.Input("video")],
            outputs=[
                io.Image.Output(display_name="images"),
                Audio.Output(display_name="audio"),
                io.Float.Output(display_name="fps"),
                io.Int.Output(display_name="bit_depth"),
                io.Combo.Output(display_name="color_space"),
            ],
        )

    @classmethod
    def execute(cls, video: VideoSource | Path) -> Any:
        clip = ClipOfFile(video) if isinstance(video, Path) else video
        frames, fps = clip.components()
        return io.NodeOutput(frames, clip.audio(), fps, 8, "sRGB")


class CreateVideo(io.ComfyNode):
    """Frames as a video, with a sound if there is one."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="CreateVideo",
            display_name="Create Video",
            category="video",
            inputs=[
                io.Image.Input("images"),
                io.Float.Input("fps", default=30.0, min=1.0, max=120.0, step=1.0),
                Audio.Input("audio", optional=True),
                ChoiceOrNumber("bit_depth", options=[8, 10, "auto"], default=8, optional=True),
                io.Combo.Input("color_space", options=["sRGB", "HDR", "HDR PQ"], default="sRGB", optional=True),
            ],
            outputs=[Video.Output()],
        )

    @classmethod
    def execute(
        cls, images: Tensor, fps: float, audio: Any = None, bit_depth: int | str = 8, color_space: str = "sRGB"
    ) -> Any:
        """`bit_depth` and `color_space` as newer ComfyUIs have them; what is not written here is said or refused."""
        sound_of(audio)  # refuses what is none
        if color_space != "sRGB":
            raise InvalidInputError(
                f"Create Video: the colours '{color_space}' are not written from the command line. Choose sRGB."
            )
        if bit_depth not in (8, "auto"):
            logger.warning("Create Video: %s bits are not written from the command line; it will be 8.", bit_depth)
        return io.NodeOutput(ClipOfFrames(images, fps, audio))
