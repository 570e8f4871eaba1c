"""What a language model is asked for, how it is to write, and how its answer becomes a prompt."""

from __future__ import annotations

import re
from typing import Protocol

from ...common.errors import InvalidInputError, WritingError
from ...common.records import record
from ..runtime import Runtime

MAX_TOKENS = 4096
LONGEST_PROMPT = 20_000
"""Characters of a prompt that is to be written out."""
_THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)
_LABEL = re.compile(r"\A\**(?:enhanced |rewritten |final )?(?:video )?prompt\**\s*:\**\s*", re.IGNORECASE)
_QUOTES = {'"': '"', "\u201c": "\u201d", "\u300c": "\u300d", "'": "'", "`": "`"}

TEXT, PICTURE, EDIT = TASKS = ("text to video", "image to video", "edit")
LANGUAGES = ("as the prompt", "English", "Chinese")

_RULES = (
    "You write prompts for a model that makes short videos of about five seconds in one shot. Answer with the prompt "
    "alone, as one paragraph of 80 to 120 words: no title, no list, no quotes around it, no remarks. Keep every fact "
    "of the user's words, among them names, numbers, colours, places and text in quotes, and contradict none of them. "
    "Say only what can be seen. Write in the present tense, in plain words."
)
_TASKS = {
    TEXT: (
        "Say, in this order: the kind of picture (film, animation, drawing ...) if the user names one; who or what is "
        "seen, with a few marks of its looks; what it does from the beginning to the end, one movement after the "
        "other; where it is and what lies around it; the light and the time of day; how near the camera is, from where "
        "it looks and how it moves. Where the user leaves something open, choose what is likely and simple. Add no "
        "second scene and no cut."
    ),
    PICTURE: (
        "The video begins with a picture, which the model sees by itself. Say what moves and how: the subject's action "
        "from the beginning to the end, what moves around it, and how the camera moves. Name things of the picture in "
        "few words, so that it is clear what acts, and describe neither its colours nor its background at length. "
        "Nothing that contradicts the picture. 50 to 90 words are enough."
    ),
    EDIT: (
        "The user says how a video is to be changed, and may show a frame of it. Describe the whole video as it is "
        "after the change, not the change: what stays, with its movement, place and light, and the changed thing in "
        "its place. Use no words such as replace, remove, instead or now."
    ),
}
_IN = {
    LANGUAGES[0]: "Write in the language of the user's words.",
    "English": "Write in English, whatever the language of the user's words.",
    "Chinese": "Write in simplified Chinese, whatever the language of the user's words.",
}


@record
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


def instructions(task: str, language: str, *, has_picture: bool) -> str:
    """The system prompt of a task.

    Args:
        task: one of `TASKS`.
        language: one of `LANGUAGES`.
        has_picture: whether the model is shown one.
    """
    seen = " You are shown the picture: look at it first." if has_picture else ""
    return f"{_RULES} {_TASKS[task]}{seen} {_IN[language]}"
