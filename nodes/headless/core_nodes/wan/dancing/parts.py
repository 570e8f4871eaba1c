"""ComfyUI's nodes that cut a song and the plan of a dance into parts, and make of music what is heard."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..... import standin as io
from .....dancing.music import heard, rate_words
from .....dancing.places import native_part, part_of_dance
from .....dancing.values import native_music
from .....sockets.sounds import sound_of
from ...scaling import MAX_SIDE

_LENGTH = {"default": 149, "min": 1, "max": 10000}


class WanDancerEncodeAudio(io.ComfyNode):
    """The features of music."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDancerEncodeAudio",
            category="model/conditioning/wan/dancer",
            inputs=[
                io.Audio.Input("audio"),
                io.Int.Input("video_frames", default=149, min=1, max=MAX_SIDE, step=4),
                io.Float.Input("audio_inject_scale", default=1.0, min=0.0, max=10.0, step=0.01),
            ],
            outputs=[
                io.AudioEncoderOutput.Output(display_name="audio_encoder_output"),
                io.String.Output(display_name="fps_string", tooltip="What the prompt ends with."),
            ],
        )

    @classmethod
    def execute(cls, audio: Any, video_frames: int, audio_inject_scale: float) -> Any:
        music = heard(audio, video_frames, audio_inject_scale)
        return io.NodeOutput(native_music(music), rate_words(music.fps))


class WanDancerPadKeyframes(io.ComfyNode):
    """A part of a dance."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDancerPadKeyframes",
            category="image/video",
            inputs=[
                io.Image.Input("images"),
                io.Int.Input("segment_length", **_LENGTH),
                io.Int.Input("segment_index", default=0, min=0, max=100),
                io.Audio.Input("audio"),
            ],
            outputs=_outputs(False),
        )

    @classmethod
    def execute(cls, images: Tensor, segment_length: int, segment_index: int, audio: Any) -> Any:
        return io.NodeOutput(*_part(images, audio, segment_length, segment_index))


class WanDancerPadKeyframesList(io.ComfyNode):
    """Parts of a dance, one after the other."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDancerPadKeyframesList",
            category="image/video",
            inputs=[
                io.Image.Input("images"),
                io.Int.Input("segment_length", **_LENGTH),
                io.Int.Input("num_segments", default=1, min=1, max=100),
                io.Audio.Input("audio"),
            ],
            outputs=_outputs(True),
        )

    @classmethod
    def execute(cls, images: Tensor, segment_length: int, num_segments: int, audio: Any) -> Any:
        parts = [_part(images, audio, segment_length, part) for part in range(num_segments)]
        return io.NodeOutput(*(list(values) for values in zip(*parts)))


def _outputs(is_list: bool) -> list[Any]:
    return [
        io.Image.Output(display_name="keyframes_sequence", is_output_list=is_list),
        io.Mask.Output(display_name="keyframes_mask", is_output_list=is_list),
        io.Audio.Output(display_name="audio_segment", is_output_list=is_list),
    ]


def _part(images: Tensor, audio: Any, length: int, part: int) -> tuple[Tensor, Tensor, dict[str, Any]]:
    sound = sound_of(audio)
    assert sound is not None, "the input is not optional"
    made = part_of_dance(images, sound.waveform[None], sound.sample_rate, length, part)
    return native_part(made, sound.sample_rate)
