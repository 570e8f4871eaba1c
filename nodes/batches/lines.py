"""Prompts as a user writes them, one a line, each with what is particular to its video before it."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import NamedTuple

from ...common.errors import InvalidInputError
from ...common.shapes import VideoShape

MOST_LINES = 1000
PICTURE_ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"})
_SIZE = re.compile(r"(\d{1,5})\s*[xX×]\s*(\d{1,5})(?:\s*[xX×]\s*(\d{1,5}))?")
_LIKE_SIZE = re.compile(r"\d+\s*[xX×*]\s*\d")
_VALUE = re.compile(r"[^|={}]+\.[\w.]+\s*=.*")
_LIKE_A_NAME = re.compile(r"[^\s{(]*[\w)][.=]\w[^\s{(]*")
_EXAMPLE = "'832x480x81 | a cat jumps'"


class PromptLine(NamedTuple):
    """One video.

    Attributes:
        number: of the line in the text, from 1.
        prompt: what it shows.
        size: width and height, and the length in frames; None each where the line does not say.
        pictures: names of picture files, in their order.
        values: assignments NODE.INPUT=VALUE.
    """

    number: int
    prompt: str
    size: tuple[int, int] | None = None
    frames: int | None = None
    pictures: tuple[str, ...] = ()
    values: tuple[str, ...] = ()

    def shape(self, usual: VideoShape) -> VideoShape:
        """The video's, with what the line does not say from the usual one."""
        width, height = (usual.width, usual.height) if self.size is None else self.size
        return VideoShape(usual.frames if self.frames is None else self.frames, height, width)


def read_lines(text: str) -> tuple[PromptLine, ...]:
    """The prompts of a text, one a line.

    Before a prompt stand, each with a bar behind it, in any order: a size (832x480 or 832x480x81), names of pictures
    with commas between them, and values of nodes (Wan Sampler.seed=7). An empty part ends them, so that a prompt may
    hold bars. Empty lines, and lines that begin with #, are passed over.

    Raises:
        InvalidInputError: there is no line, or there are too many; a line has no prompt, or something before it that is
            none of these.
    """
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    found = tuple(_read(number, line) for number, line in lines if line and line[0] != "#")
    if not found:
        raise InvalidInputError(f"There is no prompt. Write one in each line, with a size before it as in {_EXAMPLE}.")
    if len(found) > MOST_LINES:
        raise InvalidInputError(f"There are {len(found)} prompts, and at most {MOST_LINES} are read. Write fewer.")
    return found


def _read(number: int, line: str) -> PromptLine:
    made = PromptLine(number, "")
    prompt = line
    while "|" in prompt:
        head, _, rest = prompt.partition("|")
        if not head.strip():
            prompt = rest
            break
        found = _with_part(made, head.strip())
        if found is None:
            break
        made, prompt = found, rest
    if not prompt.strip():
        raise InvalidInputError(f"Line {number} of the prompts has no prompt. Write one behind the bar.")
    return made._replace(prompt=prompt.strip())


def _with_part(made: PromptLine, part: str) -> PromptLine | None:
    """The line with what a part before the prompt says; None where the part is the beginning of the prompt."""
    size = _SIZE.fullmatch(part)
    if size is not None and made.size is not None:
        raise InvalidInputError(f"Line {made.number} of the prompts has two sizes. Write one.")
    if size is not None:
        frames = None if size[3] is None else int(size[3])
        return made._replace(size=(int(size[1]), int(size[2])), frames=frames)
    if _are_pictures(part):
        return made._replace(pictures=(*made.pictures, *(name.strip() for name in part.split(","))))
    if _VALUE.fullmatch(part):
        return made._replace(values=(*made.values, part))
    if _LIKE_SIZE.match(part) or _LIKE_A_NAME.fullmatch(part):
        raise InvalidInputError(
            f"Line {made.number} of the prompts begins with '{part[:40]}', which is no size (832x480x81), no picture "
            "(cat.png) and no value (Wan Sampler.seed=7). Correct it, or put a bar before a prompt that has bars."
        )
    return None


def _are_pictures(text: str) -> bool:
    return all(PurePath(name.strip()).suffix.lower() in PICTURE_ENDINGS for name in text.split(","))
