"""The record of audio encoders, for `kinds`."""

from __future__ import annotations

from ..audio_encoder import AudioEncoder, AudioEncoderConfig, build_audio_encoder
from .key_maps import layouts
from .publishing import known_files
from .recognition import audio
from .spec import ModelKind, no_tokenizer

AUDIO_ENCODER: ModelKind[AudioEncoderConfig, AudioEncoder, None] = ModelKind(
    files=known_files.AUDIO_FILES,
    title="audio encoder",
    published_title="an audio encoder",
    example="wav2vec2_large_english_fp16.safetensors",
    layouts=layouts.AUDIO_ENCODER_LAYOUTS,
    read_config=audio.read_audio_encoder,
    build=build_audio_encoder,
    title_of=audio.audio_encoder_title,
    widths=audio.no_widths,
    family_widths=audio.no_widths,
    width_words="",
    find_tokenizer=no_tokenizer,
    is_network=True,
)
