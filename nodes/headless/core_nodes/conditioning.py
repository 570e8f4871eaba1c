"""ComfyUI's nodes that make CONDITIONING of texts and pictures, and change it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ....common.checking import object_with
from ....common.log import logger
from ... import standin as io
from ...conditioning.entries import with_values
from ...conditioning.official_negative import marked

_ZEROED = ("pooled_output", "conditioning_lyrics", "conditioning_scale")


class CLIPTextEncode(io.ComfyNode):
    """A prompt as CONDITIONING."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="CLIPTextEncode",
            display_name="CLIP Text Encode (Prompt)",
            category="model/conditioning",
            inputs=[
                io.String.Input("text", multiline=True, dynamic_prompts=True, tooltip="The prompt."),
                io.Clip.Input("clip"),
            ],
            outputs=[io.Conditioning.Output()],
        )

    @classmethod
    def execute(cls, text: str, clip: Any) -> Any:
        wanted = "The text encoder must be one with UMT5"
        object_with(clip, "encode_from_tokens_scheduled", wanted, "Connect Load CLIP.")
        return io.NodeOutput(marked(clip.encode_from_tokens_scheduled(clip.tokenize(text)), text))


class CLIPVisionEncode(io.ComfyNode):
    """A picture's features."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="CLIPVisionEncode",
            display_name="CLIP Vision Encode",
            category="model/conditioning",
            inputs=[
                io.ClipVision.Input("clip_vision"),
                io.Image.Input("image"),
                io.Combo.Input(
                    "crop",
                    options=["center", "none"],
                    tooltip="center looks at the middle square, none at the whole picture, squeezed.",
                ),
            ],
            outputs=[io.ClipVisionOutput.Output()],
        )

    @classmethod
    def execute(cls, clip_vision: Any, image: Tensor, crop: str) -> Any:
        object_with(clip_vision, "encode_image", "The CLIP vision must be an encoder", "Connect Load CLIP Vision.")
        return io.NodeOutput(clip_vision.encode_image(image[..., :3], crop=crop == "center"))


class ConditioningCombine(io.ComfyNode):
    """Two prompts side by side; the model's answers to them are averaged."""

    @classmethod
    def define_schema(cls) -> Any:
        inputs = [io.Conditioning.Input("conditioning_1"), io.Conditioning.Input("conditioning_2")]
        return _schema("ConditioningCombine", "Conditioning (Combine)", inputs)

    @classmethod
    def execute(cls, conditioning_1: list, conditioning_2: list) -> Any:
        return io.NodeOutput([*conditioning_1, *conditioning_2])


class ConditioningConcat(io.ComfyNode):
    """Prompts with the words of another behind theirs."""

    @classmethod
    def define_schema(cls) -> Any:
        inputs = [io.Conditioning.Input("conditioning_to"), io.Conditioning.Input("conditioning_from")]
        return _schema("ConditioningConcat", "Conditioning (Concat)", inputs)

    @classmethod
    def execute(cls, conditioning_to: list, conditioning_from: list) -> Any:
        words = _first(conditioning_from)
        return io.NodeOutput([[torch.cat((text, words), 1), {**values}] for text, values in conditioning_to])


class ConditioningAverage(io.ComfyNode):
    """Prompts mixed with another, number by number."""

    @classmethod
    def define_schema(cls) -> Any:
        inputs = [
            io.Conditioning.Input("conditioning_to"),
            io.Conditioning.Input("conditioning_from"),
            io.Float.Input("conditioning_to_strength", default=1.0, min=0.0, max=1.0, step=0.01),
        ]
        return _schema("ConditioningAverage", "Conditioning (Average)", inputs)

    @classmethod
    def execute(cls, conditioning_to: list, conditioning_from: list, conditioning_to_strength: float) -> Any:
        words, part = _first(conditioning_from), conditioning_to_strength
        mixed = []
        for text, values in conditioning_to:
            other = words[:, : text.shape[1]]
            other = F.pad(other, (0, 0, 0, text.shape[1] - other.shape[1]))
            mixed.append([text * part + other * (1.0 - part), {**values}])
        return io.NodeOutput(mixed)


class ConditioningZeroOut(io.ComfyNode):
    """Prompts of zeros: no words, the rest as it is."""

    @classmethod
    def define_schema(cls) -> Any:
        return _schema("ConditioningZeroOut", "Conditioning Zero Out", [io.Conditioning.Input("conditioning")])

    @classmethod
    def execute(cls, conditioning: list) -> Any:
        def zeroed(values: dict[str, Any]) -> dict[str, Any]:
            named = {key: values[key] for key in _ZEROED if values.get(key) is not None}
            return {**values, **{key: torch.zeros_like(value) for key, value in named.items()}}

        return io.NodeOutput([[torch.zeros_like(text), zeroed(values)] for text, values in conditioning])


class ConditioningSetTimestepRange(io.ComfyNode):
    """Prompts that count in a part of the run."""

    @classmethod
    def define_schema(cls) -> Any:
        part = {"min": 0.0, "max": 1.0, "step": 0.001}
        inputs = [
            io.Conditioning.Input("conditioning"),
            io.Float.Input("start", default=0.0, **part),
            io.Float.Input("end", default=1.0, **part),
        ]
        return _schema("ConditioningSetTimestepRange", None, inputs)

    @classmethod
    def execute(cls, conditioning: list, start: float, end: float) -> Any:
        return io.NodeOutput(with_values(conditioning, {"start_percent": start, "end_percent": end}))


class ConditioningSetMask(io.ComfyNode):
    """Prompts that count in a part of the picture."""

    @classmethod
    def define_schema(cls) -> Any:
        inputs = [
            io.Conditioning.Input("conditioning"),
            io.Mask.Input("mask"),
            _strength(),
            io.Combo.Input("set_cond_area", options=["default", "mask bounds"]),
        ]
        return _schema("ConditioningSetMask", "Conditioning (Set Mask)", inputs)

    @classmethod
    def execute(cls, conditioning: list, mask: Tensor, strength: float, set_cond_area: str) -> Any:
        values = {
            "mask": mask if mask.ndim > 2 else mask.unsqueeze(0),
            "set_area_to_bounds": set_cond_area != "default",
            "mask_strength": strength,
        }
        return io.NodeOutput(with_values(conditioning, values))


class ConditioningSetAreaStrength(io.ComfyNode):
    """Prompts that count more or less beside others."""

    @classmethod
    def define_schema(cls) -> Any:
        inputs = [io.Conditioning.Input("conditioning"), _strength()]
        return _schema("ConditioningSetAreaStrength", "Conditioning (Set Area Strength)", inputs)

    @classmethod
    def execute(cls, conditioning: list, strength: float) -> Any:
        return io.NodeOutput(with_values(conditioning, {"strength": strength}))


def _strength() -> Any:
    return io.Float.Input("strength", default=1.0, min=0.0, max=10.0, step=0.01)


def _schema(name: str, title: str | None, inputs: list[Any]) -> Any:
    return io.Schema(
        node_id=name,
        display_name=title,
        category="model/conditioning/transform",
        inputs=inputs,
        outputs=[io.Conditioning.Output()],
    )


def _first(conditioning: list) -> Tensor:
    """The words of the first of several prompts."""
    if len(conditioning) > 1:
        logger.warning("Of the %d prompts in conditioning_from the first is used, as in ComfyUI.", len(conditioning))
    return conditioning[0][0]
