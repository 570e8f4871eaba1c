"""How long a film is, and which frames of which clip are in it."""

from __future__ import annotations

from collections.abc import Sequence

from ...common.errors import InvalidInputError
from ...common.records import record
from ...common.shapes import TEMPORAL_STRIDE, check_frames

MAX_CLIPS = 10_000


@record
class FilmShape:
    """The clips of a film, numbered from 0: all frames of the first, of each other those after its first `overlap`.

    These are the last ones of the clip before, which it is given.
    """

    clips: int
    clip_frames: int
    overlap: int

    @property
    def frames(self) -> int:
        """Of the whole film."""
        return self.clip_frames + (self.clips - 1) * (self.clip_frames - self.overlap)

    def given(self, clip: int) -> int:
        """How many of the first frames of a clip are in the film already."""
        return self.overlap if clip else 0

    def new_frames(self, clip: int) -> int:
        """How many frames of a clip go to the film."""
        return self.clip_frames - self.given(clip)


def film_shape(prompts: Sequence[str], clips: int, clip_frames: int, overlap: int, ends: int = 0) -> FilmShape:
    """The shape of a film of these prompts, one for each clip, of which the last counts for all that follow.

    Args:
        clips: how many; 0 for one of each prompt, or of each picture that a clip ends with where there are more.
        ends: how many clips, the first ones, end with a given picture.

    Raises:
        InvalidInputError: there is no such film.
    """
    check_frames(clip_frames)
    check_overlap(overlap, clip_frames)
    if not prompts:
        raise InvalidInputError("There is no prompt for the film. Write one in each line, the first for clip 1.")
    clips = clips or max(len(prompts), ends)
    if not 0 < clips <= MAX_CLIPS:
        advice = "Make it in several films." if clips > 0 else "0 makes one for each prompt."
        raise InvalidInputError(f"A film has 1 to {MAX_CLIPS:,} clips, got {clips:,}. {advice}")
    if len(prompts) > clips:
        raise InvalidInputError(
            f"There are {len(prompts)} prompts, one a line, for {_clips(clips)}. Remove lines, or make it "
            f"{len(prompts)} clips (0: one of each line)."
        )
    if ends > clips:
        raise InvalidInputError(
            f"There are {ends} end_images, one for the end of each clip, for {_clips(clips)}. Give fewer, or make it "
            f"{ends} clips (0: one for each of them)."
        )
    if ends and overlap >= clip_frames - 1:
        raise InvalidInputError(
            f"Clips of {clip_frames} frames that begin with {overlap} of the clip before and end with a given one "
            "have nothing to make between them. Use a smaller overlap, or longer clips."
        )
    return FilmShape(clips, clip_frames, overlap)


def _clips(count: int) -> str:
    return f"{count} clip" if count == 1 else f"{count} clips"


def check_overlap(overlap: int, clip_frames: int) -> None:
    """Refuses an overlap that a clip cannot begin with.

    Raises:
        InvalidInputError: it is not 1 + 4k, or leaves nothing new.
    """
    if overlap < 1 or (overlap - 1) % TEMPORAL_STRIDE:
        below = max(1, overlap - (overlap - 1) % TEMPORAL_STRIDE)
        raise InvalidInputError(
            f"The overlap of two clips is 1 + 4k frames, got {overlap}. Use {below} or {below + TEMPORAL_STRIDE}."
        )
    if overlap >= clip_frames:
        smaller = f"a smaller overlap, such as {min(5, clip_frames - TEMPORAL_STRIDE)}, or " if clip_frames > 1 else ""
        raise InvalidInputError(
            f"Clips of {clip_frames} frame{'s' if clip_frames > 1 else ''} that begin with {overlap} of the clip "
            f"before bring nothing new. Use {smaller}longer clips."
        )


def check_start(start_frames: int, clip_frames: int) -> None:
    """Refuses a clip that a film is to go on from, and that is as long as the film's first one.

    Raises:
        InvalidInputError: it is, so that the first clip would bring nothing new.
    """
    if start_frames > 1 and start_frames >= clip_frames:
        raise InvalidInputError(
            f"start_image is a clip of {start_frames} frames, and the first of {clip_frames} frames, which begins with "
            "them, would bring nothing new. Give its last frames alone, such as 5."
        )


def read_prompts(text: str) -> tuple[str, ...]:
    """The lines of a text that are not blank."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())
