"""ComfyUI's nodes for sound, for Wan S2V and for HuMo: an audio encoder, what it hears, and videos made with it.

Pictures are cut in the middle and resized without antialiasing, as ComfyUI does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .....common.shapes import video_frames
from .....dit.branches.audio.past import PAST_FRAMES
from .....engine.recipe import ModelRecipe
from .....model_loading.kinds import AUDIO_ENCODER
from .... import standin as io
from ....api import answer
from ....files.model_files import check_model, find_model
from ....hosts.host import host
from ....sockets.audio_encoders import audio_encoder
from ....sockets.latents import video_samples
from ....talking.heard import both_sides, heard_features, humo_sides
from ..scaling import MAX_SIDE
from ..wan_videos import blank, fitted, video_schema
from .fun import placed

_PAST = video_frames(PAST_FRAMES)


class AudioEncoderLoader(io.ComfyNode):
    """An encoder of sound."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="AudioEncoderLoader",
            display_name="Load Audio Encoder",
            category="model/loaders",
            inputs=[io.String.Input("audio_encoder_name", tooltip="A file in models/audio_encoders.")],
            outputs=[io.AudioEncoder.Output()],
        )

    @classmethod
    def validate_inputs(cls, audio_encoder_name: str | None = None) -> bool | str:
        return answer(check_model, AUDIO_ENCODER, audio_encoder_name)

    @classmethod
    def execute(cls, audio_encoder_name: str) -> Any:
        recipe = ModelRecipe(find_model("audio_encoders", audio_encoder_name), "audio_encoder")
        return io.NodeOutput(audio_encoder(recipe, host().runtime))


class AudioEncoderEncode(io.ComfyNode):
    """What an encoder makes of a sound."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="AudioEncoderEncode",
            category="model/conditioning",
            inputs=[io.AudioEncoder.Input("audio_encoder"), io.Audio.Input("audio")],
            outputs=[io.AudioEncoderOutput.Output()],
        )

    @classmethod
    def execute(cls, audio_encoder: Any, audio: dict[str, Any]) -> Any:
        return io.NodeOutput(audio_encoder.encode_audio(audio["waveform"], audio["sample_rate"]))


class WanSoundImageToVideo(io.ComfyNode):
    """A video of somebody who speaks."""

    @classmethod
    def define_schema(cls) -> Any:
        inputs = [
            *_sound_inputs(),
            io.Image.Input("ref_motion", optional=True, tooltip="Frames to go on from; the last 73 count."),
        ]
        return video_schema("WanSoundImageToVideo", inputs, folder="/sound", length=77)

    @classmethod
    def execute(
        cls,
        positive: list,
        negative: list,
        vae: Any,
        width: int,
        height: int,
        length: int,
        batch_size: int,
        audio_encoder_output: Any = None,
        ref_image: Tensor | None = None,
        control_video: Tensor | None = None,
        ref_motion: Tensor | None = None,
    ) -> Any:
        latent = blank(vae, width, height, length, batch_size)
        values = _pictured(vae, latent, length, ref_image, control_video)
        if ref_motion is not None:
            before = fitted(ref_motion[-_PAST:], width, height)[..., :3]
            grey = torch.full((_PAST - len(before), *before.shape[1:]), 0.5)
            values["reference_motion"] = vae.encode(torch.cat([grey, before]))
        return io.NodeOutput(*_sides(positive, negative, values, latent, audio_encoder_output, 0), latent)


class WanSoundImageToVideoExtend(io.ComfyNode):
    """The next chunk of a video of somebody who speaks."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanSoundImageToVideoExtend",
            category="model/conditioning/wan/sound",
            inputs=[
                io.Conditioning.Input("positive"),
                io.Conditioning.Input("negative"),
                io.Vae.Input("vae"),
                io.Int.Input("length", default=77, min=1, max=MAX_SIDE, step=4, tooltip="Frames: 1 + 4k."),
                io.Latent.Input("video_latent", tooltip="The video so far."),
                *_sound_inputs(),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive"),
                io.Conditioning.Output(display_name="negative"),
                io.Latent.Output(display_name="latent"),
            ],
        )

    @classmethod
    def execute(
        cls,
        positive: list,
        negative: list,
        vae: Any,
        length: int,
        video_latent: dict[str, Any],
        audio_encoder_output: Any = None,
        ref_image: Tensor | None = None,
        control_video: Tensor | None = None,
    ) -> Any:
        before = video_samples(video_latent)
        stride = vae.spacial_compression_encode()
        height, width = (side * stride for side in before.shape[-2:])
        latent = blank(vae, width, height, length, len(before))
        values = _pictured(vae, latent, length, ref_image, control_video)
        values["reference_motion"] = before[:, :, -PAST_FRAMES:]
        first = before.shape[2]
        return io.NodeOutput(*_sides(positive, negative, values, latent, audio_encoder_output, first), latent)


class WanHuMoImageToVideo(io.ComfyNode):
    """A video of somebody with a sound."""

    @classmethod
    def define_schema(cls) -> Any:
        inputs = [
            io.AudioEncoderOutput.Input("audio_encoder_output", optional=True),
            io.Image.Input("ref_image", optional=True, tooltip="Who is seen; of several the first."),
        ]
        return video_schema("WanHuMoImageToVideo", inputs, folder="/humo", length=97)

    @classmethod
    def execute(
        cls,
        positive: list,
        negative: list,
        vae: Any,
        width: int,
        height: int,
        length: int,
        batch_size: int,
        audio_encoder_output: Any = None,
        ref_image: Tensor | None = None,
    ) -> Any:
        latent = blank(vae, width, height, length, batch_size)
        picture = None if ref_image is None else vae.encode(fitted(ref_image[:1], width, height))
        return io.NodeOutput(*humo_sides(positive, negative, latent["samples"], audio_encoder_output, picture), latent)


def _sound_inputs() -> list[Any]:
    return [
        io.AudioEncoderOutput.Input("audio_encoder_output", optional=True),
        io.Image.Input("ref_image", optional=True, tooltip="Who speaks; of several the first."),
        io.Image.Input("control_video", optional=True, tooltip="Poses to follow."),
    ]


def _pictured(
    vae: Any, latent: dict[str, Any], length: int, ref_image: Tensor | None, control_video: Tensor | None
) -> dict[str, Any]:
    values: dict[str, Any] = {"control_video": placed(vae, control_video, latent, length)}
    if ref_image is not None:
        stride = vae.spacial_compression_encode()
        height, width = (side * stride for side in latent["samples"].shape[-2:])
        values["reference_latents"] = [vae.encode(fitted(ref_image[:1], width, height)[..., :3])]
    return values


def _sides(
    positive: list, negative: list, values: dict[str, Any], latent: dict[str, Any], audio: Any, first: int
) -> list[list]:
    heard = None if audio is None else heard_features(audio, latent["samples"].shape[2], first)
    return both_sides(positive, negative, values, heard)
