"""The videos of a folder: which files there are, what they hold, and which cannot be used, with the reason."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ...common.errors import InvalidInputError
from ...common.records import record
from ...media.video_reading import VideoFile, probe_video

ENDINGS = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif", ".mpg", ".mpeg", ".ts", ".m2ts", ".wmv", ".flv"}
LARGEST_PICTURE = 8192 * 8192
"""Pixels: what a header claims to be larger is refused before ffmpeg takes memory for it."""
_CHUNK = 1 << 22
_LAST_S, _LONGER = 1.0, 5
"""A last picture that is shown longer, and so many times longer than any before, is where a file breaks off."""


@record
class RawVideo:
    """A video to take clips from.

    Attributes:
        name: its path inside the folder, with forward slashes.
        digest: of its contents.
    """

    name: str
    digest: str
    video: VideoFile

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height as it is shown."""
        size = self.video.width, self.video.height
        return (size[1], size[0]) if self.video.is_turned else size


def video_files(folder: Path, without: Path) -> list[Path]:
    """The videos of a folder and those below, in the order of their names, but none of the results' folder.

    Raises:
        InvalidInputError: there is no such folder, none in it, or it lies in that of the results.
    """
    if not folder.is_dir():
        raise InvalidInputError(f"{folder} is no folder. Give the one that holds the videos.")
    outside = without.resolve()
    if folder.resolve().is_relative_to(outside):
        raise InvalidInputError(
            f"The videos in {folder} lie in {without}, where the results go and none are looked for. Give "
            "another folder for the results."
        )
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in ENDINGS and path.is_file() and not path.resolve().is_relative_to(outside)
    ]
    if not found:
        raise InvalidInputError(
            f"There is no video in {folder}. Put some there, with one of the endings {', '.join(sorted(ENDINGS))}."
        )
    return found


def read_source(path: Path, folder: Path) -> RawVideo:
    """A video's facts.

    Raises:
        InvalidInputError: it cannot be used; the sentence says why.
    """
    if not path.stat().st_size:
        raise InvalidInputError(f"{path.name} is empty. Copy it again.")
    video = probe_video(path)
    if min(video.width, video.height) < 1:
        raise InvalidInputError(f"{path.name} is damaged: its pictures have no size that can be. Copy it again.")
    if video.width * video.height > LARGEST_PICTURE:
        raise InvalidInputError(
            f"{path.name} has pictures of {video.width}x{video.height}, and at most {LARGEST_PICTURE:,} pixels are "
            "read. Make it smaller."
        )
    if len(video.times) == 1:
        raise InvalidInputError(
            f"{path.name} has one frame, which is a picture and no video. Give pictures to the trainer in a folder of "
            "their own."
        )
    last_s = float(video.end - video.times[-1])
    if last_s > max(_LAST_S, _LONGER * max(float(b - a) for a, b in zip(video.times, video.times[1:]))):
        raise InvalidInputError(
            f"{path.name} breaks off, since it tells of {float(video.end):.1f} seconds, and its last picture comes "
            f"after {float(video.times[-1]):.1f}. Copy it again, or convert what is left of it."
        )
    return RawVideo(path.relative_to(folder).as_posix(), digest_of(path), video)


def digest_of(path: Path) -> str:
    """What tells a file's contents from all others."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
