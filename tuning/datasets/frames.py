"""The frames of a clip, in the size that it is learned in."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ...common.buckets import Buckets
from ...common.errors import InvalidInputError
from ...common.shapes import PictureSize, VideoShape
from ...media.picture_reading import outlined_pictures, read_pictures
from ...media.pictures import fit_pictures
from ...media.video_reading import Cut, probe_video, read_video
from .clips import VIDEOS, ClipFile, DatasetPart


def read_clip(clip: ClipFile, part: DatasetPart, multiple: int) -> Tensor:
    """[F, H, W, 3] in 0..1, F = 1 + 4k; the middle is cut out where the shape is another.

    Args:
        multiple: of both sides, of the model's family.

    Raises:
        InvalidInputError: the file cannot be read, or the clip is too small.
    """
    frames = _whole_frames(clip.path, clip, part)
    frames = frames[: len(frames) - (len(frames) - 1) % 4]
    size = learned_size(part, PictureSize(frames.shape[2], frames.shape[1]), multiple)
    return fit_pictures(frames, size.width, size.height, "crop")


def read_beside(path: Path, clip: ClipFile, part: DatasetPart, like: Tensor) -> Tensor:
    """The frames [F, H, W, 3] of a control video or mask that go with those of a clip.

    Args:
        path: a video of the same times, or a picture that goes with all frames.
        like: [F, H, W, 3], the clip's own, see `read_clip`.

    Raises:
        InvalidInputError: the file cannot be read, or is shorter than the clip.
    """
    count, height, width, _ = like.shape
    frames = _whole_frames(path, clip, part)
    if len(frames) == 1:
        frames = frames.expand(count, -1, -1, -1)
    if len(frames) < count:
        raise InvalidInputError(
            f"{path.name} has {len(frames)} frames where {clip.path.name} has {count}. Give one of the same length, or "
            "a picture."
        )
    return fit_pictures(frames[:count], width, height, "crop")


def _whole_frames(path: Path, clip: ClipFile, part: DatasetPart) -> Tensor:
    """The frames of a file at the times of a clip, as they are."""
    is_video = bool(clip.count) if path == clip.path else path.suffix.lower() in VIDEOS
    if is_video:
        frames, _ = read_video(path, Cut(fps=part.fps, first=clip.first, count=max(clip.count, 1)))
        return frames
    return read_pictures(path).pixels[:1]


def clip_shape(clip: ClipFile, part: DatasetPart, multiple: int) -> VideoShape:
    """That of `read_clip`, from the header of the file.

    Raises:
        InvalidInputError: see `read_clip`.
    """
    if clip.count:
        video = probe_video(clip.path)
        turned = (video.height, video.width) if video.is_turned else (video.width, video.height)
        own, frames = PictureSize(*turned), clip.count - (clip.count - 1) % 4
    else:
        outline = outlined_pictures(clip.path)
        own, frames = PictureSize(outline.width, outline.height), 1
    size = learned_size(part, own, multiple)
    return VideoShape(frames, size.height, size.width)


def learned_size(part: DatasetPart, own: PictureSize, multiple: int) -> PictureSize:
    """The size that a clip of another one is learned in.

    Raises:
        InvalidInputError: it is too small.
    """
    area = part.resolution
    if not part.is_bucketed:
        return PictureSize(*area)
    buckets = Buckets(area.width * area.height, multiple)
    found = buckets.choose(own.width, own.height, 1, most_enlarged=64.0 if part.may_enlarge else 1.0)
    return PictureSize(found.width, found.height)
