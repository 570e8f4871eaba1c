"""The encoders of sound that talking models listen through: wav2vec2 and whisper."""

from .config import AudioEncoderConfig
from .encode import AudioFeatures, encode_sound, working_bytes
from .encoder import AudioEncoder, build_audio_encoder

__all__ = [
    "AudioEncoder",
    "AudioEncoderConfig",
    "AudioFeatures",
    "build_audio_encoder",
    "encode_sound",
    "working_bytes",
]
