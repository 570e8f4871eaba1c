"""Records of what a dataset holds."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from ...common.checking import choice_of
from ...common.errors import InvalidInputError
from ...common.records import record
from ...common.shapes import check_frames

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
VIDEOS = frozenset({".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v"})
Extraction = Literal["head", "chunk", "full"]
EXTRACTIONS: tuple[Extraction, ...] = ("head", "chunk", "full")


class PictureShape(NamedTuple):
    """The area that clips are brought to, as the size of one shape of it."""

    width: int
    height: int


@record
class ClipFile:
    """A picture or video, or some frames of one, with its caption.

    Attributes:
        first, count: frames of it; 0 for a picture.
        control: a video, or picture, that a model of VACE follows while it makes this one.
        mask: where it does: white is made, black is kept as it is in the control video.
    """

    path: Path
    caption: str
    first: int = 0
    count: int = 0
    control: Path | None = None
    mask: Path | None = None


@record
class DatasetPart:
    """One [[datasets]] of a table, or a folder by itself.

    Attributes:
        folder: that holds the files and, beside each, its caption; None where `lines` names them.
        lines: a file with an object of JSON in each line.
        is_video: whether videos are meant, or pictures.
        resolution: whose area no clip exceeds.
        caption_extension: of the captions.
        batch_size: clips of one size that are learned from at once.
        is_bucketed: whether clips keep their shape; or else all get `resolution`.
        may_enlarge: whether small ones are enlarged.
        num_repeats: how often each is seen in a round.
        target_frames: lengths, 1 + 4k each.
        extraction: which frames: the first, all one after the other, or the whole clip.
        max_frames: of the whole clip.
        fps: videos are brought to so many frames a second; 0 leaves them.
        controls, masks: folders that hold, for each file, the control video or mask of the same name.
    """

    folder: Path | None
    lines: Path | None
    is_video: bool
    resolution: PictureShape
    caption_extension: str = ".txt"
    batch_size: int = 1
    is_bucketed: bool = True
    may_enlarge: bool = True
    num_repeats: int = 1
    target_frames: tuple[int, ...] = (1,)
    extraction: Extraction = "head"
    max_frames: int = 129
    fps: float = 0.0
    controls: Path | None = None
    masks: Path | None = None

    def __post_init__(self) -> None:
        choice_of(self.extraction, EXTRACTIONS, "frame_extraction")
        for frames in self.target_frames:
            check_frames(frames)
        if min(self.batch_size, self.num_repeats, self.max_frames) < 1:
            raise InvalidInputError(
                "A dataset has batch_size, num_repeats and max_frames of 1 or more, got "
                f"{self.batch_size}, {self.num_repeats} and {self.max_frames}."
            )
