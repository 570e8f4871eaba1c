"""The node that makes of music what Wan-Dancer hears."""

from __future__ import annotations

from typing import Any

from ...audio_encoder.music.features import frame_rate, music_features
from ...common.checking import check_count, check_number
from ...common.errors import InvalidInputError
from ...common.shapes import MAX_FRAMES, TEMPORAL_STRIDE, check_frames
from ..api import io, one_sentence
from ..sockets.sounds import sound_of
from .values import Music, native_music

CATEGORY = "Wan Director/dancing"
_RATE_IS = "\u5e27\u7387\u662f"
"""'The frame rate is', in Chinese."""
USUAL_FRAMES, MOST_STRENGTH = 149, 10.0


def frames_input() -> Any:
    """The widget frames."""
    return io.Int.Input(
        "frames",
        default=USUAL_FRAMES,
        min=1,
        max=MAX_FRAMES,
        step=TEMPORAL_STRIDE,
        tooltip="Length of the plan, and of each part of the dance: 1 + 4k frames. Wan-Dancer was trained on 149.",
    )


def check_length(frames: int) -> None:
    """Refuses what is no length of a video.

    Raises:
        InvalidInputError: it is so.
    """
    check_count(frames, "frames", f"Use {USUAL_FRAMES}.")
    check_frames(frames)


def heard(audio: Any, frames: int, strength: float) -> Music:
    """What Wan-Dancer hears in a video of so many frames that lasts as long as a sound.

    Raises:
        InvalidInputError: it is no sound, or one too short.
    """
    sound = sound_of(audio)
    if sound is None:
        raise InvalidInputError("audio holds no sound. Connect Load Audio, or a video that has sound.")
    features = music_features(sound.waveform, sound.sample_rate)
    return Music(features, frame_rate(features.shape[1], frames), strength)


def rate_words(fps: float) -> str:
    """What the model was trained to find at the end of a prompt.

    Source: ComfyUI v0.33.0 comfy_extras/nodes_wandancer.py, WanDancerEncodeAudio.
    """
    return f" {_RATE_IS}{fps:.4f}" if int(fps + 0.5) != 30 else f", {_RATE_IS}30fps\u3002"


class WanDirectorDanceMusic(io.ComfyNode):
    """The features of music."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorDanceMusic",
            display_name="Wan Dance Music",
            category=CATEGORY,
            description="Makes of music what Wan-Dancer hears: how loud, which notes, where they begin, and the beats, "
            "30 times a second. Of a whole song for the plan of a dance, of a part of it for that part.",
            search_aliases=[
                "wan dancer", "WanDancerEncodeAudio", "music features", "beat detection", "dance", "librosa",
            ],
            inputs=[
                io.Audio.Input("audio", tooltip="The song, or the audio of Wan Dance Part; its channels are mixed."),
                frames_input(),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=MOST_STRENGTH,
                    step=0.01,
                    tooltip="How strongly the music is heard. 1 is as trained.",
                ),
            ],
            outputs=[
                io.AudioEncoderOutput.Output(display_name="music", tooltip="What is heard, for Wan Dancer."),
                io.String.Output(
                    display_name="fps_text",
                    tooltip="What the prompt ends with, as the model was trained: its frames a second in Chinese.",
                ),
                io.Float.Output(
                    display_name="fps",
                    tooltip="Frames a second of the video that lasts as long as the music; 30 is the dance itself.",
                ),
            ],
        )  # fmt: skip

    @classmethod
    @one_sentence
    def execute(cls, audio: Any, frames: int, strength: float) -> Any:
        check_length(frames)
        check_number(strength, "strength")
        if not 0.0 <= strength <= MOST_STRENGTH:
            raise InvalidInputError(f"The strength of music is from 0 to {MOST_STRENGTH:g}, got {strength:g}.")
        music = heard(audio, frames, strength)
        return io.NodeOutput(native_music(music), rate_words(music.fps), music.fps)
