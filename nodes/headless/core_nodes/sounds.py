"""Nodes that read, cut and make sound. An AUDIO has a waveform [B, C, samples] and a sample_rate, as in ComfyUI.

Source: ComfyUI v0.33.0, comfy_extras/nodes_audio.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ....audio_encoder.resampling import resampled
from ....common.errors import InvalidInputError
from ....media.sound.reading import probe_sound
from ... import standin as io
from ...api import answer
from ...hosts.host import host
from ...sockets.sounds import native_audio, sound_of
from .pictures import is_there

_LARGEST = 0xFFFFFFFFFFFFFFFF


class LoadAudio(io.ComfyNode):
    """The sound of a sound or video file."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="LoadAudio",
            display_name="Load Audio",
            category="audio",
            inputs=[io.String.Input("audio", tooltip="Path of a sound or video, or its name in the input folder.")],
            outputs=[io.Audio.Output()],
        )

    @classmethod
    def validate_inputs(cls, audio: str | None = None) -> bool | str:
        there = is_there(audio, "sound")
        return answer(_check_sound, audio) if there is True and audio is not None else there

    @classmethod
    def execute(cls, audio: str) -> Any:
        sound = host().files.sound(host().input_file(audio), each=host().runtime.check_interrupt)
        return io.NodeOutput(None if sound is None else native_audio(sound))


class TrimAudioDuration(io.ComfyNode):
    """A part of a sound."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="TrimAudioDuration",
            display_name="Trim Audio Duration",
            category="audio",
            inputs=[
                io.Audio.Input("audio"),
                io.Float.Input("start_index", default=0.0, min=-_LARGEST, max=_LARGEST, step=0.01),
                io.Float.Input("duration", default=60.0, min=0.0, step=0.01),
            ],
            outputs=[io.Audio.Output()],
        )

    @classmethod
    def execute(cls, audio: Mapping[str, Any] | None, start_index: float, duration: float) -> Any:
        if audio is None:
            return io.NodeOutput(None)
        sound_of(audio)  # refuses what is none
        waveform, rate = audio["waveform"], audio["sample_rate"]
        samples = waveform.shape[-1]
        start = min(max(0, round(start_index * rate) + (samples if start_index < 0 else 0)), samples)
        end = min(start + round(duration * rate), samples)
        if start >= end:
            raise InvalidInputError(
                f"The sound has {samples / rate:.2f} seconds, and none of them are in the {duration:g} seconds from "
                f"second {start_index:g} on. Start earlier, or take more."
            )
        return io.NodeOutput({"waveform": waveform[..., start:end], "sample_rate": rate})


class EmptyAudio(io.ComfyNode):
    """Silence."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="EmptyAudio",
            display_name="Empty Audio",
            category="audio",
            inputs=[
                io.Float.Input("duration", default=60.0, min=0.0, max=_LARGEST, step=0.01),
                io.Int.Input("sample_rate", default=44100, min=1, max=192000, advanced=True),
                io.Int.Input("channels", default=2, min=1, max=2, advanced=True),
            ],
            outputs=[io.Audio.Output()],
        )

    @classmethod
    def execute(cls, duration: float, sample_rate: int, channels: int) -> Any:
        waveform = torch.zeros(1, channels, round(duration * sample_rate))
        return io.NodeOutput({"waveform": waveform, "sample_rate": sample_rate})


class AudioConcat(io.ComfyNode):
    """One sound behind another, in stereo; at the higher of both rates."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="AudioConcat",
            display_name="Concatenate Audio",
            category="audio",
            inputs=[
                io.Audio.Input("audio1"),
                io.Audio.Input("audio2"),
                io.Combo.Input(
                    "direction", options=["after", "before"], default="after", tooltip="Where audio2 comes."
                ),
            ],
            outputs=[io.Audio.Output()],
        )

    @classmethod
    def execute(cls, audio1: Mapping[str, Any] | None, audio2: Mapping[str, Any] | None, direction: str) -> Any:
        if audio1 is None or audio2 is None:
            return io.NodeOutput(audio2 if audio1 is None else audio1)
        sounds = [audio1, audio2] if direction == "after" else [audio2, audio1]
        rate = max(sound["sample_rate"] for sound in sounds)
        waveforms = [_in_stereo(sound, rate) for sound in sounds]
        if waveforms[0].shape[:2] != waveforms[1].shape[:2]:
            raise InvalidInputError(
                f"The sounds have {list(waveforms[0].shape[:2])} and {list(waveforms[1].shape[:2])} waveforms and "
                "channels and cannot be put behind each other. Give both as many."
            )
        return io.NodeOutput({"waveform": torch.cat(waveforms, dim=2), "sample_rate": rate})


def _in_stereo(audio: Mapping[str, Any], rate: int) -> Tensor:
    """The waveform [B, C, samples] of a sound at a rate; a single channel is there twice."""
    sound_of(audio)  # refuses what is none
    waveform = audio["waveform"].float()
    waveform = waveform.repeat(1, 2, 1) if waveform.shape[1] == 1 else waveform
    return torch.stack([resampled(each, audio["sample_rate"], rate) for each in waveform])


def _check_sound(name: str) -> None:
    if probe_sound(host().input_file(name)) is None:
        raise InvalidInputError(f"{name} has no sound that can be read. Use a wav, flac, mp3, m4a, ogg or video file.")
