"""How prompts for the Wan models are to be written: the system prompt of each task."""

from __future__ import annotations

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


def instructions(task: str, language: str, *, has_picture: bool) -> str:
    """The system prompt of a task.

    Args:
        task: one of `TASKS`.
        language: one of `LANGUAGES`.
        has_picture: whether the model is shown one.
    """
    seen = " You are shown the picture: look at it first." if has_picture else ""
    return f"{_RULES} {_TASKS[task]}{seen} {_IN[language]}"
