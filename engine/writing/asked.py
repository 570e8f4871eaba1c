"""What a language model is asked for, and how its answer becomes a prompt."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from ...common.errors import InvalidInputError, WritingError
from ..runtime import Runtime

MAX_TOKENS = 4096
LONGEST_PROMPT = 20_000
"""Characters of a prompt that is to be written out."""
_THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)
_LABEL = re.compile(r"\A\**(?:enhanced |rewritten |final )?(?:video )?prompt\**\s*:\**\s*", re.IGNORECASE)
_QUOTES = {'"': '"', "\u201c": "\u201d", "\u300c": "\u300d", "'": "'", "`": "`"}


@dataclass(frozen=True, slots=True)
class WritingTask:
    """One question.

    Attributes:
        instructions: how to write, the system prompt.
        prompt: what is written out.
        picture: a PNG file that the text is about; None without.
        seed: of the words' choice; the same gives the same text, as far as the model's own arithmetic does.
        temperature: how freely words are chosen; 0 takes the likeliest.
        most_tokens: the answer's length at most.
    """

    instructions: str
    prompt: str
    picture: bytes | None = None
    seed: int = 0
    temperature: float = 0.7
    most_tokens: int = 512

    def __post_init__(self) -> None:
        if not self.prompt.strip() and self.picture is None:
            raise InvalidInputError("The prompt is empty. Write a few words that are to be written out.")
        if len(self.prompt) > LONGEST_PROMPT:
            raise InvalidInputError(
                f"The prompt has {len(self.prompt):,} characters, and at most {LONGEST_PROMPT:,} are written out. "
                "Shorten it."
            )
        if not 1 <= self.most_tokens <= MAX_TOKENS or not 0 <= self.temperature <= 2:
            raise InvalidInputError(
                f"max_tokens is 1 to {MAX_TOKENS} and temperature 0 to 2, got {self.most_tokens} and "
                f"{self.temperature:g}. Use 512 and 0.7."
            )


class Writer(Protocol):
    """A language model."""

    def write(self, asked: WritingTask, runtime: Runtime) -> str:
        """Its answer, as it gave it.

        Raises:
            WritingError: there is none.
        """
        ...


def prompt_of(answer: str) -> str:
    """The prompt in an answer: without thoughts, a label, quotes and lines.

    Raises:
        WritingError: nothing is left.
    """
    text = _THOUGHT.sub("", answer).strip().strip("`").strip()
    text = _LABEL.sub("", text).strip()
    text = " ".join(text.split())
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1] and text[0] not in text[1:-1]:
        text = text[1:-1].strip()
    if not text:
        raise WritingError(
            "The language model gave no prompt: its answer was empty, or ended while it was thinking. Raise "
            "max_tokens, or choose another model."
        )
    return text
