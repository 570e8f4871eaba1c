"""The node that puts a LoRA onto a video model."""

from __future__ import annotations

from typing import Any

from ..common.log import logger
from ..dit.adapters import check_span, parse_blocks
from ..engine.models import holds_two_experts, with_lora
from ..engine.recipe import LoraRecipe
from ..model_loading.lora import check_lora
from .api import ADVANCED, io, one_sentence
from .files.model_files import find_lora, fingerprint
from .hosts.host import host
from .loaders import WanModelType
from .sockets.models import WanModel

MAX_STRENGTH = 10.0


def _setting_widgets() -> list[Any]:
    """Where, when and how the LoRA works; for most, the defaults."""
    return [
        io.String.Input(
            "blocks",
            default="all",
            tooltip="Which blocks of the model it changes: all, or numbers such as 0-9,20. With numbers it changes "
            "nothing outside these blocks.",
            **ADVANCED,
        ),
        io.Float.Input(
            "start_percent",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.01,
            tooltip="From which part of the steps on it is active: 0 the first step, 0.5 the second half.",
            **ADVANCED,
        ),
        io.Float.Input(
            "end_percent",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.01,
            tooltip="Up to which part of the steps it is active: 1 to the last step, 0.5 the first half.",
            **ADVANCED,
        ),
        io.Boolean.Input(
            "merge",
            default=False,
            tooltip="Sum it into the weights as they are used, instead of computing it beside them. Same result up to "
            "rounding; faster with several or large LoRAs on long videos. Not for quantised models.",
            **ADVANCED,
        ),
    ]


class WanDirectorLora(io.ComfyNode):
    """Puts a LoRA onto a video model."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorLora",
            display_name="Wan LoRA",
            category="Wan Director/loaders",
            description="Puts a LoRA onto a Wan model: a style, a character, fewer steps. Chain several. All common "
            "file forms work, on every kind of model file; changing the strength loads nothing again.",
            search_aliases=[
                "lora",
                "lora loader",
                "LoraLoaderModelOnly",
                "load lora",
                "lightx2v",
                "lightning",
                "wanvideo lora select",
            ],
            inputs=[
                WanModelType.Input("model", tooltip="From Load Wan Model or another Wan LoRA."),
                io.Combo.Input(
                    "lora_name",
                    options=host().model_files("loras"),
                    tooltip="A file in models/loras, made for this model's size (1.3B, 5B or 14B).",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=-MAX_STRENGTH,
                    max=MAX_STRENGTH,
                    step=0.01,
                    round=0.0001,
                    tooltip="How strongly it works: 1 as trained, 0 off, below 0 the opposite.",
                ),
                *_setting_widgets(),
            ],
            outputs=[WanModelType.Output(display_name="model", tooltip="The model with the LoRA, for the sampler.")],
        )

    @classmethod
    def validate_inputs(
        cls,
        lora_name: str | None = None,
        blocks: str | None = None,
        start_percent: float | None = None,
        end_percent: float | None = None,
    ) -> bool:
        # Raised, not answered: ComfyUI shows an answer once for each of the four widgets, an exception only once.
        if lora_name is not None:
            check_lora(find_lora(lora_name))
        if blocks is not None:
            parse_blocks(blocks)
        if start_percent is not None and end_percent is not None:
            check_span(start_percent, end_percent)
        return True

    @classmethod
    def fingerprint_inputs(cls, lora_name: str | None = None, **_: Any) -> str:
        return "" if lora_name is None else fingerprint("loras", lora_name)  # None: it comes over a wire

    @classmethod
    @one_sentence
    def execute(
        cls,
        model: WanModel,
        lora_name: str,
        strength: float,
        blocks: str,
        start_percent: float,
        end_percent: float,
        merge: bool,
    ) -> Any:
        lora = LoraRecipe(find_lora(lora_name), strength, parse_blocks(blocks), start_percent, end_percent, merge)
        if model.low_noise is None and holds_two_experts(lora, model):
            logger.warning(
                "%s holds LoRAs for both experts of a Wan 2.2 pair; %s gets the one for high noise. Put Wan LoRA "
                "behind Wan Two Experts, so that each expert gets its own.",
                lora.path.name, model.file,
            )  # fmt: skip
        return io.NodeOutput(with_lora(model, lora))
