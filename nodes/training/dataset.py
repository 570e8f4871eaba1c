"""The node that names what a training learns from, and says what it found there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...common.checking import instance_of
from ...common.errors import WanDirectorError
from ...common.log import logger
from ...tuning.datasets.clips import EXTRACTIONS
from ...tuning.datasets.finding import captioned
from ...tuning.datasets.summary import summary
from ..api import ADVANCED, io, one_sentence
from ..hosts.host import host
from .clips import TABLE, ClipsType, ClipWidgets, TrainingClips, stamp_of

CATEGORY = "Wan Director/training"


class WanDirectorDataset(io.ComfyNode):
    """Pictures and clips with their captions."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorDataset",
            display_name="Wan Dataset",
            category=CATEGORY,
            description="Names the pictures and clips that Wan Train LoRA learns from, and says what it found: how "
            "many, in which sizes, and which lack a caption.",
            search_aliases=[
                "train", "training data", "folder of images", "LoadImageTextDataSetFromFolder", "captions",
                "buckets", "regularisation images", "musubi",
            ],
            inputs=[*_source_inputs(), *_more_inputs()],
            outputs=[
                ClipsType.Output(display_name="dataset", tooltip="For Wan Train LoRA."),
                io.String.Output(display_name="found", tooltip="What was found, in words."),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(
        cls,
        source: str | None = None,
        prior: str | None = None,
        frames: str | None = None,
        caption_ending: str | None = None,
    ) -> bool:
        # Raised, not answered: ComfyUI shows an answer once for each of the widgets, an exception only once.
        if source is not None and prior is not None and frames is not None and caption_ending is not None:
            _check(source, prior, frames, caption_ending)
        return True

    @classmethod
    def fingerprint_inputs(cls, source: str = "", prior: str = "", caption_ending: str = ".txt", **_: Any) -> Any:
        try:
            return str(
                [stamp_of(_usual("", caption_ending).parts(each)) for each in (source, prior) if each and each.strip()]
            )
        except (WanDirectorError, OSError):
            return "missing"

    @classmethod
    @one_sentence
    def execute(
        cls, source: str, width: int, height: int, frames: str, repeats: int, prior: str, batch_size: int,
        buckets: bool, enlarge: bool, extraction: str, fps: float, caption_ending: str, more: Any = None,
    ) -> Any:  # fmt: skip
        widgets: Any = (width, height, frames, repeats, batch_size, buckets, enlarge, extraction, fps, caption_ending)
        named = ClipWidgets(*widgets)
        if more is not None:
            instance_of(more, TrainingClips, "more", "Wan Dataset")
        clips = TrainingClips(named.parts(source), named.parts(prior) if prior.strip() else ()).with_more(more)
        found = _found(clips, (source, prior))
        return io.NodeOutput(clips, found, ui={"text": [found]})


def _source_inputs() -> list[Any]:
    return [
        io.String.Input(
            "source",
            default="",
            tooltip="A folder with pictures or videos and, beside each, a text file of the same name that says what "
            "is to be seen; or a .toml as musubi-tuner reads it, or a .jsonl. A path, or a name in ComfyUI's input "
            "or output folder.",
        ),
        io.Int.Input(
            "width",
            default=832,
            min=64,
            max=4096,
            step=16,
            tooltip="With height: the area that clips get. Each keeps its shape, in the nearest size of that area.",
        ),
        io.Int.Input("height", default=480, min=64, max=4096, step=16, tooltip="See width."),
        io.String.Input(
            "frames",
            default="",
            tooltip="Lengths that videos are cut to, 1 + 4k frames: 33, or 17, 33. Empty takes whole clips of at most "
            "129 frames. Pictures are clips of one frame.",
        ),
        io.Int.Input(
            "repeats", default=1, min=1, max=10_000, tooltip="How often each clip is seen in a round through all."
        ),
        io.String.Input(
            "prior",
            default="",
            tooltip="A second folder (.toml, .jsonl) with clips of a more general kind that are to stay as they are, "
            "also called regularisation images. Empty for none; Wan Train LoRA can have the model make them.",
        ),
    ]  # fmt: skip


def _more_inputs() -> list[Any]:
    return [
        io.Int.Input(
            "batch_size",
            default=1,
            min=1,
            max=1024,
            tooltip="Clips of one size that a step learns from at once. More takes more memory and time.",
            **ADVANCED,
        ),
        io.Boolean.Input(
            "buckets",
            default=True,
            tooltip="On: clips keep their shape. Off: all become width x height, cut at the sides.",
            **ADVANCED,
        ),
        io.Boolean.Input(
            "enlarge",
            default=True,
            tooltip="On: clips smaller than the area are enlarged. Off: they keep their size.",
            **ADVANCED,
        ),
        io.Combo.Input(
            "extraction",
            options=list(EXTRACTIONS),
            default=EXTRACTIONS[0],
            tooltip="Which frames of a video make the lengths in frames: head the first ones, chunk all one after "
            "the other, full the whole clip.",
            **ADVANCED,
        ),
        io.Float.Input(
            "fps",
            default=0.0,
            min=0.0,
            max=240.0,
            step=1.0,
            round=0.001,
            tooltip="Videos are brought to so many frames a second: 16 for Wan, 24 for TI2V-5B. 0 leaves them.",
            **ADVANCED,
        ),
        io.String.Input(
            "caption_ending",
            default=".txt",
            tooltip="How the names of the captions end.",
            **ADVANCED,
        ),
        ClipsType.Input("more", optional=True, tooltip="Another Wan Dataset to learn from as well."),
    ]


def _usual(frames: str, caption_ending: str) -> ClipWidgets:
    return ClipWidgets(832, 480, frames, 1, 1, True, True, EXTRACTIONS[0], 0.0, caption_ending)


@one_sentence
def _check(source: str, prior: str, frames: str, caption_ending: str) -> None:
    """Asks before anything runs whether the clips are there."""
    for each in (source, *([prior] if prior.strip() else [])):
        for part in _usual(frames, caption_ending).parts(each):
            list(captioned(part))


def _found(clips: TrainingClips, sources: tuple[str, ...]) -> str:
    """What was found, in words."""
    lines = [*summary(clips.parts), *(f"To stay as they are: {line}" for line in summary(clips.prior))]
    for source in sources:
        if source.strip().lower().endswith(TABLE):
            lines.append(f"{Path(source.strip()).name} says sizes, lengths, repeats and batches; the widgets do not.")
    found = "\n".join(lines)
    logger.info("The dataset: %s", found.replace("\n", "; "))
    host().show_text(found)
    return found
