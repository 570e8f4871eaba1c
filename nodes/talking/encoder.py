"""The nodes that load an audio encoder and listen through it."""

from __future__ import annotations

from typing import Any

from ...common.checking import object_with
from ...common.errors import InvalidInputError
from ...engine.recipe import ModelRecipe
from ...model_loading.kinds import AUDIO_ENCODER
from ...model_loading.precision import precision_named
from ..api import answer, io, one_sentence
from ..files.model_files import check_model, find_model, fingerprint
from ..hosts.host import host
from ..loaders import CATEGORY as LOADERS
from ..loaders import PRECISION_TIP, PRECISIONS
from ..sockets.audio_encoders import audio_encoder
from ..sockets.sounds import sound_of

CATEGORY = "Wan Director/talking"


class WanDirectorLoadAudioEncoder(io.ComfyNode):
    """Loads the network that a talking model listens through."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorLoadAudioEncoder",
            display_name="Load Wan Audio Encoder",
            category=LOADERS,
            description="Loads the network that a talking model hears speech through: wav2vec2 large for Wan S2V. "
            "wav2vec2 base and whisper large v3 are read, too. What it is, is read from the file itself.",
            search_aliases=[
                "audio encoder loader", "AudioEncoderLoader", "load audio encoder", "wav2vec2", "whisper",
                "wav2vec model loader",
            ],
            inputs=[
                io.Combo.Input(
                    "audio_encoder_name",
                    options=host().model_files("audio_encoders"),
                    tooltip="A file in models/audio_encoders, for Wan S2V wav2vec2_large_english_fp16.safetensors.",
                ),
                io.Combo.Input("precision", options=PRECISIONS, default="auto", tooltip=PRECISION_TIP),
            ],
            outputs=[
                io.AudioEncoder.Output(
                    display_name="AUDIO_ENCODER", tooltip="The encoder; ComfyUI's Audio Encoder Encode takes it too."
                )
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, audio_encoder_name: str | None = None) -> bool | str:
        return answer(check_model, AUDIO_ENCODER, audio_encoder_name)

    @classmethod
    def fingerprint_inputs(cls, audio_encoder_name: str, **_: Any) -> str:
        return fingerprint("audio_encoders", audio_encoder_name)

    @classmethod
    @one_sentence
    def execute(cls, audio_encoder_name: str, precision: str) -> Any:
        path = find_model("audio_encoders", audio_encoder_name)
        recipe = ModelRecipe(path, "audio_encoder", precision_named(precision))
        return io.NodeOutput(audio_encoder(recipe, host().runtime))


class WanDirectorAudioEncode(io.ComfyNode):
    """Encodes a sound for a talking model."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorAudioEncode",
            display_name="Wan Audio Encode",
            category=CATEGORY,
            description="Makes of speech or song what a talking model hears. The whole sound is taken at once, so that "
            "one node serves all chunks of a long video.",
            search_aliases=["audio encoder encode", "AudioEncoderEncode", "encode audio", "wav2vec embeds"],
            inputs=[
                io.AudioEncoder.Input(
                    "audio_encoder", tooltip="From Load Wan Audio Encoder (or ComfyUI's Load Audio Encoder)."
                ),
                io.Audio.Input(
                    "audio", tooltip="Speech or song, from Load Audio or Wan Load Video; its channels are mixed to one."
                ),
            ],
            outputs=[
                io.AudioEncoderOutput.Output(
                    display_name="AUDIO_ENCODER_OUTPUT", tooltip="What is heard, for Wan Speech To Video."
                )
            ],
        )

    @classmethod
    @one_sentence
    def execute(cls, audio_encoder: Any, audio: Any) -> Any:
        wanted = "The audio_encoder must be one of sound"
        object_with(audio_encoder, "encode_audio", wanted, "Connect Load Wan Audio Encoder.")
        sound = sound_of(audio)
        if sound is None:
            raise InvalidInputError("audio holds no sound. Connect Load Audio, or a video that has sound.")
        return io.NodeOutput(audio_encoder.encode_audio(sound.waveform[None], sound.sample_rate))
