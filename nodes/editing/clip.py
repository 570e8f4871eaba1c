"""The node that changes a clip by words."""

from __future__ import annotations

from typing import Any

from ...engine.editing.settings import EditSettings
from ...engine.memory import MemorySettings
from ..api import io, one_sentence
from ..loaders import WanModelType
from ..options.memory import memory_input
from ..sampler import cfg_input, schedule_input, seed_input, shift_input, steps_input
from .edited import AUTO_MASKS, NativeTexts, Where, edited


def _step_inputs() -> list[Any]:
    """How many steps, and how each is guided."""
    return [
        seed_input("The noises of the steps; the same seed and settings give the same edit."),
        steps_input(
            "Steps of the whole schedule, of which strength makes the last part. A step asks the model up to "
            "four times."
        ),
        cfg_input("How strongly the text counts that the clip is to show. Higher than source_cfg."),
        cfg_input(
            "How strongly the source counts, the text that the clip shows now. No effect without one.",
            name="source_cfg",
            default=1.5,
        ),
    ]


def _course_inputs() -> list[Any]:
    """Which steps are made, and where."""
    return [
        shift_input("How much time is spent at high noise: as in the sampler that made the clip."),
        schedule_input("Where the steps lie, as in Wan Sampler."),
        io.Float.Input(
            "strength",
            default=0.6,
            min=0.0,
            max=1.0,
            step=0.01,
            tooltip="The part of the steps that is made: 0.4 to 0.7. More gives the words more way, less leaves things "
            "where they are. 0 changes nothing.",
        ),
        io.Combo.Input(
            "auto_mask",
            options=list(AUTO_MASKS),
            default="off",
            tooltip="words: only where both texts disagree is edited, which the model is asked first. The rest stays "
            "as it is, to the bit.",
        ),
    ]


def _source_inputs() -> list[Any]:
    """What the clip shows before the edit."""
    return [
        io.Conditioning.Input(
            "source",
            optional=True,
            tooltip="What the clip shows now: positive's text with the old words. Without it, the negative "
            "prompt stands for that. For an image-to-video model through Wan Image To Video with the clip's "
            "own first frame.",
        ),
        io.Conditioning.Input(
            "source_negative",
            optional=True,
            tooltip="For an image-to-video model: the negative of the Wan Image To Video that source comes "
            "from. Without it, negative counts for both.",
        ),
    ]


class WanDirectorEditClip(io.ComfyNode):
    """Changes a clip by words."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorEditClip",
            display_name="Wan Edit Clip",
            category="Wan Director/sampling",
            description="Changes a clip by words, without training: what it shows now, and what it is to show. With an "
            "image-to-video model an edited first frame is carried on. The rest stays near what it was; outside a mask "
            "it stays exactly.",
            search_aliases=[
                "flowedit",
                "flow edit",
                "edit video",
                "video editing",
                "vid2vid",
                "change colour",
                "recolor",
            ],
            inputs=[
                WanModelType.Input(
                    "model",
                    tooltip="From Load Wan Model: a text-to-video model; or an image-to-video model, "
                    "for a first frame that is edited already.",
                ),
                io.Conditioning.Input(
                    "positive",
                    tooltip="What the clip is to show, all of it. For an image-to-video model "
                    "through Wan Image To Video with the edited first frame.",
                ),
                io.Conditioning.Input("negative", tooltip="What to avoid; without a source, what the clip counts as."),
                io.Latent.Input(
                    "latent",
                    tooltip="The clip: from Wan Encode Video, Wan Sampler, or another Wan Edit Clip. Where it has a "
                    "noise mask, only there is edited.",
                ),
                *_step_inputs(),
                *_course_inputs(),
                *_source_inputs(),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="White is edited, black stays to the bit. A picture, or one for each frame.",
                ),
                memory_input("How much of the GPU to use, and how many blocks to swap."),
            ],
            outputs=[
                io.Latent.Output(
                    display_name="LATENT", tooltip="The edited clip, for Wan Decode Video or another Wan Edit Clip."
                ),
                io.Mask.Output(display_name="MASK", tooltip="Where it was edited, a picture for each frame."),
            ],
        )

    @classmethod
    @one_sentence
    def execute(
        cls,
        model: Any,
        positive: list,
        negative: list,
        latent: dict,
        seed: int,
        steps: int,
        cfg: float,
        source_cfg: float,
        shift: float,
        schedule: str,
        strength: float,
        auto_mask: str,
        source: list | None = None,
        source_negative: list | None = None,
        mask: Any = None,
        memory: MemorySettings | None = None,
    ) -> Any:
        settings = EditSettings(seed, steps, cfg, source_cfg, shift, schedule, strength)
        texts = NativeTexts(positive, source, negative, source_negative)
        return io.NodeOutput(*edited(model, texts, latent, settings, Where(mask, auto_mask), memory))
