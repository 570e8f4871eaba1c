"""The frames of a clip, in the size that it is learned in."""

from __future__ import annotations

from torch import Tensor

from ...common.buckets import Buckets
from ...media.picture_reading import read_pictures
from ...media.pictures import fit_pictures
from ...media.video_reading import Cut, read_video
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
    size = part.resolution
    if part.is_bucketed:
        buckets = Buckets(size.width * size.height, multiple)
        found = buckets.choose(width, height, 1, most_enlarged=64.0 if part.may_enlarge else 1.0)
        return fit_pictures(frames, found.width, found.height, "crop")
    return fit_pictures(frames, size.width, size.height, "crop")
