"""Nodes that turn prompts and pictures into what the model is steered by."""

from __future__ import annotations

from typing import Any

from .api import io, one_sentence
from .pictures import clean_image

CATEGORY = "Wan Director/conditioning"
# Source: Wan-Video/Wan2.1 wan/configs/shared_config.py, sample_neg_prompt.
OFFICIAL_NEGATIVE = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，丑陋的，残缺的，"
    "多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，"
    "背景人很多，倒着走"
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
            search_aliases=["prompt", "clip text encode", "conditioning", "wanvideo text encode"],
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
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The encoded positive prompt."),
                io.Conditioning.Output(display_name="negative", tooltip="The encoded negative prompt."),
            ],
        )

    @classmethod
    @one_sentence
    def execute(cls, text_encoder: Any, positive: str, negative: str) -> Any:
        encoded = [
            text_encoder.encode_from_tokens_scheduled(text_encoder.tokenize(text)) for text in (positive, negative)
        ]
        return io.NodeOutput(*encoded)


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
            search_aliases=["clip vision encode", "image encode", "wanvideo clip vision encode"],
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
        return io.NodeOutput(clip_vision.encode_image(clean_image(image, "image"), crop=False))
