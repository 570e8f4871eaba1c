"""The node that makes a full prompt of a short one."""

from __future__ import annotations

import io as bytes_io
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from ...common.checking import check_number, check_string, choice_of
from ...common.errors import InvalidInputError, MissingFileError
from ...common.log import logger
from ...engine.runtime import Work
from ...engine.writing.asked import LANGUAGES, MAX_TOKENS, TASKS, Writer, WritingTask, prompt_of
from ...engine.writing.asked import instructions as instructions_of
from ...engine.writing.local import LocalWriter, is_language_model
from ...engine.writing.server import ServerWriter
from ...media.pictures import clean_image
from ...sampling.validation import MAX_SEED
from ..api import ADVANCED, answer, io, one_sentence
from ..files.model_names import model_name
from ..hosts.host import LANGUAGE_MODELS, host
from ..text import CATEGORY
from .remembered import ANSWERS, IN_GRAPHS, METADATA_KEY, graph_key

AT_ADDRESS = "at the address"
LONGEST_SIDE = 1024
"""Of a picture that a model is shown, in pixels."""


class WanDirectorEnhancePrompt(io.ComfyNode):
    """A full prompt of a short one, by a language model."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorEnhancePrompt",
            display_name="Wan Enhance Prompt",
            category=CATEGORY,
            description="Writes a short prompt out in the way that Wan follows best, by a language model of your own: "
            "one of models/LLM, or a server such as Ollama, LM Studio or llama.cpp in your network.",
            search_aliases=["LLM", "prompt extend", "prompt enhancer", "rewrite prompt", "ollama", "qwen", "refiner"],
            inputs=[
                io.String.Input(
                    "prompt",
                    multiline=True,
                    default="",
                    dynamic_prompts=True,
                    tooltip="A few words: who does what, where. What you write stays in the text.",
                ),
                io.Combo.Input(
                    "task",
                    options=list(TASKS),
                    default=TASKS[0],
                    tooltip="What the prompt is for. image to video: the movement in a picture. edit: the whole video "
                    "after the change that you describe, for Wan Edit Clip.",
                ),
                *_writer_inputs(),
                *_word_inputs(),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="A picture the text is about, for models with vision; of several, the first is used.",
                ),
                io.String.Input(
                    "instructions",
                    multiline=True,
                    default="",
                    optional=True,
                    tooltip="How to write, in place of the rules for the task. Empty keeps those.",
                    **ADVANCED,
                ),
            ],
            outputs=[
                io.String.Output(display_name="prompt", tooltip="The full prompt, for positive of Wan Text Encode.")
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, model: str | None = None, address: str | None = None) -> bool | str:
        return True if model is None or address is None else answer(writer_of, model, address, "")

    @classmethod
    def fingerprint_inputs(cls, model: str = AT_ADDRESS, **_: Any) -> str:
        return stamp(model)

    @classmethod
    @one_sentence
    def execute(
        cls,
        prompt: str,
        task: str,
        model: str,
        address: str,
        server_model: str,
        language: str,
        seed: int,
        temperature: float,
        max_tokens: int,
        image: Any = None,
        instructions: str = "",
    ) -> Any:
        check_number(temperature, "temperature")
        picture = None if image is None else clean_image(image, "image")
        how = rules(task, language, instructions, has_picture=picture is not None)
        writer = writer_of(model, address, server_model)
        if isinstance(writer, LocalWriter):
            writer.check(has_picture=picture is not None)
        asked = WritingTask(how, _text(prompt, "prompt"), None, seed, temperature, max_tokens)
        run = partial(_written, writer, asked, picture, (stamp(model), address, server_model))
        text = host().runtime.perform(Work(run, lambda: prompt))
        _note(cls.hidden, text)
        return io.NodeOutput(text, ui={"text": [text]})


def _writer_inputs() -> list[Any]:
    """Who is asked."""
    return [
        io.Combo.Input(
            "model",
            options=[AT_ADDRESS, *language_models()],
            default=AT_ADDRESS,
            tooltip="A folder of models/LLM with a model as published for transformers, or the server at the "
            "address. Nothing is downloaded.",
        ),
        io.String.Input(
            "address",
            default="",
            tooltip="With 'at the address': an OpenAI-compatible server on this machine or in its network, "
            "http://127.0.0.1:11434/v1 for Ollama. Prompt and image go there and nowhere else.",
        ),
        io.String.Input(
            "server_model",
            default="",
            tooltip="The model's name on that server, such as qwen2.5:7b; empty where it has but one.",
        ),
    ]


def _word_inputs() -> list[Any]:
    """How words are chosen."""
    return [
        io.Combo.Input(
            "language",
            options=list(LANGUAGES),
            default=LANGUAGES[0],
            tooltip="The language of the text. Wan understands English and Chinese best.",
        ),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=MAX_SEED,
            tooltip="Another seed gives another text, the same one the same.",
        ),
        io.Float.Input(
            "temperature",
            default=0.7,
            min=0.0,
            max=2.0,
            step=0.05,
            round=0.01,
            tooltip="How freely words are chosen; 0 always takes the likeliest.",
            **ADVANCED,
        ),
        io.Int.Input(
            "max_tokens",
            default=512,
            min=1,
            max=MAX_TOKENS,
            tooltip="The text's length at most. Models that think first need more.",
            **ADVANCED,
        ),
    ]


def rules(task: str, language: str, own: str, *, has_picture: bool) -> str:
    """How to write: as the user says, or else by the rules of a task, by its name on the widget."""
    task, language = choice_of(task, TASKS, "task"), choice_of(language, LANGUAGES, "language")
    return _text(own, "instructions").strip() or instructions_of(task, language, has_picture=has_picture)


def _text(value: str, name: str) -> str:
    check_string(value, name)
    return value


def language_models() -> list[str]:
    """The language models that can be chosen: folders of models/LLM, and those inside of them."""
    found = set()
    for folder in host().model_folders(LANGUAGE_MODELS):
        for path in (*folder.glob("*"), *folder.glob("*/*")):
            if is_language_model(path):
                found.add(path.relative_to(folder).as_posix())
    return sorted(found)


def writer_of(model: str, address: str, server_model: str) -> Writer:
    """Who is asked.

    Raises:
        WanDirectorError: nobody was chosen, or who was is not there.
    """
    if model != AT_ADDRESS:
        return LocalWriter(_folder(model))
    if not _text(address, "address").strip():
        raise InvalidInputError(
            "No language model was chosen. Put one into models/LLM and choose it as model, or write the address of a "
            "server, http://127.0.0.1:11434/v1 for Ollama."
        )
    return ServerWriter(address.strip().rstrip("/"), server_model.strip())


def stamp(model: str) -> str:
    """Changes when the files of a local model do."""
    if model == AT_ADDRESS:
        return model
    try:
        files = sorted(_folder(model).glob("*"))
    except (InvalidInputError, MissingFileError):
        return "missing"
    return " ".join(f"{file} {file.stat().st_mtime_ns} {file.stat().st_size}" for file in files)


def _folder(model: str) -> Path:
    name = model_name(model)
    folders = [folder / name for folder in host().model_folders(LANGUAGE_MODELS)]
    found = next((folder for folder in folders if folder.is_dir()), None)
    if found is None:
        have = ", ".join(language_models()) or "none"
        raise MissingFileError(
            f"There is no language model '{name}' in models/LLM; there are: {have}. Put it there, or choose another."
        )
    return found


def _written(writer: Writer, asked: WritingTask, picture: Tensor | None, decides: tuple[str, ...]) -> str:
    png = None if picture is None else _png(picture)
    asked = WritingTask(asked.instructions, asked.prompt, png, asked.seed, asked.temperature, asked.most_tokens)
    text = ANSWERS.once((decides, asked), lambda: prompt_of(writer.write(asked, host().runtime)))
    logger.info("The prompt written out: %s", text)
    host().show_text(text)
    return text


def _png(picture: Tensor) -> bytes:
    """A picture [1, H, W, 3] in 0..1 as a PNG file, made smaller where it is large."""
    from PIL import Image

    pixels = (picture[0].clamp(0, 1) * 255).round().byte().cpu().numpy()
    image = Image.fromarray(pixels)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    file = bytes_io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _note(hidden: Any, text: str) -> None:
    """Keeps the text for the files that are saved: by its graph for ours, in the run's own notes for the host's."""
    key = graph_key(hidden.prompt, hidden.unique_id)
    if key is not None:
        IN_GRAPHS.keep(key, text)
    if isinstance(hidden.extra_pnginfo, dict):
        hidden.extra_pnginfo.setdefault(METADATA_KEY, {})[str(hidden.unique_id)] = text
