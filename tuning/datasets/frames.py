"""The frames of a clip, in the size that it is learned in."""

from __future__ import annotations

from torch import Tensor

from ...common.buckets import Buckets
from ...common.shapes import PictureSize, VideoShape
from ...media.picture_reading import outlined_pictures, read_pictures
from ...media.pictures import fit_pictures
from ...media.video_reading import Cut, probe_video, read_video
from .clips import ClipFile, DatasetPart


def read_clip(clip: ClipFile, part: DatasetPart, multiple: int) -> Tensor:
    """[F, H, W, 3] in 0..1, F = 1 + 4k; the middle is cut out where the shape is another.

    Args:
        multiple: of both sides, of the model's family.

    Raises:
        InvalidInputError: the file cannot be read, or the clip is too small.
    """
    if clip.count:
        frames, _ = read_video(clip.path, Cut(fps=part.fps, first=clip.first, count=clip.count))
        frames = frames[: len(frames) - (len(frames) - 1) % 4]
    else:
        frames = read_pictures(clip.path).pixels[:1]
    height, width = frames.shape[1:3]
    size = _size(PictureSize(width, height), part, multiple)
    return fit_pictures(frames, size.width, size.height, "crop")


def clip_shape(clip: ClipFile, part: DatasetPart, multiple: int) -> VideoShape:
    """That of `read_clip`, from the header of the file.

    Raises:
        InvalidInputError: see `read_clip`.
    """
    if clip.count:
        video = probe_video(clip.path)
        turned = (video.height, video.width) if video.is_turned else (video.width, video.height)
        have, frames = PictureSize(*turned), clip.count - (clip.count - 1) % 4
    else:
        _, height, width, _ = outlined_pictures(clip.path)
        have, frames = PictureSize(width, height), 1
    size = _size(have, part, multiple)
    return VideoShape(frames, size.height, size.width)


def _size(have: PictureSize, part: DatasetPart, multiple: int) -> PictureSize:
    """To which a clip of a size is brought."""
    size = part.resolution
    if not part.is_bucketed:
        return PictureSize(size.width, size.height)
    buckets = Buckets(size.width * size.height, multiple)
    found = buckets.choose(have.width, have.height, 1, most_enlarged=64.0 if part.may_enlarge else 1.0)
    return PictureSize(found.width, found.height)
