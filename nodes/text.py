"""Nodes that turn prompts and pictures into what the model is steered by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..common.checking import object_with
from ..engine.memory import MemorySettings
from ..media.pictures import clean_image
from .api import io, one_sentence
from .options.memory import memory_input, with_memory

CATEGORY = "Wan Director/conditioning"
# "Garish colours, overexposed, static, blurred details, subtitles, style, artwork, painting, picture, still, greyish,
# worst quality, low quality, JPEG artefacts, ugly, mutilated, extra fingers, badly drawn hands, badly drawn face,
# deformed, disfigured, malformed limbs, fused fingers, motionless picture, cluttered background, three legs, many
# people in the background, walking backwards". Escaped, because some Windows tools cannot read Chinese in a source
# file.
# Source: Wan-Video/Wan2.1 wan/configs/shared_config.py, sample_neg_prompt.
OFFICIAL_NEGATIVE = (
    "\u8272\u8c03\u8273\u4e3d\uff0c\u8fc7\u66dd\uff0c\u9759\u6001\uff0c\u7ec6\u8282\u6a21\u7cca\u4e0d\u6e05\uff0c"
    "\u5b57\u5e55\uff0c\u98ce\u683c\uff0c\u4f5c\u54c1\uff0c\u753b\u4f5c\uff0c\u753b\u9762\uff0c\u9759\u6b62\uff0c"
    "\u6574\u4f53\u53d1\u7070\uff0c\u6700\u5dee\u8d28\u91cf\uff0c\u4f4e\u8d28\u91cf\uff0c"
    "JPEG\u538b\u7f29\u6b8b\u7559\uff0c\u4e11\u964b\u7684\uff0c\u6b8b\u7f3a\u7684\uff0c"
    "\u591a\u4f59\u7684\u624b\u6307\uff0c\u753b\u5f97\u4e0d\u597d\u7684\u624b\u90e8\uff0c"
    "\u753b\u5f97\u4e0d\u597d\u7684\u8138\u90e8\uff0c\u7578\u5f62\u7684\uff0c\u6bc1\u5bb9\u7684\uff0c"
    "\u5f62\u6001\u7578\u5f62\u7684\u80a2\u4f53\uff0c\u624b\u6307\u878d\u5408\uff0c"
    "\u9759\u6b62\u4e0d\u52a8\u7684\u753b\u9762\uff0c\u6742\u4e71\u7684\u80cc\u666f\uff0c\u4e09\u6761\u817f\uff0c"
    "\u80cc\u666f\u4eba\u5f88\u591a\uff0c\u5012\u7740\u8d70"
)


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
    return [text_encoder.encode_from_tokens_scheduled(text_encoder.tokenize(prompt)) for prompt in prompts]


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
