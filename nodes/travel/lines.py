"""Prompts with their times, as a user writes them: a line for each."""

from __future__ import annotations

import re
from typing import NamedTuple

from ...common.errors import InvalidInputError
from ...sampling.travel import Moment
from .moments import TIME, moment_of

MOST_PROMPTS = 100
_EXAMPLE = "'0: a cat sits' and '24: the cat jumps'"
_LINE = re.compile(rf'"?{TIME}\s*"?\s*:(?P<prompt>.*)')


class TimedPrompt(NamedTuple):
    """A prompt, and when it begins."""

    start: Moment
    prompt: str


def read_lines(text: str, global_prompt: str = "") -> tuple[TimedPrompt, ...]:
    """The prompts of lines 'time: prompt', each with the global one before it.

    A time is a frame (24), a second (1.5s) or a part of the clip (50%). Empty lines, and lines that begin with #, are
    passed over. Lines as of JSON are read too: "24": "a prompt",

    Raises:
        InvalidInputError: a line has no time or no prompt; there is no line, or there are too many.
    """
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    found = tuple(_read(number, line, global_prompt) for number, line in lines if line and line[0] not in "#{}")
    if not found:
        raise InvalidInputError(f"There is no prompt. Write a time and a prompt in each line, as in {_EXAMPLE}.")
    if len(found) > MOST_PROMPTS:
        raise InvalidInputError(
            f"There are {len(found)} prompts, and at most {MOST_PROMPTS} are read. Write fewer, or make the video in "
            "parts."
        )
    return found


def _read(number: int, line: str, global_prompt: str) -> TimedPrompt:
    match = _LINE.fullmatch(line)
    if match is None:
        short = line if len(line) <= 40 else f"{line[:40]}..."
        raise InvalidInputError(
            f"Line {number} of the prompts has no time: '{short}'. Write the frame, second (1.5s) or part of the clip "
            f"(50%) and a colon before each prompt, one prompt a line, as in {_EXAMPLE}."
        )
    start = moment_of(match, f"Line {number} of the prompts begins at")
    prompt = match["prompt"].strip()
    if line.startswith('"'):
        prompt = prompt.rstrip(",").strip().strip('"')
    prompt = " ".join(part for part in (global_prompt.strip(), prompt) if part)
    if not prompt:
        raise InvalidInputError(f"Line {number} of the prompts has a time and no prompt. Write one behind the colon.")
    return TimedPrompt(start, prompt)
