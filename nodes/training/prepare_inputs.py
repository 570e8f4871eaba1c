"""The widgets of data preparation."""

from __future__ import annotations

from typing import Any

from ...tuning.preparation.settings import OPTIONAL
from ..api import ADVANCED, io

NOTHING_MORE, ALL = "nothing more", "both"


def prepare_inputs() -> list[Any]:
    """All of them."""
    return [*_main_inputs(), *_advanced_inputs()]


def _main_inputs() -> list[Any]:
    return [
        io.String.Input(
            "source",
            default="",
            tooltip="The folder with the videos, and folders inside of it: a path, or a name in ComfyUI's input or "
            "output folder. A text beside a video that has its name is the caption of its clips.",
        ),
        io.String.Input(
            "name",
            default="clips",
            tooltip="The folder in ComfyUI's output folder that the clips, captions and report.html go to.",
        ),
        io.String.Input(
            "trigger", default="", tooltip="The rare word that is to call what is learned: put in front of captions."
        ),
        io.Float.Input(
            "fps",
            default=16.0,
            min=1.0,
            max=120.0,
            step=1.0,
            round=0.001,
            tooltip="Frames per second of the clips: 16 for Wan 2.1 and the A14B models, 24 for TI2V-5B.",
        ),
        io.Int.Input("longest", default=81, min=5, max=1025, step=4, tooltip="Frames of a clip at most, 1 + 4k."),
        io.Int.Input("shortest", default=17, min=5, max=1025, step=4, tooltip="Frames of a clip at least, 1 + 4k."),
        io.Int.Input(
            "side",
            default=720,
            min=64,
            max=4096,
            step=16,
            tooltip="The shorter side of a clip at most: larger videos are made smaller.",
        ),
        io.Int.Input(
            "width", default=832, min=64, max=4096, step=16, tooltip="With height: the area that is trained at."
        ),
        io.Int.Input("height", default=480, min=64, max=4096, step=16, tooltip="See width."),
    ]  # fmt: skip


def _advanced_inputs() -> list[Any]:
    return [
        io.String.Input(
            "filters",
            default="",
            multiline=True,
            tooltip="Which clips are kept, by their scores: motion=2:60 sharpness=50: still= (the last is no filter). "
            "Mild ones hold where nothing is written; the help page lists the scores.",
            **ADVANCED,
        ),
        io.Boolean.Input(
            "soft_cuts",
            default=False,
            tooltip="Whether dissolves are looked for, too: by TransNetV2, which takes far longer on a CPU.",
            **ADVANCED,
        ),
        io.Boolean.Input("keep_bars", default=False, tooltip="Whether black bars stay.", **ADVANCED),
        io.Combo.Input(
            "measure",
            options=[NOTHING_MORE, *OPTIONAL, ALL],
            default=NOTHING_MORE,
            tooltip="Scores beside the usual ones: text with rapidocr, brisque with the package of that name.",
            **ADVANCED,
        ),
        io.String.Input(
            "address",
            default="",
            tooltip="A server of your own network that sees pictures and writes captions where there are none: "
            "http://127.0.0.1:11434/v1 for Ollama. Three frames of each clip go there and nowhere else.",
            **ADVANCED,
        ),
        io.String.Input(
            "server_model",
            default="",
            tooltip="The model's name on that server; empty where it has but one.",
            **ADVANCED,
        ),
    ]
