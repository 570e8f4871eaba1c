"""What a clip shows, in words: of a text file beside its video, or of a language model in the own network."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path

from ...common.errors import InvalidInputError
from ...engine.runtime import Runtime
from ...engine.writing.asked import WritingTask
from ...engine.writing.server import ServerWriter

CAPTION_ENDING = ".txt"
LONGEST_BYTES = 20_000
_INSTRUCTIONS = (
    "You describe video clips for the training of a video model. The picture shows the first, the middle and the last "
    "frame of one clip, side by side. Answer with the description alone, one paragraph of 40 to 80 words in the "
    "present tense: who or what is seen, what it does from the beginning to the end, where it is, the light, and how "
    "the camera moves. Say only what can be seen. Do not speak of frames, pictures or a clip."
)
_CAMERA = {
    "still": "The camera stands still.",
    "shake": "The camera is held in the hand.",
    "roll": "The camera rolls.",
}

Captioner = Callable[[str, str], str]
"""Gives the caption for three frames, a JPEG in base64, and what the camera does."""


def caption_beside(video: Path) -> str:
    """The text of the file beside a video that has its name and ends in .txt; "" where there is none.

    Raises:
        InvalidInputError: it is no text.
    """
    path = video.with_suffix(CAPTION_ENDING)
    if not path.is_file():
        return ""
    try:
        if path.stat().st_size > LONGEST_BYTES:
            raise InvalidInputError(
                f"{path.name} has {path.stat().st_size:,} bytes, and a caption at most {LONGEST_BYTES:,}. Shorten it."
            )
        return " ".join(path.read_text(encoding="utf-8-sig").split())
    except UnicodeDecodeError:
        raise InvalidInputError(f"{path.name} is no text in UTF-8. Save it as such.") from None


def with_trigger(trigger: str, caption: str) -> str:
    """A caption with the word in front that is to call what is learned; one that has it already stays."""
    if not trigger or trigger in caption:
        return caption
    return f"{trigger}, {caption}" if caption else trigger


def written_by(address: str, model: str, runtime: Runtime) -> Captioner:
    """Captions by a model that sees pictures, of an OpenAI-compatible server in the own network.

    Args:
        address: of the interface, such as http://127.0.0.1:11434/v1.
        model: its name there; empty where the server has but one.

    Raises:
        InvalidInputError: it is no address.
    """
    writer = ServerWriter(address, model)

    def caption(shown: str, camera: str) -> str:
        prompt = f"Describe this clip. {_CAMERA.get(camera, f'The camera does this: {camera}.')}"
        answer = writer.write(WritingTask(_INSTRUCTIONS, prompt, _png(shown), temperature=0.2), runtime)
        return " ".join(answer.split())

    return caption


def _png(jpeg: str) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(jpeg))).save(file, "PNG")
    return file.getvalue()
