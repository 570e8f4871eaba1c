"""Nodes that turn prompts and pictures into what the model is steered by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..common.checking import object_with
from ..engine.memory import MemorySettings
from ..media.pictures import clean_image
from .api import io, one_sentence
from .conditioning.official_negative import OFFICIAL_NEGATIVE, marked
from .options.memory import memory_input, with_memory

CATEGORY = "Wan Director/conditioning"


class WanDirectorTextEncode(io.ComfyNode):
    """Encodes the positive and the negative prompt."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorTextEncode",
            display_name="Wan Text Encode",
            category=CATEGORY,
            description="Encodes both prompts. (words:1.2) stresses words, (words:0.8) weakens them. A prompt of more "
            "than 512 tokens is cut, with a note in the log.",
            search_aliases=["prompt", "clip text encode", "CLIPTextEncode", "conditioning", "wanvideo text encode"],
            inputs=[
                io.Clip.Input("text_encoder", tooltip="From Load Wan Text Encoder (or ComfyUI's Load CLIP, type wan)."),
                io.String.Input(
                    "positive",
                    multiline=True,
                    default="",
                    dynamic_prompts=True,
                    tooltip="What the video shows: subject, action, place, light, camera. (words:1.2) stresses words.",
                ),
                io.String.Input(
                    "negative",
                    multiline=True,
                    default=OFFICIAL_NEGATIVE,
                    dynamic_prompts=True,
                    tooltip="What to avoid; the default is the official list. Not used at cfg 1.",
                ),
                memory_input("Where to encode, and how much of the GPU to use."),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The encoded positive prompt."),
                io.Conditioning.Output(display_name="negative", tooltip="The encoded negative prompt."),
            ],
        )

    @classmethod
    @one_sentence
    def execute(cls, text_encoder: Any, positive: str, negative: str, memory: MemorySettings | None = None) -> Any:
        return io.NodeOutput(*encoded_prompts(text_encoder, (positive, negative), memory))


def encoded_prompts(text_encoder: Any, prompts: Sequence[str], memory: MemorySettings | None = None) -> list[list]:
    """The native CONDITIONING of each prompt, by a text encoder of ours or a native CLIP.

    Raises:
        InvalidInputError: it is none.
    """
    wanted = "The text encoder must be one with UMT5"
    object_with(text_encoder, "encode_from_tokens_scheduled", wanted, "Connect Load Wan Text Encoder.")
    text_encoder = with_memory(text_encoder, memory)
    encoded = [text_encoder.encode_from_tokens_scheduled(text_encoder.tokenize(prompt)) for prompt in prompts]
    return [marked(each, prompt) for each, prompt in zip(encoded, prompts)]


class WanDirectorClipVisionEncode(io.ComfyNode):
    """Encodes a start or end picture for the image branch of Wan 2.1."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorClipVisionEncode",
            display_name="Wan CLIP Vision Encode",
            category=CATEGORY,
            description="Encodes a picture for the image-to-video models of Wan 2.1, as the official code does: the "
            "whole picture, squeezed to a square, nothing cropped.",
            search_aliases=["clip vision encode", "CLIPVisionEncode", "image encode", "wanvideo clip vision encode"],
            inputs=[
                io.ClipVision.Input("clip_vision", tooltip="From Load Wan CLIP Vision (or ComfyUI's own loader)."),
                io.Image.Input("image", tooltip="The picture; of several, the first is used."),
            ],
            outputs=[
                io.ClipVisionOutput.Output(
                    display_name="CLIP_VISION_OUTPUT",
                    tooltip="The picture's features, for clip_vision_start or clip_vision_end of Wan Image To Video.",
                )
            ],
        )

    @classmethod
    @one_sentence
    def execute(cls, clip_vision: Any, image: Any) -> Any:
        object_with(clip_vision, "encode_image", "The CLIP vision must be an encoder", "Connect Load Wan CLIP Vision.")
        return io.NodeOutput(clip_vision.encode_image(clean_image(image, "image"), crop=False))
