"""Audio encoders by the shapes of their tensors."""

from __future__ import annotations

from collections.abc import Mapping

from ...audio_encoder.config import (
    STRIDES,
    WAV2VEC2_BASE,
    WAV2VEC2_LARGE,
    WHISPER_LARGE_V3,
    AudioEncoderConfig,
    SpeechConfig,
    WhisperConfig,
)
from ...common.errors import FileFault
from ...common.families import Family
from .configs import number_of_heads
from .tensors import Tensors

_HEAD_DIM = 64  # in all of them
_SPEECH, _FIRST = "wav2vec2.", "wav2vec2.feature_extractor.conv_layers."
_TITLES: Mapping[AudioEncoderConfig, str] = {
    WAV2VEC2_LARGE: "wav2vec2 large",
    WAV2VEC2_BASE: "wav2vec2 base",
    WHISPER_LARGE_V3: "the encoder of whisper large v3",
}


def read_audio_encoder(tensors: Tensors, metadata: Mapping[str, str]) -> AudioEncoderConfig:
    """A wav2vec2, or the encoder of a whisper.

    Raises:
        FileFault: the shapes are those of neither.
    """
    if tensors.has("encoder.embed_positions.weight"):
        return _read_whisper(tensors, metadata)
    count = tensors.count(_FIRST)
    if count != len(STRIDES):
        raise FileFault(f"has {count} convolutions before its blocks, where every wav2vec2 has {len(STRIDES)}")
    stems = [f"{_FIRST}{number}." for number in range(count)]
    dim = tensors.size(f"{_SPEECH}encoder.layer_norm.weight", 0)
    position = f"{_SPEECH}encoder.pos_conv_embed.conv.parametrizations.weight.original1"
    return SpeechConfig(
        dim=dim,
        ffn_dim=tensors.size(f"{_SPEECH}encoder.layers.0.feed_forward.intermediate_dense.weight", 0),
        heads=number_of_heads(tensors, metadata, dim, _HEAD_DIM),
        layers=tensors.count(f"{_SPEECH}encoder.layers."),
        conv_dims=tuple(tensors.size(f"{stem}conv.weight", 0) for stem in stems),
        conv_kernels=tuple(tensors.size(f"{stem}conv.weight", 2) for stem in stems),
        position_kernel=tensors.size(position, 2),
        position_groups=dim // tensors.size(position, 1),
        conv_bias=tensors.has(f"{stems[0]}conv.bias"),
        is_stable=tensors.has(f"{stems[1]}layer_norm.weight"),
    )


def _read_whisper(tensors: Tensors, metadata: Mapping[str, str]) -> WhisperConfig:
    dim = tensors.size("encoder.conv1.weight", 0)
    return WhisperConfig(
        dim=dim,
        ffn_dim=tensors.size("encoder.layers.0.fc1.weight", 0),
        heads=number_of_heads(tensors, metadata, dim, _HEAD_DIM),
        layers=tensors.count("encoder.layers."),
        mels=tensors.size("encoder.conv1.weight", 1),
        positions=tensors.size("encoder.embed_positions.weight", 0),
    )


def audio_encoder_title(config: AudioEncoderConfig, family: Family) -> str:
    """What an encoder is: 'wav2vec2 large'."""
    kind = "wav2vec2" if isinstance(config, SpeechConfig) else "whisper's encoder"
    return _TITLES.get(config, f"{kind} of width {config.dim}")


def no_widths(config: object) -> tuple[int, ...]:
    """Nothing by which it fits its partners: of the video models only some listen, each to features of its own."""
    return ()
