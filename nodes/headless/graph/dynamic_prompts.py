"""Prompts with choices `{a|b}` and comments, as the canvas resolves them when it queues.

Source: ComfyUI's front end 1.58.1, extension Comfy.DynamicPrompts (the grammar; the code is our own).
"""

from __future__ import annotations

import random
import re

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n\r\u2028\u2029]*", re.DOTALL)
_ESCAPED = re.compile(r"\\([{}|])")


def resolved_prompt(text: str) -> str:
    """A prompt without its comments, and with one of each `{a|b|c}`, drawn anew each time; `\\{` stays a brace.

    Choices may hold choices. A brace that is not closed reaches to the end.
    """
    # A frame: what has been read, and the choices before it where it is inside braces.
    frames: list[tuple[list[str], list[str]]] = [([], [])]
    text = _COMMENT.sub("", text)
    position = 0
    while position < len(text):
        letter = text[position]
        position += 1
        read, choices = frames[-1]
        if letter == "\\":
            read.append(letter + text[position : position + 1])
            position += 1
        elif letter == "{":
            frames.append(([], []))
        elif letter == "|" and len(frames) > 1:
            choices.append("".join(read))
            read.clear()
        elif letter == "}" and len(frames) > 1:
            _close(frames)
        else:
            read.append(letter)
    while len(frames) > 1:
        _close(frames)
    return _ESCAPED.sub(r"\1", "".join(frames[0][0]))


def _close(frames: list[tuple[list[str], list[str]]]) -> None:
    read, choices = frames.pop()
    frames[-1][0].append(random.choice([*choices, "".join(read)]))  # noqa: S311  (no secret)
