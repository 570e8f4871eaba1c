"""What a dataset holds, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ...common.shapes import PictureSize
from ...media.picture_reading import outlined_pictures
from ...media.video_reading import probe_video
from .clips import ClipFile, DatasetPart
from .finding import clips_of
from .frames import learned_size

_MOST_SIZES = 6


def summary(parts: Sequence[DatasetPart], multiple: int = 16) -> list[str]:
    """A line for each part: how many clips, where, in which sizes they are learned, and how many lack a caption.

    Args:
        multiple: of both sides, of the model's family.

    Raises:
        WanDirectorError: see `clips_of`, or a file cannot be read.
    """
    return [_line(part, multiple) for part in parts]


def _line(part: DatasetPart, multiple: int) -> str:
    clips = clips_of(part)
    files = len({clip.path for clip in clips})
    found = [_counted(len(clips), "clip" if part.is_video else "picture")]
    if part.is_video:
        found.append(f"of {_counted(files, 'video')}")
    found.append(f"in {(part.folder or part.lines or Path()).name}")
    if part.num_repeats > 1:
        found.append(f"{part.num_repeats} times a round")
    silent = sum(not clip.caption for clip in clips)
    lack = f"; {silent} without a caption" if silent else ""
    return f"{' '.join(found)}: {_sizes(clips, part, multiple)}{lack}"


def _sizes(clips: Sequence[ClipFile], part: DatasetPart, multiple: int) -> str:
    own = {path: _own_size(path, part) for path in {clip.path for clip in clips}}
    counts = Counter((learned_size(part, own[clip.path], multiple), clip.count) for clip in clips)
    named = [
        f"{count} of {size.width}x{size.height}{f', {frames} frames' if frames else ''}"
        for (size, frames), count in counts.most_common(_MOST_SIZES)
    ]
    more = len(counts) - len(named)
    return "; ".join([*named, *([f"{more} more sizes"] if more else [])])


def _own_size(path: Path, part: DatasetPart) -> PictureSize:
    if not part.is_video:
        outline = outlined_pictures(path)
        return PictureSize(outline.width, outline.height)
    video = probe_video(path)
    return PictureSize(video.height, video.width) if video.is_turned else PictureSize(video.width, video.height)


def _counted(count: int, one: str) -> str:
    return f"{count} {one}{'' if count == 1 else 's'}"
